//! The engine under the projections: it reads the book from a checkpoint, folds, and writes rows and checkpoint in one
//! transaction. A projection itself is a pure fold and knows nothing of any of this.

mod builds;
mod changes;
mod check;
mod error;
mod follow;
mod memory;
mod read;
mod row;
mod session;
mod table;
mod write;

use chrono::{DateTime, Utc};
use daybook_core::RecordedEvent;

pub use builds::build::{Stage, State, in_service, pause, resume};
pub use builds::process::memory as resident_memory;
pub use builds::rebuild::{Phase, Progress, RebuildOptions, Rebuilt, rebuild};
pub use builds::repair::{Repaired, repair};
pub use builds::switch::{discard, roll_back};
pub use builds::target::Target;
pub use changes::{Changes, FoldError};
pub use check::afresh::Room;
pub use check::proof::{Checksum, Difference, Verified, checksum, checksum_at, verify, verify_all, verify_kept};
pub use check::watch::{Drift, Look, look, watch};
pub use error::RebuildError;
pub use follow::parking::{ParkError, ParkedStream, park, unpark};
pub use follow::projector::{NewVersions, Projector, ProjectorOptions};
pub use follow::standing::{Building, Kept, Standing, standings};
pub use memory::Memory;
pub use read::chosen::{Chosen, Value};
pub use read::owners::Owners;
pub use read::past::{Candidate, Known, Moment};
pub use read::snapshot::{Freshness, Plans, ReadError, Reader, Snapshot};
pub use read::sort::{Place, RowOrder, Sort};
pub use read::viewer::{Owner, Viewer, Walls};
pub use read::wall::Shown;
pub use row::{Row, RowKey, Source};
pub use table::Table;

/// A read model: how events become rows.
pub trait Projection: 'static {
    const NAME: &'static str;
    /// Raise it whenever the fold or the shape of a row changes. Rows of another version lie in tables of their own.
    const VERSION: i32;
    /// Whose events it folds; it never sees the others.
    const FOLLOWS: Follows;
    const TABLES: &'static [Table];
    /// Whether its rows are read with those of another projection only by their positions. They may then be a batch ahead of
    /// the others, or behind them.
    const READ_ALONE: bool = false;
    /// Whose an event of the book is, where this projection is the one that says so: a customer may read the events of what
    /// is theirs.
    const EVENTS: Option<Owner> = None;

    /// What the event changes. No clock, no I/O, no look at the rows of another projection.
    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError>;

    /// What tells when events take effect for the rows. `None` if each does so when it says itself.
    fn effects() -> Option<Box<dyn Effects>> {
        None
    }
}

/// When events take effect for rows. Commands are looked at in the order of the book.
pub trait Effects: Send + Sync {
    /// When each event of a command takes effect, given those of the commands before.
    fn of(&mut self, command: &[&RecordedEvent]) -> Vec<DateTime<Utc>>;

    /// Another stream whose events have a say in when this one, or one that builds on it, takes effect.
    fn depends_on(&self, event: &RecordedEvent) -> Option<Source>;
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
    pub read_alone: bool,
    events: Option<Owner>,
    fold: fn(&RecordedEvent, &mut Changes) -> Result<(), FoldError>,
    effects: fn() -> Option<Box<dyn Effects>>,
}

impl Definition {
    pub const fn of<P: Projection>() -> Self {
        Self {
            name: P::NAME,
            version: P::VERSION,
            follows: P::FOLLOWS,
            tables: P::TABLES,
            read_alone: P::READ_ALONE,
            events: P::EVENTS,
            fold: P::fold,
            effects: P::effects,
        }
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

    /// Whether some of its rows stay once an event has made them, so that they tell of every position.
    pub fn keeps_positions(&self) -> bool {
        self.tables.iter().any(|table| table.stays_but_for().is_some())
    }

    /// The table of a migration that has the shape of this version, after which builds are made.
    fn shape(&self, table: &Table) -> String {
        builds::target::shape_name(table.name(), self.version)
    }
}

/// Of each projection on the board its newest version, in the order of the board.
pub fn latest(board: &[Definition]) -> Vec<Definition> {
    let newer = |one: &Definition, other: &Definition| one.name == other.name && one.version > other.version;
    board.iter().filter(|one| !board.iter().any(|other| newer(other, one))).copied().collect()
}

/// The position of an event as SQL has it.
pub(crate) fn place(event: &RecordedEvent) -> i64 {
    i64::try_from(event.position).expect("positions are bigint in the book itself")
}

/// Events as the unit tests of the projections write them.
#[cfg(test)]
pub(crate) mod fixtures {
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
            command_id: None,
            correlation_id: None,
            causation_id: None,
            occurred_at: DateTime::from_timestamp(second, 0),
            dated_at: None,
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
