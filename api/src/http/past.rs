//! Reads that take long, which are those of the past and of whole listings: so few at once that connections remain for
//! everything else, and each of them for so long at most.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use daybook_projections::ReadError;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use crate::http::error::ApiError;

#[derive(Clone, Debug)]
pub struct PastOptions {
    /// The share of the connections that they may hold: one of so many.
    pub share: u32,
    /// How long one waits for others to end.
    pub patience: Duration,
    /// How long one may take.
    pub longest: Duration,
}

impl PastOptions {
    /// Of whole listings.
    pub fn of_exports() -> Self {
        Self { longest: Duration::from_secs(600), ..Self::default() }
    }
}

impl Default for PastOptions {
    fn default() -> Self {
        Self { share: 4, patience: Duration::from_secs(5), longest: Duration::from_secs(30) }
    }
}

/// Lets such reads in.
#[derive(Debug)]
pub struct Gate {
    permits: Arc<Semaphore>,
    options: PastOptions,
    /// What they do.
    what: &'static str,
    /// How many each principal has, where that is counted.
    turns: Turns,
}

type Turns = Arc<Mutex<HashMap<String, usize>>>;

/// One of the few that a principal may have at a time.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    principal: String,
}

/// So many one principal may have at a time.
const OF_A_PRINCIPAL: usize = 2;

/// One such read that was let in.
#[derive(Debug)]
pub struct Admitted {
    _permit: OwnedSemaphorePermit,
    deadline: Instant,
}

impl Gate {
    pub fn new(options: PastOptions, connections: u32, what: &'static str) -> Self {
        let permits = (connections / options.share.max(1)).max(1);
        Self { permits: Arc::new(Semaphore::new(permits as usize)), options, what, turns: Turns::default() }
    }

    /// Counts one of a principal, until what is answered is dropped.
    pub fn turn(&self, principal: &str) -> Result<Turn, ApiError> {
        let mut turns = locked(&self.turns);
        let count = turns.entry(principal.to_owned()).or_default();
        if *count >= OF_A_PRINCIPAL {
            let detail =
                format!("{OF_A_PRINCIPAL} such answers of yours are being made or read; end one of them first");
            return Err(ApiError::new("too-many-requests", detail).retry_after(1));
        }
        *count += 1;
        Ok(Turn { turns: Arc::clone(&self.turns), principal: principal.to_owned() })
    }

    pub async fn admit(&self) -> Result<Admitted, ApiError> {
        let permit = timeout(self.options.patience, Arc::clone(&self.permits).acquire_owned()).await;
        let detail = format!("too many requests {}", self.what);
        let overloaded = |_| ApiError::new("overloaded", detail).retry_after(1);
        let permit = permit.map_err(overloaded)?.expect("nobody closes the gate");
        Ok(Admitted { _permit: permit, deadline: Instant::now() + self.options.longest })
    }
}

fn locked(turns: &Turns) -> MutexGuard<'_, HashMap<String, usize>> {
    turns.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = locked(&self.turns);
        if let Some(count) = turns.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                turns.remove(&self.principal);
            }
        }
    }
}

impl Admitted {
    /// What a statement of this read may still take. PostgreSQL takes 0 for no limit.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    /// Does a part of the work, as long as there is time.
    pub async fn within<T>(&self, work: impl Future<Output = Result<T, ReadError>>) -> Result<T, ApiError> {
        // A timer has milliseconds, and may let through what is done before it looks at the clock.
        if self.deadline <= Instant::now() {
            return Err(too_long());
        }
        match timeout_at(self.deadline, work).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(too_long()),
        }
    }
}

/// More would have to be read than one request may.
pub fn too_long() -> ApiError {
    let detail = "so many events or rows are behind the answer that it takes too long; ask for less: a shorter period or a \
                  further filter. Of the past, the statement and the history are read faster: they keep every position";
    ApiError::new("read-too-long", detail)
}
