//! The projections over HTTP: how far each has come, whether one stands still, and what operators do about it.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::State,
    http::HeaderValue,
    response::{IntoResponse, Response},
};
use daybook_core::Position;
use daybook_projections::{
    BOARD, Definition,
    engine::{self, Stage, Standing, standings},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        address::{Asked, Named},
        error::ApiError,
        wire,
        write::LEDGER_POSITION,
    },
    operate::{
        operator::{Instruction, Nothing, named},
        rebuild::LastRebuild,
    },
};

#[derive(Debug, Serialize, ToSchema)]
pub struct Projections {
    /// The last event of the book.
    head: Position,
    #[schema(value_type = Vec<Object>)]
    data: Vec<Standing>,
}

/// How the projections stand against the book.
#[utoipa::path(get, path = "/v1/ops/projections", responses((status = 200, body = Projections)))]
pub async fn list(State(app): State<App>, Asked(wire::Nothing {}): Asked<wire::Nothing>) -> Result<Response, ApiError> {
    let mut connection = app.store().pool().acquire().await?;
    let data = standings(BOARD, &mut connection).await?;
    let head = data.iter().map(|standing| standing.head).max().unwrap_or_default();
    let mut response = Json(Projections { head, data }).into_response();
    response.headers_mut().insert(LEDGER_POSITION, HeaderValue::from(head));
    Ok(response)
}

/// How one projection stands, and what the rebuild has come to that this server ran last.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProjectionShown {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    standing: Standing,
    last_rebuild: Option<LastRebuild>,
}

impl ProjectionShown {
    pub async fn of(app: &App, definition: Definition) -> Result<Self, ApiError> {
        // In this order, so that what a rebuild has come to is never told before its build stands so.
        let last_rebuild = app.rebuilds().last(definition.name);
        Ok(Self { standing: app.standing(definition).await?, last_rebuild })
    }
}

impl IntoResponse for ProjectionShown {
    fn into_response(self) -> Response {
        let head = self.standing.head;
        let mut response = Json(self).into_response();
        response.headers_mut().insert(LEDGER_POSITION, HeaderValue::from(head));
        response
    }
}

/// How a projection stands against the book.
#[utoipa::path(get, path = "/v1/ops/projections/{name}", responses((status = 200, body = ProjectionShown)))]
pub async fn show(
    State(app): State<App>,
    Named(name): Named<String>,
    Asked(wire::Nothing {}): Asked<wire::Nothing>,
) -> Result<ProjectionShown, ApiError> {
    ProjectionShown::of(&app, named(&name)?).await
}

/// Holds a projection where it stands; what it has is still read.
#[utoipa::path(post, path = "/v1/ops/projections/{name}/pause", responses((status = 200, body = ProjectionShown)))]
pub async fn pause(
    State(app): State<App>,
    Named(name): Named<String>,
    Instruction { by, body: Nothing {} }: Instruction<Nothing>,
) -> Result<ProjectionShown, ApiError> {
    let definition = named(&name)?;
    if !engine::pause(definition.name, app.store().pool()).await? {
        return Err(ApiError::new("projection-not-running", format!("`{name}` is paused or has stopped already")));
    }
    tracing::info!(projection = definition.name, by, "a projection is paused");
    ProjectionShown::of(&app, definition).await
}

/// Lets a projection go on that is paused or has stopped.
#[utoipa::path(post, path = "/v1/ops/projections/{name}/resume", responses((status = 200, body = ProjectionShown)))]
pub async fn resume(
    State(app): State<App>,
    Named(name): Named<String>,
    Instruction { by, body: Nothing {} }: Instruction<Nothing>,
) -> Result<ProjectionShown, ApiError> {
    let definition = named(&name)?;
    if !engine::resume(definition.name, app.store().pool()).await? {
        return Err(ApiError::new("projection-running", format!("`{name}` is neither paused nor stopped")));
    }
    tracing::info!(projection = definition.name, by, "a projection goes on");
    ProjectionShown::of(&app, definition).await
}

/// The build that serves again.
#[derive(Debug, Serialize, ToSchema)]
pub struct RolledBack {
    build: i32,
    version: i32,
    readers_waited_microseconds: u64,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollBack {
    /// The build that must be serving; without it, the same request twice rolls back and forward again.
    leaving: Option<i32>,
}

/// Lets the build that is kept serve again, and keeps the one that served.
#[utoipa::path(post, path = "/v1/ops/projections/{name}/rollback", request_body = RollBack, responses((status = 200, body = RolledBack)))]
pub async fn roll_back(
    State(app): State<App>,
    Named(name): Named<String>,
    Instruction { by, body: RollBack { leaving } }: Instruction<RollBack>,
) -> Result<Json<RolledBack>, ApiError> {
    let definition = named(&name)?;
    let (target, waited) = engine::roll_back(app.store(), &definition, leaving).await?;
    let (build, version) = (target.build, target.definition.version);
    tracing::info!(projection = definition.name, build, version, by, "a projection is rolled back");
    let readers_waited_microseconds = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
    Ok(Json(RolledBack { build, version, readers_waited_microseconds }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Discard {
    /// The build that a rebuild left behind when it was interrupted, instead of the one that is kept.
    #[serde(default)]
    interrupted: bool,
}

/// The build that is gone.
#[derive(Debug, Serialize, ToSchema)]
pub struct Discarded {
    build: i32,
}

/// Takes the build away that is kept for a roll-back, or one that was interrupted.
#[utoipa::path(post, path = "/v1/ops/projections/{name}/discard", request_body = Discard, responses((status = 200, body = Discarded)))]
pub async fn discard(
    State(app): State<App>,
    Named(name): Named<String>,
    Instruction { by, body: Discard { interrupted } }: Instruction<Discard>,
) -> Result<Json<Discarded>, ApiError> {
    let definition = named(&name)?;
    let stage = if interrupted { Stage::Building } else { Stage::Kept };
    let build = engine::discard(app.store(), &definition, stage).await?;
    tracing::info!(projection = definition.name, build, by, "a build is discarded");
    Ok(Json(Discarded { build }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Repair {
    /// What the rows are keyed by, such as an account.
    keys: BTreeSet<String>,
}

/// What a repair has come to.
#[derive(Debug, Serialize, ToSchema)]
pub struct Repaired {
    keys: BTreeSet<String>,
    /// The checkpoint at which the rows are right again.
    position: Position,
    /// Of these keys, in all tables of the projection.
    rows: i64,
    /// How many of them were not as they should be.
    mended: i64,
}

/// Folds the rows of some keys anew from the whole book.
#[utoipa::path(post, path = "/v1/ops/projections/{name}/repair", request_body = Repair, responses((status = 200, body = Repaired)))]
pub async fn repair(
    State(app): State<App>,
    Named(name): Named<String>,
    Instruction { by, body: Repair { keys } }: Instruction<Repair>,
) -> Result<Json<Repaired>, ApiError> {
    let definition = app.serving(&name).await?;
    if keys.is_empty() {
        return Err(ApiError::field("keys-missing", "/keys", "name at least one key whose rows are to be mended"));
    }
    let engine::Repaired { keys, position, rows, mended, .. } = engine::repair(app.store(), &definition, keys).await?;
    tracing::info!(projection = definition.name, ?keys, rows, mended, by, "rows are folded anew");
    Ok(Json(Repaired { keys, position, rows, mended }))
}
