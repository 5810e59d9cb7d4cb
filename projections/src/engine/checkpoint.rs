//! Checkpoints: how far each projection has come, and whether it stands still.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use daybook_core::{
    Position,
    store::{self, StoreError},
};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor};

use super::Definition;

/// Whether a projection moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum State {
    Running,
    /// An event could not be folded. It goes on after a rebuild.
    Stopped,
}

/// The checkpoint row of a projection.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Checkpoint {
    pub name: String,
    pub version: i32,
    /// The last event that is in the rows.
    #[sqlx(try_from = "i64")]
    pub position: Position,
    pub status: State,
    pub error: Option<String>,
    pub error_position: Option<i64>,
    pub updated_at: DateTime<Utc>,
}

/// How a projection stands against the book.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    pub name: &'static str,
    pub version: i32,
    pub position: Position,
    /// The last event of the book.
    pub head: Position,
    pub lag_events: Position,
    /// The age of the oldest event that is not in the rows yet.
    pub lag_milliseconds: i64,
    pub state: State,
    pub error: Option<String>,
    pub error_position: Option<Position>,
    pub updated_at: Option<DateTime<Utc>>,
}

/// How all of these projections stand.
pub async fn standings(board: &[Definition], connection: &mut PgConnection) -> Result<Vec<Standing>, StoreError> {
    let checkpoints = read(board, &mut *connection).await?;
    let head = store::head(&mut *connection).await?.position;
    let mut standings = Vec::with_capacity(board.len());
    for definition in board {
        let checkpoint = checkpoints.get(definition.name);
        let position = checkpoint.map_or(0, |checkpoint| checkpoint.position);
        standings.push(Standing {
            name: definition.name,
            version: definition.version,
            position,
            head,
            lag_events: head.saturating_sub(position),
            lag_milliseconds: age_of_next(position, &mut *connection).await?,
            state: checkpoint.map_or(State::Running, |checkpoint| checkpoint.status),
            error: checkpoint.and_then(|checkpoint| checkpoint.error.clone()),
            error_position: checkpoint.and_then(|checkpoint| checkpoint.error_position).map(|at| at as Position),
            updated_at: checkpoint.map(|checkpoint| checkpoint.updated_at),
        });
    }
    Ok(standings)
}

/// Gives every projection a checkpoint that has none yet.
pub(super) async fn register(board: &[Definition], executor: impl PgExecutor<'_>) -> Result<(), sqlx::Error> {
    let (names, versions) = columns(board);
    sqlx::query(
        "insert into projections (name, version)
         select name, version from unnest($1::text[], $2::int[]) board (name, version)
         on conflict (name, version) do nothing",
    )
    .bind(names)
    .bind(versions)
    .execute(executor)
    .await?;
    Ok(())
}

/// The checkpoints of the present versions, by name.
pub(super) async fn read(
    board: &[Definition],
    executor: impl PgExecutor<'_>,
) -> Result<HashMap<String, Checkpoint>, sqlx::Error> {
    let (names, versions) = columns(board);
    let checkpoints: Vec<Checkpoint> = sqlx::query_as(
        "select p.name, p.version, p.position, p.status, p.error, p.error_position, p.updated_at
         from projections p
         join unnest($1::text[], $2::int[]) board (name, version) on board.name = p.name and board.version = p.version",
    )
    .bind(names)
    .bind(versions)
    .fetch_all(executor)
    .await?;
    Ok(checkpoints.into_iter().map(|checkpoint| (checkpoint.name.clone(), checkpoint)).collect())
}

/// Moves the checkpoints of projections that all stand at `from`; `false` if one of them does not, because another
/// projector has been at work.
pub(super) async fn advance(
    group: &[Definition],
    from: Position,
    to: Position,
    connection: &mut PgConnection,
) -> Result<bool, sqlx::Error> {
    let (names, versions) = columns(group);
    let moved = sqlx::query(
        "update projections p set position = $4, updated_at = now()
         from unnest($1::text[], $2::int[]) board (name, version)
         where p.name = board.name and p.version = board.version and p.position = $3 and p.status = 'running'",
    )
    .bind(names)
    .bind(versions)
    .bind(from as i64)
    .bind(to as i64)
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() == group.len() as u64)
}

/// Stops a projection before an event that it cannot fold.
pub(super) async fn stop(
    definition: &Definition,
    at: Position,
    error: &str,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update projections set status = 'stopped', error = $3, error_position = $4, updated_at = now()
         where name = $1 and version = $2 and position = $4 - 1",
    )
    .bind(definition.name)
    .bind(definition.version)
    .bind(error)
    .bind(at as i64)
    .execute(connection)
    .await?;
    Ok(())
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

fn columns(board: &[Definition]) -> (Vec<&'static str>, Vec<i32>) {
    board.iter().map(|definition| (definition.name, definition.version)).unzip()
}
