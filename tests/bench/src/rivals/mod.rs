//! The rivals: each does the same work in the way that its own documentation shows.

pub mod cala;
pub mod postgres_es;
pub mod sql_function;
