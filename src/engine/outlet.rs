//! A compacted topic of one partition that a trainer writes, through the deaths of Kafka and of the topic itself.
//!
//! Apart from what is told by it: what a topic that was made anew has lost is for those to say again who told it.

use std::sync::Arc;

use crate::capture::producer::{self, Producer, Record};
use crate::config::Config;
use crate::consume::model_topic::{self, Bounds};

/// Bytes of records that are handed over at once.
const AT_ONCE: usize = 16 << 20;

/// Why a topic could not be written.
pub(super) struct Untold(pub(super) String);

impl<E: std::error::Error> From<E> for Untold {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// What a topic is, once it can be written.
pub(super) enum Opened {
    /// It was open already.
    Before,
    /// It is open now, and holds what was written to it.
    Now,
    /// It is open now, and what was written to it is lost: why.
    Lost(&'static str),
}

/// The topic, and how far it was written from here.
pub(super) struct Outlet {
    /// Its name is in the place of that of the topic of the model.
    config: Config,
    producer: Option<Arc<dyn Producer>>,
    /// What was put and not handed over yet, and its bytes.
    waiting: Vec<Record>,
    bytes: usize,
    /// One past the last offset that was written from here.
    end: i64,
    /// Whether offsets have only grown since the last flush.
    is_same: bool,
}

impl Outlet {
    pub(super) fn new(config: &Config) -> Self {
        Self { config: config.clone(), producer: None, waiting: Vec::new(), bytes: 0, end: 0, is_same: true }
    }

    /// Opens the topic, and makes it where it is not there.
    pub(super) async fn open(&mut self) -> Result<Opened, Untold> {
        if self.producer.is_some() {
            return Ok(Opened::Before);
        }
        let opened = match model_topic::look(&self.config).await? {
            None => {
                model_topic::create(&self.config).await?;
                tracing::info!(topic = self.config.broker.model_topic, "created the topic of the model");
                Opened::Lost("it was not there")
            }
            Some(Bounds { end, .. }) if end < self.end => Opened::Lost("it was made anew"),
            Some(_) => Opened::Now,
        };
        if let Opened::Lost(_) = opened {
            self.end = 0;
        }
        self.producer = Some(producer::open_model(&self.config).await?);
        Ok(opened)
    }

    /// Writes a record by its key and payload, together with those that are put before and after it.
    pub(super) async fn put(&mut self, (key, payload): (Vec<u8>, Vec<u8>)) -> Result<(), Untold> {
        self.bytes += key.len() + payload.len();
        self.waiting.push(Record { key, payload, ..Record::default() });
        if self.bytes >= AT_ONCE { self.hand_over().await } else { Ok(()) }
    }

    /// Waits until all that was put is on the topic. False if the topic was made anew since the last time: it does not hold
    /// what was written before.
    pub(super) async fn flush(&mut self) -> Result<bool, Untold> {
        self.hand_over().await?;
        Ok(std::mem::replace(&mut self.is_same, true))
    }

    async fn hand_over(&mut self) -> Result<(), Untold> {
        let records = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let Some(producer) = self.producer.clone() else { return Err(Untold("the topic is not open".to_owned())) };
        for receipt in producer.append(records).await? {
            let end = receipt.map_err(|undelivered| Untold(undelivered.reason))?.offset + 1;
            self.is_same &= end > self.end;
            self.end = end;
        }
        Ok(())
    }

    /// Has the topic be opened again once Kafka answers: what is open may be of a topic that is gone.
    pub(super) fn close(&mut self) {
        (self.waiting, self.bytes, self.is_same) = (Vec::new(), 0, true);
        let lost = self.producer.take();
        tokio::task::spawn_blocking(move || drop(lost));
    }
}
