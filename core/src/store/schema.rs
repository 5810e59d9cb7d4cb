//! The schema of the book: which events it holds in which versions, and whether this program can read them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgExecutor, Row};

use super::{RawEvent, StoreError, Upcasters, events::unsigned, upcast::same_version};
use crate::{cause::chain, event::Position};

/// The events of one type that were written in one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredVersion {
    pub event_type: String,
    pub event_version: String,
    /// How many there are.
    pub events: u64,
    pub first_position: Position,
    pub last_position: Position,
    pub last_recorded_at: DateTime<Utc>,
    #[serde(flatten)]
    pub reading: Reading,
}

/// What this program makes of a stored version, as its first event shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reading", rename_all = "snake_case")]
pub enum Reading {
    /// It is what this program writes.
    Present,
    /// It is brought to the version that this program writes.
    Upcast {
        to: String,
    },
    Unreadable {
        reason: String,
    },
}

/// Every version of every event type in the book, in the order of the types, then of their first appearance. It reads
/// the whole book.
pub async fn stored_versions(
    executor: impl PgExecutor<'_>,
    upcasters: &Upcasters,
) -> Result<Vec<StoredVersion>, StoreError> {
    let rows = sqlx::query(
        "with stored as (
             select count(*) as events, min(position) as first_position, max(position) as last_position,
                 max(recorded_at) as last_recorded_at
             from events
             group by event_type, event_version
         )
         select stored.events, stored.last_position, stored.last_recorded_at,
             first.position, first.aggregate_type, first.aggregate_id, first.sequence, first.event_type,
             first.event_version, first.payload::text as payload, first.metadata::text as metadata, first.recorded_at
         from stored
         join events first on first.position = stored.first_position
         order by first.event_type collate \"C\", first.position",
    )
    .fetch_all(executor)
    .await?;
    let versions = rows.iter().map(|row| {
        let first = RawEvent::from_row(row)?;
        let reading = reading(&first, upcasters);
        Ok(StoredVersion {
            event_type: first.event_type,
            event_version: first.event_version,
            events: unsigned(row.try_get("events")?)?,
            first_position: first.position,
            last_position: unsigned(row.try_get("last_position")?)?,
            last_recorded_at: row.try_get("last_recorded_at")?,
            reading,
        })
    });
    versions.collect()
}

fn reading(first: &RawEvent, upcasters: &Upcasters) -> Reading {
    match first.event(upcasters) {
        Ok(event) if same_version(&first.event_version, &event.event_version()) => Reading::Present,
        Ok(event) => Reading::Upcast { to: event.event_version() },
        Err(error) => Reading::Unreadable { reason: chain(&error) },
    }
}
