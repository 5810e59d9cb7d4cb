//! Rebuilding: a new build of a projection is made beside the one that serves, proves itself, and takes over in one
//! short transaction. Customers read throughout; the build before is kept for a roll-back.

use std::time::{Duration, Instant};

use daybook_core::{Position, chain, store::Store};
use serde::{Serialize, Serializer};
use sqlx::{Connection, Executor as _, PgConnection};
use tokio::time;
use uuid::Uuid;

use crate::engine::{
    Definition,
    builds::{
        build::{self, Stage, State},
        heartbeat::Heartbeat,
        process, shape,
        switch::{LAST_EVENTS, PATIENCE, busy, fold_rest, lock_shortly, readers_wait, remove, switch},
        target::Target,
    },
    check::{
        afresh::Room,
        proof::{self, Verified},
    },
    error::RebuildError,
    follow::{
        cache::Cache,
        fold::{self, Folding},
        lease::{self, Driver},
        log,
        pipeline::{self, CHUNK_SHARE, Folded},
    },
    session::{self, FOLDING, UNHURRIED},
    table::{Table, WriteError},
    write::staged::{Staged, Way},
};

#[derive(Clone, Debug, Default)]
pub struct RebuildOptions {
    /// What the rebuild may take of the machine.
    pub room: Room,
    /// Build, compare and report; leave everything as it was.
    pub dry_run: bool,
    /// Begin anew, even where an interrupted build could go on.
    pub afresh: bool,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Phase {
    /// The book is folded into the new tables.
    Filling,
    Indexing,
    /// With the build that serves.
    Comparing,
    /// Against a fresh fold.
    Proving,
    TakingOver,
}

/// How far a rebuild has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    pub phase: Phase,
    pub position: Position,
    /// The end of the book.
    pub head: Position,
    /// What the process takes of the memory, in bytes.
    pub memory: u64,
}

/// What a rebuild has come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rebuilt {
    pub name: &'static str,
    pub version: i32,
    pub build: i32,
    /// The last event that is in the rows.
    pub position: Position,
    /// Where an interrupted build went on, if there was one.
    pub resumed_at: Option<Position>,
    /// The new rows against a fresh fold.
    pub proof: Verified,
    /// The rows that serve against the new ones, where the two could be compared at the same position. Of the same
    /// version: the drift of the live rows. Of another one: what the new version changes.
    pub live: Option<Verified>,
    /// How long readers waited while the new build took over; `None` if it did not, because this was a dry run.
    #[serde(rename = "readers_waited_microseconds", serialize_with = "microseconds")]
    pub switched_in: Option<Duration>,
    /// The most that the process took of the memory meanwhile, in bytes.
    pub memory: u64,
}

fn microseconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_micros() as u64).serialize(serializer)
}

/// How often the take-over waits for readers, with a rest of `PATIENCE` for them in between, before it gives up; and how
/// many of these attempts are as gentle as the ones before.
const ATTEMPTS: u32 = 600;
const GENTLE: u32 = 100;
/// How long a build belongs to its process after the last heartbeat.
const LEASE: Duration = Duration::from_secs(3);
/// How long the comparison waits for the build that serves to come as far as the new one, and how often it looks.
const LOOKS: u32 = 100;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Makes a new build and lets it take over. An interrupted one of the same version goes on from where it stood.
pub async fn rebuild(
    store: &Store,
    definition: &Definition,
    options: &RebuildOptions,
    progress: impl FnMut(Progress) + Send,
) -> Result<Rebuilt, RebuildError> {
    build::register(&[*definition], store).await?;
    // One that was killed a moment ago seems to be at work until its lease runs out.
    let deadline = Instant::now() + LEASE;
    while being_made(store, definition).await? {
        if Instant::now() > deadline {
            return Err(RebuildError::UnderWay(definition.name));
        }
        time::sleep(LOOK_AGAIN).await;
    }
    let mut builder = Builder::claim(store, definition, options, progress).await?;
    let outcome = builder.run().await;
    // What failed for the rows' sake is of no use; what was interrupted goes on the next time.
    let useless = match &outcome {
        // A dry run leaves what was there before it.
        Ok(rebuilt) => options.dry_run && rebuilt.resumed_at.is_none(),
        Err(
            RebuildError::Store(_)
            | RebuildError::Database(_)
            | RebuildError::Spill(_)
            | RebuildError::Lost(_)
            | RebuildError::Busy(_),
        ) => false,
        Err(_) => true,
    };
    let left = builder.leave(useless).await;
    let rebuilt = outcome?;
    left?;
    Ok(rebuilt)
}

async fn being_made(store: &Store, definition: &Definition) -> Result<bool, sqlx::Error> {
    let building = build::at(definition.name, Stage::Building, store.pool()).await?;
    Ok(building.is_some_and(|build| build.leased))
}

struct Builder<'a, P> {
    store: &'a Store,
    target: Target,
    options: &'a RebuildOptions,
    driver: Driver,
    owner: PgConnection,
    folding: Folding,
    position: Position,
    resumed_at: Option<Position>,
    head: Position,
    most_memory: u64,
    progress: P,
    heartbeat: Heartbeat,
}

impl<'a, P: FnMut(Progress) + Send> Builder<'a, P> {
    /// Finds the build that was interrupted, or begins one.
    async fn claim(
        store: &'a Store,
        definition: &Definition,
        options: &'a RebuildOptions,
        progress: P,
    ) -> Result<Self, RebuildError> {
        let name = definition.name;
        let driver = Driver { holder: Uuid::now_v7(), lease: LEASE };
        let mut owner = store.owner_connection().await?;
        owner.execute(FOLDING).await?;
        let mut transaction = owner.begin().await?;
        let builds = lock_shortly(name, &mut transaction).await?;
        let serving = builds.iter().find(|build| build.stage == Stage::Serving);
        if let Some(newer) = serving.filter(|serving| serving.version > definition.version) {
            return Err(RebuildError::OtherVersion { name, serving: newer.version, program: definition.version });
        }
        let mut interrupted = builds.iter().find(|build| build.stage == Stage::Building);
        if let Some(build) = interrupted {
            if build.leased {
                return Err(RebuildError::UnderWay(name));
            }
            let of_use = build.version == definition.version && build.state == State::Running && !options.afresh;
            if !of_use {
                remove(build, &mut transaction).await.map_err(|error| busy(name, error))?;
                interrupted = None;
            }
        }
        let last = builds.iter().map(|build| build.build).max().unwrap_or_default();
        let target = Target { definition: *definition, build: interrupted.map_or(last + 1, |build| build.build) };
        if interrupted.is_none() {
            shape::create(&target, &mut transaction).await?;
        }
        let position = interrupted.map_or(0, |build| build.position);
        sqlx::query(
            "insert into projections (name, build, version, stage, holder, leased_until, phase, begun_at, begun_position,
                 tables)
             values ($1, $2, $3, 'building', $4, clock_timestamp() + $5 * interval '1 millisecond', 'filling',
                 clock_timestamp(), $6, $7)
             on conflict (name, build) do update
             set holder = excluded.holder, leased_until = excluded.leased_until, phase = excluded.phase,
                 begun_at = excluded.begun_at, begun_position = excluded.begun_position",
        )
        .bind(name)
        .bind(target.build)
        .bind(definition.version)
        .bind(driver.holder)
        .bind(LEASE.as_millis() as i64)
        .bind(position as i64)
        .bind(definition.tables.iter().map(Table::name).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await?;
        let folding = Folding::read(definition, &mut *transaction).await?;
        transaction.commit().await?;
        let resumed_at = interrupted.map(|build| build.position);
        let heartbeat = Heartbeat::begin(store, &target, driver);
        let (head, most_memory) = (0, 0);
        Ok(Self {
            store,
            target,
            options,
            driver,
            owner,
            folding,
            position,
            resumed_at,
            head,
            most_memory,
            progress,
            heartbeat,
        })
    }

    async fn run(&mut self) -> Result<Rebuilt, RebuildError> {
        self.fill().await?;
        self.tell(Phase::Indexing);
        if !self.make_keys(self.target.definition.tables.iter()).await? {
            self.fill().await?;
        }
        shape::index(&self.target, &mut self.owner).await?;
        self.fill().await?;
        let live = self.compare_with_live().await?;
        let proof = self.prove().await?;
        if proof.different > 0 {
            return Err(RebuildError::Unproven(Box::new(proof)));
        }
        let switched_in = if self.options.dry_run { None } else { Some(self.take_over().await?) };
        Ok(Rebuilt {
            name: self.target.definition.name,
            version: self.target.definition.version,
            build: self.target.build,
            position: self.position,
            resumed_at: self.resumed_at,
            proof,
            live,
            switched_in,
            memory: self.most_memory,
        })
    }

    /// Folds up to the end of the book, until little is left.
    async fn fill(&mut self) -> Result<(), RebuildError> {
        loop {
            self.head = self.store.head().await?.position;
            self.tell(Phase::Filling);
            if self.head - self.position <= LAST_EVENTS && (self.position > 0 || self.head == 0) {
                return Ok(());
            }
            self.fill_to(self.head).await?;
        }
    }

    /// Makes the keys of these tables, as far as they are missing; outside of the transactions that write, since it may take
    /// long and there must be heartbeats. `false` if the rows do not allow it, such as those of two events with a key in
    /// common: then everything begins anew with the keys in place, and comes to a stop at the event that does not fit.
    async fn make_keys(&mut self, tables: impl Iterator<Item = &'static Table>) -> Result<bool, RebuildError> {
        for table in tables {
            if shape::has_key(table, &self.target, &mut self.owner).await? {
                continue;
            }
            self.tell(Phase::Indexing);
            match shape::make_key(table, &self.target, &mut self.owner).await.map_err(WriteError::Database) {
                Ok(()) => {}
                Err(error) if error.concerns_data() => {
                    let (projection, table) = (self.target.definition.name, table.name());
                    tracing::warn!(projection, table, error = %chain(&error), "rows of a rebuild do not fit their key; it begins anew, to find the event");
                    self.begin_anew().await?;
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    async fn begin_anew(&mut self) -> Result<(), RebuildError> {
        let mut transaction = self.owner.begin().await?;
        if !build::begin_anew(&self.target, self.driver, &mut *transaction).await? {
            return Err(RebuildError::Lost(self.target.definition.name));
        }
        shape::empty(&self.target, &mut transaction).await?;
        for table in self.target.definition.tables {
            shape::make_key(table, &self.target, &mut transaction).await?;
        }
        transaction.commit().await?;
        (self.position, self.resumed_at) = (0, None);
        Ok(())
    }

    /// Folds up to this position of the book, unless everything begins anew.
    async fn fill_to(&mut self, to: Position) -> Result<(), RebuildError> {
        let mut cache = Cache::load(&self.target, &mut self.owner).await?;
        let chunk = self.options.room.memory / CHUNK_SHARE;
        let definition = self.target.definition;
        let mut folded = pipeline::folded(self.store, self.folding.clone(), (self.position, to), chunk);
        while let Some(chunk) = folded.recv().await {
            let mut chunk = chunk?;
            let to = chunk.to;
            let looked_up = definition
                .tables
                .iter()
                .filter(|table| chunk.changes.iter_mut().any(|changes| table.looks_up(changes)));
            if !self.make_keys(looked_up).await? {
                return Ok(());
            }
            match self.write(chunk, &mut cache).await {
                Ok(()) => {}
                Err(WriteOrLost::Write(error)) if error.concerns_data() => {
                    if !self.make_keys(definition.tables.iter()).await? {
                        return Ok(());
                    }
                    return Err(self.find_stone(to, error).await?);
                }
                Err(WriteOrLost::Write(error)) => return Err(error.into()),
                Err(WriteOrLost::Lost) => return Err(RebuildError::Lost(definition.name)),
            }
            self.position = to;
            self.tell(Phase::Filling);
        }
        Ok(())
    }

    async fn write(&mut self, mut chunk: Folded, cache: &mut Cache) -> Result<(), WriteOrLost> {
        let mut transaction = self.owner.begin().await?;
        if !build::advance(&self.target, self.driver, (self.position, chunk.to), &mut *transaction).await? {
            return Err(WriteOrLost::Lost);
        }
        let mut staged = Staged::new(Way::Transaction);
        fold::stage(&self.target, &mut chunk.changes, cache, &mut staged, &mut transaction).await?;
        staged.write(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Goes through a chunk event by event, to name the one that does not fit. `error` is what all of it came to.
    async fn find_stone(&mut self, to: Position, error: WriteError) -> Result<RebuildError, RebuildError> {
        if matches!(error, WriteError::Fold { .. }) {
            return Ok(error.into());
        }
        while self.position < to {
            let entries = log::read(&mut self.owner, self.store, self.position, 1).await?;
            let Some(entry) = entries.first() else { break };
            let position = entry.position;
            let mut transaction = self.owner.begin().await?;
            let step = (self.position, position);
            if !build::advance(&self.target, self.driver, step, &mut *transaction).await? {
                return Err(RebuildError::Lost(self.target.definition.name));
            }
            match self.folding.apply(&self.target, &entries, &mut transaction).await {
                Ok(()) => {}
                Err(error) if error.concerns_data() => {
                    return Ok(RebuildError::Fold { position, reason: error.to_string() });
                }
                Err(error) => return Err(error.into()),
            }
            transaction.commit().await?;
            self.position = position;
        }
        Ok(error.into())
    }

    /// Brings the new build to where the serving one stands, and compares the two there.
    async fn compare_with_live(&mut self) -> Result<Option<Verified>, RebuildError> {
        let definition = self.target.definition;
        for _ in 0..LOOKS {
            let serving = build::at(definition.name, Stage::Serving, &mut self.owner).await?;
            let Some(serving) = serving.filter(|build| build.state == State::Running) else { return Ok(None) };
            let mut live = self.store.owner_connection().await?;
            live.execute(UNHURRIED).await?;
            live.execute(&*session::snapshot_of(&serving.tables)).await?;
            let shown = build::at(definition.name, Stage::Serving, &mut live).await?;
            let Some(shown) = shown.filter(|shown| shown.build == serving.build) else { continue };
            if shown.position < self.position {
                drop(live);
                time::sleep(LOOK_AGAIN).await;
                continue;
            }
            self.head = shown.position;
            self.fill_to(shown.position).await?;
            self.tell(Phase::Comparing);
            let compared = proof::compare((&self.target, &mut self.owner), (&shown, &mut live)).await?;
            return Ok(Some(compared));
        }
        Ok(None)
    }

    /// Compares all rows with a fresh fold. Nobody else writes to this build, so it stands still meanwhile.
    async fn prove(&mut self) -> Result<Verified, RebuildError> {
        self.tell(Phase::Proving);
        let name = self.target.definition.name;
        if self.folding.is_outdated(&mut self.owner).await? {
            return Err(RebuildError::ParkedMeanwhile(name));
        }
        let mut connection = self.store.owner_connection().await?;
        connection.execute(UNHURRIED).await?;
        let mut transaction = connection.begin().await?;
        let room = &self.options.room;
        let proof = proof::prove(self.store, &self.target, self.position, room, &mut transaction).await?;
        transaction.rollback().await?;
        Ok(proof)
    }

    /// Takes the place of the build that serves; tells how long readers waited.
    async fn take_over(&mut self) -> Result<Duration, RebuildError> {
        for attempt in 1.. {
            self.fill().await?;
            self.tell(Phase::TakingOver);
            let taken = match self.make_room().await {
                Ok(()) => self.try_to_take_over(readers_wait(attempt / GENTLE)).await,
                Err(error) => Err(error),
            };
            match taken {
                // Readers are in the way. While this waits for them, new readers wait behind it, hence only shortly.
                Err(error) if error.is_lock_timeout() && attempt < ATTEMPTS => time::sleep(PATIENCE).await,
                Err(error) if error.is_lock_timeout() => break,
                taken => return taken,
            }
        }
        Err(RebuildError::Busy(self.target.definition.name))
    }

    /// Takes the build away that is kept until now: the one that serves will be kept in its place.
    async fn make_room(&mut self) -> Result<(), RebuildError> {
        let mut transaction = self.owner.begin().await?;
        transaction.execute(&*format!("set local lock_timeout = {}", PATIENCE.as_millis())).await?;
        let builds = build::lock(self.target.definition.name, &mut transaction).await?;
        if let Some(kept) = builds.iter().find(|build| build.stage == Stage::Kept) {
            remove(kept, &mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn try_to_take_over(&mut self, wait: Duration) -> Result<Duration, RebuildError> {
        let name = self.target.definition.name;
        let mut transaction = self.owner.begin().await?;
        transaction.execute(&*format!("set local lock_timeout = {}", 10 * PATIENCE.as_millis())).await?;
        // From here on the projector leaves these builds alone. Afterwards it sees that another build serves.
        let builds = build::lock(name, &mut transaction).await?;
        let at = |stage| builds.iter().find(move |build| build.stage == stage);
        let serving = at(Stage::Serving).ok_or(RebuildError::Nothing { name, stage: "serving" })?;
        let ours = at(Stage::Building).filter(|build| build.holder == Some(self.driver.holder));
        let ours = ours.ok_or(RebuildError::Lost(name))?;
        if self.folding.is_outdated(&mut *transaction).await? {
            return Err(RebuildError::ParkedMeanwhile(name));
        }
        let reached = fold_rest(self.store, &self.target, &self.folding, self.position, &mut transaction).await?;
        if at(Stage::Kept).is_some() {
            return Err(RebuildError::Lost(name));
        }
        let begun = switch(serving, (ours, self.target.definition.tables), wait, &mut transaction).await?;
        transaction.commit().await?;
        self.position = reached;
        Ok(begun.elapsed())
    }

    /// Gives the build back, or takes it away.
    async fn leave(self, useless: bool) -> Result<(), RebuildError> {
        let Self { store, target, driver, heartbeat, .. } = self;
        drop(heartbeat);
        let mut owner = store.owner_connection().await?;
        let mut transaction = owner.begin().await?;
        let builds = lock_shortly(target.definition.name, &mut transaction).await?;
        let ours = builds.iter().find(|build| {
            (build.build, build.stage, build.holder) == (target.build, Stage::Building, Some(driver.holder))
        });
        if let Some(build) = ours {
            if useless {
                remove(build, &mut transaction).await.map_err(|error| busy(target.definition.name, error))?;
            } else {
                lease::release(driver.holder, &mut *transaction).await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    fn tell(&mut self, phase: Phase) {
        let memory = process::memory();
        self.most_memory = self.most_memory.max(memory);
        self.heartbeat.tell(phase, memory);
        (self.progress)(Progress { phase, position: self.position, head: self.head.max(self.position), memory });
    }
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Indexing => "indexing",
            Self::Comparing => "comparing",
            Self::Proving => "proving",
            Self::TakingOver => "taking_over",
        }
    }
}

enum WriteOrLost {
    Write(WriteError),
    Lost,
}

impl<E: Into<WriteError>> From<E> for WriteOrLost {
    fn from(error: E) -> Self {
        Self::Write(error.into())
    }
}
