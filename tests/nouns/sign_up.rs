//! Signing up: nothing is recorded before the mail address is confirmed, and then all of it at once.

use chrono::{NaiveDate, Timelike};
use daybook_api::{AppOptions, Terms};
use daybook_core::domain::{Party, function::Role, user::MembershipChange as M};
use daybook_tests::{
    api::{Answer, TestApp},
    people::{PASSWORD, Person},
};
use reqwest::Method;
use serde_json::{Value, json};

const TERMS: &str = "Who orders pays.";
/// As `printf 'Who orders pays.' | sha256sum` has it.
const HASH: &str = "95ce920c9518469476df294f6df0ce9f460263587b3ec8dc2ae07fa7d1067cc9";
const DATED: &str = "2026-11-30";

async fn open() -> TestApp {
    let dated = NaiveDate::from_ymd_opt(2026, 11, 30).unwrap();
    TestApp::guarded_with(AppOptions { terms: Some(Terms::of(TERMS, dated)), ..AppOptions::default() }).await
}

fn ada() -> Value {
    json!({ "mail": "ada@example.org", "name": "Ada Lovelace", "password": PASSWORD, "terms_sha256": HASH })
}

async fn posted(app: &TestApp, path: &str, body: &Value) -> Answer {
    Answer::to(app.request(Method::POST, path).json(body)).await
}

async fn staff(app: &TestApp) -> Person {
    app.person("anna", &Party::Provider, vec![M::GrantRole(Role::Staff)]).await
}

/// The sign-ups that wait.
async fn waiting(app: &TestApp, staff: &Person) -> Vec<Value> {
    let listed = app.read_by(staff, "/v1/sign-ups").await;
    assert_eq!(listed.status, 200, "{}", listed.text);
    listed.body["sign_ups"].as_array().unwrap().clone()
}

/// A link for the sign-up that came last.
async fn link(app: &TestApp, staff: &Person) -> String {
    let id = waiting(app, staff).await[0]["id"].as_str().unwrap().to_owned();
    let made = app.post_by(staff, &format!("/v1/sign-ups/{id}/link"), json!({})).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.body["link"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn nobody_signs_up_unless_the_operator_allows_it() {
    let app = TestApp::guarded().await;
    Answer::to(app.request(Method::GET, "/v1/sign-up")).await.refused(403, "sign-up-closed");
    posted(&app, "/v1/sign-up", &ada()).await.refused(403, "sign-up-closed");
    let confirmation = json!({ "link": "none", "password": PASSWORD });
    posted(&app, "/v1/sign-up/confirm", &confirmation).await.refused(403, "sign-up-closed");
}

#[tokio::test]
async fn whoever_confirms_the_mail_address_is_the_first_user_of_a_new_customer() {
    let app = open().await;
    let anna = staff(&app).await;
    let terms = Answer::to(app.request(Method::GET, "/v1/sign-up")).await;
    assert_eq!((&terms.body["text"], &terms.body["dated"]), (&TERMS.into(), &DATED.into()), "{}", terms.text);

    let before = app.position().await;
    let signed_up = posted(&app, "/v1/sign-up", &ada()).await;
    assert_eq!(signed_up.status, 202, "{}", signed_up.text);
    assert_eq!(app.position().await, before, "nothing is recorded yet");
    app.sign_in("ada@example.org", PASSWORD).await.refused(401, "sign-in-refused");
    let waits = &waiting(&app, &anna).await[0];
    assert_eq!((&waits["mail"], &waits["known"]), (&"ada@example.org".into(), &false.into()));

    let link = link(&app, &anna).await;
    let confirm = async |password: &str| {
        posted(&app, "/v1/sign-up/confirm", &json!({ "link": link, "password": password })).await
    };
    confirm("ferrous lantern 41 drizzl").await.refused(401, "sign-in-refused");
    let confirmed = confirm(PASSWORD).await;
    assert_eq!(confirmed.status, 201, "{}", confirmed.text);
    let (customer, user) = (confirmed.body["customer"].as_str().unwrap(), confirmed.body["user"].as_str().unwrap());
    confirm(PASSWORD).await.refused(410, "link-used");
    assert!(waiting(&app, &anna).await.is_empty());

    let browser = app.signed_in("ada@example.org").await;
    let me = app.page_reads(&browser, "/v1/me").await;
    assert_eq!((&me.body["user"], &me.body["membership"]), (&user.into(), &customer.into()), "{}", me.text);
    assert_eq!(me.body["memberships"][0]["superuser"], true, "{}", me.text);
    let own = app.page_reads(&browser, &format!("/v1/customers/{customer}")).await;
    assert_eq!((&own.body["name"], &own.body["email"]), (&"Ada Lovelace".into(), &"ada@example.org".into()));
    let log = app.page_reads(&browser, "/v1/access-log").await;
    let kinds: Vec<_> = log.body["lines"].as_array().unwrap().iter().map(|line| &line["kind"]).collect();
    assert!(kinds.contains(&&"signed_up".into()), "{}", log.text);

    let history = app.by(&anna, Method::GET, &format!("/v1/history?entity={user}"));
    let history = history.header("min-position", confirmed.header("ledger-position")).header("prefer", "wait=30");
    let history = Answer::to(history).await;
    let events = history.body["data"].as_array().unwrap();
    let accepted = events
        .iter()
        .find(|event| event["event_type"] == "user.terms_accepted")
        .unwrap_or_else(|| panic!("{}", history.text));
    let position = accepted["position"].as_u64().unwrap();
    let stored = app.read_by(&anna, &format!("/v1/audit/events?after={}&limit=1", position - 1)).await;
    let payload = &stored.body["data"][0]["payload"]["terms_accepted"];
    assert_eq!((&payload["sha256"], &payload["dated"]), (&HASH.into(), &DATED.into()), "{}", stored.text);
    assert_eq!(terms.body["sha256"], HASH);
    // Nobody of the customer takes its first user away.
    let second = app.person("second", &Party::Customer(customer.parse().unwrap()), vec![M::GrantSuperuser]).await;
    app.post_by(&second, &format!("/v1/users/{user}/disable"), json!({})).await.refused(409, "first-user");
}

#[tokio::test]
async fn an_address_that_is_known_gets_the_same_answer_and_no_link() {
    let app = open().await;
    let anna = staff(&app).await;
    let party = Party::Customer(app.customer("Ada Ltd").await);
    app.invited("ADA@example.org", &party, vec![]).await;
    let known = posted(&app, "/v1/sign-up", &ada()).await;
    let mut other = ada();
    other["mail"] = "eve@example.org".into();
    let unknown = posted(&app, "/v1/sign-up", &other).await;
    let names = |answer: &Answer| answer.body.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!((known.status, names(&known)), (unknown.status, names(&unknown)));
    assert_eq!(known.status, 202, "{}", known.text);
    let listed = waiting(&app, &anna).await;
    let of_mail = |mail: &str| listed.iter().find(|waits| waits["mail"] == mail).unwrap();
    assert_eq!(
        (&of_mail("ada@example.org")["known"], &of_mail("eve@example.org")["known"]),
        (&true.into(), &false.into())
    );
    let path = format!("/v1/sign-ups/{}/link", of_mail("ada@example.org")["id"].as_str().unwrap());
    app.post_by(&anna, &path, json!({})).await.refused(409, "login-taken");
}

/// Eve cannot have Ada confirm an account whose password Eve knows.
#[tokio::test]
async fn a_sign_up_is_confirmed_by_its_own_password_only() {
    let app = open().await;
    let anna = staff(&app).await;
    let mut of_eve = ada();
    of_eve["password"] = "granite kettle 77 moth".into();
    assert_eq!(posted(&app, "/v1/sign-up", &of_eve).await.status, 202);
    let to_ada = link(&app, &anna).await;
    assert_eq!(posted(&app, "/v1/sign-up", &ada()).await.status, 202);
    let confirmation = json!({ "link": to_ada, "password": PASSWORD });
    posted(&app, "/v1/sign-up/confirm", &confirmation).await.refused(401, "sign-in-refused");
    let to_ada = link(&app, &anna).await;
    let confirmed = posted(&app, "/v1/sign-up/confirm", &json!({ "link": to_ada, "password": PASSWORD })).await;
    assert_eq!(confirmed.status, 201, "{}", confirmed.text);
}

#[tokio::test]
async fn two_who_sign_up_with_one_address_do_not_both_become_customers() {
    let app = open().await;
    let anna = staff(&app).await;
    let mut links = Vec::new();
    for _ in 0..2 {
        assert_eq!(posted(&app, "/v1/sign-up", &ada()).await.status, 202);
        links.push(link(&app, &anna).await);
    }
    let confirm =
        async |link: &str| posted(&app, "/v1/sign-up/confirm", &json!({ "link": link, "password": PASSWORD })).await;
    assert_eq!(confirm(&links[0]).await.status, 201);
    confirm(&links[1]).await.refused(409, "login-taken");
}

#[tokio::test]
async fn what_fails_half_way_is_confirmed_again_and_makes_one_customer() {
    let app = open().await;
    let anna = staff(&app).await;
    assert_eq!(posted(&app, "/v1/sign-up", &ada()).await.status, 202);
    let confirmation = json!({ "link": link(&app, &anna).await, "password": PASSWORD });
    let confirm = || posted(&app, "/v1/sign-up/confirm", &confirmation);
    let owner = async |statement: &'static str| sqlx::query(statement).execute(app.database.pool()).await.unwrap();
    let customers = async || {
        let count = "select count(*) from events where event_type = 'customer.registered'";
        sqlx::query_scalar::<_, i64>(count).fetch_one(app.database.pool()).await.unwrap()
    };

    owner("alter table events add constraint fault check (event_type <> 'user.terms_accepted') not valid").await;
    let failed = confirm().await;
    assert!(failed.status >= 500, "{}", failed.text);
    assert_eq!(customers().await, 0);
    owner("alter table events drop constraint fault").await;
    // Recorded, and then cut before the sign-up is thrown away.
    owner("alter table access_log add constraint fault check (kind <> 'signed_up') not valid").await;
    let failed = confirm().await;
    assert!(failed.status >= 500, "{}", failed.text);
    assert_eq!(customers().await, 1);
    owner("alter table access_log drop constraint fault").await;
    let (one, other) = tokio::join!(confirm(), confirm());
    let statuses = [one.status, other.status];
    // While one is looked at, the other may count as a guess too many.
    assert!(statuses.contains(&201) && statuses.iter().all(|status| [201, 410, 429].contains(status)), "{statuses:?}");
    assert_eq!(customers().await, 1);
    assert_eq!(app.sign_in("ada@example.org", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn few_sign_up_from_one_network_in_an_hour() {
    let app = open().await;
    let anna = staff(&app).await;
    let hour = app.app().clock().now().hour();
    let of = |number: u32| {
        let mut body = ada();
        body["mail"] = format!("ada{number}@example.org").into();
        Answer::to(app.request(Method::POST, "/v1/sign-up").json(&body))
    };
    let answers = futures::future::join_all((0..12).map(of)).await;
    let mut accepted = answers.iter().filter(|answer| answer.status == 202).count();
    // Some may have been sent away because too many were being hashed.
    let refused = loop {
        let answer = of(13).await;
        if answer.status != 202 {
            break answer;
        }
        accepted += 1;
    };
    refused.refused(429, "too-many-sign-ups");
    let seconds: u32 = refused.header("retry-after").parse().unwrap();
    assert!((1..=3_600).contains(&seconds), "{seconds}");
    // The hours are those of the clock.
    let hours = if app.app().clock().now().hour() == hour { 1 } else { 2 };
    assert!(accepted <= 5 * hours && accepted >= 5, "{accepted}");
    assert_eq!(accepted, waiting(&app, &anna).await.len());
}

#[tokio::test]
async fn few_sign_ups_of_one_network_wait() {
    let app = open().await;
    let anna = staff(&app).await;
    assert_eq!(posted(&app, "/v1/sign-up", &ada()).await.status, 202);
    let copied =
        "insert into sign_ups (id, login_name, mail, name, password_hash, terms_dated, terms_hash, network, made_at,
                      expires_at)
                  select id || n, login_name || n, mail, name, password_hash, terms_dated, terms_hash, network, made_at,
                      expires_at
                  from sign_ups, generate_series(1, 19) n";
    sqlx::query(copied).execute(app.database.pool()).await.unwrap();
    posted(&app, "/v1/sign-up", &ada()).await.refused(429, "too-many-sign-ups");
    let path = format!("/v1/sign-ups/{}", waiting(&app, &anna).await[0]["id"].as_str().unwrap());
    assert_eq!(Answer::to(app.by(&anna, Method::DELETE, &path)).await.status, 204);
    assert_eq!(posted(&app, "/v1/sign-up", &ada()).await.status, 202);
}

#[tokio::test]
async fn what_is_wrong_is_named_and_not_stored() {
    let app = open().await;
    let anna = staff(&app).await;
    for (field, value, code) in [
        ("mail", "ada.example.org", "email-malformed"),
        ("mail", "ada@@example.org", "email-malformed"),
        ("name", "  ", "name-missing"),
        ("password", "short", "password-too-short"),
        ("password", "ada@example.org", "password-is-a-name"),
        ("terms_sha256", "2025-11-30", "terms-outdated"),
    ] {
        let mut body = ada();
        body[field] = value.into();
        let refused = posted(&app, "/v1/sign-up", &body).await;
        let problem = refused.refused(422, code);
        assert_eq!(problem["errors"][0]["pointer"], format!("/{field}"), "{problem}");
    }
    assert!(waiting(&app, &anna).await.is_empty());
}

#[tokio::test]
async fn staff_throw_a_sign_up_away_and_its_link_with_it() {
    let app = open().await;
    let anna = staff(&app).await;
    assert_eq!(posted(&app, "/v1/sign-up", &ada()).await.status, 202);
    let sent = link(&app, &anna).await;
    let path = format!("/v1/sign-ups/{}", waiting(&app, &anna).await[0]["id"].as_str().unwrap());
    let remove = async || Answer::to(app.by(&anna, Method::DELETE, &path)).await;
    assert_eq!(remove().await.status, 204);
    remove().await.refused(404, "sign-up-not-found");
    app.post_by(&anna, &format!("{path}/link"), json!({})).await.refused(404, "sign-up-not-found");
    let confirmation = json!({ "link": sent, "password": PASSWORD });
    posted(&app, "/v1/sign-up/confirm", &confirmation).await.refused(410, "link-used");
    // Whoever is a customer's sees none of them.
    let party = Party::Customer(app.customer("Bob Ltd").await);
    let bob = app.person("bob", &party, vec![M::GrantSuperuser]).await;
    app.read_by(&bob, "/v1/sign-ups").await.refused(403, "forbidden-by-role");
}
