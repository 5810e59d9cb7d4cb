//! The events table: reading the book and its streams, and appending to it under the lock of its head.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool, Row, postgres::PgRow};

use super::StoreError;
use crate::{event::Position, writer::NewEvent};

/// Events in one insert: more would not be faster, and would take more memory on both sides.
const EVENTS_PER_STATEMENT: usize = 1000;

/// The end of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub position: Position,
    /// When the last event was written; under the lock: when what is appended now is written.
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

/// An event ready to be appended; its command's metadata is written once and shared.
#[derive(Clone, Copy, Debug)]
pub struct Addition<'a> {
    pub event: &'a NewEvent,
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
    let (position, recorded_at) =
        sqlx::query_as("select position, recorded_at from book_head").fetch_one(executor).await?;
    Ok(Head { position: unsigned(position)?, recorded_at })
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
        "with head as materialized (select position, recorded_at from book_head for share)
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

/// Locks the end of the book until the transaction ends; nobody else appends meanwhile.
pub async fn lock_head(transaction: &mut PgConnection) -> Result<Head, StoreError> {
    // The time is taken once the lock is held, so that the order of times is the order of positions.
    let (position, recorded_at) = sqlx::query_as(
        "with head as materialized (select position, recorded_at from book_head for update)
         select position, greatest(recorded_at, clock_timestamp()) from head",
    )
    .fetch_one(transaction)
    .await?;
    Ok(Head { position: unsigned(position)?, recorded_at })
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

/// Appends at the locked head; answers with the position of the last one.
pub async fn append(
    transaction: &mut PgConnection,
    head: Head,
    additions: &[Addition<'_>],
) -> Result<Position, StoreError> {
    let mut last = head.position;
    for chunk in additions.chunks(EVENTS_PER_STATEMENT) {
        let column = |field: fn(&NewEvent) -> &str| chunk.iter().map(|addition| field(addition.event)).collect();
        let aggregate_types: Vec<&str> = column(|new| new.stream.aggregate_type);
        let aggregate_ids: Vec<&str> = column(|new| &new.stream.aggregate_id);
        let sequences: Vec<i64> =
            chunk.iter().map(|addition| signed(addition.event.sequence)).collect::<Result<_, _>>()?;
        let event_types: Vec<String> = chunk.iter().map(|addition| addition.event.event.event_type()).collect();
        let event_versions: Vec<String> = chunk.iter().map(|addition| addition.event.event.event_version()).collect();
        let payloads: Vec<String> = chunk.iter().map(|addition| addition.event.event.payload()).collect();
        let metadata: Vec<&str> = chunk.iter().map(|addition| addition.metadata).collect();
        sqlx::query(
            "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                 position, recorded_at)
             select new.aggregate_type, new.aggregate_id, new.sequence, new.event_type, new.event_version,
                 new.payload::json, new.metadata::json, $8 + new.number, $9
             from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[])
                 with ordinality
                 as new (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, number)",
        )
        .bind(aggregate_types)
        .bind(aggregate_ids)
        .bind(sequences)
        .bind(event_types)
        .bind(event_versions)
        .bind(payloads)
        .bind(metadata)
        .bind(signed(last)?)
        .bind(head.recorded_at)
        .execute(&mut *transaction)
        .await?;
        last += chunk.len() as u64;
    }
    Ok(last)
}

/// PostgreSQL has no unsigned integers; what we store fits into both.
pub(super) fn unsigned(number: i64) -> Result<u64, sqlx::Error> {
    u64::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
}

pub(crate) fn signed(number: u64) -> Result<i64, sqlx::Error> {
    i64::try_from(number).map_err(|error| sqlx::Error::Encode(error.into()))
}
