//! Who may call which route.

use chrono::TimeDelta;
use daybook_api::{Need, needs};
use daybook_core::{
    domain::{
        Party,
        function::{Function, Functions, Role},
        user::{CredentialChange, MembershipChange as M},
    },
    operations::{ChangeUser, Operation, UserChange},
};
use daybook_tests::{
    api::{Answer, TestApp, address},
    people::Person,
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
        "/log/checkpoint",
        "/log/tile/{level}/{*index}",
        "/log/format",
    ];
    assert_eq!(open, known);
}
