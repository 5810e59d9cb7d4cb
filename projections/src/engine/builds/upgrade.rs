//! Upgrading: where this program has a newer version of a projection than the one that serves, it is built in the
//! background and takes over by itself.

use std::time::Duration;

use daybook_core::{chain, store::Store};
use tokio::time;

use crate::engine::{
    Definition,
    builds::{
        build::{self, Stage},
        rebuild::{RebuildOptions, rebuild},
    },
    check::afresh::Room,
    error::RebuildError,
    latest,
};

/// How long to wait before trying again, when another process builds, or the database or the disk does not do its part.
const AGAIN: Duration = Duration::from_secs(10);

/// Builds what is newer, one projection after the other, and ends when nothing is left to build. What cannot be built
/// for the rows' sake is told and left to the operator.
pub(in crate::engine) async fn run(store: Store, board: &'static [Definition], room: Room) {
    let options = RebuildOptions { room, ..RebuildOptions::default() };
    for definition in latest(board) {
        while let Err(error) = bring_up(&store, &definition, &options).await {
            let (projection, reason) = (definition.name, chain(&error));
            let hopeless = matches!(
                error,
                RebuildError::Fold { .. }
                    | RebuildError::Unproven(_)
                    | RebuildError::OtherVersion { .. }
                    | RebuildError::Panicked(_)
            );
            if hopeless {
                tracing::error!(projection, error = %reason, "the new version of a projection cannot be built: an operator has to act");
                break;
            }
            tracing::error!(projection, error = %reason, "the new version of a projection does not serve yet: it is tried again");
            time::sleep(AGAIN).await;
        }
    }
}

async fn bring_up(store: &Store, definition: &Definition, options: &RebuildOptions) -> Result<(), RebuildError> {
    let serving = build::at(definition.name, Stage::Serving, store.pool()).await?;
    // An older program leaves what a newer one has built alone.
    if serving.is_none_or(|serving| serving.version >= definition.version) {
        return Ok(());
    }
    // An operator has rolled back, and decides when to go forward again.
    let kept = build::at(definition.name, Stage::Kept, store.pool()).await?;
    if let Some(kept) = kept.filter(|kept| kept.version >= definition.version) {
        let (projection, build) = (definition.name, kept.build);
        tracing::warn!(projection, build, "rolled back: the newer version is kept, and is not built again by itself");
        return Ok(());
    }
    let rebuilt = rebuild(store, definition, options, |_| {}).await?;
    let (projection, version, build, position) = (rebuilt.name, rebuilt.version, rebuilt.build, rebuilt.position);
    tracing::info!(projection, version, build, position, "a new version of a projection serves");
    Ok(())
}
