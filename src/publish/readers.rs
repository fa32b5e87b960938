//! Where readers find the newest view, and wait for one that is new enough.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::{Search, View};

/// The newest view. Reading it takes no lock; a publish wakes those who wait.
#[derive(Debug, Default)]
pub struct Readers {
    newest: ArcSwap<View>,
    search: Arc<Search>,
    published: watch::Sender<()>,
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
