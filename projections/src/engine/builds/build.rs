//! Builds: the tables that a version of a projection is folded into, and how far each has come.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use daybook_core::{
    Position,
    store::{Store, StoreError},
};
use serde::Serialize;
use sqlx::{Connection, PgConnection, PgExecutor};
use tokio::time;
use uuid::Uuid;

use crate::engine::{
    Definition,
    builds::{
        shape,
        target::{Target, made, shape_name},
    },
    follow::lease::Driver,
    latest,
    table::Table,
};

/// How often to look whether a build has come as far as another.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

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
    /// The names under which readers see its tables.
    pub tables: Vec<String>,
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

/// A lease that is suspended counts for as long as a driver takes at most to look again.
const COLUMNS: &str = "name, build, version, tables, stage, stage_since, position, status, error, error_position, holder, \
     holder is not null and coalesce(leased_until, updated_at + interval '3 seconds') > clock_timestamp() as leased, \
     phase, begun_at, begun_position, memory_bytes, updated_at";

impl Build {
    /// Whether it is one of this version of a projection.
    pub fn is(&self, definition: &Definition) -> bool {
        (self.name.as_str(), self.version) == (definition.name, definition.version)
    }

    /// Where the rows of a table lie, by the name under which readers see it.
    pub fn table(&self, name: &str) -> String {
        made(name, self.version, self.build)
    }

    /// The table of a migration after which its own was made.
    pub fn shape(&self, name: &str) -> String {
        shape_name(name, self.version)
    }
}

/// All builds of these projections, whatever their version.
pub(in crate::engine) async fn all(names: &[&str], executor: impl PgExecutor<'_>) -> Result<Vec<Build>, sqlx::Error> {
    sqlx::query_as(&format!("select {COLUMNS} from projections where name = any($1) order by name, build"))
        .bind(names)
        .fetch_all(executor)
        .await
}

/// What a reader has to know of a build.
#[derive(Debug, sqlx::FromRow)]
pub(in crate::engine) struct Serving {
    pub name: String,
    pub version: i32,
    #[sqlx(try_from = "i64")]
    pub position: Position,
    /// Those that the transaction reads about, separated by commas.
    pub accounts: Option<String>,
}

/// Of these projections the builds that serve.
pub(in crate::engine) async fn serving(
    names: &[&str],
    executor: impl PgExecutor<'_>,
) -> Result<Vec<Serving>, sqlx::Error> {
    sqlx::query_as(
        "select name, version, position, current_setting('daybook.accounts', true) as accounts
         from projections
         where name = any($1) and stage = 'serving'",
    )
    .bind(names)
    .fetch_all(executor)
    .await
}

/// The build of a projection that is at this stage.
pub(in crate::engine) async fn at(
    name: &str,
    stage: Stage,
    executor: impl PgExecutor<'_>,
) -> Result<Option<Build>, sqlx::Error> {
    sqlx::query_as(&format!("select {COLUMNS} from projections where name = $1 and stage = $2"))
        .bind(name)
        .bind(stage)
        .fetch_optional(executor)
        .await
}

/// Locks all builds of a projection until the transaction ends: whoever drives one leaves it alone meanwhile.
pub(in crate::engine) async fn lock(name: &str, transaction: &mut PgConnection) -> Result<Vec<Build>, sqlx::Error> {
    sqlx::query("select from projections where name = $1 order by build for update")
        .bind(name)
        .execute(&mut *transaction)
        .await?;
    // Read once they are locked: a build may have come while this waited, and the lock itself does not show it.
    all(&[name], transaction).await
}

/// Holds the build that serves where it stands until the one that is kept has come as far, and then both, until the
/// transaction ends. After the deadline the one that is kept is neither as far nor locked.
pub(in crate::engine) async fn lock_abreast(
    name: &str,
    serving: i32,
    kept: i32,
    deadline: Instant,
    transaction: &mut PgConnection,
) -> Result<Vec<Build>, sqlx::Error> {
    sqlx::query("select from projections where name = $1 and build = $2 for update")
        .bind(name)
        .bind(serving)
        .execute(&mut *transaction)
        .await?;
    loop {
        // Not waited for: whoever wants several rows locks them in the order of builds, and this may be the earlier one.
        let abreast = sqlx::query(
            "select from projections k
             where name = $1 and build = $2
                 and position >= (select position from projections s where s.name = $1 and s.build = $3)
             for update of k skip locked",
        )
        .bind(name)
        .bind(kept)
        .bind(serving)
        .execute(&mut *transaction)
        .await?;
        if abreast.rows_affected() > 0 || Instant::now() > deadline {
            return all(&[name], transaction).await;
        }
        time::sleep(LOOK_AGAIN).await;
    }
}

/// Gives every projection that has no build yet its first one, which serves from the beginning.
pub(in crate::engine) async fn register(board: &[Definition], store: &Store) -> Result<(), StoreError> {
    let known: Vec<String> =
        sqlx::query_scalar("select distinct name from projections").fetch_all(store.pool()).await?;
    let missing = latest(board).into_iter().filter(|definition| !known.iter().any(|name| name == definition.name));
    let missing: Vec<Definition> = missing.collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut owner = store.owner_connection().await?;
    for definition in missing {
        let mut transaction = owner.begin().await?;
        let names: Vec<&str> = definition.tables.iter().map(Table::name).collect();
        let begun = sqlx::query(
            "insert into projections (name, build, version, tables, stage) values ($1, 1, $2, $3, 'serving')
             on conflict (name, build) do nothing",
        )
        .bind(definition.name)
        .bind(definition.version)
        .bind(names)
        .execute(&mut *transaction)
        .await?;
        // The views of the migrations show the first version.
        if begun.rows_affected() > 0
            && definition.version > 1
            && let Some(build) = at(definition.name, Stage::Serving, &mut *transaction).await?
        {
            shape::show(&build, &[], &mut transaction).await?;
        }
        transaction.commit().await?;
    }
    Ok(())
}

/// Tells that a build is still being made, what is done, and what it takes of the memory.
pub(in crate::engine) async fn heartbeat(
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

/// Stops a build before an event that it cannot fold; `false` if it stands elsewhere, somebody else drives it now, or its
/// driver has to look again.
pub(in crate::engine) async fn stop(
    target: &Target,
    driver: Driver,
    at: Position,
    error: &str,
    executor: impl PgExecutor<'_>,
) -> Result<bool, sqlx::Error> {
    let stopped = sqlx::query(
        "update projections set status = 'stopped', error = $3, error_position = $4, updated_at = clock_timestamp()
         where name = $1 and build = $2 and position = $4 - 1 and status = 'running' and holder = $5
             and leased_until is not null",
    )
    .bind(target.definition.name)
    .bind(target.build)
    .bind(error)
    .bind(at as i64)
    .bind(driver.holder)
    .execute(executor)
    .await?;
    Ok(stopped.rows_affected() > 0)
}

/// Moves the checkpoint of one build, waiting for whoever has its row locked; `false` if somebody else drives it now.
pub(in crate::engine) async fn advance(
    target: &Target,
    driver: Driver,
    (from, to): (Position, Position),
    executor: impl PgExecutor<'_>,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query(
        "update projections
         set position = $4, updated_at = clock_timestamp(),
             leased_until = clock_timestamp() + $6 * interval '1 millisecond'
         where name = $1 and build = $2 and position = $3 and status = 'running' and holder = $5",
    )
    .bind(target.definition.name)
    .bind(target.build)
    .bind(from as i64)
    .bind(to as i64)
    .bind(driver.holder)
    .bind(driver.lease_milliseconds())
    .execute(executor)
    .await?;
    Ok(moved.rows_affected() > 0)
}

/// Puts a build that is being made back to where the book begins; `false` if somebody else makes it now.
pub(in crate::engine) async fn begin_anew(
    target: &Target,
    driver: Driver,
    executor: impl PgExecutor<'_>,
) -> Result<bool, sqlx::Error> {
    let begun = sqlx::query(
        "update projections
         set position = 0, begun_at = clock_timestamp(), begun_position = 0, updated_at = clock_timestamp(),
             leased_until = clock_timestamp() + $4 * interval '1 millisecond'
         where name = $1 and build = $2 and stage = 'building' and holder = $3",
    )
    .bind(target.definition.name)
    .bind(target.build)
    .bind(driver.holder)
    .bind(driver.lease_milliseconds())
    .execute(executor)
    .await?;
    Ok(begun.rows_affected() > 0)
}

/// Lets what serves go on where it stopped at an event: a program that starts may be one that can fold it. If it cannot, it
/// stops again.
pub(in crate::engine) async fn try_again(
    board: &[Definition],
    executor: impl PgExecutor<'_>,
) -> Result<(), sqlx::Error> {
    let (names, versions): (Vec<&str>, Vec<i32>) =
        board.iter().map(|definition| (definition.name, definition.version)).unzip();
    sqlx::query(
        "with locked as (
             select q.name, q.build from projections q
             join unnest($1::text[], $2::int[]) board (name, version)
                 on board.name = q.name and board.version = q.version
             where q.stage = 'serving' and q.status = 'stopped'
             order by q.name, q.build
             for update of q
         )
         update projections p
         set status = 'running', error = null, error_position = null, updated_at = clock_timestamp()
         from locked
         where p.name = locked.name and p.build = locked.build",
    )
    .bind(names)
    .bind(versions)
    .execute(executor)
    .await?;
    Ok(())
}

/// Stops the build that is kept: its rows are not those that what is parked now would leave, so that it may not serve.
pub(in crate::engine) async fn disqualify(
    name: &str,
    why: &str,
    transaction: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update projections set status = 'stopped', error = $2, error_position = position + 1
         where name = $1 and stage = 'kept'",
    )
    .bind(name)
    .bind(why)
    .execute(transaction)
    .await?;
    Ok(())
}

/// The definition whose version serves, or the program's own where none is registered yet. `None` if this program does not
/// have that version.
pub async fn in_service(
    board: &[Definition],
    name: &str,
    executor: impl PgExecutor<'_>,
) -> Result<Option<Definition>, StoreError> {
    let serving = at(name, Stage::Serving, executor).await?;
    let of_name = |definition: &&Definition| definition.name == name;
    let Some(serving) = serving else { return Ok(latest(board).iter().find(of_name).copied()) };
    Ok(board.iter().filter(of_name).find(|definition| definition.version == serving.version).copied())
}

/// Holds the live builds of a projection where they stand; `false` if the one that serves does not run.
pub async fn pause(name: &str, executor: impl PgExecutor<'_>) -> Result<bool, StoreError> {
    let paused: Vec<Stage> = sqlx::query_scalar(
        "with locked as (
             select name, build from projections
             where name = $1 and stage <> 'building' and status = 'running'
             order by build
             for update
         )
         update projections p set status = 'paused', updated_at = clock_timestamp()
         from locked
         where p.name = locked.name and p.build = locked.build
         returning p.stage",
    )
    .bind(name)
    .fetch_all(executor)
    .await?;
    Ok(paused.contains(&Stage::Serving))
}

/// Lets the live builds of a projection go on, be they paused or stopped; `false` if all of them run.
pub async fn resume(name: &str, executor: impl PgExecutor<'_>) -> Result<bool, StoreError> {
    let resumed = sqlx::query(
        "with locked as (
             select name, build from projections
             where name = $1 and stage <> 'building' and status <> 'running'
             order by build
             for update
         )
         update projections p
         set status = 'running', error = null, error_position = null, updated_at = clock_timestamp()
         from locked
         where p.name = locked.name and p.build = locked.build",
    )
    .bind(name)
    .execute(executor)
    .await?;
    Ok(resumed.rows_affected() > 0)
}
