//! The names that users sign in by, as the book has them.

use daybook_core::{
    domain::{Id, UserNameId},
    store::shared_key,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sqlx::PgPool;
use unicode_normalization::UnicodeNormalization;

/// Names users by what they sign in by, so that the book does not say it: HMAC-SHA-256 under a key of the ledger.
#[derive(Clone, Debug)]
pub struct LoginKey(Hmac<Sha256>);

impl LoginKey {
    /// The key of this ledger, made when it is needed first.
    pub async fn of(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let key = shared_key(pool, "login").await?;
        Ok(Self(Hmac::new_from_slice(&key).expect("a key may have any length")))
    }

    /// What the name is called in the book. Names that look the same are the same, however they are written.
    pub fn name(&self, login: &str) -> UserNameId {
        let normalised: String = login.trim().nfkc().collect::<String>().to_lowercase().nfkc().collect();
        let digest = self.0.clone().chain_update(normalised).finalize().into_bytes();
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Id::named(&name).expect("hexadecimal digits are characters of a name")
    }
}
