//! S15c: which discount wins.

use serde_json::{Value, json};

use super::world::{Books, World, amount};

#[tokio::test]
async fn s15c_the_ladder_of_discounts_decides() {
    // Everyone 25 % on the product, this customer 15 % on all: the customer's own wins at equal priority.
    assert_eq!(price(0, 0, "customer").await, "34.00");
    // A larger priority number wins over whom it is for.
    assert_eq!(price(1, 0, "customer").await, "30.00");
    // All equal: the larger.
    assert_eq!(price(0, 0, "everyone").await, "30.00");
}

/// What a product of 40.00 costs, with 25 % on it for everyone at one priority, and 15 % at the other priority for
/// this customer on everything, or for everyone on the product.
async fn price(first_priority: i32, second_priority: i32, second_audience: &str) -> String {
    let world = World::new().await;
    let books = world.books("USD").await;
    grant(&world, json!("everyone"), json!({ "product": "vps" }), "25", first_priority).await;
    let (audience, scope) = match second_audience {
        "customer" => (json!({ "customer": books.customer }), json!("all")),
        _ => (json!("everyone"), json!({ "product": "vps" })),
    };
    grant(&world, audience, scope, "15", second_priority).await;
    total(&world, &books).await
}

async fn grant(world: &World, audience: Value, scope: Value, percent: &str, priority: i32) {
    let grant = json!({
        "audience": audience, "name": format!("{percent} %"), "scope": scope,
        "value": { "percent": percent }, "priority": priority,
    });
    world.done("/v1/discounts", grant).await;
}

async fn total(world: &World, books: &Books) -> String {
    let order = world.order(books, "vps", "40.00").await;
    let stored = world.read(&format!("/v1/orders/{}", order["id"].as_str().expect("id"))).await;
    assert_eq!(amount(&stored["total"]), amount(&order["total"]));
    assert_eq!(stored["items"][0]["discount"], order["items"][0]["discount"]["discount"], "the winner is recorded");
    assert_eq!(stored["items"][0]["saving"], order["items"][0]["discount"]["saving"], "the saving is recorded");
    amount(&order["total"])
}
