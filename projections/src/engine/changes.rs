//! The changes of rows that a fold asks for. It names rows by key and never sees one outside the closure that changes
//! it, so that the engine can load all rows of a batch at once before anything is applied.

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, HashMap, btree_map::Entry},
    fmt,
};

use daybook_core::{Position, terms::sealed::StillSealed};

use super::row::Row;

/// Why an event does not fit the rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    #[error("there is no row {key} in {table}")]
    RowMissing { table: &'static str, key: String },
    #[error("there is a row {key} in {table} already")]
    RowExists { table: &'static str, key: String },
    #[error("the event cannot be read: {reason}")]
    Unreadable { reason: String },
}

impl From<StillSealed> for FoldError {
    fn from(error: StillSealed) -> Self {
        Self::Unreadable { reason: error.to_string() }
    }
}

/// What the events of a batch change, in their order, per table.
#[derive(Default)]
pub struct Changes {
    /// Of the event that is being folded.
    position: Position,
    queues: HashMap<TypeId, Box<dyn Any + Send>>,
}

type Mutation<R> = Box<dyn FnOnce(&mut R) + Send>;
type Creation<R> = Box<dyn FnOnce() -> R + Send>;

pub(super) enum Change<R: Row> {
    Insert(R),
    Update(R::Key, Mutation<R>),
    Upsert(R::Key, Creation<R>, Mutation<R>),
    Delete(R::Key),
}

/// The changes of one table, with the position of the event behind each.
pub(super) type Queue<R> = Vec<(Position, Change<R>)>;

/// A row as the batch knows it.
#[derive(Clone, Debug)]
pub(super) struct Slot<R> {
    /// Whether the table has the row, as far as anybody has looked.
    pub stored: bool,
    /// The row after the batch; `None` when it is gone.
    pub row: Option<R>,
    pub changed: bool,
}

impl Changes {
    /// Adds a row that is not there yet.
    pub fn insert<R: Row>(&mut self, row: R) {
        self.push(Change::Insert(row));
    }

    /// Changes a row that is there.
    pub fn update<R: Row>(&mut self, key: R::Key, change: impl FnOnce(&mut R) + Send + 'static) {
        self.push(Change::Update(key, Box::new(change)));
    }

    /// Changes a row, which begins as `default` if it is not there.
    pub fn upsert<R: Row>(
        &mut self,
        key: R::Key,
        default: impl FnOnce() -> R + Send + 'static,
        change: impl FnOnce(&mut R) + Send + 'static,
    ) {
        self.push(Change::Upsert(key, Box::new(default), Box::new(change)));
    }

    /// Removes a row that is there.
    pub fn delete<R: Row>(&mut self, key: R::Key) {
        self.push(Change::<R>::Delete(key));
    }

    pub(super) fn begin(&mut self, position: Position) {
        self.position = position;
    }

    pub(super) fn take<R: Row>(&mut self) -> Queue<R> {
        self.queues.get_mut(&TypeId::of::<R>()).map(|queue| std::mem::take(of_rows(queue))).unwrap_or_default()
    }

    pub(super) fn queue<R: Row>(&mut self) -> &mut Queue<R> {
        of_rows(self.queues.entry(TypeId::of::<R>()).or_insert_with(|| Box::new(Queue::<R>::new())))
    }

    fn push<R: Row>(&mut self, change: Change<R>) {
        let position = self.position;
        self.queue().push((position, change));
    }
}

fn of_rows<R: Row>(queue: &mut Box<dyn Any + Send>) -> &mut Queue<R> {
    queue.downcast_mut().expect("each queue stands under the type of its rows")
}

impl<R: Row> Change<R> {
    pub fn key(&self) -> R::Key {
        match self {
            Self::Insert(row) => row.key(),
            Self::Update(key, _) | Self::Upsert(key, ..) | Self::Delete(key) => key.clone(),
        }
    }

    /// Whether the row may be there already, so that it must be known first.
    pub fn looks_up(&self) -> bool {
        !matches!(self, Self::Insert(_))
    }

    /// Applies the change to the rows that the batch knows.
    pub fn apply(self, slots: &mut BTreeMap<R::Key, Slot<R>>) -> Result<(), FoldError> {
        let missing = |key: &R::Key| FoldError::RowMissing { table: R::TABLE, key: format!("{key:?}") };
        match self {
            Self::Insert(row) => match slots.entry(row.key()) {
                Entry::Occupied(slot) if slot.get().row.is_some() => {
                    return Err(FoldError::RowExists { table: R::TABLE, key: format!("{:?}", slot.key()) });
                }
                Entry::Occupied(mut slot) => slot.get_mut().set(Some(row)),
                Entry::Vacant(slot) => {
                    slot.insert(Slot { stored: false, row: Some(row), changed: true });
                }
            },
            Self::Update(key, change) => {
                let slot = slots.get_mut(&key).ok_or_else(|| missing(&key))?;
                change(slot.row.as_mut().ok_or_else(|| missing(&key))?);
                slot.changed = true;
            }
            Self::Upsert(key, default, change) => {
                let slot = slots.entry(key).or_insert(Slot { stored: false, row: None, changed: true });
                change(slot.row.get_or_insert_with(default));
                slot.changed = true;
            }
            Self::Delete(key) => match slots.get_mut(&key) {
                Some(slot) if slot.row.is_some() => slot.set(None),
                _ => return Err(missing(&key)),
            },
        }
        Ok(())
    }
}

impl<R> Slot<R> {
    /// A row as the table has it.
    pub fn stored(row: R) -> Self {
        Self { stored: true, row: Some(row), changed: false }
    }

    fn set(&mut self, row: Option<R>) {
        self.row = row;
        self.changed = true;
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("position", &self.position).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use sqlx::FromRow;

    use super::*;
    use crate::engine::Owner;
    use crate::engine::row::Source;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
    struct Counter {
        name: String,
        count: i64,
    }

    impl Row for Counter {
        type Key = String;
        const TABLE: &'static str = "counters";
        const KEY: &'static [&'static str] = &["name"];
        const OWNER: Owner = Owner::Nobody;

        fn key(&self) -> String {
            self.name.clone()
        }

        fn sources(&self) -> Vec<Source> {
            vec![Source::Book]
        }
    }

    fn counter(name: &str, count: i64) -> Counter {
        Counter { name: name.into(), count }
    }

    /// Applies the changes where the table has the row `old` with count 1.
    fn applied(change: impl FnOnce(&mut Changes)) -> Result<Vec<(String, bool, Option<i64>)>, FoldError> {
        let old = Slot { stored: true, row: Some(counter("old", 1)), changed: false };
        let mut slots = BTreeMap::from([("old".to_owned(), old)]);
        let mut changes = Changes::default();
        change(&mut changes);
        changes.take::<Counter>().into_iter().try_for_each(|(_, change)| change.apply(&mut slots))?;
        let changed = slots.into_iter().filter(|(_, slot)| slot.changed);
        Ok(changed.map(|(name, slot)| (name, slot.stored, slot.row.map(|row| row.count))).collect())
    }

    fn add(by: i64) -> impl FnOnce(&mut Counter) + Send + 'static {
        move |row| row.count += by
    }

    #[test]
    fn a_new_row_can_be_changed_in_the_same_batch() {
        let rows = applied(|changes| {
            changes.insert(counter("new", 5));
            changes.update("new".into(), add(2));
        });
        assert_eq!(rows, Ok(vec![("new".into(), false, Some(7))]));
    }

    #[test]
    fn an_upsert_begins_where_nothing_is_and_goes_on_where_something_is() {
        let rows = applied(|changes| {
            for name in ["new", "new", "old"] {
                changes.upsert(name.into(), move || counter(name, 10), add(1));
            }
        });
        assert_eq!(rows, Ok(vec![("new".into(), false, Some(12)), ("old".into(), true, Some(2))]));
    }

    #[test]
    fn a_row_that_came_and_went_leaves_nothing_to_write() {
        let rows = applied(|changes| {
            changes.insert(counter("new", 5));
            changes.delete::<Counter>("new".into());
        });
        assert_eq!(rows, Ok(vec![("new".into(), false, None)]));
    }

    #[test]
    fn a_row_that_went_may_come_again() {
        let rows = applied(|changes| {
            changes.delete::<Counter>("old".into());
            changes.insert(counter("old", 3));
        });
        assert_eq!(rows, Ok(vec![("old".into(), true, Some(3))]));
    }

    #[test]
    fn a_row_that_is_not_there_is_neither_changed_nor_removed() {
        let missing = FoldError::RowMissing { table: "counters", key: r#""gone""#.into() };
        assert_eq!(applied(|changes| changes.update("gone".into(), add(1))), Err(missing.clone()));
        assert_eq!(applied(|changes| changes.delete::<Counter>("gone".into())), Err(missing));
    }

    #[test]
    fn a_row_that_is_there_is_not_inserted_again() {
        let exists = FoldError::RowExists { table: "counters", key: r#""old""#.into() };
        assert_eq!(applied(|changes| changes.insert(counter("old", 5))), Err(exists));
    }
}
