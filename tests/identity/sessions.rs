//! Sessions: found by what the cookie carries, renewed when their level changes, and ended.

use chrono::{DateTime, Duration, Utc};
use daybook_identity::{CutOff, Ended, Level, NewSession, Session, Shown};

use super::{ADA, BOB, Ground, address, after, secret, sent, start};

fn new<'a>(user: &'a str) -> NewSession<'a> {
    let agent = Some("Mozilla/5.0\u{7} (X11)");
    NewSession { user, membership: Some("customer:cus_1"), level: Level::Password, address: address(), agent }
}

async fn signed_in(ground: &Ground, user: &str, now: DateTime<Utc>) -> (Session, Shown) {
    ground.identity.sessions.begin(new(user), now).await.unwrap()
}

#[tokio::test]
async fn a_session_is_found_with_all_that_a_request_needs() {
    let ground = Ground::new().await;
    let (session, cookie) = signed_in(&ground, ADA, start()).await;
    assert!(cookie.expose().len() == 43 && session.id.starts_with("ses_"));
    let found = ground.identity.sessions.find(&sent(&cookie), start()).await.unwrap().unwrap();
    assert_eq!(found, session);
    assert_eq!(
        (found.user.as_str(), found.membership.as_deref(), found.level),
        (ADA, Some("customer:cus_1"), Level::Password)
    );
    assert_eq!((found.address.as_str(), found.agent.as_deref()), ("203.0.113.7", Some("Mozilla/5.0 (X11)")));
    assert!(!found.is_stepped_up(start()));

    for other in ["", &session.id, &cookie.expose()[1..]] {
        assert_eq!(ground.identity.sessions.find(&secret(other), start()).await.unwrap(), None, "{other}");
    }
    // What is stored leads to no cookie.
    assert!(!ground.holds("sessions", &cookie.expose()[..16]).await);
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_and_after_its_time() {
    let ground = Ground::new().await;
    let sessions = &ground.identity.sessions;
    let (_, cookie) = signed_in(&ground, ADA, start()).await;
    let cookie = sent(&cookie);
    assert!(sessions.find(&cookie, after(Duration::hours(12) - Duration::seconds(1))).await.unwrap().is_some());
    ground.identity.settle().await;
    let mut hours = 20;
    while hours < 30 * 24 {
        assert!(sessions.find(&cookie, after(Duration::hours(hours))).await.unwrap().is_some(), "{hours}");
        ground.identity.settle().await;
        hours += 10;
    }
    assert!(sessions.find(&cookie, after(Duration::days(30))).await.unwrap().is_none());
    assert!(sessions.list(ADA, after(Duration::days(30))).await.unwrap().is_empty());
    assert!(sessions.raise(&cookie, Level::SecondFactor, after(Duration::days(30))).await.unwrap().is_none());

    let (_, idle) = signed_in(&ground, ADA, start()).await;
    assert!(sessions.find(&sent(&idle), after(Duration::hours(12))).await.unwrap().is_none());
}

#[tokio::test]
async fn its_use_is_noted_once_a_minute() {
    let ground = Ground::new().await;
    let (_, cookie) = signed_in(&ground, ADA, start()).await;
    for (seconds, noted) in [(30, 0), (59, 0), (60, 60), (100, 60), (120, 120)] {
        ground.identity.sessions.find(&sent(&cookie), after(Duration::seconds(seconds))).await.unwrap().unwrap();
        ground.identity.settle().await;
        let [session] = &ground.identity.sessions.list(ADA, start()).await.unwrap()[..] else { panic!("one session") };
        assert_eq!(session.seen_at, after(Duration::seconds(noted)), "{seconds}");
    }
}

/// Who has set somebody's cookie before the sign-in, or has seen it before the second factor, has nothing.
#[tokio::test]
async fn a_session_has_another_cookie_at_each_level() {
    let ground = Ground::new().await;
    let sessions = &ground.identity.sessions;
    let (session, first) = signed_in(&ground, ADA, start()).await;
    let second = sessions.raise(&sent(&first), Level::SecondFactor, start()).await.unwrap().unwrap();
    assert_eq!(sessions.find(&sent(&first), start()).await.unwrap(), None);
    let raised = sessions.find(&sent(&second), start()).await.unwrap().unwrap();
    assert_eq!((raised.id.as_str(), raised.level), (session.id.as_str(), Level::SecondFactor));
    // It does not fall again.
    let third = sessions.raise(&sent(&second), Level::Password, start()).await.unwrap().unwrap();
    let fourth = sessions.step_up(&sent(&third), start()).await.unwrap().unwrap();
    for earlier in [&second, &third] {
        assert_eq!(sessions.find(&sent(earlier), start()).await.unwrap(), None);
        assert!(sessions.raise(&sent(earlier), Level::SecondFactor, start()).await.unwrap().is_none());
    }
    let stepped_up = sessions.find(&sent(&fourth), start()).await.unwrap().unwrap();
    assert_eq!(stepped_up.level, Level::SecondFactor);
    assert!(stepped_up.is_stepped_up(after(Duration::seconds(299))));
    assert!(!stepped_up.is_stepped_up(after(Duration::seconds(300))));
}

#[tokio::test]
async fn of_two_who_renew_one_session_one_has_it() {
    let ground = Ground::new().await;
    let (_, cookie) = signed_in(&ground, ADA, start()).await;
    let (one, two) = (ground.another().await, ground.another().await);
    let cookie = sent(&cookie);
    let (one, two) = tokio::join!(one.sessions.step_up(&cookie, start()), two.sessions.step_up(&cookie, start()));
    let renewed: Vec<_> = [one.unwrap(), two.unwrap()].into_iter().flatten().collect();
    assert_eq!(renewed.len(), 1);
    assert!(ground.identity.sessions.find(&sent(&renewed[0]), start()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_session_acts_as_another_membership() {
    let ground = Ground::new().await;
    let (session, cookie) = signed_in(&ground, ADA, start()).await;
    ground.identity.sessions.switch(&session.id, "provider").await.unwrap();
    let found = ground.identity.sessions.find(&sent(&cookie), start()).await.unwrap().unwrap();
    assert_eq!(found.membership.as_deref(), Some("provider"));
}

#[tokio::test]
async fn sessions_are_listed_and_ended_by_their_user_only() {
    let ground = Ground::new().await;
    let sessions = &ground.identity.sessions;
    let (first, cookie) = signed_in(&ground, ADA, start()).await;
    let (second, second_cookie) = signed_in(&ground, ADA, after(Duration::minutes(1))).await;
    let (third, _) = signed_in(&ground, ADA, after(Duration::minutes(2))).await;
    let (of_bob, cookie_of_bob) = signed_in(&ground, BOB, start()).await;
    let listed = async |user| {
        let listed = ground.identity.sessions.list(user, after(Duration::minutes(3))).await.unwrap();
        listed.into_iter().map(|session| session.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(ADA).await, [&third.id, &second.id, &first.id].map(String::clone));

    assert!(!sessions.end(ADA, &of_bob.id, Ended::ByUser, start()).await.unwrap());
    assert!(sessions.end(ADA, &first.id, Ended::SignedOut, start()).await.unwrap());
    assert!(!sessions.end(ADA, &first.id, Ended::SignedOut, start()).await.unwrap());
    assert_eq!(sessions.find(&sent(&cookie), start()).await.unwrap(), None, "a stolen cookie is worth nothing");

    assert_eq!(sessions.end_but(ADA, Some(&second.id), Ended::PasswordChanged, start()).await.unwrap(), 1);
    assert_eq!(listed(ADA).await, [second.id]);
    ground.identity.cut_off(&CutOff::all(ADA, Ended::UserDisabled), start()).await.unwrap();
    assert_eq!(sessions.find(&sent(&second_cookie), start()).await.unwrap(), None);
    assert!(sessions.find(&sent(&cookie_of_bob), start()).await.unwrap().is_some());
    let why: Vec<String> = sqlx::query_scalar("select ended_by from sessions where ended_by is not null order by id")
        .fetch_all(ground.database.pool())
        .await
        .unwrap();
    assert_eq!(why.len(), 3);
    for expected in ["signed_out", "password_changed", "user_disabled"] {
        assert!(why.iter().any(|why| why == expected), "{why:?}");
    }
}
