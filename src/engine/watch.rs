//! Beside the stages: keeps the catalogue that answers are titled from as the store has it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::serve::Status;
use crate::store::{Store, StoreError};

/// How often the catalogue's version is asked for.
const EVERY: Duration = Duration::from_secs(1);

/// Loads the catalogue whenever its version is another than `version`, the one loaded last, until `stop`.
pub(super) async fn follow_catalog(
    store: Arc<dyn Store>,
    status: Arc<Status>,
    mut version: u64,
    stop: CancellationToken,
) {
    loop {
        match refresh(&*store, &status, version).await {
            Ok(loaded) => version = loaded,
            // Answers keep the titles they have; the stages that need the store report its failure.
            Err(error) => tracing::debug!(%error, "cannot read the catalogue"),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Loads the catalogue if its version is not the `known` one, and returns its version.
pub(super) async fn refresh(store: &dyn Store, status: &Status, known: u64) -> Result<u64, StoreError> {
    if store.catalog_version().await? == known {
        return Ok(known);
    }
    // Held from the reading on: a change that is made here meanwhile is not undone by what was read before it.
    let _changing = status.catalog.changing().await;
    let catalog = store.catalog().await?;
    status.catalog.replace(catalog.items, catalog.users);
    Ok(catalog.version)
}
