//! Texts about persons: none is forgotten when an event is sealed, what has been sealed stays readable, and no text stands
//! where it is not sealed, but for the rows.

use std::{collections::BTreeSet, fs, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use daybook_core::{
    store::{RawEvent, Store},
    writer::WriterOptions,
};
use daybook_tests::{TestDatabase, database, history::Ledger, master_key, whole_book};
use serde_json::Value;

use super::{
    golden::{Example, examples},
    shapes::present_shapes,
};

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/sealed").join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The present examples of events with texts about persons.
fn sealed_examples() -> Vec<Example> {
    let present = examples().into_iter().filter(Example::is_present);
    present.filter(|example| !example.event.clone().sealed().is_empty()).collect()
}

/// The places of sealed texts in a shape.
fn places(shape: &Value, place: &str, found: &mut BTreeSet<String>) {
    let choices = ["anyOf", "oneOf"].iter().filter_map(|choice| shape.get(choice)?.as_array()).flatten();
    let choices: Vec<&Value> = choices.collect();
    if choices.iter().any(|choice| choice["properties"].get("sealed").is_some()) {
        found.insert(place.to_owned());
        return;
    }
    choices.iter().for_each(|choice| places(choice, place, found));
    for (name, field) in shape["properties"].as_object().into_iter().flatten() {
        places(field, &format!("{place}/{name}"), found);
    }
    if let Some(items) = shape.get("items") {
        places(items, &format!("{place}/*"), found);
    }
}

#[test]
fn every_text_about_a_person_is_among_those_that_are_sealed() {
    let shapes = present_shapes();
    let mut with_texts = 0;
    for mut example in examples().into_iter().filter(Example::is_present) {
        let file = format!("{}.v{}.json", example.event.event_type(), example.event.event_version());
        let mut in_shape = BTreeSet::new();
        places(&shapes[&file].as_value()["properties"][example.variant()], "", &mut in_shape);
        let sealed = example.event.sealed().into_iter().map(|(place, _)| format!("/{place}")).collect();
        assert_eq!(
            in_shape, sealed,
            "{file}: the shape, and `LedgerEvent::sealed` of an example that has all of its texts"
        );
        with_texts += usize::from(!in_shape.is_empty());
    }
    assert!(with_texts >= 8, "shapes with texts were found");
}

/// The examples were sealed by another program.
#[tokio::test]
async fn what_was_sealed_once_is_opened_for_ever() {
    let database = database().await;
    let key = golden("person_key.json");
    sqlx::query("insert into person_keys (id, person, wrapped, master_key) values ($1, $2, $3, $4)")
        .bind(key["id"].as_str())
        .bind(key["person"].as_str())
        .bind(BASE64_STANDARD.decode(key["wrapped"].as_str().unwrap()).unwrap())
        .bind(key["master_key"].as_str())
        .execute(database.pool())
        .await
        .unwrap();
    assert_eq!(key["master_key"], master_key().id());
    let (store, opened) = (database.store().await, golden("opened.json"));
    let examples = sealed_examples();
    assert_eq!(examples.len(), opened.as_object().unwrap().len());
    for example in examples {
        let opener = store.opener([&example.raw]).await.unwrap();
        let event = example.raw.open(&opener).unwrap().event;
        let payload: Value = serde_json::from_str(&event.payload()).unwrap();
        assert_eq!(payload, opened[event.event_type()], "{}", example.file);
    }
}

#[tokio::test]
async fn no_text_about_a_person_stands_beside_the_rows_unsealed() {
    let every_event = WriterOptions { snapshot_every: 1, ..WriterOptions::default() };
    let (store, database) = Ledger::varied_with(every_event).await.stopped().await;
    let snapshots: i64 =
        sqlx::query_scalar("select count(*) from aggregate_snapshots").fetch_one(database.pool()).await.unwrap();
    assert!(snapshots > 10);
    let texts = texts_of(&store, &whole_book(database.pool()).await).await;
    assert!(texts.len() >= 8, "{texts:?}");
    for text in &texts {
        let kept = kept(&database, text).await;
        assert!(kept.is_empty(), "`{text}` stands in {kept:?}");
    }
}

/// What was written about persons, as far as it is long enough to be looked for.
async fn texts_of(store: &Store, book: &[RawEvent]) -> BTreeSet<String> {
    let opener = store.opener(book).await.unwrap();
    let mut texts = BTreeSet::new();
    for raw in book {
        let mut event = raw.open(&opener).unwrap().event;
        texts.extend(event.sealed().into_iter().filter_map(|(_, text)| text.plain().map(str::to_owned)));
    }
    // Time zones bear the names of cities.
    texts.retain(|text| text.len() >= 6 && text != "Berlin");
    texts
}

/// Where a text stands, apart from documents, which show the payer as it was.
async fn kept(database: &TestDatabase, text: &str) -> Vec<String> {
    sqlx::query_scalar(
        "select event_type || ' at ' || position from events
         where strpos(payload::text, $1) > 0 and aggregate_type not in ('invoice', 'credit_note')
         union all
         select 'the snapshot of ' || aggregate_id from aggregate_snapshots
         where strpos(state::text, $1) > 0 and aggregate_type not in ('invoice', 'credit_note')
         union all
         select 'an answer' from idempotency where strpos(answer::text, $1) > 0",
    )
    .bind(text)
    .fetch_all(database.pool())
    .await
    .unwrap()
}
