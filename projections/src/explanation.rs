//! Why a figure is what it is: the events behind it, folded one after another, each with what else its command did. The
//! rows tell which events these are; all that is told of them comes from the events themselves.

use std::collections::HashMap;

use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{AccountEvent, Event, Invoice},
    state::Loaded,
    store::{RawEvent, StoreError, Upcasters, read_stream},
};
use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection, Row};

use crate::engine::Moment;

/// One event behind a figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The entry of the account, or the place in the stream of the invoice.
    pub number: i64,
    pub event: RecordedEvent,
    /// The figure before this event, and after it.
    pub before: Decimal,
    pub after: Decimal,
    /// What else the command did: the other events that bear its id. Of an event that bears none nobody can tell.
    pub together: Vec<RecordedEvent>,
}

/// So many events before and so many after a step are told of its command.
pub const TOGETHER: i64 = 100;

/// The events that make the balance of an account, in the order of the book; `after` is the entry of the last step of the
/// page before this one.
pub async fn of_balance(
    connection: &mut PgConnection,
    upcasters: &Upcasters,
    account_id: &str,
    moment: &Moment,
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<Step>, StoreError> {
    let mut balance = balance_after(connection, account_id, moment, after.unwrap_or(0)).await?;
    let rows = sqlx::query(
        "select line.entry, event.position, event.aggregate_type, event.aggregate_id, event.sequence, event.event_type,
             event.event_version, event.payload::text as payload, event.metadata::text as metadata, event.recorded_at
         from account_statement as line
         join events as event on event.position = line.position
         where line.account_id = $1
             and line.entry > $2
             and ($3::timestamptz is null or line.occurred_at < $3)
             and ($4::bigint is null or line.position <= $4)
         order by line.entry
         limit $5",
    )
    .bind(account_id)
    .bind(after.unwrap_or(0))
    .bind(moment.before())
    .bind(moment.position())
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    let mut steps = Vec::with_capacity(rows.len());
    for row in rows {
        let event = RawEvent::from_row(&row)?.decode(upcasters)?;
        let before = balance;
        balance += movement(&event.event);
        steps.push(Step { number: row.try_get("entry")?, event, before, after: balance, together: Vec::new() });
    }
    with_their_commands(connection, upcasters, moment, &mut steps).await?;
    Ok(steps)
}

/// The events that make what is due of an invoice, as far as they count at a moment; `after` is the number of the last
/// step of the page before this one, 0 for the first page.
pub async fn of_due(
    connection: &mut PgConnection,
    upcasters: &Upcasters,
    invoice_id: &str,
    moment: &Moment,
    after: i64,
    limit: i64,
) -> Result<Vec<Step>, StoreError> {
    let stream = read_stream(&mut *connection, Invoice::TYPE, invoice_id, 0).await?;
    let mut invoice = Loaded::empty::<Invoice>();
    let mut steps = Vec::with_capacity(stream.len());
    for raw in stream.iter().take_while(|raw| moment.known_at.is_none_or(|known_at| raw.position <= known_at)) {
        let event = raw.decode(upcasters)?;
        if moment.as_of.is_some_and(|as_of| event.occurred_at() > as_of) {
            continue;
        }
        let due = |invoice: &Loaded| {
            invoice.state::<Invoice>().standing().map_or(Decimal::ZERO, |standing| standing.due.amount())
        };
        let before = due(&invoice);
        invoice.apply(event.event.clone());
        let number = event.sequence as i64;
        if number > after && (steps.len() as i64) < limit {
            steps.push(Step { number, event, before, after: due(&invoice), together: Vec::new() });
        }
    }
    with_their_commands(connection, upcasters, moment, &mut steps).await?;
    Ok(steps)
}

/// What an event adds to the balance of its account.
fn movement(event: &Event) -> Decimal {
    match event {
        Event::Account(AccountEvent::Credited { amount, .. }) => amount.amount(),
        Event::Account(AccountEvent::Charged { amount, .. }) => -amount.amount(),
        _ => Decimal::ZERO,
    }
}

/// The balance after an entry, of what counts.
async fn balance_after(
    connection: &mut PgConnection,
    account_id: &str,
    moment: &Moment,
    entry: i64,
) -> Result<Decimal, sqlx::Error> {
    if moment.as_of.is_none() {
        // Entries are numbered in the order of the book, so that what is known at an entry is all before it.
        let told = "select balance from account_statement where account_id = $1 and entry = $2";
        let found = sqlx::query_scalar(told).bind(account_id).bind(entry).fetch_optional(connection).await?;
        return Ok(found.unwrap_or_default());
    }
    sqlx::query_scalar(
        "select coalesce(sum(amount), 0) from account_statement
         where account_id = $1 and entry <= $2 and occurred_at < $3 and ($4::bigint is null or position <= $4)",
    )
    .bind(account_id)
    .bind(entry)
    .bind(moment.before())
    .bind(moment.position())
    .fetch_one(connection)
    .await
}

/// Adds to each step the other events of its command. They stand side by side in the book, so that going on from one to
/// the next finds them all.
async fn with_their_commands(
    connection: &mut PgConnection,
    upcasters: &Upcasters,
    moment: &Moment,
    steps: &mut [Step],
) -> Result<(), StoreError> {
    let positions: Vec<i64> = steps.iter().map(|step| step.event.position as i64).collect();
    let rows = sqlx::query(
        "with recursive walk (step, position, command, direction, distance) as (
             select e.position, e.position, e.metadata ->> 'command_id', way.direction, 0::bigint
             from events as e
             cross join (values (-1), (1)) as way (direction)
             where e.position = any($1)
             union all
             select walk.step, e.position, walk.command, walk.direction, walk.distance + 1
             from walk
             join events as e on e.position = walk.position + walk.direction
             where e.metadata ->> 'command_id' = walk.command and walk.distance < $2
                 and ($3::bigint is null or e.position <= $3)
         )
         select walk.step, e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version,
             e.payload::text as payload, e.metadata::text as metadata, e.recorded_at
         from walk
         join events as e on e.position = walk.position
         where walk.distance > 0
         order by walk.step, e.position",
    )
    .bind(positions)
    .bind(TOGETHER)
    .bind(moment.position())
    .fetch_all(connection)
    .await?;
    let mut together: HashMap<i64, Vec<RecordedEvent>> = HashMap::new();
    for row in rows {
        let event = RawEvent::from_row(&row)?.decode(upcasters)?;
        together.entry(row.try_get("step")?).or_default().push(event);
    }
    for step in steps {
        step.together = together.remove(&(step.event.position as i64)).unwrap_or_default();
    }
    Ok(())
}
