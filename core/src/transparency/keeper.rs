//! The keeper of the transparency log: it follows the book, adds what was appended to the tree, and signs it.
//!
//! Any number of processes may run one. It stands beside the write path: appending waits for nothing here.

use std::{
    mem::{self, Discriminant},
    sync::Arc,
    time::Duration,
};

use sqlx::{Connection, PgConnection};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{LogError, LogKey, Signer, add_events};
use crate::{chain, event::Position, store::Store};

/// How long the start waits for the lock of the key.
const STARTING: Duration = Duration::from_secs(10);

/// How long the keeper may take, at the end, to reach the end of the book.
const CLOSING: Duration = Duration::from_secs(5);

/// How often an operator is reminded of what is wrong, and how often all of it is tried afresh.
const REMINDER: Duration = Duration::from_secs(180);

#[derive(Clone, Debug)]
pub struct KeeperOptions {
    /// Without one, the tree grows and nothing is signed.
    pub key: Option<LogKey>,
    /// Events that are added in one transaction, at most.
    pub batch: u32,
    /// How often to sign, at most.
    pub pace: Duration,
    /// How often to look at the book when nobody has told of new events.
    pub poll: Duration,
}

impl Default for KeeperOptions {
    fn default() -> Self {
        Self { key: None, batch: 2_000, pace: Duration::from_secs(1), poll: Duration::from_millis(500) }
    }
}

/// How far the keeper has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Events in the tree.
    pub size: u64,
    /// Events in the latest checkpoint.
    pub signed: u64,
    /// Why the tree does not grow, or is not signed.
    pub trouble: Option<Arc<str>>,
    /// The book is not the one that was signed: it lacks events of it, or has others in their places. What were recorded
    /// now would be a fork.
    pub forked: bool,
}

/// A running keeper.
#[derive(Debug)]
pub struct Keeper {
    stop: CancellationToken,
    kept: watch::Receiver<Kept>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Starts to follow the book. `committed` tells of the commits of this process. Whether the book has all that was
    /// signed is known when it returns, if the database answers.
    pub async fn start(store: &Store, committed: Option<watch::Receiver<Position>>, options: KeeperOptions) -> Self {
        let stop = CancellationToken::new();
        let mut begun = Kept::default();
        if let Some(key) = &options.key
            // Whoever can read a key can hold its lock. The keeper looks again, and waits for as long as it takes.
            && let Ok(Err(error @ LogError::Restored { .. })) = time::timeout(STARTING, reaches(store, key)).await
        {
            begun = Kept { trouble: Some(chain(&error).into()), forked: true, ..begun };
        }
        let (publish, kept) = watch::channel(begun);
        let signer = options.key.clone().map(Signer::new);
        let work =
            Work { store: store.clone(), options, publish, connection: None, signer, told: None, undecided: false };
        Self { stop: stop.clone(), kept, task: tokio::spawn(work.run(committed, stop)) }
    }

    /// How far it has come; closed when the keeper has ended.
    pub fn kept(&self) -> watch::Receiver<Kept> {
        self.kept.clone()
    }

    /// Completes when the keeper has ended: after a shutdown, or by a panic.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut kept = self.kept();
        async move { while kept.changed().await.is_ok() {} }
    }

    /// Adds and signs what the book holds by now, as far as there is time for it, and stops.
    pub async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(error = %chain(&error), "the keeper of the transparency log ended badly");
        }
    }
}

/// The book reaches as far as was signed.
async fn reaches(store: &Store, key: &LogKey) -> Result<(), LogError> {
    let mut connection = store.connection().await?;
    let reached = Signer::new(key.clone()).reaches(&mut connection).await;
    let _ = connection.close().await;
    reached
}

struct Work {
    store: Store,
    options: KeeperOptions,
    publish: watch::Sender<Kept>,
    connection: Option<PgConnection>,
    signer: Option<Signer>,
    /// The kind of the trouble that was told of last, and when.
    told: Option<(Discriminant<LogError>, Instant)>,
    /// The last look whether the book is another one than was signed has failed.
    undecided: bool,
}

impl Work {
    async fn run(mut self, mut committed: Option<watch::Receiver<Position>>, stop: CancellationToken) {
        loop {
            let begun = Instant::now();
            // A stop that is asked for in the middle has its own last pass.
            let Some(passed) = stop.run_until_cancelled(self.pass()).await else {
                // What was under way on the connection was dropped with it.
                self.connection = None;
                break;
            };
            let forked = self.forked(&passed).await;
            self.tell(passed, forked);
            let wait = async {
                time::sleep_until(begun + self.options.pace).await;
                let told = async {
                    let told = match &mut committed {
                        Some(committed) => committed.changed().await.is_ok(),
                        None => false,
                    };
                    if !told {
                        std::future::pending::<()>().await;
                    }
                };
                let _ = time::timeout(self.options.poll, told).await;
            };
            if stop.run_until_cancelled(wait).await.is_none() {
                break;
            }
        }
        match time::timeout(CLOSING, self.pass()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = %chain(&error), "the last events are not in the log's tree yet"),
            Err(_) => tracing::warn!("the last events are not in the log's tree yet; the next start goes on"),
        }
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
    }

    /// Tells whoever asks and the operator how a pass has ended: at once of what is new, and again while it lasts.
    fn tell(&mut self, passed: Result<(), LogError>, forked: bool) {
        let trouble = passed.as_ref().err().map(|error| chain(error).into());
        self.publish.send_if_modified(|kept| {
            let told = (mem::replace(&mut kept.trouble, trouble.clone()), mem::replace(&mut kept.forked, forked));
            told != (trouble, forked)
        });
        let Err(error) = passed else {
            if self.told.take().is_some() {
                tracing::info!("the transparency log is kept again");
            }
            return;
        };
        let kind = mem::discriminant(&error);
        let told = self.told.is_some_and(|(last, at)| last == kind && at.elapsed() < REMINDER);
        if !told {
            tracing::error!(error = %chain(&error), "the transparency log cannot be kept");
            self.told = Some((kind, Instant::now()));
        }
        // Behind a new connection there may be another book. What the events of this one come to is kept while the
        // trouble lasts, or they would be read again and again; but not for ever: somebody may have mended them.
        if !told || error.is_of_the_database() {
            self.connection = None;
            self.signer.iter_mut().for_each(Signer::forget);
        }
    }

    /// Whether the book is another one than was signed. As long as that cannot be asked, it is what it was.
    async fn forked(&mut self, passed: &Result<(), LogError>) -> bool {
        let before = self.publish.borrow().forked;
        match passed {
            Ok(()) => false,
            Err(LogError::Restored { .. }) => true,
            // Tiles that are spoilt look the same; the events tell. They are all read, so that this is not done in each
            // pass once it is decided.
            Err(LogError::Inconsistent { .. }) if !before && (self.undecided || !self.is_told(passed)) => {
                let (Some(connection), Some(signer)) = (&mut self.connection, &self.signer) else { return before };
                let looked = signer.is_forked(connection).await;
                self.undecided = looked.is_err();
                looked.unwrap_or_else(|error| {
                    tracing::warn!(error = %chain(&error), "whether the book is the one that was signed is looked at again");
                    // What is wrong may be the connection.
                    self.connection = None;
                    before
                })
            }
            Err(_) => before,
        }
    }

    /// Whether an operator was told of this kind of trouble, not long ago.
    fn is_told(&self, passed: &Result<(), LogError>) -> bool {
        let kind = passed.as_ref().err().map(mem::discriminant);
        self.told.is_some_and(|(last, at)| Some(last) == kind && at.elapsed() < REMINDER)
    }

    /// Adds what there is, and signs it.
    async fn pass(&mut self) -> Result<(), LogError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.store.connection().await?),
        };
        loop {
            let added = add_events(connection, self.options.batch).await?;
            self.signer.iter_mut().for_each(|signer| signer.grew(&added));
            let size = added.size;
            self.publish.send_if_modified(|kept| mem::replace(&mut kept.size, size) != size);
            if !added.goes_on {
                break;
            }
        }
        if let Some(signer) = &mut self.signer
            && let Some(checkpoint) = signer.sign(connection).await?
        {
            let signed = checkpoint.size;
            self.publish.send_if_modified(|kept| mem::replace(&mut kept.signed, signed) != signed);
        }
        Ok(())
    }
}
