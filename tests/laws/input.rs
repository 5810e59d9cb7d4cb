//! What the API refuses to read, at every route of its description.

use daybook_api::openapi;
use daybook_tests::api::{Answer, TestApp, address};
use reqwest::Method;
use serde_json::{Value, json};

/// An operation of the description, at an address that it can have.
struct Operation {
    method: Method,
    path: String,
    parameters: Vec<Value>,
    /// The schema of its body.
    body: Option<Value>,
}

/// All operations of the ledger.
fn operations(description: &Value) -> Vec<Operation> {
    let paths = description["paths"].as_object().expect("a description has paths");
    let mut operations = Vec::new();
    for (path, item) in paths.iter().filter(|(path, _)| path.starts_with("/v1/")) {
        for (method, operation) in item.as_object().expect("a path has operations") {
            let body = operation["requestBody"]["content"]["application/json"].get("schema");
            operations.push(Operation {
                method: method.to_uppercase().parse().expect("a method"),
                path: address(path),
                parameters: operation["parameters"].as_array().cloned().unwrap_or_default(),
                body: body.map(|schema| resolved(description, schema)),
            });
        }
    }
    operations
}

/// The schema itself, where another is referred to.
fn resolved(description: &Value, schema: &Value) -> Value {
    let alternatives: Vec<&Value> = schema["oneOf"].as_array().into_iter().flatten().collect();
    let is_null = |one: &&&Value| one["type"] == "null";
    let of_option = alternatives.iter().find(is_null).and_then(|_| alternatives.iter().find(|one| !is_null(one)));
    let schema = of_option.map_or(schema, |one| *one);
    match schema["$ref"].as_str() {
        Some(reference) => {
            let name = reference.rsplit('/').next().expect("a reference has a name");
            resolved(description, &description["components"]["schemas"][name])
        }
        None => schema.clone(),
    }
}

fn is_calendar(schema: &Value) -> bool {
    schema["format"] == "date-time" || schema["format"] == "date"
}

const NO_MOMENTS: [&str; 6] = [
    "2026-06-30T23:59:60Z",
    "2026-06-30T23:59:60.5Z",
    "2026-06-30",
    "2026-6-30T00:00:00Z",
    "0000-06-30T00:00:00Z",
    "+12026-06-30T00:00:00Z",
];

const NO_DAYS: [&str; 5] = ["2026-1-1", "2026-02-30", "2026-06-30T00:00:00Z", "0000-06-30", "+12026-06-30"];

#[tokio::test]
async fn no_body_records_a_moment_or_a_day_that_not_everything_can_hold() {
    let app = TestApp::start().await;
    let description = serde_json::to_value(openapi()).unwrap();
    let mut seen = 0;
    for Operation { method, path, body, .. } in operations(&description) {
        let Some(body) = body else { continue };
        for (name, schema) in body["properties"].as_object().into_iter().flatten() {
            let schema = resolved(&description, schema);
            if !is_calendar(&schema) {
                continue;
            }
            let (wrong, of_slips): (&[_], _) = match schema["format"].as_str() {
                Some("date") => (&NO_DAYS, ["0001-01-01", "1899-12-31", "9999-01-01"]),
                _ => (&NO_MOMENTS, ["0001-01-01T00:00:00Z", "1899-12-31T23:59:59Z", "9999-01-01T00:00:00Z"]),
            };
            for wrong in wrong.iter().chain(&of_slips) {
                let request =
                    app.request(method.clone(), &path).header("idempotency-key", "1").json(&json!({ name: wrong }));
                let answer = Answer::to(request).await;
                let problem = answer.refused(422, "invalid-value");
                assert_eq!(problem["errors"][0]["pointer"], format!("/{name}"), "{path} {wrong}");
            }
            seen += 1;
        }
    }
    assert!(seen > 40, "bodies have moments: {seen}");
    assert_eq!(app.position().await, 0, "nothing was recorded");
}

#[tokio::test]
async fn no_query_asks_about_a_moment_or_a_day_that_nothing_can_hold() {
    let app = TestApp::start().await;
    let description = serde_json::to_value(openapi()).unwrap();
    let mut seen = 0;
    for Operation { method, path, parameters, .. } in operations(&description) {
        for parameter in parameters.iter().filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().expect("a parameter has a name");
            let schema = resolved(&description, &parameter["schema"]);
            let wrong: &[_] = match schema["format"].as_str() {
                Some("date") => &NO_DAYS,
                Some("date-time") => &NO_MOMENTS,
                _ if name == "as_known_at" => &NO_MOMENTS,
                _ => continue,
            };
            // The only other parameter that a query needs names what is asked about.
            let needed = parameters.iter().filter(|other| other["in"] == "query" && other["required"] == true);
            let needed: String =
                needed.filter_map(|other| other["name"].as_str()).map(|other| format!("{other}=acc_1&")).collect();
            for wrong in wrong {
                let query = format!("{needed}{name}={}", wrong.replace('+', "%2B"));
                let request = app.request(method.clone(), &format!("{path}?{query}"));
                let answer = Answer::to(request).await;
                assert_eq!(answer.refused(400, "malformed-parameter")["parameter"], name, "{path} {wrong}");
            }
            seen += 1;
        }
    }
    assert!(seen > 40, "queries have moments: {seen}");
}

#[tokio::test]
async fn every_text_of_a_body_has_a_limit() {
    let app = TestApp::start().await;
    let description = serde_json::to_value(openapi()).unwrap();
    let mut seen = 0;
    for Operation { method, path, body, .. } in operations(&description) {
        let Some(body) = body.filter(|_| !path.starts_with("/v1/ops/")) else { continue };
        without_limit(&description, &body, &path);
        for (name, schema) in body["properties"].as_object().into_iter().flatten() {
            let schema = resolved(&description, schema);
            // What has a form of its own is told of it first.
            let Some(most) = schema["maxLength"].as_u64().filter(|_| schema.get("pattern").is_none()) else { continue };
            let longer = "ü".repeat(most as usize + 1);
            let request =
                app.request(method.clone(), &path).header("idempotency-key", "1").json(&json!({ name: longer }));
            let problem = Answer::to(request).await;
            assert_eq!(problem.refused(422, "text-too-long")["errors"][0]["pointer"], format!("/{name}"), "{path}");
            seen += 1;
        }
    }
    assert!(seen > 60, "bodies have texts: {seen}");
    assert_eq!(app.position().await, 0, "nothing was recorded");
}

/// Falls if a text of the schema, at any depth, could be as long as the body.
fn without_limit(description: &Value, schema: &Value, at: &str) {
    let schema = resolved(description, schema);
    let is_text =
        schema["type"] == "string" || schema["type"].as_array().is_some_and(|types| types.contains(&json!("string")));
    let bounded = ["maxLength", "pattern", "format", "enum"].iter().any(|bound| schema.get(bound).is_some());
    assert!(!is_text || bounded, "{at} has no limit: {schema}");
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        without_limit(description, property, &format!("{at}/{name}"));
    }
    for one in schema["oneOf"].as_array().into_iter().flatten().chain(schema.get("items")) {
        without_limit(description, one, at);
    }
}

#[tokio::test]
async fn no_array_passes_for_an_object() {
    let app = TestApp::start().await;
    let description = serde_json::to_value(openapi()).unwrap();
    for Operation { method, path, body, .. } in operations(&description) {
        if body.is_none() {
            continue;
        }
        let request = app.request(method, &path).header("idempotency-key", "1").json(&json!([]));
        Answer::to(request).await.refused(422, "wrong-type");
    }
    let body = json!({ "amount": ["5.00", "USD"], "description": "d", "reason": "r" });
    let answer = app.post("/v1/accounts/acc_1/adjustments", body).await;
    assert_eq!(answer.refused(422, "wrong-type")["errors"][0]["pointer"], "/amount");
    let answer = app.post("/v1/accounts/acc_1/adjustments", json!([["5.00", "USD"], "d", null, "r"])).await;
    answer.refused(422, "wrong-type");
}

/// An entry of the log has 64 KiB; 48 KiB are for the event, which may grow by a third where its texts are encrypted.
#[tokio::test]
async fn the_longest_texts_fit_into_an_entry_of_the_log() {
    let app = TestApp::start().await;
    // No character takes more bytes in JSON, and none more where it is sealed.
    let long = |most: usize| "\u{1}".repeat(most);
    let long_sealed = |most: usize| "\u{1f600}".repeat(most);
    let customer = app.done("/v1/customers", json!({ "name": "Ada Lovelace" })).await["id"].clone();
    let body = json!({
        "customer": customer, "category": long(128), "subject": long_sealed(200), "message": long_sealed(5_000),
        "reason": long(500),
    });
    let request = app.request(Method::POST, "/v1/tickets").json(&body);
    let actor = format!("staff:{}", "a".repeat(128));
    let request = request.header("daybook-actor", &actor).header("daybook-on-behalf-of", &actor);
    assert_eq!(Answer::to(request).await.status, 201);
    let longest: i32 =
        sqlx::query_scalar("select max(octet_length(payload::text) + octet_length(metadata::text)) from events")
            .fetch_one(app.database.store().await.pool())
            .await
            .unwrap();
    assert!((30_000..36 * 1024).contains(&longest), "{longest} bytes");
}

#[tokio::test]
async fn a_document_of_very_many_lines_is_taken_or_refused_whole() {
    let app = TestApp::start().await;
    let customer = app.done("/v1/customers", json!({ "name": "Ada Lovelace" })).await["id"].clone();
    let account = json!({ "customer": customer, "currency": "USD", "name": "Main account" });
    let account = app.done("/v1/accounts", account).await["id"].clone();
    let payer = json!({ "customer": customer, "kind": "individual", "name": "Ada", "address": { "country": "GB" } });
    let payer = app.done("/v1/payers", payer).await["id"].clone();
    let invoice = |lines: usize| {
        let line = json!({ "item": "85123A", "description": "WHITE HANGING HEART T-LIGHT HOLDER", "quantity": "6", "unit_price": "2.55" });
        json!({ "account": account, "payer": payer, "lines": vec![line; lines] })
    };
    app.done("/v1/invoices", invoice(1_114)).await;
    let largest: i32 = sqlx::query_scalar("select max(octet_length(payload::text)) from events")
        .fetch_one(app.database.store().await.pool())
        .await
        .unwrap();
    assert!((100_000..300_000).contains(&largest), "an invoice of 1,114 lines has {largest} bytes");
    let before = app.position().await;
    app.post("/v1/invoices", invoice(4_000)).await.refused(422, "event-too-large");
    assert_eq!(app.position().await, before, "nothing was recorded");
    app.done("/v1/invoices", invoice(1)).await;
}

#[tokio::test]
async fn what_a_caller_sends_is_not_sent_back_whole() {
    let app = TestApp::start().await;
    let name = "x".repeat(900_000);
    let answer = app.post("/v1/customers", json!({ "name": "Ada", name: 1 })).await;
    answer.refused(422, "unknown-field");
    assert!(answer.text.len() < 4_000, "{} bytes", answer.text.len());
}

#[tokio::test]
async fn a_body_in_another_encoding_is_not_read() {
    let app = TestApp::start().await;
    for (content_type, status) in [
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=\"ISO-8859-1\"", 415),
        ("application/json; charset=UTF-8", 201),
        ("application/problem+json", 201),
    ] {
        let request = app.request(Method::POST, "/v1/customers").header("content-type", content_type);
        let answer = Answer::to(request.body(r#"{"name":"Ada"}"#)).await;
        assert_eq!(answer.status, status, "{content_type}: {}", answer.text);
    }
}

#[tokio::test]
async fn the_root_is_a_page_and_what_is_no_page_stays_json() {
    let app = TestApp::guarded().await;
    let answer = Answer::to(app.request(Method::GET, "/")).await;
    assert!(answer.status == 200 && answer.text.contains("name=\"password\""), "{}", answer.text);
    for path in ["/v1/nothing", "/v1", "/log/nothing", "/nothing"] {
        Answer::to(app.request(Method::GET, path)).await.refused(404, "not-found");
        Answer::to(app.request(Method::POST, path)).await.refused(404, "not-found");
    }
}
