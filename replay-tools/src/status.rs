//! Where the book and each projection stand.

use std::process::ExitCode;

use daybook_projections::{BOARD, engine};
use serde_json::json;

use crate::{
    ToolError,
    ledger::{Ledger, LedgerOptions},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print the status as JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    let ledger = Ledger::open(options).await?;
    let head = ledger.store().head().await?;
    let mut connection = ledger.store().connection().await?;
    let standings = engine::standings(BOARD, &mut connection).await?;
    ledger.close().await?;
    if arguments.json {
        let status = json!({ "position": head.position, "recorded_at": head.recorded_at, "projections": standings });
        println!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("the book ends at position {}", head.position);
    println!("{:<20} {:>7} {:>12} {:>10} {:>10}  state", "projection", "version", "position", "events", "seconds");
    for standing in standings {
        let (events, lag) = (standing.lag_events, standing.lag_milliseconds);
        let seconds = format!("{}.{:03}", lag / 1000, lag % 1000);
        let state = match (standing.error, standing.error_position) {
            (Some(error), Some(position)) => format!("stopped at event {position}: {error}"),
            _ => format!("{:?}", standing.state).to_lowercase(),
        };
        println!(
            "{:<20} {:>7} {:>12} {events:>10} {seconds:>10}  {state}",
            standing.name, standing.version, standing.position
        );
    }
    Ok(ExitCode::SUCCESS)
}
