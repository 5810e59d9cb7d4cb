//! What is secret about signing in, on PostgreSQL.

mod access_log;
mod cut_off;
mod demonstration;
mod factors;
mod guessing;
mod links;
mod passwords;
mod rights;
mod sessions;
mod settings;
mod sweep;
mod tokens;

use std::net::IpAddr;

use chrono::{DateTime, Duration, Utc};
use daybook_identity::{Hashing, Identity, IdentityOptions, Secret, SessionOptions, Shown};
use daybook_tests::{TestDatabase, database};
use tempfile::TempDir;

const ADA: &str = "usr_ada";
const BOB: &str = "usr_bob";

/// A ledger with nobody in it, and the folder of its keys.
struct Ground {
    database: TestDatabase,
    keys: TempDir,
    identity: Identity,
}

impl Ground {
    async fn new() -> Self {
        let (database, keys) = (database().await, tempfile::tempdir().unwrap());
        let identity = identity(&database, &keys).await;
        Self { database, keys, identity }
    }

    /// Another process on the same ledger.
    async fn another(&self) -> Identity {
        identity(&self.database, &self.keys).await
    }

    /// What a statement of the owner counts.
    async fn count(&self, what: &str) -> i64 {
        let count = format!("select count(*) from {what}");
        sqlx::query_scalar(&count).fetch_one(self.database.pool()).await.unwrap()
    }

    /// Whether a row of this table holds the text, be it as bytes.
    async fn holds(&self, table: &str, text: &str) -> bool {
        let rows: Vec<String> = sqlx::query_scalar(&format!("select concat(stored) from {table} as stored"))
            .fetch_all(self.database.pool())
            .await
            .unwrap();
        assert!(!rows.is_empty(), "{table}");
        let bytes: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        rows.iter().any(|row| row.contains(text) || row.contains(&bytes))
    }
}

async fn identity(database: &TestDatabase, keys: &TempDir) -> Identity {
    let options = IdentityOptions {
        keys: keys.path().to_owned(),
        hashing: Hashing::default(),
        sessions: SessionOptions::default(),
    };
    Identity::new(&database.store().await, options)
}

/// The moment so long after the tests begin.
fn after(duration: Duration) -> DateTime<Utc> {
    let start: DateTime<Utc> = "2026-03-31T23:00:00Z".parse().unwrap();
    start + duration
}

fn start() -> DateTime<Utc> {
    after(Duration::zero())
}

fn address() -> IpAddr {
    "203.0.113.7".parse().unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

/// What its owner sends back.
fn sent(shown: &Shown) -> Secret {
    Secret::new(shown.expose())
}
