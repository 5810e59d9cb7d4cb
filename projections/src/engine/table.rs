//! A table of a projection: how its rows are loaded and written, many at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::RandomState,
    marker::PhantomData,
};

use daybook_core::Position;
use futures::{FutureExt, TryStreamExt, future::BoxFuture};
use rayon::{iter::ParallelIterator, slice::ParallelSlice};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::{
    changes::{Changes, FoldError, Queue, Slot},
    memory::{BUCKETS, Memory, Portion},
    row::{Row, RowKey, Source},
};
use crate::engine::{
    check::{
        canonical::{self, Shape, Sums, plain},
        parallel,
    },
    follow::cache::Cache,
    read::{viewer::Owner, wall::Shown},
    write::{
        column::Column,
        staged::{self, Staged},
        text::{self, Texts},
    },
};

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

    /// Whether an event is to blame, and not the connection or the server.
    pub fn concerns_data(&self) -> bool {
        match self {
            Self::Fold { .. } => true,
            // Data exceptions, integrity constraints, limits such as the size of an index row.
            Self::Database(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
            }
            // A row that no fold makes, such as one with a word that is on no list.
            Self::Database(sqlx::Error::ColumnDecode { .. }) => true,
            Self::Database(_) => false,
        }
    }
}

/// Rows per statement, so that no parameter grows without bound.
const ROWS_PER_STATEMENT: usize = 4_000;

trait AnyTable: Sync {
    fn name(&self) -> &'static str;
    fn key(&self) -> &'static [&'static str];
    fn prefix(&self) -> Option<&'static str>;
    fn owner(&self) -> Owner;
    fn shown(&self) -> Shown;
    fn stays_but_for(&self) -> Option<&'static [&'static str]>;
    fn stage<'a>(
        &self,
        target: &'a str,
        changes: &'a mut [Changes],
        cache: &'a mut Cache,
        staged: &'a mut Staged,
        connection: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<(), WriteError>>;
    fn looks_up(&self, changes: &mut Changes) -> bool;
    fn keep(&self, changes: &mut Changes, portion: &Portion, memory: &mut Memory) -> Result<(), WriteError>;
    fn attempt(&self, changes: &mut Changes, portion: &Portion, memory: &mut Memory) -> (Undo, Result<(), FoldError>);
    fn touched(&self, changes: &mut Changes) -> Vec<String>;
    fn can_have(&self, first: &str) -> bool;
    fn count(&self, memory: &mut Memory) -> u64;
    fn hand_out(&self, memory: &mut Memory) -> Option<String>;
    fn each(&self, memory: &mut Memory, visit: &mut dyn FnMut(Map<String, Value>));
    fn sums(&self, shape: &Shape, state: &RandomState, memory: &mut Memory) -> Sums;
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
        const {
            let has_id = matches!(R::KEY, [only] if matches!(only.as_bytes(), b"id"));
            assert!(has_id == R::PREFIX.is_some(), "a row whose key is one `id` says the prefix of its identifiers");
        }
        Self(&Typed::<R>(PhantomData))
    }

    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// The columns of the primary key.
    pub fn key(&self) -> &'static [&'static str] {
        self.0.key()
    }

    /// How the identifiers of its rows begin, before the `_`. `None` if its key is anything but one `id`.
    pub fn prefix(&self) -> Option<&'static str> {
        self.0.prefix()
    }

    /// Whose its rows are.
    pub fn owner(&self) -> Owner {
        self.0.owner()
    }

    /// How PostgreSQL shows them to a customer.
    pub(super) fn shown(&self) -> Shown {
        self.0.shown()
    }

    /// Of a table that keeps every position, the columns in which a row may still change.
    pub(super) fn stays_but_for(&self) -> Option<&'static [&'static str]> {
        self.0.stays_but_for()
    }

    /// Loads the rows that the changes touch, as far as they are not known, applies the changes, and stages what has
    /// changed.
    pub(super) async fn stage(
        &self,
        target: &str,
        changes: &mut [Changes],
        cache: &mut Cache,
        staged: &mut Staged,
        connection: &mut PgConnection,
    ) -> Result<(), WriteError> {
        self.0.stage(target, changes, cache, staged, connection).await
    }

    /// Whether the changes touch rows that may be there already.
    pub(super) fn looks_up(&self, changes: &mut Changes) -> bool {
        self.0.looks_up(changes)
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

    /// Shows the rows that the memory has, as plain values.
    pub(super) fn each(&self, memory: &mut Memory, visit: &mut dyn FnMut(Map<String, Value>)) {
        self.0.each(memory, visit);
    }

    /// Sums up the rows that the memory has.
    pub(super) fn sums(&self, shape: &Shape, state: &RandomState, memory: &mut Memory) -> Sums {
        self.0.sums(shape, state, memory)
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

    fn prefix(&self) -> Option<&'static str> {
        R::PREFIX
    }

    fn owner(&self) -> Owner {
        R::OWNER
    }

    fn shown(&self) -> Shown {
        R::SHOWN
    }

    fn key(&self) -> &'static [&'static str] {
        R::KEY
    }

    fn stays_but_for(&self) -> Option<&'static [&'static str]> {
        R::STAYS_BUT_FOR
    }

    fn stage<'a>(
        &self,
        target: &'a str,
        changes: &'a mut [Changes],
        cache: &'a mut Cache,
        staged: &'a mut Staged,
        connection: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        async move {
            let queue: Queue<R> = changes.iter_mut().flat_map(Changes::take::<R>).collect();
            if queue.is_empty() {
                return Ok(());
            }
            let (columns, known) = cache.table::<R>();
            let (mut slots, mut unknown) = (BTreeMap::new(), Vec::new());
            for key in keys_of_others(&queue) {
                match known.pop(&key) {
                    Some(row) => drop(slots.insert(key, Slot::stored(row))),
                    None => unknown.push(key),
                }
            }
            slots.extend(load::<R>(target, columns, &unknown, connection).await?);
            let before = rows_of(&slots);
            let (mut changed, mut gone) = (Vec::new(), Vec::new());
            for written in parallel::written(queue, slots, (target, columns), staged.way()).await? {
                match written.copied {
                    Some(copied) => staged.copy(copied),
                    None => staged.insert(target, &Texts::of_rows(&written.new, columns)?),
                }
                changed.extend(written.changed);
                gone.extend(written.gone);
                // What is never changed again would only take the room of what is.
                for row in written.new.into_iter().filter(|_| R::STAYS_BUT_FOR.is_none()) {
                    known.put(row.key(), row);
                }
            }
            update(target, columns, &before, &changed, staged)?;
            delete::<R>(target, columns, &gone, staged);
            for row in changed {
                known.put(row.key(), row);
            }
            Ok(())
        }
        .boxed()
    }

    fn looks_up(&self, changes: &mut Changes) -> bool {
        changes.queue::<R>().iter().any(|(_, change)| change.looks_up())
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
        (!rows.is_empty()).then(|| text::json(&rows))
    }

    fn each(&self, memory: &mut Memory, visit: &mut dyn FnMut(Map<String, Value>)) {
        memory.slots::<R>().values().filter_map(|slot| slot.row.as_ref()).for_each(|row| visit(plain(row)));
    }

    fn sums(&self, shape: &Shape, state: &RandomState, memory: &mut Memory) -> Sums {
        let rows: Vec<&R> = memory.slots::<R>().values().filter_map(|slot| slot.row.as_ref()).collect();
        let of_some = |rows: &[&R]| {
            let mut sums = Sums::default();
            for row in rows {
                let row = plain(row);
                let values = shape.fresh(&row);
                sums.enter(shape.bucket(&values), canonical::hash(&values, state));
            }
            sums
        };
        rows.par_chunks(BUCKETS).map(of_some).reduce(Sums::default, |mut sums, more| {
            sums.add(&more);
            sums
        })
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

/// The keys of the rows that must be known before the changes can be applied.
fn keys_of_others<R: Row>(queue: &Queue<R>) -> Vec<R::Key> {
    let others = queue.iter().filter(|(_, change)| change.looks_up());
    let mut keys: Vec<R::Key> = others.map(|(_, change)| change.key()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

async fn load<R: Row>(
    target: &str,
    columns: &[Column],
    keys: &[R::Key],
    connection: &mut PgConnection,
) -> Result<BTreeMap<R::Key, Slot<R>>, sqlx::Error> {
    let mut slots = BTreeMap::new();
    let key = key_columns::<R>(columns);
    let arrays: Vec<String> = (1..=key.len()).map(|number| format!("${number}")).collect();
    let statement =
        format!("select t.* from {} join {target} t on {}", staged::unnest(&arrays, &key), staged::same(&key));
    for keys in keys.chunks(ROWS_PER_STATEMENT) {
        let keys = Texts::of(keys, key.clone());
        let query = (0..key.len()).fold(sqlx::query_as(&statement), |query, column| query.bind(keys.array(column)));
        let rows: Vec<R> = query.fetch_all(&mut *connection).await?;
        slots.extend(rows.into_iter().map(|row| (row.key(), Slot::stored(row))));
    }
    Ok(slots)
}

/// The rows as they are before any change.
fn rows_of<R: Row>(slots: &BTreeMap<R::Key, Slot<R>>) -> BTreeMap<R::Key, R> {
    slots.iter().filter_map(|(key, slot)| Some((key.clone(), slot.row.clone()?))).collect()
}

/// Stages what differs of rows that are there.
fn update<R: Row>(
    target: &str,
    columns: &[Column],
    before: &BTreeMap<R::Key, R>,
    changed: &[R],
    staged: &mut Staged,
) -> Result<(), sqlx::Error> {
    let old = changed.iter().map(|row| before.get(&row.key()).expect("a row that is changed was there before"));
    let (old, new) = (Texts::of_rows(old, columns)?, Texts::of_rows(changed, columns)?);
    let places = 0..new.columns().len();
    let key = R::KEY.iter().filter_map(|name| places.clone().find(|place| new.columns()[*place].name == *name));
    let key: Vec<usize> = key.collect();
    let differing: Vec<usize> = places.filter(|place| !key.contains(place) && new.differs(&old, *place)).collect();
    if !differing.is_empty() {
        staged.update(target, &new, &key, &differing);
    }
    Ok(())
}

fn delete<R: Row>(target: &str, columns: &[Column], gone: &[R::Key], staged: &mut Staged) {
    if !gone.is_empty() {
        staged.delete(target, &Texts::of(gone, key_columns::<R>(columns)));
    }
}

fn key_columns<R: Row>(columns: &[Column]) -> Vec<&Column> {
    let column = |name: &&str| columns.iter().find(|column| column.name == **name).expect("a key has its columns");
    R::KEY.iter().map(column).collect()
}
