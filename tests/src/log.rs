//! A ledger with a transparency log, its key and its tools, and ways to tamper with it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use daybook_core::{store::Store, transparency::add_events};
use daybook_log::{Checkpoint, PublicKey};
use serde_json::Value;
use sqlx::{Connection, Executor as _, PgConnection};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{TestDatabase, database, load::long_book, program};

/// A ledger whose log is signed, with a home of its own for the key.
#[derive(Debug)]
pub struct SignedLedger {
    pub database: TestDatabase,
    pub store: Store,
    pub home: TempDir,
}

/// What a program said, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub output: String,
    pub errors: String,
}

impl SignedLedger {
    pub async fn empty() -> Self {
        let database = database().await;
        let store = database.store().await;
        Self { database, store, home: TempDir::new().expect("a directory can be made") }
    }

    /// A book of so many events on so many accounts, signed at these sizes and at its end.
    pub async fn of_events(accounts: i64, events: i64, signed_at: &[u64]) -> Self {
        let ledger = Self::empty().await;
        long_book(ledger.database.pool(), accounts, events).await;
        let key = daybook_core::transparency::open_key(&ledger.store, &ledger.key_file()).await.expect("a key");
        let mut connection = ledger.store.connection().await.expect("a connection");
        let mut size = 0;
        for end in signed_at.iter().copied().chain([events as u64]) {
            while size < end {
                size = add_events(&mut connection, (end - size) as u32).await.expect("the tree grows").size;
            }
            daybook_core::transparency::sign(&mut connection, &key).await.expect("the tree is signed");
        }
        ledger
    }

    pub fn key_file(&self) -> PathBuf {
        self.home.path().join("log.key")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub async fn key(&self) -> PublicKey {
        let key: String = sqlx::query_scalar("select vkey from transparency_log")
            .fetch_one(self.database.pool())
            .await
            .expect("the log has a key");
        key.parse().expect("a key")
    }

    /// Keeps the checkpoint of so many events in a file.
    pub async fn checkpoint(&self, size: i64, name: &str) -> PathBuf {
        let note: String = sqlx::query_scalar("select note from log_checkpoints where size = $1")
            .bind(size)
            .fetch_one(self.database.pool())
            .await
            .expect("there is such a checkpoint");
        fs::write(self.file(name), note).expect("a file can be written");
        self.file(name)
    }

    /// Keeps a checkpoint in a file.
    pub fn keep(&self, name: &str, checkpoint: &Checkpoint) -> PathBuf {
        fs::write(self.file(name), &checkpoint.note).expect("a file can be written");
        self.file(name)
    }

    pub async fn daybook(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(program("daybook"));
        command
            .envs(crate::master_key_env())
            .args(arguments)
            .args(["--database-url", self.database.url()])
            .arg("--home")
            .arg(self.home.path());
        run(command).await
    }

    /// `daybook verify --full --json`, as an auditor runs it who has not the key; answers with the first bad position, if anything is wrong, and all of the report.
    pub async fn verify(&self, arguments: &[&str]) -> (bool, Option<u64>, Value) {
        let said = self.daybook(&[&["verify", "--full", "--json", "--log-key", "none"], arguments].concat()).await;
        let report: Value = serde_json::from_str(&said.output).unwrap_or_else(|_| panic!("{said:?}"));
        assert_eq!(said.code, Some(if report["sound"] == true { 0 } else { 1 }), "{said:?}");
        let checks = report["checks"].as_array().expect("a report has checks");
        let first = checks.iter().filter_map(|check| check["first_bad_position"].as_u64()).min();
        (report["sound"] == true, first, report)
    }

    /// Does as a superuser does who has switched the triggers off.
    pub async fn tamper(&self, statements: &str) {
        let mut connection = PgConnection::connect(self.database.url()).await.expect("the owner connects");
        connection.execute("set session_replication_role = replica").await.expect("a superuser may");
        connection.execute(statements).await.expect("nothing hinders a superuser");
        connection.close().await.expect("a connection can be closed");
    }

    /// Goes on with another database, under the same home.
    pub async fn on(self, database: TestDatabase) -> Self {
        Self { store: database.store().await, database, home: self.home }
    }

    /// Takes away what lies beside the key, as whoever has the key and lies with it does.
    pub fn forget_what_was_signed(&self) {
        fs::remove_file(self.file("log.key.signed")).expect("something was signed");
    }

    /// Takes away what the verifier keeps.
    pub fn forget_what_was_verified(&self) {
        for file in fs::read_dir(self.home.path()).expect("there is a home") {
            let file = file.expect("a home has files").path();
            if text(&file).ends_with(".checkpoint") {
                fs::remove_file(file).expect("a file can be taken away");
            }
        }
    }

    /// Appends so many events, as another program does.
    pub async fn append(&self, stream: &str, events: i64) {
        sqlx::query(
            "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             select 'foreign', $1, n, 'foreign.said', '1.0', to_json(n), '{}' from generate_series(1, $2) n",
        )
        .bind(stream)
        .bind(events)
        .execute(self.database.pool())
        .await
        .expect("the book takes events");
    }

    /// The size of the latest checkpoint in the ledger.
    pub async fn signed_size(&self) -> i64 {
        sqlx::query_scalar("select max(size) from log_checkpoints")
            .fetch_one(self.database.pool())
            .await
            .expect("something was signed")
    }

    /// Makes a tree of whatever the events are now, as if nothing had been before.
    pub async fn rehash(&self) {
        self.tamper("delete from log_tiles; update transparency_log set size = 0").await;
        let mut connection = self.store.connection().await.expect("a connection");
        while add_events(&mut connection, 1_000).await.expect("the tree grows").goes_on {}
    }
}

/// `daybook-verify` with a public key.
pub async fn daybook_verify(arguments: &[&str], key: &PublicKey) -> Said {
    let mut command = Command::new(program("daybook-verify"));
    command.args(arguments).args(["--key", &key.to_string()]);
    run(command).await
}

async fn run(mut command: Command) -> Said {
    let command = command.stdin(Stdio::null()).env("RUST_LOG", "error").env_remove("DAYBOOK_LOG_KEY");
    let Output { status, stdout, stderr } = command.output().await.expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("a program says texts");
    Said { code: status.code(), output: text(stdout), errors: text(stderr) }
}

impl Said {
    /// Asserts that all went well.
    pub fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Asserts that it was refused, and why.
    pub fn refused(&self, why: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.errors.contains(why), "{self:?} says why: {why}");
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ours is a text")
}
