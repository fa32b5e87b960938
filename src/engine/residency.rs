//! In the learning stage: which users' rows are in memory, where `engine.user_bytes` bounds them.
//!
//! Users who were idle longest go first, and none whose rows are not as the newest snapshot has them. Whoever returns, by an
//! event or since somebody asks for a list, has his rows read from there. The model and its hash are the same as without a
//! bound: only the time differs that a batch takes.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashlink::LinkedHashMap;
use roaring::RoaringBitmap;
use tokio::sync::watch;

use super::patience;
use crate::config::Config;
use crate::gather::MicroBatch;
use crate::learn::away::{Away, UserRows};
use crate::learn::tables::Live;
use crate::learn::{LearnError, Outcome, Recommender};
use crate::publish::Publisher;
use crate::publish::history::SEEN;
use crate::serve::Status;
use crate::store::snapshot::away::{Lacking, Origins, Read};
use crate::store::{Store, StoreError};

/// Bytes of a user in memory beside his rows: his place in the line.
const PLACE: usize = 64;

/// Users who are put back at once since somebody asks for them.
pub(super) const ASKED_AT_ONCE: usize = 256;

/// Names of the tables whose rows may be away; none where they are not bounded.
pub(super) fn names(config: &Config) -> Result<BTreeSet<String>, LearnError> {
    if config.engine.user_bytes == 0 {
        return Ok(BTreeSet::new());
    }
    let mut recommender = Recommender::new(config)?;
    let names = recommender.user_rows().into_iter().map(|(name, _)| name);
    Ok(names.chain([SEEN.to_owned()]).collect())
}

pub(super) struct Residency {
    store: Arc<dyn Store>,
    status: Arc<Status>,
    /// Most bytes of users' rows.
    budget: usize,
    /// Where rows are that are away, as of the newest snapshot.
    newest: watch::Receiver<Arc<Origins>>,
    origins: Arc<Origins>,
    away: Away<Live>,
    /// Users in memory, the one who was idle longest first.
    resident: LinkedHashMap<u32, Held>,
    /// Bytes of all of them.
    bytes: usize,
    /// Bytes of those who have changed since the newest snapshot.
    unsaved: usize,
    /// Batch after which a snapshot was asked for.
    asked: u64,
}

/// A user in memory.
#[derive(Clone, Copy)]
struct Held {
    /// The last batch that changed his rows; 0 if none has since they were read.
    changed: u64,
    bytes: usize,
}

/// All tables of users' rows.
fn tables<'r>(
    recommender: &'r mut Recommender,
    publisher: &'r mut Publisher,
) -> impl Iterator<Item = (String, &'r mut dyn UserRows)> {
    recommender.user_rows().into_iter().chain([publisher.user_rows()])
}

/// Bytes that each of the users takes in memory.
fn measured(users: &RoaringBitmap, recommender: &mut Recommender, publisher: &mut Publisher) -> Vec<usize> {
    let mut bytes = vec![PLACE; users.len() as usize];
    for (_, rows) in tables(recommender, publisher) {
        bytes.iter_mut().zip(users).for_each(|(bytes, user)| *bytes += rows.bytes(user));
    }
    bytes
}

impl Residency {
    /// Of a model whose first `users` users are all away.
    pub(super) fn new(
        config: &Config,
        store: Arc<dyn Store>,
        status: Arc<Status>,
        newest: watch::Receiver<Arc<Origins>>,
        users: usize,
    ) -> Self {
        let origins = Arc::clone(&newest.borrow());
        let budget = config.engine.user_bytes;
        status.resident.set_budget(budget);
        Self {
            store,
            status,
            budget,
            newest,
            origins,
            away: Away::all(users),
            resident: LinkedHashMap::new(),
            bytes: 0,
            unsaved: 0,
            asked: 0,
        }
    }

    /// Puts the rows back that learning the batch needs. Where too many have changed since the newest snapshot, waits for the
    /// next one, which was asked for.
    pub(super) async fn before(
        &mut self,
        batch: &MicroBatch,
        recommender: &mut Recommender,
        publisher: &mut Publisher,
    ) -> Result<(), StoreError> {
        self.look();
        while self.bytes > self.budget && self.origins.batch < self.asked {
            if self.newest.changed().await.is_err() {
                break;
            }
            self.look();
            self.make_room(recommender, publisher);
        }
        let needed = recommender.needed(batch);
        for user in &needed {
            self.resident.to_back(&user);
        }
        self.put_back(&needed, recommender, publisher).await
    }

    /// Takes in whose rows the batch has changed, and makes room for the next one.
    pub(super) fn after(
        &mut self,
        batch: &MicroBatch,
        outcomes: &[Outcome],
        recommender: &mut Recommender,
        publisher: &mut Publisher,
    ) {
        let rehearsed = batch.rehearsal.iter().filter_map(|event| recommender.user(&event.user));
        let changed: RoaringBitmap = outcomes.iter().map(|outcome| outcome.user).chain(rehearsed).collect();
        let bytes = measured(&changed, recommender, publisher);
        for (user, bytes) in changed.into_iter().zip(bytes) {
            let before = self.resident.remove(&user);
            let unsaved = before.filter(|held| held.changed > self.origins.batch);
            self.bytes = self.bytes + bytes - before.map_or(0, |held| held.bytes);
            self.unsaved = self.unsaved + bytes - unsaved.map_or(0, |held| held.bytes);
            self.resident.insert(user, Held { changed: batch.number, bytes });
        }
        self.look();
        self.make_room(recommender, publisher);
    }

    /// Whether a snapshot is due after the batch, so that rows can go.
    pub(super) fn wants_snapshot(&mut self, batch: u64) -> bool {
        let wants = self.unsaved > self.budget / 2 && self.origins.batch >= self.asked;
        if wants {
            self.asked = batch;
        }
        wants
    }

    /// Puts the rows of users back, as far as they are away.
    pub(super) async fn put_back(
        &mut self,
        users: &RoaringBitmap,
        recommender: &mut Recommender,
        publisher: &mut Publisher,
    ) -> Result<(), StoreError> {
        let missing: RoaringBitmap = users.iter().filter(|user| self.away.is(*user)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let read = loop {
            let lacking = self.lacking(&missing, recommender, publisher);
            let reading = || Read::from(&*self.store, lacking.clone());
            match patience::until_done(&self.status, reading).await {
                Ok(read) => break read,
                // A snapshot was taken meanwhile, and those before it deleted.
                Err(StoreError::Damaged { .. }) if self.look() => {}
                Err(error) => return Err(error),
            }
        };
        for (name, rows) in tables(recommender, publisher) {
            for user in missing.iter().filter(|user| self.origins.has(&name, *user)) {
                if let Some(stored) = rows.part(user).and_then(|part| read.get(&name, part)) {
                    rows.recall(user, stored).map_err(|reason| self.damaged(&name, user, reason))?;
                }
            }
        }
        self.status.resident.count_recalled(missing.len() as usize);
        let bytes = measured(&missing, recommender, publisher);
        for (user, bytes) in missing.into_iter().zip(bytes) {
            self.away.set(user, false);
            self.bytes += bytes;
            self.resident.insert(user, Held { changed: 0, bytes });
        }
        publisher.do_without(self.away.publish());
        Ok(())
    }

    /// The stored parts that hold the users' rows.
    fn lacking(&self, users: &RoaringBitmap, recommender: &mut Recommender, publisher: &mut Publisher) -> Vec<Lacking> {
        let mut lacking = Vec::new();
        for (name, rows) in tables(recommender, publisher) {
            let own = users.iter().filter(|user| self.origins.has(&name, *user));
            let parts: BTreeSet<usize> = own.filter_map(|user| rows.part(user)).collect();
            lacking.extend(parts.into_iter().filter_map(|part| self.origins.part(&name, part)));
        }
        lacking
    }

    fn damaged(&self, table: &str, user: u32, reason: String) -> StoreError {
        let what = format!("row {user} of {table} in the snapshot of batch {}", self.origins.batch);
        StoreError::Damaged { what, location: self.store.location(), reason }
    }

    /// Frees the rows of whoever was idle longest until the rest is within the budget, or has changed since the snapshot.
    pub(super) fn make_room(&mut self, recommender: &mut Recommender, publisher: &mut Publisher) {
        let mut gone = RoaringBitmap::new();
        while self.bytes > self.budget
            && let Some((user, held)) = self.resident.front().map(|(user, held)| (*user, *held))
            && held.changed <= self.origins.batch
        {
            self.resident.pop_front();
            self.bytes -= held.bytes;
            self.away.set(user, true);
            gone.insert(user);
        }
        self.status.resident.set(self.resident.len(), self.bytes);
        if gone.is_empty() {
            return;
        }
        for (name, rows) in tables(recommender, publisher) {
            // A row that came to be since the snapshot stays: nobody else has it.
            gone.iter().filter(|user| self.origins.has(&name, *user)).for_each(|user| rows.forget(user));
        }
        self.status.resident.count_forgotten(gone.len() as usize);
        publisher.do_without(self.away.publish());
    }

    /// Goes over to the newest snapshot; whether there is another one than before.
    fn look(&mut self) -> bool {
        let newest = Arc::clone(&self.newest.borrow_and_update());
        let is_other = newest.batch > self.origins.batch;
        if is_other {
            self.unsaved =
                self.resident.values().filter(|held| held.changed > newest.batch).map(|held| held.bytes).sum();
            self.origins = newest;
        }
        is_other
    }
}
