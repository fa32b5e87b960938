//! Evaluates learners test-then-learn over a data set: every event is first predicted or ranked, then learned.
//!
//! In: a [`Dataset`], a [`Request`], a configuration. Out: an [`Evaluation`], with figures, intervals, segments and
//! curves for each learner. Guarantees: one pass, no look-ahead, nothing skipped; all learners are asked the same
//! questions about the same events; no figure but the rates depends on the machine. The protocols, in short:
//!
//! * **rating** (A on ML-100k): each rating is predicted, clamped to the range, and learned. Errors of all events count.
//! * **top-N** (C on ML-100k, L on LastFM): the stream is the positive events. The event's item is ranked among all items
//!   known from earlier events that its user has not seen; equal scores rank by earlier first appearance, a score that
//!   is not finite ranks last. A user's first event asks nothing; an item not known yet is a miss. Full catalogue, no
//!   sampled candidates.
//! * **top-N, all ratings** (C+ on ML-100k): the same events are judged, but learners see ratings that are not positive
//!   too, and such items count as seen.

mod contenders;
mod curve;
mod drift;
mod error;
mod figures;
mod interval;
mod long;
mod metric;
mod order;
mod plot;
mod rank;
mod rating;
mod result;
mod run;
mod segments;
mod stream;
mod topn;

use crate::capture::Dataset;
use crate::capture::inject::Injection;
use crate::config::{Config, LearnerKind};

use contenders::contenders;
pub use curve::Curve;
pub use drift::{BESIDE, DriftResult};
pub use error::EvaluateError;
use figures::Judged;
pub use interval::Estimate;
pub use long::to_csv;
pub use metric::Metric;
pub use order::Order;
pub use plot::to_html;
pub use result::{Evaluation, Figures, LearnerResult, SegmentResult};
pub use run::Step;
pub use segments::SEGMENTATIONS;
use stream::Stream;
use topn::{Plan, Question};

/// What learners are asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// To predict each rating.
    Rating,
    /// To rank each positive event's item among all that the user has not seen.
    Topn,
}

/// What is to be evaluated, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// What learners are asked.
    pub protocol: Protocol,
    /// Under the top-N protocol: whether learners see ratings that are not positive too.
    pub all_ratings: bool,
    /// The order of the stream; without one, a set known by name comes as its reader orders it, and any other must be
    /// in the order of time.
    pub order: Option<Order>,
    /// Most rows of the stream.
    pub limit: Option<u64>,
    /// Learners that stand first; without any, the configured one does.
    pub learners: Vec<LearnerKind>,
    /// Whether the baselines are set beside them.
    pub baselines: bool,
    /// Under the rating protocol: drift that is injected into the stream, which learners are then watched on, each with and
    /// without `drift.boost` if that is above 1.
    pub inject: Option<Injection>,
    /// Numbers of trainers that each learner whose items add up is also measured with.
    pub trainers: Vec<usize>,
    /// Events of anybody between two exchanges of what several trainers have added to items.
    pub share_events: u64,
}

/// Evaluates learners on a data set; `progress` is told how far it is.
///
/// # Errors
/// If the data set or a learner is not what the protocol needs; the error says which row, and what is allowed.
pub fn evaluate(
    dataset: Dataset,
    request: &Request,
    config: &Config,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Evaluation, EvaluateError> {
    let contenders = contenders(request, config)?;
    let stream = Stream::read(dataset, request, config)?;
    let plan = (request.protocol == Protocol::Topn).then(|| Plan::new(&stream));
    let judged = Judged::new(request.protocol, &stream, plan.as_ref())?;
    let mut evaluation = Evaluation::new(&stream, plan.as_ref(), &judged, request, config);
    let mut first = None;
    for (contender, number) in contenders.iter().zip(1..) {
        let (of, events) = (contenders.len(), stream.events.len() as u64);
        progress(Step::Learner { name: &contender.name, number, of, events });
        let (run, detections) = match (&plan, stream.drift_from) {
            (Some(plan), _) => (topn::run(&stream, plan, contender, progress)?, None),
            (None, None) => (rating::run(&stream, contender, progress)?, None),
            (None, Some(from)) => {
                let (run, detections) = drift::run(&stream, contender, progress)?;
                (run, Some((from, detections)))
            }
        };
        let drift = detections.map(|(from, detections)| DriftResult::new(contender, from, &run, detections));
        evaluation.learners.push(LearnerResult { drift, ..judged.result(contender, &run, first.as_deref()) });
        first.get_or_insert(run.outcomes);
    }
    Ok(evaluation)
}

/// What the tests of this folder evaluate.
#[cfg(test)]
pub(crate) mod testing {
    use super::{Protocol, Request};
    use crate::capture::{Dataset, Interaction};

    /// A row without a time.
    pub(crate) fn row(user: &str, item: &str, rating: Option<f32>) -> Interaction {
        Interaction { user: user.to_owned(), item: item.to_owned(), rating, ..Interaction::default() }
    }

    /// A row with a rating.
    pub(crate) fn rated(user: &str, item: &str, rating: f32) -> Interaction {
        row(user, item, Some(rating))
    }

    /// A data set of the user's own.
    pub(crate) fn dataset(rows: Vec<Interaction>) -> Dataset {
        Dataset {
            name: "made-up".to_owned(),
            origin: "made-up.csv".to_owned(),
            known: false,
            items: Vec::new(),
            users: Vec::new(),
            n_rows: None,
            about_rows: None,
            rows: Box::new(rows.into_iter().map(Ok)),
        }
    }

    /// As the command asks without flags.
    pub(crate) fn request(protocol: Protocol) -> Request {
        Request {
            protocol,
            all_ratings: false,
            order: None,
            limit: None,
            learners: Vec::new(),
            baselines: true,
            inject: None,
            trainers: Vec::new(),
            share_events: 1000,
        }
    }
}

#[cfg(test)]
mod tests;
