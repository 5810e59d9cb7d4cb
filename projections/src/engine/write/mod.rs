//! How rows get into tables.

pub(in crate::engine) mod batch;
pub(in crate::engine) mod column;
pub(in crate::engine) mod copy;
pub(in crate::engine) mod staged;
pub(in crate::engine) mod text;
