//! Dead letters as a person meets them: listed, shown, mended and sent again, and events that were sent twice.

use std::path::Path;

use freshet::capture::producer::{self, Record};
use freshet::config::{BrokerKind, Config};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::end_to_end::Servers;
use crate::program::{Engine, Freshet};
use crate::support;

/// Configuration of the embedded log in a folder.
pub(crate) fn embedded(freshet: &Freshet) -> Config {
    let mut config = Config::default();
    config.store.data_dir = freshet.path("freshet-data");
    config
}

/// Puts bytes on the log as they are.
pub(crate) fn send(config: &Config, payloads: &[Vec<u8>]) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let producer = producer::open(config).await.unwrap();
        for payload in payloads {
            let record = Record { key: b"key".to_vec(), payload: payload.clone(), timestamp_ms: Some(7), trace: None };
            producer.send(record).await.unwrap();
        }
        assert_eq!(producer.flush().await.unwrap().failed, 0);
    });
}

/// Waits until so many events and dead letters are durable.
fn durable(engine: &mut Engine, events: u64, letters: u64) -> Value {
    engine.wait("/model", &format!("{events} events and {letters} dead letters are durable"), |model| {
        let counted: u64 = model["rejects"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
        model["durable_seq"] == events && counted == letters
    })
}

/// One event, and records that are none, each of another kind.
fn mixed() -> Vec<Vec<u8>> {
    [
        &br#"{"v":1,"user":"1","item":"1","rating":4}"#[..],
        b"\xff\xfe\x00 garbage\n",
        br#"{"v":1,"user":"1","item":"2","rating":9}"#,
        br#"{"v":1,"user":"1","item":"3","rating":"4"}"#,
        br#"{"v":1,"user":"1","item":"4","rating":3,"ts":"now"}"#,
        br#"{"v":2,"user":"1","item":"5","rating":3,"id":"mine"}"#,
        b"hello",
        b"",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

/// What each sending of a letter must have led to: item, rating, id.
const MENDED: [(&str, f64, &str); 6] =
    [("2", 5.0, "2"), ("3", 4.0, "3"), ("4", 3.0, "4"), ("5", 3.0, "mine"), ("9", 2.0, "1"), ("9", 2.0, "6")];

/// Mends and replays all letters of [`mixed`] but the empty one; `at` names the letter of an offset.
fn mend_all(freshet: &Freshet, at: impl Fn(u64) -> String) {
    let (first, sixth) = (at(1), at(6));
    for (letter, fix) in [(2, "rating=clamp"), (3, "rating=4"), (4, "ts="), (5, "v=1")] {
        let table = freshet.must(&["dead-letters", "replay", &at(letter), "--fix", fix]);
        assert!(table.contains("sent") && !table.contains("still bad"), "{table}");
    }
    let echo = r#"echo '{"user":"9","item":"9","rating":2}'"#;
    freshet.must(&["dead-letters", "replay", &first, &sixth, "--fix-with", echo]);
}

#[test]
fn letters_are_listed_shown_mended_and_replayed() {
    let freshet = Freshet::new::<&str>(&[]);
    let (config, payloads) = (embedded(&freshet), mixed());
    assert!(freshet.must(&["dead-letters", "list"]).contains("no dead letter in freshet-data/store.db"));
    send(&config, &payloads);
    let mut engine = freshet.start();
    durable(&mut engine, 1, 7);

    let listed = freshet.must(&["dead-letters", "list"]);
    for part in
        ["ratings/0/1", "invalid_utf8", "\\xff\\xfe\\u{0} garbage\\n", "rating is 9; 1 to 5", "7 in all", "1 empty"]
    {
        assert!(listed.contains(part), "{part:?} is not in {listed}");
    }
    let listed = freshet.must(&["dead-letters", "list", "--reason", "invalid_field", "--limit", "1"]);
    assert!(
        listed.contains("ratings/0/3") && !listed.contains("ratings/0/4") && listed.contains("and more"),
        "{listed}"
    );
    let listed: Value = serde_json::from_str(&freshet.must(&["dead-letters", "list", "--json"])).unwrap();
    assert_eq!(
        listed["by_reason"],
        json!({
            "empty": 1, "invalid_field": 2, "invalid_json": 1, "invalid_utf8": 1, "rating_out_of_range": 1,
            "unknown_version": 1,
        })
    );
    assert_eq!(
        (&listed["dead_letters"][0]["payload_hex"], &listed["more"]),
        (&json!("fffe0020676172626167650a"), &json!(false))
    );
    assert_eq!(listed["dead_letters"][5]["payload"], "hello");
    for (offset, payload) in payloads.iter().enumerate().skip(1) {
        let place = format!("ratings/0/{offset}");
        assert_eq!(freshet.bytes(&["dead-letters", "show", &place, "--raw"]), *payload);
    }
    let shown = freshet.must(&["dead-letters", "show", "ratings/0/1"]);
    assert!(shown.contains("00000000: fffe 0020 6761") && shown.contains("1970-01-01 00:00:00 UTC"), "{shown}");
    freshet.run(&["dead-letters", "show", "ratings/0/0"]).exited(1).told(&["no dead letter at ratings/0/0"]);

    // Nothing of this sends anything.
    let dry = ["dead-letters", "replay", "ratings/0/2", "--fix", "rating=clamp", "--dry-run"];
    let dry = freshet.must(&dry);
    let mended = r#"ratings/0/2: {"v":1,"user":"1","item":"2","rating":5.0,"id":"dead-letter/ratings/0/2"}"#;
    assert!(dry.contains(mended) && dry.contains("would be sent"), "{dry}");
    let bad = freshet.run(&["dead-letters", "replay", "--all"]).exited(1).told(&["7 letters would be refused again"]);
    assert!(bad.stdout.contains("still bad: rating_out_of_range") && bad.stdout.contains("rating is 9"), "{bad}");
    let bad = freshet.run(&["dead-letters", "replay", "ratings/0/6", "--fix-with", "exit 3"]).exited(1);
    assert!(bad.stdout.contains("not_mended") && bad.stdout.contains("exit status: 3"), "{bad}");
    let none = freshet.must(&["dead-letters", "replay", "--reason", "too_large"]);
    assert!(none.contains("no dead letter to replay"), "{none}");
    let none = freshet.must(&["dead-letters", "replay", "clicks/0/2"]);
    assert!(none.contains("clicks/0/2: no such dead letter"), "{none}");

    mend_all(&freshet, |offset| format!("ratings/0/{offset}"));
    durable(&mut engine, 1 + MENDED.len() as u64, 7);
    let sql = "SELECT json_group_array(json_array(item, rating, id)) FROM events WHERE seq > 1 ORDER BY seq";
    let learned: Value = serde_json::from_str(&freshet.ask::<String>(sql)).unwrap();
    let id = |id: &str| if id == "mine" { id.to_owned() } else { format!("dead-letter/ratings/0/{id}") };
    assert_eq!(learned, json!(MENDED.map(|(item, rating, letter)| (item, rating, id(letter)))));

    // A second replay sends nothing.
    let again = freshet.run(&["dead-letters", "replay", "--all"]).exited(1);
    assert!(again.stdout.contains("still bad: empty") && !again.stdout.contains("skipped"), "{again}");
    let again = freshet.must(&["dead-letters", "replay", "ratings/0/2", "--fix", "rating=clamp"]);
    assert!(again.contains("skipped: replayed before"), "{again}");
    assert!(freshet.must(&["dead-letters", "replay", "--reason", "invalid_utf8"]).contains("no dead letter to replay"));
    assert_eq!(freshet.must(&["dead-letters", "list"]).matches("ratings/0/").count(), 1, "only the empty one is left");
    engine.stop().succeeded();
    assert_eq!(freshet.ask::<i64>("SELECT count(*) FROM events"), 7);
    freshet.must(&["verify", "--against-log"]);
}

#[test]
fn a_replay_that_died_before_it_could_mark_its_letter_is_learned_once() {
    let freshet = Freshet::new::<&str>(&[]);
    send(&embedded(&freshet), &mixed());
    let mut engine = freshet.start();
    durable(&mut engine, 1, 7);
    mend_all(&freshet, |offset| format!("ratings/0/{offset}"));
    durable(&mut engine, 7, 7);
    freshet.store().execute("UPDATE dead_letters SET replayed_at_ms = NULL", []).unwrap();
    mend_all(&freshet, |offset| format!("ratings/0/{offset}"));
    let model = durable(&mut engine, 7, 13);
    assert_eq!(model["rejects"]["duplicate_id"], 6);
    // Duplicates are no mistakes: they are sent only when they are asked for.
    let all = freshet.run(&["dead-letters", "replay", "--all"]).exited(1);
    assert!(all.stdout.contains("skipped: duplicates") && all.stdout.contains("still bad: empty"), "{all}");
    durable(&mut engine, 7, 13);
    let asked = freshet.must(&["dead-letters", "replay", "--reason", "duplicate_id", "--fix", "id="]);
    assert!(!asked.contains("skipped") && !asked.contains("still bad"), "{asked}");
    durable(&mut engine, 13, 13);
    // By force it only comes back.
    freshet.must(&["dead-letters", "replay", "ratings/0/7", "--force"]);
    durable(&mut engine, 13, 14);
    engine.stop().succeeded();
}

#[test]
fn a_thousand_garbage_messages_among_ten_thousand_are_all_kept_and_stop_nothing() {
    let freshet = Freshet::new(&["gather.size=64"]);
    let event = |n: usize| format!(r#"{{"v":1,"user":"{}","item":"{}","rating":{}}}"#, n % 97, n % 301, 1 + n % 5);
    let garbage = |n: usize| match n % 4 {
        0 => vec![0xff, n as u8, 0, (n >> 8) as u8],
        1 => event(n).into_bytes()[..20].to_vec(),
        2 => format!(r#"{{"v":1,"user":"u","item":"i","rating":{n}00}}"#).into_bytes(),
        _ => format!("garbage {n}").into_bytes(),
    };
    let is_garbage = |n: &usize| n % 10 == 3 || n % 1000 == 4;
    let payload = |n: usize| if is_garbage(&n) { garbage(n) } else { event(n).into_bytes() };
    let payloads: Vec<Vec<u8>> = (0..10_000).map(payload).collect();
    let letters: Vec<usize> = (0..10_000).filter(is_garbage).collect();
    let events = (10_000 - letters.len()) as u64;
    assert!(letters.len() > 1_000);
    let mut engine = freshet.start();
    send(&embedded(&freshet), &payloads);
    durable(&mut engine, events, letters.len() as u64);
    assert_eq!(engine.json("/readyz")["ready"], true);
    let store = freshet.store();
    let mut stored = store.prepare("SELECT offset, payload FROM dead_letters ORDER BY offset").unwrap();
    let stored = stored.query_map([], |row| <(i64, Vec<u8>)>::try_from(row)).unwrap().map(Result::unwrap);
    assert!(stored.eq(letters.iter().map(|&n| (n as i64, payloads[n].clone()))), "a dead letter differs");
    engine.stop().succeeded();
    freshet.must(&["verify", "--against-log"]);
}

/// Events with ids, some of them sent again soon and some late, and the same without those that come within the window.
fn with_duplicates(window: usize) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let event = |n: usize| {
        let (user, item, rating, ts) = (n % 41, n * 7 % 113, 1 + n % 5, n * 1_000);
        format!(r#"{{"v":1,"user":"{user}","item":"{item}","rating":{rating},"ts":{ts},"id":"order-{n}"}}"#)
            .into_bytes()
    };
    let (mut sent, mut learned) = (Vec::new(), Vec::new());
    for n in 0..3_000 {
        sent.push(event(n));
        learned.push(event(n));
        if n >= window && n % 3 == 0 {
            sent.push(event(n - window / 2));
        }
        if n >= 300 && n % 500 == 1 {
            sent.push(event(n - 3 * window));
            learned.push(event(n - 3 * window));
        }
    }
    (sent, learned)
}

#[test]
fn an_event_sent_twice_under_one_id_is_learned_once_whatever_dies() {
    const WINDOW: usize = 50;
    let settings =
        ["gather.size=64", "store.snapshot_every=400", "store.write_batch=128", &format!("gather.id_window={WINDOW}")];
    let (sent, learned) = with_duplicates(WINDOW);
    let (events, duplicates) = (learned.len() as u64, (sent.len() - learned.len()) as u64);
    let hash = |freshet: &Freshet| freshet.newest_snapshot()["sha256"].clone();

    let clean = Freshet::new(&settings);
    send(&embedded(&clean), &learned);
    let mut engine = clean.start();
    durable(&mut engine, events, 0);
    engine.stop().succeeded();

    let killed = Freshet::new(&settings);
    send(&embedded(&killed), &sent[..sent.len() / 2]);
    let mut engine = killed.start();
    engine.wait("/readyz", "some are durable", |ready| ready["durable_seq"].as_u64() >= Some(200));
    engine.kill();
    let mut engine = killed.start();
    engine.learned(1_000);
    engine.kill();
    send(&embedded(&killed), &sent[sent.len() / 2..]);
    let mut engine = killed.start();
    let model = durable(&mut engine, events, duplicates);
    assert_eq!(model["rejects"], json!({"duplicate_id": duplicates}));
    engine.stop().succeeded();
    assert_eq!(hash(&killed), hash(&clean));
    let detail: String = killed.ask("SELECT detail FROM dead_letters ORDER BY offset LIMIT 1");
    assert!(detail.contains("id \"order-26\" is that of event 27"), "{detail}");
    killed.must(&["verify", "--against-log"]);

    // Without a window ids say nothing.
    let off = Freshet::new(&["gather.id_window=0"]);
    send(&embedded(&off), &sent);
    let mut engine = off.start();
    durable(&mut engine, sent.len() as u64, 0);
    engine.stop().succeeded();
}

#[test]
fn letters_of_kafka_and_mongodb_are_mended_and_replayed() {
    let servers = Servers::new(1);
    let mut config = Config::default();
    config.broker.kind = BrokerKind::Kafka;
    config.broker.servers = support::kafka().to_owned();
    config.broker.topic.clone_from(&servers.topic);
    config.store.data_dir = Path::new("unused").to_owned();
    let payloads = mixed();
    send(&config, &payloads);
    let freshet = &servers.freshet;
    let mut engine = freshet.start();
    durable(&mut engine, 1, 7);
    let at = |offset: u64| format!("{}/0/{offset}", servers.topic);
    for (offset, payload) in payloads.iter().enumerate().skip(1) {
        assert_eq!(freshet.bytes(&["dead-letters", "show", &at(offset as u64), "--raw"]), *payload);
    }
    assert!(freshet.must(&["dead-letters", "list"]).contains("7 in all"));
    mend_all(freshet, at);
    durable(&mut engine, 7, 7);
    let again = freshet.run(&["dead-letters", "replay", "--all"]).exited(1);
    assert!(again.stdout.contains("still bad: empty") && !again.stdout.contains("skipped"), "{again}");
    durable(&mut engine, 7, 7);

    let letters = servers.database.collection::<Document>("dead_letters");
    let forget = letters.update_many(doc! {}, doc! {"$unset": {"replayed_at": ""}});
    servers.runtime.block_on(async { forget.await }).unwrap();
    mend_all(freshet, at);
    assert_eq!(durable(&mut engine, 7, 13)["rejects"]["duplicate_id"], 6);
    engine.stop().succeeded();
    freshet.must(&["verify", "--against-kafka"]);
    servers.drop_database();
}
