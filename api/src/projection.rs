//! The projections over HTTP: how far each has come, and whether one stands still.

use axum::{
    Json,
    extract::State,
    http::HeaderValue,
    response::{IntoResponse, Response},
};
use daybook_core::Position;
use daybook_projections::{
    BOARD,
    engine::{Standing, standings},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{app::App, error::ApiError, write::LEDGER_POSITION};

#[derive(Debug, Serialize, ToSchema)]
pub struct Projections {
    /// The last event of the book.
    head: Position,
    #[schema(value_type = Vec<Object>)]
    data: Vec<Standing>,
}

/// How the projections stand against the book.
#[utoipa::path(get, path = "/v1/ops/projections", responses((status = 200, body = Projections)))]
pub async fn list(State(app): State<App>) -> Result<Response, ApiError> {
    let mut connection = app.store().pool().acquire().await?;
    let data = standings(BOARD, &mut connection).await?;
    let head = data.iter().map(|standing| standing.head).max().unwrap_or_default();
    let mut response = Json(Projections { head, data }).into_response();
    response.headers_mut().insert(LEDGER_POSITION, HeaderValue::from(head));
    Ok(response)
}
