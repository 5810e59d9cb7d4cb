//! The access log: who signed in and from where, and who looked at what in whose area. It is append-only for every role, and
//! a customer may read the lines of his own area.

use std::net::IpAddr;

use chrono::{DateTime, Months, Utc};
use daybook_core::store::Store;
use sqlx::{Connection, Executor, FromRow, PgPool, Row, postgres::PgRow};
use strum::IntoStaticStr;
use uuid::Uuid;

use crate::{IdentityError, session::bounded, uuid_at};

/// For how many months lines are kept, unless somebody says otherwise.
pub const MONTHS_KEPT: u32 = 13;

/// PostgreSQL has no part of the log for the line.
const NO_PART: &str = "23514";

#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum AccessKind {
    SignedIn,
    SignInRefused,
    SignedOut,
    /// Somebody has proven anew who they are.
    SteppedUp,
    StepUpRefused,
    Viewed,
    Acted,
    /// Something was asked for that the principal may not.
    Denied,
}

/// A line to be written. None of it is secret.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    pub kind: AccessKind,
    pub user: Option<&'a str>,
    /// In whose area it happens.
    pub customer: Option<&'a str>,
    pub address: Option<IpAddr>,
    pub agent: Option<&'a str>,
    /// The session or the token, by its public name.
    pub credential: Option<&'a str>,
    /// The template of the route, such as `/v1/accounts/{id}`.
    pub what: Option<&'a str>,
    pub entity: Option<&'a str>,
    /// Why, where one is asked for it.
    pub reason: Option<&'a str>,
}

impl Access<'_> {
    /// A line of which only this is known yet.
    pub const fn new(kind: AccessKind) -> Self {
        Self {
            kind,
            user: None,
            customer: None,
            address: None,
            agent: None,
            credential: None,
            what: None,
            entity: None,
            reason: None,
        }
    }
}

/// A line as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLine {
    pub cursor: Cursor,
    /// A word; a later version of the program may have written one that this one does not know.
    pub kind: String,
    pub user: Option<String>,
    pub customer: Option<String>,
    pub address: Option<String>,
    pub agent: Option<String>,
    pub credential: Option<String>,
    pub what: Option<String>,
    pub entity: Option<String>,
    pub reason: Option<String>,
}

/// Where a line stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub at: DateTime<Utc>,
    pub id: Uuid,
}

#[derive(Clone, Debug)]
pub struct AccessLog {
    pool: PgPool,
}

impl AccessLog {
    pub(crate) fn new(store: &Store) -> Self {
        Self { pool: store.pool().clone() }
    }

    /// Writes a line, durably. Whoever is about to sign in, or is of the provider's staff and about to see or do something in a
    /// customer's area, must be refused if this fails: what they do would stand nowhere.
    pub async fn write(&self, access: &Access<'_>, now: DateTime<Utc>) -> Result<(), IdentityError> {
        match self.insert(access, now).await {
            Err(sqlx::Error::Database(error))
                if error.code().as_deref() == Some(NO_PART) && error.constraint().is_none() =>
            {
                // The first line of a month.
                sqlx::query("select access_log_month($1)").bind(now).execute(&self.pool).await?;
                Ok(self.insert(access, now).await?)
            }
            written => Ok(written?),
        }
    }

    async fn insert(&self, access: &Access<'_>, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
        sqlx::query(
            "insert into access_log
                 (at, id, kind, user_id, customer_id, address, agent, credential, what, entity, reason)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(now)
        .bind(uuid_at(now))
        .bind(<&str>::from(access.kind))
        .bind(access.user)
        .bind(access.customer)
        .bind(access.address.map(|address| address.to_string()))
        .bind(access.agent.map(bounded))
        .bind(access.credential)
        .bind(access.what)
        .bind(access.entity)
        .bind(access.reason)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// What happened in the area of a customer, the latest line first, from below the cursor.
    pub async fn of_customer(
        &self,
        customer: &str,
        below: Option<Cursor>,
        limit: u32,
    ) -> Result<Vec<AccessLine>, IdentityError> {
        self.lines("customer_id", customer, below, limit).await
    }

    /// What a user did, the latest line first, from below the cursor.
    pub async fn of_user(
        &self,
        user: &str,
        below: Option<Cursor>,
        limit: u32,
    ) -> Result<Vec<AccessLine>, IdentityError> {
        self.lines("user_id", user, below, limit).await
    }

    async fn lines(
        &self,
        column: &str,
        whose: &str,
        below: Option<Cursor>,
        limit: u32,
    ) -> Result<Vec<AccessLine>, IdentityError> {
        let (at, id) = below.map(|cursor| (cursor.at, cursor.id)).unzip();
        let from_there =
            if below.is_some() { "(at, id) < ($3, $4)" } else { "$3::timestamptz is null and $4::uuid is null" };
        let lines = sqlx::query_as(&format!(
            "select at, id, kind, user_id, customer_id, address, agent, credential, what, entity, reason
             from access_log where {column} = $1 and {from_there} order by at desc, id desc limit $2"
        ))
        .bind(whose)
        .bind(i64::from(limit))
        .bind(at)
        .bind(id)
        .fetch_all(&self.pool)
        .await?;
        Ok(lines)
    }

    /// Removes the months that ended longer than so many months ago, as the owner of the tables, and names what it removed.
    pub async fn forget(store: &Store, months: u32, now: DateTime<Utc>) -> Result<Vec<String>, IdentityError> {
        let Some(before) = now.checked_sub_months(Months::new(months)) else { return Ok(Vec::new()) };
        let mut owner = store.owner_connection().await?;
        // Rather none is removed for now than that all wait who sign in, behind somebody who reads for long.
        owner.execute("set lock_timeout = '5s'").await?;
        let removed = sqlx::query_scalar("select access_log_forget($1)").bind(before).fetch_all(&mut owner).await?;
        owner.close().await?;
        Ok(removed)
    }
}

impl FromRow<'_, PgRow> for AccessLine {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            cursor: Cursor { at: row.try_get("at")?, id: row.try_get("id")? },
            kind: row.try_get("kind")?,
            user: row.try_get("user_id")?,
            customer: row.try_get("customer_id")?,
            address: row.try_get("address")?,
            agent: row.try_get("agent")?,
            credential: row.try_get("credential")?,
            what: row.try_get("what")?,
            entity: row.try_get("entity")?,
            reason: row.try_get("reason")?,
        })
    }
}
