//! What must hold for every stream: sequential equivalence, determinism, finite values, and a resumed learner that goes on
//! as if it had never stopped.

use linfa::ParamGuard;
use linfa::traits::Predict;
use proptest::prelude::*;

use super::model::Predictor;
use super::params::MfParams;
use super::*;
use crate::config::Config;
use crate::decode::testing;

fn params(change: impl FnOnce(&mut Config)) -> MfValidParams {
    let mut config = Config::default();
    config.learn.factors = 11;
    change(&mut config);
    MfParams::new(&config.learn, &config.decode).check().unwrap()
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

/// Every number of a learner, bit for bit.
fn bits(learner: &mut Learner) -> (Vec<u32>, String) {
    let state = learner.publish();
    let values = |blocks: &blocks::Shared<model::FactorBlock>| -> Vec<u32> {
        blocks.iter().flat_map(|b| b.factors.iter().chain(&b.biases).map(|v| v.to_bits()).collect::<Vec<_>>()).collect()
    };
    let mut all = values(&state.model.users);
    all.extend(values(&state.model.items));
    let rest = (state.model.mean, state.model.generator, state.prequential, state.users.names().clone());
    (all, format!("{rest:?}"))
}

proptest! {
    #[test]
    fn any_cutting_into_batches_gives_the_bit_identical_model(stream in stream(), sizes in proptest::collection::vec(1..40_usize, 1..20)) {
        let mut whole = Learner::new(params(|_| ()));
        let expected: Vec<Outcome> = whole.learn(&batch(&stream)).unwrap();
        let mut cut = Learner::new(params(|_| ()));
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
        prop_assert_eq!(bits(&mut cut), bits(&mut whole));
    }

    #[test]
    fn a_resumed_learner_goes_on_as_if_it_had_never_stopped(stream in stream(), at in 0..300_usize) {
        let (before, after) = stream.split_at(at.min(stream.len()));
        let mut straight = Learner::new(params(|_| ()));
        straight.learn(&batch(before)).unwrap();
        let mut resumed = Learner::resume(params(|_| ()), straight.publish());
        straight.learn(&batch(after)).unwrap();
        resumed.learn(&batch(after)).unwrap();
        prop_assert_eq!(bits(&mut resumed), bits(&mut straight));
    }

    #[test]
    fn no_parameters_make_the_model_infinite(
        stream in stream(), rate in 0.0f32..=1.0, l2 in 0.0f32..=10.0, scale in 0.0f32..=10.0,
    ) {
        let wild = params(|c| {
            (c.learn.bias_rate, c.learn.factor_rate) = (rate, rate);
            (c.learn.bias_l2, c.learn.factor_l2, c.learn.init_scale) = (l2, l2, scale);
        });
        let mut learner = Learner::new(wild);
        let outcomes = learner.learn(&batch(&stream)).unwrap();
        prop_assert!(outcomes.iter().all(|outcome| (1.0..=5.0).contains(&outcome.predicted)));
        prop_assert!(bits(&mut learner).0.iter().all(|bits| f32::from_bits(*bits).is_finite()));
    }
}

#[test]
fn a_prediction_is_made_before_its_event_is_learned() {
    let mut learner = Learner::new(params(|_| ()));
    let outcomes = learner.learn(&batch(&[(1, 1, 5.0), (2, 2, 5.0)])).unwrap();
    assert_eq!(outcomes[0].predicted, 1.0, "nothing is known: the mean is 0, clamped to 1");
    assert!((outcomes[1].predicted - 5.0).abs() < 0.1, "the mean is 5 now, and the user and item are new");
}

#[test]
fn rehearsal_changes_rows_but_counts_nothing() {
    let mut learner = Learner::new(params(|_| ()));
    learner.learn(&batch(&[(1, 1, 5.0), (1, 2, 1.0)])).unwrap();
    let before = learner.publish();
    let rehearsal = batch(&[(1, 1, 5.0)]).events;
    learner.learn(&MicroBatch { rehearsal, ..MicroBatch::default() }).unwrap();
    let after = learner.publish();
    assert_eq!((&after.prequential, after.model.mean), (&before.prequential, before.model.mean));
    assert_ne!(after.model.user(0), before.model.user(0));
}

#[test]
fn a_count_maps_into_the_rating_range_and_grows() {
    let range = params(|_| ()).range();
    let at = |count| target(&Event { rating: None, count, ..event((1, 1, 1.0)) }, range);
    let levels = [at(Some(1.0)), at(Some(10.0)), at(Some(1e3)), at(Some(f32::MAX))];
    assert!(levels.is_sorted() && levels[0] > 1.0 && levels[3] < 5.0, "{levels:?}");
    assert_eq!(at(None), at(Some(1.0)));
}

#[test]
fn unchecked_params_fit_through_linfas_blanket_impl_and_predict_agrees() {
    let config = Config::default();
    let unchecked = MfParams::new(&config.learn, &config.decode);
    let checked = unchecked.clone().check().unwrap();
    let dataset = DatasetBase::new(Pairs(vec![(0, 0), (1, 0), (0, 1)]), Array1::from(vec![5.0, 1.0, 4.0]));
    let Learned { model, .. } = unchecked.fit_with(FactorModel::new(&checked), &dataset).unwrap();
    let predicted = Predictor { model: &model, range: checked.range() }.predict(&dataset);
    let one_by_one: Vec<f32> = dataset.records.0.iter().map(|p| model.predict_one(*p, checked.range())).collect();
    assert_eq!(predicted.to_vec(), one_by_one);
    assert!(predicted[0] > predicted[1], "user 0 likes what user 1 does not");
    let short = DatasetBase::new(Pairs(vec![(0, 0)]), Array1::zeros(2));
    assert!(matches!(checked.fit_with(model, &short), Err(LearnError::Length { pairs: 1, targets: 2 })));
}
