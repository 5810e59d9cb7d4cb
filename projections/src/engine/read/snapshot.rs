//! Reading the rows: one moment for the position and for all rows that an answer is made of, and waiting until a
//! projection has come far enough.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use daybook_core::{
    Position,
    store::{PooledTransaction, Store, head},
};
use sqlx::{Executor as _, PgConnection, PgPool};
use tokio::{sync::watch, time};

use crate::engine::{
    Definition,
    builds::build::{self, Build, Stage, State},
    follow::projector::{Positions, Projector, Waiting},
    latest,
    read::{past::Past, viewer::Viewer, wall},
};

/// Reads the rows of projections, in this process or from another one's projecting.
#[derive(Clone, Debug)]
pub struct Reader {
    pool: PgPool,
    board: &'static [Definition],
    /// What the projector of this process tells, if it has one.
    positions: Option<watch::Receiver<Positions>>,
    waiting: Option<Arc<Waiting>>,
    store: Store,
}

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    pub position: Position,
    /// How long to wait for it.
    pub wait: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The reader may ask again.
    #[error("the projection `{projection}` has come to position {position}, and {wanted} was asked for")]
    Behind { projection: &'static str, position: Position, wanted: Position, stopped: bool },
    /// Nobody knows yet what will have been known then.
    #[error("the book ends at position {head}")]
    BeyondTheBook { head: Position },
    #[error("that moment is still to come")]
    StillToCome,
    /// Only the program that folds these rows can tell what they were.
    #[error("version {serving} of the projection `{projection}` serves, which this program does not have")]
    OtherVersion { projection: &'static str, serving: i32 },
    #[error("event {position} does not fit the rows that were there: {reason}")]
    Fold { position: Position, reason: String },
    #[error("{0}")]
    Store(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Rows and position of one and the same moment. Derefs to the connection that the queries run on.
#[derive(Debug)]
pub struct Snapshot {
    transaction: PooledTransaction,
    position: Position,
    /// Whether all projections have come exactly so far.
    abreast: bool,
    /// Of the rows of the first of these projections.
    version: i32,
    past: Option<Past>,
    viewer: Viewer,
    /// Whether it is out from behind the wall, for something that only the engine reads.
    outside: bool,
}

/// Where the accounts of customers are.
const ACCOUNTS: &str = "accounts";

/// How often to look at the checkpoint while another process does the projecting.
pub(in crate::engine) const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Reader {
    /// `projector` is the one of this process, if it has one.
    pub fn new(store: &Store, board: &'static [Definition], projector: Option<&Projector>) -> Self {
        let (pool, store) = (store.pool().clone(), store.clone());
        let (positions, waiting) = (projector.map(Projector::positions), projector.map(Projector::waiting));
        Self { pool, board, positions, waiting, store }
    }

    /// A snapshot of the rows of these projections for a viewer, after waiting until all of them are as fresh as wanted.
    pub async fn snapshot(
        &self,
        viewer: &Viewer,
        names: &[&str],
        fresh: Option<Freshness>,
    ) -> Result<Snapshot, ReadError> {
        self.snapshot_with(Plans::default(), viewer, names, fresh).await
    }

    /// The same, for queries that are planned like this.
    pub async fn snapshot_with(
        &self,
        plans: Plans,
        viewer: &Viewer,
        names: &[&str],
        fresh: Option<Freshness>,
    ) -> Result<Snapshot, ReadError> {
        let definitions: Vec<Definition> = names.iter().map(|name| self.definition(name)).collect();
        let asked = self.asked(viewer, names);
        let views: Vec<&str> = asked.iter().flat_map(|name| self.views(&self.definition(name))).collect();
        // One that is read only makes no temporary tables.
        let mut begin = beginning("read only", &views, plans, viewer);
        if viewer.is_walled() {
            begin += &format!("; {}", wall::enter());
        }
        loop {
            self.wait_for_all(&asked, fresh).await?;
            let snapshot = Snapshot::of(&self.pool, &definitions, begin.clone(), viewer).await?;
            // What was waited for may have been a build that another one took over from at that very moment.
            if fresh.is_none_or(|fresh| snapshot.position >= fresh.position) {
                return Ok(snapshot);
            }
            drop(snapshot);
            time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until all these projections are as fresh as wanted.
    pub async fn wait_for_all(&self, names: &[&str], fresh: Option<Freshness>) -> Result<(), ReadError> {
        let Some(Freshness { position, wait }) = fresh else { return Ok(()) };
        for name in names {
            self.wait_for(name, position, wait).await?;
        }
        Ok(())
    }

    /// Waits until the projection has come to this position.
    pub async fn wait_for(&self, name: &str, wanted: Position, wait: Duration) -> Result<(), ReadError> {
        let definition = self.definition(name);
        let mut positions = self.positions.clone();
        let arrival = async {
            let mut waits = None;
            loop {
                let known = positions.as_ref().and_then(|positions| positions.borrow().get(definition.name).copied());
                if known.is_some_and(|position| position >= wanted) {
                    return Ok(());
                }
                let serving = self.serving(&definition).await?;
                let position = serving.as_ref().map_or(0, |build| build.position);
                if position >= wanted {
                    return Ok(());
                }
                if serving.is_some_and(|build| build.state == State::Stopped) {
                    return Err(ReadError::Behind { projection: definition.name, position, wanted, stopped: true });
                }
                waits = waits.or_else(|| self.waiting.as_deref().map(Waiting::begin));
                match &mut positions {
                    Some(news) => {
                        // Another process may be faster than our own projector: look at the row now and then.
                        if let Ok(Err(_)) = time::timeout(LOOK_AGAIN, news.changed()).await {
                            // Our own projector has ended, and tells nothing any more.
                            positions = None;
                        }
                    }
                    None => time::sleep(LOOK_AGAIN).await,
                }
            }
        };
        match time::timeout(wait, arrival).await {
            Ok(arrived) => arrived,
            Err(_) => {
                let position = self.serving(&definition).await?.map_or(0, |build| build.position);
                if position >= wanted {
                    return Ok(());
                }
                // What no event has reached, no projection will.
                let head = head(&self.pool).await.map_err(ReadError::store)?.position;
                if wanted > head {
                    return Err(ReadError::BeyondTheBook { head });
                }
                Err(ReadError::Behind { projection: definition.name, position, wanted, stopped: false })
            }
        }
    }

    async fn serving(&self, definition: &Definition) -> Result<Option<Build>, sqlx::Error> {
        build::at(definition.name, Stage::Serving, &self.pool).await
    }

    pub(in crate::engine) fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(in crate::engine) fn board(&self) -> &'static [Definition] {
        self.board
    }

    pub(in crate::engine) fn store(&self) -> &Store {
        &self.store
    }

    pub(in crate::engine) fn definition(&self, name: &str) -> Definition {
        let found = latest(self.board).into_iter().find(|definition| definition.name == name);
        found.expect("a projection is asked for by a name that is on the board")
    }

    /// The projections that a viewer reads with these: whose the rows are may have to be asked of others.
    pub(in crate::engine) fn asked<'a>(&self, viewer: &Viewer, names: &[&'a str]) -> Vec<&'a str> {
        let mut asked = names.to_vec();
        if viewer.customers().is_none() {
            return asked;
        }
        let tables = names.iter().flat_map(|name| self.definition(name).tables);
        let parents: Vec<&str> = tables.flat_map(|table| table.owner().parents()).chain([ACCOUNTS]).collect();
        for definition in latest(self.board) {
            let is_asked = definition.tables.iter().any(|table| parents.contains(&table.name()));
            if is_asked && !asked.contains(&definition.name) {
                asked.push(definition.name);
            }
        }
        asked
    }

    /// The views of a projection that are there whichever version of the board serves. A build takes over all views at
    /// once, so that locking some of them is as good as locking all.
    fn views(&self, definition: &Definition) -> Vec<&'static str> {
        let others: Vec<&Definition> = self.board.iter().filter(|other| other.name == definition.name).collect();
        let everywhere =
            |name: &&str| others.iter().all(|other| other.tables.iter().any(|table| table.name() == *name));
        definition.tables.iter().map(|table| table.name()).filter(everywhere).collect()
    }
}

/// How PostgreSQL plans the queries on a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plans {
    /// As PostgreSQL sees fit: for the values of each query, or once.
    #[default]
    Usual,
    /// Once for each text, whatever the values are, and by an index: for queries that have only the conditions that are
    /// asked for.
    Kept,
}

/// How a snapshot begins. What it reads is locked before it is taken: a rebuild that swaps tables comes entirely before
/// it or after it.
pub(in crate::engine) fn beginning(mode: &str, tables: &[impl AsRef<str>], plans: Plans, viewer: &Viewer) -> String {
    let tables: Vec<&str> = tables.iter().map(AsRef::as_ref).collect();
    let mut begin = format!("begin isolation level repeatable read {mode}");
    if !tables.is_empty() {
        begin += &format!("; lock table {} in access share mode", tables.join(", "));
    }
    if plans == Plans::Kept {
        // One that was made on a young table must not read all of what becomes a large one.
        begin += "; set local plan_cache_mode = force_generic_plan; set local enable_seqscan = off";
    }
    if let Some(customers) = viewer.customers() {
        begin += &format!("; {}", wall::settings(customers));
    }
    begin
}

impl Snapshot {
    /// In a transaction that begins like this.
    pub(in crate::engine) async fn of(
        pool: &PgPool,
        definitions: &[Definition],
        begin: String,
        viewer: &Viewer,
    ) -> Result<Self, ReadError> {
        let mut transaction = PooledTransaction::begin(pool, begin).await?;
        let names: Vec<&str> = definitions.iter().map(|definition| definition.name).collect();
        let standing = build::serving(&names, &mut *transaction).await?;
        let serving = names.iter().map(|name| standing.iter().find(|serving| serving.name == *name));
        let positions = serving.clone().map(|serving| serving.map_or(0, |serving| serving.position));
        let position = positions.clone().min().unwrap_or(0);
        let abreast = positions.max().is_none_or(|furthest| furthest == position);
        let version = serving.flatten().next().map_or(definitions[0].version, |serving| serving.version);
        let accounts = standing.first().and_then(|serving| serving.accounts.as_deref());
        let viewer = viewer.with_accounts(accounts.unwrap_or_default());
        Ok(Self { transaction, position, abreast, version, past: None, viewer, outside: false })
    }

    /// The last event that is in the rows of all these projections.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether no projection has rows of events beyond that. Where one has, what the rows of now tell is of no position
    /// at all, and has to be asked as known at this one.
    pub fn is_abreast(&self) -> bool {
        self.abreast
    }

    pub(in crate::engine) fn set_past(&mut self, past: Past) {
        self.past = Some(past);
    }

    pub(in crate::engine) fn past(&mut self) -> (&Past, &Viewer, &mut PgConnection) {
        let past = self.past.as_ref().expect("only a snapshot of the past is asked for rows of the past");
        (past, &self.viewer, &mut self.transaction)
    }

    /// Goes behind the wall, if the viewer has to stay there.
    pub(in crate::engine) async fn enter(&mut self) -> Result<(), ReadError> {
        if self.viewer.is_walled() {
            self.transaction.execute(&*wall::enter()).await?;
        }
        self.outside = false;
        Ok(())
    }

    /// Comes out from behind it. Until it is behind the wall again, nobody reads on this snapshot.
    pub(in crate::engine) async fn leave(&mut self) -> Result<(), ReadError> {
        self.outside = true;
        if self.viewer.is_walled() {
            self.transaction.execute(&*wall::leave()).await?;
        }
        Ok(())
    }

    /// Who reads, with the accounts that are theirs.
    pub fn viewer(&self) -> &Viewer {
        &self.viewer
    }

    /// The connection that queries run on, and who reads.
    pub fn parts(&mut self) -> (&mut PgConnection, &Viewer) {
        self.assert_inside();
        (&mut self.transaction, &self.viewer)
    }

    fn assert_inside(&self) {
        assert!(!self.outside, "a snapshot on which the engine has failed is not read any more");
    }

    /// The version of the rows of the first of these projections.
    pub fn version(&self) -> i32 {
        self.version
    }
}

impl Deref for Snapshot {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.assert_inside();
        &self.transaction
    }
}

impl DerefMut for Snapshot {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.assert_inside();
        &mut self.transaction
    }
}
