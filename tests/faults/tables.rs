//! A table that breaks off: whoever reads it notices, and nothing of it stays behind.

use std::time::Duration;

use daybook_api::{AppOptions, PastOptions};
use daybook_tests::{api::TestApp, database};
use reqwest::{Method, header::ACCEPT};
use sqlx::PgPool;

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

/// Waits until no connection of the database has a table open any more.
async fn all_closed(pool: &PgPool) {
    let open = "select count(*) from pg_stat_activity
                where datname = current_database() and state <> 'idle' and query like 'fetch%'";
    while sqlx::query_scalar::<_, i64>(open).fetch_one(pool).await.unwrap() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_table_whose_rows_cannot_be_read_on_does_not_end_cleanly() {
    let app = TestApp::start().await;
    services(app.database.pool(), 100_000).await;
    let mut table = app.request(Method::GET, "/v1/services").header(ACCEPT, "text/csv").send().await.unwrap();
    assert_eq!(table.status(), 200);
    assert!(table.chunk().await.unwrap().expect("it has begun").starts_with(b"id,"));
    let gone: i64 = sqlx::query_scalar(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity
         where datname = current_database() and query like 'fetch%'",
    )
    .fetch_one(app.database.pool())
    .await
    .unwrap();
    assert_eq!(gone, 1);
    let end = loop {
        match table.chunk().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_err(), "the table ends as if it were whole");
}

/// Nor does a caller who goes away, or one who waits too long, keep a connection to the database.
#[tokio::test]
async fn a_table_that_nobody_reads_on_is_given_up() {
    let exports = PastOptions { share: 100, patience: Duration::ZERO, longest: Duration::from_millis(500) };
    let app = TestApp::with(database().await, AppOptions { exports, ..AppOptions::default() }).await;
    services(app.database.pool(), 100_000).await;
    let begin = async || app.request(Method::GET, "/v1/services").header(ACCEPT, "text/csv").send().await.unwrap();
    // Only one is read at a time here.
    let left = begin().await;
    assert_eq!((left.status(), begin().await.status()), (200.try_into().unwrap(), 503.try_into().unwrap()));
    drop(left);
    all_closed(app.database.pool()).await;
    let mut slow = loop {
        let slow = begin().await;
        if slow.status() == 200 {
            break slow;
        }
    };
    // Its time is over before it takes anything more.
    all_closed(app.database.pool()).await;
    let end = loop {
        match slow.chunk().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_err(), "the table ends as if it were whole");
}
