//! `freshet produce` on Kafka and on the embedded log: each message once, a report for each, and every failure told.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::program::Freshet;
use crate::support::{self, Kafka, kafka};

/// A record as it is on the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Logged {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Vec<u8>,
}

/// The program on one kind of log, and what is on that log, read behind its back.
pub(crate) struct Log {
    pub(crate) freshet: Freshet,
    pub(crate) topic: String,
    /// Bootstrap servers; none for the embedded log.
    servers: Option<String>,
}

impl Log {
    pub(crate) fn embedded(partitions: i32) -> Self {
        let freshet = Freshet::new(&[format!("broker.partitions={partitions}"), "broker.topic=messages".to_owned()]);
        Self { freshet, topic: "messages".to_owned(), servers: None }
    }

    /// On the Kafka that the tests share.
    pub(crate) fn kafka(partitions: i32) -> Self {
        Self::on(support::kafka(), &support::topic("messages", partitions))
    }

    fn on(servers: &str, topic: &str) -> Self {
        let freshet = Freshet::new(&[
            "broker.kind=kafka".to_owned(),
            format!("broker.servers={servers}"),
            format!("broker.topic={topic}"),
            format!("broker.group={}", support::unique("messages")),
        ]);
        Self { freshet, topic: topic.to_owned(), servers: Some(servers.to_owned()) }
    }

    /// Everything on the topic, by partition and offset.
    pub(crate) fn records(&self) -> Vec<Logged> {
        let mut records = match &self.servers {
            None => self.embedded_records(),
            Some(servers) => kafka_records(servers, &self.topic),
        };
        records.sort();
        records
    }

    fn embedded_records(&self) -> Vec<Logged> {
        let log = rusqlite::Connection::open(self.freshet.path("freshet-data/log.db")).unwrap();
        let sql = "SELECT r.partition, r.offset, r.key, r.payload FROM records r JOIN topics t ON t.id = r.topic
                   WHERE t.name = ?1";
        let mut statement = log.prepare(sql).unwrap();
        let logged = |row: &rusqlite::Row<'_>| {
            Ok(Logged { partition: row.get(0)?, offset: row.get(1)?, key: row.get(2)?, payload: row.get(3)? })
        };
        statement.query_map([&self.topic], logged).unwrap().map(Result::unwrap).collect()
    }

    fn payloads(&self) -> Vec<String> {
        self.records().into_iter().map(|record| String::from_utf8(record.payload).unwrap()).collect()
    }
}

fn kafka_records(servers: &str, topic: &str) -> Vec<Logged> {
    let consumer: BaseConsumer = kafka::client_config(servers).set("group.id", "reader").create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(30)).unwrap();
    let (mut from, mut left) = (TopicPartitionList::new(), 0);
    for partition in metadata.topics()[0].partitions() {
        from.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), Duration::from_secs(30)).unwrap();
        left += high - low;
    }
    consumer.assign(&from).unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut records = Vec::new();
    while (records.len() as i64) < left {
        assert!(Instant::now() < deadline, "{} of {left} records were read", records.len());
        let Some(message) = consumer.poll(Duration::from_secs(1)) else { continue };
        let message = message.unwrap();
        records.push(Logged {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().unwrap_or_default().to_vec(),
        });
    }
    records
}

fn each_log(partitions: i32) -> [Log; 2] {
    [Log::embedded(partitions), Log::kafka(partitions)]
}

fn numbers(numbers: std::ops::RangeInclusive<u32>) -> String {
    numbers.map(|number| number.to_string() + "\n").collect()
}

#[test]
fn a_thousand_numbered_messages_are_each_on_the_log_once_where_their_report_says() {
    for log in each_log(3) {
        let ended = log.freshet.fed(&["produce", "--raw"], numbers(1..=1_000)).succeeded();
        let records = log.records();
        let by_place: BTreeMap<_, _> =
            records.iter().map(|record| ((record.partition, record.offset), record)).collect();
        assert_eq!((records.len(), by_place.len()), (1_000, 1_000));
        let reports: Vec<&str> = ended.stdout.lines().collect();
        assert_eq!(reports.len(), 1_000, "{ended}");
        for (report, number) in reports.iter().zip(1..) {
            // delivered to messages [2] at offset 17
            let words: Vec<&str> = report.split(' ').collect();
            assert_eq!((&words[..2], words[2]), (&["delivered", "to"][..], log.topic.as_str()), "{report}");
            let place = (words[3].trim_matches(['[', ']']).parse().unwrap(), words[6].parse().unwrap());
            let record = by_place[&place];
            assert_eq!((&record.key, &record.payload), (&None, &format!("{number}").into_bytes()), "{report}");
        }
        for partition in 0..3 {
            let offsets: Vec<i64> =
                records.iter().filter(|record| record.partition == partition).map(|record| record.offset).collect();
            assert_eq!(offsets, (0..offsets.len() as i64).collect::<Vec<_>>(), "partition {partition}");
        }
        assert!(ended.stderr.contains("1,000 delivered, 0 failed in "), "{ended}");
    }
}

#[test]
fn a_full_queue_is_waited_out_and_with_quiet_only_the_count_is_printed() {
    let mut log = Log::kafka(1);
    log.freshet.set("broker.properties.queue.buffering.max.messages=50");
    let ended = log.freshet.fed(&["produce", "--raw", "--quiet"], numbers(1..=3_000)).succeeded();
    assert!(ended.stdout.starts_with("3,000 delivered, 0 failed in ") && ended.stdout.lines().count() == 1, "{ended}");
    assert_eq!(log.payloads(), numbers(1..=3_000).lines().collect::<Vec<_>>(), "in order, and each once");
}

#[test]
fn bad_events_are_told_with_their_line_and_the_others_are_sent() {
    let lines = "{\"user\":1,\"item\":2,\"rating\":4}\n\nhello\n{\"user\":1,\"item\":2,\"rating\":9}\r\n \
                 {\"user\":\"7\",\"item\":\"3\"} \n";
    for log in each_log(1) {
        let ended = log.freshet.fed(&["produce"], lines).exited(1).told(&[
            "line 3: not sent: not JSON",
            "(invalid_json)",
            "line 4: not sent: rating is 9; 1 to 5 is allowed (rating_out_of_range)",
            "2 delivered, 0 failed, 2 refused in ",
            "error: 2 messages were refused and not sent, from line 3 to line 4: not JSON",
        ]);
        assert_eq!(ended.stdout.lines().count(), 2, "{ended}");
        let records = log.records();
        let keys: Vec<_> = records.iter().map(|record| record.key.clone().unwrap()).collect();
        assert_eq!(keys, [b"1", b"7"]);
        assert_eq!(records[1].payload, br#"{"user":"7","item":"3"}"#);
    }
    let log = Log::embedded(1);
    log.freshet.fed(&["produce", "--strict"], lines).exited(1).told(&["1 delivered, 0 failed, 1 refused", "line 3"]);
    assert_eq!(log.records().len(), 1);
}

#[test]
fn the_key_comes_from_a_field_and_one_key_has_one_partition() {
    let line = |n: u32| json!({ "session": format!("s{}", n % 20), "n": n }).to_string() + "\n";
    let lines = (0..300).map(line).collect::<String>();
    let lines = lines + "{\"n\":300}\n17\n";
    for log in each_log(3) {
        log.freshet.fed(&["produce", "--raw", "--key-field", "session"], &lines).exited(1).told(&[
            "line 301: not sent: the field \"session\" for the key is missing; it has n",
            "line 302: not sent: not a JSON object",
        ]);
        let mut partitions = BTreeMap::<_, Vec<_>>::new();
        let mut newest = BTreeMap::new();
        for record in log.records() {
            let key = String::from_utf8(record.key.unwrap()).unwrap();
            let event: Value = serde_json::from_slice(&record.payload).unwrap();
            assert_eq!(event["session"], key);
            let n = event["n"].as_u64();
            assert!(newest.insert(key.clone(), n).is_none_or(|before| before < n), "{key} keeps its order");
            partitions.entry(key).or_default().push(record.partition);
        }
        assert_eq!(partitions.len(), 20);
        assert!(partitions.values().all(|of| of.len() == 15 && of.iter().all(|p| *p == of[0])), "{partitions:?}");
    }
}

#[test]
fn messages_and_files_are_sent_to_the_topic_that_is_named() {
    for mut log in each_log(1) {
        log.freshet.write("a.txt", "three\n\nfour");
        let arguments = ["produce", "--raw", "--key", "k", "--message", "one", "-m", "two", "--file", "a.txt"];
        let topic = support::unique("named");
        log.freshet.run(&[&arguments[..], &["--topic", &topic]].concat()).succeeded();
        log.topic = topic;
        assert_eq!(log.payloads(), ["one", "two", "three", "four"]);
        assert!(log.records().iter().all(|record| record.key.as_deref() == Some(b"k")));
        for (file, why) in [("b.txt", "No such file"), (".", "it is a folder")] {
            let ended = log.freshet.run(&["produce", "--raw", "--file", "a.txt", "--file", file]).exited(1);
            ended.told(&[&format!("cannot read {file}"), why]);
        }
    }
}

#[test]
fn a_message_of_two_megabytes_names_the_limits_and_the_others_go_on() {
    let lines = [b"before\n".to_vec(), vec![b'x'; 2_000_000], b"\nafter\n".to_vec()].concat();
    let log = Log::kafka(1);
    let too_large = ["line 2: not delivered: ", "2000000 bytes", "message.max.bytes", "max.message.bytes", "1 failed"];
    let ended = log.freshet.fed(&["produce", "--raw"], &lines).exited(1).told(&too_large);
    assert_eq!(ended.stdout.lines().count(), 2, "{ended}");
    assert_eq!(log.payloads(), ["before", "after"]);

    // The client's limit is raised, the topic's is not. Noise, since what is compressed well is small to the broker.
    let mut raised = log;
    raised.freshet.set("broker.properties.message.max.bytes=3000000");
    let noise: String = (1..400_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) | 1 << 31).to_string()).collect();
    raised.freshet.set("broker.properties.compression.type=none");
    let noise = &noise[..2_000_000];
    let lines = format!("before\n{noise}\nafter\n");
    raised.freshet.fed(&["produce", "--raw"], lines).exited(1).told(&[
        "not delivered: ",
        "up to 3000000",
        "max.message.bytes",
    ]);

    let embedded = Log::embedded(1);
    embedded.freshet.fed(&["produce", "--raw"], vec![b'x'; 2_000_000]).succeeded();
    assert_eq!(embedded.records()[0].payload.len(), 2_000_000);
    let event = format!("{{\"user\":\"1\",\"item\":\"2\",\"note\":\"{}\"}}", "x".repeat(2_000_000));
    let ended = embedded.freshet.fed(&["produce"], event).exited(1);
    ended.told(&["line 1: not sent: ", "decode.max_bytes allows 1048576", "(too_large)"]);
}

#[test]
fn bytes_that_are_no_text_are_sent_as_they_are_with_raw_alone() {
    for log in each_log(1) {
        log.freshet.fed(&["produce", "--raw"], b"\xff\xfe\x00\t \n").succeeded();
        assert_eq!(log.records()[0].payload, b"\xff\xfe\x00\t ");
        log.freshet
            .fed(&["produce"], b"\xff\xfe\x00\n")
            .exited(1)
            .told(&["line 1: not sent: byte 0", "(invalid_utf8)"]);
        assert_eq!(log.records().len(), 1);
    }
}

#[test]
fn an_interrupt_ends_it_while_it_waits_for_a_line_and_tells_what_was_delivered() {
    for log in each_log(1) {
        let (mut running, mut stdin) = log.freshet.piped(&["produce", "--raw"]);
        stdin.write_all(b"one\ntwo\nthree\n").unwrap();
        running.printed(3);
        running.signal("INT");
        let parts = ["interrupted: 3 delivered, 0 failed in ", "nothing after line 3 was sent"];
        running.wait().exited(130).told(&parts);
        assert_eq!(log.payloads(), ["one", "two", "three"]);
    }
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    for log in each_log(1) {
        let (line, ended) = log.freshet.cut(&["produce", "--raw"], numbers(1..=50_000));
        assert!(line.starts_with("delivered to "), "{line}");
        let ended = ended.succeeded();
        assert!(!ended.stderr.contains("error") && !ended.stderr.contains("panicked"), "{ended}");
    }
}

#[test]
fn a_broker_that_dies_is_waited_for_and_then_the_lines_that_are_not_delivered_are_told() {
    let Some(mut broker) = Kafka::start() else { return };
    let mut log = Log::on(&broker.servers(), "messages");
    log.freshet.set("broker.properties.message.timeout.ms=60000");
    let (mut running, mut stdin) = log.freshet.piped(&["produce", "--raw"]);
    stdin.write_all(b"1\n2\n").unwrap();
    running.printed(2);
    broker.kill();
    stdin.write_all(b"3\n4\n").unwrap();
    broker.restart();
    running.printed(4);
    drop(stdin);
    running.wait().succeeded();
    assert_eq!(log.payloads(), ["1", "2", "3", "4"], "an outage loses nothing and doubles nothing");

    log.freshet.set("broker.properties.message.timeout.ms=2000");
    let (mut running, mut stdin) = log.freshet.piped(&["produce", "--raw"]);
    stdin.write_all(b"5\n6\n").unwrap();
    running.printed(2);
    broker.kill();
    stdin.write_all(b"7\n8\n9\n").unwrap();
    // Its input is still open: it ends by itself.
    let ended = running.wait().exited(3).told(&[
        "line 3: not delivered: ",
        "message.timeout.ms",
        "2 delivered, 3 failed in ",
        "3 messages were not delivered, from line 3 to line 5",
        "nothing after line 5 was sent",
        "cannot connect to kafka at",
    ]);
    assert_eq!(ended.stdout.lines().count(), 2, "{ended}");
    drop(stdin);
}

#[test]
fn an_unreachable_broker_is_told_in_one_line() {
    let settings = ["broker.kind=kafka", "broker.servers=127.0.0.1:1", "broker.connect_timeout=1s", "log.level=error"];
    let ended = Freshet::new(&settings).fed(&["produce", "--raw"], "1\n").exited(3);
    let ended = ended.told(&["kafka at 127.0.0.1:1", "gave up after 1s", "broker.servers"]);
    assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
}
