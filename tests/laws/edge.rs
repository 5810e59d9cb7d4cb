//! The manners of the edge: how many requests somebody may send, which pages may ask, and what is too long or too slow.

use daybook_api::{AppOptions, RateOptions};
use daybook_core::domain::{Party, function::Role, user::MembershipChange as M};
use daybook_tests::{
    api::{Answer, TestApp},
    people::PASSWORD,
};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn a_user_has_one_bucket_whatever_it_shows() {
    let rates = RateOptions { of_principal: 4, of_address: 0 };
    let app = TestApp::guarded_with(AppOptions { rates, ..AppOptions::default() }).await;
    let staff = vec![M::GrantRole(Role::Staff)];
    let ada = app.person("ada", &Party::Provider, staff.clone()).await;
    let other = app.tokened(&ada.user, &Party::Provider, None, None).await;
    let bob = app.person("bob", &Party::Provider, staff).await;

    for (person, left, full_in) in [(&ada, 3, 15), (&other, 2, 30), (&ada, 1, 45)] {
        let answer = app.read_by(person, "/v1/customers").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("ratelimit-policy"), "\"default\";q=4;w=60");
        assert_eq!(answer.header("ratelimit"), format!("\"default\";r={left};t={full_in}"));
    }
    assert_eq!(app.read_by(&other, "/v1/nothing").await.status, 404, "what fails counts, too");
    // Nothing of it is looked at: it would be refused as too large and as no JSON.
    let large = app.by(&ada, Method::POST, "/v1/customers").body("x".repeat(1_100_000));
    for request in [app.by(&other, Method::GET, "/v1/customers"), large] {
        let answer = Answer::to(request).await;
        let wait = answer.refused(429, "too-many-requests")["retry_after"].as_u64().unwrap();
        assert!((1..=15).contains(&wait), "{wait}");
        assert_eq!(answer.header("retry-after"), wait.to_string());
        assert!(answer.header("ratelimit").starts_with("\"default\";r=0;t="), "{:?}", answer.headers);
    }
    let answer = app.read_by(&bob, "/v1/customers").await;
    assert_eq!((answer.status, answer.header("ratelimit")), (200, "\"default\";r=3;t=15"));
    // What is the same for everybody costs nobody anything.
    let alive = Answer::to(app.by(&ada, Method::GET, "/livez")).await;
    assert_eq!((alive.status, alive.header("ratelimit")), (200, ""));
}

#[tokio::test]
async fn strangers_of_one_address_have_one_bucket_and_hold_up_nobody_who_is_known() {
    let rates = RateOptions { of_principal: 100, of_address: 2 };
    let app = TestApp::guarded_with(AppOptions { rates, ..AppOptions::default() }).await;
    let ada = app.person("ada", &Party::Provider, vec![M::GrantRole(Role::Staff)]).await;
    app.with_password(&ada.user).await;

    let forged = app.request(Method::GET, "/v1/customers").bearer_auth("dbk_forged");
    let answer = Answer::to(forged.try_clone().unwrap()).await;
    answer.refused(401, "unauthenticated");
    assert_eq!(answer.header("ratelimit"), "\"address\";r=1;t=30");
    assert_eq!(app.sign_in("ada", PASSWORD).await.status, 200);
    // The password is right and is not looked at.
    app.sign_in("ada", PASSWORD).await.refused(429, "too-many-requests");
    Answer::to(forged).await.refused(429, "too-many-requests");
    let answer = app.post_by(&ada, "/v1/customers", json!({ "name": "Ada Lovelace" })).await;
    assert_eq!((answer.status, answer.header("ratelimit")), (201, "\"default\";r=99;t=1"));
}
