//! What differs between two ledgers, their archives, or two positions of one: which events, from which one on, and
//! which balances. An event is the same only if it stands at the same position and not a byte of it differs.

mod archive;
mod compare;
mod source;

use std::process::ExitCode;

use daybook_core::{chain, store::Upcasters};

pub(crate) use self::{
    compare::{Comparison, compare},
    source::Events,
};
use self::{
    compare::{Difference, EventShown},
    source::Source,
};
use crate::{
    ToolError,
    ledger::{Ledger, LedgerOptions},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// `@123` for this ledger up to a position, the URL of a database, or the file of an archive of the log
    a: Source,
    /// Likewise
    b: Source,
    /// Print the differences as JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    let sides = [&arguments.a, &arguments.b];
    let own = sides.iter().any(|side| matches!(side, Source::Position(_)));
    let ledger = if own { Some(Ledger::open_as_it_is(options).await?) } else { None };
    let compared = differences(ledger.as_ref(), sides).await;
    if let Some(ledger) = ledger {
        ledger.close().await?;
    }
    let comparison = compared?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&comparison)?);
    } else {
        tell(sides, &comparison);
    }
    Ok(if comparison.equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn differences(ledger: Option<&Ledger>, sides: [&Source; 2]) -> Result<Comparison, ToolError> {
    let mut a = open(ledger, sides[0]).await?;
    let mut b = open(ledger, sides[1]).await?;
    let comparison = compare(&mut a, &mut b, &Upcasters::default()).await?;
    a.close().await?;
    b.close().await?;
    Ok(comparison)
}

async fn open(ledger: Option<&Ledger>, source: &Source) -> Result<Events, ToolError> {
    let events = match source {
        Source::Position(position) => {
            let ledger = ledger.expect("the ledger is open where a position of it is asked for");
            Events::of(ledger.store().application(), Some(*position)).await
        }
        Source::Database(options) => Events::of(options, None).await,
        Source::Archive(path) => Events::archived(path),
    };
    events.map_err(|error| format!("{source}: {}", chain(&*error)).into())
}

fn tell(sides: [&Source; 2], comparison: &Comparison) {
    for (name, side, source) in [("A", &comparison.a, sides[0]), ("B", &comparison.b, sides[1])] {
        println!("{name}: {source}, {} events", side.events);
        if let Some(key) = &side.key {
            println!("   intact, and signed by {key}: compare it with the key that you were given");
        }
        if let Some(position) = side.first_unreadable {
            println!("   event {position} and perhaps others cannot be read; their money is not counted");
        }
    }
    let Some(first) = &comparison.first_difference else {
        println!("no difference");
        return;
    };
    println!("{} events are only in A, {} only in B", comparison.a.only_here, comparison.b.only_here);
    println!("the first difference is at position {}", first.position);
    for (name, event) in [("A", &first.a), ("B", &first.b)] {
        match event {
            None => println!("  {name}: no event"),
            Some(event) => tell_event(name, event),
        }
    }
    tell_balances("account", &comparison.accounts);
    tell_balances("ledger account", &comparison.ledger_accounts);
}

fn tell_event(name: &str, event: &EventShown) {
    let EventShown { event_type, event_version, aggregate_type, aggregate_id, sequence, recorded_at, .. } = event;
    println!(
        "  {name}: {event_type} {event_version}, event {sequence} of {aggregate_type} {aggregate_id}, recorded {recorded_at}"
    );
    println!("     {}", event.payload);
    println!("     {}", event.metadata);
}

fn tell_balances(what: &str, differences: &[Difference]) {
    if differences.is_empty() {
        return;
    }
    println!("{what:<34} {:>18} {:>18} {:>18}", "A", "B", "B less A");
    for Difference { account, currency, a, b, by } in differences {
        println!("{account:<34} {a:>18} {b:>18} {by:>18} {currency}");
    }
}
