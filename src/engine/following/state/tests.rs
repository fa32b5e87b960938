//! What a server takes, and what it does not, of everything that a topic can do to it.

use std::sync::Arc;

use super::*;
use crate::config::{Config, LearnerKind};
use crate::decode::testing;
use crate::gather::MicroBatch;
use crate::learn::{Recommender, params};
use crate::publish::{Published, Publisher, Query, Version, View};
use crate::store::snapshot::delta::block_record;
use crate::store::snapshot::{Changed, Encoder, Taken};

type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// A trainer with an encoder of its own, whose records a test delivers as it likes.
struct Trainer {
    config: Config,
    recommender: Recommender,
    publisher: Publisher,
    encoder: Encoder,
    store: &'static str,
    epoch: u64,
    after: u64,
    view: Arc<View>,
}

fn config_of(factors: usize, ranking: LearnerKind) -> Config {
    let mut config = Config::default();
    (config.learn.rating, config.learn.ranking) = (LearnerKind::BiasedMf, ranking);
    config.biased_mf.factors = factors;
    config
}

impl Trainer {
    fn new(epoch: u64, factors: usize) -> Self {
        Self::of(config_of(factors, LearnerKind::BiasedMf), epoch)
    }

    fn of(config: Config, epoch: u64) -> Self {
        Self {
            recommender: Recommender::new(&config).unwrap(),
            publisher: Publisher::new(Published::default(), View::default()),
            encoder: Encoder::new(params::named(&config)),
            view: Arc::default(),
            after: 0,
            config,
            store: "here",
            epoch,
        }
    }

    /// The trainer that takes over from this snapshot, and has learned what this one has.
    fn successor(&self, snapshot: &View) -> Self {
        let mut encoder = Encoder::new(params::named(&self.config));
        encoder.delta(snapshot);
        let view = View::clone(&self.view);
        Self {
            recommender: Recommender::resume(&self.config, view.learned().clone()),
            publisher: Publisher::new(Published::default(), view),
            encoder,
            store: self.store,
            epoch: self.epoch + 1,
            after: snapshot.version().seq,
            view: Arc::clone(&self.view),
            config: self.config.clone(),
        }
    }

    /// Learns a few events of users and items from there on.
    fn learn(&mut self, from: u32, events: u32) -> Arc<View> {
        let event = |n: u32| testing::event(format!("u{}", n % 300), format!("i{}", n * 7 % 400), (1 + n % 5) as f32);
        let first_seq = self.view.version().seq + 1;
        let events = (from..from + events).map(event).collect();
        let batch = MicroBatch { number: first_seq, first_seq, events, ..MicroBatch::default() };
        self.publisher.observe(&self.recommender.learn(&batch).unwrap());
        self.view = self.publisher.publish(self.recommender.publish(), Version::after(&batch, 5));
        Arc::clone(&self.view)
    }

    /// The records of what has changed since the last call, the commit last.
    fn tell(&mut self) -> Records {
        let (delta, Version { seq, batch, .. }) = (self.encoder.delta(&self.view), self.view.version().clone());
        let mut commit = Commit::of(&self.view, &delta, params::named(&self.config), (self.store, self.epoch));
        commit.after = std::mem::replace(&mut self.after, seq);
        let told = delta.changed.into_iter().flat_map(Changed::told);
        let record = |(place, block)| block_record(Teller::new(self.store, self.epoch), batch, &place, &block);
        told.map(record).chain([commit.record()]).collect()
    }

    fn learn_and_tell(&mut self, from: u32, events: u32) -> Records {
        self.learn(from, events);
        self.tell()
    }

    /// The same from a snapshot of this moment.
    fn base(&self) -> Base {
        let mut encoder = Encoder::new(params::named(&self.config));
        let delta = encoder.delta(&self.view);
        let mut follower = Follower::default();
        for (place, block) in delta.changed.into_iter().flat_map(Changed::told) {
            let (key, payload) = block_record(Teller::new(self.store, self.epoch), 1, &place, &block);
            follower.take(&key, &payload).unwrap();
        }
        let parts = Parts::default().changed(&follower.pending, &delta.parts).unwrap();
        let taken = Taken { epoch: self.epoch, ..Taken::default() };
        Base::new(&encoder.encode(&self.view, taken).manifest, parts)
    }
}

fn deliver(follower: &mut Follower, records: &[(Vec<u8>, Vec<u8>)]) -> Settled {
    for (key, payload) in records {
        follower.take(key, payload).unwrap();
    }
    follower.settle()
}

/// The records as a compaction leaves them: the last of each key.
fn compacted(records: &Records) -> Records {
    let is_last =
        |(at, (key, _)): &(usize, &(Vec<u8>, Vec<u8>))| !records[at + 1..].iter().any(|later| later.0 == *key);
    records.iter().enumerate().filter(is_last).map(|(_, record)| record.clone()).collect()
}

/// Asserts that the follower has the trainer's model, bit for bit.
fn assert_same(follower: &Follower, trainer: &Trainer) {
    let base = follower.base().expect("there is a model");
    let (expected, seq) = (&trainer.view, trainer.view.version().seq);
    assert_eq!(base.seq, seq);
    assert_eq!(base.sha256, Encoder::new(params::named(&trainer.config)).hash(expected));
    let anew = base.parts.view(&base.params, expected.version().clone(), &View::default()).unwrap();
    let view = base.parts.view(&base.params, expected.version().clone(), &anew).unwrap();
    assert_eq!(Encoder::new(params::named(&trainer.config)).hash(&view), base.sha256);
    for user in ["u1", "u17", "nobody"] {
        assert_eq!(view.recommend(user, &Query::top(50)), expected.recommend(user, &Query::top(50)));
    }
}

fn is_wrong(settled: Settled, part: &str) {
    let Settled::Wrong(reason) = settled else { panic!("{settled:?}") };
    assert!(reason.contains(part), "{reason}");
}

#[test]
fn a_server_without_a_snapshot_follows_a_trainer_from_its_first_event() {
    let (mut trainer, mut follower) = (Trainer::new(1, 4), Follower::default());
    for step in 0..4 {
        let records = trainer.learn_and_tell(step * 200, 200);
        assert!(matches!(deliver(&mut follower, &records), Settled::Changed(_)), "{step}");
        assert_same(&follower, &trainer);
    }
    // The last commit again, as a heartbeat, and every record twice.
    let records = trainer.learn_and_tell(3, 1);
    assert!(records.len() < 20, "a delta is what has changed: {}", records.len());
    deliver(&mut follower, &records);
    assert!(matches!(deliver(&mut follower, &records), Settled::Current(_)));
    assert!(matches!(deliver(&mut follower, &records[records.len() - 1..]), Settled::Current(_)));
    assert!(matches!(follower.settle(), Settled::Nothing));
    assert_same(&follower, &trainer);
}

#[test]
fn a_delta_without_its_commit_is_not_taken_and_a_later_commit_covers_several() {
    let (mut trainer, mut follower) = (Trainer::new(1, 4), Follower::default());
    deliver(&mut follower, &trainer.learn_and_tell(0, 100));
    let before = follower.base().unwrap().sha256;
    let (first, second) = (trainer.learn_and_tell(100, 50), trainer.learn_and_tell(150, 50));
    assert!(matches!(deliver(&mut follower, &first[..first.len() - 1]), Settled::Nothing));
    assert_eq!(follower.base().unwrap().sha256, before);
    assert!(matches!(deliver(&mut follower, &second), Settled::Changed(_)));
    assert_same(&follower, &trainer);
}

#[test]
fn a_gap_is_told_and_a_snapshot_behind_it_fills_it() {
    let (mut trainer, mut follower) = (Trainer::new(1, 4), Follower::default());
    deliver(&mut follower, &trainer.learn_and_tell(0, 100));
    let kept = follower.base().unwrap().seq;
    trainer.learn_and_tell(100, 50);
    let snapshot = trainer.base();
    let after_gap = trainer.learn_and_tell(155, 50);
    is_wrong(deliver(&mut follower, &after_gap), "deltas between 100 and 150 are missing");
    assert_eq!(follower.base().unwrap().seq, kept, "what was there goes on");
    // What was told behind the gap is still there: the next commit fits.
    follower.rebase(snapshot);
    assert!(matches!(deliver(&mut follower, &trainer.learn_and_tell(205, 5)), Settled::Changed(_)));
    assert_same(&follower, &trainer);
}

#[test]
fn a_compacted_topic_is_enough_without_and_with_a_snapshot() {
    let mut trainer = Trainer::new(1, 4);
    let mut records = trainer.learn_and_tell(0, 300);
    let mut snapshot = None;
    for step in 0..6 {
        records.extend(trainer.learn_and_tell(300 + step * 10, 10));
        snapshot = snapshot.or_else(|| (step == 3).then(|| trainer.base()));
    }
    let records = compacted(&records);
    let mut follower = Follower::default();
    assert!(matches!(deliver(&mut follower, &records), Settled::Changed(_)));
    assert_same(&follower, &trainer);
    let mut follower = Follower::default();
    follower.rebase(snapshot.unwrap());
    assert!(matches!(deliver(&mut follower, &records), Settled::Changed(_)));
    assert_same(&follower, &trainer);
}

#[test]
fn a_block_that_was_compacted_over_makes_a_commit_wrong_until_the_next_one() {
    let (mut trainer, mut follower) = (Trainer::new(1, 4), Follower::default());
    deliver(&mut follower, &trainer.learn_and_tell(0, 300));
    let (first, second) = (trainer.learn_and_tell(5, 1), trainer.learn_and_tell(5, 1));
    // The blocks of the first delta are gone, as those of the second came; its commit is still there.
    is_wrong(deliver(&mut follower, &first[first.len() - 1..]), "does not make the model");
    assert!(matches!(deliver(&mut follower, &second), Settled::Changed(_)));
    assert_same(&follower, &trainer);
}

#[test]
fn a_truncated_topic_lacks_blocks_and_a_snapshot_or_all_of_the_model_puts_it_right() {
    let (mut trainer, mut follower) = (Trainer::new(1, 4), Follower::default());
    let records = trainer.learn_and_tell(0, 300);
    is_wrong(deliver(&mut follower, &records[records.len() / 2..]), "is not there");
    assert!(follower.base().is_none());
    let snapshot = trainer.base();
    let mut other = Follower::default();
    other.rebase(snapshot);
    assert!(matches!(deliver(&mut other, &records[records.len() / 2..]), Settled::Current(_)));
    // The trainer makes the topic anew, and tells of everything.
    follower.another_topic();
    trainer.encoder.forget();
    trainer.after = 0;
    assert!(matches!(deliver(&mut follower, &trainer.tell()), Settled::Changed(_)));
    assert_same(&follower, &trainer);
}

#[test]
fn another_trainer_goes_on_where_the_first_was_killed() {
    let (mut trainer, mut follower) = (Trainer::new(1, 4), Follower::default());
    deliver(&mut follower, &trainer.learn_and_tell(0, 200));
    let snapshot = Arc::clone(&trainer.view);
    deliver(&mut follower, &trainer.learn_and_tell(200, 50));
    // Killed in the middle of a delta, and durable a little further.
    let torn = trainer.learn_and_tell(250, 30);
    assert!(matches!(deliver(&mut follower, &torn[..torn.len() / 2]), Settled::Nothing));
    trainer.learn(280, 20);
    let mut next = trainer.successor(&snapshot);
    assert!(matches!(deliver(&mut follower, &next.tell()), Settled::Changed(_)));
    assert_same(&follower, &next);
    // The first one was not dead after all.
    let stale = trainer.tell();
    assert!(matches!(deliver(&mut follower, &stale), Settled::Nothing));
    assert!(follower.heard.unwrap().outdated);
    assert!(matches!(deliver(&mut follower, &next.learn_and_tell(300, 20)), Settled::Changed(_)));
    assert_same(&follower, &next);
}

#[test]
fn a_trainer_of_other_parameters_begins_anew_and_is_followed_there() {
    let (mut trainer, mut follower) = (Trainer::new(1, 4), Follower::default());
    deliver(&mut follower, &trainer.learn_and_tell(0, 300));
    let mut other = Trainer::new(2, 6);
    assert!(matches!(deliver(&mut follower, &other.learn_and_tell(0, 100)), Settled::Changed(_)));
    assert_same(&follower, &other);
}

#[test]
fn an_event_is_told_in_pieces_and_not_in_all_that_is_stored_beside_it() {
    let (mut trainer, mut follower) = (Trainer::new(1, 64), Follower::default());
    deliver(&mut follower, &trainer.learn_and_tell(0, 3_000));
    let told = trainer.learn_and_tell(3_000, 1);
    assert!(matches!(deliver(&mut follower, &told), Settled::Changed(_)));
    assert_same(&follower, &trainer);
    let of_rows = |(key, _): &&(Vec<u8>, Vec<u8>)| String::from_utf8_lossy(key).contains("_factors/");
    let rows: Vec<usize> = told.iter().filter(of_rows).map(|(_, payload)| payload.len()).collect();
    // Eight rows of 65 floats each, of its user and of its item; 64 are stored as one.
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|bytes| *bytes < 8 * 65 * 4 + 100), "{rows:?}");
    let all: usize = told.iter().map(|(_, payload)| payload.len()).sum();
    assert!(all < 16 * 1024, "{all} bytes are told of one event");
}

#[test]
fn a_store_that_began_anew_counts_its_epochs_anew() {
    let (mut trainer, mut follower) = (Trainer::new(5, 4), Follower::default());
    follower.rebase(trainer.base());
    deliver(&mut follower, &trainer.learn_and_tell(0, 300));
    let mut other = Trainer { store: "elsewhere", ..Trainer::new(1, 4) };
    assert!(matches!(deliver(&mut follower, &other.learn_and_tell(7, 100)), Settled::Changed(_)));
    assert_same(&follower, &other);
    assert!(!follower.heard.unwrap().outdated);
    assert!(matches!(deliver(&mut follower, &other.learn_and_tell(107, 10)), Settled::Changed(_)));
    assert_same(&follower, &other);
}

#[test]
fn a_snapshot_ahead_of_the_last_commit_stays() {
    let (mut trainer, mut follower) = (Trainer::new(1, 4), Follower::default());
    let told = trainer.learn_and_tell(0, 100);
    trainer.learn(100, 20);
    follower.rebase(trainer.base());
    assert!(matches!(deliver(&mut follower, &told), Settled::Nothing), "it is of before");
    assert_same(&follower, &trainer);
    assert!(matches!(deliver(&mut follower, &trainer.learn_and_tell(120, 20)), Settled::Changed(_)));
    assert_same(&follower, &trainer);
}

/// The same events again bring what a user chose last back to what it was: a block that a snapshot in between has otherwise.
#[test]
fn a_block_that_becomes_again_what_it_was_is_told_all_the_same() {
    let mut trainer = Trainer::of(config_of(4, LearnerKind::ItemKnn), 1);
    trainer.learn(0, 1_200);
    trainer.learn_and_tell(0, 1_200);
    trainer.learn(0, 500);
    let mut follower = Follower::default();
    follower.rebase(trainer.base());
    assert!(matches!(deliver(&mut follower, &trainer.learn_and_tell(500, 700)), Settled::Changed(_)));
    assert_same(&follower, &trainer);
}

#[test]
fn what_is_not_understood_changes_nothing() {
    let (mut trainer, mut follower) = (Trainer::new(1, 4), Follower::default());
    deliver(&mut follower, &trainer.learn_and_tell(0, 100));
    let mut records = trainer.learn_and_tell(100, 20);
    let (key, commit) = records.pop().unwrap();
    let later = String::from_utf8(commit.clone()).unwrap().replace("\"format\":2", "\"format\":3");
    for (key, payload) in [(&key[..], later.as_bytes()), (&key, b"{"), (b"block/x/0", b"no block")] {
        follower.take(key, payload).unwrap_err();
    }
    assert!(matches!(follower.settle(), Settled::Nothing));
    records.push((key, commit));
    assert!(matches!(deliver(&mut follower, &records), Settled::Changed(_)));
    assert_same(&follower, &trainer);
}
