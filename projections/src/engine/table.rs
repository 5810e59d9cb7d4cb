//! A table of a projection: how its rows are loaded and written, many at a time.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::Hash,
    marker::PhantomData,
};

use chrono::NaiveDate;
use daybook_core::Position;
use futures::{FutureExt, TryStreamExt, future::BoxFuture};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{FromRow, PgConnection, postgres::PgRow};

use super::{
    changes::{Change, Changes, FoldError, Queue, Slot},
    copy::{self, Column, Columns},
    memory::{Memory, Portion},
};

/// A row as a plain struct; its fields are the columns of its table.
pub trait Row:
    Serialize + for<'r> FromRow<'r, PgRow> + Clone + PartialEq + fmt::Debug + Send + Sync + Unpin + 'static
{
    /// The values of the key columns: one value, or a tuple of them.
    type Key: RowKey;
    /// The name that readers use: a view over the table of the build that serves.
    const TABLE: &'static str;
    /// The columns of the primary key.
    const KEY: &'static [&'static str];

    fn key(&self) -> Self::Key;

    /// Which events can have made the row what it is, as far as the row itself tells.
    fn sources(&self) -> Vec<Source>;

    /// The column that tells whose the row is: rows of a projection that have the same here are shown together.
    const BELONGS_TO: &'static str = Self::KEY[0];

    /// Of rows that stay once an event has made them, the columns that a later event may still change; their column
    /// `position` tells which event made them. `None` for rows that become others in the course of time.
    const STAYS_BUT_FOR: Option<&'static [&'static str]> = None;
}

/// Where the events stand that can have changed a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// In one stream: the type of the aggregate, and its identifier.
    Stream(&'static str, String),
    /// It is one event alone.
    Event(i64),
    /// Anywhere in the book.
    Book,
}

impl Source {
    pub fn stream(aggregate_type: &'static str, aggregate_id: &str) -> Self {
        Self::Stream(aggregate_type, aggregate_id.into())
    }
}

/// The key of a row. Rows that share its first column belong together: they are folded, checked and repaired together.
pub trait RowKey: Serialize + Ord + Hash + Clone + fmt::Debug + Send + Sync + 'static {
    /// The first column as a text.
    fn first(&self) -> Cow<'_, str>;

    /// Whether this text can be a first column at all: the tables of a projection need not be keyed alike.
    fn can_be_first(_text: &str) -> bool {
        true
    }
}

impl RowKey for String {
    fn first(&self) -> Cow<'_, str> {
        self.into()
    }
}

impl<T: KeyColumn> RowKey for (String, T) {
    fn first(&self) -> Cow<'_, str> {
        (&self.0).into()
    }
}

impl<T: KeyColumn> RowKey for (i64, T) {
    fn first(&self) -> Cow<'_, str> {
        self.0.to_string().into()
    }

    fn can_be_first(text: &str) -> bool {
        text.parse::<i64>().is_ok()
    }
}

/// What may stand in a further column of a key.
pub trait KeyColumn: Serialize + Ord + Hash + Clone + fmt::Debug + Send + Sync + 'static {}

impl KeyColumn for String {}
impl KeyColumn for i64 {}
impl KeyColumn for i32 {}
impl KeyColumn for NaiveDate {}

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

impl WriteError {
    /// Of the event that is to blame, where one is.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Fold { position, .. } => Some(*position),
            Self::Database(_) => None,
        }
    }
}

/// How new rows go into their table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Manner<'a> {
    /// By one statement: best for a few.
    Insert,
    /// As a live batch has them: by COPY, unless they are few.
    Live(&'a Columns),
    /// By COPY, the rows made on all cores: best for many.
    Copy(&'a Columns),
}

/// From so many new rows on, a COPY costs less than a statement, which PostgreSQL takes apart as JSON.
const COPIED: usize = 24;

/// Rows per statement, so that no parameter grows without bound.
const ROWS_PER_STATEMENT: usize = 4_000;

trait AnyTable: Sync {
    fn name(&self) -> &'static str;
    fn key(&self) -> &'static [&'static str];
    fn stays_but_for(&self) -> Option<&'static [&'static str]>;
    fn write<'a>(
        &self,
        target: &'a str,
        manner: Manner<'a>,
        changes: &'a mut [Changes],
        connection: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<(), WriteError>>;
    fn keep(&self, changes: &mut Changes, portion: &Portion, memory: &mut Memory) -> Result<(), WriteError>;
    fn attempt(&self, changes: &mut Changes, portion: &Portion, memory: &mut Memory) -> (Undo, Result<(), FoldError>);
    fn touched(&self, changes: &mut Changes) -> Vec<String>;
    fn can_have(&self, first: &str) -> bool;
    fn count(&self, memory: &mut Memory) -> u64;
    fn hand_out(&self, memory: &mut Memory) -> Option<String>;
    fn sources<'a>(
        &self,
        target: &'a str,
        first: &'a str,
        limit: usize,
        connection: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<BTreeSet<Source>, sqlx::Error>>;
    fn related<'a>(
        &self,
        target: &'a str,
        owners: &'a [String],
        connection: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<Related, sqlx::Error>>;
}

/// Puts rows in memory back to what they were before.
pub(super) type Undo = Box<dyn FnOnce(&mut Memory) + Send>;

/// The rows that belong to some others.
#[derive(Debug, Default)]
pub(super) struct Related {
    /// Their first key columns.
    pub keys: BTreeSet<String>,
    pub sources: BTreeSet<Source>,
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

    /// Of a table that keeps every position, the columns in which a row may still change.
    pub(super) fn stays_but_for(&self) -> Option<&'static [&'static str]> {
        self.0.stays_but_for()
    }

    /// Loads the rows that the changes touch, applies them, and writes what has changed.
    pub(super) async fn write(
        &self,
        target: &str,
        manner: Manner<'_>,
        changes: &mut [Changes],
        connection: &mut PgConnection,
    ) -> Result<(), WriteError> {
        self.0.write(target, manner, changes, connection).await
    }

    /// Applies the changes to rows in memory, as far as these belong to the portion.
    pub(super) fn keep(&self, changes: &mut Changes, portion: &Portion, memory: &mut Memory) -> Result<(), WriteError> {
        self.0.keep(changes, portion, memory)
    }

    /// The same; what follows puts the rows back if any of the changes does not fit.
    pub(super) fn attempt(
        &self,
        changes: &mut Changes,
        portion: &Portion,
        memory: &mut Memory,
    ) -> (Undo, Result<(), FoldError>) {
        self.0.attempt(changes, portion, memory)
    }

    /// The first key columns of the rows that the changes touch.
    pub(super) fn touched(&self, changes: &mut Changes) -> Vec<String> {
        self.0.touched(changes)
    }

    /// Whether a row of this table can have such a first key column.
    pub(super) fn can_have(&self, first: &str) -> bool {
        self.0.can_have(first)
    }

    /// How many rows the memory has of this table.
    pub(super) fn count(&self, memory: &mut Memory) -> u64 {
        self.0.count(memory)
    }

    /// The text in `$1` as a value of the first key column: its own type decides how the text is read, so that the
    /// index on the key serves.
    pub(super) fn first_of(&self, target: &str) -> String {
        let first = self.key()[0];
        format!("(json_populate_record(null::{target}, json_build_object('{first}', $1::text))).{first}")
    }

    /// That a column of `target` is among the texts in `$1`, in a form that an index on the column serves.
    pub(super) fn among(target: &str, column: &str) -> String {
        format!(
            "{column} = any(array(select (json_populate_record(null::{target}, json_build_object('{column}', key))).{column}
             from unnest($1::text[]) key))"
        )
    }

    /// Takes some rows out of the memory, as a JSON list of them; `None` when no row is left.
    pub(super) fn hand_out(&self, memory: &mut Memory) -> Option<String> {
        self.0.hand_out(memory)
    }

    /// What the stored rows with this first key column tell of the events behind them; the whole book, if there are
    /// that many rows.
    pub(super) async fn sources(
        &self,
        target: &str,
        first: &str,
        limit: usize,
        connection: &mut PgConnection,
    ) -> Result<BTreeSet<Source>, sqlx::Error> {
        self.0.sources(target, first, limit, connection).await
    }

    /// The stored rows that belong to these.
    pub(super) async fn related(
        &self,
        target: &str,
        owners: &[String],
        connection: &mut PgConnection,
    ) -> Result<Related, sqlx::Error> {
        self.0.related(target, owners, connection).await
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

    fn stays_but_for(&self) -> Option<&'static [&'static str]> {
        R::STAYS_BUT_FOR
    }

    fn write<'a>(
        &self,
        target: &'a str,
        manner: Manner<'a>,
        changes: &'a mut [Changes],
        connection: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move {
            let queue: Queue<R> = changes.iter_mut().flat_map(Changes::take::<R>).collect();
            if queue.is_empty() {
                return Ok(());
            }
            let wanted = queue.iter().filter(|(_, change)| !matches!(change, Change::Insert(_)));
            let mut keys: Vec<R::Key> = wanted.map(|(_, change)| change.key()).collect();
            keys.sort_unstable();
            keys.dedup();
            let loaded = load::<R>(target, &keys, connection).await?;
            match manner {
                Manner::Insert => {
                    let written = written(queue, loaded)?;
                    insert(target, &written.new, connection).await?;
                    change(target, &written, connection).await?;
                }
                Manner::Live(columns) => {
                    let written = written(queue, loaded)?;
                    if written.new.len() < COPIED {
                        insert(target, &written.new, connection).await?;
                    } else {
                        // A column that a newer program has added keeps its default.
                        let fields = written.new.first().map(fields).unwrap_or_default();
                        let columns = columns.of(R::TABLE).iter().filter(|column| fields.contains(&column.name));
                        let columns: Vec<Column> = columns.cloned().collect();
                        copy::send(target, &columns, vec![copy::lines(&written.new, &columns)], connection).await?;
                    }
                    change(target, &written, connection).await?;
                }
                Manner::Copy(columns) => {
                    let (written, lines) = copy::prepare(queue, loaded, columns.of(R::TABLE)).await?;
                    copy::send(target, columns.of(R::TABLE), lines, connection).await?;
                    for written in written {
                        change(target, &written, connection).await?;
                    }
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn keep(&self, changes: &mut Changes, portion: &Portion, memory: &mut Memory) -> Result<(), WriteError> {
        let slots = memory.slots::<R>();
        for (position, change) in changes.take::<R>() {
            if portion.has(&change.key().first()) {
                change.apply(slots).map_err(|error| WriteError::Fold { position, error })?;
            }
        }
        Ok(())
    }

    fn attempt(&self, changes: &mut Changes, portion: &Portion, memory: &mut Memory) -> (Undo, Result<(), FoldError>) {
        let slots = memory.slots::<R>();
        let queue: Queue<R> =
            changes.take::<R>().into_iter().filter(|(_, change)| portion.has(&change.key().first())).collect();
        let before: BTreeMap<R::Key, Option<Slot<R>>> =
            queue.iter().map(|(_, change)| (change.key(), slots.get(&change.key()).cloned())).collect();
        let outcome = queue.into_iter().try_for_each(|(_, change)| change.apply(slots));
        let undo = move |memory: &mut Memory| {
            let slots = memory.slots::<R>();
            for (key, slot) in before {
                match slot {
                    Some(slot) => slots.insert(key, slot),
                    None => slots.remove(&key),
                };
            }
        };
        (Box::new(undo), outcome)
    }

    fn touched(&self, changes: &mut Changes) -> Vec<String> {
        changes.take::<R>().into_iter().map(|(_, change)| change.key().first().into_owned()).collect()
    }

    fn can_have(&self, first: &str) -> bool {
        R::Key::can_be_first(first)
    }

    fn count(&self, memory: &mut Memory) -> u64 {
        memory.len::<R>()
    }

    fn hand_out(&self, memory: &mut Memory) -> Option<String> {
        let slots = memory.slots::<R>();
        let rows: Vec<R> = std::iter::from_fn(|| slots.pop_first())
            .filter_map(|(_, slot)| slot.row)
            .take(ROWS_PER_STATEMENT)
            .collect();
        (!rows.is_empty()).then(|| json(&rows))
    }

    fn sources<'a>(
        &self,
        target: &'a str,
        first: &'a str,
        limit: usize,
        connection: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<BTreeSet<Source>, sqlx::Error>> {
        async move {
            let (first_column, value) = (R::KEY[0], Table::of::<R>().first_of(target));
            let statement = format!("select t.* from {target} t where t.{first_column} = {value} limit {limit}");
            let rows: Vec<R> = sqlx::query_as(&statement).bind(first).fetch_all(connection).await?;
            if rows.len() == limit {
                return Ok(BTreeSet::from([Source::Book]));
            }
            Ok(rows.iter().flat_map(Row::sources).collect())
        }
        .boxed()
    }

    fn related<'a>(
        &self,
        target: &'a str,
        owners: &'a [String],
        connection: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<Related, sqlx::Error>> {
        async move {
            let statement = format!("select t.* from {target} t where {}", Table::among(target, R::BELONGS_TO));
            let mut rows = sqlx::query_as::<_, R>(&statement).persistent(false).bind(owners).fetch(connection);
            let mut related = Related::default();
            while let Some(row) = rows.try_next().await? {
                related.keys.insert(row.key().first().into_owned());
                related.sources.extend(row.sources());
            }
            Ok(related)
        }
        .boxed()
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

/// What has become of the rows of a batch.
pub(super) struct Written<R: Row> {
    pub new: Vec<R>,
    changed: Vec<R>,
    gone: Vec<R::Key>,
}

/// Applies the changes in their order to the rows that were loaded.
pub(super) fn written<R: Row>(queue: Queue<R>, mut slots: BTreeMap<R::Key, Slot<R>>) -> Result<Written<R>, WriteError> {
    for (position, change) in queue {
        change.apply(&mut slots).map_err(|error| WriteError::Fold { position, error })?;
    }
    let mut written = Written { new: Vec::new(), changed: Vec::new(), gone: Vec::new() };
    for (key, slot) in slots.into_iter().filter(|(_, slot)| slot.changed) {
        match (slot.stored, slot.row) {
            (false, Some(row)) => written.new.push(row),
            (true, Some(row)) => written.changed.push(row),
            (true, None) => written.gone.push(key),
            (false, None) => {}
        }
    }
    Ok(written)
}

async fn insert<R: Row>(target: &str, rows: &[R], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let Some(first) = rows.first() else { return Ok(()) };
    // A row that should be new and is there after all is an error here: no fold overwrites what it did not expect.
    let list = fields(first).join(", ");
    let statement =
        format!("insert into {target} ({list}) select {list} from json_populate_recordset(null::{target}, $1::json)");
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        sqlx::query(&statement).bind(json(rows)).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn change<R: Row>(target: &str, written: &Written<R>, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let key = R::KEY.iter().map(|column| format!("t.{column} = r.{column}")).collect::<Vec<_>>().join(" and ");
    if let Some(first) = written.changed.first() {
        let values = fields(first).into_iter().filter(|column| !R::KEY.contains(&column.as_str()));
        let statement = format!(
            "update {target} t set {} from json_populate_recordset(null::{target}, $1::json) r where {key}",
            values.map(|column| format!("{column} = r.{column}")).collect::<Vec<_>>().join(", ")
        );
        for rows in written.changed.chunks(ROWS_PER_STATEMENT) {
            sqlx::query(&statement).bind(json(rows)).execute(&mut *connection).await?;
        }
    }
    let statement =
        format!("delete from {target} t using json_populate_recordset(null::{target}, $1::json) r where {key}");
    for keys in written.gone.chunks(ROWS_PER_STATEMENT) {
        let keys: Vec<Value> = keys.iter().map(key_object::<R>).collect();
        sqlx::query(&statement).bind(json(&keys)).execute(&mut *connection).await?;
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
fn fields<R: Row>(row: &R) -> Vec<String> {
    match serde_json::to_value(row).expect("a row is plain values") {
        Value::Object(fields) => fields.into_iter().map(|(name, _)| name).collect(),
        other => unreachable!("a row is a struct with named fields, not {other}"),
    }
}

pub(super) fn json(rows: &[impl Serialize]) -> String {
    without_nul(serde_json::to_string(rows).expect("a row is plain values"))
}

/// The book may hold the character NUL in a text, a column of PostgreSQL may not: it becomes the replacement character.
pub(super) fn without_nul(json: String) -> String {
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
