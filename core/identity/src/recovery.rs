//! Recovery codes, for whoever has lost the second factor: ten, each of which works once.

use chrono::{DateTime, Utc};
use daybook_core::store::Store;
use sqlx::PgPool;

use crate::{
    IdentityError, Secret, Shown,
    secret::{digits, hash_of, random},
};

const CODES: usize = 10;

/// Crockford's base32: no sign looks like another.
const ALPHABET: &[u8] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 80 bits: nobody finds a code by trying hashes.
const SIGNS: usize = 16;
const GROUP: usize = 4;

/// The set of codes that the row of a user names.
#[derive(Clone, Copy, Debug)]
pub struct RecoveryOf<'a> {
    pub user: &'a str,
    pub set: &'a str,
}

#[derive(Clone, Debug)]
pub struct RecoveryCodes {
    pool: PgPool,
}

impl RecoveryCodes {
    pub(crate) fn new(store: &Store) -> Self {
        Self { pool: store.pool().clone() }
    }

    /// Makes a set under the id that an event of the user is about to name. The set before is worth nothing once another
    /// is named.
    pub async fn make(&self, of: RecoveryOf<'_>, now: DateTime<Utc>) -> Result<Vec<Shown>, IdentityError> {
        let codes: Vec<Shown> = (0..CODES).map(|_| new_code()).collect();
        let hashes: Vec<_> = codes.iter().map(|code| hash(of, code.expose()).to_vec()).collect();
        sqlx::query(
            "insert into recovery_codes (set_id, hash, user_id, made_at)
             select $1, hash, $3, $4 from unnest($2::bytea[]) as made (hash)",
        )
        .bind(of.set)
        .bind(hashes)
        .bind(of.user)
        .bind(now)
        .execute(&self.pool)
        .await?;
        Ok(codes)
    }

    /// Uses a code up. Whether it was one: of two callers with one code, one is first.
    pub async fn redeem(&self, of: RecoveryOf<'_>, code: &Secret, now: DateTime<Utc>) -> Result<bool, IdentityError> {
        let used = sqlx::query(
            "update recovery_codes set used_at = $4
             where set_id = $1 and user_id = $2 and hash = $3 and used_at is null",
        )
        .bind(of.set)
        .bind(of.user)
        .bind(hash(of, code.expose()).as_slice())
        .bind(now)
        .execute(&self.pool)
        .await?;
        Ok(used.rows_affected() == 1)
    }

    /// How many codes have not been used.
    pub async fn left(&self, of: RecoveryOf<'_>) -> Result<u64, IdentityError> {
        let left: i64 = sqlx::query_scalar(
            "select count(*) from recovery_codes where set_id = $1 and user_id = $2 and used_at is null",
        )
        .bind(of.set)
        .bind(of.user)
        .fetch_one(&self.pool)
        .await?;
        Ok(left.unsigned_abs())
    }
}

/// Such as `7k3m-9xq2-…`, of four groups.
fn new_code() -> Shown {
    let signs = digits(&*random::<10>(), ALPHABET, SIGNS);
    let groups: Vec<_> = (0..SIGNS).step_by(GROUP).map(|at| &signs[at..at + GROUP]).collect();
    Shown::new(groups.join("-"))
}

/// Of what was typed, however it was grouped, and with the signs that look like another.
fn hash(of: RecoveryOf<'_>, code: &str) -> [u8; 32] {
    let as_meant = |sign: char| match sign.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        sign => sign,
    };
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).map(as_meant).collect();
    hash_of(&["recovery code", of.user, of.set, &code])
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: RecoveryOf<'_> = RecoveryOf { user: "usr_1", set: "rec_1" };

    #[test]
    fn a_code_has_four_groups_of_signs_that_look_like_no_other() {
        let code = new_code();
        assert_eq!(code.expose().len(), 19);
        assert!(code.expose().split('-').all(|group| group.len() == 4), "{}", code.expose());
        assert!(code.expose().bytes().all(|sign| sign == b'-' || ALPHABET.contains(&sign)), "{}", code.expose());
        assert_ne!(new_code().expose(), code.expose());
    }

    #[test]
    fn a_code_may_be_typed_as_it_is_read() {
        assert_eq!(hash(OF, "1o0L-abcd"), hash(OF, " 1001 ABCD"));
        assert_ne!(hash(OF, "1001-abcd"), hash(OF, "1001-abce"));
        assert_ne!(hash(OF, "1001-abcd"), hash(RecoveryOf { set: "rec_2", ..OF }, "1001-abcd"));
    }
}
