//! Beside the stages of one of several trainers: tells the others what it has added to items, as soon as that is durable,
//! and hands what they have added to the first stage.
//!
//! What is told is all that was added since the store began, so that nothing has to be told twice for a record that got lost:
//! in doubt about what the topic holds, all of it is sent again.

mod inbox;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::EngineError;
use crate::capture::LogError;
use crate::capture::kafka_link;
use crate::capture::producer::{self, Producer, Record};
use crate::config::Config;
use crate::consume::model_topic::{self, ModelReader, ModelRecord, Read};
use crate::consume::watch::Start;
use crate::decode::Contributions;
use crate::decode::contribution::{CONTRIBUTION_FORMAT, Commit, Told, greeting_record, row_record};
use crate::learn::exchange::Exchange;
use crate::learn::params::Named;
use crate::learn::tables::Frozen;
use crate::publish::View;
use crate::serve::Status;
use crate::serve::status::{Part, Trainer};
use crate::store::snapshot::delta::Teller;
use crate::telemetry::now_ms;

use inbox::{Inbox, common};

/// How often the others are told that there is nothing new.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Pause before a topic that could not be written is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest silence of another trainer that is no trouble.
const SILENCE: Duration = Duration::from_secs(5);
/// Bytes of records that are handed over at once.
const AT_ONCE: usize = 16 << 20;
/// Contributions that may wait for the first stage.
pub(super) const AHEAD: usize = 4;

/// A trainer among others.
pub(super) struct Sharing {
    /// In the place of the topic of the model the shared one.
    config: Config,
    params: Named,
    status: Arc<Status>,
    /// Stands for this trainer's store.
    store: u64,
    reader: ModelReader,
    producer: Option<Arc<dyn Producer>>,
    inbox: Inbox,
    /// What the first stage has not been handed yet.
    arrived: VecDeque<Contributions>,
    /// The view whose own contributions are all on the topic.
    told: Option<Arc<View>>,
    started: Instant,
    /// When the others were told anything last.
    told_at: Option<Instant>,
    /// One past the last offset that this trainer has written.
    end: i64,
}

/// Why the others could not be told.
struct Untold(String);

impl<E: std::error::Error> From<E> for Untold {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

fn own(view: &View) -> Option<&Exchange<Frozen>> {
    view.learned().exchange.as_ref()
}

impl Sharing {
    /// Reads all that the others have told, and sees whether this trainer fits to them.
    ///
    /// # Errors
    /// If Kafka does not answer within `broker.connect_timeout`, or another trainer learns under other parameters.
    pub(super) async fn join(
        config: &Config,
        params: Named,
        status: Arc<Status>,
        store_id: &str,
        view: &Arc<View>,
    ) -> Result<Self, EngineError> {
        let mut config = config.clone();
        config.broker.model_topic.clone_from(&config.broker.shared_topic);
        let within = config.broker.connect_timeout.max(PAUSE);
        let late = || {
            let topic = &config.broker.model_topic;
            kafka_link::unreachable(&config.broker, format!("{topic} could not be read and written within {within:?}"))
        };
        if model_topic::look(&config).await?.is_none() {
            let created = model_topic::create(&config).await;
            created.map_err(|error| {
                kafka_link::refused(&config.broker, "create the topic of trainers on", error.to_string())
            })?;
        }
        let known = own(view).map(|exchange| exchange.heard().to_vec()).unwrap_or_default();
        let mut sharing = Self {
            inbox: Inbox::new(config.engine.shard, common(params.clone()), &known),
            reader: ModelReader::start(&config, Start::Beginning),
            params,
            status,
            store: Teller::new(store_id, 0).store,
            producer: None,
            arrived: VecDeque::new(),
            told: None,
            started: Instant::now(),
            told_at: None,
            end: 0,
            config: config.clone(),
        };
        timeout(within, sharing.greet()).await.map_err(|_| late())??;
        let own_number = known.get(config.engine.shard).map_or(0, |own| own.number);
        let told = sharing.inbox.commits().nth(config.engine.shard).and_then(|(_, commit)| commit);
        if told.is_some_and(|commit| commit.store == sharing.store && commit.number == own_number) {
            sharing.told = Some(Arc::clone(view));
        }
        Ok(sharing)
    }

    /// Writes a word, and reads on until it comes back: by then all is read that was there before.
    async fn greet(&mut self) -> Result<(), LogError> {
        let word = format!("{} {} {}", self.store, std::process::id(), now_ms()).into_bytes();
        let producer = producer::open_model(&self.config).await?;
        let (key, payload) = greeting_record(self.config.engine.shard, &word);
        for receipt in producer.append(vec![Record { key, payload, ..Record::default() }]).await? {
            let refused = |reason| kafka_link::refused(&self.config.broker, "write to", reason);
            self.end = receipt.map_err(|undelivered| refused(undelivered.reason))?.offset + 1;
        }
        self.producer = Some(producer);
        loop {
            match self.reader.next().await {
                Read::Records(records) => {
                    for ModelRecord { key, payload } in records {
                        match Told::read(&key, &payload) {
                            Ok(Told::Greeting(heard)) if heard == word => return Ok(()),
                            told => self.take(told).map_err(|reason| {
                                let topic = &self.config.broker.model_topic;
                                kafka_link::refused(
                                    &self.config.broker,
                                    "join the trainers on",
                                    format!("{topic}: {reason}"),
                                )
                            })?,
                        }
                    }
                }
                Read::Failed(reason) => tracing::debug!(reason, "cannot read the topic of trainers yet"),
                Read::Missing | Read::Another => self.inbox.another_topic(),
            }
        }
    }

    fn take(&mut self, told: Result<Told, String>) -> Result<(), String> {
        self.arrived.extend(self.inbox.take(told?)?);
        Ok(())
    }

    /// Tells of each durable view, and hands on what the others tell, until there are no more views.
    pub(super) async fn run(mut self, mut durable: watch::Receiver<Arc<View>>, out: mpsc::Sender<Contributions>) {
        let mut look = interval(HEARTBEAT / 4);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tell_at = Instant::now();
        loop {
            let waits = !self.arrived.is_empty();
            tokio::select! {
                biased;
                room = out.reserve(), if waits => {
                    let Ok(room) = room else { return };
                    room.send(self.arrived.pop_front().expect("the branch is enabled while one waits"));
                }
                changed = durable.changed(), if tell_at <= Instant::now() => {
                    let over = changed.is_err();
                    let view = durable.borrow_and_update().clone();
                    self.tell(&view, &mut tell_at).await;
                    if over {
                        return;
                    }
                }
                read = self.reader.next(), if !waits => self.heed(read),
                _ = look.tick() => {
                    if self.told_at.is_none_or(|at| at.elapsed() >= HEARTBEAT) && tell_at <= Instant::now() {
                        let view = durable.borrow().clone();
                        self.tell(&view, &mut tell_at).await;
                    }
                    self.show();
                }
            }
        }
    }

    /// Takes what was read.
    fn heed(&mut self, read: Read) {
        match read {
            Read::Records(records) => {
                for ModelRecord { key, payload } in records {
                    if let Err(reason) = self.take(Told::read(&key, &payload)) {
                        self.trouble(reason);
                    }
                }
            }
            Read::Missing => self.trouble("the topic of trainers is not there; it is made again".to_owned()),
            Read::Failed(reason) => self.trouble(reason),
            Read::Another => {
                tracing::warn!(
                    topic = self.config.broker.model_topic,
                    "the topic of trainers is gone; all is told anew"
                );
                self.inbox.another_topic();
                self.forget_told();
            }
        }
    }

    async fn tell(&mut self, view: &Arc<View>, again_at: &mut Instant) {
        match self.try_to_tell(view).await {
            Ok(()) => self.told_at = Some(Instant::now()),
            Err(Untold(reason)) => {
                // Another one is opened once Kafka answers: this one may be of a topic that is gone.
                let lost = self.producer.take();
                tokio::task::spawn_blocking(move || drop(lost));
                self.trouble(format!("other trainers cannot be told: {reason}"));
                *again_at = Instant::now() + PAUSE;
            }
        }
    }

    /// Sends the own contributions that are not on the topic yet, then the commit.
    async fn try_to_tell(&mut self, view: &Arc<View>) -> Result<(), Untold> {
        let Some(exchange) = own(view) else { return Ok(()) };
        let producer = self.producer().await?;
        let (shard, number) = (exchange.shard(), exchange.heard()[exchange.shard()].number);
        let before = self.told.clone();
        let before = before.as_deref().and_then(own);
        let (mut records, mut bytes) = (Vec::new(), 0);
        for (item, row) in exchange.changed_since(before) {
            let Some(name) = view.learned().items.name(item) else { continue };
            let (key, payload) = row_record(shard, self.store, number, name, row);
            bytes += key.len() + payload.len();
            records.push(Record { key, payload, ..Record::default() });
            if bytes >= AT_ONCE {
                self.send(&*producer, std::mem::take(&mut records)).await?;
                bytes = 0;
            }
        }
        let (format, freshet, params) =
            (CONTRIBUTION_FORMAT, env!("CARGO_PKG_VERSION").to_owned(), self.params.clone());
        let commit = Commit { format, freshet, store: self.store, number, params, sent_at_ms: now_ms() };
        let (key, payload) = commit.record(shard);
        // One producer, and it is idempotent: what is handed over first is on the topic first.
        records.push(Record { key, payload, ..Record::default() });
        let before = self.end;
        let end = self.send(&*producer, records).await?;
        self.end = end;
        if end < before {
            self.forget_told();
            return Ok(());
        }
        self.told = Some(Arc::clone(view));
        Ok(())
    }

    fn forget_told(&mut self) {
        (self.told, self.told_at) = (None, None);
    }

    /// Sends records; one past the last of their offsets, once all are on the topic.
    async fn send(&self, producer: &dyn Producer, records: Vec<Record>) -> Result<i64, Untold> {
        let mut end = self.end;
        for receipt in producer.append(records).await? {
            end = receipt.map_err(|undelivered| Untold(undelivered.reason))?.offset + 1;
        }
        Ok(end)
    }

    /// The producer, once the topic is there.
    async fn producer(&mut self) -> Result<Arc<dyn Producer>, Untold> {
        if let Some(producer) = &self.producer {
            return Ok(Arc::clone(producer));
        }
        match model_topic::look(&self.config).await? {
            None => {
                model_topic::create(&self.config).await?;
                (self.end, self.told) = (0, None);
            }
            Some(bounds) if bounds.end < self.end => (self.end, self.told) = (0, None),
            Some(_) => {}
        }
        let producer = producer::open_model(&self.config).await?;
        self.producer = Some(Arc::clone(&producer));
        Ok(producer)
    }

    fn trouble(&self, reason: String) {
        let line = reason.clone();
        if self.status.begin_trouble(Part::Trainers, reason) {
            tracing::warn!(reason = line, "trainers do not hear of each other; each learns on by itself");
        }
    }

    /// Says how fresh what the others have added is, and whether all is well.
    fn show(&self) {
        let own = self.config.engine.shard;
        let trainer = |(shard, commit): (usize, Option<&Commit>)| Trainer {
            shard,
            current_at_ms: commit.map(|commit| commit.sent_at_ms),
        };
        let trainers: Vec<Trainer> = self.inbox.commits().map(trainer).filter(|trainer| trainer.shard != own).collect();
        let silent =
            trainers.iter().find(|trainer| trainer.stale_ms().is_none_or(|ms| ms > SILENCE.as_millis() as i64));
        let told = self.told_at.is_some_and(|at| at.elapsed() < SILENCE);
        match silent {
            Some(Trainer { current_at_ms: None, .. }) if self.started.elapsed() < SILENCE => {}
            Some(_) if self.status.troubles().iter().any(|trouble| trouble.part == Part::Trainers) => {}
            Some(Trainer { shard, current_at_ms: None }) => {
                self.trouble(format!("trainer {shard} has not said anything yet: start it with engine.shard={shard}"));
            }
            Some(Trainer { shard, .. }) => self.trouble(format!(
                "trainer {shard} has said nothing for {SILENCE:?} and more; its users are not learned, and items go on \
                 without what it would add"
            )),
            None if told && self.status.end_trouble(Part::Trainers).is_some() => {
                tracing::info!("trainers hear of each other again");
            }
            None => {}
        }
        self.status.trainers.store(Arc::new(trainers));
    }
}
