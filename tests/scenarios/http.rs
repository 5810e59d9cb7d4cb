//! S68 to S71: listings that grow, reading one's own writes, and one shape for every error.

use std::collections::BTreeSet;

use daybook_tests::api::Answer;
use reqwest::Method;
use serde_json::json;

use super::world::{World, id, money};

#[tokio::test]
async fn s68_a_walk_over_a_growing_listing_meets_each_row_once() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let mut originals = BTreeSet::new();
    for _ in 0..120 {
        let start = json!({ "account": books.account, "method": "card", "amount": money("1.00", "USD") });
        originals.insert(id(&world.done("/v1/payments", start).await));
    }
    let mut seen = Vec::new();
    let mut path = format!("/v1/payments?account={}&limit=25", books.account);
    let first_cursor;
    let mut cursors = Vec::new();
    loop {
        let page = world.read(&path).await;
        seen.extend(page["data"].as_array().expect("data").iter().map(id));
        // The listing grows while it is walked.
        for _ in 0..5 {
            let start = json!({ "account": books.account, "method": "card", "amount": money("1.00", "USD") });
            world.done("/v1/payments", start).await;
        }
        let Some(cursor) = page["next_cursor"].as_str() else {
            first_cursor = cursors.first().cloned();
            break;
        };
        cursors.push(cursor.to_owned());
        path = format!("/v1/payments?account={}&limit=25&cursor={cursor}", books.account);
        assert!(cursors.len() < 100, "the walk ends");
    }
    for original in &originals {
        assert_eq!(seen.iter().filter(|row| *row == original).count(), 1, "{original}");
    }

    let cursor = first_cursor.expect("more than one page");
    let flipped: String = cursor
        .char_indices()
        .map(|(at, c)| if at == cursor.len() / 2 { if c == 'A' { 'B' } else { 'A' } } else { c })
        .collect();
    let path = format!("/v1/payments?account={}&limit=25&cursor={flipped}", books.account);
    world.app.get(&path).await.refused(400, "invalid-cursor");
    // A cursor belongs to its filter.
    let path = format!("/v1/payments?limit=25&cursor={cursor}");
    world.app.get(&path).await.refused(400, "invalid-cursor");
}

#[tokio::test]
async fn s69_a_read_includes_ones_own_write_or_says_where_the_book_ends() {
    let world = World::new().await;
    let books = world.books("USD").await;
    for amount in ["1.00", "2.00", "4.00"] {
        world.deposit(&books, amount).await;
    }
    let path = format!("/v1/accounts/{}/balance", books.account);
    let position = world.app.position().await;
    let read_at = async |position: u64, wait: &str| {
        let request = world.app.request(Method::GET, &path);
        Answer::to(request.header("min-position", position.to_string()).header("prefer", wait)).await
    };
    let read = read_at(position, "wait=30").await;
    assert_eq!(read.body["balance"], money("7.00", "USD"));
    let at: u64 = read.header("ledger-position").parse().expect("a position");
    assert!(at >= position);

    let beyond = read_at(position + 1_000, "wait=0").await;
    assert_eq!(beyond.refused(400, "malformed-header")["position"], position, "{}", beyond.text);
}

#[tokio::test]
async fn s71_every_error_has_one_shape() {
    let world = World::new().await;
    let books = world.books("USD").await;
    let app = &world.app;
    let send = async |method: Method, path: &str, kind: &str, body: &str| {
        let request = app.request(method, path).header("content-type", kind).header("idempotency-key", "s71");
        Answer::to(request.body(body.to_owned())).await
    };
    let json = "application/json";
    app.get("/v1/no-such-thing").await.refused(404, "not-found");
    app.get("/v1/accounts/acc_0").await.refused(404, "account-not-found");
    send(Method::DELETE, "/v1/customers", json, "{}").await.refused(405, "method-not-allowed");
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(2 << 20));
    send(Method::POST, "/v1/customers", json, &long).await.refused(413, "payload-too-large");
    send(Method::POST, "/v1/customers", "text/plain", "{}").await.refused(415, "unsupported-media-type");
    send(Method::POST, "/v1/customers", json, "{\"name\"").await.refused(400, "malformed-json");
    app.get("/panic").await.refused(500, "internal");
    let wrong =
        serde_json::json!({ "customer": books.customer, "kind": "cat", "name": "x", "address": { "country": "DE" } });
    let answer = app.post("/v1/payers", wrong).await;
    assert_eq!(answer.refused(422, "invalid-value")["errors"][0]["pointer"], "/kind");
}
