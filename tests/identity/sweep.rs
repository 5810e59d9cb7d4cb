//! What nothing names goes after an hour; what somebody may still need stays.

use chrono::{DateTime, Duration, Utc};
use daybook_identity::{
    Access, AccessKind, Attempt, Ended, FactorOf, Level, Named, NewLink, NewSession, PasswordOf, Purpose, RecoveryOf,
    Swept, TokenOf,
};

use super::{ADA, Ground, address, after, secret, sent, start};

const PHRASE: &str = "correct horse battery staple";

/// One of each kind under this number.
async fn keep(ground: &Ground, number: u32, now: DateTime<Utc>) -> Vec<String> {
    let ids = ["pwd", "fac", "rec", "tok"].map(|kind| format!("{kind}_{number}"));
    let identity = &ground.identity;
    let password = PasswordOf { user: ADA, password: &ids[0] };
    identity.passwords.keep(password, &secret(PHRASE), &[], now).await.unwrap();
    identity.factors.enrol(FactorOf { user: ADA, factor: &ids[1] }, "Daybook", "ada", now).await.unwrap();
    identity.recovery.make(RecoveryOf { user: ADA, set: &ids[2] }, now).await.unwrap();
    identity.tokens.make(TokenOf { user: ADA, token: &ids[3] }, now).await.unwrap();
    ids.to_vec()
}

#[tokio::test]
async fn a_secret_that_nothing_names_goes_after_an_hour() {
    let ground = Ground::new().await;
    let ids = keep(&ground, 1, start()).await;
    keep(&ground, 2, start()).await;
    keep(&ground, 3, after(Duration::minutes(10))).await;
    let named = |minutes| Named { ids: ids.clone(), complete_to: after(Duration::minutes(minutes)) };
    let sweep = async |named: Named, minutes| {
        ground.identity.sweep(&named, after(Duration::minutes(minutes))).await.unwrap().secrets
    };
    assert_eq!(sweep(named(60), 60).await, 0);
    // A password, a factor, ten recovery codes and a token.
    assert_eq!(sweep(named(61), 61).await, 13);
    assert_eq!(sweep(named(61), 61).await, 0);
    // The rows of users are behind, and may not know yet what names the others.
    assert_eq!(sweep(named(61), 600).await, 0);
    assert_eq!(sweep(named(100), 600).await, 13);
    let of = PasswordOf { user: ADA, password: &ids[0] };
    assert!(ground.identity.passwords.verify(Some(of), &secret(PHRASE)).await.unwrap());
    assert_eq!(ground.count("recovery_codes where set_id = 'rec_1'").await, 10);
}

#[tokio::test]
async fn what_ended_goes_after_thirty_days_and_what_stands_stays() {
    let ground = Ground::new().await;
    let identity = &ground.identity;
    let new = NewSession { user: ADA, membership: None, level: Level::Password, address: address(), agent: None };
    let (ended, _) = identity.sessions.begin(new, start()).await.unwrap();
    identity.sessions.end(ADA, &ended.id, Ended::SignedOut, start()).await.unwrap();
    let (_, cookie) = identity.sessions.begin(new, after(Duration::days(31))).await.unwrap();
    for (purpose, days) in [(Purpose::PasswordReset, 0), (Purpose::Invitation, 31)] {
        identity.links.make(NewLink { user: ADA, purpose, about: None }, after(Duration::days(days))).await.unwrap();
    }
    let attempt = Attempt { account: "usn_1", address: address(), session: None };
    let admitted = identity.guessing.admit(attempt, start()).await.unwrap();
    identity.guessing.succeeded(admitted, start()).await.unwrap();
    let _failed = identity.guessing.admit(attempt, start()).await.unwrap();
    identity.guessing.refused(address(), start()).await.unwrap();
    identity.access_log.write(&Access::new(AccessKind::SignedIn), start()).await.unwrap();

    let named = Named { ids: Vec::new(), complete_to: after(Duration::days(400)) };
    let swept = identity.sweep(&named, after(Duration::days(29))).await.unwrap();
    // The failures of the network, taken back, and those of the account from there.
    assert_eq!(swept, Swept { counters: 2, ..Swept::default() });
    let now = after(Duration::days(31) + Duration::hours(1));
    let swept = identity.sweep(&named, now).await.unwrap();
    assert_eq!(swept, Swept { sessions: 1, links: 1, counters: 1, ..Swept::default() });
    assert!(identity.sessions.find(&sent(&cookie), now).await.unwrap().is_some());
    assert_eq!(identity.sweep(&named, after(Duration::days(61))).await.unwrap().sessions, 0);
    let swept = identity.sweep(&named, after(Duration::days(181))).await.unwrap();
    assert_eq!((swept.sessions, swept.counters), (1, 1));
    assert_eq!(ground.count("access_log").await, 1);
}
