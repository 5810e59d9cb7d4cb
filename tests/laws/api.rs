//! What the API keeps to whatever is asked: the shape of errors, bad input, idempotency keys.

use chrono::{TimeDelta, Utc};
use daybook_api::{App, AppOptions, RateOptions};
use daybook_core::{
    operations::{Operation, Registration},
    writer::{Command, Idempotency},
};
use daybook_tests::{
    api::{Answer, TestApp},
    commands::command,
    database,
};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A customer with an account in dollars; answers with the account's identifier.
async fn account(app: &TestApp) -> String {
    let customer = app.done("/v1/customers", json!({ "name": "Ada Lovelace" })).await;
    let body = json!({ "customer": customer["id"], "currency": "USD", "name": "Main account" });
    app.done("/v1/accounts", body).await["id"].as_str().unwrap().to_owned()
}

fn dollars(amount: &str) -> Value {
    json!({ "amount": amount, "currency": "USD" })
}

/// Every way in which a request can fail before a handler has decided anything, through the server as callers reach it.
#[tokio::test]
async fn s71_one_error_shape() {
    // As many as are asked before the last one.
    let rates = RateOptions { of_principal: 0, of_address: 12 };
    let app = TestApp::with(database().await, AppOptions { rates, ..AppOptions::default() }).await;
    let customers = || app.request(Method::POST, "/v1/customers");
    let written = |body: &str| customers().header("content-type", "application/json").body(body.to_owned());
    let robot = json!({ "customer": "cus_1", "kind": "robot", "name": "R2", "address": { "country": "GB" } });
    let long = format!("/v1/customers?email={}", "x".repeat(9_000));
    let cases = [
        (app.request(Method::GET, "/v1/nothing"), 404, "not-found"),
        (app.request(Method::GET, "/nothing"), 404, "not-found"),
        (app.request(Method::GET, "/v1/accounts/acc_0"), 404, "account-not-found"),
        (app.request(Method::PATCH, "/v1/customers"), 405, "method-not-allowed"),
        (written(&"x".repeat(1_100_000)), 413, "payload-too-large"),
        (app.request(Method::GET, &long), 414, "uri-too-long"),
        (customers().body("name=Ada"), 415, "unsupported-media-type"),
        (app.request(Method::POST, "/v1/payers").json(&robot), 422, "invalid-value"),
        (app.request(Method::GET, "/v1/customers").header("x-long", "x".repeat(40_000)), 431, "headers-too-large"),
        (app.request(Method::GET, "/panic"), 500, "internal"),
        (written("{\"name\":"), 400, "malformed-json"),
        (written("[]"), 422, "wrong-type"),
        (written(""), 400, "empty-body"),
        (app.request(Method::GET, "/v1/customers?colour=red"), 400, "unknown-parameter"),
        (written("{}"), 429, "too-many-requests"),
    ];
    for (number, (request, status, code)) in cases.into_iter().enumerate() {
        let id = format!("0193a5b0-7c1e-7000-8000-{number:012}");
        let answer = Answer::to(request.header("x-request-id", &id)).await;
        // The content type is looked at there.
        let problem = answer.refused(status, code);
        assert_eq!(problem["instance"], format!("urn:uuid:{id}"), "{}", answer.text);
        assert_eq!(answer.header("x-request-id"), id);
        assert_eq!(answer.header("retry-after").is_empty(), status != 429, "{}", answer.text);
        assert_eq!(answer.header("allow").contains("POST"), status == 405, "{:?}", answer.headers);
        if code == "invalid-value" {
            assert_eq!(problem["errors"][0]["pointer"], "/kind");
        }
    }
}

#[tokio::test]
async fn bare_statuses_of_any_handler_become_problems() {
    use axum::{Router, http::StatusCode, routing::get};

    let routes = Router::new()
        .route("/busy", get(|| async { StatusCode::TOO_MANY_REQUESTS }))
        .route("/later", get(|| async { StatusCode::SERVICE_UNAVAILABLE }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        axum::serve(listener, daybook_api::with_layers(routes, daybook_api::Hosts::default())).await
    });
    let client = reqwest::Client::new();
    Answer::to(client.get(format!("{url}/busy"))).await.refused(429, "too-many-requests");
    Answer::to(client.get(format!("{url}/later"))).await.refused(503, "overloaded");
}

/// Each kind of bad input: a clear problem that names the field, and nothing recorded.
#[tokio::test]
async fn bad_input_is_told_by_its_field_and_records_nothing() {
    let app = TestApp::start().await;
    let account = account(&app).await;
    let stranger = app.done("/v1/customers", json!({ "name": "Charles Babbage" })).await;
    let payer = json!({
        "customer": stranger["id"], "kind": "individual", "name": "C. Babbage", "address": { "country": "GB" },
    });
    let payer = app.done("/v1/payers", payer).await;
    let before = app.position().await;

    let payment =
        |amount: Value, payer: Value| json!({ "account": account, "payer": payer, "method": "card", "amount": amount });
    let yen = json!({ "amount": "1000.50", "currency": "JPY" });
    let cases = [
        ("unknown field", json!({ "account": account, "colour": "red" }), 422, "unknown-field", "/colour"),
        ("wrong type", payment(json!(12.5), Value::Null), 422, "wrong-type", "/amount"),
        (
            "number for an amount",
            payment(json!({ "amount": 12, "currency": "USD" }), Value::Null),
            422,
            "wrong-type",
            "/amount/amount",
        ),
        ("too many decimals", payment(yen, Value::Null), 422, "too-many-decimals", "/amount/amount"),
        (
            "unknown currency",
            payment(json!({ "amount": "1", "currency": "QQQ" }), Value::Null),
            422,
            "unknown-currency",
            "/amount/currency",
        ),
        ("missing field", json!({ "account": account, "method": "card" }), 422, "missing-field", "/amount"),
        ("malformed id", payment(dollars("1"), json!("acc_1")), 422, "malformed-id", "/payer"),
        ("absent id", payment(dollars("1"), json!("pyr_1")), 422, "payer-not-found", "/payer"),
        ("foreign id", payment(dollars("1"), payer["id"].clone()), 422, "foreign-payer", "/payer"),
        (
            "other currency",
            payment(json!({ "amount": "1", "currency": "EUR" }), Value::Null),
            422,
            "currency-mismatch",
            "/amount",
        ),
        ("nothing to pay", payment(dollars("0"), Value::Null), 422, "amount-not-positive", "/amount"),
    ];
    for (what, body, status, code, pointer) in cases {
        let answer = app.post("/v1/payments", body).await;
        let problem = answer.refused(status, code);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{what}: {problem}");
        assert_eq!(problem["errors"][0]["code"], code, "{what}: {problem}");
    }
    let empty = app.request(Method::POST, "/v1/payments").header("idempotency-key", "empty");
    Answer::to(empty.header("content-type", "application/json")).await.refused(400, "empty-body");
    assert_eq!(app.position().await, before, "nothing of all that is recorded");
}

/// An earlier version may have recorded what the limits of this one refuse.
#[tokio::test]
async fn a_request_that_was_recorded_under_other_limits_is_answered_as_before() {
    let app = TestApp::start().await;
    let recorded = async |path: &str, body: &str, key: &str, operation: Operation| {
        let mut fingerprint = Sha256::new();
        fingerprint.update(format!("POST\n{path}\n{body}"));
        let fingerprint = fingerprint.finalize().into();
        let idempotency = Idempotency { scope: format!("system:api POST {path}"), key: key.into(), fingerprint };
        app.writer().execute(Command { idempotency: Some(idempotency), ..command(operation) }).await.unwrap()
    };
    let sent = async |path: &str, key: &str, body: &str| {
        let request = app.request(Method::POST, path).header("idempotency-key", key);
        Answer::to(request.header("content-type", "application/json").body(body.to_owned())).await
    };
    // Longer than a name is today.
    let name = "x".repeat(300);
    let body = json!({ "name": name }).to_string();
    let register = Operation::RegisterCustomer(Registration { name: name.clone().into(), email: None });
    let before = recorded("/v1/customers", &body, "k1", register).await;

    let again = sent("/v1/customers", "k1", &body).await;
    assert_eq!((again.status, &again.body), (201, &before.answer), "{}", again.text);
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.header("ledger-position"), before.position.to_string());
    let id = before.answer["id"].as_str().unwrap();
    assert_eq!(again.header("location"), format!("/v1/customers/{id}"));

    // Neither another key nor another body is that request, and nothing is recorded under either.
    sent("/v1/customers", "k2", &body).await.refused(422, "text-too-long");
    let other = json!({ "name": format!("{name}x") }).to_string();
    sent("/v1/customers", "k1", &other).await.refused(422, "text-too-long");
    let anna = app.request(Method::POST, "/v1/customers").header("idempotency-key", "k1");
    let anna = anna.header("daybook-actor", "staff:anna").header("content-type", "application/json").body(body);
    Answer::to(anna).await.refused(422, "text-too-long");
    assert_eq!(app.position().await, before.position);
}

#[tokio::test]
async fn money_moves_only_under_an_idempotency_key() {
    let app = TestApp::start().await;
    let account = account(&app).await;
    let before = app.position().await;
    let body = json!({ "account": account, "method": "card", "amount": dollars("1.00") });
    let without = Answer::to(app.request(Method::POST, "/v1/payments").json(&body)).await;
    assert_eq!(without.refused(400, "idempotency-key-missing")["documentation"], "/problems/idempotency-key-missing");
    app.post_under(&"k".repeat(256), "/v1/payments", body).await.refused(400, "malformed-header");
    assert_eq!(app.position().await, before);
    let documented = Answer::to(app.request(Method::GET, "/problems/idempotency-key-missing")).await;
    assert_eq!((documented.status, &documented.body["status"]), (200, &json!(400)));
}

#[tokio::test]
async fn s18_client_retry() {
    let app = TestApp::start().await;
    let account = account(&app).await;
    let body = json!({ "account": account, "method": "card", "amount": dollars("12.00") });
    let first = app.post_under("k1", "/v1/payments", body.clone()).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (201, ""), "{}", first.text);
    let after_first = app.position().await;
    let again = app.post_under("k1", "/v1/payments", body.clone()).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, "true"));
    assert_eq!(again.text, first.text);
    assert_eq!(again.header("ledger-position"), first.header("ledger-position"));
    assert_eq!(app.position().await, after_first);

    let other = json!({ "account": account, "method": "card", "amount": dollars("13.00") });
    app.post_under("k1", "/v1/payments", other).await.refused(422, "idempotency-mismatch");

    let app = TestApp::on(app.stop().await).await;
    let after_restart = app.post_under("k1", "/v1/payments", body).await;
    assert_eq!((after_restart.status, after_restart.text), (201, first.text), "S18b: after a restart as before");
    assert_eq!(app.position().await, after_first);
}

#[tokio::test]
async fn s31_final_means_final() {
    let app = TestApp::start().await;
    let account = account(&app).await;
    let customer = app.get(&format!("/v1/accounts/{account}")).await.body["customer"].clone();
    let address = json!({ "country": "GB" });
    let payer = json!({ "customer": customer, "kind": "individual", "name": "Ada Lovelace", "address": address });
    let payer = app.done("/v1/payers", payer).await;
    let lines = json!([{ "description": "Setup", "unit_price": "10.00" }]);
    let invoice = json!({ "account": account, "payer": payer["id"], "lines": lines });
    let invoice = app.done("/v1/invoices", invoice).await;
    let before = app.position().await;
    for method in [Method::PATCH, Method::PUT, Method::DELETE] {
        let invoice = format!("/v1/invoices/{}", invoice["id"].as_str().unwrap());
        let answer = Answer::to(app.request(method.clone(), &invoice).json(&json!({ "total": "1" }))).await;
        assert_eq!(answer.refused(409, "invoice-final")["instead"], "/v1/credit-notes");
        Answer::to(app.request(method, "/v1/invoices/inv_1")).await.refused(404, "invoice-not-found");
    }
    assert_eq!(app.position().await, before);
}

#[tokio::test]
async fn what_the_address_names_and_what_the_body_names_are_told_apart() {
    let app = TestApp::start().await;
    let account = account(&app).await;
    let transfer = |to: &str| json!({ "to": to, "amount": dollars("1.00"), "rate": "1", "rate_source": "ECB" });
    app.post("/v1/accounts/acc_1/transfers", transfer(&account)).await.refused(404, "account-not-found");
    let answer = app.post(&format!("/v1/accounts/{account}/transfers"), transfer("acc_1")).await;
    assert_eq!(answer.refused(422, "recipient-not-found")["errors"][0]["pointer"], "/to");
    app.post("/v1/accounts/inv_1/transfers", transfer(&account)).await.refused(404, "not-found");
    let order = json!({ "account": "acc_1", "description": "VPS", "items": [{ "product": "vps", "unit_price": "1" }] });
    assert_eq!(
        app.post("/v1/orders", order).await.refused(422, "account-not-found")["errors"][0]["pointer"],
        "/account"
    );
    let items = json!([{ "product": "vps", "unit_price": "1" }, { "product": "vps", "unit_price": "0.000000001" }]);
    let order = json!({ "account": account, "description": "VPS", "items": items });
    assert_eq!(
        app.post("/v1/orders", order).await.refused(422, "item-out-of-range")["errors"][0]["pointer"],
        "/items/1"
    );
}

#[tokio::test]
async fn what_cannot_be_kept_or_compared_is_refused() {
    let app = TestApp::start().await;
    let account = account(&app).await;
    let named = |name: &str, at: &str| json!({ "name": name, "effective_at": at });
    let answer = app.post("/v1/customers", named("a\u{0}b", "2026-01-01T00:00:00Z")).await;
    assert_eq!(answer.refused(422, "invalid-value")["errors"][0]["pointer"], "/name");
    let answer = app.post("/v1/customers", named("Ada", "+99999-01-01T00:00:00Z")).await;
    assert_eq!(answer.refused(422, "invalid-value")["errors"][0]["pointer"], "/effective_at");
    let ahead = |days| named("Ada", &(Utc::now() + TimeDelta::days(days)).to_rfc3339());
    for at in [ahead(367), named("Ada", "9999-12-31T23:59:59Z")] {
        let answer = app.post("/v1/customers", at).await;
        assert_eq!(answer.refused(422, "invalid-value")["errors"][0]["pointer"], "/effective_at");
    }
    app.done("/v1/customers", ahead(365)).await;
    app.get("/v1/customers?email=a%00b").await.refused(400, "malformed-parameter");
    app.get(&format!("/v1/accounts/{account}/statement?from=-99999-01-01")).await.refused(400, "malformed-parameter");
    let lines = json!([{ "description": "Setup", "unit_price": "1" }]);
    let invoice = |number: &str, day: &str| {
        json!({
            "account": account, "payer": "pyr_1", "numbering": { "given": number }, "issued_on": day, "lines": lines,
        })
    };
    let answer = app.post("/v1/invoices", invoice(&"7".repeat(129), "2026-01-01")).await;
    assert_eq!(answer.refused(422, "text-too-long")["errors"][0]["pointer"], "/numbering/given");
    let answer = app.post("/v1/invoices", invoice("7", "-0001-01-01")).await;
    assert_eq!(answer.refused(422, "invalid-value")["errors"][0]["pointer"], "/issued_on");
}

#[tokio::test]
async fn s1_an_order_waits_then_activates() {
    let app = TestApp::start().await;
    let account = account(&app).await;
    let pay = async |amount: &str, purpose: Value| {
        let body = json!({ "account": account, "method": "card", "amount": dollars(amount), "purpose": purpose });
        let payment = app.done("/v1/payments", body).await;
        app.done(&format!("/v1/payments/{}/credit", payment["id"].as_str().unwrap()), json!({})).await
    };
    pay("10.00", json!("advance")).await;
    let item = json!({ "product": "vps", "unit_price": "12.00" });
    let order = app.done("/v1/orders", json!({ "account": account, "description": "VPS", "items": [item] })).await;
    assert_eq!((&order["status"], &order["missing"]), (&json!("open"), &dollars("2.00")));
    let order = order["id"].as_str().unwrap();
    let refused = app.post(&format!("/v1/orders/{order}/pay"), json!({ "by": "balance" })).await;
    assert_eq!(refused.refused(409, "insufficient-funds")["missing"], dollars("2.00"));
    let paid = pay("2.00", json!({ "order": order })).await;
    assert_eq!((&paid["order"]["status"], &paid["balance"]), (&json!("processed"), &dollars("0.00")));
}

#[tokio::test]
async fn a_server_whose_writer_has_fallen_says_so_and_is_not_ready() {
    let database = daybook_tests::database().await;
    let store = database.store().await;
    let elsewhere = tokio::runtime::Runtime::new().unwrap();
    let running = elsewhere.spawn(App::start(store, AppOptions::default())).await.unwrap().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = daybook_tests::api::open_router(&running);
    tokio::spawn(async move { axum::serve(listener, router).await });

    let fallen = running.fallen();
    elsewhere.shutdown_background();
    assert!(["the writer", "the projector", "the keeper of the transparency log"].contains(&fallen.await));
    running.app().writer().closed().await;
    Answer::to(reqwest::Client::new().get(format!("{url}/readyz"))).await.refused(503, "not-ready");
}

#[tokio::test]
async fn a_position_beyond_the_book_or_below_it_is_no_fault_of_the_server() {
    let app = TestApp::start().await;
    account(&app).await;
    let head = app.position().await;
    let answer = app.get(&format!("/v1/audit/events?after={}", i64::MAX)).await;
    assert_eq!((answer.status, &answer.body["data"], &answer.body["has_more"]), (200, &json!([]), &json!(false)));
    assert_eq!(answer.header("ledger-position"), head.to_string());
    for (path, parameter) in [
        ("events?after", "after"),
        ("checkpoints?after", "after"),
        ("proofs/inclusion?position", "position"),
        ("proofs/consistency?from", "from"),
    ] {
        for number in ["9223372036854775808", "18446744073709551615", "18446744073709551616", "-1", "%2B1", ""] {
            let answer = app.get(&format!("/v1/audit/{path}={number}")).await;
            assert_eq!(answer.refused(400, "malformed-parameter")["parameter"], parameter, "{path}={number}");
        }
    }
    for path in ["/v1/audit/events", "/v1/audit/checkpoints", "/v1/orders"] {
        let answer = app.get(&format!("{path}?limit=0")).await;
        assert_eq!(answer.refused(400, "malformed-parameter")["parameter"], "limit", "{path}");
    }
    let beyond = app.request(Method::GET, "/v1/orders").header("min-position", head + 1).header("prefer", "wait=0");
    assert_eq!(Answer::to(beyond).await.refused(400, "malformed-header")["header"], "min-position");
    app.get("/v1/audit/trial-balance?as_known_at=-1").await.refused(400, "malformed-parameter");
    let answer = app.get(&format!("/v1/audit/trial-balance?as_known_at={}", u64::MAX)).await;
    assert_eq!(answer.refused(400, "malformed-parameter")["position"], head);
}

#[tokio::test]
async fn an_expense_names_the_field_that_is_out_of_range() {
    let app = TestApp::start().await;
    let account = account(&app).await;
    let expense = |quantity: &str, tax_rate: &str| {
        json!({
            "account": account, "description": "restore", "quantity": quantity, "net": dollars("1.00"),
            "tax_rate": tax_rate, "reason": "asked for",
        })
    };
    let answer = app.post("/v1/expenses", expense("0", "0")).await;
    assert_eq!(answer.refused(422, "quantity-out-of-range")["errors"][0]["pointer"], "/quantity");
    let answer = app.post("/v1/expenses", expense("1", "-1")).await;
    assert_eq!(answer.refused(422, "tax-rate-out-of-range")["errors"][0]["pointer"], "/tax_rate");
}

/// A page of another site can make a browser send this; a name that leads here for a moment can make it one of ours.
#[tokio::test]
async fn no_page_of_another_site_reaches_the_ledger() {
    let app = TestApp::start().await;
    let close = || app.request(Method::POST, "/v1/ops/projections/tickets/pause");
    let head = app.position().await;

    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example"), ("origin", "null")] {
        Answer::to(close().header(name, value)).await.refused(403, "cross-site-request");
    }
    for method in [Method::GET, Method::POST] {
        let rebound = app.request(method, "/v1/accounts").header("host", "evil.example:8080");
        let problem = Answer::to(rebound).await;
        assert_eq!(problem.refused(421, "unknown-host")["host"], "evil.example");
    }
    assert_eq!(app.position().await, head);
    assert_eq!(Answer::to(app.request(Method::GET, "/v1/accounts").header("origin", "null")).await.status, 200);
    let own = app.url.clone();
    let register = || app.request(Method::POST, "/v1/customers").json(&json!({ "name": "Ada Lovelace" }));
    assert_eq!(Answer::to(register().header("origin", own)).await.status, 201, "the page is its own");
    assert_eq!(Answer::to(register().header("sec-fetch-site", "same-origin")).await.status, 201);
}

#[tokio::test]
async fn what_can_be_read_in_two_ways_is_not_read() {
    let app = TestApp::start().await;
    let customer = json!({ "name": "Ada Lovelace" });
    let post = || app.request(Method::POST, "/v1/customers").json(&customer);

    for name in [
        "content-encoding",
        "authorization",
        "content-type",
        "daybook-membership",
        "daybook-on-behalf-of",
        "host",
        "idempotency-key",
        "min-position",
        "origin",
        "sec-fetch-site",
        "x-request-id",
    ] {
        let values = if name.starts_with("daybook") { ["staff:anna", "staff:bert"] } else { ["one", "two"] };
        let doubled = post().header(name, values[0]).header(name, values[1]);
        assert_eq!(Answer::to(doubled).await.refused(400, "malformed-header")["header"], name);
    }
    let packed = post().header("content-encoding", "gzip");
    Answer::to(packed).await.refused(415, "unsupported-media-type");
    assert_eq!(Answer::to(post().header("content-encoding", "identity")).await.status, 201);
    for query in ["?customer=%ff", "?%C3=1", "?as_of=%C0%80"] {
        let asked = app.request(Method::GET, &format!("/v1/accounts{query}"));
        Answer::to(asked).await.refused(400, "malformed-parameter");
    }
}
