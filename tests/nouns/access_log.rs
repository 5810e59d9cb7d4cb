//! The access log over HTTP: what was refused, who got a link, and under whom a look stands.

use std::collections::BTreeSet;

use daybook_core::domain::{
    Party,
    function::{Function, Role},
    user::MembershipChange as M,
};
use daybook_tests::{
    api::{Answer, TestApp},
    history::LONG,
    people::{Browser, Person},
};
use reqwest::Method;
use serde_json::{Value, json};

const WRONG: &str = "ferrous lantern 41 drizzl";

/// The lines of the log that this address lists.
async fn lines(app: &TestApp, reader: &Person, query: &str) -> Vec<Value> {
    // What is noted in the background is noted before it is read.
    app.app().identity().settle().await;
    let page = app.read_by(reader, &format!("/v1/access-log{query}")).await;
    assert_eq!(page.status, 200, "{}", page.text);
    page.body["lines"].as_array().unwrap().clone()
}

fn of_kind(lines: Vec<Value>, kind: &str) -> Vec<Value> {
    lines.into_iter().filter(|line| line["kind"] == kind).collect()
}

/// That attempts of one minute share a line: many attempts, and no two lines of one minute.
fn assert_bounded(lines: &[Value]) {
    let minutes: BTreeSet<_> = lines.iter().map(|line| line["at"].as_str().unwrap()).collect();
    assert!(!lines.is_empty() && lines.len() == minutes.len(), "{lines:?}");
    assert!(minutes.iter().all(|at| at.ends_with(":00Z")), "{minutes:?}");
}

#[tokio::test]
async fn a_customer_sees_that_a_sign_in_of_its_people_was_refused() {
    let app = TestApp::guarded().await;
    let parties = [Party::Customer(app.customer("Ada").await), Party::Customer(app.customer("Bob").await)];
    let user = app.invited("ada@example.org", &parties[0], vec![M::GrantSuperuser]).await;
    app.with_password(&user).await;
    app.with_membership(&user, &parties[1]).await;
    for _ in 0..3 {
        app.sign_in("ada@example.org", WRONG).await.refused(401, "sign-in-refused");
        app.sign_in("nobody@example.org", WRONG).await.refused(401, "sign-in-refused");
    }
    for party in &parties {
        let reader = app.person(&format!("reader of {}", party.key()), party, vec![M::GrantSuperuser]).await;
        let refused = of_kind(lines(&app, &reader, "").await, "sign_in_refused");
        assert_bounded(&refused);
        assert_eq!((&refused[0]["user"], &refused[0]["address"]), (&user.as_str().into(), &"127.0.0.1".into()));
    }
    let all: i64 = sqlx::query_scalar("select count(*) from access_log where user_id is null")
        .fetch_one(app.database.pool())
        .await
        .unwrap();
    assert_eq!(all, 0, "a name that nobody has is not written down");
}

#[tokio::test]
async fn what_a_principal_may_not_is_written_down_once_a_minute() {
    let app = TestApp::guarded().await;
    let party = Party::Customer(app.customer("Ada").await);
    let owner = app.person("owner", &party, vec![M::GrantSuperuser]).await;
    let clerk = app.person("clerk", &party, vec![M::GrantFunction(Function::TicketsRead)]).await;
    for _ in 0..20 {
        app.read_by(&clerk, &format!("/v1/users/{}", owner.user)).await.refused(403, "forbidden-by-role");
    }
    let denied = of_kind(lines(&app, &owner, "").await, "denied");
    assert_bounded(&denied);
    let line = &denied[0];
    assert_eq!(
        [&line["user"], &line["what"], &line["entity"], &line["reason"], &line["credential"]],
        [clerk.user.as_str(), "/v1/users/{id}", owner.user.as_str(), "forbidden-by-role", clerk.token_id.as_str()]
    );
    // What names nothing is not written down: it may be a secret in a wrong place.
    app.read_by(&clerk, "/v1/orders/ord_1").await.refused(403, "forbidden-by-role");
    let denied = of_kind(lines(&app, &owner, "").await, "denied");
    assert!(denied.iter().any(|line| line["what"] == "/v1/orders/{id}" && line["entity"].is_null()), "{denied:?}");
    // What is refused when the command is decided, too.
    let other = app.person("manager", &party, vec![M::GrantFunction(Function::UsersManage)]).await;
    let change = json!({ "party": { "customer": party.key() }, "change": "grant_superuser" });
    let rights = format!("/v1/users/{}/memberships", clerk.user);
    app.post_by(&other, &rights, change).await.refused(403, "right-not-held");
    let denied = of_kind(lines(&app, &owner, "").await, "denied");
    assert!(denied.iter().any(|line| line["reason"] == "right-not-held" && line["user"] == other.user.as_str()));
}

#[tokio::test]
async fn a_customer_sees_that_staff_made_a_link_to_sign_in_as_one_of_its_people() {
    let app = TestApp::guarded().await;
    let party = Party::Customer(app.customer("Ada").await);
    let owner = app.person("owner", &party, vec![M::GrantSuperuser]).await;
    let clerk = app.invited("clerk", &party, vec![]).await;
    let anna = app.person("anna", &Party::Provider, vec![M::GrantRole(Role::Staff)]).await;
    let made = app.post_by(&anna, &format!("/v1/users/{clerk}/password-link"), json!({})).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = of_kind(lines(&app, &owner, "").await, "link_made");
    let [line] = &made[..] else { panic!("{made:?}") };
    assert_eq!((&line["user"], &line["entity"]), (&anna.user.as_str().into(), &clerk.as_str().into()));
}

/// What is not known of a thing is waited for, and a look that can be put under nobody is not answered.
#[tokio::test]
async fn a_look_waits_until_it_is_known_whose_the_thing_is() {
    let app = TestApp::guarded().await;
    let party = Party::Customer(app.customer("Ada").await);
    let owner = app.person("owner", &party, vec![M::GrantSuperuser]).await;
    let roles = vec![M::GrantRole(Role::Staff), M::GrantRole(Role::Operator)];
    let anna = app.person("anna", &Party::Provider, roles).await;
    let done = async |path: &str, body: Value| {
        let answer = app.post_by(&anna, path, body).await;
        assert!(answer.status < 300, "{path}: {}", answer.text);
        answer.body
    };
    done("/v1/ops/projections/accounts/pause", json!({})).await;
    let open = json!({ "customer": party.key(), "currency": "USD", "name": "Main" });
    let account = done("/v1/accounts", open).await["id"].clone();
    let pay = json!({ "account": account, "amount": { "amount": "5.00", "currency": "USD" }, "method": "card" });
    let payment = done("/v1/payments", pay).await["id"].as_str().unwrap().to_owned();
    app.app().reader().wait_for("payments", app.position().await, LONG).await.unwrap();

    let address = format!("/v1/payments/{payment}");
    let look = async |wait: &str| Answer::to(app.by(&anna, Method::GET, &address).header("prefer", wait)).await;
    let refused = look("wait=0").await;
    assert_eq!(refused.refused(503, "projection-behind")["projection"], "accounts");
    assert_eq!(lines(&app, &owner, "").await.len(), 0);
    done("/v1/ops/projections/accounts/resume", json!({})).await;
    assert_eq!(look("wait=30").await.status, 200);
    let lines = lines(&app, &owner, "").await;
    assert_eq!((lines.len(), &lines[0]["entity"]), (1, &payment.into()), "{lines:?}");
}

#[tokio::test]
async fn a_look_in_the_name_of_a_customer_stands_under_that_customer_alone() {
    let app = TestApp::guarded().await;
    let (ada, bob) = (app.customer("Ada").await, app.customer("Bob").await);
    let owner = app.person("ada", &Party::Customer(ada.clone()), vec![M::GrantSuperuser]).await;
    let other = app.person("bob", &Party::Customer(bob.clone()), vec![M::GrantSuperuser]).await;
    let anna = app.person("anna", &Party::Provider, vec![M::GrantRole(Role::Staff)]).await;
    let look = async |path: &str, name: &str| {
        Answer::to(app.by(&anna, Method::GET, path).header("daybook-on-behalf-of", name)).await
    };
    let name = format!("customer:{ada}");
    // Nothing of Bob's is shown.
    let listed = look(&format!("/v1/tickets?customer={bob}"), &name).await;
    assert_eq!(listed.body["data"], json!([]), "{}", listed.text);
    assert_eq!(lines(&app, &owner, "").await[0]["what"], "/v1/tickets");
    assert_eq!(lines(&app, &other, "").await.len(), 0);
    assert_eq!(look("/v1/tickets", "Ada").await.refused(400, "malformed-header")["header"], "daybook-on-behalf-of");
    look("/v1/tickets", "staff:bert").await.refused(403, "impersonation-read-only");
    // A customer's people stand in for nobody, and the customer sees that they have tried to.
    let request = app.by(&other, Method::GET, "/v1/tickets").header("daybook-on-behalf-of", name);
    Answer::to(request).await.refused(403, "impersonation-read-only");
    let denied = of_kind(lines(&app, &other, "").await, "denied");
    assert_eq!((denied.len(), &denied[0]["reason"]), (1, &"impersonation-read-only".into()));
}

#[tokio::test]
async fn one_key_of_a_person_in_two_customers_stands_for_two_requests() {
    let app = TestApp::guarded().await;
    let parties = [Party::Customer(app.customer("Ada").await), Party::Customer(app.customer("Bob").await)];
    let user = app.invited("both@example.org", &parties[0], vec![M::GrantSuperuser]).await;
    app.with_password(&user).await;
    app.with_membership(&user, &parties[1]).await;
    app.grant(&user, &parties[1], M::GrantSuperuser).await;
    let [here, elsewhere] = [app.signed_in("both@example.org").await, app.signed_in("both@example.org").await];
    let open = async |browser: &Browser, acts_in: &Party, customer: &Party| {
        let body = json!({ "customer": customer.key(), "category": "billing", "subject": "a", "message": "b" });
        let request = app.from_page(browser, Method::POST, "/v1/tickets").header("daybook-membership", acts_in.key());
        Answer::to(request.header("idempotency-key", "once").json(&body)).await
    };
    let first = open(&here, &parties[0], &parties[0]).await;
    let second = open(&here, &parties[1], &parties[1]).await;
    assert_eq!((first.status, second.status), (201, 201), "{} {}", first.text, second.text);
    assert_ne!(first.body["id"], second.body["id"]);
    // By another session of the same person, the same request has the same answer.
    for (party, before) in parties.iter().zip([&first, &second]) {
        let again = open(&elsewhere, party, party).await;
        assert_eq!((&again.body, again.header("idempotent-replayed")), (&before.body, "true"));
    }
    // The very same request, in the name of the other customer, has no answer of before.
    let foreign = open(&here, &parties[1], &parties[0]).await;
    foreign.refused(422, "idempotency-mismatch");
}

#[tokio::test]
async fn a_look_stands_under_the_customer_whose_it_is_in_whoevers_name_it_was_asked_for() {
    let app = TestApp::guarded().await;
    let (ada, bob) = (app.customer("Ada").await, app.customer("Bob").await);
    let owner = app.person("owner", &Party::Customer(ada.clone()), vec![M::GrantSuperuser]).await;
    let anna = app.person("anna", &Party::Provider, vec![M::GrantRole(Role::Auditor)]).await;
    let asked = app.by(&anna, Method::GET, &format!("/v1/access-log?customer={ada}"));
    let seen = Answer::to(asked.header("daybook-on-behalf-of", format!("customer:{bob}"))).await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    let looks = of_kind(lines(&app, &owner, "").await, "viewed");
    assert_eq!(looks[0]["what"], "/v1/access-log", "{looks:?}");
    assert_eq!(looks[0]["user"], anna.user.as_str());
}
