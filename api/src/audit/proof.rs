//! Proofs of the transparency log over HTTP, each as `daybook-verify proof` reads it.

use axum::{Json, extract::State};
use daybook_core::transparency::{event_proof, prove_consistency};
use daybook_log::proof::Proof;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    app::App,
    http::{address::Asked, error::ApiError, wire::AskedPosition},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InclusionQuery {
    #[param(inline)]
    position: AskedPosition,
    /// Of the checkpoint that the proof leads to; the latest unless one is given.
    #[param(inline)]
    size: Option<AskedPosition>,
}

/// The proof that an event is in the log: the event, the way from its leaf to the root, and the checkpoint.
#[utoipa::path(get, path = "/v1/audit/proofs/inclusion", params(InclusionQuery), responses((status = 200, body = Object)))]
pub async fn inclusion(
    State(app): State<App>,
    Asked(InclusionQuery { position: AskedPosition(position), size }): Asked<InclusionQuery>,
) -> Result<Json<Proof>, ApiError> {
    let mut connection = app.store().pool().acquire().await?;
    Ok(Json(Proof::Event(event_proof(&mut connection, position, size.map(|size| size.0)).await?)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ConsistencyQuery {
    /// The size of the earlier checkpoint.
    #[param(inline)]
    from: AskedPosition,
    /// The size of the later one; the latest unless one is given.
    #[param(inline)]
    to: Option<AskedPosition>,
}

/// The proof that one checkpoint continues another: both, and what leads from the earlier root to the later one.
#[utoipa::path(get, path = "/v1/audit/proofs/consistency", params(ConsistencyQuery), responses((status = 200, body = Object)))]
pub async fn consistency(
    State(app): State<App>,
    Asked(ConsistencyQuery { from: AskedPosition(from), to }): Asked<ConsistencyQuery>,
) -> Result<Json<Proof>, ApiError> {
    let mut connection = app.store().pool().acquire().await?;
    Ok(Json(Proof::Consistency(prove_consistency(&mut connection, from, to.map(|to| to.0)).await?)))
}
