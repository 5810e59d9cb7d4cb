//! The keeper of the transparency log: it follows the book, adds what was appended to the tree, and signs it.
//!
//! Any number of processes may run one. It stands beside the write path: appending waits for nothing here.

use std::time::Duration;

use daybook_verify::SigningKey;
use sqlx::{Connection, PgConnection};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{LogError, add_events, sign};
use crate::{chain, event::Position, store::Store};

/// How long the keeper may take, at the end, to reach the end of the book.
const CLOSING: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct KeeperOptions {
    /// Without one, the tree grows and nothing is signed.
    pub key: Option<SigningKey>,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Events in the tree.
    pub size: u64,
    /// Events in the latest checkpoint.
    pub signed: u64,
}

/// A running keeper.
#[derive(Debug)]
pub struct Keeper {
    stop: CancellationToken,
    kept: watch::Receiver<Kept>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Starts to follow the book. `committed` tells of the commits of this process.
    pub fn start(store: &Store, committed: Option<watch::Receiver<Position>>, options: KeeperOptions) -> Self {
        let stop = CancellationToken::new();
        let (publish, kept) = watch::channel(Kept::default());
        let work = Work { store: store.clone(), options, publish, connection: None };
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

struct Work {
    store: Store,
    options: KeeperOptions,
    publish: watch::Sender<Kept>,
    connection: Option<PgConnection>,
}

impl Work {
    async fn run(mut self, mut committed: Option<watch::Receiver<Position>>, stop: CancellationToken) {
        let mut healthy = true;
        loop {
            let begun = Instant::now();
            // A stop that is asked for in the middle has its own last pass.
            let Some(passed) = stop.run_until_cancelled(self.pass()).await else {
                // What was under way on the connection was dropped with it.
                self.connection = None;
                break;
            };
            match passed {
                Ok(()) if !healthy => {
                    tracing::info!("the transparency log is kept again");
                    healthy = true;
                }
                Ok(()) => {}
                Err(error) => {
                    if healthy {
                        tracing::error!(error = %chain(&error), "the transparency log cannot be kept");
                    }
                    healthy = false;
                    self.connection = None;
                }
            }
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

    /// Adds what there is, and signs it.
    async fn pass(&mut self) -> Result<(), LogError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.store.connection().await?),
        };
        loop {
            let (size, goes_on) = add_events(connection, self.options.batch).await?;
            self.publish.send_if_modified(|kept| std::mem::replace(&mut kept.size, size) != size);
            if !goes_on {
                break;
            }
        }
        if let Some(key) = &self.options.key
            && let Some(checkpoint) = sign(connection, key).await?
        {
            let signed = checkpoint.size;
            self.publish.send_if_modified(|kept| std::mem::replace(&mut kept.signed, signed) != signed);
        }
        Ok(())
    }
}
