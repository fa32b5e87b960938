//! The store as what serving asks of it.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use indicatif::HumanCount;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::{diff, letters::Letters};
use crate::capture::{Item, User};
use crate::config::Config;
use crate::consume::Position;
use crate::publish::View;
use crate::serve::archive::{Archive, SnapshotError, Unavailable};
use crate::serve::dead_letters::{LetterPage, ReplayError, Replayed};
use crate::serve::model::{PartitionOffset, SectionAnswer, SnapshotAnswer};
use crate::serve::snapshots::{DiffAnswer, Export, VerifyAnswer};
use crate::serve::status::SnapshotSummary;
use crate::store::snapshot::archive;
use crate::store::snapshot::check::{Found, check};
use crate::store::{Manifest, Section, Store, StoreError, snapshot};

pub(super) struct StoreArchive {
    store: Arc<dyn Store>,
    letters: Arc<Letters>,
    /// Held by whoever reads a whole snapshot.
    reading: Arc<Semaphore>,
    /// Where files are made that a client takes.
    folder: PathBuf,
}

impl From<StoreError> for Unavailable {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

impl From<StoreError> for SnapshotError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { .. } | StoreError::Unsuitable { .. } => Self::Damaged(error.to_string()),
            error => Self::Unavailable(error.into()),
        }
    }
}

impl StoreArchive {
    pub(super) fn new(config: &Config, store: Arc<dyn Store>) -> Self {
        let letters = Arc::new(Letters::new(config, Arc::clone(&store)));
        Self { store, letters, reading: Arc::new(Semaphore::new(1)), folder: config.store.data_dir.clone() }
    }

    /// Does what reads whole snapshots: one at a time, off the threads that answer requests, since it hashes and loads
    /// all that it reads. Goes on to its end even if nobody waits for it any more.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, SnapshotError>> + Send + 'static,
    ) -> Result<T, SnapshotError> {
        let broken = |error: String| SnapshotError::Unavailable(Unavailable(error));
        let turn = Arc::clone(&self.reading).acquire_owned().await.map_err(|error| broken(error.to_string()))?;
        let runtime = Handle::current();
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            runtime.block_on(work)
        });
        done.await.map_err(|error| broken(error.to_string()))?
    }
}

/// The manifest of a kept snapshot, and the `seq` of the one kept before it.
async fn manifest(store: &dyn Store, seq: u64) -> Result<Option<(Manifest, Option<u64>)>, StoreError> {
    let mut manifests = store.manifests(usize::MAX).await?.into_iter();
    let found = manifests.find(|manifest| manifest.seq == seq);
    Ok(found.map(|manifest| (manifest, manifests.next().map(|older| older.seq))))
}

/// The manifest of a snapshot that is asked for.
async fn wanted(store: &dyn Store, seq: u64) -> Result<Manifest, SnapshotError> {
    manifest(store, seq).await?.map(|(manifest, _)| manifest).ok_or(SnapshotError::NoSuch(seq))
}

#[async_trait]
impl Archive for StoreArchive {
    async fn snapshot(&self, seq: u64) -> Result<Option<SnapshotAnswer>, Unavailable> {
        Ok(manifest(&*self.store, seq).await?.map(|(manifest, previous)| in_full(&manifest, previous)))
    }

    async fn view(&self, seq: u64) -> Result<Option<View>, Unavailable> {
        match manifest(&*self.store, seq).await? {
            Some((manifest, _)) => Ok(Some(snapshot::load(&*self.store, &manifest).await?)),
            None => Ok(None),
        }
    }

    async fn set_item(&self, item: &Item) -> Result<(), Unavailable> {
        Ok(self.store.set_item(item).await?)
    }

    async fn set_user(&self, user: &User) -> Result<(), Unavailable> {
        Ok(self.store.set_user(user).await?)
    }

    async fn diff(&self, seq: u64, other: u64) -> Result<DiffAnswer, SnapshotError> {
        let store = Arc::clone(&self.store);
        let work = async move {
            let manifests = store.manifests(usize::MAX).await?;
            let of = |seq: u64| manifests.iter().find(|one| one.seq == seq).ok_or(SnapshotError::NoSuch(seq));
            Ok(diff::compare(&*store, of(seq)?, of(other)?, || ()).await?)
        };
        self.apart(Box::pin(work)).await
    }

    async fn verify(&self, seq: u64) -> Result<VerifyAnswer, SnapshotError> {
        let store = Arc::clone(&self.store);
        self.apart(Box::pin(async move { verified(&*store, seq).await })).await
    }

    async fn export(&self, seq: u64) -> Result<Export, SnapshotError> {
        let (store, folder) = (Arc::clone(&self.store), self.folder.clone());
        self.apart(Box::pin(async move { exported(&*store, seq, &folder).await })).await
    }

    async fn dead_letters(
        &self,
        reason: Option<String>,
        after: Option<Position>,
        n: usize,
    ) -> Result<LetterPage, Unavailable> {
        Ok(self.letters.page(reason, after, n).await?)
    }

    async fn replay(&self, positions: Vec<Position>, payload: Option<Vec<u8>>) -> Result<Replayed, ReplayError> {
        let letters = Arc::clone(&self.letters);
        // To its end, even if nobody waits for it any more: what was sent has to be marked.
        let sending = tokio::spawn(async move { letters.replay(&positions, payload).await });
        sending.await.unwrap_or_else(|error| Err(Unavailable(error.to_string()).into()))
    }
}

async fn verified(store: &dyn Store, seq: u64) -> Result<VerifyAnswer, SnapshotError> {
    let mut listed = store.listed().await?.into_iter();
    let one = listed.find(|one| one.seq == seq).ok_or(SnapshotError::NoSuch(seq))?;
    let manifest = match one.readable() {
        Ok(manifest) => manifest,
        Err(detail) => return Ok(VerifyAnswer { seq, sha256: None, ok: false, detail }),
    };
    let Found { blocks, bytes, wrong } = check(store, manifest).await?;
    let ok = wrong.is_empty();
    let detail = if ok {
        let (blocks, bytes) = (HumanCount(blocks), HumanCount(bytes));
        format!("its {blocks} blocks of {bytes} bytes are whole, and load to a model of this SHA-256")
    } else {
        wrong.join("; ")
    };
    Ok(VerifyAnswer { seq, sha256: Some(manifest.sha256.to_string()), ok, detail })
}

/// Writes a snapshot to a file without a name, which is gone when it is closed.
async fn exported(store: &dyn Store, seq: u64, folder: &Path) -> Result<Export, SnapshotError> {
    let manifest = wanted(store, seq).await?;
    let store_id = store.state().await?.store_id;
    let failed =
        |error: std::io::Error| SnapshotError::Unavailable(Unavailable(format!("cannot write an export: {error}")));
    // Beside the store there is room for a snapshot; where the store is elsewhere there need not be such a folder.
    let mut file: File = tempfile::tempfile_in(folder).or_else(|_| tempfile::tempfile()).map_err(failed)?;
    let target = (std::io::BufWriter::new(&mut file), folder);
    archive::write(store, &manifest, &store_id, target, |_| ()).await?;
    let bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
    file.rewind().map_err(failed)?;
    Ok(Export { file, bytes })
}

fn in_full(manifest: &Manifest, previous: Option<u64>) -> SnapshotAnswer {
    let offset = |(topic, partition, next): (&Arc<str>, i32, i64)| {
        let topic = topic.to_string();
        PartitionOffset { topic, partition, next }
    };
    let section = |one: &Section| SectionAnswer { name: one.name.clone(), rows: one.rows, blocks: one.blocks };
    SnapshotAnswer {
        summary: SnapshotSummary::from(manifest),
        format: manifest.format,
        batch: manifest.batch,
        epoch: manifest.epoch,
        previous,
        offsets: manifest.offsets.iter().map(offset).collect(),
        params: manifest.params.clone(),
        events: manifest.counts.events,
        metrics: manifest.metrics.clone(),
        sections: manifest.sections.iter().map(section).collect(),
    }
}
