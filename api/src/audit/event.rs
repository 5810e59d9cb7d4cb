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
use daybook_projections::Moment;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    http::{
        address::AskedAt, error::ApiError, moment::AskedMoment, page::Limit, wire::AskedPosition,
        write::LEDGER_POSITION,
    },
};

const DEFAULT_LIMIT: u32 = 100;
type EventLimit = Limit<MAX_LIMIT>;
const MAX_LIMIT: u32 = 1_000;
/// So many events are looked through for a page at most; one that is not full may have more after it.
const LOOKED_THROUGH: u64 = 20_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// The position before the first one wanted.
    #[serde(default)]
    #[param(inline)]
    after: AskedPosition,
    #[param(inline)]
    limit: Option<EventLimit>,
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
#[utoipa::path(get, path = "/v1/audit/events", params(EventQuery, AskedMoment), responses((status = 200, body = Events)))]
pub async fn list_events(
    State(app): State<App>,
    AskedAt(EventQuery { after: AskedPosition(after), limit }, asking): AskedAt<EventQuery>,
) -> Result<Response, ApiError> {
    let limit = limit.map_or(DEFAULT_LIMIT, |Limit(limit)| limit);
    let moment = app.moment(asking.moment).await?;
    let head = head(app.store().pool()).await?.position;
    let end = moment.known_at.map_or(head, |known_at| known_at.min(head));
    let (events, next_after) = page(&app, moment, after, end, limit).await?;
    let data = events.into_iter().map(EventShown::from).collect();
    let has_more = next_after < end;
    let mut response = Json(Events { data, next_after, has_more }).into_response();
    response.headers_mut().insert(LEDGER_POSITION, HeaderValue::from(end));
    Ok(response)
}

/// The events after a position up to the end that count at a moment, and the position up to which they were looked for.
async fn page(
    app: &App,
    moment: Moment,
    after: Position,
    end: Position,
    limit: u32,
) -> Result<(Vec<RawEvent>, Position), ApiError> {
    let (mut found, mut place) = (Vec::new(), after);
    // Nothing can follow the end of the book, however far beyond it was asked for.
    while place < end && found.len() < limit as usize && place - after < LOOKED_THROUGH {
        let missing = limit - found.len() as u32;
        let portion = if moment.as_of.is_none() { missing } else { MAX_LIMIT };
        let events = read_events(app.store().pool(), place, portion).await?;
        for event in events {
            if event.position > end || found.len() == limit as usize {
                break;
            }
            place = event.position;
            if moment.as_of.is_none_or(|as_of| event.occurred_at() <= as_of) {
                found.push(event);
            }
        }
    }
    Ok((found, place))
}
