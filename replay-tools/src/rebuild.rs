//! Rebuilding projections from the book, while they are being read.

use std::process::ExitCode;

use daybook_core::store::Store;
use daybook_projections::{
    BOARD,
    engine::{self, Checksum, Definition},
};
use serde::Serialize;

use crate::{
    ToolError,
    ledger::{Ledger, LedgerOptions},
    progress::Progress,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The projections to rebuild; all of them when none is named
    names: Vec<String>,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

/// What a rebuild has come to.
#[derive(Debug, Serialize)]
struct Outcome {
    name: &'static str,
    version: i32,
    position: u64,
    /// Whether every row is as it was before.
    identical: bool,
    tables: Vec<Checksum>,
}

pub async fn run(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    let chosen = choose(&arguments.names)?;
    let ledger = Ledger::open(options).await?;
    let mut outcomes = Vec::with_capacity(chosen.len());
    for definition in chosen {
        let outcome = rebuild(ledger.store(), definition, arguments.json).await?;
        if !arguments.json {
            let Outcome { name, version, position, identical, ref tables } = outcome;
            let rows: i64 = tables.iter().map(|table| table.rows).sum();
            let compared = if identical { "identical to before" } else { "not as before" };
            println!("{name} version {version}: {rows} rows at position {position}, {compared}");
        }
        outcomes.push(outcome);
    }
    ledger.close().await?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&outcomes)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn choose(names: &[String]) -> Result<Vec<&'static Definition>, ToolError> {
    if names.is_empty() {
        return Ok(BOARD.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            BOARD.iter().find(|definition| definition.name == name).ok_or_else(|| {
                let known: Vec<&str> = BOARD.iter().map(|definition| definition.name).collect();
                format!("there is no projection `{name}`; there are {}", known.join(", ")).into()
            })
        })
        .collect()
}

async fn rebuild(store: &Store, definition: &'static Definition, quiet: bool) -> Result<Outcome, ToolError> {
    let mut connection = store.connection().await?;
    sqlx::raw_sql("set statement_timeout = 0").execute(&mut connection).await?;
    let before = engine::checksum(definition, &mut connection).await?;
    let head = store.head().await?.position;
    let mut progress = match quiet {
        true => Progress::hidden(),
        false => Progress::new(definition.name, "events", head),
    };
    let mut reached = 0;
    let rebuilt = engine::rebuild(store, definition, |position| {
        progress.advance(position - reached);
        reached = position;
    })
    .await?;
    progress.finish();
    let tables = engine::checksum(definition, &mut connection).await?;
    let (name, version, position) = (rebuilt.name, rebuilt.version, rebuilt.position);
    Ok(Outcome { name, version, position, identical: before == tables, tables })
}
