//! The ledger in memory: the state of aggregates, and what one command does to them. No I/O happens here; operations stand on
//! it, and the append loop loads and keeps it.

pub mod aggregates;
pub mod unit_of_work;

pub use aggregates::{Aggregates, Loaded, StreamKey};
pub use unit_of_work::{NewEvent, Outcome, UnitOfWork};
