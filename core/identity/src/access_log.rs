//! The access log: who signed in and from where, and who looked at what in whose area. It is append-only for every role, and
//! a customer may read the lines of its own area.
//!
//! What somebody did has a line each time. What was refused has one line per minute and network, so that a storm of attempts
//! does not fill the disk; [`Guessing`](crate::Guessing) counts them all.

use std::net::IpAddr;

use chrono::{DateTime, Duration, DurationRound, Months, Utc};
use daybook_core::store::Store;
use sqlx::{Connection, Executor, FromRow, PgPool, Row, postgres::PgRow};
use strum::IntoStaticStr;
use uuid::{Builder, Uuid};

use crate::{IdentityError, guessing::network, secret::hash_of, session::bounded, uuid_at};

/// For how many months lines are kept, unless the operator sets another number.
pub const MONTHS_KEPT: u32 = 13;

/// PostgreSQL has no part of the log for the line.
const NO_PART: &str = "23514";

#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum AccessKind {
    /// Somebody has become a customer's first user by signing up.
    SignedUp,
    SignedIn,
    SignInRefused,
    SignedOut,
    /// Somebody has proven anew who they are.
    SteppedUp,
    StepUpRefused,
    Viewed,
    Acted,
    /// A link was made by which a person chooses a password.
    LinkMade,
    /// The principal asked for something that it may not do or see.
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

    /// Writes a line, durably. A sign-in, and what the provider's staff see or do in a customer's area, must be refused if
    /// this fails: it would stand nowhere.
    pub async fn write(&self, access: &Access<'_>, now: DateTime<Utc>) -> Result<(), IdentityError> {
        self.write_all(&[*access], now).await
    }

    /// Writes the lines together or not at all, such as one for each customer that is concerned.
    pub async fn write_all(&self, lines: &[Access<'_>], now: DateTime<Utc>) -> Result<(), IdentityError> {
        let ids = lines.iter().map(|_| uuid_at(now)).collect();
        self.append(lines, now, ids).await
    }

    /// Writes the lines of something that was refused. Of the same person, customer, network, kind and route there is one
    /// line a minute, which has the time of the minute: the first attempt makes it.
    pub async fn write_refused(&self, lines: &[Access<'_>], now: DateTime<Utc>) -> Result<(), IdentityError> {
        let minute = now.duration_trunc(Duration::minutes(1)).expect("a moment of this age has a minute");
        self.append(lines, minute, lines.iter().map(subject).collect()).await
    }

    async fn append(&self, lines: &[Access<'_>], at: DateTime<Utc>, ids: Vec<Uuid>) -> Result<(), IdentityError> {
        match self.insert(lines, at, &ids).await {
            Err(sqlx::Error::Database(error))
                if error.code().as_deref() == Some(NO_PART) && error.constraint().is_none() =>
            {
                // The first line of a month.
                sqlx::query("select access_log_month($1)").bind(at).execute(&self.pool).await?;
                Ok(self.insert(lines, at, &ids).await?)
            }
            written => Ok(written?),
        }
    }

    async fn insert(&self, lines: &[Access<'_>], at: DateTime<Utc>, ids: &[Uuid]) -> Result<(), sqlx::Error> {
        let each = |column: fn(&Access<'_>) -> Option<String>| lines.iter().map(column).collect::<Vec<_>>();
        sqlx::query(
            "insert into access_log
                 (at, id, kind, user_id, customer_id, address, agent, credential, what, entity, reason)
             select $1, line.* from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                 $8::text[], $9::text[], $10::text[], $11::text[]) as line
             on conflict do nothing",
        )
        .bind(at)
        .bind(ids)
        .bind(lines.iter().map(|line| <&str>::from(line.kind)).collect::<Vec<_>>())
        .bind(each(|line| line.user.map(Into::into)))
        .bind(each(|line| line.customer.map(Into::into)))
        .bind(each(|line| line.address.map(|address| address.to_string())))
        .bind(each(|line| line.agent.map(bounded)))
        .bind(each(|line| line.credential.map(Into::into)))
        .bind(each(|line| line.what.map(Into::into)))
        .bind(each(|line| line.entity.map(Into::into)))
        .bind(each(|line| line.reason.map(Into::into)))
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
        // A reader that takes long must not hold up every sign-in: then no month is removed for now.
        owner.execute("set lock_timeout = '5s'").await?;
        let removed = sqlx::query_scalar("select access_log_forget($1)").bind(before).fetch_all(&mut owner).await?;
        owner.close().await?;
        Ok(removed)
    }
}

/// Names what was refused: the same for each attempt that shares a line.
fn subject(line: &Access<'_>) -> Uuid {
    let network = line.address.map(network).unwrap_or_default();
    let of = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let parts = [<&str>::from(line.kind).to_owned(), of(line.user), of(line.customer), network, of(line.what)];
    let hash = hash_of(&parts.each_ref().map(String::as_str));
    let (first, _) = hash.split_first_chunk().expect("a hash has 32 bytes");
    Builder::from_custom_bytes(*first).into_uuid()
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
