//! The tree of the transparency log, which can be made anew from the events.

use std::process::ExitCode;

use daybook_core::transparency::{read_key, rebuild_tiles};
use daybook_log::PublicKey;

use crate::{
    ToolError,
    ledger::{Ledger, LedgerOptions},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The public key of the log, in case that the ledger has lost it; unless told, that of the file of the private one
    #[arg(long, value_name = "KEY")]
    key: Option<PublicKey>,
}

pub async fn rebuild(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    let key = match (&arguments.key, options.log_key()) {
        (Some(key), _) => Some(key.clone()),
        (None, Some(file)) => read_key(&file)?.map(|key| key.public().clone()),
        (None, None) => None,
    };
    let ledger = Ledger::open(options).await?;
    let rebuilt = rebuild_tiles(ledger.store(), key.as_ref()).await;
    ledger.close().await?;
    let rebuilt = rebuilt?;
    println!(
        "the tree of {} events is made anew: root {}, which {} checkpoints agree with",
        rebuilt.size, rebuilt.root, rebuilt.checkpoints
    );
    Ok(ExitCode::SUCCESS)
}
