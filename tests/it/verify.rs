//! `freshet verify`: content with what an engine leaves, and with nothing that somebody has changed behind its back.

use freshet::config::{BrokerKind, Config};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::dead_letters::{embedded, send};
use crate::end_to_end::Servers;
use crate::program::Freshet;
use crate::support;

const EVENTS: u64 = 4_000;
const LETTERS: u64 = 3;

/// A store with events, some dead letters and some snapshots, and its log.
fn learned(settings: &[&str]) -> Freshet {
    let freshet = Freshet::new(&[&["store.snapshot_every=1000", "gather.size=64"], settings].concat());
    freshet.must(&["replay", "sample", "--limit", &(EVENTS / 2).to_string()]);
    send(&embedded(&freshet), &[b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    freshet.must(&["replay", "sample", "--limit", &(EVENTS / 2).to_string()]);
    let mut engine = freshet.start();
    engine.learned(EVENTS);
    engine.stop().succeeded();
    freshet
}

/// What verify prints as JSON, with its exit code.
fn verified(freshet: &Freshet, more: &[&str]) -> (Value, i32) {
    let ended = freshet.run(&[&["verify", "--json"], more].concat());
    let found = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"));
    (found, ended.code.unwrap())
}

/// Fails unless verify names this, and nothing before it.
fn differs(freshet: &Freshet, more: &[&str], parts: &[&str]) {
    let (found, code) = verified(freshet, more);
    assert_eq!((code, &found["agrees"]), (1, &json!(false)), "{found}");
    let first = found["problems"][0].as_str().unwrap();
    assert!(parts.iter().all(|part| first.contains(part)), "{parts:?} are not in {found}");
    freshet.run(&[&["verify"], more].concat()).exited(1).told(parts);
}

#[test]
fn what_an_engine_leaves_is_verified_from_any_snapshot() {
    let freshet = learned(&[]);
    let newest = freshet.newest_snapshot();
    let table = freshet.must(&["verify"]);
    for part in ["4,000", "the first event", "snapshot 4,000", "all agrees", newest["sha256"].as_str().unwrap()] {
        assert!(table.contains(part), "{part:?} is not in {table}");
    }
    // A snapshot is taken at the end of the batch that reaches its multiple.
    let taken: Vec<Value> = serde_json::from_str(&freshet.must(&["snapshots", "list", "--json"])).unwrap();
    let taken: Vec<u64> = taken.iter().map(|manifest| manifest["_id"].as_u64().unwrap()).collect();
    let [newest, third, second, first] = taken[..] else { panic!("{taken:?}") };
    for (more, from, to) in [
        (&[][..], 0, newest),
        (&["--from", "latest"], third, newest),
        (&["--from", "oldest"], first, newest),
        (&["--from", &second.to_string(), "--snapshot", &third.to_string()], second, third),
        (&["--snapshot", &first.to_string()], 0, first),
    ] {
        let (found, code) = verified(&freshet, more);
        assert_eq!((code, &found["agrees"], &found["problems"]), (0, &json!(true), &json!([])), "{found}");
        assert_eq!((&found["model"]["from"], &found["model"]["to"]), (&json!(from), &json!(to)), "{more:?}");
        assert_eq!(found["model"]["stored"], found["model"]["learned"]);
        let counts = ["events", "dead_letters", "holes", "duplicates"].map(|name| found[name].as_u64().unwrap());
        assert_eq!(counts, [EVENTS, LETTERS, 0, 0]);
    }
    let (found, code) = verified(&freshet, &["--against-log"]);
    let log = json!({"records": EVENTS + LETTERS, "expired": 0, "not_stored": 0, "not_on_log": 0,
        "first_not_stored": [], "first_not_on_log": []});
    assert_eq!((code, &found["log"]), (0, &log), "{found}");
    freshet.run(&["verify", "--snapshot", "77"]).exited(1).told(&["no snapshot 77", "the newest are 4000"]);
}

#[test]
fn rehearsals_and_other_parameters_are_verified_under_those_of_the_snapshot() {
    let mut freshet =
        learned(&["gather.mode=sliding", "gather.length=300ms", "gather.slide=30ms", "learn.rating=biased-mf"]);
    // What the operator has set since then says nothing of the snapshot.
    freshet.set("biased_mf.factors=3");
    let table = freshet.must(&["verify"]);
    assert!(table.contains("all agrees"), "{table}");
}

#[test]
fn a_store_with_nothing_to_verify_says_so() {
    let freshet = Freshet::new(&["store.snapshot_every=0"]);
    assert!(freshet.must(&["verify"]).contains("the store is empty"));
    freshet.must(&["replay", "sample", "--limit", "500"]);
    let mut engine = freshet.start();
    engine.learned(500);
    engine.kill();
    let table = freshet.must(&["verify", "--against-log"]);
    assert!(table.contains("no snapshot yet") && table.contains("500"), "{table}");
}

#[test]
fn each_change_behind_the_engine_s_back_is_named() {
    let freshet = learned(&[]);
    let store = freshet.store();
    // Each change, and what takes it back.
    let steps: [(&str, &str, &[&str], &[&str]); 7] = [
        (
            "CREATE TABLE kept AS SELECT * FROM events WHERE seq IN (1234, 1235); DELETE FROM events WHERE seq IN (1234, 1235)",
            "INSERT INTO events SELECT * FROM kept; DROP TABLE kept",
            &[],
            &["events 1234 to 1235 are missing"],
        ),
        (
            "UPDATE events SET rating = 6 - rating WHERE seq = 1000",
            "UPDATE events SET rating = 6 - rating WHERE seq = 1000",
            &[],
            &["says that its model has SHA-256", "is the first that was predicted otherwise"],
        ),
        (
            "CREATE TABLE kept AS SELECT * FROM dead_letters WHERE offset = 2001; DELETE FROM dead_letters WHERE offset = 2001",
            "INSERT INTO dead_letters SELECT * FROM kept; DROP TABLE kept",
            &["--against-log"],
            &["1 records of the log are neither event nor dead letter: ratings [0] 2001"],
        ),
        (
            "UPDATE snapshots SET manifest = json_set(manifest, '$.sha256', replace(manifest ->> '$.sha256', 'a', 'b'))
             WHERE seq = 4000",
            "",
            &[],
            &["snapshot 4000 says", "it is the snapshot that differs"],
        ),
        (
            "UPDATE engine SET offsets = replace(offsets, '4003', '4001')",
            "UPDATE engine SET offsets = replace(offsets, '4001', '4003')",
            &["--snapshot", "1024"],
            &["the engine stands at offset 4001 of ratings [0]", "end at 4003"],
        ),
        (
            "UPDATE events SET offset = 100000 + offset WHERE seq = 50",
            "UPDATE events SET offset = offset - 100000 WHERE seq = 50",
            &["--snapshot", "1024"],
            &["event 51 stands at ratings [0] 50, not after event 50 at 100049"],
        ),
        (
            "UPDATE snapshots SET manifest = json_set(manifest, '$.format', 99) WHERE seq = 4000",
            "",
            &["--snapshot", "4000", "--json"],
            &["snapshot 4000 has format 99"],
        ),
    ];
    for (change, back, more, parts) in steps {
        store.execute_batch(change).unwrap_or_else(|error| panic!("{change}: {error}"));
        if change.contains("format") {
            freshet.run(&["verify"]).exited(1).told(parts);
        } else {
            differs(&freshet, more, parts);
        }
        store.execute_batch(back).unwrap_or_else(|error| panic!("{back}: {error}"));
    }
    // The log is not the same one any more.
    store.execute_batch("UPDATE snapshots SET manifest = json_set(manifest, '$.format', 2) WHERE seq = 4000").unwrap();
    let log = rusqlite::Connection::open(freshet.path("freshet-data/log.db")).unwrap();
    log.execute("DELETE FROM records WHERE offset = 17 OR offset < 3", []).unwrap();
    let (found, code) = verified(&freshet, &["--against-log", "--snapshot", "1024"]);
    assert_eq!(
        (code, &found["log"]["expired"], &found["log"]["first_not_on_log"]),
        (1, &json!(3), &json!(["ratings [0] 17"]))
    );
}

#[test]
fn it_runs_beside_an_engine_and_disturbs_nothing() {
    let freshet = learned(&[]);
    let mut engine = freshet.start();
    engine.learned(EVENTS);
    let epoch: i64 = freshet.ask("SELECT epoch FROM engine");
    let replaying = freshet.spawn(&["replay", "sample", "--limit", "3000", "--rate", "2000/s"]);
    for _ in 0..3 {
        freshet.must(&["verify", "--against-log"]);
    }
    replaying.wait().succeeded();
    engine.learned(EVENTS + 3_000);
    engine.stop().succeeded();
    assert_eq!(freshet.ask::<i64>("SELECT epoch FROM engine"), epoch);
    freshet.must(&["verify", "--against-log"]);
}

#[test]
fn kafka_and_mongodb_are_verified_without_a_word_to_the_group() {
    let servers = Servers::new(3);
    let freshet = &servers.freshet;
    let mut config = Config::default();
    config.broker.kind = BrokerKind::Kafka;
    config.broker.servers = support::kafka().to_owned();
    config.broker.topic.clone_from(&servers.topic);
    freshet.must(&["replay", "sample", "--limit", "3000"]);
    send(&config, &[b"one".to_vec(), b"two".to_vec()]);
    freshet.must(&["replay", "sample", "--limit", "500"]);
    let mut engine = freshet.start();
    // The lag of several partitions comes slowly; what is read is enough.
    let durable =
        |events: u64| move |model: &Value| model["durable_seq"] == events && model["rejects"]["invalid_json"] == 2;
    engine.wait("/model", "all is durable", durable(3_500));
    let (found, code) = verified(freshet, &["--against-kafka"]);
    assert_eq!((code, &found["log"]["records"], &found["dead_letters"]), (0, &json!(3_502), &json!(2)), "{found}");
    // The engine is still the one that writes, and its group has not moved.
    freshet.must(&["replay", "sample", "--limit", "100"]);
    engine.wait("/model", "all is durable", durable(3_600));
    let ended = engine.stop().succeeded();
    assert_eq!(ended.stderr.matches("the group assigned partitions").count(), 1, "{ended}");
    let (found, code) = verified(freshet, &["--against-kafka"]);
    assert_eq!((code, &found["model"]["to"], &found["events"]), (0, &json!(3_600), &json!(3_600)), "{found}");

    let letters = servers.database.collection::<Document>("dead_letters");
    let gone = servers.runtime.block_on(async { letters.find_one_and_delete(doc! {}).await }).unwrap().unwrap();
    let place = gone.get_document("_id").unwrap();
    let name = format!("{} [{}] {}", servers.topic, place.get_i32("p").unwrap(), place.get_i64("o").unwrap());
    differs(freshet, &["--against-kafka"], &["1 records of the log", &name]);
    let events = servers.database.collection::<Document>("events");
    servers.runtime.block_on(async { events.delete_one(doc! {"seq": 77_i64}).await }).unwrap();
    differs(freshet, &[], &["event 77 is missing"]);
    servers.drop_database();
}
