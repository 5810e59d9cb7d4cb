//! Rows in memory: the same fold without a database, for tests, for proofs, and for questions about a few rows.

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use daybook_core::RecordedEvent;

use super::{
    Definition, Projection,
    changes::{Changes, FoldError, Slot},
    row::Row,
    table::WriteError,
};
use crate::engine::write::text::without_nul;

/// Which rows to keep, by the first column of their keys: no fold sees more than one row at a time, so any portion of
/// the rows can be folded by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Portion {
    All,
    /// One of so many parts, by a hash.
    Part {
        index: u64,
        of: u64,
    },
    Only(BTreeSet<String>),
}

impl Portion {
    pub fn has(&self, first: &str) -> bool {
        match self {
            Self::All => true,
            Self::Part { index, of } => portion(first, *of) == *index,
            Self::Only(keys) => keys.contains(first),
        }
    }
}

/// Keys are divided into so many buckets, and a portion has whole ones.
pub(super) const BUCKETS: usize = 4_096;

/// The bucket of a row, by the first column of its key, as the row has it or as PostgreSQL has it.
pub(super) fn bucket(first: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    without_nul(first).hash(&mut hasher);
    (hasher.finish() % BUCKETS as u64) as usize
}

/// The part of so many to which a row belongs.
pub(super) fn portion(first: &str, of: u64) -> u64 {
    bucket(first) as u64 % of
}

/// What a projection makes of a list of events.
#[derive(Default)]
pub struct Memory {
    tables: HashMap<TypeId, Box<dyn Any + Send>>,
}

impl Memory {
    /// Folds the events in their order.
    pub fn fold<'a, P: Projection>(events: impl IntoIterator<Item = &'a RecordedEvent>) -> Result<Self, FoldError> {
        let definition = Definition::of::<P>();
        let mut memory = Self::default();
        let mut changes = Changes::default();
        for event in events {
            if definition.follows.includes(event.event.aggregate_type()) {
                changes.begin(event.position);
                (definition.fold)(event, &mut changes)?;
                memory.keep(&definition, &mut changes, &Portion::All).map_err(|error| match error {
                    WriteError::Fold { error, .. } => error,
                    WriteError::Database(_) => unreachable!("rows in memory need no database"),
                })?;
            }
        }
        Ok(memory)
    }

    /// Applies the changes to the rows of the portion.
    pub(super) fn keep(
        &mut self,
        definition: &Definition,
        changes: &mut Changes,
        portion: &Portion,
    ) -> Result<(), WriteError> {
        definition.tables.iter().try_for_each(|table| table.keep(changes, portion, self))
    }

    /// The rows of a table, in the order of their keys.
    pub fn rows<R: Row>(&mut self) -> Vec<R> {
        self.slots::<R>().values().filter_map(|slot| slot.row.clone()).collect()
    }

    /// How many rows of a table there are.
    pub(super) fn len<R: Row>(&mut self) -> u64 {
        self.slots::<R>().values().filter(|slot| slot.row.is_some()).count() as u64
    }

    pub(super) fn slots<R: Row>(&mut self) -> &mut BTreeMap<R::Key, Slot<R>> {
        self.tables
            .entry(TypeId::of::<R>())
            .or_insert_with(|| Box::new(BTreeMap::<R::Key, Slot<R>>::new()))
            .downcast_mut()
            .expect("each table stands under the type of its rows")
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("tables", &self.tables.len()).finish()
    }
}
