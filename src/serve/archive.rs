//! What handlers ask of whoever keeps snapshots and the catalogue. Serving comes before the store, so that the engine, which
//! knows both, joins them.

use async_trait::async_trait;

use super::model::SnapshotAnswer;
use crate::capture::{Item, User};
use crate::publish::View;

/// Keeps snapshots and the catalogue.
#[async_trait]
pub trait Archive: Send + Sync {
    /// A kept snapshot in full; none if it is not kept.
    ///
    /// # Errors
    /// If the store does not answer.
    async fn snapshot(&self, seq: u64) -> Result<Option<SnapshotAnswer>, Unavailable>;

    /// The view of a kept snapshot; none if it is not kept.
    ///
    /// # Errors
    /// If the store does not answer, or the snapshot is damaged.
    async fn view(&self, seq: u64) -> Result<Option<View>, Unavailable>;

    /// Adds or replaces an item, its labels and whether it is hidden too.
    ///
    /// # Errors
    /// If the store does not answer.
    async fn set_item(&self, item: &Item) -> Result<(), Unavailable>;

    /// The same for a user.
    ///
    /// # Errors
    /// If the store does not answer.
    async fn set_user(&self, user: &User) -> Result<(), Unavailable>;
}

/// Why the archive did not do what was asked, without secrets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);
