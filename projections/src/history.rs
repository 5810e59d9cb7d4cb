//! The history of any entity: every event that happened to it or mentions it. Who did it, for whom and why, the event says
//! itself: its metadata is read where it stands.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use daybook_core::{Metadata, RecordedEvent, domain::Mentions};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, QueryBuilder, Row as _, postgres::PgRow};

use crate::{
    credit_note::CreditNoteRow,
    engine::{Changes, FoldError, Follows, Moment, Owner, Projection, Row, Shown, Source, Table, Viewer, place},
    expense::ExpenseRow,
    invoice::InvoiceRow,
    order::OrderRow,
    payer::PayerRow,
    payment::{DisputeRow, PaymentRow, RefundRow},
    service::ServiceRow,
    ticket::TicketRow,
};

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

/// Things that are of one customer each, with the columns that have their identifiers. Discounts are not among them: what
/// mentions a discount is an order of whoever got it.
const fn things(column: &'static str) -> [Owner; 12] {
    [
        Owner::Customer(column),
        Owner::Account(column),
        Owner::parent::<CreditNoteRow>(column),
        Owner::parent::<DisputeRow>(column),
        Owner::parent::<ExpenseRow>(column),
        Owner::parent::<InvoiceRow>(column),
        Owner::parent::<OrderRow>(column),
        Owner::parent::<PayerRow>(column),
        Owner::parent::<PaymentRow>(column),
        Owner::parent::<RefundRow>(column),
        Owner::parent::<ServiceRow>(column),
        Owner::parent::<TicketRow>(column),
    ]
}

/// What is told of an event, beside what stands in the row.
const OF_EVENT: [&str; 6] = ["event_type", "aggregate_type", "aggregate_id", "sequence", "recorded_at", "metadata"];

/// Whose history it is.
const THINGS: [Owner; 12] = things("entity_id");
/// What an event happened to.
const AGGREGATES: [Owner; 12] = things("aggregate_id");

impl Row for HistoryRow {
    type Key = (String, i64);
    const TABLE: &'static str = "history";
    const KEY: &'static [&'static str] = &["entity_id", "position"];
    const OWNER: Owner = Owner::AnyOf(&THINGS);
    const SHOWN: Shown = Shown::NEWEST_FIRST.with_event(&OF_EVENT);

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
    const EVENTS: Option<Owner> = Some(Owner::AnyOf(&AGGREGATES));

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

/// Those that happened to aggregates of these types, the newest first; `before` is the position of the last row of the page
/// before this one.
pub async fn list(
    connection: &mut PgConnection,
    viewer: &Viewer,
    entity_id: &str,
    types: &[&str],
    moment: &Moment,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<HistoryEntry>, sqlx::Error> {
    // To a customer PostgreSQL shows what is told of the event with the row: the event itself may be nobody's.
    let (event, joined) =
        if viewer.is_walled() { ("history", "") } else { ("e", " join events e on e.position = history.position") };
    let mut query = QueryBuilder::new("select history.position, history.occurred_at");
    for column in OF_EVENT.iter().filter(|column| **column != "metadata") {
        query.push(format_args!(", {event}.{column}"));
    }
    query.push(format_args!(", {event}.metadata::text as metadata from history{joined} where history.entity_id = "));
    query.push_bind(entity_id).push(format_args!(" and {event}.aggregate_type = any(")).push_bind(types).push(")");
    viewer.push(HistoryRow::TABLE, &HistoryRow::OWNER, &mut query);
    before.map(|before| query.push(" and history.position < ").push_bind(before));
    moment.position().map(|known_at| query.push(" and history.position <= ").push_bind(known_at));
    moment.before().map(|before| query.push(" and history.occurred_at < ").push_bind(before));
    query.push(" order by history.position desc limit ").push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BOARD;

    #[test]
    fn a_customer_has_the_history_of_everything_that_is_theirs() {
        let things = [&["accounts", "customers"], &*HistoryRow::OWNER.parents()].concat();
        for table in BOARD.iter().flat_map(|projection| projection.tables).filter(|table| table.prefix().is_some()) {
            let is_one_customers =
                matches!(table.owner(), Owner::Customer(_) | Owner::Account(_) | Owner::Parent { .. });
            assert_eq!(things.contains(&table.name()), is_one_customers, "{}", table.name());
        }
    }
}
