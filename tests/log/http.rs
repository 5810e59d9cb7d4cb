//! The transparency log over HTTP: the layout of C2SP, checkpoints and proofs as JSON.

use std::time::Duration;

use axum::http::Method;
use daybook_api::AppOptions;
use daybook_core::transparency::{KeeperOptions, open_key};
use daybook_log::{
    Checkpoint, PublicKey,
    proof::Proof,
    tree::{Tiles, from_bytes},
    witness::{self, Evidence, Seen},
};
use daybook_tests::{
    api::{Answer, TestApp},
    database,
    load::long_book,
    log::{SignedLedger, daybook_verify, text},
};
use reqwest::Response;
use sqlx::{Connection, Executor as _, PgConnection};
use tempfile::TempDir;

const EVENTS: u64 = 700;

async fn signed_app() -> (TestApp, PublicKey, TempDir) {
    let (database, home) = (database().await, TempDir::new().unwrap());
    let key = open_key(&database.store().await, &home.path().join("log.key")).await.unwrap();
    let public = key.public().clone();
    long_book(database.pool(), 7, EVENTS as i64).await;
    let keeper = KeeperOptions { key: Some(key), ..KeeperOptions::default() };
    // What was recorded long ago need not be projected yet.
    let lag_budget = Duration::MAX;
    let app = TestApp::with(database, AppOptions { keeper, lag_budget, ..AppOptions::default() }).await;
    app.signed(EVENTS).await;
    (app, public, home)
}

async fn get(app: &TestApp, path: &str) -> Response {
    app.request(Method::GET, path).send().await.unwrap()
}

async fn bytes(app: &TestApp, path: &str) -> Vec<u8> {
    let response = get(app, path).await;
    assert_eq!(response.status(), 200, "{path}");
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    response.bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn tiles_lead_from_the_entries_to_the_checkpoint() {
    let (app, key, home) = signed_app().await;
    let response = get(&app, "/log/checkpoint").await;
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    let note = response.text().await.unwrap();
    let checkpoint = Checkpoint::open_alone(&note, &key).unwrap();
    assert_eq!(checkpoint.size, EVENTS);

    let paths = ["0/000", "0/001", "0/002.p/188", "1/000.p/2"];
    let mut tiles = Tiles::default();
    for (path, place) in paths.iter().zip([(0, 0), (0, 1), (0, 2), (1, 0)]) {
        let bytes = bytes(&app, &format!("/log/tile/{path}")).await;
        // As a mirror lays them down.
        let file = home.path().join("tile").join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, &bytes).unwrap();
        tiles.0.insert(place, from_bytes(&bytes).unwrap());
    }
    let mut leaves = Vec::new();
    for path in ["000", "001", "002.p/188"] {
        let bundle = bytes(&app, &format!("/log/tile/entries/{path}")).await;
        let mut rest = &bundle[..];
        while let Some((length, after)) = rest.split_at_checked(2) {
            let (entry, after) = after.split_at(u16::from_be_bytes(length.try_into().unwrap()).into());
            leaves.push(tlog_tiles::record_hash(entry));
            rest = after;
        }
        assert!(rest.is_empty());
    }
    let of_tiles: Vec<_> = [(0, 0), (0, 1), (0, 2)].iter().flat_map(|place| tiles.0[place].clone()).collect();
    assert_eq!(leaves, of_tiles, "the entries are what the leaves are hashes of");
    for position in [1, 256, 257, 700] {
        let proof = daybook_log::tree::prove_inclusion(&tiles, EVENTS, checkpoint.root, position - 1).unwrap();
        let leaf = leaves[position as usize - 1];
        assert!(daybook_log::tree::includes(&proof, EVENTS, checkpoint.root, position - 1, leaf));
    }

    // A witness can make his proofs of the tiles that a mirror has.
    app.done("/v1/customers", serde_json::json!({ "name": "Ada" })).await;
    let state = home.path().join("state");
    assert_eq!(witness::see(&state, &checkpoint, &key, &Evidence::First).unwrap(), Seen::First);
    app.signed(EVENTS + 1).await;
    let later = Checkpoint::open(&get(&app, "/log/checkpoint").await.text().await.unwrap(), &key).unwrap();
    let width = later.size - 512;
    for path in [format!("0/002.p/{width}"), "1/000.p/2".into()] {
        let file = home.path().join("tile").join(&path);
        std::fs::write(file, bytes(&app, &format!("/log/tile/{path}")).await).unwrap();
    }
    let evidence = Evidence::Tiles(home.path().to_owned());
    assert_eq!(witness::see(&state, &later, &key, &evidence).unwrap(), Seen::Continues(EVENTS));
}

#[tokio::test]
async fn full_tiles_are_kept_for_ever_and_what_is_not_there_is_not_found() {
    let (app, _key, _home) = signed_app().await;
    let caching = async |path: &str| get(&app, path).await.headers()["cache-control"].to_str().unwrap().to_owned();
    assert_eq!(caching("/log/tile/0/001").await, "public, max-age=31536000, immutable");
    assert_eq!(caching("/log/tile/entries/001").await, "private, max-age=31536000, immutable");
    assert_eq!(caching("/log/tile/0/001.p/7").await, "public, max-age=60");
    assert_eq!(bytes(&app, "/log/tile/0/001.p/7").await, bytes(&app, "/log/tile/0/001").await[..7 * 32]);
    for path in [
        "/log/tile/0/002",
        "/log/tile/0/002.p/189",
        "/log/tile/0/003.p/1",
        "/log/tile/1/000",
        "/log/tile/2/000.p/1",
        "/log/tile/63/000.p/1",
        "/log/tile/64/000.p/1",
        "/log/tile/0/001.p/0",
        "/log/tile/0/2",
        "/log/tile/data/000",
        "/log/tile/0/001.p/256",
        "/log/tile/0/x999/x999/x999/x999/x999/x999/999",
        "/log/tile/entries/002",
        "/log/tile/entries/x001/000",
    ] {
        Answer::to(app.request(Method::GET, path)).await.refused(404, "not-found");
    }
}

#[tokio::test]
async fn checkpoints_and_proofs_are_told_as_json() {
    let (app, key, home) = signed_app().await;
    app.done("/v1/customers", serde_json::json!({ "name": "Ada" })).await;
    let head = app.position().await;
    app.signed(head).await;
    let listed = app.get("/v1/audit/checkpoints?after=0&limit=1").await.body;
    assert_eq!(listed["key"], key.to_string());
    let first = listed["data"][0]["size"].as_u64().unwrap();
    assert_eq!((listed["has_more"].as_bool(), listed["next_after"].as_u64()), (Some(true), Some(first)));
    let latest = app.get("/v1/audit/checkpoints/latest").await.body;
    assert_eq!(latest["size"], head);
    assert_eq!(latest["note"], get(&app, "/log/checkpoint").await.text().await.unwrap());

    // What is answered is what the verifier reads.
    let file = home.path().join("proof");
    for query in [
        format!("inclusion?position={head}"),
        format!("inclusion?position=1&size={first}"),
        format!("consistency?from={first}"),
        format!("consistency?from={first}&to={head}"),
        format!("consistency?from={first}&to={first}"),
    ] {
        let answer = app.get(&format!("/v1/audit/proofs/{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        Proof::read(answer.text.as_bytes()).unwrap().check(&key).unwrap();
        std::fs::write(&file, &answer.text).unwrap();
        daybook_verify(&["proof", text(&file)], &key).await.done();
        // Every byte of it counts.
        let mut spoilt = answer.text.clone().into_bytes();
        let at = spoilt.len() / 3;
        spoilt[at] ^= 1;
        std::fs::write(&file, &spoilt).unwrap();
        assert_eq!(daybook_verify(&["proof", text(&file)], &key).await.code, Some(1));
    }
    let refused = async |query: &str, status, code| {
        app.get(&format!("/v1/audit/proofs/{query}")).await.refused(status, code);
    };
    refused("inclusion?position=0", 404, "not-found").await;
    refused(&format!("inclusion?position={}", head + 1), 404, "not-found").await;
    refused("inclusion?position=1&size=3", 404, "no-checkpoint").await;
    refused("inclusion", 400, "malformed-parameter").await;
    refused(&format!("consistency?from={head}&to={first}"), 400, "malformed-parameter").await;
    refused("consistency?from=0", 404, "no-checkpoint").await;
}

#[tokio::test]
async fn a_log_that_cannot_be_kept_is_named_and_keeps_nobody_from_being_served() {
    let (app, _key, _home) = signed_app().await;
    let trouble = async || (app.get("/readyz").await, app.get("/metrics").await.text);
    let (ready, metrics) = trouble().await;
    assert!(ready.status == 200 && ready.body["log"].is_null(), "{}", ready.text);
    assert!(metrics.contains("\ndaybook_log_trouble 0\n"), "{metrics}");

    let mut owner = PgConnection::connect(app.database.url()).await.unwrap();
    owner.execute("set session_replication_role = replica").await.unwrap();
    owner.execute("insert into log_checkpoints (size, note) values (90000, 'x')").await.unwrap();
    app.done("/v1/customers", serde_json::json!({ "name": "Ada" })).await;
    // The leaves are added before the trouble with the checkpoint is met again.
    app.kept(|kept| kept.trouble.is_some() && kept.size > EVENTS).await;
    let (ready, metrics) = trouble().await;
    assert_eq!(ready.status, 200, "{}", ready.text);
    let error = ready.body["log"]["error"].as_str().unwrap();
    assert!(error.contains("the stored checkpoint of 90000 events"), "{error}");
    assert_eq!((&ready.body["log"]["size"], &ready.body["log"]["signed_size"]), (&(EVENTS + 1).into(), &EVENTS.into()));
    assert!(metrics.contains("\ndaybook_log_trouble 1\n"), "{metrics}");

    owner.execute("delete from log_checkpoints where size = 90000").await.unwrap();
    app.signed(EVENTS + 1).await;
    app.kept(|kept| kept.trouble.is_none()).await;
    assert!(app.get("/readyz").await.body["log"].is_null());
}

/// The database of before is put in the place of one that lies beyond it: what was signed since is missing.
#[tokio::test]
async fn a_ledger_that_lacks_what_was_signed_takes_no_writes_until_an_operator_decides() {
    let ledger = SignedLedger::of_events(3, 70, &[]).await;
    let key = open_key(&ledger.store, &ledger.key_file()).await.unwrap();
    let older = ledger.database.restored().await;
    ledger.append("lost", 3).await;
    ledger.daybook(&["checkpoint"]).await.done();

    let ledger = ledger.on(older).await;
    let lag_budget = Duration::MAX;
    let signing = AppOptions {
        keeper: KeeperOptions { key: Some(key), ..KeeperOptions::default() },
        lag_budget,
        ..AppOptions::default()
    };
    let refused = async |app: &TestApp, head: u64, why: &str| {
        let customer = serde_json::json!({ "name": "Ada" });
        let answer = app.post("/v1/customers", customer).await;
        assert!(answer.refused(503, "ledger-forked")["detail"].as_str().unwrap().contains(why), "{}", answer.text);
        let ready = app.get("/readyz").await;
        assert!(ready.refused(503, "not-ready")["detail"].as_str().unwrap().contains(why), "{}", ready.text);
        assert_eq!(app.position().await, head);
        assert!(app.get("/metrics").await.text.contains("\ndaybook_log_forked 1\n"));
    };
    let app = TestApp::with(ledger.database, signing.clone()).await;
    // From the first moment on.
    refused(&app, 70, "the log has signed 73 events and this book has 70").await;
    // Another program goes on all the same, beyond what was signed.
    let ledger = SignedLedger { database: app.stop().await, ..ledger };
    ledger.append("fork", 5).await;
    let app = TestApp::with(ledger.database, signing).await;
    app.kept(|kept| kept.forked).await;
    refused(&app, 75, "does not continue the one of 73 events").await;

    // Whoever goes on without signing has decided.
    let app = TestApp::with(app.stop().await, AppOptions { lag_budget, ..AppOptions::default() }).await;
    app.done("/v1/customers", serde_json::json!({ "name": "Ada" })).await;
    // No projection reads the foreign events, so that the server is not quite ready; of a fork nothing is said any more.
    let ready = app.get("/readyz").await;
    assert!(!ready.text.contains("the log has signed") && !ready.text.contains("does not continue"), "{}", ready.text);
    assert!(app.get("/metrics").await.text.contains("\ndaybook_log_forked 0\n"));
}

#[tokio::test]
async fn an_entry_that_is_not_the_one_of_its_leaf_is_not_handed_out() {
    let (app, _key, _home) = signed_app().await;
    let mut owner = PgConnection::connect(app.database.url()).await.unwrap();
    owner.execute("set session_replication_role = replica").await.unwrap();
    let path = "/log/tile/entries/001";
    assert_eq!(get(&app, path).await.status(), 200);
    for (spoil, why) in [
        ("update events set event_version = '1.1' where position = 400", "event 400 is not the one"),
        ("delete from events where position = 300", "after position 299 comes 301"),
        ("delete from log_tiles where level = 0 and n = 1", "tile 1 of level 0 is missing"),
    ] {
        owner.execute(spoil).await.unwrap();
        let answer = Answer::to(app.request(Method::GET, path)).await;
        assert_eq!((answer.status, answer.header("cache-control")), (500, "no-store"), "{why}: {}", answer.text);
        if !why.contains("comes") {
            assert!(answer.refused(500, "log-not-sound")["detail"].as_str().unwrap().contains(why), "{}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_log_that_signs_nothing_says_so() {
    let app = TestApp::start().await;
    for path in ["/log/checkpoint", "/v1/audit/checkpoints/latest", "/v1/audit/proofs/inclusion?position=1"] {
        app.get(path).await.refused(404, "no-checkpoint");
    }
    assert_eq!(app.get("/v1/audit/checkpoints").await.body["data"], serde_json::json!([]));
}
