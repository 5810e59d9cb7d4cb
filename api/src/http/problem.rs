//! The board of problems: every way in which a request can fail, with the HTTP status and a sentence that explains it.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{
    Json,
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use daybook_core::{
    domain::MoneyError,
    operations::Refusal,
    terms::refusal::{self, Class},
};
use serde::Serialize;
use utoipa::openapi::{
    ObjectBuilder, RefOr,
    schema::{Schema, Type},
};

use crate::http::error::ApiError;

/// A kind of problem. Its `type` in a problem document is `/problems/<code>`, where it is documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub code: &'static str,
    pub status: StatusCode,
    pub title: &'static str,
}

impl From<&refusal::Kind> for Kind {
    fn from(&refusal::Kind { code, class, title }: &refusal::Kind) -> Self {
        let status = match class {
            Class::Absent => ABSENT,
            Class::Conflict => CONFLICT,
            Class::Invalid => INVALID,
            Class::Forbidden => StatusCode::FORBIDDEN,
            Class::Stale => StatusCode::PRECONDITION_FAILED,
        };
        Self { code, status, title }
    }
}

/// All kinds, by their codes.
static BOARD: LazyLock<BTreeMap<&'static str, Kind>> = LazyLock::new(|| {
    let of_the_domain = Refusal::kinds().chain(MoneyError::KINDS).map(Kind::from);
    OWN.iter().copied().chain(of_the_domain).map(|kind| (kind.code, kind)).collect()
});

/// The kind that bears this code.
pub fn kind(code: &str) -> Option<&'static Kind> {
    BOARD.get(code)
}

/// The kind that a bare status stands for, such as a method that no handler took.
pub fn of_status(status: StatusCode) -> &'static Kind {
    let code = match status {
        StatusCode::NOT_FOUND => "not-found",
        StatusCode::METHOD_NOT_ALLOWED => "method-not-allowed",
        StatusCode::REQUEST_TIMEOUT => "request-too-slow",
        StatusCode::PAYLOAD_TOO_LARGE => "payload-too-large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported-media-type",
        StatusCode::TOO_MANY_REQUESTS => "too-many-requests",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded",
        status if status.is_client_error() => "bad-request",
        _ => "internal",
    };
    kind(code).expect("the kinds for bare statuses are on the board")
}

/// The types of problems, all of which the description names.
pub fn types() -> RefOr<Schema> {
    let types = BOARD.keys().map(|code| uri(code));
    let described = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(types));
    described.description(Some("Where the problem is documented.")).build().into()
}

/// What a problem type is, as its URI shows it.
#[derive(Serialize)]
struct Documentation {
    r#type: String,
    code: &'static str,
    status: u16,
    title: &'static str,
    retry: &'static str,
}

impl Documentation {
    fn of(kind: &Kind) -> Self {
        let retry = match kind.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                "wait as long as Retry-After says, then send the same request with the same Idempotency-Key"
            }
            StatusCode::INTERNAL_SERVER_ERROR => "send the same request with the same Idempotency-Key",
            StatusCode::PRECONDITION_FAILED => "read it again, and send what is still to be changed with the new ETag",
            StatusCode::CONFLICT => "the request fits another state of the ledger; look at it before you ask again",
            _ => "correct the request; nothing of it was recorded, so the Idempotency-Key may be used again",
        };
        Self { r#type: uri(kind.code), code: kind.code, status: kind.status.as_u16(), title: kind.title, retry }
    }
}

pub fn uri(code: &str) -> String {
    format!("/problems/{code}")
}

/// All problem types.
pub async fn list() -> Response {
    let all: Vec<Documentation> = BOARD.values().map(Documentation::of).collect();
    ([(header::CACHE_CONTROL, "max-age=3600")], Json(all)).into_response()
}

/// One problem type.
pub async fn show(Path(code): Path<String>) -> Result<Response, ApiError> {
    let kind = kind(&code).ok_or_else(|| ApiError::new("not-found", "there is no such problem type"))?;
    Ok(([(header::CACHE_CONTROL, "max-age=3600")], Json(Documentation::of(kind))).into_response())
}

const fn at(status: StatusCode, code: &'static str, title: &'static str) -> Kind {
    Kind { code, status, title }
}

const BAD: StatusCode = StatusCode::BAD_REQUEST;
const ABSENT: StatusCode = StatusCode::NOT_FOUND;
const CONFLICT: StatusCode = StatusCode::CONFLICT;
const INVALID: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
const LATER: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// What the domain knows nothing of; the refusals declare their kinds themselves.
const OWN: &[Kind] = &[
    // The request itself.
    at(BAD, "bad-request", "The request cannot be understood"),
    at(BAD, "malformed-json", "The body is not JSON"),
    at(BAD, "empty-body", "The request needs a body"),
    at(BAD, "malformed-header", "A header does not have the form that it needs"),
    at(BAD, "unknown-parameter", "The query has a parameter that is not known here"),
    at(BAD, "malformed-parameter", "A parameter of the query does not have the form that it needs"),
    at(BAD, "invalid-cursor", "The cursor was not given by this listing with these filters"),
    at(StatusCode::NOT_ACCEPTABLE, "not-acceptable", "The answer comes in none of the forms that the request takes"),
    at(BAD, "idempotency-key-missing", "A request that moves money needs a header `Idempotency-Key`"),
    at(
        StatusCode::PRECONDITION_REQUIRED,
        "precondition-required",
        "A request that edits what others may edit, too, says which version it has seen",
    ),
    at(INVALID, "read-too-long", "The answer takes longer than a request may"),
    at(StatusCode::UNAUTHORIZED, "unauthenticated", "The request needs a token or a session that is valid"),
    at(StatusCode::UNAUTHORIZED, "sign-in-refused", "The name, the password or the code is not right"),
    at(StatusCode::TOO_MANY_REQUESTS, "too-many-attempts", "Too many attempts to show who one is have failed"),
    at(StatusCode::GONE, "link-used", "The link was used already, or another one was made after it"),
    at(StatusCode::FORBIDDEN, "sign-up-closed", "Nobody can sign up here without an invitation"),
    at(StatusCode::TOO_MANY_REQUESTS, "too-many-sign-ups", "Too many have signed up from one network"),
    at(INVALID, "terms-outdated", "Other terms than those are to be accepted"),
    at(ABSENT, "sign-up-not-found", "There is no such sign-up that waits"),
    at(ABSENT, "session-not-found", "There is no such session"),
    at(INVALID, "password-too-short", "The password is too short"),
    at(INVALID, "password-too-long", "The password is too long"),
    at(INVALID, "password-is-a-name", "The password is a name"),
    at(INVALID, "password-guessable", "The password is easy to guess"),
    at(StatusCode::FORBIDDEN, "session-needed", "That is done in a session, and not by a token"),
    at(StatusCode::FORBIDDEN, "step-up-needed", "That needs the password or the second factor once more"),
    at(StatusCode::FORBIDDEN, "cross-site-request", "A page of another site may not change anything here"),
    at(StatusCode::MISDIRECTED_REQUEST, "unknown-host", "The request is for a server of another name"),
    at(StatusCode::FORBIDDEN, "encryption-needed", "The request came by a connection that others can read"),
    at(StatusCode::FORBIDDEN, "proxy-needed", "The server is reached through its proxies only"),
    at(ABSENT, "not-found", "There is nothing at this address"),
    at(ABSENT, "no-checkpoint", "The log has not signed a tree of that size"),
    at(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The address does not take this method"),
    at(StatusCode::REQUEST_TIMEOUT, "request-too-slow", "The body did not arrive in the time that it may take"),
    at(StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", "The body is larger than 1 MiB"),
    at(StatusCode::URI_TOO_LONG, "uri-too-long", "The address is longer than 8 KiB"),
    at(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", "The headers are longer than 32 KiB"),
    at(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body must be `application/json`"),
    at(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests in a short time"),
    // Fields of the body.
    at(INVALID, "unknown-field", "The body has a field that is not known here"),
    at(INVALID, "missing-field", "A field is missing in the body"),
    at(INVALID, "duplicate-field", "A field stands in the body twice"),
    at(INVALID, "wrong-type", "A field has the wrong JSON type"),
    at(INVALID, "invalid-value", "A field has a value that is not one of those allowed"),
    at(INVALID, "text-too-long", "A text is longer than can be kept"),
    at(INVALID, "idempotency-mismatch", "The idempotency key was used for another request"),
    // The service.
    at(LATER, "overloaded", "The ledger has more to do than it can take"),
    at(LATER, "deadline-passed", "The request took too long; nothing of it was recorded"),
    at(LATER, "outcome-unknown", "Whether the request was recorded is not known"),
    at(LATER, "shutting-down", "The server is stopping"),
    at(LATER, "clock-jumped", "Nothing is recorded while the clock cannot be trusted"),
    at(
        LATER,
        "ledger-upgrading",
        "A ledger of an earlier version is being brought to this one, and takes no writes yet",
    ),
    at(LATER, "ledger-forked", "The ledger lacks what its log has signed, and an operator has not decided yet"),
    at(LATER, "store-unavailable", "The store does not answer"),
    at(LATER, "projection-behind", "The read model has not come as far as was asked"),
    at(LATER, "projection-stopped", "The read model has stopped at an event that it cannot read"),
    at(LATER, "not-ready", "The server is not ready"),
    at(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server has a fault; nothing of the request was recorded"),
    at(StatusCode::INTERNAL_SERVER_ERROR, "log-not-sound", "The transparency log is not what was signed"),
    at(
        StatusCode::NOT_IMPLEMENTED,
        "entry-too-large",
        "An event of before large events had digests is larger than an entry bundle can hold",
    ),
    at(StatusCode::INTERNAL_SERVER_ERROR, "unbalanced", "The request would leave the books out of balance"),
    // What is not in the read models.
    at(ABSENT, "credit-note-not-found", "There is no such credit note"),
    // What operators ask of the projections.
    at(ABSENT, "operation-not-found", "There is no such operation"),
    at(CONFLICT, "operation-ended", "The operation has ended already"),
    at(CONFLICT, "operation-under-way", "The same is done already, or waits for its turn"),
    at(ABSENT, "projection-not-found", "There is no such projection"),
    at(ABSENT, "build-not-found", "The projection has no such build"),
    at(CONFLICT, "other-build", "Another build serves than the one that was to be left"),
    at(CONFLICT, "build-behind", "The build that is kept stands behind the one that serves"),
    at(CONFLICT, "build-taken-over", "Another process has taken the build over"),
    at(CONFLICT, "build-unproven", "The rows of the new build are not those of a fresh fold"),
    at(CONFLICT, "event-folded", "The event is in the rows already"),
    at(CONFLICT, "event-not-foldable", "The projection cannot fold an event"),
    at(CONFLICT, "not-parked", "Nothing is parked at that position"),
    at(CONFLICT, "other-version", "A version of the projection serves that this program does not have"),
    at(CONFLICT, "parked-meanwhile", "Events were parked or taken back meanwhile"),
    at(CONFLICT, "projection-not-running", "The projection does not run"),
    at(CONFLICT, "projection-running", "The projection runs already"),
    at(CONFLICT, "rebuild-under-way", "A build of the projection is being made"),
    at(CONFLICT, "stream-parked", "The stream of the event is parked already"),
    at(INVALID, "event-not-followed", "The projection does not follow events of that type"),
    at(INVALID, "event-not-found", "There is no event at that position"),
    at(INVALID, "keys-missing", "A repair names the keys whose rows it is to mend"),
    at(LATER, "readers-in-the-way", "Readers hold the tables of the projection"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_code_is_one_kind() {
        for of_the_domain in Refusal::kinds().chain(MoneyError::KINDS).map(Kind::from) {
            assert_eq!(kind(of_the_domain.code), Some(&of_the_domain));
            assert!(OWN.iter().all(|own| own.code != of_the_domain.code), "{} is declared twice", of_the_domain.code);
        }
        let own: Vec<_> = OWN.iter().map(|own| kind(own.code)).collect();
        assert_eq!(own, OWN.iter().map(Some).collect::<Vec<_>>());
    }
}
