//! Second factors: time-based codes (TOTP, RFC 6238), each of which works once. Their secret is sealed by a key outside of the
//! database.

use chrono::{DateTime, Utc};
use daybook_core::store::Store;
use sqlx::{PgPool, Row};
use strum::IntoStaticStr;
use totp_rs::{Algorithm, Builder, Totp};
use zeroize::Zeroizing;

use crate::{
    IdentityError, Keys, Secret, Shown,
    key_folder::with_files,
    keys::{KeyError, Sealed},
    secret::random,
};

/// As every authenticator has it.
const ALGORITHM: Algorithm = Algorithm::SHA1;
const DIGITS: u8 = 6;
const STEP_SECONDS: u64 = 30;
const SECRET_BYTES: usize = 20;

/// Steps by which the clock of an authenticator may differ.
const SKEW: u16 = 1;

/// What a factor is. Passkeys and the sign-in at another provider will be kinds, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum FactorKind {
    Totp,
}

/// The factor that the row of a user names, or is about to.
#[derive(Clone, Copy, Debug)]
pub struct FactorOf<'a> {
    pub user: &'a str,
    pub factor: &'a str,
}

/// What somebody puts into an authenticator. It is shown once.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// In base32, to be typed.
    pub secret: Shown,
    /// `otpauth://…`, for a QR code.
    pub uri: Shown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    Wrong,
    /// It is the right code, and was used already: the next one will do.
    UsedBefore,
}

#[derive(Clone, Debug)]
pub struct Factors {
    pool: PgPool,
    keys: Keys,
}

impl Factors {
    pub(crate) fn new(store: &Store, keys: Keys) -> Self {
        Self { pool: store.pool().clone(), keys }
    }

    /// Where the keys are.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Makes the secret of a factor. It becomes one by an event, which is recorded after a first [code](Self::verify) has
    /// shown that the authenticator has it.
    pub async fn enrol(
        &self,
        of: FactorOf<'_>,
        issuer: &str,
        account: &str,
        now: DateTime<Utc>,
    ) -> Result<Enrolment, IdentityError> {
        let secret = random::<SECRET_BYTES>();
        // An authenticator shows what it is for.
        let account = if account.trim().is_empty() { of.user } else { account };
        let enrolment = enrolment(&*secret, issuer, account);
        let sealed = self.seal(of, Zeroizing::new(secret.to_vec())).await?;
        sqlx::query(
            "insert into factor_secrets (id, user_id, kind, key_id, sealed, made_at) values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(of.factor)
        .bind(of.user)
        .bind(<&str>::from(FactorKind::Totp))
        .bind(sealed.key_id)
        .bind(sealed.bytes)
        .bind(now)
        .execute(&self.pool)
        .await?;
        Ok(enrolment)
    }

    /// Whether the code is that of this moment, or of the one before or after, and has not been used.
    pub async fn verify(&self, of: FactorOf<'_>, code: &Secret, now: DateTime<Utc>) -> Result<Verdict, IdentityError> {
        let row = sqlx::query("select key_id, sealed from factor_secrets where id = $1 and user_id = $2 and kind = $3")
            .bind(of.factor)
            .bind(of.user)
            .bind(<&str>::from(FactorKind::Totp))
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(Verdict::Wrong) };
        let sealed = Sealed { key_id: row.try_get("key_id")?, bytes: row.try_get("sealed")? };
        let (secret, is_newest) = self.open(of, sealed).await?;
        let Some(step) = step_of(&secret, code, now) else { return Ok(Verdict::Wrong) };
        // Sealed anew by the newest key, if that is another.
        let renewed = if is_newest { None } else { Some(self.seal(of, secret).await?) };
        let (key_id, bytes) = renewed.map(|sealed| (sealed.key_id, sealed.bytes)).unzip();
        // Compared and set by one statement: of two callers with one code, one is first.
        let used = sqlx::query(
            "update factor_secrets
             set last_step = $3, key_id = coalesce($4, key_id), sealed = coalesce($5, sealed)
             where id = $1 and user_id = $2 and (last_step is null or last_step < $3)",
        )
        .bind(of.factor)
        .bind(of.user)
        .bind(step)
        .bind(key_id)
        .bind(bytes)
        .execute(&self.pool)
        .await?;
        Ok(if used.rows_affected() == 1 { Verdict::Accepted } else { Verdict::UsedBefore })
    }

    /// How many factors were sealed at all.
    pub async fn stored(&self) -> Result<u64, IdentityError> {
        let stored = sqlx::query_scalar("select count(*) from factor_secrets where key_id is not null");
        Ok(stored.fetch_one(&self.pool).await.map(i64::unsigned_abs)?)
    }

    /// How many factors were sealed by a key that is not there, such as after a restore without the keys: their owners
    /// must set them up anew.
    pub async fn lost(&self) -> Result<u64, IdentityError> {
        let keys = self.keys.clone();
        let ids = with_files(move || keys.ids()).await?;
        let lost: i64 =
            sqlx::query_scalar("select count(*) from factor_secrets where key_id is not null and not key_id = any($1)")
                .bind(ids)
                .fetch_one(&self.pool)
                .await?;
        Ok(lost.unsigned_abs())
    }

    async fn seal(&self, of: FactorOf<'_>, secret: Zeroizing<Vec<u8>>) -> Result<Sealed, KeyError> {
        let (keys, place) = (self.keys.clone(), place(of));
        with_files(move || keys.seal(&secret, &place)).await
    }

    async fn open(&self, of: FactorOf<'_>, sealed: Sealed) -> Result<(Zeroizing<Vec<u8>>, bool), KeyError> {
        let (keys, place) = (self.keys.clone(), place(of));
        with_files(move || keys.open(&sealed, &place)).await
    }
}

fn place(of: FactorOf<'_>) -> String {
    format!("daybook totp\n{}\n{}", of.user, of.factor)
}

fn totp(secret: &[u8], issuer: Option<&str>, account: &str) -> Totp {
    Builder::new()
        .with_algorithm(ALGORITHM)
        .with_digits(DIGITS)
        .with_skew(SKEW)
        .with_step_duration(STEP_SECONDS)
        .with_secret(secret)
        .with_issuer(issuer)
        .with_account_name(account)
        .build_noncompliant()
}

fn enrolment(secret: &[u8], issuer: &str, account: &str) -> Enrolment {
    // A colon separates the two in the label of the URI.
    let plain = |text: &str| text.replace(':', " ");
    let totp = totp(secret, Some(&plain(issuer)), &plain(account));
    let uri = totp.to_url().expect("the names have no colon, and the account is not empty");
    Enrolment { secret: Shown::new(totp.secret().to_base32()), uri: Shown::new(uri) }
}

/// The step whose code this is.
fn step_of(secret: &[u8], code: &Secret, now: DateTime<Utc>) -> Option<i64> {
    let code: Zeroizing<String> = Zeroizing::new(code.expose().chars().filter(|sign| !sign.is_whitespace()).collect());
    let time = u64::try_from(now.timestamp()).ok()?;
    totp(secret, None, "").check(&code, time).and_then(|step| i64::try_from(step).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of RFC 6238, appendix B: the last six of its eight digits.
    const SECRET: &[u8] = b"12345678901234567890";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("a moment")
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(step_of(SECRET, &Secret::new(code), at(seconds)), Some(seconds / 30));
        }
    }

    #[test]
    fn a_clock_may_differ_by_one_step() {
        let code = Secret::new("081 804");
        let step = 1_111_111_109 / 30;
        for (difference, expected) in [(-60, None), (-30, Some(step)), (0, Some(step)), (30, Some(step)), (60, None)] {
            assert_eq!(step_of(SECRET, &code, at(1_111_111_109 + difference)), expected, "{difference}");
        }
    }

    #[test]
    fn what_is_no_code_is_wrong() {
        for other in ["", "08180", "0818040", "O81804", "７８９０１２"] {
            assert_eq!(step_of(SECRET, &Secret::new(other), at(1_111_111_109)), None, "{other}");
        }
    }

    #[test]
    fn an_authenticator_reads_the_uri() {
        let enrolment = enrolment(SECRET, "Ada: Hosting & Co", "ada@example.com");
        assert_eq!(enrolment.secret.expose(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let uri = enrolment.uri.expose();
        assert!(uri.starts_with("otpauth://totp/Ada%20%20Hosting%20%26%20Co:ada%40example.com?"), "{uri}");
        assert!(uri.contains("secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"), "{uri}");
        assert!(!format!("{enrolment:?}").contains("GEZDG"));
    }
}
