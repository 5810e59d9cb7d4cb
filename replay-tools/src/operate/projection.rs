//! What an operator does with one projection: hold it and let it go, set events aside, roll back, repair rows.

use std::{collections::BTreeSet, env, process::ExitCode};

use daybook_projections::{
    BOARD,
    engine::{self, Definition, Stage, latest},
};

use crate::{
    ToolError,
    ledger::{Ledger, LedgerOptions},
};

#[derive(Debug, clap::Args)]
pub struct Projection {
    /// The projection
    name: String,
}

#[derive(Debug, clap::Args)]
pub struct RollBack {
    /// The projection
    name: String,
    /// The build that must be serving, so that two operators do not undo each other
    #[arg(long, value_name = "BUILD")]
    leaving: Option<i32>,
}

#[derive(Debug, clap::Args)]
pub struct Discard {
    /// The projection
    name: String,
    /// The build that a rebuild left behind when it was interrupted, instead of the one that is kept
    #[arg(long)]
    interrupted: bool,
}

#[derive(Debug, clap::Args)]
pub struct Park {
    /// The projection
    name: String,
    /// The event that it cannot fold
    position: u64,
    /// Why it may go on without this event and the rest of its stream
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
}

#[derive(Debug, clap::Args)]
pub struct Unpark {
    /// The projection
    name: String,
    /// The first event that was set aside
    position: u64,
}

#[derive(Debug, clap::Args)]
pub struct Repair {
    /// The projection
    name: String,
    /// What the rows to fold anew are keyed by, such as an account
    #[arg(required = true)]
    keys: Vec<String>,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

pub async fn pause(options: &LedgerOptions, arguments: &Projection) -> Result<ExitCode, ToolError> {
    let definition = find(&arguments.name)?;
    let ledger = Ledger::open(options).await?;
    let paused = engine::pause(definition.name, ledger.store().pool()).await?;
    ledger.close().await?;
    let outcome = if paused { "is paused" } else { "did not run" };
    println!("{} {outcome}", definition.name);
    Ok(ExitCode::SUCCESS)
}

pub async fn resume(options: &LedgerOptions, arguments: &Projection) -> Result<ExitCode, ToolError> {
    let definition = find(&arguments.name)?;
    let ledger = Ledger::open(options).await?;
    let resumed = engine::resume(definition.name, ledger.store().pool()).await?;
    ledger.close().await?;
    let outcome = if resumed { "goes on" } else { "was running" };
    println!("{} {outcome}", definition.name);
    Ok(ExitCode::SUCCESS)
}

pub async fn park(options: &LedgerOptions, arguments: &Park) -> Result<ExitCode, ToolError> {
    let ledger = Ledger::open(options).await?;
    let definition = in_service(&ledger, &arguments.name).await?;
    let parked = engine::park(ledger.store(), &definition, arguments.position, &arguments.reason, &operator()).await;
    ledger.close().await?;
    let parked = parked?;
    let (name, position) = (definition.name, parked.from_position);
    println!("{name} goes on without {} {} from event {position} on", parked.aggregate_type, parked.aggregate_id);
    Ok(ExitCode::SUCCESS)
}

pub async fn unpark(options: &LedgerOptions, arguments: &Unpark) -> Result<ExitCode, ToolError> {
    let ledger = Ledger::open(options).await?;
    let definition = in_service(&ledger, &arguments.name).await?;
    let taken_back = engine::unpark(ledger.store(), &definition, arguments.position, &operator()).await;
    ledger.close().await?;
    let stream = taken_back?;
    println!("{} has all events of {} {} again", definition.name, stream.aggregate_type, stream.aggregate_id);
    Ok(ExitCode::SUCCESS)
}

pub async fn roll_back(options: &LedgerOptions, arguments: &RollBack) -> Result<ExitCode, ToolError> {
    let definition = find(&arguments.name)?;
    let ledger = Ledger::open(options).await?;
    let rolled_back = engine::roll_back(ledger.store(), &definition, arguments.leaving).await;
    ledger.close().await?;
    let (target, waited) = rolled_back?;
    let version = target.definition.version;
    println!(
        "{}: build {} of version {version} serves again; readers waited {waited:.1?}",
        definition.name, target.build
    );
    Ok(ExitCode::SUCCESS)
}

pub async fn discard(options: &LedgerOptions, arguments: &Discard) -> Result<ExitCode, ToolError> {
    let definition = find(&arguments.name)?;
    let stage = if arguments.interrupted { Stage::Building } else { Stage::Kept };
    let ledger = Ledger::open(options).await?;
    let discarded = engine::discard(ledger.store(), &definition, stage).await;
    ledger.close().await?;
    println!("{}: build {} is gone", definition.name, discarded?);
    Ok(ExitCode::SUCCESS)
}

pub async fn repair(options: &LedgerOptions, arguments: &Repair) -> Result<ExitCode, ToolError> {
    let keys: BTreeSet<String> = arguments.keys.iter().cloned().collect();
    let ledger = Ledger::open(options).await?;
    let definition = in_service(&ledger, &arguments.name).await?;
    let repaired = engine::repair(ledger.store(), &definition, keys).await;
    ledger.close().await?;
    let repaired = repaired?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&repaired)?);
    } else {
        let (rows, mended, position) = (repaired.rows, repaired.mended, repaired.position);
        println!("{}: {rows} rows folded anew up to position {position}, {mended} of them mended", repaired.name);
    }
    Ok(ExitCode::SUCCESS)
}

/// The projections of these names; all of them when none is named.
pub fn choose(names: &[String]) -> Result<Vec<Definition>, ToolError> {
    if names.is_empty() { Ok(latest(BOARD)) } else { names.iter().map(|name| find(name)).collect() }
}

/// The projection in the version that serves, whose fold decides what its rows should be.
async fn in_service(ledger: &Ledger, name: &str) -> Result<Definition, ToolError> {
    let own = find(name)?;
    let serving = engine::in_service(BOARD, own.name, ledger.store().pool()).await?;
    serving.ok_or_else(|| format!("this program does not have the version of `{name}` that serves").into())
}

fn find(name: &str) -> Result<Definition, ToolError> {
    daybook_projections::find(name).ok_or_else(|| {
        let known: Vec<&str> = latest(BOARD).iter().map(|definition| definition.name).collect();
        format!("there is no projection `{name}`; there are {}", known.join(", ")).into()
    })
}

/// Who decides, as far as the system tells.
fn operator() -> String {
    let name = env::var("SUDO_USER").or_else(|_| env::var("USER")).unwrap_or_else(|_| "unknown".into());
    format!("staff:{name}")
}
