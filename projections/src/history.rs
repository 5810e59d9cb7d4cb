//! The history of any entity: every event that happened to it or mentions it. Who did it, for whom and why, the event says
//! itself: its metadata is read where it stands.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use daybook_core::{Metadata, RecordedEvent, domain::Mentions};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, QueryBuilder, Row as _, postgres::PgRow};

use crate::engine::{Changes, FoldError, Follows, Moment, Owner, Projection, Row, Source, Table, place};

#[derive(Debug)]
pub enum History {}

/// That an event concerns an entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct HistoryRow {
    /// Whom the event concerns: its own aggregate, or one that it mentions.
    pub entity_id: String,
    pub position: i64,
    pub occurred_at: DateTime<Utc>,
}

/// An event that concerns an entity, without its payload.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    pub position: i64,
    pub event_type: String,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub actor: Option<String>,
    pub on_behalf_of: Option<String>,
    pub reason: Option<String>,
    pub occurred_at: DateTime<Utc>,
    /// When it would have taken effect, had that period not been closed.
    pub dated_at: Option<DateTime<Utc>>,
    pub recorded_at: DateTime<Utc>,
}

impl Row for HistoryRow {
    type Key = (String, i64);
    const TABLE: &'static str = "history";
    const KEY: &'static [&'static str] = &["entity_id", "position"];
    const OWNER: Owner = Owner::Nobody;

    fn key(&self) -> Self::Key {
        (self.entity_id.clone(), self.position)
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::Event(self.position)]
    }

    const STAYS_BUT_FOR: Option<&'static [&'static str]> = Some(&[]);
}

impl Projection for History {
    const NAME: &'static str = "history";
    const VERSION: i32 = 2;
    const FOLLOWS: Follows = Follows::Everything;
    const TABLES: &'static [Table] = &[Table::of::<HistoryRow>()];
    const READ_ALONE: bool = true;

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        for entity in entities(event) {
            changes.insert(HistoryRow {
                entity_id: entity.into(),
                position: place(event),
                occurred_at: event.occurred_at(),
            });
        }
        Ok(())
    }
}

fn entities(event: &RecordedEvent) -> BTreeSet<&str> {
    let mut mentions = Mentions(BTreeSet::from([event.aggregate_id.as_str()]));
    event.event.mentions(&mut mentions);
    mentions.0
}

impl FromRow<'_, PgRow> for HistoryEntry {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let metadata = Metadata::read(row.try_get("metadata")?);
        Ok(Self {
            position: row.try_get("position")?,
            event_type: row.try_get("event_type")?,
            aggregate_type: row.try_get("aggregate_type")?,
            aggregate_id: row.try_get("aggregate_id")?,
            sequence: row.try_get("sequence")?,
            actor: metadata.actor.map(String::from),
            on_behalf_of: metadata.on_behalf_of.map(String::from),
            reason: metadata.reason,
            occurred_at: row.try_get("occurred_at")?,
            dated_at: metadata.dated_at,
            recorded_at: row.try_get("recorded_at")?,
        })
    }
}

/// Newest first; `before` is the position of the last row of the page before this one.
pub async fn list(
    connection: &mut PgConnection,
    entity_id: &str,
    moment: &Moment,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<HistoryEntry>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "select h.position, e.event_type, e.aggregate_type, e.aggregate_id, e.sequence, e.metadata::text as metadata,
             h.occurred_at, e.recorded_at
         from history h join events e on e.position = h.position
         where h.entity_id = ",
    );
    query.push_bind(entity_id);
    before.map(|before| query.push(" and h.position < ").push_bind(before));
    moment.position().map(|known_at| query.push(" and h.position <= ").push_bind(known_at));
    moment.before().map(|before| query.push(" and h.occurred_at < ").push_bind(before));
    query.push(" order by h.position desc limit ").push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}
