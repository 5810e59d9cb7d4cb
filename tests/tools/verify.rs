//! `daybook verify`: what is wrong is named, and what could not be looked at is neither wrong nor sound.

use daybook_tests::{
    TestDatabase,
    api::TestApp,
    database,
    operator::{account, ailing, break_the_book, until},
    program,
};
use serde_json::{Value, json};
use tokio::process::Command;

async fn verify(database: &TestDatabase) -> (Option<i32>, Value) {
    let arguments = ["verify", "--json", "--database-url", database.url()];
    let said =
        Command::new(program("daybook")).envs(daybook_tests::master_key_env()).args(arguments).output().await.unwrap();
    let errors = String::from_utf8_lossy(&said.stderr);
    let report = serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{:?}: {errors}", said.status));
    (said.status.code(), report)
}

fn check<'r>(report: &'r Value, name: &str) -> &'r Value {
    let mut checks = report["checks"].as_array().unwrap().iter();
    checks.find(|check| check["name"] == name).unwrap_or_else(|| panic!("{report:#} has the check {name}"))
}

/// A ledger with an account and all that is in it projected.
async fn projected() -> (TestDatabase, String) {
    let app = TestApp::on(database().await).await;
    let account = account(&app).await;
    let body =
        json!({ "amount": { "amount": "1.00", "currency": "USD" }, "description": "a gift", "reason": "a test" });
    app.done(&format!("/v1/accounts/{account}/adjustments"), body).await;
    for projection in ["accounts", "account_statement", "journal", "history"] {
        let position = app.position().await;
        until(&app, &daybook_tests::operator::of(projection, ""), |shown| shown.body["position"] == position).await;
    }
    (app.stop().await, account)
}

#[tokio::test]
async fn a_check_that_could_not_be_made_is_undecided() {
    let (database, _) = projected().await;
    let (code, report) = verify(&database).await;
    assert_eq!((code, &report["sound"], report.get("undecided")), (Some(0), &json!(true), None), "{report:#}");

    let name: String = sqlx::query_scalar("select current_database()").fetch_one(database.pool()).await.unwrap();
    let hurried = format!("alter database {name} set lock_timeout = '1ms'");
    sqlx::query(&hurried).execute(database.pool()).await.unwrap();
    let cases = [
        ("aggregate_snapshots", &["snapshots equal a full replay"][..]),
        (
            "events",
            &["positions are dense", "postgres-es reads the same events", "rows of `accounts` equal a fresh fold"],
        ),
    ];
    for (table, names) in cases {
        let mut held = database.pool().begin().await.unwrap();
        sqlx::query(&format!("lock table {table} in access exclusive mode")).execute(&mut *held).await.unwrap();
        let (code, report) = verify(&database).await;
        held.rollback().await.unwrap();
        assert_eq!(
            (code, &report["sound"], &report["undecided"]),
            (Some(2), &json!(false), &json!(true)),
            "{report:#}"
        );
        for name in names {
            let reason = check(&report, name)["undecided"].as_str().unwrap();
            assert!(reason.contains("lock timeout"), "{name}: {reason}");
        }
    }
}

#[tokio::test]
async fn a_projection_that_has_stopped_is_not_sound() {
    let app = TestApp::on(database().await).await;
    account(&app).await;
    let position = app.position().await;
    break_the_book(app.database.pool()).await;
    until(&app, "/readyz", |ready| ailing(ready, "tickets")["state"] == "stopped").await;
    let (code, report) = verify(&app.stop().await).await;
    let stopped = check(&report, "no projection has stopped");
    assert_eq!((code, &stopped["sound"]), (Some(1), &json!(false)), "{report:#}");
    assert_eq!(stopped["first_bad_position"], position + 1, "{report:#}");
}

/// As events of before may be: every projection is a faithful fold, and PostgreSQL reads another day than the fold did.
#[tokio::test]
async fn a_statement_that_disagrees_with_a_balance_of_the_past_is_not_sound() {
    let (database, account) = projected().await;
    let insert = "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        select aggregate_type, aggregate_id, sequence + 1, event_type, event_version,
            jsonb_set(jsonb_set(payload::jsonb, '{credited,entry}', '2'), '{credited,balance,amount}', '\"2.00\"')::json,
            '{\"occurred_at\": \"2026-06-30T23:59:60Z\"}'
        from events where aggregate_id = $1 and event_type = 'account.credited'";
    sqlx::raw_sql("alter table events drop constraint events_occurred_at_representable")
        .execute(database.pool())
        .await
        .unwrap();
    sqlx::query(insert).bind(&account).execute(database.pool()).await.unwrap();
    let app = TestApp::on(database).await;
    let position = app.position().await;
    for projection in ["accounts", "account_statement"] {
        until(&app, &daybook_tests::operator::of(projection, ""), |shown| shown.body["position"] == position).await;
    }
    let (code, report) = verify(&app.stop().await).await;
    let balances = check(&report, "statement, balance and days agree");
    assert_eq!((code, &balances["sound"]), (Some(1), &json!(false)), "{report:#}");
    let finding = balances["finding"].as_str().unwrap();
    assert!(finding.contains(&account) && finding.contains("of 2026-06-30"), "{finding}");
}
