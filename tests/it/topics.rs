//! `freshet topics` and `freshet groups` against a real Kafka and the embedded log.

use serde_json::{Value, json};

use crate::program::Freshet;
use crate::support;
use crate::watch::Log;

fn describe(freshet: &Freshet, topic: &str) -> Value {
    serde_json::from_str(&freshet.must(&["topics", "describe", topic, "--json"])).unwrap()
}

/// The settings that the topic itself has.
fn settings(topic: &Value) -> Vec<(&str, &str)> {
    let all = topic["settings"].as_array().unwrap().iter().filter(|setting| setting["set_by"] == "topic");
    let mut all: Vec<_> = all.map(|one| (one["name"].as_str().unwrap(), one["value"].as_str().unwrap())).collect();
    all.sort_unstable();
    all
}

#[test]
fn a_topic_is_created_listed_grows_and_is_deleted() {
    for log in Log::both() {
        let (freshet, name) = (&log.freshet, support::unique("clicks"));
        let created = freshet.must(&["topics", "create", &name, "--partitions", "2"]);
        assert!(created.contains(&format!("created {name} with 2 partitions")), "{created}");
        freshet.run(&["topics", "create", &name]).exited(1).told(&["there already", "topics alter"]);
        log.send(&name, &["a", "b", "c"], None);

        let listed: Value = serde_json::from_str(&freshet.must(&["topics", "list", "--json"])).unwrap();
        let topics = listed["topics"].as_array().unwrap();
        let found = topics.iter().find(|topic| topic["name"] == json!(name)).unwrap();
        assert_eq!((&found["partitions"], &found["records"]), (&json!(2), &json!(3)), "{found}");
        assert!(topics.iter().all(|topic| !topic["name"].as_str().unwrap().starts_with("__")), "{listed}");
        assert!(freshet.must(&["topics", "list"]).contains(&name));

        freshet.run(&["topics", "alter", &name, "--partitions", "4"]).succeeded().told(&["another partition"]);
        freshet.run(&["topics", "alter", &name, "--partitions", "4"]).exited(1).told(&["can only be added"]);
        freshet.run(&["topics", "alter", &name]).exited(2).told(&["nothing to alter"]);
        let topic = describe(freshet, &name);
        let parts = topic["parts"].as_array().unwrap();
        let records: i64 = parts.iter().map(|part| part["end"].as_i64().unwrap() - part["low"].as_i64().unwrap()).sum();
        assert_eq!((parts.len(), records), (4, 3), "{topic}");
        let table = freshet.must(&["topics", "describe", &name]);
        assert!(["partition", "leader", "in sync", &name].iter().all(|part| table.contains(part)), "{table}");

        freshet.run(&["topics", "delete", &name]).exited(2).told(&["no terminal", "--yes"]);
        assert!(freshet.must(&["topics", "delete", &name, "--yes"]).contains("deleted"));
        freshet.run(&["topics", "describe", &name]).exited(1).told(&[&format!("no topic \"{name}\"")]);
        freshet.run(&["topics", "delete", &name, "--yes"]).exited(1).told(&["no topic"]);
        freshet.run(&["topics", "create", "no spaces"]).exited(1).told(&["1 to 249 letters"]);
    }
}

#[test]
fn settings_are_set_one_by_one_and_the_others_stay() {
    if support::kafka::is_mock() {
        return;
    }
    let log = Log::kafka(support::kafka());
    let (freshet, name) = (&log.freshet, support::unique("settings"));
    let flags = ["--retention", "7d", "--compact", "--setting", "max.message.bytes=2000000"];
    freshet.must(&[&["topics", "create", &name], &flags[..]].concat());
    let expected = |retention: &'static str, policy: &'static str| {
        vec![("cleanup.policy", policy), ("max.message.bytes", "2000000"), ("retention.ms", retention)]
    };
    assert_eq!(settings(&describe(freshet, &name)), expected("604800000", "compact"));

    freshet.must(&["topics", "alter", &name, "--retention", "1h"]);
    assert_eq!(settings(&describe(freshet, &name)), expected("3600000", "compact"));
    freshet.must(&["topics", "alter", &name, "--retention", "forever", "--compact", "--delete"]);
    assert_eq!(settings(&describe(freshet, &name)), expected("-1", "compact,delete"));
    freshet.must(&["topics", "alter", &name, "--setting", "retention.ms=", "--setting", "cleanup.policy="]);
    assert_eq!(settings(&describe(freshet, &name)), [("max.message.bytes", "2000000")]);

    for (setting, told) in [
        ("no.such=1", &["a setting is unknown", "no.such", "retention.ms"][..]),
        ("retentoin.ms=1", &["did you mean retention.ms"]),
        ("retention.ms=soon", &["has a value that is not allowed"]),
    ] {
        freshet.run(&["topics", "alter", &name, "--setting", setting]).exited(1).told(told);
    }
    assert_eq!(settings(&describe(freshet, &name)), [("max.message.bytes", "2000000")], "nothing was changed");
    let copies = ["topics", "create", &support::unique("copies"), "--replication", "9"];
    freshet.run(&copies).exited(1).told(&["--replication is at most the number of brokers"]);
    freshet.must(&["topics", "delete", &name, "--yes"]);
}

#[test]
fn what_the_embedded_log_has_not_is_a_usage_error_that_says_what_it_has() {
    let log = Log::embedded();
    log.topic("kept", 1);
    for flags in [
        &["topics", "create", "a", "--retention", "7d"][..],
        &["topics", "create", "a", "--compact"],
        &["topics", "alter", "kept", "--setting", "retention.ms=1"],
    ] {
        log.freshet.run(flags).exited(2).told(&["keeps every record", "--partitions is allowed", "broker.kind"]);
    }
    log.freshet.run(&["topics", "create", "a", "--replication", "2"]).exited(2).told(&["no replicas"]);
    assert!(!log.freshet.must(&["topics", "list"]).contains(" a "));
}

#[test]
fn an_unreachable_kafka_is_waited_for_and_then_told() {
    let settings = ["broker.kind=kafka", "broker.servers=127.0.0.1:1", "broker.connect_timeout=1s", "log.level=error"];
    let freshet = Freshet::new(&settings);
    for flags in [
        &["topics", "list"][..],
        &["topics", "create", "a"],
        &["topics", "describe", "a"],
        &["topics", "alter", "a", "--partitions", "2"],
        &["topics", "delete", "a", "--yes"],
        &["groups", "list"],
        &["groups", "describe", "a"],
        &["watch", "a"],
    ] {
        let ended = freshet.run(flags).exited(3).told(&["kafka at 127.0.0.1:1", "gave up after 1s", "start it"]);
        assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
    }
}

#[test]
fn an_engine_goes_on_with_partitions_that_are_added_and_is_seen_in_its_group() {
    for log in Log::both() {
        let freshet = &log.freshet;
        freshet.must(&["replay", "sample", "--limit", "300"]);
        let mut engine = freshet.start();
        engine.learned(300);
        let topic = log.config.broker.topic.as_str();
        freshet.must(&["topics", "alter", topic, "--partitions", "3"]);
        if log.config.broker.kind == freshet::config::BrokerKind::Embedded {
            freshet.must(&["replay", "sample", "--limit", "600"]);
            engine.learned(900);
            engine.wait("/readyz", "three partitions are read", |ready| {
                ready["partitions"].as_array().is_some_and(|partitions| partitions.len() == 3)
            });
        }
        let group: Value = serde_json::from_str(&freshet.must(&["groups", "describe", "--json"])).unwrap();
        let partition = &group["partitions"][0];
        assert_eq!((&partition["topic"], &partition["partition"]), (&json!(topic), &json!(0)), "{group}");
        let table = freshet.must(&["groups", "describe"]);
        assert!(table.contains("This is the engine's group") && table.contains(topic), "{table}");
        assert!(freshet.must(&["groups", "list"]).contains(&log.config.broker.group));
        freshet
            .run(&["groups", "describe", &format!("{}x", log.config.broker.group)])
            .exited(1)
            .told(&["no group", &format!(" {}", log.config.broker.group)]);
        engine.stop().succeeded();

        // The warning is for whoever deletes the wrong one.
        freshet.run(&["topics", "delete", topic, "--yes"]).succeeded().told(&["a topic that the engine reads"]);
    }
}
