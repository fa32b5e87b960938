//! What the page asks when something is wrong, over HTTP on the embedded store: the same as the commands tell and do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::dead_letters::{embedded, send};
use crate::program::{Engine, Freshet};

/// Learners that are quick, and a snapshot at each thousand events.
const SETTINGS: [&str; 7] = [
    "learn.rating=biased-mf",
    "learn.ranking=biased-mf",
    "biased_mf.factors=8",
    "gather.size=100",
    "gather.linger=100ms",
    "store.snapshot_every=1000",
    // However busy the machine is.
    "serve.shed_after=0s",
];

/// Status, type and bytes of an answer.
fn bytes(engine: &Engine, path: &str) -> (u16, String, Vec<u8>) {
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    let mut answer = agent.get(format!("http://{}{path}", engine.address())).call().unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (answer.status().as_u16(), kind, answer.body_mut().read_to_vec().unwrap())
}

fn command(freshet: &Freshet, arguments: &[&str]) -> Value {
    serde_json::from_str(&freshet.must(arguments)).unwrap()
}

#[test]
fn snapshots_are_compared_checked_and_exported_as_by_the_commands() {
    let freshet = Freshet::new(&SETTINGS);
    freshet.must(&["replay", "sample", "--limit", "2000"]);
    let mut engine = freshet.start();
    engine.learned(2000);
    engine.wait("/snapshots", "there are two snapshots", |answer| answer["snapshots"].as_array().unwrap().len() == 2);
    let diff = engine.json("/snapshots/1000/diff/2000");
    assert_eq!(diff, command(&freshet, &["snapshots", "diff", "1000", "2000", "--json"]));
    assert_eq!((&diff["a"]["seq"], &diff["b"]["counts"]["events"]), (&json!(1000), &json!(2000)));
    assert!(diff["sections"].as_array().unwrap().iter().any(|section| section["moved"]["mean"].is_f64()), "{diff}");

    let whole = engine.json("/snapshots/2000/verify");
    assert_eq!((&whole["seq"], &whole["ok"], &whole["sha256"]), (&json!(2000), &json!(true), &diff["b"]["sha256"]));
    let (status, kind, exported) = bytes(&engine, "/snapshots/2000/export");
    assert_eq!((status, kind.as_str()), (200, "application/zip"));
    freshet.must(&["snapshots", "export", "2000", "--output", "by-command.zip"]);
    assert!(exported == std::fs::read(freshet.path("by-command.zip")).unwrap(), "the same bytes");
    freshet.write("by-http.zip", &exported);
    let other = Freshet::new(&SETTINGS);
    other.must(&["snapshots", "restore", freshet.path("by-http.zip").to_str().unwrap()]);
    assert_eq!(other.newest_snapshot()["sha256"], whole["sha256"]);

    let changed = freshet.store().execute("UPDATE blocks SET bytes = zeroblob(length(bytes))", []).unwrap();
    assert!(changed > 3);
    let damaged = engine.json("/snapshots/2000/verify");
    assert_eq!(damaged["ok"], false);
    assert!(damaged["detail"].as_str().unwrap().contains("block"), "{damaged}");
    for path in ["/snapshots/2000/export", "/snapshots/1000/diff/2000"] {
        let (status, kind, body) = bytes(&engine, path);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, kind.as_str()), (500, "application/problem+json"), "{body}");
        assert_eq!(body["code"], "damaged_snapshot", "{body}");
    }
    for (path, seq) in [("/snapshots/7/export", 7), ("/snapshots/1000/diff/7", 7), ("/snapshots/8/verify", 8)] {
        let (status, body) = engine.get(path);
        assert_eq!((status, &body["code"]), (404, &json!("no_such_snapshot")), "{path}");
        assert!(body["detail"].as_str().unwrap().contains(&format!("seq {seq};")), "{body}");
    }
    let (status, map) = engine.get("/model/map?n=50");
    assert_eq!((status, map["items"].as_array().unwrap().len()), (200, 50), "{map}");
}

#[test]
fn letters_are_listed_corrected_and_sent_again_and_nothing_is_lost() {
    let freshet = Freshet::new(&SETTINGS);
    let good = br#"{"user":"1","item":"1","rating":4,"id":"one"}"#;
    let payloads = [
        &good[..],
        br#"{"user":"1","item":"2","rating":9}"#,
        b"\xff\xfe garbage",
        good,
        br#"{"user":"1","item":"3","rating":"x"}"#,
    ];
    send(&embedded(&freshet), &payloads.map(<[u8]>::to_vec));
    let mut engine = freshet.start();
    engine.wait("/model", "four letters are durable", |model| {
        model["durable_seq"] == 1
            && model["rejects"].as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>() == 4
    });
    let listed = engine.json("/dead-letters");
    let letters = listed["dead_letters"].as_array().unwrap();
    let found: Vec<_> = letters.iter().map(|letter| (&letter["offset"], letter["reason"].as_str().unwrap())).collect();
    let expected = [(1, "rating_out_of_range"), (2, "invalid_utf8"), (3, "duplicate_id"), (4, "invalid_field")];
    let expected: Vec<_> = expected.iter().map(|(at, reason)| (json!(at), *reason)).collect();
    assert_eq!(found, expected.iter().map(|(at, reason)| (at, *reason)).collect::<Vec<_>>());
    assert_eq!(
        (&letters[0]["text"], &letters[0]["lossy"]),
        (&json!(r#"{"user":"1","item":"2","rating":9}"#), &json!(false))
    );
    assert_eq!((&letters[1]["text"], &letters[1]["lossy"]), (&json!("\u{fffd}\u{fffd} garbage"), &json!(true)));
    let page = engine.json("/dead-letters?n=3");
    let rest = engine.json(&format!("/dead-letters?n=3&cursor={}", page["cursor"].as_str().unwrap()));
    assert_eq!((rest["dead_letters"][0]["offset"].clone(), &rest["cursor"]), (json!(4), &json!(null)));

    let at = |offset: i64| json!({ "topic": letters[0]["topic"], "partition": 0, "offset": offset });
    let replay = |body: &Value| engine.send("POST", "/dead-letters/replay", "application/json", &body.to_string());
    let (status, body) = replay(&json!({ "positions": [at(1), at(2), at(3)] }));
    assert_eq!((status, &body["code"]), (422, &json!("none_replayed")), "{body}");
    let reasons: Vec<_> = body["refused"].as_array().unwrap().iter().map(|one| &one["reason"]).collect();
    assert_eq!(reasons, ["rating_out_of_range", "invalid_utf8", "duplicate_id"]);
    let (status, body) = replay(&json!({ "positions": [at(1)], "payload": r#"{"user":"1","item":"2","rating":8}"# }));
    assert_eq!(status, 422);
    assert!(body["detail"].as_str().unwrap().contains("rating is 8; 1 to 5 is allowed"), "{body}");
    let (status, body) = replay(&json!({ "positions": [at(1), at(9)] }));
    assert_eq!((status, &body["code"]), (404, &json!("no_such_letter")), "{body}");

    let corrected = json!({ "positions": [at(1)], "payload": r#"{"user":"1","item":"2","rating":5}"# });
    assert_eq!(replay(&corrected), (200, json!({ "replayed": 1, "refused": [] })));
    let (status, body) = replay(&corrected);
    assert_eq!((status, &body["refused"][0]["reason"]), (422, &json!("replayed_before")), "once is enough: {body}");
    engine.learned(2);
    let letters = engine.json("/dead-letters");
    assert_eq!(letters["dead_letters"].as_array().unwrap().len(), 4, "the letter stays, and no new one has come");
    assert!(letters["dead_letters"][0]["replayed_at_ms"].as_i64() > Some(0), "{letters}");
    engine.stop().succeeded();
    let id: String = freshet.ask("SELECT id FROM events WHERE seq = 2");
    assert!(id.starts_with("dead-letter/"), "{id}");
}

/// A stream of the live feed, whose answer has begun.
fn stream(engine: &Engine) -> TcpStream {
    let mut stream = TcpStream::connect(engine.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let told = until(&mut stream, "event: hello");
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    stream
}

/// What a stream brings until this is in it, or until it ends.
fn until(stream: &mut TcpStream, part: &str) -> String {
    let (mut told, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&told);
        if text.contains(part) {
            return text.into_owned();
        }
        let read = stream.read(&mut chunk).unwrap_or_else(|error| panic!("{part:?} does not come: {error}: {text}"));
        assert!(read > 0, "the stream ended without {part:?}: {text}");
        told.extend(&chunk[..read]);
    }
}

#[test]
fn of_more_than_two_hundred_streams_the_oldest_are_told_to_come_again() {
    let freshet = Freshet::new(&SETTINGS);
    let engine = freshet.start();
    let mut streams: Vec<TcpStream> = (0..200).map(|_| stream(&engine)).collect();
    let mut newest = [stream(&engine), stream(&engine)];
    for oldest in &mut streams[..2] {
        let told = until(oldest, "event: reconnect");
        let told = told.clone() + &if told.contains("after_ms") { String::new() } else { until(oldest, "after_ms") };
        assert!(told.contains("reason"), "{told}");
    }
    engine.send("POST", "/events", "application/json", r#"{"user":"1","item":"1","rating":4}"#);
    let [third, last] = [&mut streams[2], &mut newest[1]].map(|stream| until(stream, "event: events"));
    assert!(!third.contains("event: reconnect") && !last.contains("event: reconnect"));
    assert_eq!(engine.get("/readyz").0, 200, "it goes on answering");
}
