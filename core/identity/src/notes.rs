//! What is noted in the background, such as when a token was used last: no request waits for it.

use std::{fmt::Display, sync::Arc};

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::IdentityError;

/// So many are written at a time. While these wait for the database, further ones are left out: they would take its
/// connections from those who wait for an answer.
const AT_ONCE: usize = 2;

/// Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Notes {
    tracker: TaskTracker,
    places: Arc<Semaphore>,
}

impl Notes {
    pub fn new() -> Self {
        Self { tracker: TaskTracker::new(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Notes something that may be left out.
    pub fn write(&self, what: &'static str, note: impl Future<Output = Result<(), IdentityError>> + Send + 'static) {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return };
        self.tracker.spawn(async move {
            noted(what, note).await;
            drop(place);
        });
    }

    /// Notes something that waits for its turn, and is not left out.
    pub fn queue<E: Display + Send + 'static>(
        &self,
        what: &'static str,
        note: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let places = self.places.clone();
        self.tracker.spawn(async move {
            let place = places.acquire_owned().await;
            noted(what, note).await;
            drop(place);
        });
    }

    /// Waits until all that was begun is written.
    pub async fn settle(&self) {
        self.tracker.close();
        self.tracker.wait().await;
        self.tracker.reopen();
    }
}

async fn noted<E: Display>(what: &'static str, note: impl Future<Output = Result<(), E>>) {
    if let Err(error) = note.await {
        tracing::warn!(%error, "{what} is not noted");
    }
}
