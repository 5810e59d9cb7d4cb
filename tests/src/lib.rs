//! What the tests share: a fresh database on a real PostgreSQL for each of them.

pub mod accountant;
pub mod api;
pub mod commands;
pub mod copy;
pub mod equality;
pub mod history;
pub mod leak;
pub mod listed;
pub mod load;
pub mod log;
pub mod operator;
pub mod people;
pub mod served;
pub mod timing;
pub mod viewer;

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    str::FromStr,
    sync::OnceLock,
    thread,
};

use daybook_cluster::{Cluster, ClusterOptions};
use daybook_core::{
    store::{Logins, MasterKey, RawEvent, Store, StoreOptions, read_events},
    writer::{Writer, WriterHandle, WriterOptions},
};
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tempfile::NamedTempFile;
use tokio::{io::AsyncWriteExt, process::Command, runtime, sync::OnceCell};
use uuid::Uuid;

/// A database of one test's own; others neither see nor disturb it.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: String,
    logins: Logins,
    pool: PgPool,
}

/// A database that is written once, and copied for the tests that begin with what it holds.
#[derive(Debug)]
pub struct Template {
    name: String,
}

/// A fresh database with an empty ledger.
pub async fn database() -> TestDatabase {
    let server = server().await;
    match server {
        Server::Own(_) => {
            TEMPLATE.get_or_init(|| server.prepare(TEMPLATE_DATABASE)).await;
            TestDatabase::copy_of(TEMPLATE_DATABASE).await
        }
        // Nothing of ours stays on a server that is somebody's own.
        Server::Given(_) => {
            let name = TestDatabase::new_name();
            server.prepare(&name).await;
            TestDatabase::named(name).await
        }
    }
}

/// Everything in the book, in order; without a gap, or the test fails.
pub async fn whole_book(pool: &PgPool) -> Vec<RawEvent> {
    let mut book: Vec<RawEvent> = Vec::new();
    loop {
        let after = book.last().map_or(0, |event| event.position);
        let events = read_events(pool, after, 1000).await.expect("the book can be read");
        if events.is_empty() {
            break;
        }
        book.extend(events);
    }
    let mut streams: HashMap<(&str, &str), u64> = HashMap::new();
    for event in &book {
        let sequence = streams.entry((&event.aggregate_type, &event.aggregate_id)).or_default();
        *sequence += 1;
        assert_eq!(event.sequence, *sequence, "the streams have no gaps either: {event:?}");
    }
    book
}

impl Template {
    /// Whether one can be kept until the tests end: only on a server of their own.
    pub async fn can_be_kept() -> bool {
        matches!(server().await, Server::Own(_))
    }

    pub async fn copy(&self) -> TestDatabase {
        TestDatabase::copy_of(&self.name).await
    }
}

impl TestDatabase {
    fn new_name() -> String {
        format!("daybook_test_{}", Uuid::now_v7().simple())
    }

    async fn copy_of(template: &str) -> Self {
        let name = Self::new_name();
        server().await.administrate(&format!("create database {name} template {template}")).await;
        Self::named(name).await
    }

    /// Connects to one that is there.
    async fn named(name: String) -> Self {
        let server = server().await;
        let url = server.url(&name);
        let pool = PgPoolOptions::new().max_connections(10).connect(&url).await.expect("the database can be reached");
        Self { logins: server.logins(&name), name, url, pool }
    }

    /// Closes it, so that it can be copied.
    pub async fn into_template(self) -> Template {
        self.pool.close().await;
        let (name, server) = (&self.name, server().await);
        // PostgreSQL copies a database only while nobody is connected to it.
        server.administrate(&format!("alter database {name} with allow_connections false")).await;
        let disconnect = "select pg_terminate_backend(pid, 10000) from pg_stat_activity";
        server.administrate(&format!("{disconnect} where datname = '{name}'")).await;
        Template { name: name.clone() }
    }

    /// How the owner of the database connects.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How the owner and the application connect; with a server of the user's own, by one login.
    pub fn logins(&self) -> &Logins {
        &self.logins
    }

    /// Connections of the owner of the database.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The ledger, as the application reaches it.
    pub async fn store(&self) -> Store {
        self.store_with(store_options()).await
    }

    pub async fn store_with(&self, options: StoreOptions) -> Store {
        Store::connect(self.logins.clone(), options).await.expect("the ledger can be reached")
    }

    /// A running writer.
    pub async fn writer(&self) -> (WriterHandle, Writer) {
        self.writer_with(WriterOptions::default()).await
    }

    pub async fn writer_with(&self, options: WriterOptions) -> (WriterHandle, Writer) {
        Writer::start(self.store().await, options)
    }
}

impl TestDatabase {
    /// Another database that holds what this one holds now, restored from its dump.
    pub async fn restored(&self) -> Self {
        let name = Self::new_name();
        let server = server().await;
        let url = server.url(&name);
        server.administrate(&format!("create database {name}")).await;
        let dump = Command::new(postgresql_program("pg_dump")).arg(&self.url).output().await.expect("pg_dump runs");
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        let mut psql = Command::new(postgresql_program("psql"))
            .args(["--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", &url])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("psql runs");
        psql.stdin.take().expect("it reads").write_all(&dump.stdout).await.expect("psql reads to the end");
        assert!(psql.wait().await.expect("psql ends").success(), "what pg_dump writes can be restored");
        Self::named(name).await
    }
}

/// Whether the tests look at everything, and not only at as much as an ordinary run has time for.
pub fn soaks() -> bool {
    env::var_os("DAYBOOK_SOAK").is_some()
}

/// At most so many of them, evenly spread; all of them when the tests soak.
pub fn spread<T>(all: Vec<T>, at_most: usize) -> Vec<T> {
    let step = if soaks() { 1 } else { all.len().div_ceil(at_most).max(1) };
    all.into_iter().step_by(step).collect()
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some(server @ Server::Given(_)) = SERVER.get() else { return };
        let statement = format!("drop database if exists {} with (force)", self.name);
        // A thread of its own, since the test's runtime cannot wait for another future here.
        let dropped = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
            runtime.block_on(server.administrate(&statement));
        });
        if dropped.join().is_err() {
            eprintln!("the database {} stays behind", self.name);
        }
    }
}

/// Where the databases of this test process are made.
#[derive(Debug)]
enum Server {
    /// Ends with this process.
    Own(Cluster),
    /// The user's own, named by `DATABASE_URL`.
    Given(PgConnectOptions),
}

static SERVER: OnceCell<Server> = OnceCell::const_new();

/// Migrated once; the databases of the tests are copies of it.
const TEMPLATE_DATABASE: &str = "daybook_template";
static TEMPLATE: OnceCell<()> = OnceCell::const_new();

async fn server() -> &'static Server {
    timing::measure();
    SERVER
        .get_or_init(|| async {
            match env::var("DATABASE_URL") {
                Ok(url) => Server::Given(PgConnectOptions::from_str(&url).expect("DATABASE_URL is a PostgreSQL URL")),
                Err(_) => {
                    let home = env::temp_dir().join(format!("daybook-tests-{}", Uuid::now_v7().simple()));
                    let cluster = Cluster::start(&ClusterOptions::throw_away(home)).await;
                    Server::Own(cluster.expect("the cluster of the tests starts"))
                }
            }
        })
        .await
}

impl Server {
    fn url(&self, database: &str) -> String {
        match self {
            Self::Own(cluster) => cluster.url(database),
            Self::Given(options) => options.clone().database(database).to_url_lossy().to_string(),
        }
    }

    fn logins(&self, database: &str) -> Logins {
        match self {
            Self::Own(cluster) => cluster.logins(database),
            Self::Given(options) => options.clone().database(database).into(),
        }
    }

    /// Creates a database with an empty ledger.
    async fn prepare(&self, database: &str) {
        self.administrate(&format!("create database {database}")).await;
        let owner = self.url(database).parse().expect("the URL of the database is well formed");
        Store::migrate(&owner).await.expect("an empty database can be migrated");
    }

    async fn administrate(&self, statement: &str) {
        let connected = match self {
            Self::Own(cluster) => PgConnection::connect(&cluster.url("postgres")).await,
            Self::Given(options) => PgConnection::connect_with(options).await,
        };
        let mut connection = connected.expect("the server of the tests can be reached");
        sqlx::query(statement).execute(&mut connection).await.expect("databases can be made and dropped");
        connection.close().await.expect("a connection can be closed");
    }
}

/// What the tests open ledgers with: the master key is the same for all of them.
pub fn store_options() -> StoreOptions {
    StoreOptions { master_key: Some(master_key()), ..StoreOptions::default() }
}

pub fn master_key() -> MasterKey {
    MasterKey::of_bytes(*b"the master key of all the tests.")
}

/// How the programs find the same one, unless they are told of another by an argument.
pub fn master_key_env() -> [(&'static str, &'static Path); 1] {
    static FILE: OnceLock<NamedTempFile> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        // Temporary files are for their owner only.
        let file = NamedTempFile::new().expect("a file can be made");
        fs::write(file.path(), master_key().to_text()).expect("a file can be written");
        file
    });
    [("DAYBOOK_MASTER_KEY_FILE", file.path())]
}

/// A program of this workspace, built beside the tests.
pub fn program(name: &str) -> PathBuf {
    timing::measure();
    let tests = env::current_exe().expect("the tests know where they are");
    let built = tests.ancestors().nth(2).expect("tests lie in target/*/deps").join(name);
    assert!(built.exists(), "{} is missing: build it by `cargo build --workspace`", built.display());
    built
}

/// A client program of PostgreSQL: on the path, or where Debian keeps the client programs of each version.
pub fn postgresql_program(program: &str) -> PathBuf {
    let on_path = env::var_os("PATH").into_iter().flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut candidates: Vec<PathBuf> = installed.map(|version| version.path().join("bin")).collect();
    candidates.sort();
    on_path
        .chain(candidates.into_iter().rev())
        .map(|directory| directory.join(program))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("{program} comes with the PostgreSQL client"))
}
