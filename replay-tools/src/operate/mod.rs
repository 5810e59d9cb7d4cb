//! What operators do: projections, backups, and the tiles of the log.

pub mod drill;
pub mod projection;
pub mod rebuild;
pub mod sender;
pub mod status;
pub mod tree;
pub mod user;
