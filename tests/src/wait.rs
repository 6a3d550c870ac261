//! Waiting on conditions. It sleeps between two looks at a condition, and so waits no test.
//!
//! What the harness itself observes (log lines, requests, frames) stands in a [`watch`] channel, and [`until`] wakes
//! with each change. What can only be asked for (a metric, a key in Redis) is asked again and again by [`eventually`].

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::sync::watch;
use tokio::time::Instant;

/// Long enough that only a defect exceeds it, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long [`eventually`] leaves between two looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Asks `look` until it answers `Some`, for at most `timeout`; `what` says in the error what was waited for.
pub async fn eventually<T, F, Fut>(timeout: Duration, what: &str, mut look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + timeout;
    loop {
        let seen = tokio::time::timeout_at(deadline, look())
            .await
            .map_err(|_| anyhow!("not within {timeout:?}: {what} (the last look did not end)"))?;
        if let Some(value) = seen {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(anyhow!("not within {timeout:?}: {what}"));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Waits until `find` answers `Some` for what `observed` holds, looking again after each change.
pub async fn until<T, R>(
    observed: &watch::Sender<T>,
    timeout: Duration,
    what: &str,
    mut find: impl FnMut(&T) -> Option<R>,
) -> Result<R> {
    let mut receiver = observed.subscribe();
    let mut found = None;
    let waited = tokio::time::timeout(
        timeout,
        receiver.wait_for(|value| {
            found = find(value);
            found.is_some()
        }),
    )
    .await
    .is_ok();
    match found {
        Some(value) if waited => Ok(value),
        _ => Err(anyhow!("not within {timeout:?}: {what}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn eventually_answers_what_the_look_found() {
        let looks = Cell::new(0);
        let found = eventually(PATIENCE, "three looks", || {
            looks.set(looks.get() + 1);
            let seen = (looks.get() == 3).then_some("here");
            async move { seen }
        })
        .await
        .unwrap();
        assert_eq!((found, looks.get()), ("here", 3));
    }

    #[tokio::test]
    async fn what_never_comes_is_named_in_the_error() {
        let timeout = Duration::from_millis(1);
        let never = eventually(timeout, "a pink frame", || async { None::<()> }).await;
        assert!(never.unwrap_err().to_string().contains("a pink frame"));
        let stuck = eventually(timeout, "an answer", std::future::pending::<Option<()>>).await;
        assert!(stuck.unwrap_err().to_string().contains("did not end"));
    }

    #[tokio::test]
    async fn until_wakes_with_a_change_made_by_another_thread() {
        let (observed, _) = watch::channel(0);
        let observed = std::sync::Arc::new(observed);
        let other = observed.clone();
        let thread = std::thread::spawn(move || (1..=5).for_each(|n| other.send_modify(|seen| *seen = n)));
        let seen = until(&observed, PATIENCE, "five", |n| (*n == 5).then_some(*n)).await.unwrap();
        thread.join().unwrap();
        assert_eq!(seen, 5);
    }
}
