//! Reading a JSON body so that whatever is wrong with it is told by the field that is wrong.

use std::error::Error;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;
use tower_http::timeout::TimeoutError;

use crate::http::{
    error::{ApiError, shortened},
    problem,
    strict::Strict,
    wire::Coded,
};

/// The largest body that is read: 1 MiB.
pub const LIMIT: usize = 1 << 20;

/// Waits for the whole body of a request.
pub async fn content<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        let status = if is_late(&rejection) { StatusCode::REQUEST_TIMEOUT } else { rejection.status() };
        ApiError::of_status(status)
    })
}

/// A JSON body of a request that records nothing by itself.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let headers = request.headers().clone();
        let content = content(request, state).await?;
        read(&headers, &content).map(Self)
    }
}

/// Whether the body took longer than a connection may.
fn is_late(error: &(dyn Error + 'static)) -> bool {
    error.is::<TimeoutError>() || error.source().is_some_and(is_late)
}

/// Reads the body of a request. One that is empty counts as an empty object where that says enough.
pub fn read<T: DeserializeOwned>(headers: &HeaderMap, body: &Bytes) -> Result<T, ApiError> {
    if body.is_empty() {
        return parse(b"{}").map_err(|error| match error.code() {
            "missing-field" => ApiError::new("empty-body", "the body is empty"),
            _ => error,
        });
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(ApiError::new("unsupported-media-type", "the body must be sent without a content encoding"));
    }
    if !is_json(headers) {
        return Err(ApiError::new("unsupported-media-type", "the body must be sent as `application/json` in UTF-8"));
    }
    parse(body)
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let is_json =
        media_type.eq_ignore_ascii_case("application/json") || media_type.to_ascii_lowercase().ends_with("+json");
    // JSON is UTF-8 (RFC 8259); what says that it is something else is not read as that.
    let mut charsets = parts.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    is_json && charsets.all(|charset| charset.eq_ignore_ascii_case("utf-8"))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(Strict(&mut json)).map_err(|error| {
        let path = pointer(error.path());
        failed(error.inner(), path)
    })?;
    json.end().map_err(|error| failed(&error, String::new()))?;
    without_nul(body)?;
    Ok(value)
}

/// PostgreSQL keeps every character in a text but this one, and a read model that cannot keep a text would stop.
fn without_nul(body: &[u8]) -> Result<(), ApiError> {
    if !body.windows(6).any(|window| window == br"\u0000") {
        return Ok(());
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| failed(&error, String::new()))?;
    match with_nul(&value, String::new()) {
        Some(pointer) => Err(ApiError::field("invalid-value", pointer, "a text cannot have the character U+0000")),
        None => Ok(()),
    }
}

fn with_nul(value: &Value, pointer: String) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then_some(pointer),
        Value::Array(items) => {
            items.iter().zip(0..).find_map(|(item, index)| with_nul(item, format!("{pointer}/{index}")))
        }
        Value::Object(members) => {
            members.iter().find_map(|(name, member)| with_nul(member, format!("{pointer}/{}", escaped(name))))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn failed(error: &serde_json::Error, path: String) -> ApiError {
    let text = error.to_string();
    if !error.is_data() {
        return ApiError::new("malformed-json", format!("the body is not JSON: {text}"))
            .with("line", error.line())
            .with("column", error.column());
    }
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = text.strip_suffix(&place).unwrap_or(&text);
    if let Some(coded) = Coded::read(message) {
        let code = problem::kind(coded.code).map_or("invalid-value", |kind| kind.code);
        let pointer = if coded.member.is_empty() { path } else { format!("{path}/{}", coded.member) };
        return ApiError::field(code, pointer, coded.detail);
    }
    let named = message.split('`').nth(1).map(escaped).unwrap_or_default();
    let (code, pointer) = match message.split_once(' ').map_or(message, |(first, _)| first) {
        "missing" => ("missing-field", format!("{path}/{named}")),
        "unknown" if message.starts_with("unknown field") => ("unknown-field", format!("{path}/{named}")),
        "duplicate" => ("duplicate-field", format!("{path}/{named}")),
        "invalid" if message.starts_with("invalid type") => ("wrong-type", path),
        _ => ("invalid-value", path),
    };
    let pointer = without_doubled_end(pointer, &named);
    ApiError::field(code, pointer, message)
}

/// A field that is not known or stands twice may be the end of the path already.
fn without_doubled_end(pointer: String, name: &str) -> String {
    let doubled = format!("/{name}/{name}");
    match pointer.strip_suffix(&doubled) {
        Some(before) if !name.is_empty() => format!("{before}/{name}"),
        _ => pointer,
    }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => format!("{pointer}/{}", escaped(key)),
        Segment::Enum { variant } => format!("{pointer}/{}", escaped(variant)),
        Segment::Unknown => pointer,
    })
}

/// As RFC 6901 wants it. A name that no field has can be as long as a body.
fn escaped(name: &str) -> String {
    shortened(name).replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use daybook_core::domain::Account;
    use serde::Deserialize;

    use super::*;
    use crate::http::wire::{Amount, Number, Ref};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sale {
        #[expect(dead_code, reason = "only reading is tested")]
        account: Ref<Account>,
        #[expect(dead_code, reason = "only reading is tested")]
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "snake_case")]
    enum Line {
        Priced {
            #[expect(dead_code, reason = "only reading is tested")]
            price: Amount,
            #[expect(dead_code, reason = "only reading is tested")]
            quantity: Number,
        },
    }

    fn error_of(body: &str) -> (&'static str, String) {
        let error = parse::<Sale>(body.as_bytes()).expect_err("the body is wrong");
        let pointer = error.document(String::new()).errors.first().map(|field| field.pointer.clone());
        (error.code(), pointer.unwrap_or_default())
    }

    fn line(line: &str) -> String {
        format!(r#"{{"account":"acc_1","lines":[{{"priced":{line}}}]}}"#)
    }

    #[test]
    fn each_fault_is_told_by_its_field() {
        let price = r#""price":{"amount":"1.00","currency":"USD"}"#;
        let cases = [
            ("{".to_owned(), "malformed-json", ""),
            (r#"{"account":"acc_1","lines":[]} x"#.to_owned(), "malformed-json", ""),
            (r#"{"account":"acc_1"}"#.to_owned(), "missing-field", "/lines"),
            (r#"{"account":"acc_1","lines":[],"color/1":1}"#.to_owned(), "unknown-field", "/color~11"),
            (r#"{"account":"acc_1","account":"acc_1"}"#.to_owned(), "duplicate-field", "/account"),
            (r#"{"account":7,"lines":[]}"#.to_owned(), "wrong-type", "/account"),
            (r#"["acc_1",[]]"#.to_owned(), "wrong-type", ""),
            (line(r#"[{"amount":"1.00","currency":"USD"},"1"]"#), "wrong-type", "/lines/0/priced"),
            (line(r#"{"price":["1.00","USD"],"quantity":"1"}"#), "wrong-type", "/lines/0/priced/price"),
            (r#"{"account":"inv_1","lines":[]}"#.to_owned(), "malformed-id", "/account"),
            (r#"{"account":"acc_1","lines":[{"gift":{}}]}"#.to_owned(), "invalid-value", "/lines/0"),
            (line(&format!(r#"{{{price},"quantity":1.5}}"#)), "wrong-type", "/lines/0/priced/quantity"),
            (line(&format!(r#"{{{price},"quantity":"1e3"}}"#)), "not-a-number", "/lines/0/priced/quantity"),
            (line(&format!(r#"{{{price}}}"#)), "missing-field", "/lines/0/priced/quantity"),
            (line(&format!(r#"{{{price},"quantity":"1","x":1}}"#)), "unknown-field", "/lines/0/priced/x"),
            (
                line(r#"{"price":{"amount":"1.001","currency":"USD"}}"#),
                "too-many-decimals",
                "/lines/0/priced/price/amount",
            ),
            (
                line(r#"{"price":{"amount":"1","currency":"XXQ"}}"#),
                "unknown-currency",
                "/lines/0/priced/price/currency",
            ),
            (line(r#"{"price":{"amount":"1"}}"#), "missing-field", "/lines/0/priced/price/currency"),
        ];
        for (body, code, pointer) in cases {
            assert_eq!(error_of(&body), (code, pointer.to_owned()), "{body}");
        }
    }
    #[test]
    fn a_character_that_cannot_be_kept_is_told_by_its_field() {
        let error = parse::<Value>(br#"{"lines":["fine","a\u0000b"]}"#).expect_err("PostgreSQL cannot keep it");
        assert_eq!(error.document(String::new()).errors[0].pointer, "/lines/1");
        parse::<Value>(br#"{"lines":["a\\u0000b"]}"#).expect("a backslash before it makes it a text of its own");
    }
}
