//! Proofs for whoever asks: made of the tiles, and checked before they are handed out.

use daybook_log::{
    Checkpoint, PublicKey,
    proof::{ConsistencyProof, EventProof},
    tree,
};
use sqlx::PgConnection;
use tlog_tiles::Hash;

use super::{LogError, StoredCheckpoint, latest_checkpoint, standing, tiles::read_wanted};
use crate::{
    event::Position,
    store::{events::signed, read_events},
};

/// The checkpoint of so many events, or the latest one; with the key that has signed it.
pub async fn checkpoint_at(
    connection: &mut PgConnection,
    size: Option<u64>,
) -> Result<(PublicKey, Checkpoint), LogError> {
    let key = standing(&mut *connection).await?.key()?.ok_or(LogError::NoCheckpoint)?;
    let stored: StoredCheckpoint = match size {
        None => latest_checkpoint(connection).await?.ok_or(LogError::NoCheckpoint)?,
        Some(size) => {
            let query = "select size, note, signed_at from log_checkpoints where size = $1";
            let number = signed(size).map_err(|_| LogError::UnknownCheckpoint(size))?;
            let stored = sqlx::query_as(query).bind(number).fetch_optional(connection).await?;
            stored.ok_or(LogError::UnknownCheckpoint(size))?
        }
    };
    let checkpoint = stored.open(&key)?;
    Ok((key, checkpoint))
}

/// Proves that an event is in the tree of a checkpoint: of so many events, or the latest one.
pub async fn event_proof(
    connection: &mut PgConnection,
    position: Position,
    size: Option<u64>,
) -> Result<EventProof, LogError> {
    let (_, checkpoint) = checkpoint_at(connection, size).await?;
    let size = checkpoint.size;
    if position == 0 || position > size {
        return Err(LogError::Beyond { position, size });
    }
    let proofs = prove_inclusions(connection, &checkpoint, &[position]).await?;
    let event = read_events(connection, position - 1, 1).await?.pop().ok_or(LogError::Event(position))?;
    let (proof, event) = (proofs.into_iter().next().unwrap_or_default(), event.into_log());
    if event.position != position || !event.is_in(&proof, size, checkpoint.root) {
        return Err(LogError::Event(position));
    }
    Ok(EventProof { event, proof, checkpoint: checkpoint.note })
}

/// The ways from the leaves of some events to the root of a checkpoint. Whether the events are still those of the
/// leaves remains to be checked.
pub async fn prove_inclusions(
    connection: &mut PgConnection,
    checkpoint: &Checkpoint,
    positions: &[Position],
) -> Result<Vec<Vec<Hash>>, LogError> {
    let (size, root) = (checkpoint.size, checkpoint.root);
    let wanted: Vec<_> = positions.iter().flat_map(|position| tree::tiles_for_inclusion(size, position - 1)).collect();
    let tiles = read_wanted(connection, &wanted).await?;
    let prove = |position: &Position| tree::prove_inclusion(&tiles, size, root, position - 1);
    positions.iter().map(prove).collect::<Result<_, _>>().map_err(LogError::Tiles)
}

/// Proves that one checkpoint continues another: of so many events, the later one the latest unless it is told.
pub async fn prove_consistency(
    connection: &mut PgConnection,
    from: u64,
    to: Option<u64>,
) -> Result<ConsistencyProof, LogError> {
    let (_, later) = checkpoint_at(connection, to).await?;
    let (_, earlier) = checkpoint_at(connection, Some(from)).await?;
    if earlier.size > later.size {
        return Err(LogError::Backwards { from, to: later.size });
    }
    let wanted = tree::tiles_for_consistency(later.size, earlier.size);
    let tiles = read_wanted(connection, &wanted).await?;
    let proof = tree::prove_consistency(&tiles, later.size, later.root, earlier.size).map_err(LogError::Tiles)?;
    if !tree::extends(&proof, (later.size, later.root), (earlier.size, earlier.root)) {
        return Err(LogError::Inconsistent { signed: earlier.size, now: later.size });
    }
    Ok(ConsistencyProof { from: earlier.note, to: later.note, proof })
}
