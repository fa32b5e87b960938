//! The topic that a trainer tells servers of its model by: looked at, created, and read to its end and on.
//!
//! Apart from the events' consumer, because nothing here belongs to a group: every server reads all of it, by itself.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::admin::{Admin, AdminError, CLEANUP, NewTopic};
use super::watch::{self, Polled, Start, WatchError, Watched, Wish};
use crate::capture::LogError;
use crate::capture::kafka_link::{self, ASK_TIMEOUT, Asker};
use crate::capture::producer::MODEL_RECORD_BYTES;
use crate::config::Config;

/// Bytes of a segment: what is not in the last one is compacted, so that a server that starts reads little of it twice.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Pause before a topic that is not there, or cannot be read, is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for records before it is looked whether anybody still reads.
const WAIT: Duration = Duration::from_millis(250);
/// Portions that may wait to be taken.
const AHEAD: usize = 4;

/// Where the topic begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Lowest offset.
    pub low: i64,
    /// One past the last offset.
    pub end: i64,
}

/// Looks whether the topic is there. Nothing is logged, created or waited for long.
///
/// # Errors
/// If Kafka does not answer.
pub async fn look(config: &Config) -> Result<Option<Bounds>, LogError> {
    let (broker, topic) = (config.broker.clone(), config.broker.model_topic.clone());
    let asking = tokio::task::spawn_blocking(move || {
        let asker =
            kafka_link::asker(&broker, &[]).map_err(|error| kafka_link::failed(&broker, "connect to", &error))?;
        bounds(&asker, &topic).map_err(|error| {
            // Serves the error callback, which knows the reason.
            while asker.poll(Duration::from_millis(20)).is_some() {}
            kafka_link::unreachable(&broker, kafka_link::why_unreachable(asker.client(), &error).reason)
        })
    });
    asking.await.expect("asking does not panic")
}

/// All topics are asked for: naming one may create it.
fn bounds(asker: &Asker, topic: &str) -> KafkaResult<Option<Bounds>> {
    let metadata = asker.fetch_metadata(None, ASK_TIMEOUT)?;
    if !metadata.topics().iter().any(|found| found.name() == topic && found.error().is_none()) {
        return Ok(None);
    }
    let (low, end) = asker.fetch_watermarks(topic, 0, ASK_TIMEOUT)?;
    Ok(Some(Bounds { low, end }))
}

/// Creates the topic; one that is there by now is fine.
///
/// # Errors
/// If Kafka refuses or cannot be asked.
pub async fn create(config: &Config) -> Result<(), AdminError> {
    let settings = [
        (CLEANUP, "compact".to_owned()),
        ("max.message.bytes", MODEL_RECORD_BYTES.to_string()),
        ("segment.bytes", SEGMENT_BYTES.to_string()),
    ];
    let name = config.broker.model_topic.clone();
    let settings: BTreeMap<_, _> = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let topic = NewTopic { name, partitions: 1, replication: config.broker.replication, settings };
    match Admin::new(config).create(topic).await {
        Err(AdminError::Exists(_)) => Ok(()),
        done => done,
    }
}

/// What is wrong with a topic that is there, and what to do about it.
///
/// # Errors
/// If Kafka cannot be asked, or has no such topic.
pub async fn unfit(config: &Config) -> Result<Option<String>, AdminError> {
    let name = &config.broker.model_topic;
    let line = Admin::new(config).topic(name).await?.line;
    let compacted = line.cleanup.as_deref().is_none_or(|policies| policies.split(',').any(|one| one == "compact"));
    Ok(if line.partitions != 1 {
        let partitions = line.partitions;
        Some(format!(
            "topic {name:?} has {partitions} partitions, and only the first is used: set another broker.model_topic"
        ))
    } else if !compacted {
        Some(format!(
            "topic {name:?} is not compacted, so that it forgets or grows without end: `freshet topics alter {name} \
             --compact`"
        ))
    } else {
        None
    })
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRecord {
    /// Its place in the model.
    pub key: Vec<u8>,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// What reading brought.
#[derive(Debug)]
pub enum Read {
    /// Records, in order.
    Records(Vec<ModelRecord>),
    /// The topic is not there; it is looked for again and again.
    Missing,
    /// What comes next is the beginning of another topic of this name.
    Another,
    /// It cannot be read; it is tried again and again.
    Failed(String),
}

/// Reads the topic, for ever.
#[derive(Debug)]
pub struct ModelReader(mpsc::Receiver<Read>);

impl ModelReader {
    /// Starts reading at `start`. It ends when this is dropped.
    #[must_use]
    pub fn start(config: &Config, start: Start) -> Self {
        let (sender, read) = mpsc::channel(AHEAD);
        let (config, runtime) = (config.clone(), Handle::current());
        tokio::task::spawn_blocking(move || {
            let mut reading = Reading { config, runtime, start, found: false, out: sender };
            while reading.go_on().is_some() {}
        });
        Self(read)
    }

    /// One that brings these.
    #[cfg(test)]
    pub(crate) fn of(reads: Vec<Read>) -> Self {
        let (sender, read) = mpsc::channel(reads.len().max(1));
        for read in reads {
            sender.try_send(read).expect("there is room for each");
        }
        Self(read)
    }

    /// What comes next. Safe to cancel.
    pub async fn next(&mut self) -> Read {
        self.0.recv().await.unwrap_or_else(|| Read::Failed("reading the topic of the model has ended".to_owned()))
    }

    /// What is there by now.
    pub fn now(&mut self) -> Option<Read> {
        self.0.try_recv().ok()
    }
}

/// The thread that reads.
struct Reading {
    config: Config,
    runtime: Handle,
    /// Where to go on.
    start: Start,
    /// Whether the topic was there before.
    found: bool,
    out: mpsc::Sender<Read>,
}

impl Reading {
    /// Opens the topic and reads it until that fails; none once nobody reads any more.
    fn go_on(&mut self) -> Option<()> {
        match self.runtime.block_on(look(&self.config)) {
            Ok(Some(_)) => {}
            Ok(None) => {
                self.tell(Read::Missing)?;
                self.begin_anew();
                return self.pause();
            }
            Err(error) => {
                self.tell(Read::Failed(error.to_string()))?;
                return self.pause();
            }
        }
        self.found = true;
        match self.read() {
            Ok(()) => None,
            Err(WatchError::Deleted(_) | WatchError::Replaced(_) | WatchError::NoTopic { .. }) => {
                self.tell(Read::Another)?;
                self.begin_anew();
                Some(())
            }
            Err(error) => {
                self.tell(Read::Failed(error.to_string()))?;
                self.pause()
            }
        }
    }

    fn begin_anew(&mut self) {
        if std::mem::take(&mut self.found) {
            self.start = Start::Beginning;
        }
    }

    fn tell(&self, read: Read) -> Option<()> {
        self.out.blocking_send(read).ok()
    }

    fn pause(&self) -> Option<()> {
        std::thread::sleep(PAUSE);
        (!self.out.is_closed()).then_some(())
    }

    /// Reads until it fails, or until nobody reads any more.
    fn read(&mut self) -> Result<(), WatchError> {
        let topics = vec![self.config.broker.model_topic.clone()];
        let wish = Wish { topics, start: self.start, partition: Some(0), group: None, until_end: false };
        let mut watcher = self.runtime.block_on(watch::open(&self.config, wish))?;
        while !self.out.is_closed() {
            let (mut records, mut next) = (Vec::new(), None);
            let polled = watcher.poll(WAIT, &mut |record: &Watched<'_>| {
                next = Some(record.offset + 1);
                if let (Some(key), Some(payload)) = (record.key, record.payload) {
                    records.push(ModelRecord { key: key.to_vec(), payload: payload.to_vec() });
                }
                ControlFlow::Continue(())
            })?;
            self.start = next.map_or(self.start, Start::Offset);
            if polled == Polled::Records && self.tell(Read::Records(records)).is_none() {
                break;
            }
        }
        Ok(())
    }
}
