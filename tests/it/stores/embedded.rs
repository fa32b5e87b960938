//! What is special to the embedded store: its file, and what a killed process leaves in it.

use std::path::Path;
use std::time::{Duration, Instant};

use freshet::capture::Item;
use freshet::decode::Reason;
use freshet::store::{self, StoreError};

use super::{all_events, block, embedded, manifest, progress, refusal, reject, write};

#[tokio::test]
async fn everything_survives_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let config = embedded(&folder.path().join("a/b"));
    let store = store::open(&config).await.unwrap();
    let epoch = store.claim().await.unwrap().epoch;
    store.persist(epoch, &write(1..=300)).await.unwrap();
    store.put_blocks(vec![block(1)].into()).await.unwrap();
    store.put_manifest(epoch, &manifest(300), &[]).await.unwrap();
    drop(store);
    let store = store::open(&config).await.unwrap();
    let claim = store.claim().await.unwrap();
    assert_eq!((claim.epoch, claim.progress), (epoch + 1, progress(300, 0)));
    assert_eq!(all_events(&store).await, write(1..=300).events);
    assert_eq!(store.manifests(9).await.unwrap(), [manifest(300)]);
    assert_eq!(store.blocks(&[block(1).hash]).await.unwrap(), [block(1)]);
    assert!(store.location().ends_with("a/b/store.db"));
}

#[tokio::test]
async fn files_of_other_kinds_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let config = embedded(folder.path());

    std::fs::write(&path, "no database\n".repeat(1_000)).unwrap();
    let error = refusal(&config).await;
    assert!(matches!(error, StoreError::Unsuitable { .. }), "{error}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("no database"));

    std::fs::remove_file(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE notes (note TEXT)").unwrap();
    let error = refusal(&config).await;
    assert!(matches!(error, StoreError::Unsuitable { .. }), "{error}");
    assert!(error.to_string().contains("another program"), "{error}");

    std::fs::remove_file(&path).unwrap();
    drop(store::open(&config).await.unwrap());
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = refusal(&config).await;
    assert!(error.to_string().contains("version 99"), "{error}");
}

#[tokio::test]
async fn a_file_of_the_first_version_is_upgraded_with_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let store = store::open(&embedded(folder.path())).await.unwrap();
    let epoch = store.claim().await.unwrap().epoch;
    let mut written = write(1..=20);
    for learned in &mut written.events {
        // The first version kept no other times.
        learned.event.ts_of_event = true;
    }
    written.rejects.push(reject(20, Reason::Empty));
    store.persist(epoch, &written).await.unwrap();
    let item = Item { id: "a".into(), title: "Fargo".into(), ..Item::default() };
    store.put_catalog(std::slice::from_ref(&item), &[]).await.unwrap();
    drop(store);
    let file = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    file.execute_batch(
        "ALTER TABLE events DROP COLUMN ts_of_event; ALTER TABLE events DROP COLUMN genres;
         ALTER TABLE events DROP COLUMN year; ALTER TABLE dead_letters DROP COLUMN replayed_at_ms;
         ALTER TABLE engine DROP COLUMN store_id; ALTER TABLE engine DROP COLUMN base;
         ALTER TABLE items DROP COLUMN labels; ALTER TABLE items DROP COLUMN hidden;
         ALTER TABLE users DROP COLUMN labels; ALTER TABLE users DROP COLUMN hidden; PRAGMA user_version = 1",
    )
    .unwrap();
    drop(file);

    let store = store::open(&embedded(folder.path())).await.unwrap();
    assert_eq!(all_events(&store).await, written.events);
    let claim = store.claim().await.unwrap();
    assert!(!claim.store_id.is_empty() && (claim.epoch, claim.base) == (epoch + 1, 0), "{claim:?}");
    let next = write(21..=30);
    store.persist(claim.epoch, &next).await.unwrap();
    assert_eq!(all_events(&store).await.len(), 30);
    assert_eq!(store.reject_counts().await.unwrap()[&Reason::Empty], 1);
    assert_eq!(store.catalog().await.unwrap().items, std::slice::from_ref(&item));
    store.set_item(&Item { hidden: true, ..item }).await.unwrap();
    assert!(store.catalog().await.unwrap().items[0].hidden);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = refusal(&embedded(&file.join("data"))).await;
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("store.data_dir"), "{error}");
}

#[tokio::test]
async fn a_manifest_of_a_later_format_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = store::open(&embedded(folder.path())).await.unwrap();
    let epoch = store.claim().await.unwrap().epoch;
    store.put_manifest(epoch, &manifest(5), &[]).await.unwrap();
    let file = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    file.execute("INSERT INTO snapshots VALUES (6, '{\"_id\": 6, \"format\": 2, \"shards\": []}')", []).unwrap();
    let mut extended = serde_json::to_value(manifest(7)).unwrap();
    extended["note"] = "a field that is not known".into();
    file.execute("INSERT INTO snapshots VALUES (7, ?1)", [extended.to_string()]).unwrap();
    assert_eq!(store.manifests(9).await.unwrap(), [manifest(7), manifest(5)]);
    assert_eq!(store.manifests(1).await.unwrap(), [manifest(7)]);
}

#[tokio::test]
async fn columns_are_readable() {
    let folder = tempfile::tempdir().unwrap();
    let store = store::open(&embedded(folder.path())).await.unwrap();
    let epoch = store.claim().await.unwrap().epoch;
    let mut write = write(1..=1);
    write.rejects.push(reject(1, Reason::InvalidUtf8));
    store.persist(epoch, &write).await.unwrap();
    let file = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    let event: (String, i32, i64, String, f64, i64) = file
        .query_row("SELECT topic, partition, offset, user, rating, ts_ms FROM events", [], |row| row.try_into())
        .unwrap();
    assert_eq!(event, ("ratings".into(), 0, 0, "1".into(), 2.0, 881_250_949_001));
    let letter: (String, Vec<u8>, Vec<u8>) =
        file.query_row("SELECT reason, key, payload FROM dead_letters", [], |row| row.try_into()).unwrap();
    assert_eq!(letter, ("invalid_utf8".into(), vec![0xff, 0], vec![0, 0x80]));
}

/// Writes until it is killed; [`a_killed_writer_leaves_whole_writes`] starts it as a process of its own.
#[tokio::test]
#[ignore = "only as a child of the test that kills it"]
async fn writer_to_be_killed() {
    let Ok(folder) = std::env::var("FRESHET_TEST_WRITE_TO") else { return };
    let store = store::open(&embedded(Path::new(&folder))).await.unwrap();
    let claim = store.claim().await.unwrap();
    let mut seq = claim.progress.seq;
    loop {
        store.persist(claim.epoch, &write(seq + 1..=seq + 1_000)).await.unwrap();
        seq += 1_000;
    }
}

#[tokio::test]
async fn a_killed_writer_leaves_whole_writes() {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = 0;
    for round in 0..4 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "stores::embedded::writer_to_be_killed"])
            .env("FRESHET_TEST_WRITE_TO", folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let store = store::open(&embedded(folder.path())).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while store.events(stored + 3_000, 1).await.unwrap().is_empty() {
            assert!(Instant::now() < deadline, "the child writes nothing");
            tokio::time::sleep(Duration::from_millis(3 + round)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let at = store.claim().await.unwrap().progress;
        let events = all_events(&store).await;
        assert_eq!(at, progress(events.len() as u64, 0));
        assert_eq!(events, write(1..=at.seq).events);
        assert_eq!(at.seq % 1_000, 0);
        stored = at.seq;
    }
}
