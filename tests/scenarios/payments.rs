//! S16 to S24: payments and what they cover.

use daybook_tests::api::TestApp;
use serde_json::{Value, json};

use super::world::{Books, World, amount, id, money};

fn notice(books: &Books, kind: &str) -> Value {
    json!({
        "gateway": "stripe", "gateway_payment": "pi_1", "account": books.account,
        "amount": money("25.00", "USD"), "outcome": kind,
    })
}

#[tokio::test]
async fn s16_a_webhook_three_times_is_one_payment() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let notice = notice(&books, "succeeded");
    let (first, second) = tokio::join!(
        world.app.post("/v1/payments/notices", notice.clone()),
        world.app.post("/v1/payments/notices", notice.clone()),
    );
    let third = world.app.post("/v1/payments/notices", notice).await;
    for answer in [&first, &second, &third] {
        assert!(answer.status < 300, "{}", answer.text);
        assert_eq!(answer.body["id"], "pay_stripe:pi_1");
    }
    assert_eq!(world.balance(&books).await, "25.00");
    assert_eq!(world.rows(&format!("/v1/payments?account={}", books.account)).await.len(), 1);
}

#[tokio::test]
async fn s17_two_notices_of_one_payment_are_one_payment() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let mut charge = notice(&books, "succeeded");
    charge["reason"] = json!("charge.succeeded");
    let mut intent = notice(&books, "succeeded");
    intent["reason"] = json!("payment_intent.succeeded");
    let (charge, intent) =
        tokio::join!(world.app.post("/v1/payments/notices", charge), world.app.post("/v1/payments/notices", intent),);
    assert!(charge.status < 300 && intent.status < 300, "{} {}", charge.text, intent.text);
    assert_eq!(world.balance(&books).await, "25.00");
}

#[tokio::test]
async fn s18_a_retry_is_answered_as_the_first_time() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let start = json!({ "account": books.account, "method": "card", "amount": money("9.00", "USD") });
    let first = world.app.post_under("key-1", "/v1/payments", start.clone()).await;
    let position = world.app.position().await;
    let again = world.app.post_under("key-1", "/v1/payments", start.clone()).await;
    assert_eq!((first.status, &first.text), (again.status, &again.text));
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), ("", "true"));
    assert_eq!(first.header("ledger-position"), again.header("ledger-position"));

    let world = World { app: TestApp::on(world.app.stop().await).await };
    let later = world.app.post_under("key-1", "/v1/payments", start).await;
    assert_eq!((first.status, &first.text), (later.status, &later.text));
    assert_eq!(later.header("idempotent-replayed"), "true");
    assert_eq!(world.app.position().await, position);
    assert_eq!(world.rows(&format!("/v1/payments?account={}", books.account)).await.len(), 1);
}

#[tokio::test]
async fn s21_an_invoice_is_paid_in_parts() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let invoice = id(&world.invoice(&books, "100.00").await);
    let purpose = json!({ "invoice": invoice });

    world.paid(&books, "40.00", purpose.clone()).await;
    let part = world.read(&format!("/v1/invoices/{invoice}")).await;
    assert_eq!((part["status"].as_str(), amount(&part["due"])), (Some("part_paid"), "60.00".into()));

    world.paid(&books, "60.00", purpose).await;
    let whole = world.read(&format!("/v1/invoices/{invoice}")).await;
    assert_eq!((whole["status"].as_str(), amount(&whole["due"])), (Some("paid"), "0.00".into()));
    let history = world.rows(&format!("/v1/history?entity={invoice}")).await;
    assert_eq!(history.iter().filter(|event| event["event_type"] == "invoice.paid").count(), 1);
}

#[tokio::test]
async fn s22_one_payment_pays_many_invoices_by_age() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let mut invoices = Vec::new();
    for (price, issued_on) in [("30.00", "2026-01-01"), ("50.00", "2026-02-01"), ("40.00", "2026-03-01")] {
        let invoice = world.invoice_lines(&books, &[price], "0", json!({ "issued_on": issued_on })).await;
        invoices.push(id(&invoice));
    }
    let payment = world.deposit(&books, "100.00").await;
    let mut states = Vec::new();
    for invoice in &invoices {
        let invoice = world.read(&format!("/v1/invoices/{invoice}")).await;
        states.push((invoice["status"].as_str().expect("a status").to_owned(), amount(&invoice["due"])));
    }
    let expected = [("paid", "0.00"), ("paid", "0.00"), ("part_paid", "20.00")];
    assert_eq!(states, expected.map(|(status, due)| (status.to_owned(), due.to_owned())));
    let history = world.rows(&format!("/v1/history?entity={payment}")).await;
    assert_eq!(history.iter().filter(|event| event["event_type"] == "account.allocated").count(), 3);
}

#[tokio::test]
async fn s23_what_is_paid_too_much_serves_the_next_invoice() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let invoice = id(&world.invoice(&books, "100.00").await);
    world.paid(&books, "120.00", json!({ "invoice": invoice })).await;
    assert_eq!(world.read(&format!("/v1/invoices/{invoice}")).await["status"], "paid");
    assert_eq!(world.balance(&books).await, "20.00");
    let next = world.invoice(&books, "50.00").await;
    assert_eq!(amount(&next["due"]), "30.00");

    // Unless the customer has switched that off.
    let other = world.books("USD").await;
    world.deposit(&other, "20.00").await;
    let path = format!("/v1/accounts/{}/automatic-allocation", other.account);
    world.done(&path, json!({ "on": false })).await;
    let next = world.invoice(&other, "50.00").await;
    assert_eq!(amount(&next["due"]), "50.00");
}

#[tokio::test]
async fn s24_staff_move_an_allocation() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let x = id(&world.invoice(&books, "40.00").await);
    let payment = id(&world.paid(&books, "40.00", json!({ "invoice": x })).await);
    let y = id(&world.invoice(&books, "70.00").await);

    let path = format!("/v1/payments/{payment}/allocations");
    let both = json!({
        "from": { "invoice": x }, "to": { "invoice": y },
        "amount": money("40.00", "USD"), "reason": "paid for the other one",
    });
    world.done(&path, both).await;
    let x_after = world.read(&format!("/v1/invoices/{x}")).await;
    assert_eq!((x_after["status"].as_str(), amount(&x_after["due"])), (Some("issued"), "40.00".into()));
    let y_after = world.read(&format!("/v1/invoices/{y}")).await;
    assert_eq!((y_after["status"].as_str(), amount(&y_after["due"])), (Some("part_paid"), "30.00".into()));
    for (invoice, event) in [(&x, "account.released"), (&y, "account.allocated")] {
        let history = world.rows(&format!("/v1/history?entity={invoice}")).await;
        let moved = history.iter().find(|line| line["event_type"] == event).expect("the move is in the history");
        assert!(event == "account.allocated" || moved["reason"] == "paid for the other one", "{moved}");
    }
    let more = json!({ "to": { "invoice": x }, "amount": money("0.01", "USD"), "reason": "too much" });
    world.refused(&path, more, 422, "over-allocation").await;
}
