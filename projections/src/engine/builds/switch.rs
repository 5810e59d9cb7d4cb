//! Switching: which build serves changes in one short transaction, forward when a rebuild takes over and back when an
//! operator rolls back; and builds that nobody needs any more are taken away.

use std::time::{Duration, Instant};

use daybook_core::{Position, store::Store};
use sqlx::{Connection, Executor as _, PgConnection};
use tokio::time;

use crate::engine::{
    Definition,
    builds::{
        build::{self, Build, Stage, State},
        shape,
        target::Target,
    },
    error::{RebuildError, is_lock_timeout},
    follow::{fold::Folding, log},
    read::wall,
    session::FOLDING,
    table::Table,
};

/// So many events may be left to fold within the transaction that takes over.
pub(in crate::engine) const LAST_EVENTS: Position = 500;
/// How long whoever switches rests between two attempts, so that readers have their turn.
pub(in crate::engine) const PATIENCE: Duration = Duration::from_millis(100);
/// How long a roll-back waits for the build that is kept to come as far as the one that serves.
const ROLL_BACK_WITHIN: Duration = Duration::from_secs(4);
/// So long may new readers wait for those before them while a build takes over, at first.
const READERS_WAIT: Duration = Duration::from_millis(80);
/// Attempts to roll back that are as gentle as the ones before.
const GENTLE: u32 = 4;

/// Lets the build that is kept serve again, and keeps the one that served; tells how long readers waited.
/// `leaving` is the build that must be serving, so that the same request twice does not roll forward again.
pub async fn roll_back(
    store: &Store,
    definition: &Definition,
    leaving: Option<i32>,
) -> Result<(Target, Duration), RebuildError> {
    let mut owner = store.owner_connection().await?;
    owner.execute(FOLDING).await?;
    let deadline = Instant::now() + ROLL_BACK_WITHIN;
    let mut attempt = 0;
    loop {
        let wait = readers_wait(attempt / GENTLE);
        match try_to_roll_back(store, definition, leaving, (wait, deadline), &mut owner).await {
            // Readers are in the way.
            Err(error) if error.is_lock_timeout() && Instant::now() < deadline => time::sleep(PATIENCE).await,
            Err(error) if error.is_lock_timeout() => return Err(RebuildError::Busy(definition.name)),
            rolled_back => return rolled_back,
        }
        attempt += 1;
    }
}

/// So long may new readers wait for those before them in one attempt to switch. Where readers leave no gap, attempts become
/// more insistent, up to some seconds.
pub(in crate::engine) fn readers_wait(step: u32) -> Duration {
    READERS_WAIT * 2_u32.pow(step.min(5))
}

async fn try_to_roll_back(
    store: &Store,
    definition: &Definition,
    leaving: Option<i32>,
    (wait, deadline): (Duration, Instant),
    owner: &mut PgConnection,
) -> Result<(Target, Duration), RebuildError> {
    let name = definition.name;
    let mut transaction = owner.begin().await?;
    let mut builds = build::lock(name, &mut transaction).await?;
    let (serving, kept) = to_roll_back(name, leaving, &builds)?;
    // Who rolls back at the same time must not have this roll forward again, past rows that nobody has locked.
    let leaving = Some(serving.build);
    // Only this program's own fold is at hand here.
    let few = serving.position.saturating_sub(kept.position) <= LAST_EVENTS;
    let ours = few && kept.version == definition.version && kept.state == State::Running;
    if kept.position < serving.position && !ours && kept.state == State::Running {
        // It is driven by another process, or by this one in a turn of its own.
        let (serving, kept) = (serving.build, kept.build);
        transaction.rollback().await?;
        transaction = owner.begin().await?;
        builds = build::lock_abreast(name, serving, kept, deadline, &mut transaction).await?;
    }
    let (serving, kept) = to_roll_back(name, leaving, &builds)?;
    let target = Target { definition: Definition { version: kept.version, ..*definition }, build: kept.build };
    if kept.position < serving.position {
        if !ours {
            let (kept, serving) = (kept.position, serving.position);
            return Err(RebuildError::KeptBehind { name, kept, serving });
        }
        let folding = Folding::read(&target.definition, &mut *transaction).await?;
        fold_rest(store, &target, &folding, kept.position, &mut transaction).await?;
    }
    let begun = switch(serving, (kept, definition.tables), wait, &mut transaction).await?;
    transaction.commit().await?;
    Ok((target, begun.elapsed()))
}

/// The build that serves, and the one that is kept and can serve again.
fn to_roll_back<'a>(
    name: &'static str,
    leaving: Option<i32>,
    builds: &'a [Build],
) -> Result<(&'a Build, &'a Build), RebuildError> {
    let at = |stage| builds.iter().find(move |build| build.stage == stage);
    let serving = at(Stage::Serving).ok_or(RebuildError::Nothing { name, stage: "serving" })?;
    if leaving.is_some_and(|leaving| leaving != serving.build) {
        return Err(RebuildError::OtherBuild { name, serving: serving.build });
    }
    let kept = at(Stage::Kept).ok_or(RebuildError::Nothing { name, stage: "kept" })?;
    if kept.state == State::Stopped {
        return Err(RebuildError::KeptStopped { name, error: kept.error.clone().unwrap_or_default() });
    }
    Ok((serving, kept))
}

/// Folds what is left of the book within a transaction that has the build locked; answers with where it stands then.
pub(in crate::engine) async fn fold_rest(
    store: &Store,
    target: &Target,
    folding: &Folding,
    after: Position,
    transaction: &mut PgConnection,
) -> Result<Position, RebuildError> {
    let entries = log::read(transaction, store, after, u32::MAX).await?;
    let reached = entries.last().map_or(after, |entry| entry.position);
    folding.apply(target, &entries, transaction).await?;
    sqlx::query("update projections set position = $3 where name = $1 and build = $2")
        .bind(target.definition.name)
        .bind(target.build)
        .bind(reached as i64)
        .execute(transaction)
        .await?;
    Ok(reached)
}

/// Takes the build away that is kept for a roll-back, or one that was interrupted; answers with its number.
pub async fn discard(store: &Store, definition: &Definition, stage: Stage) -> Result<i32, RebuildError> {
    let word = if stage == Stage::Kept { "kept" } else { "interrupted" };
    let nothing = RebuildError::Nothing { name: definition.name, stage: word };
    let mut owner = store.owner_connection().await?;
    let mut transaction = owner.begin().await?;
    let builds = lock_shortly(definition.name, &mut transaction).await?;
    match builds.iter().find(|build| build.stage == stage && stage != Stage::Serving) {
        Some(build) if build.stage == Stage::Building && build.leased => Err(RebuildError::UnderWay(definition.name)),
        Some(build) => {
            remove(build, &mut transaction).await.map_err(|error| busy(definition.name, error))?;
            transaction.commit().await?;
            Ok(build.build)
        }
        None => Err(nothing),
    }
}

/// Locks the builds for a change of their tables, which gives up soon when somebody reads these.
pub(in crate::engine) async fn lock_shortly(
    name: &'static str,
    transaction: &mut PgConnection,
) -> Result<Vec<Build>, RebuildError> {
    transaction.execute(&*format!("set local lock_timeout = {}", 20 * PATIENCE.as_millis())).await?;
    build::lock(name, transaction).await.map_err(|error| busy(name, error))
}

pub(in crate::engine) fn busy(name: &'static str, error: sqlx::Error) -> RebuildError {
    if is_lock_timeout(&error) { RebuildError::Busy(name) } else { error.into() }
}

/// Lets `next` serve instead of `serving`; both rows are locked. Gives up where it would have to wait longer for readers.
/// Answers with the moment from which new readers wait.
pub(in crate::engine) async fn switch(
    serving: &Build,
    (next, tables): (&Build, &[Table]),
    wait: Duration,
    transaction: &mut PgConnection,
) -> Result<Instant, sqlx::Error> {
    // One view is locked after the other, and all of this time new readers wait.
    let views = u128::try_from(next.tables.len()).unwrap_or(1).max(1);
    transaction.execute(&*format!("set local lock_timeout = {}", wait.as_millis() / views)).await?;
    let begun = Instant::now();
    shape::show(next, &serving.tables, transaction).await?;
    // After the readers' views: a reader has locked one of these before it comes to the wall.
    wall::show(tables, next, &serving.tables, transaction).await?;
    // Whoever drives the one drives the other, too, once he has looked which serves; unless he may not know that version.
    sqlx::query(
        "update projections p
         set stage = case when p.build = $3 then 'serving' else 'kept' end, stage_since = clock_timestamp(),
             phase = null, holder = case when p.version = driven.version then driven.holder end,
             leased_until = null, updated_at = clock_timestamp()
         from (select version, holder from projections where name = $1 and build = $2) driven
         where p.name = $1 and p.build in ($2, $3)",
    )
    .bind(&next.name)
    .bind(serving.build)
    .bind(next.build)
    .execute(&mut *transaction)
    .await?;
    Ok(begun)
}

/// Takes a build away: its tables, its row, and what was found in it.
pub(in crate::engine) async fn remove(build: &Build, owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    shape::remove(build, owner).await?;
    for statement in [
        "delete from drifts where projection = $1 and build = $2",
        "delete from projections where name = $1 and build = $2",
    ] {
        sqlx::query(statement).bind(&build.name).bind(build.build).execute(&mut *owner).await?;
    }
    Ok(())
}
