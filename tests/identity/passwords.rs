//! Passwords: kept as hashes, valid under the id that the user names, and no slower for a name that nobody has.

use std::time::{Duration, Instant};

use daybook_identity::{
    Busy, Hashing, Identity, IdentityError, IdentityOptions, PasswordError, PasswordOf, SessionOptions,
};
use futures::future::join_all;

use super::{ADA, BOB, Ground, secret, start};

const PHRASE: &str = "correct horse battery staple";

/// The phrase, hashed by the reference implementation of argon2id with 8 MiB in one pass.
const EARLIER: &str =
    "$argon2id$v=19$m=8192,t=1,p=1$uxX0VMhv+bjdcrq7sii6Iw$PqEb7DQNeJJ1QaTtKgDqdX1kehFiTb7qQUyLh9MmhJo";

const OF_ADA: PasswordOf<'_> = PasswordOf { user: ADA, password: "pwd_1" };

#[tokio::test]
async fn a_password_is_right_for_its_user_under_the_id_that_the_user_names() {
    let ground = Ground::new().await;
    let passwords = &ground.identity.passwords;
    passwords.keep(OF_ADA, &secret(PHRASE), &[], start()).await.unwrap();
    assert!(passwords.verify(Some(OF_ADA), &secret(PHRASE)).await.unwrap());
    for (of, attempt) in [
        (Some(OF_ADA), "correct horse battery stapler"),
        (Some(OF_ADA), ""),
        // Written, and not named by the user: the event that would name it was never recorded.
        (Some(PasswordOf { password: "pwd_0", ..OF_ADA }), PHRASE),
        (Some(PasswordOf { user: BOB, ..OF_ADA }), PHRASE),
        (None, PHRASE),
    ] {
        assert!(!passwords.verify(of, &secret(attempt)).await.unwrap(), "{of:?} {attempt}");
    }
    assert!(!passwords.verify(Some(OF_ADA), &secret(&PHRASE.repeat(40))).await.unwrap());
}

#[tokio::test]
async fn the_password_before_stays_until_another_is_named() {
    let ground = Ground::new().await;
    let passwords = &ground.identity.passwords;
    let next = PasswordOf { password: "pwd_2", ..OF_ADA };
    passwords.keep(OF_ADA, &secret(PHRASE), &[], start()).await.unwrap();
    passwords.keep(next, &secret("another horse, another staple"), &[], start()).await.unwrap();
    assert!(passwords.verify(Some(OF_ADA), &secret(PHRASE)).await.unwrap());
    assert!(!passwords.verify(Some(next), &secret(PHRASE)).await.unwrap());
}

#[tokio::test]
async fn what_is_stored_is_not_the_password() {
    let ground = Ground::new().await;
    ground.identity.passwords.keep(OF_ADA, &secret(PHRASE), &[], start()).await.unwrap();
    assert!(ground.holds("password_secrets", "$argon2id$v=19$m=19456,t=2,p=1$").await);
    assert!(!ground.holds("password_secrets", "horse").await);
}

#[tokio::test]
async fn an_unsuitable_password_is_not_stored() {
    let ground = Ground::new().await;
    let names = ["Ada Lovelace".to_owned()];
    for (chosen, code) in
        [("short", "password-too-short"), ("ada lovelace", "password-is-a-name"), ("password123", "password-guessable")]
    {
        let refused = ground.identity.passwords.keep(OF_ADA, &secret(chosen), &names, start()).await;
        let Err(PasswordError::Unsuitable(reason)) = refused else { panic!("{chosen}: {refused:?}") };
        assert_eq!(reason.code(), code);
    }
    assert_eq!(ground.count("password_secrets").await, 0);
}

#[tokio::test]
async fn a_hash_of_lower_parameters_is_made_anew_at_the_next_sign_in() {
    let ground = Ground::new().await;
    sqlx::query("insert into password_secrets (id, user_id, hash, made_at) values ('pwd_1', 'usr_ada', $1, now())")
        .bind(EARLIER)
        .execute(ground.database.pool())
        .await
        .unwrap();
    let stored = async || -> String {
        let hash = "select hash from password_secrets where id = 'pwd_1'";
        sqlx::query_scalar(hash).fetch_one(ground.database.pool()).await.unwrap()
    };
    assert!(!ground.identity.passwords.verify(Some(OF_ADA), &secret("a wrong one")).await.unwrap());
    assert_eq!(stored().await, EARLIER);
    assert!(ground.identity.passwords.verify(Some(OF_ADA), &secret(PHRASE)).await.unwrap());
    assert!(stored().await.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    assert!(ground.identity.passwords.verify(Some(OF_ADA), &secret(PHRASE)).await.unwrap());
}

#[tokio::test]
async fn a_stored_hash_that_is_none_is_an_error_and_lets_nobody_in() {
    let ground = Ground::new().await;
    sqlx::query("insert into password_secrets (id, user_id, hash, made_at) values ('pwd_1', 'usr_ada', 'x', now())")
        .execute(ground.database.pool())
        .await
        .unwrap();
    let outcome = ground.identity.passwords.verify(Some(OF_ADA), &secret(PHRASE)).await;
    assert!(matches!(outcome, Err(IdentityError::Unreadable { id }) if id == "pwd_1"));
}

/// The time is that of hashing: in the fastest of some rounds nothing else shows.
#[tokio::test]
async fn an_unknown_name_takes_as_long_as_a_wrong_password() {
    let ground = Ground::new().await;
    let passwords = &ground.identity.passwords;
    passwords.keep(OF_ADA, &secret(PHRASE), &[], start()).await.unwrap();
    let fastest = async |of: Option<PasswordOf<'_>>| -> Duration {
        let mut fastest = Duration::MAX;
        for _ in 0..10 {
            let began = Instant::now();
            assert!(!passwords.verify(of, &secret("a wrong password")).await.unwrap());
            fastest = fastest.min(began.elapsed());
        }
        fastest
    };
    let (wrong, unknown) = (fastest(Some(OF_ADA)).await, fastest(None).await);
    assert!(unknown * 2 > wrong && wrong * 2 > unknown, "{wrong:?} {unknown:?}");
}

#[tokio::test]
async fn a_storm_of_sign_ins_is_sent_away_with_a_time_to_come_back() {
    let ground = Ground::new().await;
    let options = IdentityOptions {
        keys: ground.keys.path().to_owned(),
        hashing: Hashing::new(1),
        sessions: SessionOptions::default(),
    };
    let identity = Identity::new(&ground.database.store().await, options);
    let attempt = secret("a wrong password");
    let outcomes = join_all((0..40).map(|_| identity.passwords.verify(None, &attempt))).await;
    let (refused, answered): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_err);
    assert!(!refused.is_empty() && answered.len() >= 9, "{} {}", refused.len(), answered.len());
    assert!(
        refused.iter().all(
            |refused| matches!(refused, Err(IdentityError::Busy(Busy { retry_after })) if retry_after.as_secs() > 0)
        )
    );
}
