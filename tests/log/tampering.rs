//! The transparency log: whatever is done to the book behind its back is found, and where; and what is handed out can
//! be checked by programs that are not ours.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use daybook_core::transparency::{checkpoint_at, event_proof, open_key, prove_consistency};
use daybook_log::{Checkpoint, Refused};
use daybook_tests::{
    api::TestApp,
    log::{SignedLedger, daybook_verify, text},
};
use daybook_verify::statement;
use rand::{Rng, SeedableRng, rngs::StdRng};
use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::Sha256;
use sqlx::{Connection, PgConnection};
use tlog_tiles::EMPTY_HASH;

const EVENTS: i64 = 700;
const ACCOUNTS: i64 = 7;

/// What is done to the events, and the position that is named.
const TAMPERINGS: &[(&str, &str, u64)] = &[
    (
        "a byte of a payload is flipped",
        "update events set payload = replace(payload::text, '.00', '.01')::json where position = 123",
        123,
    ),
    (
        "a byte of metadata is flipped",
        "update events set metadata = replace(metadata::text, 'load', 'loaf')::json where position = 257",
        257,
    ),
    ("white space is added", "update events set payload = (payload::text || ' ')::json where position = 256", 256),
    ("a time is moved", "update events set recorded_at = recorded_at + '1 microsecond' where position = 1", 1),
    ("a version is changed", "update events set event_version = '1.1' where position = 300", 300),
    ("an event is deleted", "delete from events where position = 400", 400),
    ("the first event is deleted", "delete from events where position = 1", 1),
    (
        "two events are swapped",
        "update events set position = 1000000 where position = 200;
         update events set position = 200 where position = 203;
         update events set position = 203 where position = 1000000",
        200,
    ),
    (
        "an event is inserted",
        "update events set position = position + 1000000 where position >= 150;
         update events set position = position - 999999 where position >= 150;
         update book_head set position = position + 1;
         insert into events select aggregate_type, aggregate_id, 1000000, event_type, event_version, payload, metadata,
             150, recorded_at from events where position = 149",
        150,
    ),
    (
        "an event is added beyond the head",
        "insert into events select aggregate_type, aggregate_id, 1000000, event_type, event_version, payload, metadata,
             701, recorded_at from events where position = 700",
        701,
    ),
    ("the tail is cut", "delete from events where position > 650", 651),
    (
        "the tail is cut, and the head set back",
        "delete from events where position > 650; update book_head set position = 650",
        651,
    ),
    (
        "the tail is cut, of the tree as well",
        "delete from events where position > 512; update book_head set position = 512;
         update transparency_log set size = 512; delete from log_tiles where level = 0 and n = 2;
         update log_tiles set hashes = substring(hashes for 64) where level = 1",
        513,
    ),
];

#[tokio::test]
async fn every_tampering_is_found_and_its_first_bad_position_named() {
    for (what, statements, position) in TAMPERINGS {
        let ledger = SignedLedger::of_events(ACCOUNTS, EVENTS, &[300]).await;
        let (sound, _, report) = ledger.verify(&[]).await;
        assert!(sound, "{report:#}");
        ledger.tamper(statements).await;
        let (sound, first, report) = ledger.verify(&[]).await;
        assert!(!sound && first == Some(*position), "{what}: {report:#}");
        // Also by one who keeps nothing from the last time.
        ledger.forget_what_was_verified();
        let (sound, first, report) = ledger.verify(&[]).await;
        assert!(!sound && first == Some(*position), "{what}: {report:#}");
    }
}

#[tokio::test]
async fn a_log_that_was_wholly_rewritten_is_found_by_its_checkpoints() {
    let ledger = SignedLedger::of_events(ACCOUNTS, EVENTS, &[300]).await;
    let early = ledger.checkpoint(300, "early").await;
    let late = ledger.checkpoint(700, "late").await;
    let outside = ["--checkpoint", text(&early), "--checkpoint", text(&late)];
    ledger.tamper("update events set payload = replace(payload::text, '.00', '.01')::json where position = 500").await;
    ledger.rehash().await;
    // The tree is that of the false events: what was signed contradicts it, and tells where.
    let (sound, first, report) = ledger.verify(&[]).await;
    assert!(!sound && first == Some(301), "{report:#}");
    assert_eq!(report["checks"][0]["sound"], true, "no event contradicts its leaf any more");

    // Without what was signed, the ledger alone looks sound; whoever has kept a checkpoint knows better.
    ledger.tamper("delete from log_checkpoints").await;
    assert!(ledger.verify(&[]).await.0, "nothing is left in the ledger that could tell");
    let (sound, first, report) = ledger.verify(&outside).await;
    assert!(!sound && first == Some(301), "{report:#}");

    // He who has the key, too, can sign it all anew once he has taken away what lies beside it; that does not help him
    // either.
    ledger.daybook(&["checkpoint"]).await.refused("does not continue the one of 700 events");
    ledger.forget_what_was_signed();
    ledger.daybook(&["checkpoint"]).await.done();
    let (sound, first, report) = ledger.verify(&outside).await;
    assert!(!sound && first == Some(301), "{report:#}");
    assert_eq!(report["checks"][2]["sound"], true, "{report:#}");
    // And a key of his own is not the one that is known.
    let key = ledger.key().await.to_string();
    ledger.tamper("update transparency_log set vkey = null").await;
    fs::remove_file(ledger.key_file()).unwrap();
    ledger.tamper("delete from log_checkpoints").await;
    ledger.daybook(&["checkpoint"]).await.refused("does not hold the last checkpoint");
    ledger.forget_what_was_signed();
    ledger.daybook(&["checkpoint"]).await.done();
    let (sound, _, report) = ledger.verify(&["--key", &key]).await;
    assert!(!sound && report["checks"][2]["finding"].as_str().unwrap().contains("has not signed it"));
}

#[tokio::test]
async fn the_verifier_remembers_what_it_has_verified() {
    let ledger = SignedLedger::of_events(ACCOUNTS, EVENTS, &[300]).await;
    assert!(ledger.verify(&[]).await.0);
    // What was verified is a checkpoint from outside for the next time.
    ledger.tamper("update events set payload = replace(payload::text, '.00', '.01')::json where position = 400").await;
    ledger.rehash().await;
    ledger.tamper("delete from log_checkpoints").await;
    let (sound, first, report) = ledger.verify(&[]).await;
    assert!(!sound && first == Some(1), "{report:#}");
}

#[tokio::test]
async fn a_verification_goes_on_from_a_checkpoint() {
    let ledger = SignedLedger::of_events(ACCOUNTS, EVENTS, &[300, 512]).await;
    for size in [300, 512, 700] {
        let file = ledger.checkpoint(size, "since").await;
        let since = format!("--since={}", file.display());
        let (sound, _, report) = ledger.verify(&[&since]).await;
        assert!(sound, "{report:#}");
        assert_eq!(report["checks"][0]["checked"], EVENTS - size);
    }
    assert_eq!(ledger.verify(&["--since"]).await.2["checks"][0]["checked"], 0, "all of it was verified before");
    let file = ledger.checkpoint(300, "since").await;
    ledger.tamper("update events set event_version = '1.1' where position in (299, 301)").await;
    let (sound, first, report) = ledger.verify(&[&format!("--since={}", file.display())]).await;
    assert!(!sound && first == Some(301), "{report:#}");
}

#[tokio::test]
async fn a_checkpoint_from_outside_is_compared_also_within_what_is_taken_for_granted() {
    let ledger = SignedLedger::of_events(ACCOUNTS, EVENTS, &[300, 512]).await;
    let key = open_key(&ledger.store, &ledger.key_file()).await.unwrap();
    assert!(ledger.verify(&[]).await.0);
    let since = format!("--since={}", text(&ledger.checkpoint(512, "since").await));
    // What the log has signed of itself holds, and so does the beginning of every log.
    let [early, start, empty] = [
        ledger.checkpoint(300, "300").await,
        ledger.checkpoint(512, "512").await,
        ledger.keep("0", &Checkpoint::sign(0, EMPTY_HASH, &key)),
    ];
    let outside = [&early, &start, &empty].map(|file| ["--checkpoint", text(file)]).concat();
    for granted in [&[&*since][..], &["--since"], &[]] {
        let (sound, _, report) = ledger.verify(&[granted, &outside[..]].concat()).await;
        assert!(sound, "{granted:?} {report:#}");
        assert!(report["checks"][3]["checked"].as_u64().unwrap() >= 4, "{granted:?} {report:#}");
    }
    // A fork does not, of whatever size it is.
    for size in [0, 1, 300, 512, 600, 700] {
        let fork = ledger.keep("fork", &Checkpoint::sign(size, tlog_tiles::record_hash(b"fork"), &key));
        for granted in [&[&*since][..], &["--since"], &[]] {
            let (sound, first, report) = ledger.verify(&[granted, &["--checkpoint", text(&fork)]].concat()).await;
            assert!(!sound && report["checks"][3]["sound"] == false, "{size} {granted:?} {report:#}");
            assert!(first.is_none_or(|first| first <= size), "{size} {granted:?} {report:#}");
        }
    }
    // One that goes beyond the book does not either, not even if the ledger itself has signed such a one.
    let beyond = ledger.keep("beyond", &Checkpoint::sign(800, tlog_tiles::record_hash(b"fork"), &key));
    ledger
        .tamper("insert into log_checkpoints (size, note) select 900, note from log_checkpoints where size = 700")
        .await;
    let (sound, _, report) = ledger.verify(&["--checkpoint", text(&beyond)]).await;
    assert!(!sound && report["checks"][3]["sound"] == false, "{report:#}");
}

#[tokio::test]
async fn spoilt_tiles_are_told_apart_from_spoilt_events_and_made_anew() {
    let ledger = SignedLedger::of_events(ACCOUNTS, EVENTS, &[300]).await;
    let spoil = [
        "update log_tiles set hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1) where level = 0 and n = 1",
        "update log_tiles set hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1) where level = 1",
        "delete from log_tiles where level = 0 and n = 0",
    ];
    for statement in spoil {
        ledger.tamper(statement).await;
        let (sound, first, report) = ledger.verify(&[]).await;
        assert!(!sound && first.is_none(), "{statement}: {report:#}");
        let finding = report["checks"][1]["finding"].as_str().unwrap();
        assert!(finding.contains("daybook tree rebuild"), "{finding}");
        let said = ledger.daybook(&["tree", "rebuild"]).await.done();
        assert!(said.output.contains("2 checkpoints agree"), "{said:?}");
        assert!(ledger.verify(&[]).await.0, "{statement}");
    }
    // Tiles are not made of events that contradict what was signed.
    ledger.tamper("update events set event_version = '1.1' where position = 500").await;
    ledger.daybook(&["tree", "rebuild"]).await.refused("checkpoint of 700 events");
    assert_eq!(ledger.verify(&[]).await.1, Some(500));
}

#[tokio::test]
async fn a_checkpoint_that_was_altered_in_the_ledger_is_found() {
    let ledger = SignedLedger::of_events(ACCOUNTS, EVENTS, &[300]).await;
    ledger.tamper("update log_checkpoints set note = replace(note, E'\\n300\\n', E'\\n301\\n') where size = 300").await;
    let (sound, _, report) = ledger.verify(&[]).await;
    let finding = report["checks"][2]["finding"].as_str().unwrap();
    assert!(!sound && finding.contains("cannot be trusted"), "{report:#}");
}

#[tokio::test]
async fn the_book_of_the_application_cannot_alter_what_was_signed() {
    let ledger = SignedLedger::of_events(ACCOUNTS, 10, &[]).await;
    for statement in [
        "delete from log_checkpoints",
        "update log_checkpoints set note = ''",
        "truncate log_checkpoints",
        "delete from log_tiles",
        "update transparency_log set size = 3",
        "update transparency_log set origin = 'another'",
        "update transparency_log set vkey = null",
        "delete from transparency_log",
        // What would stop the log for good.
        "update transparency_log set size = 11",
        "insert into log_checkpoints (size, note) values (9000000000000000000, 'x')",
        "insert into log_checkpoints (size, note) select 11, replace(note, E'\n10\n', E'\n11\n') from log_checkpoints",
        "insert into log_checkpoints (size, note) select 9, note from log_checkpoints",
    ] {
        let altered = sqlx::query(statement).execute(ledger.store.pool()).await;
        assert!(altered.is_err(), "{statement}");
    }
    // What a superuser does all the same is named.
    ledger.tamper("insert into log_checkpoints (size, note) values (9000000000000000000, 'x')").await;
    ledger.daybook(&["checkpoint"]).await.refused("the stored checkpoint of 9000000000000000000 events");
}

#[tokio::test]
async fn the_row_of_the_log_is_made_anew() {
    let ledger = SignedLedger::of_events(ACCOUNTS, EVENTS, &[300]).await;
    let key = ledger.key().await;
    let lose = async || ledger.tamper("delete from transparency_log").await;
    lose().await;
    for arguments in [&["verify", "--full"][..], &["checkpoint"], &["key"]] {
        ledger.daybook(arguments).await.refused("`daybook tree rebuild` makes it anew");
    }
    ledger.daybook(&["tree", "rebuild", "--log-key", "none"]).await.refused("by --key, or its file by --log-key");
    ledger.daybook(&["tree", "rebuild"]).await.done();
    assert_eq!((ledger.key().await, ledger.verify(&[]).await.0), (key.clone(), true));
    ledger.append("later", 1).await;
    ledger.daybook(&["checkpoint"]).await.done();
    lose().await;
    let arguments = ["tree", "rebuild", "--log-key", "none", "--key", &key.to_string()];
    assert!(ledger.daybook(&arguments).await.done().output.contains("3 checkpoints agree"));
    let (sound, _, report) = ledger.verify(&[]).await;
    assert!(sound && report["position"] == 701, "{report:#}");
    // Another key has not signed what is there.
    let stranger = SignedLedger::of_events(1, 1, &[]).await.key().await;
    lose().await;
    let arguments = ["tree", "rebuild", "--log-key", "none", "--key", &stranger.to_string()];
    ledger.daybook(&arguments).await.refused("the stored checkpoint of 300 events is not what the log has signed");
}

#[tokio::test]
async fn verifying_changes_nothing() {
    let ledger = SignedLedger::of_events(ACCOUNTS, 70, &[]).await;
    let app = TestApp::on(ledger.database).await;
    assert_eq!(app.get("/v1/accounts").await.status, 200, "all is projected");
    let ledger = SignedLedger { database: app.stop().await, ..ledger };
    // As on a replica.
    let database: String =
        sqlx::query_scalar("select current_database()").fetch_one(ledger.database.pool()).await.unwrap();
    ledger.tamper(&format!("alter database {database} set default_transaction_read_only = on")).await;
    let book = ledger.daybook(&["verify"]).await.done();
    let log = ledger.daybook(&["verify", "--full"]).await.done();
    for arguments in [&["status"][..], &["key"], &["export", "--format", "csv"]] {
        assert!(!ledger.daybook(arguments).await.done().output.is_empty(), "{arguments:?}");
    }
    // Each says what it has judged.
    assert!(
        book.output.contains("whether its events are those that were signed, `daybook verify --full` tells"),
        "{book:?}"
    );
    assert!(log.output.contains("whether what follows from it is right, `daybook verify` tells"), "{log:?}");

    // A ledger that another program serves stays at the version that it has.
    let mut owner = PgConnection::connect(ledger.database.url()).await.unwrap();
    let versions: Vec<i64> = sqlx::query_scalar("select version from _sqlx_migrations order by version desc limit 2")
        .fetch_all(&mut owner)
        .await
        .unwrap();
    let (newest, before) = (versions[0], versions[1]);
    let forget = format!("set transaction read write; delete from _sqlx_migrations where version = {newest}");
    sqlx::raw_sql(&format!("begin; {forget}; commit")).execute(&mut owner).await.unwrap();
    let why = format!("the tables are of version {before}, and this program reads those of {newest}");
    for arguments in [&["verify"][..], &["verify", "--full"]] {
        ledger.daybook(arguments).await.refused(&why);
    }
}

#[tokio::test]
async fn two_ledgers_of_one_home_are_kept_apart() {
    let ledger = SignedLedger::of_events(ACCOUNTS, 20, &[]).await;
    let other = SignedLedger::of_events(ACCOUNTS, 30, &[]).await;
    assert!(ledger.verify(&[]).await.0);
    let other = SignedLedger { home: ledger.home, ..other };
    let (sound, _, report) = other.verify(&[]).await;
    assert!(sound && report["checks"][3]["checked"] == 0, "{report:#}");
    // And what was kept of the first one is not forgotten.
    let ledger = SignedLedger { home: other.home, database: ledger.database, store: ledger.store };
    assert_eq!(ledger.verify(&[]).await.2["checks"][3]["checked"], 1);
    ledger.tamper("update events set event_version = '1.1' where position = 7").await;
    ledger.rehash().await;
    ledger.tamper("delete from log_checkpoints").await;
    assert!(!ledger.verify(&[]).await.0);
}

#[tokio::test]
async fn an_archive_is_verified_without_the_ledger_and_its_first_bad_line_named() {
    let ledger = SignedLedger::of_events(ACCOUNTS, EVENTS, &[300]).await;
    let key = ledger.key().await;
    let early = ledger.checkpoint(300, "early").await;
    let file = ledger.file("log.ndjson");
    ledger.daybook(&["export", "log", "-o", text(&file)]).await.done();
    let said = daybook_verify(&["archive", text(&file), "--checkpoint", text(&early)], &key).await.done();
    assert!(said.output.starts_with("intact  700 events"), "{said:?}");
    assert!(
        said.output.contains(" of each of 7 streams are numbered") && said.output.contains(" 693 entries "),
        "{said:?}"
    );
    assert!(said.output.ends_with("it begins with the log of the 300 events of your checkpoint\n"), "{said:?}");

    let archive = fs::read(&file).unwrap();
    let spoilt = ledger.file("spoilt.ndjson");
    // A header, two full tiles, 700 events: event 400 is on line 1 + 2 + 400.
    let at = archive.split_inclusive(|byte| *byte == b'\n').take(402).map(<[u8]>::len).sum::<usize>() + 200;
    let mut changed = archive.clone();
    changed[at] ^= 1;
    fs::write(&spoilt, &changed).unwrap();
    daybook_verify(&["archive", text(&spoilt)], &key).await.refused("line 403:");
    fs::write(&spoilt, &archive[..archive.len() - 1]).unwrap();
    daybook_verify(&["archive", text(&spoilt)], &key).await.refused("line 703:");

    // Up to an earlier checkpoint.
    ledger.daybook(&["export", "log", "-o", text(&file), "--to", "650"]).await.done();
    let said = daybook_verify(&["archive", text(&file)], &key).await.done();
    assert!(said.output.starts_with("intact  300 events"), "{said:?}");
    assert!(said.output.ends_with("not compared with a checkpoint of yours\n"), "{said:?}");
    let good = fs::read(&file).unwrap();

    // An archive of a log that was rewritten does not continue what somebody has kept.
    ledger.tamper("update events set event_version = '1.1' where position = 200").await;
    ledger.daybook(&["export", "log", "-o", text(&file)]).await.refused("event 200");
    assert_eq!(fs::read(&file).unwrap(), good, "a good archive stays until there is another");
    ledger.rehash().await;
    ledger.tamper("delete from log_checkpoints").await;
    ledger.forget_what_was_signed();
    ledger.daybook(&["export", "log", "-o", text(&file)]).await.done();
    daybook_verify(&["archive", text(&file)], &key).await.done();
    daybook_verify(&["archive", text(&file), "--checkpoint", text(&early)], &key)
        .await
        .refused("another one than that of the archive");
}

/// A row that the application role can add itself, signed like any other.
#[tokio::test]
async fn an_archive_whose_events_contradict_each_other_is_refused() {
    let ledger = SignedLedger::of_events(ACCOUNTS, EVENTS, &[]).await;
    let key = ledger.key().await;
    let file = ledger.file("log.ndjson");
    let stream: (String, i64) = sqlx::query_as("select aggregate_id, sequence from events where position = 700")
        .fetch_one(ledger.database.pool())
        .await
        .unwrap();
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         select aggregate_type, aggregate_id, 9000, event_type, event_version, payload, metadata
         from events where position = 700",
    )
    .execute(ledger.store.pool())
    .await
    .unwrap();
    ledger.daybook(&["export", "log", "-o", text(&file)]).await.done();
    let (id, due) = (stream.0, stream.1 + 1);
    let why = format!("line 704: event 701 is number 9000 of account/{id}, where number {due} is due");
    daybook_verify(&["archive", text(&file)], &key).await.refused(&why);
}

/// What is no file is written to and stays what it is.
#[tokio::test]
async fn exports_go_to_devices_and_pipes_as_they_come() {
    let ledger = SignedLedger::of_events(2, 12, &[]).await;
    let key = ledger.key().await;
    let file = ledger.file("whole");
    for (command, verb) in [
        (&["export", "log"][..], "archive"),
        (&["export", "statement", "acc_LOAD0001"], "statement"),
        (&["prove", "event", "3"], "proof"),
    ] {
        ledger.daybook(&[command, &["-o", text(&file)]].concat()).await.done();
        let expected = fs::read_to_string(&file).unwrap();
        let said = ledger.daybook(&[command, &["-o", "/dev/stdout"]].concat()).await.done();
        assert_eq!(said.output, expected, "{command:?}: nothing else goes there");
        let fifo = ledger.file(verb);
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let reading = tokio::task::spawn_blocking({
            let fifo = fifo.clone();
            move || fs::read_to_string(fifo).unwrap()
        });
        ledger.daybook(&[command, &["-o", text(&fifo)]].concat()).await.done();
        assert_eq!(reading.await.unwrap(), expected, "{command:?}");
        assert!(!fs::symlink_metadata(&fifo).unwrap().is_file());
        // A link leads to the new one, and the one before stays if there is none.
        let link = ledger.file(&format!("{verb}.link"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        fs::write(&file, "before").unwrap();
        ledger.daybook(&[command, &["-o", text(&link)]].concat()).await.done();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), expected);
        daybook_verify(&[verb, text(&file)], &key).await.done();
    }
    // The file that the standard output leads to belongs to whoever has opened it.
    let shared = ledger.file("shared");
    let script = "echo before > $0; \"$@\" -o /dev/stdout >> $0; echo after >> $0";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, text(&shared), text(&daybook_tests::program("daybook")), "prove", "event", "3"]);
    assert!(shell.env("DATABASE_URL", ledger.database.url()).status().unwrap().success());
    let expected = format!("before\n{}after\n", fs::read_to_string(&file).unwrap());
    assert_eq!(fs::read_to_string(&shared).unwrap(), expected);
}

/// A replica is one; so is a ledger that somebody has only the right to read.
#[tokio::test]
async fn what_is_signed_already_is_exported_from_a_ledger_that_can_only_be_read() {
    let ledger = SignedLedger::of_events(2, 12, &[6]).await;
    let key = ledger.key().await;
    let name: String =
        sqlx::query_scalar("select current_database()::text").fetch_one(ledger.database.pool()).await.unwrap();
    ledger.tamper(&format!("alter database {name} set default_transaction_read_only = on")).await;
    let (archive, proof, consistency) = (ledger.file("archive"), ledger.file("proof"), ledger.file("consistency"));
    ledger.daybook(&["export", "log", "--to", "12", "-o", text(&archive)]).await.done();
    ledger.daybook(&["prove", "event", "3", "-o", text(&proof)]).await.done();
    ledger.daybook(&["prove", "consistency", "6", "-o", text(&consistency)]).await.done();
    daybook_verify(&["archive", text(&archive)], &key).await.done();
    daybook_verify(&["proof", text(&proof)], &key).await.done();
    daybook_verify(&["proof", text(&consistency)], &key).await.done();
    let before = fs::read(&archive).unwrap();
    let to_sign = ledger.daybook(&["export", "log", "-o", text(&archive)]).await;
    to_sign.refused("this ledger can only be read");
    to_sign.refused("`--to` a position that is signed already");
    assert_eq!(fs::read(&archive).unwrap(), before);
    let statement = ["export", "statement", "acc_LOAD0001", "-o", text(&archive)];
    ledger.daybook(&statement).await.refused("this ledger can only be read");
}

#[tokio::test]
async fn a_witness_keeps_what_continues_and_refuses_the_rest() {
    let ledger = SignedLedger::of_events(ACCOUNTS, EVENTS, &[300, 500]).await;
    let key = ledger.key().await;
    let state = ledger.file("witness");
    let [early, middle, late] =
        [ledger.checkpoint(300, "300").await, ledger.checkpoint(500, "500").await, ledger.checkpoint(700, "700").await];
    let (proof, wrong) = (ledger.file("proof"), ledger.file("wrong"));
    ledger.daybook(&["prove", "consistency", "300", "500", "-o", text(&proof)]).await.done();
    ledger.daybook(&["prove", "consistency", "300", "-o", text(&wrong)]).await.done();
    let see = async |checkpoint: &Path, more: &[&str]| {
        let arguments = [&["witness", text(checkpoint), "--state", text(&state)], more].concat();
        daybook_verify(&arguments, &key).await
    };
    // A file whose name is mistaken must not pass for a witness who has seen nothing yet.
    see(&early, &[]).await.refused("nothing was seen yet: `--first` begins with this checkpoint");
    assert!(!state.exists());
    see(&early, &["--first"]).await.done();
    see(&early, &[]).await.done();
    see(&middle, &["--first"]).await.refused("a log of 300 events was seen already");
    see(&middle, &[]).await.refused("nothing shows");
    see(&middle, &["--proof", text(&wrong)]).await.refused("other checkpoints");
    see(&middle, &["--proof", text(&proof)]).await.done();
    assert_eq!(fs::read_to_string(&state).unwrap(), fs::read_to_string(&middle).unwrap());
    see(&early, &[]).await.refused("this one has 300");

    // A log that was rewritten and signed anew.
    ledger.tamper("update events set event_version = '1.1' where position = 200").await;
    ledger.rehash().await;
    ledger.tamper("delete from log_checkpoints").await;
    ledger.forget_what_was_signed();
    ledger.daybook(&["checkpoint", "-o", text(&ledger.file("forged"))]).await.done();
    let archive = ledger.file("forged.ndjson");
    ledger.daybook(&["export", "log", "-o", text(&archive)]).await.done();
    see(&ledger.file("forged"), &["--tiles", text(&archive)]).await.refused("does not continue");
    see(&late, &["--tiles", text(&archive)]).await.refused("another checkpoint");
    assert_eq!(fs::read_to_string(&state).unwrap(), fs::read_to_string(&middle).unwrap(), "nothing was kept");
}

/// Proofs, roots and signatures are checked by `ct-merkle` and `ring`, which know nothing of ours.
#[tokio::test]
async fn other_implementations_accept_our_proofs() {
    let ledger = SignedLedger::of_events(ACCOUNTS, EVENTS, &[1, 256, 300]).await;
    let mut connection = ledger.store.connection().await.unwrap();
    let (key, latest) = checkpoint_at(&mut connection, None).await.unwrap();

    let fields: Vec<String> = key.to_string().splitn(3, '+').map(str::to_owned).collect();
    let public = BASE64_STANDARD.decode(&fields[2]).unwrap();
    let root_of = |note: &str| {
        let (body, signatures) = note.rsplit_once("\n\n").unwrap();
        let signature = signatures.trim_end().rsplit(' ').next().unwrap();
        let signature = BASE64_STANDARD.decode(signature).unwrap();
        let signed = format!("{body}\n");
        UnparsedPublicKey::new(&ED25519, &public[1..]).verify(signed.as_bytes(), &signature[4..]).unwrap();
        let lines: Vec<&str> = body.lines().collect();
        assert_eq!(lines[0], fields[0], "the name of the log");
        let root: [u8; 32] = BASE64_STANDARD.decode(lines[2]).unwrap().try_into().unwrap();
        RootHash::<Sha256>::new(root.into(), lines[1].parse().unwrap())
    };
    let bytes = |proof: &[tlog_tiles::Hash]| proof.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>();

    // The whole tree, by their own means.
    let mut theirs = ct_merkle::mem_backed_tree::MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for event in daybook_tests::whole_book(ledger.database.pool()).await {
        let mut encoding = Vec::new();
        event.to_log().encode(&mut encoding);
        theirs.push(encoding);
    }
    assert_eq!(theirs.root(), root_of(&latest.note));

    for size in [1, 256, 300, 700] {
        for position in [1, 2, 255, 256, 257, 299, 300, 512, 513, 700] {
            if position > size {
                continue;
            }
            let ours = event_proof(&mut connection, position, Some(size)).await.unwrap();
            let mut encoding = Vec::new();
            ours.event.encode(&mut encoding);
            let proof = InclusionProof::<Sha256>::try_from_bytes(bytes(&ours.proof)).unwrap();
            let root = root_of(&ours.checkpoint);
            root.verify_inclusion(&encoding, position - 1, &proof).unwrap();
            encoding[30] ^= 1;
            assert!(root.verify_inclusion(&encoding, position - 1, &proof).is_err());
        }
    }
    for (from, to) in [(1, 256), (1, 700), (256, 300), (256, 700), (300, 700)] {
        let ours = prove_consistency(&mut connection, from, Some(to)).await.unwrap();
        let proof = ConsistencyProof::<Sha256>::try_from_bytes(bytes(&ours.proof)).unwrap();
        root_of(&ours.to).verify_consistency(&root_of(&ours.from), &proof).unwrap();
    }
}

/// The published encoding is enough to hash an event in another language.
#[test]
fn the_published_vectors_hold_in_python() {
    const PROGRAM: &str = r#"
import hashlib, json, struct, sys
text = lambda value: struct.pack(">I", len(value.encode())) + value.encode()
encode = lambda e: (text("daybook/event/1") + struct.pack(">Q", e["position"]) + text(e["aggregate_type"])
        + text(e["aggregate_id"]) + struct.pack(">Q", e["sequence"]) + text(e["event_type"]) + text(e["event_version"])
        + text(e["payload"]) + text(e["metadata"]) + struct.pack(">q", e["recorded_at_us"]))
vectors = json.load(open(sys.argv[1], encoding="utf-8"))
for vector in vectors:
    e = vector["event"]
    encoding = encode(e)
    assert encoding.hex() == vector["encoding"], e
    assert hashlib.sha256(b"\0" + encoding).hexdigest() == vector["leaf"], e
for vector in json.load(open(sys.argv[2], encoding="utf-8")):
    e = vector["event"]
    e["payload"] *= vector["payload_times"]
    encoding = encode(e)
    assert len(encoding) == vector["length"] > 65535, e["position"]
    entry = (text("daybook/event-digest/1") + struct.pack(">QQ", e["position"], len(encoding))
        + hashlib.sha256(encoding).digest())
    assert entry.hex() == vector["entry"], e["position"]
    assert hashlib.sha256(b"\0" + entry).hexdigest() == vector["leaf"], e["position"]
print(len(vectors))
"#;
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/log/event_encoding.json");
    let digests = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/log/event_digest.json");
    let python = Command::new("python3").args(["-c", PROGRAM, vectors, digests]).stdin(Stdio::null()).output();
    // The vectors are checked in Rust, too, where there is no Python.
    let Ok(output) = python else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().unwrap() >= 5);
}

#[test]
fn the_verifier_links_neither_the_engine_nor_a_database_client() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "daybook-verify", "--edges", "normal", "--prefix", "none", "--locked", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("signed_note "), "{tree}{}", String::from_utf8_lossy(&output.stderr));
    for unwanted in ["sqlx", "tokio", "daybook-core", "daybook-projections", "cqrs-es", "hyper", "axum"] {
        assert!(!tree.lines().any(|line| line.starts_with(unwanted)), "{unwanted} is linked");
    }
}

#[tokio::test]
async fn a_byte_flipped_in_any_of_a_thousand_statements_is_found() {
    const STATEMENTS: i64 = 1_000;
    let ledger = SignedLedger::of_events(STATEMENTS, 4 * STATEMENTS, &[]).await;
    let key = ledger.key().await;
    let accounts: Vec<String> = (0..STATEMENTS).map(|number| format!("acc_LOAD{number:04}")).collect();
    let directory = ledger.file("statements");
    let mut arguments = vec!["export", "statement", "--from", "2024-01-01", "-o", text(&directory)];
    arguments.extend(accounts.iter().map(String::as_str));
    ledger.daybook(&arguments).await.done();

    let mut random = StdRng::seed_from_u64(63);
    for account in &accounts {
        let file = directory.join(format!("{account}.ndjson"));
        let mut bytes = fs::read(&file).unwrap();
        let summary = statement::verify(&bytes[..], &key).unwrap().summary;
        assert_eq!((summary.entries, &summary.account), (3, account));
        let at = random.random_range(0..bytes.len());
        bytes[at] ^= random.random_range(1..=255u8);
        let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        match statement::verify(&bytes[..], &key) {
            // A flipped end of a line makes one line of two.
            Err(Refused::Line { line: named, .. }) => assert!(named == line || named == line + 1, "{named} {line}"),
            other => panic!("{account}, byte {at}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_statement_shows_that_nothing_is_missing() {
    let ledger = SignedLedger::of_events(2, 12, &[6]).await;
    let key = ledger.key().await;
    let file = ledger.file("statement.ndjson");
    let period = ["--from", "2024-01-01", "--to", "2024-01-02"];
    let arguments = [&["export", "statement", "acc_LOAD0001", "-o", text(&file)], &period[..]].concat();
    ledger.daybook(&arguments).await.done();
    let late = ledger.checkpoint(12, "late").await;
    let root = fs::read_to_string(&late).unwrap().lines().nth(2).unwrap().to_owned();
    let verify = async |more: &[&str]| daybook_verify(&[&["statement", text(&file)], more].concat(), &key).await;
    let said = verify(&["--checkpoint", text(&late)]).await.done();
    let period = "from 2024-01-01T00:00:00Z, to 2024-01-02T00:00:00Z, which is not included";
    let last = "that there is no further entry in that log is what its key has signed, and `--archive` would show";
    let told = |period: &str, last: &str, compared: &str| {
        format!(
            "sound  account acc_LOAD0001, {period}
       opening balance 0.00 USD, closing balance 10.00 USD
       all 5 entries in a log of 12 events, root {root}
       {last}
       {compared}\n"
        )
    };
    assert_eq!(said.output, told(period, last, "compared with your checkpoint of 12 events: it is of the same log"));

    let whole = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let without = |gone: usize| [&lines[..gone], &lines[gone + 1..]].concat().concat();
    for (text, why) in [
        (without(3), "line 4: entry 4 stands where entry 3 is due"),
        (without(5), "line 6: the file ends where entry 5 is due"),
        (format!("{whole}{}", lines[5]), "line 7: the file goes on"),
        (without(0), "line 1: this is not the header of a statement"),
        (whole.replacen("statement/1", "statement/2", 1), "line 1: the signature does not fit"),
    ] {
        fs::write(&file, text).unwrap();
        verify(&[]).await.refused(why);
    }
    let before = fs::read(&file).unwrap();
    ledger.daybook(&["export", "statement", "acc_NOBODY", "-o", text(&file)]).await.refused("there is no account");
    assert_eq!(fs::read(&file).unwrap(), before, "what was there stays");
    ledger.daybook(&["export", "statement", "acc_LOAD0001", "-o", text(&file)]).await.done();
    let said = verify(&[]).await.done();
    let closing = told("from the beginning, to the end", last, "not compared with a checkpoint of yours");
    assert!(said.output == closing.replace("closing balance 10.00", &closing_of(&said.output)), "{said:?}");
    let missing = daybook_verify(&["statement", "/nowhere/statement"], &key).await;
    assert!(missing.code == Some(2) && missing.errors.contains("/nowhere/statement: "), "{missing:?}");
    let missing = verify(&["--checkpoint", "/nowhere/checkpoint"]).await;
    assert!(missing.code == Some(2) && missing.errors.contains("/nowhere/checkpoint: "), "{missing:?}");
}

fn closing_of(output: &str) -> String {
    let from = output.find("closing balance").unwrap();
    output[from..].split(" USD").next().unwrap().to_owned()
}

/// A log signs a new tree for every statement, so that a checkpoint from elsewhere is earlier or later.
#[tokio::test]
async fn a_statement_is_of_the_same_log_as_a_checkpoint_of_another_size() {
    let ledger = SignedLedger::of_events(2, 12, &[6, 8]).await;
    let key = ledger.key().await;
    let (early, middle, late) =
        (ledger.checkpoint(6, "6").await, ledger.checkpoint(8, "8").await, ledger.checkpoint(12, "12").await);
    let prove = async |from: &str, to: &str| {
        let file = ledger.file(&format!("{from}-{to}"));
        ledger.daybook(&["prove", "consistency", from, to, "-o", text(&file)]).await.done();
        file
    };
    let (early_to_late, early_to_middle, middle_to_late) =
        (prove("6", "12").await, prove("6", "8").await, prove("8", "12").await);
    let (file, event) = (ledger.file("statement"), ledger.file("event"));
    ledger.daybook(&["export", "statement", "acc_LOAD0001", "-o", text(&file)]).await.done();
    ledger.daybook(&["prove", "event", "3", "--size", "8", "-o", text(&event)]).await.done();
    let (archive, short) = (ledger.file("archive"), ledger.file("short"));
    ledger.daybook(&["export", "log", "-o", text(&archive)]).await.done();
    ledger.daybook(&["export", "log", "--to", "8", "-o", text(&short)]).await.done();

    let statement = async |more: &[&str]| daybook_verify(&[&["statement", text(&file)], more].concat(), &key).await;
    let proof = async |more: &[&str]| daybook_verify(&[&["proof", text(&event)], more].concat(), &key).await;
    let known = |checkpoint| ["--checkpoint", text(checkpoint)];
    let (early, middle, late) = (known(&early), known(&middle), known(&late));
    let by = |proof| ["--proof", text(proof)];
    let with = |archive| ["--archive", text(archive)];
    statement(&early).await.refused("show by a proof of consistency or an archive");
    let said = statement(&[early, by(&early_to_late)].concat()).await.done();
    assert!(said.output.contains("compared with your checkpoint of 6 events: it is of the same log"), "{said:?}");
    statement(&[early, by(&early_to_middle)].concat()).await.refused("leads from 6 to 8 events, and not from 6 to 12");
    let said = statement(&[middle, with(&archive)].concat()).await.done();
    assert!(said.output.contains("the archive has no further entry of the account in that log"), "{said:?}");
    assert!(said.output.contains("begins with that log, and with the 8 of your checkpoint"), "{said:?}");
    let said = statement(&with(&archive)).await.done();
    assert!(said.output.contains("begins with that log; not compared with a checkpoint of yours"), "{said:?}");
    statement(&[early, with(&short)].concat()).await.refused("the archive ends at event 8, before event 12");

    // The proof of an event is earlier than one checkpoint and later than the other.
    proof(&middle).await.done();
    proof(&[late, by(&middle_to_late)].concat()).await.done();
    proof(&[early, by(&early_to_middle)].concat()).await.done();
    proof(&[early, with(&archive)].concat()).await.done();
    proof(&[late, by(&early_to_middle)].concat()).await.refused("and not from 8 to 12");

    // The same log, rewritten and signed anew: it is another one, whatever its own proofs say.
    ledger
        .tamper("update events set metadata = replace(metadata::text, 'load', 'loaf')::json where position = 2")
        .await;
    ledger.rehash().await;
    ledger.tamper("delete from log_checkpoints").await;
    ledger.forget_what_was_signed();
    ledger.daybook(&["export", "statement", "acc_LOAD0001", "-o", text(&file)]).await.done();
    statement(&late).await.refused("another one than that of the checkpoint");
    let mut connection = ledger.store.connection().await.unwrap();
    daybook_core::transparency::sign(&mut connection, &signing(&ledger).await).await.unwrap();
    ledger.daybook(&["export", "log", "-o", text(&archive)]).await.done();
    statement(&[early, with(&archive)].concat()).await.refused("6 events is another one than that of the archive");
    statement(&[early, by(&early_to_late)].concat()).await.refused("12 events is another one than that of the proof");
}

async fn signing(ledger: &SignedLedger) -> daybook_core::transparency::LogKey {
    daybook_core::transparency::open_key(&ledger.store, &ledger.key_file()).await.unwrap()
}

/// A log that signs too few entries contradicts itself, and its archive is the evidence.
#[tokio::test]
async fn a_hidden_last_entry_is_found_in_the_archive() {
    let ledger = SignedLedger::of_events(2, 12, &[6]).await;
    let key = ledger.key().await;
    let (early, archive, file) = (ledger.checkpoint(6, "6").await, ledger.file("archive"), ledger.file("statement"));
    ledger.daybook(&["export", "log", "-o", text(&archive)]).await.done();
    ledger.daybook(&["export", "statement", "acc_LOAD0001", "-o", text(&file)]).await.done();

    let whole = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let last: serde_json::Value = serde_json::from_str(lines[5]).unwrap();
    let hidden = last["entry"]["event"]["position"].as_u64().unwrap();
    let mut summary = statement::verify(whole.as_bytes(), &key).unwrap().summary;
    let payload = |line: &str| -> serde_json::Value {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        serde_json::from_str(entry["entry"]["event"]["payload"].as_str().unwrap()).unwrap()
    };
    let before = payload(lines[4]);
    let balance = before.as_object().unwrap().values().next().unwrap()["balance"]["amount"].as_str().unwrap();
    (summary.entries, summary.closing) = (4, balance.parse().unwrap());
    let mut forged = Vec::new();
    daybook_log::lines::write(&statement::header(&summary, &*signing(&ledger).await), &mut forged).unwrap();
    forged.extend(lines[1..5].iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()));
    fs::write(&file, forged).unwrap();

    daybook_verify(&["statement", text(&file)], &key).await.done();
    let why = format!("event {hidden} is an entry of account acc_LOAD0001, and the statement hides it");
    for more in [&[][..], &["--checkpoint", text(&early)]] {
        let arguments = [&["statement", text(&file), "--archive", text(&archive)], more].concat();
        daybook_verify(&arguments, &key).await.refused(&why);
    }
}
