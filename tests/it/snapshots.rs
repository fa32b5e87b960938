//! `freshet snapshots` and `run --from-snapshot` by the built program, on the embedded log and store.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::{Ended, Freshet};

/// Learners that are quick, and snapshots at each thousand events: batches are full, however busy the machine is.
const SETTINGS: [&str; 6] = [
    "learn.rating=biased-mf",
    "learn.ranking=biased-mf",
    "biased_mf.factors=8",
    "gather.size=100",
    "gather.linger=1s",
    "store.snapshot_every=1000",
];

fn freshet(more: &[&str]) -> Freshet {
    Freshet::new(&[&SETTINGS, more].concat())
}

/// One that has learned the first events of the generated sample, and stopped.
fn learned(more: &[&str], events: u64) -> Freshet {
    let freshet = freshet(more);
    send(&freshet, events);
    learn(&freshet, &[], events);
    freshet
}

fn send(freshet: &Freshet, events: u64) {
    freshet.must(&["replay", "sample", "--limit", &events.to_string()]);
}

/// Starts the engine, waits until it stands at `seq`, stops it, and returns the hash of its newest snapshot.
fn learn(freshet: &Freshet, flags: &[&str], seq: u64) -> String {
    let mut engine = freshet.start_with(flags);
    engine.learned(seq);
    engine.stop().succeeded();
    let newest = freshet.newest_snapshot();
    assert_eq!(newest["_id"], seq);
    newest["sha256"].as_str().unwrap().to_owned()
}

fn json(freshet: &Freshet, arguments: &[&str]) -> Value {
    serde_json::from_str(&freshet.must(arguments)).unwrap()
}

fn snapshots(freshet: &Freshet) -> Vec<u64> {
    let listed = json(freshet, &["snapshots", "list", "--json", "--limit", "999"]);
    listed.as_array().unwrap().iter().map(|one| one["_id"].as_u64().unwrap()).collect()
}

fn export(freshet: &Freshet, which: &str, file: &str) -> Vec<u8> {
    freshet.must(&["snapshots", "export", which, "--output", file]);
    fs::read(freshet.path(file)).unwrap()
}

/// The settings' folder of the store is another one from now on.
fn in_another_store(freshet: &mut Freshet, folder: &str) {
    freshet.set(&format!("store.data_dir={folder}"));
}

#[test]
fn the_engine_keeps_what_the_rule_says_and_all_of_it_is_whole() {
    let freshet = learned(&["store.keep_last=2", "store.keep_hourly=0"], 4_500);
    assert_eq!(snapshots(&freshet), [4_500, 4_000]);
    let found = json(&freshet, &["snapshots", "verify", "--json"]);
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert!(found.as_array().unwrap().iter().all(|one| one["whole"] == true && one["blocks"].as_u64() > Some(5)));
    let (stored, whole): (i64, i64) = freshet
        .store()
        .query_row("SELECT count(*), sum(length(bytes) = size) FROM blocks", [], |row| row.try_into())
        .unwrap();
    assert_eq!(stored, whole);
    assert!(freshet.must(&["snapshots", "verify", "latest"]).contains("whole"));
    assert!(freshet.must(&["snapshots", "show", "latest"]).contains("recomputed from the blocks: the same"));
}

#[test]
fn it_is_pruned_by_hand_while_the_engine_runs() {
    let freshet = learned(&[], 3_000);
    send(&freshet, 1_500);
    let mut engine = freshet.start();
    engine.learned(4_500);
    let foreseen =
        json(&freshet, &["snapshots", "prune", "--keep-last", "1", "--keep-hourly", "0", "--dry-run", "--json"]);
    assert_eq!(foreseen["snapshots"], serde_json::json!([3000, 2000, 1000]));
    assert!(foreseen["bytes"].as_u64() > Some(10_000), "{foreseen}");
    assert_eq!(snapshots(&freshet).len(), 4);
    let told = freshet.must(&["snapshots", "prune", "--keep-last", "1", "--keep-hourly", "0"]);
    assert!(
        told.contains("1,000") && told.contains("deleted") && told.contains("kept") && told.contains("freed"),
        "{told}"
    );
    assert_eq!(snapshots(&freshet), [4_000]);
    send(&freshet, 1_000);
    engine.learned(5_500);
    engine.stop().succeeded();
    assert_eq!(snapshots(&freshet), [5_500, 5_000, 4_000]);
    freshet.must(&["snapshots", "verify"]);
}

#[test]
fn an_engine_whose_blocks_are_pruned_under_its_hands_puts_them_again() {
    let expected = learned(&[], 4_500).newest_snapshot()["sha256"].clone();
    let freshet = freshet(&["store.snapshot_every=300"]);
    send(&freshet, 4_500);
    let mut engine = freshet.start();
    let mut prunes = 0;
    engine.wait("/readyz", "it has learned", |ready| {
        freshet.must(&["snapshots", "prune", "--keep-last", "1", "--keep-hourly", "0"]);
        prunes += 1;
        ready["durable_seq"] == 4_500
    });
    engine.stop().succeeded();
    assert!(prunes > 0);
    assert_eq!(freshet.newest_snapshot()["sha256"], expected);
    freshet.must(&["snapshots", "verify"]);
}

#[test]
fn two_snapshots_are_compared() {
    let freshet = learned(&[], 2_000);
    let diff = json(&freshet, &["snapshots", "diff", "1000", "latest", "--json"]);
    assert_eq!((&diff["a"]["seq"], &diff["b"]["counts"]["events"]), (&1_000.into(), &2_000.into()));
    assert_eq!(diff["params"], serde_json::json!({}));
    let sections = diff["sections"].as_array().unwrap();
    let users = sections.iter().find(|section| section["name"] == "rating.user_factors").expect("factors of users");
    assert!(
        users["moved"]["mean"].as_f64() > Some(0.0) && users["moved"]["max"].as_f64() > users["moved"]["mean"].as_f64()
    );
    assert!(users["changed"].as_u64() > Some(0) && users["bytes"].as_u64() > Some(1_000), "{users}");
    let ids = sections.iter().find(|section| section["name"] == "user_ids").unwrap();
    assert!(ids["moved"].is_null(), "{ids}");
    let table = freshet.must(&["snapshots", "diff", "1000", "2000"]);
    assert!(table.contains("MAE") && table.contains("rating.user_factors") && table.contains("+1000"), "{table}");
    let same = freshet.must(&["snapshots", "diff", "2000", "latest"]);
    assert!(same.contains("hold the same model"), "{same}");
    freshet.run(&["snapshots", "diff", "1", "latest"]).exited(1).told(&["no snapshot 1", "the newest are 2000, 1000"]);
}

#[test]
fn a_snapshot_is_exported_the_same_each_time_and_replaces_nothing_unasked() {
    let freshet = learned(&[], 1_500);
    let first = export(&freshet, "latest", "a.zip");
    assert!(first == export(&freshet, "1500", "b.zip"), "the bytes differ");
    freshet.run(&["snapshots", "export", "-o", "a.zip"]).exited(1).told(&["a.zip is there already", "--force"]);
    freshet.must(&["snapshots", "export", "1000", "-o", "a.zip", "--force"]);
    assert!(first != fs::read(freshet.path("a.zip")).unwrap());
    freshet.must(&["snapshots", "export"]);
    assert!(freshet.path("freshet-snapshot-1500.zip").exists());
    assert_eq!(fs::read_dir(freshet.path(".")).unwrap().count(), 4, "no temporary file is left");
}

#[test]
fn an_export_restored_into_an_empty_store_is_the_same_engine() {
    let mut freshet = learned(&[], 2_500);
    let expected = freshet.newest_snapshot()["sha256"].as_str().unwrap().to_owned();
    export(&freshet, "1000", "model.zip");
    // The log stays, the store is lost.
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        let _ = fs::remove_file(freshet.path("freshet-data").join(name));
    }
    let told = freshet.must(&["snapshots", "restore", "model.zip"]);
    assert!(told.contains("begins with snapshot 1000"), "{told}");
    assert_eq!(learn(&freshet, &[], 2_500), expected);
    assert_eq!(freshet.ask::<i64>("SELECT min(seq) FROM events"), 1_001);
    assert_eq!(snapshots(&freshet), [2_500, 2_000, 1_000]);

    // Into a store that has not come so far it does not go, nor into one of other events.
    export(&freshet, "latest", "later.zip");
    in_another_store(&mut freshet, "behind");
    send(&freshet, 700);
    learn(&freshet, &[], 700);
    let refused = freshet.run(&["snapshots", "restore", "later.zip"]).exited(1);
    refused.told(&["has the events up to 700", "restore into an empty store"]);
    send(&freshet, 2_000);
    learn(&freshet, &[], 2_700);
    let refused = freshet.run(&["snapshots", "restore", "later.zip"]).exited(1);
    refused.told(&["was taken in another store", "restore into an empty store"]);
    assert_eq!(learn(&freshet, &[], 2_700).len(), 64, "it was not harmed");
}

/// Damages something, and has the snapshot found damaged, passed over, and put right by its export.
fn damaged_and_restored(what: &str, damage: impl Fn(&rusqlite::Connection), told: &[&str]) {
    let freshet = learned(&[], 2_500);
    let expected = freshet.newest_snapshot()["sha256"].as_str().unwrap().to_owned();
    let exported = export(&freshet, "latest", "model.zip");
    damage(&freshet.store());
    let found =
        freshet.run(&["snapshots", "verify"]).exited(1).told(&["1 of 3 snapshots cannot be used", "restore FILE"]);
    for part in told {
        assert!(found.stdout.contains(part), "{what}: {part:?} is not in {found}");
    }
    freshet.must(&["snapshots", "restore", "model.zip"]);
    freshet.must(&["snapshots", "verify"]);
    assert!(exported == export(&freshet, "latest", "again.zip"), "{what}");

    damage(&freshet.store());
    let mut engine = freshet.start();
    engine.learned(2_500);
    let ended = engine.stop().succeeded();
    assert!(ended.stderr.contains("snapshot=2000 replayed=500"), "{what}: the newest whole one serves: {ended}");
    assert_eq!(freshet.newest_snapshot()["sha256"], expected, "{what}");
    freshet.must(&["snapshots", "verify"]);
}

#[test]
fn a_flipped_bit_a_missing_block_and_a_newer_manifest_are_named_passed_over_and_put_right() {
    let newest_block = "(SELECT max(rowid) FROM blocks)";
    damaged_and_restored(
        "flipped",
        |store| {
            let (row, mut bytes): (i64, Vec<u8>) = store
                .query_row(&format!("SELECT rowid, bytes FROM blocks WHERE rowid = {newest_block}"), [], |row| {
                    row.try_into()
                })
                .unwrap();
            bytes[9] ^= 1;
            store.execute("UPDATE blocks SET bytes = ?1 WHERE rowid = ?2", rusqlite::params![bytes, row]).unwrap();
        },
        &["block ", "its bytes have the hash"],
    );
    damaged_and_restored(
        "missing",
        |store| {
            store.execute(&format!("DELETE FROM blocks WHERE rowid = {newest_block}"), []).unwrap();
        },
        &["block ", "it is missing"],
    );
    damaged_and_restored(
        "newer",
        |store| {
            let set = "UPDATE snapshots SET manifest = json_set(manifest, '$.format', 7) WHERE seq = 2500";
            store.execute(set, []).unwrap();
        },
        &["it has format 7"],
    );
}

/// What the program says of a file that it must not take.
fn refused(freshet: &Freshet, bytes: &[u8]) -> Ended {
    freshet.write("bad.zip", bytes);
    freshet.run(&["run", "--from-snapshot", "bad.zip"]).exited(1);
    let ended = freshet.run(&["snapshots", "restore", "bad.zip"]).exited(1).told(&["bad.zip"]);
    assert!(!freshet.path("empty/store.db").exists() || freshet_is_empty(freshet), "something was written: {ended}");
    ended
}

fn freshet_is_empty(freshet: &Freshet) -> bool {
    let store = rusqlite::Connection::open(freshet.path("empty/store.db")).unwrap();
    let sql =
        "SELECT (SELECT count(*) FROM blocks) + (SELECT count(*) FROM snapshots) + (SELECT seq + base FROM engine)";
    store.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() == 0
}

/// The file with one entry changed, or left out.
fn with_entry(zip: &[u8], name: &str, change: impl Fn(Vec<u8>) -> Option<Vec<u8>>) -> Vec<u8> {
    use std::io::{Cursor, Read, Write};
    let mut old = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
    let mut new = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..old.len() {
        let mut entry = old.by_index(index).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let path = entry.name().unwrap().into_owned();
        if path.starts_with(name) {
            let Some(changed) = change(bytes) else { continue };
            bytes = changed;
        }
        new.start_file(path, zip::write::SimpleFileOptions::default()).unwrap();
        new.write_all(&bytes).unwrap();
    }
    new.finish().unwrap().into_inner()
}

fn replaced(from: &'static str, to: &'static str) -> impl Fn(Vec<u8>) -> Option<Vec<u8>> {
    move |bytes| {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        Some(text.replacen(from, to, 1).into_bytes())
    }
}

#[test]
fn files_that_are_no_whole_export_are_refused_by_name_before_anything_is_written() {
    let mut freshet = learned(&[], 1_000);
    let good = export(&freshet, "latest", "model.zip");
    in_another_store(&mut freshet, "empty");
    let refused = |bytes: &[u8], told: &[&str]| drop(self::refused(&freshet, bytes).told(told));
    refused(b"", &["not even a ZIP file", "freshet snapshots export"]);
    refused(&[7; 9_000], &["not even a ZIP file"]);
    refused(&good[..good.len() / 2], &["cut short", "copy it again"]);
    let foreign = with_entry(&good, "freshet.json", |_| None);
    refused(&foreign, &["no exported snapshot", "freshet.json"]);
    let newer = with_entry(&good, "freshet.json", replaced("\"format\": 1", "\"format\": 2"));
    refused(&newer, &["export format 2", "use a newer freshet"]);
    let changed = with_entry(&good, "snapshot.json", replaced("\"events\": 1000", "\"events\": 1001"));
    refused(&changed, &["snapshot.json", "SHA-256", "export it again"]);
    refused(&with_entry(&good, "snapshot.json", |_| None), &["snapshot.json", "missing"]);
    refused(&with_entry(&good, "blocks/0", |_| None), &["block 0", "it is missing", "nothing was written"]);
    let flip = |mut bytes: Vec<u8>| {
        bytes[7] ^= 2;
        Some(bytes)
    };
    refused(&with_entry(&good, "blocks/", flip), &["its bytes have the hash", "nothing was written"]);
    // As a disk would flip it: in the middle of the file, under the checksum of the ZIP.
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 8;
    refused(&flipped, &["damaged"]);
    let missing = freshet.run(&["snapshots", "restore", "nowhere.zip"]).exited(1);
    missing.told(&["nowhere.zip", "cannot read an exported snapshot"]);
    freshet.must(&["snapshots", "restore", "model.zip"]);
    assert!(!freshet_is_empty(&freshet));
}

#[test]
fn an_engine_begins_with_an_exported_model_and_goes_on_from_there() {
    let teacher = learned(&[], 1_500);
    let taught = teacher.newest_snapshot();
    teacher.must(&["snapshots", "export", "--output", "model.zip"]);
    let model = teacher.path("model.zip").display().to_string();
    let warm = ["--from-snapshot", model.as_str()];

    let mut freshet = freshet(&[]);
    send(&freshet, 1_000);
    // Parameters that are not those of the model are named.
    let other = ["--set", "biased_mf.bias_rate=0.5", "--set", "learn.seed=3"];
    let ended = freshet.run(&[&["run"], &warm[..], &other].concat()).exited(1);
    ended.told(&["other parameters", "--set biased_mf.bias_rate=0.", " --set learn.seed=42"]);

    // The model knows 1,500 events, and the log is learned from its beginning.
    let mut engine = freshet.start_with(&warm);
    engine.learned(2_500);
    engine.kill();
    let hash = learn(&freshet, &warm, 2_500);
    assert_eq!(freshet.ask::<String>("SELECT min(seq) || ' ' || min(offset) FROM events"), "1501 0");
    assert_eq!(snapshots(&freshet), [2_500, 2_000, 1_500]);
    assert_eq!(json(&freshet, &["snapshots", "list", "--json"])[2]["sha256"], taught["sha256"]);

    // With the later snapshots gone it is learned again from the first one.
    freshet.store().execute_batch("DELETE FROM snapshots WHERE seq > 1500").unwrap();
    assert_eq!(learn(&freshet, &[], 2_500), hash);

    // Without its beginning it is nothing, and says what to do.
    let break_it = "DELETE FROM snapshots WHERE seq > 1500; UPDATE blocks SET bytes = x'00'";
    freshet.store().execute_batch(break_it).unwrap();
    let ended = freshet.run(&["run"]).exited(1);
    ended.told(&["began with snapshot 1500", "put snapshot 1500 back with `freshet snapshots restore FILE`"]);
    freshet.must(&["snapshots", "restore", &model]);
    assert_eq!(learn(&freshet, &warm, 2_500), hash);
    let ended = freshet.run(&["run", "--set", "learn.seed=3"]).exited(1);
    ended.told(&["began with snapshot 1500", "other parameters", "start with --set learn.seed="]);

    // Another store does not take it.
    in_another_store(&mut freshet, "other");
    send(&freshet, 500);
    learn(&freshet, &[], 500);
    let ended = freshet.run(&["run", "--from-snapshot", &model]).exited(1);
    ended.told(&["is not empty and did not begin with", "its last event is 500"]);
}

#[test]
fn factors_are_exported_as_numpy_reads_them() {
    let freshet = learned(&[], 1_000);
    freshet.must(&["snapshots", "export", "--format", "npy", "--output", "factors"]);
    let folder = freshet.path("factors");
    let index: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let users: Vec<String> = serde_json::from_slice(&fs::read(folder.join("user_ids.json")).unwrap()).unwrap();
    let model = freshet.newest_snapshot();
    assert_eq!(index["sha256"], model["sha256"]);
    assert_eq!(model["counts"]["users"], users.len());
    let arrays = index["arrays"].as_array().unwrap();
    let factors = arrays.iter().find(|array| array["file"] == "rating.user_factors.npy").expect("factors of users");
    assert_eq!(factors["shape"][0], users.len());
    for array in arrays {
        let rows: ndarray::Array2<f32> = ndarray_npy::read_npy(folder.join(array["file"].as_str().unwrap())).unwrap();
        assert_eq!(serde_json::json!(rows.shape()), array["shape"]);
        assert!(rows.iter().all(|value| value.is_finite()) && rows.iter().any(|value| *value != 0.0));
    }
    read_by_numpy(&folder.join("rating.user_factors.npy"), &factors["shape"]);
    freshet.run(&["snapshots", "export", "--format", "npy", "-o", "factors"]).exited(1).told(&["is there already"]);
    freshet.write("factors/notes.txt", "mine");
    freshet.must(&["snapshots", "export", "--format", "npy", "-o", "factors", "--force"]);
    assert!(folder.join("notes.txt").exists());
}

/// Where NumPy is installed, it has the last word.
fn read_by_numpy(file: &Path, shape: &Value) {
    let program = "import json, sys\ntry:\n    import numpy\nexcept ImportError:\n    sys.exit(9)\n\
                   rows = numpy.load(sys.argv[1])\nprint(json.dumps([list(rows.shape), str(rows.dtype)]))";
    let Ok(answer) = std::process::Command::new("python3").args(["-c", program]).arg(file).output() else { return };
    if answer.status.code() == Some(9) {
        return;
    }
    let read: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(read, serde_json::json!([shape, "float32"]));
}

#[test]
fn it_dies_at_each_place_around_a_snapshot_and_loses_nothing() {
    let keep = ["store.keep_last=1", "store.keep_hourly=0"];
    let undisturbed = learned(&keep, 3_500);
    let expected = undisturbed.newest_snapshot()["sha256"].as_str().unwrap().to_owned();
    for place in ["blocks_stored:2", "snapshotted:2", "manifests_pruned:2", "pruned:2"] {
        let mut freshet = freshet(&keep);
        send(&freshet, 3_500);
        freshet.variable("FRESHET_FAULT", place);
        freshet.start().ended().told(&["dying at"]);
        freshet.variable("FRESHET_FAULT", "");
        freshet.must(&["snapshots", "verify"]);
        assert_eq!(learn(&freshet, &[], 3_500), expected, "{place}");
        assert_eq!(snapshots(&freshet), [3_500], "{place}");
        freshet.must(&["snapshots", "verify"]);
    }
}
