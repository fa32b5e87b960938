//! How many of the best items are in lists that need not have them all: measured on lists that were asked for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use roaring::RoaringBitmap;

use crate::publish::Scored;

/// Lists that recall is told over: the newest.
const NEWEST: usize = 1_000;

/// Share of a core that may go into it: one in so many.
const SHARE: u32 = 32;

/// What lists of the newest ones have of the best.
#[derive(Debug)]
pub(super) struct Recall {
    start: Instant,
    /// When the next list may be compared, in microseconds after `start`.
    next: AtomicU64,
    /// Whether one is being compared.
    busy: AtomicBool,
    compared: AtomicU64,
    /// Of each list how many of the best items it has, and how many there are.
    newest: Mutex<VecDeque<(u32, u32)>>,
}

impl Default for Recall {
    fn default() -> Self {
        let newest = Mutex::new(VecDeque::with_capacity(NEWEST));
        Self {
            start: Instant::now(),
            next: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            compared: AtomicU64::new(0),
            newest,
        }
    }
}

impl Recall {
    /// Compares a list with the exact one on a thread of its own, unless one is at it, or has been just now: `exactly` hands
    /// out what finds that. So it takes no more than a small share of a core, and nobody waits.
    pub(super) fn compare_beside<F>(self: &Arc<Self>, list: &[Scored], exactly: impl FnOnce() -> F)
    where
        F: FnOnce() -> Vec<Scored> + Send + 'static,
    {
        let early = (self.start.elapsed().as_micros() as u64) < self.next.load(Ordering::Relaxed);
        if early || self.busy.swap(true, Ordering::Acquire) {
            return;
        }
        let has: RoaringBitmap = list.iter().map(|scored| scored.item).collect();
        let (recall, exactly) = (Arc::clone(self), exactly());
        let work = move || {
            let began = Instant::now();
            recall.note(&has, &exactly());
            let next = recall.start.elapsed() + began.elapsed() * SHARE;
            recall.next.store(next.as_micros() as u64, Ordering::Relaxed);
            recall.busy.store(false, Ordering::Release);
        };
        if std::thread::Builder::new().name("search-recall".into()).spawn(work).is_err() {
            self.busy.store(false, Ordering::Release);
        }
    }

    fn note(&self, has: &RoaringBitmap, best: &[Scored]) {
        let found = best.iter().filter(|scored| has.contains(scored.item)).count();
        let mut newest = self.newest.lock();
        if newest.len() == NEWEST {
            newest.pop_front();
        }
        newest.push_back((found as u32, best.len() as u32));
        self.compared.fetch_add(1, Ordering::Relaxed);
    }

    /// Lists that were compared.
    pub(super) fn compared(&self) -> u64 {
        self.compared.load(Ordering::Relaxed)
    }

    /// The share of the best items that the newest lists have; none where none was compared.
    pub(super) fn share(&self) -> Option<f64> {
        let newest = self.newest.lock();
        let (found, best) =
            newest.iter().fold((0, 0), |(found, best), one| (found + u64::from(one.0), best + u64::from(one.1)));
        (best > 0).then(|| found as f64 / best as f64)
    }
}
