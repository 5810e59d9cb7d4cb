//! The manners of the edge: how many requests somebody may send, which pages may ask, and what is too long or too slow.

use std::{future::pending, time::Duration};

use axum::{Router, routing::any};
use daybook_api::{AppOptions, Edge, Origins, RateOptions, with_layers};
use daybook_core::domain::{Party, function::Role, user::MembershipChange as M};
use daybook_tests::{
    api::{Answer, TestApp},
    people::PASSWORD,
};
use reqwest::{Client, Method};
use serde_json::json;
use tokio::net::TcpListener;

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
    assert_eq!(app.sign_in("ada", PASSWORD).await.header("ratelimit"), "\"address\";r=1;t=30", "counted apart");
    Answer::to(forged.try_clone().unwrap()).await.refused(401, "unauthenticated");
    Answer::to(forged).await.refused(429, "too-many-requests");
    assert_eq!(app.sign_in("ada", PASSWORD).await.status, 200);
    // The password is right and is not looked at.
    app.sign_in("ada", PASSWORD).await.refused(429, "too-many-requests");
    let answer = app.post_by(&ada, "/v1/customers", json!({ "name": "Ada Lovelace" })).await;
    assert_eq!((answer.status, answer.header("ratelimit")), (201, "\"default\";r=99;t=1"));
}

const PANEL: &str = "https://panel.example";

#[tokio::test]
async fn a_page_of_a_named_origin_asks_by_a_token_and_by_no_cookie() {
    let origins = Origins::new(&[PANEL.parse().unwrap()]);
    let app = TestApp::guarded_with(AppOptions { origins, ..AppOptions::default() }).await;
    let ada = app.person("ada", &Party::Provider, vec![M::GrantRole(Role::Staff)]).await;
    app.with_password(&ada.user).await;
    let browser = app.signed_in("ada").await;

    let preflight = |origin: &str| {
        let request = app.request(Method::OPTIONS, "/v1/customers").header("origin", origin);
        request.header("access-control-request-method", "POST").header("access-control-request-headers", "if-match")
    };
    let answer = Answer::to(preflight(PANEL)).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, PANEL), "{:?}", answer.headers);
    let listed = |answer: &Answer, name: &str| {
        let mut listed: Vec<_> = answer.header(name).split(',').map(str::to_ascii_lowercase).collect();
        listed.sort();
        listed.join(" ")
    };
    assert_eq!(listed(&answer, "access-control-allow-methods"), "delete get head patch post put");
    assert_eq!(
        listed(&answer, "access-control-allow-headers"),
        "authorization content-type daybook-membership daybook-on-behalf-of idempotency-key if-match if-none-match \
         min-position prefer x-request-id"
    );
    assert_eq!(answer.header("access-control-allow-credentials"), "");

    let register = |site: &str, mode: &str| {
        let request = app.request(Method::POST, "/v1/customers").json(&json!({ "name": "Ada Lovelace" }));
        request.header("origin", PANEL).header("sec-fetch-site", site).header("sec-fetch-mode", mode)
    };
    for site in ["cross-site", "same-site"] {
        let answer = Answer::to(register(site, "cors").bearer_auth(&ada.token)).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (201, PANEL), "{}", answer.text);
        assert_eq!(
            listed(&answer, "access-control-expose-headers"),
            "allow content-disposition etag idempotent-replayed ledger-position link location projection-version ratelimit \
             ratelimit-policy retry-after www-authenticate x-request-id"
        );
        let failed = Answer::to(register(site, "cors")).await;
        failed.refused(401, "unauthenticated");
        assert_eq!(failed.header("access-control-allow-origin"), PANEL, "the page can read why");
        let long = app.request(Method::GET, &format!("/v1/customers?name={}", "x".repeat(10_000)));
        let failed = Answer::to(long.header("origin", PANEL).header("sec-fetch-site", site)).await;
        failed.refused(414, "uri-too-long");
        assert_eq!(failed.header("access-control-allow-origin"), PANEL, "also of what goes no further");
    }
    // Whatever else is shown, a cookie is of this server's own pages; and a form is no script.
    let head = app.position().await;
    for request in [register("cross-site", "cors"), register("cross-site", "cors").bearer_auth(&ada.token)] {
        Answer::to(request.header("cookie", &browser.cookie)).await.refused(403, "cross-site-request");
    }
    let form = register("cross-site", "navigate").bearer_auth(&ada.token);
    Answer::to(form).await.refused(403, "cross-site-request");
    for origin in ["https://evil.example", "https://panel.example:8443", "http://panel.example", "null"] {
        assert_eq!(Answer::to(preflight(origin)).await.header("access-control-allow-origin"), "", "{origin}");
        let request = app.by(&ada, Method::POST, "/v1/customers").json(&json!({ "name": "Eve" }));
        let answer = Answer::to(request.header("origin", origin).header("sec-fetch-site", "cross-site")).await;
        answer.refused(403, "cross-site-request");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
    }
    assert_eq!(app.position().await, head);
}

#[tokio::test]
async fn no_page_of_another_site_may_read_unless_its_origin_is_named() {
    let app = TestApp::start().await;
    let asked = app.request(Method::OPTIONS, "/v1/customers").header("origin", PANEL);
    let preflight = Answer::to(asked.header("access-control-request-method", "POST")).await;
    preflight.refused(405, "method-not-allowed");
    let read = Answer::to(app.request(Method::GET, "/v1/customers").header("origin", PANEL)).await;
    for answer in [preflight, read] {
        assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control")), "{:?}", answer.headers);
    }
}

#[tokio::test]
async fn what_is_too_long_is_refused_before_it_is_read() {
    let app = TestApp::start().await;
    let addressed = |length: usize| {
        let path = "/v1/customers?email=";
        app.request(Method::GET, &format!("{path}{}", "x".repeat(length - path.len())))
    };
    assert_ne!(Answer::to(addressed(8 << 10)).await.status, 414);
    for length in [(8 << 10) + 1, 60_000] {
        let answer = Answer::to(addressed(length)).await;
        assert_eq!(answer.refused(414, "uri-too-long")["longest"], 8 << 10);
    }
    let parameters = (0..2_000).map(|number| format!("p{number}=1&")).collect::<String>();
    let many = app.request(Method::GET, &format!("/v1/customers?{parameters}"));
    Answer::to(many).await.refused(414, "uri-too-long");

    let with = |length: usize| app.request(Method::GET, "/v1/customers").header("x-long", "x".repeat(length));
    assert_eq!(Answer::to(with(32_000)).await.status, 200);
    for length in [33_000, 100_000] {
        let answer = Answer::to(with(length)).await;
        assert_eq!(answer.refused(431, "headers-too-large")["longest"], 32 << 10);
    }
    let lines = (0..60).fold(app.request(Method::GET, "/v1/customers"), |request, number| {
        request.header(format!("x-{number}"), "x".repeat(600))
    });
    Answer::to(lines).await.refused(431, "headers-too-large");
}

#[tokio::test]
async fn a_handler_that_never_ends_is_given_up() {
    let routes = Router::new().route("/v1/slow", any(pending::<()>)).route("/v1/ops/slow", any(pending::<()>));
    let edge = Edge { answered_within: Duration::from_millis(100), ..Edge::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, with_layers(routes, edge)).await });
    let client = Client::new();
    let operator = tokio::spawn(client.get(format!("{url}/v1/ops/slow")).send());
    // Whether a command was recorded is not known where its handler was cut.
    for (method, code) in [(Method::GET, "deadline-passed"), (Method::POST, "outcome-unknown")] {
        let answer = Answer::to(client.request(method, format!("{url}/v1/slow"))).await;
        answer.refused(503, code);
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert!(!operator.is_finished(), "an operator waits for as long as it takes");
}
