//! Several trainers in one process, for measuring what is lost and won by sharing the users out among them.
//!
//! Each learns the events of its own users, and after so many events of anybody each hears what the others have added to
//! items, as trainers on Kafka do after so much time. Users and items have the same dense indexes in all of them.

use std::sync::Arc;

use super::exchange::{Exchange, ItemRows};
use super::params::ParamError;
use super::tables::Live;
use super::{Learner, Model, Observation, Scorer, build};
use crate::config::{Config, LearnerKind};
use crate::decode::Contributions;

/// One trainer's learner, and what it has heard of the others.
#[derive(Debug)]
pub struct Trainer {
    learner: Box<dyn Learner>,
    exchange: Exchange<Live>,
}

impl Trainer {
    /// Trainer `shard` of `shards`, which has seen nothing; none if what the learner learns of items does not add up.
    ///
    /// # Errors
    /// If a parameter is out of its range.
    pub fn new(kind: LearnerKind, config: &Config, shard: usize, shards: usize) -> Result<Option<Self>, ParamError> {
        let mut learner = build(kind, config)?;
        let Some(rows) = learner.item_rows() else { return Ok(None) };
        let exchange = Exchange::new(shard, shards, &ItemRows(vec![rows]));
        Ok(Some(Self { learner, exchange }))
    }

    /// Learns an event of one of its users, and says what it would have predicted.
    pub fn learn(&mut self, event: &Observation) -> Option<f32> {
        self.exchange.touch(event.item);
        if event.positive {
            self.exchange.like(event.item);
        }
        self.learner.learn(event)
    }

    /// What it has added to items since the last time, with the items' dense indexes.
    pub fn tell(&mut self) -> (Contributions, Vec<u32>) {
        let items = self.exchange.share(&mut ItemRows(self.learner.item_rows().into_iter().collect()));
        let rows = items.iter().flat_map(|item| self.exchange.own(*item)).copied().collect();
        let (shard, number) = (self.exchange.shard(), self.exchange.number());
        (Contributions { shard, store: 1, number, last: true, items: Vec::new(), rows }, items)
    }

    /// Hears what another one has added.
    pub fn hear(&mut self, told: &Contributions, items: &[u32]) {
        let mut rows = ItemRows(self.learner.item_rows().into_iter().collect());
        self.exchange.merge(told, items, &mut rows);
    }
}

/// All trainers as one learner.
#[derive(Debug)]
pub struct Trainers {
    all: Vec<Trainer>,
    /// Events of anybody between two exchanges.
    every: u64,
    events: u64,
}

impl Trainers {
    /// Trainers that have seen nothing; none if what the learner learns of items does not add up.
    ///
    /// # Errors
    /// If a parameter is out of its range.
    pub fn new(kind: LearnerKind, config: &Config, shards: usize, every: u64) -> Result<Option<Self>, ParamError> {
        let trainers: Result<Option<Vec<Trainer>>, ParamError> = (0..shards)
            .map(|shard| Trainer::new(kind, config, shard, shards).transpose())
            .map(Option::transpose)
            .collect();
        Ok(trainers?.map(|all| Self { all, every, events: 0 }))
    }

    fn of(&self, user: u32) -> usize {
        user as usize % self.all.len()
    }

    fn exchange(&mut self) {
        let told: Vec<_> = self.all.iter_mut().map(Trainer::tell).collect();
        for trainer in &mut self.all {
            for (told, items) in &told {
                trainer.hear(told, items);
            }
        }
    }
}

impl Scorer for Trainers {
    fn rating(&self, user: u32, item: u32) -> Option<f32> {
        self.all[self.of(user)].learner.rating(user, item)
    }

    fn score(&self, user: u32, scores: &mut [f32]) {
        self.all[self.of(user)].learner.score(user, scores);
    }
}

impl Learner for Trainers {
    fn learn(&mut self, event: &Observation) -> Option<f32> {
        let own = self.of(event.user);
        let predicted = self.all[own].learn(event);
        self.events += 1;
        if self.events.is_multiple_of(self.every) {
            self.exchange();
        }
        predicted
    }

    fn hasten(&mut self, factor: f32) {
        self.all.iter_mut().for_each(|trainer| trainer.learner.hasten(factor));
    }

    /// The first one's: there is no model of all.
    fn publish(&mut self) -> Arc<dyn Model> {
        self.all[0].learner.publish()
    }
}
