//! Requests that are signed by a program outside, such as a payment gateway, instead of carrying a token. The secret of the
//! sender that the address names proves who asks. The headers are those of Standard Webhooks.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderValue, request::Parts},
};
use daybook_core::{Actor, ActorKind, domain::function::Function};
use daybook_identity::{SenderName, SignatureError, SignedMessage};
use utoipa::openapi::{RefOr, schema::Schema};

use crate::{
    app::App,
    http::{
        address::in_path,
        authentication::{Authenticated, Means, unauthenticated},
        body,
        caller::ON_BEHALF_OF,
        error::ApiError,
        header::{malformed, single_text},
        wire::pattern_text,
        write::IDEMPOTENCY_KEY,
    },
};

/// The sender's own name for the message, the same in each attempt.
pub const ID: &str = "webhook-id";
/// When this attempt was sent, in seconds since 1970.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// One or several signatures with spaces between them.
pub const SIGNATURE: &str = "webhook-signature";

/// What gateways may do: report what became of money, and when.
const OF_GATEWAYS: [Function; 2] = [Function::PaymentsRecord, Function::EffectDate];

/// Reads the whole request and believes it if its sender has signed it. The id of the message is its idempotency key, so
/// that a message that is sent again is answered as before and does nothing twice.
pub async fn signed(app: &App, request: Request) -> Result<(Parts, Body), ApiError> {
    let (mut parts, content) = request.into_parts();
    let sender = sender(&parts).ok_or_else(refused)?;
    let (id, timestamp) = (message_id(&parts.headers)?, timestamp(&parts.headers)?);
    let signatures = signed_text(&parts.headers, SIGNATURE)?.to_owned();
    // The limit of its length travels in the extensions.
    let content = body::content(Request::from_parts(parts.clone(), content), app).await?;
    let message = SignedMessage { id: &id, timestamp, signatures: &signatures, body: &content };
    app.identity().senders.verify(&sender, message, app.clock().now()).await?;
    let found = Authenticated {
        actor: Actor::new(ActorKind::Gateway, sender.as_str()),
        principal: None,
        functions: OF_GATEWAYS.into_iter().collect(),
        means: Means::Signature,
        is_half: false,
    };
    parts.extensions.insert(Arc::new(found));
    // No signature covers the headers: none of them adds to what the message says.
    parts.headers.remove(ON_BEHALF_OF);
    parts.headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(&id).expect("it came in a header"));
    Ok((parts, Body::from(content)))
}

/// The sender that the address names.
fn sender(parts: &Parts) -> Option<SenderName> {
    let template = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    in_path(template, parts.uri.path(), |name| name == "gateway").next()?.parse().ok()
}

fn message_id(headers: &HeaderMap) -> Result<String, ApiError> {
    let id = signed_text(headers, ID)?;
    let is_id = (1..=255).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.');
    if is_id {
        return Ok(id.to_owned());
    }
    let detail = "the id of a message has 1 to 255 visible ASCII characters, and no full stop";
    Err(malformed(ID, detail))
}

/// In digits only, so that one time is written in one way.
fn timestamp(headers: &HeaderMap) -> Result<i64, ApiError> {
    let text = signed_text(headers, TIMESTAMP)?;
    let is_time = (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|_| is_time && !text.starts_with('0'));
    seconds.ok_or_else(|| {
        let detail = "the time of a message is written in seconds since 1970";
        malformed(TIMESTAMP, detail)
    })
}

/// The schema of the id of a message.
pub fn id_schema() -> RefOr<Schema> {
    pattern_text("^[!-\\-/-~]{1,255}$", "msg_2Lh9KRb0pzN4LePd3XiA4v12Axj")
}

/// The schema of the time of a message.
pub fn timestamp_schema() -> RefOr<Schema> {
    pattern_text("^[1-9][0-9]{0,11}$", "1790000000")
}

/// What a signed message has in one of its headers.
fn signed_text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, ApiError> {
    single_text(headers, name)?.ok_or_else(|| unauthenticated("the message is not signed").with("header", name))
}

fn refused() -> ApiError {
    unauthenticated("no signature of the message is right")
}

impl From<SignatureError> for ApiError {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::Stale | SignatureError::Wrong => unauthenticated(&error.to_string()),
            SignatureError::Secrets(error) => {
                tracing::error!(error = %daybook_core::chain(&error), "the secrets of senders cannot be read");
                Self::new("internal", "the secrets of senders cannot be read")
            }
        }
    }
}
