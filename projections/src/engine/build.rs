//! Builds: the tables that a version of a projection is folded into, how far each has come, and who drives it.
//!
//! One process drives a build at a time: it holds a lease in the row of the build, and each step forward is a
//! compare-and-set on that row, which fences out whoever has lost the lease without noticing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use daybook_core::{Position, store::StoreError};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::{Definition, table::Table};

/// What a build is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Stage {
    /// It is being made, beside the one that serves.
    Building,
    /// Readers see it.
    Serving,
    /// It served before, and goes on following the book for as long as one may want to roll back.
    Kept,
}

/// Whether a build moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum State {
    Running,
    /// An operator holds it.
    Paused,
    /// An event could not be folded.
    Stopped,
}

/// The row of a build.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Build {
    pub name: String,
    pub build: i32,
    pub version: i32,
    pub stage: Stage,
    pub stage_since: DateTime<Utc>,
    /// The last event that is in the rows.
    #[sqlx(try_from = "i64")]
    pub position: Position,
    #[sqlx(rename = "status")]
    pub state: State,
    pub error: Option<String>,
    pub error_position: Option<i64>,
    pub holder: Option<Uuid>,
    /// What the lease still has, as the database's clock tells.
    pub leased: bool,
    pub phase: Option<String>,
    pub begun_at: Option<DateTime<Utc>>,
    pub begun_position: Option<i64>,
    pub memory_bytes: Option<i64>,
    pub updated_at: DateTime<Utc>,
}

/// A projection, and the build that its rows lie in.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub definition: Definition,
    pub build: i32,
}

/// Who drives, and how long the lease runs from each sign of life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Driver {
    pub holder: Uuid,
    pub lease: Duration,
}

const COLUMNS: &str = "name, build, version, stage, stage_since, position, status, error, error_position, holder, \
     coalesce(leased_until > clock_timestamp(), false) as leased, phase, begun_at, begun_position, memory_bytes, \
     updated_at";

impl Target {
    /// Where the rows of a table lie.
    pub fn table(&self, table: &Table) -> String {
        let shape = self.definition.shape(table);
        if self.build == 1 { shape } else { format!("{shape}_b{}", self.build) }
    }
}

impl Driver {
    fn lease_milliseconds(self) -> i64 {
        i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX)
    }
}

/// All builds of these projections, whatever their version.
pub(super) async fn all(names: &[&str], executor: impl PgExecutor<'_>) -> Result<Vec<Build>, sqlx::Error> {
    sqlx::query_as(&format!("select {COLUMNS} from projections where name = any($1) order by name, build"))
        .bind(names)
        .fetch_all(executor)
        .await
}

/// The build of a projection that is at this stage.
pub(super) async fn at(name: &str, stage: Stage, executor: impl PgExecutor<'_>) -> Result<Option<Build>, sqlx::Error> {
    sqlx::query_as(&format!("select {COLUMNS} from projections where name = $1 and stage = $2"))
        .bind(name)
        .bind(stage)
        .fetch_optional(executor)
        .await
}

/// Locks all builds of a projection until the transaction ends: whoever drives one waits.
pub(super) async fn lock(name: &str, transaction: &mut PgConnection) -> Result<Vec<Build>, sqlx::Error> {
    sqlx::query_as(&format!("select {COLUMNS} from projections where name = $1 order by build for update"))
        .bind(name)
        .fetch_all(transaction)
        .await
}

/// Gives every projection that has no build yet its first one, which serves from the beginning.
pub(super) async fn register(board: &[Definition], executor: impl PgExecutor<'_>) -> Result<(), sqlx::Error> {
    let (names, versions): (Vec<&str>, Vec<i32>) =
        board.iter().map(|definition| (definition.name, definition.version)).unzip();
    sqlx::query(
        "insert into projections (name, build, version, stage)
         select board.name, 1, max(board.version), 'serving'
         from unnest($1::text[], $2::int[]) board (name, version)
         where not exists (select from projections p where p.name = board.name)
         group by board.name
         on conflict (name, build) do nothing",
    )
    .bind(names)
    .bind(versions)
    .execute(executor)
    .await?;
    Ok(())
}

/// Takes or renews the lease on every live build of these definitions that nobody else drives.
pub(super) async fn lease(
    board: &[Definition],
    driver: Driver,
    executor: impl PgExecutor<'_>,
) -> Result<(), sqlx::Error> {
    let (names, versions): (Vec<&str>, Vec<i32>) =
        board.iter().map(|definition| (definition.name, definition.version)).unzip();
    // A row that is locked belongs to somebody at work; it is looked at again the next time.
    sqlx::query(
        "update projections p
         set holder = $1, leased_until = clock_timestamp() + $2 * interval '1 millisecond'
         from (
             select q.name, q.build from projections q
             join unnest($3::text[], $4::int[]) board (name, version)
                 on board.name = q.name and board.version = q.version
             where q.stage <> 'building'
                 and (q.holder is null or q.holder = $1 or q.leased_until < clock_timestamp())
             order by q.name, q.build
             for update of q skip locked
         ) free
         where p.name = free.name and p.build = free.build",
    )
    .bind(driver.holder)
    .bind(driver.lease_milliseconds())
    .bind(names)
    .bind(versions)
    .execute(executor)
    .await?;
    Ok(())
}

/// Gives all leases of a process back, so that another one need not wait until they run out.
pub(super) async fn release(holder: Uuid, executor: impl PgExecutor<'_>) -> Result<(), sqlx::Error> {
    sqlx::query("update projections set holder = null, leased_until = null where holder = $1")
        .bind(holder)
        .execute(executor)
        .await?;
    Ok(())
}

/// Moves the checkpoints of builds that all stand at `from`; `false` if one of them does not, does not run, or is
/// driven by somebody else.
pub(super) async fn advance(
    group: &[Target],
    driver: Driver,
    from: Position,
    to: Position,
    connection: &mut PgConnection,
) -> Result<bool, sqlx::Error> {
    let (names, builds): (Vec<&str>, Vec<i32>) =
        group.iter().map(|target| (target.definition.name, target.build)).unzip();
    // Locked in one order by everybody, so that nobody waits in a circle.
    let moved = sqlx::query(
        "with locked as (
             select q.name, q.build from projections q
             join unnest($1::text[], $2::int[]) g (name, build) on g.name = q.name and g.build = q.build
             where q.position = $3 and q.status = 'running' and q.holder = $5
             order by q.name, q.build
             for update of q
         )
         update projections p
         set position = $4, updated_at = clock_timestamp(),
             leased_until = clock_timestamp() + $6 * interval '1 millisecond'
         from locked
         where p.name = locked.name and p.build = locked.build",
    )
    .bind(names)
    .bind(builds)
    .bind(from as i64)
    .bind(to as i64)
    .bind(driver.holder)
    .bind(driver.lease_milliseconds())
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() == group.len() as u64)
}

/// Tells that a build is still being made, what is done, and what it takes of the memory.
pub(super) async fn sign_of_life(
    name: &str,
    build: i32,
    driver: Driver,
    phase: &str,
    memory: u64,
    executor: impl PgExecutor<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update projections
         set phase = $4, memory_bytes = $5, leased_until = clock_timestamp() + $6 * interval '1 millisecond'
         where name = $1 and build = $2 and stage = 'building' and holder = $3",
    )
    .bind(name)
    .bind(build)
    .bind(driver.holder)
    .bind(phase)
    .bind(memory as i64)
    .bind(driver.lease_milliseconds())
    .execute(executor)
    .await?;
    Ok(())
}

/// Stops a build before an event that it cannot fold.
pub(super) async fn stop(
    target: &Target,
    driver: Driver,
    at: Position,
    error: &str,
    executor: impl PgExecutor<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update projections set status = 'stopped', error = $3, error_position = $4, updated_at = clock_timestamp()
         where name = $1 and build = $2 and position = $4 - 1 and holder = $5",
    )
    .bind(target.definition.name)
    .bind(target.build)
    .bind(error)
    .bind(at as i64)
    .bind(driver.holder)
    .execute(executor)
    .await?;
    Ok(())
}

/// Lets the builds go on that stopped at an event: a program that starts may be one that can fold it. If it cannot, they
/// stop again.
pub(super) async fn try_again(board: &[Definition], executor: impl PgExecutor<'_>) -> Result<(), sqlx::Error> {
    let (names, versions): (Vec<&str>, Vec<i32>) =
        board.iter().map(|definition| (definition.name, definition.version)).unzip();
    sqlx::query(
        "update projections
         set status = 'running', error = null, error_position = null, updated_at = clock_timestamp()
         where status = 'stopped' and (name, version) in (select * from unnest($1::text[], $2::int[]))",
    )
    .bind(names)
    .bind(versions)
    .execute(executor)
    .await?;
    Ok(())
}

/// Holds the live builds of a projection where they stand; `false` if the one that serves does not run.
pub async fn pause(name: &str, executor: impl PgExecutor<'_>) -> Result<bool, StoreError> {
    let paused: Vec<Stage> = sqlx::query_scalar(
        "update projections set status = 'paused', updated_at = clock_timestamp()
         where name = $1 and stage <> 'building' and status = 'running'
         returning stage",
    )
    .bind(name)
    .fetch_all(executor)
    .await?;
    Ok(paused.contains(&Stage::Serving))
}

/// Lets the live builds of a projection go on, be they paused or stopped; `false` if all of them run.
pub async fn resume(name: &str, executor: impl PgExecutor<'_>) -> Result<bool, StoreError> {
    let resumed = sqlx::query(
        "update projections
         set status = 'running', error = null, error_position = null, updated_at = clock_timestamp()
         where name = $1 and stage <> 'building' and status <> 'running'",
    )
    .bind(name)
    .execute(executor)
    .await?;
    Ok(resumed.rows_affected() > 0)
}
