//! Rebuilding a projection from the book beside the serving tables, and taking over in one short transaction. Customers
//! read throughout.

use std::time::Duration;

use daybook_core::{
    Position,
    store::{APPLICATION_ROLE, Store, StoreError, Upcasters},
};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::{Connection, Executor as _, PgConnection};

use super::{Definition, batch, checkpoint, log, table::WriteError};

/// What a rebuild has come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    pub name: &'static str,
    pub version: i32,
    /// The last event that is in the rows.
    pub position: Position,
}

/// The rows of a table, summed up so that two of its states can be compared, whatever the order of their rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Checksum {
    pub table: String,
    pub rows: i64,
    pub sum: Decimal,
}

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("event {position} cannot be folded: {reason}")]
    Fold { position: Position, reason: String },
    #[error("another rebuild of `{0}` is under way")]
    UnderWay(&'static str),
    #[error("readers held the tables of `{0}` for too long")]
    Busy(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The rows of these tables are being built.
const BESIDE: &str = "_rebuild";
const BATCH: u32 = 1_000;
/// How often the take-over waits for readers, a second each time, before it gives up.
const ATTEMPTS: u32 = 60;

/// Folds the whole book into new tables and lets them take over. What an interrupted rebuild has left is dropped first.
pub async fn rebuild(
    store: &Store,
    definition: &Definition,
    mut progress: impl FnMut(Position),
) -> Result<Rebuilt, RebuildError> {
    checkpoint::register(&[*definition], store.pool()).await?;
    let mut owner = store.owner_connection().await?;
    claim(definition, &mut owner).await?;
    prepare(definition, &mut owner).await?;

    let mut position = 0;
    for attempt in 1.. {
        position = catch_up(definition, store.upcasters(), position, &mut owner, &mut progress).await?;
        match take_over(definition, store.upcasters(), position, &mut owner).await {
            Ok(taken_over) => {
                position = taken_over;
                break;
            }
            // Readers are in the way. While this waits for them, new readers wait behind it, hence only shortly.
            Err(RebuildError::Database(error)) if is_lock_timeout(&error) && attempt < ATTEMPTS => {}
            Err(RebuildError::Database(error)) if is_lock_timeout(&error) => {
                return Err(RebuildError::Busy(definition.name));
            }
            Err(error) => return Err(error),
        }
    }
    owner.close().await?;
    Ok(Rebuilt { name: definition.name, version: definition.version, position })
}

/// The checksum of each table of a projection.
pub async fn checksum(definition: &Definition, connection: &mut PgConnection) -> Result<Vec<Checksum>, sqlx::Error> {
    let mut checksums = Vec::with_capacity(definition.tables.len());
    for table in definition.tables {
        let target = definition.target(table, "");
        let statement = format!(
            "select $1 as \"table\", count(*) as rows, coalesce(sum(hash_record_extended(t, 0)), 0) as sum from {target} t"
        );
        checksums.push(sqlx::query_as(&statement).bind(table.name()).fetch_one(&mut *connection).await?);
    }
    Ok(checksums)
}

/// One rebuild of a projection at a time. The claim ends with the connection.
async fn claim(definition: &Definition, owner: &mut PgConnection) -> Result<(), RebuildError> {
    let free: bool = sqlx::query_scalar(
        "select pg_try_advisory_lock(hashtextextended('rebuild ' || current_schema() || '.' || $1, 0))",
    )
    .bind(definition.name)
    .fetch_one(&mut *owner)
    .await?;
    owner.execute("set synchronous_commit = off; set enable_hashjoin = off; set enable_mergejoin = off").await?;
    if free { Ok(()) } else { Err(RebuildError::UnderWay(definition.name)) }
}

async fn prepare(definition: &Definition, owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    for table in definition.tables {
        let (serving, beside) = (definition.target(table, ""), definition.target(table, BESIDE));
        // `like` copies everything but these.
        let parameters: Option<String> = sqlx::query_scalar(
            "select 'with (' || array_to_string(reloptions, ', ') || ')' from pg_class where oid = $1::regclass",
        )
        .bind(&serving)
        .fetch_one(&mut *owner)
        .await?;
        let parameters = parameters.unwrap_or_default();
        let statement = format!(
            "drop table if exists {beside};
             create table {beside} (like {serving} including all) {parameters};
             grant select, insert, update, delete, truncate on {beside} to {APPLICATION_ROLE}"
        );
        owner.execute(&*statement).await?;
    }
    Ok(())
}

/// Folds up to the end of the book, a batch per transaction.
async fn catch_up(
    definition: &Definition,
    upcasters: &Upcasters,
    mut position: Position,
    owner: &mut PgConnection,
    progress: &mut impl FnMut(Position),
) -> Result<Position, RebuildError> {
    loop {
        let mut transaction = owner.begin().await?;
        let reached = fold_batch(definition, upcasters, position, &mut transaction).await?;
        transaction.commit().await?;
        if reached == position {
            break;
        }
        position = reached;
        progress(position);
    }
    for table in definition.tables {
        owner.execute(&*format!("analyze {}", definition.target(table, BESIDE))).await?;
    }
    Ok(position)
}

/// Folds what has come since, and puts the new tables in the place of the old ones.
async fn take_over(
    definition: &Definition,
    upcasters: &Upcasters,
    mut position: Position,
    owner: &mut PgConnection,
) -> Result<Position, RebuildError> {
    let mut transaction = owner.begin().await?;
    // The projector waits at this row; afterwards it sees that the checkpoint has moved.
    sqlx::query("select from projections where name = $1 and version = $2 for update")
        .bind(definition.name)
        .bind(definition.version)
        .execute(&mut *transaction)
        .await?;
    loop {
        let reached = fold_batch(definition, upcasters, position, &mut transaction).await?;
        if reached == position {
            break;
        }
        position = reached;
    }
    let patience = Duration::from_secs(1).as_millis();
    transaction.execute(&*format!("set local lock_timeout = {patience}")).await?;
    for table in definition.tables {
        let (view, serving, beside) = (table.name(), definition.target(table, ""), definition.target(table, BESIDE));
        let statement = format!(
            "lock table {view} in access exclusive mode;
             alter table {serving} rename to {serving}_before;
             alter table {beside} rename to {serving};
             create or replace view {view} as select * from {serving};
             drop table {serving}_before"
        );
        transaction.execute(&*statement).await?;
    }
    sqlx::query(
        "update projections
         set position = $3, status = 'running', error = null, error_position = null, updated_at = now()
         where name = $1 and version = $2",
    )
    .bind(definition.name)
    .bind(definition.version)
    .bind(position as i64)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(position)
}

async fn fold_batch(
    definition: &Definition,
    upcasters: &Upcasters,
    position: Position,
    connection: &mut PgConnection,
) -> Result<Position, RebuildError> {
    let events = log::read(connection, upcasters, position, BATCH).await?;
    let Some(last) = events.last() else { return Ok(position) };
    batch::apply(definition, BESIDE, &events, connection).await?;
    Ok(last.position)
}

fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}

impl From<WriteError> for RebuildError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Fold { position, error } => Self::Fold { position, reason: error.to_string() },
            WriteError::Database(error) => Self::Database(error),
        }
    }
}
