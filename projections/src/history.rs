//! The history of any entity: every event that happened to it or mentions it, who did it, for whom and why.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use daybook_core::{RecordedEvent, domain::Mentions};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, QueryBuilder};

use crate::engine::{Changes, FoldError, Follows, Moment, Owner, Projection, Row, Source, Table, place};

#[derive(Debug)]
pub enum History {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct HistoryRow {
    /// Whom the event concerns: its own aggregate, or one that it mentions.
    pub entity_id: String,
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
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Everything;
    const TABLES: &'static [Table] = &[Table::of::<HistoryRow>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        let metadata = &event.metadata;
        for entity in entities(event) {
            changes.insert(HistoryRow {
                entity_id: entity.into(),
                position: place(event),
                event_type: event.event.event_type(),
                aggregate_type: event.event.aggregate_type().into(),
                aggregate_id: event.aggregate_id.clone(),
                sequence: event.sequence as i64,
                actor: metadata.actor.as_ref().map(ToString::to_string),
                on_behalf_of: metadata.on_behalf_of.as_ref().map(ToString::to_string),
                reason: metadata.reason.clone(),
                occurred_at: event.occurred_at(),
                dated_at: metadata.dated_at,
                recorded_at: event.recorded_at,
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

/// Newest first; `before` is the position of the last row of the page before this one.
pub async fn list(
    connection: &mut PgConnection,
    entity_id: &str,
    moment: &Moment,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<HistoryRow>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "select entity_id, position, event_type, aggregate_type, aggregate_id, sequence, actor, on_behalf_of, reason,
             occurred_at, dated_at, recorded_at
         from history
         where entity_id = ",
    );
    query.push_bind(entity_id);
    before.map(|before| query.push(" and position < ").push_bind(before));
    moment.position().map(|known_at| query.push(" and position <= ").push_bind(known_at));
    moment.before().map(|before| query.push(" and occurred_at < ").push_bind(before));
    query.push(" order by position desc limit ").push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}
