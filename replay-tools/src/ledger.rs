//! The ledger that a tool works on: the embedded PostgreSQL, or a server of the user's own.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::Utc;
use daybook_cluster::{Cluster, ClusterOptions, DATABASE};
use daybook_core::{
    store::{Logins, Store, StoreOptions},
    transparency::{self, LogKey, LogKeyError},
    upgrade::upgrade,
    writer::{Writer, WriterHandle, WriterOptions},
};
use daybook_log::SigningKey;
use daybook_projections::{
    BOARD,
    engine::{Projector, ProjectorOptions, Reader, Room},
};
use sqlx::{Connection, PgConnection};

use crate::ToolError;

/// The writer's cache here, about 10 MiB: a tool works through a file once and comes back to little of it.
const CACHE: usize = 100_000;

/// How long the projections may take to follow what was recorded.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Clone, Debug, clap::Args)]
pub struct LedgerOptions {
    /// Where the embedded PostgreSQL lives
    #[arg(long, env = "DAYBOOK_HOME", default_value = ".daybook", global = true)]
    home: PathBuf,
    /// A PostgreSQL of your own, instead of the embedded one, by a login that has the role `daybook_app`, or by the one that
    /// owns the ledger's tables
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true)]
    database_url: Option<String>,
    /// The login there that owns the ledger's tables, if it is another one
    #[arg(long, env = "DAYBOOK_OWNER_URL", hide_env_values = true, global = true)]
    owner_url: Option<String>,
    /// The private key that signs the transparency log; `log.key` in the home unless told, `none` to sign nothing
    #[arg(long, env = "DAYBOOK_LOG_KEY", value_name = "FILE", global = true)]
    log_key: Option<PathBuf>,
    /// The master key, by which texts about persons are sealed and read; `master.key` in the home unless told
    #[arg(long, env = "DAYBOOK_MASTER_KEY_FILE", value_name = "FILE", global = true)]
    master_key: Option<PathBuf>,
}

impl LedgerOptions {
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// What a tool may take of the machine. What does not fit into memory goes to the home, if files can be made there.
    pub fn room(&self) -> Room {
        Room::default().preferring(&self.home)
    }

    /// The key that signs the ledger's log, if it is to be signed; made if the log has none yet.
    pub async fn open_key(&self, store: &Store) -> Result<Option<SigningKey>, LogKeyError> {
        Ok(self.open_log_key(store).await?.map(LogKey::into_key))
    }

    /// The same, with the file that it lies in.
    pub async fn open_log_key(&self, store: &Store) -> Result<Option<LogKey>, LogKeyError> {
        match self.log_key() {
            Some(path) => transparency::open_key(store, &path).await.map(Some),
            None => Ok(None),
        }
    }

    /// Where the master key lies, or would lie.
    pub fn master_key(&self) -> PathBuf {
        let named = self.master_key.clone().filter(|path| !path.as_os_str().is_empty());
        named.unwrap_or_else(|| self.home.join("master.key"))
    }

    /// Where the key lies, or would lie; `None` if nothing is to be signed.
    pub fn log_key(&self) -> Option<PathBuf> {
        match &self.log_key {
            Some(path) if path.as_os_str() == "none" => None,
            Some(path) if !path.as_os_str().is_empty() => Some(path.clone()),
            _ => Some(self.home.join("log.key")),
        }
    }
}

/// An open ledger, migrated to this version.
#[derive(Debug)]
pub struct Ledger {
    cluster: Option<Cluster>,
    store: Store,
}

/// A writer and a projector at work in this process.
#[derive(Debug)]
pub struct Running {
    handle: WriterHandle,
    writer: Writer,
    projector: Projector,
    store: Store,
}

impl Ledger {
    pub async fn open(options: &LedgerOptions) -> Result<Self, ToolError> {
        let (cluster, logins) = reach(options).await?;
        let store = Store::open(logins, StoreOptions::default()).await?.unlocked(&options.master_key()).await?;
        Ok(Self { cluster, store })
    }

    /// A ledger that is to be signed up to its end, which a replica cannot be.
    pub async fn open_to_sign(options: &LedgerOptions) -> Result<Self, ToolError> {
        let (cluster, logins) = reach(options).await?;
        let mut connection = PgConnection::connect_with(logins.application()).await?;
        let read_only: String = sqlx::query_scalar("show transaction_read_only").fetch_one(&mut connection).await?;
        connection.close().await?;
        if read_only == "on" {
            return Err(
                "the newest events are signed first, but this ledger can only be read (it may be a replica): ask \
                        the one that is written to"
                    .into(),
            );
        }
        let store = Store::open(logins, StoreOptions::default()).await?.unlocked_to_read(&options.master_key()).await?;
        Ok(Self { cluster, store })
    }

    /// A ledger as it is, its tables left at the version that they have: another program may be serving it.
    pub async fn open_as_it_is(options: &LedgerOptions) -> Result<Self, ToolError> {
        let (cluster, logins) = reach(options).await?;
        let mut connection = PgConnection::connect_with(logins.application()).await?;
        let there: bool =
            sqlx::query_scalar("select to_regclass('events') is not null").fetch_one(&mut connection).await?;
        connection.close().await?;
        if !there {
            return Err("there is no ledger yet".into());
        }
        let store = Store::connect(logins, StoreOptions::default()).await?;
        let store = store.unlocked_to_read(&options.master_key()).await?;
        Ok(Self { cluster, store })
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Refuses a book that lacks what its log has signed, as far as the home tells: what were recorded would be a fork.
    pub async fn refuse_fork(&self, options: &LedgerOptions) -> Result<(), ToolError> {
        let Some(key) = options.log_key() else { return Ok(()) };
        let mut connection = self.store.connection().await?;
        sqlx::query("set statement_timeout = 0").execute(&mut connection).await?;
        let continues = transparency::continues_last_signed(&mut connection, &key).await;
        connection.close().await?;
        continues.map_err(|error| {
            let error = daybook_core::chain(&error);
            format!("nothing was recorded: {error}; `--log-key none` is your word that it is recorded all the same")
                .into()
        })
    }

    /// Starts a writer and a projector. Others may be at work on the same ledger; the database orders them.
    pub async fn run(&self) -> Result<Running, ToolError> {
        let (handle, writer) =
            Writer::start(self.store.clone(), WriterOptions { cache: CACHE, ..WriterOptions::default() });
        upgrade(&self.store, &handle, Utc::now()).await?;
        let projector = Projector::start(&self.store, BOARD, Some(&handle), ProjectorOptions::default()).await?;
        Ok(Running { handle, writer, projector, store: self.store.clone() })
    }

    /// Leaves the ledger; the embedded PostgreSQL stops if nobody else uses it.
    pub async fn close(self) -> Result<(), ToolError> {
        self.store.close().await;
        if let Some(cluster) = self.cluster {
            cluster.stop().await?;
        }
        Ok(())
    }
}

/// Starts the embedded PostgreSQL, unless there is a server of the user's own.
async fn reach(options: &LedgerOptions) -> Result<(Option<Cluster>, Logins), ToolError> {
    let named = |url: &'_ Option<String>| url.clone().filter(|url| !url.is_empty());
    if let Some(url) = named(&options.database_url) {
        return Ok((None, Logins::of_urls(&url, named(&options.owner_url).as_deref())?));
    }
    let cluster = Cluster::start(&ClusterOptions::new(&options.home)).await?;
    let logins = cluster.logins(DATABASE);
    Ok((Some(cluster), logins))
}

impl Running {
    pub fn writer(&self) -> WriterHandle {
        self.handle.clone()
    }

    /// Lets the writer finish what it accepted and the projections follow to the head of the book.
    pub async fn catch_up_and_stop(self) -> Result<(), ToolError> {
        drop(self.handle);
        self.writer.shutdown().await;
        let head = self.store.head().await?.position;
        let reader = Reader::new(&self.store, BOARD, Some(&self.projector));
        for definition in BOARD {
            reader.wait_for(definition.name, head, PATIENCE).await?;
        }
        self.projector.shutdown().await;
        Ok(())
    }
}
