//! Prequential rating prediction, protocol A: each event is predicted, then learned, nothing is skipped.

use std::time::{Duration, Instant};

use super::contenders::Contender;
use super::error::EvaluateError;
use super::run::{Run, Step, bytes};
use super::stream::Stream;
use crate::learn::Observation;
use crate::learn::params::RatingRange;

/// Events between two readings of the clock, so that reading it costs the rate nothing.
const CHUNK: usize = 4096;

/// Runs one learner over the stream; an outcome is the error of a prediction that is clamped to the range.
pub(super) fn run(
    stream: &Stream,
    contender: &Contender,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Run, EvaluateError> {
    let mut learner = contender.build()?;
    let range = RatingRange::of(&contender.config.decode);
    let mut outcomes = Vec::with_capacity(stream.events.len());
    let (mut learning, mut non_finite) = (Duration::ZERO, 0);
    for chunk in stream.events.chunks(CHUNK) {
        let start = Instant::now();
        let predicted = learner.learn_all(chunk);
        learning += start.elapsed();
        let predicted: Vec<f32> = predicted.into_iter().map(|rating| rating.unwrap_or(f32::NAN)).collect();
        non_finite += predicted.iter().filter(|predicted| !predicted.is_finite()).count() as u64;
        outcomes.extend(predicted.iter().zip(chunk).map(|(predicted, event)| error(*predicted, event, range)));
        progress(Step::Events(chunk.len() as u64));
    }
    let bytes = bytes(&*learner.publish());
    Ok(Run { outcomes, learning, scoring: None, listed: None, non_finite, bytes })
}

/// The error of a prediction that is clamped to the range.
pub(super) fn error(predicted: f32, event: &Observation, range: RatingRange) -> f64 {
    f64::from(range.clamp(predicted)) - f64::from(event.target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, LearnerKind};
    use crate::evaluate::contenders::contenders;
    use crate::evaluate::testing::{dataset, rated, request};
    use crate::evaluate::{Order, Protocol, Request};

    #[test]
    fn a_prediction_is_made_before_its_event_is_learned_and_clamped() {
        let rows = vec![rated("a", "x", 4.0), rated("b", "y", 2.0), rated("a", "y", 3.0)];
        let learners = vec![LearnerKind::RunningMean];
        let request = Request { learners, baselines: false, order: Some(Order::File), ..request(Protocol::Rating) };
        let config = Config::default();
        let stream = Stream::read(dataset(rows), &request, &config).unwrap();
        let contenders = contenders(&request, &config).unwrap();
        let mut events = 0;
        let mut count = |step: Step<'_>| {
            if let Step::Events(more) = step {
                events += more;
            }
        };
        let found = run(&stream, &contenders[0], &mut count).unwrap();
        // Before the first event the mean is 0, clamped to 1; then 4, then 3.
        assert_eq!((found.outcomes, found.non_finite, events), (vec![-3.0, 2.0, 0.0], 0, 3));
    }
}
