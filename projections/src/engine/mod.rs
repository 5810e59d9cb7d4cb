//! The engine under the projections: it reads the book from a checkpoint, folds, and writes rows and checkpoint in one
//! transaction. A projection itself is a pure fold and knows nothing of any of this.

mod batch;
mod changes;
mod checkpoint;
mod log;
mod memory;
mod projector;
mod rebuild;
mod snapshot;
mod table;
mod verify;

use daybook_core::RecordedEvent;

pub use changes::{Changes, FoldError};
pub use checkpoint::{Checkpoint, Standing, State, standings};
pub use memory::Memory;
pub use projector::{Projector, ProjectorOptions};
pub use rebuild::{Checksum, RebuildError, Rebuilt, checksum, rebuild};
pub use snapshot::{Freshness, ReadError, Reader, Snapshot};
pub use table::{Row, Table};
pub use verify::{Difference, Verified, verify};

/// A read model: how events become rows.
pub trait Projection: 'static {
    const NAME: &'static str;
    /// Raise it whenever the fold or the shape of a row changes. Rows of another version lie in tables of their own.
    const VERSION: i32;
    /// Whose events it folds; it never sees the others.
    const FOLLOWS: Follows;
    const TABLES: &'static [Table];

    /// What the event changes. No clock, no I/O, no look at the rows of another projection.
    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError>;
}

/// Whose events a projection folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// Those of these types of aggregates.
    Only(&'static [&'static str]),
    /// All of them. An event of a type that this program does not know stops the projection.
    Everything,
}

impl Follows {
    pub fn includes(&self, aggregate_type: &str) -> bool {
        match self {
            Self::Only(types) => types.contains(&aggregate_type),
            Self::Everything => true,
        }
    }
}

/// A projection as the board lists it.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    pub name: &'static str,
    pub version: i32,
    pub follows: Follows,
    pub tables: &'static [Table],
    fold: fn(&RecordedEvent, &mut Changes) -> Result<(), FoldError>,
}

impl Definition {
    pub const fn of<P: Projection>() -> Self {
        Self { name: P::NAME, version: P::VERSION, follows: P::FOLLOWS, tables: P::TABLES, fold: P::fold }
    }

    /// Whether the fold takes this event, as far as that can be told without the rows that it changes.
    pub fn folds(&self, event: &RecordedEvent) -> Result<(), FoldError> {
        if !self.follows.includes(event.event.aggregate_type()) {
            return Ok(());
        }
        let mut changes = Changes::default();
        changes.begin(event.position);
        (self.fold)(event, &mut changes)
    }

    /// Where the rows of a table lie. `suffix` tells tables apart that are still being built.
    fn target(&self, table: &Table, suffix: &str) -> String {
        format!("{}_v{}{suffix}", table.name(), self.version)
    }
}

/// The position of an event as SQL has it.
pub(crate) fn place(event: &RecordedEvent) -> i64 {
    i64::try_from(event.position).expect("positions are bigint in the book itself")
}

/// Events as the unit tests of the projections write them.
#[cfg(test)]
pub(crate) mod fixtures {
    use chrono::DateTime;
    use daybook_core::{
        Metadata,
        domain::{Event, Money},
    };

    use super::*;

    pub fn usd(amount: &str) -> Money {
        Money::parse(amount, "USD").expect("dollars")
    }

    /// An event that took effect at this second of 1970, and was recorded long after.
    pub fn at(second: i64, position: u64, aggregate_id: &str, event: impl Into<Event>) -> RecordedEvent {
        let metadata = Metadata {
            actor: None,
            on_behalf_of: None,
            reason: None,
            correlation_id: None,
            causation_id: None,
            occurred_at: DateTime::from_timestamp(second, 0),
        };
        let recorded_at = DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
        RecordedEvent {
            position,
            aggregate_id: aggregate_id.into(),
            sequence: position,
            event: event.into(),
            metadata,
            recorded_at,
        }
    }

    /// The events one after another, with the aggregates they happened to.
    pub fn book(events: impl IntoIterator<Item = (&'static str, Event)>) -> Vec<RecordedEvent> {
        events.into_iter().zip(1..).map(|((id, event), position)| at(position as i64, position, id, event)).collect()
    }
}
