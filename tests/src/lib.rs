//! What the tests share: a fresh database on a real PostgreSQL for each of them.

pub mod accountant;
pub mod api;
pub mod commands;
pub mod copy;
pub mod equality;
pub mod history;
pub mod load;
pub mod log;
pub mod operator;

use std::{collections::HashMap, env, path::PathBuf, process::Stdio, str::FromStr, thread};

use daybook_core::{
    cluster::{Cluster, ClusterOptions},
    store::{Logins, RawEvent, Store, StoreOptions, read_events},
    writer::{Writer, WriterHandle, WriterOptions},
};
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
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

/// A fresh database with an empty ledger.
pub async fn database() -> TestDatabase {
    let server = server().await;
    let name = format!("daybook_test_{}", Uuid::now_v7().simple());
    let url = server.url(&name);
    match server {
        Server::Own(_) => {
            TEMPLATE.get_or_init(|| server.prepare(TEMPLATE_DATABASE)).await;
            server.administrate(&format!("create database {name} template {TEMPLATE_DATABASE}")).await;
        }
        // Nothing of ours stays on a server that is somebody's own.
        Server::Given(_) => server.prepare(&name).await,
    }
    let pool = PgPoolOptions::new().max_connections(10).connect(&url).await.expect("a fresh database can be reached");
    TestDatabase { logins: server.logins(&name), name, url, pool }
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

impl TestDatabase {
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
        self.store_with(StoreOptions::default()).await
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
        let server = server().await;
        let name = format!("daybook_test_{}", Uuid::now_v7().simple());
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
        let pool = PgPoolOptions::new().max_connections(10).connect(&url).await.expect("it can be reached");
        Self { logins: server.logins(&name), name, url, pool }
    }
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

/// A program of this workspace, built beside the tests.
pub fn program(name: &str) -> PathBuf {
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
