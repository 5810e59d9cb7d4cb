//! The tools of those who fill, check and rebuild a ledger; the program `daybook` is their command line.

// Before the modules, so that their `println!`, `print!` and `eprintln!` are these.
#[macro_use]
mod told;

pub mod check;
pub mod demo;
pub mod diff;
pub mod export;
pub mod import;
pub mod ledger;
pub mod operate;
pub mod progress;
pub mod prove;

pub use told::tell_trouble;

/// What a tool gives up with: a message for a person, and its causes.
pub type ToolError = Box<dyn std::error::Error + Send + Sync>;
