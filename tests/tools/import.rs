//! Importing invoice lines, by the program that people run.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use daybook_core::store::idempotency::digest;
use daybook_tests::{TestDatabase, database, program};
use rust_decimal::Decimal;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::Row;

use super::exports::{one_cent_more_is_refused, programs_agree_with_api};

const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

/// Two customers and a walk-in: sales, a credit that refers, one that cannot, an adjustment, a price below a penny,
/// and an invoice whose lines do not stand together.
const SMALL: &str = "\
100,TEA,tea,10,2011-01-03 10:00:00,1.50,7.0,France
100,CUP,cup,2,2011-01-03 10:00:00,4.00,7.0,France
101,TEA,tea,3,2011-01-04 10:00:00,1.50,8.0,Spain
102,PEN,pen,5,2011-01-05 10:00:00,0.001,,Norway
101,POT,pot,1,2011-01-04 10:01:00,9.99,8.0,Spain
C103,TEA,tea,-4,2011-02-01 09:00:00,1.50,7.0,France
C104,TEA,tea,-9,2011-02-02 09:00:00,1.50,7.0,France
A105,B,Adjust bad debt,1,2011-03-01 09:00:00,5.00,,Norway
106,GIFT,damaged,-3,2011-03-02 09:00:00,0,,Norway
";

fn file(rows: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".csv").tempfile().expect("a file");
    write!(file, "{HEADER}{rows}").expect("written");
    file
}

fn daybook(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("daybook"));
    command
        .envs(daybook_tests::master_key_env())
        .args(arguments)
        .env("DATABASE_URL", database.url())
        .stdin(Stdio::null());
    command
}

fn run(database: &TestDatabase, arguments: &[&str]) -> Output {
    daybook(database, arguments).output().expect("the program starts")
}

fn import(database: &TestDatabase, file: &Path) -> Value {
    let path = file.to_str().expect("a plain path");
    let output = run(database, &["import", "invoices", path, "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a summary")
}

async fn balances(database: &TestDatabase) -> Vec<(String, Decimal)> {
    let rows = sqlx::query("select name, balance from accounts order by name").fetch_all(database.pool()).await;
    rows.expect("accounts").iter().map(|row| (row.get("name"), row.get("balance"))).collect()
}

fn assert_sound(database: &TestDatabase) {
    let output = run(database, &["verify", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn a_small_file_becomes_accounts_invoices_and_credits() {
    let database = database().await;
    let file = file(SMALL);
    let summary = import(&database, file.path());
    let expected = [
        ("lines", 9),
        ("accounts", 3),
        ("invoices", 4),
        ("credit_notes", 2),
        ("adjustments", 1),
        ("referring_lines", 1),
        ("free_standing_lines", 1),
        ("found_recorded", 0),
    ];
    for (name, count) in expected {
        assert_eq!(summary[name], count, "{name}: {summary}");
    }
    let balance = |text: &str| text.parse::<Decimal>().expect("a decimal");
    let expected = [
        // 15.00 + 8.00 − 6.00 − 13.50
        ("customer 7", balance("-3.50")),
        ("customer 8", balance("-14.49")),
        // 0.005 is rounded once, to 0.01.
        ("walk-in customer", balance("-5.01")),
    ];
    assert_eq!(balances(&database).await, expected.map(|(name, sum)| (name.to_owned(), sum)));
    let residue: Vec<Decimal> =
        sqlx::query_scalar("select amount from journal_lines where ledger_account = 'rounding'")
            .fetch_all(database.pool())
            .await
            .expect("journal");
    assert_eq!(residue, [balance("-0.005")]);
    assert_sound(&database);
}

#[tokio::test]
async fn a_second_run_imports_nothing_twice() {
    let database = database().await;
    let file = file(SMALL);
    let first = import(&database, file.path());
    let before = balances(&database).await;
    let second = import(&database, file.path());
    assert_eq!(second["position"], first["position"]);
    // Four commands for each of three parties, and seven documents.
    assert_eq!(second["found_recorded"], 4 * 3 + 7);
    assert_eq!(balances(&database).await, before);
}

#[tokio::test]
async fn the_same_number_with_other_content_is_refused() {
    let database = database().await;
    import(&database, file(SMALL).path());
    let changed = file(&SMALL.replace("101,POT,pot,1,", "101,POT,pot,2,"));
    let output = run(&database, &["import", "invoices", changed.path().to_str().expect("a plain path")]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("101"), "{output:?}");
    assert_sound(&database);
}

#[tokio::test]
async fn a_malformed_line_is_refused_with_its_place_and_nothing_is_recorded() {
    let database = database().await;
    let file = file(&format!("{SMALL}107,TEA,tea,many,2011-03-03 09:00:00,1.50,7.0,France\n"));
    let output = run(&database, &["import", "invoices", file.path().to_str().expect("a plain path")]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(":11:") && said.contains("Quantity") && said.contains("many"), "{said}");
}

/// A file of `tests/cases/import`.
fn case(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "cases/import", name].iter().collect()
}

/// The head of the book, and how many keys have been answered and streams begun.
async fn standing(database: &TestDatabase) -> (i64, i64, i64) {
    let counted = "select (select position from book_head), (select count(*) from idempotency),
                   (select count(distinct aggregate_id) from events)";
    sqlx::query_as(counted).fetch_one(database.pool()).await.expect("counts")
}

#[tokio::test]
async fn a_refused_file_records_nothing_and_names_its_line() {
    let database = database().await;
    import(&database, &case("91-first.csv"));
    let directory = tempfile::Builder::new().suffix(".csv").tempdir().expect("a directory");
    let before = standing(&database).await;
    for (file, line, reason) in [
        (case("18-empty-file.csv"), 1, "no column InvoiceNo"),
        (case("30-overflow.csv"), 2, "10^15"),
        (case("31-too-large-amount.csv"), 3, "10^15"),
        (case("54-leap-second.csv"), 2, "second 60"),
        (case("71-not-gzip.csv.gz"), 1, "gzip"),
        (case("75-latin1-header-other-order.csv"), 1, "header cannot be read"),
        (case("78-no-header.csv"), 1, "no column InvoiceNo"),
        (case("79-future-year-slip.csv"), 2, "366 days ahead"),
        (case("82-panic-small.csv"), 2, "10^15"),
        (case("91-corrected.csv"), 2, "document 120001 was imported before with other content"),
        (case("over-balance.csv"), 5, "document 140004 is refused"),
        (directory.path().to_owned(), 1, "directory"),
        (case("is-not-there.csv"), 1, "No such file"),
    ] {
        let path = file.to_str().expect("a plain path");
        let output = run(&database, &["import", "invoices", path]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{path}: {said}");
        assert!(said.contains(&format!("{path}:{line}: ")) && said.contains(reason), "{path}: {said}");
        assert_eq!(standing(&database).await, before, "{path} recorded something");
    }
    assert_sound(&database);
}

#[tokio::test]
async fn what_moves_nothing_and_other_oddities_go_in_whole() {
    // The documents that are recorded, those that are over nothing, and the balances.
    for (file, recorded, over_nothing, expected) in [
        ("33-seven-decimals.csv", 1, 0, &[("customer 9033", "-10.69")][..]),
        ("34-trailing-zero-decimals.csv", 1, 0, &[("customer 9034", "-3.00")]),
        ("36-negative-zero.csv", 1, 1, &[("customer 9036", "0.00")]),
        ("40-adjustment-zero.csv", 2, 1, &[("customer 9040", "-2.00")]),
        ("41-adjustment-rounds-to-zero.csv", 1, 1, &[("customer 9041", "-1.00")]),
        ("42-credit-zero-price.csv", 2, 1, &[("customer 9042", "-2.00")]),
        ("45-walk-in-name.csv", 2, 0, &[("customer walk-in", "-5.00"), ("walk-in customer", "-7.00")]),
        ("81-walk-in-only-name.csv", 2, 0, &[("customer walk-in", "-5.00"), ("walk-in customer", "-7.00")]),
        ("93-returns-free-sample.csv", 2, 1, &[("customer 9700", "-2.00")]),
    ] {
        let database = database().await;
        let summary = import(&database, &case(file));
        let documents =
            ["invoices", "credit_notes", "adjustments"].map(|kind| summary[kind].as_u64().expect("a count"));
        assert_eq!(documents.iter().sum::<u64>(), recorded, "{file}: {summary}");
        assert_eq!(summary["skipped_over_nothing"], over_nothing, "{file}: {summary}");
        let expected = expected.iter().map(|(name, sum)| ((*name).to_owned(), sum.parse().expect("a decimal")));
        assert_eq!(balances(&database).await, expected.collect::<Vec<_>>(), "{file}");
        let before = standing(&database).await;
        import(&database, &case(file));
        assert_eq!(standing(&database).await, before, "{file}");
        assert_sound(&database);
    }
}

#[tokio::test]
async fn numbers_of_another_spelling_are_the_same_document() {
    let database = database().await;
    import(&database, &case("91-first.csv"));
    let before = standing(&database).await;
    let again = import(&database, &case("92-number-spelling.csv"));
    // Four commands for the customer, and one document.
    assert_eq!(again["found_recorded"], 5);
    assert_eq!(standing(&database).await, before);
}

/// Earlier versions took the numbers as they were written.
#[tokio::test]
async fn what_an_earlier_version_has_imported_is_found() {
    let database = database().await;
    import(&database, &case("91-first.csv"));
    let before = standing(&database).await;
    let as_written = r#"["120001","Invoice","9600","2011-05-03T09:00:00Z",[["A","tea","1","1.00"]]]"#;
    let recorded = sqlx::query("update idempotency set fingerprint = $1 where key = $2")
        .bind(Sha256::digest(as_written).as_slice())
        .bind(digest("import-invoices", "document:120001"))
        .execute(database.pool())
        .await;
    assert_eq!(recorded.expect("altered").rows_affected(), 1);
    import(&database, &case("91-first.csv"));
    assert_eq!(standing(&database).await, before);
}

/// Killed at ever later moments and run again, an import ends as if it had never been disturbed.
#[tokio::test]
async fn a_killed_import_is_completed_by_running_it_again() {
    let mut rows = String::new();
    for invoice in 0..1200 {
        let (day, customer) = (invoice % 28 + 1, invoice % 7);
        for line in 0..3 {
            writeln!(
                rows,
                "{},P{line},part,{},2011-01-{day:02} 10:00:00,1.{line}0,{customer}.0,France",
                1000 + invoice,
                invoice % 9 + 1
            )
            .expect("written");
        }
        if invoice % 5 == 4 {
            writeln!(rows, "C{},P1,part,-1,2011-02-{day:02} 10:00:00,1.10,{customer}.0,France", 9000 + invoice)
                .expect("written");
        }
    }
    let file = file(&rows);
    let path = file.path().to_str().expect("a plain path").to_owned();
    let undisturbed = database().await;
    let whole = import(&undisturbed, file.path());

    let disturbed = database().await;
    // Migrated by a run of its own, so that every kill meets the import itself.
    assert!(run(&disturbed, &["status"]).status.success());
    let mut killed = 0;
    for wanted in [1, 40, 300, 900, 2000] {
        let mut child: Child = daybook(&disturbed, &["import", "invoices", &path])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        // The kill waits for events, not for time.
        loop {
            let events: i64 = sqlx::query_scalar("select position from book_head")
                .fetch_one(disturbed.pool())
                .await
                .expect("the head");
            if events >= wanted {
                killed += 1;
                child.kill().expect("killed");
            } else if child.try_wait().expect("its state").is_none() {
                tokio::task::yield_now().await;
                continue;
            }
            child.wait().expect("ended");
            break;
        }
    }
    assert_eq!(killed, 5);
    let completed = import(&disturbed, file.path());
    assert!(completed["found_recorded"].as_u64().is_some_and(|found| found > 0), "{completed}");
    assert_eq!(balances(&disturbed).await, balances(&undisturbed).await);
    for count in
        ["select count(*) from events", "select count(*) from invoice_lines", "select count(*) from journal_lines"]
    {
        let left: i64 = sqlx::query_scalar(count).fetch_one(disturbed.pool()).await.expect("a count");
        let right: i64 = sqlx::query_scalar(count).fetch_one(undisturbed.pool()).await.expect("a count");
        assert_eq!(left, right, "{count}");
    }
    assert_eq!(whole["accounts"], completed["accounts"]);
    assert_sound(&disturbed);
}

/// The real file, where it lies beside the repository: every figure that is known of it.
#[tokio::test]
async fn the_online_retail_file_has_its_known_figures() {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../../shared/data/online-retail/online_retail.csv.gz"].iter().collect();
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return;
    }
    let database = database().await;
    let summary = import(&database, &path);
    for (name, count) in
        [("accounts", 4_373), ("invoices", 22_061), ("credit_notes", 3_836), ("adjustments", 3), ("lines", 541_909)]
    {
        assert_eq!(summary[name], count, "{name}: {summary}");
    }
    let known = [
        ("select sum(balance) from accounts", "-9747747.93"),
        ("select balance from accounts where name = 'walk-in customer'", "-1447682.12"),
        ("select balance from accounts where name = 'customer 17850'", "-5288.63"),
        ("select balance from accounts where name = 'customer 12346'", "0.00"),
        ("select balance from accounts where name = 'customer 14646'", "-279489.02"),
        ("select sum(amount) from journal_lines where ledger_account = 'rounding'", "0.004"),
        ("select count(*)::numeric from journal_lines where ledger_account = 'rounding'", "4"),
        ("select sum(balance) from trial_balance", "0"),
    ];
    for (query, expected) in known {
        let found: Decimal = sqlx::query_scalar(query).fetch_one(database.pool()).await.expect(query);
        assert_eq!(found, expected.parse().expect("a decimal"), "{query}");
    }
    // The closing balance of each month is the opening balance of the next, for every account: a statement's opening
    // is the sum of all that took effect before, its closing adds the month's lines.
    let broken: i64 = sqlx::query_scalar(
        "with months as (
            select account_id, date_trunc('month', occurred_at at time zone 'Europe/London') as month, sum(amount) as turnover
            from account_statement group by 1, 2
         ), statements as (
            select account_id, month,
                coalesce(sum(turnover) over (partition by account_id order by month
                    rows between unbounded preceding and 1 preceding), 0) as opening,
                sum(turnover) over (partition by account_id order by month) as closing
            from months
         ), chained as (
            select opening, lag(closing) over (partition by account_id order by month) as before from statements
         )
         select count(*) from chained where before is not null and before <> opening",
    )
    .fetch_one(database.pool())
    .await
    .expect("statements");
    assert_eq!(broken, 0);

    // Three accounting programs make the same of the export, customer by customer.
    let directory = tempfile::tempdir().expect("a directory");
    let (database, totals, files) = programs_agree_with_api(database, directory.path()).await;
    assert_eq!(totals, BTreeMap::from([("GBP".to_owned(), "-9747747.93".parse().expect("a decimal"))]));
    for (accountant, file) in files {
        one_cent_more_is_refused(accountant, &file, 1, 1);
    }
    drop(database);
}
