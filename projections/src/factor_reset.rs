//! Resets of lost second factors that were asked for, and are neither completed nor cancelled.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{
        Event, User, UserEvent,
        user::{FactorReset, UserId},
    },
};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};

use crate::{
    engine::{Changes, FoldError, Follows, Owner, Projection, Row, Source, Table, place},
    user::UserRow,
};

#[derive(Debug)]
pub enum FactorResets {}

/// The reset that one user waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct FactorResetRow {
    pub user_id: String,
    /// Who of the provider's people asked for it; nobody, if it was a program.
    pub requested_by: Option<String>,
    pub requested_at: DateTime<Utc>,
    pub completable_at: DateTime<Utc>,
    pub lapses_at: DateTime<Utc>,
    /// Of the event by which it was asked for.
    pub position: i64,
}

impl FactorResetRow {
    /// One that nobody has completed in time is as if nobody had asked.
    pub fn is_waiting(&self, at: DateTime<Utc>) -> bool {
        self.lapses_at > at
    }
}

impl Row for FactorResetRow {
    type Key = String;
    const TABLE: &'static str = "factor_resets";
    const KEY: &'static [&'static str] = &["user_id"];
    const OWNER: Owner = Owner::parent::<UserRow>("user_id");

    fn key(&self) -> String {
        self.user_id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(User::TYPE, &self.user_id)]
    }
}

impl Projection for FactorResets {
    const NAME: &'static str = "factor_resets";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[User::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<FactorResetRow>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        let Event::User(user_event) = &event.event else { return Ok(()) };
        let user_id = event.aggregate_id.clone();
        match user_event {
            UserEvent::FactorResetRequested(FactorReset { by, completable_at, lapses_at }) => {
                let row = FactorResetRow {
                    user_id: user_id.clone(),
                    requested_by: by.as_ref().map(UserId::to_string),
                    requested_at: event.occurred_at(),
                    completable_at: *completable_at,
                    lapses_at: *lapses_at,
                    position: place(event),
                };
                // One that has lapsed may still be there.
                let anew = row.clone();
                changes.upsert(user_id, move || row, move |row| *row = anew);
            }
            UserEvent::FactorResetCancelled {} | UserEvent::FactorsReset { .. } => {
                changes.delete::<FactorResetRow>(user_id);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The reset that this user waits for, unless it has lapsed at this moment.
pub async fn of_user(
    connection: &mut PgConnection,
    user_id: &str,
    at: DateTime<Utc>,
) -> Result<Option<FactorResetRow>, sqlx::Error> {
    let asked = sqlx::query_as("select * from factor_resets where user_id = $1").bind(user_id);
    let found: Option<FactorResetRow> = asked.fetch_optional(connection).await?;
    Ok(found.filter(|reset| reset.is_waiting(at)))
}
