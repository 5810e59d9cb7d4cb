//! Ledgers of earlier versions: numbers that were given and not reserved, and gateways that were spelt with capitals.

use chrono::Utc;
use daybook_core::{store::RawEvent, upgrade::upgrade};
use daybook_tests::{TestDatabase, api::TestApp, program, whole_book};
use serde_json::{Value, json};
use tokio::process::Command;

const INVOICE: &str = include_str!("../golden/events/invoice.finalised/v1.0.json");

/// Appends an event as a program of then did.
async fn append(database: &TestDatabase, stream: (&str, &str), event_type: &str, payload: Value) {
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         values ($1, $2, 1, $3, '1.0', $4::json, '{\"occurred_at\":\"2026-03-12T00:00:00Z\"}')",
    )
    .bind(stream.0)
    .bind(stream.1)
    .bind(event_type)
    .bind(payload.to_string())
    .execute(database.pool())
    .await
    .unwrap();
}

async fn append_invoice(database: &TestDatabase, id: &str, number: &str) {
    let mut payload: Value = serde_json::from_str(INVOICE).unwrap();
    payload["finalised"]["number"] = number.into();
    append(database, ("invoice", id), "invoice.finalised", payload).await;
}

async fn append_payment(database: &TestDatabase, id: &str, account: &Value) {
    let amount = json!({ "amount": "5.00", "currency": "USD" });
    let started = json!({ "account": account, "method": "Stripe", "amount": amount, "purpose": "advance" });
    append(database, ("payment", id), "payment.started", json!({ "started": started })).await;
}

/// A ledger of before. The first invoice has its number from the series.
async fn append_what_was_then(database: &TestDatabase, account: &Value) {
    append_invoice(database, "inv_of_series", "OLD-000001").await;
    let taken = json!({ "taken": { "number": 1, "document": "inv_of_series" } });
    append(database, ("number_series", "ser_OLD"), "number_series.taken", taken).await;
    append_invoice(database, "inv_given", "OLD-000002").await;
    append_invoice(database, "inv_one", "536365").await;
    append_invoice(database, "inv_other", "536365").await;
    // A number that nobody can give any more.
    append_invoice(database, "inv_odd", " 7").await;
    append_payment(database, "pay_Stripe:pi_1", account).await;
    append_payment(database, "pay_adyen:1", account).await;
}

/// What was appended by the upgrade: type, stream and payload.
async fn appended(database: &TestDatabase) -> Vec<(String, String, Value)> {
    let by_upgrade =
        |event: &RawEvent| event.surroundings().actor.is_some_and(|actor| actor.to_string() == "system:upgrade");
    let book = whole_book(database.pool()).await;
    let appended = book.into_iter().filter(by_upgrade);
    appended
        .map(|event| (event.event_type, event.aggregate_id, serde_json::from_str(&event.payload).unwrap()))
        .collect()
}

fn expected() -> Vec<(String, String, Value)> {
    let reserved = |stream: &str, number: u64, document: &str| {
        let reserved = json!({ "number": number, "kind": "invoice", "document": document });
        ("number_series.reserved".to_owned(), stream.to_owned(), json!({ "reserved": reserved }))
    };
    let assigned = json!({ "assigned_to": { "payment": "pay_Stripe:pi_1" } });
    vec![
        reserved("ser_OLD", 2, "inv_given"),
        reserved("ser_given:invoice:536365", 1, "inv_one"),
        ("payment.assigned_to".into(), "pay_stripe:pi_1".into(), assigned),
    ]
}

#[tokio::test]
async fn a_server_brings_an_earlier_ledger_to_its_version() {
    let app = TestApp::start().await;
    let customer = app.done("/v1/customers", json!({ "name": "Ada Lovelace" })).await["id"].clone();
    let account = json!({ "customer": customer, "currency": "USD", "name": "Main account" });
    let account = app.done("/v1/accounts", account).await["id"].clone();
    let address = json!({ "country": "DE", "postal_code": "10115", "city": "Berlin", "street": "Chausseestr. 1" });
    let payer = json!({ "customer": customer, "kind": "individual", "name": "Ada Lovelace", "address": address });
    let payer = app.done("/v1/payers", payer).await["id"].clone();
    let database = app.stop().await;
    append_what_was_then(&database, &account).await;

    let app = TestApp::on(database).await;
    assert_eq!(appended(&app.database).await, expected());
    let invoice = |numbering: Value| {
        let line = json!({ "description": "a line", "unit_price": "1" });
        json!({ "account": account, "payer": payer, "numbering": numbering, "lines": [line] })
    };
    let next = app.done("/v1/invoices", invoice(json!({ "series": "OLD" }))).await;
    assert_eq!(next["number"], "OLD-000003", "the second number was given");
    for given in ["OLD-000002", "536365"] {
        app.post("/v1/invoices", invoice(json!({ "given": given }))).await.refused(409, "number-taken");
    }
    for gateway in ["stripe", "Stripe", "STRIPE"] {
        let notice = json!({
            "gateway": gateway, "gateway_payment": "pi_1", "account": account,
            "amount": { "amount": "5.00", "currency": "USD" }, "outcome": "succeeded",
        });
        assert_eq!(app.done("/v1/payments/notices", notice).await["id"], "pay_Stripe:pi_1", "{gateway}");
    }
    let (before, database) = (app.position().await, app.stop().await);
    let app = TestApp::on(database).await;
    assert_eq!(app.position().await, before, "nothing is appended a second time");
}

#[tokio::test]
async fn a_ledger_that_is_being_brought_over_takes_no_writes() {
    let database = daybook_tests::database().await;
    append_what_was_then(&database, &json!("acc_1")).await;
    // Nobody appends while it is held.
    let mut held = database.pool().begin().await.unwrap();
    sqlx::query("select from book_head for update").execute(&mut *held).await.unwrap();
    let app = TestApp::on(database).await;
    app.post("/v1/customers", json!({ "name": "Ada" })).await.refused(503, "ledger-upgrading");
    held.rollback().await.unwrap();
}

#[tokio::test]
async fn two_programs_that_start_at_once_append_it_once() {
    let database = daybook_tests::database().await;
    append_what_was_then(&database, &json!("acc_1")).await;
    let (store, (one, first), (other, second)) =
        (database.store().await, database.writer().await, database.writer().await);
    let (one, other) = tokio::join!(upgrade(&store, &one, Utc::now()), upgrade(&store, &other, Utc::now()));
    assert!(one.unwrap() + other.unwrap() >= 5);
    let (mut found, mut wanted) = (appended(&database).await, expected());
    found.sort_by_key(|(event_type, stream, _)| (event_type.clone(), stream.clone()));
    wanted.sort_by_key(|(event_type, stream, _)| (event_type.clone(), stream.clone()));
    assert_eq!(found, wanted);
    first.shutdown().await;
    second.shutdown().await;

    // Once it was done, nobody looks again, whatever is appended.
    append_invoice(&database, "inv_later", "OLD-000009").await;
    let (writer, running) = database.writer().await;
    assert_eq!(upgrade(&store, &writer, Utc::now()).await.unwrap(), 0);
    running.shutdown().await;
}

/// It cannot be mended, so that it is named and not called wrong.
#[tokio::test]
async fn verify_names_numbers_that_two_documents_bear() {
    let database = daybook_tests::database().await;
    append_what_was_then(&database, &json!("acc_1")).await;
    let verify = ["verify", "--json", "--database-url", database.url()];
    let verified =
        Command::new(program("daybook")).envs(daybook_tests::master_key_env()).args(verify).output().await.unwrap();
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
    let check =
        report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "no two documents bear one number");
    let check = check.unwrap();
    assert_eq!(check["finding"], "invoice 536365: inv_one, inv_other");
    assert_eq!((&check["sound"], &check["checked"]), (&json!(true), &json!(5)));
    assert_eq!(check["first_bad_position"], 5);
}
