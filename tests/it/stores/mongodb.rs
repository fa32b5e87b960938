//! What is special to MongoDB: its documents, servers and engines that die, and what an operator gets wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet::decode::Reason;
use freshet::store::snapshot::Encoded;
use freshet::store::snapshot::check::check;
use freshet::store::{self, Store, StoreError};
use mongodb::bson::{Document, doc};

use super::{all_events, block, database, manifest, mongo, progress, refusal, reject, write};
use crate::model::Model;
use crate::support;

#[tokio::test]
async fn documents_are_readable() {
    let name = support::unique("stores");
    let store = store::open(&mongo(support::mongodb(), &name)).await.unwrap();
    let epoch = store.claim().await.unwrap().epoch;
    let mut write = write(1..=1);
    write.rejects.push(reject(1, Reason::InvalidUtf8));
    store.persist(epoch, &write).await.unwrap();
    store.put_blocks(vec![block(1)].into()).await.unwrap();
    store.put_manifest(epoch, &manifest(1), &[]).await.unwrap();
    let database = database(support::mongodb(), &name).await;
    let find =
        async |collection: &str| database.collection::<Document>(collection).find_one(doc! {}).await.unwrap().unwrap();
    let event = find("events").await;
    assert_eq!(event.get_document("_id").unwrap(), &doc! {"t": "ratings", "p": 0, "o": 0_i64});
    assert_eq!(event.get_datetime("ts").unwrap().timestamp_millis(), 881_250_949_001);
    let letter = find("dead_letters").await;
    assert_eq!(letter.get_str("reason").unwrap(), "invalid_utf8");
    assert_eq!(letter.get_binary_generic("payload").unwrap(), &[0, 0x80]);
    let snapshot = find("snapshots").await;
    assert_eq!(snapshot.get_i64("_id").unwrap(), 1);
    assert_eq!(snapshot.get_str("sha256").unwrap(), manifest(1).sha256.to_string());
    let stored = find("blocks").await;
    assert_eq!(stored.get_str("_id").unwrap(), block(1).hash.to_string());
    assert_eq!(stored.get_i64("size").unwrap(), 70_000);
    let engine = find("engine").await;
    assert_eq!((engine.get_str("_id").unwrap(), engine.get_i64("seq").unwrap()), ("engine", 1));
    let indexes = database.collection::<Document>("events").list_index_names().await.unwrap();
    assert_eq!(indexes, ["_id_", "seq_1"]);
    database.drop().await.unwrap();
}

#[tokio::test]
async fn a_manifest_of_a_later_format_is_passed_over() {
    let name = support::unique("stores");
    let store = store::open(&mongo(support::mongodb(), &name)).await.unwrap();
    let epoch = store.claim().await.unwrap().epoch;
    store.put_manifest(epoch, &manifest(5), &[]).await.unwrap();
    let database = database(support::mongodb(), &name).await;
    let snapshots = database.collection::<Document>("snapshots");
    snapshots.insert_one(doc! {"_id": 6_i64, "format": 2, "shards": []}).await.unwrap();
    let mut extended = mongodb::bson::to_document(&manifest(7)).unwrap();
    extended.insert("note", "a field that is not known");
    snapshots.insert_one(extended).await.unwrap();
    assert_eq!(store.manifests(9).await.unwrap(), [manifest(7), manifest(5)]);
    database.drop().await.unwrap();
}

#[tokio::test]
async fn a_block_that_is_gone_is_named_and_put_again() {
    let name = support::unique("stores");
    let store = store::open(&mongo(support::mongodb(), &name)).await.unwrap();
    let epoch = store.claim().await.unwrap().epoch;
    let mut model = Model::small();
    model.learn(300);
    let Encoded { manifest, new, blocks } = model.snapshot(0);
    store.put_blocks(new.clone().into()).await.unwrap();
    store.put_manifest(epoch, &manifest, &blocks).await.unwrap();
    let database = database(support::mongodb(), &name).await;
    let gone = blocks[2].to_string();
    database.collection::<Document>("blocks").delete_one(doc! {"_id": &gone}).await.unwrap();
    let wrong = check(&*store, &manifest).await.unwrap().wrong;
    assert!(wrong[0].contains(&gone) && wrong[0].contains("missing"), "{wrong:?}");
    let error = store.put_manifest(epoch, &manifest, &blocks).await.unwrap_err();
    assert!(matches!(&error, StoreError::MissingBlocks { first, .. } if first.to_string() == gone), "{error}");
    store.put_blocks(new.into()).await.unwrap();
    assert!(check(&*store, &manifest).await.unwrap().wrong.is_empty());
    database.drop().await.unwrap();
}

#[tokio::test]
async fn a_killed_engine_does_not_hold_up_the_next() {
    let name = support::unique("stores");
    let store = store::open(&mongo(support::mongodb(), &name)).await.unwrap();
    let epoch = store.claim().await.unwrap().epoch;
    store.persist(epoch, &write(1..=5)).await.unwrap();
    // What a killed engine leaves: a transaction under way on the session that the engine document names.
    let database = database(support::mongodb(), &name).await;
    let engine = database.collection::<Document>("engine");
    let mut dead = database.client().start_session().await.unwrap();
    let names = doc! {"$set": {"session": dead.id().clone()}};
    engine.update_one(doc! {"_id": "engine"}, names).await.unwrap();
    dead.start_transaction().await.unwrap();
    let moves = doc! {"$set": {"seq": 9_i64}};
    engine.update_one(doc! {"_id": "engine"}, moves).session(&mut dead).await.unwrap();
    let start = Instant::now();
    let claim = store.claim().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "the claim took {:?}", start.elapsed());
    assert_eq!(claim.progress, progress(5, 0));
    assert!(dead.commit_transaction().await.is_err());
    store.persist(claim.epoch, &write(6..=9)).await.unwrap();
    database.drop().await.unwrap();
}

#[tokio::test]
async fn two_engines_at_once_never_mix() {
    let name = support::unique("stores");
    let open = async || store::open(&mongo(support::mongodb(), &name)).await.unwrap();
    let (one, two) = (open().await, open().await);
    let run = async |store: Arc<dyn Store>| {
        let claim = store.claim().await.unwrap();
        let mut seq = claim.progress.seq;
        while seq < 3_000 {
            match store.persist(claim.epoch, &write(seq + 1..=seq + 20)).await {
                Ok(()) => seq += 20,
                Err(StoreError::Superseded { .. }) => return false,
                Err(error) => panic!("{error}"),
            }
        }
        true
    };
    let late = async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        run(two.clone()).await
    };
    let (first, second) = tokio::join!(run(one.clone()), late());
    assert!(second && !first, "the first engine goes on beside the second");
    assert_eq!(all_events(&one).await, write(1..=3_000).events);
    database(support::mongodb(), &name).await.drop().await.unwrap();
}

#[tokio::test]
async fn writes_go_on_when_the_server_comes_back() {
    let Some(mut server) = support::Mongod::start() else { return };
    let store = store::open(&mongo(&server.uri(), "freshet")).await.unwrap();
    let epoch = store.claim().await.unwrap().epoch;
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for start in (0..100_000).step_by(1_000) {
            // As the engine does: what may pass is tried again.
            while let Err(error) = writer.persist(epoch, &write(start + 1..=start + 1_000)).await {
                assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
            }
        }
    });
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        server = tokio::task::spawn_blocking(move || {
            server.restart();
            server
        })
        .await
        .unwrap();
    }
    writing.await.unwrap();
    let mut seq = 0;
    while let page = store.events(seq + 1, 10_000).await.unwrap()
        && !page.is_empty()
    {
        assert_eq!(page, write(seq + 1..=seq + page.len() as u64).events);
        seq += page.len() as u64;
    }
    assert_eq!(store.claim().await.unwrap().progress, progress(100_000, 0));
    assert_eq!(seq, 100_000);
    server.kill();
}

#[tokio::test]
async fn away_is_an_error_in_time_without_the_password() {
    let mut config = mongo("mongodb://annabel:s3cr%40t@127.0.0.1:1/?directConnection=true", "freshet");
    config.connect_timeout = Duration::from_secs(2);
    let start = Instant::now();
    let error = refusal(&config).await;
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("mongodb://127.0.0.1:1/freshet") && shown.contains("refused"), "{shown}");
    assert!(!shown.contains("s3cr") && !shown.contains("annabel"), "{shown}");
}

#[tokio::test]
async fn bad_credentials_and_addresses_are_explained_without_them() {
    let server = support::mongodb().trim_start_matches("mongodb://");
    let wrong = format!("mongodb://annabel:s3cr%40t@{server}");
    for uri in
        [&wrong, "mongodb://annabel:s3cr/@t@host", "postgres://annabel:s3cr@host", "mongodb://annabel:s3cr@host:port/"]
    {
        let error = refusal(&mongo(uri, "freshet")).await;
        assert!(matches!(error, StoreError::Unsuitable { .. }), "{uri}: {error}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("store.uri"), "{shown}");
        assert!(!shown.contains("s3cr") && !shown.contains("annabel"), "{shown}");
    }
}
