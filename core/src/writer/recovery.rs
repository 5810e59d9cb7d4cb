//! What is done when a batch is not simply recorded: its connection was lost, another process has appended meanwhile, or an
//! identifier was used twice. The commands are decided again and recorded under the lock of the head, and what had been sent
//! before the connection was lost is looked up in the book.

use std::{mem, sync::Arc, time::Duration};

use sqlx::{Connection, PgConnection, Postgres, Transaction};
use tokio::time::{self, Instant};

use super::{
    Failure, Waiting,
    append::{AppendLoop, Durable, within},
    batch::{Batch, Created},
};
use crate::state::StreamKey;
use crate::{
    cause::chain,
    clock::Clock,
    store::{
        Head, RawEvent, StoreError,
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

/// How often a batch is tried again whose connection was lost, before its outcome is given up as unknown.
const ATTEMPTS: usize = 3;

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

impl AppendLoop {
    /// Has commands decided and recorded under the lock of the head, and answers all of them. `lost` is what they had
    /// been decided to when the connection was lost: if it stands in the book, that is the answer.
    pub(super) async fn serve_locked(&mut self, mut waiting: Vec<Waiting>, mut lost: Option<Batch>) {
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
        let mut batch = Batch::new(head.position, created, self.store.keys().clone());
        batch.extend(mem::take(waiting));
        let recording = async {
            batch.recall(&mut transaction).await?;
            batch.decide(&mut transaction, &self.store, &mut self.aggregates).await?;
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
        let snapshots = self.background.due(&self.aggregates, &batch, self.options.snapshot_every);
        self.note(&batch);
        self.background.write(&mut self.aggregates, snapshots);
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
            // With texts that are sealed still it is nothing for those who hold texts: they are loaded anew.
            Ok(event) if raw.sequence == loaded.sequence + 1 && !loaded.any().holds_texts() => {
                self.aggregates.apply(&stream, event);
            }
            // Loading it will tell what is wrong with it, to the command that needs it.
            _ => self.aggregates.remove(&stream),
        }
    }

    /// The writer's connection, made anew where there is none. As long as that fails, the commands whose time runs
    /// out are answered; `None` when none is left.
    pub(super) async fn connected(&mut self, batch: &mut Vec<Waiting>) -> Option<PgConnection> {
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
        self.store.keys().forget();
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
