//! Passwords: argon2id hashes, made anew when the parameters rise.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version, password_hash::Error,
};
use chrono::{DateTime, Utc};
use daybook_core::store::Store;
use sqlx::PgPool;

pub use crate::strength::Unsuitable;
use crate::{Busy, Hashing, IdentityError, Secret, secret::random, strength};

/// In KiB. OWASP's recommendation of argon2id for a single lane.
const MEMORY: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The password that the row of a user names.
#[derive(Clone, Copy, Debug)]
pub struct PasswordOf<'a> {
    pub user: &'a str,
    pub password: &'a str,
}

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error(transparent)]
    Unsuitable(#[from] Unsuitable),
    #[error(transparent)]
    Failed(#[from] IdentityError),
}

#[derive(Clone, Debug)]
pub struct Passwords {
    pool: PgPool,
    hashing: Hashing,
    argon2: Arc<Argon2<'static>>,
}

impl Passwords {
    pub(crate) fn new(store: &Store, hashing: Hashing) -> Self {
        Self { pool: store.pool().clone(), hashing, argon2: Arc::new(present()) }
    }

    /// Stores a new password under the id that an event of the user is about to name; the one before stays valid until
    /// then. `names` are what the password must not be: those of the user and of the customer.
    pub async fn keep(
        &self,
        of: PasswordOf<'_>,
        password: &Secret,
        names: &[String],
        now: DateTime<Utc>,
    ) -> Result<(), PasswordError> {
        let hash = self.hash(password, names).await?;
        sqlx::query("insert into password_secrets (id, user_id, hash, made_at) values ($1, $2, $3, $4)")
            .bind(of.password)
            .bind(of.user)
            .bind(hash)
            .bind(now)
            .execute(&self.pool)
            .await
            .map_err(IdentityError::from)?;
        Ok(())
    }

    /// The hash of a password that may become somebody's.
    pub(crate) async fn hash(&self, password: &Secret, names: &[String]) -> Result<String, PasswordError> {
        let (argon2, password, names) = (self.argon2.clone(), password.clone(), names.to_vec());
        let checked = move || {
            strength::check(&password, &names)?;
            Ok::<_, Unsuitable>(hash(&argon2, &password))
        };
        Ok(self.hashing.run(checked).await.map_err(IdentityError::from)??)
    }

    /// Whether the hash is that of this password. `None` takes as long.
    pub(crate) async fn is_of_hash(&self, hash: Option<String>, attempt: &Secret) -> Result<bool, IdentityError> {
        Ok(matches!(self.compare(hash, attempt).await?, Outcome::Right { .. }))
    }

    /// Whether this is the password. `None` is a user name that nobody has, or a user without a password: finding that
    /// out takes as long as a wrong password, and the answer is the same.
    pub async fn verify(&self, of: Option<PasswordOf<'_>>, attempt: &Secret) -> Result<bool, IdentityError> {
        // No user has an empty id.
        let of = of.unwrap_or(PasswordOf { user: "", password: "" });
        let stored: Option<String> =
            sqlx::query_scalar("select hash from password_secrets where id = $1 and user_id = $2")
                .bind(of.password)
                .bind(of.user)
                .fetch_optional(&self.pool)
                .await?;
        let outcome = self.compare(stored.clone(), attempt).await?;
        match (outcome, stored) {
            (Outcome::Right { is_weak: true }, Some(stored)) => self.rehash(of, attempt, &stored).await?,
            (Outcome::Unreadable, _) => return Err(IdentityError::Unreadable { id: of.password.to_owned() }),
            _ => {}
        }
        Ok(matches!(outcome, Outcome::Right { .. }))
    }

    async fn compare(&self, stored: Option<String>, attempt: &Secret) -> Result<Outcome, Busy> {
        let (argon2, attempt) = (self.argon2.clone(), attempt.clone());
        let work = move || match stored {
            Some(stored) if attempt.expose().len() <= strength::LONGEST => compare(&argon2, &stored, &attempt),
            // Nobody has a password that long. What is hashed instead costs the same.
            _ => {
                hash(&argon2, &Secret::new("nobody"));
                Outcome::Wrong
            }
        };
        self.hashing.run(work).await
    }

    /// By the present parameters, unless the pool is busy: the next sign-in can do it, too.
    async fn rehash(&self, of: PasswordOf<'_>, password: &Secret, stored: &str) -> Result<(), IdentityError> {
        let (argon2, password) = (self.argon2.clone(), password.clone());
        let Ok(hash) = self.hashing.run(move || hash(&argon2, &password)).await else { return Ok(()) };
        sqlx::query("update password_secrets set hash = $1 where id = $2 and hash = $3")
            .bind(hash)
            .bind(of.password)
            .bind(stored)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Weak is a hash by less than the present parameters.
    Right {
        is_weak: bool,
    },
    Wrong,
    Unreadable,
}

fn present() -> Argon2<'static> {
    let parameters = Params::new(MEMORY, PASSES, LANES, None).expect("they are in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
}

fn hash(argon2: &Argon2<'_>, password: &Secret) -> String {
    let text = strength::normalised(password);
    let salt = random::<16>();
    let hash: PasswordHash =
        argon2.hash_password_with_salt(text.as_bytes(), &*salt).expect("the parameters and the salt are in range");
    hash.to_string()
}

fn compare(argon2: &Argon2<'_>, stored: &str, attempt: &Secret) -> Outcome {
    let Ok(stored) = PasswordHash::new(stored) else { return Outcome::Unreadable };
    match argon2.verify_password(strength::normalised(attempt).as_bytes(), &stored) {
        Ok(()) => Outcome::Right { is_weak: is_weak(argon2.params(), &stored) },
        Err(Error::PasswordInvalid) => Outcome::Wrong,
        Err(_) => Outcome::Unreadable,
    }
}

fn is_weak(present: &Params, stored: &PasswordHash) -> bool {
    let is_less = |of: &Params| of.m_cost() < present.m_cost() || of.t_cost() < present.t_cost();
    stored.algorithm.as_str() != "argon2id" || Params::try_from(stored).is_ok_and(|of| is_less(&of))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Less than what is written today, as an earlier version may have had it.
    fn earlier() -> Argon2<'static> {
        let parameters = Params::new(1024, 1, 1, None).expect("they are in range");
        Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    #[test]
    fn a_hash_says_its_parameters_and_not_the_password() {
        let hash = hash(&present(), &secret("correct horse"));
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(!hash.contains("correct"), "{hash}");
    }

    #[test]
    fn two_hashes_of_one_password_differ() {
        assert_ne!(hash(&earlier(), &secret("correct horse")), hash(&earlier(), &secret("correct horse")));
    }

    #[test]
    fn only_the_password_is_right_however_it_is_composed() {
        let (argon2, stored) = (earlier(), hash(&earlier(), &secret("Zo\u{e9} rides a horse")));
        assert_eq!(compare(&argon2, &stored, &secret("Zoe\u{301} rides a horse")), Outcome::Right { is_weak: false });
        assert_eq!(compare(&argon2, &stored, &secret("zoe rides a horse")), Outcome::Wrong);
        assert_eq!(compare(&argon2, "$argon2id$nonsense", &secret("Zoe rides a horse")), Outcome::Unreadable);
    }

    #[test]
    fn a_hash_of_lower_parameters_is_weak() {
        let stored = hash(&earlier(), &secret("correct horse"));
        assert_eq!(compare(&present(), &stored, &secret("correct horse")), Outcome::Right { is_weak: true });
        let stored = hash(&present(), &secret("correct horse"));
        assert_eq!(compare(&earlier(), &stored, &secret("correct horse")), Outcome::Right { is_weak: false });
    }
}
