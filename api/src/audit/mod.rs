//! The book itself over HTTP, and what shows that it holds: events, history, journal, explanations, and the transparency log.

pub mod checkpoint;
pub mod event;
pub mod explanation;
pub mod history;
pub mod journal;
pub mod proof;
pub mod schema;
pub mod tile;
