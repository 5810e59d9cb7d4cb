//! S62: what a statement said on a day is told again, byte for byte, however the book went on.

use chrono::{DateTime, Utc};
use daybook_core::store::RawEvent;
use daybook_tests::{api::TestApp, copy, database, whole_book};
use serde_json::{Value, json};

use super::world::{World, amount, id, money};

fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

/// The book as it would have been written in April: what was recorded last so far, recorded at this time.
async fn record(app: &TestApp, events: &[RawEvent], recorded_at: &str) {
    for event in events {
        copy::append(&app.database, event, time(recorded_at)).await;
    }
    app.tell_of_growth().await;
}

#[tokio::test]
async fn s62_a_statement_of_an_earlier_day_is_told_again_byte_for_byte() {
    // The same commands, given today: no caller tells the ledger when it records.
    let world = World::new().await;
    let books = world.books("USD").await;
    world.post_paid(&books).await;
    let opened = world.app.position().await as usize;
    let expense = json!({
        "account": books.account, "description": "traffic", "quantity": "1", "net": money("12.00", "USD"),
        "tax_rate": "0", "reason": "scenario", "effective_at": "2026-04-05T12:00:00Z",
    });
    let expense = id(&world.done("/v1/expenses", expense).await);
    let charged = world.app.position().await as usize;
    let correct = json!({
        "total": money("10.00", "USD"), "reason": "counted twice", "effective_at": "2026-04-05T12:00:00Z",
    });
    world.done(&format!("/v1/expenses/{expense}/adjust"), correct).await;
    let book = whole_book(world.app.database.pool()).await;

    // Written as on 1 April, on 10 April and on 20 April.
    let app = TestApp::on(database().await).await;
    record(&app, &book[..opened], "2026-04-01T09:00:00Z").await;
    record(&app, &book[opened..charged], "2026-04-10T09:00:00Z").await;
    let account = format!("/v1/accounts/{}", books.account);
    let statement = format!("{account}/statement?from=2026-04-01&to=2026-04-08");
    let made_on_11_april = [app.get(&statement).await.text, app.get(&format!("{statement}&format=csv")).await.text];
    let expense_on_11_april = app.get(&format!("/v1/expenses/{expense}")).await.text;
    record(&app, &book[charged..], "2026-04-20T09:00:00Z").await;

    let read = async |path: String| -> Value {
        let answer = app.get(&path).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text);
        answer.body
    };
    let on_7_april = "as_of=2026-04-07T12:00:00Z";
    let on_11_april = "as_known_at=2026-04-11T00:00:00Z";
    for (moment, balance) in [
        (format!("{on_7_april}&{on_11_april}"), "-12.00"),
        (on_7_april.to_owned(), "-10.00"),
        ("as_of=2026-04-05T11:59:59Z".to_owned(), "0.00"),
        (format!("{on_7_april}&as_known_at=2026-04-10T08:59:59Z"), "0.00"),
        (format!("{on_7_april}&as_known_at={charged}"), "-12.00"),
    ] {
        assert_eq!(amount(&read(format!("{account}/balance?{moment}")).await["balance"]), balance, "{moment}");
    }
    // The change that 7 April saw in the statement of that week.
    let closing = |statement: Value| amount(&statement["closing"]);
    assert_eq!(closing(read(format!("{statement}&{on_11_april}")).await), "-12.00");
    assert_eq!(closing(read(statement.clone()).await), "-10.00");

    // What was made on 11 April is made again, byte for byte, and is not what is made now.
    let again = [
        app.get(&format!("{statement}&{on_11_april}")).await.text,
        app.get(&format!("{statement}&format=csv&{on_11_april}")).await.text,
    ];
    assert_eq!(again, made_on_11_april);
    assert_ne!(app.get(&statement).await.text, made_on_11_april[0]);
    assert_ne!(app.get(&format!("{statement}&format=csv")).await.text, made_on_11_april[1]);
    let expense = format!("/v1/expenses/{expense}");
    assert_eq!(app.get(&format!("{expense}?{on_11_april}")).await.text, expense_on_11_april);
    assert_eq!(amount(&read(expense).await["total"]), "10.00");

    // An account opened on a later day than an entry took effect has the entry all the same, and is not there itself.
    let balance = read(format!("{account}/balance?{on_7_april}")).await;
    assert_eq!(balance["as_of"], "2026-04-07T12:00:00Z");
    app.get(&format!("{account}?{on_7_april}")).await.refused(404, "account-not-found");
    assert_eq!(amount(&read(format!("{account}?as_known_at={charged}")).await["balance"]), "-12.00");
}
