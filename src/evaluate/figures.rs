//! From the outcomes of a run to the figures of a result.

use std::collections::BTreeMap;

use super::contenders::Contender;
use super::curve::{Curve, curve};
use super::error::EvaluateError;
use super::interval::{difference, estimate};
use super::metric::Metric;
use super::result::{Figures, LearnerResult, SegmentResult};
use super::run::Run;
use super::segments::{Segmentation, segmentations};
use super::stream::Stream;
use super::{Plan, Protocol};
use crate::learn::params::named;

/// The judged events of a stream, and what figures are told apart by.
pub(super) struct Judged {
    protocol: Protocol,
    /// Places in the stream, ascending.
    pub(super) positions: Vec<u32>,
    users: Vec<u32>,
    /// Number of judged events in the stream's first half.
    half: usize,
    events: usize,
    known_items: Option<u64>,
    segmentations: [Segmentation; 2],
}

impl Judged {
    /// The events that a protocol judges.
    ///
    /// # Errors
    /// If there are none.
    pub(super) fn new(protocol: Protocol, stream: &Stream, plan: Option<&Plan>) -> Result<Self, EvaluateError> {
        let events = stream.events.len();
        let is_judged = |at: &u32| plan.is_none_or(|plan| plan.questions[*at as usize].is_judged());
        let positions: Vec<u32> = (0..events as u32).filter(is_judged).collect();
        if positions.is_empty() {
            let found = format!("no event to rank among {events}");
            let needed = "a user's first positive event asks nothing, nor does one whose item the user has seen";
            return Err(EvaluateError::TooFew { name: stream.name.clone(), found, needed });
        }
        let users = positions.iter().map(|at| stream.events[*at as usize].user).collect();
        let half = positions.partition_point(|at| (*at as usize) < events / 2);
        let known_items = plan.map(|plan| plan.known_items);
        Ok(Self { protocol, positions, users, half, events, known_items, segmentations: segmentations(stream) })
    }

    /// The result of a run, compared to the outcomes of the first learner.
    pub(super) fn result(&self, contender: &Contender, run: &Run, first: Option<&[f64]>) -> LearnerResult {
        let events = self.events as f64;
        let mut own = contender.config.clone();
        (own.learn.rating, own.learn.ranking) = (contender.kind, contender.kind);
        let hits =
            |metric: Metric| self.ranked(|| run.outcomes.iter().map(|rank| metric.value(*rank)).sum::<f64>() as u64);
        let judged = self.positions.len() as f64;
        let coverage = self.known_items.zip(run.listed).map(|(known, listed)| listed as f64 / known.max(1) as f64);
        LearnerResult {
            name: contender.name.clone(),
            kind: contender.kind.name(),
            parameters: named(&own),
            all: self.figures(run, |_| true),
            last_half: self.figures(run, |at| at >= self.half),
            difference: first.map(|first| self.difference(first, run)).unwrap_or_default(),
            hits_10: hits(Metric::Hr10),
            hits_20: hits(Metric::Hr20),
            sum_of_ranks: self.ranked(|| run.outcomes.iter().sum::<f64>() as u64),
            coverage,
            non_finite: run.non_finite,
            learn_events_per_second: events / run.learning.as_secs_f64().max(f64::MIN_POSITIVE),
            score_microseconds: run.scoring.map(|scoring| scoring.as_secs_f64() * 1e6 / judged),
            memory_bytes: run.bytes,
            segments: self.segments(run),
            curves: self.curves(run),
            drift: None,
        }
    }

    fn ranked<T>(&self, value: impl FnOnce() -> T) -> Option<T> {
        (self.protocol == Protocol::Topn).then(value)
    }

    /// Every figure over the judged events whose index is chosen.
    fn figures(&self, run: &Run, chosen: impl Fn(usize) -> bool) -> Figures {
        let indexed = self.users.iter().zip(&run.outcomes).enumerate();
        let outcomes = indexed.filter(|(at, _)| chosen(*at)).map(|(_, (user, outcome))| (*user, *outcome));
        let outcomes: Vec<_> = outcomes.collect();
        let metrics = Metric::of(self.protocol).iter();
        let metrics = metrics.filter_map(|metric| Some((*metric, estimate(*metric, outcomes.iter().copied())?)));
        Figures { events: outcomes.len() as u64, metrics: metrics.collect() }
    }

    fn difference(&self, first: &[f64], run: &Run) -> BTreeMap<Metric, super::Estimate> {
        let outcomes = self.users.iter().zip(first.iter().zip(&run.outcomes));
        let outcomes = outcomes.map(|(user, (first, own))| (*user, *first, *own));
        let metrics = Metric::of(self.protocol).iter();
        metrics.filter_map(|metric| Some((*metric, difference(*metric, outcomes.clone())?))).collect()
    }

    fn segments(&self, run: &Run) -> Vec<SegmentResult> {
        let mut found = Vec::new();
        for Segmentation { name, labels, of } in &self.segmentations {
            for (label, index) in labels.iter().zip(0..) {
                let figures = self.figures(run, |at| of[self.positions[at] as usize] == index);
                if figures.events > 0 {
                    found.push(SegmentResult { by: name, segment: label, figures });
                }
            }
        }
        found
    }

    fn curves(&self, run: &Run) -> BTreeMap<Metric, Curve> {
        let followed = Metric::followed(self.protocol).iter();
        followed.map(|metric| (*metric, curve(*metric, self.events, &self.positions, &run.outcomes))).collect()
    }
}
