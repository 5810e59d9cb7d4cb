//! What a change takes from a person: sessions, and links that were handed over.
//!
//! The change is an event, and the sessions are rows beside the book. What is to end is therefore written down before the
//! change is recorded, and removed once it has ended. Whatever a killed process has left is [carried out](Identity::cut_off_left)
//! by the next one.

use chrono::{DateTime, Utc};
use sqlx::Row;
use uuid::Uuid;

use crate::{Ended, Identity, IdentityError, uuid_at};

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
    pub async fn plan_cut_off(&self, of: &CutOff, command: Uuid, now: DateTime<Utc>) -> Result<Planned, IdentityError> {
        let id = uuid_at(now);
        // By the clock of the database: the clocks of servers differ.
        sqlx::query(
            "insert into cut_offs (id, command_id, user_id, ended_by, kept_session, made_at)
             values ($1, $2, $3, $4, $5, now())",
        )
        .bind(id)
        .bind(command)
        .bind(&of.user)
        .bind(of.sessions.map(<&str>::from))
        .bind(&of.kept)
        .execute(self.store.pool())
        .await?;
        Ok(Planned(id))
    }

    /// Ends it. That can be done again.
    pub async fn cut_off(&self, of: &CutOff, now: DateTime<Utc>) -> Result<(), IdentityError> {
        let CutOff { user, sessions, kept } = of;
        if let Some(ended) = sessions {
            self.sessions.end_but(user, kept.as_deref(), *ended, now).await?;
        }
        self.links.withdraw_all(user).await
    }

    /// It was carried out, or the change was refused.
    pub async fn forget_cut_off(&self, Planned(id): Planned) -> Result<(), IdentityError> {
        sqlx::query("delete from cut_offs where id = $1").bind(id).execute(self.store.pool()).await?;
        Ok(())
    }

    /// Carries out what was written down more than a minute ago and left, and answers how many. A change that was refused
    /// takes nothing from anybody: one of its events must stand. What began since the change ends, too, since the rows of users
    /// may have lagged: to sign in once more costs less than a session that outlives the change.
    ///
    /// `rows_follow` says that these rows hold all that was recorded before this was asked. As long as they do not, somebody may
    /// still sign in by what was taken, and it is looked at again.
    pub async fn cut_off_left(&self, rows_follow: bool, now: DateTime<Utc>) -> Result<u64, IdentityError> {
        let left = sqlx::query(
            "select id, user_id, ended_by, kept_session, made_at < now() - interval '5 minutes' as is_old,
                 exists (
                     select from events
                     where aggregate_type = 'user' and aggregate_id = user_id
                         and metadata ->> 'command_id' = command_id::text
                 ) as is_recorded
             from cut_offs where made_at < now() - interval '1 minute'",
        )
        .fetch_all(self.store.pool())
        .await?;
        let mut done = 0;
        for row in left {
            let planned = Planned(row.try_get("id")?);
            let (is_recorded, is_old): (bool, bool) = (row.try_get("is_recorded")?, row.try_get("is_old")?);
            if !is_recorded {
                // Its command may still wait to be recorded, but not for that long.
                if is_old {
                    self.forget_cut_off(planned).await?;
                }
                continue;
            }
            let (user, ended): (String, Option<String>) = (row.try_get("user_id")?, row.try_get("ended_by")?);
            // A word of a later version says no less that the sessions end.
            let sessions = ended.map(|ended| ended.parse().unwrap_or(Ended::ByStaff));
            self.cut_off(&CutOff { user, sessions, kept: row.try_get("kept_session")? }, now).await?;
            done += 1;
            if rows_follow {
                self.forget_cut_off(planned).await?;
            }
        }
        Ok(done)
    }
}
