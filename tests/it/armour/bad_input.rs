//! Requests that no client should send: each gets a clear answer, or a closed connection where HTTP knows none, and
//! nothing that one client does holds up another.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::{connect, exchange, request, rest, status};
use crate::program::{Engine, Freshet};

/// A server that soon loses its patience, and its folder.
fn hasty() -> (Freshet, Engine) {
    let limits = ["head_timeout=1s", "body_timeout=500ms", "idle_timeout=2s", "request_timeout=3s"];
    let freshet = Freshet::new(&limits.map(|limit| format!("serve.{limit}")));
    let engine = freshet.start();
    (freshet, engine)
}

/// Fails unless an answer is an error of the client's with a code of ours.
fn assert_refused(what: &str, answer: &str) {
    assert!(status(answer).is_some_and(|status| (400..500).contains(&status)), "{what}: {answer}");
    assert!(
        answer.contains("content-type: application/problem+json") && answer.contains("\"code\""),
        "{what}: {answer}"
    );
}

/// Fails unless the server answers soon.
fn assert_answers(engine: &Engine) {
    let start = Instant::now();
    let answer = request(engine, "GET", "/recommend/1", "");
    assert_eq!(status(&answer), Some(200), "{answer}");
    assert!(start.elapsed() < Duration::from_secs(5), "an answer took {:?}", start.elapsed());
}

#[test]
fn ids_and_parameters_of_any_kind_are_answered_or_refused_with_a_reason() {
    let (_freshet, engine) = hasty();
    for id in ["a%2Fb", "100%25", "%F0%9F%98%80", "%00", "..%2F..%2Fetc", &"%F0%9F%98%80".repeat(256)] {
        let answer = request(&engine, "GET", &format!("/recommend/{id}"), "");
        assert!(matches!(status(&answer), Some(200 | 400)), "{id}: {answer}");
    }
    let long = request(&engine, "GET", &format!("/recommend/{}", "x".repeat(10_240)), "");
    assert!(status(&long).is_some_and(|status| status < 500), "{long}");
    for path in [
        "/recommend/1?n=0",
        "/recommend/1?n=-1",
        "/recommend/1?n=1000000000",
        "/recommend/1?n=99999999999999999999999",
        "/recommend/%zz",
        "/recommend/%",
        "/recommend/%FF",
        "/recommend/1?exclude=%",
        "/recommend/a/b/c",
        "/../../etc/passwd",
        "//",
        &format!("/recommend/1?exclude={}", "x".repeat(62_000)),
    ] {
        assert_refused(path, &request(&engine, "GET", path, ""));
    }
    for method in ["BREW", "PATCH", "TRACE", "DELETE"] {
        assert_refused(method, &request(&engine, method, "/recommend/1", ""));
    }
    engine.stop().succeeded();
}

#[test]
fn heads_that_are_too_long_or_no_http_are_refused() {
    let (_freshet, engine) = hasty();
    let many = "x-one: 1\r\n".repeat(200);
    assert_eq!(status(&request(&engine, "GET", "/livez", &many)), Some(431));
    // The server closes while the client still sends, so that the answer may be lost on the way.
    for (what, head) in
        [("a header of 1 MB", format!("x: {}\r\n", "x".repeat(1 << 20))), ("10,000 headers", "x: 1\r\n".repeat(10_000))]
    {
        let answer = request(&engine, "GET", "/livez", &head);
        assert!(matches!(status(&answer), Some(431) | None), "{what}: {answer}");
    }
    let answer = request(&engine, "GET", &format!("/{}", "x".repeat(70_000)), "");
    assert_eq!(status(&answer), Some(414), "{answer}");
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhost: x\r\n : \r\n\r\n",
        b"POST /livez HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nthis is no frame",
    ] {
        let answer = exchange(&engine, garbage);
        let refused = status(&answer).is_none_or(|status| (400..500).contains(&status));
        assert!(refused, "{:?}: {answer}", String::from_utf8_lossy(garbage));
    }
    let answer =
        exchange(&engine, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n\x01\x02 garbage\r\n\r\nGET /livez HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.matches("HTTP/1.1 400").count() == 1, "{answer}");
    assert_answers(&engine);
    engine.stop().succeeded();
}

#[test]
fn slow_and_silent_clients_are_let_go_and_hold_up_nobody() {
    let (_freshet, engine) = hasty();
    let silent: Vec<_> = (0..300).map(|_| connect(&engine)).collect();
    let mut slow: Vec<_> = (0..100).map(|_| connect(&engine)).collect();
    let start = Instant::now();
    for stream in &mut slow {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost:").unwrap();
    }
    for _ in 0..50 {
        assert_answers(&engine);
    }
    for mut stream in silent.into_iter().chain(slow) {
        let answer = rest(&mut stream);
        assert!(status(&answer).is_none_or(|status| status == 408), "{answer}");
    }
    assert!(start.elapsed() < Duration::from_secs(20), "the last was let go after {:?}", start.elapsed());

    let mut body = connect(&engine);
    body.write_all(b"POST /events HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100\r\n\r\n[").unwrap();
    assert_refused("a slow body", &rest(&mut body));

    let mut idle = connect(&engine);
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let start = Instant::now();
    let answer = rest(&mut idle);
    assert_eq!(status(&answer), Some(200), "{answer}");
    assert!((1..20).contains(&start.elapsed().as_secs()), "an idle connection was closed after {:?}", start.elapsed());
    engine.stop().succeeded();
}

#[test]
fn a_connection_that_breaks_off_leaves_the_others_alone() {
    let (_freshet, engine) = hasty();
    let whole = b"POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n[{\"user\": ";
    for end in 0..whole.len() {
        let mut stream = connect(&engine);
        stream.write_all(&whole[..end]).unwrap();
        if end % 2 == 0 {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
    for _ in 0..20 {
        connect(&engine).write_all(b"GET /recommend/1 HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    }
    assert_answers(&engine);
    let ended = engine.stop().succeeded();
    assert!(!ended.stderr.contains("panic") && !ended.stderr.contains("ERROR"), "{ended}");
}

#[test]
fn more_connections_than_allowed_are_refused_until_others_end() {
    let freshet = Freshet::new(&["serve.max_connections=20"]);
    let engine = freshet.start();
    let held: Vec<_> = (0..20).map(|_| connect(&engine)).collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    // The server may not have taken all of them in yet.
    while status(&request(&engine, "GET", "/livez", "")) == Some(200) {
        assert!(Instant::now() < deadline, "the 21st connection is served");
    }
    drop(held);
    while status(&request(&engine, "GET", "/livez", "")) != Some(200) {
        assert!(Instant::now() < deadline, "nobody is served once the others are gone");
        std::thread::sleep(Duration::from_millis(20));
    }
    let metrics = engine.get("/metrics").1;
    let counted = metrics.as_str().unwrap().lines().find(|line| line.contains("refused_total{reason=\"connections\"}"));
    assert!(counted.is_some_and(|line| !line.ends_with(" 0")), "{counted:?}");
    engine.stop().succeeded();
}
