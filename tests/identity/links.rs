//! Links that work once, for a time, and only as long as no newer one was sent.

use chrono::Duration;
use daybook_identity::{FoundLink, NewLink, Purpose, Standing};
use futures::future::join_all;

use super::{ADA, BOB, Ground, after, secret, sent, start};

const RESET: NewLink<'_> = NewLink { user: ADA, purpose: Purpose::PasswordReset, about: None };

#[tokio::test]
async fn a_link_is_looked_at_often_and_used_once() {
    let ground = Ground::new().await;
    let links = &ground.identity.links;
    let link = sent(&links.make(RESET, start()).await.unwrap());
    assert!(!ground.holds("one_time_links", &link.expose()[..16]).await);
    let found = FoundLink { user: ADA.into(), about: None, expires_at: after(Duration::hours(24)) };
    for _ in 0..2 {
        let standing = links.look(&link, Purpose::PasswordReset, start()).await.unwrap();
        assert_eq!(standing, Standing::Usable(found.clone()));
    }
    assert_eq!(links.redeem(&link, Purpose::PasswordReset, start()).await.unwrap(), Some(found));
    assert_eq!(links.redeem(&link, Purpose::PasswordReset, start()).await.unwrap(), None);
    assert_eq!(links.look(&link, Purpose::PasswordReset, start()).await.unwrap(), Standing::Used);
}

#[tokio::test]
async fn of_many_who_use_one_link_at_once_one_has_it() {
    let ground = Ground::new().await;
    let link = sent(&ground.identity.links.make(RESET, start()).await.unwrap());
    let another = ground.another().await;
    let uses = (0..8).map(|number| {
        let links = if number % 2 == 0 { &ground.identity.links } else { &another.links };
        links.redeem(&link, Purpose::PasswordReset, start())
    });
    let used = join_all(uses).await.into_iter().filter_map(Result::unwrap).count();
    assert_eq!(used, 1);
}

#[tokio::test]
async fn a_link_works_for_its_time() {
    let ground = Ground::new().await;
    let links = &ground.identity.links;
    for (purpose, life) in [
        (Purpose::SignIn, Duration::minutes(15)),
        (Purpose::PasswordReset, Duration::hours(24)),
        (Purpose::ConfirmMail, Duration::hours(24)),
        (Purpose::Invitation, Duration::days(7)),
    ] {
        let link = sent(&links.make(NewLink { purpose, ..RESET }, start()).await.unwrap());
        let just_before = after(life - Duration::milliseconds(1));
        assert!(matches!(links.look(&link, purpose, just_before).await.unwrap(), Standing::Usable(_)), "{purpose:?}");
        assert_eq!(links.look(&link, purpose, after(life)).await.unwrap(), Standing::Expired, "{purpose:?}");
        assert_eq!(links.redeem(&link, purpose, after(life)).await.unwrap(), None, "{purpose:?}");
        assert!(links.redeem(&link, purpose, just_before).await.unwrap().is_some(), "{purpose:?}");
    }
}

#[tokio::test]
async fn a_newer_link_takes_the_place_of_an_older_one_of_its_purpose() {
    let ground = Ground::new().await;
    let links = &ground.identity.links;
    let older = sent(&links.make(RESET, start()).await.unwrap());
    let invitation = sent(&links.make(NewLink { purpose: Purpose::Invitation, ..RESET }, start()).await.unwrap());
    let of_bob = sent(&links.make(NewLink { user: BOB, ..RESET }, start()).await.unwrap());
    let newer = sent(&links.make(RESET, start()).await.unwrap());
    assert_eq!(links.look(&older, Purpose::PasswordReset, start()).await.unwrap(), Standing::Unknown);
    assert_eq!(links.redeem(&older, Purpose::PasswordReset, start()).await.unwrap(), None);
    assert!(links.redeem(&invitation, Purpose::Invitation, start()).await.unwrap().is_some());
    assert!(links.redeem(&of_bob, Purpose::PasswordReset, start()).await.unwrap().is_some());
    assert!(links.redeem(&newer, Purpose::PasswordReset, start()).await.unwrap().is_some());
    // And one that was used up does not stand in the way of the next.
    let next = sent(&links.make(RESET, start()).await.unwrap());
    assert!(links.redeem(&next, Purpose::PasswordReset, start()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_link_is_worth_nothing_for_another_purpose() {
    let ground = Ground::new().await;
    let links = &ground.identity.links;
    let about = Some("ada@example.com");
    let link = NewLink { purpose: Purpose::ConfirmMail, about, ..RESET };
    let link = sent(&links.make(link, start()).await.unwrap());
    for purpose in [Purpose::PasswordReset, Purpose::Invitation, Purpose::SignIn] {
        assert_eq!(links.redeem(&link, purpose, start()).await.unwrap(), None, "{purpose:?}");
        assert_eq!(links.look(&link, purpose, start()).await.unwrap(), Standing::Unknown, "{purpose:?}");
    }
    assert_eq!(links.look(&secret("invented"), Purpose::ConfirmMail, start()).await.unwrap(), Standing::Unknown);
    let confirmed = links.redeem(&link, Purpose::ConfirmMail, start()).await.unwrap().unwrap();
    assert_eq!(confirmed.about.as_deref(), about);
}

#[tokio::test]
async fn an_invitation_can_be_taken_back() {
    let ground = Ground::new().await;
    let links = &ground.identity.links;
    let link = sent(&links.make(NewLink { purpose: Purpose::Invitation, ..RESET }, start()).await.unwrap());
    links.withdraw_all(ADA).await.unwrap();
    assert_eq!(links.redeem(&link, Purpose::Invitation, start()).await.unwrap(), None);
}
