//! What all tools have in common, by the program that people run.

use std::process::{Command, Output, Stdio};

use daybook_tests::{TestDatabase, database, program};

fn daybook(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("daybook"));
    command
        .envs(daybook_tests::master_key_env())
        .args(arguments)
        .env("DATABASE_URL", database.url())
        .stdin(Stdio::null());
    command
}

/// 2 is the verdict of `daybook verify` that something could not be looked at.
#[test]
fn arguments_that_are_not_understood_have_an_exit_code_of_their_own() {
    for (name, arguments) in [
        ("daybook", &["verify", "--ful"][..]),
        ("daybook", &["diff", "@x", "@1"]),
        ("daybook", &[]),
        ("daybook-verify", &["archive"]),
        ("daybook-verify", &["proof", "file", "--key", "no+key"]),
        ("daybook-server", &["--listen", "nowhere"]),
    ] {
        let output = Command::new(program(name)).args(arguments).stdin(Stdio::null()).output().expect("it starts");
        assert_eq!(output.status.code(), Some(64), "{name} {arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty());
        for asked in ["--help", "--version"] {
            let output = Command::new(program(name)).arg(asked).output().expect("it starts");
            assert!(output.status.success() && !output.stdout.is_empty(), "{name} {asked}");
        }
    }
}

/// Runs a tool whose output nobody reads.
fn unread(database: &TestDatabase, arguments: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    daybook(database, arguments).stdout(writer).output().expect("the program starts")
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

#[tokio::test]
async fn a_tool_whose_output_nobody_reads_ends_quietly() {
    let database = database().await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/cases/import/91-first.csv");
    let filled = daybook(&database, &["import", "invoices", file]).output().expect("the program starts");
    assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    let account: String = sqlx::query_scalar("select id from accounts order by position limit 1")
        .fetch_one(database.pool())
        .await
        .expect("an account");
    for arguments in [
        &["status"][..],
        &["replay"],
        &["schema"],
        &["schema", "check"],
        &["why", &account],
        &["verify"],
        &["verify", "--json"],
        &["pause", "accounts"],
        &["resume", "accounts"],
        &["rebuild", "accounts"],
    ] {
        let output = unread(&database, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("panicked"), "{arguments:?}: {said}");
    }
    // Progress, and what is wrong with a file, go to the standard error.
    for (arguments, code) in [(&["import", "invoices", file][..], 0), (&["import", "invoices", "is-not-there.csv"], 1)]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let status = daybook(&database, arguments).stdout(Stdio::null()).stderr(writer).status();
        assert_eq!(status.expect("the program starts").code(), Some(code), "{arguments:?}");
    }
    // The rest of an export is not written, and so it does not succeed.
    for format in ["hledger", "csv", "ndjson"] {
        let output = unread(&database, &["export", "--format", format]);
        assert_eq!(output.status.code(), Some(1), "{format}");
        assert!(output.stderr.is_empty(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn what_an_export_advises_helps() {
    let database = database().await;
    let file = tempfile::Builder::new().suffix(".csv").tempfile().expect("a file");
    let header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";
    let early = "160001,A,tea,1,1901-06-01 10:00:00,1.00,7,France";
    std::fs::write(file.path(), format!("{header}\n{early}\n")).expect("written");
    let path = file.path().to_str().expect("a plain path");
    assert!(daybook(&database, &["import", "invoices", path]).output().expect("the program starts").status.success());
    // An earlier version took years that beancount does not.
    let dated_back = "alter table events disable trigger user;
        update events set metadata = replace(metadata::text, '1901-', '1200-')::json;
        alter table events enable trigger user";
    sqlx::raw_sql(dated_back).execute(database.pool()).await.expect("the owner of the database can do it");
    for projection in ["account_statement", "journal"] {
        let rebuilt = daybook(&database, &["rebuild", projection]).output().expect("the program starts");
        assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    }

    let refused = daybook(&database, &["export", "--format", "hledger"]).output().expect("the program starts");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("1200-06-01") && said.contains("--from"), "{said}");
    let advised = daybook(&database, &["export", "--format", "hledger", "--from", "2000-01-01"]).output();
    let advised = advised.expect("the program starts");
    assert!(advised.status.success(), "{}", String::from_utf8_lossy(&advised.stderr));
    assert!(String::from_utf8_lossy(&advised.stdout).contains("opening balance"));
}
