//! Builds of a projection: made, rebuilt, repaired, switched and discarded.

pub(in crate::engine) mod build;
pub(in crate::engine) mod heartbeat;
pub(in crate::engine) mod process;
pub(in crate::engine) mod rebuild;
pub(in crate::engine) mod repair;
pub(in crate::engine) mod shape;
pub(in crate::engine) mod switch;
pub(in crate::engine) mod target;
pub(in crate::engine) mod upgrade;
