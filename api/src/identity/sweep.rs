//! What goes by itself: secrets that nothing names any more, sessions and links that have ended, and months of the access
//! log.

use std::time::Duration;

use daybook_core::chain;
use daybook_identity::{AccessLog, IdentityError, MONTHS_KEPT, Named};
use daybook_projections::{ReadError, Viewer, engine::Projection, user};
use tokio::time::sleep;

use crate::app::App;

#[derive(Clone, Copy, Debug)]
pub struct SweepOptions {
    /// How often it is looked for.
    pub pause: Duration,
    /// For how many months lines of the access log are kept.
    pub months_kept: u32,
}

impl Default for SweepOptions {
    fn default() -> Self {
        Self { pause: Duration::from_secs(3_600), months_kept: MONTHS_KEPT }
    }
}

#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Never ends by itself.
pub async fn run(app: App, SweepOptions { pause, months_kept }: SweepOptions) {
    loop {
        sleep(pause).await;
        if let Err(error) = sweep(&app, months_kept).await {
            tracing::warn!(error = %chain(&error), "what has ended of sessions and secrets stays for now");
        }
    }
}

async fn sweep(app: &App, months_kept: u32) -> Result<(), SweepError> {
    let now = app.clock().now();
    let mut rows = app.reader().snapshot(&Viewer::Provider, &[user::Users::NAME], None).await?;
    let head: i64 = sqlx::query_scalar("select position from book_head").fetch_one(&mut *rows).await?;
    // As long as the rows lag, they do not name yet what was made last.
    if rows.position() == head.unsigned_abs() {
        let ids = user::secrets(&mut rows).await?;
        drop(rows);
        app.identity().sweep(&Named { ids, complete_to: now }, now).await?;
    }
    AccessLog::forget(app.store(), months_kept, now).await?;
    Ok(())
}
