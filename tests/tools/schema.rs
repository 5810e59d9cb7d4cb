//! Which events a book holds in which versions, and whether the program that is asked would fold all of them: by the
//! program `daybook`, and over HTTP.

use daybook_tests::{
    TestDatabase,
    api::{Answer, TestApp},
    commands::{account, adjust, usd},
    database, program,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

#[tokio::test]
async fn a_book_of_the_present_versions_is_listed_and_folds() {
    let database = book().await;
    let (succeeded, listed) = daybook(&database, &["schema"]).await;
    assert!(succeeded);
    let rows: Vec<Value> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| json!([row["event_type"], row["event_version"], row["events"], row["reading"]]))
        .collect();
    let expected = [
        ("account.charged", "1.0", 1),
        ("account.credited", "1.0", 2),
        ("account.opened", "1.0", 1),
        ("customer.account_added", "1.0", 1),
        ("customer.registered", "1.1", 1),
    ];
    // What an entry settles is told by events of its own.
    let rows: Vec<Value> = rows.into_iter().filter(|row| row[0] != "account.allocated").collect();
    assert_eq!(rows, expected.map(|(event_type, version, events)| json!([event_type, version, events, "present"])));

    let (succeeded, report) = daybook(&database, &["schema", "check"]).await;
    let head: i64 = sqlx::query_scalar("select position from book_head").fetch_one(database.pool()).await.unwrap();
    assert_eq!((succeeded, report), (true, json!({ "sound": true, "position": head, "findings": [] })));
}

#[tokio::test]
async fn what_would_not_fold_is_told_by_type_and_version() {
    let database = book().await;
    let head: i64 = sqlx::query_scalar("select position from book_head").fetch_one(database.pool()).await.unwrap();
    for (sequence, event_type, event_version, payload) in [
        (1, "ticket.answered", "1.0", r#"{"answered": {"message": "done"}}"#),
        (2, "ticket.escalated", "1.0", r#"{"escalated": {}}"#),
        (3, "ticket.answered", "2.0", r#"{"answered": {"message": "done"}}"#),
        (4, "ticket.answered", "1.0", r#"{"answered": {}}"#),
        (5, "ticket.answered", "2.0", r#"{"answered": {"text": "done"}}"#),
    ] {
        sqlx::query(
            "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             values ('ticket', 'tkt_1', $1, $2, $3, $4::json, '{}')",
        )
        .bind(sequence)
        .bind(event_type)
        .bind(event_version)
        .bind(payload)
        .execute(database.pool())
        .await
        .unwrap();
    }

    let (succeeded, report) = daybook(&database, &["schema", "check"]).await;
    assert_eq!((succeeded, &report["sound"], &report["position"]), (false, &json!(false), &json!(head + 5)));
    let findings = report["findings"].as_array().unwrap();
    let expected = [
        ("ticket.answered", "1.0", 1, head + 4, "missing field `message`"),
        ("ticket.answered", "2.0", 2, head + 3, "`ticket.answered` is stored in version 2.0"),
        ("ticket.escalated", "1.0", 1, head + 2, "the event type `ticket.escalated` is unknown"),
    ];
    assert_eq!(findings.len(), expected.len(), "{report:#}");
    for (finding, (event_type, event_version, failing, first, error)) in findings.iter().zip(expected) {
        assert_eq!((&finding["event_type"], &finding["event_version"]), (&json!(event_type), &json!(event_version)));
        assert_eq!((&finding["failing"], &finding["first_bad_position"]), (&json!(failing), &json!(first)));
        assert!(finding["error"].as_str().unwrap().contains(error), "{finding:#}");
    }

    // The list shows how the first event of each kind is read; over HTTP it is the same.
    let (succeeded, listed) = daybook(&database, &["schema"]).await;
    assert!(succeeded);
    let tickets: Vec<&Value> = listed
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["event_type"].as_str().unwrap().starts_with("ticket."))
        .collect();
    assert_eq!(tickets.len(), 3);
    let readings: Vec<&Value> = tickets.iter().map(|row| &row["reading"]).collect();
    assert_eq!(readings, ["upcast", "unreadable", "unreadable"]);
    let of_version_two = tickets[1];
    assert_eq!((&of_version_two["events"], &of_version_two["first_position"]), (&json!(2), &json!(head + 3)));
    assert_eq!(of_version_two["last_position"], head + 5);
    assert!(of_version_two["reason"].as_str().unwrap().contains("version 2.0"), "{of_version_two:#}");
    let app = TestApp::on(database).await;
    let answer = Answer::to(app.request(Method::GET, "/v1/ops/schema")).await;
    assert_eq!((answer.status, &answer.body["data"]), (200, &listed), "{}", answer.text);
    assert_eq!(answer.header("ledger-position"), (head + 5).to_string());
    app.stop().await;
}

#[tokio::test]
async fn a_check_before_a_deployment_leaves_the_tables_alone() {
    let database = book().await;
    // As a ledger of an earlier program: it lacks what came last.
    sqlx::raw_sql("drop view history; delete from _sqlx_migrations where version = 15")
        .execute(database.pool())
        .await
        .unwrap();
    let (succeeded, report) = daybook(&database, &["schema", "check"]).await;
    assert!(succeeded, "{report:#}");
    let there: bool = sqlx::query_scalar(
        "select to_regclass('history') is not null or exists
        (select from _sqlx_migrations where version = 15)",
    )
    .fetch_one(database.pool())
    .await
    .unwrap();
    assert!(!there, "nothing has been migrated");
}

/// A customer with an account, two deposits and a charge.
async fn book() -> TestDatabase {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let account = account(&writer).await;
    for amount in ["20.00", "5.00", "-7.50"] {
        writer.execute(adjust(&account, usd(amount))).await.unwrap();
    }
    running.shutdown().await;
    database
}

/// Whether the program succeeded, and what it said.
async fn daybook(database: &TestDatabase, arguments: &[&str]) -> (bool, Value) {
    let output = Command::new(program("daybook"))
        .envs(daybook_tests::master_key_env())
        .args(arguments)
        .args(["--json", "--database-url", database.url()])
        .output()
        .await
        .expect("the program starts");
    let said = serde_json::from_slice(&output.stdout);
    (output.status.success(), said.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))))
}
