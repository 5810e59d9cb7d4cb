//! Parking over HTTP: an operator lets a projection go on without an event that it cannot fold, and takes it back in.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use daybook_core::Position;
use daybook_projections::engine::{self, ParkError, ParkedStream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        address::Named,
        error::ApiError,
        wire::{Label, Sentence, Words},
    },
    operate::operator::{Instruction, named},
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Park {
    /// The event that cannot be folded. What follows it in its stream is set aside, too.
    position: Position,
    /// Why the projection may go on without it.
    reason: Sentence,
    /// Who decided that; the one who asks, unless another is named.
    by: Option<Label>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Unpark {
    /// The first event that was set aside.
    position: Position,
}

/// A stream that a projection does not fold any further.
#[derive(Debug, Serialize, ToSchema)]
pub struct ParkedShown {
    aggregate_type: String,
    aggregate_id: String,
    /// The first event that is set aside.
    from_position: Position,
    /// Why the projection could not fold it.
    error: Option<String>,
    reason: String,
    parked_by: String,
    parked_at: DateTime<Utc>,
}

impl From<ParkedStream> for ParkedShown {
    fn from(stream: ParkedStream) -> Self {
        let ParkedStream { aggregate_type, aggregate_id, from_position, error, reason, parked_by, parked_at, .. } =
            stream;
        Self { aggregate_type, aggregate_id, from_position, error, reason, parked_by, parked_at }
    }
}

/// Sets an event aside, with what follows in its stream, and lets the projection go on that stopped there.
#[utoipa::path(post, path = "/v1/ops/projections/{name}/park", request_body = Park, responses((status = 200, body = ParkedShown)))]
pub async fn park(
    State(app): State<App>,
    Named(name): Named<String>,
    Instruction { body, by: caller }: Instruction<Park>,
) -> Result<Json<ParkedShown>, ApiError> {
    let definition = named(&name)?;
    let Park { position, reason: Words(reason), by } = body;
    if reason.trim().is_empty() {
        return Err(ApiError::field("reason-missing", "/reason", "say why the projection may go on without the event"));
    }
    if i64::try_from(position).is_err() {
        return Err(ParkError::NoEvent(position).into());
    }
    let by = by.map(String::from).filter(|by| !by.trim().is_empty()).unwrap_or(caller);
    let parked = engine::park(app.store(), &definition, position, &reason, &by).await?;
    let (projection, stream) = (definition.name, &parked.aggregate_id);
    tracing::info!(projection, position, stream, reason, by, "a stream is parked");
    Ok(Json(parked.into()))
}

/// Takes back in what was set aside, as if it never had been. What still cannot be folded stays aside.
#[utoipa::path(post, path = "/v1/ops/projections/{name}/unpark", request_body = Unpark, responses((status = 200, body = ParkedShown)))]
pub async fn unpark(
    State(app): State<App>,
    Named(name): Named<String>,
    Instruction { body: Unpark { position }, by }: Instruction<Unpark>,
) -> Result<Json<ParkedShown>, ApiError> {
    let definition = app.serving(&name).await?;
    let taken_back = engine::unpark(app.store(), &definition, position, &by).await?;
    tracing::info!(
        projection = definition.name,
        position,
        stream = taken_back.aggregate_id,
        by,
        "a stream is taken back in"
    );
    Ok(Json(taken_back.into()))
}
