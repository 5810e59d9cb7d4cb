//! Whether the server lives, and whether it is ready to serve.

use axum::{Json, extract::State};
use daybook_projections::{
    BOARD,
    engine::{State as Motion, standings},
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{app::App, error::ApiError};

#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    #[schema(example = "ready")]
    status: &'static str,
    version: &'static str,
}

/// The process answers.
#[utoipa::path(get, path = "/livez", responses((status = 200, body = Health)))]
pub async fn live() -> Json<Health> {
    Json(Health { status: "live", version: env!("CARGO_PKG_VERSION") })
}

/// The store takes writes, and every projection follows it within the lag that is allowed.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = Health)))]
pub async fn ready(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    let not_ready = |detail: &str| ApiError::new("not-ready", detail).retry_after(1);
    if app.writer().is_closed() {
        return Err(not_ready("the writer takes no commands"));
    }
    let mut connection = app.store().pool().acquire().await?;
    let writable: bool =
        sqlx::query_scalar("select not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off'")
            .fetch_one(&mut *connection)
            .await?;
    if !writable {
        return Err(not_ready("the store does not take writes"));
    }
    let budget = i64::try_from(app.lag_budget().as_millis()).unwrap_or(i64::MAX);
    let standings = standings(BOARD, &mut connection).await?;
    let late: Vec<_> = standings
        .iter()
        .filter(|standing| standing.state == Motion::Stopped || standing.lag_milliseconds > budget)
        .collect();
    if !late.is_empty() {
        let detail = "a projection is stopped, or further behind than is allowed";
        return Err(not_ready(detail).with("projections", json!(late)));
    }
    Ok(Json(Health { status: "ready", version: env!("CARGO_PKG_VERSION") }))
}
