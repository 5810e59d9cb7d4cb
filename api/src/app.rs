//! The application: the writer, the projector and the keeper of this process, and what the handlers share of them.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::TimeDelta;
use daybook_core::{
    chain,
    clock::Clock,
    store::{Store, StoreError},
    transparency::{Keeper, KeeperOptions, Kept},
    upgrade::upgrade,
    writer::{Writer, WriterHandle, WriterOptions},
};
use daybook_identity::{Hashing, Identity, IdentityOptions, LoginKey, SessionOptions};
use daybook_projections::{BOARD, Projector, ProjectorOptions, Reader, engine};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    http::{
        admission::Hosts,
        arrival::{Edge, Proxies},
        authentication::Believed,
        bounds::ANSWERED_WITHIN,
        connections::PATIENCE,
        cors::Origins,
        page::CursorKey,
        past::{Gate, PastOptions},
        rate::{RateOptions, Rates},
        tls::Certificates,
    },
    identity::{
        sign_up::Terms,
        sweep::{self, SweepOptions},
    },
    operate::{health::Room, rebuild::Rebuilds},
};

/// How long the connections of the pool may take to come back.
const CLOSING: Duration = Duration::from_secs(5);

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct App(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    writer: WriterHandle,
    reader: Reader,
    cursors: CursorKey,
    past: Gate,
    exports: Gate,
    lag_budget: Duration,
    rebuilds: Rebuilds,
    kept: watch::Receiver<Kept>,
    /// Until a ledger of an earlier version has what this one looks for.
    upgrading: Arc<AtomicBool>,
    room: Room,
    edge: Edge,
    certificates: Option<Certificates>,
    metrics_apart: bool,
    takes_links: bool,
    identity: Identity,
    believed: Believed,
    rates: Rates,
    logins: LoginKey,
    factor_reset_wait: TimeDelta,
    terms: Option<Terms>,
    /// What goes on to its end although its caller has hung up.
    unfinished: TaskTracker,
}

#[derive(Clone, Debug)]
pub struct AppOptions {
    pub writer: WriterOptions,
    pub projector: ProjectorOptions,
    pub keeper: KeeperOptions,
    /// How old an event may be that a projection has not seen, before the application calls itself not ready.
    pub lag_budget: Duration,
    pub past: PastOptions,
    pub exports: PastOptions,
    /// How many requests are answered in a minute.
    pub rates: RateOptions,
    /// The names by which callers reach it, besides its addresses.
    pub hosts: Hosts,
    /// Whose pages may ask by a token, besides its own.
    pub origins: Origins,
    /// Who may say by headers where a request comes from.
    pub proxies: Proxies,
    /// Whether callers reach it by encrypted connections: cookies are then sent by no other, and a proxy that does not say so
    /// of its caller is refused.
    pub encrypted: bool,
    /// How long a body may take to arrive.
    pub patience: Duration,
    /// The certificate that they are shown, if the server encrypts by itself: `/readyz` names what troubles it.
    pub certificates: Option<Certificates>,
    /// Whether the metrics have an address of their own, and this one none.
    pub metrics_apart: bool,
    /// Whether links sign the users of a demonstration in.
    pub takes_links: bool,
    pub identity: IdentityOptions,
    /// How long the reset of a lost second factor waits before it can be completed.
    pub factor_reset_wait: TimeDelta,
    /// What whoever signs up accepts; without it nobody can.
    pub terms: Option<Terms>,
    pub sweep: SweepOptions,
    /// The pause between two looks at rows whose events are picked at random; `None` for no looks.
    pub watch: Option<Duration>,
}

impl Default for AppOptions {
    fn default() -> Self {
        let (writer, projector) = (WriterOptions::default(), ProjectorOptions::default());
        let (keeper, past) = (KeeperOptions::default(), PastOptions::default());
        Self {
            writer,
            projector,
            keeper,
            lag_budget: Duration::from_secs(10),
            past,
            exports: PastOptions::of_exports(),
            rates: RateOptions::default(),
            hosts: Hosts::default(),
            origins: Origins::default(),
            proxies: Proxies::default(),
            encrypted: false,
            patience: PATIENCE,
            certificates: None,
            metrics_apart: false,
            takes_links: true,
            identity: IdentityOptions {
                keys: PathBuf::from(".daybook"),
                hashing: Hashing::default(),
                sessions: SessionOptions::default(),
            },
            factor_reset_wait: TimeDelta::hours(24),
            terms: None,
            sweep: SweepOptions::default(),
            watch: None,
        }
    }
}

/// An application whose writer, projector and keeper run.
#[derive(Debug)]
pub struct Running {
    app: App,
    writer: Writer,
    projector: Projector,
    keeper: Keeper,
    background: Background,
}

/// How long the start waits for a ledger to be brought to this version.
const STARTING: Duration = Duration::from_secs(5);

/// When that is tried again after it has failed.
const AGAIN: Duration = Duration::from_secs(2);

/// Brings a ledger of an earlier version to this one, however often it has to be tried.
async fn bring_over(store: Store, writer: WriterHandle, mut kept: watch::Receiver<Kept>, upgrading: Arc<AtomicBool>) {
    loop {
        // Nothing is recorded in a ledger that lacks what was signed, and what answers so is its own refusal.
        if kept.wait_for(|kept| !kept.forked).await.is_err() {
            return;
        }
        match upgrade(&store, &writer, writer.clock().now()).await {
            Ok(_) => return upgrading.store(false, Ordering::Release),
            Err(error) => {
                tracing::error!(error = %chain(&error), "a ledger of an earlier version is not brought to this one yet");
            }
        }
        sleep(AGAIN).await;
    }
}

impl App {
    /// Starts the writer, the projector and the keeper of the transparency log on a ledger.
    pub async fn start(store: Store, options: AppOptions) -> Result<Running, StoreError> {
        let cursors = CursorKey::of(store.pool()).await?;
        let logins = LoginKey::of(store.pool()).await?;
        let identity = Identity::new(&store, options.identity);
        let (handle, writer) = Writer::start(store.clone(), options.writer);
        let background = Background::default();
        let rebuilds =
            Rebuilds::new(store.clone(), handle.clock().clone(), background.clone(), options.projector.room.clone());
        let projector = Projector::start(&store, BOARD, Some(&handle), options.projector).await?;
        let keeper = Keeper::start(&store, Some(handle.committed()), options.keeper).await;
        let reader = Reader::new(&store, BOARD, Some(&projector));
        if let Some(pause) = options.watch {
            background.run(engine::watch(store.clone(), BOARD, pause));
        }
        let lag_budget = options.lag_budget;
        let connections = store.pool().options().get_max_connections();
        let past = Gate::new(options.past, connections, "read the past");
        let exports = Gate::new(options.exports, connections, "read whole listings");
        let kept = keeper.kept();
        let upgrading = Arc::new(AtomicBool::new(true));
        let mut upgrade = Box::pin(bring_over(store.clone(), handle.clone(), kept.clone(), Arc::clone(&upgrading)));
        // Of most ledgers that is done at once; of a large one of an earlier version reads are answered meanwhile.
        let patience = if kept.borrow().forked { Duration::ZERO } else { STARTING };
        if timeout(patience, &mut upgrade).await.is_err() {
            background.run(upgrade);
        }
        let shared = Shared {
            store,
            writer: handle,
            reader,
            cursors,
            past,
            exports,
            lag_budget,
            rebuilds,
            kept,
            upgrading,
            room: Room::default(),
            edge: Edge {
                hosts: options.hosts,
                origins: options.origins,
                proxies: options.proxies,
                encrypted: options.encrypted,
                answered_within: options.patience + ANSWERED_WITHIN,
            },
            certificates: options.certificates,
            metrics_apart: options.metrics_apart,
            takes_links: options.takes_links,
            identity,
            believed: Believed::default(),
            rates: Rates::new(options.rates),
            logins,
            factor_reset_wait: options.factor_reset_wait,
            terms: options.terms,
            unfinished: TaskTracker::new(),
        };
        let app = Self(Arc::new(shared));
        background.run(sweep::cut_offs(app.clone()));
        background.run(sweep::run(app.clone(), options.sweep));
        Ok(Running { app, writer, projector, keeper, background })
    }

    pub fn writer(&self) -> &WriterHandle {
        &self.0.writer
    }

    /// Whether nothing is recorded yet, since the ledger is still being brought to this version.
    pub fn is_upgrading(&self) -> bool {
        self.0.upgrading.load(Ordering::Acquire)
    }

    /// The clock of this process, the only one that is asked.
    pub fn clock(&self) -> &Clock {
        self.0.writer.clock()
    }

    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Whether the tables of the store can grow.
    pub fn room(&self) -> &Room {
        &self.0.room
    }

    /// How callers reach it.
    pub fn edge(&self) -> &Edge {
        &self.0.edge
    }

    /// Whether callers reach it by encrypted connections.
    pub fn is_encrypted(&self) -> bool {
        self.0.edge.encrypted
    }

    /// Why callers are not shown the certificate that lies in its file.
    pub fn certificate_trouble(&self) -> Option<String> {
        self.0.certificates.as_ref().and_then(Certificates::trouble)
    }

    /// Whether the metrics have an address of their own.
    pub fn has_metrics_apart(&self) -> bool {
        self.0.metrics_apart
    }

    /// Whether links sign the users of a demonstration in.
    pub fn takes_links(&self) -> bool {
        self.0.takes_links
    }

    /// What is secret about signing in.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// What was found out a short while ago about who asks.
    pub fn believed(&self) -> &Believed {
        &self.0.believed
    }

    /// How many requests somebody has sent a short while ago.
    pub fn rates(&self) -> &Rates {
        &self.0.rates
    }

    /// Names users by the names that they sign in by.
    pub fn logins(&self) -> &LoginKey {
        &self.0.logins
    }

    /// How long the reset of a lost second factor waits.
    pub fn factor_reset_wait(&self) -> TimeDelta {
        self.0.factor_reset_wait
    }

    /// What whoever signs up accepts; nobody can sign up where there is none.
    pub fn terms(&self) -> Option<&Terms> {
        self.0.terms.as_ref()
    }

    /// What goes on to its end although its caller has hung up.
    pub fn unfinished(&self) -> &TaskTracker {
        &self.0.unfinished
    }

    pub fn reader(&self) -> &Reader {
        &self.0.reader
    }

    pub fn lag_budget(&self) -> Duration {
        self.0.lag_budget
    }

    /// How far the keeper of the transparency log has come, and what troubles it.
    pub fn kept(&self) -> Kept {
        self.0.kept.borrow().clone()
    }

    pub fn exports(&self) -> &Gate {
        &self.0.exports
    }

    pub fn past(&self) -> &Gate {
        &self.0.past
    }

    pub fn cursors(&self) -> &CursorKey {
        &self.0.cursors
    }

    pub fn rebuilds(&self) -> &Rebuilds {
        &self.0.rebuilds
    }
}

impl Running {
    pub fn app(&self) -> &App {
        &self.app
    }

    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Completes when the writer, the projector or the keeper has ended without having been told to, and names it.
    pub fn fallen(&self) -> impl Future<Output = &'static str> + Send + 'static {
        let (writer, projector) = (self.app.writer().closed(), self.projector.ended());
        let keeper = self.keeper.ended();
        async move {
            tokio::select! {
                () = writer => "the writer",
                () = projector => "the projector",
                () = keeper => "the keeper of the transparency log",
            }
        }
    }

    /// Answers what was accepted, then ends. To be called when no request is under way any more.
    pub async fn shutdown(self) {
        let Self { app, writer, projector, keeper, background } = self;
        app.unfinished().close();
        app.unfinished().wait().await;
        background.end().await;
        app.identity().settle().await;
        // A writer that has fallen passes its panic on, which must not keep the rest from ending.
        if let Err(error) = tokio::spawn(writer.shutdown()).await {
            tracing::error!(error = %chain(&error), "the writer ended badly");
        }
        projector.shutdown().await;
        // After the writer, so that what was accepted last is signed, too.
        keeper.shutdown().await;
        // A request that was cut may never give its connection back.
        if tokio::time::timeout(CLOSING, app.store().close()).await.is_err() {
            tracing::warn!("some connections to the store are still in use");
        }
    }
}

/// What runs beside the requests, for no longer than the application.
#[derive(Clone, Debug, Default)]
pub struct Background {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    /// Runs it until it is done or the application ends, whichever comes first.
    pub fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(task));
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
