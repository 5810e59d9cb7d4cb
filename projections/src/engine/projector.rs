//! The projector: it follows the book and keeps the rows of all live builds up to date.
//!
//! Any number of processes may run one; each build is driven by the one that holds its lease. Builds at the same
//! position go in lock-step: one read, one decoding, one transaction. One that stumbles over an event is committed up
//! to the event before it and stops; the others go on.

use std::{
    collections::{BTreeMap, HashMap, hash_map},
    time::{Duration, Instant},
};

use daybook_core::{
    Position, chain,
    store::{Store, StoreError},
};
use sqlx::{Connection, Executor as _, PgConnection, postgres::PgListener};
use tokio::{sync::watch, task::JoinHandle, time};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Definition,
    build::{self, Build, Driver, Stage, State, Target},
    copy::Columns,
    fold, latest,
    log::{self, Entry},
    parking::Parked,
    table::{Manner, WriteError},
    upgrade,
};

/// How far the serving build of each projection has come, as far as this process knows.
pub(super) type Positions = HashMap<&'static str, Position>;

#[derive(Clone, Debug)]
pub struct ProjectorOptions {
    /// Events per transaction, at most.
    pub batch: u32,
    /// How often to look at the book when nobody has told of new events.
    pub poll: Duration,
    /// How long a lease runs from the last sign of life: so long a projection stands still when its process dies.
    pub lease: Duration,
    /// What to do where this program has a newer version of a projection than the one that serves.
    pub new_versions: NewVersions,
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
            batch: 1_000,
            poll: Duration::from_millis(500),
            lease: Duration::from_secs(3),
            new_versions: NewVersions::Await,
        }
    }
}

/// A running projector.
#[derive(Debug)]
pub struct Projector {
    stop: CancellationToken,
    positions: watch::Receiver<Positions>,
    task: JoinHandle<()>,
}

impl Projector {
    /// Starts to follow the book. `committed` wakes it after each commit of this process; the commits of others are
    /// told by notification. The board may list several versions of a projection: the newest is the program's own, the
    /// others are those that it can still drive while they serve or are kept.
    pub async fn start(
        store: &Store,
        board: &'static [Definition],
        committed: Option<watch::Receiver<Position>>,
        options: ProjectorOptions,
    ) -> Result<Self, StoreError> {
        build::register(board, store).await?;
        build::try_again(board, store.pool()).await?;
        let stop = CancellationToken::new();
        let (publish, positions) = watch::channel(Positions::new());
        if options.new_versions == NewVersions::Build {
            tokio::spawn(stop.clone().run_until_cancelled_owned(upgrade::run(store.clone(), board)));
        }
        let driver = Driver { holder: Uuid::now_v7(), lease: options.lease };
        let names = latest(board).iter().map(|definition| definition.name).collect();
        let (store, leased_at, connection, columns) = (store.clone(), None, None, HashMap::new());
        let work = Work { store, board, names, options, driver, leased_at, publish, connection, columns };
        let task = tokio::spawn(work.run(committed, stop.clone()));
        Ok(Self { stop, positions, task })
    }

    pub(super) fn positions(&self) -> watch::Receiver<Positions> {
        self.positions.clone()
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
    driver: Driver,
    /// When the leases were last taken or renewed.
    leased_at: Option<Instant>,
    publish: watch::Sender<Positions>,
    connection: Option<PgConnection>,
    /// Of the builds that this process drives, by their names and numbers.
    columns: HashMap<(&'static str, i32), Columns>,
}

/// What a look at the book has come to.
enum Step {
    Moved,
    /// Every build that this process drives is at the head.
    AtHead,
}

impl Work {
    async fn run(mut self, mut committed: Option<watch::Receiver<Position>>, stop: CancellationToken) {
        let mut listener = None;
        let mut healthy = true;
        while !stop.is_cancelled() {
            match self.step().await {
                Ok(Step::Moved) => healthy = true,
                Ok(Step::AtHead) => {
                    healthy = true;
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = woken(&mut committed) => {}
                        () = notified(&self.store, &mut listener) => {}
                        () = time::sleep(self.options.poll) => {}
                    }
                }
                Err(error) => {
                    // Said once per disturbance; the checkpoint makes trying again harmless.
                    if std::mem::replace(&mut healthy, false) {
                        tracing::error!(error = %chain(&error), "the projections cannot follow the book");
                    }
                    self.connection = None;
                    // Somebody may have changed a table.
                    self.columns.clear();
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = time::sleep(self.options.poll) => {}
                    }
                }
            }
        }
        if let Some(mut connection) = self.connection
            && let Err(error) = build::release(self.driver.holder, &mut connection).await
        {
            tracing::warn!(error = %chain(&error), "the leases run out by themselves");
        }
    }

    /// Takes every build that this process drives one batch further.
    async fn step(&mut self) -> Result<Step, StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.store).await?,
        };
        let step = self.step_on(&mut connection).await?;
        self.connection = Some(connection);
        Ok(step)
    }

    async fn step_on(&mut self, connection: &mut PgConnection) -> Result<Step, StoreError> {
        if self.leased_at.is_none_or(|at| at.elapsed() >= self.driver.lease / 3) {
            build::lease(self.board, self.driver, &mut *connection).await?;
            self.leased_at = Some(Instant::now());
        }
        let builds = build::all(&self.names, &mut *connection).await?;
        let mut positions = self.serving(&builds);
        self.publish(&positions);
        let mut groups: BTreeMap<Position, Vec<Target>> = BTreeMap::new();
        for build in &builds {
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
            let entries = log::read(connection, self.store.upcasters(), from, limit).await?;
            let Some(last) = entries.last() else { continue };
            for target in &group {
                if let hash_map::Entry::Vacant(unknown) = self.columns.entry((target.definition.name, target.build)) {
                    unknown.insert(Columns::load(target, connection).await?);
                }
            }
            match self.commit(&group, from, &entries, connection).await {
                Ok(moved) => {
                    let serving = |target: &&Target| {
                        let of = |build: &&Build| (&*build.name, build.build) == (target.definition.name, target.build);
                        builds.iter().find(of).is_some_and(|build| build.stage == Stage::Serving)
                    };
                    if moved.is_empty() {
                        // Somebody has taken these builds over, or has them locked for a moment.
                        self.leased_at = None;
                    } else {
                        step = Step::Moved;
                    }
                    let moved = moved.iter().filter(serving);
                    positions.extend(moved.map(|target| (target.definition.name, last.position)));
                    self.publish(&positions);
                }
                Err(Stumbled { target, error }) if concerns_data(&error) => {
                    self.find_stone(&target, from, &entries, connection).await?;
                    step = Step::Moved;
                }
                Err(Stumbled { error: WriteError::Database(error), .. }) => return Err(error.into()),
                Err(Stumbled { error: WriteError::Fold { .. }, .. }) => {
                    unreachable!("an event that cannot be folded concerns data")
                }
            }
        }
        Ok(step)
    }

    /// The build as this process drives it, if it does.
    fn driven(&self, build: &Build) -> Option<Target> {
        let ours =
            build.holder == Some(self.driver.holder) && build.stage != Stage::Building && build.state == State::Running;
        let definition = self
            .board
            .iter()
            .find(|definition| definition.name == build.name && definition.version == build.version)?;
        ours.then_some(Target { definition: *definition, build: build.build })
    }

    fn serving(&self, builds: &[Build]) -> Positions {
        let serving = builds.iter().filter(|build| build.stage == Stage::Serving);
        serving
            .filter_map(|build| {
                let name = self.names.iter().find(|name| **name == build.name)?;
                Some((*name, build.position))
            })
            .collect()
    }

    /// Takes one build through a batch event by event, and stops it at the event that it cannot take.
    async fn find_stone(
        &self,
        target: &Target,
        from: Position,
        entries: &[Entry],
        connection: &mut PgConnection,
    ) -> Result<(), StoreError> {
        for (entry, before) in entries.iter().zip(from..) {
            match self.commit(&[*target], before, std::slice::from_ref(entry), connection).await {
                Ok(moved) if moved.is_empty() => return Ok(()),
                Ok(_) => {}
                Err(Stumbled { error, .. }) if concerns_data(&error) => {
                    let (projection, build, position) = (target.definition.name, target.build, entry.position);
                    tracing::error!(projection, build, position, error = %chain(&error), "the projection has stopped at an event");
                    build::stop(target, self.driver, entry.position, &error.to_string(), &mut *connection).await?;
                    return Ok(());
                }
                Err(Stumbled { error: WriteError::Database(error), .. }) => return Err(error.into()),
                Err(Stumbled { error: WriteError::Fold { .. }, .. }) => {
                    unreachable!("an event that cannot be folded concerns data")
                }
            }
        }
        Ok(())
    }

    /// Rows and checkpoints of a group in one transaction; answers with those that this process still drives.
    async fn commit(
        &self,
        group: &[Target],
        from: Position,
        entries: &[Entry],
        connection: &mut PgConnection,
    ) -> Result<Vec<Target>, Stumbled> {
        let first = group[0];
        let to = entries.last().map_or(from, |entry| entry.position);
        let stumbled = |target: Target| move |error: sqlx::Error| Stumbled { target, error: error.into() };
        let mut transaction = connection.begin().await.map_err(stumbled(first))?;
        // First of all, so that whoever else wants these builds waits, and then sees that it comes too late.
        let moved = build::advance(group, self.driver, from, to, &mut transaction).await.map_err(stumbled(first))?;
        let parked = Parked::read(&self.names, &mut *transaction).await.map_err(stumbled(first))?;
        for target in &moved {
            let columns = &self.columns[&(target.definition.name, target.build)];
            fold::apply(target, &parked, entries, Manner::Live(columns), &mut transaction)
                .await
                .map_err(|error| Stumbled { target: *target, error })?;
        }
        transaction.commit().await.map_err(stumbled(first))?;
        Ok(moved)
    }

    fn publish(&self, positions: &Positions) {
        self.publish.send_if_modified(|known| {
            let news = known != positions;
            if news {
                known.clone_from(positions);
            }
            news
        });
    }
}

struct Stumbled {
    target: Target,
    error: WriteError,
}

/// Whether an event is to blame, and not the connection or the server.
pub(super) fn concerns_data(error: &WriteError) -> bool {
    match error {
        WriteError::Fold { .. } => true,
        // Data exceptions, integrity constraints, limits such as the size of an index row.
        WriteError::Database(sqlx::Error::Database(error)) => {
            error.code().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
        }
        WriteError::Database(_) => false,
    }
}

/// What the connection of one who folds begins with. What a crash takes away are rows together with their checkpoint;
/// they are folded again from the book. And rows are always found by their keys; on a young table the planner would
/// rather read all of it.
pub(super) const FOLDING: &str = "set synchronous_commit = off; set enable_hashjoin = off; set enable_mergejoin = off";

/// A connection of the projector's own.
async fn connect(store: &Store) -> Result<PgConnection, StoreError> {
    let mut connection = store.connection().await?;
    connection.execute(FOLDING).await?;
    Ok(connection)
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
