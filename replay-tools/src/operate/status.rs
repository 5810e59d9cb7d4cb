//! Where the book and each projection stand.

use std::process::ExitCode;

use daybook_projections::{
    BOARD,
    engine::{self, Standing, State},
};
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
    // It looks and changes nothing, so that a replica can be asked, too.
    let ledger = Ledger::open_as_it_is(options).await?;
    ledger.store().assert_version().await?;
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
    for standing in &standings {
        tell(standing);
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(standing: &Standing) {
    let (events, lag) = (standing.lag_events, standing.lag_milliseconds);
    let seconds = format!("{}.{:03}", lag / 1000, lag % 1000);
    let state = match (&standing.error, standing.error_position) {
        (Some(error), Some(position)) => format!("stopped at event {position}: {error}"),
        _ if standing.state == State::Running && !standing.driven => "running, but no process drives it".into(),
        _ => format!("{:?}", standing.state).to_lowercase(),
    };
    println!(
        "{:<20} {:>7} {:>12} {events:>10} {seconds:>10}  {state}",
        standing.name, standing.version, standing.position
    );
    if standing.program_version != standing.version {
        println!("  this program has version {}", standing.program_version);
    }
    if let Some(building) = &standing.building {
        let phase = building.phase.as_deref().filter(|_| building.driven).unwrap_or("interrupted");
        let left = building.seconds_left.map_or("?".into(), |seconds| seconds.to_string());
        println!(
            "  build {} of version {} is being made: {phase}, position {}, {} events a second, {left} s left, {} MiB",
            building.build,
            building.version,
            building.position,
            building.events_per_second,
            building.memory_bytes >> 20
        );
    }
    if let Some(kept) = &standing.kept {
        println!(
            "  build {} of version {} is kept for a roll-back, position {}",
            kept.build, kept.version, kept.position
        );
    }
    for parked in &standing.parked {
        println!(
            "  parked from event {} on: {} {}, by {}: {}",
            parked.from_position, parked.aggregate_type, parked.aggregate_id, parked.parked_by, parked.reason
        );
    }
    for drift in &standing.drifts {
        println!("  drifted at position {}: {} {}", drift.position, drift.table, drift.key);
    }
}
