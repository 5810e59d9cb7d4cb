//! Batches on their way into the tables. Builds go through a batch together, in one transaction; through a full batch,
//! those that are read alone go beside the others, in a transaction of their own. One that stumbles over an event is
//! committed up to the event before it and stops; the others go on.

use std::{collections::HashMap, sync::Arc};

use daybook_core::{
    Position, chain,
    store::{Store, StoreError},
};
use futures::future;
use sqlx::{Connection, PgConnection};
use tokio::{runtime::Handle, task};

use crate::engine::{
    builds::{build, target::Target},
    follow::{
        cache::Cache,
        fold::Folding,
        lease::{Driver, Hold},
        log::Entry,
        parking::Parked,
    },
    session,
    table::WriteError,
    write::staged::{COPIED, Staged, Way},
};

/// How far a build has come with a batch; not to its end, if it stopped at an event.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Moved {
    pub target: Target,
    pub to: Position,
}

pub(in crate::engine) struct BatchWriter {
    store: Store,
    pub driver: Driver,
    /// From so many events on, a batch is full.
    full: usize,
    /// Two at most: the second one is for those that go beside the others.
    connections: Vec<PgConnection>,
    /// By the name and the number of the build.
    riders: HashMap<(&'static str, i32), Rider>,
    parked: Arc<Parked>,
}

/// What is known of a build that this process drives.
struct Rider {
    target: Target,
    folding: Folding,
    cache: Cache,
    /// The position that the rows in the cache are of.
    at: Position,
}

/// Builds that go through a batch.
struct Ride {
    riders: Vec<Rider>,
    connection: PgConnection,
    driver: Driver,
}

impl BatchWriter {
    pub fn new(store: &Store, driver: Driver, full: usize) -> Self {
        let parked = Arc::default();
        Self { store: store.clone(), driver, full, connections: Vec::new(), riders: HashMap::new(), parked }
    }

    /// Forgets everything that may not be so any more, the connections included.
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
        let mut first = self.connection().await?;
        let mut riders = Vec::with_capacity(group.len());
        for target in group {
            riders.push(self.rider(target, before(&batch), &mut first).await?);
        }
        let beside = if batch.len() >= self.full { apart(&mut riders) } else { Vec::new() };
        let mut rides = vec![(riders, first)];
        if !beside.is_empty() {
            rides.push((beside, self.connection().await?));
        }
        // On a thread of its own: folding a batch takes milliseconds, and a worker that is busy for so long keeps whoever
        // waits for the database waiting, this process's writer first of all.
        let runtime = Handle::current();
        let rides = rides.into_iter().map(|(riders, connection)| {
            let (runtime, batch) = (runtime.clone(), batch.clone());
            let ride = Ride { riders, connection, driver: self.driver };
            task::spawn_blocking(move || runtime.block_on(ride.go(batch)))
        });
        let mut moved = Vec::new();
        // To the end of both, so that nothing is written any more once one of them has failed.
        for ride in future::join_all(rides).await {
            let (ride, of_ride) = ride.expect("a ride does not fall")?;
            self.connections.push(ride.connection);
            self.riders.extend(ride.riders.into_iter().map(|rider| (rider.name(), rider)));
            moved.extend(of_ride);
        }
        Ok(moved)
    }

    async fn connection(&mut self) -> Result<PgConnection, StoreError> {
        match self.connections.pop() {
            Some(connection) => Ok(connection),
            None => session::connect(&self.store).await,
        }
    }

    async fn rider(
        &mut self,
        target: Target,
        at: Position,
        connection: &mut PgConnection,
    ) -> Result<Rider, StoreError> {
        let folding = Folding::new(target.definition, self.parked.clone());
        match self.riders.remove(&(target.definition.name, target.build)) {
            Some(rider) if rider.at == at => Ok(Rider { folding, ..rider }),
            _ => Ok(Rider { target, folding, cache: Cache::load(&target, connection).await?, at }),
        }
    }
}

impl Rider {
    fn name(&self) -> (&'static str, i32) {
        (self.target.definition.name, self.target.build)
    }
}

/// Takes those out that are read alone, unless all of them are.
fn apart(riders: &mut Vec<Rider>) -> Vec<Rider> {
    let is_alone = |rider: &Rider| rider.target.definition.read_alone;
    if riders.iter().all(is_alone) { Vec::new() } else { riders.extract_if(.., |rider| is_alone(rider)).collect() }
}

impl Ride {
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
            Err(error) if error.concerns_data() => Ok(None),
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
                Err(error) if error.concerns_data() => {
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
        let Self { riders, connection, .. } = self;
        // Few rows go by one statement, which is a transaction by itself.
        if entries.len() < COPIED {
            let mut staged = Staged::new(Way::Statement);
            stage(riders, hold.group, entries, &mut staged, connection).await?;
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
            stage(riders, &held, entries, &mut staged, &mut transaction).await?;
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
    entries: &[Entry],
    staged: &mut Staged,
    connection: &mut PgConnection,
) -> Result<(), WriteError> {
    for rider in riders.iter_mut().filter(|rider| group.contains(&rider.target)) {
        rider.folding.stage(&rider.target, entries, &mut rider.cache, staged, connection).await?;
    }
    Ok(())
}

fn database(error: WriteError) -> StoreError {
    match error {
        WriteError::Database(error) => error.into(),
        WriteError::Fold { .. } => unreachable!("an event that cannot be folded concerns data"),
    }
}
