//! A hand on a replay while it runs: pause, speed, start over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use utoipa::ToSchema;

/// A replay that can be told what to do.
#[derive(Debug)]
pub struct Control {
    dataset: String,
    of: u64,
    position: AtomicU64,
    pace: watch::Sender<Told>,
    start_over: Notify,
}

/// What a replay was told last.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Told {
    /// Nothing is sent.
    pub paused: bool,
    /// Rows a second; none as fast as the log takes them.
    pub rate: Option<f64>,
}

/// A replay, for people and programs.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Shown {
    /// Name of the data set.
    dataset: String,
    /// Rows sent.
    position: u64,
    /// Rows that there are.
    of: u64,
    /// Whether it waits to be told to go on.
    paused: bool,
    /// Rows a second; null as fast as the log takes them.
    speed: Option<f64>,
    /// Whether every row was sent.
    done: bool,
}

impl Control {
    /// Of a data set of this name, with so many rows.
    #[must_use]
    pub fn new(dataset: String, of: u64, told: Told) -> Self {
        let (pace, _) = watch::channel(told);
        Self { dataset, of, position: AtomicU64::new(0), pace, start_over: Notify::new() }
    }

    /// Holds it back, or lets it go on.
    pub fn pause(&self, paused: bool) {
        self.pace.send_modify(|told| told.paused = paused);
    }

    /// Rows a second from now on, above 0; none as fast as the log takes them.
    pub fn set_rate(&self, rate: Option<f64>) {
        self.pace.send_modify(|told| told.rate = rate);
    }

    /// Asks whoever runs it to start over.
    pub fn start_over(&self) {
        self.start_over.notify_one();
    }

    /// Waits until it is to start over.
    pub async fn asked_to_start_over(&self) {
        self.start_over.notified().await;
    }

    /// What it was told last.
    #[must_use]
    pub fn told(&self) -> Told {
        *self.pace.borrow()
    }

    /// Notes how many rows were sent.
    pub fn set_position(&self, position: u64) {
        self.position.store(position, Ordering::Relaxed);
    }

    /// How it stands.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let (position, Told { paused, rate }) = (self.position.load(Ordering::Relaxed), self.told());
        let (dataset, of) = (self.dataset.clone(), self.of);
        Shown { dataset, position, of, paused, speed: rate, done: position >= of }
    }

    /// Waits until the next row may go, when the row before was let through at `last`; what is told meanwhile holds at once.
    /// Returns when the row was due.
    pub(super) async fn wait(&self, last: Option<Instant>) -> Instant {
        let mut told = self.pace.subscribe();
        let mut held = false;
        loop {
            let Told { paused, rate } = *told.borrow_and_update();
            let now = Instant::now();
            if paused {
                held = true;
                // The sender lives as long as self.
                let _ = told.changed().await;
                continue;
            }
            let gap = rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
            // After a pause nothing is made up for.
            let due = match (last.filter(|_| !held), gap) {
                (Some(last), Some(gap)) => last.checked_add(gap).unwrap_or(now),
                _ => now,
            };
            if due <= now {
                return if gap.is_some() { due } else { now };
            }
            tokio::select! {
                () = sleep_until(due) => return due,
                _ = told.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_does_what_it_is_told_at_once() {
        let control = std::sync::Arc::new(Control::new("ml-100k".into(), 3, Told { paused: false, rate: Some(10.0) }));
        let start = Instant::now();
        let first = control.wait(None).await;
        let second = control.wait(Some(first)).await;
        assert_eq!(second - start, Duration::from_millis(100));
        control.pause(true);
        let waits = tokio::spawn({
            let control = std::sync::Arc::clone(&control);
            async move { control.wait(Some(second)).await }
        });
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!waits.is_finished(), "it is paused");
        control.pause(false);
        let third = waits.await.unwrap();
        assert!((third - start).as_millis() >= 5_100, "what was paused is not made up for");
        control.set_rate(Some(1e-3));
        let slow = tokio::spawn({
            let control = std::sync::Arc::clone(&control);
            async move { control.wait(Some(third)).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        control.set_rate(None);
        slow.await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(7), "a rate that is set while a row waits holds for that row");
    }

    #[test]
    fn it_is_shown_as_it_stands() {
        let control = Control::new("ml-100k".into(), 2, Told::default());
        control.set_position(2);
        let shown = serde_json::to_value(control.shown()).unwrap();
        let wanted = serde_json::json!({
            "dataset": "ml-100k", "position": 2, "of": 2, "paused": false, "speed": null, "done": true
        });
        assert_eq!(shown, wanted);
    }
}
