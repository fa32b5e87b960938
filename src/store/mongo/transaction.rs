//! The one writer: its transactions, which either compare the epoch and write, or change nothing.
//!
//! Apart from the plain reads and writes, because exactness rests here. Every transaction reads where the store stands,
//! decides by it, and changes its lane's document together with what it inserts. A superseded engine finds another epoch
//! and a repeated write finds its own traces, so that nothing is stored twice, nor anything without the offsets after it.
//! Writes insert side by side, each in a lane, and commit one after the other.

use std::time::Duration;

use futures::future::select_all;
use mongodb::bson::{Document, doc};
use mongodb::error::Error;
use mongodb::options::ReadConcern;
use mongodb::{ClientSession, Collection, Database};

use super::failure::{Patience, Place, may_pass};
use super::lanes::{self, Lane, Taken};
use super::work::{Deletion, NewSnapshot, Persist, Work};
use crate::fault::{self, Point};
use crate::store::rules::Standing;
use crate::store::{Claim, DurableWrite, StoreError, Turn};

/// How long a conflict, or a server that changes, is waited out before the engine is told; it goes on trying.
const WRITE_FOR: Duration = Duration::from_secs(3);

/// Longest that one transaction may take. The driver itself waits for ever on a connection that went silent.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How long a transaction that is done but for its commit is held open for the write before it. That one has failed, or
/// is about to: it is tried again alone, and then this one.
const HOLD: Duration = Duration::from_secs(3);

/// Writes to one database under epochs.
pub(super) struct Writer {
    database: Database,
    engine: Collection<Document>,
    lanes: Vec<Lane>,
}

impl Writer {
    pub(super) fn new(database: &Database, lanes: usize) -> Self {
        Self { database: database.clone(), engine: database.collection("engine"), lanes: Lane::all(lanes) }
    }

    pub(super) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Raises the epoch and ends what the engine before has under way.
    pub(super) async fn claim(&self) -> Result<Claim, Error> {
        lanes::claim(&self.database, &self.lanes).await
    }

    /// Makes one write durable in its turn.
    pub(super) async fn persist(
        &self,
        place: &Place,
        epoch: u64,
        write: &DurableWrite,
        turn: &Turn,
    ) -> Result<(), StoreError> {
        const ACTION: &str = "store events";
        let persist = Persist::new(write, turn).map_err(|error| place.failure(ACTION, &error))?;
        if !persist.may_be_ahead() {
            turn.come().await;
        }
        let lane = self.free_lane().await;
        self.run(place, ACTION, lane, Some(epoch), &Work::Persist(persist)).await.map(|_| ())
    }

    /// Makes a snapshot visible.
    pub(super) async fn put_snapshot(
        &self,
        place: &Place,
        epoch: u64,
        snapshot: NewSnapshot<'_>,
    ) -> Result<(), StoreError> {
        let lane = self.lanes[0].take().await;
        self.run(place, "store a snapshot", lane, Some(epoch), &Work::Snapshot(snapshot)).await.map(|_| ())
    }

    /// Deletes documents if the manifests are still the supposed ones; whether they are.
    pub(super) async fn delete(
        &self,
        place: &Place,
        epoch: Option<u64>,
        deletion: Deletion<'_>,
    ) -> Result<bool, StoreError> {
        let lane = self.lanes[0].take().await;
        self.run(place, "delete old snapshots", lane, epoch, &Work::Delete(deletion)).await
    }

    /// The first lane that is free.
    async fn free_lane(&self) -> Taken<'_> {
        select_all(self.lanes.iter().map(|lane| Box::pin(lane.take()))).await.0
    }

    /// Without an epoch, under the one in force. Whether what the work supposes still held; else nothing was changed.
    async fn run(
        &self,
        place: &Place,
        action: &'static str,
        mut lane: Taken<'_>,
        epoch: Option<u64>,
        work: &Work<'_>,
    ) -> Result<bool, StoreError> {
        let mut patience = Patience::new(WRITE_FOR);
        loop {
            let attempt = tokio::time::timeout(ANSWER_WITHIN, self.attempt(&mut lane, place, epoch, work)).await;
            let reason = match attempt {
                Ok(Ok(held)) => return Ok(held),
                Ok(Err(Failure::NotYet)) => {
                    abort(&mut lane.session).await;
                    work.turn_comes().await;
                    patience = Patience::new(WRITE_FOR);
                    continue;
                }
                Ok(Err(Failure::Driver(error))) if may_pass(&error) => place.gist(&error),
                Ok(Err(failure)) => {
                    abort(&mut lane.session).await;
                    return Err(failure.into_store_error(place, action));
                }
                Err(_) => "no answer".to_string(),
            };
            tracing::debug!(location = place.location, reason, "cannot {action}; trying again");
            if !patience.wait().await {
                abort(&mut lane.session).await;
                return Err(place.unavailable(action, reason));
            }
        }
    }

    /// One transaction. When the outcome of the one before is unknown, this one finds out: what took effect is read here
    /// under the epoch, and the commit waits until a majority has what was read.
    async fn attempt(
        &self,
        lane: &mut Taken<'_>,
        place: &Place,
        epoch: Option<u64>,
        work: &Work<'_>,
    ) -> Result<bool, Failure> {
        abort(&mut lane.session).await;
        let session = match &mut *lane.session {
            Some(session) => session,
            empty => empty.insert(self.database.client().start_session().await?),
        };
        // Before the server takes its snapshot, so that it shows the write before if its turn has come.
        let in_turn = work.in_turn();
        session.start_transaction().read_concern(ReadConcern::snapshot()).await?;
        let gone = || place.damaged("the engine document", "it is gone; restart the engine, it claims the store again");
        let stored = lanes::standing(&self.database, Some(&mut *session)).await?.ok_or_else(gone)?;
        let epoch = epoch.unwrap_or(stored.epoch);
        if work.standing(place, &stored, epoch, in_turn)? == Standing::Next {
            // Should a claim come in between, the server fails this update with a write conflict.
            let ours = doc! {"_id": lane.id, "epoch": epoch as i64};
            let update = work.update(&stored)?;
            if self.engine.update_one(ours, update).session(&mut *session).await?.matched_count == 0 {
                return Err(gone().into());
            }
            if !work.write(&self.database, session, place).await? {
                session.abort_transaction().await?;
                return Ok(false);
            }
            if let Work::Persist(persist) = work {
                fault::pass(Point::Written);
                if !in_turn {
                    in_line(persist, place, stored, epoch).await?;
                }
            }
        }
        Ok(session.commit_transaction().await.map(|()| true)?)
    }
}

/// Waits until the write before is durable, and compares once more: the snapshot did not show it.
async fn in_line(persist: &Persist<'_>, place: &Place, stored: Claim, epoch: u64) -> Result<(), Failure> {
    if !persist.turn.has_come() {
        fault::pass(Point::Held);
    }
    let came = tokio::time::timeout(HOLD, persist.turn.come()).await;
    let progress = came.map_err(|_| Failure::NotYet)?.unwrap_or_default();
    persist.standing(place, &Claim { progress, ..stored }, epoch, true)?;
    Ok(())
}

/// Why a transaction was not made.
pub(super) enum Failure {
    /// The driver or the server failed.
    Driver(Error),
    /// The store refuses the work.
    Refused(StoreError),
    /// The write before takes too long to become durable.
    NotYet,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    fn into_store_error(self, place: &Place, action: &'static str) -> StoreError {
        match self {
            Self::Driver(error) => place.failure(action, &error),
            Self::Refused(error) => error,
            Self::NotYet => place.unavailable(action, "the write before it is not durable"),
        }
    }
}

/// Ends a transaction that a failure or a cancelled call left open; there may be none, and the server drops it anyway.
async fn abort(session: &mut Option<ClientSession>) {
    if let Some(session) = session {
        let _ = session.abort_transaction().await;
    }
}
