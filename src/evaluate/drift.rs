//! What a detector of drift finds in a stream that drift was injected into, and what learning faster is worth then.
//!
//! Apart from the plain run, because here what is learned depends on what the detector says, event by event, as in the engine.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::contenders::Contender;
use super::error::EvaluateError;
use super::rating::error;
use super::run::{Run, Step, bytes};
use super::stream::Stream;
use crate::learn::drift::Drift;
use crate::learn::intervals::{Intervals, UserErrors};
use crate::learn::losses::Losses;
use crate::learn::params::RatingRange;

/// Events before the drift, and from there on, that the errors beside it are of.
pub const BESIDE: usize = 5_000;

/// Events between two looks of the progress bar.
const CHUNK: usize = 4_096;

/// What one learner, and the detector on its losses, made of the drift.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DriftResult {
    /// By how much faster it learned after a detection.
    pub boost: f64,
    /// For how many events.
    pub boost_events: u64,
    /// Detections before the drift.
    pub alarms_before: u64,
    /// Events of the drift up to its detection, the one that it was detected at included; null where it was not.
    pub delay: Option<u64>,
    /// Every detection, by the number of its event, from 1.
    pub detections: Vec<u64>,
    /// RMSE over the [`BESIDE`] events before the drift.
    pub rmse_before: Option<f64>,
    /// RMSE over the first [`BESIDE`] events of the drift.
    pub rmse_after: Option<f64>,
}

impl DriftResult {
    pub(super) fn new(contender: &Contender, from: u64, run: &Run, detections: Vec<u64>) -> Self {
        let start = usize::try_from(from - 1).unwrap_or(usize::MAX).min(run.outcomes.len());
        let (before, after) = run.outcomes.split_at(start);
        Self {
            boost: contender.config.drift.boost,
            boost_events: contender.config.drift.boost_events,
            alarms_before: detections.iter().filter(|at| **at < from).count() as u64,
            delay: detections.iter().find(|at| **at >= from).map(|at| at - from + 1),
            detections,
            rmse_before: rmse(&before[before.len().saturating_sub(BESIDE)..]),
            rmse_after: rmse(&after[..after.len().min(BESIDE)]),
        }
    }
}

fn rmse(errors: &[f64]) -> Option<f64> {
    let sum: f64 = errors.iter().map(|error| error * error).sum();
    (!errors.is_empty()).then(|| (sum / errors.len() as f64).sqrt())
}

/// Runs one learner over the stream as [`super::rating::run`] does, watched as the engine watches; also returns the
/// detections.
pub(super) fn run(
    stream: &Stream,
    contender: &Contender,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<(Run, Vec<u64>), EvaluateError> {
    let mut learner = contender.build()?;
    let range = RatingRange::of(&contender.config.decode);
    let mut losses =
        Losses::new(&contender.config.drift, Intervals::default(), UserErrors::default(), Drift::default());
    let (mut outcomes, mut detections) = (Vec::with_capacity(stream.events.len()), Vec::new());
    let (mut learning, mut non_finite) = (Duration::ZERO, 0);
    for (chunk, events) in stream.events.chunks(CHUNK).enumerate() {
        let start = Instant::now();
        for (event, seq) in events.iter().zip((chunk * CHUNK) as u64 + 1..) {
            let predicted = learner.learn(event).unwrap_or(f32::NAN);
            non_finite += u64::from(!predicted.is_finite());
            outcomes.push(error(predicted, event, range));
            if losses.record(event, range.clamp(predicted), seq, range) {
                detections.push(seq);
            }
            losses.hasten(&mut *learner);
        }
        learning += start.elapsed();
        progress(Step::Events(events.len() as u64));
    }
    let bytes = bytes(&*learner.publish());
    Ok((Run { outcomes, learning, scoring: None, listed: None, non_finite, bytes }, detections))
}

#[cfg(test)]
mod tests {
    use crate::capture::Interaction;
    use crate::config::{Config, LearnerKind};
    use crate::decode::testing::event;
    use crate::evaluate::testing::{dataset, rated, request};
    use crate::evaluate::{Evaluation, Order, Protocol, Request, evaluate};
    use crate::gather::MicroBatch;
    use crate::learn::Recommender;

    /// Ratings of 30 users for 40 items, every other of which is good.
    fn rows() -> Vec<Interaction> {
        let row = |n: u32| {
            let mixed = n.wrapping_mul(2_654_435_761);
            let (user, item) = ((mixed >> 20) % 30, (mixed >> 8) % 40);
            rated(&format!("u{user}"), &format!("i{item}"), if item % 2 == 0 { 5.0 } else { 2.0 })
        };
        (0..6_000).map(row).collect()
    }

    fn evaluated(inject: Option<&str>, config: &Config) -> Evaluation {
        let learners = vec![LearnerKind::BiasedMf];
        let inject = inject.map(|text| text.parse().unwrap());
        let request =
            Request { learners, baselines: false, order: Some(Order::File), inject, ..request(Protocol::Rating) };
        evaluate(dataset(rows()), &request, config, &mut |_| ()).unwrap()
    }

    #[test]
    fn without_drift_it_is_the_plain_run() {
        let config = Config::default();
        let (plain, watched) = (evaluated(None, &config), evaluated(Some("drift=0@4000"), &config));
        assert_eq!(plain.learners[0].all.metrics, watched.learners[0].all.metrics);
        assert_eq!((plain.learners[0].drift.as_ref(), plain.drift_from), (None, None));
        let drift = watched.learners[0].drift.as_ref().unwrap();
        assert_eq!((drift.alarms_before, drift.delay, watched.drift_from), (0, None, Some(4_000)));
    }

    #[test]
    fn the_detector_finds_what_it_finds_in_the_engine_with_and_without_a_boost() {
        let mut config = Config::default();
        (config.learn.rating, config.learn.ranking) = (LearnerKind::BiasedMf, LearnerKind::Popularity);
        (config.drift.boost, config.drift.boost_events) = (3.0, 500);
        let found = evaluated(Some("drift=1@4001"), &config);
        let names: Vec<_> = found.learners.iter().map(|learner| learner.name.as_str()).collect();
        assert_eq!(names, ["biased-mf", "biased-mf boosted"]);
        for (learner, boost) in found.learners.iter().zip([1.0, 3.0]) {
            config.drift.boost = boost;
            let mut recommender = Recommender::new(&config).unwrap();
            let turned = |(row, n): (Interaction, u32)| {
                let rating = row.rating.unwrap_or_default();
                event(row.user, row.item, if n > 4_000 { 6.0 - rating } else { rating })
            };
            let events = rows().into_iter().zip(1..).map(turned).collect();
            recommender.learn(&MicroBatch { first_seq: 1, events, ..MicroBatch::default() }).unwrap();
            let state = recommender.publish();
            let drift = learner.drift.as_ref().unwrap();
            assert_eq!((drift.boost, &drift.detections[..]), (boost, state.drift.marks()), "{}", learner.name);
            assert!(drift.delay.is_some_and(|delay| delay < 600) && drift.alarms_before == 0, "{drift:?}");
            let rmse = learner.all.metrics[&crate::evaluate::Metric::Rmse].value;
            assert!((rmse - state.prequential.rmse()).abs() < 1e-9, "{}", learner.name);
        }
        let after: Vec<_> = found.learners.iter().map(|learner| learner.drift.as_ref().unwrap().rmse_after).collect();
        assert!(after[1] < after[0], "{after:?}");
    }
}
