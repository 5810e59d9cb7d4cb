//! What all tools have in common, by the program that people run.

use std::process::{Command, Stdio};

use daybook_tests::{TestDatabase, database, program};

fn daybook(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("daybook"));
    command.args(arguments).env("DATABASE_URL", database.url()).stdin(Stdio::null());
    command
}

#[tokio::test]
async fn an_empty_ledger_is_sound() {
    let database = database().await;
    assert!(daybook(&database, &["status"]).output().expect("the program starts").status.success());
    let output = daybook(&database, &["verify"]).output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("WRONG") && said.contains("rows of `accounts`"), "{said}");
}
