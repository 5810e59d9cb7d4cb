//! What readers see, now and as of the past.

pub(in crate::engine) mod chosen;
pub(in crate::engine) mod owners;
pub(in crate::engine) mod past;
pub(in crate::engine) mod snapshot;
pub(in crate::engine) mod sort;
pub(in crate::engine) mod viewer;
pub(in crate::engine) mod wall;
