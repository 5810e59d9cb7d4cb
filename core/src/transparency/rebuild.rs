//! Making the tiles anew from the book, when they were lost or spoilt.

use daybook_verify::tree::TileBuilder;
use sqlx::{Connection, PgConnection};
use tlog_tiles::Hash;

use super::{LogError, ScanError, checkpoints_between, latest_checkpoint, scan, standing, tiles::write_tiles};
use crate::{event::Position, store::Store};

/// Events that are read at once.
const CHUNK: u64 = 1 << 16;

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the events cannot be read")]
    Scan(#[from] ScanError),
    #[error("event {0} is missing in the book, but it is in the tree; nothing was changed")]
    Missing(Position),
    #[error(
        "the events do not lead to the checkpoint of {0} events that was signed; nothing was changed, and `daybook verify --full` tells where they differ"
    )]
    Contradicted(u64),
}

impl From<sqlx::Error> for RebuildError {
    fn from(error: sqlx::Error) -> Self {
        Self::Log(error.into())
    }
}

/// What a rebuild has come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rebuilt {
    /// Events in the tree.
    pub size: u64,
    pub root: Hash,
    /// Checkpoints that the tree was compared with.
    pub checkpoints: u64,
}

/// Makes all tiles anew, in one transaction; keepers wait meanwhile. The events must lead to every checkpoint that was
/// signed, or nothing is changed.
pub async fn rebuild_tiles(store: &Store) -> Result<Rebuilt, RebuildError> {
    let mut reader = store.connection().await.map_err(LogError::from)?;
    sqlx::query("set statement_timeout = 0").execute(&mut reader).await?;
    // The application's role may not take tiles away.
    let mut owner = store.owner_connection().await.map_err(LogError::from)?;
    let mut transaction = owner.begin().await?;
    sqlx::query("select from transparency_log for update").execute(&mut *transaction).await?;
    let log = standing(&mut *transaction).await?;
    let key = log.key()?;
    sqlx::query("delete from log_tiles").execute(&mut *transaction).await?;

    let mut builder = TileBuilder::default();
    let mut compared = 0;
    while builder.size() < log.size {
        let (from, to) = (builder.size() + 1, log.size.min(builder.size() + CHUNK));
        let mut signed = checkpoints_between(&mut transaction, from, to).await?.into_iter().peekable();
        for leaf in read_leaves(&mut reader, from, to).await? {
            builder.push(leaf);
            let Some(stored) = signed.next_if(|stored| stored.size == builder.size()) else { continue };
            let key = key.as_ref().ok_or(LogError::NoCheckpoint)?;
            if stored.open(key)?.root != builder.root() {
                return Err(RebuildError::Contradicted(stored.size));
            }
            compared += 1;
        }
        write_tiles(&mut transaction, &builder.take_changed()).await?;
    }
    if let Some(beyond) = latest_checkpoint(&mut *transaction).await?.filter(|last| last.size > log.size) {
        return Err(RebuildError::Contradicted(beyond.size));
    }
    transaction.commit().await?;
    owner.close().await?;
    Ok(Rebuilt { size: builder.size(), root: builder.root(), checkpoints: compared })
}

/// The leaves of these events; none may be missing.
async fn read_leaves(connection: &mut PgConnection, from: Position, to: Position) -> Result<Vec<Hash>, RebuildError> {
    let (mut leaves, mut buffer, mut due) = (Vec::new(), Vec::new(), from);
    scan(connection, from, to, |event| {
        if event.position == due {
            due += 1;
            leaves.push(event.leaf_with(&mut buffer));
        }
    })
    .await?;
    if due > to { Ok(leaves) } else { Err(RebuildError::Missing(due)) }
}
