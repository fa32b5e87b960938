//! Statements on the dead letters of the embedded store; as in [`super::rows`], each is one step on a connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, Result, Row, params};

use super::rows::number;
use crate::consume::Position;
use crate::decode::{Reason, Reject};
use crate::store::{DeadLetter, DeadLetterFilter, rules};

pub(super) fn insert(connection: &Connection, rejects: &[Reject]) -> Result<()> {
    let mut statement =
        connection.prepare_cached("INSERT INTO dead_letters VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL)")?;
    for Reject { raw, reason, detail } in rejects {
        let position = &raw.position;
        statement.execute(params![
            &*position.topic,
            position.partition,
            position.offset,
            raw.timestamp_ms,
            reason.to_string(),
            detail,
            raw.key,
            raw.payload,
        ])?;
    }
    Ok(())
}

pub(super) fn counts(connection: &Connection) -> Result<BTreeMap<Reason, u64>> {
    let mut statement = connection.prepare_cached("SELECT reason, count(*) FROM dead_letters GROUP BY reason")?;
    let mut rows = statement.query([])?;
    let mut counts = BTreeMap::new();
    while let Some(row) = rows.next()? {
        *counts.entry(rules::reason_of(row.get(0)?)).or_default() += number(row, 1)?;
    }
    Ok(counts)
}

pub(super) fn list(
    connection: &Connection,
    filter: &DeadLetterFilter,
    after: Option<&Position>,
    limit: usize,
) -> Result<Vec<DeadLetter>> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM dead_letters WHERE (topic, partition, offset) > (?1, ?2, ?3)
         AND (?4 IS NULL OR reason = ?4) AND (?5 IS NULL OR topic = ?5) AND NOT (?6 AND replayed_at_ms IS NOT NULL)
         AND (?7 IS NULL OR timestamp_ms >= ?7) AND (?8 IS NULL OR timestamp_ms < ?8)
         AND (?9 IS NULL OR (topic, partition, offset) < (?9, ?10, ?11))
         ORDER BY topic, partition, offset LIMIT ?12",
    )?;
    let DeadLetterFilter { reason, topic, not_replayed, since_ms, until_ms, before } = filter;
    let (after_topic, after_partition, after_offset) = place(after);
    let before = before.as_ref();
    let (before_topic, before_partition, before_offset) =
        (before.map(|at| &*at.topic), before.map(|at| at.partition), before.map(|at| at.offset));
    let limit = limit.min(i64::MAX as usize) as i64;
    let values = params![
        after_topic,
        after_partition,
        after_offset,
        reason,
        topic,
        not_replayed,
        since_ms,
        until_ms,
        before_topic,
        before_partition,
        before_offset,
        limit,
    ];
    statement.query_map(values, letter)?.collect()
}

fn letter(row: &Row<'_>) -> Result<DeadLetter> {
    Ok(DeadLetter {
        position: position(row)?,
        timestamp_ms: row.get(3)?,
        reason: row.get(4)?,
        detail: row.get(5)?,
        key: row.get(6)?,
        payload: row.get(7)?,
        payload_cut_from: None,
        replayed_at_ms: row.get(8)?,
    })
}

fn position(row: &Row<'_>) -> Result<Position> {
    Ok(Position { topic: Arc::from(row.get_ref(0)?.as_str()?), partition: row.get(1)?, offset: row.get(2)? })
}

/// What is compared with the columns. Without a position, what comes before every one: no topic has an empty name.
fn place(after: Option<&Position>) -> (&str, i32, i64) {
    after.map_or(("", 0, 0), |after| (&*after.topic, after.partition, after.offset))
}

/// Read from the index alone.
pub(super) fn positions(connection: &Connection, after: Option<&Position>, limit: usize) -> Result<Vec<Position>> {
    let mut statement = connection.prepare_cached(
        "SELECT topic, partition, offset FROM dead_letters WHERE (topic, partition, offset) > (?1, ?2, ?3)
         ORDER BY topic, partition, offset LIMIT ?4",
    )?;
    let (topic, partition, offset) = place(after);
    statement.query_map(params![topic, partition, offset, limit.min(i64::MAX as usize) as i64], position)?.collect()
}

pub(super) fn mark_replayed(connection: &Connection, positions: &[Position], at_ms: i64) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "UPDATE dead_letters SET replayed_at_ms = ?4 WHERE topic = ?1 AND partition = ?2 AND offset = ?3",
    )?;
    for Position { topic, partition, offset } in positions {
        statement.execute(params![&**topic, partition, offset, at_ms])?;
    }
    Ok(())
}
