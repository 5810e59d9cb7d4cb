//! What can be checked without the ledger that wrote it.

pub mod archive;
pub mod checkpoint;
pub mod proof;
pub mod statement;
