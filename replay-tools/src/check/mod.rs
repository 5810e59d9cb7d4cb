//! Looking at a ledger and changing nothing: whether it holds, what it was, and why a number is what it is.

pub mod full;
pub mod replay;
pub mod schema;
mod stock;
pub mod verify;
pub mod why;
