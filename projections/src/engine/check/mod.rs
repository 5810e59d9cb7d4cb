//! Whether stored rows are what the book says.

pub(in crate::engine) mod afresh;
pub(in crate::engine) mod canonical;
pub(in crate::engine) mod parallel;
pub(in crate::engine) mod proof;
pub(in crate::engine) mod spill;
pub(in crate::engine) mod watch;
