//! The book itself over HTTP: the events as they were written, in the order of their positions.

use axum::{
    Json,
    extract::State,
    http::HeaderValue,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use daybook_core::{
    Position,
    store::{RawEvent, head, read_events},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::{address::Asked, app::App, error::ApiError, write::LEDGER_POSITION};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// The position before the first one wanted.
    #[serde(default)]
    after: Position,
    /// At most 1000.
    limit: Option<u32>,
}

/// An event as it was written.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventShown {
    position: Position,
    aggregate_type: String,
    aggregate_id: String,
    /// The place within the aggregate's own stream.
    sequence: u64,
    event_type: String,
    event_version: String,
    #[schema(value_type = Object)]
    payload: Box<RawValue>,
    #[schema(value_type = Object)]
    metadata: Box<RawValue>,
    recorded_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Events {
    data: Vec<EventShown>,
    /// Give it as `after` to get what comes next.
    next_after: Position,
    has_more: bool,
}

impl From<RawEvent> for EventShown {
    fn from(event: RawEvent) -> Self {
        let json = |text: String| RawValue::from_string(text).expect("the store holds JSON");
        Self {
            position: event.position,
            aggregate_type: event.aggregate_type,
            aggregate_id: event.aggregate_id,
            sequence: event.sequence,
            event_type: event.event_type,
            event_version: event.event_version,
            payload: json(event.payload),
            metadata: json(event.metadata),
            recorded_at: event.recorded_at,
        }
    }
}

/// The events of the book, the oldest first: dense, so that nothing can be missing unnoticed.
#[utoipa::path(get, path = "/v1/audit/events", params(EventQuery), responses((status = 200, body = Events)))]
pub async fn list_events(
    State(app): State<App>,
    Asked(EventQuery { after, limit }): Asked<EventQuery>,
) -> Result<Response, ApiError> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let detail = format!("`limit` lies between 1 and {MAX_LIMIT}");
        return Err(ApiError::new("malformed-parameter", detail));
    }
    let head = head(app.store().pool()).await?.position;
    // Nothing can follow the end of the book, however far beyond it was asked for.
    let events = if after < head { read_events(app.store().pool(), after, limit).await? } else { Vec::new() };
    let known = events.last().map_or(head, |event| event.position.max(head));
    let next_after = events.last().map_or(after, |event| event.position);
    let data = events.into_iter().map(EventShown::from).collect();
    let has_more = next_after < head;
    let mut response = Json(Events { data, next_after, has_more }).into_response();
    response.headers_mut().insert(LEDGER_POSITION, HeaderValue::from(known));
    Ok(response)
}
