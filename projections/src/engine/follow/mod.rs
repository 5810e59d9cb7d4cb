//! Following the book: who drives a projection, from where, and how far it has come.

pub(in crate::engine) mod cache;
pub(in crate::engine) mod fold;
pub(in crate::engine) mod lease;
pub(in crate::engine) mod log;
pub(in crate::engine) mod parking;
pub(in crate::engine) mod pipeline;
pub(in crate::engine) mod projector;
pub(in crate::engine) mod standing;
