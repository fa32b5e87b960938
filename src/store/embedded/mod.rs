//! The store in one SQLite file, `store.db`: the same documents as in MongoDB, as tables that anyone can read.
//!
//! Writes go through one connection and reads through another, so that neither waits for the other, and both run off
//! the async threads.

mod letters;
mod prune;
mod rows;
mod schema;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use self::schema::OpenError;
use super::rules::{self, Standing};
use super::{
    Block, Catalog, Changes, Claim, DeadLetter, DeadLetterFilter, DurableWrite, EventFilter, Exchanged, Hash,
    LearnedEvent, Listed, Manifest, Pruned, Retention, Store, StoreError, Turn,
};
use crate::capture::{Item, User};
use crate::config::StoreConfig;
use crate::consume::Position;
use crate::decode::Reason;
use crate::fault::{self, Point};

/// Name of the file.
pub(crate) const FILE: &str = "store.db";

/// The store in one file.
pub(super) struct EmbeddedStore {
    file: Arc<File>,
}

struct File {
    location: String,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

/// Opens `store.db` in `config.data_dir`; creates both where they are missing.
pub(super) async fn open(config: &StoreConfig) -> Result<EmbeddedStore, StoreError> {
    let folder = config.data_dir.clone();
    let file = off_thread(move || File::open(&folder)).await?;
    Ok(EmbeddedStore { file: Arc::new(file) })
}

/// Where the engine stands by the file, which is opened to read and not changed; none where there is no file, or an
/// empty one, or one of an older freshet, which the engine will bring up to date.
pub(crate) fn look(folder: &Path) -> Result<Option<Claim>, StoreError> {
    let path = folder.join(FILE);
    let location = path.display().to_string();
    if !path.exists() {
        return Ok(None);
    }
    let claim = schema::open_reader(&path).and_then(|reader| {
        let current = schema::is_current(&reader, &path)?;
        Ok(if current { Some(rows::engine(&reader)?) } else { None })
    });
    claim.map_err(|error| unopened(location, error))
}

fn unopened(location: String, error: OpenError) -> StoreError {
    match error {
        OpenError::Unsuitable(reason) => StoreError::Unsuitable { location, reason },
        OpenError::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            let reason = "it is not an SQLite file; move it away, or set another store.data_dir".into();
            StoreError::Unsuitable { location, reason }
        }
        OpenError::Sqlite(error) => failure(location, "open the store", &error),
    }
}

impl File {
    fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        let location = path.display().to_string();
        std::fs::create_dir_all(folder).map_err(|error| StoreError::Unavailable {
            action: "create the folder of the store",
            location: folder.display().to_string(),
            reason: format!("{error}; make it writable, or set another store.data_dir"),
        })?;
        let connections = schema::open_writer(&path).and_then(|writer| Ok((writer, schema::open_reader(&path)?)));
        match connections {
            Ok((writer, reader)) => Ok(Self { location, writer: Mutex::new(writer), reader: Mutex::new(reader) }),
            Err(error) => Err(unopened(location, error)),
        }
    }

    fn read<T>(&self, action: &'static str, query: impl FnOnce(&Connection) -> Sql<T>) -> Result<T, StoreError> {
        let connection = self.reader.lock();
        query(&connection).map_err(|error| failure(self.location.clone(), action, &error))
    }

    /// Runs `change` in a transaction and makes it durable, or leaves everything as it was.
    fn write<T>(
        &self,
        action: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> Changed<T>,
    ) -> Result<T, StoreError> {
        // A panic while the lock was held has rolled its transaction back.
        let mut connection = self.writer.lock();
        let fail = |error: rusqlite::Error| failure(self.location.clone(), action, &error);
        // Immediate: the epoch that is compared cannot change before the commit.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        match change(&transaction) {
            Ok(value) => transaction.commit().map(|()| value).map_err(fail),
            Err(Refusal::Sqlite(error)) => Err(fail(error)),
            Err(Refusal::Store(error)) => Err(error),
        }
    }

    fn claim(&self) -> Result<Claim, StoreError> {
        self.write("claim the store", |transaction| {
            let mut claim = rows::engine(transaction)?;
            claim.epoch += 1;
            rows::set_engine(transaction, claim.epoch, &claim.progress)?;
            Ok(claim)
        })
    }

    fn persist(&self, epoch: u64, write: &DurableWrite) -> Result<(), StoreError> {
        self.write("store events", |transaction| {
            let stored = rows::engine(transaction)?;
            if rules::standing(&self.location, &stored, epoch, write)? == Standing::Done {
                return Ok(());
            }
            rows::insert_events(transaction, &write.events)?;
            letters::insert(transaction, &write.rejects)?;
            if !(write.items.is_empty() && write.users.is_empty()) {
                rows::put_items(transaction, &write.items)?;
                rows::put_users(transaction, &write.users)?;
                rows::raise_catalog_version(transaction)?;
            }
            rows::set_engine(transaction, epoch, &write.progress)?;
            fault::pass(Point::Written);
            Ok(())
        })
    }

    fn put_manifest(&self, epoch: u64, manifest: &Manifest, blocks: &[Hash]) -> Result<(), StoreError> {
        self.write("store a snapshot", |transaction| {
            rules::check_epoch(&self.location, rows::engine(transaction)?.epoch, epoch)?;
            rules::check_present(&self.location, manifest, &rows::missing(transaction, blocks)?)?;
            Ok(rows::put_manifest(transaction, manifest)?)
        })
    }

    fn begin(&self, epoch: u64, manifest: &Manifest, blocks: &[Hash]) -> Result<(), StoreError> {
        self.write("begin with a snapshot", |transaction| {
            let stored = rows::engine(transaction)?;
            if rules::beginning(&self.location, &stored, epoch, manifest)? == Standing::Done {
                return Ok(());
            }
            rules::check_present(&self.location, manifest, &rows::missing(transaction, blocks)?)?;
            rows::put_manifest(transaction, manifest)?;
            rows::set_base(transaction, manifest.seq)?;
            Ok(rows::set_engine(transaction, epoch, &rules::progress_of(manifest))?)
        })
    }

    fn blocks(&self, hashes: &[Hash]) -> Result<Vec<Block>, StoreError> {
        let mut blocks = Vec::with_capacity(hashes.len());
        for hash in hashes {
            let found = self.read("read blocks", |connection| rows::block(connection, *hash))?;
            rules::check_block(&self.location, *hash, found.as_ref())?;
            blocks.extend(found);
        }
        Ok(blocks)
    }

    fn put_catalog(&self, items: &[Item], users: &[User]) -> Result<(), StoreError> {
        self.change_catalog(|connection| {
            rows::put_items(connection, items)?;
            rows::put_users(connection, users)
        })
    }

    fn change_catalog(&self, change: impl FnOnce(&Connection) -> Sql<()>) -> Result<(), StoreError> {
        self.write("store the catalogue", |transaction| {
            change(transaction)?;
            Ok(rows::raise_catalog_version(transaction)?)
        })
    }

    fn catalog(&self) -> Result<Catalog, StoreError> {
        self.read("read the catalogue", |connection| {
            // One transaction, so that the version is that of what is read.
            let connection = connection.unchecked_transaction()?;
            let version = rows::catalog_version(&connection)?;
            Ok(Catalog { version, items: rows::items(&connection)?, users: rows::users(&connection)? })
        })
    }
}

type Sql<T> = rusqlite::Result<T>;
type Changed<T> = Result<T, Refusal>;

/// Why a transaction is rolled back.
enum Refusal {
    Sqlite(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What SQLite says, and what to do about it.
fn failure(location: String, action: &'static str, error: &rusqlite::Error) -> StoreError {
    let unavailable = |advice: &str| StoreError::Unavailable {
        action,
        location: location.clone(),
        reason: format!("{error}; {advice}"),
    };
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => unavailable("free space on the disk, nothing stored is lost"),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            unavailable("make the folder and its files writable, or set another store.data_dir")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            unavailable("another process holds the file; end it, or set another store.data_dir")
        }
        Some(ErrorCode::ConstraintViolation) => damaged(location, "the order of events", error),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(location, "the file", error),
        Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory | ErrorCode::FileLockingProtocolFailed) => {
            unavailable("nothing stored is lost")
        }
        Some(_) => StoreError::Refused { action, location, reason: error.to_string() },
        None => damaged(location, "a row", error),
    }
}

fn damaged(location: String, what: &str, error: &rusqlite::Error) -> StoreError {
    StoreError::Damaged { what: what.into(), location, reason: error.to_string() }
}

/// Runs what blocks away from the threads that serve.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}

impl EmbeddedStore {
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&File) -> T + Send + 'static) -> T {
        let file = self.file.clone();
        off_thread(move || work(&file)).await
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn location(&self) -> String {
        self.file.location.clone()
    }

    async fn claim(&self) -> Result<Claim, StoreError> {
        self.run(File::claim).await
    }

    async fn state(&self) -> Result<Claim, StoreError> {
        self.run(|file| file.read("read the engine's state", rows::engine)).await
    }

    async fn persist_in_turn(&self, epoch: u64, write: &DurableWrite, turn: &Turn) -> Result<(), StoreError> {
        turn.come().await;
        if !write.exchanged.is_empty() {
            return Err(StoreError::Refused {
                action: "store what trainers exchange",
                location: self.location(),
                reason: "only MongoDB keeps it: set store.kind = \"mongodb\"".to_owned(),
            });
        }
        let write = write.clone();
        self.run(move |file| file.persist(epoch, &write)).await
    }

    async fn events_where(&self, wanted: &EventFilter, limit: usize) -> Result<Vec<LearnedEvent>, StoreError> {
        let wanted = wanted.clone();
        self.run(move |file| file.read("read events", |connection| rows::events(connection, &wanted, limit))).await
    }

    async fn changes(
        &self,
        _wanted: &EventFilter,
        _token: Option<&serde_json::Value>,
    ) -> Result<Option<Box<dyn Changes>>, StoreError> {
        Ok(None)
    }

    async fn exchanged(&self, _after: u64) -> Result<Vec<Exchanged>, StoreError> {
        Ok(Vec::new())
    }

    async fn recent_ids(&self, from_seq: u64) -> Result<Vec<(u64, String)>, StoreError> {
        self.run(move |file| file.read("read ids", |connection| rows::recent_ids(connection, from_seq))).await
    }

    async fn reject_counts(&self) -> Result<BTreeMap<Reason, u64>, StoreError> {
        self.run(|file| file.read("count dead letters", letters::counts)).await
    }

    async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let (filter, after) = (filter.clone(), after.cloned());
        let list = move |connection: &Connection| letters::list(connection, &filter, after.as_ref(), limit);
        self.run(move |file| file.read("read dead letters", list)).await
    }

    async fn dead_letter_positions(&self, after: Option<&Position>, limit: usize) -> Result<Vec<Position>, StoreError> {
        let after = after.cloned();
        let positions = move |connection: &Connection| letters::positions(connection, after.as_ref(), limit);
        self.run(move |file| file.read("read dead letters", positions)).await
    }

    async fn mark_replayed(&self, positions: &[Position], at_ms: i64) -> Result<(), StoreError> {
        let positions = positions.to_vec();
        self.run(move |file| {
            file.write("mark dead letters", |transaction| Ok(letters::mark_replayed(transaction, &positions, at_ms)?))
        })
        .await
    }

    async fn put_blocks(&self, blocks: Arc<[Block]>) -> Result<(), StoreError> {
        self.run(move |file| file.write("store blocks", |transaction| Ok(rows::insert_blocks(transaction, &blocks)?)))
            .await
    }

    async fn put_manifest(&self, epoch: u64, manifest: &Manifest, blocks: &[Hash]) -> Result<(), StoreError> {
        let (manifest, blocks) = (manifest.clone(), blocks.to_vec());
        self.run(move |file| file.put_manifest(epoch, &manifest, &blocks)).await
    }

    async fn begin(&self, epoch: u64, manifest: &Manifest, blocks: &[Hash]) -> Result<(), StoreError> {
        let (manifest, blocks) = (manifest.clone(), blocks.to_vec());
        self.run(move |file| file.begin(epoch, &manifest, &blocks)).await
    }

    async fn prune(&self, epoch: Option<u64>, keep: Retention, dry_run: bool) -> Result<Pruned, StoreError> {
        self.run(move |file| file.prune(epoch, keep, dry_run)).await
    }

    async fn listed(&self) -> Result<Vec<Listed>, StoreError> {
        self.run(|file| file.read("list snapshots", rows::listed)).await
    }

    async fn manifests(&self, limit: usize) -> Result<Vec<Manifest>, StoreError> {
        self.run(move |file| {
            file.read("list snapshots", |connection| rows::manifests(connection, &file.location, limit))
        })
        .await
    }

    async fn blocks(&self, hashes: &[Hash]) -> Result<Vec<Block>, StoreError> {
        let hashes = hashes.to_vec();
        self.run(move |file| file.blocks(&hashes)).await
    }

    async fn put_catalog(&self, items: &[Item], users: &[User]) -> Result<(), StoreError> {
        let (items, users) = (items.to_vec(), users.to_vec());
        self.run(move |file| file.put_catalog(&items, &users)).await
    }

    async fn set_item(&self, item: &Item) -> Result<(), StoreError> {
        let item = item.clone();
        self.run(move |file| file.change_catalog(|connection| rows::set_item(connection, &item))).await
    }

    async fn set_user(&self, user: &User) -> Result<(), StoreError> {
        let user = user.clone();
        self.run(move |file| file.change_catalog(|connection| rows::set_user(connection, &user))).await
    }

    async fn catalog_version(&self) -> Result<u64, StoreError> {
        self.run(|file| file.read("read the catalogue's version", rows::catalog_version)).await
    }

    async fn catalog(&self) -> Result<Catalog, StoreError> {
        self.run(File::catalog).await
    }
}
