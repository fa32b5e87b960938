//! Where readers find the newest view, and wait for one that is new enough.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use roaring::RoaringBitmap;
use tokio::sync::{Notify, watch};

use super::{Search, View};

/// The newest view. Reading it takes no lock; a publish wakes those who wait.
#[derive(Debug, Default)]
pub struct Readers {
    newest: ArcSwap<View>,
    search: Arc<Search>,
    published: watch::Sender<()>,
    /// Users who are away and asked about.
    wanted: Mutex<RoaringBitmap>,
    asked: Notify,
}

impl Readers {
    /// No view yet; those that come are searched by `search`.
    #[must_use]
    pub fn searching(search: Search) -> Self {
        Self { search: Arc::new(search), ..Self::default() }
    }

    /// How lists are found.
    #[must_use]
    pub fn search(&self) -> &Search {
        &self.search
    }

    /// The newest view, for as long as one answer takes.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<View>> {
        self.newest.load()
    }

    /// The newest view, to be kept.
    #[must_use]
    pub fn load_full(&self) -> Arc<View> {
        self.newest.load_full()
    }

    /// Swaps a view in, which is searched by what is known of those before it.
    pub fn store(&self, view: View) -> Arc<View> {
        let view = Arc::new(view.searched_by(&self.search));
        self.newest.store(Arc::clone(&view));
        self.published.send_replace(());
        view
    }

    /// The newest view once none of `users` is [away](View::away) in it. Waits as long as it takes whoever learns to put their
    /// rows back.
    pub async fn with(&self, users: &[u32]) -> Arc<View> {
        let mut published = self.watch();
        loop {
            let view = self.load_full();
            let missing: RoaringBitmap = view.away().among(users.iter().copied()).collect();
            if missing.is_empty() {
                return view;
            }
            *self.wanted.lock() |= missing;
            self.asked.notify_one();
            published.changed().await.expect("the sender lives as long as self");
        }
    }

    /// The users who are away and asked about since the last call. Waits until there are some. Safe to cancel.
    pub async fn wanted(&self) -> RoaringBitmap {
        loop {
            let wanted = std::mem::take(&mut *self.wanted.lock());
            if !wanted.is_empty() {
                return wanted;
            }
            self.asked.notified().await;
        }
    }

    /// Is told of each publish from now on; of several at once only once.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }

    /// The first view from now on of which `enough` holds. Waits as long as that takes.
    pub async fn wait_for(&self, enough: impl Fn(&View) -> bool) -> Arc<View> {
        let mut published = self.watch();
        loop {
            let view = self.load_full();
            if enough(&view) {
                return view;
            }
            published.changed().await.expect("the sender lives as long as self");
        }
    }
}
