//! Signing in under load, and what is removed once it has ended.

use std::{net::Ipv4Addr, time::Duration};

use daybook_api::{AppOptions, SweepOptions};
use daybook_core::domain::{Party, function::Role, user::MembershipChange as M};
use daybook_identity::Hashing;
use daybook_tests::{
    api::{Answer, TestApp},
    history::LONG,
    people::PASSWORD,
};
use futures::{future::join_all, join};
use reqwest::{Client, Method};
use serde_json::json;
use tokio::{task::yield_now, time::timeout};

/// How many sign in at once, each from a network of its own.
const STORM: u8 = 100;

/// A few are looked at, one after the other; the rest is sent away at once. Reads are answered meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_sign_ins_is_sent_away_beyond_a_short_queue_and_others_go_on() {
    let mut options = AppOptions::default();
    options.identity.hashing = Hashing::new(1);
    let app = TestApp::guarded_with(options).await;
    let anna = app.person("anna", &Party::Provider, vec![M::GrantRole(Role::Staff)]).await;
    let url = format!("{}/v1/sign-in", app.url);
    let storm = async {
        let attempts = (1..=STORM).map(|number| {
            let client =
                Client::builder().local_address(Some(Ipv4Addr::new(127, 0, 7, number).into())).build().unwrap();
            let body = json!({ "login": format!("nobody{number}@example.org"), "password": PASSWORD });
            Answer::to(client.post(&url).json(&body))
        });
        join_all(attempts).await
    };
    let reads = async {
        let mut answered = 0;
        for _ in 0..20 {
            assert_eq!(app.read_by(&anna, "/v1/accounts").await.status, 200);
            answered += 1;
        }
        answered
    };
    let (answers, answered) = join!(storm, reads);
    let (refused, sent_away): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(|answer| answer.status == 401);
    for answer in &refused {
        answer.refused(401, "sign-in-refused");
    }
    for answer in &sent_away {
        answer.refused(503, "overloaded");
        assert_eq!(answer.header("retry-after"), "2");
    }
    eprintln!("{} refused, {} sent away, {answered} reads", refused.len(), sent_away.len());
    // Nine have a place at the same time.
    assert!(refused.len() >= 9 && !sent_away.is_empty(), "{} and {}", refused.len(), sent_away.len());
    // An attempt that was not looked at counts for nobody.
    let failures: i64 = sqlx::query_scalar("select coalesce(sum(failures), 0)::bigint from sign_in_failures")
        .fetch_one(app.database.pool())
        .await
        .unwrap();
    // Each counts for its name and for its network.
    assert_eq!(failures, 2 * refused.len() as i64);
}

/// The server looks for it by itself, now and then.
#[tokio::test]
async fn what_has_ended_is_swept_while_the_server_runs() {
    let options = AppOptions {
        sweep: SweepOptions { pause: Duration::from_millis(1), ..SweepOptions::default() },
        ..AppOptions::default()
    };
    let app = TestApp::guarded_with(options).await;
    let user = app.invited("ada@example.org", &Party::Customer(app.customer("Ada").await), vec![]).await;
    app.with_password(&user).await;
    let session = app.signed_in("ada@example.org").await;
    let pool = app.database.pool();
    for old in [
        "insert into token_secrets (id, user_id, hash, made_at) values ('tok_orphan', 'usr_1', '\\x00', now() - interval '2 hours')",
        "insert into one_time_links (user_id, purpose, hash, made_at, expires_at)
         values ('usr_1', 'invitation', '\\x00', now() - interval '90 days', now() - interval '80 days')",
        "insert into sign_in_refusals (minute, network, refused) values (now() - interval '90 days', '203.0.113.7', 1)",
        "select access_log_month(now() - interval '20 months')",
    ] {
        sqlx::query(old).execute(pool).await.unwrap();
    }
    let left = "select (select count(*) from token_secrets where id = 'tok_orphan')
         + (select count(*) from one_time_links where user_id = 'usr_1')
         + (select count(*) from sign_in_refusals)
         + (select count(*) from pg_inherits where inhparent = 'access_log'::regclass)";
    let swept = async {
        // The part of this month stays.
        while sqlx::query_scalar::<_, i64>(left).fetch_one(pool).await.unwrap() > 1 {
            yield_now().await;
        }
    };
    timeout(LONG, swept).await.expect("what has ended is removed");
    // What has not ended stays.
    let me = Answer::to(app.from_page(&session, Method::GET, "/v1/me")).await;
    assert_eq!(me.status, 200, "{}", me.text);
}
