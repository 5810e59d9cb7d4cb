//! The history of anything over HTTP: every event that concerns it, with who did it and why.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_core::domain::{AGGREGATE_TYPES, function::Function, read_by, type_read_by};
use daybook_projections::history::{self as read_model, HistoryEntry};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    http::{
        authentication::Asker,
        error::ApiError,
        listing::{Paged, Paging},
        moment::AskedMoment,
        page::Page,
        wire::AskedText,
    },
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// The identifier of anything: a customer, an account, an order, an invoice …
    #[param(inline)]
    entity: AskedText,
}

/// An event that concerns something.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventOfHistory {
    position: i64,
    event_type: String,
    aggregate_type: String,
    aggregate_id: String,
    /// The place within the aggregate's own stream.
    sequence: i64,
    actor: Option<String>,
    on_behalf_of: Option<String>,
    reason: Option<String>,
    occurred_at: DateTime<Utc>,
    /// When it would have taken effect, had that period not been closed.
    dated_at: Option<DateTime<Utc>>,
    recorded_at: DateTime<Utc>,
}

impl From<HistoryEntry> for EventOfHistory {
    fn from(entry: HistoryEntry) -> Self {
        Self {
            position: entry.position,
            event_type: entry.event_type,
            aggregate_type: entry.aggregate_type,
            aggregate_id: entry.aggregate_id,
            sequence: entry.sequence,
            actor: entry.actor,
            on_behalf_of: entry.on_behalf_of,
            reason: entry.reason,
            occurred_at: entry.occurred_at,
            dated_at: entry.dated_at,
            recorded_at: entry.recorded_at,
        }
    }
}

/// The events that concern something, the newest first.
///
/// Only events of what the caller may read are shown, and none if that is not so of the thing itself.
#[utoipa::path(get, path = "/v1/history", params(HistoryQuery, Paging, AskedMoment), responses((status = 200, body = Page<EventOfHistory>)))]
pub async fn list(
    State(app): State<App>,
    Asker(asker): Asker,
    Paged { question: HistoryQuery { entity }, paging, asking, addressed }: Paged<HistoryQuery>,
) -> Result<Response, ApiError> {
    let walk = app.walk(addressed, paging)?;
    let mut rows = app.read_kept(&["history"], asking).await?;
    let entity = String::from(entity);
    let may = |function: Option<Function>| function.is_some_and(|function| asker.may(function));
    // What may not be read is answered as what is not there.
    let types = if may(read_by(&entity)) { AGGREGATE_TYPES.to_vec() } else { Vec::new() };
    let types: Vec<&str> = types.into_iter().filter(|of| may(type_read_by(of))).collect();
    if types.is_empty() {
        return Ok(rows.answer(walk.page(Vec::<HistoryEntry>::new(), |entry| entry.position, EventOfHistory::from)));
    }
    let at = rows.moment();
    let (connection, viewer) = rows.parts();
    let found = read_model::list(connection, viewer, &entity, &types, &at, walk.before(), walk.rows()).await?;
    Ok(rows.answer(walk.page(found, |entry| entry.position, EventOfHistory::from)))
}
