//! A long stretch of the book, read ahead and decoded on all cores while the caller is busy with what came before. Few
//! chunks are in memory at any time, and each is bounded by its bytes.

use daybook_core::{
    Position,
    store::{Opener, RawEvent, Store, StoreError},
};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use sqlx::Executor as _;
use tokio::{sync::mpsc, task};

use crate::engine::{
    Follows,
    changes::Changes,
    error::RebuildError,
    follow::{
        fold::Folding,
        log::{self, Entry},
    },
};

/// What one step hands to the next, until there is nothing more or it has failed.
pub(in crate::engine) type Stream<T> = mpsc::Receiver<Result<T, RebuildError>>;
pub(in crate::engine) type Sender<T> = mpsc::Sender<Result<T, RebuildError>>;

/// A chunk of the book.
pub(in crate::engine) struct Chunk {
    /// The last position of the chunk, whether or not anybody follows that event.
    pub to: Position,
    pub events: Vec<RawEvent>,
    pub opener: Opener,
}

/// A chunk of the book, folded.
pub(in crate::engine) struct Folded {
    pub to: Position,
    /// What the events ask for, in their order.
    pub changes: Vec<Changes>,
}

/// The share of the memory that a chunk of the book may take as it is read; folded it takes several times as much, and
/// some of them are under way at once.
pub(in crate::engine) const CHUNK_SHARE: usize = 48;
/// Events of the first chunk; the others follow from how large these are.
const FIRST: u64 = 1_000;
/// What a row of the events table takes in memory beside its JSON.
const OVERHEAD: usize = 300;
/// Pieces of a chunk per core, so that no core waits long for the others.
const PIECES: usize = 4;

/// The events after one position up to another, which the book has reached, as changes of a projection.
pub(in crate::engine) fn folded(
    store: &Store,
    folding: Folding,
    span: (Position, Position),
    chunk_bytes: usize,
) -> Stream<Folded> {
    let chunks = read(store, &[folding.definition.follows], span, chunk_bytes);
    mapped(chunks, move |Chunk { to, events, opener }| {
        let changes = pieces(events).into_par_iter().map(|piece| Ok(folding.changes(&decoded(piece, &opener))?));
        Ok(Folded { to, changes: changes.collect::<Result<_, RebuildError>>()? })
    })
}

/// The events of some chunks, decoded.
pub(in crate::engine) fn entries(chunks: Stream<(Vec<RawEvent>, Opener)>) -> Stream<Vec<Entry>> {
    mapped(chunks, |(events, opener)| {
        Ok(pieces(events).into_par_iter().flat_map_iter(|piece| decoded(piece, &opener)).collect())
    })
}

/// Some chunks, each with what opens its events.
pub(in crate::engine) fn with_openers(
    store: Store,
    mut chunks: Stream<Vec<RawEvent>>,
) -> Stream<(Vec<RawEvent>, Opener)> {
    stream(|send| async move {
        while let Some(events) = chunks.recv().await {
            let events = events?;
            let opener = store.opener(&events).await?;
            if send.send(Ok((events, opener))).await.is_err() {
                break;
            }
        }
        Ok(())
    })
}

/// The events after one position up to another that are followed by any of these.
pub(in crate::engine) fn read(
    store: &Store,
    follows: &[Follows],
    span: (Position, Position),
    chunk_bytes: usize,
) -> Stream<Chunk> {
    let types = types(follows);
    let store = store.clone();
    stream(|send| async move { Ok(read_into(&store, types.as_deref(), span, chunk_bytes, &send).await?) })
}

/// Does the work of a step with each chunk, one after the other, beside those who read and those who wait for it.
pub(in crate::engine) fn mapped<T: Send + 'static, U: Send + 'static>(
    mut chunks: Stream<T>,
    work: impl FnMut(T) -> Result<U, RebuildError> + Send + 'static,
) -> Stream<U> {
    let mut work = work;
    stream(|send| async move {
        while let Some(chunk) = chunks.recv().await {
            let outcome;
            (work, outcome) = task::spawn_blocking(move || {
                let outcome = chunk.and_then(&mut work);
                (work, outcome)
            })
            .await?;
            if send.send(Ok(outcome?)).await.is_err() {
                break;
            }
        }
        Ok(())
    })
}

/// What a task sends. If it fails or panics, that comes last: without it, what is missing would look like the end of the
/// book.
pub(in crate::engine) fn stream<T, W>(work: impl FnOnce(Sender<T>) -> W) -> Stream<T>
where
    T: Send + 'static,
    W: Future<Output = Result<(), RebuildError>> + Send + 'static,
{
    let (send, stream) = mpsc::channel(1);
    let task = tokio::spawn(work(send.clone()));
    tokio::spawn(async move {
        if let Err(error) = task.await.map_err(RebuildError::from).flatten() {
            // Nobody to tell means that nobody wants the rest.
            let _ = send.send(Err(error)).await;
        }
    });
    stream
}

/// The types of aggregates that are followed; `None` if all are.
fn types(follows: &[Follows]) -> Option<Vec<&'static str>> {
    let mut types = Vec::new();
    for follows in follows {
        match follows {
            Follows::Only(some) => types.extend_from_slice(some),
            Follows::Everything => return None,
        }
    }
    types.sort_unstable();
    types.dedup();
    Some(types)
}

async fn read_into(
    store: &Store,
    types: Option<&[&str]>,
    (mut reached, to): (Position, Position),
    chunk_bytes: usize,
    chunks: &Sender<Chunk>,
) -> Result<(), StoreError> {
    let mut connection = store.connection().await?;
    connection.execute("set enable_seqscan = off").await?;
    let mut limit = FIRST;
    while reached < to {
        let end = to.min(reached + limit);
        let events = log::read_followed(&mut connection, types, reached, end).await?;
        let bytes: usize = events.iter().map(|event| event.payload.len() + event.metadata.len() + OVERHEAD).sum();
        // As many as fill a chunk at the size of these, but not many more than last time: the next may be larger.
        let fitting = (limit * chunk_bytes as u64).checked_div(bytes as u64).unwrap_or(limit * 4);
        limit = fitting.clamp(FIRST / 10, limit * 4);
        let opener = store.opener(&events).await?;
        if chunks.send(Ok(Chunk { to: end, events, opener })).await.is_err() {
            break;
        }
        reached = end;
    }
    Ok(())
}

fn pieces(mut events: Vec<RawEvent>) -> Vec<Vec<RawEvent>> {
    let size = events.len().div_ceil(rayon::current_num_threads() * PIECES).max(1);
    let mut pieces = Vec::new();
    while !events.is_empty() {
        let rest = events.split_off(size.min(events.len()));
        pieces.push(std::mem::replace(&mut events, rest));
    }
    pieces
}

fn decoded(events: Vec<RawEvent>, opener: &Opener) -> Vec<Entry> {
    events.into_iter().map(|raw| Entry::of(raw, opener)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_not_the_end_of_the_book() {
        let (send, chunks) = mpsc::channel(3);
        for chunk in [1, 0, 2] {
            send.send(Ok(chunk)).await.expect("there is room");
        }
        drop(send);
        let mut done = mapped(chunks, |chunk: u32| Ok(6_u32.checked_div(chunk).expect("nothing divides by zero")));
        assert!(matches!(done.recv().await, Some(Ok(6))));
        match done.recv().await {
            Some(Err(RebuildError::Panicked(error))) => assert!(error.is_panic(), "{error}"),
            other => panic!("{other:?}"),
        }
        assert!(done.recv().await.is_none());
    }
}
