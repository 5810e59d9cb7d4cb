//! The tree of the transparency log, which can be made anew from the events.

use std::process::ExitCode;

use daybook_core::transparency::rebuild_tiles;

use crate::{
    ToolError,
    ledger::{Ledger, LedgerOptions},
};

pub async fn rebuild(options: &LedgerOptions) -> Result<ExitCode, ToolError> {
    let ledger = Ledger::open(options).await?;
    let rebuilt = rebuild_tiles(ledger.store()).await;
    ledger.close().await?;
    let rebuilt = rebuilt?;
    println!(
        "the tree of {} events is made anew: root {}, which {} checkpoints agree with",
        rebuilt.size, rebuilt.root, rebuilt.checkpoints
    );
    Ok(ExitCode::SUCCESS)
}
