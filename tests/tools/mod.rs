//! The programs that people run.

mod diff;
pub mod exports;
mod import;
mod keys;
mod replay;
mod restore;
mod schema;
mod script;
mod usage;
mod verify;
