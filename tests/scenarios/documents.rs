//! S31 to S39: documents, tax and rounding.

use std::collections::BTreeSet;

use daybook_tests::api::Answer;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::world::{Books, World, amount, id, invoice_request, money};

#[tokio::test]
async fn s31_final_means_final() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let invoice = id(&world.invoice(&books, "10.00").await);
    let before = world.read(&format!("/v1/invoices/{invoice}")).await;
    for actor in ["customer:ada", "staff:olga", "system:api"] {
        let path = format!("/v1/invoices/{invoice}");
        let request = world.app.request(Method::PATCH, &path).header("daybook-actor", actor);
        let answer = Answer::to(request.json(&json!({ "due_on": "2027-01-01" }))).await;
        answer.refused(409, "invoice-final");
        assert!(answer.text.contains("/v1/credit-notes"), "{}", answer.text);
    }
    assert_eq!(world.read(&format!("/v1/invoices/{invoice}")).await, before);
}

#[tokio::test]
async fn s32_an_old_invoice_keeps_the_old_address() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let old = id(&world.invoice(&books, "10.00").await);
    let before = world.read(&format!("/v1/invoices/{old}")).await;
    let address = json!({ "country": "DE", "city": "Hamburg", "street": "New Street 2" });
    world.done(&format!("/v1/payers/{}/move", books.payer), json!({ "address": address })).await;

    let new = id(&world.invoice(&books, "10.00").await);
    assert_eq!(world.read(&format!("/v1/invoices/{old}")).await, before);
    assert_eq!(before["payer"]["address"]["city"], "Berlin");
    assert_eq!(world.read(&format!("/v1/invoices/{new}")).await["payer"]["address"]["city"], "Hamburg");
}

#[tokio::test]
async fn s34_tax_is_rounded_once_per_rate() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let three = ["10.03", "10.03", "10.03"];
    let invoice = world.invoice_lines(&books, &three, "15", json!({})).await;
    assert_eq!(sums(&world, &invoice).await, ("30.09".into(), "4.51".into(), "34.60".into()));

    let per_line = json!({ "policy": { "rounding": "half_away_from_zero", "tax": "per_line" } });
    let invoice = world.invoice_lines(&books, &three, "15", per_line).await;
    assert_eq!(sums(&world, &invoice).await, ("30.09".into(), "4.50".into(), "34.59".into()));
}

#[tokio::test]
async fn s35_credit_notes_mirror_the_invoice() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let invoice = id(&world.invoice_lines(&books, &["10.03", "10.03", "10.03"], "15", json!({})).await);
    let mut taxes = Vec::new();
    for line in 1..=3 {
        let line = json!({ "invoice": invoice, "line": line });
        let note = world.done("/v1/credit-notes", credit(&books, line)).await;
        taxes.push(amount(&note["tax"]));
    }
    assert_eq!(taxes, ["1.50", "1.50", "1.51"]);
    assert_eq!(amount(&world.read(&format!("/v1/invoices/{invoice}")).await["credited"]), "34.60");
    assert_eq!(world.balance(&books).await, "0.00");
    let penny = credit(&books, json!({ "invoice": invoice, "line": 1, "amount": "0.01" }));
    world.refused("/v1/credit-notes", penny, 422, "over-credit").await;
}

#[tokio::test]
async fn s36_a_discount_is_split_over_the_lines() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let discount = json!({ "discount": { "percent": "15" } });
    let invoice = world.invoice_lines(&books, &["9.95", "9.95", "9.95"], "0", discount).await;
    let stored = world.read(&format!("/v1/invoices/{}", id(&invoice))).await;
    assert_eq!(line_discounts(&stored), ["1.50", "1.49", "1.49"]);
    assert_eq!(amount(&invoice["total"]), "25.37");
}

#[tokio::test]
async fn s36b_numbers_are_gapless_whatever_fails() {
    let world = World::new().await;
    let books = world.books("USD").await;
    world.post_paid(&books).await;
    // Sixteen workers, two hundred invoices; every tenth is refused after its number was taken.
    let worker = |worker: usize| {
        let (world, books) = (&world, &books);
        async move {
            let mut numbers = Vec::new();
            for invoice in (worker..200).step_by(16) {
                let price = if invoice % 10 == 0 { "-1.00" } else { "1.00" };
                let request = invoice_request(books, &[price], "0", json!({ "numbering": { "series": "S36B" } }));
                let answer = world.app.post("/v1/invoices", request).await;
                if invoice % 10 == 0 {
                    answer.refused(422, "line-negative");
                } else {
                    numbers.push(answer.body["number"].as_str().expect("a number").to_owned());
                }
            }
            numbers
        }
    };
    let numbers: Vec<String> = join_all((0..16).map(worker)).await.into_iter().flatten().collect();
    let expected: BTreeSet<String> = (1..=180).map(|number| format!("S36B-{number:06}")).collect();
    assert_eq!(numbers.len(), 180);
    assert_eq!(numbers.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn s38_yen_have_no_decimals() {
    let world = World::new().await;
    let books = world.books("JPY").await;
    let invoice = world.invoice_lines(&books, &["1127"], "10", json!({})).await;
    assert_eq!(amount(&invoice["tax"]), "113");
    let truncating = json!({ "policy": { "rounding": "towards_zero", "tax": "per_rate" } });
    let invoice = world.invoice_lines(&books, &["1127"], "10", truncating).await;
    assert_eq!(amount(&invoice["tax"]), "112");

    let item = json!({
        "product": "vps", "description": "vps", "quantity": "1", "unit_price": "1000",
        "part": { "days": 20, "of": 31 },
    });
    let order = json!({ "account": books.account, "description": "part of a month", "items": [item] });
    assert_eq!(amount(&world.done("/v1/orders", order).await["total"]), "645");

    let start = json!({ "account": books.account, "method": "card", "amount": money("1000.50", "JPY") });
    let problem = world.refused("/v1/payments", start, 422, "too-many-decimals").await;
    assert!(problem["errors"][0]["pointer"].as_str().expect("a pointer").starts_with("/amount"), "{problem}");
}

#[tokio::test]
async fn s39_dinar_have_three_decimals() {
    let world = World::new().await;
    let books = world.books("BHD").await;
    let invoice = world.invoice_lines(&books, &["1.234"], "5", json!({})).await;
    assert_eq!(amount(&invoice["tax"]), "0.062");

    let discount = json!({ "discount": { "amount_off": money("10.000", "BHD") } });
    let invoice = world.invoice_lines(&books, &["20", "20", "20"], "0", discount).await;
    let stored = world.read(&format!("/v1/invoices/{}", id(&invoice))).await;
    assert_eq!(line_discounts(&stored), ["3.334", "3.333", "3.333"]);

    let start = json!({ "account": books.account, "method": "card", "amount": money("0.0001", "BHD") });
    world.refused("/v1/payments", start, 422, "too-many-decimals").await;
}

fn credit(books: &Books, line: Value) -> Value {
    json!({
        "account": books.account, "payer": books.payer, "issued_on": "2026-04-20",
        "reason": "not delivered", "lines": [{ "line": line }],
    })
}

/// Net, tax and total of an invoice, as answered and as read again.
async fn sums(world: &World, invoice: &Value) -> (String, String, String) {
    let stored = world.read(&format!("/v1/invoices/{}", id(invoice))).await;
    for name in ["tax", "total"] {
        assert_eq!(amount(&stored[name]), amount(&invoice[name]));
    }
    let net = stored["net"].as_str().expect("an exact decimal").to_owned();
    (net, amount(&stored["tax"]), amount(&stored["total"]))
}

fn line_discounts(invoice: &Value) -> Vec<String> {
    invoice["lines"].as_array().expect("lines").iter().map(|line| amount(&line["discount"])).collect()
}
