//! Snapshots: a shorter way to the same state, and never trusted.

use cqrs_es::Aggregate;
use daybook_core::{
    domain::{Account, AccountId},
    state::{Loaded, StreamKey},
    store::{Upcasters, read_stream, snapshots},
    writer::WriterOptions,
};
use daybook_tests::{
    TestDatabase,
    commands::{account, adjust, pay_in, usd},
    database,
};

const PAYMENTS: usize = 30;

#[tokio::test]
async fn a_snapshot_and_its_tail_are_the_full_replay() {
    let (database, account) = database_with_history().await;
    let loaded = load(&database, &account).await;
    let replayed = replay(&database, &account).await;
    assert!(loaded.snapshot_sequence > 0, "the snapshot was used");
    assert!(loaded.snapshot_sequence < loaded.sequence, "there is a tail");
    assert_eq!(loaded.sequence, replayed.sequence);
    assert_eq!(loaded.state::<Account>(), replayed.state::<Account>());

    // A new process decides on it.
    let (writer, running) = database.writer().await;
    let done = writer.execute(adjust(&account, usd("-1.00"))).await.unwrap();
    assert_eq!(done.answer["balance"]["amount"], "29.00");
    running.shutdown().await;
}

#[tokio::test]
async fn a_snapshot_of_another_fold_is_passed_over() {
    passed_over("update aggregate_snapshots set fold_version = fold_version - 1, state = '{\"wrong\": true}'").await;
}

#[tokio::test]
async fn a_snapshot_that_does_not_parse_is_passed_over() {
    passed_over("update aggregate_snapshots set state = '{\"wrong\": true}'").await;
}

#[tokio::test]
async fn a_snapshot_beyond_its_stream_is_passed_over() {
    passed_over("update aggregate_snapshots set sequence = sequence + 1000").await;
}

#[tokio::test]
async fn large_streams_are_written_aside_ever_more_rarely() {
    let (database, account) = database_with_history().await;
    // By itself every event would be enough.
    let adjusted = async |times: u64| {
        let options = WriterOptions { snapshot_every: 1, ..WriterOptions::default() };
        let (writer, running) = database.writer_with(options).await;
        for _ in 0..times {
            writer.execute(adjust(&account, usd("1.00"))).await.unwrap();
        }
        running.shutdown().await;
        load(&database, &account).await
    };
    // The tail is long enough by now.
    let first = adjusted(1).await;
    assert_eq!(first.snapshot_sequence, first.sequence);
    let half = first.sequence / 2;
    assert_eq!(adjusted(half - 1).await.snapshot_sequence, first.sequence);
    assert_eq!(adjusted(1).await.snapshot_sequence, first.sequence + half);
}

/// They are written again and again as a stream grows.
#[tokio::test]
async fn snapshots_are_compressed_in_the_way_that_takes_least_time() {
    let database = database().await;
    let has_lz4: bool =
        sqlx::query_scalar("select 'lz4' = any(enumvals) from pg_settings where name = 'default_toast_compression'")
            .fetch_one(database.pool())
            .await
            .unwrap();
    let method: String = sqlx::query_scalar(
        "select attcompression::text from pg_attribute
         where attrelid = 'aggregate_snapshots'::regclass and attname = 'state'",
    )
    .fetch_one(database.pool())
    .await
    .unwrap();
    assert_eq!(method, if has_lz4 { "l" } else { "" });
}

async fn passed_over(spoil: &str) {
    let (database, account) = database_with_history().await;
    let spoilt = sqlx::query(spoil).execute(database.pool()).await.unwrap();
    assert!(spoilt.rows_affected() > 0);
    let loaded = load(&database, &account).await;
    assert_eq!(loaded.snapshot_sequence, 0);
    assert_eq!(loaded.state::<Account>(), replay(&database, &account).await.state::<Account>());
}

/// An account with a snapshot of its first payments, and some payments after it.
async fn database_with_history() -> (TestDatabase, AccountId) {
    let database = database().await;
    let (writer, running) =
        database.writer_with(WriterOptions { snapshot_every: 20, ..WriterOptions::default() }).await;
    let account = account(&writer).await;
    for number in 0..PAYMENTS {
        writer.execute(pay_in(&account, &format!("p{number}"), usd("1.00"))).await.unwrap();
    }
    running.shutdown().await;
    (database, account)
}

async fn load(database: &TestDatabase, account: &AccountId) -> Loaded {
    let mut connection = database.pool().acquire().await.unwrap();
    let stream = StreamKey::of(account);
    let mut loaded =
        snapshots::load(&mut connection, &database.store().await, std::slice::from_ref(&stream)).await.unwrap();
    loaded.remove(&stream).unwrap().unwrap()
}

async fn replay(database: &TestDatabase, account: &AccountId) -> Loaded {
    let mut replayed = Loaded::empty::<Account>();
    for raw in read_stream(database.pool(), Account::TYPE, account.as_str(), 0).await.unwrap() {
        replayed.apply(raw.event(&Upcasters::default()).unwrap());
    }
    replayed
}
