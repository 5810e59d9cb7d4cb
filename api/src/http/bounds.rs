//! How long an address and the headers of a request may be, and how long its answer may take.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::timeout;

use crate::http::{arrival::Edge, error::ApiError, listing::wants_table};

/// Of the address, in bytes. It bounds the parameters, too.
pub const LONGEST_ADDRESS: usize = 8 << 10;

/// Of all headers together, in bytes.
pub const LONGEST_HEADERS: usize = 32 << 10;

/// What an operator waits for as long as it takes.
const OF_OPERATORS: &str = "/v1/ops/";

/// What `Prefer: wait` asks for at most, and as much again for the work itself.
pub const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// Of tables: longer than one may take to be made.
const TABLES_WITHIN: Duration = Duration::from_secs(660);

/// The layer that refuses what is too long, and gives up what takes too long.
pub async fn bound(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    if let Err(error) = is_short(&request) {
        let mut response = error.into_response();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    }
    if request.uri().path().starts_with(OF_OPERATORS) {
        return next.run(request).await;
    }
    let changes = !request.method().is_safe();
    // A table of a whole listing is made before its head is sent.
    let is_table = !changes && wants_table(request.headers());
    // The body has a time of its own, and comes first.
    let longest = if is_table { TABLES_WITHIN } else { edge.answered_within };
    match timeout(longest, next.run(request)).await {
        Ok(response) => response,
        Err(_) => too_slow(changes, longest).into_response(),
    }
}

fn is_short(request: &Request) -> Result<(), ApiError> {
    let address = request.uri().path_and_query().map_or(0, |address| address.as_str().len());
    if address > LONGEST_ADDRESS {
        let detail = format!("the address has {address} bytes, and may have {LONGEST_ADDRESS}");
        return Err(ApiError::new("uri-too-long", detail).with("longest", LONGEST_ADDRESS));
    }
    let headers = length(request.headers());
    if headers > LONGEST_HEADERS {
        let detail = format!("the headers have {headers} bytes, and may have {LONGEST_HEADERS}");
        return Err(ApiError::new("headers-too-large", detail).with("longest", LONGEST_HEADERS));
    }
    Ok(())
}

/// As they are written, with `: ` and the end of the line.
fn length(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// The handler was cut: what it had asked the ledger to record may be recorded.
fn too_slow(changes: bool, longest: Duration) -> ApiError {
    let seconds = longest.as_secs();
    if changes {
        let detail = format!(
            "the request was not answered within {seconds} s; whether it was recorded is not known: send it again with the \
             same idempotency key"
        );
        return ApiError::new("outcome-unknown", detail).retry_after(1);
    }
    ApiError::new("deadline-passed", format!("the request was not answered within {seconds} s")).retry_after(1)
}
