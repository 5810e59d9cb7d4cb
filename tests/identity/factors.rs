//! Second factors and recovery codes: a code works once, whoever asks at the same moment.

use std::{collections::BTreeSet, fs};

use chrono::{DateTime, Duration, Utc};
use daybook_identity::{FactorOf, IdentityError, KeyError, RecoveryOf, Secret, Verdict};
use futures::future::join_all;
use ring::hmac;

use super::{ADA, BOB, Ground, after, secret, sent, start};

const OF_ADA: FactorOf<'_> = FactorOf { user: ADA, factor: "fac_1" };
const CODES: RecoveryOf<'_> = RecoveryOf { user: ADA, set: "rec_1" };

/// An authenticator of our own (RFC 6238), which shares no code with the one that is tested.
struct Authenticator(hmac::Key);

impl Authenticator {
    async fn enrolled(ground: &Ground, of: FactorOf<'_>) -> Self {
        let enrolment = ground.identity.factors.enrol(of, "Daybook", "ada", start()).await.unwrap();
        let typed = enrolment.secret.expose();
        assert!(enrolment.uri.expose().contains(typed), "the QR code says the same");
        let bits: String = typed
            .bytes()
            .map(|sign| "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".bytes().position(|of| of == sign).unwrap())
            .map(|five| format!("{five:05b}"))
            .collect();
        let bytes: Vec<u8> =
            (0..bits.len() / 8).map(|at| u8::from_str_radix(&bits[8 * at..8 * at + 8], 2).unwrap()).collect();
        assert_eq!(bytes.len(), 20);
        assert!(!ground.holds("factor_secrets", &typed[..16]).await, "it is sealed");
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes))
    }

    fn code(&self, at: DateTime<Utc>) -> Secret {
        let tag = hmac::sign(&self.0, &(at.timestamp() / 30).to_be_bytes());
        let tag = tag.as_ref();
        let from = usize::from(tag[19] & 15);
        let number = u32::from_be_bytes(tag[from..from + 4].try_into().unwrap()) & 0x7fff_ffff;
        secret(&format!("{:06}", number % 1_000_000))
    }
}

#[tokio::test]
async fn a_code_works_once() {
    let ground = Ground::new().await;
    let authenticator = Authenticator::enrolled(&ground, OF_ADA).await;
    let factors = &ground.identity.factors;
    let code = authenticator.code(start());
    assert_eq!(factors.verify(OF_ADA, &code, start()).await.unwrap(), Verdict::Accepted);
    assert_eq!(factors.verify(OF_ADA, &code, start()).await.unwrap(), Verdict::UsedBefore);
    // One of an earlier step does not work after it either.
    let earlier = authenticator.code(after(Duration::seconds(-30)));
    assert_eq!(factors.verify(OF_ADA, &earlier, start()).await.unwrap(), Verdict::UsedBefore);
    let next = after(Duration::seconds(30));
    assert_eq!(factors.verify(OF_ADA, &authenticator.code(next), next).await.unwrap(), Verdict::Accepted);
}

#[tokio::test]
async fn of_many_who_have_one_code_at_once_one_gets_in() {
    let ground = Ground::new().await;
    let authenticator = Authenticator::enrolled(&ground, OF_ADA).await;
    let (code, another) = (authenticator.code(start()), ground.another().await);
    let attempts = (0..8).map(|number| {
        let factors = if number % 2 == 0 { &ground.identity.factors } else { &another.factors };
        factors.verify(OF_ADA, &code, start())
    });
    let verdicts: Vec<_> = join_all(attempts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Accepted).count(), 1, "{verdicts:?}");
}

#[tokio::test]
async fn a_clock_may_differ_by_one_step_and_no_more() {
    let ground = Ground::new().await;
    let authenticator = Authenticator::enrolled(&ground, OF_ADA).await;
    let factors = &ground.identity.factors;
    for (seconds, verdict) in [
        (-60, Verdict::Wrong),
        (60, Verdict::Wrong),
        (-30, Verdict::Accepted),
        (0, Verdict::Accepted),
        (30, Verdict::Accepted),
    ] {
        let code = authenticator.code(after(Duration::seconds(seconds)));
        assert_eq!(factors.verify(OF_ADA, &code, start()).await.unwrap(), verdict, "{seconds}");
    }
}

#[tokio::test]
async fn a_factor_is_that_of_its_user_under_the_id_that_the_user_names() {
    let ground = Ground::new().await;
    let authenticator = Authenticator::enrolled(&ground, OF_ADA).await;
    for of in [FactorOf { user: BOB, ..OF_ADA }, FactorOf { factor: "fac_2", ..OF_ADA }] {
        let verdict = ground.identity.factors.verify(of, &authenticator.code(start()), start()).await.unwrap();
        assert_eq!(verdict, Verdict::Wrong, "{of:?}");
    }
}

/// Who can write into the tables, and does not have the key, gives nobody a factor that he knows.
#[tokio::test]
async fn a_sealed_secret_cannot_be_moved_to_another_user() {
    let ground = Ground::new().await;
    let authenticator = Authenticator::enrolled(&ground, FactorOf { user: BOB, factor: "fac_2" }).await;
    sqlx::query("update factor_secrets set user_id = 'usr_ada', id = 'fac_1'")
        .execute(ground.database.pool())
        .await
        .unwrap();
    let moved = ground.identity.factors.verify(OF_ADA, &authenticator.code(start()), start()).await;
    assert!(matches!(moved, Err(IdentityError::Keys(KeyError::Forged))), "{moved:?}");
}

#[tokio::test]
async fn a_rotated_key_seals_anew_what_is_used() {
    let ground = Ground::new().await;
    let authenticator = Authenticator::enrolled(&ground, OF_ADA).await;
    Authenticator::enrolled(&ground, FactorOf { user: BOB, factor: "fac_2" }).await;
    let factors = &ground.identity.factors;
    factors.keys().add().unwrap();
    let ids = factors.keys().ids().unwrap();
    assert_eq!(factors.verify(OF_ADA, &authenticator.code(start()), start()).await.unwrap(), Verdict::Accepted);
    let sealed_by: Vec<String> = sqlx::query_scalar("select key_id from factor_secrets order by id")
        .fetch_all(ground.database.pool())
        .await
        .unwrap();
    assert_eq!(sealed_by, [ids[1].clone(), ids[0].clone()]);
    assert_eq!(factors.lost().await.unwrap(), 0);

    // Without the first file only what is sealed by it is lost, and said to be.
    fs::remove_file(ground.keys.path().join("totp.key")).unwrap();
    assert_eq!(factors.lost().await.unwrap(), 1);
    let next = after(Duration::seconds(30));
    assert_eq!(factors.verify(OF_ADA, &authenticator.code(next), next).await.unwrap(), Verdict::Accepted);
    let lost = factors.verify(FactorOf { user: BOB, factor: "fac_2" }, &secret("123456"), start()).await;
    assert!(matches!(lost, Err(IdentityError::Keys(KeyError::Missing { .. }))), "{lost:?}");
}

#[tokio::test]
async fn recovery_codes_work_once_each() {
    let ground = Ground::new().await;
    let recovery = &ground.identity.recovery;
    let codes = recovery.make(CODES, start()).await.unwrap();
    assert_eq!(codes.iter().map(|code| code.expose()).collect::<BTreeSet<_>>().len(), 10);
    assert_eq!(recovery.left(CODES).await.unwrap(), 10);
    assert!(recovery.redeem(CODES, &sent(&codes[3]), start()).await.unwrap());
    assert!(!recovery.redeem(CODES, &sent(&codes[3]), start()).await.unwrap());
    let typed = codes[4].expose().to_uppercase().replace('-', " ");
    assert!(recovery.redeem(CODES, &secret(&typed), start()).await.unwrap());
    assert!(!recovery.redeem(CODES, &secret("0000-0000-0000-0000"), start()).await.unwrap());
    assert!(!recovery.redeem(CODES, &secret(""), start()).await.unwrap());
    assert_eq!(recovery.left(CODES).await.unwrap(), 8);

    let another = ground.another().await;
    let code = sent(&codes[5]);
    let uses = (0..8).map(|number| {
        let recovery = if number % 2 == 0 { recovery } else { &another.recovery };
        recovery.redeem(CODES, &code, start())
    });
    assert_eq!(join_all(uses).await.into_iter().filter(|used| *used.as_ref().unwrap()).count(), 1);
}

#[tokio::test]
async fn recovery_codes_are_those_of_the_set_that_the_user_names() {
    let ground = Ground::new().await;
    let recovery = &ground.identity.recovery;
    let codes = recovery.make(CODES, start()).await.unwrap();
    let next = RecoveryOf { set: "rec_2", ..CODES };
    let newer = recovery.make(next, start()).await.unwrap();
    for (of, code) in [(next, &codes[0]), (RecoveryOf { user: BOB, ..CODES }, &codes[0]), (CODES, &newer[0])] {
        assert!(!recovery.redeem(of, &sent(code), start()).await.unwrap(), "{of:?}");
    }
    assert_eq!(recovery.left(next).await.unwrap(), 10);
    assert!(recovery.redeem(next, &sent(&newer[0]), start()).await.unwrap());
    for code in &codes {
        assert!(!ground.holds("recovery_codes", code.expose()).await);
        assert!(!ground.holds("recovery_codes", &code.expose().replace('-', "")).await);
    }
}
