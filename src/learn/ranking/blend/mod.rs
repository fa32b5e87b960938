//! A blend of many scores with weights learned online: the learner for rankings.
//!
//! An item's score for a user is `w · x`, where the columns `x` are what several models that learn event by event say of
//! the item: pairs of items that the same users chose, in this or that order, lately or ever ([`pairs`]); how popular
//! the item is, and with whom ([`counts`]); what similar users chose ([`factors`]) and how the user would rate it; what
//! genres and years the user turns to ([`profile`]); what comes next in a sequence ([`sequence`]). The weights are a multinomial
//! logit, learned from each choice among all candidates ([`weights`]). So how much recency, popularity and similarity
//! are worth is found out from the stream itself, and a data set needs no setting of its own.
//!
//! An event costs the same however many users and items there are: the items of a user that count, the pairs of an
//! item, and the candidates that a choice is learned among all have a bound. Only scoring for a reader is over all items.

mod asked;
mod columns;
mod counts;
mod draw;
mod factors;
mod history;
mod learner;
mod math;
mod pairs;
mod profile;
mod sequence;
mod weights;

use rand::SeedableRng;
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};

use asked::Asked;
use columns::OF_PAIRS;
use counts::Counts;
use factors::{Factors, Grams};
use history::{Histories, STAGES, Visit};
pub use learner::BlendLearner;
use pairs::{Pairs, TOGETHER, WEIGHTS};
use profile::{Profiles, Shares};
use sequence::Sequence;
use weights::Weights;

use crate::config::{BiasedMfConfig, BlendConfig};
use crate::learn::params::{Common, ValidParams};
use crate::learn::rating::BiasedMf;
use crate::learn::tables::{Frozen, Live, Storage, Table, Tables};
use crate::learn::{Attribution, Learner, Model, Observation, Scorer, checked, from_scalars, to_scalars};

/// Score of an item that nobody has chosen, or that the user has seen: below that of every other.
const NO_CANDIDATE: f32 = f32::MIN;

/// What the model holds besides its rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Scalars {
    /// Events so far.
    events: u64,
    /// Positive events so far.
    positives: u64,
    /// Logarithms of the counts of positive events, summed up.
    counts: f64,
    /// Positive events of users at each stage of their history; they start at 1.
    by_stage: [u64; STAGES],
    weights: Weights,
    grams: Grams,
    shares: Shares,
    /// Generator of new vectors and of samples, where the next draw will be made.
    generator: Pcg64,
}

impl Scalars {
    fn new(seed: u64) -> Self {
        let generator = Pcg64::seed_from_u64(seed);
        Self {
            events: 0,
            positives: 0,
            counts: 0.0,
            by_stage: [1; STAGES],
            weights: Weights::new(),
            grams: Grams::default(),
            shares: Shares::default(),
            generator,
        }
    }
}

impl Scalars {
    /// Takes in how often the user did it; how much surer that makes than what is usual so far, by the logarithm.
    fn confidence(&mut self, event: &Observation) -> f32 {
        let count = f64::from(math::ln(1.0 + event.count.min(1e9)));
        if event.positive {
            self.counts += count;
        }
        let positives = self.positives + u64::from(event.positive);
        let usual = self.counts / positives.max(1) as f64;
        if usual > 0.0 { (count / usual).clamp(0.1, 10.0) as f32 } else { 1.0 }
    }
}

/// Parameters in the form that the hot loops take them in.
#[derive(Clone, Copy, Debug)]
struct Settings {
    /// What is left of an item's weight when the user comes to another one, for each sum over pairs.
    recency: [f32; OF_PAIRS],
    /// What is left of the weight of a pair for each item between its two.
    per_place: f32,
    /// Milliseconds between two items at which they count as half as close.
    close_ms: f32,
    blend_rate: f32,
}

impl Settings {
    fn of(params: &BlendConfig) -> Self {
        let mut half_lives = [params.short_half_life; OF_PAIRS];
        half_lives[WEIGHTS..].fill(params.middle_half_life);
        half_lives[WEIGHTS + TOGETHER] = params.long_half_life;
        Self {
            recency: half_lives.map(math::kept),
            per_place: math::kept(params.pair_positions),
            close_ms: 1e3 * params.pair_seconds as f32,
            blend_rate: params.blend_rate as f32,
        }
    }
}

/// Parameters of the factorization of ratings, whose predictions are a column: those that `biased_mf` has by default, with
/// fewer factors.
fn of_ratings(common: Common) -> ValidParams<BiasedMfConfig> {
    let config = BiasedMfConfig {
        factors: 16,
        bias_rate: 0.07,
        factor_rate: 0.14,
        bias_l2: 0.1,
        factor_l2: 0.01,
        init_scale: 0.05,
    };
    checked(&config, common).expect("the constants are within their bounds, and the rest has been checked")
}

/// The model.
#[derive(Clone, Debug)]
pub struct Blend<S: Storage> {
    params: ValidParams<BlendConfig>,
    settings: Settings,
    scalars: Scalars,
    histories: Histories<S>,
    counts: Counts<S>,
    pairs: Pairs<S>,
    factors: Factors<S>,
    ratings: BiasedMf<S>,
    profiles: Profiles<S>,
    sequences: Vec<Sequence<S>>,
}

impl<S: Storage> Blend<S> {
    /// What is remembered of a user, the newest visit first.
    fn history(&self, user: u32) -> impl Iterator<Item = Visit> {
        self.histories.of(user).iter().rev().copied()
    }
}

impl Blend<Live> {
    fn new(params: ValidParams<BlendConfig>) -> Self {
        let sequence = |settings| Sequence::new(settings, params.factors);
        Self {
            settings: Settings::of(&params),
            scalars: Scalars::new(params.common().seed),
            histories: Histories::new(),
            counts: Counts::new(),
            pairs: Pairs::default(),
            factors: Factors::new(),
            ratings: BiasedMf::new(of_ratings(params.common())),
            profiles: Profiles::new(),
            sequences: sequence::settings(&params).into_iter().map(sequence).collect(),
            params,
        }
    }

    fn publish(&mut self) -> Blend<Frozen> {
        Blend {
            params: self.params.clone(),
            settings: self.settings,
            scalars: self.scalars.clone(),
            histories: self.histories.publish(),
            counts: self.counts.publish(),
            pairs: self.pairs.publish(),
            factors: self.factors.publish(),
            ratings: self.ratings.freeze(),
            profiles: self.profiles.publish(),
            sequences: self.sequences.iter_mut().map(Sequence::publish).collect(),
        }
    }
}

impl Blend<Frozen> {
    /// The model of these scalars and tables.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(params: ValidParams<BlendConfig>, scalars: &[u8], tables: &mut Tables) -> Result<Self, String> {
        let (scalars, of_rates): (Scalars, Vec<u8>) = from_scalars(scalars)?;
        let Scalars { weights, grams, shares, by_stage, .. } = &scalars;
        if !(weights.is_whole() && grams.are_whole() && shares.are_whole()) || by_stage.contains(&0) {
            return Err("its weights are not those of this freshet".into());
        }
        let sequence = |settings| Sequence::read(tables, settings, params.factors);
        let sequences = sequence::settings(&params).into_iter().map(sequence).collect::<Result<Vec<_>, _>>()?;
        let model = Self {
            settings: Settings::of(&params),
            scalars,
            histories: Histories::read(tables)?,
            counts: Counts::read(tables)?,
            pairs: Pairs::read(tables)?,
            factors: Factors::read(tables)?,
            ratings: BiasedMf::read(of_ratings(params.common()), &of_rates, tables)?,
            profiles: Profiles::read(tables)?,
            sequences,
            params,
        };
        let items = model.counts.len();
        let factors = model.factors.len();
        if !model.histories.is_of(items)
            || factors != items
            || model.sequences.iter().any(|sequence| sequence.len() != items)
        {
            return Err(format!("its parts are not of the same {items} items"));
        }
        Ok(model)
    }

    fn thaw(&self) -> Blend<Live> {
        Blend {
            params: self.params.clone(),
            settings: self.settings,
            scalars: self.scalars.clone(),
            histories: self.histories.thaw(),
            counts: self.counts.thaw(),
            pairs: self.pairs.thaw(),
            factors: self.factors.thaw(),
            ratings: self.ratings.melt(),
            profiles: self.profiles.thaw(),
            sequences: self.sequences.iter().map(Sequence::thaw).collect(),
        }
    }
}

impl<S: Storage> Scorer for Blend<S> {
    fn rating(&self, _user: u32, _item: u32) -> Option<f32> {
        None
    }

    fn score(&self, user: u32, scores: &mut [f32]) {
        scores.fill(NO_CANDIDATE);
        Asked::of(self, user).score(scores);
    }

    fn score_with_seen(&self, user: u32, scores: &mut [f32]) {
        scores.fill(NO_CANDIDATE);
        let mut asked = Asked::of(self, user);
        asked.score(scores);
        asked.ask_seen();
        asked.score(scores);
    }
}

impl Model for Blend<Frozen> {
    fn thaw(&self) -> Box<dyn Learner> {
        Box::new(BlendLearner::of(self.thaw()))
    }

    fn scalars(&self) -> Vec<u8> {
        to_scalars(&(&self.scalars, self.ratings.scalars()))
    }

    fn attribution(&self, user: u32, item: u32) -> Option<Attribution> {
        self.counts.is_known(item).then(|| Asked::of(self, user).attribution(item))
    }

    fn score_without(&self, user: u32, without: u32, scores: &mut [f32]) -> bool {
        scores.fill(NO_CANDIDATE);
        let mut asked = Asked::of(self, user);
        asked.ask_without(without);
        asked.score(scores);
        true
    }

    fn item_vector(&self, item: u32) -> Option<&[f32]> {
        self.factors.item(item)
    }

    fn user_vector(&self, user: u32) -> Option<&[f32]> {
        self.factors.user(user)
    }

    fn tables(&self) -> Vec<Table> {
        let mut tables = self.histories.tables();
        tables.push(self.counts.table());
        tables.push(self.pairs.table());
        tables.extend(self.factors.tables());
        tables.extend(self.ratings.tables());
        tables.extend(self.profiles.tables());
        tables.extend(self.sequences.iter().flat_map(Sequence::tables));
        tables
    }
}

#[cfg(test)]
mod tests;
