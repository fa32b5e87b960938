//! Waits failures of the store out: what may pass is tried again for as long as it takes, and shown meanwhile.
//!
//! Apart from the stages, because recovery and durability meet the same failures. Nothing piles up while they wait: the
//! queues between the stages are bounded, and the reading pauses. What cannot pass is an error at once.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};

use crate::serve::Status;
use crate::serve::status::Part;
use crate::store::StoreError;
use crate::telemetry::now_ms;

/// Pauses between attempts. The longest bounds how late a store that is back is noticed.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A store that has not answered for so long is in trouble, though it has not failed.
const SLOW: Duration = Duration::from_secs(5);

/// Does `work` until it succeeds or fails for good; `work` must be repeatable, whatever became of it before.
///
/// # Errors
/// The first failure that cannot pass.
pub(super) async fn until_done<T, F>(status: &Status, mut work: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let pauses = ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times();
    let done = (|| watched(status, work()))
        .retry(pauses)
        .when(|error| matches!(error, StoreError::Unavailable { .. }))
        .notify(|error, _| begin(status, &error.to_string()))
        .await;
    if let Some(trouble) = status.end_trouble(Part::Store) {
        let seconds = (now_ms() - trouble.since_ms) as f64 / 1e3;
        tracing::info!(seconds, "the store works again; going on");
    }
    done
}

/// Awaits an attempt, and notes that it takes too long.
async fn watched<T>(status: &Status, attempt: impl Future<Output = T>) -> T {
    tokio::pin!(attempt);
    tokio::select! {
        done = &mut attempt => return done,
        () = tokio::time::sleep(SLOW) => begin(status, &format!("the store has not answered for {SLOW:?}")),
    }
    attempt.await
}

fn begin(status: &Status, reason: &str) {
    if status.begin_trouble(Part::Store, reason.to_owned()) {
        tracing::warn!(%reason, "the store fails; reading pauses, answers go on, and it is tried again until it works");
    } else {
        tracing::debug!(%reason, "the store still fails");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn failure(may_pass: bool) -> StoreError {
        let (action, location, reason) = ("store events", "here".to_owned(), "why".to_owned());
        if may_pass {
            StoreError::Unavailable { action, location, reason }
        } else {
            StoreError::Refused { action, location, reason }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_waited_out_and_shown_meanwhile() {
        let status = Status::new(BTreeMap::new());
        let mut attempts = 0;
        let done = until_done(&status, || {
            attempts += 1;
            let shown = status.troubles().len();
            async move {
                assert_eq!(shown, usize::from(attempts > 1), "in trouble from the first failure on");
                if attempts < 20 { Err(failure(true)) } else { Ok(attempts) }
            }
        });
        assert_eq!(done.await.unwrap(), 20);
        assert!(status.troubles().is_empty());
        assert_eq!(status.failures(), BTreeMap::from([(Part::Store, 19)]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_pass_is_an_error_at_once() {
        let status = Status::new(BTreeMap::new());
        let mut attempts = 0;
        let done = until_done(&status, || {
            attempts += 1;
            async { Err::<(), _>(failure(false)) }
        });
        assert!(matches!(done.await, Err(StoreError::Refused { .. })));
        assert_eq!((attempts, status.troubles().len()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_is_shown_too() {
        let status = Status::new(BTreeMap::new());
        let slow = until_done(&status, || async {
            tokio::time::sleep(SLOW * 2).await;
            Ok::<_, StoreError>(status.troubles())
        });
        let troubles = slow.await.unwrap();
        assert!(troubles[0].reason.contains("has not answered"), "{troubles:?}");
        assert!(status.troubles().is_empty());
    }
}
