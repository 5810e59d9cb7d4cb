//! The append loop: what waits is decided in memory while the batch before is being appended, then appended in its
//! turn, and answered once it is durable.
//!
//! What is decided is thus decided on what may still fail. If it does, or if another process has appended meanwhile, all
//! of it is undone, and decided again under the lock of the head.

use std::{
    future, mem,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures::poll;
use sqlx::{Connection, PgConnection};
use tokio::{
    sync::{mpsc, watch},
    time,
};
use tokio_util::sync::CancellationToken;

use super::{
    Counters, ExecuteError, Failure, Recent, Waiting, WriterOptions,
    batch::{Batch, Created, Verdict},
    snapshotting::BackgroundTasks,
};
use crate::state::{Aggregates, Loaded, StreamKey};
use crate::{
    cause::chain,
    clock::Clock,
    event::Position,
    store::{
        Store, StoreError,
        events::{head, head_and_clock},
        idempotency,
    },
};

/// Commands that are decided at a time; between them it is looked whether the batch before has landed.
const PIECE: usize = 64;

pub(super) struct AppendLoop {
    pub(super) store: Store,
    pub(super) options: WriterOptions,
    pub(super) waiting: mpsc::Receiver<Waiting>,
    pub(super) stop: CancellationToken,
    pub(super) committed: watch::Sender<Position>,
    pub(super) recent: Arc<Recent>,
    pub(super) counters: Arc<Counters>,
    pub(super) background: BackgroundTasks,
    /// The one that is appended on; a batch in flight has it with it.
    pub(super) connection: Option<PgConnection>,
    pub(super) aggregates: Aggregates,
    /// Where the book ended when it was seen last. The aggregates in memory are what they were there, and what has been
    /// decided since.
    pub(super) reached: Position,
}

/// A batch on its way into the book.
struct Flight {
    /// Where the book ends after it.
    last: Position,
    landing: Pin<Box<dyn Future<Output = Landed> + Send>>,
}

struct Landed {
    batch: Batch,
    /// States of which snapshots are to be written.
    snapshots: Vec<(StreamKey, Loaded)>,
    connection: PgConnection,
    outcome: Result<Outcome, StoreError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is durable, and was decided on what the book held. If it has events, they were recorded at this time.
    Stands(Option<DateTime<Utc>>),
    /// The book ends elsewhere, or has one of its keys or events already, or the clock is not to be trusted: nothing was
    /// done.
    Elsewhere,
}

/// A batch that stands in the book.
pub(super) struct Durable {
    pub(super) batch: Batch,
    /// If it has events, and that is known.
    pub(super) recorded_at: Option<DateTime<Utc>>,
}

impl AppendLoop {
    pub fn new(
        store: Store,
        options: WriterOptions,
        waiting: mpsc::Receiver<Waiting>,
        stop: CancellationToken,
        committed: watch::Sender<Position>,
        recent: Arc<Recent>,
        counters: Arc<Counters>,
    ) -> Self {
        let background = BackgroundTasks::start(&store, committed.subscribe());
        let aggregates = Aggregates::new(options.cache);
        let connection = None;
        Self {
            store,
            options,
            waiting,
            stop,
            committed,
            recent,
            counters,
            background,
            connection,
            aggregates,
            reached: 0,
        }
    }

    pub async fn run(mut self) {
        match head_and_clock(self.store.pool()).await {
            Ok((head, now)) => {
                // Whoever records something is told of what is wrong with the clock.
                let _ = self.options.clock.judge(head, now);
                self.reached = head.position;
                self.publish(head.position);
            }
            Err(error) => tracing::warn!(error = %chain(&error), "the end of the book cannot be read yet"),
        }
        let stop = self.stop.clone();
        let (mut open, mut drained) = (true, false);
        let mut flight: Option<Flight> = None;
        let mut next = self.batch_after(self.reached);
        let mut durable: Option<Durable> = None;
        loop {
            if flight.is_none() && !next.waiting.is_empty() {
                flight = self.launch(next).await;
                next = self.batch_after(flight.as_ref().map_or(self.reached, |flight| flight.last));
            }
            // Only now, so that the database is at work meanwhile.
            if let Some(durable) = durable.take() {
                self.tell(durable);
            }
            if flight.is_none() && drained {
                break;
            }
            let room = self.room(&next);
            let mut arrived = Vec::new();
            tokio::select! {
                biased;
                landed = landing(&mut flight) => {
                    flight = None;
                    (durable, next) = self.land(landed, next).await;
                }
                () = stop.cancelled(), if open => {
                    // What is in the queue is still answered.
                    self.waiting.close();
                    open = false;
                }
                taken = self.waiting.recv_many(&mut arrived, room), if room > 0 && !drained => {
                    drained = taken == 0;
                    next.extend(arrived);
                    if flight.is_some() {
                        // What is missing is loaded when the connection is back.
                        let _ = next.decide_from_memory(&mut self.aggregates);
                    }
                }
            }
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(error = %chain(&error), "the writer's connection was closed by the other side");
        }
        let Self { committed, background, .. } = self;
        drop(committed);
        background.finish().await;
    }

    fn batch_after(&self, position: Position) -> Batch {
        Batch::new(position, Created::Trusted, self.store.keys().clone())
    }

    /// How many commands the next batch takes now; none while it waits for something to be loaded.
    fn room(&self, next: &Batch) -> usize {
        if next.is_decided() { self.options.batch.saturating_sub(next.size()).min(PIECE) } else { 0 }
    }

    /// Has what is left of the batch decided, and sends it off; `None` if it had to be served in another way.
    async fn launch(&mut self, mut batch: Batch) -> Option<Flight> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                batch.undo(&mut self.aggregates);
                let mut waiting = batch.waiting;
                let connection = self.connected(&mut waiting).await?;
                batch = self.batch_after(self.reached);
                batch.extend(waiting);
                connection
            }
        };
        let deciding = batch.decide(&mut connection, &self.store, &mut self.aggregates);
        if let Err(error) = within(self.options.patience, deciding).await {
            tracing::warn!(error = %chain(&error), "what commands need could not be loaded; trying again");
            batch.undo(&mut self.aggregates);
            self.serve_locked(batch.waiting, None).await;
            return None;
        }
        let last = batch.last();
        let snapshots = self.background.due(&self.aggregates, &batch, self.options.snapshot_every);
        let (patience, clock) = (self.options.patience, self.options.clock.clone());
        let mut landing: Pin<Box<dyn Future<Output = Landed> + Send>> = Box::pin(async move {
            let outcome = within(patience, record(&mut connection, &batch, &clock)).await;
            Landed { batch, snapshots, connection, outcome }
        });
        // Asked once, so that it is on its way before anything else is done.
        if let Poll::Ready(landed) = poll!(&mut landing) {
            landing = Box::pin(future::ready(landed));
        }
        Some(Flight { last, landing })
    }

    /// What has become of a batch. If it is durable, its commands are to be answered; if not, what was decided after it
    /// is decided again.
    async fn land(&mut self, landed: Landed, mut next: Batch) -> (Option<Durable>, Batch) {
        let Landed { mut batch, snapshots, connection, outcome } = landed;
        if let Ok(Outcome::Stands(recorded_at)) = outcome {
            self.connection = Some(connection);
            self.note(&batch);
            self.background.write(&mut self.aggregates, snapshots);
            self.aggregates.trim(|stream| next.changes(stream));
            return (Some(Durable { batch, recorded_at }), next);
        }
        // The book may be another one than before, such as one that was restored.
        self.recent.forget();
        next.undo(&mut self.aggregates);
        batch.undo(&mut self.aggregates);
        match outcome {
            Ok(_) => {
                self.connection = Some(connection);
                self.serve_locked(batch.waiting, None).await;
            }
            Err(error) if error.is_disconnection() => {
                tracing::warn!(error = %chain(&error), "the connection was lost while a batch was being recorded");
                drop(connection);
                let waiting = mem::take(&mut batch.waiting);
                self.serve_locked(waiting, Some(batch)).await;
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "a batch could not be recorded");
                self.fail_all(batch.waiting, &Failure::Database(Arc::new(error)));
            }
        }
        let mut again = self.batch_after(self.reached);
        again.extend(next.waiting);
        (None, again)
    }

    /// A batch is durable.
    pub(super) fn note(&mut self, batch: &Batch) {
        self.reached = batch.last();
        if batch.last() > batch.base() {
            self.counters.recorded();
        }
        self.counters.batches.fetch_add(1, Ordering::Relaxed);
        self.counters.events.fetch_add(batch.last() - batch.base(), Ordering::Relaxed);
        tracing::debug!(commands = batch.waiting.len(), reached = self.reached, "batch");
    }

    /// Tells everybody of a durable batch.
    pub(super) fn tell(&self, Durable { batch, recorded_at }: Durable) {
        let last = batch.last();
        let (answers, events) = batch.landed(recorded_at);
        // Whoever is woken by the position looks for the events first.
        self.recent.extend(events);
        self.publish(last);
        for (waiting, verdict) in answers {
            self.answer(waiting, verdict);
        }
    }

    pub(super) fn fail_all(&self, waiting: Vec<Waiting>, failure: &Failure) {
        for waiting in waiting {
            self.answer(waiting, Err(failure.clone().into()));
        }
    }

    pub(super) fn answer(&self, waiting: Waiting, verdict: Verdict) {
        let counter = match &verdict {
            Ok(done) if done.replayed => &self.counters.replayed,
            Ok(_) => &self.counters.commands,
            Err(ExecuteError::Refused(_) | ExecuteError::KeyReused) => &self.counters.refused,
            Err(ExecuteError::Failed(_)) => &self.counters.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Err(ExecuteError::Failed(Failure::Database(error))) = &verdict {
            self.counters.not_recorded(error);
        }
        // Whoever has stopped waiting does not hear it.
        let _ = waiting.answer.send(verdict);
    }

    pub(super) fn publish(&self, position: Position) {
        self.committed.send_if_modified(|committed| {
            let grown = position > *committed;
            *committed = position.max(*committed);
            grown
        });
    }
}

async fn landing(flight: &mut Option<Flight>) -> Landed {
    match flight {
        Some(flight) => flight.landing.as_mut().await,
        None => future::pending().await,
    }
}

/// Records a batch where the book has to end, or finds out that what it was decided on still holds.
async fn record(connection: &mut PgConnection, batch: &Batch, clock: &Clock) -> Result<Outcome, StoreError> {
    let refused = batch.keys_of_refused();
    if !refused.is_empty() && !idempotency::given(connection, &refused).await?.is_empty() {
        return Ok(Outcome::Elsewhere);
    }
    if batch.records_nothing() {
        let stands = head(connection).await?.position == batch.base();
        return Ok(if stands { Outcome::Stands(None) } else { Outcome::Elsewhere });
    }
    match batch.append(connection, clock).await {
        Err(error) if error.is_collision() || error.is_repetition() => Ok(Outcome::Elsewhere),
        appended => Ok(appended?.map_or(Outcome::Elsewhere, |recorded_at| Outcome::Stands(Some(recorded_at)))),
    }
}

/// A database that is unreachable may never answer at all.
pub(super) async fn within<T>(
    patience: Duration,
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    time::timeout(patience, step).await.unwrap_or(Err(StoreError::TimedOut { after: patience }))
}
