//! The transparency log: a Merkle tree over the events of the book, and signed checkpoints of it. Who keeps a
//! checkpoint can tell for ever after whether the book still begins with what it began with then.
//!
//! The tree is derived from the book, beside the write path. How an event is encoded, how the tree is made and how a
//! checkpoint is signed says the crate `daybook-verify`, which an auditor can read by itself.

mod keeper;
mod key;
mod proof;
mod rebuild;
mod scan;
mod tiles;

use daybook_verify::{Checkpoint, LogEvent, PublicKey, tree::Place};
use sqlx::{PgConnection, PgExecutor};

pub use keeper::{Keeper, KeeperOptions, Kept};
pub use key::{LogKeyError, open_key};
pub use proof::{checkpoint_at, event_proof, prove_consistency, prove_inclusions};
pub use rebuild::{RebuildError, Rebuilt, rebuild_tiles};
pub use scan::{ScanError, scan};
pub use tiles::{add_events, read_tiles, sign, tile};

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
        "the tree of {now} events does not continue the one of {signed} events that was signed; `daybook verify --full` tells where"
    )]
    Inconsistent { signed: u64, now: u64 },
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
    #[error("a stored checkpoint cannot be trusted")]
    Checkpoint(#[from] daybook_verify::checkpoint::CheckpointError),
    #[error("the public key that the ledger keeps cannot be read")]
    Key(#[from] daybook_verify::note::KeyError),
}

impl From<sqlx::Error> for LogError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Standing {
    /// The key that checks what the log has signed.
    pub fn key(&self) -> Result<Option<PublicKey>, LogError> {
        Ok(self.vkey.as_deref().map(str::parse).transpose()?)
    }
}

pub async fn standing(executor: impl PgExecutor<'_>) -> Result<Standing, LogError> {
    Ok(sqlx::query_as("select origin, vkey, size from transparency_log").fetch_one(executor).await?)
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
        let checkpoint = Checkpoint::open_alone(&self.note, key)?;
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
