//! The format of the transparency log: how an event is encoded, how events make a tree, how a tree is signed, and proofs
//! that stand by themselves. Who keeps the log and who checks it use the same code, which knows no database.
//!
//! The tree is that of RFC 6962 with SHA-256; tiles, checkpoints and signatures are those of C2SP (`tlog-tiles`,
//! `tlog-checkpoint`, `signed-note`). Event 1 of the book is leaf 0.

pub mod checkpoint;
pub mod event;
pub mod lines;
pub mod note;
pub mod proof;
pub mod tree;
pub mod witness;

pub use checkpoint::Checkpoint;
pub use event::LogEvent;
pub use lines::Refused;
pub use note::{PublicKey, SigningKey};
