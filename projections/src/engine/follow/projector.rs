//! The projector: it follows the book and keeps the rows of all live builds up to date.
//!
//! Any number of processes may run one; each build is driven by the one that holds its lease. Builds at the same
//! position go in lock-step: one read, one decoding, one transaction, or two where it is full (`write/batch.rs`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use daybook_core::{
    Position, chain,
    store::{Store, StoreError},
    writer::{Recent, WriterHandle},
};
use futures::FutureExt;
use sqlx::{PgConnection, postgres::PgListener};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::engine::{
    Definition,
    builds::{
        build::{self, Build, Stage, State},
        shape,
        target::Target,
        upgrade,
    },
    check::afresh::Room,
    follow::{
        lease::{self, Driver},
        log::{self, Entry},
        parking::Parked,
    },
    latest,
    read::wall,
    session,
    write::batch::{BatchWriter, Moved},
};

/// How far the serving build of each projection has come, as far as this process knows.
pub(in crate::engine) type Positions = HashMap<&'static str, Position>;

#[derive(Clone, Debug)]
pub struct ProjectorOptions {
    /// Events per transaction, at most. With so many, rows of a thousand accounts that are all busy are changed a third as
    /// often as there are events.
    pub batch: u32,
    /// How often to look at the book when nobody has told of new events.
    pub poll: Duration,
    /// How long a lease runs from the last sign of life: so long a projection stands still when its process dies.
    pub lease: Duration,
    /// What to do where this program has a newer version of a projection than the one that serves.
    pub new_versions: NewVersions,
    /// What that may take of the machine.
    pub room: Room,
}

/// How a newer version of a projection comes to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewVersions {
    /// It is built in the background as soon as the program starts, and takes over.
    Build,
    /// An operator has it built.
    Await,
}

impl Default for ProjectorOptions {
    fn default() -> Self {
        Self {
            batch: 3_000,
            poll: Duration::from_millis(500),
            lease: Duration::from_secs(3),
            new_versions: NewVersions::Await,
            room: Room::default(),
        }
    }
}

/// A running projector.
#[derive(Debug)]
pub struct Projector {
    stop: CancellationToken,
    positions: watch::Receiver<Positions>,
    waiting: Arc<Waiting>,
    task: JoinHandle<()>,
}

impl Projector {
    /// Starts to follow the book. The writer of this process on the same ledger, if it has one, wakes it after each commit,
    /// and hands its events over; the commits of others are told by notification. The board may list several versions of a
    /// projection: the newest is the program's own, the others are those that it can still drive while they serve or are
    /// kept.
    pub async fn start(
        store: &Store,
        board: &'static [Definition],
        writer: Option<&WriterHandle>,
        options: ProjectorOptions,
    ) -> Result<Self, StoreError> {
        // It would stop at the first text that is sealed, for everybody.
        if !store.keys().are_unlocked() && store.keys().master_key_in_use().await?.is_some() {
            return Err(StoreError::NoMasterKey);
        }
        build::register(board, store).await?;
        shape::mend_keys(board, store).await?;
        wall::assert(board, store).await?;
        build::try_again(board, store.pool()).await?;
        let stop = CancellationToken::new();
        let (publish, positions) = watch::channel(Positions::new());
        let waiting = Arc::new(Waiting::default());
        if options.new_versions == NewVersions::Build {
            let building = upgrade::run(store.clone(), board, options.room.clone());
            tokio::spawn(stop.clone().run_until_cancelled_owned(building));
        }
        let driver = Driver { holder: Uuid::now_v7(), lease: options.lease };
        let work = Work {
            store: store.clone(),
            board,
            names: latest(board).iter().map(|definition| definition.name).collect(),
            publish,
            waiting: waiting.clone(),
            connection: None,
            writer: BatchWriter::new(store, driver, options.batch as usize),
            options,
            builds: Vec::new(),
            looked_at: None,
            leased_at: None,
            recent: writer.map(WriterHandle::keep_recent).unwrap_or_default(),
            ahead: None,
        };
        let committed = writer.map(WriterHandle::committed);
        let task = tokio::spawn(work.run(committed, stop.clone()));
        Ok(Self { stop, positions, waiting, task })
    }

    pub(in crate::engine) fn positions(&self) -> watch::Receiver<Positions> {
        self.positions.clone()
    }

    pub(in crate::engine) fn waiting(&self) -> Arc<Waiting> {
        self.waiting.clone()
    }

    /// Completes when the projector has ended: after a shutdown, or by a panic.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut positions = self.positions();
        async move { while positions.changed().await.is_ok() {} }
    }

    /// Stops between two batches, and gives its leases back.
    pub async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(error = %chain(&error), "the projector ended badly");
        }
    }
}

struct Work {
    store: Store,
    board: &'static [Definition],
    names: Vec<&'static str>,
    options: ProjectorOptions,
    publish: watch::Sender<Positions>,
    waiting: Arc<Waiting>,
    /// Reads the book, and takes the leases.
    connection: Option<PgConnection>,
    writer: BatchWriter,
    /// As they were when somebody last looked, and as this process has moved them since.
    builds: Vec<Build>,
    looked_at: Option<Instant>,
    /// When the leases were last taken or renewed.
    leased_at: Option<Instant>,
    /// What this process has appended itself.
    recent: Arc<Recent>,
    /// What was read of the book in advance, by the position before it.
    ahead: Option<(Position, Arc<[Entry]>)>,
}

/// So long the projector lets events come after a batch that was not full, unless somebody waits for them.
const REST: Duration = Duration::from_millis(50);
/// So long it waits where no build can be taken further at the moment.
const REFUSED: Duration = Duration::from_millis(100);

/// Readers that wait for events to come into the rows.
#[derive(Debug, Default)]
pub(in crate::engine) struct Waiting {
    number: AtomicUsize,
    news: Notify,
}

/// One reader that waits.
#[derive(Debug)]
pub(in crate::engine) struct Waits<'a>(&'a Waiting);

impl Waiting {
    pub fn begin(&self) -> Waits<'_> {
        self.number.fetch_add(1, Ordering::SeqCst);
        self.news.notify_one();
        Waits(self)
    }

    /// Completes as soon as somebody waits.
    async fn some(&self) {
        while self.number.load(Ordering::SeqCst) == 0 {
            self.news.notified().await;
        }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.number.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a look at the book has come to.
enum Step {
    /// By so many events.
    Moved(usize),
    /// There are events, and every build that could take them is locked, suspended, or somebody else's by now.
    Refused,
    /// Every build that this process drives is at the head.
    AtHead,
}

impl Work {
    async fn run(mut self, mut committed: Option<watch::Receiver<Position>>, stop: CancellationToken) {
        let mut listener: Option<PgListener> = None;
        let mut failures = 0;
        while !stop.is_cancelled() {
            // What has been told until now is what the step looks for.
            if listener.as_mut().is_some_and(|listener| drained(listener).is_err()) {
                listener = None;
            }
            match self.step().await {
                Ok(Step::Moved(events)) => {
                    failures = 0;
                    // Many events cost less than the same in small portions, and whoever appends has the machine meanwhile.
                    if events < self.options.batch as usize {
                        tokio::select! {
                            () = stop.cancelled() => break,
                            () = self.waiting.some() => {}
                            () = time::sleep(REST) => {}
                        }
                    }
                }
                Ok(Step::Refused) => {
                    failures = 0;
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = time::sleep(REFUSED) => {}
                    }
                }
                Ok(Step::AtHead) => {
                    failures = 0;
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = woken(&mut committed) => {}
                        () = notified(&self.store, &mut listener) => {}
                        () = time::sleep(self.options.poll) => {}
                    }
                }
                Err(error) => {
                    self.connection = None;
                    self.writer.forget();
                    self.forget_events();
                    self.look_again();
                    failures += 1;
                    // The checkpoint makes trying again harmless. At first it is done at once: somebody may have taken a build
                    // away that was still believed to be there.
                    if failures == 1 {
                        tracing::warn!(error = %chain(&error), "the projections were interrupted; trying again");
                        continue;
                    }
                    // Said once per disturbance.
                    if failures == 2 {
                        tracing::error!(error = %chain(&error), "the projections cannot follow the book");
                    }
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = time::sleep(self.options.poll) => {}
                    }
                }
            }
        }
        if let Some(mut connection) = self.connection
            && let Err(error) = lease::release(self.writer.driver.holder, &mut connection).await
        {
            tracing::warn!(error = %chain(&error), "the leases run out by themselves");
        }
    }

    /// Takes every build that this process drives one batch further.
    async fn step(&mut self) -> Result<Step, StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => session::connect(&self.store).await?,
        };
        let step = self.step_on(&mut connection).await?;
        self.connection = Some(connection);
        Ok(step)
    }

    async fn step_on(&mut self, connection: &mut PgConnection) -> Result<Step, StoreError> {
        self.look(connection).await?;
        let mut groups: BTreeMap<Position, Vec<Target>> = BTreeMap::new();
        for build in &self.builds {
            if let Some(target) = self.driven(build) {
                groups.entry(build.position).or_default().push(target);
            }
        }
        // Everybody has a turn, those furthest ahead first: one that is far behind keeps nobody from being up to date.
        let mut step = Step::AtHead;
        let mut ahead = None;
        for (from, group) in groups.into_iter().rev() {
            // Those behind stop where the next ones stood, and go on with them in lock-step.
            let limit = ahead.map_or(self.options.batch, |ahead: Position| {
                u32::try_from(ahead - from).unwrap_or(u32::MAX).min(self.options.batch)
            });
            ahead = Some(from);
            let entries = self.entries(from, limit, connection).await?;
            let Some(last) = entries.last() else { continue };
            let to = last.position;
            let moving = self.writer.go(group.clone(), entries.clone());
            // A full batch is likely to have another one behind it, which is read meanwhile, unless it is at hand.
            let is_full = entries.len() == self.options.batch as usize;
            let moved = if is_full && self.recent.after(to, 1).is_empty() {
                let next = log::read(connection, &self.store, to, self.options.batch);
                let (moved, next) = tokio::join!(moving, next);
                self.ahead = Some((to, next?.into()));
                moved?
            } else {
                moving.await?
            };
            if moved.len() < group.len() || moved.iter().any(|moved| moved.to < to) {
                // Somebody has taken these builds over, has them locked for a moment, one has stopped, or the events are none
                // of this book.
                self.look_again();
                self.forget_events();
                if let Step::AtHead = step {
                    step = Step::Refused;
                }
            }
            for Moved { target, to } in moved {
                let build = self.builds.iter_mut().find(|build| target.is(&build.name, build.build));
                build.expect("what moves was looked at").position = to;
                step = Step::Moved(entries.len());
            }
            self.publish();
        }
        Ok(step)
    }

    /// Looks which builds there are and which of them are this process's to drive, now and then.
    async fn look(&mut self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let due = |at: Option<Instant>, after: Duration| at.is_none_or(|at| at.elapsed() >= after);
        if due(self.leased_at, self.options.lease / 3) {
            self.looked_at = None;
            let taken = lease::take(self.board, self.writer.driver, &mut *connection).await?;
            // What was set aside before is known then; whoever sets more aside suspends the lease.
            self.writer.take(taken, Parked::read(&self.names, &mut *connection).await?);
            self.leased_at = Some(Instant::now());
        }
        if due(self.looked_at, self.options.poll) {
            self.builds = build::all(&self.names, &mut *connection).await?;
            self.looked_at = Some(Instant::now());
            self.publish();
        }
        Ok(())
    }

    /// What comes next is read from the book.
    fn forget_events(&mut self) {
        self.recent.forget();
        self.ahead = None;
    }

    fn look_again(&mut self) {
        (self.looked_at, self.leased_at) = (None, None);
    }

    /// The next entries of the book after a position.
    async fn entries(
        &mut self,
        from: Position,
        limit: u32,
        connection: &mut PgConnection,
    ) -> Result<Arc<[Entry]>, StoreError> {
        if let Some((after, entries)) = self.ahead.take()
            && after == from
            && (1..=limit as usize).contains(&entries.len())
        {
            return Ok(entries);
        }
        let own = self.recent.after(from, limit as usize);
        if own.is_empty() {
            return Ok(log::read(connection, &self.store, from, limit).await?.into());
        }
        Ok(own.into_iter().map(Entry::own).collect())
    }

    /// The build as this process drives it, if it does.
    fn driven(&self, build: &Build) -> Option<Target> {
        let ours = build.holder == Some(self.writer.driver.holder)
            && build.stage != Stage::Building
            && build.state == State::Running;
        let definition = self
            .board
            .iter()
            .find(|definition| definition.name == build.name && definition.version == build.version)?;
        ours.then_some(Target { definition: *definition, build: build.build })
    }

    fn publish(&self) {
        let serving = self.builds.iter().filter(|build| build.stage == Stage::Serving);
        let positions = serving.filter_map(|build| {
            let name = self.names.iter().find(|name| **name == build.name)?;
            Some((*name, build.position))
        });
        let positions: Positions = positions.collect();
        self.publish.send_if_modified(|known| {
            let news = *known != positions;
            if news {
                *known = positions;
            }
            news
        });
    }
}

/// Takes what has been told already: one look at the book is enough for all of it.
fn drained(listener: &mut PgListener) -> Result<(), sqlx::Error> {
    while listener.recv().now_or_never().transpose()?.is_some() {}
    Ok(())
}

async fn woken(committed: &mut Option<watch::Receiver<Position>>) {
    if let Some(receiver) = committed {
        if receiver.changed().await.is_ok() {
            return;
        }
        *committed = None;
    }
    std::future::pending().await
}

/// Waits for another process to tell of new events. Without a connection for that, polling has to do.
async fn notified(store: &Store, listener: &mut Option<PgListener>) {
    if listener.is_none() {
        if let Ok(mut fresh) = PgListener::connect_with(store.pool()).await
            && fresh.listen(store.channel()).await.is_ok()
        {
            // What was told before the listening began is seen by looking once more.
            *listener = Some(fresh);
            return;
        }
        std::future::pending::<()>().await;
    }
    if let Some(told) = listener
        && told.recv().await.is_err()
    {
        *listener = None;
    }
}
