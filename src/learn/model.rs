//! The biased matrix-factorization model: its rows in blocks, prediction, and linfa's traits for incremental learning.
//!
//! A rating of user u for item i is predicted as `mean + b_u + b_i + p_u · q_i` (Koren, Bell, Volinsky, "Matrix
//! Factorization Techniques for Recommender Systems", IEEE Computer 2009, eq. 4), where the mean is that of the targets
//! so far. Each new rating moves the two biases and the two rows by one step of stochastic gradient descent.

use linfa::DatasetBase;
use linfa::dataset::Records;
use linfa::traits::{FitWith, PredictInplace};
use ndarray::{Array1, Array2, ArrayView1};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};

use super::blocks::{BLOCK_ROWS, Blocks, Shared};
use super::params::{MfValidParams, RatingRange};
use super::{LearnError, sgd};

/// (user, item) pairs by dense index: the records of a data set, shape `(n_events, 2)`.
#[derive(Clone, Debug, Default)]
pub struct Pairs(pub Vec<(u32, u32)>);

impl Records for Pairs {
    type Elem = u32;

    fn nsamples(&self) -> usize {
        self.0.len()
    }

    fn nfeatures(&self) -> usize {
        2
    }
}

/// [`BLOCK_ROWS`] rows of users or of items.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FactorBlock {
    /// Factors, shape `(BLOCK_ROWS, n_factors)`.
    pub factors: Array2<f32>,
    /// Biases, shape `(BLOCK_ROWS,)`.
    pub biases: Array1<f32>,
}

impl FactorBlock {
    fn zeros(n_factors: usize) -> Self {
        Self { factors: Array2::zeros((BLOCK_ROWS, n_factors)), biases: Array1::zeros(BLOCK_ROWS) }
    }

    /// One row: its factors of shape `(n_factors,)`, and its bias.
    #[inline]
    #[must_use]
    pub fn row(&self, row: usize) -> (&[f32], f32) {
        let k = self.factors.ncols();
        let factors = self.factors.as_slice().expect("blocks are made in standard layout");
        (&factors[row * k..(row + 1) * k], self.biases[row])
    }

    #[inline]
    fn row_mut(&mut self, row: usize) -> (&mut [f32], &mut f32) {
        let k = self.factors.ncols();
        let factors = self.factors.as_slice_mut().expect("blocks are made in standard layout");
        (&mut factors[row * k..(row + 1) * k], &mut self.biases[row])
    }
}

/// Mean of the targets so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunningMean {
    count: u64,
    sum: f64,
}

impl RunningMean {
    fn add(&mut self, value: f32) {
        self.count += 1;
        self.sum += f64::from(value);
    }

    /// The mean; 0 before the first value.
    #[inline]
    #[must_use]
    pub fn get(self) -> f32 {
        if self.count == 0 { 0.0 } else { (self.sum / self.count as f64) as f32 }
    }
}

/// The model as readers see it.
#[derive(Clone, Debug, Default)]
pub struct FactorTables {
    /// Rows of the users, `n_users` of them in use.
    pub users: Shared<FactorBlock>,
    /// Rows of the items, `n_items` of them in use.
    pub items: Shared<FactorBlock>,
    /// Number of users.
    pub n_users: usize,
    /// Number of items.
    pub n_items: usize,
    /// Mean of the targets so far.
    pub mean: RunningMean,
    /// Generator of new rows, where the next row will draw from it.
    pub generator: Option<Pcg64>,
}

impl FactorTables {
    /// One user's row, if there is one.
    #[must_use]
    pub fn user(&self, user: u32) -> Option<(&[f32], f32)> {
        let user = user as usize;
        (user < self.n_users).then(|| self.users[user / BLOCK_ROWS].row(user % BLOCK_ROWS))
    }
}

/// The model as the learner holds it.
#[derive(Clone, Debug, Default)]
pub struct FactorModel {
    users: Rows,
    items: Rows,
    mean: RunningMean,
    /// None only in the empty stand-in that a move leaves behind.
    generator: Option<Pcg64>,
}

#[derive(Clone, Debug, Default)]
struct Rows {
    blocks: Blocks<FactorBlock>,
    len: usize,
}

impl Rows {
    /// Adds rows until there is one at `index`, their factors drawn from N(0, scale²).
    #[inline]
    fn grow_to(&mut self, index: u32, params: &MfValidParams, generator: Option<&mut Pcg64>) {
        if index as usize >= self.len {
            self.grow(index as usize + 1, params, generator.expect("a model that learns has its generator"));
        }
    }

    #[cold]
    fn grow(&mut self, len: usize, params: &MfValidParams, generator: &mut Pcg64) {
        for index in self.len..len {
            if index / BLOCK_ROWS == self.blocks.len() {
                self.blocks.push(FactorBlock::zeros(params.factors()));
            }
            let (factors, _) = self.blocks.get_mut(index / BLOCK_ROWS).row_mut(index % BLOCK_ROWS);
            for factor in factors {
                let normal: f32 = StandardNormal.sample(generator);
                *factor = normal * params.init_scale();
            }
        }
        self.len = len;
    }

    #[inline]
    fn get_mut(&mut self, index: u32) -> (&mut [f32], &mut f32) {
        self.blocks.get_mut(index as usize / BLOCK_ROWS).row_mut(index as usize % BLOCK_ROWS)
    }

    /// The row at `index`; none if it has not been learned yet.
    fn get(&self, index: u32) -> Option<(&[f32], f32)> {
        let index = index as usize;
        (index < self.len).then(|| self.blocks.get(index / BLOCK_ROWS).row(index % BLOCK_ROWS))
    }
}

impl FactorModel {
    /// A model without users and items.
    #[must_use]
    pub fn new(params: &MfValidParams) -> Self {
        Self { generator: Some(Pcg64::seed_from_u64(params.seed())), ..Self::default() }
    }

    /// A model that goes on where `tables` were published.
    #[must_use]
    pub fn from_tables(tables: FactorTables) -> Self {
        Self {
            users: Rows { blocks: Blocks::from_shared(tables.users), len: tables.n_users },
            items: Rows { blocks: Blocks::from_shared(tables.items), len: tables.n_items },
            mean: tables.mean,
            generator: tables.generator,
        }
    }

    /// Hands readers everything learned so far. Costs the blocks written since the last call.
    pub fn publish(&mut self) -> FactorTables {
        FactorTables {
            users: self.users.blocks.publish(),
            items: self.items.blocks.publish(),
            n_users: self.users.len,
            n_items: self.items.len,
            mean: self.mean,
            generator: self.generator.clone(),
        }
    }

    /// Predicts a rating, clamped to the range, then learns it. Rows not there yet are added.
    #[inline]
    pub fn learn_one(&mut self, params: &MfValidParams, (user, item): (u32, u32), target: f32) -> f32 {
        let before = self.mean.get();
        self.mean.add(target);
        let score = self.update(params, (user, item), target);
        params.range().clamp(before + score)
    }

    /// Learns events once more, in order; the running mean, which has them already, stays.
    pub(super) fn rehearse(&mut self, params: &MfValidParams, pairs: &Pairs, targets: ArrayView1<f32>) {
        for (pair, target) in pairs.0.iter().zip(targets) {
            self.update(params, *pair, *target);
        }
    }

    /// One step on one event; returns the prediction before it, less the mean.
    #[inline]
    fn update(&mut self, params: &MfValidParams, (user, item): (u32, u32), target: f32) -> f32 {
        self.users.grow_to(user, params, self.generator.as_mut());
        self.items.grow_to(item, params, self.generator.as_mut());
        let (p, user_bias) = self.users.get_mut(user);
        let (q, item_bias) = self.items.get_mut(item);
        let score = *user_bias + *item_bias + sgd::dot(p, q);
        let error = self.mean.get() + score - target;
        sgd::step_bias(user_bias, error, params.bias_rate(), params.bias_l2());
        sgd::step_bias(item_bias, error, params.bias_rate(), params.bias_l2());
        sgd::step(p, q, error, params.factor_rate(), params.factor_l2());
        score
    }

    /// What the model predicts, clamped to `range`; a user or item without a row adds nothing to the mean.
    #[must_use]
    pub fn predict_one(&self, (user, item): (u32, u32), range: RatingRange) -> f32 {
        let (user, item) = (self.users.get(user), self.items.get(item));
        let bias = |row: &Option<(&[f32], f32)>| row.map_or(0.0, |(_, bias)| bias);
        let product = user.zip(item).map_or(0.0, |((p, _), (q, _))| sgd::dot(p, q));
        range.clamp(self.mean.get() + bias(&user) + bias(&item) + product)
    }
}

/// A model after a data set, and what it predicted for each event before it learned it, shape `(n_events,)`.
#[derive(Clone, Debug)]
pub struct Learned {
    /// The model.
    pub model: FactorModel,
    /// Predictions before learning.
    pub predicted: Array1<f32>,
}

impl<'a> FitWith<'a, Pairs, Array1<f32>, LearnError> for MfValidParams {
    /// By value, so that a batch costs no copy of the model.
    type ObjectIn = FactorModel;
    type ObjectOut = Learned;

    fn fit_with(
        &self,
        mut model: FactorModel,
        dataset: &'a DatasetBase<Pairs, Array1<f32>>,
    ) -> Result<Learned, LearnError> {
        let (pairs, targets) = (&dataset.records.0, &dataset.targets);
        if pairs.len() != targets.len() {
            return Err(LearnError::Length { pairs: pairs.len(), targets: targets.len() });
        }
        let predicted = pairs.iter().zip(targets).map(|(pair, target)| model.learn_one(self, *pair, *target)).collect();
        Ok(Learned { model, predicted })
    }
}

/// A model with the range that its predictions are clamped to: what linfa's `Predict` works on.
#[derive(Clone, Copy, Debug)]
pub struct Predictor<'m> {
    /// The model.
    pub model: &'m FactorModel,
    /// Bounds of a prediction.
    pub range: RatingRange,
}

impl PredictInplace<Pairs, Array1<f32>> for Predictor<'_> {
    fn predict_inplace<'a>(&'a self, x: &'a Pairs, y: &mut Array1<f32>) {
        assert_eq!(x.nsamples(), y.len(), "the target array has one place for each pair");
        for (pair, place) in x.0.iter().zip(y) {
            *place = self.model.predict_one(*pair, self.range);
        }
    }

    fn default_target(&self, x: &Pairs) -> Array1<f32> {
        Array1::zeros(x.nsamples())
    }
}
