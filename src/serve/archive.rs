//! What handlers ask of whoever keeps snapshots and the catalogue. Serving comes before the store, so that the engine, which
//! knows both, joins them.

use async_trait::async_trait;

use super::dead_letters::{LetterPage, ReplayError, Replayed};
use super::model::SnapshotAnswer;
use super::snapshots::{DiffAnswer, Export, VerifyAnswer};
use crate::capture::{Item, User};
use crate::consume::Position;
use crate::publish::View;

/// Keeps snapshots, the catalogue and what was refused.
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

    /// What has changed from one kept snapshot to another.
    ///
    /// # Errors
    /// If one of them is not kept or damaged, or the store does not answer.
    async fn diff(&self, seq: u64, other: u64) -> Result<DiffAnswer, SnapshotError>;

    /// Whether a kept snapshot is whole. Damage is a finding and no error.
    ///
    /// # Errors
    /// If it is not kept, or the store does not answer.
    async fn verify(&self, seq: u64) -> Result<VerifyAnswer, SnapshotError>;

    /// A kept snapshot as one file.
    ///
    /// # Errors
    /// If it is not kept or damaged, the store does not answer, or the file cannot be written.
    async fn export(&self, seq: u64) -> Result<Export, SnapshotError>;

    /// Dead letters of a reason, or all, behind a place, in the order of the log; at most `n`.
    ///
    /// # Errors
    /// If the store does not answer.
    async fn dead_letters(
        &self,
        reason: Option<String>,
        after: Option<Position>,
        n: usize,
    ) -> Result<LetterPage, Unavailable>;

    /// Sends dead letters to the log again, as they are or with this payload, and marks them; what would be refused again
    /// is not sent.
    ///
    /// # Errors
    /// If there is no letter at one of the places, and then nothing was sent; if the store or the log does not answer.
    async fn replay(&self, positions: Vec<Position>, payload: Option<Vec<u8>>) -> Result<Replayed, ReplayError>;
}

/// Why the archive did not do what was asked, without secrets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Why nothing can be done with a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is not kept.
    #[error("there is no snapshot of seq {0}")]
    NoSuch(u64),
    /// It is not whole.
    #[error("{0}")]
    Damaged(String),
    /// The store does not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
