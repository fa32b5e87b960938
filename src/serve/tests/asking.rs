//! The routes that ask the model: what each answers, and that it refuses what it must.

use super::*;

async fn post(state: &Served, path: &str, body: Value) -> (u16, Value) {
    send(state, "POST", path, body).await
}

async fn ok(state: &Served, path: &str) -> Value {
    let (status, kind, body) = get(state, path).await;
    assert_eq!((status, kind.as_str()), (200, "application/json"), "{path}: {body}");
    body
}

async fn refused(state: &Served, path: &str) -> (u16, String, String) {
    let (status, kind, body) = get(state, path).await;
    assert_eq!(kind, "application/problem+json", "{path}: {status} {body}");
    assert_eq!(body["status"], status, "{path}");
    (status, body["code"].as_str().unwrap().into(), body["detail"].as_str().unwrap().into())
}

/// A model of two tastes: users 0 to 9 choose of the items 0 to 9, users 10 to 19 of the items 10 to 19; the first of each
/// have rated the last of the other low. Even items are comedies of the year 1990 + their number, odd ones dramas.
async fn tastes() -> Served {
    let mut events = Vec::new();
    for round in 0..8_u32 {
        for user in 0..20_u32 {
            let item = user / 10 * 10 + (user * 3 + round) % 10;
            events.push(testing::event(user.to_string(), item.to_string(), 5.0 - (round % 2) as f32));
        }
    }
    events.push(testing::event("0", "19", 1.0));
    events.push(testing::event("10", "9", 1.0));
    let served = state_of(events).await;
    let item = |item: u32| Item {
        id: item.to_string(),
        title: format!("Film {item}"),
        genres: vec![if item.is_multiple_of(2) { "Comedy" } else { "Drama" }.to_owned()],
        year: Some(1990 + item as i32),
        ..Item::default()
    };
    served.status.catalog.replace((0..20).map(item), []);
    served
}

#[tokio::test]
async fn filters_narrow_every_list_and_hidden_items_are_in_none() {
    let state = tastes().await;
    let hidden = Item { id: "4".into(), title: "Film 4".into(), hidden: true, ..Item::default() };
    state.status.catalog.put_item(hidden);
    for path in ["/popular", "/trending", "/similar/2", "/recommend/0", "/recommend/nobody"] {
        let all = ok(&state, &format!("{path}?n=100")).await;
        assert!(!ids(&all).contains(&"4") && !ids(&all).is_empty(), "{path}: {all}");
        let comedies = ok(&state, &format!("{path}?n=100&filter=genre:comedy%20and%20not%20year:2004..")).await;
        let expected: Vec<&str> =
            ids(&all).into_iter().filter(|id| id.parse::<u32>().is_ok_and(|item| item % 2 == 0 && item < 14)).collect();
        assert_eq!(ids(&comedies), expected, "{path}");
        assert_eq!(ids(&ok(&state, &format!("{path}?filter=genre:western")).await), [""; 0]);
        let urls = [0, 3, 6, 9, 12, 15, 18].map(|offset| format!("{path}?n=3&offset={offset}"));
        let mut paged = Vec::new();
        for url in &urls {
            paged.extend(ids(&ok(&state, url).await).into_iter().map(str::to_owned));
        }
        assert_eq!(paged, ids(&all), "{path}");
    }
    let problem = refused(&state, "/popular?filter=title:x").await;
    assert_eq!((problem.0, problem.1.as_str()), (400, "bad_filter"));
}

#[tokio::test]
async fn variety_changes_the_order_and_pages_still_partition_the_list() {
    let state = tastes().await;
    let plain = ok(&state, "/recommend/0?n=20&include_seen=true").await;
    let varied = ok(&state, "/recommend/0?n=20&include_seen=true&diversity=0.9").await;
    let sorted = |body: &Value| ids(body).into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_ne!(ids(&plain), ids(&varied));
    assert_eq!(ids(&plain)[0], ids(&varied)[0], "nothing stands before the first");
    assert_eq!(sorted(&plain), sorted(&varied));
    let mut paged = Vec::new();
    for offset in [0, 7, 14] {
        let page = ok(&state, &format!("/recommend/0?n=7&offset={offset}&include_seen=true&diversity=0.9")).await;
        paged.extend(ids(&page).into_iter().map(str::to_owned));
    }
    assert_eq!(paged, ids(&varied));
    assert_eq!(refused(&state, "/recommend/0?diversity=1.5").await.1, "bad_diversity");
    assert_eq!(refused(&state, "/recommend/0?diversity=NaN").await.1, "bad_diversity");
}

#[tokio::test]
async fn csv_is_a_table_with_a_head() {
    let state = tastes().await;
    let (status, kind, body) = get(&state, "/recommend/0?n=2&format=csv").await;
    assert_eq!((status, kind.as_str()), (200, "text/csv; charset=utf-8"));
    let lines: Vec<&str> = body.as_str().unwrap().lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "rank,id,title,genres,year,score"));
    assert!(lines[1].starts_with("1,") && lines[1].contains("Film "), "{body}");
    assert_eq!(refused(&state, "/recommend/0?format=xml").await.2, "format is \"xml\"; allowed are json, csv");
}

#[tokio::test]
async fn an_explained_item_names_events_of_the_user_and_because_adds_up() {
    let state = tastes().await;
    let body = ok(&state, "/recommend/0?n=3&explain=true").await;
    let known = ok(&state, "/users/0?n=100").await;
    let known: Vec<&str> = ids(&known);
    let first = &body["items"][0];
    let reasons = first["because"].as_array().unwrap();
    assert!(!reasons.is_empty() && reasons.len() <= 3, "{first}");
    assert!(reasons.iter().all(|reason| known.contains(&reason["id"].as_str().unwrap())), "{first}");

    let path = format!("/because/0/{}", first["id"].as_str().unwrap());
    let because = ok(&state, &path).await;
    let number = |value: &Value| value.as_f64().unwrap();
    let events = because["events"].as_array().unwrap();
    let sum: f64 = events.iter().map(|event| number(&event["contribution"])).sum();
    assert!((number(&because["base"]) + sum - number(&because["score"])).abs() < 1e-3, "{because}");
    assert_eq!(because["score"], first["score"], "the score that was served");
    assert_eq!(because["rank"], 1);
    assert!(because["rank_without_strongest"].as_u64().unwrap() >= 1);
    assert_eq!(refused(&state, "/because/nobody/1").await.1, "unknown_user");
    assert_eq!(refused(&state, "/because/0/nothing").await.1, "unknown_item");
    assert_eq!(refused(&state, "/recommend/0?n=101&explain=true").await.1, "bad_n");
}

#[tokio::test]
async fn tastes_that_are_told_are_folded_in_and_the_model_does_not_change() {
    let state = tastes().await;
    let before = ok(&state, "/recommend/0?n=20").await;
    let (status, body) = post(&state, "/recommend", json!({"likes": ["11", "12", "13"], "n": 3})).await;
    assert_eq!((status, &body["cold"]), (200, &json!(false)), "{body}");
    let found = ids(&body);
    assert!(found.iter().all(|id| id.parse::<u32>().unwrap() >= 10), "{body}");
    assert!(!found.iter().any(|id| ["11", "12", "13"].contains(id)), "what is liked is known already");
    assert_eq!(ok(&state, "/recommend/0?n=20").await, before);
    let (_, unknown) = post(&state, "/recommend", json!({"likes": ["nothing"]})).await;
    assert_eq!(unknown["cold"], true);
}

#[tokio::test]
async fn several_users_share_a_list() {
    let state = tastes().await;
    for combine in ["mean", "least_misery"] {
        let asked = json!({"users": ["0", "10", "nobody"], "combine": combine, "n": 20});
        let (status, body) = post(&state, "/recommend", asked).await;
        assert_eq!((status, &body["users"]), (200, &json!(["0", "10", "nobody"])), "{body}");
        let (zero, ten) = (ok(&state, "/users/0?n=100").await, ok(&state, "/users/10?n=100").await);
        assert!(ids(&body).iter().all(|id| !ids(&zero).contains(id) && !ids(&ten).contains(id)), "{body}");
    }
    let (_, one) = post(&state, "/recommend", json!({"user": "0", "n": 5})).await;
    assert_eq!(one["items"], ok(&state, "/recommend/0?n=5").await["items"]);
}

#[tokio::test]
async fn a_request_that_is_not_clear_is_refused_with_what_is_allowed() {
    let state = tastes().await;
    for (body, status, code) in [
        (json!({}), 400, "bad_who"),
        (json!({"user": "1", "likes": ["2"]}), 400, "bad_who"),
        (json!({"users": []}), 400, "bad_users"),
        (json!({"users": vec!["1"; 101]}), 400, "bad_users"),
        (json!({"likes": vec!["1"; 1001]}), 400, "bad_likes"),
        (json!({"user": "1", "n": 0}), 400, "bad_n"),
        (json!({"user": "1", "n": 1e9}), 422, "bad_field"),
        (json!({"user": "1", "diversity": 2}), 400, "bad_diversity"),
        (json!({"user": "1", "filter": "x"}), 400, "bad_filter"),
        (json!({"user": "x".repeat(1025)}), 400, "bad_user"),
        (json!({"likes": ["1"], "explain": true}), 400, "bad_explain"),
        (json!({"user": "1", "m": 1}), 422, "bad_field"),
        (json!({"user": 1}), 422, "bad_field"),
        (json!([1]), 422, "bad_field"),
    ] {
        let (found, answer) = post(&state, "/recommend", body.clone()).await;
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{body}: {answer}");
    }
}

#[tokio::test]
async fn like_finds_like() {
    let state = tastes().await;
    let body = ok(&state, "/similar/2?n=5").await;
    assert!(ids(&body).iter().all(|id| id.parse::<u32>().unwrap() < 10 && *id != "2"), "{body}");
    let body = ok(&state, "/similar/users/3?n=5").await;
    let users = body["users"].as_array().unwrap();
    assert!(users.iter().all(|user| user["id"].as_str().unwrap().parse::<u32>().unwrap() < 10), "{body}");
    assert_eq!(refused(&state, "/similar/nothing").await.1, "unknown_item");
    assert_eq!(refused(&state, "/similar/users/nobody").await.1, "unknown_user");
    let factors = ok(&state, "/representative").await;
    assert!(!factors["factors"].as_array().unwrap().is_empty());
    let surprising = ok(&state, "/surprising/0?n=1").await;
    assert_eq!(ids(&surprising).len(), 1);
    assert_eq!(refused(&state, "/surprising/nobody").await.1, "unknown_user");
}

#[tokio::test]
async fn estimates_are_within_the_range_and_wider_for_a_higher_coverage() {
    let state = tastes().await;
    let mut width = 0.0;
    for coverage in ["0.5", "0.8", "0.9", "0.95"] {
        let body = ok(&state, &format!("/estimate/0/1/19/a%2Fb?coverage={coverage}")).await;
        let estimates = body["estimates"].as_array().unwrap();
        assert_eq!(estimates.iter().map(|one| &one["id"]).collect::<Vec<_>>(), ["1", "19", "a/b"]);
        assert_eq!((&estimates[0]["cold"], &estimates[2]["cold"]), (&json!(false), &json!(true)));
        for one in estimates {
            let [low, rating, high] = ["low", "rating", "high"].map(|name| one[name].as_f64().unwrap());
            assert!(1.0 <= low && low <= rating && rating <= high && high <= 5.0, "{one}");
        }
        let one = &estimates[0];
        let now = one["high"].as_f64().unwrap() - one["low"].as_f64().unwrap();
        assert!(now >= width, "{coverage}");
        width = now;
    }
    let (status, body) = post(&state, "/estimate", json!({"user": "nobody", "items": ["1"]})).await;
    assert_eq!((status, &body["cold"], &body["coverage"]), (200, &json!(true), &json!(0.8)));
    assert_eq!(refused(&state, "/estimate/0/1?coverage=0.7").await.1, "bad_coverage");
    assert_eq!(refused(&state, "/estimate/0/%FF").await.1, "bad_id");
    assert_eq!(post(&state, "/estimate", json!({"user": "0", "items": []})).await.1["code"], "bad_items");
}

#[tokio::test]
async fn pages_hold_every_item_and_user_once_and_titles_are_searched() {
    let state = tastes().await;
    state.status.catalog.put_item(Item { id: "zz".into(), title: "The Unseen".into(), ..Item::default() });
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = ok(&state, &format!("/items?n=6{cursor}")).await;
        found.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(
        (found.len(), found.iter().collect::<BTreeSet<_>>().len(), found.last().unwrap().as_str()),
        (21, 21, "zz")
    );
    assert_eq!(ids(&ok(&state, "/items?q=UNSEEN%20the").await), ["zz"]);
    assert_eq!(ids(&ok(&state, "/items?q=nothing").await), [""; 0]);
    let item = ok(&state, "/items/zz").await;
    assert_eq!((&item["title"], &item["positive_events"]), (&json!("The Unseen"), &json!(0)));
    assert_eq!(
        refused(&state, "/items/nothing").await,
        (404, "unknown_item".into(), "there is no item \"nothing\"; /items lists those that are known".into())
    );
    let users = ok(&state, "/users?n=100").await;
    assert_eq!(users["users"].as_array().unwrap().len(), 20);
    let user = ok(&state, "/users/0?n=4").await;
    assert_eq!((user["known_items"].as_u64().unwrap(), ids(&user).len()), (9, 4));
    assert_eq!(refused(&state, "/users/nobody").await.1, "unknown_user");
    assert_eq!(refused(&state, "/items?cursor=x").await.1, "bad_cursor");
}

#[tokio::test]
async fn an_answer_says_which_model_gave_it_and_is_not_sent_twice() {
    let state = tastes().await;
    let request = || Request::get("/recommend/0?n=3");
    let (status, headers, body) = ask(&state, request().body(Body::empty()).unwrap()).await;
    assert_eq!((status, headers["x-freshet-seq"].to_str().unwrap()), (200, "162"));
    assert_eq!(headers["x-freshet-model"].to_str().unwrap(), state.status.identity.load().name);
    assert!(headers["x-freshet-age-ms"].to_str().unwrap().parse::<u64>().is_ok());
    let tag = headers[header::ETAG].clone();
    let known = request().header(header::IF_NONE_MATCH, tag.clone()).body(Body::empty()).unwrap();
    let (status, headers, none) = ask(&state, known).await;
    assert_eq!((status, &headers[header::ETAG], none), (304, &tag, json!("")));
    // The kept answer is the same one, and a change of the catalogue makes another.
    assert_eq!(ask(&state, request().body(Body::empty()).unwrap()).await.2, body);
    let item = Item { id: ids(&body)[0].into(), title: "Renamed".into(), ..Item::default() };
    state.status.catalog.put_item(item);
    let known = request().header(header::IF_NONE_MATCH, tag).body(Body::empty()).unwrap();
    let (status, _, body) = ask(&state, known).await;
    assert_eq!((status, &body["items"][0]["title"]), (200, &json!("Renamed")));
}

#[tokio::test]
async fn a_moment_that_does_not_come_is_told_and_one_that_has_come_is_answered() {
    let state = tastes().await;
    assert_eq!(ok(&state, "/recommend/0?min_seq=162").await["model"]["seq"], 162);
    let (status, code, detail) = refused(&state, "/recommend/0?min_seq=163").await;
    assert_eq!((status, code.as_str()), (412, "not_learned_yet"));
    assert!(detail.contains("serve.max_wait = 20ms (it stands at seq 162)"), "{detail}");
    assert_eq!(refused(&state, "/popular?token=0:1").await.0, 412);
    assert_eq!(refused(&state, "/popular?token=soon").await.1, "bad_token");
    assert_eq!(
        refused(&state, "/popular?at=7").await,
        (404, "no_such_snapshot".into(), "there is no snapshot of seq 7; /snapshots lists those that are kept".into())
    );
    assert_eq!(refused(&state, "/popular?at=7&min_seq=3").await.1, "bad_at");
    assert_eq!(refused(&state, "/snapshots/7").await.1, "no_such_snapshot");
    assert_eq!(refused(&state, "/snapshots/x").await.1, "bad_seq");
    assert_eq!(refused(&state, "/recommend/0/live?at=7").await.1, "bad_at");
}

#[tokio::test]
async fn a_model_that_has_learned_nothing_answers_empty_lists() {
    let state = state_of(Vec::new()).await;
    for path in ["/recommend/1", "/popular", "/trending"] {
        assert_eq!(ids(&ok(&state, path).await), [""; 0], "{path}");
    }
    assert_eq!(ok(&state, "/items").await["items"], json!([]));
    assert_eq!(ok(&state, "/users").await["users"], json!([]));
    assert_eq!(ok(&state, "/representative").await["factors"], json!([]));
    assert_eq!(post(&state, "/recommend", json!({"likes": ["1"]})).await.1["cold"], true);
    assert_eq!(ok(&state, "/estimate/1/2").await["estimates"][0]["cold"], true);
}

#[tokio::test]
async fn a_list_is_told_again_when_it_changes() {
    let state = tastes().await;
    let request = Request::get("/recommend/0/live?n=2").body(Body::empty()).unwrap();
    let response = app(state.state.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut frames = response.into_body().into_data_stream();
    let mut next = async || {
        let frame = futures::StreamExt::next(&mut frames).await.unwrap().unwrap();
        let text = String::from_utf8(frame.to_vec()).unwrap();
        assert!(text.contains("event: recommendation"), "{text}");
        let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        serde_json::from_str::<Value>(data).unwrap()
    };
    let first = next().await;
    let gone = ids(&first)[0].to_owned();
    state.status.catalog.put_item(Item { id: gone.clone(), hidden: true, ..Item::default() });
    let second = next().await;
    assert!(!ids(&second).contains(&gone.as_str()), "{second}");
}

#[tokio::test]
async fn the_description_of_the_api_is_frozen() {
    let described = ok(&state().await, "/openapi.json").await;
    assert_eq!(described["openapi"], "3.1.0");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/openapi.json");
    let text = serde_json::to_string_pretty(&described).unwrap() + "\n";
    if std::env::var_os("FRESHET_FREEZE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let frozen = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(frozen == text, "the API is another one than {}: run this test with FRESHET_FREEZE=1", path.display());
}
