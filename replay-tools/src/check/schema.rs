//! The schema of the book: which events it holds in which versions, and whether this program would fold all of them.
//! Nothing is changed, not even the tables, so that a new program can be asked before it is deployed.

use std::{collections::BTreeMap, process::ExitCode, thread};

use daybook_core::{
    Position, chain,
    store::{Opener, RawEvent, Reading, Store, StoredVersion, read_events, stored_versions},
};
use daybook_projections::BOARD;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use crate::{
    ToolError,
    ledger::{Ledger, LedgerOptions},
    progress::Progress,
};

/// Events that are read and folded at once by one thread; what is in memory is this, times the number of cores.
const BATCH: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Print the outcome as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Decode, upcast and fold every stored event; exit 1 if one would not fold
    Check,
}

/// What a check has found.
#[derive(Debug, Serialize)]
struct Report {
    sound: bool,
    /// Where the book ended when it was read.
    position: Position,
    findings: Vec<Finding>,
}

/// The events of one type and version that would not fold.
#[derive(Debug, Serialize)]
struct Finding {
    event_type: String,
    event_version: String,
    #[serde(flatten)]
    trouble: Trouble,
}

#[derive(Debug, Serialize)]
struct Trouble {
    /// How many would not fold.
    failing: u64,
    first_bad_position: Position,
    /// Why not the first of them.
    error: String,
}

/// Event types and versions that would not fold.
type Troubles = BTreeMap<(String, String), Trouble>;

pub async fn run(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    let ledger = Ledger::open_as_it_is(options).await?;
    let outcome = match arguments.verb {
        None => list(ledger.store(), arguments.json).await,
        Some(Verb::Check) => check(ledger.store(), arguments.json).await,
    };
    ledger.close().await?;
    outcome
}

async fn list(store: &Store, json: bool) -> Result<ExitCode, ToolError> {
    let mut connection = store.connection().await?;
    sqlx::raw_sql("set statement_timeout = 0").execute(&mut connection).await?;
    let versions = stored_versions(&mut connection, store.upcasters()).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&versions)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{:<44} {:>7} {:>10} {:>10} {:>10}  {:<20}  here",
        "event", "version", "events", "first", "last", "last recorded"
    );
    for stored in versions {
        let StoredVersion { event_type, event_version, events, first_position, last_position, .. } = &stored;
        let last_recorded = stored.last_recorded_at.format("%Y-%m-%dT%H:%M:%SZ");
        let here = match &stored.reading {
            Reading::Present => "present".to_owned(),
            Reading::Upcast { to } => format!("upcast to {to}"),
            Reading::Unreadable { reason } => format!("unreadable: {reason}"),
        };
        println!(
            "{event_type:<44} {event_version:>7} {events:>10} {first_position:>10} {last_position:>10}  \
             {last_recorded}  {here}"
        );
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(store: &Store, json: bool) -> Result<ExitCode, ToolError> {
    let position = store.head().await?.position;
    let mut progress = if json { Progress::hidden() } else { Progress::new("checking", "events", position) };
    let troubles = troubles(store, position, &mut progress).await?;
    progress.finish();
    let findings: Vec<Finding> = troubles
        .into_iter()
        .map(|((event_type, event_version), trouble)| Finding { event_type, event_version, trouble })
        .collect();
    let report = Report { sound: findings.is_empty(), position, findings };
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for Finding { event_type, event_version, trouble } in &report.findings {
            let Trouble { failing, first_bad_position, error } = trouble;
            println!(
                "{event_type} {event_version}: {failing} would not fold, the first at position {first_bad_position}"
            );
            println!("       {error}");
        }
        let verdict = if report.sound { "every event folds" } else { "NOT EVERY EVENT FOLDS" };
        println!("the book ends at position {position}: {verdict}");
    }
    Ok(if report.sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the book once, in batches on all cores. Positions are dense, so the batches are known beforehand.
async fn troubles(store: &Store, head: Position, progress: &mut Progress) -> Result<Troubles, ToolError> {
    let cores = thread::available_parallelism()?.get();
    let batches = stream::iter((0..head).step_by(BATCH as usize)).map(|after| async move {
        let limit = u32::try_from(head - after).unwrap_or(BATCH).min(BATCH);
        let events = read_events(store.pool(), after, limit).await?;
        let opener = store.opener(&events).await?;
        let folding = tokio::task::spawn_blocking(move || fold_each(&events, &opener));
        Ok::<_, ToolError>((u64::from(limit), folding.await?))
    });
    let mut batches = std::pin::pin!(batches.buffer_unordered(cores));
    let mut all = Troubles::new();
    while let Some((checked, troubles)) = batches.try_next().await? {
        progress.advance(checked);
        for (kind, trouble) in troubles {
            note(&mut all, kind, trouble);
        }
    }
    Ok(all)
}

fn fold_each(events: &[RawEvent], opener: &Opener) -> Troubles {
    let mut troubles = Troubles::new();
    for raw in events {
        if let Err(error) = fold(raw, opener) {
            let kind = (raw.event_type.clone(), raw.event_version.clone());
            note(&mut troubles, kind, Trouble { failing: 1, first_bad_position: raw.position, error });
        }
    }
    troubles
}

/// Takes one event the way that it takes to the rows, short of the rows themselves.
fn fold(raw: &RawEvent, opener: &Opener) -> Result<(), String> {
    let event = raw.open(opener).map_err(|error| chain(&error))?;
    BOARD.iter().try_for_each(|definition| {
        definition.folds(&event).map_err(|error| format!("projection `{}`: {}", definition.name, chain(&error)))
    })
}

/// Adds what is wrong with some events of a kind; the error that is told is that of the first of them.
fn note(troubles: &mut Troubles, kind: (String, String), trouble: Trouble) {
    match troubles.get_mut(&kind) {
        None => {
            troubles.insert(kind, trouble);
        }
        Some(known) => {
            let failing = known.failing + trouble.failing;
            if trouble.first_bad_position < known.first_bad_position {
                *known = trouble;
            }
            known.failing = failing;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_all_batches_is_told_whichever_comes_first() {
        let kind = || ("ticket.answered".to_owned(), "2.0".to_owned());
        let found = |first_bad_position, error: &str| Trouble { failing: 2, first_bad_position, error: error.into() };
        let mut troubles = Troubles::new();
        note(&mut troubles, kind(), found(2007, "later"));
        note(&mut troubles, kind(), found(7, "first"));
        note(&mut troubles, kind(), found(1007, "between"));
        let Trouble { failing, first_bad_position, error } = &troubles[&kind()];
        assert_eq!((*failing, *first_bad_position, error.as_str()), (6, 7, "first"));
    }
}
