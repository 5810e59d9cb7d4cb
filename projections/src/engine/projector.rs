//! The projector: it follows the book and keeps the rows of all projections up to date.
//!
//! Projections at the same position go in lock-step: one read, one decoding, one transaction. One that stumbles over
//! an event is committed up to the event before it and stops; the others go on.

use std::{collections::HashMap, time::Duration};

use daybook_core::{
    Position, chain,
    store::{Store, StoreError},
};
use sqlx::{Connection, Executor as _, PgConnection, postgres::PgListener};
use tokio::{sync::watch, task::JoinHandle, time};
use tokio_util::sync::CancellationToken;

use super::{
    Definition, batch,
    checkpoint::{self, State},
    log::{self, Entry},
    table::WriteError,
};

/// How far each projection has come, as far as this process knows.
pub(super) type Positions = HashMap<&'static str, Position>;

#[derive(Clone, Debug)]
pub struct ProjectorOptions {
    /// Events per transaction, at most.
    pub batch: u32,
    /// How often to look at the book when nobody has told of new events.
    pub poll: Duration,
}

impl Default for ProjectorOptions {
    fn default() -> Self {
        Self { batch: 1_000, poll: Duration::from_millis(500) }
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
    /// told by notification.
    pub async fn start(
        store: &Store,
        board: &'static [Definition],
        committed: Option<watch::Receiver<Position>>,
        options: ProjectorOptions,
    ) -> Result<Self, sqlx::Error> {
        checkpoint::register(board, store.pool()).await?;
        let stop = CancellationToken::new();
        let (publish, positions) = watch::channel(Positions::new());
        let work = Work { store: store.clone(), board, options, publish, connection: None };
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

    /// Stops between two batches.
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
    options: ProjectorOptions,
    publish: watch::Sender<Positions>,
    connection: Option<PgConnection>,
}

/// What a look at the book has come to.
enum Step {
    Moved,
    /// Every projection that runs is at the head.
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
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = time::sleep(self.options.poll) => {}
                    }
                }
            }
        }
    }

    /// Takes the projections that are furthest behind one batch further.
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
        let checkpoints = checkpoint::read(self.board, &mut *connection).await?;
        let mut running: Vec<(Position, Definition)> = Vec::with_capacity(self.board.len());
        let mut positions = Positions::new();
        for definition in self.board {
            let Some(checkpoint) = checkpoints.get(definition.name) else { continue };
            positions.insert(definition.name, checkpoint.position);
            if checkpoint.status == State::Running {
                running.push((checkpoint.position, *definition));
            }
        }
        self.publish(&positions);
        let Some(from) = running.iter().map(|(position, _)| *position).min() else { return Ok(Step::AtHead) };
        let group: Vec<Definition> =
            running.iter().filter(|(position, _)| *position == from).map(|(_, definition)| *definition).collect();
        // Those behind stop where the next ones stand, and go on with them in lock-step.
        let next = running.iter().map(|(position, _)| *position).filter(|position| *position > from).min();
        let limit = next
            .map_or(self.options.batch, |next| u32::try_from(next - from).unwrap_or(u32::MAX).min(self.options.batch));

        let events = log::read(connection, self.store.upcasters(), from, limit).await?;
        let Some(last) = events.last() else { return Ok(Step::AtHead) };
        match commit(&group, from, &events, connection).await {
            Ok(true) => {
                positions.extend(group.iter().map(|definition| (definition.name, last.position)));
                self.publish(&positions);
            }
            Ok(false) => {}
            Err(Stumbled { definition, error }) if concerns_data(&error) => {
                self.find_stone(&definition, from, &events, connection).await?;
            }
            Err(Stumbled { error: WriteError::Database(error), .. }) => return Err(error.into()),
            Err(Stumbled { error: WriteError::Fold { .. }, .. }) => {
                unreachable!("an event that cannot be folded concerns data")
            }
        }
        Ok(Step::Moved)
    }

    /// Takes one projection through a batch event by event, and stops it at the event that it cannot take.
    async fn find_stone(
        &self,
        definition: &Definition,
        from: Position,
        events: &[Entry],
        connection: &mut PgConnection,
    ) -> Result<(), StoreError> {
        for (event, before) in events.iter().zip(from..) {
            match commit(&[*definition], before, std::slice::from_ref(event), connection).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(Stumbled { error, .. }) if concerns_data(&error) => {
                    let (projection, position) = (definition.name, event.position);
                    tracing::error!(projection, position, error = %chain(&error), "the projection has stopped at an event");
                    checkpoint::stop(definition, event.position, &error.to_string(), connection).await?;
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
    definition: Definition,
    error: WriteError,
}

/// Rows and checkpoints of a group in one transaction; `false` if another projector was faster.
async fn commit(
    group: &[Definition],
    from: Position,
    events: &[Entry],
    connection: &mut PgConnection,
) -> Result<bool, Stumbled> {
    let first = group[0];
    let to = events.last().map_or(from, |event| event.position);
    let stumbled = |definition: Definition| move |error: sqlx::Error| Stumbled { definition, error: error.into() };
    let mut transaction = connection.begin().await.map_err(stumbled(first))?;
    // First of all, so that a second projector waits here and then sees that it comes too late.
    if !checkpoint::advance(group, from, to, &mut transaction).await.map_err(stumbled(first))? {
        transaction.rollback().await.map_err(stumbled(first))?;
        return Ok(false);
    }
    for definition in group {
        batch::apply(definition, "", events, &mut transaction)
            .await
            .map_err(|error| Stumbled { definition: *definition, error })?;
    }
    transaction.commit().await.map_err(stumbled(first))?;
    Ok(true)
}

/// Whether an event is to blame, and not the connection or the server.
fn concerns_data(error: &WriteError) -> bool {
    match error {
        WriteError::Fold { .. } => true,
        // Data exceptions, integrity constraints, limits such as the size of an index row.
        WriteError::Database(sqlx::Error::Database(error)) => {
            error.code().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
        }
        WriteError::Database(_) => false,
    }
}

/// A connection of the projector's own.
async fn connect(store: &Store) -> Result<PgConnection, StoreError> {
    let mut connection = store.connection().await?;
    // What a crash takes away are rows together with their checkpoint; they are folded again from the book. And rows
    // are always found by their keys; on a young table the planner would rather read all of it.
    connection.execute("set synchronous_commit = off; set enable_hashjoin = off; set enable_mergejoin = off").await?;
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
