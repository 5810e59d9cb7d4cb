//! The tools of those who fill, check and rebuild a ledger; the program `daybook` is their command line.

// Before the modules, so that their `println!`, `print!` and `eprintln!` are these.
#[macro_use]
mod told;

pub mod archive;
pub mod checkpoint;
pub mod demo;
pub mod diff;
pub mod drill;
pub mod export;
pub mod full;
pub mod import;
pub mod ledger;
pub mod progress;
pub mod projection;
pub mod prove;
pub mod rebuild;
pub mod replay;
pub mod schema;
pub mod statement_proof;
pub mod status;
pub mod tree;
pub mod verify;
pub mod why;

pub use told::tell_trouble;

/// What a tool gives up with: a message for a person, and its causes.
pub type ToolError = Box<dyn std::error::Error + Send + Sync>;
