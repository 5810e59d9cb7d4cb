//! Who may call which route.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use daybook_api::{AppOptions, Need, needing_step_up, needs};
use daybook_core::{
    clock::{Clock, Clocks},
    domain::{
        Party,
        function::{Function, Functions, Role},
        user::{CredentialChange, MembershipChange as M},
    },
    operations::{ChangeUser, Operation, UserChange},
    writer::WriterOptions,
};
use daybook_tests::{
    api::{Answer, TestApp, address},
    people::{Browser, Person},
};
use reqwest::Method;
use serde_json::json;

/// Somebody who asks, and what he or she may do; `None` for one whose token is worth nothing.
struct Kind {
    name: &'static str,
    person: Option<Person>,
    allowed: Option<Functions>,
}

async fn kinds(app: &TestApp) -> Vec<Kind> {
    let mut customers = Vec::new();
    for name in ["Ada", "Bob"] {
        customers.push(Party::Customer(app.customer(name).await));
    }
    let (ada, bob) = (&customers[0], &customers[1]);
    let of_role = |role| Function::of_roles(&[role]);
    let known = |name, person: Person, allowed| Kind { name, person: Some(person), allowed: Some(allowed) };
    let worthless = |name, person: Person| Kind { name, person: Some(person), allowed: None };

    let superuser = app.person("ada", ada, vec![M::GrantSuperuser]).await;
    let (token, user) = (superuser.token_id.clone(), superuser.user.clone());
    let mut kinds = vec![
        Kind { name: "nobody", person: None, allowed: None },
        known("own superuser", superuser.clone(), Function::of_customers()),
        known("own user without a function", app.person("clerk", ada, vec![]).await, Functions::new()),
        known("foreign superuser", app.person("bob", bob, vec![M::GrantSuperuser]).await, Function::of_customers()),
    ];
    for (name, role) in [("staff", Role::Staff), ("auditor", Role::Auditor), ("operator", Role::Operator)] {
        kinds.push(known(name, app.person(name, &Party::Provider, vec![M::GrantRole(role)]).await, of_role(role)));
    }
    let scope = [Function::OrdersRead];
    let scoped = app.tokened(&user, ada, Some(&scope), None).await;
    kinds.push(known("token for one function", scoped, scope.into_iter().collect()));
    let ended = app.app().clock().now() - TimeDelta::seconds(1);
    kinds.push(worthless("expired token", app.tokened(&user, ada, None, Some(ended)).await));
    let revoked = app.tokened(&user, ada, None, None).await;
    app.credentials(&user, CredentialChange::RevokeToken { token: revoked.token_id.clone() }).await;
    kinds.push(worthless("revoked token", revoked));
    let disabled = app.person("gone", ada, vec![M::GrantSuperuser]).await;
    app.record(Operation::ChangeUser(ChangeUser { user: disabled.user.clone(), change: UserChange::Disable })).await;
    kinds.push(worthless("disabled user", disabled));
    let mut invented = superuser;
    invented.token = invented.token.chars().rev().collect();
    assert_eq!(invented.token_id, token);
    kinds.push(worthless("invented token", invented));
    kinds
}

#[tokio::test]
async fn each_route_lets_those_through_who_may_do_what_it_needs() {
    let app = TestApp::guarded().await;
    let kinds = kinds(&app).await;
    let mut asked = 0;
    for (method, path, need) in needs() {
        for kind in &kinds {
            let answer = ask(&app, kind, method, path).await;
            let told = format!("{} {method} {path} ({need:?}): {}", kind.name, answer.text);
            match (need, &kind.person, &kind.allowed) {
                // A token that is worth nothing is refused wherever it is shown.
                (_, Some(_), None) => drop(refused(&answer, 401, "unauthenticated", &told)),
                (Need::Nothing, ..) => assert!(!is_refusal(&answer), "{told}"),
                // A signature of the sender's own is needed, whoever else asks.
                (Need::Signature, ..) => drop(refused(&answer, 401, "unauthenticated", &told)),
                (_, None, _) => drop(refused(&answer, 401, "unauthenticated", &told)),
                (Need::Begun | Need::Identity, ..) => assert_ne!(answer.status, 401, "{told}"),
                (Need::May(function), _, Some(allowed)) if allowed.contains(&function) => {
                    assert!(!is_refusal(&answer), "{told}");
                }
                (Need::May(function), ..) => {
                    let problem = refused(&answer, 403, "forbidden-by-role", &told);
                    assert_eq!(problem["function"], function.name(), "{told}");
                }
            }
            asked += 1;
        }
    }
    assert!(asked > 1_000, "every route was asked by everybody: {asked}");
}

async fn ask(app: &TestApp, kind: &Kind, method: &str, path: &str) -> Answer {
    let method: Method = method.to_uppercase().parse().unwrap();
    let request = app.request(method.clone(), &address(path)).header("prefer", "wait=0");
    let request = match &kind.person {
        Some(person) => request.bearer_auth(&person.token),
        None => request,
    };
    Answer::to(if method == Method::GET { request } else { request.json(&json!({})) }).await
}

fn is_refusal(answer: &Answer) -> bool {
    answer.status == 401 && answer.body["type"] == "/problems/unauthenticated"
        || answer.status == 403 && answer.body["type"] == "/problems/forbidden-by-role"
}

fn refused<'a>(answer: &'a Answer, status: u16, code: &str, told: &str) -> &'a serde_json::Value {
    assert_eq!((answer.status, &answer.body["type"]), (status, &format!("/problems/{code}").into()), "{told}");
    if status == 401 {
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"daybook\"", "{told}");
    }
    &answer.body
}

/// A clock that a test sets forward.
#[derive(Clone, Debug, Default)]
struct SetForward(Arc<Mutex<TimeDelta>>);

impl SetForward {
    fn by(&self, time: TimeDelta) {
        *self.0.lock().unwrap() = time;
    }
}

impl Clocks for SetForward {
    fn wall(&self) -> DateTime<Utc> {
        Utc::now() + *self.0.lock().unwrap()
    }

    fn elapsed(&self) -> Duration {
        self.0.lock().unwrap().to_std().unwrap()
    }
}

/// Asks one route, from a page of this browser.
async fn ask_from_page(app: &TestApp, browser: &Browser, (method, path): (&str, &str)) -> Answer {
    let method = method.to_uppercase().parse().unwrap();
    Answer::to(app.from_page(browser, method, &address(path)).json(&json!({}))).await
}

#[tokio::test]
async fn each_route_that_is_declared_so_needs_the_password_once_more_within_five_minutes() {
    let time = SetForward::default();
    let writer = WriterOptions { clock: Clock::of(time.clone()), ..WriterOptions::default() };
    let app = TestApp::guarded_with(AppOptions { writer, ..AppOptions::default() }).await;
    let everything = [Role::Staff, Role::Operator].map(M::GrantRole).to_vec();
    let olga = app.invited("olga@example.org", &Party::Provider, everything).await;
    app.with_password(&olga).await;
    let browser = app.signed_in("olga@example.org").await;
    let refused = async |browser: &Browser| {
        for route in needing_step_up() {
            let before = app.position().await;
            ask_from_page(&app, browser, route).await.refused(403, "step-up-needed");
            assert_eq!(app.position().await, before, "{route:?} records nothing");
        }
    };
    refused(&browser).await;

    let browser = app.stepped_up(&browser).await;
    let let_through = async |route: (&str, &str)| {
        let answer = ask_from_page(&app, &browser, route).await;
        assert_ne!(answer.body["type"], "/problems/step-up-needed", "{route:?}: {}", answer.text);
        assert_ne!(answer.status, 401, "{route:?}: {}", answer.text);
    };
    for route in needing_step_up() {
        let_through(route).await;
    }
    time.by(TimeDelta::seconds(4 * 60 + 45));
    let_through(("post", "/v1/payments/{id}/refunds")).await;
    time.by(TimeDelta::seconds(5 * 60 + 1));
    refused(&browser).await;
}

#[tokio::test]
async fn a_token_needs_no_password_once_more() {
    let app = TestApp::guarded().await;
    let everything = [Role::Staff, Role::Operator].map(M::GrantRole).to_vec();
    let olga = app.person("olga", &Party::Provider, everything).await;
    let kind = Kind { name: "staff", person: Some(olga), allowed: None };
    for (method, path) in needing_step_up() {
        let answer = ask(&app, &kind, method, path).await;
        assert_ne!(answer.body["type"], "/problems/step-up-needed", "{method} {path}: {}", answer.text);
    }
}

/// What lets money out, and what says who somebody is or what somebody may do.
#[test]
fn what_needs_the_password_once_more_is_on_this_page() {
    let known = [
        ("post", "/v1/sign-ups/{id}/link"),
        ("post", "/v1/me/factors"),
        ("post", "/v1/me/factors/{id}/confirm"),
        ("delete", "/v1/me/factors/{id}"),
        ("post", "/v1/me/recovery-codes"),
        ("post", "/v1/tokens"),
        ("post", "/v1/users"),
        ("post", "/v1/users/{id}/contacts"),
        ("delete", "/v1/users/{id}/contacts/{number}"),
        ("post", "/v1/users/{id}/enable"),
        ("post", "/v1/users/{id}/memberships"),
        ("post", "/v1/users/{id}/password-link"),
        ("post", "/v1/users/{id}/factor-reset"),
        ("post", "/v1/users/{id}/factor-reset/complete"),
        ("post", "/v1/payments/{id}/refunds"),
        ("post", "/v1/payments/{id}/refunds/{refund}/settle"),
        ("post", "/v1/payments/{id}/refunds/{refund}/fail"),
    ];
    assert_eq!(needing_step_up(), known);
}

/// Nothing is reachable without a function but what is named here.
#[test]
fn what_needs_nobody_is_on_this_page() {
    let open: Vec<_> =
        needs().into_iter().filter(|(.., need)| *need == Need::Nothing).map(|(_, path, _)| path).collect();
    let known = [
        "/livez",
        "/readyz",
        "/v1/sign-in",
        "/v1/sign-out",
        "/v1/password",
        "/v1/sign-up",
        "/v1/sign-up",
        "/v1/sign-up/confirm",
        "/log/checkpoint",
        "/log/tile/{level}/{*index}",
        "/log/format",
    ];
    assert_eq!(open, known);
}
