//! Beside the stages: finds out where the item of an event stood in the list that its user would have been served.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::publish::View;
use crate::serve::monitor::Monitor;

/// An event that speaks for its item, by dense indexes, and the view that answers were given from before it.
pub(super) struct Case {
    pub(super) view: Arc<View>,
    pub(super) user: u32,
    pub(super) item: u32,
}

/// Judges until there are no more cases to come.
pub(super) fn run(monitor: &Monitor, mut cases: mpsc::Receiver<Case>) {
    while let Some(Case { view, user, item }) = cases.blocking_recv() {
        let start = Instant::now();
        let standing = view.standing(user, item);
        monitor.ranked(standing, start.elapsed());
    }
}
