//! What is asked at each event, and who is a candidate for the answer.

use super::*;
use crate::capture::{Interaction, sample};
use crate::config::{Config, LearnerKind};
use crate::consume::{Position, RawEvent};
use crate::decode::decode;
use crate::evaluate::testing::{dataset, rated, request};
use crate::evaluate::{Order, Protocol, Request};
use crate::gather::MicroBatch;
use crate::learn::Recommender;
use crate::publish::{Published, Publisher, Query, Version, View};

fn stream(rows: Vec<Interaction>, all_ratings: bool) -> Stream {
    let request = Request { all_ratings, order: Some(Order::File), ..request(Protocol::Topn) };
    Stream::read(dataset(rows), &request, &Config::default()).unwrap()
}

/// Ranks by popularity.
fn ranks(stream: &Stream) -> (Vec<f64>, Run) {
    let contender = Contender {
        name: "popularity".to_owned(),
        kind: LearnerKind::Popularity,
        config: Config::default(),
        trainers: None,
    };
    let mut found = run(stream, &Plan::new(stream), &contender, &mut |_| ()).unwrap();
    (std::mem::take(&mut found.outcomes), found)
}

/// Scores as they were written down.
#[derive(Debug)]
struct Fixed(Vec<f32>);

impl Scorer for Fixed {
    fn rating(&self, _user: u32, _item: u32) -> Option<f32> {
        None
    }

    fn score(&self, _user: u32, scores: &mut [f32]) {
        scores.copy_from_slice(&self.0[..scores.len()]);
    }
}

#[test]
fn the_first_positive_of_a_user_asks_nothing_and_a_repeat_cannot_be_ranked() {
    use Question::{ColdUser, Rank, Repeat, UnknownItem};
    let rows = [("a", "x"), ("a", "y"), ("b", "y"), ("b", "x"), ("a", "y"), ("b", "z")];
    let stream = stream(rows.map(|(user, item)| rated(user, item, 5.0)).into(), false);
    let plan = Plan::new(&stream);
    assert_eq!(plan.questions, [ColdUser, UnknownItem, ColdUser, Rank, Repeat, UnknownItem]);
    assert_eq!((plan.count(ColdUser), plan.known_items), (2, 3));
    let (ranks, found) = ranks(&stream);
    // b has seen y, so that x is the only candidate there, though y is more popular.
    assert_eq!(ranks, [0.0, 1.0, 0.0]);
    // x to b; to a it had been seen, as all else has been whenever anything was asked.
    assert_eq!((found.listed, found.non_finite), (Some(1), 0));
}

#[test]
fn with_all_ratings_a_low_one_is_seen_but_makes_neither_user_nor_item_known() {
    use Question::{ColdUser, Negative, Rank, UnknownItem};
    let rows = [
        ("a", "x", 5.0),
        ("b", "y", 1.0),
        ("b", "x", 5.0),
        ("a", "y", 4.0),
        ("c", "x", 5.0),
        ("c", "z", 1.0),
        ("c", "y", 5.0),
    ];
    let stream = stream(rows.map(|(user, item, rating)| rated(user, item, rating)).into(), true);
    let plan = Plan::new(&stream);
    assert_eq!(plan.questions, [ColdUser, Negative, ColdUser, UnknownItem, ColdUser, Negative, Rank]);
    assert_eq!(plan.known_items, 2);
    // c has seen x and z, and z is not known: y alone is left.
    assert_eq!(ranks(&stream).0, [0.0, 1.0]);
}

#[test]
fn seen_and_unknown_items_are_no_candidates_and_an_item_without_a_finite_score_is_last_of_them() {
    // Items 0 to 4 in order; user a has seen 0, and 4 has only a low rating by b.
    let rows = [("a", "0", 5.0), ("b", "1", 5.0), ("b", "2", 5.0), ("b", "3", 5.0), ("b", "4", 1.0), ("a", "3", 5.0)];
    let stream = stream(rows.map(|(user, item, rating)| rated(user, item, rating)).into(), true);
    let (last, before) = stream.events.split_last().unwrap();
    let judge = |scores: [f32; 5]| {
        let mut candidates = Candidates::new(&stream);
        for event in before {
            candidates.observe(event);
        }
        let rank = candidates.judge(&Fixed(scores.into()), last, Question::Rank);
        (rank, candidates.non_finite, candidates.listed.iter().collect::<Vec<_>>())
    };
    assert_eq!(judge([9.0, 1.0, 2.0, 2.0, 9.0]), (2.0, 0, vec![1, 2, 3]));
    assert_eq!(judge([9.0, f32::NAN, 2.0, 3.0, 9.0]), (1.0, 1, vec![2, 3]));
    assert_eq!(judge([9.0, 1.0, f32::NAN, f32::INFINITY, 9.0]), (3.0, 2, vec![1]));
}

/// The rows as the engine gets them from the log, in micro-batches.
fn batches(rows: &[Interaction]) -> Vec<MicroBatch> {
    let decoded = |(row, offset): (&Interaction, i64)| {
        let position = Position { topic: "ratings".into(), partition: 0, offset };
        let raw = RawEvent { position, timestamp_ms: 1, key: None, payload: row.to_json(), trace: None };
        decode(&raw, &Config::default().decode).unwrap()
    };
    let events: Vec<_> = rows.iter().zip(0..).map(decoded).collect();
    let mut first_seq = 1;
    let batch = |(events, number): (&[_], u64)| {
        let batch = MicroBatch { number, first_seq, events: events.to_vec(), ..MicroBatch::default() };
        first_seq += events.len() as u64;
        batch
    };
    events.chunks(97).zip(1..).map(batch).collect()
}

/// What is served is what is measured: after each micro-batch the list that `/recommend` gives to a user, learned by the
/// engine's recommender from records of the log, is the list that the protocol has made, scores to the bit.
fn assert_served_is_measured(config: &Config) {
    let rows: Vec<Interaction> = sample::sample(7, 2_500).described().rows.collect::<Result<_, _>>().unwrap();
    let stream = stream(rows.clone(), true);
    let kind = config.learn.ranking;
    let contender = Contender { name: kind.name(), kind, config: config.clone(), trainers: None };
    let (mut learner, mut candidates) = (contender.build().unwrap(), Candidates::new(&stream));
    let mut recommender = Recommender::new(config).unwrap();
    let mut publisher = Publisher::new(Published::default(), View::default());
    let (mut events, mut compared) = (stream.events.iter(), 0);
    for batch in batches(&rows) {
        publisher.observe(&recommender.learn(&batch).unwrap());
        let view = publisher.publish(recommender.publish(), Version::after(&batch, 0));
        for event in events.by_ref().take(batch.events.len()) {
            learner.learn(event);
            candidates.observe(event);
        }
        for event in batch.events.iter().step_by(9) {
            let user = view.learned().users.get(&event.user).unwrap();
            candidates.score(&*learner, user);
            let (measured, served) = (candidates.best(), view.recommend(&event.user, &Query::top(LIST)).items);
            let exact = |list: &[Scored]| list.iter().map(|s| (s.item, s.score.to_bits())).collect::<Vec<_>>();
            assert_eq!(exact(&served), exact(&measured), "{kind:?} for user {} at {:?}", event.user, view.version());
            compared += measured.len();
        }
    }
    assert!(compared > 1_000, "{kind:?}: {compared}");
}

#[test]
fn what_is_served_is_what_is_measured() {
    let kinds = [
        Config::default().learn.ranking,
        LearnerKind::ItemKnn,
        LearnerKind::Popularity,
        LearnerKind::DecayedPopularity,
        LearnerKind::BiasedMf,
        LearnerKind::Random,
    ];
    for ranking in kinds {
        let mut config = Config::default();
        config.learn.ranking = ranking;
        assert_served_is_measured(&config);
    }
}
