//! What is noted in the background, such as when a token was used last: nobody waits for it, and it may be left out.

use std::sync::Arc;

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

    pub fn write(&self, what: &'static str, note: impl Future<Output = Result<(), IdentityError>> + Send + 'static) {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return };
        self.tracker.spawn(async move {
            if let Err(error) = note.await {
                tracing::warn!(%error, "{what} is not noted");
            }
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
