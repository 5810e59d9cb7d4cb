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
use sqlx::{FromRow, PgConnection, QueryBuilder, Row};

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
    // Events one after the other: as a join, PostgreSQL would read all that a customer may see.
    let mut query = QueryBuilder::new(
        "select line.entry, event.position, event.aggregate_type, event.aggregate_id, event.sequence, event.event_type,
             event.event_version, event.payload::text as payload, event.metadata::text as metadata, event.recorded_at
         from (
             select entry, position from account_statement where account_id = ",
    );
    query.push_bind(account_id).push(" and entry > ").push_bind(after.unwrap_or(0));
    moment.before().map(|before| query.push(" and occurred_at < ").push_bind(before));
    moment.position().map(|known_at| query.push(" and position <= ").push_bind(known_at));
    query.push(" order by entry limit ").push_bind(limit).push(
        ") as line
         cross join lateral (select * from events where position = line.position offset 0) as event
         order by line.entry",
    );
    let rows = query.build().fetch_all(&mut *connection).await?;
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
    let Some(before) = moment.before() else {
        // Entries are numbered in the order of the book, so that what is known at an entry is all before it.
        let told = "select balance from account_statement where account_id = $1 and entry = $2";
        let found = sqlx::query_scalar(told).bind(account_id).bind(entry).fetch_optional(connection).await?;
        return Ok(found.unwrap_or_default());
    };
    let mut query = QueryBuilder::new("select coalesce(sum(amount), 0) from account_statement where account_id = ");
    query.push_bind(account_id).push(" and entry <= ").push_bind(entry);
    query.push(" and occurred_at < ").push_bind(before);
    moment.position().map(|known_at| query.push(" and position <= ").push_bind(known_at));
    query.build_query_scalar().fetch_one(connection).await
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
    let mut query = QueryBuilder::new(
        "with recursive walk (step, position, command, direction, distance) as (
             select e.position, e.position, e.metadata ->> 'command_id', way.direction, 0::bigint
             from events as e
             cross join (values (-1), (1)) as way (direction)
             where e.position = any(",
    );
    query.push_bind(positions).push(
        ")
             union all
             select walk.step, e.position, walk.command, walk.direction, walk.distance + 1
             from walk
             cross join lateral (
                 select position, metadata from events where position = walk.position + walk.direction offset 0
             ) as e
             where e.metadata ->> 'command_id' = walk.command and walk.distance < ",
    );
    query.push_bind(TOGETHER);
    moment.position().map(|known_at| query.push(" and e.position <= ").push_bind(known_at));
    query.push(
        ")
         select walk.step, e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version,
             e.payload::text as payload, e.metadata::text as metadata, e.recorded_at
         from walk
         cross join lateral (select * from events where position = walk.position offset 0) as e
         where walk.distance > 0
         order by walk.step, e.position",
    );
    let rows = query.build().fetch_all(connection).await?;
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
