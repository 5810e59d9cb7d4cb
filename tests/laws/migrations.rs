//! The migrations come to the schema that is written beside them, so that a newcomer reads the tables as they are now and a
//! reviewer sees what a migration changes.

use std::{fs, path::Path};

use daybook_tests::{database, postgresql_program};
use tokio::process::Command;

/// Other versions of PostgreSQL write the same schema in another way.
const WRITTEN_BY: &str = "15";

const HEAD: &str = "-- The schema as the migrations make it, for reading only. A test writes and compares it.\n";

/// `DAYBOOK_BLESS=1` writes it anew; its difference is what to review.
#[tokio::test]
async fn the_schema_is_the_one_that_is_written_down() {
    let database = database().await;
    let version: String = sqlx::query_scalar("show server_version").fetch_one(database.pool()).await.unwrap();
    if version.split('.').next() != Some(WRITTEN_BY) {
        eprintln!("passed over: PostgreSQL {version} writes a schema in another way than {WRITTEN_BY}");
        return;
    }
    let dump = Command::new(postgresql_program("pg_dump"))
        .args(["--schema-only", "--no-owner", "--exclude-table", "_sqlx_migrations", database.url()])
        .output()
        .await
        .unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let now = HEAD.to_owned() + &statements(std::str::from_utf8(&dump.stdout).unwrap());

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/schema.sql");
    if std::env::var_os("DAYBOOK_BLESS").is_some() {
        fs::write(&file, &now).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap();
    assert!(kept == now, "the schema has changed: run this test with DAYBOOK_BLESS=1 and review migrations/schema.sql");
}

/// Without comments and the settings of the session.
fn statements(dump: &str) -> String {
    let is_of_the_session =
        |line: &str| ["--", "\\", "SET ", "SELECT pg_catalog.set_config"].iter().any(|prefix| line.starts_with(prefix));
    let mut written = String::new();
    let mut is_blank = true;
    for line in dump.lines().filter(|line| !is_of_the_session(line)) {
        if !line.is_empty() {
            written += if is_blank { "\n" } else { "" };
            written += line;
            written += "\n";
        }
        is_blank = line.is_empty();
    }
    written
}
