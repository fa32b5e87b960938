//! Prequential top-N, protocols C, C+ and L: each event's item is ranked among all the user has not seen, then learned.
//!
//! What is asked at each event depends on the stream alone, so that it is planned once for all learners.

use std::time::{Duration, Instant};

use roaring::RoaringBitmap;

use super::contenders::Contender;
use super::error::EvaluateError;
use super::rank::{LAST, rank, settle};
use super::run::{Run, Step, bytes};
use super::stream::Stream;
use crate::learn::{Observation, Scorer};
use crate::publish::{Scored, top_n};

/// Length of the lists that coverage is of.
const LIST: usize = 10;

/// Events between two reports of progress.
const REPORT: usize = 512;

/// What is asked at an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Question {
    /// Nothing: it does not speak for the item.
    Negative,
    /// Nothing: the user has no earlier positive event.
    ColdUser,
    /// Nothing: the user has seen the item, so that it is no candidate.
    Repeat,
    /// The item has no earlier positive event: a miss, whatever the scores are.
    UnknownItem,
    /// The rank of the item.
    Rank,
}

impl Question {
    /// Whether the event is in the denominator.
    pub(super) fn is_judged(self) -> bool {
        matches!(self, Self::UnknownItem | Self::Rank)
    }
}

/// What is asked at each event of a stream.
#[derive(Debug)]
pub(super) struct Plan {
    /// One for each event.
    pub(super) questions: Vec<Question>,
    /// Number of items with a positive event.
    pub(super) known_items: u64,
}

impl Plan {
    /// What is asked at each event.
    pub(super) fn new(stream: &Stream) -> Self {
        let mut seen = vec![RoaringBitmap::new(); stream.users];
        let (mut users, mut items) = (vec![false; stream.users], vec![false; stream.items]);
        let ask = |event: &Observation| {
            let (user, item) = (event.user as usize, event.item as usize);
            let question = match event {
                event if !event.positive => Question::Negative,
                _ if !users[user] => Question::ColdUser,
                _ if seen[user].contains(event.item) => Question::Repeat,
                _ if !items[item] => Question::UnknownItem,
                _ => Question::Rank,
            };
            seen[user].insert(event.item);
            users[user] |= event.positive;
            items[item] |= event.positive;
            question
        };
        let questions = stream.events.iter().map(ask).collect();
        Self { questions, known_items: items.iter().filter(|known| **known).count() as u64 }
    }

    /// How often something is asked.
    pub(super) fn count(&self, question: Question) -> u64 {
        self.questions.iter().filter(|asked| **asked == question).count() as u64
    }
}

/// The state of the stream before an event, and the lists so far.
struct Candidates {
    /// Items that have appeared at all: the learner may score those.
    present: usize,
    /// Whether an item has had a positive event.
    known: Vec<bool>,
    /// Items that have appeared and are not known.
    unknown: Vec<u32>,
    /// Items that a user has seen, each once.
    seen: Vec<Vec<u32>>,
    /// Scores of the items, reused.
    scores: Vec<f32>,
    /// Items that were in some list.
    listed: RoaringBitmap,
    /// Scores that were not finite.
    non_finite: u64,
}

impl Candidates {
    fn new(stream: &Stream) -> Self {
        Self {
            present: 0,
            known: vec![false; stream.items],
            unknown: Vec::new(),
            seen: vec![Vec::new(); stream.users],
            scores: vec![0.0; stream.items],
            listed: RoaringBitmap::new(),
            non_finite: 0,
        }
    }

    /// Scores and ranks the candidates; the rank of the event's item, 0 where it is not known.
    fn judge(&mut self, learner: &dyn Scorer, event: &Observation, question: Question) -> f64 {
        self.score(learner, event.user);
        let best = self.best();
        self.listed.extend(best.iter().map(|best| best.item));
        let seen = &self.seen[event.user as usize];
        let excluded = self.unknown.len() + seen.iter().filter(|item| self.known[**item as usize]).count();
        let scores = &self.scores[..self.present];
        if question == Question::Rank { rank(scores, event.item, self.present - excluded) as f64 } else { 0.0 }
    }

    /// Scores every item for a user; those that are no candidates, or not scored by a finite number, stand last.
    fn score(&mut self, learner: &dyn Scorer, user: u32) {
        let scores = &mut self.scores[..self.present];
        learner.score(user, scores);
        self.non_finite += settle(scores);
        self.seen[user as usize].iter().chain(&self.unknown).for_each(|item| scores[*item as usize] = LAST);
    }

    /// The list that the scores make, as those that are served are made: by the same code.
    fn best(&self) -> Vec<Scored> {
        let left = self.scores[..self.present].iter().zip(0..).filter(|(score, _)| **score > LAST);
        top_n(left.map(|(score, item)| Scored { item, score: *score }), LIST)
    }

    fn observe(&mut self, event: &Observation) {
        let item = event.item as usize;
        let is_new = item >= self.present;
        self.present = self.present.max(item + 1);
        if event.positive && !self.known[item] {
            self.known[item] = true;
            self.unknown.retain(|other| *other != event.item);
        } else if is_new {
            self.unknown.push(event.item);
        }
        let seen = &mut self.seen[event.user as usize];
        if !seen.contains(&event.item) {
            seen.push(event.item);
        }
    }
}

/// Runs one learner over the stream; an outcome is the rank of a judged event's item, 0 for one that is not known.
pub(super) fn run(
    stream: &Stream,
    plan: &Plan,
    contender: &Contender,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Run, EvaluateError> {
    let mut learner = contender.build()?;
    let mut candidates = Candidates::new(stream);
    let mut outcomes = Vec::new();
    let (mut learning, mut scoring) = (Duration::ZERO, Duration::ZERO);
    for (events, questions) in stream.events.chunks(REPORT).zip(plan.questions.chunks(REPORT)) {
        for (event, question) in events.iter().zip(questions) {
            let start = Instant::now();
            if question.is_judged() {
                outcomes.push(candidates.judge(&*learner, event, *question));
            }
            let judged = Instant::now();
            learner.learn(event);
            learning += judged.elapsed();
            scoring += judged - start;
            candidates.observe(event);
        }
        progress(Step::Events(events.len() as u64));
    }
    let (listed, non_finite) = (Some(candidates.listed.len()), candidates.non_finite);
    let bytes = bytes(&*learner.publish());
    Ok(Run { outcomes, learning, scoring: Some(scoring), listed, non_finite, bytes })
}

#[cfg(test)]
mod tests;
