//! The writer: the one way by which events enter the book.
//!
//! Commands wait in a bounded queue. One loop takes all that wait, decides one command after another in memory, appends
//! all their events at once, and answers everyone when they are durable; meanwhile it decides those that have come since.

mod append;
mod batch;
mod recent;
mod recovery;
mod rehearsal;
mod snapshotting;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use batch::LARGEST_EVENT;
pub use recent::Recent;
pub use rehearsal::Rehearsal;

use crate::{
    clock::Clock,
    domain::posting::Unbalanced,
    event::{Context, Position},
    operations::{Answer, Operation, Refusal},
    store::{Store, StoreError},
};

/// What is asked of the ledger, by whom, and under which key a repetition is recognised.
#[derive(Clone, Debug)]
pub struct Command {
    /// A version 7 UUID that no other command has: what the command creates is named after it.
    pub id: Uuid,
    pub operation: Operation,
    pub context: Context,
    pub idempotency: Option<Idempotency>,
    /// What its sender has seen, if that is to stand still.
    pub expected: Option<Expected>,
}

/// The version of an aggregate that the sender of a command has seen. The command is refused if it has another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub aggregate_id: String,
    /// One of these: each is the number of its events.
    pub versions: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Whose key it is: keys of different callers do not meet.
    pub scope: String,
    pub key: String,
    /// SHA-256 of the request.
    pub fingerprint: [u8; 32],
}

/// A command that is recorded, durably.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The position of its last event; of one that recorded nothing, the end of the book.
    pub position: Position,
    pub answer: Answer,
    /// It had been done before, and this is the answer given then.
    pub replayed: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The domain does not do it; asking again gets the same answer unless the books have changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the idempotency key has been used for another request")]
    KeyReused,
    /// The caller may try again, best with the same idempotency key.
    #[error(transparent)]
    Failed(#[from] Failure),
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    #[error("too many commands are waiting")]
    Overloaded,
    #[error("the command waited too long and was not begun")]
    DeadlinePassed,
    #[error("the ledger is shutting down")]
    ShuttingDown,
    /// The connection was lost while the command was being recorded, and the book could not be asked since: it is recorded
    /// in full or not at all.
    #[error("whether the command was recorded is unknown")]
    OutcomeUnknown,
    /// A bug in an operation; nothing was recorded.
    #[error("an event of the command does not balance")]
    Unbalanced(#[from] Unbalanced),
    /// Nothing was recorded.
    #[error("the command could not be recorded")]
    Database(#[from] Arc<StoreError>),
}

#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// How many commands may wait.
    pub queue: usize,
    /// How many commands are appended at once at most.
    pub batch: usize,
    /// How long a command may wait before it is begun.
    pub deadline: Duration,
    /// How long the database may take for any one step of a batch.
    pub patience: Duration,
    /// The size of the cache of aggregates, in units of about a hundred bytes, of which one counts a quarter at most.
    pub cache: usize,
    /// After how many events a snapshot of an aggregate is written; large ones wait longer.
    pub snapshot_every: u64,
    /// What nothing is recorded by unless it can be trusted.
    pub clock: Clock,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            queue: 8192,
            batch: 1000,
            deadline: Duration::from_secs(10),
            patience: Duration::from_secs(30),
            cache: 400_000,
            snapshot_every: 500,
            clock: Clock::default(),
        }
    }
}

/// Where commands are handed in.
#[derive(Clone, Debug)]
pub struct WriterHandle {
    queue: mpsc::Sender<Waiting>,
    committed: watch::Receiver<Position>,
    recent: Arc<Recent>,
    stop: CancellationToken,
    counters: Arc<Counters>,
    deadline: Duration,
    clock: Clock,
}

/// The running loop.
#[derive(Debug)]
pub struct Writer {
    stop: CancellationToken,
    running: JoinHandle<()>,
}

/// What the writer has done since it was started.
#[derive(Debug, Default)]
pub struct Counters {
    pub batches: AtomicU64,
    pub commands: AtomicU64,
    pub events: AtomicU64,
    pub replayed: AtomicU64,
    pub refused: AtomicU64,
    pub failed: AtomicU64,
    pub overloaded: AtomicU64,
    failing: Mutex<Option<Failing>>,
}

/// Commands could not be recorded, and nothing has been recorded since.
#[derive(Clone, Debug)]
pub struct Failing {
    pub error: Arc<StoreError>,
    /// The last time.
    pub at: Instant,
}

impl Counters {
    fn not_recorded(&self, error: &Arc<StoreError>) {
        *self.failing() = Some(Failing { error: Arc::clone(error), at: Instant::now() });
    }

    fn recorded(&self) {
        *self.failing() = None;
    }

    fn failing(&self) -> MutexGuard<'_, Option<Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command in the queue.
#[derive(Debug)]
struct Waiting {
    command: Command,
    deadline: Instant,
    answer: oneshot::Sender<Result<Done, ExecuteError>>,
}

impl WriterHandle {
    /// Has the command decided and recorded. Whoever stops waiting for the answer does not stop the command.
    pub async fn execute(&self, command: Command) -> Result<Done, ExecuteError> {
        self.submit(command).await
    }

    /// Puts the command into the queue at once; the answer is waited for. Commands are decided in the order in which
    /// they are submitted.
    pub fn submit(&self, command: Command) -> impl Future<Output = Result<Done, ExecuteError>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { command, deadline: Instant::now() + self.deadline, answer };
        let submitted = self.queue_up(waiting);
        async move {
            submitted?;
            // Without an answer the loop has fallen, and nobody knows how far it came.
            answered.await.unwrap_or(Err(Failure::OutcomeUnknown.into()))
        }
    }

    /// The position up to which the book is known to be committed, as it grows; 0 before the writer has looked.
    pub fn committed(&self) -> watch::Receiver<Position> {
        self.committed.clone()
    }

    /// The last events that are committed, kept from now on.
    pub fn keep_recent(&self) -> Arc<Recent> {
        self.recent.want();
        Arc::clone(&self.recent)
    }

    /// Whether commands are taken no more: the writer was told to stop, or has fallen.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Completes when commands are taken no more.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let queue = self.queue.clone();
        async move { queue.closed().await }
    }

    /// The clock that it records by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether the store has taken nothing since commands could not be recorded.
    pub fn failing(&self) -> Option<Failing> {
        self.counters.failing().clone()
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn queue_up(&self, waiting: Waiting) -> Result<(), Failure> {
        if self.stop.is_cancelled() {
            return Err(Failure::ShuttingDown);
        }
        self.queue.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                self.counters.overloaded.fetch_add(1, Ordering::Relaxed);
                Failure::Overloaded
            }
            // The stop may have been asked for a moment ago; otherwise the loop has fallen.
            mpsc::error::TrySendError::Closed(_) if self.stop.is_cancelled() => Failure::ShuttingDown,
            mpsc::error::TrySendError::Closed(_) => Failure::OutcomeUnknown,
        })
    }
}

impl Writer {
    /// Begins to take commands, on the current tokio runtime.
    pub fn start(store: Store, options: WriterOptions) -> (WriterHandle, Self) {
        let (queue, waiting) = mpsc::channel(options.queue);
        let (publish, committed) = watch::channel(0);
        let counters = Arc::new(Counters::default());
        let recent = Arc::new(Recent::default());
        let stop = CancellationToken::new();
        let handle = WriterHandle {
            queue,
            committed,
            recent: Arc::clone(&recent),
            stop: stop.clone(),
            counters: Arc::clone(&counters),
            deadline: options.deadline,
            clock: options.clock.clone(),
        };
        let append_loop = append::AppendLoop::new(store, options, waiting, stop.clone(), publish, recent, counters);
        let running = tokio::spawn(append_loop.run());
        (handle, Self { stop, running })
    }

    /// Takes no more commands, answers those it has taken, and ends.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        self.ended().await;
    }

    /// Completes when the loop has ended: after a shutdown, when the last handle is gone, or by a panic, which it
    /// passes on.
    pub async fn ended(&mut self) {
        if let Err(error) = (&mut self.running).await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}
