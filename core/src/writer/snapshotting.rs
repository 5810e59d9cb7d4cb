//! What the writer leaves to others, beside the append: snapshots of long streams, and the hint to other processes
//! that the book has grown.

use std::time::Duration;

use tokio::{
    sync::{mpsc, watch},
    task::{self, JoinHandle},
    time,
};

use super::batch::Batch;
use crate::state::{Aggregates, Loaded, StreamKey};
use crate::{
    cause::chain,
    event::Position,
    store::{Store, snapshots},
};

/// How many snapshots may wait to be written; more are left for a later batch.
const WAITING_SNAPSHOTS: usize = 64;

/// The shortest time between two notifications: each costs a transaction, and wakes every process that listens.
const PACE: Duration = Duration::from_millis(50);

/// The tasks beside the loop. They end when the loop drops its ends of the channels.
#[derive(Debug)]
pub(super) struct BackgroundTasks {
    snapshots: mpsc::Sender<(StreamKey, Loaded)>,
    writing: JoinHandle<()>,
    notifying: JoinHandle<()>,
}

impl BackgroundTasks {
    pub fn start(store: &Store, committed: watch::Receiver<Position>) -> Self {
        let (snapshots, waiting) = mpsc::channel(WAITING_SNAPSHOTS);
        Self {
            snapshots,
            writing: tokio::spawn(write_snapshots(store.clone(), waiting)),
            notifying: tokio::spawn(notify(store.clone(), committed)),
        }
    }

    /// The states after this batch of which snapshots are to be written once it is durable: of streams that have grown enough
    /// since the last time.
    pub fn due(&self, aggregates: &Aggregates, batch: &Batch, snapshot_every: u64) -> Vec<(StreamKey, Loaded)> {
        let due = |loaded: &Loaded| {
            // The longer the stream, the rarer: all snapshots of a stream together stay proportional to its length.
            let enough = snapshot_every.max(loaded.snapshot_sequence / 2);
            // Texts about persons stand sealed in the book, and nowhere else but in the rows.
            loaded.sequence - loaded.snapshot_sequence >= enough && !loaded.any().holds_texts()
        };
        let grown = batch.grown().into_iter().filter_map(|stream| Some((stream, aggregates.get(stream)?)));
        grown.filter(|(_, loaded)| due(loaded)).map(|(stream, loaded)| (stream.clone(), loaded.clone())).collect()
    }

    /// Has them written.
    pub fn write(&self, aggregates: &mut Aggregates, states: Vec<(StreamKey, Loaded)>) {
        for (stream, loaded) in states {
            let sequence = loaded.sequence;
            if self.snapshots.try_send((stream.clone(), loaded)).is_ok() {
                aggregates.mark_snapshot(&stream, sequence);
            }
        }
    }

    /// Waits for what is still to be written; the loop must have dropped its end of the committed position.
    pub async fn finish(self) {
        drop(self.snapshots);
        for running in [self.writing, self.notifying] {
            if let Err(error) = running.await {
                tracing::error!(error = %chain(&error), "a task beside the writer has fallen");
            }
        }
    }
}

async fn write_snapshots(store: Store, mut waiting: mpsc::Receiver<(StreamKey, Loaded)>) {
    while let Some((stream, loaded)) = waiting.recv().await {
        // A large state takes a while to serialise; the commands of others need not wait for it.
        let state = task::spawn_blocking(move || (loaded.any().to_json(), loaded)).await;
        let Ok((state, loaded)) = state else { continue };
        if let Err(error) = snapshots::write(store.pool(), &stream, &loaded, &state).await {
            tracing::warn!(?stream, error = %chain(&error), "a snapshot could not be written");
        }
    }
}

/// One notification for all that was committed since the last one.
async fn notify(store: Store, mut committed: watch::Receiver<Position>) {
    while committed.changed().await.is_ok() {
        let position = *committed.borrow_and_update();
        if let Err(error) = store.notify(position).await {
            tracing::debug!(error = %chain(&error), "a notification could not be sent");
        }
        time::sleep(PACE).await;
    }
}
