//! Errors: whatever goes wrong becomes a problem document (RFC 9457). HTTP status codes of failures appear only here and
//! on the board of problems.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use daybook_core::{
    chain,
    operations::Refusal,
    store::StoreError,
    terms::refusal::Rejection,
    transparency::LogError,
    writer::{ExecuteError, Failure},
};
use daybook_projections::ReadError;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::http::{
    past,
    problem::{self, Kind},
    read::MIN_POSITION,
};

/// A failed request, as its handler knows it.
#[derive(Clone, Debug)]
pub struct ApiError {
    kind: &'static Kind,
    status: StatusCode,
    detail: String,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    /// Seconds.
    retry_after: Option<u64>,
}

/// What is wrong with one field of the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// A JSON Pointer (RFC 6901) into the body.
    #[schema(example = "/items/0/quantity")]
    pub pointer: String,
    #[schema(example = "not-a-number")]
    pub code: String,
    pub detail: String,
}

/// Why a request failed (RFC 9457). Further members depend on the type, such as `missing` or `refundable`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Where the problem is documented.
    #[schema(schema_with = problem::types)]
    pub r#type: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// The request, by its id.
    #[schema(example = "urn:uuid:0193a5b0-7c1e-7000-8000-000000000001")]
    pub instance: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
    #[serde(flatten)]
    #[schema(ignore)]
    pub members: Map<String, Value>,
}

impl ApiError {
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        let kind = problem::kind(code).expect("every code that the API raises is on the board of problems");
        Self::of_kind(kind, detail.into())
    }

    fn of_kind(kind: &'static Kind, detail: String) -> Self {
        let detail = if detail.len() > MOST_OF_A_DETAIL { shortened(&detail) } else { detail };
        let (errors, members) = (Vec::new(), Map::new());
        Self { kind, status: kind.status, detail, errors, members, retry_after: None }
    }

    /// One field of the body is wrong.
    pub fn field(code: &'static str, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(code, detail).at(pointer)
    }

    /// What a bare status means.
    pub fn of_status(status: StatusCode) -> Self {
        let kind = problem::of_status(status);
        Self { status, ..Self::of_kind(kind, kind.title.into()) }
    }

    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.members.insert(member.into(), value.into());
        self
    }

    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self.with("retry_after", seconds)
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn code(&self) -> &'static str {
        self.kind.code
    }

    pub fn document(&self, instance: String) -> Problem {
        Problem {
            r#type: problem::uri(self.kind.code),
            title: self.kind.title.into(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            instance,
            errors: self.errors.clone(),
            members: self.members.clone(),
        }
    }

    /// What the writer answers instead of doing it. `named` tells which field of the body names what a code speaks of:
    /// what is named there and does not exist is the body's fault, not the address's.
    pub fn of_command(error: ExecuteError, named: &[(&str, &str)]) -> Self {
        match error {
            ExecuteError::Refused(refusal) => Self::of_refusal(&refusal, named),
            ExecuteError::KeyReused => Self::new(
                "idempotency-mismatch",
                "the idempotency key was used for a request with another body; use a new key for a new request",
            ),
            ExecuteError::Failed(failure) => Self::of_failure(failure),
        }
    }

    fn of_refusal(refusal: &Refusal, named: &[(&str, &str)]) -> Self {
        let code = refusal.code();
        let pointer = named.iter().find(|(named, _)| *named == code).map(|(_, pointer)| (*pointer).to_owned());
        let mut error = Self::new(code, refusal.to_string());
        if pointer.is_some() && error.status == StatusCode::NOT_FOUND {
            error.status = StatusCode::UNPROCESSABLE_ENTITY;
        }
        if let Some(pointer) = pointer.or_else(|| refusal.field()) {
            error = error.at(pointer);
        }
        error.members = refusal.figures();
        error
    }

    fn of_failure(failure: Failure) -> Self {
        match failure {
            Failure::Overloaded => Self::new("overloaded", "too many requests wait for the ledger").retry_after(1),
            Failure::DeadlinePassed => {
                Self::new("deadline-passed", "the request waited too long; nothing of it was recorded").retry_after(1)
            }
            Failure::ShuttingDown => Self::new("shutting-down", "nothing of the request was recorded").retry_after(5),
            Failure::OutcomeUnknown => Self::new(
                "outcome-unknown",
                "whether the request was recorded is not known; send it again with the same idempotency key",
            )
            .retry_after(1),
            // The writer has told the log which postings they are.
            Failure::Unbalanced(_) => Self::new("unbalanced", "a fault of the ledger; nothing of it was recorded"),
            Failure::Database(error) => Self::of_store(&error),
        }
    }

    fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::Database(error) => Self::of_query(error),
            StoreError::Clock(trouble) => {
                tracing::error!(error = %trouble, "the clock cannot be trusted");
                Self::new("clock-jumped", trouble.to_string()).retry_after(60)
            }
            StoreError::Unreadable(_)
            | StoreError::Gap { .. }
            | StoreError::HeadMoved { .. }
            | StoreError::StreamGap { .. }
            | StoreError::Answer(_)
            | StoreError::NeverLoaded { .. }
            | StoreError::NoMasterKey
            | StoreError::OtherMasterKey { .. }
            | StoreError::KeyBroken { .. } => {
                tracing::error!(error = %chain(error), "the book cannot be read");
                Self::new("internal", "the book cannot be read; nothing of the request was recorded")
            }
            StoreError::Migration(_)
            | StoreError::OtherMigration { .. }
            | StoreError::EarlierVersion { .. }
            | StoreError::Rights { .. }
            | StoreError::TimedOut { .. } => {
                tracing::error!(error = %chain(error), "the store does not answer");
                Self::new("store-unavailable", "the store does not answer").retry_after(5)
            }
        }
    }

    fn of_query(error: &sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return Self::new("overloaded", "too many queries wait for the store").retry_after(1);
        }
        if matches!(error, sqlx::Error::ColumnDecode { .. }) {
            tracing::error!(error = %chain(error), "a row has what no fold makes: verify and repair the projection");
            return Self::new("internal", "a row of the read model cannot be read; the book is not concerned");
        }
        tracing::error!(error = %chain(error), "a statement failed");
        Self::new("store-unavailable", "the store does not answer").retry_after(5)
    }

    fn at(mut self, pointer: impl Into<String>) -> Self {
        let field = FieldError { pointer: pointer.into(), code: self.kind.code.into(), detail: self.detail.clone() };
        self.errors.push(field);
        self
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        // Data exceptions: what was asked for lies outside of what PostgreSQL can compare.
        let code = error.as_database_error().and_then(|error| error.code());
        if code.as_ref().is_some_and(|code| code.starts_with("22")) {
            return Self::new("malformed-parameter", "a parameter lies outside of what can be looked for");
        }
        // It took longer than a statement may: doing it again would take as long.
        if code.is_some_and(|code| code == "57014") {
            return past::too_long();
        }
        Self::of_query(&error)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::of_store(&error)
    }
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Store(error) => error.into(),
            LogError::NoCheckpoint | LogError::UnknownCheckpoint(_) => Self::new("no-checkpoint", error.to_string()),
            LogError::Beyond { .. } => Self::new("not-found", error.to_string()),
            LogError::Backwards { .. } => Self::new("malformed-parameter", error.to_string()).with("parameter", "to"),
            LogError::Tile(_)
            | LogError::Tiles(_)
            | LogError::Inconsistent { .. }
            | LogError::Restored { .. }
            | LogError::Spoilt(_)
            | LogError::Missing(_)
            | LogError::Absent { .. }
            | LogError::Lost
            | LogError::File { .. }
            | LogError::LastSigned { .. }
            | LogError::Event(_)
            | LogError::Checkpoint { .. }
            | LogError::Key(_) => {
                tracing::error!(error = %chain(&error), "the transparency log is not sound");
                Self::new("log-not-sound", error.to_string())
            }
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Database(error) => error.into(),
            ReadError::Behind { projection, position, wanted, stopped } => {
                let code = if stopped { "projection-stopped" } else { "projection-behind" };
                Self::new(code, error.to_string())
                    .with("projection", projection)
                    .with("position", position)
                    .with("wanted", wanted)
                    .with("lag", wanted.saturating_sub(position))
                    .retry_after(1)
            }
            ReadError::OtherVersion { projection, .. } => {
                Self::new("other-version", error.to_string()).with("projection", projection)
            }
            // A position of the query is looked at before it is waited for.
            ReadError::BeyondTheBook { head } => {
                Self::new("malformed-header", error.to_string()).with("header", MIN_POSITION).with("position", head)
            }
            ReadError::StillToCome => Self::new("malformed-parameter", error.to_string()),
            ReadError::Fold { .. } | ReadError::Store(_) => {
                tracing::error!(error = %chain(&error), "the past cannot be told");
                Self::new("internal", "the past cannot be told from the book")
            }
        }
    }
}

impl IntoResponse for ApiError {
    /// Status and headers; the outermost layer writes the body, since it knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// What a caller has sent is not sent back whole: it may be as long as a body.
pub fn shortened(text: &str) -> String {
    const MOST: usize = 128;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// In bytes; no text of ours is longer.
const MOST_OF_A_DETAIL: usize = 2_000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use daybook_core::domain::posting::Unbalanced;

    use super::*;

    fn answered(failure: Failure) -> (&'static str, u16, Option<u64>) {
        let error = ApiError::of_failure(failure);
        (error.code(), error.status.as_u16(), error.retry_after)
    }

    fn of_store(error: StoreError) -> (&'static str, u16, Option<u64>) {
        answered(Failure::Database(Arc::new(error)))
    }

    #[test]
    fn a_fault_of_the_ledger_is_not_taken_for_an_absent_store() {
        let currency = "USD".parse().expect("dollars");
        let unbalanced = Unbalanced { currency, by: rust_decimal::Decimal::ONE };
        assert_eq!(answered(Failure::Unbalanced(unbalanced)), ("unbalanced", 500, None));
        assert_eq!(of_store(StoreError::NeverLoaded { rounds: 32 }), ("internal", 500, None));
        assert_eq!(of_store(StoreError::Gap { after: 1, found: 3 }), ("internal", 500, None));
    }

    #[test]
    fn what_became_of_a_command_is_told() {
        assert_eq!(answered(Failure::Overloaded), ("overloaded", 503, Some(1)));
        assert_eq!(answered(Failure::DeadlinePassed), ("deadline-passed", 503, Some(1)));
        assert_eq!(answered(Failure::OutcomeUnknown), ("outcome-unknown", 503, Some(1)));
        assert_eq!(answered(Failure::ShuttingDown), ("shutting-down", 503, Some(5)));
    }

    #[test]
    fn a_busy_store_is_told_apart_from_an_absent_one() {
        assert_eq!(of_store(sqlx::Error::PoolTimedOut.into()), ("overloaded", 503, Some(1)));
        assert_eq!(of_store(sqlx::Error::PoolClosed.into()), ("store-unavailable", 503, Some(5)));
        let late = StoreError::TimedOut { after: std::time::Duration::from_secs(30) };
        assert_eq!(of_store(late), ("store-unavailable", 503, Some(5)));
    }
}
