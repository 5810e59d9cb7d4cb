//! Events that are larger than an entry of the transparency log: they stand in its tree by their digests, and whatever was
//! signed before there were digests stays as it was.

use std::{fs, time::Duration};

use axum::http::Method;
use daybook_api::AppOptions;
use daybook_core::transparency::{KeeperOptions, open_key};
use daybook_log::PublicKey;
use daybook_tests::{
    TestDatabase,
    api::{Answer, TestApp},
    database,
    log::{SignedLedger, daybook_verify, text},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::Executor as _;
use tempfile::TempDir;

async fn signing_app(database: TestDatabase, home: &TempDir) -> (TestApp, PublicKey) {
    let key = open_key(&database.store().await, &home.path().join("log.key")).await.unwrap();
    let public = key.public().clone();
    let keeper = KeeperOptions { key: Some(key), ..KeeperOptions::default() };
    // No projection reads the foreign events.
    let lag_budget = Duration::MAX;
    (TestApp::with(database, AppOptions { keeper, lag_budget, ..AppOptions::default() }).await, public)
}

async fn stopped(app: TestApp, home: TempDir) -> SignedLedger {
    let database = app.stop().await;
    SignedLedger { store: database.store().await, database, home }
}

async fn bytes(app: &TestApp, path: &str) -> Vec<u8> {
    let response = app.request(Method::GET, path).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    response.bytes().await.unwrap().to_vec()
}

/// The entries of a bundle, as its layout divides it.
fn entries(bundle: &[u8]) -> Vec<&[u8]> {
    let (mut entries, mut rest) = (Vec::new(), bundle);
    while let Some((length, after)) = rest.split_at_checked(2) {
        let (entry, after) = after.split_at(u16::from_be_bytes(length.try_into().unwrap()).into());
        entries.push(entry);
        rest = after;
    }
    assert!(rest.is_empty());
    entries
}

/// An entry by digest, as the documentation describes it.
fn by_digest(position: u64, encoding: &[u8]) -> Vec<u8> {
    let mut entry = b"\0\0\0\x16daybook/event-digest/1".to_vec();
    entry.extend(position.to_be_bytes());
    entry.extend((encoding.len() as u64).to_be_bytes());
    entry.extend(Sha256::digest(encoding));
    entry
}

/// Issues an invoice of so many lines; answers with the position of its event.
async fn invoice(app: &TestApp, lines: usize) -> u64 {
    let customer = app.done("/v1/customers", json!({ "name": "Ada Lovelace" })).await["id"].clone();
    let account = json!({ "customer": customer, "currency": "USD", "name": "Main account" });
    let account = app.done("/v1/accounts", account).await["id"].clone();
    let payer = json!({ "customer": customer, "kind": "individual", "name": "Ada", "address": { "country": "GB" } });
    let payer = app.done("/v1/payers", payer).await["id"].clone();
    let line = json!({ "item": "85123A", "description": "WHITE HANGING HEART T-LIGHT HOLDER", "quantity": "6", "unit_price": "2.55" });
    let invoice = json!({ "account": account, "payer": payer, "lines": vec![line; lines] });
    app.done("/v1/invoices", invoice).await;
    let position: i64 =
        sqlx::query_scalar("select max(position) from events where octet_length(payload::text) > 65536")
            .fetch_one(app.database.pool())
            .await
            .unwrap();
    position.unsigned_abs()
}

#[tokio::test]
async fn a_document_of_twelve_hundred_lines_can_be_fetched_and_verified() {
    let home = TempDir::new().unwrap();
    let (app, key) = signing_app(database().await, &home).await;
    let position = invoice(&app, 1_200).await;
    let head = app.position().await;
    app.signed(head).await;

    let bundle = bytes(&app, &format!("/log/tile/entries/000.p/{head}")).await;
    let entries = entries(&bundle);
    assert_eq!(entries.len() as u64, head);
    let leaves = bytes(&app, &format!("/log/tile/0/000.p/{head}")).await;
    for (entry, leaf) in entries.iter().zip(leaves.chunks(32)) {
        assert_eq!(tlog_tiles::record_hash(entry).0, leaf, "an entry is what its leaf is the hash of");
    }
    let encoding = bytes(&app, &format!("/log/event/{position}")).await;
    assert!(encoding.len() > 100_000);
    assert_eq!(entries[position as usize - 1], by_digest(position, &encoding));
    assert_eq!(bytes(&app, "/log/event/1").await, entries[0], "a small event is the same in both places");
    for absent in [format!("/log/event/{}", head + 1), "/log/event/0".into(), "/log/event/x".into()] {
        Answer::to(app.request(Method::GET, &absent)).await.refused(404, "not-found");
    }
    let format = app.get("/log/format").await.body;
    assert_eq!(format, json!({ "digests_after": 0, "largest_entry": 65_535 }));

    // The proof holds the event itself, so that whoever has the proof has the bytes.
    let proof = app.get(&format!("/v1/audit/proofs/inclusion?position={position}")).await.text;
    let file = home.path().join("proof");
    fs::write(&file, &proof).unwrap();
    daybook_verify(&["proof", text(&file)], &key).await.done();
    fs::write(&file, proof.replacen("HANGING HEART", "HANGING HEARD", 1)).unwrap();
    daybook_verify(&["proof", text(&file)], &key).await.refused("the proof does not lead from event");

    let ledger = stopped(app, home).await;
    assert!(ledger.verify(&[]).await.0);
    let archive = ledger.file("archive");
    ledger.daybook(&["export", "log", "-o", text(&archive)]).await.done();
    daybook_verify(&["archive", text(&archive)], &key).await.done();
    let forged = fs::read_to_string(&archive).unwrap().replacen("HANGING HEART", "HANGING HEARD", 1);
    fs::write(&archive, forged).unwrap();
    let why = format!("event {position} is not the one that is in the log");
    daybook_verify(&["archive", text(&archive)], &key).await.refused(&why);
    ledger.daybook(&["prove", "event", &position.to_string()]).await.done();
    ledger.tamper("delete from log_tiles").await;
    ledger.daybook(&["tree", "rebuild"]).await.done();
    assert!(ledger.verify(&[]).await.0);

    // What is changed behind its back is neither handed out nor passed over.
    let forge = format!(
        "update events set payload = replace(payload::text, 'HANGING HEART', 'HANGING HEARD')::json where position = {position}"
    );
    ledger.tamper(&forge).await;
    let (sound, first, report) = ledger.verify(&[]).await;
    assert!(!sound && first == Some(position), "{report:#}");
    ledger.daybook(&["prove", "event", &position.to_string()]).await.refused(&why);
    let app = TestApp::on(ledger.database).await;
    for path in [format!("/log/event/{position}"), format!("/log/tile/entries/000.p/{head}")] {
        Answer::to(app.request(Method::GET, &path)).await.refused(500, "log-not-sound");
    }
}

const MIGRATION: &str = include_str!("../../migrations/0028_large_entries.sql");

/// As the ledger of before hashed all events.
const BEFORE: &str =
    "create or replace function log_digests_after() returns bigint language sql immutable parallel safe
    return 9223372036854775807";

/// Appends an event that is larger than an entry may be, as another program does; answers with its position.
async fn append_large(database: &TestDatabase, stream: &str) -> u64 {
    let position: i64 = sqlx::query_scalar(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         values ('foreign', $1, 1, 'foreign.said', '1.0', to_json(repeat('x', 65535)), '{}')
         returning position",
    )
    .bind(stream)
    .fetch_one(database.pool())
    .await
    .unwrap();
    position.unsigned_abs()
}

#[tokio::test]
async fn a_log_of_before_that_holds_a_large_event_is_continued() {
    let home = TempDir::new().unwrap();
    let database = database().await;
    database.pool().execute(BEFORE).await.unwrap();
    let (app, key) = signing_app(database, &home).await;
    app.done("/v1/customers", json!({ "name": "Ada" })).await;
    let whole = append_large(&app.database, "a").await;
    app.signed(whole).await;
    // What the tree did not reach before the migration may have been signed all the same, and a crash has set it back.
    let ledger = stopped(app, home).await;
    let unreached = append_large(&ledger.database, "b").await;
    ledger.tamper("drop function log_digests_after()").await;
    ledger.tamper(MIGRATION).await;

    let SignedLedger { database, home, .. } = ledger;
    let (app, _) = signing_app(database, &home).await;
    let digested = append_large(&app.database, "c").await;
    app.signed(digested).await;
    app.kept(|kept| kept.trouble.is_none() && !kept.forked).await;
    assert_eq!(app.get("/log/format").await.body["digests_after"], unreached);

    // The bundle of before cannot be served now either; each of its events can.
    let answer = Answer::to(app.request(Method::GET, &format!("/log/tile/entries/000.p/{digested}"))).await;
    assert_eq!(answer.refused(501, "entry-too-large")["position"], whole);
    let leaves = bytes(&app, &format!("/log/tile/0/000.p/{digested}")).await;
    for position in 1..=digested {
        let encoding = bytes(&app, &format!("/log/event/{position}")).await;
        let entry = if position > unreached { by_digest(position, &encoding) } else { encoding };
        let leaf = &leaves[(position as usize - 1) * 32..position as usize * 32];
        assert_eq!(tlog_tiles::record_hash(&entry).0, leaf, "event {position}");
    }
    let file = home.path().join("proof");
    for proof in [
        format!("inclusion?position={whole}"),
        format!("inclusion?position={unreached}"),
        format!("inclusion?position={digested}"),
        format!("consistency?from={whole}"),
    ] {
        fs::write(&file, app.get(&format!("/v1/audit/proofs/{proof}")).await.text).unwrap();
        daybook_verify(&["proof", text(&file)], &key).await.done();
    }

    let ledger = stopped(app, home).await;
    let (sound, _, report) = ledger.verify(&[]).await;
    assert!(sound, "{report:#}");
    ledger.tamper("delete from log_tiles").await;
    ledger.daybook(&["tree", "rebuild"]).await.done();
    assert!(ledger.verify(&[]).await.0);
    let archive = ledger.file("archive");
    ledger.daybook(&["export", "log", "-o", text(&archive)]).await.done();
    daybook_verify(&["archive", text(&archive)], &key).await.done();
}

/// A program of before that still runs would put the next large event into the tree whole.
#[tokio::test]
async fn a_program_that_does_not_know_digests_adds_nothing_to_the_tree() {
    let ledger = SignedLedger::of_events(3, 10, &[]).await;
    ledger.append("later", 1).await;
    let grown = ledger.store.pool().execute("update transparency_log set size = 11 where size = 10").await;
    let error = grown.unwrap_err().to_string();
    assert!(error.contains("kept by a newer program"), "{error}");
    ledger.daybook(&["checkpoint"]).await.done();
    assert!(ledger.verify(&[]).await.0);
}
