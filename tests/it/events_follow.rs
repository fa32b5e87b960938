//! `freshet events follow`: each event once and in order, whoever dies meanwhile, on both stores.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use freshet::decode::Reason;
use serde_json::{Value, json};

use crate::events_export::of_arrow_stream;
use crate::events_site::Site;
use crate::program::{Freshet, Running};
use crate::support::{self, Mongod};

fn follow(freshet: &Freshet, flags: &[&str]) -> Running {
    freshet.spawn(&[&["events", "follow", "--format", "ndjson"], flags].concat())
}

fn field(line: &str, name: &str) -> u64 {
    let row: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    row[name].as_u64().unwrap()
}

fn seqs(text: &str) -> Vec<u64> {
    text.lines().map(|line| field(line, "seq")).collect()
}

fn file(freshet: &Freshet, name: &str) -> String {
    fs::read_to_string(freshet.path(name)).unwrap_or_default()
}

/// The seqs in `all.csv`.
fn of_csv(freshet: &Freshet) -> Vec<u64> {
    let text = file(freshet, "all.csv");
    // The last row may be half there.
    let rows = csv::Reader::from_reader(text.as_bytes()).into_records().filter_map(Result::ok);
    rows.map(|row| row[0].parse().unwrap()).collect()
}

/// Waits until `all.csv` has so many rows.
fn grows(running: &mut Running, freshet: &Freshet, rows: usize) {
    running.until(&format!("all.csv has {rows} rows"), |_| {
        let there = of_csv(freshet).len();
        if there >= rows { Ok(()) } else { Err(format!("{there} rows")) }
    });
}

fn resumed(freshet: &Freshet) -> Value {
    serde_json::from_str(&file(freshet, "resume.json")).unwrap()
}

const RESUME: [&str; 2] = ["--resume-file", "resume.json"];

fn it_is_killed_and_each_event_is_in_the_file_once(mut site: Site) {
    const EVENTS: u64 = 6_000;
    site.add(1_000);
    let mut writer = site.writer.clone();
    let writing = site.runtime.spawn(async move {
        for _ in 0..50 {
            writer.add((EVENTS - 1_000) / 50).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        writer
    });
    let flags = ["events", "follow", "--from", "beginning", "--out", "all.csv", RESUME[0], RESUME[1]];
    let mut kills = 0;
    while !writing.is_finished() {
        let mut running = site.freshet.spawn(&flags);
        let before = of_csv(&site.freshet).len();
        if before < EVENTS as usize {
            grows(&mut running, &site.freshet, before + 1);
        }
        sleep(Duration::from_millis(20 * kills));
        running.kill();
        kills += 1;
    }
    assert!(kills > 1, "it was never killed");
    let mut running = site.freshet.spawn(&flags);
    site.runtime.block_on(async { writing.await.unwrap().add(1).await });
    grows(&mut running, &site.freshet, EVENTS as usize + 1);
    running.signal("INT");
    running.wait().succeeded().told(&["followed", "resume.json goes on there"]);
    assert_eq!(of_csv(&site.freshet), (1..=EVENTS + 1).collect::<Vec<_>>(), "after {kills} kills");
    assert_eq!(file(&site.freshet, "all.csv").matches("seq,batch").count(), 1, "one header");
}

#[test]
fn it_is_killed_and_each_event_is_in_the_file_once_on_the_embedded_store() {
    it_is_killed_and_each_event_is_in_the_file_once(Site::embedded());
}

#[test]
fn it_is_killed_and_each_event_is_in_the_file_once_on_mongodb() {
    it_is_killed_and_each_event_is_in_the_file_once(Site::mongodb(support::mongodb()));
}

fn it_begins_anywhere_filters_and_goes_on_where_it_stopped(mut site: Site) {
    site.add(100);
    let freshet = &site.freshet;
    let all = follow(freshet, &["--from", "beginning", "--limit", "100"]).wait().succeeded();
    assert_eq!(seqs(&all.stdout), (1..=100).collect::<Vec<_>>());
    assert!(all.stderr.contains("followed 100 events"), "{all}");
    let some = follow(freshet, &["--from", "seq:50", "--user", "3", "--limit", "2"]).wait().succeeded();
    assert_eq!(seqs(&some.stdout), [52, 59]);

    let mut latest = follow(freshet, &RESUME);
    latest
        .until("it stands somewhere", |_| if freshet.path("resume.json").exists() { Ok(()) } else { Err("no".into()) });
    site.runtime.block_on(site.writer.add(30));
    latest.prints(30);
    latest.signal("TERM");
    let first = latest.wait().succeeded();
    // While nobody follows.
    site.runtime.block_on(site.writer.add(30));
    // The limit ends it in the middle of what has arrived, with nothing lost behind it.
    let second = follow(freshet, &[&RESUME[..], &["--limit", "7"]].concat()).wait().succeeded();
    let mut third = follow(freshet, &RESUME);
    third.prints(23);
    site.runtime.block_on(site.writer.add(40));
    third.prints(63);
    third.signal("INT");
    let third = third.wait().succeeded();
    assert_eq!(seqs(&(first.stdout + &second.stdout + &third.stdout)), (101..=200).collect::<Vec<_>>());

    // What came before the limit was reached is told as interrupted.
    let mut endless = follow(freshet, &["--limit", "9", "--from", "seq:200"]);
    endless.prints(1);
    endless.signal("INT");
    endless.wait().exited(130).told(&["interrupted: 1 events followed"]);
}

#[test]
fn it_begins_anywhere_filters_and_goes_on_where_it_stopped_on_the_embedded_store() {
    it_begins_anywhere_filters_and_goes_on_where_it_stopped(Site::embedded());
}

#[test]
fn it_begins_anywhere_filters_and_goes_on_where_it_stopped_on_mongodb() {
    it_begins_anywhere_filters_and_goes_on_where_it_stopped(Site::mongodb(support::mongodb()));
}

fn dead_letters_are_followed_and_gone_on_with(mut site: Site) {
    let flags = [&["--reason", "all", "--from", "beginning"][..], &RESUME].concat();
    let offsets = |text: &str| text.lines().map(|line| field(line, "offset")).collect::<Vec<_>>();
    site.add(2);
    site.refuse(&[(Reason::Empty, b""), (Reason::InvalidJson, b"{")]);
    let mut first = follow(&site.freshet, &flags);
    first.prints(2);
    site.add(3);
    site.refuse(&[(Reason::InvalidUtf8, b"\xff")]);
    first.prints(3);
    first.signal("INT");
    let first = first.wait().succeeded().stdout;
    site.refuse(&[(Reason::Empty, &b""[..]); 70]);
    let mut second = follow(&site.freshet, &flags);
    second.prints(70);
    second.signal("INT");
    let second = second.wait().succeeded().told(&["followed 70 dead letters"]).stdout;
    let expected: Vec<u64> = [2, 3, 7].into_iter().chain(8..78).collect();
    assert_eq!(offsets(&(first + &second)), expected);
    let one = follow(&site.freshet, &["--reason", "invalid_json", "--from", "beginning", "--limit", "1"]);
    assert_eq!(offsets(&one.wait().succeeded().stdout), [3]);
    let seq = follow(&site.freshet, &["--reason", "all", "--from", "seq:3"]).wait().exited(1);
    seq.told(&["dead letters have no seq"]);
}

#[test]
fn dead_letters_are_followed_and_gone_on_with_on_the_embedded_store() {
    dead_letters_are_followed_and_gone_on_with(Site::embedded());
}

#[test]
fn dead_letters_are_followed_and_gone_on_with_on_mongodb() {
    dead_letters_are_followed_and_gone_on_with(Site::mongodb(support::mongodb()));
}

#[test]
fn a_server_that_dies_is_waited_for_and_nothing_is_lost() {
    let Some(mut server) = Mongod::start() else { return };
    let mut site = Site::mongodb(&server.uri());
    site.add(100);
    let mut running = follow(&site.freshet, &["--from", "beginning"]);
    running.prints(100);
    site.add(50);
    running.prints(150);
    server.kill();
    running.tells(&["the store is away"]);
    let ended = site.freshet.run(&["events", "export", "--out", "a.csv", "--set", "store.connect_timeout=1s"]);
    ended.exited(3).told(&["refused", "start the server"]);
    assert!(!site.freshet.path("a.csv").exists());
    server.restart();
    running.tells(&["the store is back"]);
    site.add(100);
    running.prints(250);
    running.signal("INT");
    let ended = running.wait().succeeded();
    assert_eq!(seqs(&ended.stdout), (1..=250).collect::<Vec<_>>());
    for part in ["the store is away", "the store is back"] {
        assert_eq!(ended.stderr.matches(part).count(), 1, "{ended}");
    }
}

/// A token of the change stream with the seconds of its time replaced.
fn at_second(token: &Value, seconds: &str) -> Value {
    let data = token["_data"].as_str().unwrap();
    json!({"_data": format!("82{seconds}{}", &data[10..])})
}

#[test]
fn a_token_that_the_server_no_longer_knows_is_replaced_by_reading_on() {
    let mut site = Site::mongodb(support::mongodb());
    site.add(10);
    let step = |more: u64, site: &mut Site| {
        let mut running = follow(&site.freshet, &RESUME);
        running.until("it stands", |_| {
            if file(&site.freshet, "resume.json").is_empty() { Err("no".into()) } else { Ok(()) }
        });
        site.add(more);
        running.prints(more as usize);
        running.signal("INT");
        running.wait().succeeded()
    };
    assert_eq!(seqs(&step(5, &mut site).stdout), [11, 12, 13, 14, 15]);
    let whole = resumed(&site.freshet);
    let token = &whole["at"]["seq"]["token"];
    assert!(token["_data"].is_string(), "{whole}");
    site.add(3);
    // Of a time that the server's log no longer has, and of no time at all.
    for lost in [at_second(token, "5F000000"), json!({"_data": "nonsense"}), json!({})] {
        let mut record = whole.clone();
        record["at"]["seq"]["token"] = lost;
        site.freshet.write("resume.json", record.to_string());
        let mut running = follow(&site.freshet, &RESUME);
        running.prints(3);
        running.signal("INT");
        let ended = running.wait().succeeded().told(&["reading on by seq", "nothing is left out"]);
        assert_eq!(seqs(&ended.stdout), [16, 17, 18], "{record}");
    }
    // The token itself goes on without reading.
    site.freshet.write("resume.json", whole.to_string());
    let mut running = follow(&site.freshet, &RESUME);
    running.prints(3);
    running.signal("INT");
    let ended = running.wait().succeeded();
    assert!(seqs(&ended.stdout) == [16, 17, 18] && !ended.stderr.contains("by seq"), "{ended}");
}

#[test]
fn a_resume_file_that_is_not_of_this_is_refused() {
    let mut site = Site::embedded();
    site.add(20);
    let refused = |site: &Site, flags: &[&str], parts: &[&str]| {
        let ended = follow(&site.freshet, &[&RESUME[..], flags].concat()).wait().exited(1).told(parts);
        assert_eq!(ended.stdout, "", "{ended}");
    };
    follow(&site.freshet, &[&["--from", "seq:11", "--limit", "5"], &RESUME[..]].concat()).wait().succeeded();
    let whole = file(&site.freshet, "resume.json");
    refused(&site, &["--user", "1"], &["resume.json does not go with this", "of other filters"]);
    refused(&site, &["--out", "a.csv"], &["went to stdout"]);
    site.freshet.write("resume.json", &whole[..40]);
    refused(&site, &[], &["resume.json is no whole resume file", "remove it, or give another"]);
    site.freshet.write("resume.json", whole.replace("\"seq\":15", "\"seq\":150"));
    refused(&site, &[], &["ahead of the store"]);
    site.freshet.write("resume.json", &whole);
    site.freshet.set("store.data_dir=other");
    refused(&site, &[], &["of another store"]);

    // A file that was changed behind its back is not added to.
    let mut site = Site::embedded();
    site.add(20);
    let out = [&["--from", "beginning", "--limit", "5", "--out", "a.ndjson"], &RESUME[..]].concat();
    follow(&site.freshet, &out).wait().succeeded();
    site.freshet.write("a.ndjson", "");
    refused(&site, &["--out", "a.ndjson"], &["a.ndjson has 0 bytes", "changed since"]);
    let ended = follow(&site.freshet, &["--out", "a.ndjson"]).wait().exited(1);
    ended.told(&["a.ndjson is there already", "--force"]);
}

#[test]
fn arrow_is_one_stream_however_often_it_goes_on() {
    let mut site = Site::embedded();
    let flags =
        [&["events", "follow", "--from", "beginning", "--out", "a.arrow", "--limit", "50"], &RESUME[..]].concat();
    for _ in 0..3 {
        site.add(50);
        site.freshet.must(&flags);
    }
    let rows = of_arrow_stream(&fs::read(site.freshet.path("a.arrow")).unwrap());
    let seqs: Vec<u64> = rows.iter().map(|row| row["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=150).collect::<Vec<_>>());
    let piped = site.freshet.bytes(&["events", "follow", "--from", "seq:141", "--format", "arrow", "--limit", "10"]);
    assert_eq!(of_arrow_stream(&piped)[..], rows[140..]);
    let parquet = site.freshet.run(&["events", "follow", "--out", "a.parquet"]).exited(1);
    parquet.told(&["only once it is whole"]);
    site.freshet.run(&["events", "follow", "--format", "parquet"]).exited(2).told(&["table, csv, ndjson, arrow"]);
}

#[test]
fn a_table_for_people_has_a_header_and_aligned_columns() {
    let mut site = Site::embedded();
    site.add(20);
    let flags = ["events", "follow", "--from", "seq:9", "--limit", "3"];
    let table = site.freshet.must(&[&flags[..], &["--format", "table"]].concat());
    assert!(!table.contains('\x1b'), "{table}");
    let expected = "      \
        seq  time                     user          item          rating   count  predicted  where\n        \
          9  1997-12-04 16:04:49 UTC  2             Zoë, \"9\"\\n       4.1              3.501  ratings/0/8\n       \
         10  1997-12-04 16:05:49 UTC  3             Zoë, \"10\"\\n               10      3.501  ratings/0/9\n       \
         11  1997-12-04 16:06:49 UTC  4             Zoë, \"11\"\\n      1.1              3.501  ratings/0/10\n";
    assert_eq!(table, expected);
    // Nobody reads on.
    let mut command = site.freshet.command(&["events", "follow", "--from", "beginning"]);
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}
