//! Making the tiles anew from the book, when they were lost or spoilt.

use daybook_log::{PublicKey, tree::TileBuilder};
use sqlx::{Connection, PgConnection};
use tlog_tiles::Hash;

use super::{
    LogError, ScanError, Standing, checkpoints_between, latest_checkpoint, scan::read_leaves, standing,
    tiles::write_tiles,
};
use crate::{event::Position, store::Store};

/// Events that are read at once.
const CHUNK: u64 = 1 << 16;

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the events cannot be read")]
    Scan(#[from] ScanError),
    #[error(
        "the row of `transparency_log` is gone, and with it the key that checks what was signed: name that by --key, or its file by --log-key"
    )]
    Key,
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
/// signed, or nothing is changed. The key is that of the log, in case that the ledger has lost it.
pub async fn rebuild_tiles(store: &Store, key: Option<&PublicKey>) -> Result<Rebuilt, RebuildError> {
    let mut reader = store.connection().await.map_err(LogError::from)?;
    sqlx::query("set statement_timeout = 0").execute(&mut reader).await?;
    // The application's role may not take tiles away.
    let mut owner = store.owner_connection().await.map_err(LogError::from)?;
    let mut transaction = owner.begin().await?;
    sqlx::query("select from transparency_log for update").execute(&mut *transaction).await?;
    let log = match standing(&mut *transaction).await {
        Err(LogError::Lost) => recreate(&mut transaction, key).await?,
        standing => standing?,
    };
    let key = log.key()?;
    sqlx::query("delete from log_tiles").execute(&mut *transaction).await?;

    let mut builder = TileBuilder::default();
    let mut compared = 0;
    while builder.size() < log.size {
        let (from, to) = (builder.size() + 1, log.size.min(builder.size() + CHUNK));
        let mut signed = checkpoints_between(&mut transaction, from, to).await?.into_iter().peekable();
        let leaves = read_leaves(&mut reader, from, to).await?;
        let missing = from + leaves.len() as u64;
        if missing <= to {
            return Err(RebuildError::Missing(missing));
        }
        for leaf in leaves {
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

/// Makes the row anew that tells which log this is. The tree reaches as far as it was signed; the keeper goes on from there.
async fn recreate(transaction: &mut PgConnection, key: Option<&PublicKey>) -> Result<Standing, RebuildError> {
    if key.is_none() && latest_checkpoint(&mut *transaction).await?.is_some() {
        return Err(RebuildError::Key);
    }
    sqlx::query(
        "insert into transparency_log (origin, vkey, size)
         values ($1, $2, (select coalesce(max(size), 0) from log_checkpoints))",
    )
    .bind(key.map(PublicKey::name))
    .bind(key.map(PublicKey::to_string))
    .execute(&mut *transaction)
    .await?;
    Ok(standing(transaction).await?)
}
