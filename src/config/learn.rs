//! The sections of the learners: which of them run, and the parameters of each.
//!
//! Apart from the other sections, because these alone decide what a model is: a preset may set them and no others, and a
//! snapshot names those that it was learned under.

use serde::{Deserialize, Serialize};

/// Sections that a preset may set.
pub(super) const SECTIONS: [&str; 8] =
    ["learn", "drift", "bayesian_mf", "biases", "biased_mf", "popularity", "item_knn", "blend"];

/// A learner by name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LearnerKind {
    /// Mean of the ratings so far.
    RunningMean,
    /// Mean, user bias and item bias, by stochastic gradient descent.
    Biases,
    /// Biased matrix factorization by stochastic gradient descent.
    BiasedMf,
    /// Bayesian matrix factorization, each row solved anew with each of its events.
    BayesianMf,
    /// Positive events of the item so far.
    Popularity,
    /// Positive events of the item, older ones weighing less.
    DecayedPopularity,
    /// Cosine similarity to the user's items.
    ItemKnn,
    /// Pairs, popularity and sequences, with weights learned online.
    Blend,
    /// Any order.
    Random,
}

impl LearnerKind {
    /// Whether what several trainers learn of an item can be added up.
    #[must_use]
    pub fn adds_up(self) -> bool {
        matches!(self, Self::BiasedMf | Self::Biases | Self::Popularity)
    }

    /// Its name, as it is written in a configuration.
    #[must_use]
    pub fn name(self) -> String {
        let name = serde_json::to_value(self).ok();
        name.as_ref().and_then(|name| name.as_str()).expect("a unit variant is a string in JSON").to_owned()
    }
}

/// `[learn]`
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LearnConfig {
    /// The learner that predicts ratings.
    pub rating: LearnerKind,
    /// The learner that ranks items.
    pub ranking: LearnerKind,
    /// Lowest rating that counts as positive.
    pub positive_rating: f64,
    /// Seed of the models' generators.
    pub seed: u64,
}

/// `[drift]`
///
/// A model names the keys that are not as by default, and those of an earlier freshet have none: another default would be
/// another model under the same names.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DriftConfig {
    /// Whether losses are watched.
    pub enabled: bool,
    /// Chance of taking what never changes for a change.
    pub confidence: f64,
    /// Events' worth of 0 in what a user's errors are above everybody's.
    pub user_events: f64,
    /// By how much faster the learner of ratings learns after a drift; 1 for not at all.
    pub boost: f64,
    /// For how many events.
    pub boost_events: u64,
}

/// `[bayesian_mf]`
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BayesianMfConfig {
    /// Number of factors.
    pub factors: usize,
    /// Whether genres and years are learned from.
    pub side_information: bool,
    /// Newest events of a user, and of an item, that are gone through anew with each event.
    pub window: usize,
    /// The user's own events after which one counts a quarter.
    pub user_memory: f64,
    /// The item's own events after which one counts 1/e.
    pub item_memory: f64,
    /// Whether a second, forgetful model corrects the first.
    pub fast_twin: bool,
    /// `item_memory` of the twin.
    pub twin_item_memory: f64,
    /// Prior precision of an item's bias.
    pub bias_precision: f64,
    /// Prior precision of an item's factors.
    pub factor_precision: f64,
    /// Prior precision of a user's weights for the factors.
    pub weight_precision: f64,
    /// Prior precision of a user's weights for the genres.
    pub genre_precision: f64,
    /// Share of the uncertainty of the other side's row that counts.
    pub variational: f64,
    /// Variance of a user's mood.
    pub drift_slow: f64,
    /// Variance of what events within seconds share.
    pub drift_burst: f64,
    /// Seconds in which the latter decays to 1/e.
    pub burst_seconds: f64,
    /// What an event still counts after the next one, in the correction of predictions.
    pub forget: f64,
}

/// `[biases]`
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BiasesConfig {
    /// Learning rate.
    pub rate: f64,
    /// L2 regularization.
    pub l2: f64,
}

/// `[biased_mf]`
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BiasedMfConfig {
    /// Number of factors.
    pub factors: usize,
    /// Learning rate of the biases.
    pub bias_rate: f64,
    /// Learning rate of the factors.
    pub factor_rate: f64,
    /// L2 regularization of the biases.
    pub bias_l2: f64,
    /// L2 regularization of the factors.
    pub factor_l2: f64,
    /// Standard deviation of new factors.
    pub init_scale: f64,
}

/// `[popularity]`
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PopularityConfig {
    /// Events after which one counts half.
    pub half_life: f64,
}

/// `[item_knn]`
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ItemKnnConfig {
    /// The user's own later events after which one counts half; 0 for all alike.
    pub half_life: f64,
    /// Most items of a user that count.
    pub history: usize,
    /// Most neighbours of an item that are kept.
    pub neighbours: usize,
}

/// `[blend]`
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BlendConfig {
    /// Most items of a user that are remembered as seen.
    pub history: usize,
    /// Newest items of a user that scores depend on.
    pub recent: usize,
    /// The user's own later items after which one counts half, in the first group of columns.
    pub short_half_life: f64,
    /// The same in the second group.
    pub middle_half_life: f64,
    /// The same for what was chosen together, in the second group.
    pub long_half_life: f64,
    /// Newest items of a user that a new one is paired with.
    pub pairs: usize,
    /// Items between two after which their transition counts half.
    pub pair_positions: f64,
    /// Seconds between two items at which their closeness is a half.
    pub pair_seconds: f64,
    /// Most pairs of an item that are kept.
    pub neighbours: usize,
    /// Factors of the sequence models.
    pub factors: usize,
    /// Learning rate of the sequence models.
    pub sequence_rate: f64,
    /// What is left of an item's weight in the first when the user comes to another one.
    pub short_decay: f64,
    /// The same in the second.
    pub long_decay: f64,
    /// Items drawn for a step of a sequence model.
    pub negatives: usize,
    /// Learning rate of the weights.
    pub blend_rate: f64,
    /// Positive events for each one that the weights learn from.
    pub blend_every: u64,
    /// Positive events at first that the weights learn from, every one.
    pub warm_up: u64,
    /// Most items that a choice is learned among.
    pub candidates: usize,
}
