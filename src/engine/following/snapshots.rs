//! The snapshots that a server goes on from: looked for when the store tells of one, loaded beside the following.
//!
//! Blocks that are there already are not read again, so that a snapshot which is little ahead costs little.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::state::Base;
use crate::publish::Version;
use crate::serve::Status;
use crate::serve::status::{Part, SnapshotSummary};
use crate::store::snapshot::Parts;
use crate::store::{Store, StoreError};

/// How often a store is asked that does not tell of its snapshots by itself.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Snapshots that are listed, and looked at.
const CANDIDATES: usize = 100;

/// A snapshot in memory.
pub(super) struct Loaded {
    pub(super) base: Base,
    pub(super) version: Version,
}

pub(super) struct Snapshots {
    store: Arc<dyn Store>,
    status: Arc<Status>,
    told: mpsc::Receiver<()>,
    _listening: AbortOnDropHandle<()>,
    /// Since when a snapshot may be there that was not looked at.
    since: Option<Instant>,
    loading: Option<AbortOnDropHandle<Result<Option<Loaded>, StoreError>>>,
}

impl Snapshots {
    pub(super) fn new(store: Arc<dyn Store>, status: Arc<Status>) -> Self {
        let (sender, told) = mpsc::channel(1);
        let listening = AbortOnDropHandle::new(tokio::spawn(listen(Arc::clone(&store), sender)));
        Self { store, status, told, _listening: listening, since: None, loading: None }
    }

    /// Whether a snapshot that was told of so long ago was not looked at yet.
    pub(super) fn is_due(&mut self, grace: Duration) -> bool {
        if self.told.try_recv().is_ok() {
            self.since.get_or_insert_with(Instant::now);
        }
        self.since.is_some_and(|since| since.elapsed() >= grace)
    }

    /// Has the newest one looked at once more.
    pub(super) fn look_again(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Begins to load the newest whole snapshot, unless one is being loaded.
    pub(super) fn look(&mut self, known: Option<&Base>) {
        if self.loading.is_none() {
            self.since = None;
            let (store, status) = (Arc::clone(&self.store), Arc::clone(&self.status));
            let known = known.cloned();
            self.loading = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                newest_whole(&*store, &status, known.as_ref()).await
            })));
        }
    }

    /// The snapshot once it is loaded, or none if there is none. Safe to cancel.
    pub(super) async fn loaded(&mut self) -> Option<Loaded> {
        let Some(loading) = &mut self.loading else { return pending().await };
        let loaded = loading.await;
        self.loading = None;
        match loaded {
            Ok(Ok(loaded)) => {
                if self.status.end_trouble(Part::Store).is_some() {
                    tracing::info!("the store works again");
                }
                loaded
            }
            Ok(Err(error)) => {
                let reason = error.to_string();
                if self.status.begin_trouble(Part::Store, reason.clone()) {
                    tracing::warn!(%reason, "the store fails; answers go on, and snapshots are looked for until it works");
                }
                self.since = Some(Instant::now());
                None
            }
            Err(error) => {
                tracing::error!(%error, "loading a snapshot failed");
                None
            }
        }
    }
}

/// Tells that there may be a new snapshot: when the store says so, and else every now and then.
async fn listen(store: Arc<dyn Store>, told: mpsc::Sender<()>) {
    while !told.is_closed() {
        if let Ok(Some(mut stream)) = store.snapshots_told().await {
            // What came before the stream was opened.
            let _ = told.try_send(());
            while let Some(Ok(())) = stream.next().await {
                let _ = told.try_send(());
            }
        }
        tokio::time::sleep(ASK_EVERY).await;
        let _ = told.try_send(());
    }
}

/// The newest snapshot that this program reads; `known` as it is, without its version, if that is the newest.
async fn newest_whole(store: &dyn Store, status: &Status, known: Option<&Base>) -> Result<Option<Loaded>, StoreError> {
    let manifests = store.manifests(CANDIDATES).await?;
    status.snapshots.store(Arc::new(manifests.iter().map(SnapshotSummary::from).collect()));
    let none = Parts::default();
    let parts = known.map_or(&none, |base| &base.parts);
    for manifest in &manifests {
        match Parts::load(store, manifest, parts).await {
            Ok(parts) => {
                return Ok(Some(Loaded { base: Base::new(manifest, parts), version: manifest.version() }));
            }
            // One that is being deleted looks like that too.
            Err(error @ (StoreError::Damaged { .. } | StoreError::Unsuitable { .. })) => {
                tracing::warn!(%error, "passing over a snapshot; an older one serves instead");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
