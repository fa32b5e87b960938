//! A watcher as a member of a group: what it prints is committed, and it shares the partitions with the other members.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaRespErr;

use super::super::Place;
use super::{Ask, Context, found, list, places};

/// What the rebalance callback tells the watcher.
pub(super) enum Change {
    Came(Vec<Place>),
    Went(Vec<(String, i32)>),
    /// The partitions could not be taken over: nothing would ever be read.
    Failed(KafkaError),
}

/// Shared by the watcher and librdkafka's callbacks.
pub(super) struct Member {
    ask: Ask,
    changes: Mutex<Vec<Change>>,
    changed: AtomicBool,
    joined: AtomicBool,
    /// The next offset of what has been printed, to be committed before a partition is given back.
    printed: Mutex<BTreeMap<(String, i32), i64>>,
}

impl Member {
    pub(super) fn new(ask: Ask) -> Self {
        Self {
            ask,
            changes: Mutex::default(),
            changed: AtomicBool::new(false),
            joined: AtomicBool::new(false),
            printed: Mutex::default(),
        }
    }

    /// What has changed since the last time.
    pub(super) fn changes(&self) -> Vec<Change> {
        if self.changed.swap(false, Ordering::Relaxed) { std::mem::take(&mut *self.changes.lock()) } else { Vec::new() }
    }

    /// Whether the group has assigned partitions, or told that there are none.
    pub(super) fn has_joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }

    /// Everything before these places has been printed.
    pub(super) fn printed(&self, moved: &[&Place]) {
        let mut printed = self.printed.lock();
        for place in moved {
            printed.insert((place.topic.to_string(), place.partition), place.next);
        }
    }

    fn tell(&self, change: Change) {
        self.changes.lock().push(change);
        self.changed.store(true, Ordering::Relaxed);
    }

    fn assign(&self, client: &BaseConsumer<Context<Self>>, partitions: &TopicPartitionList) -> KafkaResult<()> {
        let came = self.places(client, partitions)?;
        let offset = |place: &Place| Offset::Offset(place.fetch_from());
        let start = list(came.iter().map(|place| (&*place.topic, place.partition, offset(place))))?;
        match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_assign(&start)?,
            _ => client.assign(&start)?,
        }
        tracing::info!(partitions = came.len(), "the group assigned partitions");
        self.tell(Change::Came(came));
        self.joined.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Where the partitions go on: behind what the group has committed, else where the watcher was told to start.
    fn places(&self, client: &BaseConsumer<Context<Self>>, came: &TopicPartitionList) -> KafkaResult<Vec<Place>> {
        let mut by_topic: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for one in came.elements() {
            by_topic.entry(one.topic().to_owned()).or_default().push(one.partition());
        }
        let mut all = Vec::new();
        for (topic, partitions) in by_topic {
            let topic: Arc<str> = Arc::from(topic);
            let asked = list(partitions.iter().map(|&partition| (&*topic, partition, Offset::Invalid)))?;
            let committed = client.committed_offsets(asked, self.ask.timeout)?;
            for mut place in places(client, &topic, &partitions, self.ask)? {
                place.next = found(&committed, &topic, place.partition)?.unwrap_or(place.next);
                all.push(place);
            }
        }
        Ok(all)
    }

    fn revoke(&self, client: &BaseConsumer<Context<Self>>, partitions: &TopicPartitionList) -> KafkaResult<()> {
        let gone: Vec<_> = partitions.elements().iter().map(|one| (one.topic().to_owned(), one.partition())).collect();
        let mut printed = self.printed.lock();
        let done: Vec<_> = gone.iter().filter_map(|key| printed.remove_entry(key)).collect();
        drop(printed);
        if !done.is_empty() && !client.assignment_lost() {
            let offsets =
                list(done.iter().map(|((topic, partition), next)| (&**topic, *partition, Offset::Offset(*next))))?;
            if let Err(error) = client.commit(&offsets, CommitMode::Sync) {
                tracing::warn!(%error, "what was printed last is not committed: the group reads it again");
            }
        }
        self.tell(Change::Went(gone));
        match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_unassign(partitions),
            _ => client.unassign(),
        }
    }
}

impl ConsumerContext for Context<Member> {
    fn rebalance(&self, client: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let assigned = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let done = if assigned { self.role.assign(client, partitions) } else { self.role.revoke(client, partitions) };
        if let Err(error) = done {
            // The group waits for an answer, whatever it is.
            let _ = client.unassign();
            self.role.tell(Change::Failed(error));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "kafka did not take committed offsets");
        }
    }
}
