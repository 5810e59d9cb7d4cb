//! The checkpoint of the transparency log: what an auditor keeps, to compare with it whatever he is shown later.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use daybook_core::{
    store::Store,
    transparency::{LogError, add_events, checkpoint_at, sign, standing},
};
use daybook_log::Checkpoint;

use crate::{
    ToolError,
    ledger::{Ledger, LedgerOptions},
};

/// Events that are added to the tree in one transaction.
const BATCH: u32 = 5_000;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where to write it; to the standard output unless told
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub async fn run(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    let ledger = Ledger::open(options).await?;
    let checkpoint = up_to_date(ledger.store(), options).await;
    ledger.close().await?;
    write(&checkpoint?.note, arguments.output.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the public key, by which everything is checked that the log has signed.
pub async fn print_key(options: &LedgerOptions) -> Result<ExitCode, ToolError> {
    let ledger = Ledger::open_as_it_is(options).await?;
    let log = standing(ledger.store().pool()).await;
    ledger.close().await?;
    println!("{}", log?.vkey.ok_or(LogError::NoCheckpoint)?);
    Ok(ExitCode::SUCCESS)
}

/// Adds to the tree what the book holds by now, and signs it, if there is a key to sign with; answers with the latest
/// checkpoint.
pub async fn up_to_date(store: &Store, options: &LedgerOptions) -> Result<Checkpoint, ToolError> {
    let key = options.open_log_key(store).await?;
    let mut connection = store.connection().await?;
    while add_events(&mut connection, BATCH).await?.goes_on {}
    match key {
        Some(key) => Ok(sign(&mut connection, &key).await?.ok_or("an empty book is not signed")?),
        None => Ok(checkpoint_at(&mut connection, None).await?.1),
    }
}

/// Writes a text to a file, or to the standard output.
pub fn write(text: &str, output: Option<&Path>) -> Result<(), ToolError> {
    match output {
        Some(file) => fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?,
        None => print!("{text}"),
    }
    Ok(())
}
