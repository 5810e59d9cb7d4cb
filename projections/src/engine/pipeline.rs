//! A long stretch of the book, read ahead and folded on all cores while the caller is busy with what came before. Few
//! chunks are in memory at any time, and each is bounded by its bytes.

use std::sync::Arc;

use daybook_core::{
    Position,
    store::{RawEvent, Store, StoreError, Upcasters},
};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use sqlx::Executor as _;
use tokio::{sync::mpsc, task};

use super::{
    Definition,
    changes::Changes,
    error::RebuildError,
    fold,
    log::{self, Entry},
    parking::Parked,
    table::WriteError,
};

/// A chunk of the book, folded.
pub(super) struct Folded {
    /// The last position of the chunk, whether or not the projection follows that event.
    pub to: Position,
    /// What the events ask for, in their order.
    pub changes: Vec<Changes>,
}

/// Events of the first chunk; the others follow from how large these are.
const FIRST: u64 = 1_000;
/// What a row of the events table takes in memory beside its JSON.
const OVERHEAD: usize = 300;
/// Pieces of a chunk per core, so that no core waits long for the others.
const PIECES: usize = 4;

/// The events after one position up to another, which the book has reached, as changes of a projection.
pub(super) fn folded(
    store: &Store,
    definition: Definition,
    parked: Arc<Parked>,
    (after, to): (Position, Position),
    chunk_bytes: usize,
) -> mpsc::Receiver<Result<Folded, RebuildError>> {
    let (send_chunks, mut chunks) = mpsc::channel(1);
    let (send_folded, folded) = mpsc::channel(1);
    let (store, upcasters) = (store.clone(), store.upcasters().clone());
    tokio::spawn(async move {
        if let Err(error) = read(&store, definition, (after, to), chunk_bytes, &send_chunks).await {
            // Nobody to tell means that nobody wants the rest.
            let _ = send_chunks.send(Err(error)).await;
        }
    });
    tokio::spawn(async move {
        while let Some(chunk) = chunks.recv().await {
            let folded = match chunk {
                Ok(chunk) => fold_chunk(definition, upcasters.clone(), parked.clone(), chunk).await,
                Err(error) => Err(error.into()),
            };
            let failed = folded.is_err();
            if send_folded.send(folded).await.is_err() || failed {
                break;
            }
        }
    });
    folded
}

struct Chunk {
    to: Position,
    events: Vec<RawEvent>,
}

async fn read(
    store: &Store,
    definition: Definition,
    (mut reached, to): (Position, Position),
    chunk_bytes: usize,
    chunks: &mpsc::Sender<Result<Chunk, StoreError>>,
) -> Result<(), StoreError> {
    let mut connection = store.connection().await?;
    connection.execute("set enable_seqscan = off").await?;
    let mut limit = FIRST;
    while reached < to {
        let end = to.min(reached + limit);
        let events = log::read_followed(&mut connection, definition.follows, reached, end).await?;
        let bytes: usize = events.iter().map(|event| event.payload.len() + event.metadata.len() + OVERHEAD).sum();
        // As many as fill a chunk at the size of these, but not many more than last time: the next may be larger.
        let fitting = (limit * chunk_bytes as u64).checked_div(bytes as u64).unwrap_or(limit * 4);
        limit = fitting.clamp(FIRST / 10, limit * 4);
        if chunks.send(Ok(Chunk { to: end, events })).await.is_err() {
            break;
        }
        reached = end;
    }
    Ok(())
}

async fn fold_chunk(
    definition: Definition,
    upcasters: Upcasters,
    parked: Arc<Parked>,
    chunk: Chunk,
) -> Result<Folded, RebuildError> {
    let work = move || {
        let Chunk { to, mut events } = chunk;
        let size = events.len().div_ceil(rayon::current_num_threads() * PIECES).max(1);
        let mut pieces = Vec::new();
        while !events.is_empty() {
            let rest = events.split_off(size.min(events.len()));
            pieces.push(std::mem::replace(&mut events, rest));
        }
        let changes: Vec<Result<Changes, WriteError>> = pieces
            .into_par_iter()
            .map(|piece| {
                let entries: Vec<Entry> = piece.into_iter().map(|raw| Entry::of(raw, &upcasters)).collect();
                fold::changes(&definition, &parked, &entries)
            })
            .collect();
        Ok(Folded { to, changes: changes.into_iter().collect::<Result<_, _>>()? })
    };
    task::spawn_blocking(work).await.expect("a fold does not fall")
}
