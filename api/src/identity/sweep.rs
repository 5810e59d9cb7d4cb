//! What goes by itself: secrets that nothing names any more, sessions and links that have ended, and months of the access
//! log.

use std::time::Duration;

use chrono::DateTime;
use daybook_core::{chain, store::StoreError};
use daybook_identity::{AccessLog, IdentityError, MONTHS_KEPT, Named};
use daybook_projections::{Freshness, Viewer, engine::Projection, user};
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
    Store(#[from] StoreError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// When it is looked for first.
const SOON: Duration = Duration::from_secs(60);

/// How long the rows may take to name what was made before the sweep began.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked for what a killed process was about to end.
const CUT_OFF_EVERY: Duration = Duration::from_secs(30);

/// Ends what a killed process was about to end. Never ends by itself.
pub async fn cut_offs(app: App) {
    loop {
        match cut_off_left(&app).await {
            Ok(0) => {}
            Ok(done) => tracing::warn!(done, "ended sessions and links that another process has left"),
            Err(error) => tracing::warn!(error = %chain(&error), "sessions that a change was to end may go on"),
        }
        sleep(CUT_OFF_EVERY).await;
    }
}

async fn cut_off_left(app: &App) -> Result<u64, SweepError> {
    let position = app.store().head().await?.position;
    let rows_follow = app.reader().wait_for(user::Users::NAME, position, CUT_OFF_EVERY).await.is_ok();
    Ok(app.identity().cut_off_left(rows_follow, app.clock().now()).await?)
}

/// Never ends by itself.
pub async fn run(app: App, SweepOptions { pause, months_kept }: SweepOptions) {
    // Soon after the start, so that a server that is restarted often sweeps, too.
    sleep(pause.min(SOON)).await;
    loop {
        if let Err(error) = sweep(&app, months_kept).await {
            tracing::warn!(error = %chain(&error), "what has ended of sessions and secrets stays for now");
        }
        sleep(pause).await;
    }
}

async fn sweep(app: &App, months_kept: u32) -> Result<(), SweepError> {
    let now = app.clock().now();
    // What was made before now is named by an event up to here, or by none.
    let position = app.store().head().await?.position;
    let fresh = Freshness { position, wait: PATIENCE };
    let named = match app.reader().snapshot(&Viewer::Provider, &[user::Users::NAME], Some(fresh)).await {
        Ok(mut rows) => Named { ids: user::secrets(&mut rows).await?, complete_to: now },
        Err(error) => {
            tracing::warn!(error = %chain(&error), "secrets that nothing names stay, because the rows of users lag");
            Named { ids: Vec::new(), complete_to: DateTime::UNIX_EPOCH }
        }
    };
    app.identity().sweep(&named, now).await?;
    AccessLog::forget(app.store(), months_kept, now).await?;
    Ok(())
}
