//! How the blend learns an event: the weights, the sequence models and the pairs, then the counts.
//!
//! Apart from the model, because only a learner has what it works in.

use std::sync::Arc;

use super::columns::{Columns, Row};
use super::history::{Visit, stage};
use super::math::ln;
use super::{Blend, draw, sequence, weights};
use crate::config::BlendConfig;
use crate::learn::away::UserRows;
use crate::learn::params::ValidParams;
use crate::learn::tables::Live;
use crate::learn::{Learner, Model, Observation, Scorer};

/// The model, and what learning works in. Nothing of the latter outlasts an event, except for what follows from the
/// model.
#[derive(Debug)]
pub struct BlendLearner {
    pub(super) model: Blend<Live>,
    /// Known items in the order of their first positive events: what samples are drawn from.
    known: Vec<u32>,
    /// Whether this event's user has seen each item, shape `(n_items,)`; its own item counts as seen.
    seen: Vec<bool>,
    /// Number of known items that are seen.
    seen_known: usize,
    /// What is remembered of the user, the newest visit first.
    history: Vec<Visit>,
    /// Items to learn among.
    items: Vec<u32>,
    columns: Columns,
    rows: Vec<Row>,
    scores: Vec<f32>,
    sequence: sequence::Work,
}

impl BlendLearner {
    /// A learner that has seen nothing.
    #[must_use]
    pub fn new(params: ValidParams<BlendConfig>) -> Self {
        Self::of(Blend::new(params))
    }

    pub(super) fn of(model: Blend<Live>) -> Self {
        Self {
            known: model.counts.known_in_order(),
            seen: vec![false; model.counts.len()],
            seen_known: 0,
            history: Vec::new(),
            items: Vec::new(),
            columns: Columns::default(),
            rows: Vec::new(),
            scores: Vec::new(),
            sequence: sequence::Work::default(),
            model,
        }
    }

    /// Gives the item its rows.
    fn grow_to(&mut self, item: u32) {
        let Blend { counts, factors, sequences, scalars, .. } = &mut self.model;
        counts.grow_to(item);
        factors.grow_to(item, &mut scalars.grams, &mut scalars.generator);
        for sequence in sequences {
            sequence.grow_to(item, &mut scalars.generator);
        }
        self.seen.resize(counts.len(), false);
    }

    /// Takes up what the user did before; whether that includes this event's item, which is left out of it then.
    fn look_back(&mut self, event: &Observation) -> bool {
        self.history.clear();
        self.history.extend(self.model.history(event.user));
        let at = self.history.iter().position(|visit| visit.item == event.item);
        if let Some(at) = at {
            self.history.remove(at);
        }
        let items = self.history.iter().map(|visit| visit.item).chain([event.item]);
        self.seen_known = 0;
        for item in items {
            self.seen[item as usize] = true;
            self.seen_known += usize::from(self.model.counts.is_known(item));
        }
        at.is_some()
    }

    fn forget(&mut self, event: &Observation) {
        self.seen[event.item as usize] = false;
        for visit in &self.history {
            self.seen[visit.item as usize] = false;
        }
    }

    /// Takes the items that this event's one is to be learned among: all known ones that the user has not seen, or
    /// where more than `most` are known, as many as that number of draws brings, each once. Returns the logarithm of
    /// how many each of them stands for.
    fn take_others(&mut self, most: usize) -> f32 {
        let Self { known, seen, items, .. } = self;
        items.clear();
        if known.len() <= most {
            items.extend(known.iter().copied().filter(|item| !seen[*item as usize]));
            return 0.0;
        }
        for _ in 0..most {
            let item = known[draw::below(&mut self.model.scalars.generator, known.len())];
            if !seen[item as usize] {
                seen[item as usize] = true;
                items.push(item);
            }
        }
        for item in items.iter() {
            seen[*item as usize] = false;
        }
        let others = known.len() - self.seen_known;
        ln(others.max(1) as f32 / items.len().max(1) as f32)
    }

    /// Whether the weights learn from the next choice: at first from every one, later from some.
    fn is_due(&self) -> bool {
        let positives = self.model.scalars.positives;
        let params = &self.model.params;
        positives < params.warm_up || positives.is_multiple_of(params.blend_every)
    }

    /// One step of the weights on the choice of the event's item among those that the user has not seen.
    fn learn_weights(&mut self, event: &Observation) {
        let correction = self.take_others(self.model.params.candidates);
        self.items.push(event.item);
        self.columns.ask(&self.model, event.user, &self.history, &self.items);
        let stage = stage(self.model.histories.events(event.user));
        let weights = self.model.scalars.weights.at(stage);
        let Self { rows, scores, .. } = self;
        rows.clear();
        scores.clear();
        self.columns.each(&self.model, stage, |_, row| {
            rows.push(*row);
            scores.push(weights::score(&weights, row) + correction);
        });
        if let Some(chosen) = scores.last_mut() {
            *chosen -= correction;
        }
        self.model.scalars.weights.step(stage, rows, scores, self.model.settings.blend_rate);
    }

    /// One step of each sequence model.
    fn learn_sequences(&mut self, event: &Observation) {
        for at in 0..self.model.sequences.len() {
            let correction = self.take_others(self.model.params.negatives);
            self.items.push(event.item);
            self.model.sequences[at].step(&self.history, &self.items, correction, &mut self.sequence);
        }
    }

    /// Counts the pairs of the event's item with the user's newest ones, in the rows of both.
    fn learn_pairs(&mut self, event: &Observation) {
        let Blend { pairs, params, settings, .. } = &mut self.model;
        let mut place = 1.0;
        for visit in self.history.iter().take(params.pairs) {
            let close = event.ts.zip(visit.ts).map_or(place, |(later, earlier)| {
                let apart = later.saturating_sub(earlier).max(0) as f32;
                1.0 / (1.0 + apart / settings.close_ms)
            });
            let together = if event.positive && visit.positive { 1.0 } else { 0.0 };
            let earlier = [together, place, 0.0, close];
            pairs.add(visit.item, event.item, &earlier, params.neighbours);
            let later = [together, 0.0, place, close];
            pairs.add(event.item, visit.item, &later, params.neighbours);
            place *= settings.per_place;
        }
    }

    /// What the user chooses, how he rates, and what he turns to.
    fn learn_tastes(&mut self, event: &Observation) {
        let Blend { params, histories, factors, ratings, profiles, scalars, .. } = &mut self.model;
        let range = params.range();
        // On one scale, whatever that of the ratings is: the rates of the factorization are for it.
        let target = 1.0 + 4.0 * (event.target - range.low()) / (range.high() - range.low());
        ratings.learn(&Observation { target, ..*event });
        profiles.add(event.user, event.item, event.positive, &mut scalars.shares);
        if event.positive {
            let mut history = histories.of(event.user).iter().rev().copied();
            if let Some(chosen) = history.next() {
                factors.step(event.user, chosen, history, &mut scalars.grams);
            }
        }
    }

    /// Counts the event, and puts it into the user's history.
    fn count(&mut self, event: &Observation) {
        let Observation { user, item, positive, ts, .. } = *event;
        let Blend { params, scalars, histories, counts, .. } = &mut self.model;
        let earlier = histories.events(user);
        if positive && !counts.is_known(item) {
            self.known.push(item);
        }
        counts.add(item, positive, earlier, scalars.positives);
        let visit = Visit { item, positive, ts, confidence: scalars.confidence(event) };
        histories.push(user, visit, params.history);
        if positive {
            scalars.by_stage[stage(earlier)] += 1;
            scalars.positives += 1;
        }
        scalars.events += 1;
    }
}

impl Scorer for BlendLearner {
    fn rating(&self, user: u32, item: u32) -> Option<f32> {
        self.model.rating(user, item)
    }

    fn score(&self, user: u32, scores: &mut [f32]) {
        self.model.score(user, scores);
    }

    fn score_with_seen(&self, user: u32, scores: &mut [f32]) {
        self.model.score_with_seen(user, scores);
    }
}

impl Learner for BlendLearner {
    /// An item that comes again moves to the newest end of the user's history and counts once more everywhere, except
    /// that the weights do not learn from it: what is recommended is always new to the user.
    fn learn(&mut self, event: &Observation) -> Option<f32> {
        self.grow_to(event.item);
        if let Some(about) = &event.about {
            self.model.profiles.tell(event.item, about);
        }
        let again = self.look_back(event);
        let known = self.model.counts.is_known(event.item);
        if !self.history.is_empty() {
            if event.positive && known && !again && self.is_due() {
                self.learn_weights(event);
            }
            if event.positive || known {
                self.learn_sequences(event);
            }
        }
        self.learn_pairs(event);
        self.forget(event);
        self.count(event);
        self.learn_tastes(event);
        None
    }

    fn user_rows(&mut self) -> Vec<(String, &mut dyn UserRows)> {
        let Blend { histories, factors, ratings, profiles, .. } = &mut self.model;
        let mut rows = ratings.user_rows();
        rows.extend([histories.user_rows(), factors.user_rows(), profiles.user_rows()]);
        rows
    }

    fn publish(&mut self) -> Arc<dyn Model> {
        Arc::new(self.model.publish())
    }
}
