//! A book that grows event by event: the events of another one, written again in another database.

use chrono::{DateTime, Utc};
use daybook_core::store::RawEvent;

use crate::{TestDatabase, api::TestApp};

/// Writes the event as the next one of the book, recorded at this time.
pub async fn append(database: &TestDatabase, event: &RawEvent, recorded_at: DateTime<Utc>) {
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
             position, recorded_at)
         select $1, $2, $3, $4, $5, $6::json, $7::json, position + 1, $8 from book_head",
    )
    .bind(&event.aggregate_type)
    .bind(&event.aggregate_id)
    .bind(i64::try_from(event.sequence).expect("a sequence"))
    .bind(&event.event_type)
    .bind(&event.event_version)
    .bind(&event.payload)
    .bind(&event.metadata)
    .bind(recorded_at)
    .execute(database.pool())
    .await
    .expect("the events of a book can be written again");
}

/// Brings along the keys that the events of one book are sealed by; the databases have one master key.
pub async fn keys(from: &TestDatabase, to: &TestDatabase) {
    let keys: Vec<(String, String, Vec<u8>, String)> =
        sqlx::query_as("select id, person, wrapped, master_key from person_keys")
            .fetch_all(from.pool())
            .await
            .expect("keys can be read");
    for (id, person, wrapped, master_key) in keys {
        sqlx::query("insert into person_keys (id, person, wrapped, master_key) values ($1, $2, $3, $4)")
            .bind(id)
            .bind(person)
            .bind(wrapped)
            .bind(master_key)
            .execute(to.pool())
            .await
            .expect("keys can be written again");
    }
}

/// Writes these events, each recorded when it was the first time, and tells the application.
pub async fn append_to(app: &TestApp, events: &[RawEvent]) {
    for event in events {
        append(&app.database, event, event.recorded_at).await;
    }
    app.tell_of_growth().await;
}
