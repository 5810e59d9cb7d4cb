//! What goes with time: secrets that no event names, sessions that ended long ago, counters that nobody asks for.

use chrono::{DateTime, Duration, Utc};

use crate::{
    Identity, IdentityError,
    guessing::{KNOWN_FOR, REFUSALS_KEPT},
};

/// How long a secret waits for the event that names it.
const UNNAMED_FOR: Duration = Duration::hours(1);

/// How long it can be found out when and why a session ended, and that a link was used or has expired.
const ENDED_FOR: Duration = Duration::days(30);

/// Tables whose rows are named by events of their users, each with the column of the name.
const NAMED: [(&str, &str); 4] =
    [("password_secrets", "id"), ("factor_secrets", "id"), ("recovery_codes", "set_id"), ("token_secrets", "id")];

/// All ids of passwords, factors, recovery codes and tokens that the rows of users name.
#[derive(Clone, Debug)]
pub struct Named {
    pub ids: Vec<String>,
    /// The moment up to which the rows of users held all that was recorded. If they are behind, what was recorded since is
    /// named by events that they do not know: it is not swept.
    pub complete_to: DateTime<Utc>,
}

/// How many rows went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Secrets that nothing names.
    pub secrets: u64,
    pub sessions: u64,
    pub links: u64,
    /// Sign-ups that nobody has confirmed in time.
    pub sign_ups: u64,
    /// Counters of failed and refused sign-ins, and known networks.
    pub counters: u64,
}

impl Identity {
    /// Removes what is worth nothing any more. A process of each ledger does so now and then; several may at once.
    pub async fn sweep(&self, named: &Named, now: DateTime<Utc>) -> Result<Swept, IdentityError> {
        let mut swept = Swept::default();
        for (table, column) in NAMED {
            let removed = sqlx::query(&format!(
                "delete from {table} as secret where secret.made_at < $1
                     and not exists (select from unnest($2::text[]) as named (id) where named.id = secret.{column})"
            ))
            .bind(named.complete_to.min(now) - UNNAMED_FOR)
            .bind(&named.ids)
            .execute(self.store.pool())
            .await?;
            swept.secrets += removed.rows_affected();
        }
        let ended = now - ENDED_FOR;
        let absolute = self.sessions.options().absolute;
        swept.sessions = self.remove("sessions where ended_at < $1 or began_at < $2", ended, ended - absolute).await?;
        swept.links = self.remove("one_time_links where used_at < $1 or expires_at < $2", ended, ended).await?;
        swept.sign_ups = self.remove("sign_ups where expires_at < $1 and expires_at < $2", now, now).await?;
        let failed = now - Duration::days(2);
        swept.counters = self.remove("sign_in_failures where failed_at < $1 and held_until < $2", failed, now).await?
            + self
                .remove("sign_in_origins where signed_in_at < $1 and signed_in_at < $2", now - KNOWN_FOR, now)
                .await?
            + self.remove("sign_up_counts where hour < $1 and hour < $2", failed, failed).await?
            + self.remove("sign_in_refusals where minute < $1 and minute < $2", now - REFUSALS_KEPT, now).await?;
        Ok(swept)
    }

    async fn remove(&self, what: &str, first: DateTime<Utc>, second: DateTime<Utc>) -> Result<u64, IdentityError> {
        let statement = format!("delete from {what}");
        let removed = sqlx::query(&statement).bind(first).bind(second).execute(self.store.pool()).await?;
        Ok(removed.rows_affected())
    }
}
