//! Why a build could not be made, proven, mended or switched to.

use std::io;

use daybook_core::{Position, store::StoreError};
use tokio::task::JoinError;

use super::table::WriteError;
use crate::engine::check::proof::{Difference, Verified};

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("event {position} cannot be folded: {reason}")]
    Fold { position: Position, reason: String },
    #[error("another process is building `{0}`")]
    UnderWay(&'static str),
    #[error("another process has taken the build of `{0}` over")]
    Lost(&'static str),
    #[error("readers held the tables of `{0}` for too long")]
    Busy(&'static str),
    #[error("{} rows of the new build differ from a fresh fold: {}", .0.different, keys(&.0.differences))]
    Unproven(Box<Verified>),
    #[error("`{name}` has no build that is {stage}")]
    Nothing { name: &'static str, stage: &'static str },
    #[error("of `{name}`, version {serving} serves, and this program has version {program}")]
    OtherVersion { name: &'static str, serving: i32, program: i32 },
    #[error("`{name}` has come to position {position}, and {wanted} was asked for")]
    Behind { name: &'static str, position: Position, wanted: Position },
    #[error("the build of `{name}` that is kept is at position {kept}, and the one that serves at {serving}")]
    KeptBehind { name: &'static str, kept: Position, serving: Position },
    #[error("of `{name}`, build {serving} serves now")]
    OtherBuild { name: &'static str, serving: i32 },
    #[error("the build of `{name}` that is kept has stopped: {error}")]
    KeptStopped { name: &'static str, error: String },
    #[error("events of `{0}` were parked or taken back meanwhile")]
    ParkedMeanwhile(&'static str),
    #[error("events cannot be put on the disk for a while")]
    Spill(#[source] io::Error),
    #[error("a step of the fold has panicked")]
    Panicked(#[from] JoinError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl RebuildError {
    pub(super) fn is_lock_timeout(&self) -> bool {
        matches!(self, Self::Database(error) if is_lock_timeout(error))
    }
}

fn keys(differences: &[Difference]) -> String {
    let keys = differences.iter().map(|difference| format!("{} {}", difference.table, difference.key));
    keys.collect::<Vec<_>>().join(", ")
}

impl From<WriteError> for RebuildError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Fold { position, error } => Self::Fold { position, reason: error.to_string() },
            WriteError::Database(error) => Self::Database(error),
        }
    }
}

pub(super) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}
