//! The corridor itself: what waits is decided in memory while the batch before is being appended, then appended in its
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
use sqlx::{Connection, PgConnection, Postgres, Transaction};
use tokio::{
    sync::{mpsc, watch},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{
    Aggregates, Counters, ExecuteError, Failure, Loaded, Recent, StreamKey, Waiting, WriterOptions,
    aside::Aside,
    batch::{Batch, Created, Verdict},
};
use crate::{
    cause::chain,
    clock::Clock,
    event::Position,
    store::{
        Head, RawEvent, Store, StoreError,
        events::{head, head_and_clock, lock_head, read_events},
        idempotency,
    },
};

/// So many events of other processes are read to keep what is in memory; beyond, loading anew is cheaper.
const CATCH_UP: u64 = 10_000;

const EVENTS_PER_READ: u32 = 1000;

/// Commands that are decided at a time; between them it is looked whether the batch before has landed.
const PIECE: usize = 64;

/// How long one attempt to connect may take.
const CONNECTING: Duration = Duration::from_secs(5);

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often a batch is tried again whose connection was lost, before its outcome is given up as unknown.
const ATTEMPTS: usize = 3;

pub(super) struct Corridor {
    store: Store,
    options: WriterOptions,
    waiting: mpsc::Receiver<Waiting>,
    stop: CancellationToken,
    committed: watch::Sender<Position>,
    recent: Arc<Recent>,
    counters: Arc<Counters>,
    aside: Aside,
    /// The one that is appended on; a batch in flight has it with it.
    connection: Option<PgConnection>,
    aggregates: Aggregates,
    /// Where the book ended when it was seen last. The aggregates in memory are what they were there, and what has been
    /// decided since.
    reached: Position,
}

/// A batch on its way into the book.
struct Flight {
    /// Where the book ends after it.
    last: Position,
    landing: Pin<Box<dyn Future<Output = Landed> + Send>>,
}

struct Landed {
    batch: Batch,
    /// States to be written aside.
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
struct Durable {
    batch: Batch,
    /// If it has events, and that is known.
    recorded_at: Option<DateTime<Utc>>,
}

/// Why a batch was not recorded under the lock.
enum Trouble {
    NotRecorded(StoreError),
    Lost(StoreError),
}

impl Trouble {
    fn of(error: StoreError) -> Self {
        match error {
            // Its transaction ends with the connection.
            StoreError::TimedOut { .. } => Self::NotRecorded(error),
            error if error.is_disconnection() => Self::Lost(error),
            error => Self::NotRecorded(error),
        }
    }
}

impl Corridor {
    pub fn new(
        store: Store,
        options: WriterOptions,
        waiting: mpsc::Receiver<Waiting>,
        stop: CancellationToken,
        committed: watch::Sender<Position>,
        recent: Arc<Recent>,
        counters: Arc<Counters>,
    ) -> Self {
        let aside = Aside::start(&store, committed.subscribe());
        let aggregates = Aggregates::new(options.cache);
        let connection = None;
        Self { store, options, waiting, stop, committed, recent, counters, aside, connection, aggregates, reached: 0 }
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
        let Self { committed, aside, .. } = self;
        drop(committed);
        aside.finish().await;
    }

    fn batch_after(&self, position: Position) -> Batch {
        Batch::new(position, Created::Trusted)
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
        let deciding = batch.decide(&mut connection, self.store.upcasters(), &mut self.aggregates);
        if let Err(error) = within(self.options.patience, deciding).await {
            tracing::warn!(error = %chain(&error), "what commands need could not be loaded; trying again");
            batch.undo(&mut self.aggregates);
            self.serve_locked(batch.waiting, None).await;
            return None;
        }
        let last = batch.last();
        let snapshots = self.aside.due(&self.aggregates, &batch, self.options.snapshot_every);
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
            self.aside.write(&mut self.aggregates, snapshots);
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

    /// Has commands decided and recorded under the lock of the head, and answers all of them. `lost` is what they had
    /// been decided to when the connection was lost: if it stands in the book, that is the answer.
    async fn serve_locked(&mut self, mut waiting: Vec<Waiting>, mut lost: Option<Batch>) {
        let mut created = Created::Trusted;
        let mut attempts = 0;
        let failure = loop {
            attempts += 1;
            let connection = match &lost {
                // They have been begun: no deadline ends them any more.
                Some(_) => {
                    let begun = Instant::now() + self.options.deadline + self.options.patience;
                    waiting.iter_mut().for_each(|waiting| waiting.deadline = begun);
                    self.reconnected().await
                }
                None => self.connected(&mut waiting).await,
            };
            let Some(mut connection) = connection else {
                return self.fail_all(waiting, &Failure::OutcomeUnknown);
            };
            let trouble = match self.record_locked(&mut connection, &mut waiting, &mut lost, created).await {
                Ok(durable) => {
                    self.connection = Some(connection);
                    self.tell(durable);
                    return self.aggregates.trim(|_| false);
                }
                Err(trouble) => trouble,
            };
            // The connection goes with its transaction, whatever state that is in.
            drop(connection);
            match trouble {
                Trouble::Lost(error) if attempts < ATTEMPTS => {
                    tracing::warn!(error = %chain(&error), "the writer's connection was lost; connecting again");
                }
                Trouble::NotRecorded(error) if error.is_collision() && created == Created::Trusted => {
                    tracing::warn!(error = %chain(&error), "a command has used an identifier a second time; deciding again");
                    created = Created::LookedUp;
                }
                Trouble::Lost(error) | Trouble::NotRecorded(error) if lost.is_some() => {
                    tracing::error!(error = %chain(&error), "the outcome of a batch is unknown");
                    break Failure::OutcomeUnknown;
                }
                Trouble::Lost(error) | Trouble::NotRecorded(error) => {
                    tracing::error!(error = %chain(&error), "a batch could not be recorded");
                    break Failure::Database(Arc::new(error));
                }
            }
        };
        self.fail_all(waiting, &failure);
    }

    async fn record_locked(
        &mut self,
        connection: &mut PgConnection,
        waiting: &mut Vec<Waiting>,
        lost: &mut Option<Batch>,
        created: Created,
    ) -> Result<Durable, Trouble> {
        let patience = self.options.patience;
        let (mut transaction, head) =
            within(patience, begin(connection, &self.options.clock)).await.map_err(Trouble::of)?;
        if let Some(batch) = &lost {
            // Whoever still appends it on the lost connection either held the lock before, or comes too late now.
            let stands = within(patience, batch.stands(&mut transaction)).await.map_err(Trouble::of)?;
            if let Some(mut batch) = lost.take_if(|_| stands) {
                release(transaction, patience).await?;
                self.aggregates.clear();
                self.reached = head.position;
                self.publish(head.position);
                batch.waiting = mem::take(waiting);
                return Ok(Durable { batch, recorded_at: None });
            }
            *lost = None;
        }
        within(patience, self.catch_up(&mut transaction, head)).await.map_err(Trouble::of)?;
        let mut batch = Batch::new(head.position, created);
        batch.extend(mem::take(waiting));
        let recording = async {
            batch.recall(&mut transaction).await?;
            batch.decide(&mut transaction, self.store.upcasters(), &mut self.aggregates).await?;
            if batch.records_nothing() {
                return Ok(None);
            }
            let recorded_at = batch.append(&mut transaction, &self.options.clock).await?;
            recorded_at.map(Some).ok_or(StoreError::HeadMoved { from: head.position })
        };
        let mut outcome = within(patience, recording).await.map_err(Trouble::of);
        if let Ok(None) = outcome {
            outcome = release(transaction, patience).await.map(|()| None);
        } else if outcome.is_ok()
            && let Err(error) = within(patience, async { Ok(transaction.commit().await?) }).await
        {
            batch.undo(&mut self.aggregates);
            *waiting = mem::take(&mut batch.waiting);
            *lost = Some(batch);
            return Err(Trouble::Lost(error));
        }
        let recorded_at = match outcome {
            Ok(recorded_at) => recorded_at,
            Err(trouble) => {
                batch.undo(&mut self.aggregates);
                *waiting = batch.waiting;
                return Err(trouble);
            }
        };
        let snapshots = self.aside.due(&self.aggregates, &batch, self.options.snapshot_every);
        self.note(&batch);
        self.aside.write(&mut self.aggregates, snapshots);
        Ok(Durable { batch, recorded_at })
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
            let error = match self.connect().await {
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

    async fn connect(&self) -> Result<PgConnection, StoreError> {
        // Whatever comes now may be another book, such as one that was restored.
        self.recent.forget();
        within(CONNECTING, self.store.writer_connection()).await
    }

    /// A new connection, for commands that may have been recorded on the one before; `None` if it takes too long.
    async fn reconnected(&self) -> Option<PgConnection> {
        let until = Instant::now() + self.options.deadline;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.connect().await {
                Ok(connection) => return Some(connection),
                Err(error) => tracing::warn!(error = %chain(&error), "the writer cannot connect"),
            }
            if Instant::now() + pause > until {
                return None;
            }
            time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A batch is durable.
    fn note(&mut self, batch: &Batch) {
        self.reached = batch.last();
        if batch.last() > batch.base() {
            self.counters.recorded();
        }
        self.counters.batches.fetch_add(1, Ordering::Relaxed);
        self.counters.events.fetch_add(batch.last() - batch.base(), Ordering::Relaxed);
        tracing::debug!(commands = batch.waiting.len(), reached = self.reached, "batch");
    }

    /// Tells everybody of a durable batch.
    fn tell(&self, Durable { batch, recorded_at }: Durable) {
        let last = batch.last();
        let (answers, events) = batch.landed(recorded_at);
        // Whoever is woken by the position looks for the events first.
        self.recent.extend(events);
        self.publish(last);
        for (waiting, verdict) in answers {
            self.answer(waiting, verdict);
        }
    }

    fn fail_all(&self, waiting: Vec<Waiting>, failure: &Failure) {
        for waiting in waiting {
            self.answer(waiting, Err(failure.clone().into()));
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
        if let Err(ExecuteError::Failed(Failure::Database(error))) = &verdict {
            self.counters.not_recorded(error);
        }
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

async fn begin<'c>(
    connection: &'c mut PgConnection,
    clock: &Clock,
) -> Result<(Transaction<'c, Postgres>, Head), StoreError> {
    let mut transaction = connection.begin().await?;
    let (head, now) = lock_head(&mut transaction).await?;
    clock.judge(head, now)?;
    Ok((transaction, head))
}

/// Lets the head go. A transaction that is only dropped keeps it until its connection is used again.
async fn release(transaction: Transaction<'_, Postgres>, patience: Duration) -> Result<(), Trouble> {
    within(patience, async { Ok(transaction.rollback().await?) }).await.map_err(Trouble::of)
}

/// A database that is unreachable may never answer at all.
async fn within<T>(patience: Duration, step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    time::timeout(patience, step).await.unwrap_or(Err(StoreError::TimedOut { after: patience }))
}
