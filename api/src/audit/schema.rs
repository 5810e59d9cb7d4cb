//! The schema of the book over HTTP: which events it holds in which versions, and whether this server reads them.

use axum::{
    Json,
    extract::State,
    http::HeaderValue,
    response::{IntoResponse, Response},
};
use daybook_core::store::{StoredVersion, stored_versions};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{address::Asked, error::ApiError, wire::Nothing, write::LEDGER_POSITION},
};

#[derive(Debug, Serialize, ToSchema)]
pub struct StoredVersions {
    #[schema(value_type = Vec<Object>)]
    data: Vec<StoredVersion>,
}

/// The stored versions of every event type, and what this server makes of each: `present`, `upcast` or `unreadable`.
#[utoipa::path(get, path = "/v1/ops/schema", responses((status = 200, body = StoredVersions)))]
pub async fn list_versions(State(app): State<App>, Asked(Nothing {}): Asked<Nothing>) -> Result<Response, ApiError> {
    let data = stored_versions(app.store().pool(), app.store().upcasters()).await?;
    // Every event of the book has been counted, so that the last of them is its end.
    let position = data.iter().map(|stored| stored.last_position).max().unwrap_or_default();
    let mut response = Json(StoredVersions { data }).into_response();
    response.headers_mut().insert(LEDGER_POSITION, HeaderValue::from(position));
    Ok(response)
}
