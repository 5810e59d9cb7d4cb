//! What the API refuses to read, at every route of its description.

use daybook_api::openapi;
use daybook_tests::api::{Answer, TestApp};
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

/// The address with identifiers that such things can have.
fn address(path: &str) -> String {
    let id = match path.split('/').nth(2) {
        Some("customers") => "cus_1",
        Some("payers") => "pyr_1",
        Some("accounts") => "acc_1",
        Some("orders") => "ord_1",
        Some("payments") => "pay_1",
        Some("invoices") => "inv_1",
        Some("credit-notes") => "crn_1",
        Some("services") => "srv_1",
        Some("expenses") => "exp_1",
        Some("discounts") => "dsc_1",
        Some("tickets") => "tkt_1",
        _ => "accounts",
    };
    path.replace("{id}", id)
        .replace("{name}", id)
        .replace("{hold}", "hld_1")
        .replace("{refund}", "rfd_1")
        .replace("{number}", "1")
        .replace("{group}", "friends")
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
