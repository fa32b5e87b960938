//! Reads records from the embedded log.
//!
//! One thread owns the reading connection and stays a few batches ahead, so that neither the disk nor the wait for new
//! records ever blocks the runtime, and dropping a poll loses nothing.

mod reader;

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rusqlite::{Connection, params};
use tokio::sync::mpsc;

use self::reader::{Reader, Topics};
use super::{Consumer, Offsets, PartitionLag, Polled, RawEvent};
use crate::capture::LogError;
use crate::capture::embedded_log::{self, LogFile, end_offset, find_topic};
use crate::config::Config;

/// Reads that may wait to be polled.
const QUEUE: usize = 2;

type Read = Result<Vec<RawEvent>, LogError>;

/// Reads every partition of its topics, in the order of the log.
pub(super) struct EmbeddedConsumer {
    reads: mpsc::Receiver<Read>,
    ready: VecDeque<RawEvent>,
    /// What ended the reading; told once everything read before it is handed out.
    failed: Option<LogError>,
    /// Next offset to be handed out, for every partition.
    next: Offsets,
    /// For what is not reading: commits and lag.
    log: Arc<Mutex<LogFile>>,
    topics: Topics,
    group: String,
    reader: JoinHandle<()>,
    paused: bool,
    trouble: Arc<Mutex<Option<String>>>,
}

impl EmbeddedConsumer {
    pub(super) async fn open(config: &Config, start: Offsets) -> Result<Self, LogError> {
        let (path, broker) = (embedded_log::path(config), config.broker.clone());
        let names: Vec<Arc<str>> = config.topics_read().map(Arc::from).collect();
        let opening = tokio::task::spawn_blocking(move || -> Result<Self, LogError> {
            let log = LogFile::open(&path)?;
            let topic = |name: Arc<str>| {
                let topic = log.ensure_topic(&name, broker.partitions)?;
                Ok((name, topic))
            };
            let topics: Topics = names.into_iter().map(topic).collect::<Result<_, LogError>>()?;
            let reader = Reader::open(LogFile::open(&path)?, Arc::clone(&topics), &start)?;
            let next = reader.next.iter().map(|((name, partition), next)| (Arc::clone(name), *partition, *next));
            let next: Offsets = next.collect();
            let (sender, reads) = mpsc::channel(QUEUE);
            let trouble = Arc::clone(&reader.trouble);
            let reader = std::thread::Builder::new()
                .name("log reader".to_owned())
                .spawn(move || reader.run(&sender, broker.poll_interval))
                .map_err(|error| log.error("read", error.to_string()))?;
            let log = Arc::new(Mutex::new(log));
            Ok(Self {
                reads,
                ready: VecDeque::new(),
                failed: None,
                next,
                log,
                topics,
                group: broker.group,
                reader,
                paused: false,
                trouble,
            })
        });
        opening.await.expect("opening does not panic")
    }
}

/// Runs `work` on a connection, off the runtime.
async fn with_log<T: Send + 'static>(
    log: Arc<Mutex<LogFile>>,
    action: &'static str,
    work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, LogError> {
    let working = tokio::task::spawn_blocking(move || {
        let mut log = log.lock();
        work(&mut log.sqlite).map_err(|error| log.failed(action, &error))
    });
    working.await.expect("the work does not panic")
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn poll(&mut self, max: usize) -> Result<Polled, LogError> {
        if self.paused {
            std::future::pending::<()>().await;
        }
        if self.ready.is_empty() {
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            let read = self.reads.recv().await;
            let ended = || self.log.lock().error("read", "its reading thread has ended; restart".to_owned());
            self.ready = read.ok_or_else(ended)??.into();
        }
        while self.ready.len() < max {
            match self.reads.try_recv() {
                Ok(Ok(read)) => self.ready.extend(read),
                Ok(Err(error)) => {
                    self.failed = Some(error);
                    break;
                }
                Err(_) => break,
            }
        }
        let events: Vec<_> = self.ready.drain(..max.min(self.ready.len())).collect();
        for event in &events {
            self.next.set(Arc::clone(&event.position.topic), event.position.partition, event.position.offset + 1);
        }
        Ok(Polled::Records(events))
    }

    fn pause(&mut self, paused: bool) -> Result<(), LogError> {
        self.paused = paused;
        Ok(())
    }

    /// There is no other member to give them to.
    async fn give_back(&mut self, durable: &Offsets) -> Result<(), LogError> {
        self.commit(durable).await
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    async fn commit(&mut self, offsets: &Offsets) -> Result<(), LogError> {
        let group = self.group.clone();
        let mut ours = Vec::new();
        for (name, partition, next) in offsets.iter() {
            let topic = self.topics.iter().find(|(of, _)| of == name);
            ours.extend(topic.map(|(_, topic)| (topic.id, partition, next)));
        }
        with_log(Arc::clone(&self.log), "commit offsets to", move |sqlite| {
            let transaction = sqlite.transaction()?;
            for (topic, partition, next) in ours {
                let mut upsert =
                    transaction.prepare_cached("INSERT OR REPLACE INTO positions VALUES (?1, ?2, ?3, ?4)")?;
                upsert.execute(params![group, topic, partition, next])?;
            }
            transaction.commit()
        })
        .await
    }

    fn lag(&self) -> BoxFuture<'static, Result<Vec<PartitionLag>, LogError>> {
        let (topics, next) = (Arc::clone(&self.topics), self.next.clone());
        let asking = with_log(Arc::clone(&self.log), "ask for the end of", move |sqlite| {
            let mut lags = Vec::new();
            for (name, topic) in &*topics {
                // It may have got more since the start.
                let partitions = find_topic(sqlite, name)?.map_or(topic.partitions, |now| now.partitions);
                for partition in 0..partitions {
                    let end = end_offset(sqlite, *topic, partition)?;
                    let position = next.get(name, partition).unwrap_or(0);
                    lags.push(PartitionLag { topic: Arc::clone(name), partition, position, end });
                }
            }
            Ok(lags)
        });
        Box::pin(asking)
    }

    async fn close(self: Box<Self>) {
        let Self { reads, reader, .. } = *self;
        drop(reads);
        reader.thread().unpark();
        // Joined so that the file is free when this returns; the thread only ends, so there is no result to look at.
        let _ = tokio::task::spawn_blocking(move || reader.join()).await;
    }
}

#[cfg(test)]
mod tests;
