//! The engine on the embedded log and store, as a process: what it keeps when it is killed, sent garbage, reconfigured,
//! damaged or pushed aside. What must come out each time is what an undisturbed run learns, bit for bit.

use std::net::TcpListener;

use rusqlite::params;
use serde_json::{Value, json};

use crate::dead_letters::{embedded, send};
use crate::program::Freshet;

/// Small batches and frequent snapshots, so that a kill finds each of them half done.
pub(crate) const SETTINGS: [&str; 3] = ["gather.size=64", "store.snapshot_every=3000", "store.write_batch=512"];

fn freshet(more: &[&str]) -> Freshet {
    Freshet::new(&[&SETTINGS, more].concat())
}

/// Sends the first `limit` events of the generated sample.
fn replay(freshet: &Freshet, limit: u64) {
    freshet.must(&["replay", "sample", "--limit", &limit.to_string()]);
}

/// Starts the engine, waits until it has learned `events`, stops it, and returns the hash of its newest snapshot.
fn learn(freshet: &Freshet, events: u64) -> String {
    let mut engine = freshet.start();
    engine.learned(events);
    engine.stop().succeeded();
    newest_hash(freshet, events)
}

/// The hash of the newest snapshot, which must hold exactly `events`.
fn newest_hash(freshet: &Freshet, events: u64) -> String {
    let newest = freshet.newest_snapshot();
    assert_eq!(newest["_id"], events, "{newest}");
    assert_eq!(newest["counts"]["events"], events, "{newest}");
    newest["sha256"].as_str().unwrap().to_owned()
}

/// Each event of the log is stored once, and their order has no hole.
fn assert_whole(freshet: &Freshet, events: u64) {
    let events = i64::try_from(events).unwrap();
    for (sql, expected) in [
        ("SELECT count(*) FROM events", events),
        ("SELECT count(DISTINCT topic || '/' || partition || '/' || offset) FROM events", events),
        ("SELECT min(seq) FROM events", 1),
        ("SELECT max(seq) FROM events", events),
        ("SELECT max(offset) FROM events", events - 1),
        ("SELECT count(*) FROM events WHERE offset <> seq - 1", 0),
        ("SELECT count(*) FROM dead_letters", 0),
    ] {
        assert_eq!(freshet.ask::<i64>(sql), expected, "{sql}");
    }
}

/// Kills the engine once, and then has it learn everything again from nothing but the stored events.
fn killed_and_learned_again(mode: &str) -> Freshet {
    const EVENTS: u64 = 6_000;
    // By a learner that steps: one that counts each event exactly once has nothing to rehearse.
    let mode = format!("gather.mode={mode}");
    let freshet = freshet(&[&mode, "gather.length=300ms", "gather.slide=30ms", "learn.rating=biased-mf"]);
    let replaying = freshet.spawn(&["replay", "sample", "--limit", &EVENTS.to_string(), "--rate", "3000/s"]);
    let mut engine = freshet.start();
    // Durable, so that its batches stay as they were cut; what is lost comes back in one.
    engine.wait("/readyz", "half is durable", |ready| ready["durable_seq"].as_u64() >= Some(EVENTS / 2));
    engine.kill();
    let mut engine = freshet.start();
    replaying.wait().succeeded();
    engine.learned(EVENTS);
    engine.stop().succeeded();
    assert_whole(&freshet, EVENTS);
    let hash = newest_hash(&freshet, EVENTS);

    freshet.store().execute_batch("DELETE FROM snapshots; DELETE FROM blocks").unwrap();
    assert_eq!(learn(&freshet, EVENTS), hash, "learned again from the store with {mode}");
    assert_whole(&freshet, EVENTS);
    freshet
}

#[test]
fn windows_are_learned_again_from_the_store_bit_for_bit() {
    let freshet = killed_and_learned_again("window");
    assert!(freshet.ask::<i64>("SELECT count(DISTINCT batch) FROM events") > 2);
    // A window rehearses nothing: its model is that of any other cutting.
    let counted = self::freshet(&["learn.rating=biased-mf"]);
    replay(&counted, 6_000);
    assert_eq!(learn(&counted, 6_000), newest_hash(&freshet, 6_000));
}

#[test]
fn rehearsals_are_learned_again_from_the_store_bit_for_bit() {
    let freshet = killed_and_learned_again("sliding");
    assert!(freshet.ask::<i64>("SELECT count(DISTINCT rehearse_from) FROM events") > 1);
    let counted = self::freshet(&["learn.rating=biased-mf"]);
    replay(&counted, 6_000);
    assert_ne!(learn(&counted, 6_000), newest_hash(&freshet, 6_000), "a rehearsal leaves its mark");
}

/// Records that are no events, each with the reason that its dead letter must have.
pub(crate) fn garbage() -> Vec<(Vec<u8>, &'static str)> {
    [
        (&b"\xff\xfe\x00\x9f garbage"[..], "invalid_utf8"),
        (b"hello", "invalid_json"),
        (br#"{"v":1,"user":"1","item":"2","rat"#, "invalid_json"),
        (br#"{"v":1,"user":"1","item":"2","rating":"five"}"#, "invalid_field"),
        (b"", "empty"),
        (br#"{"v":1,"user":"1","item":"2","rating":9}"#, "rating_out_of_range"),
        (br#"{"v":2,"user":"1","item":"2","rating":3}"#, "unknown_version"),
        (br#"{"v":1,"item":"2","rating":3}"#, "missing_field"),
    ]
    .map(|(bytes, reason)| (bytes.to_vec(), reason))
    .to_vec()
}

#[test]
fn garbage_among_the_events_becomes_dead_letters_and_stops_nothing() {
    let freshet = freshet(&["gather.size=3"]);
    let good = |n: usize| format!(r#"{{"v":1,"user":"{}","item":"{n}","rating":4}}"#, n % 3).into_bytes();
    let garbage = garbage();
    let mixed = garbage.iter().enumerate().flat_map(|(n, (bad, _))| [good(2 * n), bad.clone(), good(2 * n + 1)]);
    // The last three batches are garbage alone.
    let payloads: Vec<_> = mixed.chain(garbage.iter().map(|(bad, _)| bad.clone())).collect();
    let (records, events, rejects) = (payloads.len(), 2 * garbage.len(), 2 * garbage.len());
    send(&embedded(&freshet), &payloads);

    let mut engine = freshet.start();
    let model = engine.wait("/model", "every record is durable", |model| {
        let counted: u64 = model["rejects"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
        model["durable_seq"] == events && counted == rejects as u64
    });
    let expected = json!({
        "empty": 2, "invalid_field": 2, "invalid_json": 4, "invalid_utf8": 2, "missing_field": 2,
        "rating_out_of_range": 2, "unknown_version": 2,
    });
    assert_eq!(model["rejects"], expected);
    assert_eq!((&model["metrics"]["events"], &model["users"]), (&json!(events), &json!(3)));
    engine.stop().succeeded();

    let store = freshet.store();
    let mut letters =
        store.prepare("SELECT offset, reason, detail, key, payload FROM dead_letters ORDER BY offset").unwrap();
    let letters = letters.query_map([], |row| <(i64, String, String, Vec<u8>, Vec<u8>)>::try_from(row)).unwrap();
    let letters: Vec<_> = letters.map(Result::unwrap).collect();
    assert_eq!(letters.len(), rejects);
    for (number, (offset, reason, detail, key, payload)) in letters.into_iter().enumerate() {
        let (bytes, expected) = &garbage[number % garbage.len()];
        assert_eq!((&payload, reason.as_str(), &*key), (bytes, *expected, &b"key"[..]), "{detail}");
        assert_eq!(payloads[usize::try_from(offset).unwrap()], *bytes, "the dead letter of offset {offset}");
        assert!(!detail.is_empty());
    }

    let offsets: Value = serde_json::from_str(&freshet.ask::<String>("SELECT offsets FROM engine")).unwrap();
    assert_eq!(offsets, json!([{"topic": "ratings", "partition": 0, "next": records}]));
    let log = rusqlite::Connection::open(freshet.path("freshet-data/log.db")).unwrap();
    let committed: i64 = log.query_row("SELECT next FROM positions", [], |row| row.get(0)).unwrap();
    assert_eq!(committed, records as i64);

    // Nothing is read, counted or stored once more.
    let engine = freshet.start();
    assert_eq!(engine.json("/livez"), "ok");
    let mut engine = engine;
    engine.learned(events as u64);
    assert_eq!(engine.json("/model")["rejects"], expected);
    engine.stop().succeeded();
    assert_eq!(freshet.ask::<i64>("SELECT count(*) FROM dead_letters"), rejects as i64);
}

#[test]
fn other_parameters_have_it_learn_all_events_again() {
    const EVENTS: u64 = 4_000;
    let mut freshet = freshet(&["learn.rating=biased-mf", "biased_mf.factors=8"]);
    replay(&freshet, EVENTS);
    let before = learn(&freshet, EVENTS);

    freshet.set("biased_mf.factors=12");
    let mut engine = freshet.start();
    engine.learned(EVENTS);
    let model = engine.json("/model");
    assert_eq!((&model["params"]["biased_mf.factors"], &model["metrics"]["events"]), (&json!(12), &json!(EVENTS)));
    engine.stop().succeeded().told(&["learned under other parameters", "learning all stored events again"]);
    let after = newest_hash(&freshet, EVENTS);
    assert_ne!(before, after);

    let fresh = self::freshet(&["learn.rating=biased-mf", "biased_mf.factors=12"]);
    replay(&fresh, EVENTS);
    assert_eq!(learn(&fresh, EVENTS), after);

    // What was learned again is in a snapshot now, and goes on from there.
    let mut engine = freshet.start();
    engine.learned(EVENTS);
    let ended = engine.stop().succeeded();
    assert!(ended.stderr.contains("replayed=0") && !ended.stderr.contains("other parameters"), "{ended}");
    assert_eq!(newest_hash(&freshet, EVENTS), after);
}

#[test]
fn a_damaged_snapshot_is_passed_over_and_put_right() {
    const EVENTS: u64 = 8_000;
    let undisturbed = freshet(&[]);
    replay(&undisturbed, EVENTS);
    let expected = learn(&undisturbed, EVENTS);

    let damaged = freshet(&[]);
    replay(&damaged, EVENTS);
    assert_eq!(learn(&damaged, EVENTS), expected);
    // The blocks that were stored last belong to the newest snapshot.
    let store = damaged.store();
    let (row, mut bytes): (i64, Vec<u8>) = store
        .query_row("SELECT rowid, bytes FROM blocks ORDER BY rowid DESC LIMIT 1", [], |row| row.try_into())
        .unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    store.execute("UPDATE blocks SET bytes = ?1 WHERE rowid = ?2", params![bytes, row]).unwrap();
    damaged.run(&["snapshots", "show", "latest"]).exited(1).told(&["is damaged"]);

    let mut engine = damaged.start();
    engine.learned(EVENTS);
    engine.stop().succeeded().told(&["passing over a snapshot", "snapshot=6", "resumed"]);
    assert_eq!(newest_hash(&damaged, EVENTS), expected);
    damaged.must(&["snapshots", "show", "latest"]);
    assert_whole(&damaged, EVENTS);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let freshet = freshet(&[&format!("serve.port={port}")]);
    let address = format!("127.0.0.1:{port}");
    freshet.run(&["run"]).exited(1).told(&[&address, "in use", "serve.port"]);
    assert!(!freshet.path("freshet-data").exists(), "nothing is made by a service that cannot serve");
}

#[test]
fn a_second_engine_takes_the_store_over() {
    const EVENTS: u64 = 3_000;
    let freshet = freshet(&[]);
    replay(&freshet, EVENTS / 2);
    let mut first = freshet.start();
    first.learned(EVENTS / 2);
    let mut second = freshet.start();
    second.learned(EVENTS / 2);

    freshet.must(&["replay", "sample", "--limit", &(EVENTS / 2).to_string()]);
    let ended = first.ended().told(&["another engine has taken over", "run only one engine on a store"]);
    assert_eq!(ended.code, Some(1), "{ended}");
    second.learned(EVENTS);
    second.stop().succeeded();
    assert_whole(&freshet, EVENTS);
    newest_hash(&freshet, EVENTS);
}
