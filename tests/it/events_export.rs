//! `freshet events export`: what is written in each format is what is stored, from both stores, and what cannot be written
//! whole is not there at all.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Cursor, Write};
use std::path::Path;
use std::process::Stdio;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use freshet::consume::Position;
use freshet::decode::{Event, Reason};
use freshet::store::LearnedEvent;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::events_site::{Site, time};
use crate::program::Freshet;
use crate::small_disk::SmallDisk;
use crate::support;

/// The seqs of an export by these flags.
fn seqs(site: &Site, flags: &[&str]) -> Vec<u64> {
    let printed = site.freshet.must(&[&["events", "export", "--format", "ndjson"], flags].concat());
    let row = |line| serde_json::from_str::<Value>(line).unwrap();
    printed.lines().map(|line| row(line)["seq"].as_u64().unwrap()).collect()
}

/// A row as JSON, by names, with numbers as Parquet has them and times in ISO 8601.
type Rows = Vec<BTreeMap<String, Value>>;

fn iso(ms: i64) -> String {
    format!("{:.3}", jiff::Timestamp::from_millisecond(ms).unwrap())
}

fn expected(stored: &[LearnedEvent]) -> Rows {
    let row = |row: &LearnedEvent| {
        let Event { position, user, item, rating, count, ts, ts_of_event, id, genres, year } = &row.event;
        let row = json!({
            "seq": row.seq, "batch": row.batch, "topic": &*position.topic, "partition": position.partition,
            "offset": position.offset, "user": user, "item": item, "rating": rating, "count": count, "ts": iso(*ts),
            "ts_of_event": ts_of_event, "id": id, "predicted": row.predicted,
            "genres": if genres.is_empty() { Value::Null } else { json!(genres) }, "year": year,
            "rehearse_from": row.rehearse_from,
        });
        serde_json::from_value(row).unwrap()
    };
    stored.iter().map(row).collect()
}

fn of_batches(batches: impl IntoIterator<Item = RecordBatch>) -> Rows {
    let mut rows = Vec::new();
    for batch in batches {
        let schema = batch.schema();
        for row in 0..batch.num_rows() {
            let values = schema.fields().iter().zip(batch.columns());
            rows.push(values.map(|(field, column)| (field.name().clone(), value(column, row))).collect());
        }
    }
    rows
}

fn value(column: &dyn Array, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float32 => json!(column.as_primitive::<Float32Type>().value(row)),
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Binary => hex::encode(column.as_binary::<i32>().value(row)).into(),
        DataType::Timestamp(TimeUnit::Millisecond, Some(zone)) if &**zone == "UTC" => {
            iso(column.as_primitive::<TimestampMillisecondType>().value(row)).into()
        }
        DataType::List(_) => {
            let texts = column.as_list::<i32>().value(row);
            (0..texts.len()).map(|at| value(&texts, at)).collect()
        }
        other => panic!("{other} was not expected"),
    }
}

fn of_parquet(bytes: &[u8]) -> Rows {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    of_batches(reader.build().unwrap().map(Result::unwrap))
}

pub(crate) fn of_arrow_stream(bytes: &[u8]) -> Rows {
    let reader = arrow_ipc::reader::StreamReader::try_new(Cursor::new(bytes), None).unwrap();
    of_batches(reader.map(Result::unwrap))
}

fn of_ndjson(text: &str) -> Rows {
    // A number that is a float is one of 32 bits.
    let narrow = |value: Value| match value {
        Value::Number(number) if number.is_f64() => json!(number.as_f64().unwrap() as f32),
        other => other,
    };
    let row = |line| serde_json::from_str::<BTreeMap<String, Value>>(line).unwrap();
    text.lines().map(|line| row(line).into_iter().map(|(name, value)| (name, narrow(value))).collect()).collect()
}

/// CSV has no types: what is expected is written in its way.
fn as_csv(rows: &Rows) -> Vec<BTreeMap<String, String>> {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(texts) => texts.iter().map(|text| text.as_str().unwrap()).collect::<Vec<_>>().join("|"),
        Value::Number(number) if number.is_f64() => (number.as_f64().unwrap() as f32).to_string(),
        other => other.to_string(),
    };
    rows.iter().map(|row| row.iter().map(|(name, value)| (name.clone(), text(value))).collect()).collect()
}

fn of_csv(text: &str) -> Vec<BTreeMap<String, String>> {
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(Result::unwrap).collect()
}

fn every_format_holds_what_is_stored(mut site: Site) {
    // More than a page.
    site.add(4_000);
    site.add(1_000);
    let expected = expected(&site.stored());
    assert_eq!(expected.len(), 5_000);
    let freshet = &site.freshet;
    for name in ["a.csv", "a.ndjson", "a.jsonl", "a.parquet", "a.arrow"] {
        let ended = freshet.run(&["events", "export", "--out", name]).succeeded();
        let bytes = indicatif::HumanBytes(fs::metadata(freshet.path(name)).unwrap().len()).to_string();
        let ended = ended.told(&["exported 5,000 events to", name, &bytes]);
        assert_eq!((&*ended.stdout, ended.stderr.lines().count()), ("", 1), "{ended}");
    }
    let text = |name| fs::read_to_string(freshet.path(name)).unwrap();
    assert_eq!(of_csv(&text("a.csv")), as_csv(&expected));
    assert_eq!(of_ndjson(&text("a.ndjson")), expected);
    assert_eq!(text("a.jsonl"), text("a.ndjson"));
    assert_eq!(of_parquet(&fs::read(freshet.path("a.parquet")).unwrap()), expected);
    let file = fs::File::open(freshet.path("a.arrow")).unwrap();
    let reader = arrow_ipc::reader::FileReader::try_new(file, None).unwrap();
    assert_eq!(of_batches(reader.map(Result::unwrap)), expected);

    assert_eq!(freshet.must(&["events", "export"]), text("a.csv"));
    assert_eq!(freshet.must(&["events", "export", "--format", "ndjson", "--out", "-"]), text("a.ndjson"));
    assert_eq!(of_parquet(&freshet.bytes(&["events", "export", "--format", "parquet"])), expected);
    assert_eq!(of_arrow_stream(&freshet.bytes(&["events", "export", "--format", "arrow"])), expected);
    assert_eq!(left(freshet), ["a.arrow", "a.csv", "a.jsonl", "a.ndjson", "a.parquet", "freshet-data"]);
}

/// Names in the folder that the program runs in.
fn left(freshet: &Freshet) -> Vec<String> {
    names(&freshet.path("."))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_format_holds_what_is_stored_on_the_embedded_store() {
    every_format_holds_what_is_stored(Site::embedded());
}

#[test]
fn every_format_holds_what_is_stored_on_mongodb() {
    let site = Site::mongodb(support::mongodb());
    fs::create_dir(site.freshet.path("freshet-data")).unwrap();
    every_format_holds_what_is_stored(site);
}

fn filters_choose(mut site: Site) {
    site.add(200);
    let all: Vec<u64> = (1..=200).collect();
    let chosen = |flags: &[&str], wanted: &dyn Fn(u64) -> bool| {
        let expected: Vec<u64> = all.iter().copied().filter(|seq| wanted(*seq)).collect();
        assert_eq!(seqs(&site, flags), expected, "{flags:?}");
    };
    chosen(&[], &|_| true);
    chosen(&["--user", "3"], &|seq| seq % 7 == 3);
    chosen(&["--item", "Zoë, \"5\"\n"], &|seq| seq % 13 == 5 && seq % 17 != 0);
    chosen(&["--user", "3", "--item", "Zoë, \"5\"\n"], &|seq| seq % 7 == 3 && seq % 13 == 5 && seq % 17 != 0);
    chosen(&["--user", "nobody"], &|_| false);
    let (fifty, hundred) = (iso(time(50)), iso(time(100)));
    chosen(&["--since", &fifty], &|seq| seq >= 50);
    chosen(&["--until", &hundred], &|seq| seq < 100);
    chosen(&["--since", &fifty, "--until", &hundred, "--user", "0"], &|seq| (50..100).contains(&seq) && seq % 7 == 0);
    chosen(&["--since", "1997-12-05"], &|seq| time(seq) >= 881_280_000_000);
    chosen(&["--since", "1h"], &|_| false);
    chosen(&["--until", "0s"], &|_| true);
    chosen(&["--from-seq", "20", "--to-seq", "29"], &|seq| (20..30).contains(&seq));
    chosen(&["--from-seq", "500"], &|_| false);
    chosen(&["--limit", "7"], &|seq| seq <= 7);
    chosen(&["--limit", "0"], &|_| false);
    chosen(&["--limit", "2", "--user", "6"], &|seq| [6, 13].contains(&seq));
    let run = |flags: &[&str]| site.freshet.run(&[&["events", "export"], flags].concat());
    run(&["--since", "yesterday"]).exited(2).told(&["yesterday", "2026-11-26T08:30:00Z", "7d"]);
    run(&["--user", "1", "--reason", "empty"]).exited(2).told(&["cannot be used with"]);
    assert_eq!(run(&["--user", "nobody"]).succeeded().stdout.lines().count(), 1, "the header is there");
}

#[test]
fn filters_choose_on_the_embedded_store() {
    filters_choose(Site::embedded());
}

#[test]
fn filters_choose_on_mongodb() {
    filters_choose(Site::mongodb(support::mongodb()));
}

fn letters_are_exported(mut site: Site) {
    site.add(3);
    site.refuse(&[(Reason::Empty, b""), (Reason::InvalidUtf8, b"\xff\x00x"), (Reason::InvalidJson, b"{\"a\":\n")]);
    site.runtime
        .block_on(
            site.writer
                .store
                .mark_replayed(&[Position { topic: "ratings".into(), partition: 0, offset: 3 }], 1_700_000_000_123),
        )
        .unwrap();
    let run = |flags: &[&str]| site.freshet.must(&[&["events", "export", "--reason"], flags].concat());
    let csv = run(&["all"]);
    assert_eq!(csv, run(&["any"]));
    assert_eq!(
        csv,
        "topic,partition,offset,timestamp,reason,detail,key,key_hex,payload,payload_hex,payload_cut_from,replayed_at\n\
         ratings,0,3,1997-12-04T15:58:49.000Z,empty,\"no, \"\"never\"\"\",,,,,,2023-11-14T22:13:20.123Z\n\
         ratings,0,4,1997-12-04T15:59:49.000Z,invalid_utf8,\"no, \"\"never\"\"\",,fe6b,,ff0078,,\n\
         ratings,0,5,1997-12-04T16:00:49.000Z,invalid_json,\"no, \"\"never\"\"\",,,\"{\"\"a\"\":\n\",,,\n"
    );
    let ndjson: Value = serde_json::from_str(&run(&["invalid_utf8", "--format", "ndjson"])).unwrap();
    let expected = json!({
        "topic": "ratings", "partition": 0, "offset": 4, "timestamp": "1997-12-04T15:59:49.000Z",
        "reason": "invalid_utf8", "detail": "no, \"never\"", "key": null, "key_hex": "fe6b", "payload": null,
        "payload_hex": "ff0078", "payload_cut_from": null, "replayed_at": null,
    });
    assert_eq!(ndjson, expected);
    let since = iso(time(4));
    let rows = of_csv(&run(&["all", "--since", &since, "--until", &iso(time(5))]));
    assert_eq!(rows.iter().map(|row| &*row["offset"]).collect::<Vec<_>>(), ["4"]);
    assert_eq!(of_csv(&run(&["all", "--limit", "2"])).len(), 2);
    assert!(of_csv(&run(&["too_large"])).is_empty());
    let bytes = site.freshet.bytes(&["events", "export", "--reason", "all", "--format", "parquet"]);
    let payloads: Vec<Value> = of_parquet(&bytes).iter().map(|row| row["payload"].clone()).collect();
    assert_eq!(payloads, ["", "ff0078", "7b2261223a0a"]);
}

#[test]
fn letters_are_exported_from_the_embedded_store() {
    letters_are_exported(Site::embedded());
}

#[test]
fn letters_are_exported_from_mongodb() {
    letters_are_exported(Site::mongodb(support::mongodb()));
}

fn an_export_beside_an_engine_is_a_whole_beginning(mut site: Site) {
    const WRITE: u64 = 500;
    site.add(2 * WRITE);
    let mut writer = site.writer.clone();
    let writing = site.runtime.spawn(async move {
        for _ in 0..200 {
            writer.add(WRITE).await;
        }
    });
    let mut before = 0;
    for _ in 0..3 {
        let seqs = seqs(&site, &[]);
        let last = seqs.len() as u64;
        assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
        assert!(last >= before && last.is_multiple_of(WRITE), "a part of a write was exported: {last}");
        before = last;
    }
    writing.abort();
}

#[test]
fn an_export_beside_an_engine_is_a_whole_beginning_on_the_embedded_store() {
    an_export_beside_an_engine_is_a_whole_beginning(Site::embedded());
}

#[test]
fn an_export_beside_an_engine_is_a_whole_beginning_on_mongodb() {
    an_export_beside_an_engine_is_a_whole_beginning(Site::mongodb(support::mongodb()));
}

#[test]
fn a_full_disk_is_told_and_holds_no_part_of_an_export() {
    let Some(disk) = SmallDisk::mount("256k") else { return };
    let mut site = Site::embedded();
    site.add(30_000);
    for format in ["csv", "ndjson", "parquet", "arrow"] {
        let file = disk.path().join(format!("events.{format}"));
        let file = file.to_str().unwrap();
        let ended = site.freshet.run(&["events", "export", "--out", file]).exited(1);
        ended.told(&["No space left on device", file, "was not written"]);
        assert!(names(disk.path()).is_empty(), "{format}: {:?}", names(disk.path()));
    }
    let ended = site.freshet.run(&["events", "export", "--out", "/dev/full", "--format", "csv", "--force"]).exited(1);
    ended.told(&["cannot write /dev/full", "No space left on device"]);
}

#[test]
fn what_is_there_stays_unless_it_is_to_be_replaced() {
    let mut site = Site::embedded();
    site.add(10);
    let freshet = &site.freshet;
    freshet.write("mine.csv", "mine");
    let out = |flags: &[&str]| freshet.run(&[&["events", "export", "--out"], flags].concat());
    out(&["mine.csv"]).exited(1).told(&["mine.csv is there already", "--force"]);
    out(&["mine.xls"]).exited(1).told(&["mine.xls", ".parquet", "--format"]);
    out(&["nowhere/a.csv"]).exited(1).told(&["cannot write nowhere/a.csv", "No such file"]);
    out(&["freshet-data", "--format", "csv", "--force"]).exited(1).told(&["freshet-data is a folder"]);
    assert_eq!(fs::read_to_string(freshet.path("mine.csv")).unwrap(), "mine");
    // A store that breaks in the middle replaces nothing either.
    site.add(20_000);
    site.freshet.store().execute("UPDATE events SET genres = 'none' WHERE seq = 15000", []).unwrap();
    let freshet = &site.freshet;
    let out = |flags: &[&str]| freshet.run(&[&["events", "export", "--out"], flags].concat());
    let ended = out(&["mine.csv", "--force"]).exited(1);
    ended.told(&["the export broke off after", "mine.csv was not written", "damaged"]);
    assert_eq!(fs::read_to_string(freshet.path("mine.csv")).unwrap(), "mine");
    assert_eq!(left(freshet), ["freshet-data", "mine.csv"]);
    out(&["mine.csv", "--force", "--to-seq", "10"]).succeeded();
    assert_eq!(fs::read_to_string(freshet.path("mine.csv")).unwrap().lines().count(), 1 + 2 * 10);
}

#[test]
fn a_pipe_that_its_reader_closes_ends_it_quietly() {
    let mut site = Site::embedded();
    site.add(20_000);
    for format in ["csv", "ndjson", "arrow", "parquet"] {
        let mut command = site.freshet.command(&["events", "export", "--format", format]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut reader = BufReader::with_capacity(16, child.stdout.take().unwrap());
        assert!(!reader.fill_buf().unwrap().is_empty());
        drop(reader);
        let ended = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr);
        // What fits into a pipe may be written before it is closed.
        assert!(ended.status.success() && !told.contains("error") && !told.contains("panic"), "{format}: {told}");
    }
}

#[test]
fn an_interrupted_export_leaves_nothing_behind() {
    let mut site = Site::embedded();
    for _ in 0..20 {
        site.add(5_000);
    }
    // A machine that is busy elsewhere may let it come to its end before the signal.
    for _ in 0..10 {
        let mut running = site.freshet.spawn(&["events", "export", "--out", "all.parquet"]);
        running.until("it has begun", |_| {
            let names = left(&site.freshet);
            if names.len() > 1 { Ok(()) } else { Err(format!("{names:?}")) }
        });
        running.signal("INT");
        let ended = running.wait();
        if ended.code == Some(130) {
            ended.told(&["interrupted", "all.parquet was not written"]);
            assert_eq!(left(&site.freshet), ["freshet-data"]);
            return;
        }
        ended.succeeded();
        fs::remove_file(site.freshet.path("all.parquet")).unwrap();
    }
    panic!("no export was interrupted");
}
