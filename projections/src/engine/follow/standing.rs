//! How the projections stand: what an operator looks at first.

use chrono::{DateTime, Utc};
use daybook_core::{
    Position,
    store::{self, StoreError},
};
use serde::Serialize;
use sqlx::PgConnection;

use crate::engine::{
    Definition,
    builds::build::{self, Build, Stage, State},
    check::watch::{self, Drift},
    follow::parking::{self, ParkedStream},
    latest,
};

/// How a projection stands against the book.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    pub name: &'static str,
    /// Of the build that serves.
    pub build: i32,
    pub version: i32,
    /// The version of this program. While it is not the one that serves, a newer one is on its way, or awaited.
    pub program_version: i32,
    pub position: Position,
    /// The last event of the book.
    pub head: Position,
    pub lag_events: Position,
    /// The age of the oldest event that is not in the rows yet.
    pub lag_milliseconds: i64,
    pub state: State,
    pub error: Option<String>,
    pub error_position: Option<Position>,
    /// Whether a process drives it at this moment.
    pub driven: bool,
    pub updated_at: DateTime<Utc>,
    /// The build that is being made beside it.
    pub building: Option<Building>,
    /// The build that served before, for a roll-back.
    pub kept: Option<Kept>,
    /// The streams whose events are set aside.
    pub parked: Vec<ParkedStream>,
    /// Rows that were found not to be what the book says.
    pub drifts: Vec<Drift>,
}

/// How far a new build has come.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Building {
    pub build: i32,
    pub version: i32,
    pub phase: Option<String>,
    pub position: Position,
    pub head: Position,
    pub events_per_second: i64,
    /// Until the head of now is reached; `None` while there is no rate yet, and once all that is left is to compare and to
    /// prove.
    pub seconds_left: Option<i64>,
    /// What the process takes that makes it.
    pub memory_bytes: i64,
    /// Whether a process is at work on it; otherwise it was interrupted, and the next rebuild goes on from here.
    pub driven: bool,
    pub begun_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kept {
    pub build: i32,
    pub version: i32,
    pub position: Position,
    pub state: State,
    pub since: DateTime<Utc>,
}

/// How all of these projections stand.
pub async fn standings(board: &[Definition], connection: &mut PgConnection) -> Result<Vec<Standing>, StoreError> {
    let definitions = latest(board);
    let names: Vec<&str> = definitions.iter().map(|definition| definition.name).collect();
    let builds = build::all(&names, &mut *connection).await?;
    let mut parked = parking::list(&names, &mut *connection).await?;
    let mut drifts = watch::list(&names, &mut *connection).await?;
    let head = store::head(&mut *connection).await?.position;
    let mut standings = Vec::with_capacity(definitions.len());
    for definition in definitions {
        let of = |stage| builds.iter().find(move |build| build.name == definition.name && build.stage == stage);
        let Some(serving) = of(Stage::Serving) else { continue };
        let ours = |projection: &str| projection == definition.name;
        standings.push(Standing {
            name: definition.name,
            build: serving.build,
            version: serving.version,
            program_version: definition.version,
            position: serving.position,
            head,
            lag_events: head.saturating_sub(serving.position),
            lag_milliseconds: age_of_next(serving.position, &mut *connection).await?,
            state: serving.state,
            error: serving.error.clone(),
            error_position: serving.error_position.map(|at| at as Position),
            driven: serving.leased,
            updated_at: serving.updated_at,
            building: of(Stage::Building).map(|build| Building::of(build, head)),
            kept: of(Stage::Kept).map(Kept::of),
            parked: parked.extract_if(.., |stream| ours(&stream.projection)).collect(),
            drifts: drifts.extract_if(.., |drift| ours(&drift.projection)).collect(),
        });
    }
    Ok(standings)
}

impl Building {
    fn of(build: &Build, head: Position) -> Self {
        let begun = build.begun_position.unwrap_or_default() as Position;
        let taken = build.begun_at.map_or(0, |begun_at| (build.updated_at - begun_at).num_milliseconds());
        let done = build.position.saturating_sub(begun) as i64;
        let rate = (done * 1000).checked_div(taken).unwrap_or(0);
        let left = head.saturating_sub(build.position) as i64;
        Self {
            build: build.build,
            version: build.version,
            phase: build.phase.clone(),
            position: build.position,
            head,
            events_per_second: rate,
            seconds_left: left.checked_div(rate).filter(|_| build.phase.as_deref() == Some("filling")),
            memory_bytes: build.memory_bytes.unwrap_or_default(),
            driven: build.leased,
            begun_at: build.begun_at,
        }
    }
}

impl Kept {
    fn of(build: &Build) -> Self {
        let Build { build, version, position, state, stage_since, .. } = *build;
        Self { build, version, position, state, since: stage_since }
    }
}

async fn age_of_next(position: Position, connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let age: Option<i64> = sqlx::query_scalar(
        "select (extract(epoch from clock_timestamp() - recorded_at) * 1000)::bigint from events where position = $1",
    )
    .bind(position as i64 + 1)
    .fetch_optional(connection)
    .await?;
    Ok(age.unwrap_or(0))
}
