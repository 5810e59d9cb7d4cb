//! A table that cannot be made, and one that nobody reads on: nothing of them stays behind.

use std::time::Duration;

use daybook_api::{AppOptions, PastOptions};
use daybook_tests::{
    api::{Answer, TestApp},
    database,
};
use reqwest::{Method, header::ACCEPT};
use serde_json::json;
use sqlx::PgPool;

const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// As if so many services had been activated.
async fn services(pool: &PgPool, rows: i64) {
    sqlx::query(
        "insert into services (id, customer_id, account_id, order_id, product, description, status, activated_at, position)
         select 'srv_' || n, 'cus_1', 'acc_1', 'ord_1', 'vps', repeat('a virtual server ', 20), 'active', now(), n
         from generate_series(1, $1) n",
    )
    .bind(rows)
    .execute(pool)
    .await
    .unwrap();
}

/// What reads a table at this moment.
const READING: &str = "datname = current_database() and state <> 'idle' and query like 'fetch%'";

/// Waits until so many connections of the database read a table.
async fn until_reading(pool: &PgPool, wanted: i64) {
    let reading = format!("select count(*) from pg_stat_activity where {READING}");
    while sqlx::query_scalar::<_, i64>(&reading).fetch_one(pool).await.unwrap() != wanted {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_table_whose_rows_cannot_be_read_on_is_a_problem_and_no_part_of_a_table() {
    let app = TestApp::start().await;
    services(app.database.pool(), 200_000).await;
    let terminate = async || {
        until_reading(app.database.pool(), 1).await;
        let terminate = format!("select count(pg_terminate_backend(pid)) from pg_stat_activity where {READING}");
        let gone: i64 = sqlx::query_scalar(&terminate).fetch_one(app.database.pool()).await.unwrap();
        assert_eq!(gone, 1);
    };
    for form in ["text/csv", XLSX] {
        let table = Answer::to(app.request(Method::GET, "/v1/services").header(ACCEPT, form));
        let (table, ()) = tokio::join!(table, terminate());
        assert_eq!(table.status, 503, "{form}: {}", table.text.get(..200).unwrap_or(&table.text));
    }
}

/// One principal has two tables at a time, whatever it does with them.
#[tokio::test]
async fn a_table_that_is_read_slowly_holds_no_connection_and_no_turn_of_others() {
    let exports = PastOptions { share: 100, ..PastOptions::of_exports() };
    let app = TestApp::with(database().await, AppOptions { exports, ..AppOptions::default() }).await;
    services(app.database.pool(), 100_000).await;
    let begin = async || app.request(Method::GET, "/v1/services").header(ACCEPT, "text/csv").send().await.unwrap();
    // Of all tables together, only one is made at a time here.
    let slow = [begin().await, begin().await];
    for table in &slow {
        assert_eq!(table.status(), 200);
        assert_eq!(table.headers()["vary"], "Accept");
        assert!(table.content_length().is_some_and(|length| length > 30_000_000), "{:?}", table.content_length());
    }
    until_reading(app.database.pool(), 0).await;
    let third = Answer::to(app.request(Method::GET, "/v1/services").header(ACCEPT, "text/csv")).await;
    third.refused(429, "too-many-requests");
    let [one, other] = slow;
    assert_eq!(one.bytes().await.unwrap().iter().filter(|byte| **byte == b'\n').count(), 100_001);
    drop(other);
    // That one was dropped, the server learns from the connection.
    while begin().await.status() != 200 {}
}

#[tokio::test]
async fn a_table_that_takes_too_long_is_refused() {
    let exports = PastOptions { longest: Duration::from_millis(50), ..PastOptions::of_exports() };
    let app = TestApp::with(database().await, AppOptions { exports, ..AppOptions::default() }).await;
    services(app.database.pool(), 100_000).await;
    for form in ["text/csv", XLSX] {
        let table = Answer::to(app.request(Method::GET, "/v1/services").header(ACCEPT, form)).await;
        table.refused(422, "read-too-long");
    }
    until_reading(app.database.pool(), 0).await;
}

/// Many that do not count stand before, between and after those that do.
#[tokio::test]
async fn a_table_of_the_past_has_all_rows_however_many_are_passed_over() {
    let app = TestApp::start().await;
    let mut expected = Vec::new();
    for (day, registered) in [("2026-01-01", 230), ("2026-01-03", 210)] {
        let answers = (0..registered).map(|number| {
            let body = json!({ "name": format!("of {day}: {number}"), "effective_at": format!("{day}T00:00:00Z") });
            app.post("/v1/customers", body)
        });
        for answer in futures::future::join_all(answers).await {
            assert_eq!(answer.status, 201, "{}", answer.text);
            if day == "2026-01-01" {
                expected.push(answer.body["id"].as_str().unwrap().to_owned());
            }
        }
    }
    let listed = "/v1/customers?as_of=2026-01-02T00:00:00Z&fields=id";
    let request = app.request(Method::GET, listed).header(ACCEPT, "text/csv");
    let table = Answer::to(request.header("min-position", app.position().await)).await;
    assert_eq!(table.status, 200, "{}", table.text);
    let mut rows: Vec<&str> = table.text.lines().skip(1).map(|line| line.trim_matches('"')).collect();
    rows.sort();
    expected.sort();
    assert_eq!(rows, expected);
}
