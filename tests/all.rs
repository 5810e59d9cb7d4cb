//! Every test that needs a real PostgreSQL, or more than one crate.

#![allow(clippy::unwrap_used, reason = "a test may fall where it stands")]

mod faults;
mod identity;
mod laws;
mod log;
mod nouns;
mod panel;
mod projections;
mod scenarios;
mod store;
mod tools;
