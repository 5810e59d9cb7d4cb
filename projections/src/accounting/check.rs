//! That the rows which an export is made of follow from the events: whoever can write rows could otherwise have any
//! figure exported, and every sum of them would still be right.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    Position, RecordedEvent,
    domain::{Account, posting::LedgerAccount},
    store::{RawEvent, StoreError, Upcasters, read_events},
};
use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection};

use super::Selection;
use crate::{
    engine::Projection,
    journal::{self, Journal, JournalLineRow, concerning},
    statement::{self, AccountStatement},
};

/// Events, and rows, that are in memory at once.
const BATCH: u32 = 2_000;

#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(
        "the rows of `{projection}` at position {position} are not what the events lead to: `daybook rebuild {projection}` makes them anew"
    )]
    Differs { projection: &'static str, position: i64 },
    #[error(
        "event {position} says that its account comes to {told}, but the entries up to it lead to {sum}: see `daybook verify`"
    )]
    Balance { position: i64, told: Decimal, sum: Decimal },
    #[error(transparent)]
    Events(#[from] StoreError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// A leg of an entry as it would be exported.
#[derive(Debug, FromRow)]
struct Leg {
    #[sqlx(flatten)]
    row: JournalLineRow,
    /// Of its account up to this leg, in the order of recording.
    sum: Decimal,
    entry: Option<i64>,
    description: Option<String>,
    origin: Option<String>,
    origin_id: Option<String>,
}

/// Reads the events along with the rows, whatever the period, since a false date could move an entry out of it. Each
/// balance that an account's own event tells must be the sum of the rows so far.
pub async fn check(
    connection: &mut PgConnection,
    selection: &Selection,
    upcasters: &Upcasters,
) -> Result<(), CheckError> {
    let mut legs = Legs::open(connection, selection).await?;
    let mut after = 0;
    loop {
        let events = read(connection, selection, after).await?;
        let Some(last) = events.last() else { break };
        after = last.position;
        for raw in events {
            let event = raw.decode(upcasters)?;
            for expected in journal::lines_of(&event) {
                let position = expected.position;
                let leg = legs.next(connection).await?.ok_or(differs::<Journal>(position))?;
                if !same(&leg.row, &expected) {
                    return Err(differs::<Journal>(position.min(leg.row.position)));
                }
                agrees(&leg, &event)?;
            }
        }
    }
    let left = legs.next(connection).await?;
    sqlx::query("close legs").execute(connection).await?;
    left.map_or(Ok(()), |leg| Err(differs::<Journal>(leg.row.position)))
}

/// The next events that can have led to the selected rows.
async fn read(
    connection: &mut PgConnection,
    selection: &Selection,
    after: Position,
) -> Result<Vec<RawEvent>, CheckError> {
    let known_at = selection.known_at.unsigned_abs();
    let Some(account) = &selection.account else {
        let limit = u32::try_from(known_at - after).unwrap_or(BATCH).min(BATCH);
        return Ok(read_events(connection, after, limit).await?);
    };
    let events = sqlx::query_as(
        "select position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text as payload,
             metadata::text as metadata, recorded_at
         from events
         where aggregate_type = $1 and aggregate_id = $2
             and sequence > coalesce((select sequence from events where position = $3), 0) and position <= $4
         order by sequence
         limit $5",
    )
    .bind(Account::TYPE)
    .bind(account)
    .bind(after as i64)
    .bind(selection.known_at)
    .bind(i64::from(BATCH))
    .fetch_all(connection)
    .await?;
    Ok(events)
}

/// Whether the row is the one that the event leads to, as exactly as PostgreSQL keeps times.
fn same(row: &JournalLineRow, expected: &JournalLineRow) -> bool {
    let moment = |one: DateTime<Utc>, other: DateTime<Utc>| (one - other).num_microseconds() == Some(0);
    let (occurred_at, recorded_at, dated_at) = (expected.occurred_at, expected.recorded_at, row.dated_at);
    moment(row.occurred_at, occurred_at)
        && moment(row.recorded_at, recorded_at)
        && *row
            == JournalLineRow {
                occurred_at: row.occurred_at,
                recorded_at: row.recorded_at,
                dated_at,
                ..expected.clone()
            }
}

/// What is told beside an account's leg must be what the account's event tells, too.
fn agrees(leg: &Leg, event: &RecordedEvent) -> Result<(), CheckError> {
    let position = leg.row.position;
    let line = statement::line_of(event);
    let told = line
        .as_ref()
        .map(|line| (Some(line.entry), Some(&line.description), Some(&line.origin), line.origin_id.as_ref()));
    let found = (leg.entry, leg.description.as_ref(), leg.origin.as_ref(), leg.origin_id.as_ref());
    if found != told.unwrap_or_default() {
        return Err(differs::<AccountStatement>(position));
    }
    match line {
        // What a customer has is what we owe: a credit.
        Some(line) if leg.row.ledger_account == LedgerAccount::CustomerWallets.as_str() && line.balance != -leg.sum => {
            Err(CheckError::Balance { position, told: line.balance, sum: -leg.sum })
        }
        _ => Ok(()),
    }
}

fn differs<P: Projection>(position: i64) -> CheckError {
    CheckError::Differs { projection: P::NAME, position }
}

/// The selected legs in the order of the book, some at a time.
struct Legs(VecDeque<Leg>);

impl Legs {
    async fn open(connection: &mut PgConnection, selection: &Selection) -> Result<Self, sqlx::Error> {
        // All of it will be read, so that nothing is won by a plan that begins early.
        sqlx::query("set local cursor_tuple_fraction = 1").execute(&mut *connection).await?;
        let query = format!(
            "declare legs no scroll cursor for
             select l.position, l.leg, l.ledger_account, l.account_id, l.amount, l.currency, l.event_type,
                 l.occurred_at, l.dated_at, l.recorded_at, l.sum, s.entry, s.description, s.origin, s.origin_id
             from (
                 select position, leg, ledger_account, account_id, amount, currency, event_type, occurred_at, dated_at,
                     recorded_at,
                     sum(amount) over (
                         partition by ledger_account, account_id, currency order by position, leg
                         rows unbounded preceding
                     ) as sum
                 from {} as line
                 where position <= $1 and ($2::text is null or account_id = $2)
             ) as l
             left join account_statement s
                 on s.account_id = l.account_id and s.occurred_at = l.occurred_at and s.position = l.position
             order by l.position, l.leg",
            concerning(selection.account.as_ref())
        );
        sqlx::query(&query).bind(selection.known_at).bind(&selection.account).execute(connection).await?;
        Ok(Self(VecDeque::new()))
    }

    async fn next(&mut self, connection: &mut PgConnection) -> Result<Option<Leg>, sqlx::Error> {
        if self.0.is_empty() {
            self.0 = sqlx::query_as(&format!("fetch {BATCH} from legs")).fetch_all(connection).await?.into();
        }
        Ok(self.0.pop_front())
    }
}
