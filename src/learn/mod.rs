//! Learns from each event in the one total order: predicts first, then updates.
//!
//! In: [`MicroBatch`](crate::gather::MicroBatch)es. Out: what was predicted for each new event, and models that have
//! learned it. Guarantees: learning is sequentially equivalent (cutting the same events into other count batches gives
//! the bit-identical model), the same events give the same model, and no value in a model is ever infinite or NaN.
//!
//! Every learner is behind one trait, [`Learner`], the baselines included: [`rating`] has those that predict ratings,
//! [`ranking`] those that rank items. A [`Recommender`] is one of each, with the ids and the test-then-learn figures.

pub mod about;
pub mod away;
pub mod blocks;
pub mod drift;
pub mod exchange;
pub mod ids;
pub mod intervals;
pub mod losses;
pub mod params;
pub mod prequential;
pub mod ranking;
pub mod rating;
mod recommender;
pub mod tables;
pub mod trainers;

use std::fmt::Debug;
use std::sync::Arc;

use linfa::DatasetBase;
use linfa::dataset::Records;
use linfa::traits::{FitWith, PredictInplace};
use ndarray::Array1;

use crate::config::{Config, LearnerKind};

use about::About;
use away::UserRows;
use params::{Common, ParamError, Params, RatingRange};
pub use rating::dot;
pub use recommender::{LearnedState, Outcome, RANKING, RATING, Recommender, target};
use tables::{Frozen, Live, Matrix, Table, Tables};

/// One event as a learner sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Dense index of the user.
    pub user: u32,
    /// Dense index of the item.
    pub item: u32,
    /// The rating, or what stands for it; within the rating range.
    pub target: f32,
    /// Whether it speaks for the item: a rating of `learn.positive_rating` or more, or an event without a rating.
    pub positive: bool,
    /// How often the user did it; 1 where the event does not say.
    pub count: f32,
    /// When it happened, in milliseconds since the epoch, where the event itself says so. The log's clock must not reach
    /// the numbers.
    pub ts: Option<i64>,
    /// What the event tells of its item.
    pub about: Option<About>,
}

/// What can be asked of a model, whether its learner holds it or a reader does.
pub trait Scorer: Debug + Send {
    /// Predicted rating, finite and not clamped; none by a model that predicts no ratings. A user or item that has not
    /// been learned yet is one about whom nothing is known.
    fn rating(&self, user: u32, item: u32) -> Option<f32>;

    /// A score of each item for a user, higher is better; `scores` has shape `(n_items,)` by dense index and is
    /// overwritten. Depends on nothing but the state.
    fn score(&self, user: u32, scores: &mut [f32]);

    /// As [`Scorer::score`], which the scores of items that the user has not seen are equal to, bit for bit; and items
    /// that the user has seen are scored as if they could be chosen again.
    fn score_with_seen(&self, user: u32, scores: &mut [f32]) {
        self.score(user, scores);
    }
}

/// A model that learns. One trait for every learner, so that all are evaluated, run, stored and resumed alike.
pub trait Learner: Scorer {
    /// Learns one event, and says what rating it would have predicted for it; none by a model that predicts no ratings.
    fn learn(&mut self, event: &Observation) -> Option<f32>;

    /// Learns events in order, as [`Learner::learn`] does one after the other, bit for bit.
    fn learn_all(&mut self, events: &[Observation]) -> Vec<Option<f32>> {
        events.iter().map(|event| self.learn(event)).collect()
    }

    /// Learns an event once more that it has learned already. Where each event has its exact weight there is nothing to
    /// rehearse, and this does nothing.
    fn rehearse(&mut self, _event: &Observation) {}

    /// Learns by `factor` times as large steps, or forgets by as much sooner, from here on: 1 is as the parameters say, bit for
    /// bit. It is no part of the model: whoever goes on with one says it again. Does nothing where there is no such thing; a
    /// learner that only ranks never does, since it is the loss of ratings that a [drift] is seen by.
    fn hasten(&mut self, _factor: f32) {}

    /// Hands readers everything learned so far. Costs what changed since the last call.
    fn publish(&mut self) -> Arc<dyn Model>;

    /// The tables by name whose rows are users', where those may be away: an event reads and changes rows of its own user
    /// alone, and reads those that [`Learner::needed`] names.
    fn user_rows(&mut self) -> Vec<(String, &mut dyn UserRows)> {
        Vec::new()
    }

    /// Users besides its own whose rows an event with an item reads.
    fn needed(&self, _item: u32) -> Vec<u32> {
        Vec::new()
    }

    /// The rows of items, shape `(n_items, width)`, where what several trainers add to them can be added up; and an item's
    /// row is all that an event changes of items.
    fn item_rows(&mut self) -> Option<&mut Matrix<Live>> {
        None
    }
}

/// A model as readers hold it, never to change.
pub trait Model: Scorer + Sync {
    /// A learner that goes on from here.
    fn thaw(&self) -> Box<dyn Learner>;

    /// What it holds besides its tables, as bytes.
    fn scalars(&self) -> Vec<u8>;

    /// What it is made of.
    fn tables(&self) -> Vec<Table>;

    /// The rows that [`Learner::item_rows`] gives.
    fn item_rows(&self) -> Option<&Matrix<Frozen>> {
        None
    }

    /// What each of the user's own events adds to the score of an item, as [`Scorer::score_with_seen`] gives it. None by
    /// a model that keeps no events of its users, and of an item that it does not know.
    fn attribution(&self, _user: u32, _item: u32) -> Option<Attribution> {
        None
    }

    /// As [`Scorer::score`] without the user's event with the item `without`, all else held as [`Model::attribution`]
    /// holds it. False, and the scores are as they were, by a model that keeps no events of its users.
    fn score_without(&self, _user: u32, _without: u32, _scores: &mut [f32]) -> bool {
        false
    }

    /// An item's vector by which it is like others, shape `(n_factors,)`; none by a model without vectors, and of an item
    /// that it does not know.
    fn item_vector(&self, _item: u32) -> Option<&[f32]> {
        None
    }

    /// A user's vector by which he is like others; the vectors of users and of items may be of different kinds.
    fn user_vector(&self, _user: u32) -> Option<&[f32]> {
        None
    }

    /// What the scores of a user are inner products of; none by a model whose scores are something else, and of a user that
    /// it does not know.
    fn inner_products(&self, _user: u32) -> Option<InnerProducts<'_>> {
        None
    }

    /// How alike an item is to every item, shape `(n_items,)`: the cosine, or NaN where nothing is known. False, and the
    /// values are as they were, where the model cannot say.
    fn similarities(&self, item: u32, similarities: &mut [f32]) -> bool {
        let Some(own) = self.item_vector(item) else { return false };
        for (similarity, other) in similarities.iter_mut().zip(0..) {
            *similarity = self.item_vector(other).map_or(f32::NAN, |other| cosine(own, other));
        }
        true
    }
}

/// Scores that are inner products: [`Scorer::score`] gives the same, bit for bit.
#[derive(Clone, Copy, Debug)]
pub struct InnerProducts<'m> {
    /// Added to every score, and the score of an item without a row.
    pub base: f32,
    /// The user's factors, shape `(n_factors,)`.
    pub user: &'m [f32],
    /// Of each item the factors, then the bias, shape `(n_items, n_factors + 1)`.
    pub items: &'m Matrix<Frozen>,
}

impl InnerProducts<'_> {
    /// The score of an item by its row.
    #[inline]
    #[must_use]
    pub fn score(&self, row: &[f32]) -> f32 {
        self.base + rating::product(self.user, row)
    }
}

/// What a user's own events add to a score: `base` and the shares add up to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attribution {
    /// What the score would be without the events, all else of the user held as it is.
    pub base: f32,
    /// Dense index of the item of each event that the score depends on, and its share; the newest first.
    pub parts: Vec<(u32, f32)>,
}

/// Cosine of two vectors of one length; NaN where one of them is zero.
#[must_use]
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Events of a data set: linfa's records, shape `(n_events, 2)` of user and item.
#[derive(Clone, Debug, Default)]
pub struct Observations(pub Vec<Observation>);

impl Records for Observations {
    type Elem = u32;

    fn nsamples(&self) -> usize {
        self.0.len()
    }

    fn nfeatures(&self) -> usize {
        2
    }
}

/// Why learning cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// A parameter is out of its range.
    #[error(transparent)]
    Params(#[from] ParamError),
    /// A learner that predicts no ratings was asked to.
    #[error("learn.rating is {name}, which predicts no ratings; allowed are bayesian-mf, biased-mf, biases and running-mean", name = .0.name())]
    NoRatings(LearnerKind),
    /// Records and targets of a data set differ in number.
    #[error("a data set of {events} events has {targets} targets; each event needs one")]
    Length {
        /// Number of events.
        events: usize,
        /// Number of targets.
        targets: usize,
    },
    /// linfa's own.
    #[error(transparent)]
    Linfa(#[from] linfa::Error),
}

/// A learner after a data set, and what it predicted for each event before learning it, shape `(n_events,)`.
#[derive(Debug)]
pub struct Learned {
    /// The learner.
    pub learner: Box<dyn Learner>,
    /// Predictions before learning, clamped to the rating range.
    pub predicted: Array1<f32>,
}

impl<'a> FitWith<'a, Observations, Array1<f32>, LearnError> for RatingRange {
    /// By value, so that a batch costs no copy of the model.
    type ObjectIn = Box<dyn Learner>;
    type ObjectOut = Learned;

    fn fit_with(
        &self,
        mut learner: Box<dyn Learner>,
        dataset: &'a DatasetBase<Observations, Array1<f32>>,
    ) -> Result<Learned, LearnError> {
        let (events, targets) = (&dataset.records.0, &dataset.targets);
        if events.len() != targets.len() {
            return Err(LearnError::Length { events: events.len(), targets: targets.len() });
        }
        let events: Vec<Observation> =
            events.iter().zip(targets).map(|(event, target)| Observation { target: *target, ..*event }).collect();
        let predicted = learner.learn_all(&events).into_iter().map(|rating| self.clamp(rating.unwrap_or(f32::NAN)));
        let predicted = predicted.collect();
        Ok(Learned { learner, predicted })
    }
}

/// A model with the range that its predictions are clamped to: what linfa's `Predict` works on.
#[derive(Clone, Copy, Debug)]
pub struct Predictor<'m> {
    /// The model.
    pub model: &'m dyn Scorer,
    /// Bounds of a prediction.
    pub range: RatingRange,
}

impl PredictInplace<Observations, Array1<f32>> for Predictor<'_> {
    fn predict_inplace<'a>(&'a self, x: &'a Observations, y: &mut Array1<f32>) {
        assert_eq!(x.nsamples(), y.len(), "the target array has one place for each event");
        for (event, place) in x.0.iter().zip(y) {
            *place = self.range.clamp(self.model.rating(event.user, event.item).unwrap_or(f32::NAN));
        }
    }

    fn default_target(&self, x: &Observations) -> Array1<f32> {
        Array1::zeros(x.nsamples())
    }
}

/// A learner that has seen nothing.
///
/// # Errors
/// If one of its parameters is out of its range.
pub fn build(kind: LearnerKind, config: &Config) -> Result<Box<dyn Learner>, ParamError> {
    let common = Common::of(config);
    Ok(match kind {
        LearnerKind::RunningMean => Box::new(rating::RunningMean::default()),
        LearnerKind::Biases => Box::new(rating::Biases::new(checked(&config.biases, common)?)),
        LearnerKind::BayesianMf => Box::new(rating::BayesianMf::new(checked(&config.bayesian_mf, common)?)),
        LearnerKind::BiasedMf => Box::new(rating::BiasedMf::new(checked(&config.biased_mf, common)?)),
        LearnerKind::Popularity => Box::new(ranking::Popularity::running()),
        LearnerKind::DecayedPopularity => Box::new(ranking::Popularity::decayed(checked(&config.popularity, common)?)),
        LearnerKind::ItemKnn => Box::new(ranking::ItemKnn::new(checked(&config.item_knn, common)?)),
        LearnerKind::Blend => Box::new(ranking::BlendLearner::new(checked(&config.blend, common)?)),
        LearnerKind::Random => Box::new(ranking::Random::new(common.seed)),
    })
}

/// The model that these scalars and tables were stored of.
///
/// # Errors
/// What is wrong with them, or with the parameters.
pub fn restore(
    kind: LearnerKind,
    config: &Config,
    scalars: &[u8],
    tables: &mut Tables,
) -> Result<Arc<dyn Model>, String> {
    let common = Common::of(config);
    let text = |error: ParamError| error.to_string();
    Ok(match kind {
        LearnerKind::RunningMean => Arc::new(from_scalars::<rating::RunningMean>(scalars)?),
        LearnerKind::Biases => {
            Arc::new(rating::Biases::read(checked(&config.biases, common).map_err(text)?, scalars, tables)?)
        }
        LearnerKind::BayesianMf => {
            Arc::new(rating::BayesianMf::read(checked(&config.bayesian_mf, common).map_err(text)?, scalars, tables)?)
        }
        LearnerKind::BiasedMf => {
            Arc::new(rating::BiasedMf::read(checked(&config.biased_mf, common).map_err(text)?, scalars, tables)?)
        }
        LearnerKind::Popularity | LearnerKind::DecayedPopularity => {
            Arc::new(ranking::Popularity::read(scalars, tables)?)
        }
        LearnerKind::ItemKnn => {
            Arc::new(ranking::ItemKnn::read(checked(&config.item_knn, common).map_err(text)?, tables)?)
        }
        LearnerKind::Blend => {
            Arc::new(ranking::Blend::read(checked(&config.blend, common).map_err(text)?, scalars, tables)?)
        }
        LearnerKind::Random => Arc::new(ranking::Random::new(common.seed)),
    })
}

fn checked<P: params::Section>(own: &P, common: Common) -> Result<params::ValidParams<P>, ParamError> {
    linfa::ParamGuard::check(Params::new(own.clone(), common))
}

/// Scalars as bytes.
fn to_scalars<T: serde::Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain values always serialize")
}

fn from_scalars<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    postcard::from_bytes(bytes).map_err(|error| format!("its scalars do not read: {error}"))
}

#[cfg(test)]
mod tests;
