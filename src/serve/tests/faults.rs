//! What a person looks at when something is wrong, and the map: dead letters, snapshots, the search for a user.

use super::*;
use crate::serve::dead_letters::RefusedLetter;

fn at(offset: i64) -> Position {
    Position { topic: "a/b".into(), partition: 0, offset }
}

fn letter(offset: i64, reason: &str) -> StoredLetter {
    let text = "<b>\u{fffd}".to_owned();
    let (reason, detail) = (reason.to_owned(), "why".to_owned());
    StoredLetter {
        position: at(offset),
        at_ms: 7,
        reason,
        detail,
        text,
        lossy: true,
        cut_from: None,
        replayed_at_ms: None,
    }
}

#[tokio::test]
async fn dead_letters_are_listed_page_by_page_as_they_were_sent() {
    let state = state().await;
    state.archive.letters.lock().extend([letter(3, "empty"), letter(5, "invalid_json"), letter(8, "empty")]);
    let (status, _, body) = get(&state, "/dead-letters?n=2").await;
    assert_eq!((status, &body["cursor"]), (200, &json!("a/b/0/5")));
    let expected = json!({
        "topic": "a/b", "partition": 0, "offset": 3, "at_ms": 7, "reason": "empty", "detail": "why",
        "text": "<b>\u{fffd}", "lossy": true, "cut_from": null, "replayed_at_ms": null
    });
    assert_eq!(body["dead_letters"][0], expected);
    let (_, _, body) = get(&state, "/dead-letters?n=2&cursor=a%2Fb/0/5").await;
    assert_eq!((&body["dead_letters"][0]["offset"], &body["cursor"]), (&json!(8), &json!(null)));
    let (_, _, body) = get(&state, "/dead-letters?reason=invalid_json").await;
    assert_eq!((body["dead_letters"].as_array().unwrap().len(), &body["cursor"]), (1, &json!(null)));
    for (asked, code) in
        [("n=0", "bad_n"), ("n=101", "bad_n"), ("cursor=x", "bad_cursor"), ("at=3", "unknown_parameter")]
    {
        let (status, _, body) = get(&state, &format!("/dead-letters?{asked}")).await;
        assert_eq!((status, &body["code"]), (400, &json!(code)), "{asked}");
    }
}

#[tokio::test]
async fn letters_are_sent_again_and_what_would_come_back_is_told() {
    let state = state().await;
    let replay = async |body: Value| send(&state, "POST", "/dead-letters/replay", body).await;
    let place = |offset: i64| json!({ "topic": "a/b", "partition": 0, "offset": offset });
    let (status, body) = replay(json!({ "positions": [place(5), place(3), place(5)], "payload": null })).await;
    assert_eq!((status, body), (200, json!({ "replayed": 2, "refused": [] })));
    let (status, _) = replay(json!({ "positions": [place(3)], "payload": "{}" })).await;
    assert_eq!(status, 200);
    let asked = std::mem::take(&mut *state.archive.replays.lock());
    let offsets = |positions: &[Position]| positions.iter().map(|at| at.offset).collect::<Vec<_>>();
    assert_eq!((offsets(&asked[0].0), &asked[0].1), (vec![3, 5], &None), "each once, in the order of the log");
    assert_eq!((offsets(&asked[1].0), &asked[1].1), (vec![3], &Some(b"{}".to_vec())));

    let (reason, detail) = ("rating_out_of_range".to_owned(), "rating is 9; 1 to 5 is allowed".to_owned());
    let refused = RefusedLetter { position: at(3), reason, detail };
    *state.archive.fate.lock() = Some(Ok(Replayed { replayed: 0, refused: vec![refused] }));
    let (status, body) = replay(json!({ "positions": [place(3)] })).await;
    assert_eq!((status, &body["code"], &body["replayed"]), (422, &json!("none_replayed"), &json!(0)));
    assert!(body["detail"].as_str().unwrap().contains("rating is 9; 1 to 5"), "{body}");
    assert_eq!(body["refused"][0]["reason"], "rating_out_of_range");
    assert_eq!(body["refused"][0]["offset"], 3);
}

#[tokio::test]
async fn a_replay_that_cannot_be_says_why_and_sends_nothing() {
    let mut state = state().await;
    let place = |offset: i64| json!({ "topic": "a/b", "partition": 0, "offset": offset });
    let many: Vec<_> = (0..1001).map(place).collect();
    for (body, status, code) in [
        (json!({ "positions": [] }), 422, "bad_positions"),
        (json!({ "positions": many }), 422, "bad_positions"),
        (json!({ "positions": [place(1), place(2)], "payload": "{}" }), 422, "bad_payload"),
        (json!({ "positions": [place(-1)] }), 404, "no_such_letter"),
        (json!({ "positions": [{ "topic": "a" }] }), 422, "bad_field"),
        (json!([]), 422, "bad_field"),
    ] {
        let (found, answer) = send(&state, "POST", "/dead-letters/replay", body).await;
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{answer}");
    }
    assert!(state.archive.replays.lock().is_empty());
    *state.archive.fate.lock() = Some(Err(ReplayError::NoSuchLetter("a/b/0/3".into())));
    let body = json!({ "positions": [place(3)] });
    let (status, answer) = send(&state, "POST", "/dead-letters/replay", body.clone()).await;
    assert_eq!((status, &answer["code"]), (404, &json!("no_such_letter")));
    assert!(answer["detail"].as_str().unwrap().contains("at a/b/0/3, and nothing was sent"), "{answer}");
    *state.archive.fate.lock() = Some(Err(ReplayError::Log { sent: 2, reason: "no broker".into() }));
    let (status, answer) = send(&state, "POST", "/dead-letters/replay", body.clone()).await;
    assert_eq!((status, &answer["code"]), (503, &json!("log_unavailable")));
    assert!(answer["detail"].as_str().unwrap().contains("no broker; 2 were sent and are marked"), "{answer}");

    state.state.log = None;
    let mut config = ServeConfig::clone(&state.config);
    config.read_only = true;
    state.state.config = Arc::new(config);
    let (status, answer) = send(&state, "POST", "/dead-letters/replay", body).await;
    assert_eq!((status, &answer["code"]), (403, &json!("read_only")));
    assert_eq!(get(&state, "/dead-letters").await.0, 200, "looking changes nothing");
}

#[tokio::test]
async fn a_snapshot_that_is_not_there_or_damaged_is_said() {
    let state = state().await;
    for (path, status, code) in [
        ("/snapshots/3/diff/4", 404, "no_such_snapshot"),
        ("/snapshots/3/verify", 404, "no_such_snapshot"),
        ("/snapshots/x/verify", 400, "bad_seq"),
        ("/snapshots/3/diff/x", 400, "bad_other"),
        ("/snapshots/x/export", 400, "bad_seq"),
        ("/snapshots/3/export", 500, "damaged_snapshot"),
    ] {
        let (found, kind, body) = get(&state, path).await;
        assert_eq!((found, kind.as_str()), (status, "application/problem+json"), "{path}");
        assert_eq!(body["code"], code, "{path}");
    }
    let (_, _, body) = get(&state, "/snapshots/3/diff/4").await;
    assert!(body["detail"].as_str().unwrap().contains("seq 4"), "{body}");
}

#[tokio::test]
async fn the_map_has_the_most_popular_items_where_the_model_puts_them() {
    let events = |users: std::ops::Range<u32>| {
        users.flat_map(|user| (0..=user % 12).map(move |item| testing::event(user.to_string(), item.to_string(), 5.0)))
    };
    let state = state_of(events(0..24).collect()).await;
    state.status.catalog.put_item(Item { id: "1".into(), hidden: true, ..Item::default() });
    let title = "<script>alert(1)</script>".to_owned();
    state.status.catalog.put_item(Item { id: "0".into(), title: title.clone(), ..Item::default() });
    let (status, _, body) = get(&state, "/model/map").await;
    assert_eq!((status, &body["seq"]), (200, &json!(156)), "{body}");
    let items = body["items"].as_array().unwrap();
    assert_eq!(items.len(), 11, "one of twelve is hidden");
    assert_eq!((&items[0]["id"], &items[0]["title"], &items[0]["events"]), (&json!("0"), &json!(title), &json!(24)));
    assert!(items.iter().all(|item| item["x"].is_f64() && item["y"].is_f64()), "{body}");
    let explained: Vec<f64> = body["explained"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    assert!(explained[0] >= explained[1] && explained[1] >= 0.0 && explained[0] + explained[1] <= 1.000_001, "{body}");
    let (_, _, fewer) = get(&state, "/model/map?n=3").await;
    assert_eq!(fewer["items"].as_array().unwrap()[..], items[..3], "whatever their number, items keep their places");
    for (asked, code) in [("n=0", "bad_n"), ("n=2001", "bad_n"), ("at=3", "unknown_parameter")] {
        assert_eq!(get(&state, &format!("/model/map?{asked}")).await.2["code"], code);
    }
    let empty = state_of(Vec::new()).await;
    let (status, kind, body) = get(&empty, "/model/map").await;
    assert_eq!((status, kind.as_str(), &body["code"]), (409, "application/problem+json", &json!("too_few_items")));
}

#[tokio::test]
async fn users_are_found_by_a_part_of_their_id_and_the_exact_one_first() {
    let events = (0..40).map(|user| testing::event(format!("U{user}"), "1", 4.0)).collect();
    let state = state_of(events).await;
    state.status.catalog.put_user(User { id: "u3 too".into(), ..User::default() });
    state.status.catalog.put_user(User { id: "U33".into(), hidden: true, ..User::default() });
    let mut paged = Vec::new();
    let mut next = String::new();
    loop {
        let (status, _, body) = get(&state, &format!("/users?q=U3&n=3{next}")).await;
        assert_eq!(status, 200, "{body}");
        let users = body["users"].as_array().unwrap();
        assert!((1..=3).contains(&users.len()));
        paged.extend(users.iter().map(|user| user["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = body["next"].as_str() else { break };
        next = format!("&cursor={cursor}");
    }
    assert_eq!(paged, ["U3", "U30", "U31", "U32", "U34", "U35", "U36", "U37", "U38", "U39", "u3 too"]);
    let found = async |q: &str| get(&state, &format!("/users?q={q}")).await.2["users"].as_array().unwrap().len();
    assert_eq!([found("nobody").await, found("u39").await, found("U33").await, found("%20").await], [0, 1, 0, 10]);
    let (_, _, first) = get(&state, "/users?q=u3&n=1").await;
    assert_eq!(first["users"][0]["id"], "U3", "the whole id in another case is none");
    let (_, _, first) = get(&state, "/users?q=U3%20&n=1").await;
    assert_eq!((&first["users"][0]["id"], &first["next"].is_null()), (&json!("U3"), &false));
}
