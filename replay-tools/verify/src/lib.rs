//! What an auditor needs to check a ledger without trusting it, and without its database: the files in which the log and
//! statements are handed out. The format of the log itself is in `daybook-log`.

pub mod archive;
#[cfg(test)]
mod fixtures;
pub mod outside;
pub mod statement;
pub mod usage;
