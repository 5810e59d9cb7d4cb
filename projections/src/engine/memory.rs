//! Rows in memory: the same fold without a database, for tests and for questions about one aggregate's own events.

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, HashMap},
    fmt,
};

use daybook_core::RecordedEvent;

use super::{
    Definition, Projection,
    changes::{Changes, FoldError, Slot},
    table::Row,
};

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
                definition.tables.iter().try_for_each(|table| table.keep(&mut changes, &mut memory))?;
            }
        }
        Ok(memory)
    }

    /// The rows of a table, in the order of their keys.
    pub fn rows<R: Row>(&mut self) -> Vec<R> {
        self.slots::<R>().values().filter_map(|slot| slot.row.clone()).collect()
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
