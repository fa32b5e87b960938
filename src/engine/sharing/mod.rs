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
use super::outlet::{Opened, Outlet, Untold};
use crate::capture::LogError;
use crate::capture::kafka_link;
use crate::config::Config;
use crate::consume::model_topic::{ModelReader, ModelRecord, Read};
use crate::consume::watch::Start;
use crate::decode::Contributions;
use crate::decode::contribution::{CONTRIBUTION_FORMAT, Commit, Told, Words, row_record};
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
    outlet: Outlet,
    inbox: Inbox,
    /// What the first stage has not been handed yet.
    arrived: VecDeque<Contributions>,
    /// The view whose own contributions are all on the topic.
    told: Option<Arc<View>>,
    started: Instant,
    /// When the others were told anything last.
    told_at: Option<Instant>,
    /// The last greeting.
    greeting: String,
    /// Behind which all own rows are on the topic.
    beginning: String,
    /// What the topic lacks and others are to be asked for: trainers and their beginnings.
    missing: Vec<(usize, String)>,
    /// When the topic was begun to be read again for a beginning that it should have had.
    reread_at: Option<Instant>,
}

/// What is wrong with what was read, for people.
enum Wrong {
    /// A record.
    Record(String),
    /// A trainer, which does not fit to this one.
    Trainer(String),
}

fn own(view: &View) -> Option<&Exchange<Frozen>> {
    view.learned().exchange.as_ref()
}

/// Number of the last exchange in which a view's own contributions were worked out.
fn own_number(view: &View) -> Option<u64> {
    own(view).map(Exchange::number)
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
        let known = own(view).map(|exchange| exchange.heard().to_vec()).unwrap_or_default();
        let mut sharing = Self {
            inbox: Inbox::new(config.engine.shard, common(params.clone()), &known),
            reader: ModelReader::start(&config, Start::Beginning),
            params,
            status,
            store: Teller::new(store_id, 0).store,
            outlet: Outlet::new(&config),
            arrived: VecDeque::new(),
            told: None,
            started: Instant::now(),
            told_at: None,
            greeting: String::new(),
            beginning: String::new(),
            missing: Vec::new(),
            reread_at: None,
            config: config.clone(),
        };
        timeout(within, sharing.greet()).await.map_err(|_| late())??;
        let told = sharing.inbox.commits().nth(config.engine.shard).and_then(|(_, commit)| commit);
        if let Some(commit) = told.filter(|told| told.store == sharing.store && Some(told.number) == own_number(view)) {
            sharing.beginning.clone_from(&commit.beginning);
            sharing.told = Some(Arc::clone(view));
        }
        Ok(sharing)
    }

    /// Writes a greeting, and reads on until it comes back: by then all is read that was there before.
    async fn greet(&mut self) -> Result<(), LogError> {
        let (broker, topic) = (self.config.broker.clone(), self.config.broker.model_topic.clone());
        let refused =
            |reason: String| kafka_link::refused(&broker, "join the trainers on", format!("{topic}: {reason}"));
        loop {
            self.greeting = self.words();
            let greeting = Words::Greeting.record(self.config.engine.shard, &self.greeting);
            self.say(greeting).await.map_err(|Untold(reason)| refused(reason))?;
            if self.meet().await.map_err(refused)? {
                return Ok(());
            }
            self.outlet.close();
        }
    }

    /// Words unlike those before them.
    fn words(&self) -> String {
        format!("{} {} {}", self.store, std::process::id(), now_ms())
    }

    /// Reads on until the last greeting comes back; false if the topic is another one by then.
    ///
    /// # Errors
    /// Which trainer does not fit to this one, and why.
    async fn meet(&mut self) -> Result<bool, String> {
        while !self.inbox.has_met(&self.greeting) {
            match self.reader.next().await {
                Read::Records(records) => {
                    for wrong in self.take(records) {
                        match wrong {
                            Wrong::Record(reason) => {
                                tracing::warn!(reason, "passing over a record of the trainers' topic");
                            }
                            Wrong::Trainer(reason) => return Err(reason),
                        }
                    }
                }
                Read::Failed(reason) => tracing::debug!(reason, "cannot read the topic of trainers yet"),
                Read::Missing => self.inbox.begin_anew(),
                Read::Another => {
                    self.inbox.begin_anew();
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Writes one record.
    async fn say(&mut self, record: (Vec<u8>, Vec<u8>)) -> Result<(), Untold> {
        self.outlet.open().await?;
        self.outlet.put(record).await?;
        self.outlet.flush().await.map(drop)
    }

    /// Takes all of what was read, and says what is wrong with it.
    fn take(&mut self, records: Vec<ModelRecord>) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        for ModelRecord { key, payload } in records {
            let taken = Told::read(&key, &payload).map_err(Wrong::Record);
            if let Ok(Told::Words(Words::Missing, shard, beginning)) = &taken
                && (*shard, beginning) == (self.config.engine.shard, &self.beginning)
            {
                tracing::warn!(
                    topic = self.config.broker.model_topic,
                    "the topic of trainers was cut; all is told anew"
                );
                self.forget_told();
            }
            match taken.and_then(|told| self.inbox.take(told).map_err(Wrong::Trainer)) {
                Ok(completed) => self.arrived.extend(completed),
                Err(reason) => wrong.push(reason),
            }
        }
        wrong
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
                    if own_number(&view) != self.told.as_deref().and_then(own_number) {
                        self.tell(&view, &mut tell_at).await;
                    }
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
                for Wrong::Record(reason) | Wrong::Trainer(reason) in self.take(records) {
                    self.trouble(reason);
                }
                self.read_again_if_lacking();
            }
            Read::Missing => {
                self.inbox.begin_anew();
                self.trouble("the topic of trainers is not there; it is made again".to_owned());
            }
            Read::Failed(reason) => self.trouble(reason),
            Read::Another => {
                tracing::warn!(
                    topic = self.config.broker.model_topic,
                    "the topic of trainers is gone; all is told anew"
                );
                self.inbox.begin_anew();
                self.forget_told();
            }
        }
    }

    /// Reads the topic again if a commit names a beginning that was not read, and has whoever's rows it lacks be asked to tell
    /// them anew: it was cut, or replaced by one that is as long, which no offset tells.
    fn read_again_if_lacking(&mut self) {
        if self.inbox.lacking().next().is_none() || self.reread_at.is_some_and(|at| at.elapsed() < SILENCE) {
            return;
        }
        self.missing = self.inbox.lacking().map(|(shard, beginning)| (shard, beginning.to_owned())).collect();
        tracing::warn!(
            topic = self.config.broker.model_topic,
            trainers = ?self.missing.iter().map(|(shard, _)| shard).collect::<Vec<_>>(),
            "the topic of trainers lacks rows; it is read again, and the trainers are asked to tell them anew"
        );
        self.inbox.begin_anew();
        self.reader = ModelReader::start(&self.config, Start::Beginning);
        self.reread_at = Some(Instant::now());
    }

    async fn tell(&mut self, view: &Arc<View>, again_at: &mut Instant) {
        match self.try_to_tell(view).await {
            Ok(()) => self.told_at = Some(Instant::now()),
            Err(Untold(reason)) => {
                self.outlet.close();
                self.trouble(format!("other trainers cannot be told: {reason}"));
                *again_at = Instant::now() + PAUSE;
            }
        }
    }

    /// Sends the own contributions that are not on the topic yet, then the commit.
    async fn try_to_tell(&mut self, view: &Arc<View>) -> Result<(), Untold> {
        let Some(exchange) = own(view) else { return Ok(()) };
        if let Opened::Lost(_) = self.outlet.open().await? {
            self.told = None;
        }
        let (shard, number) = (exchange.shard(), exchange.number());
        let told = self.told.clone();
        if told.is_none() {
            self.beginning = self.words();
            self.outlet.put(Words::Beginning.record(shard, &self.beginning)).await?;
        }
        for (of, beginning) in std::mem::take(&mut self.missing) {
            self.outlet.put(Words::Missing.record(of, &beginning)).await?;
        }
        let before = told.as_deref().and_then(own);
        for (item, row) in exchange.changed_since(before) {
            if let Some(name) = view.learned().items.name(item) {
                self.outlet.put(row_record(shard, self.store, number, name, row)).await?;
            }
        }
        if !self.outlet.flush().await? {
            self.told = None;
            return Ok(());
        }
        let (format, freshet, params) =
            (CONTRIBUTION_FORMAT, env!("CARGO_PKG_VERSION").to_owned(), self.params.clone());
        let beginning = self.beginning.clone();
        let commit = Commit { format, freshet, store: self.store, number, beginning, params, sent_at_ms: now_ms() };
        // By itself: one that came without a row before it would have that row be taken for an old one.
        self.outlet.put(commit.record(shard)).await?;
        self.told = self.outlet.flush().await?.then(|| Arc::clone(view));
        Ok(())
    }

    fn forget_told(&mut self) {
        (self.told, self.told_at) = (None, None);
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

#[cfg(test)]
mod tests;
