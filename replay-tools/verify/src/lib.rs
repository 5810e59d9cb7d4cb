//! What an auditor needs to check a ledger without trusting it, and without its database: how an event is encoded, how
//! events make a tree, how a tree is signed, and the files in which all that is handed out.
//!
//! The tree is that of RFC 6962 with SHA-256; tiles, checkpoints and signatures are those of C2SP (`tlog-tiles`,
//! `tlog-checkpoint`, `signed-note`). Event 1 of the book is leaf 0.

pub mod archive;
pub mod checkpoint;
pub mod event;
pub mod lines;
pub mod note;
pub mod outside;
pub mod proof;
pub mod statement;
pub mod tree;
pub mod usage;
pub mod witness;

pub use checkpoint::Checkpoint;
pub use event::LogEvent;
pub use lines::Refused;
pub use note::{PublicKey, SigningKey};
