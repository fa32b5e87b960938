//! The command line as a person meets it: help, mistakes and what they are answered with, and the small commands.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::program::Freshet;

fn freshet() -> Freshet {
    Freshet::new::<&str>(&[])
}

#[test]
fn without_a_command_it_prints_help() {
    let help = freshet().must(&[]);
    for part in ["Usage:", "demo", "run", "replay", "data", "evaluate", "snapshots", "config", "Examples:"] {
        assert!(help.contains(part), "{part} is not in {help}");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_place_wherever_it_stands() {
    let mut flag = freshet();
    flag.set("brokr.kind=kafka");
    flag.run(&["run"]).exited(2).told(&["--set", "brokr.kind", "did you mean broker"]);

    let mut variable = freshet();
    variable.variable("FRESHET_BROKER__KND", "kafka");
    variable.run(&["run"]).exited(2).told(&["FRESHET_BROKER__KND", "broker.knd", "did you mean kind"]);

    let file = freshet();
    file.write("config.toml", "[gather]\nsize = 8\n\n[biased_mf]\nfactor = 8\n");
    file.run(&["run"]).exited(2).told(&["config.toml:5:1", "biased_mf.factor", "did you mean factors"]);
    assert!(!file.path("freshet-data").exists(), "nothing starts on settings that are wrong");
}

#[test]
fn an_unreachable_broker_ends_with_one_line_that_says_what_to_do() {
    let settings = ["broker.kind=kafka", "broker.servers=127.0.0.1:1", "broker.connect_timeout=1s", "log.level=error"];
    let freshet = Freshet::new(&settings);
    for arguments in [&["run"][..], &["replay", "sample"]] {
        let ended = freshet.run(arguments).exited(3);
        let ended = ended.told(&["kafka at 127.0.0.1:1", "refused", "gave up after 1s", "broker.servers", "start it"]);
        assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
    }
}

#[test]
fn an_unreachable_database_ends_with_one_line_that_says_what_to_do_and_no_password() {
    let settings = [
        "store.kind=mongodb",
        "store.uri=mongodb://annabel:s3cr%40t@127.0.0.1:1/?directConnection=true",
        "store.connect_timeout=1s",
        "log.level=error",
    ];
    let freshet = Freshet::new(&settings);
    for arguments in [&["run"][..], &["snapshots", "list"]] {
        let ended = freshet.run(arguments).exited(3);
        let ended = ended.told(&["mongodb://127.0.0.1:1/freshet", "refused", "start the server", "store.uri"]);
        assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
    }
    let mut loud = freshet;
    loud.set("log.level=trace");
    let ended = loud.run(&["run"]).exited(3);
    let shown = ended.to_string();
    assert!(!shown.contains("s3cr") && !shown.contains("annabel"), "{shown}");
}

#[test]
fn a_file_that_cannot_be_replayed_is_refused_with_the_line() {
    let freshet = freshet();
    freshet.write("empty.csv", "");
    freshet.write("empty.ndjson", "");
    freshet.write("five.csv", "user,item,rating\n1,2,3\n1,3,five\n1,4,5\n");
    freshet.write("cut.ndjson", "{\"user\":\"1\",\"item\":\"2\",\"rating\":3}\n{\"user\":\"1\",\"item\":\"3\",\"rat");
    for (file, parts) in [
        ("missing.csv", &["cannot read missing.csv", "No such file"][..]),
        ("empty.csv", &["empty.csv is empty", "header"]),
        ("empty.ndjson", &["empty.ndjson is empty", "JSON"]),
        ("five.csv", &["five.csv: line 3", "\"rating\" is \"five\"", "--keep-going", "1 delivered"]),
        ("cut.ndjson", &["cut.ndjson: line 2", "--keep-going", "1 delivered"]),
        ("ml-1m", &["no data set or file is named \"ml-1m\"", "ml-100k"]),
    ] {
        freshet.run(&["replay", file]).exited(1).told(parts);
    }
    let kept = freshet.must(&["replay", "five.csv", "--keep-going"]);
    assert!(kept.contains("2 delivered, 0 failed, 1 rows skipped"), "{kept}");
}

#[test]
fn known_data_sets_are_listed() {
    let freshet = freshet();
    let table = freshet.must(&["data", "list"]);
    assert!(table.contains("ml-100k") && table.contains("lastfm") && table.contains("freshet data fetch"), "{table}");
    let listed: Vec<Value> = serde_json::from_str(&freshet.must(&["data", "list", "--json"])).unwrap();
    let found: Vec<_> = listed.iter().map(|set| (set["name"].as_str().unwrap(), set["here"] == true)).collect();
    assert_eq!(found, [("ml-100k", false), ("lastfm", false), ("sample", true)]);
}

#[test]
fn a_converted_file_converts_back_to_itself() {
    const CSV: &str = "user,item,rating,count,ts,id\n\
        196,242,3.5,,881250949000,\n\
        \"comma, inc.\",\"quo\"\"te\",,12,,a-1\n\
        é,ü,1,,-1,\n";
    let freshet = freshet();
    freshet.write("one.csv", CSV);
    freshet.must(&["data", "convert", "one.csv", "--to", "ndjson", "--out", "two.ndjson"]);
    freshet.must(&["data", "convert", "two.ndjson", "--to", "csv", "--out", "three.csv"]);
    let text = |name| std::fs::read_to_string(freshet.path(name)).unwrap();
    assert_eq!(text("three.csv"), CSV);
    let first: Value = serde_json::from_str(text("two.ndjson").lines().next().unwrap()).unwrap();
    assert_eq!(first, json!({"v": 1, "user": "196", "item": "242", "rating": 3.5, "ts": 881_250_949_000_i64}));
    assert_eq!(freshet.must(&["data", "convert", "three.csv", "--to", "ndjson"]), text("two.ndjson"));
    let limited = freshet.must(&["data", "convert", "sample", "--to", "csv", "--limit", "3"]);
    assert_eq!(limited.lines().count(), 4, "{limited}");
}

#[test]
fn snapshots_are_listed_and_shown() {
    let freshet = Freshet::new(&["store.snapshot_every=400"]);
    let none = freshet.must(&["snapshots", "list"]);
    assert!(none.contains("no snapshot in") && none.contains("store.db"), "{none}");
    freshet.run(&["snapshots", "show", "latest"]).exited(1).told(&["no snapshot in"]);

    freshet.must(&["replay", "sample", "--limit", "1000"]);
    let mut engine = freshet.start();
    engine.learned(1_000);
    engine.stop().succeeded();

    let listed: Vec<Value> = serde_json::from_str(&freshet.must(&["snapshots", "list", "--json"])).unwrap();
    let seqs: Vec<u64> = listed.iter().map(|manifest| manifest["_id"].as_u64().unwrap()).collect();
    assert!(seqs.len() >= 2 && seqs[0] == 1_000 && seqs.is_sorted_by(|a, b| a > b), "{seqs:?}");
    let sha256 = listed[0]["sha256"].as_str().unwrap();
    let table = freshet.must(&["snapshots", "list", "--limit", "1"]);
    assert!(table.contains(&sha256[..16]) && table.contains("1,000"), "{table}");

    let shown = freshet.must(&["snapshots", "show", "latest"]);
    for part in [sha256, "recomputed from the blocks: the same", "ratings [0] at 1000", "factors = 32"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    for which in ["latest", "1000"] {
        let shown: Value = serde_json::from_str(&freshet.must(&["snapshots", "show", which, "--json"])).unwrap();
        assert_eq!(shown, listed[0]);
    }
    freshet.run(&["snapshots", "show", "7"]).exited(1).told(&["no snapshot 7", "1000"]);
    freshet.run(&["snapshots", "show", "newest"]).exited(1).told(&["\"newest\" is no snapshot", "latest"]);
}

/// A small data set, made up, in the layout of the original files of ML-100k.
fn write_movielens(dir: &Path) {
    std::fs::create_dir(dir).unwrap();
    let (mut data, mut items, mut users) = (String::new(), String::new(), String::new());
    for n in 0..2_000_u32 {
        let (user, item) = (n * 7 % 200 + 1, n * 13 % 90 + 1);
        let _ = writeln!(data, "{user}\t{item}\t{}\t{}", n % 5 + 1, 881_250_949 + n);
    }
    for item in 1..=90 {
        let _ = writeln!(items, "{item}|Made-up Film {item} (1997)|01-Jan-1997||http://example.org/{item}|0|1");
    }
    for user in 1..=200 {
        let _ = writeln!(users, "{user}|{}|F|writer|0000{}", 20 + user % 50, user % 10);
    }
    for (name, text) in
        [("u.data", &*data), ("u.item", &items), ("u.user", &users), ("u.genre", "unknown|0\nAction|1\n")]
    {
        std::fs::write(dir.join(name), text).unwrap();
    }
}

/// The hash in the demo's table.
fn demo_hash(printed: &str) -> &str {
    let row = printed.lines().find(|line| line.contains("model SHA-256")).unwrap_or_else(|| panic!("{printed}"));
    row.split_whitespace().find(|word| word.len() == 64).unwrap_or_else(|| panic!("{row}"))
}

#[test]
fn the_demo_ends_with_its_table_and_resumes() {
    let freshet = freshet();
    write_movielens(&freshet.path("ml-100k"));
    let demo = ["demo", "--exit", "--from", "ml-100k"];
    let first = freshet.must(&demo);
    for part in ["http://127.0.0.1:", "/recommend/196", "store.db", "2,000", "RMSE", "Made-up Film", "for user 196"] {
        assert!(first.contains(part), "{part} is not in {first}");
    }
    assert!(!first.contains("Resumed"), "{first}");

    let second = freshet.must(&demo);
    assert!(second.contains("Resumed from") && second.contains("2,000 of 2,000 rows"), "{second}");
    assert_eq!(demo_hash(&first), demo_hash(&second));

    let fresh = freshet.must(&[&demo[..], &["--fresh"]].concat());
    assert!(!fresh.contains("Resumed"), "{fresh}");
    assert_eq!(demo_hash(&first), demo_hash(&fresh));
}
