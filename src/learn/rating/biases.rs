//! Mean, user bias and item bias by stochastic gradient descent: the baseline of what a rating owes to nothing but the
//! user's mildness and the item's merit.
//!
//! A rating is predicted as `mean + b_u + b_i` (Koren, Bell, Volinsky, "Matrix Factorization Techniques for Recommender
//! Systems", IEEE Computer 2009, eq. 3). With `rate` = 0.05 and `l2` = 0 it is River's `Baseline` with SGD(0.025), whose
//! gradient has a factor of 2.

use std::sync::Arc;

use super::RunningMean;
use super::sgd::step_bias;
use crate::config::BiasesConfig;
use crate::learn::away::UserRows;
use crate::learn::params::ValidParams;
use crate::learn::tables::{Frozen, Live, Matrix, Storage, Table, Tables};
use crate::learn::{Learner, Model, Observation, Scorer, from_scalars, to_scalars};

/// Name of the users' table.
const USER_BIASES: &str = "user_biases";

/// The model: biases of users and of items, each of shape `(n, 1)`.
#[derive(Clone, Debug)]
pub struct Biases<S: Storage> {
    params: ValidParams<BiasesConfig>,
    /// By how much larger the steps are than the parameters say.
    factor: f32,
    mean: RunningMean,
    users: Matrix<S>,
    items: Matrix<S>,
}

impl<S: Storage> Biases<S> {
    fn bias(rows: &Matrix<S>, index: u32) -> f32 {
        rows.get(index).map_or(0.0, |row| row[0])
    }
}

impl Biases<Live> {
    /// A model that has seen nothing.
    #[must_use]
    pub fn new(params: ValidParams<BiasesConfig>) -> Self {
        Self { params, factor: 1.0, mean: RunningMean::default(), users: Matrix::new(1), items: Matrix::new(1) }
    }

    /// One step; returns the biases' sum before it.
    fn update(&mut self, event: &Observation) -> f32 {
        let (rate, l2) = ((self.params.rate as f32 * self.factor).min(1.0), self.params.l2 as f32);
        self.users.grow_to(event.user, |_, _| ());
        self.items.grow_to(event.item, |_, _| ());
        let (user, item) = (&mut self.users.row_mut(event.user)[0], &mut self.items.row_mut(event.item)[0]);
        let score = *user + *item;
        let error = self.mean.get() + score - event.target;
        step_bias(user, error, rate, l2);
        step_bias(item, error, rate, l2);
        score
    }
}

impl Biases<Frozen> {
    /// The model of these scalars and tables.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(params: ValidParams<BiasesConfig>, scalars: &[u8], tables: &mut Tables) -> Result<Self, String> {
        let (users, items) = (Matrix::read(tables, USER_BIASES, 1)?, Matrix::read(tables, "item_biases", 1)?);
        Ok(Self { params, factor: 1.0, mean: from_scalars(scalars)?, users, items })
    }
}

impl<S: Storage> Scorer for Biases<S> {
    fn rating(&self, user: u32, item: u32) -> Option<f32> {
        Some(self.mean.get() + Self::bias(&self.users, user) + Self::bias(&self.items, item))
    }

    fn score(&self, user: u32, scores: &mut [f32]) {
        let base = self.mean.get() + Self::bias(&self.users, user);
        scores.fill(base);
        scores.iter_mut().zip(self.items.rows()).for_each(|(score, row)| *score += row[0]);
    }
}

impl Learner for Biases<Live> {
    fn learn(&mut self, event: &Observation) -> Option<f32> {
        let before = self.mean.get();
        self.mean.add(event.target);
        Some(before + self.update(event))
    }

    fn rehearse(&mut self, event: &Observation) {
        self.update(event);
    }

    fn hasten(&mut self, factor: f32) {
        self.factor = factor;
    }

    fn user_rows(&mut self) -> Vec<(String, &mut dyn UserRows)> {
        vec![(USER_BIASES.to_owned(), self.users.user_rows())]
    }

    fn publish(&mut self) -> Arc<dyn Model> {
        let Self { params, factor, mean, users, items } = self;
        let (users, items) = (users.publish(), items.publish());
        Arc::new(Biases { params: params.clone(), factor: *factor, mean: *mean, users, items })
    }

    fn item_rows(&mut self) -> Option<&mut Matrix<Live>> {
        Some(&mut self.items)
    }
}

impl Model for Biases<Frozen> {
    fn thaw(&self) -> Box<dyn Learner> {
        let Self { params, factor, mean, users, items } = self;
        let (users, items) = (users.thaw(), items.thaw());
        Box::new(Biases { params: params.clone(), factor: *factor, mean: *mean, users, items })
    }

    fn item_rows(&self) -> Option<&Matrix<Frozen>> {
        Some(&self.items)
    }

    fn scalars(&self) -> Vec<u8> {
        to_scalars(&self.mean)
    }

    fn tables(&self) -> Vec<Table> {
        vec![self.users.table(USER_BIASES), self.items.table("item_biases")]
    }
}
