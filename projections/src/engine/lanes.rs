//! Lanes: batches on their way into the tables. Builds go through a batch together; where one full batch follows another,
//! so that they lie behind, they divide into lanes, each with a connection of its own. One that stumbles over an event
//! is committed up to the event before it and stops; the others go on.

use std::{collections::HashMap, sync::Arc};

use daybook_core::{
    Position, chain,
    store::{Store, StoreError},
};
use futures::future;
use sqlx::{Connection, Executor as _, PgConnection};
use tokio::{runtime::Handle, task};

use super::{
    build::{self, Target},
    cache::Cache,
    fold,
    lease::{Driver, Hold},
    log::Entry,
    parking::Parked,
    staged::{COPIED, Staged, Way},
    table::WriteError,
};

/// Connections that write at the same time.
const LANES: usize = 2;

/// After so many full batches one after the other, builds divide. What comes in for a moment is done by one lane: a second
/// one takes from whoever appends.
const PATIENCE: usize = 4;

/// How far a build has come with a batch; not to its end, if it stopped at an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub target: Target,
    pub to: Position,
}

pub(super) struct Lanes {
    store: Store,
    pub driver: Driver,
    /// From so many events on, a batch is full.
    full: usize,
    connections: Vec<PgConnection>,
    /// By the name and the number of the build.
    riders: HashMap<(&'static str, i32), Rider>,
    parked: Arc<Parked>,
}

/// What is known of a build that this process drives.
struct Rider {
    target: Target,
    cache: Cache,
    /// The position that the rows in the cache are of.
    at: Position,
    /// Rows that its last batch wrote.
    load: usize,
    /// Full batches that it has gone through since the last one that was not.
    full_ones: usize,
}

/// Builds that go through a batch in one transaction.
struct Lane {
    riders: Vec<Rider>,
    connection: PgConnection,
    driver: Driver,
    parked: Arc<Parked>,
}

impl Lanes {
    pub fn new(store: &Store, driver: Driver, full: usize) -> Self {
        let parked = Arc::default();
        Self { store: store.clone(), driver, full, connections: Vec::new(), riders: HashMap::new(), parked }
    }

    /// Forgets everything that may not be so any more, connections included.
    pub fn forget(&mut self) {
        self.connections.clear();
        self.riders.clear();
    }

    /// The lease of these builds was taken, when this was set aside.
    pub fn take(&mut self, taken: Vec<(String, i32)>, parked: Parked) {
        self.riders.retain(|_, rider| !taken.iter().any(|(name, build)| rider.target.is(name, *build)));
        self.parked = Arc::new(parked);
    }

    /// Takes builds that stand before a batch of consecutive events through it, and answers with those that this process
    /// still drives.
    pub async fn go(&mut self, group: Vec<Target>, batch: Arc<[Entry]>) -> Result<Vec<Moved>, StoreError> {
        let mut connections = std::mem::take(&mut self.connections);
        if connections.is_empty() {
            connections.push(connect(&self.store).await?);
        }
        let mut riders = Vec::new();
        for target in group {
            riders.push(self.rider(target, before(&batch), &mut connections[0]).await?);
        }
        let is_full = batch.len() >= self.full;
        let lie_behind = is_full && riders.iter().all(|rider| rider.full_ones >= PATIENCE);
        let mut number = if lie_behind { LANES.min(riders.len()) } else { 1 };
        while connections.len() < number {
            match connect(&self.store).await {
                Ok(connection) => connections.push(connection),
                Err(error) => {
                    tracing::debug!(error = %chain(&error), "one lane has to do");
                    number = connections.len();
                }
            }
        }
        let mut lanes: Vec<Lane> = connections.into_iter().map(|connection| self.lane(connection)).collect();
        // Those that are read together stay together, the others go where least is to be done, the heaviest first.
        riders.sort_by_key(|rider| (rider.target.definition.read_alone, std::cmp::Reverse(rider.load)));
        for rider in riders {
            let open = if rider.target.definition.read_alone { &mut lanes[..number] } else { &mut lanes[..1] };
            let lightest = open.iter_mut().min_by_key(|lane| lane.load()).expect("there is a lane");
            lightest.riders.push(rider);
        }
        let going = lanes.into_iter().map(|lane| {
            let batch = batch.clone();
            async move {
                if lane.riders.is_empty() {
                    Ok((lane, Vec::new()))
                } else {
                    // On a thread of its own: folding a batch takes milliseconds, and a worker that is busy for so long keeps whoever
                    // waits for the database waiting, this process's writer first of all.
                    let runtime = Handle::current();
                    task::spawn_blocking(move || runtime.block_on(lane.go(batch))).await.expect("a lane does not fall")
                }
            }
        });
        let last = batch.last().map(|last| last.position);
        let mut moved = Vec::new();
        for outcome in future::join_all(going).await {
            let (lane, of_lane) = outcome?;
            self.connections.push(lane.connection);
            for mut rider in lane.riders {
                let further = usize::from(last == Some(rider.at));
                rider.full_ones = if is_full { rider.full_ones + further } else { 0 };
                self.riders.insert(rider.name(), rider);
            }
            moved.extend(of_lane);
        }
        Ok(moved)
    }

    fn lane(&self, connection: PgConnection) -> Lane {
        Lane { riders: Vec::new(), connection, driver: self.driver, parked: self.parked.clone() }
    }

    async fn rider(
        &mut self,
        target: Target,
        at: Position,
        connection: &mut PgConnection,
    ) -> Result<Rider, StoreError> {
        match self.riders.remove(&(target.definition.name, target.build)) {
            Some(rider) if rider.at == at => Ok(rider),
            // Whoever begins with a full batch lies behind already.
            _ => Ok(Rider { target, cache: Cache::load(&target, connection).await?, at, load: 1, full_ones: PATIENCE }),
        }
    }
}

impl Rider {
    fn name(&self) -> (&'static str, i32) {
        (self.target.definition.name, self.target.build)
    }
}

impl Lane {
    fn load(&self) -> usize {
        self.riders.iter().map(|rider| rider.load).sum()
    }

    async fn go(mut self, batch: Arc<[Entry]>) -> Result<(Self, Vec<Moved>), StoreError> {
        let group: Vec<Target> = self.riders.iter().map(|rider| rider.target).collect();
        if let Some(moved) = self.go_together(&group, &batch).await? {
            return Ok((self, moved));
        }
        let (mut moved, mut stumbling) = (Vec::new(), Vec::new());
        for target in group {
            match self.go_together(&[target], &batch).await? {
                Some(further) => moved.extend(further),
                None => stumbling.push(target),
            }
        }
        for target in stumbling {
            moved.push(self.go_to_the_stone(target, &batch).await?);
        }
        Ok((self, moved))
    }

    /// Takes builds through the batch; `None` if one of them cannot take an event of it, and then none has moved.
    async fn go_together(&mut self, group: &[Target], batch: &[Entry]) -> Result<Option<Vec<Moved>>, StoreError> {
        match self.commit(group, batch).await {
            Ok(moved) => Ok(Some(moved)),
            Err(error) if concerns_data(&error) => Ok(None),
            Err(error) => Err(database(error)),
        }
    }

    /// Takes one build through the batch event by event, and stops it at the event that it cannot take. That it has stopped
    /// is a move, too, even if it is at the first event.
    async fn go_to_the_stone(&mut self, target: Target, batch: &[Entry]) -> Result<Moved, StoreError> {
        let mut reached = Moved { target, to: before(batch) };
        for entry in batch {
            match self.commit(&[target], std::slice::from_ref(entry)).await {
                Ok(moved) => match moved.first() {
                    Some(moved) => reached = *moved,
                    None => break,
                },
                Err(error) if concerns_data(&error) => {
                    let (projection, build, position) = (target.definition.name, target.build, entry.position);
                    let why = error.to_string();
                    // Whoever has lost a build in the meantime has nothing to say about it.
                    if build::stop(&target, self.driver, position, &why, &mut self.connection).await? {
                        tracing::error!(projection, build, position, error = %chain(&error), "the projection has stopped at an event");
                    }
                    break;
                }
                Err(error) => return Err(database(error)),
            }
        }
        Ok(reached)
    }

    /// Rows and checkpoints of some of the builds in one transaction; answers with those that are still held.
    async fn commit(&mut self, group: &[Target], entries: &[Entry]) -> Result<Vec<Moved>, WriteError> {
        let from = before(entries);
        let to = from + entries.len() as Position;
        let last = entries.last().and_then(|last| last.event.as_ref().ok());
        let hold = Hold { group, driver: self.driver, from, to, recorded_at: last.map(|last| last.recorded_at) };
        let committed = self.write(&hold, entries).await;
        // What the caches have is what was written, and nothing else.
        let moved = committed.as_deref().unwrap_or_default();
        for rider in self.riders.iter_mut().filter(|rider| group.contains(&rider.target)) {
            if moved.contains(&rider.target) {
                rider.at = to;
            } else {
                rider.cache.forget_rows();
            }
        }
        Ok(committed?.into_iter().map(|target| Moved { target, to }).collect())
    }

    async fn write(&mut self, hold: &Hold<'_>, entries: &[Entry]) -> Result<Vec<Target>, WriteError> {
        let Self { riders, connection, parked, .. } = self;
        // Few rows go by one statement, which is a transaction by itself.
        if entries.len() < COPIED {
            let mut staged = Staged::new(Way::Statement);
            stage(riders, hold.group, parked, entries, &mut staged, connection).await?;
            if staged.write_holding(hold, connection).await? {
                return Ok(hold.group.to_vec());
            }
            riders.iter_mut().for_each(|rider| rider.cache.forget_rows());
        }
        let mut transaction = connection.begin().await?;
        // First of all, so that whoever else wants these builds waits, and then sees that it comes too late.
        let held = hold.take(&mut transaction).await?;
        if !held.is_empty() {
            let mut staged = Staged::new(Way::Transaction);
            stage(riders, &held, parked, entries, &mut staged, &mut transaction).await?;
            if !staged.write_holding(&Hold { group: &held, ..*hold }, &mut transaction).await? {
                return Ok(Vec::new());
            }
        }
        transaction.commit().await?;
        Ok(held)
    }
}

/// Where the book stands before these events.
fn before(entries: &[Entry]) -> Position {
    entries.first().map_or(0, |entry| entry.position - 1)
}

async fn stage(
    riders: &mut [Rider],
    group: &[Target],
    parked: &Parked,
    entries: &[Entry],
    staged: &mut Staged,
    connection: &mut PgConnection,
) -> Result<(), WriteError> {
    for rider in riders.iter_mut().filter(|rider| group.contains(&rider.target)) {
        let before = staged.rows();
        fold::stage(&rider.target, parked, entries, &mut rider.cache, staged, connection).await?;
        rider.load = 1 + staged.rows() - before;
    }
    Ok(())
}

/// Whether an event is to blame, and not the connection or the server.
pub(super) fn concerns_data(error: &WriteError) -> bool {
    match error {
        WriteError::Fold { .. } => true,
        // Data exceptions, integrity constraints, limits such as the size of an index row; but not a binary format that the
        // table does not have (any more), which no event can help.
        WriteError::Database(sqlx::Error::Database(error)) => error.code().is_some_and(|code| {
            ["22", "23", "54"].iter().any(|class| code.starts_with(class)) && !["22P03", "22P04"].contains(&&*code)
        }),
        WriteError::Database(_) => false,
    }
}

/// What the connection of one who folds begins with. What a crash takes away are rows together with their checkpoint;
/// they are folded again from the book. And rows are always found by their keys; on a young table the planner would
/// rather read all of it.
pub(super) const FOLDING: &str = "set synchronous_commit = off; set enable_hashjoin = off; set enable_mergejoin = off";

/// A connection of one who folds.
pub(super) async fn connect(store: &Store) -> Result<PgConnection, StoreError> {
    let mut connection = store.connection().await?;
    connection.execute(FOLDING).await?;
    // The statements are few and come again and again; all of them go by keys, so that one plan is as good as another.
    connection.execute("set enable_seqscan = off; set plan_cache_mode = force_generic_plan").await?;
    Ok(connection)
}

fn database(error: WriteError) -> StoreError {
    match error {
        WriteError::Database(error) => error.into(),
        WriteError::Fold { .. } => unreachable!("an event that cannot be folded concerns data"),
    }
}
