//! Rebuilding projections from the book, while they are being read.

use std::process::ExitCode;

use daybook_core::store::Store;
use daybook_projections::engine::{self, Definition, Phase, RebuildOptions, Rebuilt, Room, Verified};

use crate::{
    ToolError,
    ledger::{Ledger, LedgerOptions},
    operate::projection::choose,
    progress::Progress,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The projections to rebuild; all of them when none is named
    names: Vec<String>,
    /// Build, compare and report; leave everything as it is
    #[arg(long)]
    dry_run: bool,
    /// Begin anew, even where an interrupted rebuild could go on
    #[arg(long)]
    afresh: bool,
    /// What the rebuild may take of the memory, in MiB
    #[arg(long, default_value_t = 200, value_name = "MIB", value_parser = clap::value_parser!(u32).range(32..))]
    memory: u32,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    let chosen = choose(&arguments.names)?;
    let ledger = Ledger::open(options).await?;
    let mut outcomes = Vec::with_capacity(chosen.len());
    for definition in chosen {
        let rebuilt = rebuild(ledger.store(), &definition, options, arguments).await?;
        if !arguments.json {
            tell(&rebuilt);
        }
        outcomes.push(rebuilt);
    }
    ledger.close().await?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&outcomes)?);
    }
    Ok(ExitCode::SUCCESS)
}

async fn rebuild(
    store: &Store,
    definition: &Definition,
    options: &LedgerOptions,
    arguments: &Arguments,
) -> Result<Rebuilt, ToolError> {
    let head = store.head().await?.position;
    let mut progress = match arguments.json {
        true => Progress::hidden(),
        false => Progress::new(definition.name, "events", head),
    };
    let rebuild_options = RebuildOptions {
        room: Room { memory: (arguments.memory as usize) << 20, ..options.room() },
        dry_run: arguments.dry_run,
        afresh: arguments.afresh,
    };
    let rebuilt = engine::rebuild(store, definition, &rebuild_options, |told| {
        progress.reach(told.position);
        progress.note(&format!("{}, {} MiB", phase(told.phase), told.memory >> 20), told.head);
    })
    .await?;
    progress.finish();
    Ok(rebuilt)
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Filling => "filling",
        Phase::Indexing => "indexing",
        Phase::Comparing => "comparing with the rows that serve",
        Phase::Proving => "proving against a fresh fold",
        Phase::TakingOver => "taking over",
    }
}

fn tell(rebuilt: &Rebuilt) {
    let Rebuilt { name, version, build, position, proof, live, switched_in, .. } = rebuilt;
    if let Some(resumed_at) = rebuilt.resumed_at {
        println!("{name}: went on with an interrupted build at position {resumed_at}");
    }
    let serves = match switched_in {
        Some(waited) => format!("serves; readers waited {waited:.1?}"),
        None => "was a dry run and is gone".into(),
    };
    let (rows, mebibytes) = (proof.rows, rebuilt.memory >> 20);
    println!(
        "{name} version {version}: {rows} rows at position {position} equal a fresh fold; build {build} {serves} ({mebibytes} MiB)"
    );
    match live {
        None => println!("  the rows before stood still elsewhere and were not compared"),
        Some(Verified { different: 0, .. }) => println!("  identical to the rows before"),
        Some(live) if live.version == *version => {
            println!("  DRIFT: {} of the rows before were not what the book says", live.different);
            tell_differences(live);
        }
        Some(live) => {
            println!("  {} rows differ from those of version {}", live.different, live.version);
            tell_differences(live);
        }
    }
}

fn tell_differences(found: &Verified) {
    for difference in &found.differences {
        let show = |row: &Option<serde_json::Value>| row.as_ref().map_or("no row".into(), ToString::to_string);
        println!("    {} {}", difference.table, difference.key);
        println!("      before: {}", show(&difference.stored));
        println!("      now:    {}", show(&difference.expected));
    }
    let told = found.differences.len() as i64;
    if found.different > told {
        println!("    and {} more", found.different - told);
    }
}
