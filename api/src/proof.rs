//! Proofs of the transparency log over HTTP, each as `daybook-verify proof` reads it.

use axum::{Json, extract::State};
use daybook_core::{
    Position,
    transparency::{event_proof, prove_consistency},
};
use daybook_verify::proof::Proof;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{address::Asked, app::App, error::ApiError};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InclusionQuery {
    position: Position,
    /// Of the checkpoint that the proof leads to; the latest unless it is told.
    size: Option<u64>,
}

/// The proof that an event is in the log: the event, the way from its leaf to the root, and the checkpoint.
#[utoipa::path(get, path = "/v1/audit/proofs/inclusion", params(InclusionQuery), responses((status = 200, body = Object)))]
pub async fn inclusion(
    State(app): State<App>,
    Asked(InclusionQuery { position, size }): Asked<InclusionQuery>,
) -> Result<Json<Proof>, ApiError> {
    let mut connection = app.store().pool().acquire().await?;
    Ok(Json(Proof::Event(event_proof(&mut connection, position, size).await?)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ConsistencyQuery {
    /// The size of the earlier checkpoint.
    from: u64,
    /// The size of the later one; the latest unless it is told.
    to: Option<u64>,
}

/// The proof that one checkpoint continues another: both, and what leads from the earlier root to the later one.
#[utoipa::path(get, path = "/v1/audit/proofs/consistency", params(ConsistencyQuery), responses((status = 200, body = Object)))]
pub async fn consistency(
    State(app): State<App>,
    Asked(ConsistencyQuery { from, to }): Asked<ConsistencyQuery>,
) -> Result<Json<Proof>, ApiError> {
    let mut connection = app.store().pool().acquire().await?;
    Ok(Json(Proof::Consistency(prove_consistency(&mut connection, from, to).await?)))
}
