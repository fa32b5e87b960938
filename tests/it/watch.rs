//! `freshet watch` as a person uses it, on a real Kafka and on the embedded log: the workflows of the tutorials.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use freshet::capture::producer::{self, Record};
use freshet::config::{BrokerKind, Config};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::program::{Ended, Freshet};
use crate::support::{self, Kafka};

/// A program on one of the logs, and topics of its own there.
pub(crate) struct Log {
    pub(crate) freshet: Freshet,
    pub(crate) config: Config,
}

impl Log {
    pub(crate) fn embedded() -> Self {
        let freshet = Freshet::new::<&str>(&[]);
        let mut config = Config::default();
        config.store.data_dir = freshet.path("freshet-data");
        Self { freshet, config }
    }

    pub(crate) fn kafka(servers: &str) -> Self {
        let mut config = Config::default();
        config.broker.kind = BrokerKind::Kafka;
        servers.clone_into(&mut config.broker.servers);
        config.broker.group = support::unique("engine");
        config.broker.topic = support::unique("ratings");
        let settings = [
            "broker.kind=kafka".to_owned(),
            format!("broker.servers={servers}"),
            format!("broker.group={}", config.broker.group),
            format!("broker.topic={}", config.broker.topic),
        ];
        Self { freshet: Freshet::new(&settings), config }
    }

    /// Both logs; the embedded one alone where a mock stands in for Kafka, which knows no topics to be created.
    pub(crate) fn both() -> Vec<Self> {
        if support::kafka::is_mock() {
            return vec![Self::embedded()];
        }
        vec![Self::embedded(), Self::kafka(support::kafka())]
    }

    /// A new topic.
    pub(crate) fn topic(&self, base: &str, partitions: i32) -> String {
        let name = support::unique(base);
        self.freshet.must(&["topics", "create", &name, "--partitions", &partitions.to_string()]);
        name
    }

    /// Sends values, each with the time that `at_ms` says.
    pub(crate) fn send(&self, topic: &str, values: &[&str], at_ms: Option<i64>) {
        let mut config = self.config.clone();
        topic.clone_into(&mut config.broker.topic);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let producer = producer::open(&config).await.unwrap();
            for value in values {
                let record =
                    Record { key: b"k".to_vec(), payload: value.as_bytes().to_vec(), timestamp_ms: at_ms, trace: None };
                producer.send(record).await.unwrap();
            }
            assert_eq!(producer.flush().await.unwrap().failed, 0);
        });
    }

    fn watch(&self, arguments: &[&str]) -> Ended {
        self.freshet.run(&[&["watch"], arguments].concat())
    }

    /// The lines that watching prints from the beginning of a topic to its end.
    fn lines(&self, topic: &str, flags: &[&str]) -> Vec<String> {
        let all = [&["watch", topic, "--from", "beginning", "--until-end"], flags].concat();
        self.freshet.must(&all).lines().map(str::to_owned).collect()
    }
}

#[test]
fn the_rolling_mean_of_one_to_ten_is_that_of_the_tutorial() {
    for log in Log::both() {
        let topic = log.topic("numbers", 1);
        log.send(&topic, &["1", "2", "3", "4", "five", "5", "6", "7", "8", "9", "10"], None);
        let flags = ["watch", &topic, "--from", "beginning", "--until-end", "--rolling-mean", "3", "--format", "value"];
        let ended = log.freshet.run(&flags).succeeded().told(&["no number", "@4: five", "1 values were no numbers"]);
        let lines: Vec<_> = ended.stdout.lines().collect();
        assert_eq!(lines, ["1", "2", "2.0", "3.0", "4.0", "5.0", "6.0", "7.0", "8.0", "9.0"], "{ended}");

        let events = log.topic("events", 1);
        log.send(&events, &[r#"{"rating":4,"user":"7"}"#, r#"{"user":"7"}"#, r#"{"rating":1.5}"#], None);
        let lines = log.lines(&events, &["--rolling-mean", "2", "--field", "rating", "--format", "ndjson"]);
        let means: Vec<Value> =
            lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()["mean"].clone()).collect();
        assert_eq!(means, [Value::Null, Value::Null, json!(2.75)]);
    }
}

/// Serves one request, and hands its body over.
fn webhook() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://me:s3cret@{}/alerts", listener.local_addr().unwrap());
    let (sender, bodies) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).unwrap() > 0 && line != "\r\n" {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
            if sender.send(String::from_utf8(body).unwrap()).is_err() {
                return;
            }
        }
    });
    (url, bodies)
}

#[test]
fn messages_of_more_than_six_words_alert_and_are_acted_upon() {
    for mut log in Log::both() {
        log.freshet.variable("NO_PROXY", "127.0.0.1");
        let topic = log.topic("sentences", 1);
        log.send(
            &topic,
            &[
                "hello world",
                "one two three four five six",
                "a b c d e f g",
                "one two three  four five six seven eight",
            ],
            None,
        );
        let (url, bodies) = webhook();
        let exec = "cat > \"alert-$FRESHET_OFFSET.json\"; echo \"$FRESHET_ALERT on $FRESHET_TOPIC\"";
        let ended = log.watch(&[
            &topic,
            "--from",
            "beginning",
            "--until-end",
            "--words",
            "--alert",
            "words > 6",
            "--exec",
            exec,
            "--webhook",
            &url,
        ]);
        let shown = ended.to_string();
        assert!(!shown.replace(&url, "").contains("s3cret"), "{shown}");
        let ended = ended.succeeded().told(&[
            "4 records",
            "23 words in 4 messages of text",
            "2 times words > 6",
            "alerts: 2 acted upon",
            &format!("words > 6 on {topic}"),
        ]);
        let alerts: Vec<_> = ended.stdout.lines().filter(|line| line.starts_with("ALERT words > 6")).collect();
        assert_eq!(alerts.len(), 2, "{ended}");
        assert!(alerts[0].ends_with("@2  a b c d e f g") && ended.stdout.contains("7 words\nALERT"), "{ended}");

        let file: Value = serde_json::from_slice(&std::fs::read(log.freshet.path("alert-3.json")).unwrap()).unwrap();
        assert_eq!((&file["alert"], &file["words"], &file["offset"]), (&json!("words > 6"), &json!(8), &json!(3)));
        assert!(!log.freshet.path("alert-0.json").exists());
        let mut posted: Vec<Value> = (0..2)
            .map(|_| serde_json::from_str(&bodies.recv_timeout(Duration::from_mins(1)).unwrap()).unwrap())
            .collect();
        posted.sort_by_key(|body| body["offset"].as_i64());
        assert_eq!((&posted[0]["value"], &posted[1]), (&json!("a b c d e f g"), &file));
    }
}

#[test]
fn alerts_go_by_fields_and_by_the_rate_and_what_is_misspelt_is_told() {
    for log in Log::both() {
        let topic = log.topic("ratings", 1);
        let events: Vec<String> =
            (0..400).map(|n| json!({"user": n.to_string(), "rating": n % 5 + 1}).to_string()).collect();
        log.send(&topic, &events.iter().map(String::as_str).collect::<Vec<_>>(), Some(1_790_000_000_000));
        let ended = log.watch(&[
            &topic,
            "--from",
            "beginning",
            "--until-end",
            "--quiet",
            "--alert",
            "rating <= 1 && user != \"5\"",
            "--alert",
            "rate > 60/s",
            "--alert",
            "rate > 4800/min",
            "--alert",
            "ratng == 5",
        ]);
        let ended = ended.succeeded().told(&[
            "79 times rating <= 1 && user != \"5\"",
            "100 times rate > 60/s, 99 of them within the cooldown",
            "0 times rate > 4800/min",
            "--alert 'ratng == 5': none of 100 messages has ratng; the last one has ",
            "0 times ratng == 5",
        ]);
        assert_eq!(ended.stdout.lines().count(), 80, "79 by the field, one by the rate, and no records: {ended}");
    }
}

#[test]
fn a_malformed_alert_is_refused_with_a_pointer_before_anything_is_read() {
    let freshet = Freshet::new(&["broker.kind=kafka", "broker.servers=127.0.0.1:1"]);
    let malformed = ["watch", "--alert", "rating <= 1 &&"];
    freshet.run(&malformed).exited(2).told(&["rating <= 1 &&\n", "              ^", "ends too early", "words > 6"]);
    freshet.run(&["watch", "--alert", "rating + 1"]).exited(2).told(&["neither true nor false"]);
    freshet.run(&["watch", "--alert", "mean > 1"]).exited(2).told(&["--rolling-mean"]);
    freshet.run(&["watch", "--from", "yesterday"]).exited(2).told(&["last:1h", "offset:17"]);
    freshet.run(&["watch", "--exec", "true"]).exited(2).told(&["--alert"]);
    freshet.run(&["watch", "--group", "freshet"]).exited(2).told(&["the engine's group", "name another"]);
    let bad_url = freshet.run(&["watch", "--alert", "words > 1", "--webhook", "ftp://me:s3cret@host"]).exited(2);
    assert!(!bad_url.stderr.contains("s3cret"), "{bad_url}");
}

#[test]
fn several_topics_are_watched_at_once() {
    for log in Log::both() {
        let topics = [log.topic("one", 2), log.topic("two", 1)];
        let mut arguments = vec!["watch", &topics[0], &topics[1], "--limit", "3", "--format", "ndjson"];
        let mut running = log.freshet.spawn(&arguments);
        running.wrote("3 partitions");
        log.send(&topics[1], &["b"], None);
        running.wrote("\"b\"");
        log.send(&topics[0], &["a", "c"], None);
        let ended = running.wait().succeeded().told(&["3 records"]);
        let found: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found: Vec<_> = found.iter().map(|record| (&record["topic"], &record["value"])).collect();
        assert_eq!(
            found,
            [(&json!(topics[1]), &json!("b")), (&json!(topics[0]), &json!("a")), (&json!(topics[0]), &json!("c"))]
        );

        arguments.splice(3.., ["--from", "beginning", "--until-end", "--format", "value"]);
        let mut lines: Vec<String> = log.freshet.must(&arguments).lines().map(str::to_owned).collect();
        lines.sort_unstable();
        assert_eq!(lines, ["a", "b", "c"]);
    }
}

#[test]
fn each_start_is_where_it_says() {
    let now = jiff::Timestamp::now().as_millisecond();
    let hours = |hours: f64| now - (hours * 3_600_000.0) as i64;
    for log in Log::both() {
        let topic = log.topic("starts", 1);
        for (at_ms, values) in [(hours(3.0), ["a", "b", "c"]), (hours(1.5), ["d", "e", "f"]), (now, ["g", "h", "i"])] {
            log.send(&topic, &values, Some(at_ms));
        }
        let time = format!("time:{}", jiff::Timestamp::from_millisecond(hours(2.0)).unwrap());
        for (from, expected) in [
            ("beginning", "abcdefghi"),
            ("latest", ""),
            ("offset:7", "hi"),
            ("offset:99", ""),
            ("offset:-4", "fghi"),
            ("last:2h", "defghi"),
            ("last:1d", "abcdefghi"),
            (&time, "defghi"),
            ("time:2001-01-01", "abcdefghi"),
            ("time:2100-01-01 10:00", ""),
        ] {
            let found = log.freshet.must(&["watch", &topic, "--from", from, "--until-end", "--format", "value"]);
            assert_eq!(found.replace('\n', ""), expected, "--from {from}");
        }
        let two = log.watch(&[&topic, "--from", "beginning", "--limit", "2", "--format", "value"]).succeeded();
        assert_eq!(two.stdout, "a\nb\n");
        let other = log.watch(&[&topic, "--partition", "1"]).exited(1);
        other.told(&["has no partition 1; it has 0 to 0"]);
    }
}

#[test]
fn a_signal_ends_in_order_and_is_a_failure_only_if_an_end_was_asked_for() {
    for log in Log::both() {
        let topic = log.topic("signals", 1);
        for (flags, code) in [(&["watch", &*topic][..], 0), (&["watch", &*topic, "--limit", "9"], 130)] {
            let mut running = log.freshet.spawn(flags);
            running.wrote("watching");
            log.send(&topic, &["x"], None);
            running.wrote("@");
            running.signal("INT");
            running.wait().exited(code).told(&["1 record, "]);
        }
    }
}

#[test]
fn a_topic_that_is_not_there_is_told_with_those_that_are_and_not_created() {
    for log in Log::both() {
        let topic = log.topic("there", 1);
        for flags in [&["watch", "nowhere"][..], &["watch", &*topic, "nowhere"], &["watch", "nowhere", "--group", "g"]]
        {
            log.freshet.run(flags).exited(1).told(&["no topic \"nowhere\""]);
        }
        assert!(!log.freshet.must(&["topics", "list"]).contains("nowhere"));
    }
    let none = Log::embedded();
    none.watch(&[]).exited(3).told(&["log.db", "nothing was produced yet"]);
    assert!(!none.freshet.path("freshet-data").exists());
}

#[test]
fn a_topic_that_is_deleted_under_the_watch_ends_it_with_a_message() {
    for log in Log::both() {
        let topic = log.topic("doomed", 2);
        let mut running = log.freshet.spawn(&["watch", &topic]);
        running.wrote("watching");
        log.send(&topic, &["x"], None);
        running.wrote("@0");
        log.freshet.must(&["topics", "delete", &topic, "--yes"]);
        running
            .wait()
            .exited(1)
            .told(&[&format!("topic \"{topic}\" was deleted while it was being watched"), "1 record, "]);
    }
}

#[test]
fn a_group_goes_on_where_it_has_left_off() {
    for log in Log::both() {
        let (topic, group) = (log.topic("grouped", 1), support::unique("lookers"));
        log.send(&topic, &["a", "b", "c"], None);
        let watch = |flags: &[&str]| {
            let all =
                [&["watch", &topic, "--group", &group, "--from", "beginning", "--format", "value"], flags].concat();
            log.freshet.must(&all)
        };
        assert_eq!(watch(&["--limit", "2"]), "a\nb\n");
        let lag = |expected: i64| {
            let group: Value =
                serde_json::from_str(&log.freshet.must(&["groups", "describe", &group, "--json"])).unwrap();
            assert_eq!(group["partitions"][0]["lag"], expected, "{group}");
        };
        lag(1);
        assert_eq!(watch(&["--until-end"]), "c\n");
        lag(0);
        assert_eq!(watch(&["--until-end"]), "");
        let listed = log.freshet.must(&["groups", "list"]);
        assert!(listed.contains(&group) && !listed.contains("freshet-watch"), "{listed}");
    }
}

#[test]
fn the_engines_group_is_not_disturbed() {
    if support::kafka::is_mock() {
        return;
    }
    let log = Log::kafka(support::kafka());
    log.freshet.must(&["replay", "sample", "--limit", "500"]);
    let mut engine = log.freshet.start();
    engine.learned(500);
    let group = || -> Value { serde_json::from_str(&log.freshet.must(&["groups", "describe", "--json"])).unwrap() };
    let topic = log.config.broker.topic.as_str();
    let committed = |group: &Value| group["partitions"][0]["committed"].as_i64();
    let mut before = group();
    while committed(&before) != Some(500) {
        std::thread::sleep(Duration::from_millis(100));
        before = group();
    }
    assert_eq!((&before["state"], &before["members"]), (&json!("Stable"), &json!(1)), "{before}");
    assert_eq!(before["member_list"][0]["assignment"][topic], json!([0]), "{before}");

    assert_eq!(log.lines(topic, &["--format", "value"]).len(), 500);
    let other = support::unique("lookers");
    log.watch(&["--from", "beginning", "--until-end", "--group", &other, "--quiet"]).succeeded().told(&["500 records"]);
    log.watch(&["--group", &log.config.broker.group]).exited(2).told(&["the engine's group"]);
    let mut running = log.freshet.spawn(&["watch"]);
    running.wrote("watching");
    assert_eq!(group(), before, "members, assignment and commits are what they were");
    running.signal("INT");
    running.wait().succeeded();

    log.freshet.must(&["replay", "sample", "--limit", "100"]);
    engine.learned(600);
    assert_eq!(group()["member_list"], before["member_list"], "and it has not been shared out anew");
    engine.stop().succeeded();
}

#[test]
fn topics_of_every_codec_are_read() {
    if support::kafka::is_mock() {
        return;
    }
    let log = Log::kafka(support::kafka());
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let topic = log.topic(codec, 1);
        let mut client = support::kafka::client_config(support::kafka());
        // One batch, so that there is something to compress.
        let producer: BaseProducer = client.set("compression.type", codec).set("linger.ms", "500").create().unwrap();
        for number in 0..1_000 {
            let payload = format!("message number {number} of a thousand that are much alike");
            producer.send(BaseRecord::<(), str>::to(&topic).payload(&payload)).unwrap();
        }
        producer.flush(Duration::from_mins(1)).unwrap();
        let lines = log.lines(&topic, &["--format", "value"]);
        assert_eq!(lines.len(), 1_000, "{codec}");
        assert_eq!(lines[999], "message number 999 of a thousand that are much alike", "{codec}");
    }
}

#[test]
fn bytes_tombstones_and_huge_messages_are_shown_safely() {
    let mut logs = vec![Log::embedded()];
    if !support::kafka::is_mock() {
        let log = Log::kafka(support::kafka());
        let topic = log.topic("tombs", 1);
        let producer: BaseProducer = support::kafka::client_config(support::kafka()).create().unwrap();
        producer.send(BaseRecord::<[u8], [u8]>::to(&topic).key(b"\xff")).unwrap();
        producer.send(BaseRecord::<[u8], [u8]>::to(&topic).payload(b"\0\0\0\0\x07{\"a\":1}")).unwrap();
        producer.flush(Duration::from_mins(1)).unwrap();
        let lines: Vec<Value> =
            log.lines(&topic, &["--format", "ndjson"]).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["key_hex"], &lines[0]["value"]), (&json!("ff"), &Value::Null));
        assert_eq!((&lines[1]["schema"], &lines[1]["value"]), (&json!(7), &json!("{\"a\":1}")));
        let text = log.lines(&topic, &[]);
        assert!(text[0].ends_with("(tombstone)") && text[1].ends_with("schema 7 {\"a\":1}"), "{text:?}");
        logs.push(log);
    }
    for log in logs {
        let topic = log.topic("odd", 1);
        let huge = "x".repeat(900_000);
        log.send(&topic, &["\u{1b}[31mred\u{7}\nline", &huge], None);
        let text = log.lines(&topic, &[]);
        assert!(text[0].ends_with("\\u{1b}[31mred\\u{7}\\nline"), "{text:?}");
        assert!(text[1].len() < 5_000 && text[1].ends_with("(900000 bytes)"));
        let bytes = log.freshet.bytes(&["watch", &topic, "--from", "beginning", "--until-end", "--format", "value"]);
        assert_eq!(bytes, format!("\u{1b}[31mred\u{7}\nline\n{huge}\n").into_bytes());
    }
}

#[test]
fn a_reader_that_closes_the_pipe_ends_it_quietly() {
    let log = Log::embedded();
    let topic = log.topic("many", 1);
    let values: Vec<String> = (0..20_000).map(|n| format!("{n:0100}")).collect();
    log.send(&topic, &values.iter().map(String::as_str).collect::<Vec<_>>(), None);
    let mut child = Command::new(env!("CARGO_BIN_EXE_freshet"))
        .args(["watch", &topic, "--from", "beginning", "--format", "value"])
        .current_dir(log.freshet.path("."))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !stderr.contains("panicked") && !stderr.contains("error"), "{stderr}");
    assert_eq!(line.trim_end(), values[0]);
}

#[test]
fn a_broker_that_is_killed_and_comes_back_is_told_and_waited_for() {
    let Some(mut broker) = Kafka::start() else { return };
    let log = Log::kafka(&broker.servers());
    let topic = log.topic("outage", 1);
    let mut running = log.freshet.spawn(&["watch", &topic, "--limit", "2", "--format", "value"]);
    running.wrote("watching");
    log.send(&topic, &["before"], None);
    running.wrote("before");
    broker.kill();
    running.wrote("kafka does not answer; waiting until it is back");
    broker.restart();
    log.send(&topic, &["after"], None);
    let ended = running.wait().succeeded().told(&["kafka is back"]);
    assert_eq!(ended.stdout, "before\nafter\n");
    assert_eq!(ended.stderr.matches("kafka does not answer").count(), 1, "{ended}");
}
