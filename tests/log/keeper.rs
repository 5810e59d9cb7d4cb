//! The keeper of the transparency log and its key: killed, doubled, or without a key, it leaves one tree of one log.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio, time::Duration};

use daybook_core::{
    chain,
    transparency::{Keeper, KeeperOptions, LogKey, LogKeyError, add_events, checkpoint_at, open_key, sign, standing},
};
use daybook_tests::{
    load::long_book,
    log::{SignedLedger, text},
    program,
};
use tokio::{
    process::{Child, Command},
    task, time,
};

fn options(key: LogKey) -> KeeperOptions {
    KeeperOptions { key: Some(key), batch: 97, ..KeeperOptions::default() }
}

/// Waits until so many events are signed.
async fn signed(keeper: &Keeper, size: u64) {
    let mut kept = keeper.kept();
    kept.wait_for(|kept| kept.signed >= size).await.expect("the keeper goes on");
}

#[tokio::test]
async fn two_keepers_make_one_tree() {
    let ledger = SignedLedger::empty().await;
    let key = open_key(&ledger.store, &ledger.key_file()).await.unwrap();
    let start = || Keeper::start(&ledger.store, None, options(key.clone()));
    let keepers = [start().await, start().await];
    long_book(ledger.database.pool(), 10, 3_000).await;
    for keeper in &keepers {
        signed(keeper, 3_000).await;
    }
    for keeper in keepers {
        keeper.shutdown().await;
    }
    let (sound, _, report) = ledger.verify(&[]).await;
    assert!(sound, "{report:#}");
    assert_eq!(report["checks"][1]["checked"], 3_000);
    // Of the two, neither has put an earlier checkpoint in the place of a later one.
    assert!(fs::read_to_string(ledger.file("log.key.signed")).unwrap().contains("\n3000\n"));
}

#[tokio::test]
async fn a_keeper_that_stops_signs_what_is_there() {
    let ledger = SignedLedger::empty().await;
    let key = open_key(&ledger.store, &ledger.key_file()).await.unwrap();
    let keeper = Keeper::start(&ledger.store, None, options(key)).await;
    long_book(ledger.database.pool(), 10, 1_000).await;
    keeper.shutdown().await;
    let mut connection = ledger.store.connection().await.unwrap();
    assert_eq!(checkpoint_at(&mut connection, None).await.unwrap().1.size, 1_000);
}

fn serve(ledger: &SignedLedger) -> Child {
    Command::new(program("daybook-server"))
        .envs(daybook_tests::master_key_env())
        .args(["--listen", "127.0.0.1:0", "--watch", "0", "--database-url", ledger.database.url()])
        .args(["--home", text(ledger.home.path())])
        .env("RUST_LOG", "error")
        .env_remove("DAYBOOK_LOG_KEY")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the server starts")
}

#[tokio::test]
async fn a_keeper_killed_again_and_again_leaves_one_tree_that_was_signed_truly() {
    const EVENTS: i64 = 20_000;
    let ledger = SignedLedger::empty().await;
    long_book(ledger.database.pool(), 10, EVENTS).await;
    let mut killed_midway = 0;
    for kill in 0..4 {
        let mut server = serve(&ledger);
        let size = loop {
            let size = standing(ledger.database.pool()).await.unwrap().size;
            if size > kill * EVENTS as u64 / 5 {
                break size;
            }
            assert!(server.try_wait().unwrap().is_none(), "the server goes on");
            task::yield_now().await;
        };
        server.kill().await.unwrap();
        killed_midway += u32::from(size < EVENTS as u64);
        let (sound, _, report) = ledger.verify(&[]).await;
        assert!(sound, "{report:#}");
    }
    assert!(killed_midway >= 2, "the keeper was faster than the attempts to kill it");
    ledger.daybook(&["checkpoint"]).await.done();
    let (sound, _, report) = ledger.verify(&[]).await;
    assert!(sound, "{report:#}");
    assert_eq!(report["checks"][1]["checked"], EVENTS);
}

#[tokio::test]
async fn a_tree_that_does_not_continue_what_was_signed_is_not_signed() {
    let ledger = SignedLedger::of_events(5, 400, &[300]).await;
    ledger.tamper("update events set event_version = '1.1' where position = 200").await;
    ledger.rehash().await;
    ledger.tamper("delete from log_checkpoints where size = 400").await;
    let key = open_key(&ledger.store, &ledger.key_file()).await.unwrap();
    let mut connection = ledger.store.connection().await.unwrap();
    let error = sign(&mut connection, &key).await.unwrap_err();
    assert!(chain(&error).contains("does not continue the one of 300 events"), "{}", chain(&error));
    assert_eq!(ledger.signed_size().await, 300);
    // Nor is one that continues all that the ledger has kept, but not what lies beside the key.
    ledger.tamper("delete from log_checkpoints").await;
    let error = sign(&mut connection, &key).await.unwrap_err();
    assert!(chain(&error).contains("does not continue the one of 400 events"), "{}", chain(&error));
    ledger.tamper("update events set event_version = '1.0' where position = 200").await;
    ledger.rehash().await;
    assert_eq!(sign(&mut connection, &key).await.unwrap().unwrap().size, 400);
}

/// Waits until the keeper is in trouble, for this reason.
async fn troubled(keeper: &Keeper, why: &str) {
    let mut kept = keeper.kept();
    kept.wait_for(|kept| kept.trouble.as_ref().is_some_and(|trouble| trouble.contains(why))).await.unwrap();
}

#[tokio::test]
async fn a_ledger_restored_from_an_older_backup_signs_no_fork() {
    let ledger = SignedLedger::of_events(5, 300, &[]).await;
    let backup = ledger.database.restored().await;
    ledger.append("lost", 100).await;
    ledger.daybook(&["checkpoint"]).await.done();
    let ledger = ledger.on(backup).await;

    ledger.daybook(&["checkpoint"]).await.refused("the log has signed 400 events and this book has 300");
    ledger.append("another", 50).await;
    let key = open_key(&ledger.store, &ledger.key_file()).await.unwrap();
    let keeper = Keeper::start(&ledger.store, None, options(key)).await;
    troubled(&keeper, "the log has signed 400 events and this book has 350").await;
    // As soon as it is longer, its numbers could be signed; its events are others.
    ledger.append("another still", 100).await;
    troubled(&keeper, "the tree of 450 events does not continue the one of 400 events").await;
    keeper.shutdown().await;
    assert_eq!(ledger.signed_size().await, 300, "nothing was signed since");
    let found = ledger.daybook(&["verify", "--full"]).await;
    assert!(found.code == Some(1) && found.output.contains("the checkpoint of 400 events in "), "{found:?}");
}

/// An event whose time is none cannot be read: a stand-in for whatever keeps the events from being read once.
#[tokio::test]
async fn a_look_at_the_events_that_fails_is_taken_again() {
    let ledger = SignedLedger::of_events(5, 300, &[]).await;
    ledger.tamper("update events set event_version = '1.1' where position = 200").await;
    ledger.rehash().await;
    ledger.tamper("alter table events drop constraint events_recorded_at_representable").await;
    ledger.tamper("update events set recorded_at = 'infinity' where position = 5").await;
    ledger.append("later", 1).await;
    let key = open_key(&ledger.store, &ledger.key_file()).await.unwrap();
    let keeper = Keeper::start(&ledger.store, None, options(key)).await;
    troubled(&keeper, "the tree of 301 events does not continue the one of 300 events").await;
    assert!(!keeper.kept().borrow().forked, "nobody could tell yet");
    ledger.tamper("update events set recorded_at = now() where position = 5").await;
    let mut kept = keeper.kept();
    let forked = kept.wait_for(|kept| kept.forked);
    // Well before an operator is reminded.
    time::timeout(Duration::from_secs(60), forked).await.expect("it is looked at again").unwrap();
    keeper.shutdown().await;
}

/// The tools that record look at what lies beside the key, as the server does.
#[tokio::test]
async fn a_tool_records_nothing_on_a_fork_unless_an_operator_says_so() {
    let ledger = SignedLedger::of_events(5, 300, &[]).await;
    let backup = ledger.database.restored().await;
    let file = ledger.file("invoices.csv");
    fs::write(
        &file,
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n\
         100,TEA,tea,10,2011-01-03 10:00:00,1.50,7.0,France\n",
    )
    .unwrap();
    let import = ["import", "invoices", text(&file)];
    let head = async |ledger: &SignedLedger| ledger.store.head().await.unwrap().position;
    // Tiles that are behind what was signed are no fork.
    ledger.tamper("delete from log_tiles; update transparency_log set size = 0").await;
    ledger.daybook(&import).await.done();
    let recorded = head(&ledger).await;
    assert!(recorded > 300);
    ledger.daybook(&["checkpoint"]).await.done();

    let ledger = ledger.on(backup).await;
    let refused = async |ledger: &SignedLedger, why: &str| {
        let before = head(ledger).await;
        for arguments in [&import[..], &["demo"]] {
            let said = ledger.daybook(arguments).await;
            assert!(said.errors.contains("`--log-key none`"), "{said:?}");
            said.refused(why);
        }
        assert_eq!(head(ledger).await, before, "nothing was recorded");
    };
    refused(&ledger, &format!("the log has signed {recorded} events and this book has 300")).await;
    ledger.daybook(&[&import[..], &["--log-key", "none"]].concat()).await.done();
    assert_eq!(head(&ledger).await, recorded);
    // By now it is as long as what was signed, and another one.
    let why = format!("the tree of {recorded} events does not continue the one of {recorded} events");
    refused(&ledger, &why).await;
}

#[tokio::test]
async fn a_tree_does_not_grow_past_an_event_that_is_missing() {
    let ledger = SignedLedger::of_events(5, 400, &[300]).await;
    let mut connection = ledger.store.connection().await.unwrap();
    ledger.append("another", 100).await;
    for (deleted, limit, missing) in [
        ("position > 480", 2_000, 481),
        ("position = 450", 2_000, 450),
        ("position = 401", 2_000, 401),
        // So many that none is left to be read.
        ("position = 401", 1, 401),
        ("position > 400", 2_000, 401),
    ] {
        ledger.tamper(&format!("delete from events where {deleted}")).await;
        let refused = add_events(&mut connection, limit).await.unwrap_err().to_string();
        let expected = format!("event {missing} is missing in the book, which goes on to position 500;");
        assert!(refused.starts_with(&expected), "{deleted}: {refused}");
        let kept: i64 =
            sqlx::query_scalar("select size from transparency_log").fetch_one(ledger.store.pool()).await.unwrap();
        assert_eq!(kept, 400);
    }
}

#[tokio::test]
async fn a_tree_that_a_crash_has_set_back_is_signed_once_it_has_come_so_far_again() {
    let ledger = SignedLedger::of_events(5, 400, &[300]).await;
    ledger.tamper("delete from log_tiles; update transparency_log set size = 0").await;
    ledger.tamper("delete from log_checkpoints where size = 400").await;
    let key = open_key(&ledger.store, &ledger.key_file()).await.unwrap();
    let mut connection = ledger.store.connection().await.unwrap();
    for size in [100, 200, 300, 350] {
        let grown = add_events(&mut connection, if size == 350 { 50 } else { 100 }).await.unwrap().size;
        assert_eq!(grown, size);
        sign(&mut connection, &key).await.unwrap();
        assert_eq!(ledger.signed_size().await, 300, "at {size}");
    }
    add_events(&mut connection, 50).await.unwrap();
    assert_eq!(sign(&mut connection, &key).await.unwrap().unwrap().size, 400);
    assert_eq!(ledger.signed_size().await, 400);
    assert!(ledger.verify(&[]).await.0);
}

/// Spoils the hash of an event among the second 256.
async fn spoil(ledger: &SignedLedger, position: u64) {
    let at = (position - 257) * 32;
    let byte = format!("set_byte(hashes, {at}, get_byte(hashes, {at}) # 1)");
    ledger.tamper(&format!("update log_tiles set hashes = {byte} where level = 0 and n = 1")).await;
}

#[tokio::test]
async fn a_spoilt_tile_is_not_signed_and_can_be_mended() {
    let ledger = SignedLedger::of_events(5, 300, &[]).await;
    let key = open_key(&ledger.store, &ledger.key_file()).await.unwrap();
    let mut connection = ledger.store.connection().await.unwrap();
    // Of an event that was not signed yet, and of one that was.
    for (stream, position, signed) in [("a", 305, 300), ("b", 305, 310)] {
        ledger.append(stream, 10).await;
        while add_events(&mut connection, 100).await.unwrap().goes_on {}
        spoil(&ledger, position).await;
        let error = sign(&mut connection, &key).await.unwrap_err();
        assert!(chain(&error).contains("`daybook tree rebuild`"), "{}", chain(&error));
        assert_eq!(ledger.signed_size().await, signed);
        ledger.daybook(&["tree", "rebuild"]).await.done();
        assert!(sign(&mut connection, &key).await.unwrap().is_some_and(|now| now.size > signed as u64));
        assert!(ledger.verify(&[]).await.0);
    }

    // While a keeper looks on that knows the events.
    let keeper = Keeper::start(&ledger.store, None, options(key)).await;
    signed(&keeper, 320).await;
    ledger.append("c", 10).await;
    signed(&keeper, 330).await;
    spoil(&ledger, 325).await;
    ledger.append("d", 10).await;
    troubled(&keeper, "`daybook tree rebuild`").await;
    assert_eq!(ledger.signed_size().await, 330);
    ledger.daybook(&["tree", "rebuild"]).await.done();
    signed(&keeper, 340).await;
    assert_eq!(keeper.kept().borrow().trouble, None);
    keeper.shutdown().await;
    assert!(ledger.verify(&[]).await.0);
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused() {
    let ledger = SignedLedger::of_events(5, 10, &[]).await;
    for mode in [0o644, 0o640, 0o602, 0o666] {
        fs::set_permissions(ledger.key_file(), fs::Permissions::from_mode(mode)).unwrap();
        ledger.daybook(&["checkpoint"]).await.refused("run `chmod 600 ");
    }
    fs::set_permissions(ledger.key_file(), fs::Permissions::from_mode(0o400)).unwrap();
    ledger.daybook(&["checkpoint"]).await.done();
}

#[tokio::test]
async fn the_key_is_made_once_and_only_its_owner_reads_it() {
    let ledger = SignedLedger::empty().await;
    let file = ledger.file("deep/er/log.key");
    let (one, other) = tokio::join!(open_key(&ledger.store, &file), open_key(&ledger.store, &file));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.public(), other.public());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");
    let log = standing(ledger.store.pool()).await.unwrap();
    assert_eq!(log.vkey, Some(one.public().to_string()));
    assert_eq!(log.origin.as_deref(), Some(one.public().name()));

    // A first start that died between the file and the ledger goes on with the key that lies there.
    ledger.tamper("update transparency_log set vkey = null").await;
    assert_eq!(open_key(&ledger.store, &file).await.unwrap().public(), one.public());
}

#[tokio::test]
async fn a_ledger_whose_key_is_missing_or_another_is_not_served_unless_unsigned() {
    let (ledger, stranger) = (SignedLedger::of_events(5, 10, &[]).await, SignedLedger::of_events(5, 10, &[]).await);
    let missing = open_key(&ledger.store, &ledger.file("elsewhere")).await.unwrap_err();
    assert!(matches!(missing, LogKeyError::Missing { .. }));
    assert!(!ledger.file("elsewhere").exists(), "no key is made in its place");
    let another = open_key(&ledger.store, &stranger.key_file()).await.unwrap_err();
    assert!(matches!(another, LogKeyError::Another { .. }));
    fs::write(ledger.file("broken"), "no key").unwrap();
    fs::set_permissions(ledger.file("broken"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(open_key(&ledger.store, &ledger.file("broken")).await, Err(LogKeyError::Unreadable { .. })));

    fs::rename(ledger.key_file(), ledger.file("away")).unwrap();
    let server = serve(&ledger).wait_with_output().await.unwrap();
    assert!(!server.status.success());
    let said = String::from_utf8(server.stderr).unwrap();
    assert!(said.contains("put it back") && said.contains("--log-key none"), "{said}");
    // Whoever needs no key goes on.
    ledger.daybook(&["checkpoint", "--log-key", "none"]).await.done();
    ledger.daybook(&["checkpoint"]).await.refused("put it back");
}
