//! The core of Daybook: the domain, the event store and the writer.

mod cause;
#[expect(clippy::disallowed_methods, reason = "the one place that asks the clocks of the machine")]
pub mod clock;
pub mod domain;
pub mod event;
pub mod operations;
#[expect(clippy::disallowed_methods, reason = "a file is written beside its place, under a name of its own")]
pub mod private_file;
pub mod spreadsheet;
pub mod state;
pub mod store;
pub mod terms;
#[expect(clippy::disallowed_methods, reason = "checkpoints are signed at a pace")]
pub mod transparency;
#[expect(clippy::disallowed_methods, reason = "its commands have identifiers of their own")]
pub mod upgrade;
#[expect(clippy::disallowed_methods, reason = "commands have deadlines")]
pub mod writer;

pub use cause::chain;
pub use event::{Actor, ActorKind, Context, Metadata, Position, RecordedEvent};
pub use terms::day::midnight;
