//! What an evaluation found, as its JSON states it: these names are an interface.

use std::collections::BTreeMap;

use serde::Serialize;

use super::curve::{Curve, points, window};
use super::drift::DriftResult;
use super::figures::Judged;
use super::interval::Estimate;
use super::metric::Metric;
use super::stream::Stream;
use super::{Order, Plan, Protocol, Question, Request};
use crate::capture::Interaction;
use crate::capture::known::Known;
use crate::config::Config;
use crate::learn::params::Named;

/// What an evaluation found.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Name of the protocol: `A`, `C`, `C+` or `L` where it is exactly that, else a description.
    pub protocol: String,
    /// What learners were asked.
    pub kind: Protocol,
    /// Whether learners saw ratings that are not positive, under the top-N protocol.
    pub all_ratings: bool,
    /// Name of the data set.
    pub dataset: String,
    /// The order asked for; null for that of the data set's reader, or of time.
    pub order: Option<Order>,
    /// Drift that was injected, as the command has it; null for none.
    pub injected: Option<String>,
    /// The first event of the drift, from 1.
    pub drift_from: Option<u64>,
    /// Rows read.
    pub rows: u64,
    /// Events shown to learners.
    pub events: u64,
    /// Users among these events.
    pub users: u64,
    /// Items among these events.
    pub items: u64,
    /// Events judged: the denominator of every figure.
    pub evaluated: u64,
    /// Top-N: positive events by users without an earlier one, not judged.
    pub cold_users: u64,
    /// Top-N: positive events whose item the user had seen, not judged.
    pub repeats: u64,
    /// Top-N: judged events whose item was not known yet, each a miss.
    pub unknown_items: u64,
    /// The first events of the stream.
    pub first: Vec<Interaction>,
    /// The last event of the stream.
    pub last: Option<Interaction>,
    /// Where the curves have their points, in events of the stream.
    pub curve_events: Vec<usize>,
    /// Length of the curves' moving window, in events of the stream.
    pub curve_window: usize,
    /// One for each learner, in the order of the table.
    pub learners: Vec<LearnerResult>,
}

/// What one learner reached.
#[derive(Clone, Debug, Serialize)]
pub struct LearnerResult {
    /// Name, unique in the evaluation.
    pub name: String,
    /// The learner, as settings name it.
    pub kind: String,
    /// Everything that it depends on besides the events.
    pub parameters: Named,
    /// Over all judged events.
    pub all: Figures,
    /// Over those of the stream's second half.
    pub last_half: Figures,
    /// How much more each figure is than the first learner's, by pairs of outcomes at the same events; empty for the
    /// first.
    pub difference: BTreeMap<Metric, Estimate>,
    /// Top-N: judged events whose item was among the best 10.
    pub hits_10: Option<u64>,
    /// Top-N: judged events whose item was among the best 20.
    pub hits_20: Option<u64>,
    /// Top-N: sum of the ranks, items that were not known counting 0.
    pub sum_of_ranks: Option<u64>,
    /// Top-N: share of the known items that were in some list of the best 10.
    pub coverage: Option<f64>,
    /// Predictions or scores that were not finite: each is an error of the learner.
    pub non_finite: u64,
    /// Events learned in a second, in one thread, the prediction of a rating included, ranking left out.
    pub learn_events_per_second: f64,
    /// Top-N: microseconds that scoring all items and ranking takes for one judged event.
    pub score_microseconds: Option<f64>,
    /// Bytes of the published model: its tables and scalars.
    pub memory_bytes: u64,
    /// Figures of each segment that has judged events.
    pub segments: Vec<SegmentResult>,
    /// Figures over the stream.
    pub curves: BTreeMap<Metric, Curve>,
    /// What it made of the drift; null where none was injected.
    pub drift: Option<DriftResult>,
}

/// Figures over some events.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Number of events.
    pub events: u64,
    /// The figures; empty without events.
    #[serde(flatten)]
    pub metrics: BTreeMap<Metric, Estimate>,
}

/// Figures of one segment.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentResult {
    /// What events are told apart by: `user_event` or `item_popularity`.
    pub by: &'static str,
    /// The segment.
    pub segment: &'static str,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
}

impl Evaluation {
    /// An evaluation without learners.
    pub(super) fn new(
        stream: &Stream,
        plan: Option<&Plan>,
        judged: &Judged,
        request: &Request,
        config: &Config,
    ) -> Self {
        let count = |question| plan.map_or(0, |plan| plan.count(question));
        Self {
            protocol: label(stream, request, config).to_owned(),
            kind: request.protocol,
            all_ratings: request.all_ratings,
            dataset: stream.name.clone(),
            order: request.order,
            injected: request.inject.map(|injection| injection.to_string()),
            drift_from: stream.drift_from,
            rows: stream.rows as u64,
            events: stream.events.len() as u64,
            users: stream.users as u64,
            items: stream.items as u64,
            evaluated: judged.positions.len() as u64,
            cold_users: count(Question::ColdUser),
            repeats: count(Question::Repeat),
            unknown_items: count(Question::UnknownItem),
            first: stream.first.clone(),
            last: stream.last.clone(),
            curve_events: points(stream.events.len()),
            curve_window: window(stream.events.len()),
            learners: Vec::new(),
        }
    }
}

/// A protocol's letter stands for one data set, whole, in one order, under the bounds it was defined with.
fn label(stream: &Stream, request: &Request, config: &Config) -> &'static str {
    let whole = stream.is_standard && Known::named(&stream.name).is_some_and(|known| known.rows == stream.rows as u64);
    let range = (config.decode.min_rating, config.decode.max_rating);
    let (five_stars, four_up) = (range == (1.0, 5.0), config.learn.positive_rating == 4.0);
    match (request.protocol, stream.name.as_str(), request.all_ratings) {
        (Protocol::Rating, "ml-100k", _) if whole && five_stars => "A",
        (Protocol::Topn, "ml-100k", false) if whole && four_up => "C",
        (Protocol::Topn, "ml-100k", true) if whole && four_up => "C+",
        (Protocol::Topn, "lastfm", false) if whole => "L",
        (Protocol::Rating, ..) => "prequential rating",
        (Protocol::Topn, _, false) => "prequential top-N",
        (Protocol::Topn, _, true) => "prequential top-N, all ratings",
    }
}
