//! A table of a projection: how its rows are loaded and written, many at a time.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use daybook_core::Position;
use futures::{FutureExt, future::BoxFuture};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{FromRow, PgConnection, postgres::PgRow};

use super::{
    changes::{Change, Changes, FoldError, Slot},
    memory::Memory,
};

/// A row as a plain struct; its fields are the columns of its table.
pub trait Row:
    Serialize + for<'r> FromRow<'r, PgRow> + Clone + PartialEq + fmt::Debug + Send + Sync + Unpin + 'static
{
    /// The values of the key columns: one value, or a tuple of them.
    type Key: Serialize + Ord + Clone + fmt::Debug + Send + Sync;
    /// The name that readers use: a view over the table of the present version.
    const TABLE: &'static str;
    /// The columns of the primary key.
    const KEY: &'static [&'static str];

    fn key(&self) -> Self::Key;
}

/// A table, whatever its rows are.
#[derive(Clone, Copy)]
pub struct Table(&'static dyn AnyTable);

/// Why a batch could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("event {position}: {error}")]
    Fold { position: Position, error: FoldError },
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Rows per statement, so that no parameter grows without bound.
const ROWS_PER_STATEMENT: usize = 4_000;

trait AnyTable: Sync {
    fn name(&self) -> &'static str;
    fn key(&self) -> &'static [&'static str];
    fn write<'a>(
        &self,
        target: &'a str,
        changes: &'a mut Changes,
        connection: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<(), WriteError>>;
    fn keep(&self, changes: &mut Changes, memory: &mut Memory) -> Result<(), FoldError>;
}

impl Table {
    pub const fn of<R: Row>() -> Self {
        Self(&Typed::<R>(PhantomData))
    }

    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// The columns of the primary key.
    pub fn key(&self) -> &'static [&'static str] {
        self.0.key()
    }

    /// Loads the rows that the changes touch, applies them, and writes what has changed.
    pub(super) async fn write(
        &self,
        target: &str,
        changes: &mut Changes,
        connection: &mut PgConnection,
    ) -> Result<(), WriteError> {
        self.0.write(target, changes, connection).await
    }

    /// Applies the changes to rows in memory.
    pub(super) fn keep(&self, changes: &mut Changes, memory: &mut Memory) -> Result<(), FoldError> {
        self.0.keep(changes, memory)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

struct Typed<R>(PhantomData<fn() -> R>);

impl<R: Row> AnyTable for Typed<R> {
    fn name(&self) -> &'static str {
        R::TABLE
    }

    fn key(&self) -> &'static [&'static str] {
        R::KEY
    }

    fn write<'a>(
        &self,
        target: &'a str,
        changes: &'a mut Changes,
        connection: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move {
            let queue = changes.take::<R>();
            if queue.is_empty() {
                return Ok(());
            }
            let wanted = queue.iter().filter(|(_, change)| !matches!(change, Change::Insert(_)));
            let mut keys: Vec<R::Key> = wanted.map(|(_, change)| change.key()).collect();
            keys.sort_unstable();
            keys.dedup();
            let mut slots = load::<R>(target, &keys, connection).await?;
            for (position, change) in queue {
                change.apply(&mut slots).map_err(|error| WriteError::Fold { position, error })?;
            }
            store(target, slots, connection).await?;
            Ok(())
        }
        .boxed()
    }

    fn keep(&self, changes: &mut Changes, memory: &mut Memory) -> Result<(), FoldError> {
        changes.take::<R>().into_iter().try_for_each(|(_, change)| change.apply(memory.slots::<R>()))
    }
}

async fn load<R: Row>(
    target: &str,
    keys: &[R::Key],
    connection: &mut PgConnection,
) -> Result<BTreeMap<R::Key, Slot<R>>, sqlx::Error> {
    let mut slots = BTreeMap::new();
    let statement = format!(
        "select t.* from json_populate_recordset(null::{target}, $1::json) k join {target} t on {}",
        R::KEY.iter().map(|column| format!("t.{column} = k.{column}")).collect::<Vec<_>>().join(" and ")
    );
    for keys in keys.chunks(ROWS_PER_STATEMENT) {
        let keys: Vec<Value> = keys.iter().map(key_object::<R>).collect();
        let rows: Vec<R> = sqlx::query_as(&statement).bind(json(&keys)).fetch_all(&mut *connection).await?;
        slots.extend(rows.into_iter().map(|row| (row.key(), Slot { stored: true, row: Some(row), changed: false })));
    }
    Ok(slots)
}

async fn store<R: Row>(
    target: &str,
    slots: BTreeMap<R::Key, Slot<R>>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let (mut new, mut changed, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for (key, slot) in slots.into_iter().filter(|(_, slot)| slot.changed) {
        match (slot.stored, slot.row) {
            (false, Some(row)) => new.push(row),
            (true, Some(row)) => changed.push(row),
            (true, None) => gone.push(key_object::<R>(&key)),
            (false, None) => {}
        }
    }
    let Some(columns) = new.first().or(changed.first()).map(columns).or_else(|| gone.first().map(|_| Vec::new()))
    else {
        return Ok(());
    };
    // A row that should be new and is there after all is an error here: no fold overwrites what it did not expect.
    let list = columns.join(", ");
    let insert =
        format!("insert into {target} ({list}) select {list} from json_populate_recordset(null::{target}, $1::json)");
    let key = R::KEY.iter().map(|column| format!("t.{column} = r.{column}")).collect::<Vec<_>>().join(" and ");
    let values = columns.iter().filter(|column| !R::KEY.contains(&column.as_str()));
    let update = format!(
        "update {target} t set {} from json_populate_recordset(null::{target}, $1::json) r where {key}",
        values.map(|column| format!("{column} = r.{column}")).collect::<Vec<_>>().join(", ")
    );
    let delete =
        format!("delete from {target} t using json_populate_recordset(null::{target}, $1::json) r where {key}");

    for rows in new.chunks(ROWS_PER_STATEMENT) {
        sqlx::query(&insert).bind(json(rows)).execute(&mut *connection).await?;
    }
    for rows in changed.chunks(ROWS_PER_STATEMENT) {
        sqlx::query(&update).bind(json(rows)).execute(&mut *connection).await?;
    }
    for keys in gone.chunks(ROWS_PER_STATEMENT) {
        sqlx::query(&delete).bind(json(keys)).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The key as an object of its columns.
fn key_object<R: Row>(key: &R::Key) -> Value {
    let values = match serde_json::to_value(key).expect("a key is plain values") {
        Value::Array(values) => values,
        value => vec![value],
    };
    let columns = R::KEY.iter().map(|column| (*column).to_owned());
    Value::Object(columns.zip(values).collect::<Map<_, _>>())
}

/// The fields of the row's struct, which are the columns of its table.
fn columns<R: Row>(row: &R) -> Vec<String> {
    match serde_json::to_value(row).expect("a row is plain values") {
        Value::Object(fields) => fields.into_iter().map(|(name, _)| name).collect(),
        other => unreachable!("a row is a struct with named fields, not {other}"),
    }
}

fn json(rows: &[impl Serialize]) -> String {
    without_nul(serde_json::to_string(rows).expect("a row is plain values"))
}

/// The book may hold the character NUL in a text, a column of PostgreSQL may not: it becomes the replacement character.
fn without_nul(json: String) -> String {
    if !json.contains(r"\u0000") {
        return json;
    }
    let mut clean = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some(at) = rest.find('\\') {
        // A backslash and what it escapes go together, so that an escaped backslash before `u0000` stays one.
        let (escape, length) = if rest[at..].starts_with(r"\u0000") { (r"\ufffd", 6) } else { (&rest[at..at + 2], 2) };
        clean.push_str(&rest[..at]);
        clean.push_str(escape);
        rest = &rest[at + length..];
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_replaced_and_what_only_looks_like_one_is_not() {
        let texts = ["plain", "a\0b", r"a\u0000b", "\\\0", "\"\0\n"];
        let read: Vec<String> = serde_json::from_str(&json(&texts)).expect("json");
        assert_eq!(read, ["plain", "a\u{fffd}b", r"a\u0000b", "\\\u{fffd}", "\"\u{fffd}\n"]);
    }
}
