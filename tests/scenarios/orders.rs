//! S1 to S2b: orders, balance, debt.

use serde_json::json;

use super::world::{World, amount, id};

#[tokio::test]
async fn s01_an_order_waits_and_then_activates() {
    let world = World::new().await;
    let books = world.books("USD").await;
    world.deposit(&books, "10.00").await;

    let order = world.order(&books, "vps", "12.00").await;
    assert_eq!((order["status"].as_str(), amount(&order["missing"])), (Some("open"), "2.00".into()));
    assert_eq!(world.balance(&books).await, "10.00");

    let order = id(&order);
    let payment = id(&world.paid(&books, "2.00", json!({ "order": order })).await);
    let order = world.read(&format!("/v1/orders/{order}")).await;
    assert_eq!(order["status"], "processed");
    let service = order["items"][0]["service"].as_str().expect("a service").to_owned();
    assert_eq!(world.read(&format!("/v1/services/{service}")).await["status"], "active");
    let expenses = world.rows(&format!("/v1/expenses?account={}", books.account)).await;
    assert_eq!(expenses.len(), 1);
    assert_eq!(amount(&expenses[0]["total"]), "12.00");
    assert_eq!(amount(&expenses[0]["uncovered"]), "0.00");

    let history = world.rows(&format!("/v1/history?entity={payment}")).await;
    let credited = history.iter().filter(|event| event["event_type"] == "payment.credited").count();
    assert_eq!(credited, 1);
    let statement = world.read(&format!("/v1/accounts/{}/statement", books.account)).await;
    let balances: Vec<String> =
        statement["lines"].as_array().expect("lines").iter().map(|line| amount(&line["balance"])).collect();
    assert_eq!(balances, ["10.00", "12.00", "0.00"]);
}

#[tokio::test]
async fn s02_debt_comes_first() {
    let world = World::new().await;
    let books = world.books("USD").await;
    world.adjust(&books, "-15.00").await;
    let order = id(&world.order(&books, "vps", "12.00").await);

    let paid = world.paid(&books, "20.00", json!({ "order": order })).await;
    assert_eq!(world.balance(&books).await, "5.00");
    assert_eq!((paid["order"]["status"].as_str(), amount(&paid["order"]["missing"])), (Some("open"), "7.00".into()));
    assert_eq!(world.read(&format!("/v1/orders/{order}")).await["status"], "open");
    let payment = world.read(&format!("/v1/payments/{}", id(&paid))).await;
    assert_eq!((amount(&payment["allocated"]), amount(&payment["free"])), ("15.00".into(), "5.00".into()));
}

#[tokio::test]
async fn s02b_debt_inside_the_limit_lets_the_payment_serve_its_purpose() {
    let world = World::new().await;
    let books = world.books("USD").await;
    world.credit_limit(&books, "50.00").await;
    world.adjust(&books, "-15.00").await;
    let order = id(&world.order(&books, "vps", "12.00").await);

    world.paid(&books, "20.00", json!({ "order": order })).await;
    assert_eq!(world.read(&format!("/v1/orders/{order}")).await["status"], "processed");
    assert_eq!(world.balance(&books).await, "-7.00");
}
