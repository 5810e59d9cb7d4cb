//! A lost second factor: two of the staff reset it with a waiting time between them, and meanwhile the person and the customer
//! see it and can cancel it.

use chrono::{SubsecRound, TimeDelta};
use daybook_core::{
    domain::{
        Id, Party, Principal, UserId,
        function::{Function, Role},
        user::{CredentialChange, FactorKind, FactorResetStep, MembershipChange as M},
    },
    operations::{Operation, ResetFactors},
};
use daybook_identity::{NewLink, Purpose};
use daybook_tests::{
    api::{Answer, TestApp},
    commands,
    people::{Browser, PASSWORD},
};
use reqwest::Method;
use serde_json::{Value, json};

const DAY: TimeDelta = TimeDelta::hours(24);

/// A superuser of a customer who has a password and a second factor.
struct Lost {
    app: TestApp,
    party: Party,
    ada: UserId,
}

/// One of the provider's people, signed in, who has just shown the password once more.
struct Staff {
    user: UserId,
    browser: Browser,
}

impl Lost {
    async fn factor() -> Self {
        let app = TestApp::guarded().await;
        let party = Party::Customer(app.customer("Ada Ltd").await);
        let ada = app.invited("ada@example.org", &party, vec![M::GrantSuperuser]).await;
        app.with_password(&ada).await;
        let lost = Self { app, party, ada };
        lost.add_factor(&lost.ada, "telephone").await;
        lost
    }

    async fn add_factor(&self, user: &UserId, name: &str) {
        let factor = Id::named(name).unwrap();
        self.app.credentials(user, CredentialChange::AddFactor { factor, kind: FactorKind::Totp }).await;
    }

    async fn staff(&self, login: &str, role: Role) -> Staff {
        let user = self.app.invited(login, &Party::Provider, vec![M::GrantRole(role)]).await;
        self.app.with_password(&user).await;
        let browser = self.app.stepped_up(&self.app.signed_in(login).await).await;
        Staff { user, browser }
    }

    async fn requests(&self, staff: &Staff) -> Answer {
        let body = json!({ "reason": "has shown the passport" });
        self.app.page_posts(&staff.browser, &self.path(""), body).await
    }

    async fn completes(&self, staff: &Staff) -> Answer {
        self.app.page_posts(&staff.browser, &self.path("/complete"), json!({})).await
    }

    fn path(&self, verb: &str) -> String {
        format!("/v1/users/{}/factor-reset{verb}", self.ada)
    }

    /// This one asked for the reset so long ago.
    async fn was_requested(&self, by: &Staff, ago: TimeDelta) {
        self.record(by, FactorResetStep::Request { wait: DAY }, ago).await;
    }

    /// Records a step, and nothing beside the book.
    async fn record(&self, by: &Staff, step: FactorResetStep, ago: TimeDelta) {
        let mut command = commands::command(Operation::ResetFactors(ResetFactors { user: self.ada.clone(), step }));
        command.context.occurred_at = (self.app.app().clock().now() - ago).trunc_subsecs(6);
        command.context.principal = Some(Principal { user: by.user.clone(), party: Party::Provider, token: None });
        let done = self.app.writer().execute(command).await.unwrap();
        self.app.app().rights_are_known(done.position).await.unwrap();
    }

    async fn half_session(&self) -> (Answer, Browser) {
        let answer = self.app.sign_in("ada@example.org", PASSWORD).await;
        assert_eq!(answer.body["needs"], "second_factor", "{}", answer.text);
        let browser = Browser::of(&answer);
        (answer, browser)
    }
}

#[tokio::test]
async fn a_reset_waits_and_the_person_cancels_it_by_the_password_alone() {
    let lost = Lost::factor().await;
    let app = &lost.app;
    let (anna, ben) =
        (lost.staff("anna@example.org", Role::Staff).await, lost.staff("ben@example.org", Role::Staff).await);
    let token = app.tokened(&lost.ada, &lost.party, None, None).await;
    let (before, _) = lost.half_session().await;
    assert_eq!(before.body["factor_reset"], Value::Null);

    let requested = lost.requests(&anna).await;
    assert_eq!(requested.status, 201, "{}", requested.text);
    let head = app.position().await;
    let early = lost.completes(&ben).await;
    assert_eq!(early.refused(409, "factor-reset-early")["completable_at"], requested.body["completable_at"]);
    lost.completes(&anna).await.refused(403, "second-person-needed");
    lost.requests(&ben).await.refused(409, "factor-reset-requested");
    assert_eq!(app.position().await, head);

    // The person learns of it at the next sign-in, and wherever the person asks who it is.
    let (signed_in, half) = lost.half_session().await;
    assert_eq!(signed_in.body["factor_reset"]["completable_at"], requested.body["completable_at"]);
    let me = app.read_by(&token, "/v1/me").await;
    assert_eq!(me.body["factor_reset"], signed_in.body["factor_reset"], "{}", me.text);
    // So does whoever may see the user, now and as it was then.
    let path = format!("/v1/users/{}", lost.ada);
    let boss = app.person("boss", &lost.party, vec![M::GrantFunction(Function::UsersRead)]).await;
    for reader in [&token, &boss] {
        let shown = app.read_by(reader, &path).await;
        assert_eq!(shown.body["factor_reset"], signed_in.body["factor_reset"], "{}", shown.text);
    }
    let before = app.read_by(&boss, &format!("{path}?as_known_at={}", head - 1)).await;
    assert_eq!((before.status, &before.body["factor_reset"]), (200, &Value::Null), "{}", before.text);
    let lines = app.read_by(&token, "/v1/access-log").await;
    let acted = &lines.body["lines"].as_array().unwrap().iter().find(|line| line["kind"] == "acted").unwrap();
    let expected = json!([anna.user, lost.ada, "has shown the passport", "/v1/users/{id}/factor-reset"]);
    assert_eq!(json!([acted["user"], acted["entity"], acted["reason"], acted["what"]]), expected);
    let own = app.read_by(&token, &format!("/v1/access-log?user={}", lost.ada)).await;
    assert_eq!(own.body["lines"][0]["reason"], format!("by {}", anna.user), "{}", own.text);

    let cancel = "/v1/me/factor-reset/cancel";
    app.post_by(&token, cancel, json!({})).await.refused(403, "session-needed");
    let cancelled = app.page_posts(&half, cancel, json!({})).await;
    assert_eq!(cancelled.status, 204, "{}", cancelled.text);
    app.page_posts(&half, cancel, json!({})).await.refused(404, "factor-reset-not-found");
    lost.completes(&ben).await.refused(404, "factor-reset-not-found");
    assert_eq!(app.read_by(&token, "/v1/me").await.body["factor_reset"], Value::Null);
}

#[tokio::test]
async fn another_one_of_the_staff_completes_a_reset_after_the_waiting_time() {
    let lost = Lost::factor().await;
    let app = &lost.app;
    let (anna, ben) =
        (lost.staff("anna@example.org", Role::Staff).await, lost.staff("ben@example.org", Role::Staff).await);
    let (_, half) = lost.half_session().await;
    lost.was_requested(&anna, TimeDelta::hours(25)).await;
    lost.completes(&anna).await.refused(403, "second-person-needed");
    let completed = lost.completes(&ben).await;
    assert_eq!((completed.status, completed.header("cache-control")), (201, "no-store"), "{}", completed.text);

    let second = json!({ "code": "000000" });
    app.page_posts(&half, "/v1/sign-in/second-factor", second).await.refused(401, "unauthenticated");
    // Whoever knew the password, and had the factor reset by a story, gets in by the link alone.
    app.sign_in("ada@example.org", PASSWORD).await.refused(401, "sign-in-refused");
    let another = "copper lantern 42 thistle";
    let chosen = json!({ "link": completed.body["link"], "password": another });
    let chosen = Answer::to(app.request(Method::POST, "/v1/password").json(&chosen)).await;
    assert_eq!(chosen.status, 204, "{}", chosen.text);
    let signed_in = app.sign_in("ada@example.org", another).await;
    assert_eq!((&signed_in.body["needs"], &signed_in.body["factor_reset"]), (&Value::Null, &Value::Null));
    let me = app.page_reads(&Browser::of(&signed_in), "/v1/me").await;
    assert_eq!((&me.body["factors"], &me.body["factor_reset"]), (&json!([]), &Value::Null), "{}", me.text);
}

#[tokio::test]
async fn a_session_that_has_shown_the_password_alone_is_let_in_by_no_reset() {
    let lost = Lost::factor().await;
    let app = &lost.app;
    let (anna, ben) =
        (lost.staff("anna@example.org", Role::Staff).await, lost.staff("ben@example.org", Role::Staff).await);
    let (_, half) = lost.half_session().await;
    lost.was_requested(&anna, TimeDelta::hours(25)).await;
    // As if the server had died before it ended the sessions.
    lost.record(&ben, FactorResetStep::Complete, TimeDelta::zero()).await;
    app.page_reads(&half, "/v1/me").await.refused(401, "unauthenticated");
    // Nor does the next password, which its owner chooses.
    let new = NewLink { user: lost.ada.as_str(), purpose: Purpose::PasswordReset, about: None };
    let link = app.app().identity().links.make(new, app.app().clock().now()).await.unwrap();
    let chosen = json!({ "link": link.expose(), "password": PASSWORD });
    let chosen = Answer::to(app.request(Method::POST, "/v1/password").json(&chosen)).await;
    assert_eq!(chosen.status, 204, "{}", chosen.text);
    app.page_reads(&half, "/v1/me").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn whoever_manages_the_users_of_the_customer_cancels_a_reset() {
    let lost = Lost::factor().await;
    let app = &lost.app;
    let anna = lost.staff("anna@example.org", Role::Staff).await;
    let other = Party::Customer(app.customer("Bob Ltd").await);
    let foreign = app.person("foreign", &other, vec![M::GrantSuperuser]).await;
    let clerk = app.person("clerk", &lost.party, vec![M::GrantFunction(Function::OrdersRead)]).await;
    let boss = app.person("boss", &lost.party, vec![M::GrantSuperuser]).await;
    assert_eq!(lost.requests(&anna).await.status, 201);
    let path = lost.path("/cancel");
    app.post_by(&foreign, &path, json!({})).await.refused(404, "user-not-found");
    app.post_by(&clerk, &path, json!({})).await.refused(403, "forbidden-by-role");
    let cancelled = app.post_by(&boss, &path, json!({})).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    app.post_by(&boss, &path, json!({})).await.refused(404, "factor-reset-not-found");
}

#[tokio::test]
async fn a_reset_is_asked_for_by_staff_in_a_session_with_a_reason_and_not_for_oneself() {
    let lost = Lost::factor().await;
    let app = &lost.app;
    let anna = lost.staff("anna@example.org", Role::Staff).await;
    let (root, eve) =
        (lost.staff("root@example.org", Role::Operator).await, lost.staff("eve@example.org", Role::Operator).await);
    let head = app.position().await;
    let ask = async |staff: &Staff, user: &UserId, body: Value| {
        app.page_posts(&staff.browser, &format!("/v1/users/{user}/factor-reset"), body).await
    };
    let because = || json!({ "reason": "has shown the passport" });
    for none in [json!({}), json!({ "reason": " " })] {
        let refused = ask(&anna, &lost.ada, none).await;
        assert_eq!(refused.refused(422, "reason-missing")["errors"][0]["pointer"], "/reason");
    }
    ask(&anna, &anna.user, because()).await.refused(403, "second-person-needed");
    let without_factor = ask(&root, &anna.user, because()).await;
    without_factor.refused(409, "no-second-factor");
    // What staff could not give, they do not open a way to.
    let forbidden = ask(&anna, &root.user, because()).await;
    assert_eq!(forbidden.refused(403, "forbidden-by-role")["function"], "rights.grant");
    let boss = app.tokened(&lost.ada, &lost.party, None, None).await;
    app.post_by(&boss, &lost.path(""), because()).await.refused(403, "forbidden-by-role");
    let program = app.tokened(&anna.user, &Party::Provider, None, None).await;
    app.post_by(&program, &lost.path(""), because()).await.refused(403, "session-needed");
    app.post_by(&program, &lost.path("/complete"), json!({})).await.refused(403, "session-needed");
    // The two tokens were made meanwhile, and nothing else.
    assert_eq!(app.position().await, head + 2);

    lost.add_factor(&eve.user, "of-eve").await;
    assert_eq!(ask(&root, &eve.user, because()).await.status, 201);
    // A session of before the factor has shown the password alone, and cancels.
    let cancelled = app.page_posts(&eve.browser, "/v1/me/factor-reset/cancel", json!({})).await;
    assert_eq!(cancelled.status, 204, "{}", cancelled.text);
}

/// What is recorded takes effect, although nobody can say yet that every process knows of it.
#[tokio::test]
async fn a_reset_that_the_rows_do_not_follow_ends_the_sessions_all_the_same() {
    let lost = Lost::factor().await;
    let app = &lost.app;
    let (anna, ben) =
        (lost.staff("anna@example.org", Role::Staff).await, lost.staff("ben@example.org", Role::Staff).await);
    let root = app.person("root", &Party::Provider, vec![M::GrantRole(Role::Operator)]).await;
    lost.half_session().await;
    lost.was_requested(&anna, TimeDelta::hours(25)).await;
    let paused = app.post_by(&root, "/v1/ops/projections/users/pause", json!({})).await;
    assert_eq!(paused.body["state"], "paused", "{}", paused.text);
    let completed = lost.completes(&ben).await;
    assert_eq!(completed.status, 503, "{}", completed.text);
    let open = "select count(*) from sessions where user_id = $1 and ended_at is null";
    let open: i64 = sqlx::query_scalar(open).bind(lost.ada.as_str()).fetch_one(app.database.pool()).await.unwrap();
    assert_eq!(open, 0);
}

#[tokio::test]
async fn what_the_people_of_one_customer_do_shows_nothing_of_them_to_another() {
    let lost = Lost::factor().await;
    let app = &lost.app;
    let anna = lost.staff("anna@example.org", Role::Staff).await;
    let other = Party::Customer(app.customer("Bob Ltd").await);
    app.with_membership(&lost.ada, &other).await;
    let boss = app.person("boss", &lost.party, vec![M::GrantSuperuser]).await;
    let foreign = app.person("foreign", &other, vec![M::GrantSuperuser]).await;
    assert_eq!(lost.requests(&anna).await.status, 201);
    let cancelled = app.post_by(&boss, &lost.path("/cancel"), json!({ "reason": "it was not Ada" })).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    let line = async |reader| {
        let log = app.read_by(reader, "/v1/access-log").await;
        let lines = log.body["lines"].as_array().unwrap().clone();
        let of_cancelling = |line: &Value| line["what"] == "/v1/users/{id}/factor-reset/cancel";
        lines.into_iter().find(of_cancelling).expect("each customer of the person sees it")
    };
    assert_eq!(line(&boss).await["user"], boss.user.as_str());
    let seen = line(&foreign).await;
    assert_eq!(seen["entity"], lost.ada.as_str());
    for member in ["user", "address", "agent", "credential", "reason"] {
        assert_eq!(seen[member], Value::Null, "{member}: {seen}");
    }
}
