//! The contract of `store::Store`, checked on the embedded store and on MongoDB alike, then what is special to each.

mod embedded;
mod events;
mod lanes;
mod letters;
mod mongodb;
mod snapshots;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use freshet::capture::{Item, User};
use freshet::config::{StoreConfig, StoreKind};
use freshet::consume::{Position, RawEvent};
use freshet::decode::{Event, Reason, Reject};
use freshet::store::{
    self, Block, Counts, DurableWrite, Hash, LearnedEvent, Manifest, Metrics, Progress, SNAPSHOT_FORMAT, Section,
    Store, StoreError,
};

use crate::support;
use events::{events_are_chosen_by_place_user_item_and_time, new_events_are_told_in_order_and_go_on_after_a_token};
use letters::{
    a_look_at_the_state_claims_nothing, a_replayed_letter_is_marked_and_can_be_left_out,
    dead_letters_come_back_whole_in_the_order_of_the_log_and_in_pages, ids_come_back_with_their_places_in_the_order,
};
use snapshots::{
    a_manifest_without_its_blocks_is_refused_and_changes_nothing,
    a_prune_keeps_what_the_rule_keeps_and_every_block_of_it, a_prune_of_a_superseded_engine_deletes_nothing,
    a_store_with_events_does_not_begin_with_a_snapshot, an_empty_store_begins_with_a_snapshot_and_no_other_does,
    damage_is_found_whole_and_named, no_block_goes_while_a_manifest_cannot_be_read,
    no_block_goes_while_the_index_of_a_snapshot_is_damaged,
};

fn config(kind: StoreKind, data_dir: &Path, uri: &str, database: &str) -> StoreConfig {
    StoreConfig {
        kind,
        data_dir: data_dir.into(),
        uri: uri.into(),
        database: database.into(),
        connect_timeout: Duration::from_secs(20),
        snapshot_every: 0,
        write_batch: 4096,
        write_lanes: 2,
        keep_last: 10,
        keep_hourly: 24,
    }
}

fn embedded(folder: &Path) -> StoreConfig {
    config(StoreKind::Embedded, folder, "mongodb://unused", "unused")
}

fn mongo(uri: &str, database: &str) -> StoreConfig {
    config(StoreKind::Mongodb, Path::new("unused"), uri, database)
}

/// Runs a check on a new embedded store.
async fn on_embedded<F: Future<Output = ()>>(check: impl FnOnce(Arc<dyn Store>) -> F) {
    let folder = tempfile::tempdir().unwrap();
    check(store::open(&embedded(folder.path())).await.unwrap()).await;
}

/// Runs a check on a new MongoDB database.
async fn on_mongodb<F: Future<Output = ()>>(check: impl FnOnce(Arc<dyn Store>) -> F) {
    let name = support::unique("stores");
    check(store::open(&mongo(support::mongodb(), &name)).await.unwrap()).await;
    database(support::mongodb(), &name).await.drop().await.unwrap();
}

async fn database(uri: &str, name: &str) -> ::mongodb::Database {
    ::mongodb::Client::with_uri_str(uri).await.unwrap().database(name)
}

/// The error of a store that must not open.
async fn refusal(config: &StoreConfig) -> StoreError {
    match store::open(config).await {
        Ok(store) => panic!("{} opened", store.location()),
        Err(error) => error,
    }
}

macro_rules! contract {
    ($($check:ident,)*) => {
        mod on_embedded {
            $(#[tokio::test] async fn $check() { super::on_embedded(super::$check).await; })*
        }
        mod on_mongodb {
            $(#[tokio::test] async fn $check() { super::on_mongodb(super::$check).await; })*
        }
    };
}

contract! {
    a_new_store_is_empty,
    a_claim_raises_the_epoch_and_returns_the_progress,
    a_repeated_write_changes_nothing,
    rejects_alone_move_the_offsets_and_a_repetition_of_them_changes_nothing,
    a_superseded_engine_writes_nothing,
    a_gap_is_refused,
    events_come_back_as_they_were,
    events_are_read_in_pages,
    events_are_chosen_by_place_user_item_and_time,
    new_events_are_told_in_order_and_go_on_after_a_token,
    rejects_are_counted_by_reason,
    dead_letters_come_back_whole_in_the_order_of_the_log_and_in_pages,
    a_replayed_letter_is_marked_and_can_be_left_out,
    ids_come_back_with_their_places_in_the_order,
    a_look_at_the_state_claims_nothing,
    a_write_that_fails_in_the_middle_leaves_nothing,
    a_large_write_is_one_write,
    manifests_come_back_newest_first,
    blocks_come_back_in_the_order_asked_for,
    a_missing_block_is_named,
    a_block_whose_bytes_differ_is_named_and_put_right,
    blocks_without_a_manifest_are_no_snapshot,
    the_catalogue_is_replaced_by_id_and_its_version_moves,
    what_an_operator_sets_outlasts_a_data_set,
    what_topics_tell_is_stored_with_the_offsets_after_it,
    reads_do_not_wait_for_writes,
    a_manifest_without_its_blocks_is_refused_and_changes_nothing,
    a_prune_keeps_what_the_rule_keeps_and_every_block_of_it,
    a_prune_of_a_superseded_engine_deletes_nothing,
    no_block_goes_while_a_manifest_cannot_be_read,
    no_block_goes_while_the_index_of_a_snapshot_is_damaged,
    damage_is_found_whole_and_named,
    an_empty_store_begins_with_a_snapshot_and_no_other_does,
    a_store_with_events_does_not_begin_with_a_snapshot,
}

fn position(offset: i64) -> Position {
    Position { topic: "ratings".into(), partition: 0, offset }
}

fn event(seq: u64) -> LearnedEvent {
    let event = Event {
        position: position(seq as i64 - 1),
        user: (seq % 943).to_string(),
        item: (seq % 1682).to_string(),
        rating: Some((seq % 5) as f32 + 1.0),
        count: None,
        ts: 881_250_949_000 + seq as i64,
        ts_of_event: !seq.is_multiple_of(3),
        id: None,
        genres: Vec::new(),
        year: None,
    };
    LearnedEvent { seq, batch: seq.div_ceil(256), rehearse_from: None, predicted: 3.5 + seq as f32 / 1e6, event }
}

fn reject(offset: i64, reason: Reason) -> Reject {
    let raw = RawEvent {
        position: position(offset),
        timestamp_ms: 7,
        key: Some(vec![0xff, 0]),
        payload: vec![0, 0x80],
        trace: None,
    };
    Reject { raw, reason, detail: "as a test".into() }
}

/// Where the engine stands after the events up to `seq`, one record of the log each, and some rejects.
fn progress(seq: u64, rejects: i64) -> Progress {
    let mut progress = Progress { seq, batch: seq.div_ceil(256), ..Progress::default() };
    progress.offsets.set("ratings".into(), 0, seq as i64 + rejects);
    progress
}

fn write(seqs: std::ops::RangeInclusive<u64>) -> DurableWrite {
    let progress = progress(*seqs.end(), 0);
    DurableWrite { events: seqs.map(event).collect(), progress, ..DurableWrite::default() }
}

fn manifest(seq: u64) -> Manifest {
    let Progress { batch, offsets, .. } = progress(seq, 0);
    // A seventeenth digit, which only an exact reader of JSON keeps.
    let params = [("factor_rate", serde_json::json!(f64::from(0.05_f32))), ("seed", i64::MAX.into())];
    Manifest {
        seq,
        format: SNAPSHOT_FORMAT,
        created_at_ms: 1_700_000_000_123,
        epoch: 1,
        batch,
        offsets,
        params: params.map(|(name, value)| (name.to_string(), value)).into(),
        counts: Counts { users: 943, items: 1682, events: seq },
        metrics: Metrics { mae: 0.748_123_456_789_012_3, rmse: 1.0 / 3.0, mean_mae: 0.1 + 0.2, mean_rmse: 1e-300 },
        sections: vec![Section { name: "user_factors".into(), rows: 943, blocks: 2, index: vec![block(1).hash] }],
        sha256: Hash::of(&seq.to_le_bytes()),
    }
}

fn block(number: u8) -> Block {
    let bytes = vec![number; 70_000];
    Block { hash: Hash::of(&bytes), bytes }
}

async fn all_events(store: &Arc<dyn Store>) -> Vec<LearnedEvent> {
    store.events(1, 1_000_000).await.unwrap()
}

async fn a_new_store_is_empty(store: Arc<dyn Store>) {
    assert!(all_events(&store).await.is_empty());
    assert!(store.reject_counts().await.unwrap().is_empty());
    assert!(store.manifests(9).await.unwrap().is_empty());
    assert!(store.blocks(&[]).await.unwrap().is_empty());
    assert_eq!(store.catalog().await.unwrap(), store::Catalog::default());
    assert_eq!(store.catalog_version().await.unwrap(), 0);
    store.put_blocks(Vec::new().into()).await.unwrap();
}

async fn a_claim_raises_the_epoch_and_returns_the_progress(store: Arc<dyn Store>) {
    let first = store.claim().await.unwrap();
    assert_eq!(first.progress, Progress::default());
    store.persist(first.epoch, &write(1..=10)).await.unwrap();
    let second = store.claim().await.unwrap();
    assert!(second.epoch > first.epoch);
    assert!(!first.store_id.is_empty() && (&first.store_id, first.base) == (&second.store_id, second.base));
    assert_eq!(second.progress, progress(10, 0));
}

async fn a_repeated_write_changes_nothing(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    store.persist(epoch, &write(1..=10)).await.unwrap();
    store.persist(epoch, &write(11..=20)).await.unwrap();
    store.persist(epoch, &write(11..=20)).await.unwrap();
    store.persist(epoch, &write(1..=10)).await.unwrap();
    assert_eq!(all_events(&store).await, write(1..=20).events);
    assert_eq!(store.claim().await.unwrap().progress, progress(20, 0));
}

async fn rejects_alone_move_the_offsets_and_a_repetition_of_them_changes_nothing(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    store.persist(epoch, &write(1..=5)).await.unwrap();
    let rejects = |from: i64, to: i64| DurableWrite {
        rejects: (from..to).map(|offset| reject(offset, Reason::Empty)).collect(),
        progress: progress(5, to - 5),
        ..DurableWrite::default()
    };
    store.persist(epoch, &rejects(5, 7)).await.unwrap();
    store.persist(epoch, &rejects(7, 8)).await.unwrap();
    store.persist(epoch, &rejects(5, 7)).await.unwrap();
    assert_eq!(store.reject_counts().await.unwrap(), BTreeMap::from([(Reason::Empty, 3)]));
    assert_eq!(store.claim().await.unwrap().progress, progress(5, 3));
}

async fn a_superseded_engine_writes_nothing(store: Arc<dyn Store>) {
    let old = store.claim().await.unwrap().epoch;
    store.persist(old, &write(1..=5)).await.unwrap();
    let new = store.claim().await.unwrap().epoch;
    let mut late = write(6..=9);
    late.rejects.push(reject(9, Reason::Empty));
    for late in [&late, &write(1..=5)] {
        let error = store.persist(old, late).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Superseded { ours, current, .. } if (*ours, *current) == (old, new)),
            "{error}"
        );
    }
    let error = store.put_manifest(old, &manifest(5), &[]).await.unwrap_err();
    assert!(matches!(error, StoreError::Superseded { .. }), "{error}");
    assert_eq!(all_events(&store).await, write(1..=5).events);
    assert!(store.reject_counts().await.unwrap().is_empty());
    assert!(store.manifests(9).await.unwrap().is_empty());
    store.persist(new, &write(6..=9)).await.unwrap();
    assert_eq!(all_events(&store).await.len(), 9);
}

async fn a_gap_is_refused(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    store.persist(epoch, &write(1..=5)).await.unwrap();
    let error = store.persist(epoch, &write(7..=9)).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_eq!(all_events(&store).await.len(), 5);
}

async fn events_come_back_as_they_were(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    let mut write = write(1..=6);
    let strange = "Zoë\u{0}\n\"'$x.y😀";
    write.events[0].event = Event {
        position: Position { topic: strange.into(), partition: i32::MAX, offset: i64::MAX - 1 },
        user: strange.repeat(100),
        item: String::new(),
        rating: Some(f32::MAX),
        count: Some(f32::MIN_POSITIVE),
        ts: i64::MAX,
        ts_of_event: false,
        id: Some(strange.into()),
        genres: vec![strange.into(), String::new()],
        year: Some(i32::MIN),
    };
    write.events[1].event.ts = i64::MIN;
    write.events[1].event.rating = None;
    write.events[1].event.count = Some(0.1);
    write.events[1].rehearse_from = Some(1);
    write.events[2].predicted = f32::MIN;
    write.events[3].predicted = 1e-45;
    write.events[3].event.id = Some(String::new());
    write.events[4].batch = i64::MAX as u64;
    write.progress.offsets.set(strange.into(), i32::MAX, i64::MAX);
    store.persist(epoch, &write).await.unwrap();
    let read = all_events(&store).await;
    assert_eq!(read, write.events);
    assert_eq!(store.claim().await.unwrap().progress, write.progress);
}

async fn events_are_read_in_pages(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    store.persist(epoch, &write(1..=25)).await.unwrap();
    assert_eq!(store.events(1, 10).await.unwrap(), write(1..=10).events);
    assert_eq!(store.events(11, 10).await.unwrap(), write(11..=20).events);
    assert_eq!(store.events(21, 10).await.unwrap(), write(21..=25).events);
    assert!(store.events(26, 10).await.unwrap().is_empty());
    assert!(store.events(1, 0).await.unwrap().is_empty());
    assert!(store.events(u64::MAX, usize::MAX).await.unwrap().is_empty());
    assert_eq!(store.events(0, usize::MAX).await.unwrap().len(), 25);
}

async fn rejects_are_counted_by_reason(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    let mut write = write(1..=2);
    let reasons = [Reason::InvalidJson, Reason::RatingOutOfRange, Reason::InvalidJson];
    write.rejects = reasons.into_iter().zip(2..).map(|(reason, offset)| reject(offset, reason)).collect();
    write.rejects[0].raw.key = None;
    write.rejects[0].raw.payload = Vec::new();
    // As large as the log's records may be made, and larger than a MongoDB document.
    write.rejects[1].raw.payload = vec![0xfe; 20 << 20];
    write.progress = progress(2, 3);
    store.persist(epoch, &write).await.unwrap();
    let counts = store.reject_counts().await.unwrap();
    assert_eq!(counts, BTreeMap::from([(Reason::InvalidJson, 2), (Reason::RatingOutOfRange, 1)]));
}

async fn a_write_that_fails_in_the_middle_leaves_nothing(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    store.persist(epoch, &write(1..=5)).await.unwrap();
    let poisons = [
        event(3),
        LearnedEvent { seq: 2_000, ..event(3) },
        LearnedEvent { event: event(900).event, ..event(3) },
        LearnedEvent { seq: 606, ..event(3) },
        LearnedEvent { seq: 606, ..event(900) },
    ];
    for poison in poisons {
        let mut poisoned = write(6..=1_000);
        poisoned.events[600] = poison;
        let error = store.persist(epoch, &poisoned).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(error.to_string().len() < 1_000, "{error}");
    }
    let mut poisoned = write(6..=20);
    poisoned.rejects = vec![reject(40, Reason::Empty), reject(40, Reason::Empty)];
    assert!(store.persist(epoch, &poisoned).await.is_err());
    assert_eq!(all_events(&store).await, write(1..=5).events);
    assert!(store.reject_counts().await.unwrap().is_empty());
    store.persist(epoch, &write(6..=1_000)).await.unwrap();
    assert_eq!(all_events(&store).await.len(), 1_000);
    assert_eq!(store.claim().await.unwrap().progress, progress(1_000, 0));
}

async fn a_large_write_is_one_write(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    let many = write(1..=20_000);
    store.persist(epoch, &many).await.unwrap();
    assert_eq!(all_events(&store).await, many.events);
    // More bytes than one command of MongoDB may have.
    let mut wide = write(20_001..=20_020);
    wide.events.iter_mut().for_each(|learned| learned.event.id = Some("x".repeat(1 << 20)));
    store.persist(epoch, &wide).await.unwrap();
    assert_eq!(store.events(20_001, 100).await.unwrap(), wide.events);
}

async fn manifests_come_back_newest_first(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    for seq in [0, 20_000, 40_000, 3_000_000_000] {
        store.put_manifest(epoch, &manifest(seq), &[]).await.unwrap();
    }
    let again = Manifest { created_at_ms: 9, ..manifest(40_000) };
    store.put_manifest(epoch, &again, &[]).await.unwrap();
    let expected = [manifest(3_000_000_000), again, manifest(20_000), manifest(0)];
    assert_eq!(store.manifests(99).await.unwrap(), expected);
    assert_eq!(store.manifests(1).await.unwrap(), expected[..1]);
    assert!(store.manifests(0).await.unwrap().is_empty());
}

async fn blocks_come_back_in_the_order_asked_for(store: Arc<dyn Store>) {
    store.put_blocks(vec![block(1), block(2)].into()).await.unwrap();
    // In one call: known ones, a repetition, and new ones.
    store.put_blocks(vec![block(2), block(3), block(3), block(1), block(4)].into()).await.unwrap();
    let wanted = [4, 1, 3, 1, 2].map(block);
    let hashes: Vec<_> = wanted.iter().map(|block| block.hash).collect();
    assert_eq!(store.blocks(&hashes).await.unwrap(), wanted);
}

async fn a_missing_block_is_named(store: Arc<dyn Store>) {
    store.put_blocks(vec![block(1)].into()).await.unwrap();
    let error = store.blocks(&[block(1).hash, block(2).hash]).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(&block(2).hash.to_string()), "{error}");
}

async fn a_block_whose_bytes_differ_is_named_and_put_right(store: Arc<dyn Store>) {
    let mut flipped = block(1);
    flipped.bytes[500] ^= 1;
    store.put_blocks(vec![flipped, block(2)].into()).await.unwrap();
    assert_eq!(store.blocks(&[block(2).hash]).await.unwrap(), [block(2)]);
    let error = store.blocks(&[block(2).hash, block(1).hash]).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(&block(1).hash.to_string()), "{error}");
    store.put_blocks(vec![block(1), block(2)].into()).await.unwrap();
    assert_eq!(store.blocks(&[block(1).hash, block(2).hash]).await.unwrap(), [block(1), block(2)]);
}

async fn blocks_without_a_manifest_are_no_snapshot(store: Arc<dyn Store>) {
    store.claim().await.unwrap();
    store.put_blocks((0..50).map(block).collect()).await.unwrap();
    assert!(store.manifests(9).await.unwrap().is_empty());
}

async fn the_catalogue_is_replaced_by_id_and_its_version_moves(store: Arc<dyn Store>) {
    let item = |id: &str, title: &str| Item { id: id.into(), title: title.into(), ..Item::default() };
    let full = Item {
        genres: vec!["Sci-Fi".into(), "Comédie".into()],
        year: Some(1995),
        url: Some("http://example.org/?a=1".into()),
        ..item("b", "Twelve Monkeys (1995)")
    };
    let user = User {
        id: "1".into(),
        age: Some(24),
        gender: Some("F".into()),
        occupation: None,
        zip: Some("02139".into()),
        ..User::default()
    };
    store.put_catalog(&[full.clone(), item("a", "Old")], std::slice::from_ref(&user)).await.unwrap();
    let first = store.catalog_version().await.unwrap();
    assert!(first > 0);
    store.put_catalog(&[item("a", "New")], &[User { id: "2".into(), ..User::default() }]).await.unwrap();
    let catalog = store.catalog().await.unwrap();
    assert!(catalog.version > first);
    assert_eq!(catalog.version, store.catalog_version().await.unwrap());
    assert_eq!(catalog.items, [item("a", "New"), full]);
    assert_eq!(catalog.users, [user, User { id: "2".into(), ..User::default() }]);
    let many: Vec<_> = (0..5_000).map(|id| item(&format!("m{id}"), "x")).collect();
    store.put_catalog(&many, &[]).await.unwrap();
    assert_eq!(store.catalog().await.unwrap().items.len(), 5_002);
}

async fn what_an_operator_sets_outlasts_a_data_set(store: Arc<dyn Store>) {
    let item = |title: &str| Item { id: "a".into(), title: title.into(), year: Some(1995), ..Item::default() };
    let set = Item { labels: vec!["staff pick".into()], hidden: true, year: None, ..item("Ours") };
    let user = User { id: "1".into(), labels: vec!["vip".into()], hidden: true, ..User::default() };
    store.set_item(&set).await.unwrap();
    let first = store.catalog_version().await.unwrap();
    store.set_user(&user).await.unwrap();
    assert!(store.catalog_version().await.unwrap() > first);
    let catalog = store.catalog().await.unwrap();
    assert_eq!((&catalog.items[..], &catalog.users[..]), (&[set.clone()][..], &[user.clone()][..]));

    let (again, told) =
        (Item { labels: vec!["not ours".into()], ..item("Theirs") }, User { age: Some(24), ..user.clone() });
    let told = User { labels: Vec::new(), hidden: false, ..told };
    store.put_catalog(&[again], &[told]).await.unwrap();
    let catalog = store.catalog().await.unwrap();
    assert_eq!(catalog.items, [Item { labels: set.labels.clone(), hidden: true, ..item("Theirs") }]);
    assert_eq!(catalog.users, [User { age: Some(24), ..user }]);
    store.set_item(&item("Shown")).await.unwrap();
    assert_eq!(store.catalog().await.unwrap().items, [item("Shown")]);
}

async fn what_topics_tell_is_stored_with_the_offsets_after_it(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    let item = |title: &str| Item { id: "a".into(), title: title.into(), ..Item::default() };
    let hidden = Item { labels: vec!["staff pick".into()], hidden: true, ..item("Ours") };
    store.set_item(&hidden).await.unwrap();
    let first = store.catalog_version().await.unwrap();
    let user = User { id: "1".into(), age: Some(24), ..User::default() };
    let told = DurableWrite { items: vec![item("Old"), item("New")], users: vec![user.clone()], ..write(1..=3) };
    store.persist(epoch, &told).await.unwrap();
    let catalog = store.catalog().await.unwrap();
    assert!(catalog.version > first);
    assert_eq!((&catalog.items[..], &catalog.users[..]), (&[Item { title: "New".into(), ..hidden }][..], &[user][..]));
    // A repetition and a superseded engine change nothing.
    store.persist(epoch, &told).await.unwrap();
    store.claim().await.unwrap();
    let late = DurableWrite { items: vec![item("Late")], ..write(4..=5) };
    assert!(matches!(store.persist(epoch, &late).await, Err(StoreError::Superseded { .. })));
    assert_eq!(store.catalog().await.unwrap(), catalog);
}

async fn reads_do_not_wait_for_writes(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for start in (0..40_000).step_by(20_000) {
            writer.persist(epoch, &write(start + 1..=start + 20_000)).await.unwrap();
        }
    });
    let mut seen = 0;
    while !writing.is_finished() {
        let events = store.events(1, 100_000).await.unwrap();
        assert!(events.len() >= seen && events.len() % 20_000 == 0, "a part of a write is visible: {}", events.len());
        seen = events.len();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    writing.await.unwrap();
    assert_eq!(all_events(&store).await.len(), 40_000);
}
