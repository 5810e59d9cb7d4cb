//! Guessing is held up, and only whoever guesses.

use std::net::IpAddr;

use chrono::{DateTime, Duration, Utc};
use daybook_identity::{Admitted, Attempt, Guessing, GuessingError};
use futures::future::join_all;

use super::{Ground, address, after, start};

const ACCOUNT: &str = "usn_hash_of_ada";

fn from(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn at(address: IpAddr) -> Attempt<'static> {
    Attempt { account: ACCOUNT, address, session: None }
}

/// How long an attempt is held up, if it is.
async fn held(guessing: &Guessing, attempt: Attempt<'_>, now: DateTime<Utc>) -> Option<Duration> {
    match guessing.admit(attempt, now).await {
        Ok(_failed) => None,
        Err(GuessingError::Held { retry_after }) => Some(retry_after),
        Err(error) => panic!("{error:?}"),
    }
}

async fn admitted(guessing: &Guessing, attempt: Attempt<'_>, now: DateTime<Utc>) -> Admitted {
    guessing.admit(attempt, now).await.unwrap()
}

/// Fails as often as it may, and answers with the waits between.
async fn fail(guessing: &Guessing, attempt: Attempt<'_>, times: usize, mut now: DateTime<Utc>) -> Vec<i64> {
    let mut waits = Vec::new();
    for _ in 0..times {
        let waited = held(guessing, attempt, now).await;
        if let Some(wait) = waited {
            now += wait;
            assert_eq!(held(guessing, attempt, now).await, None, "whoever waits as long as he was told may try");
        }
        waits.push(waited.map_or(0, |wait| wait.num_seconds()));
    }
    waits
}

#[tokio::test]
async fn waits_double_and_never_exceed_a_quarter_of_an_hour() {
    let ground = Ground::new().await;
    let waits = fail(&ground.identity.guessing, at(address()), 20, start()).await;
    assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900]);
}

#[tokio::test]
async fn all_processes_count_together() {
    let ground = Ground::new().await;
    let another = ground.another().await;
    for guessing in [&ground.identity.guessing, &another.guessing, &ground.identity.guessing, &another.guessing] {
        assert_eq!(held(guessing, at(address()), start()).await, None);
    }
    assert_eq!(held(&another.guessing, at(address()), start()).await, None);
    assert_eq!(held(&ground.identity.guessing, at(address()), start()).await, Some(Duration::seconds(1)));
}

/// Counted before they are made, so that nobody gains by trying everything at one moment.
#[tokio::test]
async fn of_many_attempts_at_once_no_more_get_through_than_one_after_another() {
    let ground = Ground::new().await;
    let another = ground.another().await;
    let attempts = (0..40).map(|number| {
        let guessing = if number % 2 == 0 { &ground.identity.guessing } else { &another.guessing };
        // From everywhere.
        held(guessing, at(from(&format!("203.0.113.{number}"))), start())
    });
    let through = join_all(attempts).await.into_iter().filter(Option::is_none).count();
    assert_eq!(through, 5);
}

#[tokio::test]
async fn a_network_is_held_up_whatever_names_it_tries() {
    let ground = Ground::new().await;
    let guessing = &ground.identity.guessing;
    let names: Vec<_> = (0..21).map(|number| format!("usn_{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        // Another address of one network each time.
        let attempt = Attempt { account: name, address: from(&format!("2001:db8::{number:x}")), session: None };
        assert_eq!(held(guessing, attempt, start()).await.is_some(), number == 20, "{number}");
    }
    let elsewhere = Attempt { account: &names[20], address: from("2001:db8:0:1::1"), session: None };
    assert_eq!(held(guessing, elsewhere, start()).await, None);
}

#[tokio::test]
async fn a_success_begins_anew_but_does_not_clear_the_network() {
    let ground = Ground::new().await;
    let guessing = &ground.identity.guessing;
    let own = Attempt { account: "usn_mallory", ..at(address()) };
    // Nineteen failures of the network, with a success of the guesser's own account after each few.
    for round in 0..4 {
        let name = format!("usn_{round}");
        for _ in 0..4 {
            assert_eq!(held(guessing, Attempt { account: &name, ..own }, start()).await, None);
        }
        let success = admitted(guessing, own, start()).await;
        guessing.succeeded(success, start()).await.unwrap();
    }
    for name in ["usn_a", "usn_b", "usn_c", "usn_d"] {
        assert_eq!(held(guessing, Attempt { account: name, ..own }, start()).await, None, "{name}");
    }
    let next = Attempt { account: "usn_e", ..own };
    assert_eq!(held(guessing, next, start()).await, Some(Duration::seconds(1)));
    // The account that signed in counts for itself from there, and has no failure.
    assert_eq!(fail(guessing, own, 6, start()).await, [0, 0, 0, 0, 0, 1]);
}

#[tokio::test]
async fn failures_of_others_do_not_hold_up_where_somebody_signed_in_before_or_has_a_session() {
    let ground = Ground::new().await;
    let guessing = &ground.identity.guessing;
    let success = admitted(guessing, at(address()), start()).await;
    guessing.succeeded(success, start()).await.unwrap();

    // From everywhere else, and by other names from the same place.
    fail(guessing, at(from("198.51.100.1")), 20, start()).await;
    for number in 0..30 {
        let name = format!("usn_{number}");
        held(guessing, Attempt { account: &name, ..at(address()) }, start()).await;
    }
    let now = after(Duration::seconds(1));
    assert!(held(guessing, at(from("192.0.2.1")), now).await.is_some(), "a stranger waits");
    assert_eq!(held(guessing, at(address()), now).await, None);
    let session = Attempt { session: Some("ses_1"), ..at(from("192.0.2.1")) };
    assert_eq!(held(guessing, session, now).await, None);
    // What fails there is held up there.
    assert_eq!(fail(guessing, session, 5, now).await, [0, 0, 0, 0, 1]);
    assert_eq!(held(guessing, Attempt { session: Some("ses_2"), ..session }, now).await, None);

    // A place is not known for ever.
    let later = after(Duration::days(181));
    let success = admitted(guessing, Attempt { account: "usn_bob", ..at(address()) }, later).await;
    guessing.succeeded(success, later).await.unwrap();
    fail(guessing, at(from("198.51.100.1")), 20, later).await;
    assert!(held(guessing, at(address()), later).await.is_some());
}

#[tokio::test]
async fn failures_are_forgotten_after_a_day_without_any() {
    let ground = Ground::new().await;
    let guessing = &ground.identity.guessing;
    fail(guessing, at(address()), 10, start()).await;
    assert_eq!(fail(guessing, at(address()), 1, after(Duration::hours(20))).await, [0]);
    assert_eq!(fail(guessing, at(address()), 1, after(Duration::hours(20))).await, [64]);
    assert_eq!(fail(guessing, at(address()), 6, after(Duration::hours(50))).await, [0, 0, 0, 0, 0, 1]);
}

#[tokio::test]
async fn an_attempt_that_was_not_made_is_no_failure() {
    let ground = Ground::new().await;
    let guessing = &ground.identity.guessing;
    for _ in 0..30 {
        let admitted = admitted(guessing, at(address()), start()).await;
        guessing.not_made(admitted).await.unwrap();
    }
    assert_eq!(fail(guessing, at(address()), 6, start()).await, [0, 0, 0, 0, 0, 1]);
}

#[tokio::test]
async fn refused_sign_ins_are_counted_per_minute_and_network() {
    let ground = Ground::new().await;
    let guessing = &ground.identity.guessing;
    for (seconds, address) in
        [(0, "203.0.113.7"), (59, "203.0.113.7"), (60, "203.0.113.7"), (61, "2001:db8::1"), (62, "2001:db8::2")]
    {
        guessing.refused(from(address), after(Duration::seconds(seconds))).await.unwrap();
    }
    let refusals = guessing.refusals(start(), 10).await.unwrap();
    let refusals: Vec<_> =
        refusals.iter().map(|minute| (minute.minute, minute.network.as_str(), minute.refused)).collect();
    let second = after(Duration::minutes(1));
    assert_eq!(refusals, [(second, "2001:db8::/64", 2), (second, "203.0.113.7", 1), (start(), "203.0.113.7", 2)]);
    assert_eq!(guessing.refusals(second, 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn no_table_holds_what_was_typed() {
    let ground = Ground::new().await;
    let guessing = &ground.identity.guessing;
    let success = admitted(guessing, at(address()), start()).await;
    guessing.succeeded(success, start()).await.unwrap();
    held(guessing, at(address()), start()).await;
    for table in ["sign_in_failures", "sign_in_origins"] {
        assert!(!ground.holds(table, ACCOUNT).await, "{table}");
    }
}
