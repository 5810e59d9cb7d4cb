//! Leases: one process drives a build at a time. Its lease stands in the row of the build, by the database's clock; each
//! step forward is a compare-and-set on that row, which fences out whoever has lost the lease without noticing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use daybook_core::Position;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::engine::{Definition, builds::target::Target};

/// Who drives, and how long the lease runs from each sign of life.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Driver {
    pub holder: Uuid,
    pub lease: Duration,
}

impl Driver {
    pub fn lease_milliseconds(self) -> i64 {
        i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Builds that a driver takes from one position to another, as long as it holds them.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Hold<'a> {
    pub group: &'a [Target],
    pub driver: Driver,
    pub from: Position,
    pub to: Position,
    /// When the last of these events was recorded, if it can be read.
    pub recorded_at: Option<DateTime<Utc>>,
}

impl Hold<'_> {
    /// Locks those of the builds that stand where they should, run, and are driven by nobody else under a lease that is
    /// not suspended. One that somebody has locked is passed over, so that the others need not wait for it; and everybody
    /// locks in one order, so that nobody waits in a circle. None is locked if the last event stands otherwise in this
    /// book: then it comes from another one, such as that of a server which somebody else has taken the place of. The
    /// arguments are places of a statement.
    pub fn lock([names, builds, from, holder, to, recorded_at]: [&str; 6]) -> String {
        format!(
            "select q.name, q.build from projections q
             join unnest({names}::text[], {builds}::int[]) g (name, build) on g.name = q.name and g.build = q.build
             where q.position = {from}::bigint and q.status = 'running' and q.holder = {holder}::uuid
                 and q.leased_until is not null
                 and ({recorded_at}::timestamptz is null or exists (
                     select from events e
                     where e.position = {to}::bigint and e.recorded_at = {recorded_at}::timestamptz
                 ))
             order by q.name, q.build
             for update of q skip locked"
        )
    }

    pub fn names(&self) -> (Vec<&'static str>, Vec<i32>) {
        self.group.iter().map(|target| (target.definition.name, target.build)).unzip()
    }

    /// Locks the builds until the transaction ends; answers with those that are held.
    pub async fn take(&self, transaction: &mut PgConnection) -> Result<Vec<Target>, sqlx::Error> {
        let (names, builds) = self.names();
        let held: Vec<(String, i32)> = sqlx::query_as(&Self::lock(["$1", "$2", "$3", "$4", "$5", "$6"]))
            .bind(names)
            .bind(builds)
            .bind(self.from as i64)
            .bind(self.driver.holder)
            .bind(self.to as i64)
            .bind(self.recorded_at)
            .fetch_all(transaction)
            .await?;
        let is_held = |target: &&Target| held.iter().any(|(name, build)| target.is(name, *build));
        Ok(self.group.iter().filter(is_held).copied().collect())
    }
}

/// Suspends the lease of the live builds of a projection: what their driver knows of their rows and of what is set aside
/// is not so any more. They stay his own; he takes the lease again before he goes on, and looks.
pub(in crate::engine) async fn suspend(name: &str, transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update projections set leased_until = null, updated_at = clock_timestamp()
         where name = $1 and stage <> 'building'",
    )
    .bind(name)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Takes or renews the lease on every live build of these definitions that nobody else drives; answers with those that
/// were not held before, or were suspended: nothing is known of their rows. One that is suspended is its driver's as long
/// as it could have run.
pub(in crate::engine) async fn take(
    board: &[Definition],
    driver: Driver,
    executor: impl PgExecutor<'_>,
) -> Result<Vec<(String, i32)>, sqlx::Error> {
    let (names, versions): (Vec<&str>, Vec<i32>) =
        board.iter().map(|definition| (definition.name, definition.version)).unzip();
    // A row that is locked belongs to somebody at work; it is looked at again the next time.
    let leased: Vec<(String, i32, bool)> = sqlx::query_as(
        "update projections p
         set holder = $1, leased_until = clock_timestamp() + $2 * interval '1 millisecond'
         from (
             select q.name, q.build, q.holder is distinct from $1 or q.leased_until is null as taken
             from projections q
             join unnest($3::text[], $4::int[]) board (name, version)
                 on board.name = q.name and board.version = q.version
             where q.stage <> 'building'
                 and (q.holder is null or q.holder = $1
                     or coalesce(q.leased_until, q.updated_at + $2 * interval '1 millisecond') < clock_timestamp())
             order by q.name, q.build
             for update of q skip locked
         ) free
         where p.name = free.name and p.build = free.build
         returning p.name, p.build, free.taken",
    )
    .bind(driver.holder)
    .bind(driver.lease_milliseconds())
    .bind(names)
    .bind(versions)
    .fetch_all(executor)
    .await?;
    Ok(leased.into_iter().filter(|(.., taken)| *taken).map(|(name, build, _)| (name, build)).collect())
}

/// Gives all leases of a process back, so that another one need not wait until they run out.
pub(in crate::engine) async fn release(holder: Uuid, executor: impl PgExecutor<'_>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with locked as (
             select name, build from projections where holder = $1 order by name, build for update
         )
         update projections p set holder = null, leased_until = null
         from locked
         where p.name = locked.name and p.build = locked.build",
    )
    .bind(holder)
    .execute(executor)
    .await?;
    Ok(())
}
