//! The closed periods of the books, and where in the book each was closed.

use chrono::{DateTime, NaiveDate, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{Books, BooksEvent, Event},
};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, QueryBuilder};

use crate::engine::{Changes, FoldError, Follows, Moment, Owner, Projection, Row, Shown, Source, Table, place};

#[derive(Debug)]
pub enum ClosedPeriods {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct ClosedPeriodRow {
    pub books_id: String,
    /// Of the event that closed it. Nothing after it takes effect in the period.
    pub position: i64,
    /// The last day that is closed.
    pub through: NaiveDate,
    pub time_zone: String,
    /// The first moment that is open.
    pub open_from: DateTime<Utc>,
    pub actor: Option<String>,
    pub reason: Option<String>,
    pub closed_at: DateTime<Utc>,
    pub recorded_at: DateTime<Utc>,
}

impl Row for ClosedPeriodRow {
    type Key = (String, i64);
    const TABLE: &'static str = "closed_periods";
    const KEY: &'static [&'static str] = &["books_id", "position"];
    // Whoever has a statement sees whether it may still change.
    const OWNER: Owner = Owner::Everybody;
    const SHOWN: Shown = Shown::PLAIN.without(&["actor", "reason"]);

    fn key(&self) -> Self::Key {
        (self.books_id.clone(), self.position)
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Books::TYPE, &self.books_id)]
    }
}

impl Projection for ClosedPeriods {
    const NAME: &'static str = "closed_periods";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[Books::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<ClosedPeriodRow>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        let Event::Books(BooksEvent::PeriodClosed { through, time_zone, until }) = &event.event else { return Ok(()) };
        changes.insert(ClosedPeriodRow {
            books_id: event.aggregate_id.clone(),
            position: place(event),
            through: *through,
            time_zone: time_zone.clone(),
            open_from: *until,
            actor: event.metadata.actor.as_ref().map(ToString::to_string),
            reason: event.metadata.reason.clone(),
            closed_at: event.occurred_at(),
            recorded_at: event.recorded_at,
        });
        Ok(())
    }
}

/// Newest first; `before` is the position of the last row of the page before this one.
pub async fn list(
    connection: &mut PgConnection,
    moment: &Moment,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<ClosedPeriodRow>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "select books_id, position, through, time_zone, open_from, actor, reason, closed_at, recorded_at
         from closed_periods
         where true",
    );
    before.map(|before| query.push(" and position < ").push_bind(before));
    moment.position().map(|known_at| query.push(" and position <= ").push_bind(known_at));
    moment.before().map(|before| query.push(" and closed_at < ").push_bind(before));
    query.push(" order by position desc limit ").push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}

/// Where in the book all that took effect before a time was closed; `None` as long as it is open, or was at the moment that
/// is asked about.
pub async fn closed_at(
    connection: &mut PgConnection,
    before: DateTime<Utc>,
    moment: &Moment,
) -> Result<Option<i64>, sqlx::Error> {
    let mut query = QueryBuilder::new("select min(position) from closed_periods where open_from >= ");
    query.push_bind(before);
    moment.position().map(|known_at| query.push(" and position <= ").push_bind(known_at));
    moment.before().map(|before| query.push(" and closed_at < ").push_bind(before));
    query.build_query_scalar().fetch_one(connection).await
}
