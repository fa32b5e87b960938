//! The contract of snapshots: what is visible is whole, what is not kept goes, and nothing that is needed ever does.

use std::sync::Arc;

use freshet::store::snapshot::Encoded;
use freshet::store::snapshot::check::check;
use freshet::store::{self, Block, Claim, Manifest, Progress, Retention, SNAPSHOT_FORMAT, Store, StoreError};

use super::{block, embedded, mongo, write};
use crate::model::Model;
use crate::support;

const NEWEST: Retention = Retention { last: 1, hourly: 0 };

/// Puts a snapshot; its manifest, and all of its blocks.
async fn put(store: &dyn Store, epoch: u64, encoded: Encoded) -> Manifest {
    store.put_blocks(encoded.new.into()).await.unwrap();
    store.put_manifest(epoch, &encoded.manifest, &encoded.blocks).await.unwrap();
    encoded.manifest
}

async fn seqs(store: &dyn Store) -> Vec<u64> {
    store.listed().await.unwrap().iter().map(|one| one.seq).collect()
}

async fn assert_whole(store: &dyn Store) {
    for manifest in store.manifests(usize::MAX).await.unwrap() {
        assert_eq!(check(store, &manifest).await.unwrap().wrong, Vec::<String>::new(), "snapshot {}", manifest.seq);
    }
}

async fn is_there(store: &dyn Store, block: &Block) -> bool {
    store.blocks(&[block.hash]).await.is_ok()
}

pub(super) async fn a_manifest_without_its_blocks_is_refused_and_changes_nothing(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    let mut model = Model::small();
    model.learn(500);
    let Encoded { manifest, mut new, blocks } = model.snapshot(1);
    let last = new.pop().unwrap();
    store.put_blocks(new.into()).await.unwrap();
    let error = store.put_manifest(epoch, &manifest, &blocks).await.unwrap_err();
    let first = last.hash;
    assert!(matches!(&error, StoreError::MissingBlocks { count: 1, first: named, .. } if *named == first), "{error}");
    assert!(error.to_string().contains("snapshot 500"), "{error}");
    let error = store.begin(epoch, &manifest, &blocks).await.unwrap_err();
    assert!(matches!(error, StoreError::MissingBlocks { .. }), "{error}");
    assert!(seqs(&*store).await.is_empty() && store.state().await.unwrap().is_empty());
    store.put_blocks(vec![last].into()).await.unwrap();
    store.put_manifest(epoch, &manifest, &blocks).await.unwrap();
    assert_whole(&*store).await;
}

pub(super) async fn a_prune_keeps_what_the_rule_keeps_and_every_block_of_it(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    let mut model = Model::small();
    for hour in [1, 1, 2, 2, 3, 3] {
        model.learn(100);
        put(&*store, epoch, model.snapshot(hour)).await;
    }
    let orphan = block(9);
    store.put_blocks(vec![orphan.clone()].into()).await.unwrap();
    let keep = Retention { last: 1, hourly: 2 };
    let foreseen = store.prune(None, keep, true).await.unwrap();
    assert_eq!((&foreseen.snapshots[..], &foreseen.kept[..]), (&[500, 300, 200, 100][..], &[600, 400][..]));
    assert!(foreseen.blocks > 1 && foreseen.bytes > 10_000 && foreseen.waiting.is_none());
    assert_eq!(seqs(&*store).await, [600, 500, 400, 300, 200, 100], "a dry run changes nothing");
    assert!(is_there(&*store, &orphan).await);

    assert_eq!(store.prune(None, keep, false).await.unwrap(), foreseen);
    assert_eq!(seqs(&*store).await, [600, 400]);
    assert!(is_there(&*store, &orphan).await, "it may be one of a snapshot that is just being stored");
    let again = store.prune(Some(epoch), keep, false).await.unwrap();
    assert_eq!((again.snapshots.len(), again.blocks, again.bytes), (0, 1, 70_000), "the writer knows that it is not");
    assert!(!is_there(&*store, &orphan).await);
    assert_whole(&*store).await;
    assert_eq!(store.prune(Some(epoch), keep, false).await.unwrap().blocks, 0, "nothing is left to delete");
    model.learn(1);
    put(&*store, epoch, model.snapshot(4)).await;
    assert_whole(&*store).await;
}

pub(super) async fn a_prune_of_a_superseded_engine_deletes_nothing(store: Arc<dyn Store>) {
    let old = store.claim().await.unwrap().epoch;
    let mut model = Model::small();
    for hour in 0..3 {
        model.learn(50);
        put(&*store, old, model.snapshot(hour)).await;
    }
    store.claim().await.unwrap();
    let error = store.prune(Some(old), NEWEST, false).await.unwrap_err();
    assert!(matches!(error, StoreError::Superseded { .. }), "{error}");
    assert_eq!(seqs(&*store).await, [150, 100, 50]);
}

pub(super) async fn no_block_goes_while_a_manifest_cannot_be_read(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    let mut model = Model::small();
    model.learn(50);
    let old = put(&*store, epoch, model.snapshot(0)).await;
    store.put_manifest(epoch, &Manifest { seq: 10, format: SNAPSHOT_FORMAT - 1, ..old.clone() }, &[]).await.unwrap();
    model.learn(50);
    put(&*store, epoch, model.snapshot(1)).await;
    store.put_manifest(epoch, &Manifest { seq: 900, format: SNAPSHOT_FORMAT + 1, ..old }, &[]).await.unwrap();
    let orphan = block(9);
    store.put_blocks(vec![orphan.clone()].into()).await.unwrap();

    let pruned = store.prune(Some(epoch), NEWEST, false).await.unwrap();
    assert_eq!((&pruned.snapshots[..], pruned.blocks), (&[50, 10][..], 0), "what is older may go, what is newer not");
    let waiting = pruned.waiting.unwrap();
    assert!(waiting.contains("snapshot 900") && waiting.contains("format 3"), "{waiting}");
    assert!(is_there(&*store, &orphan).await);
    assert_eq!(seqs(&*store).await, [900, 100]);
}

pub(super) async fn no_block_goes_while_the_index_of_a_snapshot_is_damaged(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    let mut model = Model::small();
    model.learn(300);
    let encoded = model.snapshot(0);
    let index = encoded.manifest.sections[1].index[0];
    let flip = |block: &Block| {
        let mut block = block.clone();
        if block.hash == index {
            block.bytes[20] ^= 4;
        }
        block
    };
    let (orphan, whole) = (block(9), encoded.new.clone());
    store.put_blocks(whole.iter().map(flip).chain([orphan.clone()]).collect()).await.unwrap();
    store.put_manifest(epoch, &encoded.manifest, &encoded.blocks).await.unwrap();
    let wrong = check(&*store, &encoded.manifest).await.unwrap().wrong;
    assert!(wrong[0].contains(&index.to_string()), "{wrong:?}");
    let pruned = store.prune(Some(epoch), NEWEST, false).await.unwrap();
    let waiting = pruned.waiting.unwrap();
    assert!(pruned.blocks == 0 && waiting.contains(&index.to_string()), "{waiting}");
    assert!(is_there(&*store, &orphan).await);
    store.put_blocks(whole.into()).await.unwrap();
    assert_eq!(store.prune(Some(epoch), NEWEST, false).await.unwrap().blocks, 1);
    assert_whole(&*store).await;
}

pub(super) async fn damage_is_found_whole_and_named(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    let mut model = Model::small();
    model.learn(300);
    let Encoded { manifest, new, blocks } = model.snapshot(0);
    let damaged: Vec<_> = blocks[..5].to_vec();
    let flipped = new.iter().cloned().map(|mut block| {
        let middle = block.bytes.len() / 2;
        block.bytes[middle] ^= u8::from(damaged.contains(&block.hash));
        block
    });
    store.put_blocks(flipped.collect()).await.unwrap();
    store.put_manifest(epoch, &manifest, &blocks).await.unwrap();
    let found = check(&*store, &manifest).await.unwrap();
    assert!(found.blocks > 0 && found.wrong.len() == 4, "{found:?}");
    assert!(found.wrong[0].contains("block ") && found.wrong[3] == "2 more blocks are damaged", "{found:?}");
    let newer = Manifest { format: SNAPSHOT_FORMAT + 1, ..manifest };
    let found = check(&*store, &newer).await.unwrap();
    assert!(found.wrong[0].contains("use a newer freshet"), "{found:?}");
}

pub(super) async fn an_empty_store_begins_with_a_snapshot_and_no_other_does(store: Arc<dyn Store>) {
    let mut model = Model::small();
    model.learn(500);
    let Encoded { mut manifest, new, blocks } = model.snapshot(0);
    manifest.offsets.set("ratings".into(), 0, 700);
    store.put_blocks(new.into()).await.unwrap();
    let epoch = store.claim().await.unwrap().epoch;
    let error = store.begin(epoch - 1, &manifest, &blocks).await.unwrap_err();
    assert!(matches!(error, StoreError::Superseded { .. }), "{error}");
    store.begin(epoch, &manifest, &blocks).await.unwrap();
    store.begin(epoch, &manifest, &blocks).await.unwrap();
    let Claim { progress, base, epoch: now, store_id } = store.state().await.unwrap();
    let begun = Progress { seq: 500, batch: 1, offsets: manifest.offsets.clone() };
    assert_eq!((progress, base, now, store_id.is_empty()), (begun, 500, epoch, false));
    assert_eq!(store.manifests(9).await.unwrap(), [manifest.clone()]);

    // It is kept for ever, since the events up to it are nowhere.
    for hour in 1..3 {
        model.learn(50);
        put(&*store, epoch, model.snapshot(hour)).await;
    }
    store.prune(Some(epoch), NEWEST, false).await.unwrap();
    assert_eq!(seqs(&*store).await, [600, 500]);
    assert_whole(&*store).await;
    let error = store.begin(epoch, &Manifest { seq: 400, ..manifest }, &[]).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }) && error.to_string().contains("not empty"), "{error}");
}

pub(super) async fn a_store_with_events_does_not_begin_with_a_snapshot(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    store.persist(epoch, &write(1..=5)).await.unwrap();
    let before = store.state().await.unwrap();
    assert_eq!(before, Claim { epoch, ..before.clone() });
    let manifest = super::manifest(5);
    let error = store.begin(epoch, &manifest, &[]).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert_eq!(store.state().await.unwrap(), before);
    assert!(seqs(&*store).await.is_empty());
}

/// An engine puts snapshots, as fast as it can, while another process prunes as hard as it can: by turns as a person
/// does, and as no engine would, with the blocks that were just put.
async fn nothing_needed_is_pruned(engine: Arc<dyn Store>, other: Arc<dyn Store>) {
    let epoch = engine.claim().await.unwrap().epoch;
    let putting = tokio::spawn(async move {
        let (mut model, mut again) = (Model::small(), 0);
        for hour in 0..120 {
            model.learn(7);
            loop {
                let encoded = model.snapshot(hour);
                engine.put_blocks(encoded.new.into()).await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(hour as u64 % 4)).await;
                match engine.put_manifest(epoch, &encoded.manifest, &encoded.blocks).await {
                    Ok(()) => break,
                    Err(StoreError::MissingBlocks { .. }) => model.forget(),
                    Err(error) => panic!("{error}"),
                }
                again += 1;
            }
        }
        again
    });
    let (mut deleted, mut rounds) = (0, 0);
    while !putting.is_finished() {
        let hard = (rounds % 2 == 0).then_some(epoch);
        let pruned = other.prune(hard, Retention { last: 2, hourly: 3 }, false).await.unwrap();
        deleted += pruned.snapshots.len();
        rounds += 1;
        // Only this task prunes, and not now: what is visible must be whole.
        assert_whole(&*other).await;
    }
    let again = putting.await.unwrap();
    support::say(&format!("{rounds} prunes, {deleted} snapshots deleted, {again} put once more"));
    assert!(deleted > 0 && rounds > 5, "{rounds} prunes, {deleted} snapshots deleted");
    other.prune(None, NEWEST, false).await.unwrap();
    assert_eq!(seqs(&*other).await, [120 * 7]);
    assert_whole(&*other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_store_prunes_nothing_that_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let open = async || store::open(&embedded(folder.path())).await.unwrap();
    nothing_needed_is_pruned(open().await, open().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mongodb_store_prunes_nothing_that_is_needed() {
    let name = support::unique("stores");
    let open = async || store::open(&mongo(support::mongodb(), &name)).await.unwrap();
    nothing_needed_is_pruned(open().await, open().await).await;
    super::database(support::mongodb(), &name).await.drop().await.unwrap();
}
