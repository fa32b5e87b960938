//! Other people's Kafka clients and Freshet, both ways: what they produce is learned, what Freshet produces they read.
//!
//! `confluent-kafka` from `PyPI` and Debian's kcat are installed beside the servers; where one cannot be had its test says so.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::end_to_end::Servers;
use crate::support;

/// Events that the others produce, of so many users.
const EVENTS: u64 = 200;
const USERS: u64 = 20;

/// Produces one event a user in turn with each codec; prints `key partition` of each delivery.
const PRODUCE: &str = r#"
import json, sys
from confluent_kafka import Producer
servers, topic, events, users = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
def told(error, message):
    assert error is None, error
    print(message.key().decode(), message.partition())
for part, codec in enumerate(["none", "gzip", "snappy", "lz4", "zstd"]):
    producer = Producer({"bootstrap.servers": servers, "compression.type": codec})
    for n in range(part, events, 5):
        event = {"v": 1, "user": str(n % users), "item": f"i{n % 37}", "rating": 1 + n % 5, "ts": 881250949000 + n}
        producer.produce(topic, json.dumps(event), key=str(n % users), on_delivery=told)
    assert producer.flush(30) == 0
"#;

/// Reads so many records, and prints them as `key<TAB>partition<TAB>value`.
const CONSUME: &str = r#"
import sys
from confluent_kafka import Consumer
servers, topic, events = sys.argv[1], sys.argv[2], int(sys.argv[3])
consumer = Consumer({"bootstrap.servers": servers, "group.id": topic + "-reader", "auto.offset.reset": "earliest"})
consumer.subscribe([topic])
read = 0
while read < events:
    message = consumer.poll(30)
    assert message is not None, f"only {read} records came"
    assert message.error() is None, message.error()
    print(message.key().decode(), message.partition(), message.value().decode(), sep="\t")
    read += 1
consumer.close()
"#;

/// Output of a command that must succeed.
fn output(command: &mut Command, input: &str) -> String {
    use std::io::Write as _;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The folder of what was installed under this name; none, and a loud line, where it could not be.
fn installed(name: &str) -> Option<PathBuf> {
    let folder = support::servers_dir().join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    support::say(&format!("WARNING: {name} is not installed: what it produces and reads is not tried"));
    None
}

fn python(script: &str, arguments: &[&str]) -> Option<Command> {
    let libs = installed("clients")?;
    let mut command = Command::new("python3");
    command.args(["-c", script]).args(arguments).env("PYTHONPATH", libs);
    Some(command)
}

fn kcat(arguments: &[&str]) -> Option<Command> {
    let on_path = std::env::var_os("PATH")
        .and_then(|path| std::env::split_paths(&path).map(|folder| folder.join("kcat")).find(|file| file.is_file()));
    let (program, libraries) = if let Some(program) = on_path {
        (program, None)
    } else {
        let folder = installed("kcat")?;
        let libraries = ["usr/lib", "lib"].map(|place| folder.join(place).join("x86_64-linux-gnu"));
        (folder.join("usr/bin/kcat"), Some(std::env::join_paths(libraries).unwrap()))
    };
    let mut command = Command::new(program);
    command.args(arguments).envs(libraries.map(|libraries| ("LD_LIBRARY_PATH", libraries)));
    Some(command)
}

/// Learns what is on the topic, and sees that it is these events and no other.
fn learned(servers: &Servers) {
    let mut engine = servers.freshet.start();
    engine.learned(EVENTS);
    let model = engine.json("/model");
    assert_eq!((&model["users"], &model["metrics"]["events"]), (&json!(USERS), &json!(EVENTS)), "{model}");
    assert_eq!(model["rejects"], json!({}), "{model}");
    engine.stop().succeeded();
}

fn assert_are_events<'l>(lines: impl Iterator<Item = (&'l str, &'l str)>) {
    let mut count = 0;
    for (key, value) in lines {
        let event: Value = serde_json::from_str(value).unwrap();
        assert_eq!((&event["user"], &event["v"]), (&json!(key), &json!(1)), "{value}");
        count += 1;
    }
    assert_eq!(count, EVENTS);
}

#[test]
fn what_confluent_s_client_produces_is_learned_and_it_reads_what_replay_produces() {
    let servers = Servers::new(3);
    let [events, users] = [EVENTS, USERS].map(|number| number.to_string());
    let Some(mut produce) = python(PRODUCE, &[support::kafka(), &servers.topic, &events, &users]) else { return };
    let theirs = output(&mut produce, "");
    learned(&servers);
    servers.drop_database();

    // The same keys are on the same partitions, whoever produced them.
    let ours = Servers::new(3);
    let row = |n: u64| json!({"user": (n % USERS).to_string(), "item": "i", "rating": 1 + n % 5}).to_string();
    let rows: Vec<_> = (0..EVENTS).map(row).collect();
    ours.freshet.write("rows.ndjson", rows.join("\n"));
    ours.freshet.must(&["replay", "rows.ndjson"]);
    let read = output(&mut python(CONSUME, &[support::kafka(), &ours.topic, &events]).unwrap(), "");
    let rows: Vec<Vec<&str>> = read.lines().map(|line| line.splitn(3, '\t').collect()).collect();
    assert_are_events(rows.iter().map(|row| (row[0], row[2])));
    for line in theirs.lines() {
        let (key, partition) = line.split_once(' ').unwrap();
        let of_ours = rows.iter().find(|row| row[0] == key).unwrap()[1];
        assert_eq!(of_ours, partition, "the partition of key {key}");
    }
    ours.drop_database();
}

#[test]
fn what_kcat_produces_is_learned_and_it_reads_what_replay_produces() {
    let servers = Servers::new(3);
    let Some(mut produce) = kcat(&["-P", "-b", support::kafka(), "-t", &servers.topic, "-K", "|"]) else { return };
    let line = |n: u64| {
        let user = (n % USERS).to_string();
        format!("{user}|{}", json!({"v": 1, "user": user, "item": n % 37, "rating": 4}))
    };
    let lines: Vec<_> = (0..EVENTS).map(line).collect();
    output(&mut produce, &(lines.join("\n") + "\n"));
    learned(&servers);
    servers.drop_database();

    let ours = Servers::new(3);
    ours.freshet.must(&["replay", "sample", "--limit", &EVENTS.to_string()]);
    let arguments = ["-C", "-b", support::kafka(), "-t", &ours.topic, "-o", "beginning", "-e", "-q", "-f", "%k\t%s\n"];
    let read = output(&mut kcat(&arguments).unwrap(), "");
    assert_are_events(read.lines().map(|line| line.split_once('\t').unwrap()));
    ours.drop_database();
}
