//! The store as what serving asks of it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::capture::{Item, User};
use crate::publish::View;
use crate::serve::archive::{Archive, Unavailable};
use crate::serve::model::{PartitionOffset, SectionAnswer, SnapshotAnswer};
use crate::serve::status::SnapshotSummary;
use crate::store::{Manifest, Section, Store, StoreError, snapshot};

pub(super) struct StoreArchive(pub(super) Arc<dyn Store>);

impl From<StoreError> for Unavailable {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

#[async_trait]
impl Archive for StoreArchive {
    async fn snapshot(&self, seq: u64) -> Result<Option<SnapshotAnswer>, Unavailable> {
        let manifests = self.0.manifests(usize::MAX).await?;
        let at = manifests.iter().position(|manifest| manifest.seq == seq);
        Ok(at.map(|at| in_full(&manifests[at], manifests.get(at + 1).map(|older| older.seq))))
    }

    async fn view(&self, seq: u64) -> Result<Option<View>, Unavailable> {
        let manifests = self.0.manifests(usize::MAX).await?;
        match manifests.iter().find(|manifest| manifest.seq == seq) {
            Some(manifest) => Ok(Some(snapshot::load(&*self.0, manifest).await?)),
            None => Ok(None),
        }
    }

    async fn set_item(&self, item: &Item) -> Result<(), Unavailable> {
        Ok(self.0.set_item(item).await?)
    }

    async fn set_user(&self, user: &User) -> Result<(), Unavailable> {
        Ok(self.0.set_user(user).await?)
    }
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
