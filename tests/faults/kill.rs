//! Processes that project are killed, again and again, while they rebuild and while they follow the book: afterwards the
//! rows are exactly those of a cold rebuild, and no half of anything ever served.

use std::process::Stdio;

use daybook_projections::{
    BOARD, Projector, ProjectorOptions, Reader,
    engine::{RebuildOptions, Room, checksum, rebuild, verify},
    find,
};
use daybook_tests::{TestDatabase, database, equality, history::LONG, load::long_book, program};
use tokio::{
    process::{Child, Command},
    task,
};

const EVENTS: i64 = 12_000;
const ACCOUNTS: i64 = 50;
const KILLS: i64 = 4;

fn start(name: &str, arguments: &[&str], database: &TestDatabase) -> Child {
    Command::new(program(name))
        .envs(daybook_tests::master_key_env())
        .args(arguments)
        .args(["--database-url", database.url()])
        .env("RUST_LOG", "error")
        .env("DAYBOOK_LOG_KEY", "none")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts")
}

/// Waits until the build at this stage has passed a position, or until `child` has ended; `false` then.
async fn passes(database: &TestDatabase, stage: &str, position: i64, child: &mut Child) -> bool {
    let reached = "select coalesce(max(position), 0) from projections where name = 'account_statement' and stage = $1";
    loop {
        let at: i64 = sqlx::query_scalar(reached).bind(stage).fetch_one(database.pool()).await.unwrap();
        if at > position {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        task::yield_now().await;
    }
}

#[tokio::test]
async fn a_rebuild_killed_again_and_again_goes_on_and_is_as_one_that_was_not() {
    let database = database().await;
    let store = database.store().await;
    long_book(database.pool(), ACCOUNTS, EVENTS).await;
    let statement = find("account_statement").unwrap();
    let projector = Projector::start(&store, BOARD, None, ProjectorOptions::default()).await.unwrap();
    let reader = Reader::new(&store, BOARD, Some(&projector));
    reader.wait_for("account_statement", EVENTS as u64, LONG).await.unwrap();
    let mut connection = store.connection().await.unwrap();
    let served = checksum(&statement, &mut connection).await.unwrap();

    // A small memory makes for small chunks, so that there is much to be interrupted.
    let again = ["rebuild", "account_statement", "--memory", "32"];
    let mut killed = 0;
    for kill in 0..KILLS {
        let mut child = start("daybook", &again, &database);
        if passes(&database, "building", kill * EVENTS / KILLS, &mut child).await {
            child.kill().await.unwrap();
            killed += 1;
            // Whatever was in the middle of being made, readers see what they saw.
            assert_eq!(checksum(&statement, &mut connection).await.unwrap(), served);
        }
    }
    assert!(killed >= 2, "a rebuild was faster than {KILLS} attempts to kill it");
    let rebuilt = rebuild(&store, &statement, &RebuildOptions::default(), |_| {}).await.unwrap();
    assert!(rebuilt.resumed_at > Some(0), "it went on with what the killed ones had made");
    assert_eq!((rebuilt.proof.different, rebuilt.live.unwrap().different), (0, 0));
    assert_eq!(checksum(&statement, &mut connection).await.unwrap(), served);
    projector.shutdown().await;
}

#[tokio::test]
async fn a_projecting_process_killed_again_and_again_leaves_the_rows_of_a_cold_rebuild() {
    let database = database().await;
    long_book(database.pool(), ACCOUNTS, EVENTS).await;
    let server = ["--listen", "127.0.0.1:0"];
    for kill in 0..KILLS {
        let mut child = start("daybook-server", &server, &database);
        assert!(passes(&database, "serving", kill * EVENTS / (2 * KILLS), &mut child).await, "the server follows");
        child.kill().await.unwrap();
    }
    let store = database.store().await;
    let projector = Projector::start(&store, BOARD, None, ProjectorOptions::default()).await.unwrap();
    let reader = Reader::new(&store, BOARD, Some(&projector));
    for projection in BOARD {
        reader.wait_for(projection.name, EVENTS as u64, LONG).await.unwrap();
        assert_eq!(verify(&store, projection, &Room::default()).await.unwrap().different, 0, "{}", projection.name);
    }
    assert_eq!(equality::broken(&store, BOARD).await, []);
    projector.shutdown().await;
}
