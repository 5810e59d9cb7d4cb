//! The transparency log: a Merkle tree over the events of the book, and signed checkpoints of it. Who keeps a
//! checkpoint can tell for ever after whether the book still begins with what it began with then.
//!
//! The tree is derived from the book, beside the write path. How an event is encoded, how the tree is made and how a
//! checkpoint is signed says the crate `daybook-verify`, which an auditor can read by itself.

mod keeper;
mod key;
mod last_signed;
mod proof;
mod rebuild;
mod scan;
mod signer;
mod tiles;

use std::{io, path::PathBuf};

use daybook_log::{Checkpoint, LogEvent, PublicKey, Refused, tree::Place};
use sqlx::{PgConnection, PgExecutor};

pub use keeper::{Keeper, KeeperOptions, Kept};
pub use key::{LogKey, LogKeyError, last_signed, open_key, read_key};
pub use proof::{checkpoint_at, event_proof, prove_consistency, prove_inclusions};
pub use rebuild::{RebuildError, Rebuilt, rebuild_tiles};
pub use scan::{ScanError, scan};
pub use signer::{Signer, continues_last_signed, sign};
pub use tiles::{Added, add_events, leaves, read_tiles, tile};

use crate::{
    event::Position,
    store::{RawEvent, StoreError, events::signed},
};

/// What the ledger knows of its own log.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Standing {
    /// The name in its checkpoints, and its public key; none before the first start that signs.
    pub origin: Option<String>,
    pub vkey: Option<String>,
    /// How many events are in the tiles.
    #[sqlx(try_from = "i64")]
    pub size: u64,
}

/// A checkpoint as it is kept.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct StoredCheckpoint {
    #[sqlx(try_from = "i64")]
    pub size: u64,
    /// A signed note.
    pub note: String,
    pub signed_at: chrono::DateTime<chrono::Utc>,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("tile {} of level {} is missing or not what the tree needs; `daybook tree rebuild` makes the tiles anew", .0.1, .0.0)]
    Tile(Place),
    #[error("the tiles are not those of the signed tree; `daybook tree rebuild` makes them anew")]
    Tiles(#[source] tlog_tiles::Error),
    #[error(
        "the tree of {now} events does not continue the one of {signed} events that was signed, so that nothing is signed: the ledger was restored from an older backup and has gone on from there, or its past was changed, or its tiles are spoilt, which `daybook tree rebuild` mends; `daybook verify --full` tells where, and `After a restore` in docs/transparency-log.md what can be done"
    )]
    Inconsistent { signed: u64, now: u64 },
    #[error(
        "the log has signed {signed} events and this book has {book}, so that nothing is signed: it was restored from an older backup, or its end was cut off; `After a restore` in docs/transparency-log.md tells what can be done"
    )]
    Restored { signed: u64, book: u64 },
    #[error(
        "the tiles of {0} events do not follow from the events, so that nothing is signed; `daybook tree rebuild` makes them anew"
    )]
    Spoilt(u64),
    #[error("event {0} is missing in the book, but it is in the log's tree; `daybook verify --full` tells more")]
    Missing(Position),
    #[error(
        "event {missing} is missing in the book, which goes on to position {end}; `daybook verify --full` tells more"
    )]
    Absent { missing: Position, end: Position },
    #[error("{} cannot be read or written; what was signed last is kept beside the log's key, and nothing is signed without", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(
        "{} does not hold the last checkpoint that the key beside it has signed; if it is another log's, move it away",
        path.display()
    )]
    LastSigned { path: PathBuf, source: Refused },
    #[error("the row of `transparency_log` is gone; `daybook tree rebuild` makes it anew, with the log's key at hand")]
    Lost,
    #[error("nothing has been signed yet")]
    NoCheckpoint,
    #[error("there is no checkpoint of {0} events")]
    UnknownCheckpoint(u64),
    #[error("the log of {size} events has no event {position}")]
    Beyond { position: Position, size: u64 },
    #[error("event {0} is not the one that is in the log; `daybook verify --full` tells more")]
    Event(Position),
    #[error("a tree of {to} events cannot continue one of {from}")]
    Backwards { from: u64, to: u64 },
    #[error(
        "the stored checkpoint of {size} events is not what the log has signed; `daybook verify --full` tells more"
    )]
    Checkpoint { size: u64, source: daybook_log::checkpoint::CheckpointError },
    #[error("the public key that the ledger keeps cannot be read")]
    Key(#[from] daybook_log::note::KeyError),
}

impl From<sqlx::Error> for LogError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<ScanError> for LogError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Database(error) => error.into(),
            ScanError::Malformed => sqlx::Error::Protocol(error.to_string()).into(),
        }
    }
}

impl LogError {
    /// It is the database that does not do its part, and not the log that is not as it should be.
    pub fn is_of_the_database(&self) -> bool {
        matches!(self, Self::Store(_))
    }
}

impl Standing {
    /// The key that checks what the log has signed.
    pub fn key(&self) -> Result<Option<PublicKey>, LogError> {
        Ok(self.vkey.as_deref().map(str::parse).transpose()?)
    }
}

pub async fn standing(executor: impl PgExecutor<'_>) -> Result<Standing, LogError> {
    let query = "select origin, vkey, size from transparency_log";
    sqlx::query_as(query).fetch_optional(executor).await?.ok_or(LogError::Lost)
}

/// The last event that stands in the tree whole whatever its size. After it, one that is larger than an entry may be
/// stands there by its digest.
pub async fn digests_after(executor: impl PgExecutor<'_>) -> Result<Position, LogError> {
    let after: i64 = sqlx::query_scalar("select log_digests_after()").fetch_one(executor).await?;
    Ok(after.unsigned_abs())
}

/// The checkpoint of the largest tree.
pub async fn latest_checkpoint(executor: impl PgExecutor<'_>) -> Result<Option<StoredCheckpoint>, LogError> {
    let query = "select size, note, signed_at from log_checkpoints order by size desc limit 1";
    Ok(sqlx::query_as(query).fetch_optional(executor).await?)
}

/// Checkpoints of more than so many events, the smallest first.
pub async fn checkpoints(
    executor: impl PgExecutor<'_>,
    after: u64,
    limit: i64,
) -> Result<Vec<StoredCheckpoint>, LogError> {
    let query = "select size, note, signed_at from log_checkpoints where size > $1 order by size limit $2";
    Ok(sqlx::query_as(query).bind(i64::try_from(after).unwrap_or(i64::MAX)).bind(limit).fetch_all(executor).await?)
}

/// The checkpoints of at least and at most so many events, the smallest first.
pub async fn checkpoints_between(
    connection: &mut PgConnection,
    from: u64,
    to: u64,
) -> Result<Vec<StoredCheckpoint>, LogError> {
    let query = "select size, note, signed_at from log_checkpoints where size between $1 and $2 order by size";
    Ok(sqlx::query_as(query).bind(signed(from)?).bind(signed(to)?).fetch_all(connection).await?)
}

/// The largest checkpoint of at most so many events.
pub async fn checkpoint_up_to(executor: impl PgExecutor<'_>, size: u64) -> Result<Option<StoredCheckpoint>, LogError> {
    let query = "select size, note, signed_at from log_checkpoints where size <= $1 order by size desc limit 1";
    Ok(sqlx::query_as(query).bind(i64::try_from(size).unwrap_or(i64::MAX)).fetch_optional(executor).await?)
}

impl StoredCheckpoint {
    /// Checks the signature.
    pub fn open(&self, key: &PublicKey) -> Result<Checkpoint, LogError> {
        let opened = Checkpoint::open_alone(&self.note, key);
        let checkpoint = opened.map_err(|source| LogError::Checkpoint { size: self.size, source })?;
        if checkpoint.size == self.size { Ok(checkpoint) } else { Err(LogError::UnknownCheckpoint(self.size)) }
    }
}

impl RawEvent {
    /// The event as the log encodes it.
    pub fn to_log(&self) -> LogEvent<'_> {
        LogEvent {
            position: self.position,
            aggregate_type: (&*self.aggregate_type).into(),
            aggregate_id: (&*self.aggregate_id).into(),
            sequence: self.sequence,
            event_type: (&*self.event_type).into(),
            event_version: (&*self.event_version).into(),
            payload: (&*self.payload).into(),
            metadata: (&*self.metadata).into(),
            recorded_at_us: self.recorded_at.timestamp_micros(),
        }
    }

    /// The event as the log encodes it, to be kept.
    pub fn into_log(self) -> LogEvent<'static> {
        LogEvent {
            position: self.position,
            aggregate_type: self.aggregate_type.into(),
            aggregate_id: self.aggregate_id.into(),
            sequence: self.sequence,
            event_type: self.event_type.into(),
            event_version: self.event_version.into(),
            payload: self.payload.into(),
            metadata: self.metadata.into(),
            recorded_at_us: self.recorded_at.timestamp_micros(),
        }
    }
}
