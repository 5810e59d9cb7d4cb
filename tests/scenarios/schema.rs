//! S65: a book in several versions folds to one truth, and what nobody here knows stops who needs it.

use std::{collections::BTreeMap, fs, path::Path};

use cqrs_es::persist::{EventUpcaster, SemanticVersionEventUpcaster};
use daybook_core::{
    store::{Store, StoreOptions, Upcasters, upcast::upcasters},
    writer::{Writer, WriterOptions},
};
use daybook_projections::{
    BOARD, Projector, ProjectorOptions, ReadError, Reader,
    engine::{RebuildOptions, Room, State, rebuild, standings, verify},
};
use daybook_tests::{
    TestDatabase,
    commands::{adjust, usd},
    database,
    history::LONG,
};
use rust_decimal::Decimal;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

/// An event of the golden book.
#[derive(Deserialize)]
struct Written {
    aggregate_type: String,
    aggregate_id: String,
    event_type: String,
    event_version: String,
    payload: Value,
}

#[tokio::test]
async fn s65_two_versions_of_five_events_fold_to_the_golden_balances() {
    let database = database().await;
    let store = store(&database).await;
    let last = write_golden_book(&database).await;
    let projector = Projector::start(&store, BOARD, None, ProjectorOptions::default()).await.unwrap();
    let reader = Reader::new(&store, BOARD, Some(&projector));
    for projection in BOARD {
        reader.wait_for(projection.name, last, LONG).await.unwrap();
    }

    let golden: BTreeMap<String, String> = golden("two_versions.balances.json");
    assert_eq!(balances(&store).await, golden);
    for projection in BOARD {
        assert_eq!(verify(&store, projection, &Room::default()).await.unwrap().different, 0, "{}", projection.name);
        rebuild(&store, projection, &RebuildOptions::default(), |_| {}).await.unwrap();
    }
    assert_eq!(balances(&store).await, golden);
    projector.shutdown().await;

    // What is decided now goes on from the same balance.
    let (writer, running) = Writer::start(store, WriterOptions::default());
    let done = writer.execute(adjust(&"acc_usd".parse().unwrap(), usd("-8.60"))).await.unwrap();
    assert_eq!(done.answer["balance"]["amount"], "30.00");
    running.shutdown().await;
}

#[tokio::test]
async fn s65_a_future_type_or_version_stops_the_projections_that_follow_it() {
    let database = database().await;
    let store = store(&database).await;
    let known = write_golden_book(&database).await;
    let of_a_later_program = |aggregate_type: &str, event_type: &str, event_version: &str, payload| Written {
        aggregate_type: aggregate_type.into(),
        aggregate_id: "cus_ada".into(),
        event_type: event_type.into(),
        event_version: event_version.into(),
        payload,
    };
    // The one is of a type that is not known. The JSON of the other fits, but nobody knows what it means by now.
    let added = json!({ "account_added": { "account": "acc_usd", "currency": "USD" } });
    append(&database, &of_a_later_program("ticket", "ticket.escalated", "1.0", json!({ "escalated": {} }))).await;
    append(&database, &of_a_later_program("customer", "customer.account_added", "2.0", added)).await;
    let head = known + 2;

    let projector = Projector::start(&store, BOARD, None, ProjectorOptions::default()).await.unwrap();
    let reader = Reader::new(&store, BOARD, Some(&projector));
    for projection in BOARD {
        match reader.wait_for(projection.name, head, LONG).await {
            Ok(()) | Err(ReadError::Behind { stopped: true, .. }) => {}
            Err(other) => panic!("{}: {other}", projection.name),
        }
    }
    let mut connection = store.connection().await.unwrap();
    for (standing, projection) in standings(BOARD, &mut connection).await.unwrap().into_iter().zip(BOARD) {
        let (stopped_before, named): (u64, &[&str]) = if projection.follows.includes("ticket") {
            (known, &["`ticket.escalated`", "unknown"])
        } else if projection.follows.includes("customer") {
            (known + 1, &["`customer.account_added`", "version 2.0", "version 1.0"])
        } else {
            assert_eq!((standing.state, standing.position), (State::Running, head), "{}", standing.name);
            continue;
        };
        assert_eq!((standing.state, standing.position), (State::Stopped, stopped_before), "{}", standing.name);
        assert_eq!(standing.error_position, Some(stopped_before + 1));
        let error = standing.error.unwrap();
        assert!(named.iter().all(|word| error.contains(word)), "{}: {error}", standing.name);
    }
    assert_eq!(balances(&store).await, golden("two_versions.balances.json"));
    projector.shutdown().await;
}

/// The ledger as a program reads it that has come to version 1.0 by way of 0.9.
async fn store(database: &TestDatabase) -> Store {
    let earlier = vec![
        to_present("account.opened", |opened| {
            rename(opened, "title", "name");
            opened.insert("time_zone".into(), "UTC".into());
        }),
        to_present("account.credited", |credited| with_currency(credited, &["amount", "balance"])),
        to_present("account.charged", |charged| {
            with_currency(charged, &["amount", "balance"]);
            rename(charged, "due", "due_on");
        }),
        to_present("payment.started", |started| {
            rename(started, "way", "method");
            with_currency(started, &["amount"]);
            started.insert("purpose".into(), "advance".into());
        }),
        to_present("expense.recorded", |recorded| {
            with_currency(recorded, &["net", "tax", "total"]);
            let amounts: Map<String, Value> =
                ["net", "tax", "total"].into_iter().filter_map(|name| recorded.remove_entry(name)).collect();
            recorded.insert("amounts".into(), amounts.into());
        }),
    ];
    let upcasters = Upcasters::new(earlier.into_iter().chain(upcasters()).collect());
    database.store_with(StoreOptions { upcasters, ..daybook_tests::store_options() }).await
}

/// An upcaster that changes the fields of an event.
fn to_present(
    event_type: &str,
    change: impl Fn(&mut Map<String, Value>) + Send + Sync + 'static,
) -> Box<dyn EventUpcaster> {
    let upcast = move |mut payload: Value| {
        let (_, fields) = payload.as_object_mut().unwrap().iter_mut().next().unwrap();
        change(fields.as_object_mut().unwrap());
        payload
    };
    Box::new(SemanticVersionEventUpcaster::new(event_type, "1.0", Box::new(upcast)))
}

fn rename(fields: &mut Map<String, Value>, from: &str, to: &str) {
    let value = fields.remove(from).unwrap();
    fields.insert(to.into(), value);
}

/// Version 0.9 named the currency once, and wrote amounts as plain text.
fn with_currency(fields: &mut Map<String, Value>, amounts: &[&str]) {
    let currency = fields.remove("currency").unwrap();
    for name in amounts {
        let amount = fields[*name].take();
        fields[*name] = json!({ "amount": amount, "currency": currency });
    }
}

fn golden<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/books").join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Answers with the position of the last event.
async fn write_golden_book(database: &TestDatabase) -> u64 {
    let book: Vec<Written> = golden("two_versions.json");
    for event in &book {
        append(database, event).await;
    }
    book.len() as u64
}

/// As another program would: the database gives the position.
async fn append(database: &TestDatabase, event: &Written) {
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         select $1, $2, 1 + count(*), $3, $4, $5, '{}'
         from events
         where aggregate_type = $1 and aggregate_id = $2",
    )
    .bind(&event.aggregate_type)
    .bind(&event.aggregate_id)
    .bind(&event.event_type)
    .bind(&event.event_version)
    .bind(sqlx::types::Json(&event.payload))
    .execute(database.pool())
    .await
    .unwrap();
}

async fn balances(store: &Store) -> BTreeMap<String, String> {
    let rows: Vec<(String, Decimal, String)> =
        sqlx::query_as("select id, balance, currency from accounts").fetch_all(store.pool()).await.unwrap();
    rows.into_iter().map(|(id, balance, currency)| (id, format!("{balance} {currency}"))).collect()
}
