//! Learns from each event in the one total order: predicts first, then updates.
//!
//! In: [`MicroBatch`]es. Out: what was predicted for each new event, and a model that has learned it. Guarantees:
//! learning is sequentially equivalent (cutting the same events into other count batches gives the bit-identical
//! model), the same events give the same model, and no value in the model is ever infinite or NaN.

pub mod blocks;
pub mod ids;
pub mod model;
pub mod params;
pub mod prequential;
mod sgd;

pub use sgd::dot;

use linfa::DatasetBase;
use linfa::traits::FitWith;
use ndarray::Array1;

use crate::decode::Event;
use crate::gather::MicroBatch;

use ids::{IdTable, Ids};
use model::{FactorModel, FactorTables, Learned, Pairs};
use params::{MfValidParams, RatingRange};
use prequential::Prequential;

/// What the learner made of one new event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Dense index of the user.
    pub user: u32,
    /// Dense index of the item.
    pub item: u32,
    /// Predicted before the event was learned, clamped to the rating range.
    pub predicted: f32,
}

/// Everything that learning has changed, shared with readers: cheap to clone, never to change.
#[derive(Clone, Debug, Default)]
pub struct LearnedState {
    /// Users by dense index.
    pub users: IdTable,
    /// Items by dense index.
    pub items: IdTable,
    /// Factors, biases, mean and generator.
    pub model: FactorTables,
    /// Test-then-learn figures.
    pub prequential: Prequential,
}

/// Why learning cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// A parameter is out of its range.
    #[error(transparent)]
    Params(#[from] params::ParamError),
    /// Records and targets of a data set differ in number.
    #[error("a data set of {pairs} (user, item) pairs has {targets} targets; each pair needs one")]
    Length {
        /// Number of pairs.
        pairs: usize,
        /// Number of targets.
        targets: usize,
    },
    /// linfa's own.
    #[error(transparent)]
    Linfa(#[from] linfa::Error),
}

/// The learner of the engine: ids, model and test-then-learn figures, moved on batch by batch.
#[derive(Debug)]
pub struct Learner {
    params: MfValidParams,
    users: Ids,
    items: Ids,
    model: FactorModel,
    prequential: Prequential,
}

impl Learner {
    /// A learner that has seen nothing.
    #[must_use]
    pub fn new(params: MfValidParams) -> Self {
        let model = FactorModel::new(&params);
        Self { params, users: Ids::default(), items: Ids::default(), model, prequential: Prequential::default() }
    }

    /// A learner that goes on where `state` was published.
    #[must_use]
    pub fn resume(params: MfValidParams, state: LearnedState) -> Self {
        Self {
            params,
            users: Ids::from_table(state.users),
            items: Ids::from_table(state.items),
            model: FactorModel::from_tables(state.model),
            prequential: state.prequential,
        }
    }

    /// Rehearses, then predicts and learns each new event in order; one outcome for each new event.
    ///
    /// # Errors
    /// None that a decoded batch can cause; see [`LearnError`].
    pub fn learn(&mut self, batch: &MicroBatch) -> Result<Vec<Outcome>, LearnError> {
        let (pairs, targets) = self.dense(&batch.rehearsal);
        self.model.rehearse(&self.params, &pairs, targets.view());
        let (pairs, targets) = self.dense(&batch.events);
        let dataset = DatasetBase::new(pairs, targets);
        // The model goes in and comes out by value, as linfa has it: a move of its header, whatever its size.
        let model = std::mem::take(&mut self.model);
        let Learned { model, predicted } = self.params.fit_with(model, &dataset)?;
        self.model = model;
        let DatasetBase { records: Pairs(pairs), targets, .. } = dataset;
        let range = self.params.range();
        for (predicted, target) in predicted.iter().zip(&targets) {
            self.prequential.record(*predicted, *target, range);
        }
        let outcome = |((user, item), predicted)| Outcome { user, item, predicted };
        Ok(pairs.into_iter().zip(predicted).map(outcome).collect())
    }

    /// Hands readers everything learned so far. Costs what changed since the last call.
    pub fn publish(&mut self) -> LearnedState {
        LearnedState {
            users: self.users.publish(),
            items: self.items.publish(),
            model: self.model.publish(),
            prequential: self.prequential.clone(),
        }
    }

    /// Dense pairs of shape `(n_events, 2)` and targets of shape `(n_events,)`; ids not known yet get the next index.
    fn dense(&mut self, events: &[Event]) -> (Pairs, Array1<f32>) {
        let range = self.params.range();
        let pairs =
            events.iter().map(|event| (self.users.intern(&event.user), self.items.intern(&event.item))).collect();
        (Pairs(pairs), events.iter().map(|event| target(event, range)).collect())
    }
}

/// The rating that an event stands for.
///
/// Implicit feedback has none: a count is mapped into the rating range by `low + (high - low) * l / (1 + l)` with
/// `l = log10(1 + count)`, which grows with the count and saturates; an event with neither counts as once.
#[must_use]
pub fn target(event: &Event, range: RatingRange) -> f32 {
    event.rating.unwrap_or_else(|| {
        let level = (1.0 + event.count.unwrap_or(1.0)).log10();
        range.low() + (range.high() - range.low()) * level / (1.0 + level)
    })
}

#[cfg(test)]
mod tests;
