//! Verifying a ledger: the book itself, what follows from it, and that another program reads the same in it. It changes
//! nothing, so that a replica can be verified.

use std::{collections::BTreeMap, error::Error, process::ExitCode};

use chrono::{DateTime, Utc};
use daybook_core::{
    Position, chain,
    clock::TOLERANCE as CLOCK_TOLERANCE,
    domain::{Account, AccountEvent, Books, BooksEvent, Event, posting::balanced},
    state::Loaded,
    store::{RawEvent, Store, Upcasters, read_stream},
    terms::sealed::StillSealed,
    upgrade::{SharedNumber, shared_numbers},
};
use daybook_projections::{
    BOARD,
    balances::{self, Disagreement},
    engine::{self, RebuildError, Room},
};
use futures::{TryStreamExt, stream::BoxStream};
use serde::Serialize;
use sqlx::{PgConnection, Row};

use crate::{
    ToolError,
    check::{
        full,
        stock::{Disagreeing, Stock},
    },
    ledger::{Ledger, LedgerOptions},
    progress::Progress,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    full: full::Options,
}

/// What a verification has found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    scope: Scope,
    /// Every check was made and found nothing wrong.
    pub sound: bool,
    /// No check has found anything wrong, but some could not be made.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub undecided: bool,
    /// Where the book ended when it was read.
    pub position: Position,
    /// Of a verification of the log itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    events_per_second: Option<u64>,
    checks: Vec<Check>,
}

/// What is judged. Neither verdict says anything of the other.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Scope {
    /// The book, as far as it can be judged by itself, and what follows from it.
    Book,
    /// The log: whether the events are those that were signed.
    Log,
}

#[derive(Debug, Serialize)]
pub struct Check {
    name: String,
    sound: bool,
    /// Why the check could not be made. It says nothing of the ledger then, neither good nor bad.
    #[serde(skip_serializing_if = "Option::is_none")]
    undecided: Option<String>,
    /// How many things were looked at.
    checked: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_bad_position: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finding: Option<String>,
}

/// The first thing that is wrong.
#[derive(Debug)]
pub(crate) struct Finding {
    pub position: Option<Position>,
    pub what: String,
}

impl Check {
    pub fn is_sound(&self) -> bool {
        self.sound
    }

    fn is_wrong(&self) -> bool {
        !self.sound && self.undecided.is_none()
    }
}

pub async fn run(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    // An auditor changes nothing, and may be connected to a replica.
    let ledger = Ledger::open_as_it_is(options).await?;
    let report = of(ledger.store(), options, arguments).await;
    ledger.close().await?;
    let report = match report {
        Err(error) if is_of_the_database(&*error) => {
            eprintln!("daybook: whether the ledger is sound is undecided: {}", chain(&*error));
            return Ok(ExitCode::from(UNDECIDED));
        }
        report => report?,
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.tell();
    }
    Ok(match (report.sound, report.undecided) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::from(UNDECIDED),
        (false, false) => ExitCode::FAILURE,
    })
}

/// The exit code of a verification that has found nothing wrong and could not look at everything.
const UNDECIDED: u8 = 2;

/// A statement was cancelled, or a connection was lost: that says nothing of what was to be looked at.
fn is_of_the_database(error: &(dyn Error + 'static)) -> bool {
    // They stand for what lies behind them, and do not name it as their source.
    match error.downcast_ref::<RebuildError>() {
        Some(RebuildError::Database(error)) => return is_of_the_database(error),
        Some(RebuildError::Store(error)) => return is_of_the_database(error),
        // No room on the disk is no news of the ledger either.
        Some(RebuildError::Spill(_)) => return true,
        _ => {}
    }
    match error.downcast_ref::<sqlx::Error>() {
        // 08: connection trouble; 25, 40, 55, 57: cut short by time, by recovery, by a lock, by somebody; 53: no room.
        Some(sqlx::Error::Database(error)) => error
            .code()
            .is_some_and(|code| ["08", "25", "40", "53", "55", "57"].iter().any(|class| code.starts_with(class))),
        Some(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => true,
        Some(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed) => true,
        Some(_) => false,
        None => error.source().is_some_and(is_of_the_database),
    }
}

async fn of(store: &Store, options: &LedgerOptions, arguments: &Arguments) -> Result<Report, ToolError> {
    store.assert_version().await?;
    if arguments.full.full {
        full::verify(store, options, &arguments.full, arguments.json).await.map(Report::from)
    } else {
        verify(store, &options.room(), arguments.json).await
    }
}

impl Report {
    pub fn tell(&self) {
        for check in &self.checks {
            if let Some(reason) = &check.undecided {
                println!("undecided  {}: {reason}", check.name);
                continue;
            }
            let verdict = match (check.sound, &check.finding) {
                (true, None) => "sound",
                (true, Some(_)) => "noted",
                (false, _) => "WRONG",
            };
            println!("{verdict}  {:<44} {:>10} checked", check.name, check.checked);
            if let Some(finding) = &check.finding {
                match check.first_bad_position {
                    Some(position) => println!("       position {position}: {finding}"),
                    None => println!("       {finding}"),
                }
            }
        }
        if let Some(rate) = self.events_per_second {
            println!("{rate} events a second");
        }
        println!("{}", self.verdict());
    }
}

impl Report {
    fn of(scope: Scope, position: Position, events_per_second: Option<u64>, checks: Vec<Check>) -> Self {
        let sound = checks.iter().all(Check::is_sound);
        let undecided = !sound && !checks.iter().any(Check::is_wrong);
        Self { scope, sound, undecided, position, events_per_second, checks }
    }

    /// What was judged, and what was not.
    fn verdict(&self) -> String {
        let position = self.position;
        if self.undecided {
            let undecided = self.checks.iter().filter(|check| check.undecided.is_some()).count();
            return format!(
                "nothing wrong was found up to position {position}, but {undecided} checks could not be made: run it again"
            );
        }
        match (self.scope, self.sound) {
            (Scope::Log, true) => format!(
                "the log is intact up to position {position}; whether what follows from it is right, `daybook verify` tells"
            ),
            (Scope::Log, false) => format!("the log is NOT INTACT; the book ends at position {position}"),
            (Scope::Book, true) => format!(
                "the book is consistent up to position {position}, and what follows from it is right; whether its events are those that were signed, `daybook verify --full` tells"
            ),
            (Scope::Book, false) => {
                format!("the book or what follows from it is NOT SOUND; it ends at position {position}")
            }
        }
    }
}

/// Checks the book and what follows from it; a quiet check shows no progress.
pub(crate) async fn verify(store: &Store, room: &Room, quiet: bool) -> Result<Report, ToolError> {
    let position = store.head().await?.position;
    let mut checks = vec![made(POSITIONS, positions(store, position).await)?];
    match streams(store, position, quiet).await {
        Ok(found) => checks.extend(found),
        Err(error) if is_of_the_database(&*error) => {
            checks.extend(STREAMS.map(|name| undecided(name, 0, chain(&*error))));
        }
        Err(error) => return Err(error),
    }
    checks.push(made(SNAPSHOTS, snapshots(store).await)?);
    checks.push(made(NUMBERS, numbers(store).await)?);
    checks.push(made(CLOCK, clock(store).await)?);
    checks.push(made(FOLLOWS, follows(store).await)?);
    match projections(store, room).await {
        Ok(verified) => checks.extend(verified.into_iter().map(|(name, found)| projection(name, position, found))),
        Err(error) if is_of_the_database(&error) => {
            let names = engine::latest(BOARD).into_iter().map(|definition| definition.name);
            checks.extend(names.map(|name| undecided(&rows_of(name), 0, chain(&error))));
        }
        Err(error) => return Err(error.into()),
    }
    checks.push(made(BALANCES, balances(store).await)?);
    Ok(Report::of(Scope::Book, position, None, checks))
}

/// Of every projection, by its name, whether its rows are what the book says.
async fn projections(
    store: &Store,
    room: &Room,
) -> Result<Vec<(&'static str, Result<engine::Verified, RebuildError>)>, RebuildError> {
    let mut definitions = Vec::new();
    for own in engine::latest(BOARD) {
        // What serves is what is verified, be it of an earlier version.
        definitions.push(engine::in_service(BOARD, own.name, store.pool()).await?.unwrap_or(own));
    }
    let found = engine::verify_all(store, &definitions, room).await?;
    Ok(definitions.iter().map(|definition| definition.name).zip(found).collect())
}

/// The same check, or why it could not be made.
fn made(name: &str, check: Result<Check, ToolError>) -> Result<Check, ToolError> {
    match check {
        Err(error) if is_of_the_database(&*error) => Ok(undecided(name, 0, chain(&*error))),
        check => check,
    }
}

impl From<full::Verified> for Report {
    fn from(full::Verified { checks, position, events_per_second }: full::Verified) -> Self {
        Self::of(Scope::Log, position, Some(events_per_second), checks)
    }
}

const POSITIONS: &str = "positions are dense";
const STREAMS: [&str; 6] = [
    "stream sequences are dense",
    "every event decodes and folds",
    "every journal entry balances",
    "every balance follows from the one before",
    "nothing takes effect in a closed period",
    "postgres-es reads the same events",
];
const SNAPSHOTS: &str = "snapshots equal a full replay";
const NUMBERS: &str = "no two documents bear one number";
const CLOCK: &str = "the clock is not behind the book";
const FOLLOWS: &str = "no projection has stopped";
const BALANCES: &str = "statement, balance and days agree";

/// Earlier versions gave a number that a document had brought along. That cannot be mended, and says nothing of what is
/// recorded today: it is named, and wrong it is not.
async fn numbers(store: &Store) -> Result<Check, ToolError> {
    let mut connection = store.connection().await?;
    sqlx::query("set statement_timeout = 0").execute(&mut connection).await?;
    let documents: i64 = sqlx::query_scalar(
        "select count(*) from events
         where aggregate_type in ('invoice', 'credit_note') and event_type in ('invoice.finalised', 'credit_note.issued')",
    )
    .fetch_one(&mut connection)
    .await?;
    let shared = shared_numbers(&mut connection).await?;
    let finding = shared.first().map(|SharedNumber { position, .. }| Finding {
        position: Some(position.unsigned_abs()),
        what: shared
            .iter()
            .map(|SharedNumber { kind, number, documents, .. }| format!("{kind} {number}: {}", documents.join(", ")))
            .collect::<Vec<_>>()
            .join("; "),
    });
    Ok(Check { sound: true, ..check(NUMBERS, documents.unsigned_abs(), finding) })
}

/// A clock that is behind the last record, or a record of a clock that was ahead: nothing is recorded until it is mended.
async fn clock(store: &Store) -> Result<Check, ToolError> {
    let head = store.head().await?;
    let now: DateTime<Utc> = sqlx::query_scalar("select clock_timestamp()").fetch_one(store.pool()).await?;
    let finding = (now + CLOCK_TOLERANCE < head.recorded_at).then(|| Finding {
        position: Some(head.position),
        what: format!("it was recorded at {}, and the clock of the database says {now}", head.recorded_at),
    });
    Ok(check(CLOCK, 1, finding))
}

/// Rows of a projection that has stopped are right as far as they go, and lack everything since.
async fn follows(store: &Store) -> Result<Check, ToolError> {
    let standings = engine::standings(BOARD, &mut store.connection().await?).await?;
    let stopped = standings.iter().find(|standing| standing.state == engine::State::Stopped).map(|standing| Finding {
        position: standing.error_position,
        what: format!(
            "`{}` has stopped at position {}: {}",
            standing.name,
            standing.position,
            standing.error.as_deref().unwrap_or("nobody knows why")
        ),
    });
    Ok(check(FOLLOWS, standings.len() as u64, stopped))
}

/// What an account comes to is the same whichever way it is asked for.
async fn balances(store: &Store) -> Result<Check, ToolError> {
    let compared = balances::compare(store).await?;
    let finding = compared.first.map(|disagreement| {
        let Disagreement { account_id, balance, closing, told, day } = disagreement;
        let or_nothing = |amount: Option<String>| amount.unwrap_or_else(|| "nothing".into());
        let (balance, closing, told) = (or_nothing(balance), or_nothing(closing), or_nothing(told));
        let days = day.map_or(String::new(), |day| format!("; of {day}, a balance of the past counts something else"));
        let what = format!(
            "account {account_id}: its balance is {balance}, its statement closes at {closing}, its last entry says {told}{days}"
        );
        Finding { position: None, what }
    });
    Ok(check(BALANCES, compared.accounts, finding))
}

/// Positions are 1, 2, 3 … to the head, and the times of writing never go back.
async fn positions(store: &Store, head: Position) -> Result<Check, ToolError> {
    let row = sqlx::query(
        "select count(*) as events, count(*) filter (where position > $1) as beyond,
            min(position) filter (where position <> place or recorded_at < before) as first_bad
         from (
            select position, recorded_at,
                row_number() over (order by position) as place,
                lag(recorded_at) over (order by position) as before
            from events
            where position <= $1
         ) as ordered",
    )
    .bind(i64::try_from(head)?)
    .fetch_one(store.pool())
    .await?;
    let events: i64 = row.get("events");
    let bad: Option<i64> = row.get("first_bad");
    let finding = match bad {
        Some(bad) => Some(Finding {
            position: Some(bad.unsigned_abs()),
            what: "the positions have a gap here, or the time of writing goes back".into(),
        }),
        None if events.unsigned_abs() != head => Some(Finding {
            position: Some(events.unsigned_abs() + 1),
            what: format!("the head stands at {head}, but {events} events are there"),
        }),
        None => None,
    };
    Ok(check(POSITIONS, events.unsigned_abs(), finding))
}

/// What is checked of each stream while it is read once, aggregate by aggregate, in constant memory.
#[derive(Default)]
struct Streams {
    events: u64,
    entries: u64,
    streams: u64,
    sequence: Option<Finding>,
    unreadable: Option<Finding>,
    unbalanced: Option<Finding>,
    account: Option<Finding>,
    /// Where in the book each period was closed, and the first moment that was open from then on.
    closings: Vec<(Position, DateTime<Utc>)>,
    after_closing: u64,
    closed: Option<Finding>,
    foreign: Option<Finding>,
    /// Why postgres-es could not be asked for some stream.
    not_asked: Option<String>,
    /// By the type of the aggregate, the sum of the hashes of its events.
    sums: BTreeMap<String, u128>,
}

async fn streams(store: &Store, head: Position, quiet: bool) -> Result<Vec<Check>, ToolError> {
    let mut found = Streams { closings: closings(store).await?, ..Streams::default() };
    let mut progress = if quiet { Progress::hidden() } else { Progress::new("verifying", "events", head) };
    let mut connection = store.connection().await?;
    sqlx::raw_sql("set statement_timeout = 0; set idle_in_transaction_session_timeout = 0")
        .execute(&mut connection)
        .await?;
    // Meanwhile postgres-es reads everything of each type. Only of a type of which it does not read the same is each stream
    // compared by itself.
    let stock = Stock::new(store, head);
    let reading = async {
        let mut streams = StreamsOf::all(&mut connection, head);
        while let Some(stream) = streams.next().await? {
            found.read(&stream, store.upcasters(), &stock);
            progress.advance(stream.len() as u64);
        }
        Ok::<(), sqlx::Error>(())
    };
    let (stock_sums, read) = tokio::join!(stock.sums(), reading);
    read?;
    let is_other = |(of, sum): &(&String, &u128)| stock_sums.get(of.as_str()) != Some(*sum);
    let others = found.sums.iter().filter(is_other).map(|(of, _)| of.clone()).collect();
    let mut streams = StreamsOf::of_types(&mut connection, head, others);
    while let Some(stream) = streams.next().await? {
        match stock.agrees(&stream).await {
            Ok(()) => {}
            Err(Disagreeing::Differs(finding)) => keep_first(&mut found.foreign, Some(finding)),
            Err(Disagreeing::NotAsked(reason)) => _ = found.not_asked.get_or_insert(reason),
        }
    }
    progress.finish();
    let [sequences, readable, balanced, accounts, closed, foreign] = STREAMS;
    Ok(vec![
        check(sequences, found.streams, found.sequence),
        check(readable, found.events, found.unreadable),
        check(balanced, found.entries, found.unbalanced),
        check(accounts, found.entries, found.account),
        check(closed, found.after_closing, found.closed),
        match (found.foreign, found.not_asked) {
            (None, Some(reason)) => undecided(foreign, found.streams, reason),
            (foreign_finding, _) => check(foreign, found.streams, foreign_finding),
        },
    ])
}

async fn closings(store: &Store) -> Result<Vec<(Position, DateTime<Utc>)>, ToolError> {
    let books = Books::id();
    let stream = read_stream(store.pool(), <Books as cqrs_es::Aggregate>::TYPE, books.as_str(), 0).await?;
    // What cannot be read is told of with the other streams.
    let events = stream.iter().filter_map(|raw| raw.decode(store.upcasters()).ok());
    Ok(events
        .filter_map(|event| match event.event {
            Event::Books(BooksEvent::PeriodClosed { until, .. }) => Some((event.position, until)),
            _ => None,
        })
        .collect())
}

/// The events of the book, stream by stream.
struct StreamsOf<'c> {
    rows: BoxStream<'c, Result<RawEvent, sqlx::Error>>,
    /// The first event of the next stream.
    next: Option<RawEvent>,
}

impl<'c> StreamsOf<'c> {
    fn all(connection: &'c mut PgConnection, head: Position) -> Self {
        let statement = "select position, aggregate_type, aggregate_id, sequence, event_type, event_version,
                 payload::text as payload, metadata::text as metadata, recorded_at
             from events
             where position <= $1
             order by aggregate_type, aggregate_id, sequence";
        Self { rows: sqlx::query_as(statement).bind(head as i64).fetch(connection), next: None }
    }

    /// Those of some types of aggregates.
    fn of_types(connection: &'c mut PgConnection, head: Position, types: Vec<String>) -> Self {
        let statement = "select position, aggregate_type, aggregate_id, sequence, event_type, event_version,
                 payload::text as payload, metadata::text as metadata, recorded_at
             from events
             where position <= $1 and aggregate_type = any($2)
             order by aggregate_type, aggregate_id, sequence";
        Self { rows: sqlx::query_as(statement).bind(head as i64).bind(types).fetch(connection), next: None }
    }

    async fn next(&mut self) -> Result<Option<Vec<RawEvent>>, sqlx::Error> {
        let mut stream: Vec<RawEvent> = self.next.take().into_iter().collect();
        while let Some(row) = self.rows.try_next().await? {
            let goes_on = stream.first().is_none_or(|first| {
                (&row.aggregate_type, &row.aggregate_id) == (&first.aggregate_type, &first.aggregate_id)
            });
            if !goes_on {
                self.next = Some(row);
                break;
            }
            stream.push(row);
        }
        Ok((!stream.is_empty()).then_some(stream))
    }
}

impl Streams {
    /// Checks one whole stream.
    fn read(&mut self, stream: &[RawEvent], upcasters: &Upcasters, stock: &Stock) {
        self.streams += 1;
        let sum = self.sums.entry(stream[0].aggregate_type.clone()).or_default();
        let Some(mut aggregate) = Loaded::blank(&stream[0].aggregate_type) else {
            let what = format!("the aggregate type `{}` is unknown", stream[0].aggregate_type);
            return keep_first(&mut self.unreadable, at(&stream[0], what));
        };
        for (raw, sequence) in stream.iter().zip(1..) {
            self.events += 1;
            if raw.sequence != sequence {
                let what =
                    format!("{} {} has {} where {sequence} is due", raw.aggregate_type, raw.aggregate_id, raw.sequence);
                keep_first(&mut self.sequence, at(raw, what));
            }
            let event = match raw.decode(upcasters) {
                Ok(event) => event,
                Err(error) => {
                    let cause = std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
                    keep_first(&mut self.unreadable, at(raw, format!("{error}{cause}")));
                    // What follows in this stream cannot be folded.
                    return;
                }
            };
            let open_from = self.closings.iter().rev().find(|(position, _)| *position < raw.position);
            if let Some((_, open_from)) = open_from {
                self.after_closing += 1;
                let occurred_at = event.occurred_at();
                if occurred_at < *open_from {
                    let what = format!("it takes effect at {occurred_at}, but the books were closed until {open_from}");
                    keep_first(&mut self.closed, at(raw, what));
                }
            }
            let event = event.event;
            *sum += stock.hash(&raw.aggregate_id, raw.sequence, &event);
            let postings = event.postings();
            if !postings.is_empty() {
                self.entries += 1;
                if let Err(unbalanced) = balanced(&postings) {
                    keep_first(&mut self.unbalanced, at(raw, unbalanced.to_string()));
                }
            }
            if let Some(what) = breaks_account(&aggregate, &event) {
                keep_first(&mut self.account, at(raw, what));
            }
            aggregate.apply(event);
        }
    }
}

/// An entry of an account has the next number, and the balance that the one before leads to.
fn breaks_account(before: &Loaded, event: &Event) -> Option<String> {
    let Event::Account(event) = event else { return None };
    let (entry, balance, change) = match event {
        AccountEvent::Credited { entry, balance, amount, .. } => (*entry, *balance, amount.amount()),
        AccountEvent::Charged { entry, balance, amount, .. } => (*entry, *balance, -amount.amount()),
        _ => return None,
    };
    let Ok(ledger) = before.state::<Account>().ledger() else {
        return Some("money moves on an account that is not open".into());
    };
    if entry != ledger.next_entry() {
        return Some(format!("entry {entry} where {} is due", ledger.next_entry()));
    }
    let due = ledger.balance.amount() + change;
    (balance.amount() != due).then(|| format!("the balance is {balance}, but the entries lead to {due}"))
}

/// A snapshot is the fold of the events that it says it contains.
async fn snapshots(store: &Store) -> Result<Check, ToolError> {
    let mut connection = store.connection().await?;
    let rows = sqlx::query(
        "select aggregate_type, aggregate_id, sequence, fold_version, state::text as state
         from aggregate_snapshots order by aggregate_type, aggregate_id",
    )
    .fetch_all(&mut connection)
    .await?;
    let mut finding = None;
    for row in &rows {
        let aggregate_type: String = row.get("aggregate_type");
        let aggregate_id: String = row.get("aggregate_id");
        let sequence: i64 = row.get("sequence");
        let (Some(mut fresh), Some(mut kept)) = (Loaded::blank(&aggregate_type), Loaded::blank(&aggregate_type)) else {
            continue;
        };
        // One of another version is discarded when it is loaded; it cannot do harm.
        let usable = fresh.any().fold_version() == row.get::<i32, _>("fold_version")
            && kept.any_mut().restore(&row.get::<String, _>("state")).is_ok();
        if !usable {
            continue;
        }
        let events = read_stream(&mut connection, &aggregate_type, &aggregate_id, 0).await?;
        for raw in events.iter().take(usize::try_from(sequence)?) {
            match raw.event(store.upcasters()) {
                Ok(event) => fresh.apply(event),
                Err(_) => break,
            }
        }
        if fresh.any().to_json() != kept.any().to_json() {
            let what = format!("the snapshot of {aggregate_type} {aggregate_id} is not the fold of its events");
            let position = events.get(usize::try_from(sequence)?.saturating_sub(1)).map(|raw| raw.position);
            keep_first(&mut finding, Some(Finding { position, what }));
        }
    }
    Ok(check(SNAPSHOTS, rows.len() as u64, finding))
}

fn projection(name: &str, head: Position, verified: Result<engine::Verified, RebuildError>) -> Check {
    let title = rows_of(name);
    match verified {
        // Nobody has served this ledger yet, and there is nothing that rows could be made of.
        Err(RebuildError::Nothing { .. }) if head == 0 => check(&title, 0, None),
        // Without the master key rows with texts cannot be made anew, which says nothing of those that are there.
        Err(RebuildError::Fold { reason, .. }) if reason.contains(&StillSealed.to_string()) => {
            undecided(&title, 0, reason)
        }
        Err(RebuildError::Fold { position, reason }) => {
            check(&title, 0, Some(Finding { position: Some(position), what: reason }))
        }
        Err(error) if is_of_the_database(&error) => undecided(&title, 0, chain(&error)),
        Err(error) => check(&title, 0, Some(Finding { position: None, what: error.to_string() })),
        Ok(verified) => {
            let first = verified.differences.first().map(|difference| {
                format!(
                    ", first {} {}: stored {}, expected {}",
                    difference.table,
                    difference.key,
                    json_or(&difference.stored, "nothing"),
                    json_or(&difference.expected, "nothing"),
                )
            });
            let first = first.unwrap_or_else(|| ", and no key leads to them".into());
            let what = (verified.different > 0).then(|| format!("{} rows differ{first}", verified.different));
            check(&title, verified.rows.unsigned_abs(), what.map(|what| Finding { position: None, what }))
        }
    }
}

fn rows_of(name: &str) -> String {
    format!("rows of `{name}` equal a fresh fold")
}

fn json_or(value: &Option<serde_json::Value>, otherwise: &str) -> String {
    value.as_ref().map_or_else(|| otherwise.to_owned(), ToString::to_string)
}

pub(crate) fn check(name: &str, checked: u64, finding: Option<Finding>) -> Check {
    let sound = finding.is_none();
    let (first_bad_position, finding) = finding.map_or((None, None), |found| (found.position, Some(found.what)));
    Check { name: name.into(), sound, undecided: None, checked, first_bad_position, finding }
}

fn undecided(name: &str, checked: u64, reason: String) -> Check {
    Check { undecided: Some(reason), sound: false, ..check(name, checked, None) }
}

fn at(raw: &RawEvent, what: String) -> Option<Finding> {
    Some(Finding { position: Some(raw.position), what })
}

/// Keeps the finding with the lowest position.
pub(crate) fn keep_first(kept: &mut Option<Finding>, found: Option<Finding>) {
    let Some(found) = found else { return };
    let earlier = kept.as_ref().is_none_or(|kept| match (kept.position, found.position) {
        (Some(kept), Some(found)) => found < kept,
        (None, Some(_)) => true,
        _ => false,
    });
    if earlier {
        *kept = Some(found);
    }
}
