//! What must hold for every learner and every stream: sequential equivalence, determinism, finite values, and a resumed
//! recommender that goes on as if it had never stopped.

use std::collections::BTreeMap;

use linfa::traits::Predict;
use proptest::prelude::*;

use super::*;
use crate::decode::{Event, testing};
use crate::gather::MicroBatch;

mod drift;
mod exchange;

/// Learners that predict ratings.
const RATING: [LearnerKind; 4] =
    [LearnerKind::RunningMean, LearnerKind::Biases, LearnerKind::BiasedMf, LearnerKind::BayesianMf];

/// Learners that only rank.
const RANKING: [LearnerKind; 5] = [
    LearnerKind::Popularity,
    LearnerKind::DecayedPopularity,
    LearnerKind::ItemKnn,
    LearnerKind::Blend,
    LearnerKind::Random,
];

fn config((rating, ranking): (LearnerKind, LearnerKind)) -> Config {
    let mut config = Config::default();
    (config.learn.rating, config.learn.ranking) = (rating, ranking);
    config.biased_mf.factors = 11;
    // Small enough that what is left out at the bounds is left out here.
    (config.item_knn.history, config.item_knn.neighbours) = (20, 9);
    config.popularity.half_life = 10.0;
    // Short enough that events leave it.
    config.bayesian_mf.window = 4;
    (config.blend.history, config.blend.recent, config.blend.pairs, config.blend.neighbours) = (20, 11, 7, 9);
    (config.blend.factors, config.blend.negatives, config.blend.candidates, config.blend.warm_up) = (8, 12, 30, 20);
    config
}

fn recommender(kinds: (LearnerKind, LearnerKind)) -> Recommender {
    Recommender::new(&config(kinds)).unwrap()
}

fn event((user, item, rating): (u8, u8, f32)) -> Event {
    testing::event(format!("u{user}"), format!("i{item}"), rating)
}

fn batch(events: &[(u8, u8, f32)]) -> MicroBatch {
    MicroBatch { events: events.iter().copied().map(event).collect(), ..MicroBatch::default() }
}

fn stream() -> impl Strategy<Value = Vec<(u8, u8, f32)>> {
    proptest::collection::vec((any::<u8>(), any::<u8>(), 1.0f32..=5.0), 0..300)
}

/// A learner of each kind, in any pair.
fn kinds() -> impl Strategy<Value = (LearnerKind, LearnerKind)> {
    let all = [&RATING[..], &RANKING].concat();
    (prop::sample::select(&RATING[..]), prop::sample::select(all))
}

/// Everything that a state holds, byte for byte.
fn bytes(state: &LearnedState) -> BTreeMap<String, Vec<u8>> {
    let mut all =
        BTreeMap::from([("figures".to_owned(), to_scalars(&(&state.prequential, &state.intervals, &state.drift)))]);
    let content = |table: &Table| table.stored().flat_map(|stored| stored.content()).collect::<Vec<u8>>();
    all.insert("errors".to_owned(), content(&state.errors.table("errors")));
    all.insert("users".to_owned(), format!("{:?}", state.users.names()).into_bytes());
    all.insert("items".to_owned(), format!("{:?}", state.items.names()).into_bytes());
    for (name, model) in [("rating", &*state.rating), ("ranking", state.ranking())] {
        all.insert(format!("{name} scalars"), model.scalars());
        for table in model.tables() {
            all.insert(format!("{name} {}", table.name), [&table.rows.to_le_bytes()[..], &content(&table)].concat());
        }
    }
    all
}

/// The model as a store has it.
fn stored(model: &dyn Model) -> Tables {
    Tables::of(model.tables())
}

/// Every score and rating of a model, bit for bit, for users and items beyond those that it knows.
fn answers(model: &dyn Scorer) -> Vec<u32> {
    let mut all = Vec::new();
    let mut scores = [0.0; 258];
    for user in 0..258 {
        model.score(user, &mut scores);
        all.extend(scores.iter().map(|score| score.to_bits()));
        all.extend(model.rating(user, 257 - user).map(f32::to_bits));
    }
    all
}

proptest! {
    #[test]
    fn any_cutting_into_batches_gives_the_bit_identical_model(
        kinds in kinds(), stream in stream(), sizes in proptest::collection::vec(1..40_usize, 1..20),
    ) {
        let mut whole = recommender(kinds);
        let expected: Vec<Outcome> = whole.learn(&batch(&stream)).unwrap();
        let mut cut = recommender(kinds);
        let (mut rest, mut outcomes) = (stream.as_slice(), Vec::new());
        for size in sizes.iter().cycle() {
            if rest.is_empty() { break; }
            let (now, later) = rest.split_at((*size).min(rest.len()));
            outcomes.extend(cut.learn(&batch(now)).unwrap());
            // A publish between batches must not reach the numbers either.
            if size % 2 == 0 { cut.publish(); }
            rest = later;
        }
        prop_assert_eq!(outcomes, expected);
        prop_assert_eq!(bytes(&cut.publish()), bytes(&whole.publish()));
    }

    #[test]
    fn a_resumed_recommender_goes_on_as_if_it_had_never_stopped(
        kinds in kinds(), stream in stream(), at in 0..300_usize,
    ) {
        let (before, after) = stream.split_at(at.min(stream.len()));
        let mut straight = recommender(kinds);
        straight.learn(&batch(before)).unwrap();
        let mut resumed = Recommender::resume(&config(kinds), straight.publish());
        straight.learn(&batch(after)).unwrap();
        resumed.learn(&batch(after)).unwrap();
        prop_assert_eq!(bytes(&resumed.publish()), bytes(&straight.publish()));
    }

    #[test]
    fn a_model_scores_alike_for_its_learner_for_readers_and_from_a_store(
        kind in prop::sample::select([&RATING[..], &RANKING].concat()), stream in stream(),
    ) {
        let config = config((LearnerKind::BiasedMf, kind));
        let mut recommender = Recommender::new(&config).unwrap();
        recommender.learn(&batch(&stream)).unwrap();
        let state = recommender.publish();
        let model = state.ranking();
        let expected = answers(model);
        prop_assert!(expected.iter().all(|bits| f32::from_bits(*bits).is_finite()));
        prop_assert_eq!(&answers(&*model.thaw()), &expected);
        let restored = restore(kind, &config, &model.scalars(), &mut stored(model)).unwrap();
        prop_assert_eq!(answers(&*restored), expected);
    }

    #[test]
    fn no_parameters_make_a_model_infinite(
        stream in stream(), rate in 0.0..=1.0, l2 in 0.0..=10.0, scale in 0.0..=10.0,
    ) {
        let mut wild = config((LearnerKind::BiasedMf, LearnerKind::Biases));
        (wild.biased_mf.bias_rate, wild.biased_mf.factor_rate, wild.biases.rate) = (rate, rate, rate);
        (wild.biased_mf.bias_l2, wild.biased_mf.factor_l2, wild.biased_mf.init_scale) = (l2, l2, scale);
        wild.biases.l2 = l2;
        let mut recommender = Recommender::new(&wild).unwrap();
        let outcomes = recommender.learn(&batch(&stream)).unwrap();
        prop_assert!(outcomes.iter().all(|outcome| (1.0..=5.0).contains(&outcome.predicted)));
        let state = recommender.publish();
        for model in [&*state.rating, state.ranking()] {
            prop_assert!(answers(model).iter().all(|bits| f32::from_bits(*bits).is_finite()));
        }
    }
}

/// Extreme and ordinary values of every field that an event may have.
fn extreme() -> impl Strategy<Value = Vec<Observation>> {
    let event = (
        0..6_u32,
        0..9_u32,
        prop::sample::select(vec![1.0_f32, 3.0, 5.0]),
        prop::sample::select(vec![1.0_f32, f32::MIN_POSITIVE, 1e9, f32::MAX]),
        prop::option::of(prop::sample::select(vec![0_i64, 1, -62_135_596_800_000, 253_402_300_799_999])),
        prop::option::of((any::<u64>(), prop::option::of(any::<i32>()))),
    );
    let observation = |(user, item, target, count, ts, about): (_, _, _, _, _, Option<_>)| {
        let about = about.map(|(genres, year)| about::About { genres, year });
        Observation { user, item, target, positive: target >= 4.0, count, ts, about }
    };
    proptest::collection::vec(event.prop_map(observation), 0..400)
}

proptest! {
    /// Where steps are compiled for other instructions, and rows asked for ahead, no bit may tell.
    #[test]
    fn events_together_are_learned_as_one_after_the_other(
        kind in prop::sample::select([&RATING[..], &RANKING].concat()),
        events in extreme(), factors in 1..70_usize, together in 1..60_usize,
    ) {
        let mut config = config((kind, kind));
        config.biased_mf.factors = factors;
        let [mut one, mut all] = [(); 2].map(|()| build(kind, &config).unwrap());
        for events in events.chunks(together) {
            let predicted: Vec<_> = events.iter().map(|event| one.learn(event).map(f32::to_bits)).collect();
            prop_assert_eq!(all.learn_all(events).into_iter().map(|rating| rating.map(f32::to_bits)).collect::<Vec<_>>(), predicted);
            // What readers have too is found as well.
            all.publish();
        }
        prop_assert_eq!(answers(&*one), answers(&*all));
    }

    #[test]
    fn nothing_that_is_not_finite_enters_a_model_whatever_comes(
        kind in prop::sample::select([&RATING[..], &RANKING].concat()), events in extreme(),
    ) {
        let mut learner = build(kind, &config((kind, kind))).unwrap();
        for event in &events {
            prop_assert!(learner.learn(event).is_none_or(f32::is_finite));
        }
        prop_assert!(answers(&*learner).iter().all(|bits| f32::from_bits(*bits).is_finite()));
        // What is stored is refused where a float in it is not finite.
        let model = learner.publish();
        let restored = restore(kind, &config((kind, kind)), &model.scalars(), &mut stored(&*model));
        prop_assert!(restored.is_ok());
    }
}

const FACTORS: (LearnerKind, LearnerKind) = (LearnerKind::BiasedMf, LearnerKind::ItemKnn);

#[test]
fn a_prediction_is_made_before_its_event_is_learned() {
    let mut recommender = recommender(FACTORS);
    let outcomes = recommender.learn(&batch(&[(1, 1, 5.0), (2, 2, 5.0)])).unwrap();
    assert_eq!(outcomes[0].predicted, 1.0, "nothing is known: the mean is 0, clamped to 1");
    assert!((outcomes[1].predicted - 5.0).abs() < 0.1, "the mean is 5 now, and the user and item are new");
}

#[test]
fn rehearsal_changes_rows_but_counts_nothing() {
    let mut recommender = recommender(FACTORS);
    recommender.learn(&batch(&[(1, 1, 5.0), (1, 2, 1.0)])).unwrap();
    let before = recommender.publish();
    let rehearsal = batch(&[(1, 1, 5.0)]).events;
    recommender.learn(&MicroBatch { rehearsal, ..MicroBatch::default() }).unwrap();
    let after = recommender.publish();
    assert_eq!(after.prequential, before.prequential);
    assert_ne!(after.rating.rating(0, 0), before.rating.rating(0, 0));
    assert_eq!(answers(after.ranking()), answers(before.ranking()), "neighbours count each event once");
}

#[test]
fn several_events_of_one_user_in_one_batch_all_count() {
    let mut recommender = recommender(FACTORS);
    recommender.learn(&batch(&[(1, 1, 5.0), (1, 2, 5.0), (1, 3, 5.0), (2, 1, 4.0)])).unwrap();
    let mut scores = [0.0; 3];
    recommender.publish().ranking().score(1, &mut scores);
    assert!(scores[1] > 0.0 && scores[2] > 0.0, "items 2 and 3 were chosen beside item 1: {scores:?}");
}

#[test]
fn a_learner_that_predicts_no_ratings_is_refused_for_ratings() {
    let error = Recommender::new(&config((LearnerKind::ItemKnn, LearnerKind::ItemKnn))).unwrap_err().to_string();
    assert!(error.contains("item-knn") && error.contains("biased-mf"), "{error}");
}

#[test]
fn a_count_maps_into_the_rating_range_and_grows() {
    let range = params::RatingRange::of(&Config::default().decode);
    let at = |count| target(None, count, range);
    let levels = [at(Some(1.0)), at(Some(10.0)), at(Some(1e3)), at(Some(f32::MAX))];
    assert!(levels.is_sorted() && levels[0] > 1.0 && levels[3] < 5.0, "{levels:?}");
    assert_eq!(at(None), at(Some(1.0)));
}

#[test]
fn a_data_set_is_fitted_and_predicted_by_linfas_traits() {
    let config = config(FACTORS);
    let range = params::RatingRange::of(&config.decode);
    let event =
        |(user, item)| Observation { user, item, target: 0.0, positive: true, count: 1.0, ts: None, about: None };
    let records = Observations([(0, 0), (1, 0), (0, 1)].map(event).to_vec());
    let dataset = DatasetBase::new(records, Array1::from(vec![5.0, 1.0, 4.0]));
    let learner = build(LearnerKind::BiasedMf, &config).unwrap();
    let Learned { learner, .. } = range.fit_with(learner, &dataset).unwrap();
    let predicted = Predictor { model: &*learner, range }.predict(&dataset);
    let one_by_one = |event: &Observation| range.clamp(learner.rating(event.user, event.item).unwrap());
    assert_eq!(predicted.to_vec(), dataset.records.0.iter().map(one_by_one).collect::<Vec<_>>());
    assert!(predicted[0] > predicted[1], "user 0 likes what user 1 does not");
    let short = DatasetBase::new(Observations(vec![event((0, 0))]), Array1::zeros(2));
    assert!(matches!(range.fit_with(learner, &short), Err(LearnError::Length { events: 1, targets: 2 })));
}
