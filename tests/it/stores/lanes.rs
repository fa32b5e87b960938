//! Writes that are under way together in MongoDB: durable in order, whatever fails, dies or takes the store over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet::capture::Item;
use freshet::store::{self, DurableWrite, Next, Store, StoreError, Turn};
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::IndexOptions;
use mongodb::{Client, IndexModel};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{all_events, database, mongo, progress, write};
use crate::support;
use crate::support::mongod::{Guard, Mongod};

type Begun = JoinHandle<Result<(), StoreError>>;

/// Begins a write behind one that is told to be durable by the caller.
fn begin_behind(store: &Arc<dyn Store>, epoch: u64, write: DurableWrite) -> (Next, Begun) {
    let (next, turn) = Turn::behind();
    let store = Arc::clone(store);
    (next, tokio::spawn(async move { store.persist_in_turn(epoch, &write, &turn).await }))
}

/// Makes writes durable as the engine does: two under way, each tried until it is done.
async fn in_lanes(store: &Arc<dyn Store>, epoch: u64, writes: impl Iterator<Item = DurableWrite>) {
    let (mut before, mut turn) = (None::<JoinHandle<()>>, Turn::first());
    for write in writes {
        let (next, behind) = Turn::behind();
        let (store, place) = (Arc::clone(store), std::mem::replace(&mut turn, behind));
        let writing = tokio::spawn(async move {
            while let Err(error) = store.persist_in_turn(epoch, &write, &place).await {
                assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
            }
            next.go(write.progress);
        });
        if let Some(before) = before.replace(writing) {
            before.await.unwrap();
        }
    }
    before.expect("there are writes").await.unwrap();
}

#[tokio::test]
async fn a_write_becomes_durable_after_the_one_before_it_and_not_sooner() {
    let name = support::unique("lanes");
    let store = store::open(&mongo(support::mongodb(), &name)).await.unwrap();
    let epoch = store.claim().await.unwrap().epoch;
    for (from, held) in [(0, Duration::from_millis(500)), (20, Duration::from_secs(4))] {
        let (next, second) = begin_behind(&store, epoch, write(from + 11..=from + 20));
        // The second time longer than its transaction is held open.
        sleep(held).await;
        assert_eq!(all_events(&store).await.len() as u64, from);
        store.persist(epoch, &write(from + 1..=from + 10)).await.unwrap();
        assert_eq!(store.state().await.unwrap().progress, progress(from + 10, 0));
        assert!(!second.is_finished());
        next.go(progress(from + 10, 0));
        second.await.unwrap().unwrap();
        assert_eq!(store.state().await.unwrap().progress, progress(from + 20, 0));
    }
    assert_eq!(all_events(&store).await, write(1..=40).events);
    database(support::mongodb(), &name).await.drop().await.unwrap();
}

#[tokio::test]
async fn a_write_that_does_not_go_on_where_the_one_before_ended_is_refused() {
    let name = support::unique("lanes");
    let store = store::open(&mongo(support::mongodb(), &name)).await.unwrap();
    let epoch = store.claim().await.unwrap().epoch;
    store.persist(epoch, &write(1..=10)).await.unwrap();
    let (next, gap) = begin_behind(&store, epoch, write(21..=30));
    next.go(progress(10, 0));
    assert!(matches!(gap.await.unwrap(), Err(StoreError::Damaged { .. })));
    // What never becomes durable lets nothing follow.
    let (next, behind) = begin_behind(&store, epoch, write(11..=20));
    drop(next);
    sleep(Duration::from_millis(300)).await;
    assert!(!behind.is_finished());
    behind.abort();
    let _ = behind.await;
    store.persist(epoch, &write(11..=20)).await.unwrap();
    assert_eq!(all_events(&store).await, write(1..=20).events);
    database(support::mongodb(), &name).await.drop().await.unwrap();
}

#[tokio::test]
async fn a_claim_ends_the_writes_of_every_lane() {
    let name = support::unique("lanes");
    let open = async || store::open(&mongo(support::mongodb(), &name)).await.unwrap();
    let (old, new) = (open().await, open().await);
    let epoch = old.claim().await.unwrap().epoch;
    old.persist(epoch, &write(1..=10)).await.unwrap();
    // Both lanes hold a transaction that has inserted and not committed.
    let (first, second) = (begin_behind(&old, epoch, write(11..=20)), begin_behind(&old, epoch, write(21..=30)));
    sleep(Duration::from_millis(500)).await;
    let start = Instant::now();
    let claim = new.claim().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(15), "the claim took {:?}", start.elapsed());
    assert_eq!(claim.progress, progress(10, 0));
    first.0.go(progress(10, 0));
    second.0.go(progress(20, 0));
    for write in [first.1, second.1] {
        let error = write.await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Superseded { .. }), "{error}");
    }
    in_lanes(&new, claim.epoch, (1..4).map(|n| write(n * 10 + 1..=n * 10 + 10))).await;
    assert_eq!(all_events(&new).await, write(1..=40).events);
    // An engine with fewer lanes raises the epoch in those of the one before, too.
    let mut config = mongo(support::mongodb(), &name);
    config.write_lanes = 1;
    let last = store::open(&config).await.unwrap().claim().await.unwrap();
    assert_eq!(last.progress, progress(40, 0));
    let engine = database(support::mongodb(), &name).await.collection::<Document>("engine");
    for lane in ["engine", "lane-2"] {
        let lane = engine.find_one(doc! {"_id": lane}).await.unwrap().unwrap();
        assert_eq!(lane.get_i64("epoch").unwrap(), last.epoch as i64);
    }
    database(support::mongodb(), &name).await.drop().await.unwrap();
}

#[tokio::test]
async fn a_store_of_one_lane_and_a_unique_index_goes_on() {
    let name = support::unique("lanes");
    let database = database(support::mongodb(), &name).await;
    // As an earlier freshet has left it.
    let unique = IndexOptions::builder().unique(true).build();
    let index = IndexModel::builder().keys(doc! {"seq": 1}).options(unique).build();
    database.collection::<Document>("events").create_index(index).await.unwrap();
    let mut config = mongo(support::mongodb(), &name);
    config.write_lanes = 1;
    let single = store::open(&config).await.unwrap();
    let epoch = single.claim().await.unwrap().epoch;
    single.persist(epoch, &write(1..=10)).await.unwrap();
    let engine = database.collection::<Document>("engine");
    assert_eq!(engine.distinct("_id", doc! {}).await.unwrap(), [Bson::from("engine")]);

    let store = store::open(&mongo(support::mongodb(), &name)).await.unwrap();
    let claim = store.claim().await.unwrap();
    assert_eq!(claim.progress, progress(10, 0));
    in_lanes(&store, claim.epoch, (1..10).map(|n| write(n * 10 + 1..=n * 10 + 10))).await;
    let claim = single.claim().await.unwrap();
    assert_eq!(claim.progress, progress(100, 0));
    single.persist(claim.epoch, &write(101..=110)).await.unwrap();
    assert_eq!(all_events(&store).await, write(1..=110).events);
    assert_eq!(store.state().await.unwrap().progress, progress(110, 0));
    database.drop().await.unwrap();
}

#[tokio::test]
async fn what_lanes_share_is_changed_by_one_at_a_time() {
    let name = support::unique("lanes");
    let store = store::open(&mongo(support::mongodb(), &name)).await.unwrap();
    let epoch = store.claim().await.unwrap().epoch;
    let item = |title: u64| Item { id: "a".into(), title: title.to_string(), ..Item::default() };
    let told = |n: u64| DurableWrite { items: vec![item(n)], ..write(n * 10 + 1..=n * 10 + 10) };
    let start = Instant::now();
    in_lanes(&store, epoch, (0..20).map(told)).await;
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}: they were in each other's way", start.elapsed());
    let catalog = store.catalog().await.unwrap();
    assert_eq!((catalog.items, catalog.version), (vec![item(19)], 20));
    assert_eq!(all_events(&store).await, write(1..=200).events);
    database(support::mongodb(), &name).await.drop().await.unwrap();
}

#[tokio::test]
async fn failures_in_either_lane_are_tried_again_in_order() {
    // `FRESHET_TEST_MONGODB` has no test commands.
    let flags = ["--setParameter", "enableTestCommands=1"].map(str::to_owned).to_vec();
    let Ok(server) = Mongod::try_start_with(Guard { flags, ..Guard::default() }) else { return };
    let store = store::open(&mongo(&server.uri(), "freshet")).await.unwrap();
    let epoch = store.claim().await.unwrap().epoch;
    let admin = Client::with_uri_str(server.uri()).await.unwrap().database("admin");
    let conflict = |command: &str| doc! {"failCommands": [command], "errorCode": 112, "errorLabels": ["TransientTransactionError"]};
    let lost = doc! {"failCommands": ["commitTransaction"], "closeConnection": true};
    let mut done = 0;
    for data in [conflict("insert"), conflict("update"), conflict("commitTransaction"), lost] {
        let fail = doc! {"configureFailPoint": "failCommand", "mode": {"times": 3}, "data": data};
        admin.run_command(fail).await.unwrap();
        let reader = Arc::clone(&store);
        let reading = tokio::spawn(async move {
            loop {
                let seqs: Vec<_> = all_events(&reader).await.into_iter().map(|event| event.seq).collect();
                assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "a later write is visible without one before");
                sleep(Duration::from_millis(2)).await;
            }
        });
        in_lanes(&store, epoch, (0..10).map(|n| write(done + n * 50 + 1..=done + n * 50 + 50))).await;
        done += 500;
        assert!(!reading.is_finished());
        reading.abort();
        assert_eq!(store.state().await.unwrap().progress, progress(done, 0));
    }
    assert_eq!(all_events(&store).await, write(1..=done).events);
}
