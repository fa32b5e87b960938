//! `freshet run`: the service. Consumes, learns, persists and serves until it is told to stop.
//!
//! [`Service`] is here and not in the engine, because the engine knows nothing of HTTP; the demo runs the same one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{out, snapshots};
use crate::capture::LogError;
use crate::capture::producer::{self, Haste, Producer};
use crate::config::{Config, ConfigError, Problem, Role};
use crate::engine::{Engine, EngineError};
use crate::publish::Published;
use crate::serve::{self, AppState, Kept, Parts, Status};
use crate::{shutdown, store};

/// Runs the service: consumes, learns, persists and serves.
///
/// It goes on where the store says that the last run stopped. SIGINT and SIGTERM stop it in order.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet run\n  freshet run --port 9000 --set gather.size=1\n  \
                        freshet run --set broker.kind=kafka --set store.kind=mongodb\n  \
                        freshet run --role trainer --set broker.kind=kafka --set store.kind=mongodb\n  \
                        freshet run --role server --set broker.kind=kafka --set store.kind=mongodb\n  \
                        freshet run --from-snapshot model.zip")]
pub(super) struct Args {
    /// Port that HTTP is served on; short for --set serve.port=PORT.
    #[arg(long)]
    port: Option<u16>,
    /// What this process does: learns and answers (all), also tells servers of its model (trainer), or answers from a
    /// trainer's model (server); short for --set engine.role=ROLE.
    #[arg(long, value_name = "ROLE", value_parser = ["all", "trainer", "server"])]
    role: Option<String>,
    /// Listens for other machines without asking for keys; short for --set serve.insecure=true.
    #[arg(long)]
    insecure: bool,
    /// Has an empty store begin with this exported snapshot: the log is learned from its beginning on top of it. A store
    /// that began with it just goes on, any other is refused.
    #[arg(long, value_name = "FILE")]
    from_snapshot: Option<PathBuf>,
}

impl Args {
    /// The setting that the role is short for.
    pub(super) fn role(&self) -> Option<String> {
        self.role.as_ref().map(|role| format!("engine.role={role}"))
    }
}

/// Runs `freshet run`.
///
/// # Errors
/// If the log, the store or the port cannot be had, or a stage fails.
pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<()> {
    let mut config = config.clone();
    config.serve.port = args.port.unwrap_or(config.serve.port);
    config.serve.insecure |= args.insecure;
    let stop = shutdown::on_signals();
    let Some(service) = Service::start(&config, args.from_snapshot.as_deref(), &stop).await? else { return Ok(()) };
    out::print(&format!("serving on {0}, try {0}/recommend/196\n", service.url))?;
    service.ended().await
}

/// An engine and its HTTP server, both running.
pub(super) struct Service {
    /// Where HTTP is served, without a slash at the end.
    pub(super) url: String,
    /// The port of that.
    pub(super) port: u16,
    pub(super) published: Published,
    pub(super) status: Arc<Status>,
    stop: CancellationToken,
    engine: JoinHandle<Result<(), EngineError>>,
    http: JoinHandle<std::io::Result<()>>,
}

impl Service {
    /// Opens the store and the port and starts learning, on top of an exported snapshot if there is one; none if it was
    /// stopped before that.
    pub(super) async fn start(
        config: &Config,
        snapshot: Option<&Path>,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        if config.engine.role == Role::All && config.engine.shards > 1 {
            let problem = Problem::Value {
                place: "freshet run".to_owned(),
                key: "engine.role".to_owned(),
                value: "\"all\"".to_owned(),
                must: "\"trainer\" or \"server\" (--role) while engine.shards is above 1".to_owned(),
            };
            return Err(ConfigError { problems: vec![problem] }.into());
        }
        // The port first: nothing is to be taken over by a process that cannot serve.
        let guard = serve::Guard::load(&config.serve)?;
        let listener = serve::bind(&config.serve).await?;
        guard.covers(&listener, &config.serve)?;
        let own = match config.engine.role {
            Role::Server => (0..config.engine.shards).map(|shard| config.of_shard(shard)).collect(),
            Role::All | Role::Trainer => vec![config.own()],
        };
        let log = tokio::select! {
            log = log(config) => log?,
            () = stop.cancelled() => return Ok(None),
        };
        let (mut engines, mut apart) = (Vec::new(), Vec::new());
        let bytes = config.serve.cache_bytes / own.len();
        let kept = Kept::new(bytes);
        for config in &own {
            let store = tokio::select! {
                store = store::open(&config.store) => store?,
                () = stop.cancelled() => return Ok(None),
            };
            if let Some(file) = snapshot {
                anyhow::ensure!(
                    config.engine.role != Role::Server,
                    "a server stores nothing, so that it cannot begin with {}: give --from-snapshot to the trainer",
                    file.display()
                );
                snapshots::warm_start(&*store, config, file).await?;
            }
            let engine = Engine::new(config, store)?;
            apart.push(state(config, &engine, log.clone(), kept.beside(bytes), &guard));
            engines.push(engine);
        }
        let state = apart.remove(0);
        let (published, status) = (Arc::clone(&state.published), Arc::clone(&state.status));
        let app = if apart.is_empty() { serve::app(state.clone()) } else { serve::app_of_shards(state.clone(), apart) };
        let stop = stop.child_token();
        let address = listener.local_addr()?;
        let url = format!("{}://{address}", guard.scheme());
        let about = (Arc::clone(&state.config), Arc::clone(&status));
        let http = serve::run(listener, app, guard, about, stop.clone().cancelled_owned());
        Ok(Some(Self {
            url,
            port: address.port(),
            published,
            status,
            http: tokio::spawn(http),
            engine: tokio::spawn(run_all(engines, stop.clone())),
            stop,
        }))
    }

    /// Whether the engine has stopped.
    pub(super) fn is_over(&self) -> bool {
        self.engine.is_finished()
    }

    /// Asks both to stop, when it is cancelled.
    pub(super) fn halt(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Waits until the engine has stopped, then stops serving.
    pub(super) async fn ended(self) -> anyhow::Result<()> {
        let learned = self.engine.await;
        self.stop.cancel();
        // A client that keeps its connection open must not hold the process back: everything is durable by now.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), self.http).await;
        Ok(learned??)
    }
}

/// What handlers answer from.
fn state(
    config: &Config,
    engine: &Engine,
    log: Option<Arc<dyn Producer>>,
    kept: Kept,
    guard: &serve::Guard,
) -> AppState {
    AppState::from(Parts {
        published: engine.published(),
        status: engine.status(),
        archive: engine.archive(),
        log,
        topic: config.broker.topic.as_str().into(),
        share: config.share(),
        decode: Arc::new(config.decode.clone()),
        config: Arc::new(config.serve.clone()),
        kept: Arc::new(kept),
        keys: Arc::clone(&guard.keys),
    })
}

/// Runs engines until the stop; the first that fails stops the others, and its error is told.
async fn run_all(engines: Vec<Engine>, stop: CancellationToken) -> Result<(), EngineError> {
    let halt = stop.child_token();
    let run = |engine: Engine| {
        let halt = halt.clone();
        async move {
            let _guard = halt.clone().drop_guard();
            Box::pin(engine.run(halt)).await
        }
    };
    let ended = futures::future::join_all(engines.into_iter().map(run)).await;
    ended.into_iter().collect()
}

/// The log that events are produced to; none where nothing may be changed.
async fn log(config: &Config) -> Result<Option<Arc<dyn Producer>>, LogError> {
    if config.serve.read_only {
        return Ok(None);
    }
    // Whoever sends events over HTTP waits for each of them.
    let haste = Haste::Prompt(config.serve.request_timeout);
    producer::open_for(config, haste).await.map(Some)
}
