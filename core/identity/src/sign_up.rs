//! People who have signed up by themselves and have not yet shown that the mail address is theirs.
//!
//! Neither the customer nor the user exists before that, so that the book keeps nothing of those who never come back. A
//! sign-up for an address that somebody signs in by already is stored like any other: neither the answer nor its time says
//! which it is.

use std::net::IpAddr;

use chrono::{DateTime, Duration, DurationRound, NaiveDate, Utc};
use daybook_core::store::Store;
use sqlx::{FromRow, PgPool};

use crate::{
    IdentityError, Links, NewLink, PasswordError, PasswordOf, Passwords, Purpose, Secret, Shown, Standing,
    guessing::network, name_at,
};

/// How long a sign-up waits to be confirmed.
const WAITS: Duration = Duration::hours(72);

/// How many sign-ups of one network are taken in an hour.
const OF_AN_HOUR: i32 = 5;

/// How many are looked at of one network in an hour. Most of them are refused for their passwords, which costs as much.
const TRIED_IN_AN_HOUR: i32 = 30;

/// How many of one network wait at most. Without that, a few networks would keep everybody else from signing up.
const WAITING_OF_A_NETWORK: i64 = 20;

/// How many wait at most, from wherever they come.
const MOST_WAITING: i64 = 10_000;

/// What somebody has typed who signs up.
#[derive(Clone, Copy, Debug)]
pub struct NewSignUp<'a> {
    /// What the address is called in the book, as the name to sign in by.
    pub login_name: &'a str,
    pub mail: &'a str,
    pub name: &'a str,
    pub password: &'a Secret,
    /// The date of the terms that were accepted.
    pub terms_dated: NaiveDate,
    /// SHA-256 of their text, in hexadecimal digits.
    pub terms_hash: &'a str,
    pub address: IpAddr,
}

/// A sign-up that waits.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct SignUp {
    pub id: String,
    pub login_name: String,
    pub mail: String,
    pub name: String,
    pub terms_dated: NaiveDate,
    pub terms_hash: String,
    /// An address, or the network of an IPv6 address.
    pub network: String,
    pub made_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

#[derive(Debug, thiserror::Error)]
pub enum SignUpError {
    #[error("too many have signed up from this network: try again in {} minutes", retry_after.num_minutes() + 1)]
    TooMany { retry_after: Duration },
    #[error("too many wait to be confirmed")]
    Full,
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Failed(#[from] IdentityError),
}

impl From<sqlx::Error> for SignUpError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

#[derive(Clone, Debug)]
pub struct SignUps {
    pool: PgPool,
    passwords: Passwords,
    links: Links,
}

const COLUMNS: &str = "id, login_name, mail, name, terms_dated, terms_hash, network, made_at, expires_at";

impl SignUps {
    pub(crate) fn new(store: &Store, passwords: Passwords, links: Links) -> Self {
        Self { pool: store.pool().clone(), passwords, links }
    }

    /// Stores a sign-up that waits to be confirmed, and answers until when.
    pub async fn make(&self, new: NewSignUp<'_>, now: DateTime<Utc>) -> Result<DateTime<Utc>, SignUpError> {
        let (network, hour) =
            (network_of_many(new.address), now.duration_trunc(Duration::hours(1)).expect("it has an hour"));
        let retry_after = hour + Duration::hours(1) - now;
        let expires_at = now + WAITS;
        // Before anything is hashed, which is what costs.
        let taken: Option<i32> = sqlx::query_scalar(
            "insert into sign_up_counts as known (hour, network, tried, taken) values ($1, $2, 1, 0)
             on conflict (hour, network) do update set tried = known.tried + 1
             where known.tried < $3 and known.taken < $4
             returning taken",
        )
        .bind(hour)
        .bind(&network)
        .bind(TRIED_IN_AN_HOUR)
        .bind(OF_AN_HOUR)
        .fetch_optional(&self.pool)
        .await?;
        if taken.is_none() {
            return Err(SignUpError::TooMany { retry_after });
        }
        let (waiting, of_network): (i64, i64) =
            sqlx::query_as("select count(*), count(*) filter (where network = $2) from sign_ups where expires_at > $1")
                .bind(now)
                .bind(&network)
                .fetch_one(&self.pool)
                .await?;
        if waiting >= MOST_WAITING {
            return Err(SignUpError::Full);
        }
        if of_network >= WAITING_OF_A_NETWORK {
            return Err(SignUpError::TooMany { retry_after });
        }
        let hash = self.passwords.hash(new.password, &[new.mail.to_owned(), new.name.to_owned()]).await?;
        // Those that are hashed at once are counted once more.
        let stored = sqlx::query(
            "with counted as (
                 update sign_up_counts set taken = taken + 1 where hour = $11 and network = $8 and taken < $12
                 returning taken
             )
             insert into sign_ups (id, login_name, mail, name, password_hash, terms_dated, terms_hash, network, made_at,
                 expires_at)
             select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 from counted",
        )
        .bind(name_at("sup", now))
        .bind(new.login_name)
        .bind(new.mail)
        .bind(new.name)
        .bind(hash)
        .bind(new.terms_dated)
        .bind(new.terms_hash)
        .bind(network)
        .bind(now)
        .bind(expires_at)
        .bind(hour)
        .bind(OF_AN_HOUR)
        .execute(&self.pool)
        .await?;
        if stored.rows_affected() == 0 { Err(SignUpError::TooMany { retry_after }) } else { Ok(expires_at) }
    }

    /// Those that wait, the newest first, from below the one that is named.
    pub async fn waiting(
        &self,
        below: Option<&str>,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<SignUp>, IdentityError> {
        let statement = format!(
            "select {COLUMNS} from sign_ups where expires_at > $1 and ($3::text is null or id < $3) order by id desc limit $2"
        );
        let waiting = sqlx::query_as(&statement).bind(now).bind(i64::from(limit)).bind(below);
        Ok(waiting.fetch_all(&self.pool).await?)
    }

    pub async fn find(&self, id: &str, now: DateTime<Utc>) -> Result<Option<SignUp>, IdentityError> {
        let statement = format!("select {COLUMNS} from sign_ups where id = $1 and expires_at > $2");
        Ok(sqlx::query_as(&statement).bind(id).bind(now).fetch_optional(&self.pool).await?)
    }

    /// A link by which whoever reads the mail of that address confirms it, and the moment at which it expires. The link that
    /// was made before is worth nothing.
    pub async fn link(&self, of: &SignUp, now: DateTime<Utc>) -> Result<(Shown, DateTime<Utc>), IdentityError> {
        let new = NewLink { user: &of.id, purpose: Purpose::ConfirmMail, about: None };
        Ok((self.links.make(new, now).await?, of.expires_at.min(now + Purpose::ConfirmMail.life())))
    }

    /// What a link confirms. Looking does not use it up.
    pub async fn of_link(&self, link: &Secret, now: DateTime<Utc>) -> Result<Option<SignUp>, IdentityError> {
        match self.links.look(link, Purpose::ConfirmMail, now).await? {
            Standing::Usable(link) => self.find(&link.user, now).await,
            Standing::Used | Standing::Expired | Standing::Unknown => Ok(None),
        }
    }

    /// Whether this is the password that was chosen. Whoever confirms shows it again, since somebody else may have signed up
    /// with the same address and another password.
    pub async fn is_chosen(&self, of: &SignUp, password: &Secret) -> Result<bool, IdentityError> {
        let hash: Option<String> = sqlx::query_scalar("select password_hash from sign_ups where id = $1")
            .bind(&of.id)
            .fetch_optional(&self.pool)
            .await?;
        self.passwords.is_of_hash(hash, password).await
    }

    /// Stores the password as that of a user, under the id that an event is about to name. `false` if the sign-up is not there
    /// any more.
    pub async fn keep_password(
        &self,
        of: &SignUp,
        PasswordOf { user, password }: PasswordOf<'_>,
        now: DateTime<Utc>,
    ) -> Result<bool, IdentityError> {
        let stored = sqlx::query(
            "insert into password_secrets (id, user_id, hash, made_at)
             select $2, $3, password_hash, $4 from sign_ups where id = $1",
        )
        .bind(&of.id)
        .bind(password)
        .bind(user)
        .bind(now)
        .execute(&self.pool)
        .await?;
        Ok(stored.rows_affected() == 1)
    }

    /// It is confirmed, or somebody has thrown it away. Whether there was one.
    pub async fn remove(&self, id: &str) -> Result<bool, IdentityError> {
        self.links.withdraw(id, Purpose::ConfirmMail).await?;
        let removed = sqlx::query("delete from sign_ups where id = $1").bind(id).execute(&self.pool).await?;
        Ok(removed.rows_affected() == 1)
    }
}

/// What is counted as one place: an IPv4 address, or the /48 of an IPv6 address, of which one subscriber may have all.
fn network_of_many(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(_) => network(address),
        IpAddr::V6(address) => {
            let [first, second, third, ..] = address.segments();
            format!("{}/48", std::net::Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0))
        }
    }
}
