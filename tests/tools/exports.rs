//! Exports, checked by accounting programs that are not ours.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use chrono::TimeDelta;
use daybook_core::{
    Context,
    domain::{AccountId, CustomerId},
    writer::Command,
};
use daybook_tests::{
    TestDatabase,
    accountant::{ACCOUNTANTS, Accountant, Balances, export, exported},
    api::TestApp,
    commands::{account, adjust, context, id, noon, open_account, pay_in, register, usd},
    database,
    history::Ledger,
    spread,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rust_decimal::Decimal;
use serde_json::Value;
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

async fn varied() -> TestDatabase {
    let ledger = Ledger::varied().await;
    ledger.database
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().expect("an amount is text").parse().expect("a decimal")
}

/// What the API says that each account has, by account and currency.
async fn balances_of_api(app: &TestApp) -> BTreeMap<(String, String), Decimal> {
    let mut balances = BTreeMap::new();
    let mut path = "/v1/accounts?limit=200".to_owned();
    loop {
        let page = app.get(&path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        for account in page.body["data"].as_array().expect("a page") {
            let (id, balance) = (account["id"].as_str().expect("an id"), &account["balance"]);
            let currency = balance["currency"].as_str().expect("a currency");
            balances.insert((id.to_owned(), currency.to_owned()), decimal(&balance["amount"]));
        }
        let Some(cursor) = page.body["next_cursor"].as_str() else { return balances };
        path = format!("/v1/accounts?limit=200&cursor={cursor}");
    }
}

/// What the API says that each account of the chart has, by account and currency.
async fn trial_balance_of_api(app: &TestApp) -> BTreeMap<(String, String), Decimal> {
    let standings = app.get("/v1/audit/trial-balance").await.body["data"].take();
    let standings = standings.as_array().expect("standings").iter();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    standings
        .map(|line| ((text(&line["ledger_account"]), text(&line["currency"])), decimal(&line["balance"])))
        .collect()
}

/// The chart as the journals name it.
const CHART: [(&str, &str); 7] = [
    ("payment_clearing", "assets:clearing"),
    ("refund_clearing", "liabilities:refunds"),
    ("revenue", "income:revenue"),
    ("tax_payable", "liabilities:tax"),
    ("rounding", "expenses:rounding"),
    ("adjustments", "expenses:adjustments"),
    ("currency_exchange", "equity:exchange"),
];

fn capitalised(name: &str) -> String {
    let parts = name.split(':').map(|part| format!("{}{}", part[..1].to_uppercase(), &part[1..]));
    parts.collect::<Vec<_>>().join(":")
}

/// All three programs accept the export of a ledger, and come to what its API says, to the last digit. Answers with
/// the ledger, the balances of all accounts together by currency, and the exported files.
pub async fn programs_agree_with_api(
    database: TestDatabase,
    directory: &Path,
) -> (TestDatabase, BTreeMap<String, Decimal>, Vec<(Accountant, PathBuf)>) {
    let app = TestApp::on(database).await;
    let (accounts, chart) = (balances_of_api(&app).await, trial_balance_of_api(&app).await);
    let database = app.stop().await;
    let mut files = Vec::new();
    for accountant in ACCOUNTANTS {
        let file = exported(&database, directory, accountant.name(), &[]);
        assert_eq!(accountant.check(&file), Ok(()), "{}", accountant.name());
        let mut expected = Balances::new();
        for ((account, currency), balance) in accounts.iter().filter(|(_, balance)| !balance.is_zero()) {
            // What a customer has is what we owe: a credit, which accountants write below zero.
            expected.insert((accountant.wallet(account), currency.clone()), -*balance);
        }
        for ((account, currency), balance) in chart.iter().filter(|(_, balance)| !balance.is_zero()) {
            let Some((_, name)) = CHART.iter().find(|(ours, _)| ours == account) else { continue };
            let name = if accountant == Accountant::Beancount { capitalised(name) } else { (*name).to_owned() };
            expected.insert((name, currency.clone()), *balance);
        }
        let found = accountant.balances(&file);
        let differing: Vec<_> = found.iter().filter(|(key, amount)| expected.get(*key) != Some(*amount)).collect();
        assert!(differing.is_empty(), "{}: {differing:?}", accountant.name());
        assert_eq!(found.len(), expected.len(), "{}", accountant.name());
        files.push((accountant, file));
    }
    let mut totals = BTreeMap::new();
    for ((_, currency), balance) in accounts {
        *totals.entry(currency).or_insert(Decimal::ZERO) += balance;
    }
    (database, totals, files)
}

#[tokio::test]
async fn three_programs_come_to_the_balances_of_the_api() {
    let directory = directory();
    let (_database, totals, files) = programs_agree_with_api(varied().await, directory.path()).await;
    assert_eq!(totals.len(), 2, "dollars and euros: {totals:?}");
    let every_account_of_the_chart = CHART.iter().all(|(_, name)| {
        let text = fs::read_to_string(&files[0].1).expect("the journal");
        text.lines().any(|line| line.starts_with(&format!("    {name}  ")))
    });
    assert!(every_account_of_the_chart, "the history does something on each of them");
}

/// The amounts in a line, as byte ranges.
fn amounts(line: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    for word in line.split(' ') {
        let digits = word.strip_prefix('-').unwrap_or(word);
        if digits.contains('.') && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            found.push((from, from + word.len()));
        }
        from += word.len() + 1;
    }
    found
}

/// The text with a cent more at one of the amounts of a line.
fn with_a_cent_more(lines: &[&str], line: usize, amount: usize) -> Vec<String> {
    let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let (from, to) = amounts(lines[line])[amount];
    let wrong = lines[line][from..to].parse::<Decimal>().expect("a decimal") + Decimal::new(1, 2);
    changed[line].replace_range(from..to, &wrong.to_string());
    changed
}

/// Changes one cent of a file at so many random places, one at a time; every time the program must refuse.
pub fn one_cent_more_is_refused(accountant: Accountant, file: &Path, times: usize, seed: u64) {
    let text = fs::read_to_string(file).expect("the journal");
    let lines: Vec<&str> = text.lines().collect();
    let places: Vec<(usize, usize)> = (0..lines.len())
        .filter(|&line| accountant.is_money(lines[line]))
        .flat_map(|line| (0..amounts(lines[line]).len()).map(move |amount| (line, amount)))
        .collect();
    let mut random = StdRng::seed_from_u64(seed);
    let changed_file = file.with_extension("changed");
    for _ in 0..times {
        let (line, amount) = places[random.random_range(0..places.len())];
        let changed = with_a_cent_more(&lines, line, amount);
        fs::write(&changed_file, changed.join("\n") + "\n").expect("written");
        let verdict = accountant.check(&changed_file);
        assert!(verdict.is_err(), "{} accepts: {} → {}", accountant.name(), lines[line], changed[line]);
    }
}

#[tokio::test]
async fn one_cent_changed_anywhere_is_refused() {
    let (database, directory) = (varied().await, directory());
    for (accountant, seed) in ACCOUNTANTS.into_iter().zip(1..) {
        let file = exported(&database, directory.path(), accountant.name(), &[]);
        assert_eq!(accountant.check(&file), Ok(()));
        one_cent_more_is_refused(accountant, &file, 40, seed);
    }
}

/// How many entries an ordinary run changes: each time the whole journal is read.
const ENTRIES: usize = 40;

/// A forger who is careful changes both legs, so that the entry still balances.
#[tokio::test]
async fn an_entry_that_is_wrong_but_balances_is_refused() {
    let (database, directory) = (varied().await, directory());
    for accountant in ACCOUNTANTS {
        let file = exported(&database, directory.path(), accountant.name(), &[]);
        let text = fs::read_to_string(&file).expect("the journal");
        let lines: Vec<&str> = text.lines().collect();
        let leg = |line: &str| accountant.is_money(line) && line.starts_with(' ') && !line.contains("  0.00 ");
        let entries = (0..lines.len() - 1).filter(|line| leg(lines[*line]) && leg(lines[*line + 1]));
        let tried = spread(entries.collect(), ENTRIES);
        assert!(tried.len() > 20, "{} entries", tried.len());
        for line in tried {
            let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            for (line, cents) in [(line, 1), (line + 1, -1)] {
                let (from, to) = amounts(lines[line])[0];
                let wrong = lines[line][from..to].parse::<Decimal>().expect("a decimal") + Decimal::new(cents, 2);
                changed[line].replace_range(from..to, &wrong.to_string());
            }
            let changed_file = file.with_extension("changed");
            fs::write(&changed_file, changed.join("\n") + "\n").expect("written");
            assert!(accountant.check(&changed_file).is_err(), "{} accepts {}", accountant.name(), changed[line]);
        }
    }
}

/// The balances at the end of an export, and the amounts of its lines, by customer's account.
fn closings(ndjson: &Path) -> BTreeMap<String, Decimal> {
    let text = fs::read_to_string(ndjson).expect("the export");
    let objects = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
    let closings = objects.filter(|object| object["type"] == "closing" && object["account"].is_string());
    closings
        .map(|object| (object["account"].as_str().expect("an id").to_owned(), decimal(&object["balance"])))
        .collect()
}

#[tokio::test]
async fn a_period_begins_with_opening_balances_and_ends_with_those_of_its_last_day() {
    let (database, directory) = (varied().await, directory());
    let days: Vec<chrono::NaiveDate> =
        sqlx::query_scalar("select distinct (occurred_at at time zone 'UTC')::date from events e, lateral (select (metadata ->> 'occurred_at')::timestamptz as occurred_at) m order by 1")
            .fetch_all(database.pool())
            .await
            .expect("days");
    let (from, to) = (days[days.len() / 3], days[2 * days.len() / 3]);
    let (from, to) = (from.to_string(), to.to_string());
    let period = ["--from", &from, "--to", &to];
    for accountant in ACCOUNTANTS {
        let file = exported(&database, directory.path(), accountant.name(), &period);
        assert_eq!(accountant.check(&file), Ok(()), "{}", accountant.name());
        one_cent_more_is_refused(accountant, &file, 5, 7);
        let found = accountant.balances(&file);
        let text = fs::read_to_string(&file).expect("the journal");
        assert!(text.contains(&format!("\n{from} * ")) && text.contains("opening balance"), "{text}");
        assert!(!text.contains(&format!("\n{to} *")), "the day after the last one is not in it");
        // What our own sums of the statement say.
        let balances: Vec<(String, String, Decimal)> = sqlx::query_as(
            "select account_id, currency, sum(amount) from account_statement
             where occurred_at < $1::date::timestamp at time zone 'UTC'
             group by 1, 2 having sum(amount) <> 0",
        )
        .bind(to.parse::<chrono::NaiveDate>().expect("a day"))
        .fetch_all(database.pool())
        .await
        .expect("balances");
        assert!(!balances.is_empty());
        for (account, currency, balance) in balances {
            assert_eq!(found[&(accountant.wallet(&account), currency)], -balance, "{account}");
        }
    }
}

#[tokio::test]
async fn an_account_is_exported_alone_in_whole_transactions() {
    let (database, directory) = (varied().await, directory());
    let app = TestApp::on(database).await;
    let accounts = balances_of_api(&app).await;
    let database = app.stop().await;
    assert_eq!(accounts.len(), 2);
    for ((account, currency), balance) in accounts {
        for accountant in ACCOUNTANTS {
            let file = exported(&database, directory.path(), accountant.name(), &["--account", &account]);
            assert_eq!(accountant.check(&file), Ok(()), "{}", accountant.name());
            let found = accountant.balances(&file);
            let wallets: Vec<_> =
                found.iter().filter(|((name, _), _)| name.to_lowercase().contains(":wallets:")).collect();
            let key = (accountant.wallet(&account), currency.clone());
            assert_eq!(wallets, [(&key, &-balance)], "{}", accountant.name());
            assert_eq!(found.values().sum::<Decimal>(), Decimal::ZERO, "whole transactions balance");
        }
    }
}

#[tokio::test]
async fn at_another_moment_it_is_what_it_was_then() {
    let (database, directory) = (database().await, directory());
    let (writer, running) = database.writer().await;
    let customer: CustomerId = id(&writer.execute(register("Ada")).await.unwrap().answer);
    let account: AccountId = id(&writer.execute(open_account(&customer)).await.unwrap().answer);
    let then = writer.execute(pay_in(&account, "p1", usd("20.00"))).await.unwrap().position;
    let read = |format: &str, arguments: &[&str]| {
        fs::read_to_string(exported(&database, directory.path(), format, arguments)).expect("the export")
    };
    let before: Vec<String> = ["hledger", "beancount", "csv", "ndjson"].map(|format| read(format, &[])).into();
    // Back-dated, so that it comes before everything else.
    let earlier = Context { occurred_at: noon() - TimeDelta::days(40), ..context() };
    writer.execute(Command { context: earlier, ..adjust(&account, usd("-7.35")) }).await.unwrap();
    running.shutdown().await;

    let recorded_at: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("select recorded_at from events where position = $1")
            .bind(then as i64)
            .fetch_one(database.pool())
            .await
            .expect("a time");
    for known_at in [then.to_string(), format!("@{then}"), recorded_at.to_rfc3339()] {
        for (format, before) in ["hledger", "beancount", "csv", "ndjson"].iter().zip(&before) {
            assert_eq!(&read(format, &["--as-known-at", &known_at]), before, "{format} as known at {known_at}");
        }
    }
    // What had taken effect, whenever it was recorded: the later of the two entries is left out by its moment.
    let (of, before) = (noon().to_rfc3339(), (noon() - TimeDelta::microseconds(1)).to_rfc3339());
    assert_eq!(read("csv", &["--as-of", &of]), read("csv", &[]));
    assert_eq!(read("csv", &["--as-of", &before]), read("csv", &["--to", &noon().date_naive().to_string()]));
    for accountant in ACCOUNTANTS {
        let file = exported(&database, directory.path(), accountant.name(), &[]);
        assert_eq!(accountant.check(&file), Ok(()), "{}", accountant.name());
        let found = accountant.balances(&file);
        assert_eq!(found[&(accountant.wallet(account.as_str()), "USD".into())], "-12.65".parse().unwrap());
    }
    // The balances run in the order of days, not of recording.
    let journal = read("hledger", &[]);
    let wallet = format!("liabilities:wallets:{account}");
    let running: Vec<&str> =
        journal.lines().filter_map(|line| line.trim().strip_prefix(&*wallet)?.split(" = ").nth(1)).collect();
    assert_eq!(running, ["7.35 USD", "-12.65 USD", "-12.65 USD"]);
    assert_eq!(
        closings(&exported(&database, directory.path(), "ndjson", &[]))[account.as_str()],
        "-12.65".parse().unwrap()
    );
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_refused_and_leaves_no_file() {
    let (database, directory) = (varied().await, directory());
    let file = directory.path().join("export.csv");
    let path = file.to_str().expect("a plain path");
    for (arguments, said) in [
        (&["--account", "acc_nobody"][..], "--account"),
        (&["--account", "cus_1"], "acc_"),
        (&["--as-known-at", "9999999"], "--as-known-at"),
        (&["--as-known-at", "2999-01-01T00:00:00Z"], "--as-known-at"),
        (&["--as-known-at", "yesterday"], "RFC 3339"),
        (&["--as-known-at", "2026-06-30T23:59:60Z"], "leap second"),
        (&["--as-of", "yesterday"], "--as-of"),
        (&["--as-of", "2026-06-30T23:59:60Z"], "leap second"),
        (&["--from", "2024-02-01", "--to", "2024-01-01"], "--to"),
        (&["--from", "2024-13-01"], "--from"),
        (&["--from", "2024-1-1"], "--from"),
        (&["--to", "0000-01-01"], "--to"),
    ] {
        let output = export(&database, &[&["--format", "csv", "--output", path], arguments].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(said), "{arguments:?}: {stderr}");
        assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 0, "{arguments:?}");
    }
    let output = export(&database, &["--format", "csv", "--output", "/nowhere/export.csv"]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("/nowhere"));
}

/// Books that lack something are no books.
#[tokio::test]
async fn what_is_held_or_parked_is_not_exported() {
    let (database, directory) = (database().await, directory());
    let (writer, running) = database.writer().await;
    let account = account(&writer).await;
    let file = directory.path().join("export.csv");
    let refused = |said: &str| {
        let output = export(&database, &["--format", "csv", "--output", file.to_str().expect("a plain path")]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && !file.exists() && stderr.contains(said), "{stderr}");
    };
    let whole = || assert!(export(&database, &["--format", "csv"]).status.success());
    let change = async |statement: &str| {
        let changed = sqlx::query(statement).execute(database.pool()).await.unwrap();
        assert_eq!(changed.rows_affected(), 1, "{statement}");
    };
    whole();
    change("update projections set status = 'paused' where name = 'journal'").await;
    whole();
    writer.execute(pay_in(&account, "p1", usd("1.00"))).await.unwrap();
    running.shutdown().await;
    refused("`journal` is paused");
    change("update projections set status = 'running' where name = 'journal'").await;
    whole();
    let parked = format!(
        "insert into parked_streams (projection, aggregate_type, aggregate_id, from_position, reason, parked_by)
         values ('journal', 'account', '{account}', 3, 'a test', 'staff:anna')"
    );
    change(&parked).await;
    refused(account.as_str());
}

#[tokio::test]
async fn csv_and_json_have_every_line_of_the_journal() {
    let (database, directory) = (varied().await, directory());
    let csv = exported(&database, directory.path(), "csv", &[]);
    let lines: Vec<(i64, String, Option<String>, Decimal, String)> = sqlx::query_as(
        "select position, ledger_account, case when ledger_account = 'customer_wallets' then account_id end, amount, currency
         from journal_lines order by occurred_at, position, leg",
    )
    .fetch_all(database.pool())
    .await
    .expect("the journal");
    let mut reader = csv::Reader::from_path(&csv).expect("the export");
    let head = reader.headers().expect("a head").clone();
    let cell = |row: &csv::StringRecord, name: &str| {
        row[head.iter().position(|column| column == name).expect("a column")].to_owned()
    };
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    let found: Vec<_> = rows
        .iter()
        .filter(|row| cell(row, "row") == "line")
        .map(|row| {
            let account = Some(cell(row, "account")).filter(|account| !account.is_empty());
            let amount: Decimal = cell(row, "amount").parse().expect("a decimal");
            (
                cell(row, "position").parse().expect("a number"),
                cell(row, "ledger_account"),
                account,
                amount,
                cell(row, "currency"),
            )
        })
        .collect();
    assert_eq!(found, lines);
    let text = fs::read_to_string(exported(&database, directory.path(), "ndjson", &[])).expect("the export");
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let postings = objects.iter().filter(|object| object["type"] == "transaction").flat_map(|transaction| {
        let postings = transaction["postings"].as_array().expect("postings").clone();
        postings.into_iter().map(|line| (transaction["position"].as_i64().expect("a position"), line))
    });
    let found: Vec<_> = postings
        .map(|(position, line)| {
            let text = |name: &str| line[name].as_str().map(str::to_owned);
            let amount = decimal(&line["amount"]);
            (
                position,
                text("ledger_account").unwrap_or_default(),
                text("account"),
                amount,
                text("currency").unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(found, lines);
}

/// Whoever writes meanwhile, an export is what the book was at one moment.
#[tokio::test]
async fn an_export_under_writers_is_of_one_moment() {
    let (database, directory) = (database().await, directory());
    let (writer, running) = database.writer().await;
    let customer: CustomerId = id(&writer.execute(register("Ada")).await.unwrap().answer);
    let account: AccountId = id(&writer.execute(open_account(&customer)).await.unwrap().answer);
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn({
        let account = account.clone();
        async move {
            let mut number = 0;
            while stopped.try_recv().is_err() {
                number += 1;
                writer.execute(pay_in(&account, &format!("p{number}"), usd("0.01"))).await.unwrap();
            }
            number
        }
    });
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let (database, directory) = (database.url().to_owned(), directory.path().to_owned());
        let file = tokio::task::spawn_blocking(move || exported_at(&database, &directory)).await.unwrap();
        assert_eq!(Accountant::Hledger.check(&file), Ok(()));
        sizes.push(fs::read_to_string(&file).expect("the journal").matches(") payment").count());
    }
    stop.send(()).unwrap();
    let written = writing.await.unwrap();
    running.shutdown().await;
    assert!(sizes[0] < sizes[2] && sizes[2] <= written, "it was written meanwhile: {sizes:?} of {written}");
}

fn exported_at(url: &str, directory: &Path) -> PathBuf {
    let file = directory.join("export.hledger");
    let mut command = std::process::Command::new(daybook_tests::program("daybook"));
    command
        .envs(daybook_tests::master_key_env())
        .args(["export", "--format", "hledger", "-o"])
        .arg(&file)
        .env("DATABASE_URL", url);
    assert!(command.status().expect("the program starts").success());
    file
}

/// Runs statements on the tables of the serving builds, with no more rights than the server has.
async fn as_application(database: &TestDatabase, statements: &str) {
    let mut statements = statements.to_owned();
    for view in ["journal_lines", "account_statement"] {
        let table: String =
            sqlx::query_scalar("select table_name from information_schema.view_table_usage where view_name = $1")
                .bind(view)
                .fetch_one(database.pool())
                .await
                .unwrap();
        statements = statements.replace(&format!("{view}_v1"), &table);
    }
    let mut connection = database.pool().acquire().await.unwrap();
    sqlx::raw_sql(&format!("set role daybook_app; {statements}; reset role")).execute(&mut *connection).await.unwrap();
}

/// Every sum of false rows is right, and each of their entries balances: no accounting program could tell.
#[tokio::test]
async fn rows_that_do_not_follow_from_the_events_are_not_exported() {
    let (database, directory) = (varied().await, directory());
    let before = fs::read(exported(&database, directory.path(), "hledger", &[])).unwrap();
    let (position, account): (i64, String) = sqlx::query_as(
        "select position, account_id from account_statement where origin = 'payment' order by position limit 1",
    )
    .fetch_one(database.pool())
    .await
    .unwrap();
    let head: i64 = sqlx::query_scalar("select position from book_head").fetch_one(database.pool()).await.unwrap();
    let known_at = head.to_string();
    for (statement, projection) in [
        (format!("update journal_lines_v1 set amount = amount * 10 where position = {position}"), "journal"),
        (format!("delete from journal_lines_v1 where position = {position}"), "journal"),
        (format!("update journal_lines_v1 set position = {} where position = {position}", head + 1), "journal"),
        (
            format!("update journal_lines_v1 set occurred_at = '2001-01-01T00:00:00Z' where position = {position}"),
            "journal",
        ),
        (format!("update journal_lines_v1 set account_id = 'acc_none' where position = {position}"), "journal"),
        (
            format!(
                "insert into journal_lines_v1 (position, leg, ledger_account, account_id, amount, currency, event_type,
                     occurred_at, recorded_at)
                 select position, leg + 2, ledger_account, account_id, amount, currency, event_type, occurred_at,
                     recorded_at from journal_lines_v1 where position = {position}"
            ),
            "journal",
        ),
        (
            format!("update account_statement_v1 set description = 'a gift' where position = {position}"),
            "account_statement",
        ),
    ] {
        as_application(&database, &statement).await;
        for arguments in [&[][..], &["--account", &account], &["--from", "2024-01-01"], &["--as-known-at", &known_at]] {
            let output = export(&database, &[&["--format", "hledger"], arguments].concat());
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{statement} {arguments:?}: {errors}");
            let said = format!("the rows of `{projection}` at position {position} are not what the events lead to");
            assert!(errors.contains(&said) && errors.contains(&format!("daybook rebuild {projection}")), "{errors}");
        }
        let mut rebuild = std::process::Command::new(daybook_tests::program("daybook"));
        let rebuilt = rebuild
            .envs(daybook_tests::master_key_env())
            .args(["rebuild", projection])
            .env("DATABASE_URL", database.url())
            .output()
            .unwrap();
        assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    }
    let file = exported(&database, directory.path(), "hledger", &[]);
    assert_eq!(fs::read(&file).unwrap(), before, "the events were never touched");
    for accountant in ACCOUNTANTS {
        let file = exported(&database, directory.path(), accountant.name(), &[]);
        assert_eq!(accountant.check(&file), Ok(()), "{}", accountant.name());
    }
}

/// An account's own events say what it comes to; that is compared with the sum of its entries.
#[tokio::test]
async fn events_that_contradict_the_balance_they_tell_are_not_exported() {
    let (database, directory) = (database().await, directory());
    let (writer, running) = database.writer().await;
    let account = account(&writer).await;
    writer.execute(pay_in(&account, "p1", usd("20.00"))).await.unwrap();
    running.shutdown().await;
    let forged: i64 = sqlx::query_scalar(
        "update events set payload = replace(payload::text, '\"amount\":{\"amount\":\"20.00\"', '\"amount\":{\"amount\":\"90.00\"')::json
         where event_type = 'account.credited' returning position",
    )
    .fetch_one(&mut *superuser(&database).await)
    .await
    .unwrap();
    let file = directory.path().join("export");
    let output = export(&database, &["--format", "hledger", "-o", file.to_str().unwrap()]);
    let errors = String::from_utf8_lossy(&output.stderr);
    let said = format!("event {forged} says that its account comes to 20.00, but the entries up to it lead to 90.00");
    assert!(!output.status.success() && !file.exists() && errors.contains(&said), "{errors}");
}

/// A connection that nothing hinders.
async fn superuser(database: &TestDatabase) -> sqlx::pool::PoolConnection<sqlx::Postgres> {
    let mut connection = database.pool().acquire().await.unwrap();
    sqlx::raw_sql("set session_replication_role = replica").execute(&mut *connection).await.unwrap();
    connection
}
