//! Users and how they sign in: what works, what does not, and that a right that was taken away is gone at the next request.

use daybook_api::guests;
use daybook_core::{
    Actor,
    domain::{
        Id, Party, UserId,
        function::{Function, Role},
        user::{CredentialChange, FactorKind, MembershipChange as M, TokenGrant, UserRejection},
    },
    operations::{ChangeCredentials, ChangeMembership, Operation},
    writer::ExecuteError,
};
use daybook_identity::{NewLink, Purpose};
use daybook_tests::{
    api::{Answer, TestApp},
    commands,
    history::LONG,
    people::{Browser, PASSWORD, totp},
};
use reqwest::{Client, Method, redirect::Policy};
use serde_json::{Value, json};

/// A customer with a superuser who has a password.
async fn with_superuser(app: &TestApp) -> (Party, Browser) {
    let party = Party::Customer(app.customer("Ada Ltd").await);
    let user = app.invited("ada@example.org", &party, vec![M::GrantSuperuser]).await;
    app.with_password(&user).await;
    let browser = app.signed_in("ada@example.org").await;
    (party, browser)
}

#[tokio::test]
async fn a_person_signs_in_sees_who_asks_and_signs_out() {
    let app = TestApp::guarded().await;
    let (party, browser) = with_superuser(&app).await;
    let me = app.page_reads(&browser, "/v1/me").await;
    assert_eq!((me.status, &me.body["membership"]), (200, &Value::from(party.key())), "{}", me.text);
    assert_eq!(me.body["login"], "ada@example.org");
    assert!(me.body["functions"].as_array().unwrap().contains(&"orders.read".into()));
    let sessions = app.page_reads(&browser, "/v1/sessions").await;
    assert_eq!((&sessions.body["sessions"][0]["current"], sessions.status), (&true.into(), 200), "{}", sessions.text);

    let out = app.page_posts(&browser, "/v1/sign-out", json!({})).await;
    assert_eq!(out.status, 204, "{}", out.text);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    // A cookie that somebody has kept is worth nothing any more.
    app.page_reads(&browser, "/v1/me").await.refused(401, "unauthenticated");
    let log = app.sign_in("ada@example.org", PASSWORD).await;
    let own = format!("/v1/access-log?user={}", me.body["user"].as_str().unwrap());
    let lines = app.page_reads(&Browser::of(&log), &own).await;
    let kinds: Vec<Value> = lines.body["lines"].as_array().unwrap().iter().map(|line| line["kind"].clone()).collect();
    assert_eq!(kinds, ["signed_in", "signed_out", "signed_in"]);
}

#[tokio::test]
async fn whoever_is_nobody_gets_the_answer_of_a_wrong_password() {
    let app = TestApp::guarded().await;
    with_superuser(&app).await;
    let wrong = app.sign_in("ada@example.org", "ferrous lantern 41 drizzl").await;
    let nobody = app.sign_in("eve@example.org", PASSWORD).await;
    let plain = |answer: &Answer| {
        let mut body = answer.body.clone();
        body["instance"].take();
        (answer.status, body)
    };
    wrong.refused(401, "sign-in-refused");
    assert_eq!(plain(&wrong), plain(&nobody));
}

#[tokio::test]
async fn a_name_is_the_same_however_it_is_written() {
    let app = TestApp::guarded().await;
    with_superuser(&app).await;
    for login in ["ADA@example.org", " ada@EXAMPLE.org ", "\u{ff41}da@example.org"] {
        assert_eq!(app.sign_in(login, PASSWORD).await.status, 200, "{login}");
    }
}

#[tokio::test]
async fn a_cookie_is_taken_from_our_pages_only() {
    let app = TestApp::guarded().await;
    let (_, browser) = with_superuser(&app).await;
    let post = || app.request(Method::POST, "/v1/sign-out").header("cookie", &browser.cookie).json(&json!({}));
    Answer::to(post()).await.refused(403, "cross-site-request");
    for site in ["cross-site", "same-site", "none"] {
        Answer::to(post().header("sec-fetch-site", site)).await.refused(403, "cross-site-request");
    }
    let own = Answer::to(post().header("origin", &app.url)).await;
    assert_eq!(own.status, 204, "{}", own.text);
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_gone_at_the_next_request() {
    let app = TestApp::guarded().await;
    let (party, ada) = with_superuser(&app).await;
    let clerk = app.person("clerk", &party, vec![M::GrantFunction(Function::OrdersRead)]).await;
    assert_eq!(app.read_by(&clerk, "/v1/orders").await.status, 200);
    let change = |change: Value| json!({ "party": { "customer": party.key() }, "change": change });
    let rights = format!("/v1/users/{}/memberships", clerk.user);
    let ada = app.stepped_up(&ada).await;
    let denied = app.page_edits(&ada, &rights, change(json!({ "deny_function": "orders.read" }))).await;
    assert_eq!(denied.status, 200, "{}", denied.text);
    app.read_by(&clerk, "/v1/orders").await.refused(403, "forbidden-by-role");
    let granted = app.page_edits(&ada, &rights, change(json!({ "grant_function": "orders.read" }))).await;
    assert_eq!(granted.status, 200, "{}", granted.text);
    assert_eq!(app.read_by(&clerk, "/v1/orders").await.status, 200);
    let disabled = app.page_posts(&ada, &format!("/v1/users/{}/disable", clerk.user), json!({})).await;
    assert_eq!(disabled.status, 200, "{}", disabled.text);
    app.read_by(&clerk, "/v1/orders").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_superuser_invites_a_person_who_chooses_a_password_by_a_link_once() {
    let app = TestApp::guarded().await;
    let (party, ada) = with_superuser(&app).await;
    let body = json!({
        "login": "bob@example.org", "name": "Bob", "party": { "customer": party.key() }, "functions": ["tickets.read"],
    });
    let ada = app.stepped_up(&ada).await;
    let invited = app.page_posts(&ada, "/v1/users", body).await;
    assert_eq!(invited.status, 201, "{}", invited.text);
    let link = format!("/v1/users/{}/password-link", invited.body["id"].as_str().unwrap());
    let made = app.page_posts(&ada, &link, json!({})).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(made.header("cache-control"), "no-store");

    let choose = |password: &str| json!({ "link": made.body["link"], "password": password });
    let choosing = |body: Value| Answer::to(app.request(Method::POST, "/v1/password").json(&body));
    choosing(choose("bob")).await.refused(422, "password-too-short");
    choosing(choose("bob@example.org")).await.refused(422, "password-is-a-name");
    let chosen = choosing(choose(PASSWORD)).await;
    assert_eq!(chosen.status, 204, "a bad password has not used the link up: {}", chosen.text);
    choosing(choose(PASSWORD)).await.refused(410, "link-used");
    let bob = app.signed_in("bob@example.org").await;
    assert_eq!(app.page_reads(&bob, "/v1/tickets").await.status, 200);
    app.page_reads(&bob, "/v1/orders").await.refused(403, "forbidden-by-role");
}

#[tokio::test]
async fn nobody_lets_himself_in_to_more_than_he_may_do() {
    let app = TestApp::guarded().await;
    let (party, _) = with_superuser(&app).await;
    let rights = [Function::UsersManage, Function::TokensMake].map(M::GrantFunction).to_vec();
    let clerk = app.person("clerk", &party, rights).await;
    let staff = app.person("anna", &Party::Provider, vec![M::GrantRole(Role::Staff)]).await;
    let root = app.invited("root", &Party::Provider, vec![M::GrantRole(Role::Operator)]).await;
    let boss = app.invited("boss", &party, vec![M::GrantSuperuser]).await;
    let link = |user: &daybook_core::domain::UserId| format!("/v1/users/{user}/password-link");
    app.post_by(&clerk, &link(&boss), json!({})).await.refused(403, "right-not-held");
    app.post_by(&clerk, &link(&root), json!({})).await.refused(404, "user-not-found");
    app.post_by(&staff, &link(&root), json!({})).await.refused(403, "forbidden-by-role");
    assert_eq!(app.post_by(&staff, &link(&boss), json!({})).await.status, 201);
}

#[tokio::test]
async fn another_password_ends_the_other_sessions() {
    let app = TestApp::guarded().await;
    let (_, here) = with_superuser(&app).await;
    let elsewhere = app.signed_in("ada@example.org").await;
    let change = |current: &str| json!({ "current": current, "password": "copper lantern 42 thistle" });
    app.page_posts(&here, "/v1/me/password", change("no")).await.refused(401, "sign-in-refused");
    let changed = app.page_posts(&here, "/v1/me/password", change(PASSWORD)).await;
    assert_eq!(changed.status, 204, "{}", changed.text);
    assert_eq!(app.page_reads(&here, "/v1/me").await.status, 200);
    app.page_reads(&elsewhere, "/v1/me").await.refused(401, "unauthenticated");
    app.sign_in("ada@example.org", PASSWORD).await.refused(401, "sign-in-refused");
    assert_eq!(app.sign_in("ada@example.org", "copper lantern 42 thistle").await.status, 200);
}

#[tokio::test]
async fn a_sign_in_that_another_password_overtakes_begins_no_session() {
    let app = TestApp::guarded().await;
    let (_, ada) = with_superuser(&app).await;
    let user: UserId = commands::id(&json!({ "id": app.page_reads(&ada, "/v1/me").await.body["user"] }));
    let mut owner = app.database.pool().begin().await.unwrap();
    sqlx::query("lock table sessions in exclusive mode").execute(&mut *owner).await.unwrap();
    let overtaking = async {
        // The password was right, and the session is about to begin.
        let waits = "select exists (select from pg_locks where relation = 'sessions'::regclass and not granted)";
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut *owner).await.unwrap() {
            tokio::task::yield_now().await;
        }
        app.credentials(&user, CredentialChange::SetPassword { password: Id::named("another").unwrap() }).await;
        owner.commit().await.unwrap();
    };
    let (answer, ()) = tokio::join!(app.sign_in("ada@example.org", PASSWORD), overtaking);
    answer.refused(401, "sign-in-refused");
}

#[tokio::test]
async fn a_token_asks_for_its_owner_until_it_is_revoked() {
    let app = TestApp::guarded().await;
    let (_, ada) = with_superuser(&app).await;
    let new = json!({ "name": "export", "functions": ["orders.read"] });
    app.page_posts(&ada, "/v1/tokens", new.clone()).await.refused(403, "step-up-needed");
    let ada = app.stepped_up(&ada).await;
    let made = app.page_posts(&ada, "/v1/tokens", new).await;
    assert_eq!((made.status, made.header("cache-control")), (201, "no-store"), "{}", made.text);
    let (token, id) = (made.body["token"].as_str().unwrap(), made.body["id"].as_str().unwrap());
    let by_token = |path: &str| Answer::to(app.request(Method::GET, path).bearer_auth(token));
    assert_eq!(by_token("/v1/orders").await.status, 200);
    by_token("/v1/tickets").await.refused(403, "forbidden-by-role");
    let listed = app.page_reads(&ada, "/v1/tokens").await;
    assert_eq!((&listed.body["tokens"][0]["id"], &listed.body["tokens"][0]["name"]), (&id.into(), &"export".into()));
    assert!(!listed.text.contains(token), "a token is shown once");
    let revoked = app.page_posts(&ada, &format!("/v1/tokens/{id}/revoke"), json!({})).await;
    assert_eq!(revoked.status, 200, "{}", revoked.text);
    by_token("/v1/orders").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_second_factor_is_asked_for_once_it_is_there() {
    let app = TestApp::guarded().await;
    let (_, ada) = with_superuser(&app).await;
    let ada = app.stepped_up(&ada).await;
    let enrolled = app.page_posts(&ada, "/v1/me/factors", json!({})).await;
    assert_eq!(enrolled.status, 201, "{}", enrolled.text);
    let confirm = format!("/v1/me/factors/{}/confirm", enrolled.body["id"].as_str().unwrap());
    let code = |steps: i64| {
        let now = app.app().clock().now().timestamp() + 30 * steps;
        json!({ "code": totp(enrolled.body["secret"].as_str().unwrap(), now) })
    };
    app.page_posts(&ada, &confirm, json!({ "code": "000000" })).await.refused(401, "sign-in-refused");
    let added = app.page_posts(&ada, &confirm, code(0)).await;
    assert_eq!(added.status, 204, "{}", added.text);
    let ada = Browser::of(&added);
    let codes = app.page_posts(&ada, "/v1/me/recovery-codes", json!({})).await;
    assert_eq!(codes.body["codes"].as_array().map(Vec::len), Some(10), "{}", codes.text);

    let begun = app.sign_in("ada@example.org", PASSWORD).await;
    assert_eq!(begun.body["needs"], "second_factor");
    let half = Browser::of(&begun);
    // The password alone lets nobody in.
    for path in ["/v1/orders", "/v1/me", "/v1/sessions", "/v1/tokens"] {
        app.page_reads(&half, path).await.refused(401, "unauthenticated");
    }
    let step_up = json!({ "password": PASSWORD });
    app.page_posts(&half, "/v1/session/step-up", step_up).await.refused(401, "unauthenticated");
    let second = "/v1/sign-in/second-factor";
    app.page_posts(&half, second, code(0)).await.refused(401, "sign-in-refused");
    let done = app.page_posts(&half, second, code(1)).await;
    assert_eq!(done.status, 200, "the next code: {}", done.text);
    let whole = Browser::of(&done);
    assert_ne!(half.cookie, whole.cookie, "a session is named anew when its level rises");
    assert_eq!(app.page_reads(&whole, "/v1/orders").await.status, 200);
    app.page_reads(&half, "/v1/orders").await.refused(401, "unauthenticated");

    let recovery = json!({ "recovery_code": codes.body["codes"][0] });
    for expected in [200, 401] {
        let half = Browser::of(&app.sign_in("ada@example.org", PASSWORD).await);
        assert_eq!(app.page_posts(&half, second, recovery.clone()).await.status, expected, "a code works once");
    }
}

#[tokio::test]
async fn a_person_in_two_customers_acts_in_one_of_them() {
    let app = TestApp::guarded().await;
    let (party, _) = with_superuser(&app).await;
    let other = Party::Customer(app.customer("Bob Ltd").await);
    let user = app.invited("both@example.org", &party, vec![M::GrantSuperuser]).await;
    let (member, change) = (user.clone(), M::Give);
    app.record(Operation::ChangeMembership(ChangeMembership { user: member, party: other.clone(), change })).await;
    app.with_password(&user).await;
    let browser = app.signed_in("both@example.org").await;
    let acts_as = async |header: Option<&str>| {
        let request = app.from_page(&browser, Method::GET, "/v1/me");
        let request = header.map_or(request.try_clone().unwrap(), |party| request.header("daybook-membership", party));
        Answer::to(request).await
    };
    assert_eq!(acts_as(None).await.body["membership"], party.key());
    assert_eq!(acts_as(Some(other.key())).await.body["membership"], other.key());
    acts_as(Some("provider")).await.refused(400, "malformed-header");
    let switched = app.page_posts(&browser, "/v1/session/membership", json!({ "party": { "customer": other.key() } }));
    assert_eq!(switched.await.status, 204);
    assert_eq!(acts_as(None).await.body["membership"], other.key());
}

#[tokio::test]
async fn a_customer_sees_its_users_as_they_were() {
    let app = TestApp::guarded().await;
    let (_, ada) = with_superuser(&app).await;
    let other = Party::Customer(app.customer("Bob Ltd").await);
    let foreign = app.person("bob", &other, vec![M::GrantSuperuser]).await;
    let me = app.page_reads(&ada, "/v1/me").await.body;
    let (user, at) = (me["user"].as_str().unwrap(), app.position().await);
    let renamed = app.page_edits(&ada, &format!("/v1/users/{user}/rename"), json!({ "name": "Ada King" })).await;
    assert_eq!(renamed.status, 200, "{}", renamed.text);
    let one = format!("/v1/users/{user}?as_known_at={at}");
    let shown = app.page_reads(&ada, &one).await;
    assert_eq!((&shown.body["name"], shown.status), (&me["name"], 200), "{}", shown.text);
    assert_eq!(shown.body["memberships"][0]["superuser"], true, "{}", shown.text);
    let all = format!("/v1/users?as_known_at={at}");
    let listed = app.page_reads(&ada, &all).await;
    assert_eq!(listed.body["data"][0]["name"], me["name"], "{}", listed.text);

    app.read_by(&foreign, &one).await.refused(404, "user-not-found");
    let listed = app.read_by(&foreign, &all).await;
    let ids: Vec<_> = listed.body["data"].as_array().unwrap().iter().map(|user| &user["id"]).collect();
    assert_eq!(ids, [foreign.user.as_str()], "{}", listed.text);
}

#[tokio::test]
async fn whoever_was_disabled_signs_in_anew_once_enabled() {
    let app = TestApp::guarded().await;
    let (party, ada) = with_superuser(&app).await;
    // One superuser is left.
    app.invited("boss@example.org", &party, vec![M::GrantSuperuser]).await;
    let anna = app.person("anna", &Party::Provider, vec![M::GrantRole(Role::Staff)]).await;
    let user = app.page_reads(&ada, "/v1/me").await.body["user"].as_str().unwrap().to_owned();
    for change in ["disable", "enable"] {
        let changed = app.post_by(&anna, &format!("/v1/users/{user}/{change}"), json!({})).await;
        assert_eq!(changed.status, 200, "{change}: {}", changed.text);
        app.page_reads(&ada, "/v1/me").await.refused(401, "unauthenticated");
    }
    app.signed_in("ada@example.org").await;
}

#[tokio::test]
async fn whoever_guesses_is_held_up() {
    let app = TestApp::guarded().await;
    with_superuser(&app).await;
    let mut refused = 0;
    let held = loop {
        let answer = app.sign_in("ada@example.org", "not the password").await;
        if answer.status == 429 {
            break answer;
        }
        answer.refused(401, "sign-in-refused");
        refused += 1;
        assert!(refused < 100, "somebody who guesses is held up at last");
    };
    held.refused(429, "too-many-attempts");
    assert!(held.header("retry-after").parse::<u64>().is_ok_and(|seconds| (1..=900).contains(&seconds)));
}

#[tokio::test]
async fn whoever_guesses_at_a_factor_to_be_added_is_held_up() {
    let app = TestApp::guarded().await;
    let (_, ada) = with_superuser(&app).await;
    let ada = app.stepped_up(&ada).await;
    let enrolled = app.page_posts(&ada, "/v1/me/factors", json!({})).await;
    let confirm = format!("/v1/me/factors/{}/confirm", enrolled.body["id"].as_str().unwrap());
    let mut refused = 0;
    let held = loop {
        let answer = app.page_posts(&ada, &confirm, json!({ "code": "none" })).await;
        if answer.status == 429 {
            break answer;
        }
        answer.refused(401, "sign-in-refused");
        refused += 1;
        assert!(refused < 100, "somebody who guesses is held up at last");
    };
    held.refused(429, "too-many-attempts");
    // Also with the right code, and when the factor of the session is asked for.
    let code = totp(enrolled.body["secret"].as_str().unwrap(), app.app().clock().now().timestamp());
    app.page_posts(&ada, &confirm, json!({ "code": code })).await.refused(429, "too-many-attempts");
    let me = app.page_reads(&ada, "/v1/me").await;
    assert_eq!(me.body["factors"], json!([]), "{}", me.text);
}

#[tokio::test]
async fn a_password_that_is_none_is_refused() {
    let app = TestApp::guarded().await;
    let (_, ada) = with_superuser(&app).await;
    for (password, code) in [("aaaaaaaaaaaa", "password-guessable"), (&"\u{4e00}".repeat(400), "password-too-long")] {
        let body = json!({ "current": PASSWORD, "password": password });
        app.page_posts(&ada, "/v1/me/password", body).await.refused(422, code);
    }
}

#[tokio::test]
async fn what_needs_a_session_is_not_done_by_a_token() {
    let app = TestApp::guarded().await;
    let (party, ada) = with_superuser(&app).await;
    let person = app.person("other", &party, vec![M::GrantSuperuser]).await;
    app.post_by(&person, "/v1/session/step-up", json!({ "password": PASSWORD })).await.refused(403, "session-needed");
    for path in ["/v1/me/factors", "/v1/me/recovery-codes", "/v1/tokens"] {
        app.post_by(&person, path, json!({ "name": "more" })).await.refused(403, "session-needed");
    }
    let end = |path: &str| app.by(&person, Method::DELETE, path);
    Answer::to(end("/v1/sessions")).await.refused(403, "session-needed");
    let rename = format!("/v1/users/{}/rename", person.user);
    app.post_by(&person, &rename, json!({ "name": "Other" })).await.refused(403, "right-not-held");
    let foreign = app.from_page(&ada, Method::DELETE, "/v1/sessions/ses_1");
    Answer::to(foreign).await.refused(404, "session-not-found");
    assert_eq!(app.page_reads(&ada, "/v1/me").await.status, 200);
}

/// What requests never come to, since identifiers are made anew for each.
#[tokio::test]
async fn a_secret_is_named_once() {
    let app = TestApp::guarded().await;
    let party = Party::Customer(app.customer("Ada Ltd").await);
    let user = app.invited("ada@example.org", &party, vec![]).await;
    let change = async |change: CredentialChange| {
        let operation = Operation::ChangeCredentials(ChangeCredentials { user: user.clone(), change });
        match app.writer().execute(commands::command(operation)).await {
            Ok(_) => "",
            Err(ExecuteError::Refused(refusal)) => refusal.code(),
            Err(other) => panic!("{other}"),
        }
    };
    let add = || CredentialChange::AddFactor { factor: Id::named("phone").unwrap(), kind: FactorKind::Totp };
    let remove = || CredentialChange::RemoveFactor { factor: Id::named("phone").unwrap() };
    assert_eq!(change(add()).await, "");
    assert_eq!(change(add()).await, "factor-exists");
    assert_eq!(change(remove()).await, "");
    assert_eq!(change(remove()).await, "factor-not-found");
    let token = CredentialChange::RevokeToken { token: Id::named("none").unwrap() };
    assert_eq!(change(token).await, "token-not-found");
    let again = UserRejection::AlreadyInvited;
    assert_eq!(again.code(), "user-exists", "no operation invites under an identifier that is there");
}

#[tokio::test]
async fn a_person_has_so_many_memberships_and_tokens_at_most() {
    let app = TestApp::guarded().await;
    let party = Party::Customer(app.customer("Ada Ltd").await);
    let user = app.invited("ada@example.org", &party, vec![]).await;
    let executed = async |operation: Operation| match app.writer().execute(commands::command(operation)).await {
        Ok(done) => done.answer,
        Err(ExecuteError::Refused(refusal)) => refusal.code().into(),
        Err(other) => panic!("{other}"),
    };
    for number in 0..100 {
        let grant = TokenGrant {
            token: Id::named(&number.to_string()).unwrap(),
            party: party.clone(),
            name: "one of many".into(),
            functions: None,
            expires_at: None,
        };
        let change = CredentialChange::MakeToken(grant);
        executed(Operation::ChangeCredentials(ChangeCredentials { user: user.clone(), change })).await;
        let customer = commands::id(&executed(commands::register("Other").operation).await);
        let (user, party, change) = (user.clone(), Party::Customer(customer), M::Give);
        let answer = executed(Operation::ChangeMembership(ChangeMembership { user, party, change })).await;
        assert_eq!(answer == "too-many-memberships", number == 99, "{answer}");
    }
    let grant =
        TokenGrant { token: Id::named("more").unwrap(), party, name: "more".into(), functions: None, expires_at: None };
    let change = CredentialChange::MakeToken(grant);
    let answer = executed(Operation::ChangeCredentials(ChangeCredentials { user, change })).await;
    assert_eq!(answer, "too-many-tokens");
}

#[tokio::test]
async fn a_customer_does_not_remove_its_first_user_and_shares_no_other() {
    let app = TestApp::guarded().await;
    let (party, ada) = with_superuser(&app).await;
    let first = app.page_reads(&ada, "/v1/me").await.body["user"].as_str().unwrap().to_owned();
    let second = app.person("second", &party, vec![M::GrantSuperuser]).await;
    app.post_by(&second, &format!("/v1/users/{first}/disable"), json!({})).await.refused(409, "first-user");
    let other = Party::Customer(app.customer("Bob Ltd").await);
    let shared = app.invited("both@example.org", &party, vec![]).await;
    let (user, change) = (shared.clone(), M::Give);
    app.record(Operation::ChangeMembership(ChangeMembership { user, party: other, change })).await;
    app.post_by(&second, &format!("/v1/users/{shared}/disable"), json!({})).await.refused(403, "user-shared");
}

/// S58: staff look at a customer's account; the customer sees who, and in the customer's name nothing is paid.
#[tokio::test]
async fn a_customer_sees_who_has_looked() {
    let app = TestApp::guarded().await;
    let (party, ada) = with_superuser(&app).await;
    let customer = party.key();
    let anna = app.person("anna", &Party::Provider, vec![M::GrantRole(Role::Staff)]).await;
    let open = json!({ "customer": customer, "currency": "USD", "name": "Main" });
    let account = app.post_by(&anna, "/v1/accounts", open).await.body["id"].as_str().unwrap().to_owned();
    // Whose account it is must be known before it is looked at.
    app.app().reader().wait_for("accounts", app.position().await, LONG).await.unwrap();
    app.read_by(&anna, &format!("/v1/accounts/{account}/balance")).await;
    app.read_by(&anna, &format!("/v1/tickets?customer={customer}")).await;
    let log = app.page_reads(&ada, "/v1/access-log").await;
    let lines = log.body["lines"].as_array().unwrap();
    assert_eq!(lines.last().unwrap()["kind"], "signed_in", "a customer sees when its people sign in");
    let lines: Vec<_> = lines.iter().filter(|line| line["kind"] == "viewed").collect();
    let seen: Vec<_> =
        lines.iter().map(|line| (line["what"].as_str().unwrap(), line["user"].as_str().unwrap())).collect();
    let (staff, balance) = (anna.user.as_str(), "/v1/accounts/{id}/balance");
    assert_eq!(seen, [("/v1/tickets", staff), (balance, staff)], "{}", log.text);

    let name = format!("customer:{customer}");
    let post = async |path: &str, body: Value| {
        let request = app.by(&anna, Method::POST, path).header("daybook-on-behalf-of", &name);
        Answer::to(request.header("idempotency-key", "once").json(&body)).await
    };
    let ticket = |reason: Option<&str>| json!({ "customer": customer, "category": "technical", "subject": "slow", "message": "very", "reason": reason });
    post("/v1/tickets", ticket(None)).await.refused(403, "impersonation-read-only");
    let opened = post("/v1/tickets", ticket(Some("asked by telephone"))).await;
    assert_eq!(opened.status, 201, "{}", opened.text);
    let path = format!("/v1/history?entity={}", opened.body["id"].as_str().unwrap());
    let history = app.from_page(&ada, Method::GET, &path).header("prefer", "wait=30");
    let history = Answer::to(history.header("min-position", opened.header("ledger-position"))).await;
    let event = &history.body["data"][0];
    assert_eq!((&event["actor"], &event["on_behalf_of"]), (&format!("staff:{staff}").into(), &name.as_str().into()));
    let pay = json!({
        "account": account, "amount": { "amount": "5.00", "currency": "USD" }, "method": "card",
        "reason": "asked by telephone",
    });
    post("/v1/payments", pay).await.refused(403, "impersonation-read-only");
}

#[tokio::test]
async fn a_customer_never_says_when_something_takes_effect() {
    let app = TestApp::guarded().await;
    let (party, _) = with_superuser(&app).await;
    let ada = app.person("other", &party, vec![M::GrantSuperuser]).await;
    let ticket = |effective_at: Option<&str>| {
        json!({
            "customer": party.key(), "category": "technical", "subject": "slow", "message": "very",
            "effective_at": effective_at,
        })
    };
    let refused = app.post_by(&ada, "/v1/tickets", ticket(Some("2020-01-01T00:00:00Z"))).await;
    assert_eq!(refused.refused(403, "forbidden-by-role")["function"], "effect.date");
    assert_eq!(app.post_by(&ada, "/v1/tickets", ticket(None)).await.status, 201);
}

#[tokio::test]
async fn a_link_is_used_up_by_what_is_recorded_alone() {
    let app = TestApp::guarded().await;
    let party = Party::Customer(app.customer("Ada Ltd").await);
    let user = app.invited("ada@example.org", &party, vec![]).await;
    let new = NewLink { user: user.as_str(), purpose: Purpose::Invitation, about: None };
    let link = app.app().identity().links.make(new, app.app().clock().now()).await.unwrap();
    let body = json!({ "link": link.expose(), "password": PASSWORD });
    let choose = || Answer::to(app.request(Method::POST, "/v1/password").json(&body));
    let owner = async |statement: &'static str| sqlx::query(statement).execute(app.database.pool()).await.unwrap();

    owner("alter table events add constraint fault check (event_type <> 'user.password_set') not valid").await;
    let failed = choose().await;
    assert!(failed.status >= 500, "{}", failed.text);
    owner("alter table events drop constraint fault").await;
    let (one, other) = tokio::join!(choose(), choose());
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 410], "{} {}", one.text, other.text);
    assert_eq!(app.sign_in("ada@example.org", PASSWORD).await.status, 200);
}

/// Those who sign in to a demonstration have no password that they could show once more.
#[tokio::test]
async fn a_link_into_a_demonstration_stands_for_the_password() {
    let app = TestApp::guarded().await;
    let mut first = commands::register("Ada Ltd");
    first.context.actor = Actor::system("demonstration");
    let done = app.writer().execute(first).await.unwrap();
    app.app().reader().wait_for("customers", done.position, LONG).await.unwrap();
    let guests = guests(app.app()).await.unwrap();
    let staff = guests.iter().find(|guest| guest.kind == "staff").unwrap();
    let link = staff.link.strip_prefix("/sign-in?").unwrap().to_owned();
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    let form = client.post(format!("{}/sign-in/link", app.url)).body(link);
    let used = Answer::to(form.header("content-type", "application/x-www-form-urlencoded")).await;
    assert_eq!(used.status, 303, "{}", used.text);
    let browser = Browser::of(&used);
    assert_eq!(app.page_reads(&browser, "/v1/orders").await.status, 200);
    let refund = app.page_posts(&browser, "/v1/payments/pay_1/refunds", json!({})).await;
    refund.refused(400, "idempotency-key-missing");
}

#[tokio::test]
async fn a_link_of_one_purpose_is_none_of_another() {
    let app = TestApp::guarded().await;
    let party = Party::Customer(app.customer("Ada Ltd").await);
    let user = app.invited("ada@example.org", &party, vec![]).await;
    let new = NewLink { user: user.as_str(), purpose: Purpose::SignIn, about: None };
    let link = app.app().identity().links.make(new, app.app().clock().now()).await.unwrap();
    let body = json!({ "link": link.expose(), "password": PASSWORD });
    Answer::to(app.request(Method::POST, "/v1/password").json(&body)).await.refused(410, "link-used");
}
