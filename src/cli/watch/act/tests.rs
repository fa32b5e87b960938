use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use super::*;

fn alerted(alert: &str) -> Alerted {
    Alerted {
        alert: alert.to_owned(),
        json: b"{\"value\":7}".to_vec(),
        variables: vec![("FRESHET_ALERT", alert.to_owned())],
    }
}

fn exec_only(command: &str) -> Deeds {
    Deeds { exec: Some(command.to_owned()), webhook: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_the_record_and_the_alert() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out");
    let actor = Actor::start(&exec_only(&format!("cat >> {0}; echo \"$FRESHET_ALERT\" >> {0}", file.display())));
    actor.take(alerted("value > 6"));
    assert_eq!(actor.finish().await, "1 acted upon");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "{\"value\":7}\nvalue > 6\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_or_reads_nothing_is_counted_for_what_it_is() {
    let actor = Actor::start(&exec_only("test \"$FRESHET_ALERT\" = good"));
    for alert in ["good", "bad", "good"] {
        actor.take(alerted(alert));
    }
    assert_eq!(actor.finish().await, "2 acted upon, 1 failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_can_wait_is_dropped_and_counted_and_taking_never_waits() {
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    let actor = Actor::start(&exec_only(&format!("while [ ! -e {} ]; do sleep 0.05; done; exit 1", go.display())));
    for _ in 0..QUEUE + WORKERS + 10 {
        actor.take(alerted("x"));
    }
    assert!(actor.counts.dropped.load(Ordering::Relaxed) >= 10);
    // Those that wait are given up: nobody wants to wait for a thousand commands.
    let Actor { workers, .. } = actor;
    drop(workers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_gets_the_record_and_is_never_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let start = head.len();
            reader.read_line(&mut head).unwrap();
            if let Some(value) = head[start..].to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        (head, String::from_utf8(body).unwrap())
    });
    let webhook: Webhook = format!("http://me:s3cret@127.0.0.1:{port}/hook/t0ken").parse().unwrap();
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().proxy(None).build());
    webhook.post(&agent, b"{\"value\":7}").unwrap();
    let (head, body) = server.join().unwrap();
    assert!(head.starts_with("POST /hook/t0ken HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("authorization: basic ") && body == "{\"value\":7}", "{head}{body}");
    let shown = format!("{webhook:?} {}", webhook.place());
    assert!(shown.contains(&format!("http://127.0.0.1:{port}/…")), "{shown}");

    // The server is gone.
    let error = format!("{:#} {shown}", webhook.post(&agent, b"{}").unwrap_err());
    assert!(!["s3cret", "t0ken", "me:"].iter().any(|secret| error.contains(secret)), "{error}");
}

#[test]
fn what_is_no_url_is_refused_without_repeating_it() {
    for text in ["", "host/path", "ftp://host/", "http://", "http:///path", "http://me:s3cret@ho st/"] {
        let error = text.parse::<Webhook>().unwrap_err();
        assert!(error.contains("https://host/path") && !error.contains("s3cret"), "{text}: {error}");
    }
}
