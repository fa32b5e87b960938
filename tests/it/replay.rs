//! `freshet replay`: an interrupted one that is resumed, failures that are injected, times that are moved and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::produce::Log;
use crate::program::Freshet;

/// Rows of a file, without ids.
fn rows(count: u32) -> String {
    (0..count).fold(String::new(), |mut text, n| {
        let (user, item) = (n % 101, n % 37);
        let ts = 881_250_949_000_u64 + u64::from(n);
        let _ = writeln!(
            text,
            "{{\"v\":1,\"user\":\"{user}\",\"item\":\"{item}\",\"rating\":{}.0,\"ts\":{ts}}}",
            n % 5 + 1
        );
        text
    })
}

/// Waits until the resume file notes deliveries.
fn noted(freshet: &Freshet, file: &str) {
    let deadline = Instant::now() + Duration::from_mins(1);
    let delivered = || -> Option<u64> {
        let state: Value = serde_json::from_slice(&std::fs::read(freshet.path(file)).ok()?).ok()?;
        state["delivered"][0][1].as_u64()
    };
    while delivered().is_none_or(|delivered| delivered == 0) {
        assert!(Instant::now() < deadline, "nothing was noted");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The events on the log, without their ids; and the ids.
fn events(log: &Log) -> (Vec<Value>, Vec<String>) {
    let event = |payload: Vec<u8>| {
        let mut event: Value = serde_json::from_slice(&payload).unwrap();
        let id = event.as_object_mut().unwrap().remove("id").unwrap();
        (event, id.as_str().unwrap().to_owned())
    };
    log.records().into_iter().map(|record| event(record.payload)).unzip()
}

fn sorted(events: impl IntoIterator<Item = Value>) -> Vec<String> {
    let mut events: Vec<String> = events.into_iter().map(|event| event.to_string()).collect();
    events.sort();
    events
}

#[test]
fn an_interrupted_replay_goes_on_at_the_very_row() {
    const ROWS: u32 = 6_000;
    for log in [Log::kafka(3), Log::embedded(3)] {
        log.freshet.write("rows.ndjson", rows(ROWS));
        let replay = ["replay", "rows.ndjson", "--resume-file", "state"];
        let slow = |rate| log.freshet.spawn(&[&replay[..], &["--rate", rate]].concat());
        for _ in 0..2 {
            let running = slow("1500/s");
            noted(&log.freshet, "state");
            std::thread::sleep(Duration::from_millis(300));
            running.signal("INT");
            let parts = ["interrupted: ", "0 failed, 0 without a report", "state notes", "sends what is missing"];
            running.wait().exited(130).told(&parts);
        }
        let before = log.records().len();
        assert!((100..ROWS as usize).contains(&before), "{before} rows were sent before the second interrupt");

        log.freshet.run(&[&replay[..], &["--limit", "10"]].concat()).exited(1).told(&["--limit", "\"none\"", "\"10\""]);
        log.freshet.write("other.ndjson", rows(10));
        log.freshet.run(&["replay", "other.ndjson", "--resume-file", "state"]).exited(1).told(&["its data set"]);

        let last = log.freshet.must(&replay);
        let missing = ROWS as usize - before;
        assert!(last.contains(&format!("{} delivered, 0 failed", indicatif::HumanCount(missing as u64))), "{last}");
        let (events, ids) = events(&log);
        let sent = rows(ROWS).lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
        assert_eq!(sorted(events), sorted(sent), "each row once");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ROWS as usize);

        let again = log.freshet.must(&replay);
        assert!(again.contains("nothing to do: all 6,000 events were delivered before"), "{again}");
        assert_eq!(log.records().len(), ROWS as usize);
    }
}

#[test]
fn after_a_kill_no_row_is_left_out_and_the_engine_learns_each_once() {
    const ROWS: u32 = 5_000;
    let log = Log::embedded(1);
    log.freshet.write("rows.ndjson", rows(ROWS));
    let replay = ["replay", "rows.ndjson", "--resume-file", "state"];
    let running = log.freshet.spawn(&[&replay[..], &["--rate", "1500/s"]].concat());
    noted(&log.freshet, "state");
    std::thread::sleep(Duration::from_millis(500));
    running.kill();
    log.freshet.must(&replay);
    let records = log.records().len() as u64;
    let twice = records - u64::from(ROWS);
    assert!((1..2_000).contains(&twice), "{twice} rows were delivered and not noted");
    let mut engine = log.freshet.start();
    engine.wait("/model", "all is learned", |model| model["lag"][0]["durable"] == records);
    let model = engine.json("/model");
    assert_eq!(
        (model["durable_seq"].as_u64(), &model["rejects"]),
        (Some(ROWS.into()), &serde_json::json!({ "duplicate_id": twice }))
    );
    engine.stop().succeeded();
}

/// What the last line of an account tells of a kind: `1,003 duplicates`.
fn told(account: &str, kind: &str) -> u64 {
    let (before, _) = account.split_once(&format!(" {kind}")).unwrap_or_else(|| panic!("no {kind} in {account}"));
    before.rsplit(' ').next().unwrap().replace(',', "").parse().unwrap()
}

const INJECT: [&str; 8] =
    ["--inject", "duplicates=2%", "--inject", "late=0.03", "--inject", "garbage=1%", "--inject", "drift=25%"];

#[test]
fn what_is_injected_is_counted_and_the_engine_takes_exactly_the_rows() {
    for log in [Log::embedded(1), Log::kafka(3)] {
        let account = log.freshet.must(&[&["replay", "sample", "--limit", "4000"][..], &INJECT].concat());
        let [duplicates, late, garbage] = ["duplicates", "late", "garbage"].map(|kind| told(&account, kind));
        assert!((40..130).contains(&duplicates) && (60..190).contains(&late), "{account}");
        assert!((15..80).contains(&garbage), "{account}");
        assert!(account.contains("drift in ") && account.contains("from row 2,001 on"), "{account}");
        let mut engine = log.freshet.start();
        let model = engine.wait("/model", "all is taken", |model| {
            let lag = model["lag"].as_array().unwrap();
            let durable: u64 = lag.iter().filter_map(|partition| partition["durable"].as_u64()).sum();
            durable == 4_000 + duplicates + garbage
        });
        let mut rejects: BTreeMap<String, u64> = serde_json::from_value(model["rejects"].clone()).unwrap();
        assert_eq!(model["durable_seq"], 4_000, "every row is learned, late or not: {model}");
        assert_eq!(rejects.remove("duplicate_id"), Some(duplicates), "{model}");
        assert_eq!(rejects.values().sum::<u64>(), garbage, "{model}");
        engine.stop().succeeded();
    }
}

/// The records without the name of the run, which is another for each replay.
fn without_run(log: &Log) -> Vec<String> {
    let text = |payload: Vec<u8>| {
        let text = String::from_utf8_lossy(&payload).into_owned();
        match text.split_once("\"replay-") {
            Some((before, after)) => format!("{before}\"{}", after.split_once('/').unwrap().1),
            None => text,
        }
    };
    log.records().into_iter().map(|record| text(record.payload)).collect()
}

#[test]
fn what_is_injected_is_the_same_whether_it_is_interrupted_or_not() {
    let [whole, cut] = [(); 2].map(|()| Log::embedded(1));
    let replay = [&["replay", "sample", "--limit", "4000", "--resume-file", "state"][..], &INJECT].concat();
    let told = whole.freshet.must(&replay);
    let running = cut.freshet.spawn(&[&replay[..], &["--rate", "1500/s"]].concat());
    noted(&cut.freshet, "state");
    running.signal("INT");
    running.wait().exited(130);
    let told_then = cut.freshet.must(&replay);
    assert_eq!(without_run(&whole), without_run(&cut));
    let injected = |told: &str| told.lines().find(|line| line.starts_with("injected:")).unwrap().to_owned();
    assert_eq!(injected(&told), injected(&told_then));
    let seed = cut.freshet.run(&[&replay[..], &["--seed", "7"]].concat());
    seed.exited(1).told(&["its --seed is \"42\", and now it is \"7\""]);
}

#[test]
fn times_are_moved_and_their_order_is_checked() {
    let log = Log::embedded(1);
    log.freshet.write("rows.csv", "user,item,rating,ts\na,1,3,5000\nb,1,3,4000\na,2,3,9000\nb,2,3,\na,3,3,8000\n");
    let moved = log.freshet.must(&["replay", "rows.csv", "--at-time", "2026-11-30T12:00:00Z"]);
    for part in [
        "order: 2 rows go back in time against the row before, 1 against their user's row before",
        "moved by +20,787 days 11:59:55.000, so that the first is 2026-11-30 12:00:00 UTC",
    ] {
        assert!(moved.contains(part), "{part} is not in {moved}");
    }
    let ts = |record: crate::produce::Logged| serde_json::from_slice::<Value>(&record.payload).unwrap()["ts"].as_i64();
    let first = 1_796_040_000_000;
    let expected = [Some(first), Some(first - 1_000), Some(first + 4_000), None, Some(first + 3_000)];
    assert_eq!(log.records().into_iter().map(ts).collect::<Vec<_>>(), expected);

    let rows = log.freshet.run(&["replay", "rows.csv", "--require-order"]).exited(1);
    rows.told(&["row 2 (user \"b\", item \"1\") goes back in time: its ts is 4000", "is 5000", "1 delivered"]);
    let users = log.freshet.run(&["replay", "rows.csv", "--require-order=users"]).exited(1);
    users.told(&["row 5 (user \"a\", item \"3\")", "of the same user is 9000", "4 delivered"]);
    for (flag, why) in
        [("--at-time=noon", "write now"), ("--inject=late", "KIND=RATE"), ("--inject=late=2", "from 0 to 1")]
    {
        log.freshet.run(&["replay", "rows.csv", flag]).exited(2).told(&[why]);
    }
    let none = log.freshet.run(&["replay", "rows.csv", "--inject=drift=0.5"]).exited(1);
    none.told(&["drift begins in the middle", "--inject drift=0.5@50000"]);
}
