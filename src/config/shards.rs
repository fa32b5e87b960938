//! What is a trainer's own where several share the users: its store and its topic of the model.
//!
//! Apart from the sections, because the names are made of the settings that all trainers and servers have in common: one
//! file serves them all, but for `engine.shard`.

use super::Config;

impl Config {
    /// The settings of one trainer: its own names in the place of the common ones.
    #[must_use]
    pub fn of_shard(&self, shard: usize) -> Self {
        let mut own = self.clone();
        own.engine.shard = shard;
        if self.engine.shards > 1 {
            own.store.database = format!("{}_{shard}", self.store.database);
            own.broker.model_topic = format!("{}-{shard}", self.broker.model_topic);
        }
        own
    }

    /// The settings of the trainer that this process is, or whose store it looks into.
    #[must_use]
    pub fn own(&self) -> Self {
        self.of_shard(self.engine.shard)
    }

    /// Which share of the users this is.
    #[must_use]
    pub fn share(&self) -> Share {
        Share { shard: self.engine.shard, shards: self.engine.shards }
    }
}

/// One trainer's share of the partitions, and so of the users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which trainer, from 0.
    pub shard: usize,
    /// Of how many.
    pub shards: usize,
}

impl Share {
    /// The share that a partition is of.
    #[must_use]
    pub fn of(partition: i32, shards: usize) -> Self {
        Self { shard: partition.unsigned_abs() as usize % shards.max(1), shards }
    }

    /// Whether a partition is of it.
    #[must_use]
    pub fn has(self, partition: i32) -> bool {
        Self::of(partition, self.shards) == self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_a_trainer_s_own_only_where_there_are_several() {
        let mut config = Config::default();
        assert_eq!(config.own().store.database, config.store.database);
        config.engine.shards = 3;
        let own = config.of_shard(2);
        assert_eq!((own.store.database.as_str(), own.broker.model_topic.as_str()), ("freshet_2", "freshet-model-2"));
        assert!([2, 5].into_iter().all(|partition| own.share().has(partition)) && !own.share().has(3));
    }
}
