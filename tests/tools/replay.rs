//! `daybook replay`: any position, folded afresh, beside what is read.

use cqrs_es::Aggregate;
use daybook_core::{
    domain::{Account, Event},
    store::{RawEvent, Upcasters},
};
use daybook_projections::{BOARD, engine};
use daybook_tests::{TestDatabase, history::Ledger, program, whole_book};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::process::Command;

/// A varied history that all projections have.
async fn ledger() -> (Ledger, Vec<RawEvent>) {
    let ledger = Ledger::varied_and_projected().await;
    let book = whole_book(ledger.database.pool()).await;
    (ledger, book)
}

/// Whether it succeeded, what it printed, and what it complained of.
async fn replay(database: &TestDatabase, arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(program("daybook"))
        .envs(daybook_tests::master_key_env())
        .arg("replay")
        .args(arguments)
        .env("DATABASE_URL", database.url())
        .output()
        .await
        .expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

async fn replayed(database: &TestDatabase, arguments: &[&str]) -> (bool, Value) {
    let (succeeded, printed, complaint) = replay(database, &[arguments, &["--json"]].concat()).await;
    let printed = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{arguments:?}: {printed}{complaint}"));
    (succeeded, printed)
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().expect("a number in a text").parse().expect("a number")
}

#[tokio::test]
async fn the_end_of_the_book_folds_to_the_rows_that_are_read() {
    let (ledger, book) = ledger().await;
    let (succeeded, printed) = replayed(&ledger.database, &["--compare"]).await;
    assert!(succeeded, "{printed}");
    assert_eq!(printed["position"], book.len());
    let mut connection = ledger.store.connection().await.unwrap();
    let projections = printed["projections"].as_array().unwrap();
    assert_eq!(projections.len(), BOARD.len());
    for (projection, definition) in projections.iter().zip(engine::latest(BOARD)) {
        let live = engine::checksum(&definition, &mut connection).await.unwrap();
        assert_eq!(projection["tables"], serde_json::to_value(live).unwrap(), "{}", definition.name);
    }
    for comparison in printed["comparisons"].as_array().unwrap() {
        assert_eq!((&comparison["equal"], &comparison["position"]), (&json!(true), &json!(book.len())), "{comparison}");
    }
    assert_eq!(printed["comparisons"].as_array().unwrap().len(), BOARD.len() + 1);
    assert!(printed["trial_balance"].as_array().unwrap().len() > 5);
}

#[tokio::test]
async fn an_earlier_position_folds_to_what_the_book_had_then() {
    let (ledger, book) = ledger().await;
    for to in [1, book.len() / 3, book.len() * 2 / 3] {
        let (succeeded, printed) = replayed(&ledger.database, &["--compare", "--to", &to.to_string()]).await;
        assert!(succeeded, "{printed}");
        let then = &book[..to];
        let rows = |table: &str| {
            let tables = printed["projections"].as_array().unwrap().iter();
            let mut tables = tables.flat_map(|projection| projection["tables"].as_array().unwrap());
            tables.find(|row| row["table"] == table).unwrap_or_else(|| panic!("no {table}"))["rows"].clone()
        };
        let events = |name: &str| then.iter().filter(|raw| raw.event_type == name).count();
        assert_eq!(rows("accounts"), events("account.opened"));
        assert_eq!(rows("account_statement"), events("account.credited") + events("account.charged"));
        assert_eq!(rows("orders"), events("order.placed"));
        assert_eq!(rows("invoices"), events("invoice.finalised"));
        // Debits and credits of the chart are those of the events up to there.
        let postings = then.iter().flat_map(|raw| raw.event(&Upcasters::default()).unwrap().postings());
        let debits: Decimal = postings.map(|posting| posting.amount).filter(|amount| *amount > Decimal::ZERO).sum();
        let told = printed["trial_balance"].as_array().unwrap();
        assert_eq!(told.iter().map(|row| decimal(&row["debit"])).sum::<Decimal>(), debits);
        assert_eq!(told.iter().map(|row| decimal(&row["balance"])).sum::<Decimal>(), Decimal::ZERO);
        // What stays was compared at that very position.
        let kept = printed["comparisons"].as_array().unwrap().iter().filter(|row| row["position"] == to);
        let kept: Vec<&str> = kept.filter_map(|row| row["what"].as_str()).collect();
        let stay =
            ["account_statement", "history", "journal", "tickets"].map(|name| format!("rows of `{name}` that stay"));
        assert_eq!(kept, [&stay[..], &["trial balance".to_owned()]].concat());
    }
}

#[tokio::test]
async fn a_row_that_is_not_what_the_book_says_is_named() {
    let (ledger, book) = ledger().await;
    for (spoil, what, table) in [
        ("update invoices_v1 set due = due + 1", "rows of `invoices`", "invoices"),
        (
            "update account_statement_v1 set amount = amount + 1 where entry = 1",
            "rows of `account_statement` that stay",
            "account_statement",
        ),
        (
            "delete from journal_lines_v1 where position = (select min(position) from journal_lines_v1)",
            "trial balance",
            "",
        ),
    ] {
        sqlx::query(spoil).execute(ledger.database.pool()).await.unwrap();
        let to = (book.len() - 1).to_string();
        let (succeeded, printed) = replayed(&ledger.database, &["--compare", "--to", &to]).await;
        assert!(!succeeded, "{spoil}");
        let comparisons = printed["comparisons"].as_array().unwrap();
        let found = comparisons.iter().find(|row| row["what"] == what).unwrap();
        assert_eq!(found["equal"], false, "{spoil}");
        assert!(found["difference"].as_str().unwrap().contains(table), "{found}");
    }
    let (succeeded, told, _) = replay(&ledger.database, &["--compare"]).await;
    assert!(!succeeded && told.contains("DIFFERS  rows of `invoices`"), "{told}");
}

#[tokio::test]
async fn a_stream_is_told_as_it_stood_and_step_by_step() {
    let (ledger, book) = ledger().await;
    let stream: Vec<&RawEvent> = book.iter().filter(|raw| raw.aggregate_type == Account::TYPE).collect();
    let id = stream[0].aggregate_id.clone();
    let stream: Vec<&RawEvent> = stream.into_iter().filter(|raw| raw.aggregate_id == id).collect();
    let name = format!("account/{id}");
    let mut state = Account::default();
    let mut states = Vec::new();
    for raw in &stream {
        let Event::Account(event) = raw.event(&Upcasters::default()).unwrap() else { unreachable!() };
        state.apply(event);
        states.push(serde_json::to_value(&state).unwrap());
    }
    for at in [0, stream.len() / 2, stream.len() - 1] {
        let position = stream[at].position;
        let arguments = ["--stream", &name, "--to", &position.to_string(), "--compare"];
        let (succeeded, printed) = replayed(&ledger.database, &arguments).await;
        assert!(succeeded, "{printed}");
        assert_eq!((&printed["position"], &printed["sequence"]), (&json!(position), &json!(at + 1)));
        assert_eq!(printed["state"], states[at]);
        assert!(!printed["comparisons"].as_array().unwrap().is_empty());
    }

    let (succeeded, steps) = replayed(&ledger.database, &["--stream", &name, "--step"]).await;
    assert!(succeeded);
    let steps = steps.as_array().unwrap();
    assert_eq!(steps.len(), stream.len());
    for ((step, raw), state) in steps.iter().zip(&stream).zip(&states) {
        assert_eq!((&step["position"], &step["event_type"]), (&json!(raw.position), &json!(raw.event_type)));
        assert_eq!((&step["actor"], &step["reason"]), (&json!("staff:anna"), &json!("as agreed")));
        assert_eq!((&step["state"], &step["payload"]), (state, &serde_json::from_str(&raw.payload).unwrap()));
        let legs = step["postings"].as_array().unwrap();
        let moves_money = ["account.credited", "account.charged"].contains(&raw.event_type.as_str());
        assert_eq!(legs.len() >= 2, moves_money, "{step}");
        assert_eq!(legs.iter().map(|leg| decimal(&leg["amount"])).sum::<Decimal>(), Decimal::ZERO);
    }
    let (_, told, _) =
        replay(&ledger.database, &["--stream", &name, "--step", "--to", &stream[2].position.to_string()]).await;
    assert_eq!(told.matches("  state:   {").count(), 3, "{told}");
    assert!(told.contains("account.opened") && told.contains("by staff:anna on behalf of customer:cus_1"), "{told}");

    // The rows of the stream, spoilt, are not equal any more.
    sqlx::query("update accounts_v1 set held = held + 1").execute(ledger.database.pool()).await.unwrap();
    let (succeeded, printed) = replayed(&ledger.database, &["--stream", &name, "--compare"]).await;
    assert!(!succeeded, "{printed}");
}

#[tokio::test]
async fn what_cannot_be_replayed_is_said() {
    let (ledger, book) = ledger().await;
    let beyond = (book.len() + 1).to_string();
    for (arguments, complaint) in [
        (vec!["--to", &beyond], format!("the book ends at position {}", book.len())),
        (vec!["--stream", "account"], "a stream is written TYPE/ID".into()),
        (vec!["--stream", "cat/cat_1"], "there is no aggregate type `cat`".into()),
        (vec!["--stream", "account/acc_none"], "there is no event of account acc_none".into()),
        (vec!["--step"], "--stream".into()),
    ] {
        let (succeeded, _, told) = replay(&ledger.database, &arguments).await;
        assert!(!succeeded && told.contains(&complaint), "{arguments:?}: {told}");
    }
}
