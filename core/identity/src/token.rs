//! Tokens of programs: opaque, shown once, and found by their hash.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use daybook_core::store::Store;
use sha2::{Digest, Sha256};
use sqlx::{FromRow, PgPool, Row, postgres::PgRow};

use crate::{
    IdentityError, Secret, Shown,
    notes::Notes,
    secret::{BASE62, DIGITS_OF_256_BITS, digits},
    session::NOTED_EVERY,
};

/// By which a scanner recognises a token that somebody published: `dbk_[0-9A-Za-z]{49}`.
const PREFIX: &str = "dbk_";

/// Digits of the checksum, after those of the secret.
const CHECKSUM: usize = 6;

/// The token that the row of a user names.
#[derive(Clone, Copy, Debug)]
pub struct TokenOf<'a> {
    pub user: &'a str,
    pub token: &'a str,
}

/// A token that is stored. What it may do, until when, and whether it is revoked, the row of its user says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundToken {
    pub token: String,
    pub user: String,
}

/// When a token was used last, to the minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUse {
    pub token: String,
    pub last_used_at: Option<DateTime<Utc>>,
    pub last_used_from: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Tokens {
    pool: PgPool,
    notes: Notes,
}

impl Tokens {
    pub(crate) fn new(store: &Store, notes: Notes) -> Self {
        Self { pool: store.pool().clone(), notes }
    }

    /// Makes a token under the id that an event of the user is about to name.
    pub async fn make(&self, of: TokenOf<'_>, now: DateTime<Utc>) -> Result<Shown, IdentityError> {
        let token = new_token();
        sqlx::query("insert into token_secrets (id, user_id, hash, made_at) values ($1, $2, $3, $4)")
            .bind(of.token)
            .bind(of.user)
            .bind(token.hash().as_slice())
            .bind(now)
            .execute(&self.pool)
            .await?;
        Ok(token)
    }

    /// The token, if it is one. That it was used is noted at most once a minute, and nobody waits for it.
    pub async fn find(
        &self,
        secret: &Secret,
        address: IpAddr,
        now: DateTime<Utc>,
    ) -> Result<Option<FoundToken>, IdentityError> {
        // What is none by its form is not looked up.
        if !is_well_formed(secret.expose()) {
            return Ok(None);
        }
        let row = sqlx::query("select id, user_id, last_used_at from token_secrets where hash = $1")
            .bind(secret.hash().as_slice())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let found = FoundToken { token: row.try_get("id")?, user: row.try_get("user_id")? };
        let last_used_at: Option<DateTime<Utc>> = row.try_get("last_used_at")?;
        if last_used_at.is_none_or(|last| last <= now - NOTED_EVERY) {
            self.note(found.token.clone(), address, now);
        }
        Ok(Some(found))
    }

    fn note(&self, id: String, address: IpAddr, now: DateTime<Utc>) {
        let pool = self.pool.clone();
        self.notes.write("the use of a token", async move {
            sqlx::query(
                "update token_secrets set last_used_at = $2, last_used_from = $3
                 where id = $1 and (last_used_at is null or last_used_at <= $4)",
            )
            .bind(id)
            .bind(now)
            .bind(address.to_string())
            .bind(now - NOTED_EVERY)
            .execute(&pool)
            .await?;
            Ok(())
        });
    }

    /// When each token of a user was used last, the newest token first.
    pub async fn uses(&self, user: &str) -> Result<Vec<TokenUse>, IdentityError> {
        let uses = sqlx::query_as(
            "select id, last_used_at, last_used_from from token_secrets where user_id = $1 order by made_at desc, id desc",
        )
        .bind(user)
        .fetch_all(&self.pool)
        .await?;
        Ok(uses)
    }
}

impl FromRow<'_, PgRow> for TokenUse {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            token: row.try_get("id")?,
            last_used_at: row.try_get("last_used_at")?,
            last_used_from: row.try_get("last_used_from")?,
        })
    }
}

fn new_token() -> Shown {
    let secret = Shown::random();
    let secret = secret.expose();
    Shown::new(format!("{PREFIX}{secret}{}", checksum(secret)))
}

/// It keeps nobody from inventing a token; it tells one from a text that only looks like it.
fn checksum(secret: &str) -> String {
    digits(&Sha256::digest(secret)[..8], BASE62, CHECKSUM)
}

fn is_well_formed(token: &str) -> bool {
    let Some(rest) = token.strip_prefix(PREFIX) else { return false };
    rest.is_ascii() && rest.len() == DIGITS_OF_256_BITS + CHECKSUM && {
        let (secret, sum) = rest.split_at(DIGITS_OF_256_BITS);
        checksum(secret) == sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognised_by_its_form() {
        let token = new_token();
        assert!(is_well_formed(token.expose()));
        assert_eq!(token.expose().len(), 4 + 49);
        assert!(token.expose()[4..].bytes().all(|sign| sign.is_ascii_alphanumeric()));
    }

    #[test]
    fn a_text_with_one_sign_changed_is_no_token() {
        let token = new_token().expose().to_owned();
        for at in 4..token.len() {
            let other = if &token[at..=at] == "a" { "b" } else { "a" };
            let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            assert!(!is_well_formed(&changed), "at {at}");
        }
        for other in ["", "dbk_", &token[4..], &token[..52], &format!("{token}a"), "dbk_ä"] {
            assert!(!is_well_formed(other), "{other}");
        }
    }

    #[test]
    fn two_tokens_differ() {
        assert_ne!(new_token().expose(), new_token().expose());
    }
}
