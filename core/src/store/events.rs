//! The events table: reading the book and its streams, and appending to it under the lock of its head.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool, Row, postgres::PgRow};
use uuid::Uuid;

use super::{
    StoreError,
    idempotency::{Given, KeyDigest},
};
use crate::{event::Position, state::NewEvent};

/// The end of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub position: Position,
    /// When the last event was written.
    pub recorded_at: DateTime<Utc>,
}

/// An event as it is stored, in whatever version it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEvent {
    pub position: Position,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: u64,
    pub event_type: String,
    pub event_version: String,
    /// JSON, byte for byte as it was written.
    pub payload: String,
    pub metadata: String,
    pub recorded_at: DateTime<Utc>,
}

/// An event ready to be appended, with its JSON; its command's metadata is written once and shared.
#[derive(Clone, Copy, Debug)]
pub struct Addition<'a> {
    pub event: &'a NewEvent,
    pub payload: &'a str,
    pub metadata: &'a str,
}

impl FromRow<'_, PgRow> for RawEvent {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            position: unsigned(row.try_get("position")?)?,
            aggregate_type: row.try_get("aggregate_type")?,
            aggregate_id: row.try_get("aggregate_id")?,
            sequence: unsigned(row.try_get("sequence")?)?,
            event_type: row.try_get("event_type")?,
            event_version: row.try_get("event_version")?,
            payload: row.try_get("payload")?,
            metadata: row.try_get("metadata")?,
            recorded_at: row.try_get("recorded_at")?,
        })
    }
}

/// Where the book ends.
pub async fn head(executor: impl PgExecutor<'_>) -> Result<Head, StoreError> {
    // Of the versions of its row that are kept for others who read, the last one.
    let (position, recorded_at) =
        sqlx::query_as("select position, recorded_at from book_head order by position desc limit 1")
            .fetch_one(executor)
            .await?;
    Ok(Head { position: unsigned(position)?, recorded_at })
}

/// Where the book ends, and what the clock of the database says.
pub async fn head_and_clock(executor: impl PgExecutor<'_>) -> Result<(Head, DateTime<Utc>), StoreError> {
    let (position, recorded_at, now) =
        sqlx::query_as("select position, recorded_at, clock_timestamp() from book_head order by position desc limit 1")
            .fetch_one(executor)
            .await?;
    Ok((Head { position: unsigned(position)?, recorded_at }, now))
}

/// The last position that had been recorded at this moment; `None` if the moment is still to come. Asked again it is
/// the same, whoever appends meanwhile.
pub async fn position_at(pool: &PgPool, moment: DateTime<Utc>) -> Result<Option<Position>, StoreError> {
    let end = head(pool).await?;
    // What follows is never recorded before what stands, so that nothing can come in between any more.
    if moment < end.recorded_at {
        return Ok(Some(search(pool, moment, end.position).await?));
    }
    // Whoever appends now has taken his time already, perhaps an earlier one than this moment: he goes first.
    let (position, recorded_at, passed): (i64, DateTime<Utc>, bool) = sqlx::query_as(
        "with head as materialized (select position, recorded_at from book_head order by position desc limit 1 for share)
         select position, recorded_at, $1 < clock_timestamp() from head",
    )
    .bind(moment)
    .fetch_one(pool)
    .await?;
    let position = unsigned(position)?;
    match (passed, moment < recorded_at) {
        (false, _) => Ok(None),
        (true, false) => Ok(Some(position)),
        (true, true) => Ok(Some(search(pool, moment, position).await?)),
    }
}

/// Positions are dense and times never go back, so that a few looks by position find the last one of a moment.
async fn search(pool: &PgPool, moment: DateTime<Utc>, last: Position) -> Result<Position, StoreError> {
    let found: i64 = sqlx::query_scalar(
        "with recursive search (low, high) as (
             select 0::bigint, $2::bigint
             union all
             select case when e.recorded_at <= $1 then s.middle else s.low end,
                 case when e.recorded_at <= $1 then s.high else s.middle - 1 end
             from (select low, high, (low + high + 1) / 2 as middle from search where low < high) s
             join events e on e.position = s.middle
         )
         select low from search where low = high",
    )
    .bind(moment)
    .bind(signed(last)?)
    .fetch_one(pool)
    .await?;
    unsigned(found).map_err(StoreError::from)
}

/// Locks the end of the book until the transaction ends; nobody else appends meanwhile. With it comes what the clock of the
/// database says.
pub async fn lock_head(transaction: &mut PgConnection) -> Result<(Head, DateTime<Utc>), StoreError> {
    // The time is taken once the lock is held, so that the order of times is the order of positions.
    let (position, recorded_at, now) = sqlx::query_as(
        "with head as materialized (select position, recorded_at from book_head order by position desc limit 1 for update)
         select position, recorded_at, clock_timestamp() from head",
    )
    .fetch_one(transaction)
    .await?;
    Ok((Head { position: unsigned(position)?, recorded_at }, now))
}

/// The next events of the book, at most `limit`. The first is at `after + 1`, and none is missing between them.
pub async fn read_events(
    executor: impl PgExecutor<'_>,
    after: Position,
    limit: u32,
) -> Result<Vec<RawEvent>, StoreError> {
    // Positions are dense, so the limit is a range: the planner needs no statistics to choose the index.
    let events: Vec<RawEvent> = sqlx::query_as(
        "select position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text as payload,
             metadata::text as metadata, recorded_at
         from events
         where position > $1 and position <= $1 + $2
         order by position",
    )
    .bind(signed(after)?)
    .bind(i64::from(limit))
    .fetch_all(executor)
    .await?;
    let mut before = after;
    for event in &events {
        if event.position != before + 1 {
            return Err(StoreError::Gap { after: before, found: event.position });
        }
        before = event.position;
    }
    Ok(events)
}

/// The events of one aggregate, from the one after `after`.
pub async fn read_stream(
    executor: impl PgExecutor<'_>,
    aggregate_type: &str,
    aggregate_id: &str,
    after: u64,
) -> Result<Vec<RawEvent>, StoreError> {
    let events = sqlx::query_as(
        "select position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text as payload,
             metadata::text as metadata, recorded_at
         from events
         where aggregate_type = $1 and aggregate_id = $2 and sequence > $3
         order by sequence",
    )
    .bind(aggregate_type)
    .bind(aggregate_id)
    .bind(signed(after)?)
    .fetch_all(executor)
    .await?;
    Ok(events)
}

/// Appends what comes after this position and keeps the answers, all of it or nothing, in one statement: it locks the
/// head, takes the time under the lock, and commits, unless a transaction is open. `None`, and nothing is done, if the
/// book does not end there, or if the clock of the database does not lie within these bounds, or is further behind the book
/// than it may be.
///
/// One round trip is what a commit costs at least; a transaction of several statements would hold the lock over each.
pub async fn append(
    connection: &mut PgConnection,
    after: Position,
    (earliest, latest): (DateTime<Utc>, DateTime<Utc>),
    tolerance: Option<TimeDelta>,
    additions: &[Addition<'_>],
    answers: &[(KeyDigest, &Given)],
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let column = |field: fn(&NewEvent) -> &str| additions.iter().map(|addition| field(addition.event)).collect();
    let aggregate_types: Vec<&str> = column(|new| new.stream.aggregate_type);
    let aggregate_ids: Vec<&str> = column(|new| &new.stream.aggregate_id);
    let sequences: Vec<i64> =
        additions.iter().map(|addition| signed(addition.event.sequence)).collect::<Result<_, _>>()?;
    let event_types: Vec<String> = additions.iter().map(|addition| addition.event.event.event_type()).collect();
    let event_versions: Vec<String> = additions.iter().map(|addition| addition.event.event.event_version()).collect();
    let payloads: Vec<&str> = additions.iter().map(|addition| addition.payload).collect();
    let metadata: Vec<&str> = additions.iter().map(|addition| addition.metadata).collect();
    let keys: Vec<Uuid> = answers.iter().map(|(key, _)| *key).collect();
    let fingerprints: Vec<&[u8]> = answers.iter().map(|(_, given)| given.fingerprint.as_slice()).collect();
    let positions: Vec<i64> = answers.iter().map(|(_, given)| signed(given.position)).collect::<Result<_, _>>()?;
    let texts: Vec<String> = answers.iter().map(|(_, given)| given.answer.to_string()).collect();
    // Without keys there is nothing to plan for them.
    let statement = if answers.is_empty() { APPEND } else { APPEND_AND_KEEP };
    let mut query = sqlx::query_scalar(statement)
        .bind(signed(after)?)
        .bind(aggregate_types)
        .bind(aggregate_ids)
        .bind(sequences)
        .bind(event_types)
        .bind(event_versions)
        .bind(payloads)
        .bind(metadata)
        .bind(earliest)
        .bind(latest)
        .bind(tolerance);
    if !answers.is_empty() {
        query = query.bind(keys).bind(fingerprints).bind(positions).bind(texts);
    }
    // All of it is waited for, not only the first row: the commit comes after the rows.
    let recorded: Vec<DateTime<Utc>> = query.fetch_all(connection).await?;
    Ok(recorded.first().copied())
}

/// The condition stands where the row is locked, so that it is asked again of what others have made of it meanwhile. The
/// time is taken once the lock is held, so that the order of times is the order of positions.
macro_rules! append {
    ($keep:literal) => {
        concat!(
            "with locked as materialized (select recorded_at from book_head where position = $1 for update),
             head as materialized (
                 select greatest(recorded_at, clock) as now
                 from (select recorded_at, clock_timestamp() as clock from locked offset 0) as timed
                 where clock between $9 and $10 and ($11::interval is null or clock + $11 >= recorded_at)
             ),
             added as (
                 insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                     position, recorded_at)
                 select new.aggregate_type, new.aggregate_id, new.sequence, new.event_type, new.event_version,
                     new.payload::json, new.metadata::json, $1 + new.number, head.now
                 from head cross join unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[])
                     with ordinality as new (aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                         metadata, number)
             )",
            $keep,
            " select now from head"
        )
    };
}

const APPEND: &str = append!("");

const APPEND_AND_KEEP: &str = append!(
    ", kept as (
         insert into idempotency (key, fingerprint, position, answer, recorded_at)
         select new.key, new.fingerprint, new.position, new.answer::json, head.now
         from head cross join unnest($12::uuid[], $13::bytea[], $14::bigint[], $15::text[])
             as new (key, fingerprint, position, answer)
     )"
);

/// Whether this event stands at this position.
pub async fn stands(
    connection: &mut PgConnection,
    position: Position,
    addition: &Addition<'_>,
) -> Result<bool, StoreError> {
    let NewEvent { stream, sequence, .. } = addition.event;
    let found = sqlx::query_scalar(
        "select exists (
             select from events
             where position = $1 and aggregate_type = $2 and aggregate_id = $3 and sequence = $4 and payload::text = $5
                 and metadata::text = $6
         )",
    )
    .bind(signed(position)?)
    .bind(stream.aggregate_type)
    .bind(&*stream.aggregate_id)
    .bind(signed(*sequence)?)
    .bind(addition.payload)
    .bind(addition.metadata)
    .fetch_one(connection)
    .await?;
    Ok(found)
}

/// PostgreSQL has no unsigned integers; what we store fits into both.
pub(super) fn unsigned(number: i64) -> Result<u64, sqlx::Error> {
    u64::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
}

pub(crate) fn signed(number: u64) -> Result<i64, sqlx::Error> {
    i64::try_from(number).map_err(|error| sqlx::Error::Encode(error.into()))
}
