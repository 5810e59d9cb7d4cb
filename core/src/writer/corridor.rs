//! The corridor itself: queue, lock, decide, append, commit, answer; again and again.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sqlx::{Connection, PgConnection, Postgres, Transaction};
use tokio::{
    sync::{mpsc, watch},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{
    Aggregates, Counters, ExecuteError, Failure, StreamKey, Waiting, WriterOptions,
    aside::Aside,
    batch::{Batch, Created, Verdict},
};
use crate::{
    cause::chain,
    event::Position,
    store::{
        Head, RawEvent, Store, StoreError,
        events::{lock_head, read_events},
    },
};

/// So many events of other processes are read to keep what is in memory; beyond, loading anew is cheaper.
const CATCH_UP: u64 = 10_000;

const EVENTS_PER_READ: u32 = 1000;

/// How long one attempt to connect may take.
const CONNECTING: Duration = Duration::from_secs(5);

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Corridor {
    store: Store,
    options: WriterOptions,
    waiting: mpsc::Receiver<Waiting>,
    stop: CancellationToken,
    committed: watch::Sender<Position>,
    counters: Arc<Counters>,
    aside: Aside,
    connection: Option<PgConnection>,
    aggregates: Aggregates,
    /// The position that the aggregates in memory have reached.
    reached: Position,
}

/// Why a batch was not recorded.
enum Trouble {
    /// The connection was dead before anything happened on it.
    NotBegun(StoreError),
    NotRecorded(StoreError),
    /// It broke while the batch was being committed.
    Unknown(StoreError),
}

impl Corridor {
    pub fn new(
        store: Store,
        options: WriterOptions,
        waiting: mpsc::Receiver<Waiting>,
        stop: CancellationToken,
        committed: watch::Sender<Position>,
        counters: Arc<Counters>,
    ) -> Self {
        let aside = Aside::start(&store, committed.subscribe());
        let aggregates = Aggregates::new(options.cache);
        Self { store, options, waiting, stop, committed, counters, aside, connection: None, aggregates, reached: 0 }
    }

    pub async fn run(mut self) {
        match self.store.head().await {
            Ok(head) => self.publish(head.position),
            Err(error) => tracing::warn!(error = %chain(&error), "the end of the book cannot be read yet"),
        }
        let mut batch = Vec::new();
        let mut open = true;
        loop {
            tokio::select! {
                taken = self.waiting.recv_many(&mut batch, self.options.batch) => {
                    if taken == 0 {
                        break;
                    }
                    self.serve(mem::take(&mut batch)).await;
                }
                () = self.stop.cancelled(), if open => {
                    // What is in the queue is still answered.
                    self.waiting.close();
                    open = false;
                }
            }
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(error = %chain(&error), "the writer's connection was closed by the other side");
        }
        let Self { committed, aside, .. } = self;
        drop(committed);
        aside.finish().await;
    }

    /// Has one batch decided and recorded, and answers all of it.
    async fn serve(&mut self, mut batch: Vec<Waiting>) {
        let begun = Instant::now();
        let mut second_chance = true;
        let mut created = Created::Trusted;
        let verdicts = loop {
            let Some(mut connection) = self.connected(&mut batch).await else { return };
            let trouble = match self.record(&mut connection, &batch, created).await {
                Ok(verdicts) => {
                    self.connection = Some(connection);
                    break verdicts;
                }
                Err(trouble) => trouble,
            };
            // What is in memory may have been decided and not recorded. The connection goes with it: closing it ends
            // its transaction, whatever state that is in.
            self.aggregates.clear();
            drop(connection);
            let failure = match trouble {
                Trouble::NotBegun(error) if second_chance => {
                    tracing::warn!(error = %chain(&error), "the writer's connection was dead; connecting again");
                    second_chance = false;
                    continue;
                }
                Trouble::NotRecorded(error) if error.is_collision() && created == Created::Trusted => {
                    tracing::warn!(error = %chain(&error), "a command has used an identifier a second time; deciding again");
                    created = Created::LookedUp;
                    continue;
                }
                Trouble::NotBegun(error) | Trouble::NotRecorded(error) => {
                    tracing::error!(error = %chain(&error), "a batch could not be recorded");
                    Failure::Database(Arc::new(error))
                }
                Trouble::Unknown(error) => {
                    tracing::error!(error = %chain(&error), "the outcome of a batch is unknown");
                    Failure::OutcomeUnknown
                }
            };
            break batch.iter().map(|_| Err(failure.clone().into())).collect();
        };
        tracing::debug!(commands = batch.len(), reached = self.reached, elapsed = ?begun.elapsed(), "batch");
        self.counters.batches.fetch_add(1, Ordering::Relaxed);
        for (waiting, verdict) in batch.into_iter().zip(verdicts) {
            self.answer(waiting, verdict);
        }
        self.aggregates.trim();
    }

    async fn record(
        &mut self,
        connection: &mut PgConnection,
        waiting: &[Waiting],
        created: Created,
    ) -> Result<Vec<Verdict>, Trouble> {
        let patience = self.options.patience;
        let (mut transaction, head) = within(patience, begin(connection)).await.map_err(|error| {
            if error.is_disconnection() { Trouble::NotBegun(error) } else { Trouble::NotRecorded(error) }
        })?;
        let recording = async {
            self.catch_up(&mut transaction, head).await?;
            let mut batch = Batch::new(waiting, head, created);
            batch.recall(&mut transaction).await?;
            batch.decide(&mut transaction, self.store.upcasters(), &mut self.aggregates).await?;
            batch.append(&mut transaction).await?;
            Ok(batch)
        };
        let batch = within(patience, recording).await.map_err(Trouble::NotRecorded)?;
        if batch.records_nothing() {
            within(patience, async { Ok(transaction.rollback().await?) }).await.map_err(Trouble::NotRecorded)?;
        } else {
            within(patience, async { Ok(transaction.commit().await?) }).await.map_err(Trouble::Unknown)?;
        }

        self.reached = batch.last();
        self.counters.events.fetch_add(batch.last() - head.position, Ordering::Relaxed);
        self.publish(batch.last());
        for stream in batch.grown() {
            self.aside.consider(&mut self.aggregates, stream, self.options.snapshot_every);
        }
        Ok(batch.verdicts)
    }

    /// Brings what is in memory up to the locked head, if other processes have appended.
    async fn catch_up(&mut self, transaction: &mut PgConnection, head: Head) -> Result<(), StoreError> {
        let near = head.position.checked_sub(self.reached).is_some_and(|behind| behind <= CATCH_UP);
        if self.aggregates.is_empty() || !near {
            self.aggregates.clear();
            self.reached = head.position;
        }
        while self.reached < head.position {
            let events = read_events(&mut *transaction, self.reached, EVENTS_PER_READ).await?;
            let last = events.last().ok_or(StoreError::Gap { after: self.reached, found: head.position })?.position;
            for event in &events {
                self.observe(event);
            }
            self.reached = last;
        }
        Ok(())
    }

    /// An event that another process has appended.
    fn observe(&mut self, raw: &RawEvent) {
        let Some(stream) = StreamKey::stored(&raw.aggregate_type, &raw.aggregate_id) else { return };
        let Some(loaded) = self.aggregates.get(&stream) else { return };
        match raw.event(self.store.upcasters()) {
            Ok(event) if raw.sequence == loaded.sequence + 1 => self.aggregates.apply(&stream, event),
            // Loading it will tell what is wrong with it, to the command that needs it.
            _ => self.aggregates.remove(&stream),
        }
    }

    /// The writer's connection, made anew where there is none. As long as that fails, the commands whose time runs
    /// out are answered; `None` when none is left.
    async fn connected(&mut self, batch: &mut Vec<Waiting>) -> Option<PgConnection> {
        if let Some(connection) = self.connection.take() {
            return Some(connection);
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match within(CONNECTING, self.store.writer_connection()).await {
                Ok(connection) => return Some(connection),
                Err(error) => Arc::new(error),
            };
            tracing::warn!(error = %chain(&error), "the writer cannot connect");
            let now = Instant::now();
            for waiting in mem::take(batch) {
                if waiting.deadline <= now {
                    self.answer(waiting, Err(Failure::Database(Arc::clone(&error)).into()));
                } else {
                    batch.push(waiting);
                }
            }
            if batch.is_empty() {
                return None;
            }
            time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn answer(&self, waiting: Waiting, verdict: Verdict) {
        let counter = match &verdict {
            Ok(done) if done.replayed => &self.counters.replayed,
            Ok(_) => &self.counters.commands,
            Err(ExecuteError::Refused(_) | ExecuteError::KeyReused) => &self.counters.refused,
            Err(ExecuteError::Failed(_)) => &self.counters.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        // Whoever has stopped waiting does not hear it.
        let _ = waiting.answer.send(verdict);
    }

    fn publish(&self, position: Position) {
        self.committed.send_if_modified(|committed| {
            let grown = position > *committed;
            *committed = position.max(*committed);
            grown
        });
    }
}

async fn begin(connection: &mut PgConnection) -> Result<(Transaction<'_, Postgres>, Head), StoreError> {
    let mut transaction = connection.begin().await?;
    let head = lock_head(&mut transaction).await?;
    Ok((transaction, head))
}

/// A database that is unreachable may never answer at all.
async fn within<T>(patience: Duration, step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    time::timeout(patience, step).await.unwrap_or(Err(StoreError::TimedOut { after: patience }))
}
