//! The checkpoints of the transparency log over HTTP, as JSON.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use daybook_core::transparency::{LogError, StoredCheckpoint, checkpoints, latest_checkpoint, standing};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    http::{
        address::Asked,
        error::ApiError,
        page::Limit,
        wire::{AskedPosition, Nothing},
    },
};

const DEFAULT_LIMIT: u32 = 100;
type CheckpointLimit = Limit<1_000>;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CheckpointQuery {
    /// Checkpoints of more than so many events.
    #[serde(default)]
    #[param(inline)]
    after: AskedPosition,
    #[param(inline)]
    limit: Option<CheckpointLimit>,
}

/// What the log has signed.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckpointShown {
    /// Events in the log.
    size: u64,
    /// A signed note (C2SP `tlog-checkpoint`): the name of the log, the number of events, the root of the tree, and the
    /// signature.
    note: String,
    signed_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Checkpoints {
    /// The public key of the log (C2SP `signed-note`); compare it with one that you were given another way.
    key: Option<String>,
    data: Vec<CheckpointShown>,
    /// Give it as `after` to get what comes next.
    next_after: u64,
    has_more: bool,
}

impl From<StoredCheckpoint> for CheckpointShown {
    fn from(StoredCheckpoint { size, note, signed_at }: StoredCheckpoint) -> Self {
        Self { size, note, signed_at }
    }
}

/// The checkpoints, the smallest first.
#[utoipa::path(get, path = "/v1/audit/checkpoints", params(CheckpointQuery), responses((status = 200, body = Checkpoints)))]
pub async fn list(
    State(app): State<App>,
    Asked(CheckpointQuery { after: AskedPosition(after), limit }): Asked<CheckpointQuery>,
) -> Result<Response, ApiError> {
    let limit = limit.map_or(DEFAULT_LIMIT, |Limit(limit)| limit);
    let pool = app.store().pool();
    let key = standing(pool).await?.vkey;
    let mut data = checkpoints(pool, after, i64::from(limit) + 1).await?;
    let has_more = data.len() > limit as usize;
    data.truncate(limit as usize);
    let next_after = data.last().map_or(after, |checkpoint| checkpoint.size);
    let data = data.into_iter().map(CheckpointShown::from).collect();
    Ok(Json(Checkpoints { key, data, next_after, has_more }).into_response())
}

/// The checkpoint of the most events.
#[utoipa::path(get, path = "/v1/audit/checkpoints/latest", responses((status = 200, body = CheckpointShown)))]
pub async fn latest(
    State(app): State<App>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Json<CheckpointShown>, ApiError> {
    let latest = latest_checkpoint(app.store().pool()).await?.ok_or(LogError::NoCheckpoint)?;
    Ok(Json(latest.into()))
}
