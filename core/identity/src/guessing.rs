//! What holds up whoever guesses: each failure lets the next attempt wait longer, and never longer than a quarter of an hour.
//!
//! The failures of strangers are counted per account and per network. Where somebody has signed in before, or has a session,
//! only what fails from there is counted: nobody else can lock him out. The counters are in the database, so that all
//! processes count together.

use std::net::IpAddr;

use chrono::{DateTime, Duration, DurationRound, Utc};
use daybook_core::store::Store;
use sqlx::{FromRow, PgPool};

use crate::{IdentityError, secret::hash_of};

/// How many failures of an account cost nothing: who mistypes a password is not held up.
const FREE_OF_ACCOUNT: i32 = 5;

/// Many people may share a network.
const FREE_OF_NETWORK: i32 = 20;

const LONGEST: Duration = Duration::minutes(15);

/// After so long without a failure counting begins anew.
const FORGOTTEN_AFTER: Duration = Duration::hours(24);

/// How long a network is known in which somebody signed in.
pub(crate) const KNOWN_FOR: Duration = Duration::days(180);

/// How long refusals are counted back.
pub(crate) const REFUSALS_KEPT: Duration = Duration::days(31);

/// Somebody is about to try to prove who they are.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// A keyed hash of the normalised name that was typed, whoever has it, so that no table holds what somebody typed. A
    /// second factor is an account of its own.
    pub account: &'a str,
    pub address: IpAddr,
    /// The session that asks, when somebody proves anew who they are.
    pub session: Option<&'a str>,
}

/// An attempt that may be made. It counts as failed unless it is said to have [succeeded](Guessing::succeeded), so that nobody
/// gains by many attempts at once, or by hanging up.
#[derive(Clone, Debug)]
#[must_use = "an attempt that did not fail must be said to have succeeded, or not to have been made"]
pub struct Admitted {
    account: Vec<u8>,
    network: String,
    /// Sorted, as all who lock these rows have it.
    subjects: Vec<Subject>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    hash: Vec<u8>,
    free: i32,
    /// Somebody else's failures count for it, too.
    is_shared: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum GuessingError {
    #[error("too many failed attempts: try again in {} seconds", retry_after.num_seconds())]
    Held { retry_after: Duration },
    #[error(transparent)]
    Failed(#[from] IdentityError),
}

/// How many sign-ins were refused in a minute.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct RefusedMinute {
    pub minute: DateTime<Utc>,
    /// An address, or the network of an IPv6 address.
    pub network: String,
    pub refused: i64,
}

#[derive(Clone, Debug)]
pub struct Guessing {
    pool: PgPool,
}

impl Guessing {
    pub(crate) fn new(store: &Store) -> Self {
        Self { pool: store.pool().clone() }
    }

    /// Whether the attempt may be made now. It is counted before it is made.
    pub async fn admit(&self, attempt: Attempt<'_>, now: DateTime<Utc>) -> Result<Admitted, GuessingError> {
        let admitted = self.about(attempt, now).await?;
        let hashes: Vec<_> = admitted.subjects.iter().map(|subject| subject.hash.clone()).collect();
        let free: Vec<_> = admitted.subjects.iter().map(|subject| subject.free).collect();
        // The condition on conflict sees what another attempt has written meanwhile, the one before it does not: of many
        // attempts at once, no more get through than one after another.
        let counted = sqlx::query(
            "insert into sign_in_failures as known (subject, failures, free, failed_at, held_until)
             select asked.subject, 1, asked.free, $3, $3
             from unnest($1::bytea[], $2::integer[]) as asked (subject, free)
             where not exists (select from sign_in_failures where subject = any($1) and held_until > $3)
             order by asked.subject
             on conflict (subject) do update
             set failures = case when known.failed_at < $4 then 1 else known.failures + 1 end, failed_at = $3,
                 held_until = $3 + case
                     when known.failed_at < $4 or known.failures + 1 < excluded.free then interval '0'
                     else least($5, power(2, least(known.failures + 1 - excluded.free, 20)) * interval '1 second')
                 end
             where known.held_until <= $3",
        )
        .bind(&hashes)
        .bind(free)
        .bind(now)
        .bind(now - FORGOTTEN_AFTER)
        .bind(LONGEST)
        .execute(&self.pool)
        .await
        .map_err(IdentityError::from)?;
        if usize::try_from(counted.rows_affected()).is_ok_and(|counted| counted == hashes.len()) {
            return Ok(admitted);
        }
        let held_until: Option<DateTime<Utc>> =
            sqlx::query_scalar("select max(held_until) from sign_in_failures where subject = any($1)")
                .bind(hashes)
                .fetch_one(&self.pool)
                .await
                .map_err(IdentityError::from)?;
        let left = held_until.map_or(Duration::zero(), |until| until - now);
        // Whole seconds, upwards, since nobody is to come too early.
        let retry_after = Duration::seconds((left + Duration::milliseconds(999)).num_seconds().max(1));
        Err(GuessingError::Held { retry_after })
    }

    /// Whom the attempt is counted for.
    async fn about(&self, attempt: Attempt<'_>, now: DateTime<Utc>) -> Result<Admitted, IdentityError> {
        let (account, network) = (hash_of(&["account", attempt.account]).to_vec(), network(attempt.address));
        let own = |place: &str| Subject {
            hash: hash_of(&["account at", attempt.account, place]).to_vec(),
            free: FREE_OF_ACCOUNT,
            is_shared: false,
        };
        let subjects = if let Some(session) = attempt.session {
            vec![own(session)]
        } else if self.is_known(&account, &network, now).await? {
            vec![own(&network)]
        } else {
            let of_network = hash_of(&["network", &network]).to_vec();
            let mut of_strangers = vec![
                Subject { hash: account.clone(), free: FREE_OF_ACCOUNT, is_shared: false },
                Subject { hash: of_network, free: FREE_OF_NETWORK, is_shared: true },
            ];
            of_strangers.sort();
            of_strangers
        };
        Ok(Admitted { account, network, subjects })
    }

    async fn is_known(&self, account: &[u8], network: &str, now: DateTime<Utc>) -> Result<bool, IdentityError> {
        let known = "select exists (
            select from sign_in_origins where account = $1 and network = $2 and signed_in_at > $3
        )";
        let known = sqlx::query_scalar(known).bind(account).bind(network).bind(now - KNOWN_FOR);
        Ok(known.fetch_one(&self.pool).await?)
    }

    /// The attempt proved who it was: its account begins to count anew, and its network is known from now on.
    pub async fn succeeded(&self, admitted: Admitted, now: DateTime<Utc>) -> Result<(), IdentityError> {
        let (shared, own): (Vec<_>, Vec<_>) = admitted.subjects.into_iter().partition(|subject| subject.is_shared);
        let hashes = |subjects: Vec<Subject>| subjects.into_iter().map(|subject| subject.hash).collect::<Vec<_>>();
        sqlx::query(
            "with cleared as (delete from sign_in_failures where subject = any($1)),
             taken_back as (
                 update sign_in_failures set failures = greatest(failures - 1, 0) where subject = any($2)
             )
             insert into sign_in_origins (account, network, signed_in_at) values ($3, $4, $5)
             on conflict (account, network) do update
             set signed_in_at = greatest(sign_in_origins.signed_in_at, excluded.signed_in_at)",
        )
        .bind(hashes(own))
        .bind(hashes(shared))
        .bind(admitted.account)
        .bind(admitted.network)
        .bind(now)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The attempt was not made after all, such as when passwords could not be hashed at the moment.
    pub async fn not_made(&self, admitted: Admitted) -> Result<(), IdentityError> {
        let hashes: Vec<_> = admitted.subjects.into_iter().map(|subject| subject.hash).collect();
        sqlx::query("update sign_in_failures set failures = greatest(failures - 1, 0) where subject = any($1)")
            .bind(hashes)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Counts a sign-in that was refused, for whatever reason.
    pub async fn refused(&self, address: IpAddr, now: DateTime<Utc>) -> Result<(), IdentityError> {
        sqlx::query(
            "insert into sign_in_refusals as known (minute, network, refused) values ($1, $2, 1)
             on conflict (minute, network) do update set refused = known.refused + 1",
        )
        .bind(now.duration_trunc(Duration::minutes(1)).expect("a moment of this age has a minute"))
        .bind(network(address))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The refused sign-ins since a moment, the latest minute first.
    pub async fn refusals(&self, since: DateTime<Utc>, limit: u32) -> Result<Vec<RefusedMinute>, IdentityError> {
        let refusals = sqlx::query_as(
            "select minute, network, refused from sign_in_refusals
             where minute >= $1 order by minute desc, refused desc, network limit $2",
        )
        .bind(since)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        Ok(refusals)
    }
}

/// What is counted as one place: an IPv4 address, or the /64 of an IPv6 address, of which one subscriber has all.
pub fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [first, second, third, fourth, ..] = address.segments();
            format!("{}/64", std::net::Ipv6Addr::new(first, second, third, fourth, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv6_counts_with_its_network() {
        let network = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(network("203.0.113.7"), "203.0.113.7");
        assert_eq!(network("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(network("2001:db8:1:2:ffff::1"), network("2001:db8:1:2:3:4:5:6"));
        assert_ne!(network("2001:db8:1:3::1"), network("2001:db8:1:2::1"));
    }
}
