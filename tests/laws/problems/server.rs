//! What the server refuses by itself: requests that it cannot read, what its projections do not do, and when it stops.

use std::time::Duration;

use axum::{Router, http::StatusCode, routing::get};
use daybook_api::{App, AppOptions, Hosts, with_layers};
use daybook_core::writer::WriterOptions;
use daybook_tests::{
    api::{Answer, TestApp},
    database,
    operator::{ailing, break_the_book, ended, of, until},
};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Parties, Raised, and, dollars, new_payer, new_payment};

pub async fn requests(app: &TestApp, parties: &Parties, raised: &mut Raised) {
    let customers = || app.request(Method::POST, "/v1/customers");
    let written = |body: &str| customers().header("content-type", "application/json").body(body.to_owned());
    let get = |path: &str| app.request(Method::GET, path);
    let asked = [
        (written("{"), 400, "malformed-json"),
        (written(""), 400, "empty-body"),
        (written(r#"{"name":"Ada","name":"Ada"}"#), 422, "duplicate-field"),
        (written(&"x".repeat(1_100_000)), 413, "payload-too-large"),
        (customers().body("name=Ada"), 415, "unsupported-media-type"),
        (get("/v1/orders").header("min-position", "x"), 400, "malformed-header"),
        (get("/v1/orders?colour=red"), 400, "unknown-parameter"),
        (get("/v1/orders?status=red"), 400, "malformed-parameter"),
        (get("/v1/orders?cursor=x"), 400, "invalid-cursor"),
        (get("/v1/orders").header("accept", "image/png"), 406, "not-acceptable"),
        (get("/v1/nothing"), 404, "not-found"),
        (get("/v1/credit-notes/crn_0"), 404, "credit-note-not-found"),
        (get("/log/checkpoint"), 404, "no-checkpoint"),
        (get("/panic"), 500, "internal"),
        (get("/v1/orders").header("host", "evil.example"), 421, "unknown-host"),
        (customers().header("origin", "null"), 403, "cross-site-request"),
        (get(&format!("/v1/orders?status={}", "x".repeat(9_000))), 414, "uri-too-long"),
        (get("/v1/orders").header("x-long", "x".repeat(33_000)), 431, "headers-too-large"),
        (app.request(Method::PATCH, "/v1/customers"), 405, "method-not-allowed"),
        (app.request(Method::POST, "/v1/payments").json(&json!({})), 400, "idempotency-key-missing"),
    ];
    for (request, status, code) in asked {
        raised.by(&Answer::to(request).await, (status, code));
    }
    let named = |name: &str| json!({ "name": name });
    app.post_under("key", "/v1/customers", named("Ada")).await;
    let again = app.post_under("key", "/v1/customers", named("Bob")).await;
    raised.by(&again, (422, "idempotency-mismatch"));

    let payments = || "/v1/payments".to_owned();
    let of_amount = |amount: Value| and(new_payment(&parties.usd, "1"), "amount", amount);
    let money = |amount: &str, currency: &str| of_amount(json!({ "amount": amount, "currency": currency }));
    let rows = [
        ("unknown-field", 422, "/colour", payments(), and(new_payment(&parties.usd, "1"), "colour", "red")),
        ("missing-field", 422, "/account", payments(), json!({ "method": "card", "amount": dollars("1") })),
        ("wrong-type", 422, "/amount", payments(), of_amount(json!(1))),
        ("invalid-value", 422, "/kind", "/v1/payers".into(), and(new_payer(&parties.ada, "DE"), "kind", "robot")),
        ("text-too-long", 422, "/name", "/v1/customers".into(), named(&"x".repeat(1000))),
        ("malformed-id", 422, "/account", payments(), new_payment("inv_1", "1")),
        ("unknown-currency", 422, "/amount/currency", payments(), money("1", "QQQ")),
        ("too-many-decimals", 422, "/amount/amount", payments(), money("1.234", "USD")),
        ("amount-too-large", 422, "/amount/amount", payments(), money("1000000000000000", "USD")),
        ("not-a-number", 422, "/amount/amount", payments(), money("one", "USD")),
    ];
    raised.post(app, rows).await;
}

/// What a layer or a handler says by a status alone.
pub async fn bare_statuses(raised: &mut Raised) {
    let routes = Router::new()
        .route("/teapot", get(|| async { StatusCode::IM_A_TEAPOT }))
        .route("/busy", get(|| async { StatusCode::TOO_MANY_REQUESTS }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, with_layers(routes, Hosts::default())).await });
    for (path, status, code) in [("teapot", 418, "bad-request"), ("busy", 429, "too-many-requests")] {
        raised.by(&Answer::to(Client::new().get(format!("{url}/{path}"))).await, (status, code));
    }
}

pub async fn projections(app: &TestApp, raised: &mut Raised) {
    let park = |position: u64| json!({ "position": position, "reason": "a test" });
    let end = app.position().await;
    until(app, &of("tickets", ""), |shown| shown.body["position"] == end).await;
    app.done(&of("payers", "/rebuild"), json!({})).await;
    ended(app, "payers").await;
    let rows = [
        ("projection-not-found", 404, "", of("moods", "/pause"), json!({})),
        ("projection-running", 409, "", of("tickets", "/resume"), json!({})),
        ("build-not-found", 404, "", of("tickets", "/rollback"), json!({})),
        ("other-build", 409, "", of("payers", "/rollback"), json!({ "leaving": 9 })),
        ("event-not-found", 422, "/position", of("tickets", "/park"), park(u64::MAX)),
        ("event-not-followed", 422, "/position", of("tickets", "/park"), park(1)),
        ("event-folded", 409, "/position", of("customers", "/park"), park(1)),
        ("not-parked", 409, "/position", of("tickets", "/unpark"), json!({ "position": 1 })),
        ("keys-missing", 422, "/keys", of("tickets", "/repair"), json!({ "keys": [] })),
    ];
    raised.post(app, rows).await;

    app.done(&of("services", "/pause"), json!({})).await;
    raised.by(&app.post(&of("services", "/pause"), json!({})).await, (409, "projection-not-running"));
    break_the_book(app.database.pool()).await;
    let broken = end + 1;
    app.done("/v1/customers", json!({ "name": "Charles" })).await;
    let unready = until(app, "/readyz", |ready| ailing(ready, "tickets")["state"] == "stopped").await;
    raised.by(&unready, (503, "not-ready"));
    let behind = app.request(Method::GET, "/v1/services").header("min-position", broken).header("prefer", "wait=0");
    raised.by(&Answer::to(behind).await, (503, "projection-behind"));
    raised.by(&app.get("/v1/tickets").await, (503, "projection-stopped"));
    app.done(&of("tickets", "/park"), park(broken)).await;
    let rows = [
        ("stream-parked", 409, "/position", of("tickets", "/park"), park(broken)),
        ("event-not-foldable", 409, "", of("tickets", "/unpark"), json!({ "position": broken })),
    ];
    raised.post(app, rows).await;
}

/// A server that begins nothing in time, then one that stops and loses its store.
pub async fn a_server_that_stops(raised: &mut Raised) {
    let writer = WriterOptions { deadline: Duration::ZERO, ..WriterOptions::default() };
    let store = database().await.store().await;
    let running = App::start(store.clone(), AppOptions { writer, ..AppOptions::default() }).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/customers", listener.local_addr().unwrap());
    let router = daybook_tests::api::open_router(&running);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let register = async || Answer::to(Client::new().post(&url).json(&json!({ "name": "Ada" }))).await;
    raised.by(&register().await, (503, "deadline-passed"));
    running.shutdown().await;
    raised.by(&register().await, (503, "shutting-down"));
    store.close().await;
    raised.by(&Answer::to(Client::new().get(&url)).await, (503, "store-unavailable"));
}
