//! Replaying the book: the state of an aggregate, or of everything, at any position, folded afresh.

use std::{collections::BTreeMap, process::ExitCode};

use chrono::{DateTime, Utc};
use daybook_core::{
    Position,
    domain::{Event, posting::Posting},
    state::Loaded,
    store::{RawEvent, Store, read_events},
};
use daybook_projections::{
    BOARD, Moment, Reader, Viewer,
    engine::{self, Checksum, Look, Room},
    journal,
};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    ToolError,
    ledger::{Ledger, LedgerOptions},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The last event to fold; the end of the book, unless it is told
    #[arg(long, value_name = "POSITION")]
    to: Option<Position>,
    /// Only this aggregate, such as `account/acc_01JD8Z2Q4Y0000000000000001`
    #[arg(long, value_name = "TYPE/ID")]
    stream: Option<String>,
    /// Compare what is folded with the rows that are read; exit 1 if anything differs
    #[arg(long)]
    compare: bool,
    /// Show every event of the aggregate with the state and the postings after it
    #[arg(long, requires = "stream", conflicts_with = "compare")]
    step: bool,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Everything at a position.
#[derive(Debug, Serialize)]
struct Book {
    position: Position,
    projections: Vec<Rows>,
    trial_balance: Vec<Standing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparisons: Option<Vec<Comparison>>,
}

/// What a projection comes to.
#[derive(Debug, Serialize)]
struct Rows {
    projection: &'static str,
    tables: Vec<Checksum>,
}

/// How an account of the chart stands in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Standing {
    ledger_account: String,
    currency: String,
    debit: Decimal,
    credit: Decimal,
    /// Debit minus credit.
    balance: Decimal,
}

/// A fold beside the rows that are read.
#[derive(Debug, Serialize)]
struct Comparison {
    what: String,
    /// Where both stand.
    position: Position,
    rows: u64,
    equal: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<String>,
}

/// An aggregate at a position.
#[derive(Debug, Serialize)]
struct Aggregate {
    aggregate_type: String,
    aggregate_id: String,
    /// Of its last event up to the position that was asked for.
    position: Position,
    sequence: u64,
    state: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparisons: Option<Vec<Comparison>>,
}

/// An event of an aggregate, and what it leads to.
#[derive(Debug, Serialize)]
struct Step {
    position: Position,
    sequence: u64,
    event_type: String,
    event_version: String,
    actor: Option<String>,
    on_behalf_of: Option<String>,
    reason: Option<String>,
    occurred_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
    payload: Box<RawValue>,
    state: Box<RawValue>,
    postings: Vec<Leg>,
}

#[derive(Debug, Serialize)]
struct Leg {
    ledger_account: &'static str,
    /// A debit is positive, a credit negative.
    amount: Decimal,
    currency: &'static str,
}

pub async fn run(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    let ledger = Ledger::open_as_it_is(options).await?;
    let outcome = replay(ledger.store(), &options.room(), arguments).await;
    ledger.close().await?;
    Ok(if outcome? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether all that was compared is equal.
async fn replay(store: &Store, room: &Room, arguments: &Arguments) -> Result<bool, ToolError> {
    let head = store.head().await?.position;
    let to = arguments.to.unwrap_or(head);
    if to > head {
        return Err(format!("the book ends at position {head}").into());
    }
    match &arguments.stream {
        None => whole_book(store, room, to, arguments).await,
        Some(stream) => {
            let (aggregate_type, aggregate_id) =
                stream.split_once('/').ok_or("a stream is written TYPE/ID, such as `invoice/inv_1`")?;
            one_stream(store, (aggregate_type, aggregate_id), to, arguments).await
        }
    }
}

async fn whole_book(store: &Store, room: &Room, to: Position, arguments: &Arguments) -> Result<bool, ToolError> {
    let trial_balance = trial_balance(store, to).await?;
    let mut projections = Vec::new();
    for own in engine::latest(BOARD) {
        let definition = engine::in_service(BOARD, own.name, store.pool()).await?.unwrap_or(own);
        let tables = engine::checksum_at(store, &definition, to, room).await?;
        projections.push(Rows { projection: definition.name, tables });
    }
    let comparisons = if arguments.compare { Some(compare(store, room, to, &trial_balance).await?) } else { None };
    let book = Book { position: to, projections, trial_balance, comparisons };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&book)?);
    } else {
        tell_book(&book);
    }
    Ok(equal(book.comparisons.as_deref()))
}

/// What the accounts of the chart come to, from the postings of the events themselves.
async fn trial_balance(store: &Store, to: Position) -> Result<Vec<Standing>, ToolError> {
    const CHUNK: u32 = 2_000;
    let mut sums: BTreeMap<(&'static str, &'static str), (Decimal, Decimal)> = BTreeMap::new();
    let mut place = 0;
    while place < to {
        let events = read_events(store.pool(), place, CHUNK).await?;
        let Some(last) = events.last() else { break };
        place = last.position;
        for raw in events.iter().filter(|raw| raw.position <= to) {
            for Posting { account, amount, currency } in raw.event(store.upcasters())?.postings() {
                let (debit, credit) = sums.entry((currency.code(), account.as_str())).or_default();
                if amount > Decimal::ZERO {
                    *debit += amount;
                } else {
                    *credit -= amount;
                }
            }
        }
    }
    let standing = |((currency, ledger_account), (debit, credit)): ((&str, &str), (Decimal, Decimal))| Standing {
        ledger_account: ledger_account.into(),
        currency: currency.into(),
        debit: debit.normalize(),
        credit: credit.normalize(),
        balance: (debit - credit).normalize(),
    };
    Ok(sums.into_iter().map(standing).collect())
}

/// Every projection at its own checkpoint; what keeps every position, also at the one that was asked for.
async fn compare(
    store: &Store,
    room: &Room,
    to: Position,
    trial_balance: &[Standing],
) -> Result<Vec<Comparison>, ToolError> {
    let mut comparisons = Vec::new();
    for own in engine::latest(BOARD) {
        let definition = engine::in_service(BOARD, own.name, store.pool()).await?.unwrap_or(own);
        let verified = engine::verify(store, &definition, room).await?;
        let serving = verified.position;
        comparisons.push(compared(format!("rows of `{}`", own.name), verified));
        if definition.keeps_positions() && to < serving {
            let verified = engine::verify_kept(store, &definition, to, room).await?;
            comparisons.push(compared(format!("rows of `{}` that stay", own.name), verified));
        }
    }
    comparisons.push(compared_trial_balance(store, to, trial_balance).await?);
    Ok(comparisons)
}

fn compared(what: String, verified: engine::Verified) -> Comparison {
    let engine::Verified { position, rows, different, differences, .. } = verified;
    let first = differences.first().map_or(String::new(), |first| format!(", first {} {}", first.table, first.key));
    let difference = (different > 0).then(|| format!("{different} rows differ{first}"));
    Comparison { what, position, rows: rows.unsigned_abs(), equal: different == 0, difference }
}

/// The trial balance that readers are told beside that of the events.
async fn compared_trial_balance(store: &Store, to: Position, expected: &[Standing]) -> Result<Comparison, ToolError> {
    let mut rows = Reader::new(store, BOARD, None).snapshot(&Viewer::Provider, &["journal"], None).await?;
    let what = "trial balance".to_owned();
    if rows.position() < to {
        let (position, difference) = (rows.position(), Some("the journal has not come further".to_owned()));
        return Ok(Comparison { what, position, rows: 0, equal: false, difference });
    }
    let moment = Moment { as_of: None, known_at: Some(to) };
    let told = journal::trial_balance_at(&mut rows, None, &moment).await?;
    let told: Vec<Standing> = told
        .into_iter()
        .map(|row| Standing {
            ledger_account: row.ledger_account,
            currency: row.currency,
            debit: row.debit.normalize(),
            credit: row.credit.normalize(),
            balance: row.balance.normalize(),
        })
        .collect();
    let different =
        told.iter().filter(|row| !expected.contains(row)).chain(expected.iter().filter(|row| !told.contains(row)));
    let difference = different.map(|row| format!("{} in {} differs", row.ledger_account, row.currency)).next();
    Ok(Comparison { what, position: to, rows: told.len() as u64, equal: difference.is_none(), difference })
}

fn equal(comparisons: Option<&[Comparison]>) -> bool {
    comparisons.is_none_or(|comparisons| comparisons.iter().all(|comparison| comparison.equal))
}

async fn one_stream(
    store: &Store,
    (aggregate_type, aggregate_id): (&str, &str),
    to: Position,
    arguments: &Arguments,
) -> Result<bool, ToolError> {
    let mut aggregate =
        Loaded::blank(aggregate_type).ok_or_else(|| format!("there is no aggregate type `{aggregate_type}`"))?;
    let events = daybook_core::store::read_stream(store.pool(), aggregate_type, aggregate_id, 0).await?;
    let events: Vec<RawEvent> = events.into_iter().filter(|raw| raw.position <= to).collect();
    let Some(last) = events.last() else {
        return Err(format!("there is no event of {aggregate_type} {aggregate_id} up to position {to}").into());
    };
    let mut steps = Vec::new();
    let opener = store.opener(&events).await?;
    for raw in &events {
        let event = raw.open(&opener)?.event;
        aggregate.apply(event.clone());
        if arguments.step {
            let step = step(raw, &event, &aggregate)?;
            if arguments.json {
                steps.push(step);
            } else {
                tell_step(&step);
            }
        }
    }
    if arguments.step {
        if arguments.json {
            println!("{}", serde_json::to_string_pretty(&steps)?);
        }
        return Ok(true);
    }
    let comparisons = if arguments.compare { Some(compare_rows_of(store, &events).await?) } else { None };
    let aggregate = Aggregate {
        aggregate_type: aggregate_type.into(),
        aggregate_id: aggregate_id.into(),
        position: last.position,
        sequence: aggregate.sequence,
        state: RawValue::from_string(aggregate.any().to_json())?,
        comparisons,
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&aggregate)?);
    } else {
        let Aggregate { aggregate_type, aggregate_id, position, sequence, state, comparisons } = &aggregate;
        println!("{aggregate_type} {aggregate_id} after event {sequence} of its own, position {position}");
        println!("{}", indented(state)?);
        tell_comparisons(comparisons.as_deref());
    }
    Ok(equal(aggregate.comparisons.as_deref()))
}

fn step(raw: &RawEvent, event: &Event, after: &Loaded) -> Result<Step, ToolError> {
    let surroundings = raw.surroundings();
    let postings = event.postings().into_iter();
    Ok(Step {
        position: raw.position,
        sequence: raw.sequence,
        event_type: raw.event_type.clone(),
        event_version: raw.event_version.clone(),
        actor: surroundings.actor.map(String::from),
        on_behalf_of: surroundings.on_behalf_of.map(String::from),
        reason: surroundings.reason,
        occurred_at: raw.occurred_at(),
        recorded_at: raw.recorded_at,
        payload: RawValue::from_string(raw.payload.clone())?,
        state: RawValue::from_string(after.any().to_json())?,
        postings: postings
            .map(|Posting { account, amount, currency }| Leg {
                ledger_account: account.as_str(),
                amount,
                currency: currency.code(),
            })
            .collect(),
    })
}

/// The rows that the events of a stream concern last, in every projection that follows it, beside a fold up to where each
/// projection stands.
async fn compare_rows_of(store: &Store, stream: &[RawEvent]) -> Result<Vec<Comparison>, ToolError> {
    let mut comparisons = Vec::new();
    let Some(last) = stream.last() else { return Ok(comparisons) };
    for own in engine::latest(BOARD) {
        let definition = engine::in_service(BOARD, own.name, store.pool()).await?.unwrap_or(own);
        if !definition.follows.includes(&last.aggregate_type) {
            continue;
        }
        // An event may leave a projection as it is: then the one before it tells which rows the stream has there.
        let mut found = Look::Nothing;
        for event in stream.iter().rev() {
            found = engine::look(store, &definition, event.position).await?;
            if found != Look::Nothing {
                break;
            }
        }
        let (rows, difference) = match found {
            Look::Sound(rows) => (rows, None),
            // Only all rows together can be compared: that is what `--compare` without a stream does.
            Look::Nothing | Look::TooWide => continue,
            Look::Drifted(differences) => {
                let first = &differences[0];
                (0, Some(format!("{} rows differ, first {} {}", differences.len(), first.table, first.key)))
            }
        };
        let (what, equal) = (format!("rows of `{}`", own.name), difference.is_none());
        comparisons.push(Comparison { what, position: last.position, rows, equal, difference });
    }
    Ok(comparisons)
}

fn tell_book(book: &Book) {
    println!("the book up to position {}", book.position);
    println!("{:<22} {:>10}  checksum", "rows", "number");
    for Checksum { table, rows, sum } in book.projections.iter().flat_map(|projection| &projection.tables) {
        println!("{table:<22} {rows:>10}  {sum}");
    }
    println!("{:<28} {:<8} {:>18} {:>18} {:>18}", "trial balance", "currency", "debit", "credit", "balance");
    for Standing { ledger_account, currency, debit, credit, balance } in &book.trial_balance {
        println!("{ledger_account:<28} {currency:<8} {debit:>18} {credit:>18} {balance:>18}");
    }
    tell_comparisons(book.comparisons.as_deref());
}

fn tell_comparisons(comparisons: Option<&[Comparison]>) {
    for Comparison { what, position, rows, equal, difference } in comparisons.unwrap_or_default() {
        let verdict = if *equal { "equal" } else { "DIFFERS" };
        println!("{verdict:<8} {what:<44} {rows:>10} rows at position {position}");
        if let Some(difference) = difference {
            println!("         {difference}");
        }
    }
}

fn tell_step(step: &Step) {
    let by = step.actor.as_deref().unwrap_or("nobody named");
    let on_behalf = step.on_behalf_of.as_ref().map_or(String::new(), |whom| format!(" on behalf of {whom}"));
    println!("position {}, event {}: {} {}", step.position, step.sequence, step.event_type, step.event_version);
    println!("  by {by}{on_behalf}, effective {}, recorded {}", step.occurred_at, step.recorded_at);
    if let Some(reason) = &step.reason {
        println!("  reason: {reason}");
    }
    println!("  payload: {}", step.payload);
    println!("  state:   {}", step.state);
    for Leg { ledger_account, amount, currency } in &step.postings {
        println!("  posting: {ledger_account:<28} {amount:>16} {currency}");
    }
}

fn indented(json: &RawValue) -> Result<String, serde_json::Error> {
    let value: serde_json::Value = serde_json::from_str(json.get())?;
    serde_json::to_string_pretty(&value)
}
