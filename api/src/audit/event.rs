//! The book itself over HTTP: the events as they were written, in the order of their positions.

use axum::{
    Json,
    extract::State,
    http::HeaderValue,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use daybook_core::{
    Metadata, Position,
    domain::aggregate_type_of,
    store::{RawEvent, head, read_events, read_stream},
};
use daybook_projections::Moment;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    http::{
        address::AskedAt,
        error::ApiError,
        moment::AskedMoment,
        page::Limit,
        wire::{AskedPosition, AskedText, Number},
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
    /// Only events of this type, such as `payment.credited`.
    #[param(inline)]
    event_type: Option<AskedText>,
    /// Only those of the aggregate with this identifier, such as a payment.
    #[param(inline)]
    stream: Option<AskedText>,
    /// Only those of this actor, such as `staff:anna`.
    #[param(inline)]
    actor: Option<AskedText>,
    /// Only those in whose content this amount stands, as it was written: `12.30` is not `12.3`.
    #[param(inline)]
    amount: Option<Number>,
    /// Only those whose content or reason contains this, in upper or lower case. Texts about persons are sealed, and not found.
    #[param(inline)]
    text: Option<AskedText>,
}

/// What an event must be, to be listed.
#[derive(Debug)]
struct Filter {
    event_type: Option<String>,
    stream: Option<String>,
    actor: Option<String>,
    amount: Option<String>,
    text: Option<String>,
}

impl Filter {
    fn is_open(&self) -> bool {
        let Self { event_type, stream, actor, amount, text } = self;
        [event_type, stream, actor, amount, text].iter().all(|filter| filter.is_none())
    }

    fn matches(&self, event: &RawEvent) -> bool {
        let is = |filter: &Option<String>, value: &str| filter.as_ref().is_none_or(|wanted| wanted == value);
        is(&self.event_type, &event.event_type)
            && is(&self.stream, &event.aggregate_id)
            && self.actor.as_ref().is_none_or(|actor| {
                Metadata::read(&event.metadata).actor.is_some_and(|found| found.to_string() == *actor)
            })
            && self.amount.as_ref().is_none_or(|amount| event.payload.contains(&format!("\"{amount}\"")))
            && self.text.as_ref().is_none_or(|text| {
                event.payload.to_lowercase().contains(text) || event.metadata.to_lowercase().contains(text)
            })
    }
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

/// The events of the book, the oldest first: dense, so that nothing can be missing unnoticed. Of those that are filtered, a
/// page looks through so many only, and may have fewer than were asked for, or none, and more after it.
#[utoipa::path(get, path = "/v1/audit/events", params(EventQuery, AskedMoment), responses((status = 200, body = Events)))]
pub async fn list_events(
    State(app): State<App>,
    AskedAt(EventQuery { after: AskedPosition(after), limit, event_type, stream, actor, amount, text }, asking): AskedAt<
        EventQuery,
    >,
) -> Result<Response, ApiError> {
    let filter = Filter {
        event_type: event_type.map(String::from),
        stream: stream.map(String::from),
        actor: actor.map(String::from),
        amount: amount.map(|amount| amount.0.to_string()),
        text: text.map(|text| String::from(text).to_lowercase()),
    };
    let limit = limit.map_or(DEFAULT_LIMIT, |Limit(limit)| limit);
    let moment = app.moment(asking.moment).await?;
    let head = head(app.store().pool()).await?.position;
    let end = moment.known_at.map_or(head, |known_at| known_at.min(head));
    let (events, next_after) = page(&app, moment, &filter, after, end, limit).await?;
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
    filter: &Filter,
    after: Position,
    end: Position,
    limit: u32,
) -> Result<(Vec<RawEvent>, Position), ApiError> {
    let (mut found, mut place) = (Vec::new(), after);
    let counts =
        |event: &RawEvent| moment.as_of.is_none_or(|as_of| event.occurred_at() <= as_of) && filter.matches(event);
    // The events of one aggregate are few, and an index finds them.
    if let Some(stream) = &filter.stream {
        let events = match aggregate_type_of(stream) {
            Some(aggregate_type) => read_stream(app.store().pool(), aggregate_type, stream, 0).await?,
            None => Vec::new(),
        };
        let all = events.into_iter().filter(|event| event.position > after && event.position <= end && counts(event));
        found.extend(all.take(limit as usize + 1));
        let has_more = found.len() > limit as usize;
        found.truncate(limit as usize);
        return Ok(match found.last() {
            Some(last) if has_more => {
                let place = last.position;
                (found, place)
            }
            _ => (found, end.max(after)),
        });
    }
    // Nothing can follow the end of the book, however far beyond it was asked for.
    while place < end && found.len() < limit as usize && place - after < LOOKED_THROUGH {
        let missing = limit - found.len() as u32;
        let portion = if moment.as_of.is_none() && filter.is_open() { missing } else { MAX_LIMIT };
        let events = read_events(app.store().pool(), place, portion).await?;
        for event in events {
            if event.position > end || found.len() == limit as usize {
                break;
            }
            place = event.position;
            if counts(&event) {
                found.push(event);
            }
        }
    }
    Ok((found, place))
}
