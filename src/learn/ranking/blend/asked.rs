//! One user before all candidates: what every scoring for a reader begins with.
//!
//! Apart from the model, because a reader may ask for more than the scores that are served: those of items that the user
//! has seen, or those without one of the user's visits. They are on the scales of what is served, and never change it.

use super::Blend;
use super::columns::{Columns, OF_PAIRS, Row, SEQUENCE, factors, of_sum, recencies};
use super::history::{Visit, stage};
use super::pairs::WEIGHTS;
use super::weights;
use crate::learn::Attribution;
use crate::learn::tables::Storage;

/// A user, the candidates, and their columns.
pub(super) struct Asked<'m, S: Storage> {
    model: &'m Blend<S>,
    user: u32,
    /// What is remembered of the user, the newest visit first.
    history: Vec<Visit>,
    /// Whether the user has seen each item, shape `(n_items,)`.
    seen: Vec<bool>,
    stage: usize,
    weights: Row,
    columns: Columns,
}

impl<'m, S: Storage> Asked<'m, S> {
    /// A user before the items that may be chosen: known ones that are not remembered as seen.
    pub(super) fn of(model: &'m Blend<S>, user: u32) -> Self {
        let history: Vec<Visit> = model.history(user).collect();
        let mut seen = vec![false; model.counts.len()];
        for visit in &history {
            seen[visit.item as usize] = true;
        }
        let candidates: Vec<u32> = model.counts.known().filter(|item| !seen[*item as usize]).collect();
        let mut columns = Columns::default();
        columns.ask(model, user, &history, &candidates);
        let stage = stage(model.histories.events(user));
        Self { model, user, history, seen, stage, weights: model.scalars.weights.at(stage), columns }
    }

    /// Puts the items that the user has seen in the place of the candidates.
    pub(super) fn ask_seen(&mut self) {
        let seen: Vec<u32> = self.model.counts.known().filter(|item| self.seen[*item as usize]).collect();
        let recent = self.history.len().min(self.model.params.recent);
        self.columns.ask_again(self.model, self.user, &self.history[..recent].iter().map(Some), &seen);
    }

    /// Leaves the user's visit to an item out.
    pub(super) fn ask_without(&mut self, item: u32) {
        let candidates: Vec<u32> = self.model.counts.known().filter(|other| !self.seen[*other as usize]).collect();
        let recent = self.history.len().min(self.model.params.recent);
        let visits = self.history[..recent].iter().map(|visit| (visit.item != item).then_some(visit));
        self.columns.ask_again(self.model, self.user, &visits, &candidates);
    }

    /// What each of the visits that scores depend on adds to the score of an item, which is known.
    ///
    /// Visits reach a score by the logarithms of sums over pairs and by the sequence models. What they add to the latter is
    /// their own. What they add to a logarithm of a sum depends on which are in it already: it is the mean of that when they
    /// come in from the newest to the oldest, and from the oldest to the newest. That is the Shapley value (Shapley, "A
    /// value for n-person games", 1953) estimated from one permutation and its reverse, as Štrumbelj and Kononenko do from
    /// random ones ("Explaining prediction models and individual predictions with feature contributions", Knowledge and
    /// Information Systems 41, 2014). Each order adds up to the whole difference, and so does the mean.
    ///
    /// Held as they are: the scales of what is served, the user's vectors in the factorizations, his taste, his stage.
    pub(super) fn attribution(&mut self, item: u32) -> Attribution {
        self.columns.ask_again(self.model, self.user, &std::iter::empty(), &[item]);
        let mut base = 0.0;
        self.columns.each(self.model, self.stage, |_, row| base = weights::score(&self.weights, row));
        let visits = &self.history[..self.history.len().min(self.model.params.recent)];
        let mut shares = self.of_pairs(visits, item);
        for (sequence, weight) in self.model.sequences.iter().zip(&self.weights[SEQUENCE..]) {
            for (share, own) in shares.iter_mut().zip(sequence.shares(visits, item)) {
                *share += f64::from(weight * own);
            }
        }
        let parts = visits.iter().zip(shares).map(|(visit, share)| (visit.item, share as f32)).collect();
        Attribution { base, parts }
    }

    /// What each visit adds to the columns of pairs, weighted.
    fn of_pairs(&self, visits: &[Visit], item: u32) -> Vec<f64> {
        let Self { model, weights, columns, .. } = self;
        let added = |(visit, recency): (&Visit, [f32; OF_PAIRS])| {
            let row = model.pairs.row(visit.item);
            let Ok(at) = row.binary_search_by_key(&item, |pair| pair.item) else { return [0.0; OF_PAIRS] };
            let factors = factors(model, visit, &recency);
            std::array::from_fn(|column| factors[column] * row[at].weights[column % WEIGHTS])
        };
        let added: Vec<_> = visits.iter().zip(recencies(&model.settings.recency)).map(added).collect();
        let value = |sums: &[f32; OF_PAIRS]| -> f64 {
            let columns = sums.iter().zip(columns.scale()).zip(weights);
            columns.map(|((sum, scale), weight)| f64::from(weight * of_sum(*sum, *scale))).sum()
        };
        let mut shares = vec![0.0; visits.len()];
        for newest_first in [true, false] {
            let (mut sums, mut before) = ([0.0; OF_PAIRS], value(&[0.0; OF_PAIRS]));
            for at in 0..visits.len() {
                let at = if newest_first { at } else { visits.len() - 1 - at };
                sums.iter_mut().zip(&added[at]).for_each(|(sum, added)| *sum += added);
                let after = value(&sums);
                shares[at] += 0.5 * (after - before);
                before = after;
            }
        }
        shares
    }

    /// Overwrites the scores of the candidates.
    pub(super) fn score(&self, scores: &mut [f32]) {
        self.columns.each(self.model, self.stage, |item, row| {
            if let Some(score) = scores.get_mut(item as usize) {
                *score = weights::score(&self.weights, row);
            }
        });
    }
}
