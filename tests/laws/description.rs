//! The law of the description: what the schema of a parameter refuses the server refuses, and what it accepts the server
//! accepts, at every parameter of every operation.

use daybook_tests::api::{Answer, TestApp};
use regex::Regex;
use reqwest::Method;
use serde_json::Value;

/// A parameter of an operation.
struct Parameter {
    name: String,
    place: String,
    required: bool,
    schema: Value,
}

struct Operation {
    method: Method,
    path: String,
    parameters: Vec<Parameter>,
}

/// Values that are wrong in one way or another, of which each schema refuses some.
fn candidates(schema: &Value) -> Vec<String> {
    let mut values: Vec<String> = [
        "", " ", "x", "é", "%00", "0", "-1", "1.5", "+1", "true", "TRUE", "open", "OPEN", "acc_", "acc_a b", "system:",
    ]
    .map(str::to_owned)
    .into();
    values.extend(
        ["2026-13-01", "2026-06-30T00:00:00", "2026-06-30T23:59:60Z", "0000-06-30", "QQQ", "usd"].map(Into::into),
    );
    values.extend(["18446744073709551616".into(), "x".repeat(700), format!("cus_{}", "1".repeat(129))]);
    for bound in ["minimum", "maximum"] {
        let bound = schema[bound].as_i64().map(i128::from);
        values
            .extend(bound.into_iter().flat_map(|bound| [bound - 1, bound, bound + 1]).map(|number| number.to_string()));
    }
    values.extend(good(schema));
    values.extend(good(schema).iter().flat_map(|good| [format!("{good} "), format!("x{good}"), format!("{good}/")]));
    values
}

/// Values that the description itself gives.
fn good(schema: &Value) -> Vec<String> {
    let given = schema["examples"].as_array().into_iter().chain(schema["enum"].as_array()).flatten();
    let given = given.chain(schema.get("example"));
    given.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect()
}

/// Whether a schema accepts a value, which a request has as a text.
fn accepts(schema: &Value, value: &str) -> bool {
    let of_type = match schema["type"].as_str().expect("a schema of a parameter has one type") {
        "boolean" => matches!(value, "true" | "false"),
        "integer" => {
            let in_digits = value.strip_prefix('-').unwrap_or(value).bytes().all(|byte| byte.is_ascii_digit());
            let number = value.parse::<i128>().ok().filter(|_| in_digits);
            let least = schema["minimum"].as_i64().map_or(i128::MIN, i128::from);
            let most = schema["maximum"].as_i64().map_or(i128::MAX, i128::from);
            number.is_some_and(|number| (least..=most).contains(&number))
        }
        "string" => true,
        other => panic!("no parameter is of type {other}"),
    };
    let length = value.chars().count() as u64;
    let of_length = schema["minLength"].as_u64().is_none_or(|least| length >= least)
        && schema["maxLength"].as_u64().is_none_or(|most| length <= most);
    let pattern = schema["pattern"].as_str().map(|pattern| Regex::new(pattern).expect("a pattern"));
    let listed = schema["enum"].as_array().is_none_or(|listed| listed.iter().any(|one| one == value));
    of_type
        && of_length
        && listed
        && pattern.is_none_or(|pattern| pattern.is_match(value))
        && is_of_format(schema, value)
}

fn is_of_format(schema: &Value, value: &str) -> bool {
    match schema["format"].as_str() {
        Some("date") => value.parse::<chrono::NaiveDate>().is_ok(),
        Some("date-time") => chrono::DateTime::parse_from_rfc3339(value).is_ok(),
        _ => true,
    }
}

fn operations(description: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, item) in description["paths"].as_object().expect("a description has paths") {
        for (method, operation) in item.as_object().expect("a path has operations") {
            let parameters = operation["parameters"].as_array().into_iter().flatten().map(|parameter| {
                let text = |member: &str| parameter[member].as_str().expect("a parameter says so").to_owned();
                let schema = resolved(description, &parameter["schema"]);
                let required = parameter["required"].as_bool().unwrap_or_default();
                Parameter { name: text("name"), place: text("in"), required, schema }
            });
            operations.push(Operation {
                method: method.to_uppercase().parse().expect("a method"),
                path: path.clone(),
                parameters: parameters.collect(),
            });
        }
    }
    operations
}

/// The schema itself, where another is referred to.
fn resolved(description: &Value, schema: &Value) -> Value {
    match schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => resolved(description, description.pointer(pointer).expect("what is referred to is there")),
        None => schema.clone(),
    }
}

impl Operation {
    /// Sends the operation with this value of this parameter, and with what it needs besides.
    async fn asked(&self, app: &TestApp, of: &Parameter, value: &str) -> Answer {
        let escaped = |text: &str| -> String {
            text.bytes()
                .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { format!("%{byte:02X}") })
                .collect()
        };
        let (mut path, mut query, mut headers) = (self.path.clone(), Vec::new(), Vec::new());
        for parameter in &self.parameters {
            let usual = || good(&parameter.schema).into_iter().next().unwrap_or_else(|| "1".into());
            let value = match parameter.name == of.name && parameter.place == of.place {
                true => value.to_owned(),
                false if parameter.required => usual(),
                false => continue,
            };
            match parameter.place.as_str() {
                "path" => path = path.replace(&format!("{{{}}}", parameter.name), &escaped(&value)),
                "query" => query.push(format!("{}={}", parameter.name, escaped(&value))),
                _ => headers.push((parameter.name.clone(), value)),
            }
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let mut request = app.request(self.method.clone(), &path);
        // Nobody waits for a position that no book has.
        if of.name != "Prefer" {
            request = request.header("prefer", "wait=0");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Answer::to(request).await
    }
}

/// Whether the answer is a refusal of this parameter. In an address the body may be wrong as well, and told first.
fn refuses(answer: &Answer, parameter: &Parameter) -> bool {
    let names =
        |member: &str| answer.body[member].as_str().is_some_and(|named| named.eq_ignore_ascii_case(&parameter.name));
    match parameter.place.as_str() {
        "path" => (400..500).contains(&answer.status),
        "query" => answer.status == 400 && names("parameter"),
        _ => answer.status == 400 && names("header"),
    }
}

/// Of which it depends on the book whether a value of the right form is accepted.
fn depends_on_the_book(parameter: &Parameter, value: &str) -> bool {
    match parameter.name.as_str() {
        // It was given by a page, and is signed.
        "cursor" => true,
        // The book ends somewhere.
        "as_known_at" | "Min-Position" => value != "0",
        _ => false,
    }
}

/// A header is sent without spaces at its ends, and in one line.
fn can_be_sent(parameter: &Parameter, value: &str) -> bool {
    match parameter.place.as_str() {
        "path" => !value.is_empty(),
        "header" => value.trim() == value && value.is_ascii(),
        _ => true,
    }
}

#[tokio::test]
async fn a_parameter_is_refused_where_its_schema_refuses_it_and_nowhere_else() {
    let app = TestApp::start().await;
    let description = app.get_at_once("/openapi.json").await.body;
    let (mut refused, mut accepted, mut wrong) = (0, 0, Vec::new());
    for operation in operations(&description) {
        for parameter in &operation.parameters {
            let place = format!("{} {} {} {}", operation.method, operation.path, parameter.place, parameter.name);
            let values = candidates(&parameter.schema).into_iter().filter(|value| can_be_sent(parameter, value));
            let (good, bad): (Vec<_>, Vec<_>) = values.partition(|value| accepts(&parameter.schema, value));
            for value in bad {
                let answer = operation.asked(&app, parameter, &value).await;
                if !refuses(&answer, parameter) {
                    wrong.push(format!("{place}: the schema refuses {value:?}, the server says {}", answer.text));
                }
                refused += 1;
            }
            // What an operator does to a projection takes long.
            let few = if operation.method == Method::GET { 100 } else { 2 };
            for value in good.iter().filter(|value| !depends_on_the_book(parameter, value)).take(few) {
                let answer = operation.asked(&app, parameter, value).await;
                // An identifier of nothing has a code of its own; there may be no such tile.
                let refused = match parameter.place.as_str() {
                    "path" => answer.body["type"] == "/problems/not-found" && !operation.path.starts_with("/log/"),
                    _ => refuses(&answer, parameter),
                };
                if refused || answer.status >= 500 && answer.status != 503 {
                    wrong.push(format!("{place}: the schema accepts {value:?}, the server says {}", answer.text));
                }
                accepted += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), refused + accepted, wrong.join("\n"));
    assert!(refused > 3_000 && accepted > 500, "{refused} {accepted}");
}

/// A schema that refuses nothing is that of a parameter of which the server refuses nothing.
#[tokio::test]
async fn what_the_server_refuses_of_a_parameter_its_schema_refuses() {
    let app = TestApp::start().await;
    let description = app.get_at_once("/openapi.json").await.body;
    let loose: Vec<String> = operations(&description)
        .iter()
        .flat_map(|operation| operation.parameters.iter().map(move |parameter| (operation, parameter)))
        .filter(|(_, parameter)| {
            let schema = parameter.schema.as_object().expect("a schema");
            schema["type"] == "string"
                && ["pattern", "enum", "format", "maxLength"].iter().all(|word| !schema.contains_key(*word))
        })
        .filter(|(_, parameter)| !matches!(parameter.name.as_str(), "Prefer" | "X-Request-Id"))
        .map(|(operation, parameter)| format!("{} {} {}", operation.method, operation.path, parameter.name))
        .collect();
    assert!(loose.is_empty(), "{} parameters are any text: {loose:#?}", loose.len());
}
