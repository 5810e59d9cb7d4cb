//! Links that work once: to accept an invitation, to choose another password, to confirm an address, to look at a
//! demonstration.

use chrono::{DateTime, Duration, Utc};
use daybook_core::store::Store;
use sqlx::{PgPool, Row, postgres::PgRow};
use strum::IntoStaticStr;

use crate::{IdentityError, Secret, Shown};

#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Purpose {
    Invitation,
    PasswordReset,
    /// Into a demonstration, without a password.
    SignIn,
    /// That the mail address of somebody who has signed up is theirs.
    ConfirmMail,
}

impl Purpose {
    /// How long such a link works.
    pub fn life(self) -> Duration {
        match self {
            Self::Invitation => Duration::days(7),
            Self::PasswordReset | Self::ConfirmMail => Duration::hours(24),
            Self::SignIn => Duration::minutes(15),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct NewLink<'a> {
    pub user: &'a str,
    pub purpose: Purpose,
    /// What it confirms, such as an address.
    pub about: Option<&'a str>,
}

/// A link that somebody has in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLink {
    pub user: String,
    pub about: Option<String>,
    pub expires_at: DateTime<Utc>,
}

/// What a link is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Usable(FoundLink),
    Used,
    Expired,
    /// It never was one, or a newer one has taken its place.
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Links {
    pool: PgPool,
}

impl Links {
    pub(crate) fn new(store: &Store) -> Self {
        Self { pool: store.pool().clone() }
    }

    /// Makes a link and answers with what it carries. An older one of the same purpose for the same user is worth nothing
    /// from now on.
    pub async fn make(&self, new: NewLink<'_>, now: DateTime<Utc>) -> Result<Shown, IdentityError> {
        let secret = Shown::random();
        sqlx::query(
            "insert into one_time_links (user_id, purpose, hash, about, made_at, expires_at)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (user_id, purpose) do update
             set hash = excluded.hash, about = excluded.about, made_at = excluded.made_at,
                 expires_at = excluded.expires_at, used_at = null",
        )
        .bind(new.user)
        .bind(<&str>::from(new.purpose))
        .bind(secret.hash().as_slice())
        .bind(new.about)
        .bind(now)
        .bind(now + new.purpose.life())
        .execute(&self.pool)
        .await?;
        Ok(secret)
    }

    /// What a link is worth. Looking does not use it up.
    pub async fn look(&self, secret: &Secret, purpose: Purpose, now: DateTime<Utc>) -> Result<Standing, IdentityError> {
        let row = sqlx::query(
            "select user_id, about, expires_at, used_at is not null as is_used from one_time_links
             where hash = $1 and purpose = $2",
        )
        .bind(secret.hash().as_slice())
        .bind(<&str>::from(purpose))
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(Standing::Unknown) };
        let link = found(&row)?;
        Ok(match row.try_get("is_used")? {
            true => Standing::Used,
            false if link.expires_at <= now => Standing::Expired,
            false => Standing::Usable(link),
        })
    }

    /// Uses a link up: one caller gets it, and whoever comes later or at the same moment gets `None`. What the link leads
    /// to must be checked before, such as the strength of a new password.
    pub async fn redeem(
        &self,
        secret: &Secret,
        purpose: Purpose,
        now: DateTime<Utc>,
    ) -> Result<Option<FoundLink>, IdentityError> {
        let row = sqlx::query(
            "update one_time_links set used_at = $3
             where hash = $1 and purpose = $2 and used_at is null and expires_at > $3
             returning user_id, about, expires_at",
        )
        .bind(secret.hash().as_slice())
        .bind(<&str>::from(purpose))
        .bind(now)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.as_ref().map(found).transpose()?)
    }

    /// Takes back what was sent for a purpose.
    pub(crate) async fn withdraw(&self, user: &str, purpose: Purpose) -> Result<(), IdentityError> {
        sqlx::query("delete from one_time_links where user_id = $1 and purpose = $2")
            .bind(user)
            .bind(<&str>::from(purpose))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Takes back every link by which the person could choose a password.
    pub async fn withdraw_all(&self, user: &str) -> Result<(), IdentityError> {
        let purposes = [Purpose::Invitation, Purpose::PasswordReset].map(<&str>::from);
        sqlx::query("delete from one_time_links where user_id = $1 and purpose = any($2)")
            .bind(user)
            .bind(purposes.as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

fn found(row: &PgRow) -> Result<FoundLink, sqlx::Error> {
    Ok(FoundLink {
        user: row.try_get("user_id")?,
        about: row.try_get("about")?,
        expires_at: row.try_get("expires_at")?,
    })
}
