//! The event store: the tables of one ledger, who may do what to them, and how they are reached.

mod aead;
pub mod events;
pub mod idempotency;
mod keys;
mod master_key;
mod roles;
mod schema;
mod shared_key;
pub mod snapshots;
mod transaction;
pub mod upcast;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use sqlx::{
    Connection, Executor, PgConnection, PgExecutor, PgPool,
    migrate::MigrateError,
    pool::PoolConnectionMetadata,
    postgres::{PgConnectOptions, PgPoolOptions},
};

pub use daybook_cluster::{APPLICATION_ROLE, Logins};
pub use events::{Head, RawEvent, head, head_and_clock, position_at, read_events, read_stream};
pub use keys::{Keys, Opener, PersonKey};
pub use master_key::{MasterKey, MasterKeyError, read_master_key};
pub use roles::CUSTOMER_ROLE;
pub use schema::{Reading, StoredVersion, stored_versions};
pub use shared_key::shared_key;
pub use transaction::PooledTransaction;
pub use upcast::Upcasters;

use crate::{clock::ClockTrouble, domain::DecodeError, event::Position};

#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Of the pool. The writer has one connection more, of its own.
    pub max_connections: u32,
    /// How long to wait for a free connection of the pool.
    pub acquire_timeout: Duration,
    /// How long one statement may take.
    pub statement_timeout: Duration,
    /// How events of earlier versions are read.
    pub upcasters: Upcasters,
    /// What texts about persons are sealed and opened by; without it, all else can be read and written.
    pub master_key: Option<MasterKey>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            max_connections: 10,
            acquire_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(60),
            upcasters: Upcasters::default(),
            master_key: None,
        }
    }
}

/// One ledger in a database, reached as the application role.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
    logins: Logins,
    options: StoreOptions,
    channel: Arc<str>,
    keys: Keys,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database does not do its part")]
    Database(#[from] sqlx::Error),
    #[error("the tables cannot be brought to this version")]
    Migration(#[from] MigrateError),
    #[error(
        "migration {version} of this program is not the one that made the tables of this ledger: start the program that \
         made them, or one whose migrations continue its own; nothing was changed"
    )]
    OtherMigration { version: i64 },
    #[error(
        "the tables are of version {found}, and this program reads those of {needed}: use the program that serves them, or let a server of this version bring them to it"
    )]
    EarlierVersion { found: i64, needed: i64 },
    #[error(
        "the owner's login may not make what customers read through: an administrator makes the role {CUSTOMER_ROLE} and \
         the schema {schema} for it"
    )]
    Rights { schema: String, source: sqlx::Error },
    #[error(transparent)]
    Unreadable(Box<Unreadable>),
    #[error("the book has a gap: after position {after} comes {found}")]
    Gap { after: Position, found: Position },
    #[error("the end of the book has moved from position {from}, although it was locked")]
    HeadMoved { from: Position },
    #[error("the stream of {aggregate_type} {aggregate_id} has a gap: after event {after} comes {found}")]
    StreamGap { aggregate_type: String, aggregate_id: String, after: u64, found: u64 },
    #[error("the stored answer cannot be read")]
    Answer(#[source] serde_json::Error),
    #[error("the operation still asked for more aggregates after {rounds} rounds of loading")]
    NeverLoaded { rounds: usize },
    #[error("texts about persons are sealed, and this program was not given the master key")]
    NoMasterKey,
    #[error(
        "the master key is {found}, but the keys of this ledger are wrapped by {expected}: name the file of that one by \
         --master-key; nothing was changed"
    )]
    OtherMasterKey { found: String, expected: String },
    #[error("the key {id} in `person_keys` is not what the master key has wrapped")]
    KeyBroken { id: String },
    #[error("the clock cannot be trusted, so that nothing was recorded")]
    Clock(#[from] ClockTrouble),
    #[error("the database did not answer within {} seconds", after.as_secs())]
    TimedOut { after: Duration },
}

/// An event that stands in the book and is not one that this version knows.
#[derive(Debug, thiserror::Error)]
#[error("the event at position {position} cannot be read: `{event_type}` of {aggregate_type} {aggregate_id}")]
pub struct Unreadable {
    pub position: Position,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub event_type: String,
    pub source: DecodeError,
}

impl StoreError {
    /// An event was to be appended where one stands already.
    pub fn is_collision(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.constraint() == Some("events_pkey"))
    }

    /// An idempotency key has been used before.
    pub fn is_repetition(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.constraint() == Some("idempotency_pkey"))
    }

    /// The connection is of no use any more, or never was; nothing says that the database minds the request.
    pub fn is_disconnection(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(error)) => {
                // 57P: the server shuts down or starts; 53300: it has too many connections; 08: connection trouble.
                error.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08") || code == "53300")
            }
            Self::Database(error) => {
                matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_))
            }
            Self::TimedOut { .. } => true,
            _ => false,
        }
    }
}

impl Store {
    /// Brings the ledger's tables to this version and connects.
    pub async fn open(logins: Logins, options: StoreOptions) -> Result<Self, StoreError> {
        Self::migrate(logins.owner()).await?;
        Self::connect(logins, options).await
    }

    /// Brings the ledger's tables to this version and asserts who may do what, as the owner. Any number of processes
    /// may do so at once.
    pub async fn migrate(owner: &PgConnectOptions) -> Result<(), StoreError> {
        let mut connection = PgConnection::connect_with(owner).await?;
        let mut migrator = migrator();
        // A newer program may have been here: an older one must still start, or nobody could go back to it.
        migrator.set_ignore_missing(true);
        migrator.run(&mut connection).await.map_err(|error| match error {
            // No migration is changed once it has run anywhere: a program in which one was has another history.
            MigrateError::VersionMismatch(version) => StoreError::OtherMigration { version },
            error => error.into(),
        })?;
        roles::assert(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }

    /// The tables are at least of the version that this program reads; those of a newer program may be read, too.
    pub async fn assert_version(&self) -> Result<(), StoreError> {
        let found: Vec<i64> = sqlx::query_scalar("select version from _sqlx_migrations where success order by version")
            .fetch_all(&self.pool)
            .await?;
        let migrator = migrator();
        if migrator.iter().all(|migration| found.contains(&migration.version)) {
            return Ok(());
        }
        let needed = migrator.iter().map(|migration| migration.version).max().unwrap_or_default();
        Err(StoreError::EarlierVersion { found: found.last().copied().unwrap_or_default(), needed })
    }

    /// Connects to a ledger that is migrated already.
    pub async fn connect(logins: Logins, options: StoreOptions) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            // A dead connection shows by itself; asking before each use would cost a round trip.
            .test_before_acquire(false)
            .after_connect(preparing(options.statement_timeout))
            .connect_with(logins.application().clone())
            .await?;
        // A notification reaches a whole database, in which other ledgers may lie.
        let channel: String = sqlx::query_scalar("select 'daybook_' || md5(current_schema())").fetch_one(&pool).await?;
        let keys_pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(options.acquire_timeout)
            .after_connect(preparing(options.statement_timeout))
            .connect_lazy_with(logins.application().clone());
        let keys = Keys::new(keys_pool, None);
        let master_key = options.master_key.clone();
        let store = Self { pool, logins, options, channel: channel.into(), keys };
        match master_key {
            Some(key) => store.with_master_key(key).await,
            None => Ok(store),
        }
    }

    /// The ledger with its master key. Another one than that of the ledger is refused.
    pub async fn with_master_key(self, key: MasterKey) -> Result<Self, StoreError> {
        self.keys.accept(&key).await?;
        let keys = Keys::new(self.keys.pool().clone(), Some(key));
        Ok(Self { keys, ..self })
    }

    /// The keys of persons.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What opens these events.
    pub async fn opener<'a>(&self, events: impl IntoIterator<Item = &'a RawEvent>) -> Result<Opener, StoreError> {
        self.keys.opener(self.upcasters(), events).await
    }

    /// Ends all connections of the pools.
    pub async fn close(&self) {
        self.pool.close().await;
        self.keys.pool().close().await;
    }

    /// Connections of the application role, which may append and read but never alter the book.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection of the application role beside the pool.
    pub async fn connection(&self) -> Result<PgConnection, StoreError> {
        let mut connection = PgConnection::connect_with(self.logins.application()).await?;
        connection.execute(&*session(self.options.statement_timeout)).await?;
        Ok(connection)
    }

    /// The connection on which the writer appends.
    pub(crate) async fn writer_connection(&self) -> Result<PgConnection, StoreError> {
        let mut connection = self.connection().await?;
        // All it asks is answered by an index. Plans made while the tables were small would say otherwise, and stay. And
        // one plan is as good as another, so that making it anew for each batch would only take time.
        connection
            .execute(
                "set lock_timeout = '10s'; set enable_seqscan = off; set plan_cache_mode = force_generic_plan;
                 set daybook.events_are_checked = 'yes'",
            )
            .await?;
        Ok(connection)
    }

    /// A connection of the owner, for changes of the tables. It is closed when that is done.
    pub async fn owner_connection(&self) -> Result<PgConnection, StoreError> {
        Ok(PgConnection::connect_with(self.logins.owner()).await?)
    }

    /// How the application logs in.
    pub fn application(&self) -> &PgConnectOptions {
        self.logins.application()
    }

    /// Whether a session of the application could become the owner: it has only taken on another role than that of its
    /// login.
    pub async fn can_become_owner(&self) -> Result<bool, StoreError> {
        let could = "select pg_has_role(session_user, relowner, 'member') from pg_class where oid = 'events'::regclass";
        Ok(sqlx::query_scalar(could).fetch_one(&self.pool).await?)
    }

    /// The channel on which one notification per batch tells that the book has grown, its payload the position. It is
    /// a hint: it may be lost, doubled or late.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// How the events of this ledger are brought to their present version.
    pub fn upcasters(&self) -> &Upcasters {
        &self.options.upcasters
    }

    /// Where the book ends.
    pub async fn head(&self) -> Result<Head, StoreError> {
        head(&self.pool).await
    }

    /// Finds out whether tables can grow; nothing stays of it. It costs too much to be done without a reason.
    pub async fn find_room(&self) -> Result<(), StoreError> {
        // Some megabytes, so that it is not what a table has allocated before.
        let statements = "begin;
             create temporary table room on commit drop as
             select md5(number::text) as filling from generate_series(1, 50000) as number";
        PooledTransaction::begin(&self.pool, statements.into()).await?;
        Ok(())
    }

    /// Tells whoever listens that the book reaches at least this position.
    pub async fn notify(&self, position: Position) -> Result<(), StoreError> {
        notify(&self.pool, &self.channel, position).await
    }
}

fn migrator() -> sqlx::migrate::Migrator {
    sqlx::migrate!("../migrations")
}

/// What every connection of the application begins with. A login of its own has the role already. No query is so long that compiling it would pay; and plans that
/// are kept are planned for more rows than come.
fn session(statement_timeout: Duration) -> String {
    let timeout = statement_timeout.as_millis();
    format!(
        "set role {APPLICATION_ROLE};
         set jit = off;
         set statement_timeout = {timeout};
         set idle_in_transaction_session_timeout = {timeout}"
    )
}

/// Begins a connection of a pool.
fn preparing(
    statement_timeout: Duration,
) -> impl for<'c> Fn(&'c mut PgConnection, PoolConnectionMetadata) -> BoxFuture<'c, Result<(), sqlx::Error>> {
    let prepare: Arc<str> = session(statement_timeout).into();
    move |connection, _| {
        let prepare = Arc::clone(&prepare);
        Box::pin(async move {
            connection.execute(&*prepare).await?;
            Ok(())
        })
    }
}

async fn notify(executor: impl PgExecutor<'_>, channel: &str, position: Position) -> Result<(), StoreError> {
    // A notification is a transaction of its own; a hint need not wait for the disk.
    sqlx::query("select pg_notify($1, $2) from (select set_config('synchronous_commit', 'off', true)) as hint")
        .bind(channel)
        .bind(position.to_string())
        .execute(executor)
        .await?;
    Ok(())
}
