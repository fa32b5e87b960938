//! Beside the stages of a trainer: tells servers what has changed in the model, as soon as it is durable.
//!
//! Only durable views are told of, so that no server shows a moment that a crash takes back. Nothing waits for it: what
//! comes while Kafka is slow or away is told of together, later. In doubt about what the topic holds, all of the model is
//! sent again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::outlet::{Opened, Outlet, Untold};
use crate::config::Config;
use crate::consume::model_topic;
use crate::learn::params::Named;
use crate::publish::View;
use crate::serve::Status;
use crate::serve::status::Part;
use crate::store::snapshot::away::{Loaded, Origins, Read};
use crate::store::snapshot::delta::{Commit, Delta, Place, Teller, block_record};
use crate::store::snapshot::{Changed, Encoder};
use crate::store::{Block, Store};
use crate::telemetry::now_ms;

/// How often servers are told that there is nothing new.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Pause before a topic that could not be written is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells servers.
pub(super) struct Deltas {
    config: Config,
    params: Named,
    status: Arc<Status>,
    store_id: String,
    epoch: u64,
    store: Arc<dyn Store>,
    /// Where rows of users are that are away.
    origins: watch::Receiver<Arc<Origins>>,
    encoder: Encoder,
    outlet: Outlet,
    /// Blocks and pieces that no commit on the topic speaks of yet, by their places.
    unsent: BTreeMap<Place, Block>,
    /// The last commit on the topic.
    told: Option<Commit>,
    /// `seq` of the model that what is sent next makes another one of.
    after: u64,
}

impl Deltas {
    pub(super) fn new(
        config: &Config,
        params: Named,
        status: Arc<Status>,
        (store_id, epoch): (String, u64),
        (store, origins): (Arc<dyn Store>, watch::Receiver<Arc<Origins>>),
    ) -> Self {
        Self {
            config: config.clone(),
            store,
            origins,
            encoder: Encoder::new(params.clone()),
            params,
            status,
            store_id,
            epoch,
            outlet: Outlet::new(config),
            unsent: BTreeMap::new(),
            told: None,
            after: 0,
        }
    }

    /// Leaves out what is in a snapshot: servers find that in the store.
    pub(super) fn after(mut self, snapshot: &Loaded) -> Self {
        self.after = snapshot.view.version().seq;
        self.encoder.know(&snapshot.view, &snapshot.listed);
        self
    }

    /// Tells of each durable view, until there are no more.
    pub(super) async fn run(mut self, mut durable: watch::Receiver<Arc<View>>) {
        loop {
            let view = durable.borrow_and_update().clone();
            match self.tell(view).await {
                Ok(()) => self.told_again(),
                Err(Untold(reason)) => {
                    self.has_failed(&reason);
                    sleep(PAUSE).await;
                }
            }
            if durable.has_changed().is_ok() {
                sleep(self.config.engine.delta_every).await;
            }
            // The end of the durability stage.
            if let Ok(Err(_)) = timeout(HEARTBEAT, durable.changed()).await {
                return;
            }
        }
    }

    /// Sends what has changed, and a commit; or the last commit once more.
    async fn tell(&mut self, view: Arc<View>) -> Result<(), Untold> {
        match self.outlet.open().await? {
            Opened::Before => {}
            Opened::Now => {
                if let Ok(Some(wrong)) = model_topic::unfit(&self.config).await {
                    tracing::warn!("{wrong}");
                }
            }
            Opened::Lost(why) => self.send_all_again(why),
        }
        let told = self.told.as_ref().filter(|told| told.version() == *view.version());
        let mut commit = match told {
            Some(told) => told.clone(),
            None => match self.next(view).await? {
                Some(commit) => commit,
                None => return Ok(()),
            },
        };
        let (teller, batch) = (Teller::new(&self.store_id, self.epoch), commit.batch);
        for (place, block) in &self.unsent {
            self.outlet.put(block_record(teller, batch, place, block)).await?;
        }
        let holds_blocks = self.outlet.flush().await?;
        commit.sent_at_ms = now_ms();
        self.outlet.put(commit.record()).await?;
        let holds_all = self.outlet.flush().await?;
        if !(holds_blocks && holds_all) {
            self.send_all_again("it was made anew");
            return Ok(());
        }
        self.after = commit.seq;
        self.unsent.clear();
        self.told = Some(commit);
        Ok(())
    }

    /// The commit of the next delta, whose blocks are among the unsent ones. None if the view is behind the newest snapshot,
    /// and rows are away in it: what they were then is not known any more, and a later view is about to come.
    async fn next(&mut self, view: Arc<View>) -> Result<Option<Commit>, Untold> {
        let origins = Arc::clone(&self.origins.borrow_and_update());
        let lacking = self.encoder.lacking(&view, &origins);
        if !lacking.is_empty() {
            if origins.batch > view.version().batch {
                return Ok(None);
            }
            self.encoder.take(Read::from(&*self.store, lacking).await.map_err(|error| Untold(error.to_string()))?);
        }
        let delta = self.delta(Arc::clone(&view)).await;
        let number = self.told.as_ref().map_or(0, |told| told.delta) + 1;
        let commit = Commit::of(&view, &delta, self.params.clone(), (&self.store_id, self.epoch));
        self.unsent.extend(delta.changed.into_iter().flat_map(Changed::told));
        Ok(Some(Commit { delta: number, after: self.after, changed: self.unsent.len(), ..commit }))
    }

    /// What has changed since the last call; encoded off the runtime.
    async fn delta(&mut self, view: Arc<View>) -> Delta {
        let mut encoder = std::mem::take(&mut self.encoder);
        let encoding = tokio::task::spawn_blocking(move || (encoder.delta(&view), encoder));
        let (delta, encoder) = encoding.await.expect("encoding does not panic");
        self.encoder = encoder;
        delta
    }

    /// Forgets what the topic may have held: it does not any more.
    fn send_all_again(&mut self, why: &str) {
        if self.told.is_some() {
            let topic = &self.config.broker.model_topic;
            tracing::warn!(
                topic,
                "the topic of the model has lost what it held ({why}); all of the model is sent again"
            );
            self.encoder.forget();
            self.unsent.clear();
            (self.told, self.after) = (None, 0);
        }
    }

    fn has_failed(&mut self, reason: &str) {
        self.outlet.close();
        if self.status.begin_trouble(Part::Model, format!("servers cannot be told of the model: {reason}")) {
            tracing::warn!(
                reason,
                "servers cannot be told of the model; learning goes on, and they are told once it works"
            );
        }
    }

    fn told_again(&self) {
        if self.status.end_trouble(Part::Model).is_some() {
            tracing::info!("servers are told of the model again");
        }
    }
}
