//! Sessions of browsers: found by the hash of what the cookie carries, and ended by their user, by time, or by a change that
//! nobody should stay signed in over.

use std::net::IpAddr;

use chrono::{DateTime, Duration, Utc};
use daybook_core::store::Store;
use sqlx::{FromRow, PgPool, Row, postgres::PgRow};
use strum::{EnumString, IntoStaticStr};

use crate::{IdentityError, Secret, Shown, name_at, notes::Notes};

/// Use is noted once in such a time.
pub(crate) const NOTED_EVERY: Duration = Duration::minutes(1);

/// How long somebody who has just proven who they are may do what needs that.
const STEPPED_UP: Duration = Duration::minutes(5);

/// In characters. The rest of what a browser says of itself is no use to anybody.
const LONGEST_AGENT: usize = 200;

#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// A session that nobody uses for so long ends.
    pub idle: Duration,
    /// A session ends after so long, however much it is used.
    pub absolute: Duration,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { idle: Duration::hours(12), absolute: Duration::days(30) }
    }
}

/// By what somebody has proven who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum Level {
    Password,
    SecondFactor,
}

/// Why a session ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum Ended {
    SignedOut,
    /// From another session of the user.
    ByUser,
    ByStaff,
    PasswordChanged,
    FactorChanged,
    UserDisabled,
    /// The browser signed in anew.
    Replaced,
}

/// Who has just signed in.
#[derive(Clone, Copy, Debug)]
pub struct NewSession<'a> {
    pub user: &'a str,
    /// What the session acts as at first.
    pub membership: Option<&'a str>,
    pub level: Level,
    pub address: IpAddr,
    pub agent: Option<&'a str>,
}

/// All that a request needs to know of its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its public name. The secret is another.
    pub id: String,
    pub user: String,
    pub membership: Option<String>,
    pub level: Level,
    pub began_at: DateTime<Utc>,
    /// To the minute.
    pub seen_at: DateTime<Utc>,
    pub stepped_up_until: Option<DateTime<Utc>>,
    pub address: String,
    pub agent: Option<String>,
}

impl Session {
    pub fn is_stepped_up(&self, now: DateTime<Utc>) -> bool {
        self.stepped_up_until.is_some_and(|until| now < until)
    }
}

#[derive(Clone, Debug)]
pub struct Sessions {
    pool: PgPool,
    options: SessionOptions,
    notes: Notes,
}

/// What is selected of a session, in the order of the struct.
const COLUMNS: &str = "id, user_id, membership, level, began_at, seen_at, stepped_up_until, address, agent";

impl Sessions {
    pub(crate) fn new(store: &Store, options: SessionOptions, notes: Notes) -> Self {
        Self { pool: store.pool().clone(), options, notes }
    }

    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// Begins a session and answers with the value of its cookie.
    pub async fn begin(&self, new: NewSession<'_>, now: DateTime<Utc>) -> Result<(Session, Shown), IdentityError> {
        let secret = Shown::random();
        let row = sqlx::query(&format!(
            "insert into sessions (id, secret_hash, user_id, membership, level, began_at, seen_at, address, agent)
             values ($1, $2, $3, $4, $5, $6, $6, $7, $8)
             returning {COLUMNS}"
        ))
        .bind(name_at("ses", now))
        .bind(secret.hash().as_slice())
        .bind(new.user)
        .bind(new.membership)
        .bind(<&str>::from(new.level))
        .bind(now)
        .bind(new.address.to_string())
        .bind(new.agent.map(bounded))
        .fetch_one(&self.pool)
        .await?;
        Ok((Session::from_row(&row)?, secret))
    }

    /// The session of a cookie, if it has not ended. That it was used is noted at most once a minute, and nobody waits
    /// for it.
    pub async fn find(&self, secret: &Secret, now: DateTime<Utc>) -> Result<Option<Session>, IdentityError> {
        let found: Option<Session> = sqlx::query_as(&format!(
            "select {COLUMNS} from sessions
             where secret_hash = $1 and ended_at is null and seen_at > $2 and began_at > $3"
        ))
        .bind(secret.hash().as_slice())
        .bind(now - self.options.idle)
        .bind(now - self.options.absolute)
        .fetch_optional(&self.pool)
        .await?;
        if let Some(session) = found.as_ref().filter(|session| session.seen_at <= now - NOTED_EVERY) {
            self.note(session.id.clone(), now);
        }
        Ok(found)
    }

    fn note(&self, id: String, now: DateTime<Utc>) {
        let pool = self.pool.clone();
        self.notes.write("the use of a session", async move {
            sqlx::query("update sessions set seen_at = $2 where id = $1 and seen_at <= $3")
                .bind(id)
                .bind(now)
                .bind(now - NOTED_EVERY)
                .execute(&pool)
                .await?;
            Ok(())
        });
    }

    /// The session has reached this level: its cookie gets a new value, and the one before is worth nothing. A level
    /// never falls. `None` if the session has ended.
    pub async fn raise(
        &self,
        secret: &Secret,
        level: Level,
        now: DateTime<Utc>,
    ) -> Result<Option<Shown>, IdentityError> {
        // Everybody who has a session has reached the first level.
        let level = (level > Level::Password).then_some(level);
        self.renew(secret, level, None, now).await
    }

    /// Whoever has the session has proven anew who they are, and may do for five minutes what needs that. Its cookie
    /// gets a new value. `None` if the session has ended.
    pub async fn step_up(&self, secret: &Secret, now: DateTime<Utc>) -> Result<Option<Shown>, IdentityError> {
        self.renew(secret, None, Some(now + STEPPED_UP), now).await
    }

    async fn renew(
        &self,
        secret: &Secret,
        level: Option<Level>,
        stepped_up_until: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<Shown>, IdentityError> {
        let renewed = Shown::random();
        let done = sqlx::query(
            "update sessions
             set secret_hash = $2, seen_at = greatest(seen_at, $3), level = coalesce($6, level),
                 stepped_up_until = coalesce($7, stepped_up_until)
             where secret_hash = $1 and ended_at is null and seen_at > $4 and began_at > $5",
        )
        .bind(secret.hash().as_slice())
        .bind(renewed.hash().as_slice())
        .bind(now)
        .bind(now - self.options.idle)
        .bind(now - self.options.absolute)
        .bind(level.map(<&str>::from))
        .bind(stepped_up_until)
        .execute(&self.pool)
        .await?;
        Ok((done.rows_affected() == 1).then_some(renewed))
    }

    /// From now on the session acts as another of its user's memberships.
    pub async fn switch(&self, id: &str, membership: &str) -> Result<(), IdentityError> {
        sqlx::query("update sessions set membership = $2 where id = $1 and ended_at is null")
            .bind(id)
            .bind(membership)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Where a user is signed in, the last used first.
    pub async fn list(&self, user: &str, now: DateTime<Utc>) -> Result<Vec<Session>, IdentityError> {
        let sessions = sqlx::query_as(&format!(
            "select {COLUMNS} from sessions
             where user_id = $1 and ended_at is null and seen_at > $2 and began_at > $3
             order by seen_at desc, id desc"
        ))
        .bind(user)
        .bind(now - self.options.idle)
        .bind(now - self.options.absolute)
        .fetch_all(&self.pool)
        .await?;
        Ok(sessions)
    }

    /// Whether there was such a session of this user.
    pub async fn end(&self, user: &str, id: &str, by: Ended, now: DateTime<Utc>) -> Result<bool, IdentityError> {
        Ok(self.end_where("id = $4", user, id, by, now).await? == 1)
    }

    /// Ends the sessions of a user, all but the one that is kept, and answers how many.
    pub async fn end_but(
        &self,
        user: &str,
        kept: Option<&str>,
        by: Ended,
        now: DateTime<Utc>,
    ) -> Result<u64, IdentityError> {
        // No session has an empty name.
        self.end_where("id <> $4", user, kept.unwrap_or_default(), by, now).await
    }

    async fn end_where(
        &self,
        condition: &str,
        user: &str,
        id: &str,
        by: Ended,
        now: DateTime<Utc>,
    ) -> Result<u64, IdentityError> {
        let ended = sqlx::query(&format!(
            "update sessions set ended_at = $2, ended_by = $3 where user_id = $1 and ended_at is null and {condition}"
        ))
        .bind(user)
        .bind(now)
        .bind(<&str>::from(by))
        .bind(id)
        .execute(&self.pool)
        .await?;
        Ok(ended.rows_affected())
    }
}

impl FromRow<'_, PgRow> for Session {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let level: String = row.try_get("level")?;
        Ok(Self {
            id: row.try_get("id")?,
            user: row.try_get("user_id")?,
            membership: row.try_get("membership")?,
            level: level.parse().map_err(|error: strum::ParseError| sqlx::Error::Decode(error.into()))?,
            began_at: row.try_get("began_at")?,
            seen_at: row.try_get("seen_at")?,
            stepped_up_until: row.try_get("stepped_up_until")?,
            address: row.try_get("address")?,
            agent: row.try_get("agent")?,
        })
    }
}

/// What a browser says of itself, as far as it is kept.
pub(crate) fn bounded(agent: &str) -> String {
    agent.chars().filter(|sign| !sign.is_control()).take(LONGEST_AGENT).collect()
}
