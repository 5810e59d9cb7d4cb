//! What an operator sets about signing in takes effect in a server that runs.

use std::time::Duration;

use chrono::TimeDelta;
use daybook_api::{AppOptions, SweepOptions};
use daybook_identity::{Access, AccessKind};
use daybook_tests::{api::TestApp, database, history::LONG};
use tokio::{task::yield_now, time::timeout};

#[tokio::test]
async fn a_server_keeps_the_access_log_for_the_months_of_its_setting() {
    let sweep = SweepOptions { pause: Duration::from_millis(10), months_kept: 2 };
    let app = TestApp::with(database().await, AppOptions { sweep, ..AppOptions::default() }).await;
    let now = app.app().clock().now();
    for days in [200, 40] {
        let line = Access::new(AccessKind::Viewed);
        app.app().identity().access_log.write(&line, now - TimeDelta::days(days)).await.unwrap();
    }
    let kept = async || {
        let days = "select extract(day from now() - at)::integer from access_log order by 1";
        sqlx::query_scalar::<_, i32>(days).fetch_all(app.database.pool()).await.unwrap()
    };
    let swept = async {
        while kept().await.len() == 2 {
            yield_now().await;
        }
    };
    timeout(LONG, swept).await.expect("the sweep looks for it every ten milliseconds");
    assert_eq!(kept().await, [40], "the month that is younger stays");
}
