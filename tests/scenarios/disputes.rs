//! Money of another amount, disputes, and refunds that were made at the gateway, over HTTP.

use serde_json::{Value, json};

use super::world::{Books, World, amount, id, money};

fn notice(books: &Books, of: &str, sum: &str, outcome: Value) -> Value {
    json!({
        "gateway": "stripe", "gateway_payment": of, "account": books.account,
        "amount": money(sum, books.currency), "outcome": outcome,
    })
}

fn for_ours(books: &Books, ours: &str, sum: &str) -> Value {
    let mut notice = notice(books, "pi_1", sum, json!("succeeded"));
    notice["payment"] = ours.into();
    notice
}

const NOTICES: &str = "/v1/payments/notices";

#[tokio::test]
async fn money_of_another_amount_is_credited_with_what_came() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let invoice = id(&world.invoice(&books, "20.00").await);
    let start = json!({
        "account": books.account, "method": "card", "amount": money("20.00", "USD"), "purpose": { "invoice": invoice },
    });
    let ours = id(&world.done("/v1/payments", start).await);
    let answer = world.done(NOTICES, for_ours(&books, &ours, "19.50")).await;
    assert_eq!((amount(&answer["amount"]), amount(&answer["received"])), ("20.00".into(), "19.50".into()));
    let shown = world.read(&format!("/v1/payments/{ours}")).await;
    assert_eq!((amount(&shown["amount"]), amount(&shown["received"])), ("20.00".into(), "19.50".into()));
    let due = world.read(&format!("/v1/invoices/{invoice}")).await;
    assert_eq!((due["status"].as_str(), amount(&due["due"])), (Some("part_paid"), "0.50".into()));
    let problem = world.refused(NOTICES, for_ours(&books, &ours, "20.00"), 409, "amount-differs").await;
    assert_eq!((&problem["errors"][0]["pointer"], amount(&problem["payment"])), (&json!("/amount"), "19.50".into()));
}

#[tokio::test]
async fn staff_say_what_came() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let start = json!({ "account": books.account, "method": "card", "amount": money("20.00", "USD") });
    let ours = id(&world.done("/v1/payments", start).await);
    let path = format!("/v1/payments/{ours}/credit");
    for (sum, code) in [(money("0.00", "USD"), "amount-not-positive"), (money("1.00", "EUR"), "currency-mismatch")] {
        let problem = world.refused(&path, json!({ "amount": sum }), 422, code).await;
        assert_eq!(problem["errors"][0]["pointer"], "/amount");
    }
    let answer = world.done(&path, json!({ "amount": money("20.50", "USD") })).await;
    assert_eq!((amount(&answer["received"]), amount(&answer["balance"])), ("20.50".into(), "20.50".into()));
}

#[tokio::test]
async fn s54_a_dispute_takes_money_back_until_it_is_won() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let invoice = id(&world.invoice(&books, "20.00").await);
    let payment = world.deposit(&books, "20.00").await;
    let path = format!("/v1/payments/{payment}/disputes");
    let dispute = |name: &str, sum: &str| json!({ "gateway_dispute": name, "amount": money(sum, "USD"), "gateway_reason": "not received" });
    let won = world.done(&path, dispute("dp_1", "5.00")).await;
    assert_eq!((won["status"].as_str(), amount(&won["balance"])), (Some("open"), "-5.00".into()));
    assert_eq!(amount(&world.read(&format!("/v1/invoices/{invoice}")).await["due"]), "5.00");
    assert_eq!(id(&world.done(&path, dispute("dp_1", "5.00")).await), id(&won));
    let problem = world.refused(&path, dispute("dp_1", "6.00"), 409, "amount-differs").await;
    assert_eq!(amount(&problem["recorded"]), "5.00");
    let problem = world.refused(&path, dispute(" ", "6.00"), 422, "gateway-dispute-malformed").await;
    assert_eq!(problem["errors"][0]["pointer"], "/gateway_dispute");

    let answer = world.done(&format!("{path}/{}/win", id(&won)), json!({})).await;
    assert_eq!((answer["status"].as_str(), amount(&answer["balance"])), (Some("won"), "0.00".into()));
    let problem = world.refused(&format!("{path}/{}/lose", id(&won)), json!({}), 409, "dispute-status").await;
    assert_eq!(problem["dispute_status"], "won");
    world.refused(&format!("{path}/dsp_none/win"), json!({}), 404, "dispute-not-found").await;

    let lost = world.done(&path, dispute("dp_2", "30.00")).await;
    assert_eq!(amount(&lost["balance"]), "-30.00");
    world.done(&format!("{path}/{}/lose", id(&lost)), json!({})).await;
    let listed = world.rows(&path).await;
    let told: Vec<_> = listed
        .iter()
        .map(|dispute| (dispute["gateway_dispute"].as_str(), dispute["status"].as_str(), amount(&dispute["amount"])))
        .collect();
    let expected = [(Some("dp_1"), Some("won"), "5.00".into()), (Some("dp_2"), Some("lost"), "30.00".into())];
    assert_eq!(told, expected);
    let shown = world.read(&format!("/v1/payments/{payment}")).await;
    assert_eq!((&shown["disputes"], amount(&shown["disputed"])), (&json!(listed), "30.00".into()));
    let dispute = id(&listed[1]);
    let history = world.rows(&format!("/v1/history?entity={dispute}")).await;
    let types: Vec<_> = history.iter().filter_map(|event| event["event_type"].as_str()).collect();
    assert_eq!(types, ["payment.dispute_lost", "payment.dispute_opened"]);
}

#[tokio::test]
async fn s54_a_gateway_reports_disputes_by_its_own_names() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let of = |sum: &str, outcome: Value| notice(&books, "pi_1", sum, outcome);
    let disputed = json!({ "disputed": { "gateway_dispute": "dp_1", "gateway_reason": "not received" } });
    let won = json!({ "dispute_won": { "gateway_dispute": "dp_1" } });
    let problem = world.refused(NOTICES, of("5.00", disputed.clone()), 422, "payment-not-found").await;
    assert_eq!(problem["errors"][0]["pointer"], "/gateway_payment");
    world.done(NOTICES, of("20.00", json!("succeeded"))).await;
    let problem = world.refused(NOTICES, of("5.00", won.clone()), 422, "dispute-not-found").await;
    assert_eq!(problem["errors"][0]["pointer"], "/outcome/dispute_won/gateway_dispute");
    let odd = json!({ "disputed": { "gateway_dispute": "dp_1 ", "gateway_reason": "not received" } });
    let problem = world.refused(NOTICES, of("5.00", odd), 422, "gateway-dispute-malformed").await;
    assert_eq!(problem["errors"][0]["pointer"], "/outcome/disputed/gateway_dispute");
    for (outcome, balance) in [(disputed.clone(), "15.00"), (disputed, "15.00"), (won.clone(), "20.00"), (won, "20.00")]
    {
        assert_eq!(amount(&world.done(NOTICES, of("5.00", outcome)).await["balance"]), balance);
    }
    let fraud = json!({ "fraudulent": { "gateway_reason": "stolen card" } });
    let answer = world.done(NOTICES, of("3.00", fraud)).await;
    let shown = world.read(&format!("/v1/payments/{}", id(&answer))).await;
    let last = &shown["disputes"][1];
    assert_eq!(
        (&shown["status"], &last["status"], &last["gateway_dispute"]),
        (&json!("credited"), &json!("lost"), &Value::Null)
    );
}

#[tokio::test]
async fn a_refund_that_was_made_at_the_gateway_is_one_refund() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let payment = id(&world.done(NOTICES, notice(&books, "pi_1", "20.00", json!("succeeded"))).await);
    world
        .done(&format!("/v1/orders/{}/pay", id(&world.order(&books, "vps", "18.00").await)), json!({ "by": "balance" }))
        .await;
    let path = format!("/v1/payments/{payment}/refunds");
    let refund = |sum: &str| json!({ "amount": money(sum, "USD"), "gateway_refund": "re_1" });
    let made = world.done(&path, refund("5.00")).await;
    assert_eq!((made["status"].as_str(), amount(&made["balance"])), (Some("settled"), "-3.00".into()));
    let refunded = json!({ "refunded": { "gateway_refund": "re_1" } });
    world.done(NOTICES, notice(&books, "pi_1", "5.00", refunded.clone())).await;
    let problem = world.refused(&path, refund("6.00"), 409, "amount-differs").await;
    assert_eq!(problem["errors"][0]["pointer"], "/amount");
    world.refused(NOTICES, notice(&books, "pi_1", "6.00", refunded), 409, "amount-differs").await;

    world.done(NOTICES, notice(&books, "pi_2", "9.00", json!("succeeded"))).await;
    let listed = world.rows("/v1/payments").await;
    let second = format!("/v1/payments/{}/refunds", id(&listed[0]));
    let [first, other] = [1, 2].map(|_| world.done(&second, json!({ "amount": money("2.00", "USD") })));
    let (first, other) = (id(&first.await), id(&other.await));
    let refunded = json!({ "refunded": { "gateway_refund": "re_9" } });
    world.done(NOTICES, notice(&books, "pi_2", "2.00", refunded)).await;
    let settle = format!("{second}/{other}/settle");
    let problem = world.refused(&settle, json!({ "gateway_refund": "re_9" }), 409, "gateway-refund-assigned").await;
    assert_eq!((&problem["errors"][0]["pointer"], &problem["refund"]), (&json!("/gateway_refund"), &json!(first)));
    world.done(&settle, json!({ "gateway_refund": "re_8" })).await;
    let told: Vec<_> = world.rows(&second).await.into_iter().map(|refund| refund["gateway_refund"].clone()).collect();
    assert_eq!(told, ["re_9", "re_8"]);
}
