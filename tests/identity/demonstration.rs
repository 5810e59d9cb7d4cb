//! The users of a demonstration, who sign in by links.

use daybook_api::{AppOptions, guests};
use daybook_core::{Actor, Context, writer::Command};
use daybook_tests::{
    api::{Answer, TestApp},
    commands::{command, register},
};
use reqwest::Method;

#[tokio::test]
async fn links_sign_in_to_a_demonstration_where_they_are_taken() {
    let app = TestApp::start().await;
    assert!(guests(app.app()).await.unwrap().is_empty(), "an empty ledger is none");
    // The first event says what the ledger is.
    let first = command(register("Ada").operation);
    let context = Context { actor: Actor::system("demonstration"), ..first.context };
    app.writer().execute(Command { context, ..first }).await.unwrap();
    assert_eq!(app.get("/v1/customers").await.body["data"].as_array().unwrap().len(), 1);
    let known = guests(app.app()).await.unwrap();
    let kinds: Vec<&str> = known.iter().map(|guest| guest.kind).collect();
    assert_eq!(kinds, ["customer", "accountant", "staff", "auditor", "operator"]);
    let link = known[0].link.clone();
    assert_eq!(app.get_at_once(&link).await.status, 200);

    // Others reach this one, or the ledger lies in a database of somebody's own.
    let closed = TestApp::with(app.stop().await, AppOptions { takes_links: false, ..AppOptions::default() }).await;
    assert!(guests(closed.app()).await.unwrap().is_empty());
    redeem(&closed, &link).await.refused(410, "link-used");

    let open = TestApp::on(closed.stop().await).await;
    assert_eq!(redeem(&open, &link).await.status, 200, "it was not used up");
    redeem(&open, &link).await.refused(410, "link-used");
}

/// Presses the button of the page.
async fn redeem(app: &TestApp, link: &str) -> Answer {
    let (path, form) = link.split_once('?').unwrap();
    let form = app.request(Method::POST, &format!("{path}/link")).body(form.to_owned());
    Answer::to(form.header("content-type", "application/x-www-form-urlencoded")).await
}
