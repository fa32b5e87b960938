//! What the engine learns with: ids, one learner of ratings, one of rankings, and the test-then-learn figures.

use std::sync::Arc;

use linfa::DatasetBase;
use linfa::traits::FitWith;
use ndarray::Array1;
use roaring::RoaringBitmap;

use super::about::Genres;
use super::away::UserRows;
use super::drift::Drift;
use super::exchange::{Exchange, ItemRows};
use super::ids::{IdTable, Ids};
use super::intervals::{Intervals, UserErrors};
use super::losses::Losses;
use super::params::{RatingRange, RatingScale};
use super::prequential::Prequential;
use super::rating::RunningMean;
use super::tables::{Frozen, Live};
use super::{LearnError, Learned, Learner, Model, Observation, Observations, build};
use crate::config::Config;
use crate::decode::{Contributions, Event};
use crate::gather::MicroBatch;

/// What the names of the tables of the model that predicts ratings begin with, where both models' are listed.
pub const RATING: &str = "rating.";
/// The same of the model that ranks.
pub const RANKING: &str = "ranking.";

/// What the learner made of one new event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Dense index of the user.
    pub user: u32,
    /// Dense index of the item.
    pub item: u32,
    /// Whether it speaks for the item.
    pub positive: bool,
    /// Predicted before the event was learned, clamped to the rating range.
    pub predicted: f32,
    /// What the running mean predicted for it, likewise.
    pub mean: f32,
    /// The rating, or what stands for it.
    pub target: f32,
}

/// Everything that learning has changed, shared with readers: cheap to clone, never to change.
#[derive(Clone, Debug)]
pub struct LearnedState {
    /// Users by dense index.
    pub users: IdTable,
    /// Items by dense index.
    pub items: IdTable,
    /// Genres by dense index.
    pub genres: Genres,
    /// The model that predicts ratings.
    pub rating: Arc<dyn Model>,
    /// The model that ranks items; none where the other one does both.
    pub ranking: Option<Arc<dyn Model>>,
    /// Test-then-learn figures.
    pub prequential: Prequential,
    /// How far ratings fall from what is predicted.
    pub intervals: Intervals,
    /// How far each user's do.
    pub errors: UserErrors<Frozen>,
    /// Where predictions have become worse.
    pub drift: Drift,
    /// What each trainer has added to the items; none where one learns them alone.
    pub exchange: Option<Exchange<Frozen>>,
    /// The ratings that it was learned from. From the configuration, not from the events.
    pub scale: RatingScale,
}

impl Default for LearnedState {
    /// Nothing learned.
    fn default() -> Self {
        Self {
            users: IdTable::default(),
            items: IdTable::default(),
            genres: Genres::default(),
            rating: Arc::new(RunningMean::default()),
            ranking: None,
            prequential: Prequential::default(),
            intervals: Intervals::default(),
            errors: UserErrors::default(),
            drift: Drift::default(),
            exchange: None,
            scale: RatingScale::default(),
        }
    }
}

impl LearnedState {
    /// The model that ranks items.
    #[must_use]
    pub fn ranking(&self) -> &dyn Model {
        self.ranking.as_deref().unwrap_or(&*self.rating)
    }
}

/// The learner of the engine, moved on batch by batch.
#[derive(Debug)]
pub struct Recommender {
    scale: RatingScale,
    users: Ids,
    items: Ids,
    genres: Genres,
    rating: Box<dyn Learner>,
    ranking: Option<Box<dyn Learner>>,
    prequential: Prequential,
    losses: Losses,
    exchange: Option<Exchange<Live>>,
}

impl Recommender {
    /// A recommender that has seen nothing.
    ///
    /// # Errors
    /// If a parameter is out of its range, or `learn.rating` names a learner that predicts no ratings.
    pub fn new(config: &Config) -> Result<Self, LearnError> {
        let kinds = (config.learn.rating, config.learn.ranking);
        let mut rating = build(kinds.0, config)?;
        if rating.rating(0, 0).is_none() {
            return Err(LearnError::NoRatings(kinds.0));
        }
        let mut ranking = if kinds.0 == kinds.1 { None } else { Some(build(kinds.1, config)?) };
        let (shard, shards) = (config.engine.shard, config.engine.shards);
        let exchange = (shards > 1).then(|| Exchange::new(shard, shards, &item_rows(&mut rating, &mut ranking)));
        Ok(Self {
            scale: RatingScale::of(config),
            users: Ids::default(),
            items: Ids::default(),
            genres: Genres::default(),
            rating,
            ranking,
            prequential: Prequential::default(),
            losses: Losses::new(&config.drift, Intervals::default(), UserErrors::default(), Drift::default()),
            exchange,
        })
    }

    /// A recommender that goes on where `state` was published, under the configuration that it was learned under.
    #[must_use]
    pub fn resume(config: &Config, state: LearnedState) -> Self {
        let mut rating = state.rating.thaw();
        let mut losses = Losses::new(&config.drift, state.intervals, state.errors.thaw(), state.drift);
        losses.hasten(&mut *rating);
        let mut ranking = state.ranking.map(|ranking| ranking.thaw());
        let exchange = state.exchange.map(|exchange| exchange.thaw(&mut item_rows(&mut rating, &mut ranking)));
        Self {
            scale: RatingScale::of(config),
            users: Ids::from_table(state.users),
            items: Ids::from_table(state.items),
            genres: state.genres,
            rating,
            ranking,
            prequential: state.prequential,
            losses,
            exchange,
        }
    }

    /// Takes in what other trainers have added to items, rehearses, predicts and learns each new event in order, and works
    /// out what this trainer has added if the batch says so; one outcome for each new event.
    ///
    /// # Errors
    /// None that a decoded batch can cause; see [`LearnError`].
    pub fn learn(&mut self, batch: &MicroBatch) -> Result<Vec<Outcome>, LearnError> {
        for told in &batch.contributions {
            self.merge(told);
        }
        for event in &batch.rehearsal {
            let observation = self.observe(event);
            self.rating.rehearse(&observation);
            if let Some(ranking) = &mut self.ranking {
                ranking.rehearse(&observation);
            }
        }
        let mut events = batch.events.iter().map(|event| self.observe(event)).collect::<Vec<_>>().into_iter();
        let mut outcomes = Vec::with_capacity(events.len());
        while !events.as_slice().is_empty() {
            // Cut where the detector's own blocks end, and not the batches, so that those reach no number.
            let steady = self.losses.steady(events.as_slice().len());
            self.learn_steadily(events.by_ref().take(steady).collect(), &mut outcomes)?;
        }
        if batch.shares
            && let Some(exchange) = &mut self.exchange
        {
            exchange.share(&mut item_rows(&mut self.rating, &mut self.ranking));
        }
        Ok(outcomes)
    }

    /// The tables by name whose rows are users' and may be [away](super::away).
    pub fn user_rows(&mut self) -> Vec<(String, &mut dyn UserRows)> {
        let named = |prefix: &'static str| move |(name, rows)| (format!("{prefix}{name}"), rows);
        let rating = self.rating.user_rows().into_iter().map(named(RATING));
        let ranking = self.ranking.iter_mut().flat_map(|ranking| ranking.user_rows()).map(named(RANKING));
        rating.chain(ranking).collect()
    }

    /// The users whose rows learning a batch reads, as far as they are known: none of them may be away.
    #[must_use]
    pub fn needed(&self, batch: &MicroBatch) -> RoaringBitmap {
        let (mut users, mut items) = (RoaringBitmap::new(), RoaringBitmap::new());
        for event in batch.rehearsal.iter().chain(&batch.events) {
            users.extend(self.users.get(&event.user));
            items.extend(self.items.get(&event.item));
        }
        for item in items {
            users.extend(self.rating.needed(item));
            users.extend(self.ranking.iter().flat_map(|ranking| ranking.needed(item)));
        }
        users
    }

    /// Dense index of a user, if he is known.
    #[must_use]
    pub fn user(&self, id: &str) -> Option<u32> {
        self.users.get(id)
    }

    fn merge(&mut self, told: &Contributions) {
        if let Some(exchange) = &mut self.exchange {
            let items: Vec<u32> = told.items.iter().map(|item| self.items.intern(item)).collect();
            exchange.merge(told, &items, &mut item_rows(&mut self.rating, &mut self.ranking));
        }
    }

    /// Learns events between which the pace of learning does not change.
    fn learn_steadily(&mut self, events: Vec<Observation>, outcomes: &mut Vec<Outcome>) -> Result<(), LearnError> {
        let targets: Array1<f32> = events.iter().map(|event| event.target).collect();
        let dataset = DatasetBase::new(Observations(events), targets);
        // The learner goes in and comes out by value, as linfa has it.
        let rating = std::mem::replace(&mut self.rating, Box::new(RunningMean::default()));
        let Learned { learner, predicted } = self.scale.range.fit_with(rating, &dataset)?;
        self.rating = learner;
        for (event, predicted) in dataset.records.0.iter().zip(&predicted) {
            if let Some(ranking) = &mut self.ranking {
                ranking.learn(event);
            }
            if event.positive
                && let Some(exchange) = &mut self.exchange
            {
                exchange.like(event.item);
            }
            outcomes.push(self.score(event, *predicted));
        }
        self.losses.hasten(&mut *self.rating);
        Ok(())
    }

    /// Takes in how far a prediction was from what came.
    fn score(&mut self, event: &Observation, predicted: f32) -> Outcome {
        let Observation { user, item, target, positive, .. } = *event;
        let mean = self.prequential.record(predicted, target, self.scale.range);
        self.losses.record(event, predicted, self.prequential.events(), self.scale.range);
        Outcome { user, item, positive, predicted, mean, target }
    }

    /// Hands readers everything learned so far. Costs what changed since the last call.
    pub fn publish(&mut self) -> LearnedState {
        LearnedState {
            users: self.users.publish(),
            items: self.items.publish(),
            genres: self.genres.clone(),
            rating: self.rating.publish(),
            ranking: self.ranking.as_mut().map(|ranking| ranking.publish()),
            prequential: self.prequential.clone(),
            intervals: self.losses.intervals.clone(),
            errors: self.losses.errors.publish(),
            drift: self.losses.drift.clone(),
            exchange: self.exchange.as_mut().map(Exchange::publish),
            scale: self.scale,
        }
    }

    /// The event by dense indexes; ids not known yet get the next index.
    fn observe(&mut self, event: &Event) -> Observation {
        let item = self.items.intern(&event.item);
        if let Some(exchange) = &mut self.exchange {
            exchange.touch(item);
        }
        Observation {
            user: self.users.intern(&event.user),
            item,
            target: target(event.rating, event.count, self.scale.range),
            positive: event.rating.is_none_or(|rating| self.scale.is_positive(rating)),
            count: event.count.unwrap_or(1.0),
            ts: event.ts_of_event.then_some(event.ts),
            about: self.genres.about(&event.genres, event.year),
        }
    }
}

/// The rows of items of both learners.
fn item_rows<'r>(rating: &'r mut Box<dyn Learner>, ranking: &'r mut Option<Box<dyn Learner>>) -> ItemRows<'r> {
    ItemRows(rating.item_rows().into_iter().chain(ranking.as_mut().and_then(|ranking| ranking.item_rows())).collect())
}

/// The rating that an event stands for.
///
/// Implicit feedback has none: a count is mapped into the rating range by `low + (high - low) * l / (1 + l)` with
/// `l = log10(1 + count)`, which grows with the count and saturates; an event with neither counts as once.
#[must_use]
pub fn target(rating: Option<f32>, count: Option<f32>, range: RatingRange) -> f32 {
    rating.unwrap_or_else(|| {
        let level = (1.0 + count.unwrap_or(1.0)).log10();
        range.low() + (range.high() - range.low()) * level / (1.0 + level)
    })
}
