//! The core of Daybook: the domain, the event store and the writer.

pub mod cluster;
pub mod domain;
