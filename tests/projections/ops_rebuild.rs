//! Rebuilds that operators ask for over HTTP: followed until they serve, refused, failed, and left to the next server.

use std::time::Duration;

use daybook_tests::{
    api::{Answer, TestApp},
    history::LONG,
    operator::{account, break_the_book, ended, metrics, of, reading, until},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{task::yield_now, time::timeout};

#[tokio::test]
async fn a_rebuild_is_followed_until_it_serves_and_is_rolled_back() {
    let app = TestApp::start().await;
    account(&app).await;
    let (head, path) = (app.position().await, of("accounts", ""));
    until(&app, &path, |shown| shown.body["position"] == head).await;

    let reader = reading(app.database.pool()).await;
    let asked = Answer::to(
        app.request(Method::POST, &of("accounts", "/rebuild")).header("daybook-actor", "staff:anna").json(&json!({})),
    )
    .await;
    assert_eq!(asked.status, 202, "{}", asked.text);
    let under_way = until(&app, &path, |shown| shown.body["building"]["phase"] == "taking_over").await;
    assert_eq!(under_way.body["last_rebuild"]["status"], "running");
    assert_eq!(under_way.body["last_rebuild"]["asked_by"], "staff:anna");
    let measured = metrics(&app).await;
    assert_eq!(measured[r#"daybook_projection_building_position{projection="accounts"}"#], head.to_string());
    assert_eq!(measured[r#"daybook_projection_building_driven{projection="accounts"}"#], "1");
    assert!(measured[r#"daybook_projection_building_memory_bytes{projection="accounts"}"#].parse::<u64>().unwrap() > 0);
    let again = app.post(&of("accounts", "/rebuild"), json!({})).await;
    again.refused(409, "rebuild-under-way");
    assert_eq!(again.header("retry-after"), "3");
    let interrupted = json!({ "interrupted": true });
    app.post(&of("accounts", "/discard"), interrupted).await.refused(409, "rebuild-under-way");
    // The server makes one at a time.
    assert_eq!(app.post(&of("payers", "/rebuild"), json!({ "dry_run": true })).await.status, 202);
    assert_eq!(app.get(&of("payers", "")).await.body["last_rebuild"]["status"], "waiting");
    app.post(&of("payers", "/rebuild"), json!({})).await.refused(409, "rebuild-under-way");
    reader.rollback().await.unwrap();

    let rebuilt = ended(&app, "accounts").await;
    let outcome = &rebuilt["last_rebuild"];
    assert_eq!(
        (&outcome["status"], &outcome["build"], &outcome["position"]),
        (&json!("rebuilt"), &json!(2), &json!(head))
    );
    assert_eq!((&outcome["rows"], &outcome["live"]["different"]), (&json!(1), &json!(0)), "{outcome}");
    assert!(outcome["readers_waited_microseconds"].is_u64(), "{outcome}");
    assert_eq!(
        (&rebuilt["build"], &rebuilt["kept"]["build"], &rebuilt["building"]),
        (&json!(2), &json!(1), &Value::Null)
    );
    assert_eq!(metrics(&app).await[r#"daybook_projection_serving_build{projection="accounts"}"#], "2");
    let dry = ended(&app, "payers").await;
    assert_eq!((&dry["last_rebuild"]["status"], &dry["last_rebuild"]["dry_run"]), (&json!("rebuilt"), &json!(true)));
    assert_eq!((&dry["last_rebuild"]["readers_waited_microseconds"], &dry["build"]), (&Value::Null, &json!(1)));

    let rolled_back = app.done(&of("accounts", "/rollback"), json!({})).await;
    assert_eq!((&rolled_back["build"], &rolled_back["version"]), (&json!(1), &json!(1)));
    assert!(rolled_back["readers_waited_microseconds"].is_u64(), "{rolled_back}");
    let shown = app.get(&path).await.body;
    assert_eq!((&shown["build"], &shown["kept"]["build"]), (&json!(1), &json!(2)));
    // One that is held cannot follow, and would take readers back in the book.
    app.done(&of("accounts", "/pause"), json!({})).await;
    sqlx::query("update projections set position = position - 1 where name = 'accounts' and stage = 'kept'")
        .execute(app.database.pool())
        .await
        .unwrap();
    app.post(&of("accounts", "/rollback"), json!({})).await.refused(409, "build-behind");
    assert_eq!(app.done(&of("accounts", "/discard"), json!({})).await, json!({ "build": 2 }));
    app.post(&of("accounts", "/discard"), json!({})).await.refused(404, "build-not-found");
}

#[tokio::test]
async fn a_server_that_stops_leaves_its_rebuild_to_the_next_one() {
    let app = TestApp::start().await;
    account(&app).await;
    let head = app.position().await;
    let reader = reading(app.database.pool()).await;
    app.done(&of("accounts", "/rebuild"), json!({})).await;
    until(&app, &of("accounts", ""), |shown| shown.body["building"]["phase"] == "taking_over").await;
    let database = timeout(Duration::from_secs(10), app.stop()).await.expect("the rebuild keeps nobody from stopping");
    reader.rollback().await.unwrap();

    let app = TestApp::on(database).await;
    let asked = async {
        loop {
            let answer = app.post(&of("accounts", "/rebuild"), json!({})).await;
            if answer.status == 202 {
                break;
            }
            // Until its lease runs out, the server that has stopped seems to be at work.
            answer.refused(409, "rebuild-under-way");
            yield_now().await;
        }
    };
    timeout(LONG, asked).await.unwrap();
    let outcome = &ended(&app, "accounts").await["last_rebuild"];
    assert_eq!((&outcome["status"], &outcome["resumed_at"]), (&json!("rebuilt"), &json!(head)), "{outcome}");
}

#[tokio::test]
async fn a_build_that_is_not_what_the_book_says_is_refused_with_its_keys() {
    let app = TestApp::start().await;
    let account = account(&app).await;
    let reader = reading(app.database.pool()).await;
    app.done(&of("accounts", "/rebuild"), json!({})).await;
    until(&app, &of("accounts", ""), |shown| shown.body["building"]["phase"] == "taking_over").await;
    let database = app.stop().await;
    reader.rollback().await.unwrap();
    for statement in [
        "update projections set holder = null, leased_until = null where stage = 'building'",
        "update operations set touched_at = now() - interval '1 minute'",
        "update accounts_v1_b2 set balance = balance + 1",
    ] {
        sqlx::query(statement).execute(database.pool()).await.unwrap();
    }

    let app = TestApp::on(database).await;
    assert_eq!(app.post(&of("accounts", "/rebuild"), json!({})).await.status, 202);
    let shown = ended(&app, "accounts").await;
    let outcome = &shown["last_rebuild"];
    assert_eq!((&outcome["status"], &outcome["different"]), (&json!("refused"), &json!(1)), "{outcome}");
    assert_eq!(outcome["differences"][0]["key"]["id"], account);
    assert_eq!((&shown["build"], &shown["building"]), (&json!(1), &Value::Null));
}

#[tokio::test]
async fn a_rebuild_of_a_book_that_cannot_be_folded_fails_and_says_where() {
    let app = TestApp::start().await;
    account(&app).await;
    break_the_book(app.database.pool()).await;
    let broken = app.position().await;
    assert_eq!(app.post(&of("tickets", "/rebuild"), json!({ "afresh": true })).await.status, 202);
    let shown = ended(&app, "tickets").await;
    let outcome = &shown["last_rebuild"];
    assert_eq!((&outcome["status"], &outcome["afresh"]), (&json!("failed"), &json!(true)));
    let error = outcome["error"].as_str().unwrap();
    assert!(error.starts_with(&format!("event {broken} cannot be folded")), "{error}");
    assert_eq!((&shown["build"], &shown["building"]), (&json!(1), &Value::Null));
}
