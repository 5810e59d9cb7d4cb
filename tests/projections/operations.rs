//! Long work as a resource of its own: how far it is, what it has come to, and that it can be cancelled.

use daybook_tests::{
    api::{Answer, TestApp},
    operator::{account, break_the_book, of, reading, until},
};
use serde_json::{Value, json};

/// Asks for long work, and answers with the address of the operation.
async fn asked(app: &TestApp, path: &str, body: Value) -> String {
    let answer = app.post(path, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let location = answer.header("location").to_owned();
    assert_eq!(location, format!("/v1/operations/{}", answer.body["id"].as_str().unwrap()));
    location
}

async fn with_status(app: &TestApp, operation: &str, status: &str) -> Answer {
    until(app, operation, |shown| shown.body["status"] == status).await
}

#[tokio::test]
async fn an_operation_says_how_far_it_is_and_what_it_has_come_to() {
    let app = TestApp::start().await;
    account(&app).await;
    let reader = reading(app.database.pool()).await;
    let rebuild = asked(&app, &of("accounts", "/rebuild"), json!({})).await;
    let shown = until(&app, &rebuild, |shown| shown.body["progress"]["phase"] == "taking_over").await.body;
    let progress = &shown["progress"];
    assert_eq!((&shown["status"], &progress["unit"]), (&json!("running"), &json!("events")), "{shown}");
    assert_eq!(
        (&progress["total"], &shown["request"]["dry_run"]),
        (&json!(app.position().await), &json!(false)),
        "{shown}"
    );
    // One is done at a time.
    let verify = asked(&app, &of("payers", "/verify"), json!({})).await;
    assert_eq!(app.get(&verify).await.body["status"], "waiting");
    app.post(&of("payers", "/verify"), json!({})).await.refused(409, "operation-under-way");
    reader.rollback().await.unwrap();

    let done = with_status(&app, &rebuild, "done").await.body;
    assert_eq!((&done["result"]["status"], &done["result"]["build"]), (&json!("rebuilt"), &json!(2)), "{done}");
    assert!(done["ended_at"].is_string() && done["problem"].is_null(), "{done}");
    assert_eq!(done["progress"]["done"], done["progress"]["total"], "{done}");
    let verified = with_status(&app, &verify, "done").await.body;
    assert_eq!((&verified["kind"], &verified["result"]["different"]), (&json!("verify"), &json!(0)), "{verified}");
    let listed = app.get("/v1/operations").await.body;
    let listed: Vec<&Value> = listed["operations"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!(listed, [&verified["id"], &done["id"]]);
    assert_eq!(app.get("/v1/operations?limit=1").await.body["operations"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_cancelled_ends_and_another_can_be_asked_for() {
    let app = TestApp::start().await;
    account(&app).await;
    let reader = reading(app.database.pool()).await;
    let running = asked(&app, &of("accounts", "/rebuild"), json!({})).await;
    with_status(&app, &running, "running").await;
    let waiting = asked(&app, &of("payers", "/rebuild"), json!({})).await;
    for operation in [&waiting, &running] {
        let asked = app.post(&format!("{operation}/cancel"), json!({})).await;
        assert_eq!(asked.status, 202, "{}", asked.text);
        let shown = with_status(&app, operation, "cancelled").await.body;
        assert!(shown["cancelled_by"].is_string() && shown["result"].is_null(), "{shown}");
        app.post(&format!("{operation}/cancel"), json!({})).await.refused(409, "operation-ended");
    }
    app.get("/v1/operations/opn_none").await.refused(404, "operation-not-found");
    app.post("/v1/operations/opn_none/cancel", json!({})).await.refused(404, "operation-not-found");
    let shown = app.get(&of("accounts", "")).await.body;
    assert_eq!(shown["last_rebuild"]["error"], "it was cancelled", "{shown}");
    assert_eq!(shown["build"], 1, "what serves stays");
    reader.rollback().await.unwrap();
    let again = until(&app, &of("accounts", ""), |shown| shown.body["building"]["driven"] != true).await;
    assert_eq!(again.status, 200);
    let again = asked(&app, &of("accounts", "/rebuild"), json!({})).await;
    with_status(&app, &again, "done").await;
}

#[tokio::test]
async fn a_verification_finds_a_row_that_was_altered() {
    let app = TestApp::start().await;
    let account = account(&app).await;
    until(&app, &format!("/v1/accounts/{account}"), |shown| shown.status == 200).await;
    sqlx::query("update accounts_v1 set balance = balance + 1").execute(app.database.pool()).await.unwrap();
    let verify = asked(&app, &of("accounts", "/verify"), json!({})).await;
    let found = with_status(&app, &verify, "done").await.body;
    assert_eq!(found["result"]["different"], 1, "{found}");
    assert_eq!(found["result"]["differences"][0]["key"]["id"], account, "{found}");
}

#[tokio::test]
async fn what_fails_says_why_as_a_problem() {
    let app = TestApp::start().await;
    account(&app).await;
    break_the_book(app.database.pool()).await;
    let rebuild = asked(&app, &of("tickets", "/rebuild"), json!({ "afresh": true })).await;
    let failed = with_status(&app, &rebuild, "failed").await.body;
    let problem = &failed["problem"];
    assert!(problem["detail"].as_str().unwrap().contains("cannot be folded"), "{failed}");
    assert_eq!((&problem["type"], &failed["result"]), (&json!("/problems/internal"), &Value::Null), "{failed}");
}

/// Another server shows it, and nobody waits for ever.
#[tokio::test]
async fn what_a_server_that_has_gone_was_doing_is_interrupted() {
    let app = TestApp::start().await;
    account(&app).await;
    let reader = reading(app.database.pool()).await;
    let rebuild = asked(&app, &of("accounts", "/rebuild"), json!({})).await;
    with_status(&app, &rebuild, "running").await;
    let app = TestApp::on(app.stop().await).await;
    assert_eq!(app.get(&rebuild).await.body["status"], "running", "it may be on its way still");
    sqlx::query("update operations set touched_at = touched_at - interval '1 minute'")
        .execute(app.database.pool())
        .await
        .unwrap();
    assert_eq!(app.get(&rebuild).await.body["status"], "interrupted");
    assert_eq!(app.post(&format!("{rebuild}/cancel"), json!({})).await.status, 202);
    assert_eq!(app.get(&rebuild).await.body["status"], "cancelled");
    reader.rollback().await.unwrap();
}
