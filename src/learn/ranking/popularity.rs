//! How often each item was chosen, by anybody: the baseline of every ranking, and what a new user is shown.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::PopularityConfig;
use crate::learn::params::ValidParams;
use crate::learn::tables::{Frozen, Live, Matrix, Storage, Table, Tables};
use crate::learn::{Learner, Model, Observation, Scorer, from_scalars, to_scalars};

/// Weight of a new event at which all counts are scaled down, long before they could overflow.
const LARGEST: f64 = 1e12;

/// What the model holds besides its counts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Clock {
    /// Weight of the next event; older events weigh less because newer ones weigh more.
    weight: f64,
    /// Factor by which the weight grows with each positive event; 1 where nothing decays.
    growth: f64,
}

/// Positive events of each item, shape `(n_items, 1)`; with a half-life, an event counts half after as many others.
#[derive(Clone, Debug)]
pub struct Popularity<S: Storage> {
    clock: Clock,
    counts: Matrix<S>,
}

impl Popularity<Live> {
    /// Counts in which all events weigh alike.
    #[must_use]
    pub fn running() -> Self {
        Self { clock: Clock { weight: 1.0, growth: 1.0 }, counts: Matrix::new(1) }
    }

    /// Counts in which older events weigh less.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "every learner takes its parameters")]
    pub fn decayed(params: ValidParams<PopularityConfig>) -> Self {
        let clock = Clock { weight: 1.0, growth: (1.0 / params.half_life).exp2() };
        Self { clock, counts: Matrix::new(1) }
    }

    fn tick(&mut self) {
        self.clock.weight *= self.clock.growth;
        if self.clock.weight > LARGEST {
            for item in 0..self.counts.len() as u32 {
                let count = &mut self.counts.row_mut(item)[0];
                *count = (f64::from(*count) / self.clock.weight) as f32;
            }
            self.clock.weight = 1.0;
        }
    }
}

impl Popularity<Frozen> {
    /// The model of these scalars and tables.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(scalars: &[u8], tables: &mut Tables) -> Result<Self, String> {
        Ok(Self { clock: from_scalars(scalars)?, counts: Matrix::read(tables, "popularity", 1)? })
    }
}

impl<S: Storage> Scorer for Popularity<S> {
    fn rating(&self, _user: u32, _item: u32) -> Option<f32> {
        None
    }

    fn score(&self, _user: u32, scores: &mut [f32]) {
        scores.fill(0.0);
        scores.iter_mut().zip(self.counts.rows()).for_each(|(score, row)| *score = row[0]);
    }
}

impl Learner for Popularity<Live> {
    fn learn(&mut self, event: &Observation) -> Option<f32> {
        self.counts.grow_to(event.item, |_, _| ());
        if event.positive {
            self.counts.row_mut(event.item)[0] += self.clock.weight as f32;
            self.tick();
        }
        None
    }

    fn publish(&mut self) -> Arc<dyn Model> {
        Arc::new(Popularity { clock: self.clock, counts: self.counts.publish() })
    }

    /// Counts whose weights depend on how many events came before are this trainer's own.
    fn item_rows(&mut self) -> Option<&mut Matrix<Live>> {
        (self.clock.growth == 1.0).then_some(&mut self.counts)
    }
}

impl Model for Popularity<Frozen> {
    fn thaw(&self) -> Box<dyn Learner> {
        Box::new(Popularity { clock: self.clock, counts: self.counts.thaw() })
    }

    fn item_rows(&self) -> Option<&Matrix<Frozen>> {
        (self.clock.growth == 1.0).then_some(&self.counts)
    }

    fn scalars(&self) -> Vec<u8> {
        to_scalars(&self.clock)
    }

    fn tables(&self) -> Vec<Table> {
        vec![self.counts.table("popularity")]
    }
}
