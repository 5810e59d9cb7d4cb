//! S25 to S30: refunds and reversals.

use serde_json::{Value, json};

use super::world::{Books, World, amount, id, money};

/// A payment of 100.00 of which 60.00 is spent.
async fn spent_sixty(world: &World) -> (Books, String) {
    let books = world.books("USD").await;
    let payment = world.deposit(&books, "100.00").await;
    let order = id(&world.order(&books, "vps", "60.00").await);
    world.done(&format!("/v1/orders/{order}/pay"), json!({ "by": "balance" })).await;
    (books, payment)
}

#[tokio::test]
async fn s25_a_part_goes_back_to_the_card() {
    let world = World::new().await;
    let (books, payment) = spent_sixty(&world).await;
    let path = format!("/v1/payments/{payment}/refunds");
    let refund = world.done(&path, json!({ "amount": money("40.00", "USD") })).await;
    assert_eq!((refund["status"].as_str(), amount(&refund["refundable"])), (Some("pending"), "0.00".into()));
    assert_eq!(world.balance(&books).await, "0.00");

    let problem = world.refused(&path, json!({ "amount": money("0.01", "USD") }), 422, "over-refund").await;
    assert_eq!(amount(&problem["tied"]), "60.00");

    let settled = world.done(&format!("{path}/{}/settle", id(&refund)), json!({})).await;
    assert_eq!(settled["status"], "settled");
    assert_eq!(world.balance(&books).await, "0.00");
    assert_eq!(world.read(&format!("/v1/payments/{payment}")).await["status"], "partly_returned");
}

#[tokio::test]
async fn s26_a_failed_refund_gives_the_money_back() {
    let world = World::new().await;
    let (books, payment) = spent_sixty(&world).await;
    let path = format!("/v1/payments/{payment}/refunds");
    let refund = id(&world.done(&path, json!({ "amount": money("40.00", "USD") })).await);
    let failed = world.done(&format!("{path}/{refund}/fail"), json!({ "gateway_reason": "card expired" })).await;
    assert_eq!((failed["status"].as_str(), amount(&failed["refundable"])), (Some("failed"), "40.00".into()));
    assert_eq!(world.balance(&books).await, "40.00");
    let payment = world.read(&format!("/v1/payments/{payment}")).await;
    assert_eq!(payment["refunds"][0]["gateway_reason"], "card expired");
}

#[tokio::test]
async fn s29_of_two_refunds_at_once_one_is_too_much() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let payment = world.deposit(&books, "100.00").await;
    let path = format!("/v1/payments/{payment}/refunds");
    let sixty = json!({ "amount": money("60.00", "USD") });
    let (left, right) = tokio::join!(world.app.post(&path, sixty.clone()), world.app.post(&path, sixty));
    let (won, lost) = if left.status < 300 { (left, right) } else { (right, left) };
    assert_eq!(won.status, 201);
    lost.refused(422, "over-refund");
    assert_eq!(amount(&lost.body["refundable"]), "40.00");
    assert_eq!(world.balance(&books).await, "40.00");
}

#[tokio::test]
async fn s30_an_undo_is_undone() {
    let world = World::new().await;
    let books = world.books("USD").await;
    world.deposit(&books, "20.00").await;
    let order = id(&world.order(&books, "vps", "12.00").await);
    world.done(&format!("/v1/orders/{order}/pay"), json!({ "by": "balance" })).await;
    let expense = id(&world.rows(&format!("/v1/expenses?account={}", books.account)).await[0]);
    assert_eq!(world.balance(&books).await, "8.00");

    let reverse = format!("/v1/expenses/{expense}/reverse");
    let reinstate = format!("/v1/expenses/{expense}/reinstate");
    world.done(&reverse, json!({ "reason": "by mistake" })).await;
    assert_eq!(world.balance(&books).await, "20.00");
    world.refused(&reverse, json!({ "reason": "again" }), 409, "already-reversed").await;
    world.done(&reinstate, json!({ "reason": "it was a mistake" })).await;
    assert_eq!(world.balance(&books).await, "8.00");
    world.refused(&reinstate, json!({ "reason": "again" }), 409, "not-reversed").await;

    let statement = world.read(&format!("/v1/accounts/{}/statement", books.account)).await;
    let lines = statement["lines"].as_array().expect("lines");
    let amounts: Vec<String> = lines.iter().map(|line| amount(&line["amount"])).collect();
    assert_eq!(amounts, ["20.00", "-12.00", "12.00", "-12.00"]);
    assert_eq!(lines[2]["reverses"], lines[1]["entry"]);
    assert_eq!(lines[1]["reversed_by"], lines[2]["entry"]);
    assert_eq!(lines[3]["reverses"], lines[2]["entry"]);
    assert_eq!(lines[2]["reversed_by"], lines[3]["entry"]);

    // The statement goes from nothing to what it was before the mistake, and each balance follows from the one before.
    let balances: Vec<String> = lines.iter().map(|line| amount(&line["balance"])).collect();
    assert_eq!(balances, ["20.00", "8.00", "20.00", "8.00"]);
    assert_eq!((amount(&statement["opening"]), amount(&statement["closing"])), ("0.00".into(), "8.00".into()));
    for form in ["html", "text"] {
        let form = world.app.get(&format!("/v1/accounts/{}/statement?format={form}", books.account)).await.text;
        for link in ["reversed by entry 3", "reverses entry 2; reversed by entry 4", "reverses entry 3"] {
            // Lines of a mail are wrapped.
            assert!(form.split_whitespace().collect::<Vec<_>>().join(" ").contains(link), "{form}");
        }
    }

    // The expense is paid as it was, and each of the three entries tells its rule and the reason that was given.
    let shown = world.read(&format!("/v1/expenses/{expense}")).await;
    assert_eq!((shown["status"].as_str(), amount(&shown["uncovered"])), (Some("recorded"), "0.00".into()));
    let steps = world.rows(&format!("/v1/accounts/{}/balance/explanation", books.account)).await;
    let told: Vec<_> =
        steps.iter().map(|step| (step["rule"]["name"].as_str().unwrap_or_default(), &step["reason"])).collect();
    assert_eq!(
        told,
        [
            ("payment-credited", &Value::Null),
            ("expense-charged", &Value::Null),
            ("expense-given-back", &json!("by mistake")),
            ("expense-reinstated", &json!("it was a mistake")),
        ]
    );
    // What was undone and redone can be undone once more.
    world.done(&reverse, json!({ "reason": "cancelled after all" })).await;
    assert_eq!(world.balance(&books).await, "20.00");
}
