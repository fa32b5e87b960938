//! Statements of the embedded store: each function is one step on a connection, between the store's types and rows.
//!
//! Apart from the store, which decides on which connection and in which transaction the steps run.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Result, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::capture::{Item, User};
use crate::consume::Position;
use crate::decode::Event;
use crate::store::garbage::{Dead, Head};
use crate::store::{Block, Claim, EventFilter, Hash, LearnedEvent, Listed, Manifest, Progress};

/// Where the engine stands, and under which epoch.
pub(super) fn engine(connection: &Connection) -> Result<Claim> {
    let mut statement = connection.prepare_cached("SELECT epoch, seq, batch, offsets, store_id, base FROM engine")?;
    statement.query_row([], |row| {
        let progress = Progress { seq: number(row, 1)?, batch: number(row, 2)?, offsets: json(row, 3)? };
        Ok(Claim { epoch: number(row, 0)?, progress, store_id: row.get(4)?, base: number(row, 5)? })
    })
}

pub(super) fn set_engine(connection: &Connection, epoch: u64, progress: &Progress) -> Result<()> {
    let mut statement =
        connection.prepare_cached("UPDATE engine SET epoch = ?1, seq = ?2, batch = ?3, offsets = ?4")?;
    let offsets = to_json(&progress.offsets)?;
    statement.execute(params![epoch as i64, progress.seq as i64, progress.batch as i64, offsets]).map(|_| ())
}

pub(super) fn insert_events(connection: &Connection, events: &[LearnedEvent]) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    )?;
    for learned in events {
        let Event { position, user, item, rating, count, ts, ts_of_event, id, genres, year } = &learned.event;
        statement.execute(params![
            &*position.topic,
            position.partition,
            position.offset,
            learned.seq as i64,
            learned.batch as i64,
            user,
            item,
            rating,
            count,
            ts,
            id,
            learned.predicted,
            learned.rehearse_from.map(|seq| seq as i64),
            ts_of_event,
            if genres.is_empty() { None } else { Some(to_json(genres)?) },
            year,
        ])?;
    }
    Ok(())
}

pub(super) fn events(connection: &Connection, wanted: &EventFilter, limit: usize) -> Result<Vec<LearnedEvent>> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM events WHERE seq BETWEEN ?1 AND ?2 AND (?3 IS NULL OR user = ?3) AND (?4 IS NULL OR item = ?4)
         AND (?5 IS NULL OR ts_ms >= ?5) AND (?6 IS NULL OR ts_ms < ?6) ORDER BY seq LIMIT ?7",
    )?;
    let EventFilter { seqs, user, item, since_ms, until_ms } = wanted;
    let [from, to] = [seqs.start(), seqs.end()].map(|seq| i64::try_from(*seq).unwrap_or(i64::MAX));
    let limit = limit.min(i64::MAX as usize) as i64;
    let mut rows = statement.query(params![from, to, user, item, since_ms, until_ms, limit])?;
    let mut events: Vec<LearnedEvent> = Vec::new();
    while let Some(row) = rows.next()? {
        let topic = row.get_ref(0)?.as_str()?;
        // Rows of one topic share its name, as they did when they were read from the log.
        let topic = match events.last() {
            Some(last) if *last.event.position.topic == *topic => last.event.position.topic.clone(),
            _ => Arc::from(topic),
        };
        events.push(event(row, topic)?);
    }
    Ok(events)
}

fn event(row: &Row<'_>, topic: Arc<str>) -> Result<LearnedEvent> {
    let event = Event {
        position: Position { topic, partition: row.get(1)?, offset: row.get(2)? },
        user: row.get(5)?,
        item: row.get(6)?,
        rating: row.get(7)?,
        count: row.get(8)?,
        ts: row.get(9)?,
        ts_of_event: row.get(13)?,
        id: row.get(10)?,
        genres: if row.get_ref(14)?.data_type() == Type::Null { Vec::new() } else { json(row, 14)? },
        year: row.get(15)?,
    };
    let rehearse_from = row.get::<_, Option<i64>>(12)?.map(|seq| seq as u64);
    Ok(LearnedEvent { seq: number(row, 3)?, batch: number(row, 4)?, rehearse_from, predicted: row.get(11)?, event })
}

pub(super) fn recent_ids(connection: &Connection, from_seq: u64) -> Result<Vec<(u64, String)>> {
    let mut statement =
        connection.prepare_cached("SELECT seq, id FROM events WHERE seq >= ?1 AND id IS NOT NULL ORDER BY seq")?;
    let ids = statement.query_map([from_seq.min(i64::MAX as u64) as i64], |row| Ok((number(row, 0)?, row.get(1)?)))?;
    ids.collect()
}

pub(super) fn insert_blocks(connection: &Connection, blocks: &[Block]) -> Result<()> {
    // A block that was damaged on the disk is put right: it would spoil every later snapshot that shares it.
    let mut statement = connection.prepare_cached(
        "INSERT INTO blocks VALUES (?1, ?2, ?3) ON CONFLICT (hash)
         DO UPDATE SET size = excluded.size, bytes = excluded.bytes WHERE bytes <> excluded.bytes",
    )?;
    for block in blocks {
        statement.execute(params![block.hash.to_string(), block.bytes.len() as i64, block.bytes])?;
    }
    Ok(())
}

pub(super) fn block(connection: &Connection, hash: Hash) -> Result<Option<Block>> {
    let mut statement = connection.prepare_cached("SELECT bytes FROM blocks WHERE hash = ?1")?;
    statement.query_row([hash.to_string()], |row| Ok(Block { hash, bytes: row.get(0)? })).optional()
}

/// Those of the blocks that are not there.
pub(super) fn missing(connection: &Connection, hashes: &[Hash]) -> Result<BTreeSet<Hash>> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM blocks WHERE hash = ?1")?;
    let mut missing = BTreeSet::new();
    for hash in hashes {
        if !statement.exists([hash.to_string()])? {
            missing.insert(*hash);
        }
    }
    Ok(missing)
}

/// Blocks with their size that go.
pub(super) fn dead_blocks(connection: &Connection, dead: &Dead) -> Result<Vec<(Hash, u64)>> {
    let mut statement = connection.prepare_cached("SELECT hash, size FROM blocks")?;
    let stored = statement.query_map([], |row| {
        let name = row.get_ref(0)?.as_str()?;
        let hash = name.parse().map_err(|_| unreadable(0, Type::Text, format!("{name:?} names no block")))?;
        Ok((hash, number(row, 1)?))
    })?;
    stored.filter(|block| block.as_ref().map_or(true, |(hash, _)| dead.contains(hash))).collect()
}

pub(super) fn delete_block(connection: &Connection, hash: Hash) -> Result<()> {
    connection.prepare_cached("DELETE FROM blocks WHERE hash = ?1")?.execute([hash.to_string()]).map(|_| ())
}

pub(super) fn delete_manifest(connection: &Connection, seq: u64) -> Result<()> {
    connection.prepare_cached("DELETE FROM snapshots WHERE seq = ?1")?.execute([seq as i64]).map(|_| ())
}

/// Has the store begin with a snapshot.
pub(super) fn set_base(connection: &Connection, base: u64) -> Result<()> {
    connection.prepare_cached("UPDATE engine SET base = ?1")?.execute([base as i64]).map(|_| ())
}

/// Every snapshot, the newest first, whether its manifest can be read or not.
pub(super) fn listed(connection: &Connection) -> Result<Vec<Listed>> {
    let mut statement = connection.prepare_cached("SELECT seq, manifest FROM snapshots ORDER BY seq DESC")?;
    let listed = statement.query_map([], |row| {
        let head: Head = json(row, 1).unwrap_or_default();
        Ok(Listed::new(number(row, 0)?, head, json(row, 1).map_err(|error| error.to_string())))
    })?;
    listed.collect()
}

pub(super) fn put_manifest(connection: &Connection, manifest: &Manifest) -> Result<()> {
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO snapshots VALUES (?1, ?2)")?;
    statement.execute(params![manifest.seq as i64, to_json(manifest)?]).map(|_| ())
}

/// Manifests, the newest first. One that cannot be read is passed over with a warning: an older snapshot serves as well.
pub(super) fn manifests(connection: &Connection, location: &str, limit: usize) -> Result<Vec<Manifest>> {
    let mut statement = connection.prepare_cached("SELECT seq, manifest FROM snapshots ORDER BY seq DESC")?;
    let mut rows = statement.query([])?;
    let mut manifests = Vec::new();
    while manifests.len() < limit
        && let Some(row) = rows.next()?
    {
        match json(row, 1) {
            Ok(manifest) => manifests.push(manifest),
            Err(error) => {
                let seq: i64 = row.get(0)?;
                tracing::warn!(location, seq, %error, "skipping a snapshot whose manifest cannot be read");
            }
        }
    }
    Ok(manifests)
}

/// What a data set tells. Labels and what is hidden are an operator's, and stay as they are.
pub(super) fn put_items(connection: &Connection, items: &[Item]) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO items (id, title, genres, year, url) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id) DO UPDATE
         SET title = excluded.title, genres = excluded.genres, year = excluded.year, url = excluded.url",
    )?;
    for Item { id, title, genres, year, url, .. } in items {
        statement.execute(params![id, title, to_json(genres)?, year, url])?;
    }
    Ok(())
}

/// What an operator says of an item: all that is known of it.
pub(super) fn set_item(connection: &Connection, item: &Item) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO items (id, title, genres, year, url, labels, hidden)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let Item { id, title, genres, year, url, labels, hidden } = item;
    let values = params![id, title, to_json(genres)?, year, url, to_json(labels)?, hidden];
    connection.prepare_cached(sql)?.execute(values).map(|_| ())
}

pub(super) fn items(connection: &Connection) -> Result<Vec<Item>> {
    let sql = "SELECT id, title, genres, year, url, labels, hidden FROM items ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let items = statement.query_map([], |row| {
        Ok(Item {
            id: row.get(0)?,
            title: row.get(1)?,
            genres: json(row, 2)?,
            year: row.get(3)?,
            url: row.get(4)?,
            labels: json(row, 5)?,
            hidden: row.get(6)?,
        })
    })?;
    items.collect()
}

/// What a data set tells, likewise.
pub(super) fn put_users(connection: &Connection, users: &[User]) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO users (id, age, gender, occupation, zip) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id) DO UPDATE
         SET age = excluded.age, gender = excluded.gender, occupation = excluded.occupation, zip = excluded.zip",
    )?;
    for User { id, age, gender, occupation, zip, .. } in users {
        statement.execute(params![id, age, gender, occupation, zip])?;
    }
    Ok(())
}

/// What an operator says of a user, likewise.
pub(super) fn set_user(connection: &Connection, user: &User) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO users (id, age, gender, occupation, zip, labels, hidden)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let User { id, age, gender, occupation, zip, labels, hidden } = user;
    let values = params![id, age, gender, occupation, zip, to_json(labels)?, hidden];
    connection.prepare_cached(sql)?.execute(values).map(|_| ())
}

pub(super) fn users(connection: &Connection) -> Result<Vec<User>> {
    let sql = "SELECT id, age, gender, occupation, zip, labels, hidden FROM users ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let users = statement.query_map([], |row| {
        Ok(User {
            id: row.get(0)?,
            age: row.get(1)?,
            gender: row.get(2)?,
            occupation: row.get(3)?,
            zip: row.get(4)?,
            labels: json(row, 5)?,
            hidden: row.get(6)?,
        })
    })?;
    users.collect()
}

pub(super) fn catalog_version(connection: &Connection) -> Result<u64> {
    connection.prepare_cached("SELECT version FROM catalog")?.query_row([], |row| number(row, 0))
}

pub(super) fn raise_catalog_version(connection: &Connection) -> Result<()> {
    connection.prepare_cached("UPDATE catalog SET version = version + 1")?.execute([]).map(|_| ())
}

pub(super) fn number(row: &Row<'_>, column: usize) -> Result<u64> {
    let stored: i64 = row.get(column)?;
    u64::try_from(stored).map_err(|_| Error::IntegralValueOutOfRange(column, stored))
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|error| unreadable(column, Type::Text, error.to_string()))
}

fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(error.into()))
}

fn unreadable(column: usize, kind: Type, reason: String) -> Error {
    Error::FromSqlConversionFailure(column, kind, reason.into())
}
