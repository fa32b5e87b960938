//! A snapshot loads to the model that it was taken of, costs what changed, and is refused when anything is wrong with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::config::{Config, LearnerKind};
use crate::decode::testing;
use crate::gather::MicroBatch;
use crate::learn::drift::Drift;
use crate::learn::{Recommender, params};
use crate::publish::{Published, Publisher, Query};

struct Model {
    recommender: Recommender,
    publisher: Publisher,
    seq: u64,
}

impl Model {
    fn new() -> Self {
        let recommender = Recommender::new(&config()).unwrap();
        Self { recommender, publisher: Publisher::new(Published::default(), View::default()), seq: 0 }
    }

    fn learn(&mut self, events: impl IntoIterator<Item = (u32, u32)>) -> Arc<View> {
        let event = |(user, item): (u32, u32)| {
            testing::event(format!("u{user}"), format!("i{item}"), (1 + (user * 7 + item * 3) % 5) as f32)
        };
        let events = events.into_iter().map(event).collect();
        let batch = MicroBatch { number: 1, first_seq: self.seq + 1, events, ..MicroBatch::default() };
        self.seq = batch.seqs().end - 1;
        self.publisher.observe(&self.recommender.learn(&batch).unwrap());
        self.publisher.publish(self.recommender.publish(), Version::after(&batch, 0))
    }
}

async fn store(dir: &tempfile::TempDir) -> Arc<dyn Store> {
    let mut config = Config::default().store;
    config.data_dir = dir.path().to_owned();
    crate::store::open(&config).await.unwrap()
}

/// Under which one learner predicts and ranks, so that every table has a row for each user or item.
fn config() -> Config {
    let mut config = Config::default();
    (config.learn.rating, config.learn.ranking) = (LearnerKind::BiasedMf, LearnerKind::BiasedMf);
    config
}

fn params() -> Named {
    params::named(&config())
}

#[tokio::test]
async fn a_snapshot_loads_to_the_model_that_it_was_taken_of() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let mut model = Model::new();
    let view = model.learn((0..3_000).map(|n| (n * n % 300, n * 7 % 500)));
    let Encoded { manifest, new, .. } = Encoder::new(params()).encode(&view, Taken::default());
    store.put_blocks(new.into()).await.unwrap();
    let loaded = load(&*store, &manifest).await.unwrap();
    assert_eq!(Encoder::new(params()).hash(&loaded), manifest.sha256);
    for user in ["u0", "u1", "u4", "nobody"] {
        assert_eq!(loaded.recommend(user, &Query::top(400)), view.recommend(user, &Query::top(400)));
    }
    assert_eq!(loaded.learned().prequential, view.learned().prequential);
}

#[tokio::test]
async fn a_model_of_two_learners_comes_back_as_both() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let config = Config::default();
    assert_ne!(config.learn.rating, config.learn.ranking);
    let mut model = Model { recommender: Recommender::new(&config).unwrap(), ..Model::new() };
    let view = model.learn((0..900).map(|n| (n * n % 50, n * 7 % 90)));
    let named = params::named(&config);
    let Encoded { manifest, new, .. } = Encoder::new(named.clone()).encode(&view, Taken::default());
    store.put_blocks(new.into()).await.unwrap();
    let loaded = load(&*store, &manifest).await.unwrap();
    assert_eq!(Encoder::new(named).hash(&loaded), manifest.sha256);
    assert_eq!(loaded.recommend("u4", &Query::top(90)), view.recommend("u4", &Query::top(90)));
    assert_eq!(loaded.learned().rating.rating(3, 5), view.learned().rating.rating(3, 5));
}

#[test]
fn a_snapshot_costs_what_has_changed() {
    let mut model = Model::new();
    let mut encoder = Encoder::new(params());
    let view = model.learn((0..1_280).map(|n| (n, n)));
    let Encoded { manifest: first, new: all, .. } = encoder.encode(&view, Taken::default());
    let tables =
        first.sections.iter().filter(|section| !["scalars", "intervals", "drift"].contains(&section.name.as_str()));
    assert!(tables.into_iter().all(|section| section.blocks == 10));
    assert_eq!(encoder.encode(&view, Taken::default()).manifest, first, "nothing has changed");
    // One event between a known user and item: a block of each table, its index, and the scalars.
    let view = model.learn([(5, 5)]);
    let Encoded { manifest: second, new, blocks } = encoder.encode(&view, Taken::default());
    let fresh = new.iter().filter(|block| !all.contains(block)).count();
    assert_eq!(
        fresh,
        2 + 2 + 2 + 3 * 2,
        "scalars, intervals, drift, errors and two factor tables; the item was seen before, and a 1 is no like"
    );
    assert_ne!(second.sha256, first.sha256);
    encoder.forget();
    let again = encoder.encode(&view, Taken::default());
    let handed_out: BTreeSet<Hash> = again.new.iter().map(|block| block.hash).collect();
    assert_eq!((again.manifest, &handed_out), (second, &blocks.into_iter().collect()), "all blocks, and all are named");
    assert!(handed_out.len() > new.len());
}

#[tokio::test]
async fn a_snapshot_of_an_earlier_freshet_is_read_written_as_it_was_and_told_from_a_complete_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let whole = Model::new().learn((0..300).map(|n| (n % 30, n * 7 % 90)));
    let Encoded { manifest: complete, .. } = Encoder::new(params()).encode(&whole, Taken::default());
    let without_drift = View::clone(&whole).without(Addition::Drift);
    let mut manifests = vec![];
    for earlier in [without_drift.clone().without(Addition::Intervals), without_drift] {
        let Encoded { manifest, new, .. } = Encoder::new(params()).encode(&earlier, Taken::default());
        store.put_blocks(new.into()).await.unwrap();
        let view = load(&*store, &manifest).await.unwrap();
        assert_eq!(Encoder::new(params()).encode(&view, Taken::default()).manifest, manifest);
        // What was learned again is compared as far as the earlier one goes.
        assert_eq!(Encoder::new(params()).hash_as(&whole, &manifest), manifest.sha256);
        assert_eq!(view.learned().intervals.reached(0).is_some(), !manifests.is_empty());
        assert_eq!(view.learned().drift.events(), 0);
        manifests.push(manifest);
    }
    let [first, second] = &manifests[..] else { panic!("two were made") };
    assert_eq!(Encoder::new(params()).hash_as(&whole, &complete), complete.sha256);
    assert_eq!([first, second, &complete].map(is_complete), [false, false, true]);
    assert!(
        [(first, first), (second, first), (second, second), (&complete, first)].iter().all(|(a, b)| leads_to(a, b))
    );
    assert!(!leads_to(first, second) && !leads_to(second, &complete));
    let view = load(&*store, first).await.unwrap();
    assert!(view.trending(0).iter().all(|count| *count == 0.0));
}

#[tokio::test]
async fn the_detector_comes_back_as_it_was_and_a_damaged_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let mut model = Model::new();
    let view = model.learn((0..3_000).map(|n| (n * n % 300, n * 7 % 500)));
    let Encoded { manifest, new, .. } = Encoder::new(params()).encode(&view, Taken::default());
    store.put_blocks(new.into()).await.unwrap();
    let drift = load(&*store, &manifest).await.unwrap().learned().drift.clone();
    assert_eq!((drift.events(), &drift), (3_000, &view.learned().drift));
    let block = codec::encode_one(drift);
    let (kind, bytes) = codec::content(&block.bytes).unwrap();
    assert_eq!(kind, Drift::KIND);
    assert!(Drift::read(bytes).is_ok());
    assert!(Drift::read(&bytes[..bytes.len() - 1]).is_err());
}

#[test]
fn the_hash_is_of_the_model_and_its_parameters_alone() {
    let view = Model::new().learn([(1, 2), (3, 4)]);
    let other_time = Taken { epoch: 9, created_at_ms: 77, ..Taken::default() };
    let hash = Encoder::new(params()).hash(&view);
    assert_eq!(Encoder::new(params()).encode(&view, other_time).manifest.sha256, hash);
    assert_ne!(Encoder::new(Named::default()).hash(&view), hash);
    assert_ne!(Encoder::new(params()).hash(&Model::new().learn([(1, 2), (3, 5)])), hash);
}

#[tokio::test]
async fn what_is_not_whole_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let Encoded { manifest, new, .. } = Encoder::new(params()).encode(&Model::new().learn([(1, 2)]), Taken::default());
    let error = load(&*store, &manifest).await.unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
    store.put_blocks(new.into()).await.unwrap();
    let newer = Manifest { format: SNAPSHOT_FORMAT + 1, ..manifest.clone() };
    let error = load(&*store, &newer).await.unwrap_err().to_string();
    assert!(error.contains("format 3") && error.contains("newer freshet"), "{error}");
    let mut swapped = manifest.clone();
    swapped.sections.swap(1, 2);
    let error = load(&*store, &swapped).await.unwrap_err().to_string();
    assert!(error.contains(&manifest.sha256.to_string()), "{error}");
}
