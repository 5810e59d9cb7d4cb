//! S61 and S64: rows are folded again in the shadow, and a projection is rebuilt while customers read and write.

use std::{
    collections::BTreeSet,
    env,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use daybook_core::{Position, RecordedEvent, domain::AccountId};
use daybook_projections::{
    Definition, Projector, ProjectorOptions,
    engine::{
        Changes, FoldError, Follows, Look, Phase, Projection, RebuildError, RebuildOptions, Room, Table, look, rebuild,
        repair, roll_back, verify,
    },
    find,
    statement::AccountStatement,
};
use daybook_tests::{
    api::TestApp,
    commands::{adjust, usd},
    database,
    load::long_book,
    program,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{process::Command, runtime::Handle, task, task::JoinSet, time};
use tokio_util::sync::CancellationToken;

use super::world::{Books, World};

#[tokio::test]
async fn s61_a_shadow_fold_finds_a_spoilt_row_and_only_that_account_is_mended() {
    let world = World::new().await;
    let mut accounts = Vec::new();
    for _ in 0..3 {
        let books: Books = world.books("USD").await;
        world.adjust(&books, "12.00").await;
        accounts.push(books.account);
    }
    world.read("/v1/accounts").await;
    let store = world.app.database.store().await;
    let statement = find("account_statement").unwrap();
    world.read(&format!("/v1/accounts/{}/statement", accounts[0])).await;
    assert_eq!(verify(&store, &statement, &Room::default()).await.unwrap().different, 0);

    sqlx::query("update account_statement_v1 set amount = 13 where account_id = $1")
        .bind(&accounts[1])
        .execute(world.app.database.pool())
        .await
        .unwrap();
    let nightly = verify(&store, &statement, &Room::default()).await.unwrap();
    assert_eq!((nightly.different, nightly.differences[0].key["account_id"].as_str()), (1, Some(&*accounts[1])));
    let credited: i64 = sqlx::query_scalar("select position from account_statement where account_id = $1")
        .bind(&accounts[1])
        .fetch_one(world.app.database.pool())
        .await
        .unwrap();
    let Look::Drifted(found) = look(&store, &statement, credited as Position).await.unwrap() else {
        panic!("the watch does not see it")
    };
    assert_eq!(found, nightly.differences);

    let repaired = repair(&store, &statement, BTreeSet::from([accounts[1].clone()])).await.unwrap();
    assert_eq!((repaired.rows, repaired.mended), (2, 1), "a line and its day, of which the line was wrong");
    assert_eq!(verify(&store, &statement, &Room::default()).await.unwrap().different, 0);
    let shown = world.read(&format!("/v1/accounts/{}/statement", accounts[1])).await;
    assert_eq!(shown["closing"]["amount"], "12.00");
}

/// The statement as a later release would have it: another version, with tables of its own.
enum NextStatement {}

impl Projection for NextStatement {
    const NAME: &'static str = AccountStatement::NAME;
    const VERSION: i32 = AccountStatement::VERSION + 1;
    const FOLLOWS: Follows = AccountStatement::FOLLOWS;
    const TABLES: &'static [Table] = AccountStatement::TABLES;

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        AccountStatement::fold(event, changes)
    }
}

static NEXT_RELEASE: &[Definition] = &[Definition::of::<NextStatement>(), Definition::of::<AccountStatement>()];

const ACCOUNTS: i64 = 1_000;
/// Those that are written to; all are read.
const ACTIVE: u64 = 100;

/// Who asks and who writes meanwhile.
#[derive(Clone, Copy)]
struct Crowd {
    readers: u64,
    /// One command in so much time.
    pace: Duration,
}

/// Where all tests run, at once and in a debug build.
const FEW: Crowd = Crowd { readers: 10, pace: Duration::from_millis(50) };
/// 200 commands in a second.
const MANY: Crowd = Crowd { readers: 50, pace: Duration::from_millis(5) };

/// What readers saw.
#[derive(Default)]
struct Seen {
    answers: AtomicU64,
    /// Of the slowest answer, in microseconds.
    slowest: AtomicU64,
    by_next: AtomicU64,
}

/// Reads statements until it is told to stop. No answer fails, and none is older than one given before.
async fn read(app: Arc<TestApp>, crowd: Crowd, reader: u64, seen: Arc<Seen>, stop: CancellationToken) {
    let mut last = 0;
    let mut turn = reader;
    while !stop.is_cancelled() {
        turn += crowd.readers;
        let account = turn % ACCOUNTS as u64;
        let path = format!("/v1/accounts/acc_LOAD{account:04}/statement?from=2024-01-01&to=2024-01-04");
        let asked = Instant::now();
        let answer = daybook_tests::api::Answer::to(app.request(Method::GET, &path)).await;
        seen.slowest.fetch_max(asked.elapsed().as_micros() as u64, Ordering::Relaxed);
        seen.answers.fetch_add(1, Ordering::Relaxed);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let position: Position = answer.header("ledger-position").parse().expect("an answer tells its position");
        assert!(position >= last, "{path}: {position} after {last}");
        if answer.header("projection-version").ends_with("/2") {
            seen.by_next.fetch_add(1, Ordering::Relaxed);
        }
        last = position;
    }
}

/// Adjusts one account after the other at a steady pace, whatever the answers take; tells how often, and for how long.
async fn write(app: Arc<TestApp>, pace: Duration, stop: CancellationToken) -> (u64, Duration) {
    let begun = Instant::now();
    let mut pace = time::interval(pace);
    let (mut sent, mut answers) = (0, JoinSet::new());
    while !stop.is_cancelled() {
        pace.tick().await;
        let account: AccountId = format!("acc_LOAD{:04}", sent % ACTIVE).parse().unwrap();
        let app = app.clone();
        answers.spawn(async move { app.writer().execute(adjust(&account, usd("0.50"))).await });
        sent += 1;
        while let Some(answer) = answers.try_join_next() {
            answer.unwrap().expect("the load is accepted");
        }
    }
    while let Some(answer) = answers.join_next().await {
        answer.unwrap().expect("the load is accepted");
    }
    (sent, begun.elapsed())
}

/// `DAYBOOK_LOAD_EVENTS` says how long the book is: 1,000,000 in the scenario, fewer where every test runs. Then the times
/// of the scenario must hold, too, which they do on a machine that does nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s64_a_new_version_takes_over_under_load_and_can_be_rolled_back() {
    let load: Option<i64> = env::var("DAYBOOK_LOAD_EVENTS").ok().map(|events| events.parse().unwrap());
    let events = load.unwrap_or(20_000);
    let crowd = if load.is_some() { MANY } else { FEW };
    let database = database().await;
    long_book(database.pool(), ACCOUNTS, events).await;
    for table in ["account_statement", "account_days"] {
        sqlx::raw_sql(&format!("create table {table}_v2 (like {table}_v1 including all)"))
            .execute(database.pool())
            .await
            .unwrap();
    }
    let pool = database.pool().clone();
    let app = Arc::new(TestApp::on(database).await);
    let store = app.database.store().await;
    let next_release = Projector::start(&store, NEXT_RELEASE, None, ProjectorOptions::default()).await.unwrap();
    while app.request(Method::GET, "/readyz").send().await.unwrap().status() != 200 {
        task::yield_now().await;
    }

    let (stop, seen) = (CancellationToken::new(), Arc::new(Seen::default()));
    let mut readers = JoinSet::new();
    for reader in 0..crowd.readers {
        readers.spawn(read(app.clone(), crowd, reader, seen.clone(), stop.clone()));
    }
    let writing = tokio::spawn(write(app.clone(), crowd.pace, stop.clone()));

    // First the same version anew, by the program that an operator runs.
    let rebuild_it = ["rebuild", "account_statement", "--json", "--database-url", app.database.url()];
    let anew =
        Command::new(program("daybook")).envs(daybook_tests::master_key_env()).args(rebuild_it).output().await.unwrap();
    assert!(anew.status.success(), "{}", String::from_utf8_lossy(&anew.stderr));
    let anew: Value = serde_json::from_slice(&anew.stdout).unwrap();
    let anew = &anew[0];
    assert_eq!((&anew["proof"]["different"], &anew["live"]["different"]), (&json!(0), &json!(0)), "{anew}");
    assert_eq!(anew["build"], 2);

    // One account of the new version differs: it does not serve, and the account is named.
    let next = Definition::of::<NextStatement>();
    let plant = |phase| {
        if phase == Phase::Comparing {
            let spoil = "update account_statement_v2_b3 set amount = 0 where account_id = 'acc_LOAD0007' and entry = 3";
            let spoilt = task::block_in_place(|| Handle::current().block_on(sqlx::query(spoil).execute(&pool)));
            assert_eq!(spoilt.unwrap().rows_affected(), 1);
        }
    };
    match rebuild(&store, &next, &RebuildOptions::default(), |told| plant(told.phase)).await {
        Err(RebuildError::Unproven(proof)) => {
            let named: Vec<_> = proof.differences.iter().map(|found| found.key.to_string()).collect();
            assert_eq!(named, [r#"{"account_id":"acc_LOAD0007","entry":3}"#]);
            assert_eq!(proof.different, 1);
        }
        other => panic!("{other:?}"),
    }

    let begun = Instant::now();
    let rebuilt = rebuild(&store, &next, &RebuildOptions::default(), |_| {}).await.unwrap();
    let took = begun.elapsed();
    let live = rebuilt.live.unwrap();
    assert_eq!((rebuilt.proof.different, live.different, live.version), (0, 0, 1));
    assert!(rebuilt.proof.rows >= events - ACCOUNTS);
    // The next release follows with it, and readers see it.
    let by_next = seen.by_next.load(Ordering::Relaxed);
    while seen.by_next.load(Ordering::Relaxed) < by_next + crowd.readers {
        assert!(readers.try_join_next().is_none(), "a reader has fallen");
        task::yield_now().await;
    }

    let begun = Instant::now();
    let (served, _) = roll_back(&store, &next, None).await.unwrap();
    let rolled_back = begun.elapsed();
    assert_eq!((served.definition.version, served.build), (1, 2));
    assert!(rolled_back < Duration::from_secs(5), "{rolled_back:?}");
    let (served, _) = roll_back(&store, &next, None).await.unwrap();
    assert_eq!(served.definition.version, 2, "what was rolled back can be rolled forward");

    stop.cancel();
    let (written, writing_took) = writing.await.unwrap();
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    let head = app.position().await;
    let reader = daybook_projections::Reader::new(&store, NEXT_RELEASE, Some(&next_release));
    reader.wait_for(next.name, head, Duration::from_secs(60)).await.unwrap();
    assert_eq!(verify(&store, &next, &Room::default()).await.unwrap().different, 0);
    let memory = anew["memory"].as_u64().unwrap() >> 20;
    let rate = written as f64 / writing_took.as_secs_f64();
    let waited = rebuilt.switched_in.unwrap();
    assert!(memory < 300, "{memory} MiB");
    if load.is_some() {
        assert!(waited < Duration::from_millis(100), "{waited:?}");
        assert!(rate > 195.0, "{rate} commands in a second");
    }
    eprintln!(
        "{events} events, {written} commands at {rate:.0}/s, {} answers to {} readers, the slowest in {} ms; built and proven in \
         {took:.1?} in {} portions, readers waited {waited:?}, rolled back in {rolled_back:?}; the program alone took {memory} MiB, and \
         readers waited {} µs",
        seen.answers.load(Ordering::Relaxed),
        crowd.readers,
        seen.slowest.load(Ordering::Relaxed) / 1000,
        rebuilt.proof.portions,
        anew["readers_waited_microseconds"],
    );
    next_release.shutdown().await;
}
