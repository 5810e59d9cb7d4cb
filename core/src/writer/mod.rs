//! The writer: the one corridor through which events enter the book.

pub mod aggregates;
pub mod unit_of_work;

pub use aggregates::{Aggregates, Loaded, StreamKey};
pub use unit_of_work::{NewEvent, Outcome, UnitOfWork};
