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

impl StoreArchive {
    /// The manifest of a kept snapshot, and the `seq` of the one kept before it.
    async fn manifest(&self, seq: u64) -> Result<Option<(Manifest, Option<u64>)>, StoreError> {
        let mut manifests = self.0.manifests(usize::MAX).await?.into_iter();
        let found = manifests.find(|manifest| manifest.seq == seq);
        Ok(found.map(|manifest| (manifest, manifests.next().map(|older| older.seq))))
    }
}

#[async_trait]
impl Archive for StoreArchive {
    async fn snapshot(&self, seq: u64) -> Result<Option<SnapshotAnswer>, Unavailable> {
        Ok(self.manifest(seq).await?.map(|(manifest, previous)| in_full(&manifest, previous)))
    }

    async fn view(&self, seq: u64) -> Result<Option<View>, Unavailable> {
        match self.manifest(seq).await? {
            Some((manifest, _)) => Ok(Some(snapshot::load(&*self.0, &manifest).await?)),
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
