//! The core of Daybook: the domain, the event store and the writer.

pub mod cluster;
pub mod domain;
pub mod event;
pub mod operations;
pub mod store;
pub mod writer;

pub use event::{Actor, ActorKind, Context, Metadata, Position, RecordedEvent};
