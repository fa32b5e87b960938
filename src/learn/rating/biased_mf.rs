//! Biased matrix factorization by stochastic gradient descent: the learner for speed.
//!
//! A rating of user u for item i is predicted as `mean + b_u + b_i + p_u · q_i` (Koren, Bell, Volinsky, "Matrix
//! Factorization Techniques for Recommender Systems", IEEE Computer 2009, eq. 4), where the mean is that of the targets
//! so far. Each new rating moves the two biases and the two rows by one step of stochastic gradient descent.
//!
//! Where the rows are many, an event waits for memory several times as long as it computes. So those of the events that come
//! next are asked for while one is learned, and the steps are compiled for wide registers too.

#![allow(clippy::inline_always, reason = "what is not inlined is not compiled for the instructions that were found")]

use std::sync::Arc;

use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};

use super::{RunningMean, sgd};
use crate::config::BiasedMfConfig;
use crate::learn::away::UserRows;
use crate::learn::params::ValidParams;
use crate::learn::tables::{Frozen, Live, Matrix, Storage, Table, Tables};
use crate::learn::{InnerProducts, Learner, Model, Observation, Scorer, from_scalars, to_scalars};

/// How many events ahead rows are asked for. 4, 8, 16 and 32 learned 9.7, 8.3, 7.5 and 7.1 million events a second of
/// 1,000,000 users and 100,000 items, all of them known, with 32 factors.
const AHEAD: usize = 4;

/// Name of the users' table.
const USER_FACTORS: &str = "user_factors";

/// What the model holds besides its rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Scalars {
    mean: RunningMean,
    /// Generator of new rows, where the next row will draw from it.
    generator: Pcg64,
}

/// The model. A row has shape `(n_factors + 1,)`: the factors, then the bias.
#[derive(Clone, Debug)]
pub struct BiasedMf<S: Storage> {
    params: ValidParams<BiasedMfConfig>,
    rates: Rates,
    scalars: Scalars,
    users: Matrix<S>,
    items: Matrix<S>,
}

/// The parameters of a step, in the precision that it is made in.
#[derive(Clone, Copy, Debug)]
struct Rates {
    bias_rate: f32,
    factor_rate: f32,
    bias_l2: f32,
    factor_l2: f32,
}

impl Rates {
    fn of(params: &BiasedMfConfig) -> Self {
        let [bias_rate, factor_rate, bias_l2, factor_l2] =
            [params.bias_rate, params.factor_rate, params.bias_l2, params.factor_l2].map(|value| value as f32);
        Self { bias_rate, factor_rate, bias_l2, factor_l2 }
    }

    /// Steps of the biases as many times as large, but none beyond what the parameters allow. Those of the factors stay: they
    /// are as large as they can be, and larger ones diverge (RMSE over the 5,000 events after tastes turn at event 25,000 of
    /// ML-100k 1.0897 without a boost, 1.0780 so at 2, 1.1114 with the factors' steps doubled).
    fn hastened(self, factor: f32) -> Self {
        Self { bias_rate: (self.bias_rate * factor).min(1.0), ..self }
    }
}

/// The factors of a row, shape `(n_factors,)`, and its bias.
#[inline]
fn split(row: &[f32]) -> (&[f32], f32) {
    let (bias, factors) = row.split_last().expect("a row has at least a bias");
    (factors, *bias)
}

/// What an item's row adds to the score of a user with the factors `p`; without factors its bias.
#[inline]
pub(in crate::learn) fn product(p: &[f32], row: &[f32]) -> f32 {
    let (q, bias) = split(row);
    bias + sgd::dot(p, q)
}

impl<S: Storage> BiasedMf<S> {
    /// Mean of the targets so far.
    #[must_use]
    pub fn mean(&self) -> f32 {
        self.scalars.mean.get()
    }

    /// A user's factors and bias; none of a user who has not been learned yet.
    #[must_use]
    pub fn user(&self, user: u32) -> Option<(&[f32], f32)> {
        self.users.get(user).map(split)
    }

    /// An item's factors and bias; none of an item that has not been learned yet.
    #[must_use]
    pub fn item(&self, item: u32) -> Option<(&[f32], f32)> {
        self.items.get(item).map(split)
    }
}

impl BiasedMf<Live> {
    /// A model without users and items.
    #[must_use]
    pub fn new(params: ValidParams<BiasedMfConfig>) -> Self {
        let width = params.factors + 1;
        let generator = Pcg64::seed_from_u64(params.common().seed);
        let scalars = Scalars { mean: RunningMean::default(), generator };
        Self { rates: Rates::of(&params), params, scalars, users: Matrix::new(width), items: Matrix::new(width) }
    }

    /// Hands readers everything learned so far. Costs what changed since the last call.
    pub fn freeze(&mut self) -> BiasedMf<Frozen> {
        let Self { params, rates, scalars, users, items } = self;
        let (users, items) = (users.publish(), items.publish());
        BiasedMf { params: params.clone(), rates: *rates, scalars: scalars.clone(), users, items }
    }

    /// Asks for the rows of the event [`AHEAD`] of this one, and for the places of the rows of the one as far behind that.
    #[inline(always)]
    fn fetch_ahead(&self, events: &[Observation], index: usize) {
        if let Some(event) = events.get(index + 2 * AHEAD) {
            self.users.fetch_place(event.user);
            self.items.fetch_place(event.item);
        }
        if let Some(event) = events.get(index + AHEAD) {
            self.users.fetch(event.user);
            self.items.fetch(event.item);
        }
    }

    /// Learns one event; returns the prediction before it.
    #[inline(always)]
    fn take(&mut self, event: &Observation) -> f32 {
        let before = self.scalars.mean.get();
        self.scalars.mean.add(event.target);
        before + self.update(event)
    }

    /// One step on one event; returns the prediction before it, less the mean. Rows not there yet are added, their
    /// factors drawn from N(0, `init_scale`²).
    #[inline(always)]
    fn update(&mut self, event: &Observation) -> f32 {
        let scale = self.params.init_scale as f32;
        let generator = &mut self.scalars.generator;
        let mut draw = |_: u32, row: &mut [f32]| {
            let k = row.len() - 1;
            for factor in &mut row[..k] {
                let normal: f32 = StandardNormal.sample(generator);
                *factor = normal * scale;
            }
        };
        self.users.grow_to(event.user, &mut draw);
        self.items.grow_to(event.item, &mut draw);
        let (user_bias, p) = self.users.row_mut(event.user).split_last_mut().expect("a row has at least a bias");
        let (item_bias, q) = self.items.row_mut(event.item).split_last_mut().expect("a row has at least a bias");
        let score = *user_bias + *item_bias + sgd::dot(p, q);
        let error = self.scalars.mean.get() + score - event.target;
        let Rates { bias_rate, factor_rate, bias_l2, factor_l2 } = self.rates;
        sgd::step_bias(user_bias, error, bias_rate, bias_l2);
        sgd::step_bias(item_bias, error, bias_rate, bias_l2);
        sgd::step(p, q, error, factor_rate, factor_l2);
        score
    }
}

/// Events to learn, and who learns them. No closure: that would be inlined into what is compiled for wide registers only where
/// the compiler likes to.
struct InOrder<'l> {
    learner: &'l mut BiasedMf<Live>,
    events: &'l [Observation],
}

impl pulp::NullaryFnOnce for InOrder<'_> {
    type Output = Vec<Option<f32>>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Self { learner, events } = self;
        let mut predicted = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            learner.fetch_ahead(events, index);
            predicted.push(Some(learner.take(event)));
        }
        predicted
    }
}

impl BiasedMf<Frozen> {
    /// A model that goes on learning from here.
    #[must_use]
    pub fn melt(&self) -> BiasedMf<Live> {
        let Self { params, rates, scalars, users, items } = self;
        let (users, items) = (users.thaw(), items.thaw());
        BiasedMf { params: params.clone(), rates: *rates, scalars: scalars.clone(), users, items }
    }

    /// The model of these scalars and tables.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(params: ValidParams<BiasedMfConfig>, scalars: &[u8], tables: &mut Tables) -> Result<Self, String> {
        let width = params.factors + 1;
        let (users, items) = (Matrix::read(tables, USER_FACTORS, width)?, Matrix::read(tables, "item_factors", width)?);
        Ok(Self { rates: Rates::of(&params), params, scalars: from_scalars(scalars)?, users, items })
    }
}

impl<S: Storage> Scorer for BiasedMf<S> {
    fn rating(&self, user: u32, item: u32) -> Option<f32> {
        let (user, item) = (self.user(user), self.item(item));
        let bias = |row: &Option<(&[f32], f32)>| row.map_or(0.0, |(_, bias)| bias);
        let product = user.zip(item).map_or(0.0, |((p, _), (q, _))| sgd::dot(p, q));
        Some(self.mean() + bias(&user) + bias(&item) + product)
    }

    fn score(&self, user: u32, scores: &mut [f32]) {
        let (p, user_bias) = self.user(user).unwrap_or((&[], 0.0));
        let base = self.mean() + user_bias;
        scores.fill(base);
        scores.iter_mut().zip(self.items.rows()).for_each(|(score, row)| *score += product(p, row));
    }
}

impl Learner for BiasedMf<Live> {
    fn learn(&mut self, event: &Observation) -> Option<f32> {
        Some(self.take(event))
    }

    fn learn_all(&mut self, events: &[Observation]) -> Vec<Option<f32>> {
        pulp::Arch::new().dispatch(InOrder { learner: self, events })
    }

    /// Steps once more; the running mean, which has the event already, stays.
    fn rehearse(&mut self, event: &Observation) {
        self.update(event);
    }

    fn hasten(&mut self, factor: f32) {
        self.rates = Rates::of(&self.params).hastened(factor);
    }

    fn publish(&mut self) -> Arc<dyn Model> {
        Arc::new(self.freeze())
    }

    fn user_rows(&mut self) -> Vec<(String, &mut dyn UserRows)> {
        vec![(USER_FACTORS.to_owned(), self.users.user_rows())]
    }

    fn item_rows(&mut self) -> Option<&mut Matrix<Live>> {
        Some(&mut self.items)
    }
}

impl Model for BiasedMf<Frozen> {
    fn thaw(&self) -> Box<dyn Learner> {
        Box::new(self.melt())
    }

    fn inner_products(&self, user: u32) -> Option<InnerProducts<'_>> {
        let (factors, bias) = self.user(user)?;
        Some(InnerProducts { base: self.mean() + bias, user: factors, items: &self.items })
    }

    fn item_rows(&self) -> Option<&Matrix<Frozen>> {
        Some(&self.items)
    }

    fn item_vector(&self, item: u32) -> Option<&[f32]> {
        self.item(item).map(|(factors, _)| factors)
    }

    fn user_vector(&self, user: u32) -> Option<&[f32]> {
        self.user(user).map(|(factors, _)| factors)
    }

    fn scalars(&self) -> Vec<u8> {
        to_scalars(&self.scalars)
    }

    fn tables(&self) -> Vec<Table> {
        vec![self.users.table(USER_FACTORS), self.items.table("item_factors")]
    }
}
