//! How long a request has to wait for a processor.
//!
//! Handlers compute on the runtime's own threads, so the number of requests under way says nothing; what grows before
//! answers get late is the queue of tasks that could run. So a task asks to be woken every few milliseconds, goes to the
//! end of the queue as a request would, and notes how late it is.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

/// Pause between two looks: short beside any delay that is worth refusing a request for.
const EVERY: Duration = Duration::from_millis(5);

/// The delay of the queue, at any moment.
#[derive(Debug)]
pub(super) struct Delay {
    start: Instant,
    /// When the task should run next, in microseconds since `start`.
    due: AtomicU64,
    /// How late it was the last time, in microseconds.
    last: AtomicU64,
}

impl Delay {
    /// Measures for as long as somebody holds it. Outside a runtime there is no queue, and no delay.
    pub(super) fn watch() -> Arc<Self> {
        let delay = Arc::new(Self { start: Instant::now(), due: AtomicU64::new(u64::MAX), last: AtomicU64::new(0) });
        let watched = Arc::downgrade(&delay);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                while let Some(delay) = watched.upgrade() {
                    let due = delay.micros() + EVERY.as_micros() as u64;
                    delay.due.store(due, Ordering::Relaxed);
                    sleep(EVERY).await;
                    behind_the_others().await;
                    delay.last.store(delay.micros().saturating_sub(due), Ordering::Relaxed);
                }
            });
        }
        delay
    }

    /// The delay now: that of the last look, or of the one that is overdue.
    pub(super) fn now(&self) -> Duration {
        let overdue = self.micros().saturating_sub(self.due.load(Ordering::Relaxed));
        Duration::from_micros(overdue.max(self.last.load(Ordering::Relaxed)))
    }

    fn micros(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}

/// Goes to the end of the queue once. A task that a timer wakes is put before all others, and one that wakes itself behind
/// them; `yield_now` waits for the next look at the sockets instead.
async fn behind_the_others() {
    let mut has_waited = false;
    poll_fn(|context| {
        if has_waited {
            return Poll::Ready(());
        }
        has_waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_queue_of_busy_tasks_is_a_delay_and_an_empty_one_is_none() {
        let delay = Delay::watch();
        let busy: Vec<_> =
            (0..60).map(|_| tokio::spawn(async { std::thread::sleep(Duration::from_millis(10)) })).collect();
        // A thread of its own looks, since those of the runtime are busy.
        let watching = Arc::clone(&delay);
        let highest = std::thread::spawn(move || {
            let looks = (0..50).map(|_| {
                std::thread::sleep(Duration::from_millis(4));
                watching.now()
            });
            looks.max()
        });
        for task in busy {
            task.await.unwrap();
        }
        let highest = highest.join().unwrap().unwrap();
        assert!(highest > Duration::from_millis(80), "{highest:?} while 600 ms of work waits for two threads");
        sleep(Duration::from_millis(50)).await;
        assert!(delay.now() < Duration::from_millis(80), "{:?} when idle", delay.now());
    }
}
