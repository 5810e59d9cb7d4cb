//! What a change takes from a person: sessions, and links that were handed over.
//!
//! The change is an event, and the sessions are rows beside the book. What is to end is therefore written down before the
//! change is recorded, and removed once it has ended. Whatever a killed process has left is [carried out](Identity::cut_off_left)
//! by the next one.

use chrono::{DateTime, Duration, Utc};
use sqlx::Row;
use uuid::Uuid;

use crate::{Ended, Identity, IdentityError, uuid_at};

/// A process that has not ended after so long what it wrote down was killed, or could not.
pub const LEFT_AFTER: Duration = Duration::minutes(1);

/// What ends of a person. Links for choosing a password are always withdrawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutOff {
    pub user: String,
    /// Why the sessions end, if they do.
    pub sessions: Option<Ended>,
    /// The session that goes on: the one that asks for the change.
    pub kept: Option<String>,
}

/// A cut-off that is written down.
#[derive(Clone, Copy, Debug)]
#[must_use = "what is written down is removed, or carried out later"]
pub struct Planned(Uuid);

impl CutOff {
    /// Every session and every link.
    pub fn all(user: impl Into<String>, ended: Ended) -> Self {
        Self { user: user.into(), sessions: Some(ended), kept: None }
    }

    /// Every link, and every session but this one.
    pub fn others(user: impl Into<String>, kept: impl Into<String>, ended: Ended) -> Self {
        Self { user: user.into(), sessions: Some(ended), kept: Some(kept.into()) }
    }

    /// Every link. The sessions go on.
    pub fn links(user: impl Into<String>) -> Self {
        Self { user: user.into(), sessions: None, kept: None }
    }
}

impl Identity {
    /// Writes down what is about to end.
    pub async fn plan_cut_off(&self, of: &CutOff, now: DateTime<Utc>) -> Result<Planned, IdentityError> {
        let id = uuid_at(now);
        sqlx::query("insert into cut_offs (id, user_id, ended_by, kept_session, made_at) values ($1, $2, $3, $4, $5)")
            .bind(id)
            .bind(&of.user)
            .bind(of.sessions.map(<&str>::from))
            .bind(&of.kept)
            .bind(now)
            .execute(self.store.pool())
            .await?;
        Ok(Planned(id))
    }

    /// Ends it. That can be done again.
    pub async fn cut_off(&self, of: &CutOff, now: DateTime<Utc>) -> Result<(), IdentityError> {
        let CutOff { user, sessions, kept } = of;
        if let Some(ended) = sessions {
            self.sessions.end_those_before(user, kept.as_deref(), *ended, None, now).await?;
        }
        self.links.withdraw_all(user).await
    }

    /// It was carried out, or the change was refused.
    pub async fn forget_cut_off(&self, Planned(id): Planned) -> Result<(), IdentityError> {
        sqlx::query("delete from cut_offs where id = $1").bind(id).execute(self.store.pool()).await?;
        Ok(())
    }

    /// Carries out what others have written down and left, and answers how many. Whether their change was recorded is not
    /// asked: to sign in once more costs less than a session that outlives the change. What began after it goes on.
    pub async fn cut_off_left(&self, now: DateTime<Utc>) -> Result<u64, IdentityError> {
        let left = sqlx::query("select id, user_id, ended_by, kept_session, made_at from cut_offs where made_at < $1")
            .bind(now - LEFT_AFTER)
            .fetch_all(self.store.pool())
            .await?;
        let mut done = 0;
        for row in left {
            let (user, ended): (String, Option<String>) = (row.try_get("user_id")?, row.try_get("ended_by")?);
            let (kept, made_at): (Option<String>, DateTime<Utc>) =
                (row.try_get("kept_session")?, row.try_get("made_at")?);
            if let Some(ended) = ended {
                let ended = ended.parse().map_err(|_| IdentityError::Unreadable { id: user.clone() })?;
                self.sessions.end_those_before(&user, kept.as_deref(), ended, Some(made_at + LEFT_AFTER), now).await?;
            }
            self.links.withdraw_all(&user).await?;
            self.forget_cut_off(Planned(row.try_get("id")?)).await?;
            done += 1;
        }
        Ok(done)
    }
}
