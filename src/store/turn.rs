//! The order of writes that are under way together: each becomes durable after the one before it.
//!
//! Apart from the stores, because the engine draws up the line and every store keeps to it.

use tokio::sync::watch;

use super::Progress;

/// A write's turn to become durable: it comes once the write before is.
#[derive(Clone, Debug)]
pub struct Turn(Option<watch::Receiver<Option<Progress>>>);

/// Tells the next write that its turn has come. Dropped without that, the turn never comes.
#[derive(Debug)]
pub struct Next(watch::Sender<Option<Progress>>);

impl Turn {
    /// Of a write that has none before it under way.
    #[must_use]
    pub fn first() -> Self {
        Self(None)
    }

    /// Of the write behind one that is under way, and what tells it.
    #[must_use]
    pub fn behind() -> (Next, Self) {
        let (next, turn) = watch::channel(None);
        (Next(next), Self(Some(turn)))
    }

    /// Whether nothing has to be waited for.
    #[must_use]
    pub fn has_come(&self) -> bool {
        self.0.as_ref().is_none_or(|turn| turn.borrow().is_some())
    }

    /// Waits until the write before is durable; where the store stood then, if there was one. Safe to cancel and to repeat.
    pub async fn come(&self) -> Option<Progress> {
        let mut turn = self.0.clone()?;
        if turn.wait_for(Option::is_some).await.is_err() {
            // It has failed for good, and whoever awaits both hears of that from it.
            std::future::pending::<()>().await;
        }
        turn.borrow().clone()
    }
}

impl Next {
    /// The write is durable, and the store stands there.
    pub fn go(self, progress: Progress) {
        self.0.send_replace(Some(progress));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_turn_comes_when_the_write_before_is_durable_and_stays() {
        let (next, turn) = Turn::behind();
        assert!(!turn.has_come() && turn.come().now_or_never().is_none());
        let progress = Progress { seq: 7, ..Progress::default() };
        next.go(progress.clone());
        for _ in 0..2 {
            assert!(turn.has_come());
            assert_eq!(turn.come().await, Some(progress.clone()));
        }
    }

    #[tokio::test]
    async fn a_turn_behind_nothing_has_come_and_one_behind_a_failure_never_does() {
        assert!(Turn::first().has_come());
        assert_eq!(Turn::first().come().await, None);
        let (next, turn) = Turn::behind();
        drop(next);
        assert!(!turn.has_come() && turn.come().now_or_never().is_none());
    }
}
