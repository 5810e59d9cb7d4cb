//! What browsers must know of an answer stands in every answer.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use daybook_api::needs;
use daybook_core::domain::{Party, function::Role, user::MembershipChange as M};
use daybook_identity::{NewLink, Purpose};
use daybook_tests::{
    api::{Answer, TestApp, address},
    operator::account,
};
use reqwest::Method;
use serde_json::json;
use sha2::{Digest, Sha256};

const NO_PAGE: &str = "default-src 'none'; frame-ancestors 'none'";
const PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const VIEWER: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Asserts what every answer has, and answers with its policy.
fn protected(answer: &Answer, what: &str) -> String {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), value, "{what}: {name}");
    }
    assert!(["same-origin", "no-referrer"].contains(&answer.header("referrer-policy")), "{what}");
    assert_eq!(answer.headers.get_all("content-security-policy").iter().count(), 1, "{what}");
    answer.header("content-security-policy").to_owned()
}

#[tokio::test]
async fn every_route_says_what_browsers_must_know() {
    let app = TestApp::start().await;
    let mut statuses = BTreeSet::new();
    for (method, path, _) in needs() {
        let method: Method = method.to_uppercase().parse().unwrap();
        let request = app.request(method.clone(), &address(path)).header("prefer", "wait=0");
        let request = if method == Method::GET { request } else { request.json(&json!({})) };
        let answer = Answer::to(request).await;
        statuses.insert(answer.status / 100);
        assert_eq!(protected(&answer, path), NO_PAGE, "{method} {path}");
    }
    assert_eq!(statuses, [2, 4].into(), "some are answered, and some refused");
    for (path, status) in
        [("/problems", 200), ("/problems/not-found", 200), ("/openapi.json", 200), ("/v1/x", 404), ("/panic", 500)]
    {
        let answer = app.get_at_once(path).await;
        assert_eq!((protected(&answer, path).as_str(), answer.status), (NO_PAGE, status), "{path}");
    }
    let foreign = Answer::to(app.request(Method::GET, "/").header("host", "evil.example")).await;
    assert_eq!(protected(&foreign, "another host"), NO_PAGE);
}

#[tokio::test]
async fn pages_are_made_of_what_the_server_has() {
    let app = TestApp::start().await;
    let user = app.invited("ada@example.org", &Party::Provider, vec![M::GrantRole(Role::Staff)]).await;
    let new = NewLink { user: user.as_str(), purpose: Purpose::SignIn, about: None };
    let link = app.app().identity().links.make(new, app.app().clock().now()).await.unwrap();
    let page = app.get_at_once(&format!("/sign-in?link={}", link.expose())).await;
    assert_eq!((page.status, protected(&page, "/sign-in").as_str()), (200, PAGE), "{}", page.text);
    assert_eq!((page.header("referrer-policy"), page.header("cache-control")), ("same-origin", "no-store"));
    assert!(!page.text.contains("<style") && !page.text.contains("style="), "{}", page.text);

    // The style of a statement stands in it, so that a copy is whole; no other does.
    let account = account(&app).await;
    let statement = app.get(&format!("/v1/accounts/{account}/statement?format=html")).await;
    let policy = protected(&statement, "a statement");
    let style = statement.text.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let hash = BASE64_STANDARD.encode(Sha256::digest(style));
    assert_eq!(
        policy,
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
        )
    );
    assert!(!statement.text.contains("style=") && !statement.text.contains("<script"), "nothing else is in it");
}

#[tokio::test]
async fn the_viewer_of_the_documentation_has_no_script_in_its_page() {
    let app = TestApp::start().await;
    let page = app.get_at_once("/docs/").await;
    assert_eq!((page.status, protected(&page, "/docs/").as_str()), (200, VIEWER));
    let scripts: Vec<&str> = page.text.split("<script").skip(1).map(|rest| rest.split('>').next().unwrap()).collect();
    assert!(scripts.len() >= 3, "{}", page.text);
    assert!(scripts.iter().all(|script| script.contains("src=\"./")), "{scripts:?}");
    for file in ["swagger-ui-bundle.js", "swagger-initializer.js", "swagger-ui.css", "index.css", "favicon-32x32.png"] {
        let answer = app.get_at_once(&format!("/docs/{file}")).await;
        assert_eq!((answer.status, protected(&answer, file).as_str()), (200, VIEWER), "{file}");
        // Browsers take no script of another type.
        let kind = answer.header("content-type");
        let expected = match file.rsplit('.').next() {
            Some("js") => "javascript",
            Some("css") => "text/css",
            _ => "image/png",
        };
        assert!(kind.contains(expected), "{file}: {kind}");
    }
    // The description is looked at by no server of somebody else.
    assert!(app.get_at_once("/docs/swagger-initializer.js").await.text.contains("\"validatorUrl\": \"none\""));
}
