//! The answers already given: a command that comes again gets the same answer, and nothing is done twice.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{StoreError, events::unsigned};
use crate::{event::Position, operations::Answer};

/// The narrow form of a scope and a key.
pub type KeyDigest = Uuid;

/// What was answered under a key, and to which request.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    pub fingerprint: [u8; 32],
    pub position: Position,
    pub answer: Answer,
}

/// The first 128 bits of a SHA-256. The length of the scope goes in, so that no scope and key run into others.
pub fn digest(scope: &str, key: &str) -> KeyDigest {
    let mut hash = Sha256::new();
    hash.update((scope.len() as u64).to_be_bytes());
    hash.update(scope);
    hash.update(key);
    let hash: [u8; 32] = hash.finalize().into();
    let (narrow, _) = hash.split_at(16);
    Uuid::from_slice(narrow).expect("16 bytes are a UUID")
}

/// What was answered under any of these keys.
pub async fn given(connection: &mut PgConnection, keys: &[KeyDigest]) -> Result<HashMap<KeyDigest, Given>, StoreError> {
    let rows: Vec<(Uuid, Vec<u8>, i64, String)> =
        sqlx::query_as("select key, fingerprint, position, answer::text from idempotency where key = any($1)")
            .bind(keys)
            .fetch_all(connection)
            .await?;
    rows.into_iter()
        .map(|(key, fingerprint, position, answer)| {
            let fingerprint =
                fingerprint.try_into().map_err(|_| sqlx::Error::Decode("a fingerprint has 32 bytes".into()))?;
            let answer = serde_json::from_str(&answer).map_err(StoreError::Answer)?;
            Ok((key, Given { fingerprint, position: unsigned(position)?, answer }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_and_key_do_not_run_into_each_other() {
        assert_ne!(digest("ab", "c"), digest("a", "bc"));
        assert_eq!(digest("ab", "c"), digest("ab", "c"));
    }
}
