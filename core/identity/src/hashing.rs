//! The bounded pool in which passwords are hashed: a storm of sign-ins waits for itself, and leaves the ledger a core.

use std::{panic, sync::Arc, thread, time::Duration};

use tokio::{sync::Semaphore, task};

/// How many wait for each that is hashed. More of them would only wait longer.
const WAITING: usize = 8;

const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Too many passwords are being hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many sign-ins at once: try again in {} seconds", retry_after.as_secs())]
pub struct Busy {
    pub retry_after: Duration,
}

/// Clones are the same pool. A process has one.
#[derive(Clone, Debug)]
pub struct Hashing {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Default for Hashing {
    /// One core less than there are, and one at least.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::new(cores.saturating_sub(1).max(1))
    }
}

impl Hashing {
    /// A pool that does so many at a time.
    pub fn new(at_once: usize) -> Self {
        let places = Semaphore::new(at_once * (1 + WAITING));
        Self { places: Arc::new(places), turns: Arc::new(Semaphore::new(at_once)) }
    }

    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let busy = Busy { retry_after: RETRY_AFTER };
        let place = self.places.clone().try_acquire_owned().map_err(|_| busy)?;
        let turn = self.turns.clone().acquire_owned().await.expect("it is never closed");
        // The work has them, since it goes on when nobody waits for it any more.
        let held = (place, turn);
        let done = task::spawn_blocking(move || {
            let result = work();
            drop(held);
            result
        });
        match done.await {
            Ok(result) => Ok(result),
            Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
            // The program ends.
            Err(_) => Err(busy),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::{task::JoinSet, time};

    use super::*;

    async fn until(condition: impl Fn() -> bool) {
        let holds = async {
            while !condition() {
                task::yield_now().await;
            }
        };
        time::timeout(Duration::from_secs(30), holds).await.expect("it comes to that");
    }

    #[tokio::test]
    async fn more_than_wait_in_a_short_queue_are_sent_away() {
        let (pool, (release, held)) = (Hashing::new(1), mpsc::channel::<()>());
        let first = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(move || held.recv()).await }
        });
        let mut waiting = JoinSet::new();
        // All places but the one of the first.
        until(|| pool.places.available_permits() == WAITING).await;
        for number in 0..WAITING {
            let pool = pool.clone();
            waiting.spawn(async move { pool.run(move || number).await });
        }
        until(|| pool.places.available_permits() == 0).await;
        assert_eq!(pool.run(|| ()).await, Err(Busy { retry_after: RETRY_AFTER }));
        release.send(()).expect("the first still runs");
        first.await.expect("it does not panic").expect("it had a place").expect("it was released");
        while let Some(done) = waiting.join_next().await {
            done.expect("it does not panic").expect("it had a place");
        }
        assert_eq!(pool.run(|| 5).await, Ok(5));
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_keeps_its_turn() {
        let (pool, (release, held)) = (Hashing::new(1), mpsc::channel::<()>());
        let caller = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(move || held.recv()).await }
        });
        until(|| pool.turns.available_permits() == 0).await;
        caller.abort();
        assert!(caller.await.expect_err("it was cut off").is_cancelled());
        assert_eq!(pool.turns.available_permits(), 0);
        release.send(()).expect("the work goes on");
        assert_eq!(pool.run(|| 5).await, Ok(5));
    }
}
