//! Joins the stages: recovers, starts each stage, connects them with bounded channels, and stops them in order.
//!
//! `intake` (consume, decode, gather) → `learning` (learn, publish; one thread) → `durability` (store, snapshots), and back
//! from there to `intake` what may be committed to the log. A batch is learned and published before it is durable; a
//! snapshot and the committed offsets never run ahead of what is durable. A trainer also tells servers what is durable
//! (`deltas`), and several trainers each other what they have added to items (`sharing`). A server has no stages: it shows a
//! trainer's model (`following`).

mod archive;
mod deltas;
pub mod diff;
mod durability;
mod following;
mod intake;
mod judge;
mod learning;
pub mod letters;
mod log_watch;
mod outlet;
mod patience;
mod place;
mod recovery;
mod residency;
mod sharing;
mod snapshots;
mod spans;
pub mod verify;
mod watch;
mod writing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch as watch_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::capture::LogError;
use crate::config::{Config, Role};
use crate::consume::{Consumer, OffsetError};
use crate::decode::Decoder;
use crate::gather::Gatherer;
use crate::learn::params::{self, Named};
use crate::learn::{LearnError, Recommender};
use crate::publish::{Published, Publisher, Readers, Search, View};
use crate::serve::status::Phase;
use crate::serve::{Archive, Status};
use crate::shutdown::StopDeadline;
use crate::store::snapshot::Encoder;
use crate::store::snapshot::away::{Loaded, Origins};
use crate::store::{Hash, Retention, Store, StoreError};

use recovery::Recovered;

/// An engine that has its parts and has not started.
pub struct Engine {
    config: Config,
    /// The parameters by name, as snapshots hold them.
    named: Named,
    store: Arc<dyn Store>,
    published: Published,
    status: Arc<Status>,
}

/// Why an engine stopped, other than by request.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The log cannot be read.
    #[error("{0}")]
    Log(#[from] LogError),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A parameter is out of its range, or the learner refused a batch.
    #[error("{0}")]
    Learn(#[from] LearnError),
    /// A batch does not continue the one before.
    #[error("{0}")]
    Offsets(#[from] OffsetError),
    /// The stop took too long.
    #[error("{0}")]
    Deadline(#[from] StopDeadline),
    /// A stage panicked; the log has the cause.
    #[error("the {stage} stage of the engine panicked; nothing durable is lost: restart, and report it")]
    Panicked {
        /// Which stage.
        stage: &'static str,
    },
}

impl Engine {
    /// Checks the parameters. Nothing is read or written yet.
    ///
    /// # Errors
    /// If a parameter is out of its range.
    pub fn new(config: &Config, store: Arc<dyn Store>) -> Result<Self, EngineError> {
        Recommender::new(config)?;
        let named = params::named(config);
        let status = Arc::new(Status::new(named.clone()).in_role(config.engine.role, config.engine.max_staleness));
        let published = Arc::new(Readers::searching(Search::new(&config.serve)));
        Ok(Self { config: config.clone(), named, store, published, status })
    }

    /// Readers' handle on the newest view.
    #[must_use]
    pub fn published(&self) -> Published {
        Arc::clone(&self.published)
    }

    /// The store as what serving asks of it.
    #[must_use]
    pub fn archive(&self) -> Arc<dyn Archive> {
        Arc::new(archive::StoreArchive::new(&self.config, Arc::clone(&self.store)))
    }

    /// What the engine is doing.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Recovers, then learns until `stop` is cancelled; drains, persists, snapshots, commits and leaves the group.
    ///
    /// # Errors
    /// The first error of a stage; what was durable stays, and the next start goes on from there. [`StopDeadline`] if the
    /// stop took longer than `engine.stop_deadline`.
    pub async fn run(self, stop: CancellationToken) -> Result<(), EngineError> {
        let status = Arc::clone(&self.status);
        let result = match self.config.engine.role {
            Role::All | Role::Trainer => Box::pin(self.recover_and_learn(stop)).await,
            Role::Server => self.follow(stop).await,
        };
        if result.is_err() {
            status.set_phase(Phase::Failed);
        }
        result
    }

    async fn follow(self, stop: CancellationToken) -> Result<(), EngineError> {
        let (store, published) = (Arc::clone(&self.store), self.published);
        following::Following::new(&self.config, store, published, self.status).run(self.store, stop).await
    }

    async fn recover_and_learn(self, stop: CancellationToken) -> Result<(), EngineError> {
        let recovered = tokio::select! {
            recovered = recovery::recover(&self.store, &self.config, &self.named, &self.status) => recovered?,
            () = stop.cancelled() => return Ok(()),
        };
        let (store, status) = (Arc::clone(&self.store), Arc::clone(&self.status));
        let place = place::Place::new(&self.config, store, status, recovered.epoch, &recovered.store_id);
        let consumer = tokio::select! {
            consumer = place.take(recovered.progress.offsets.clone()) => consumer?,
            () = stop.cancelled() => return Ok(()),
        };
        let sharing = tokio::select! {
            sharing = self.join(recovered.store_id.clone(), Arc::clone(&recovered.view)) => sharing?,
            () = stop.cancelled() => return Ok(()),
        };
        let deadline = self.config.engine.stop_deadline;
        // Stages watch this one: it is cancelled by a stop, and by the end of any stage.
        let halt = stop.child_token();
        let status = Arc::clone(&self.status);
        let stages = self.start(recovered, (place, consumer), sharing, &halt);
        status.set_phase(Phase::Running);
        let ended = stages.join();
        tokio::pin!(ended);
        tokio::select! {
            result = &mut ended => return result,
            () = halt.cancelled() => status.set_phase(Phase::Stopping),
        }
        tokio::time::timeout(deadline, ended)
            .await
            .unwrap_or_else(|_| Err(StopDeadline { deadline, doing: "drain, persist and snapshot" }.into()))
    }

    fn start(
        self,
        recovered: Recovered,
        (place, consumer): (place::Place, Box<dyn Consumer>),
        sharing: Option<sharing::Sharing>,
        halt: &CancellationToken,
    ) -> Stages {
        let Recovered { epoch, progress, ids, recommender, view, snapshot, base, catalog, store_id, .. } = recovered;
        let Recovered { residency, names, origins, .. } = recovered;
        let (durable_views, views) = watch_channel::channel(Arc::clone(&view));
        let mut encoder = Encoder::new(self.named.clone());
        encoder.know(&base.view, &base.listed);
        let deltas = self.deltas((store_id, epoch), &base, (&views, origins.subscribe()));
        let (contributed, contributions) = mpsc::channel(sharing::AHEAD);
        let sharing = sharing.map(|sharing| tokio::spawn(sharing.run(views, contributed)));
        let publisher = Publisher::new(self.published, View::clone(&view));
        let queue = self.config.engine.queue;
        let (batches, gathered) = mpsc::channel(queue);
        let (outcomes, learned) = mpsc::channel(queue);
        // One at a time: what waits would be judged by a view that is long gone.
        let (cases, to_judge) = mpsc::channel(1);
        let (durable, committable) = watch_channel::channel(progress.clone());
        let guard = || halt.clone().drop_guard();

        let gathering = Gatherer::new(&self.config.gather, progress.clone(), ids);
        let intake = intake::Intake {
            consumer,
            place,
            gatherer: gathering,
            decoder: Decoder::new(&self.config),
            waiting: intake::Waiting::default(),
            batches,
            committable,
            shared: sharing.is_some().then(|| intake::Shared::new(contributions, &self.config.engine)),
            log: log_watch::LogWatch::new(Arc::clone(&self.status)),
        };
        let learning = learning::Learning {
            recommender,
            publisher,
            residency,
            snapshot_every: self.config.store.snapshot_every,
            offsets: progress.offsets.clone(),
            status: Arc::clone(&self.status),
            newest: Arc::clone(&view),
            cases,
        };
        let status = Arc::clone(&self.status);
        tokio::task::spawn_blocking(move || judge::run(&status.monitor, to_judge));
        let durability = durability::Durability {
            store: Arc::clone(&self.store),
            epoch,
            progress,
            write_batch: self.config.store.write_batch,
            durable,
            durable_views,
            status: Arc::clone(&self.status),
        };
        let keeper = snapshots::Keeper {
            store: Arc::clone(&self.store),
            epoch,
            encoder,
            names,
            origins,
            keep: Retention::of(&self.config.store),
            last: snapshot,
            rested: Instant::now(),
            status: Arc::clone(&self.status),
        };
        Stages {
            watch: tokio::spawn(watch::follow_catalog(Arc::clone(&self.store), self.status, catalog, halt.clone())),
            intake: tokio::spawn(guarded(guard(), intake.run(halt.clone()))),
            learning: {
                let guard = guard();
                tokio::task::spawn_blocking(move || {
                    let _guard = guard;
                    Handle::current().block_on(learning.run(gathered, &outcomes))
                })
            },
            durability: tokio::spawn(guarded(guard(), durability.run(learned, view, keeper))),
            tellers: deltas.into_iter().chain(sharing).collect(),
        }
    }

    /// What tells servers; none if this is no trainer.
    fn deltas(
        &self,
        claim: (String, u64),
        base: &Loaded,
        (views, origins): (&watch_channel::Receiver<Arc<View>>, watch_channel::Receiver<Arc<Origins>>),
    ) -> Option<JoinHandle<()>> {
        let is_trainer = self.config.engine.role == Role::Trainer;
        is_trainer.then(|| {
            let (store, status) = (Arc::clone(&self.store), Arc::clone(&self.status));
            let deltas = deltas::Deltas::new(&self.config, self.named.clone(), status, claim, (store, origins));
            tokio::spawn(deltas.after(base).run(views.clone()))
        })
    }

    /// Joins the other trainers; none where there are no others.
    async fn join(&self, store_id: String, view: Arc<View>) -> Result<Option<sharing::Sharing>, EngineError> {
        if self.config.engine.shards == 1 {
            return Ok(None);
        }
        let (params, status) = (self.named.clone(), Arc::clone(&self.status));
        sharing::Sharing::join(&self.config, params, status, &store_id, &view).await.map(Some)
    }
}

/// Runs a stage to its end, then halts the others.
async fn guarded<T>(guard: DropGuard, stage: impl Future<Output = T>) -> T {
    let result = stage.await;
    drop(guard);
    result
}

struct Stages {
    watch: JoinHandle<()>,
    intake: JoinHandle<Result<(), EngineError>>,
    learning: JoinHandle<Result<(), EngineError>>,
    durability: JoinHandle<Result<(), EngineError>>,
    /// Who tells servers and other trainers.
    tellers: Vec<JoinHandle<()>>,
}

/// Longest that the end waits for servers and other trainers to be told of it: they find it later too.
const LAST_WORD: Duration = Duration::from_secs(3);

impl Stages {
    /// Waits for every stage. A stage that fails closes its channels, so that the others end too; the error nearest to
    /// the store is the cause.
    async fn join(self) -> Result<(), EngineError> {
        let (intake, learning, durability) = tokio::join!(self.intake, self.learning, self.durability);
        self.watch.abort();
        let _ = tokio::time::timeout(LAST_WORD, futures::future::join_all(self.tellers)).await;
        durability.unwrap_or(Err(EngineError::Panicked { stage: "durability" }))?;
        learning.unwrap_or(Err(EngineError::Panicked { stage: "learning" }))?;
        intake.unwrap_or(Err(EngineError::Panicked { stage: "intake" }))
    }
}

/// Hash of the whole model that a view holds.
#[must_use]
pub fn model_hash(config: &Config, view: &View) -> Hash {
    Encoder::new(params::named(config)).hash(view)
}
