//! Topics and groups of the embedded log: rows of its tables.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rusqlite::{TransactionBehavior, params};

use super::{
    AdminError, Change, GroupDetail, GroupLine, GroupPartition, NewTopic, PartitionDetail, TopicDetail, TopicLine,
    too_few,
};
use crate::capture::embedded_log::{self, LogFile, Topic, end_offset, find_topic};
use crate::config::Config;

/// Partitions that a topic may have.
const MOST_PARTITIONS: i32 = 10_000;

/// The log's file.
#[derive(Clone, Debug)]
pub struct EmbeddedAdmin {
    path: PathBuf,
}

impl EmbeddedAdmin {
    pub(super) fn new(config: &Config) -> Self {
        Self { path: embedded_log::path(config) }
    }

    pub(super) fn location(&self) -> String {
        format!("the embedded log {}", self.path.display())
    }

    /// Runs `work` off the runtime. A log that is not there has nothing in it.
    async fn read<T: Default + Send + 'static>(
        &self,
        work: impl FnOnce(&LogFile) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, AdminError> {
        let path = self.path.clone();
        let working = tokio::task::spawn_blocking(move || {
            if !path.exists() {
                return Ok(T::default());
            }
            let log = LogFile::open_to_read(&path)?;
            work(&log).map_err(|error| log.failed("read", &error))
        });
        Ok(working.await.expect("the work does not panic")?)
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut LogFile) -> Result<T, AdminError> + Send + 'static,
    ) -> Result<T, AdminError> {
        let path = self.path.clone();
        let working = tokio::task::spawn_blocking(move || work(&mut LogFile::open(&path)?));
        working.await.expect("the work does not panic")
    }

    fn missing(&self, what: &'static str, name: &str, there: BTreeSet<String>) -> AdminError {
        AdminError::Missing { what, name: name.to_owned(), at: self.location(), there }
    }

    pub(super) async fn topics(&self) -> Result<Vec<TopicLine>, AdminError> {
        self.read(|log| log.topic_names()?.iter().map(|name| Ok(detail(log, name)?.map(|topic| topic.line))).collect())
            .await
            .map(|lines: Vec<Option<TopicLine>>| lines.into_iter().flatten().collect())
    }

    pub(super) async fn topic(&self, name: &str) -> Result<TopicDetail, AdminError> {
        let wanted = name.to_owned();
        let (found, there) = self.read(move |log| Ok((detail(log, &wanted)?, log.topic_names()?))).await?;
        found.ok_or_else(|| self.missing("topic", name, there))
    }

    pub(super) async fn create(&self, topic: NewTopic) -> Result<(), AdminError> {
        if !topic.settings.is_empty() {
            return Err(AdminError::NotEmbedded);
        }
        let reason = problem_of_name(&topic.name).or_else(|| problem_of_partitions(topic.partitions));
        if let Some(reason) = reason {
            return Err(AdminError::Refused { action: "create topic", name: topic.name, reason });
        }
        self.write(move |log| {
            let found = find_topic(&log.sqlite, &topic.name).map_err(|error| log.failed("read", &error))?;
            if found.is_some() {
                return Err(AdminError::Exists(topic.name));
            }
            log.ensure_topic(&topic.name, topic.partitions)?;
            Ok(())
        })
        .await
    }

    pub(super) async fn alter(&self, name: &str, change: Change) -> Result<(), AdminError> {
        if !change.settings.is_empty() {
            return Err(AdminError::NotEmbedded);
        }
        let Some(partitions) = change.partitions else { return Ok(()) };
        let has = self.topic(name).await?.line.partitions;
        if let Some(error) = too_few(name, has, partitions) {
            return Err(error);
        }
        if let Some(reason) = problem_of_partitions(partitions) {
            return Err(AdminError::Refused { action: "alter topic", name: name.to_owned(), reason });
        }
        let name = name.to_owned();
        self.write(move |log| {
            // Never fewer, whoever else alters it at the same moment.
            let sql = "UPDATE topics SET partitions = max(partitions, ?2) WHERE name = ?1";
            let done = log.sqlite.execute(sql, params![name, partitions]);
            done.map_err(|error| log.failed("alter a topic of", &error))?;
            Ok(())
        })
        .await
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), AdminError> {
        self.topic(name).await?;
        let name = name.to_owned();
        self.write(move |log| {
            let done = delete(log, &name);
            Ok(done.map_err(|error| log.failed("delete a topic of", &error))?)
        })
        .await
    }

    pub(super) async fn groups(&self) -> Result<Vec<GroupLine>, AdminError> {
        let names = self.read(group_names).await?;
        Ok(names.into_iter().map(line).collect())
    }

    pub(super) async fn group(&self, name: &str) -> Result<GroupDetail, AdminError> {
        let wanted = name.to_owned();
        let (partitions, there) = self.read(move |log| Ok((positions(log, &wanted)?, group_names(log)?))).await?;
        if partitions.is_empty() {
            return Err(self.missing("group", name, there));
        }
        Ok(GroupDetail { line: line(name.to_owned()), strategy: None, member_list: Vec::new(), partitions })
    }
}

/// The rules are Kafka's, so that a topic can move there.
fn problem_of_name(name: &str) -> Option<String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let good = !name.is_empty() && name.len() <= 249 && name.chars().all(known) && name != "." && name != "..";
    (!good).then(|| "a name has 1 to 249 letters, digits, dots, underscores and hyphens".to_owned())
}

fn problem_of_partitions(partitions: i32) -> Option<String> {
    let good = (1..=MOST_PARTITIONS).contains(&partitions);
    (!good).then(|| format!("{partitions} partitions; 1 to {MOST_PARTITIONS} are allowed"))
}

fn detail(log: &LogFile, name: &str) -> rusqlite::Result<Option<TopicDetail>> {
    let Some(topic) = find_topic(&log.sqlite, name)? else { return Ok(None) };
    let (count, bytes): (i64, i64) = log.sqlite.query_row(
        "SELECT count(*), coalesce(sum(coalesce(length(key), 0) + length(payload)), 0) FROM records WHERE topic = ?1",
        [topic.id],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let parts = (0..topic.partitions).map(|partition| part(log, topic, partition)).collect::<Result<Vec<_>, _>>()?;
    let line = TopicLine {
        name: name.to_owned(),
        partitions: topic.partitions,
        replication: None,
        records: Some(count as u64),
        bytes: Some(bytes as u64),
        retention_ms: None,
        cleanup: None,
    };
    Ok(Some(TopicDetail { line, parts, settings: Vec::new() }))
}

fn part(log: &LogFile, topic: Topic, partition: i32) -> rusqlite::Result<PartitionDetail> {
    let end = end_offset(&log.sqlite, topic, partition)?;
    let low = log.sqlite.query_row(
        "SELECT coalesce(min(offset), ?3) FROM records WHERE topic = ?1 AND partition = ?2",
        params![topic.id, partition, end],
        |row| row.get(0),
    )?;
    let (replicas, isr) = (Vec::new(), Vec::new());
    Ok(PartitionDetail { partition, leader: None, replicas, isr, low: Some(low), end: Some(end) })
}

/// Its number is not given out again, so that whoever reads it sees that it is gone.
fn delete(log: &mut LogFile, name: &str) -> rusqlite::Result<()> {
    let transaction = log.sqlite.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Some(topic) = find_topic(&transaction, name)? {
        for sql in [
            "DELETE FROM topics WHERE id = ?1",
            "DELETE FROM positions WHERE topic = ?1",
            "DELETE FROM records WHERE topic = ?1",
        ] {
            transaction.execute(sql, [topic.id])?;
        }
    }
    transaction.commit()
}

fn line(name: String) -> GroupLine {
    GroupLine { name, state: None, members: None }
}

fn group_names(log: &LogFile) -> rusqlite::Result<BTreeSet<String>> {
    log.sqlite.prepare("SELECT DISTINCT consumer_group FROM positions")?.query_map([], |row| row.get(0))?.collect()
}

fn positions(log: &LogFile, group: &str) -> rusqlite::Result<Vec<GroupPartition>> {
    let mut select = log.sqlite.prepare(
        "SELECT name, partition, next, topics.id, partitions FROM positions JOIN topics ON topics.id = topic
         WHERE consumer_group = ?1 ORDER BY name, partition",
    )?;
    let mut rows = select.query([group])?;
    let mut partitions = Vec::new();
    while let Some(row) = rows.next()? {
        let (partition, committed): (i32, i64) = (row.get(1)?, row.get(2)?);
        let end = end_offset(&log.sqlite, Topic { id: row.get(3)?, partitions: row.get(4)? }, partition)?;
        let (committed, lag) = (Some(committed), Some((end - committed).max(0)));
        partitions.push(GroupPartition { topic: row.get(0)?, partition, committed, end: Some(end), lag, member: None });
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests;
