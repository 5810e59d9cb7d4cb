//! Proofs for whoever does not trust this ledger: each is a file that stands by itself.

use std::{path::PathBuf, process::ExitCode};

use daybook_core::{
    Position,
    transparency::{event_proof, prove_consistency},
};
use daybook_log::{lines, proof::Proof};

use crate::{
    ToolError,
    export::Output,
    ledger::{Ledger, LedgerOptions},
};

#[derive(Debug, clap::Subcommand)]
pub enum Prove {
    /// That an event is in the log
    Event(EventArguments),
    /// That one checkpoint continues another
    Consistency(ConsistencyArguments),
}

#[derive(Debug, clap::Args)]
pub struct EventArguments {
    position: Position,
    /// The size of the checkpoint that the proof leads to; the latest unless told
    #[arg(long)]
    size: Option<u64>,
    /// Where to write it; to the standard output unless told
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct ConsistencyArguments {
    /// The size of the earlier checkpoint
    from: u64,
    /// The size of the later one; the latest unless told
    to: Option<u64>,
    /// Where to write it; to the standard output unless told
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub async fn run(options: &LedgerOptions, what: &Prove) -> Result<ExitCode, ToolError> {
    let ledger = Ledger::open_as_it_is(options).await?;
    let proof = prove(&ledger, what).await;
    ledger.close().await?;
    let output = match what {
        Prove::Event(arguments) => &arguments.output,
        Prove::Consistency(arguments) => &arguments.output,
    };
    let proof = proof?;
    let mut output = Output::create(output.as_deref())?;
    lines::write(&proof, &mut output.writer())?;
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

async fn prove(ledger: &Ledger, what: &Prove) -> Result<Proof, ToolError> {
    let mut connection = ledger.store().connection().await?;
    Ok(match what {
        Prove::Event(event) => Proof::Event(event_proof(&mut connection, event.position, event.size).await?),
        Prove::Consistency(ConsistencyArguments { from, to, .. }) => {
            Proof::Consistency(prove_consistency(&mut connection, *from, *to).await?)
        }
    })
}
