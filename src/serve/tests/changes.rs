//! What changes something, as a client sees it: `POST /events`, `PUT` and `DELETE`, and what a browser is allowed.

use std::io::Write;

use async_trait::async_trait;

use super::*;
use crate::capture::producer::{Deliveries, Pending, Producer, Record};
use crate::capture::{LogError, User};

const NDJSON: &str = "application/x-ndjson";

async fn post(state: &AppState, kind: &str, body: impl Into<Body>) -> (u16, Value) {
    let (status, headers, body) = ask(state, request("POST", "/events", kind, body)).await;
    let is_problem = headers[header::CONTENT_TYPE] == "application/problem+json";
    assert_eq!(is_problem, status != 200, "{status} {body}");
    (status, body)
}

/// Payloads on the log, in their order.
fn logged(state: &Served) -> Vec<Value> {
    let log = rusqlite::Connection::open(state.dir.path().join("log.db")).unwrap();
    let mut statement = log.prepare("SELECT payload FROM records ORDER BY seq").unwrap();
    let payloads = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    payloads.map(|payload| serde_json::from_slice(&payload.unwrap()).unwrap()).collect()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn compressed(kind: &str, encoding: &str, body: Vec<u8>) -> Request<Body> {
    let mut request = request("POST", "/events", kind, body);
    request.headers_mut().insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
    request
}

#[tokio::test]
async fn events_are_on_the_log_as_they_were_sent_when_they_are_acknowledged() {
    let state = state().await;
    let event = |n: u32| json!({ "user": "u", "item": n, "rating": 4, "note": "kept" });
    let two = format!("{}\r\n\n{}", event(4), event(5));
    for (kind, body, accepted, token) in [
        (JSON, event(1).to_string(), 1, "0:1"),
        ("application/json; charset=utf-8", json!([event(2), event(3)]).to_string(), 2, "0:3"),
        (NDJSON, two, 2, "0:5"),
        ("text/plain;charset=UTF-8", event(6).to_string(), 1, "0:6"),
        ("text/plain", format!("{}\n{}\n", event(7), event(8)), 2, "0:8"),
    ] {
        let expected = json!({ "accepted": accepted, "rejected": 0, "errors": [], "token": token });
        assert_eq!(post(&state, kind, body).await, (200, expected), "{kind}");
    }
    let (status, _, body) = ask(&state, compressed(NDJSON, "gzip", gzipped(event(9).to_string().as_bytes()))).await;
    assert_eq!((status, &body["token"]), (200, &json!("0:9")));
    assert_eq!(logged(&state), (1..=9).map(event).collect::<Vec<_>>());
}

#[tokio::test]
async fn bad_events_are_told_line_by_line_and_the_good_ones_taken() {
    let state = state().await;
    let body = "{\"user\":\"u\",\"item\":\"1\"}\n\n{\"user\":\"u\",\"item\":\"2\",\"rating\":9}\nnonsense\n{\"user\":1,\"item\":3}";
    let (status, answer) = post(&state, NDJSON, body).await;
    assert_eq!((status, &answer["accepted"], &answer["rejected"]), (200, &json!(2), &json!(2)));
    let errors = &answer["errors"];
    assert_eq!(errors[0]["detail"], "rating is 9; 1 to 5 is allowed");
    assert_eq!((&errors[0]["line"], &errors[0]["reason"]), (&json!(3), &json!("rating_out_of_range")));
    assert_eq!((&errors[1]["line"], &errors[1]["reason"]), (&json!(4), &json!("invalid_json")));
    assert_eq!(logged(&state).len(), 2);

    let (status, answer) = post(&state, JSON, r#"[{"user":"u"}, 7]"#).await;
    assert_eq!((status, &answer["code"], &answer["rejected"]), (422, &json!("bad_events"), &json!(2)));
    let told = |at: usize| (&answer["errors"][at]["line"], &answer["errors"][at]["reason"]);
    assert_eq!(told(0), (&json!(1), &json!("missing_field")));
    assert_eq!(told(1), (&json!(2), &json!("not_an_object")));
    assert_eq!(logged(&state).len(), 2);
}

#[tokio::test]
async fn a_body_that_is_none_is_a_problem_that_says_what_is_allowed() {
    let state = state().await;
    for (kind, body, status, code, part) in [
        (JSON, "", 400, "no_event", "holds no event"),
        (JSON, "[]", 400, "no_event", "holds no event"),
        (NDJSON, "\n \n", 400, "no_event", "holds no event"),
        (JSON, "{\n\"user\": }", 400, "bad_json", "line 2 column 9"),
        (JSON, "[{}", 400, "bad_json", "line 1 column 3"),
        ("text/csv", "a,b", 415, "unsupported_media_type", "application/x-ndjson"),
        ("", "{}", 415, "unsupported_media_type", "is missing"),
    ] {
        let (found, answer) = post(&state, kind, body).await;
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{kind} {body:?}");
        assert!(answer["detail"].as_str().unwrap().contains(part), "{answer}");
    }
    for (encoding, body, status, code) in
        [("br", vec![1, 2], 415, "unsupported_encoding"), ("gzip", b"no gzip".to_vec(), 400, "bad_body")]
    {
        let (found, _, answer) = ask(&state, compressed(JSON, encoding, body)).await;
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{answer}");
    }
    assert!(logged(&state).is_empty());
}

#[tokio::test]
async fn what_is_too_much_is_refused_whole_and_counted_uncompressed() {
    let mut state = state().await;
    let mut config = ServeConfig::clone(&state.config);
    (config.max_body, config.max_events) = (1000, 3);
    state.state.config = Arc::new(config);
    let event = "{\"user\":\"u\",\"item\":\"1\"}\n";
    let (status, answer) = post(&state, NDJSON, event.repeat(4)).await;
    assert_eq!((status, &answer["code"]), (413, &json!("too_many_events")));
    assert!(answer["detail"].as_str().unwrap().contains("4 events; serve.max_events allows 3"), "{answer}");
    let large = "x".repeat(1001);
    let (status, answer) = post(&state, NDJSON, large).await;
    assert_eq!((status, &answer["code"]), (413, &json!("body_too_large")));
    let bomb = gzipped(&vec![b' '; 1 << 20]);
    let (status, _, answer) = ask(&state, compressed(NDJSON, "gzip", bomb)).await;
    assert_eq!((status, &answer["code"]), (413, &json!("body_too_large")), "{answer}");
    assert!(logged(&state).is_empty());
    assert_eq!(post(&state, NDJSON, event.repeat(3)).await.0, 200);
}

#[tokio::test]
async fn without_a_log_nothing_can_be_changed() {
    let mut state = state().await;
    state.state.log = None;
    for (method, path) in
        [("POST", "/events"), ("PUT", "/items/3"), ("DELETE", "/items/3"), ("PUT", "/users/c"), ("DELETE", "/users/c")]
    {
        let (status, answer) = send(&state, method, path, json!({})).await;
        assert_eq!((status, &answer["code"]), (403, &json!("read_only")), "{method} {path}");
    }
    assert_eq!(get(&state, "/recommend/c").await.0, 200);
}

/// A log that never answers.
struct Silent;

#[async_trait]
impl Producer for Silent {
    async fn send(&self, _: Record) -> Result<(), LogError> {
        std::future::pending().await
    }

    async fn post(&self, _: Record) -> Result<Pending, LogError> {
        std::future::pending().await
    }

    async fn flush(&self) -> Result<Deliveries, LogError> {
        std::future::pending().await
    }

    fn deliveries(&self) -> Deliveries {
        Deliveries::default()
    }
}

#[tokio::test]
async fn what_the_log_has_not_is_not_acknowledged() {
    let mut state = state().await;
    let event = || json!({ "user": "u", "item": "1" }).to_string();
    let log = rusqlite::Connection::open(state.dir.path().join("log.db")).unwrap();
    log.execute("DELETE FROM topics", []).unwrap();
    let (status, headers, answer) = ask(&state, request("POST", "/events", JSON, event())).await;
    assert_eq!(
        (status, &answer["code"], &headers[header::RETRY_AFTER]),
        (503, &json!("log_unavailable"), &"1".parse().unwrap())
    );
    assert!(answer["detail"].as_str().unwrap().contains("refused 1 of 1 events: "), "{answer}");

    let mut config = ServeConfig::clone(&state.config);
    config.request_timeout = Duration::from_millis(200);
    state.state.config = Arc::new(config);
    state.state.log = Some(Arc::new(Silent));
    let (status, answer) = post(&state, JSON, event()).await;
    assert_eq!((status, &answer["code"]), (503, &json!("log_unavailable")));
    assert!(answer["detail"].as_str().unwrap().contains("within 0.2 s"), "{answer}");
}

#[tokio::test]
async fn an_item_is_changed_in_the_store_and_in_every_answer_at_once() {
    let state = state().await;
    let tag = |headers: &HeaderMap| headers[header::ETAG].clone();
    let asked = || Request::get("/recommend/nobody").body(Body::empty()).unwrap();
    let before = tag(&ask(&state, asked()).await.1);
    let edit = json!({ "title": "Heat", "genres": ["Crime"], "year": 1995, "labels": ["Staff pick"] });
    let (status, answer) = send(&state, "PUT", "/items/2", edit).await;
    let stored = json!({ "id": "2", "title": "Heat", "genres": ["Crime"], "year": 1995, "labels": ["Staff pick"] });
    assert_eq!((status, answer), (200, stored));
    let (_, headers, answer) = ask(&state, asked()).await;
    assert_ne!(tag(&headers), before);
    assert_eq!((&answer["items"][0]["id"], &answer["items"][0]["title"]), (&json!("2"), &json!("Heat")));

    assert_eq!(send(&state, "DELETE", "/items/2", json!(null)).await, (204, json!("")));
    assert_eq!(ids(&get(&state, "/recommend/nobody").await.2), ["1", "3"]);
    assert_eq!(ids(&get(&state, "/recommend/a%2Fb?include_seen=true&candidates=2").await.2), Vec::<&str>::new());
    let kept = state.archive.items.lock().iter().rfind(|item| item.id == "2").cloned().unwrap();
    assert_eq!((kept.hidden, kept.title.as_str(), kept.labels.len()), (true, "Heat", 1));
    assert_eq!(send(&state, "DELETE", "/items/1", json!(null)).await.0, 204, "only the model knows it");
    assert_eq!(ids(&get(&state, "/recommend/nobody").await.2), ["3"]);

    assert_eq!(
        send(&state, "PUT", "/items/1", json!({})).await,
        (200, json!({ "id": "1", "title": "", "genres": [] }))
    );
    let answer = get(&state, "/recommend/nobody").await.2;
    assert_eq!((ids(&answer), answer["items"][0].get("title")), (vec!["1", "3"], None));
}

#[tokio::test]
async fn a_user_is_hidden_and_shown_again() {
    let state = state().await;
    let (status, answer) = send(&state, "PUT", "/users/new%20one", json!({ "age": 30, "labels": ["vip"] })).await;
    assert_eq!((status, answer), (200, json!({ "id": "new one", "age": 30, "labels": ["vip"] })));
    assert_eq!(send(&state, "DELETE", "/users/new%20one", json!(null)).await.0, 204);
    assert_eq!(send(&state, "DELETE", "/users/c", json!(null)).await.0, 204, "only the model knows them");
    let hidden = |id: &str| state.status.catalog.entries().users.get(id).unwrap().hidden;
    assert!(hidden("new one") && hidden("c"));
    let users = state.archive.users.lock().clone();
    let kept =
        User { id: "new one".into(), age: Some(30), labels: vec!["vip".into()], hidden: true, ..User::default() };
    assert!(users.contains(&kept), "{users:?}");
    assert_eq!(get(&state, "/recommend/c").await.2["cold"], false, "what is asked for them is still answered");
    assert_eq!(send(&state, "PUT", "/users/c", json!({})).await.0, 200);
    assert!(!hidden("c"));
}

#[tokio::test]
async fn a_change_that_is_wrong_changes_nothing_and_says_why() {
    let state = state().await;
    let generation = state.status.catalog_generation();
    let many: Vec<_> = (0..101).map(|n| n.to_string()).collect();
    for (method, path, body, status, code, part) in [
        (
            "PUT",
            "/items/2",
            json!({ "titel": "x" }),
            422,
            "bad_field",
            "unknown field `titel`, expected one of `title`",
        ),
        ("PUT", "/items/2", json!({ "year": "1995" }), 422, "bad_field", "expected i32"),
        ("PUT", "/items/2", json!({ "labels": many }), 422, "bad_field", "labels has 101 entries; at most 100"),
        ("PUT", "/items/2", json!({ "genres": [" "] }), 422, "bad_field", "genres has an empty entry"),
        ("PUT", "/users/2", json!({ "name": "x" }), 422, "bad_field", "unknown field `name`"),
        ("PUT", "/users/2", json!([1]), 422, "bad_field", "invalid"),
        ("DELETE", "/items/zzz", json!(null), 404, "unknown_item", "zzz"),
        ("DELETE", "/users/zzz", json!(null), 404, "unknown_user", "zzz"),
    ] {
        let (found, answer) = send(&state, method, path, body.clone()).await;
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{method} {path} {body}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(part), "{answer}");
    }
    let long = format!("/items/{}", "x".repeat(1025));
    assert_eq!(send(&state, "PUT", &long, json!({})).await.1["code"], "bad_id");
    for (kind, body, status) in [("text/plain", "{}", 415), (JSON, "{\"title\":", 400)] {
        assert_eq!(ask(&state, request("PUT", "/items/2", kind, body)).await.0, status);
    }
    assert_eq!(state.status.catalog_generation(), generation);
    assert!(state.archive.items.lock().is_empty());
}

#[tokio::test]
async fn a_page_may_ask_from_a_browser_if_its_origin_is_listed() {
    let mut state = state().await;
    let asked = |origin: &str| Request::get("/recommend/c").header(header::ORIGIN, origin).body(Body::empty()).unwrap();
    let allowed = |headers: &HeaderMap| headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).cloned();
    let shop = "https://shop.example";
    assert_eq!(allowed(&ask(&state, asked(shop)).await.1), None);
    let mut config = ServeConfig::clone(&state.config);
    config.cors_origins = vec![shop.to_owned(), "http://localhost:3000".to_owned()];
    state.state.config = Arc::new(config);
    let (_, headers, _) = ask(&state, asked(shop)).await;
    assert_eq!(allowed(&headers).unwrap(), shop);
    let exposed = headers[header::ACCESS_CONTROL_EXPOSE_HEADERS].to_str().unwrap();
    assert!(exposed.contains("x-freshet-seq") && exposed.contains("etag"), "{exposed}");
    assert_eq!(allowed(&ask(&state, asked("https://other.example")).await.1), None);
    let preflight = Request::options("/events")
        .header(header::ORIGIN, shop)
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type")
        .body(Body::empty())
        .unwrap();
    let (status, headers, _) = ask(&state, preflight).await;
    assert_eq!((status, allowed(&headers).unwrap().to_str().unwrap()), (200, shop));
    assert!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap().contains("authorization"));
}

#[tokio::test]
async fn a_page_of_another_website_changes_nothing_unless_it_is_listed() {
    let mut state = state().await;
    let event = r#"{"user":"u","item":"i"}"#;
    let sent = |origin: &str| {
        let request =
            Request::post("/events").header(header::CONTENT_TYPE, "text/plain").header(header::HOST, "here:80");
        request.header(header::ORIGIN, origin).body(Body::from(event)).unwrap()
    };
    for origin in ["https://other.example", "null", "http://here:81", "ftp://here:80", "here:80"] {
        let (status, _, answer) = ask(&state, sent(origin)).await;
        assert_eq!((status, &answer["code"]), (403, &json!("origin_not_allowed")), "{origin}");
    }
    assert_eq!(ask(&state, sent("http://here:80")).await.0, 200, "its own pages");
    let mut config = ServeConfig::clone(&state.config);
    config.cors_origins = vec!["https://other.example".to_owned()];
    state.state.config = Arc::new(config);
    assert_eq!(ask(&state, sent("https://other.example")).await.0, 200);
    assert_eq!(ask(&state, request("POST", "/events", "text/plain", event)).await.0, 200, "no browser");
}

#[tokio::test]
async fn the_script_and_the_shop_are_there() {
    let state = state().await;
    let (status, kind, body) = get(&state, "/freshet.js").await;
    assert_eq!((status, kind.as_str()), (200, "text/javascript; charset=utf-8"));
    assert!(body.as_str().unwrap().contains("window.freshet"));
    let (status, kind, body) = get(&state, "/demo-shop").await;
    assert_eq!((status, kind.as_str()), (200, "text/html; charset=utf-8"));
    let page = body.as_str().unwrap();
    assert!(
        page.contains("src=\"freshet.js\"") && !page.contains("//cdn") && !page.contains("https://"),
        "it needs no network"
    );
}
