//! Verifying a projection: a fresh fold of the whole book, compared with every stored row.

use daybook_core::{
    Position,
    store::{Store, StoreError, Upcasters},
};
use serde::Serialize;
use serde_json::Value;
use sqlx::{Connection, Executor as _, PgConnection};

use super::{Definition, batch, checkpoint, log, rebuild::RebuildError, table::Table};

/// What a comparison has found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verified {
    pub name: &'static str,
    pub version: i32,
    /// The checkpoint at which the rows were compared.
    pub position: Position,
    pub rows: i64,
    /// How many rows differ.
    pub different: i64,
    /// The first of them.
    pub differences: Vec<Difference>,
}

/// A row that is not what the book says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    pub table: &'static str,
    pub key: Value,
    /// `None`: the row should not be there, or is missing.
    pub stored: Option<Value>,
    pub expected: Option<Value>,
}

/// The tables of the fresh fold. They are temporary: nobody else sees them, nothing of them stays.
const FRESH: &str = "_verify";
const BATCH: u32 = 1_000;
/// Differences told in full, per table.
const TOLD: i64 = 10;

/// Folds the book up to the checkpoint and compares. Everything happens in one snapshot, so that the projection may go
/// on meanwhile.
pub async fn verify(store: &Store, definition: &Definition) -> Result<Verified, RebuildError> {
    let mut connection = store.connection().await?;
    connection.execute("set statement_timeout = 0; set idle_in_transaction_session_timeout = 0").await?;
    let mut transaction = connection.begin_with(begin(definition)).await?;
    let checkpoints = checkpoint::read(&[*definition], &mut *transaction).await?;
    let position = checkpoints.get(definition.name).map_or(0, |checkpoint| checkpoint.position);
    fold_afresh(definition, store.upcasters(), position, &mut transaction).await?;

    let (name, version) = (definition.name, definition.version);
    let mut verified = Verified { name, version, position, rows: 0, different: 0, differences: Vec::new() };
    for table in definition.tables {
        compare(definition, table, &mut verified, &mut transaction).await?;
    }
    transaction.rollback().await?;
    connection.close().await?;
    Ok(verified)
}

/// Locked before the snapshot is taken, so that no rebuild swaps the tables under it.
fn begin(definition: &Definition) -> String {
    let tables: Vec<&str> = definition.tables.iter().map(Table::name).collect();
    format!("begin isolation level repeatable read; lock table {} in access share mode", tables.join(", "))
}

async fn fold_afresh(
    definition: &Definition,
    upcasters: &Upcasters,
    position: Position,
    connection: &mut PgConnection,
) -> Result<(), RebuildError> {
    for table in definition.tables {
        let (serving, fresh) = (definition.target(table, ""), definition.target(table, FRESH));
        let statement = format!("create temporary table {fresh} (like {serving} including all) on commit drop");
        connection.execute(&*statement).await?;
    }
    connection.execute("set local enable_hashjoin = off; set local enable_mergejoin = off").await?;
    let mut reached = 0;
    while reached < position {
        let limit = u32::try_from(position - reached).unwrap_or(BATCH).min(BATCH);
        let events = log::read(connection, upcasters, reached, limit).await?;
        let Some(last) = events.last() else { return Err(StoreError::Gap { after: reached, found: position }.into()) };
        batch::apply(definition, FRESH, &events, connection).await?;
        reached = last.position;
    }
    connection.execute("set local enable_hashjoin = on; set local enable_mergejoin = on").await?;
    Ok(())
}

async fn compare(
    definition: &Definition,
    table: &Table,
    verified: &mut Verified,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let (serving, fresh) = (definition.target(table, ""), definition.target(table, FRESH));
    connection.execute(&*format!("analyze {fresh}")).await?;
    let first = table.key()[0];
    let key = table.key().join(", ");
    let pairs: Vec<String> =
        table.key().iter().map(|column| format!("'{column}', coalesce(s.{column}, f.{column})")).collect();
    let joined = format!("from {serving} s full join {fresh} f using ({key}) where row(s.*) is distinct from row(f.*)");
    verified.rows +=
        sqlx::query_scalar::<_, i64>(&format!("select count(*) from {serving}")).fetch_one(&mut *connection).await?;
    let different: i64 = sqlx::query_scalar(&format!("select count(*) {joined}")).fetch_one(&mut *connection).await?;
    if different > 0 {
        let told: Vec<(Value, Option<Value>, Option<Value>)> = sqlx::query_as(&format!(
            "select jsonb_build_object({}),
                case when s.{first} is not null then to_jsonb(s) end,
                case when f.{first} is not null then to_jsonb(f) end
             {joined} order by {key} limit {TOLD}",
            pairs.join(", ")
        ))
        .fetch_all(connection)
        .await?;
        verified.differences.extend(told.into_iter().map(|(key, stored, expected)| Difference {
            table: table.name(),
            key,
            stored,
            expected,
        }));
    }
    verified.different += different;
    Ok(())
}
