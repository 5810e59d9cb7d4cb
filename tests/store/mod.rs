//! The book and who writes it: the event store, the append loop, the embedded PostgreSQL, and who may do what.

mod cluster;
mod events;
mod rights;
mod sealed;
mod snapshots;
mod upgrade;
mod writer;
