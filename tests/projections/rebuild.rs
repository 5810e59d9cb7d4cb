//! Every projection on the board: what lies in the tables is what a rebuild makes, and what a fresh fold makes, however
//! many projectors are at work, and whatever one event does to one of them.

use std::{sync::Arc, time::Duration};

use daybook_core::operations::{JoinGroup, Operation, Registration};
use daybook_projections::{
    BOARD, Chosen, Freshness, Moment, Projector, ProjectorOptions, ReadError, Reader, Viewer,
    engine::{
        Difference, Phase, Progress, RebuildError, RebuildOptions, Room, State, checksum, rebuild, standings, verify,
    },
    find,
    payment::PaymentRow,
};
use daybook_tests::{
    commands::id,
    equality,
    history::{LONG, Ledger, varied_history},
    listed::newest,
    load::long_book,
    operator::break_the_book,
    program,
};
use sqlx::PgPool;
use tokio::{process::Command, sync::Notify};

#[tokio::test]
async fn live_rows_are_rebuilt_rows_are_a_fresh_fold() {
    let mut ledger = Ledger::new().await;
    let projector = ledger.projector(true).await;
    varied_history(&mut ledger).await;
    ledger.projected(Some(&projector)).await;

    let mut connection = ledger.store.connection().await.unwrap();
    for projection in BOARD {
        for table in checksum(projection, &mut connection).await.unwrap() {
            assert!(table.rows > 0, "the history leaves nothing in {}", table.table);
        }
    }
    assert_eq!(equality::broken(&ledger.store, BOARD).await, []);
    projector.shutdown().await;
}

#[tokio::test]
async fn two_projectors_at_once_apply_every_event_once() {
    let mut ledger = Ledger::new().await;
    let small = ProjectorOptions { batch: 3, ..ProjectorOptions::default() };
    let elsewhere = ledger.database.store().await;
    let here = Projector::start(&ledger.store, BOARD, Some(&ledger.writer), small.clone()).await.unwrap();
    let there = Projector::start(&elsewhere, BOARD, None, small).await.unwrap();
    varied_history(&mut ledger).await;
    ledger.projected(Some(&here)).await;
    ledger.projected(None).await;

    for projection in BOARD {
        let verified = verify(&ledger.store, projection, &Room::default()).await.unwrap();
        assert_eq!((verified.different, verified.position), (0, ledger.last), "{verified:?}");
    }
    here.shutdown().await;
    there.shutdown().await;
}

#[tokio::test]
async fn an_event_that_cannot_be_folded_stops_those_who_follow_it_and_no_other() {
    let mut ledger = Ledger::varied().await;
    let before = ledger.last;
    break_the_book(ledger.database.pool()).await;
    ledger.act(Operation::RegisterCustomer(Registration { name: "Bob".into(), email: None })).await;

    let projector = ledger.projector(false).await;
    let reader = Reader::new(&ledger.store, BOARD, Some(&projector));
    for projection in BOARD {
        let follows = matches!(projection.name, "tickets" | "history" | "journal");
        match reader.wait_for(projection.name, ledger.last, LONG).await {
            Ok(()) => assert!(!follows, "{} went over it", projection.name),
            Err(ReadError::Behind { position, stopped, .. }) => {
                assert_eq!((position, stopped, follows), (before, true, true))
            }
            Err(other) => panic!("{other}"),
        }
        let verified = verify(&ledger.store, projection, &Room::default()).await.unwrap();
        assert_eq!(verified.different, 0, "{verified:?}");
    }

    let mut connection = ledger.store.connection().await.unwrap();
    for standing in standings(BOARD, &mut connection).await.unwrap() {
        if standing.state == State::Stopped {
            assert_eq!(standing.error_position, Some(before + 1));
            let error = standing.error.unwrap();
            assert!(error.starts_with(&format!("event {}: the event cannot be read", before + 1)), "{error}");
            assert_eq!((standing.position, standing.lag_events), (before, 2));
        } else {
            assert_eq!((standing.error, standing.lag_events, standing.lag_milliseconds), (None, 0, 0));
        }
    }
    projector.shutdown().await;
}

#[tokio::test]
async fn a_row_that_was_tampered_with_is_named() {
    let ledger = Ledger::varied_and_projected().await;
    let projector = ledger.projector(true).await;
    sqlx::query("update accounts_v1 set balance = balance + 1 where currency = 'EUR'")
        .execute(ledger.database.pool())
        .await
        .unwrap();

    let verified = verify(&ledger.store, &find("accounts").unwrap(), &Room::default()).await.unwrap();
    assert_eq!((verified.rows, verified.different), (2, 1));
    let Difference { table, key, stored, expected } = &verified.differences[0];
    let (stored, expected) = (stored.as_ref().unwrap(), expected.as_ref().unwrap());
    assert_eq!((*table, &key["id"]), ("accounts", &expected["id"]));
    assert_eq!((stored["balance"].to_string(), expected["balance"].to_string()), ("10.12".into(), "9.12".into()));
    projector.shutdown().await;
}

#[tokio::test]
async fn customers_read_throughout_a_rebuild() {
    let ledger = Ledger::varied_and_projected().await;
    let projector = ledger.projector(true).await;
    let reader = Reader::new(&ledger.store, BOARD, Some(&projector));
    let statement = find("account_statement").unwrap();
    let mut before = reader.snapshot(&Viewer::Provider, &["account_statement"], None).await.unwrap();

    // The rebuild is ready to take over, and waits for the reader that began before it.
    let store = ledger.store.clone();
    let (ready, mut told) = tokio::sync::watch::channel(0);
    let rebuilding = tokio::spawn(async move {
        rebuild(&store, &statement, &RebuildOptions::default(), |told| {
            ready.send_replace(told.position);
        })
        .await
    });
    told.wait_for(|position| *position == ledger.last).await.unwrap();
    let lines = "select count(*) from account_statement";
    let count: i64 = sqlx::query_scalar(lines).fetch_one(&mut *before).await.unwrap();
    drop(before);
    assert_eq!(rebuilding.await.unwrap().unwrap().position, ledger.last);

    let mut after = reader.snapshot(&Viewer::Provider, &["account_statement"], None).await.unwrap();
    let still: i64 = sqlx::query_scalar(lines).fetch_one(&mut *after).await.unwrap();
    assert_eq!((still, after.position()), (count, ledger.last));
    projector.shutdown().await;
}

#[tokio::test]
async fn an_interrupted_rebuild_goes_on_where_it_stood() {
    let mut ledger = Ledger::varied_and_projected().await;
    let projector = ledger.projector(true).await;
    let accounts = find("accounts").unwrap();
    let (store, reached) = (ledger.store.clone(), Arc::new(Notify::new()));
    let told = reached.clone();
    let interrupted = tokio::spawn(async move {
        rebuild(&store, &accounts, &RebuildOptions::default(), |progress| {
            if progress.phase == Phase::Comparing {
                told.notify_one();
            }
        })
        .await
    });
    reached.notified().await;
    interrupted.abort();
    assert!(interrupted.await.unwrap_err().is_cancelled(), "the rebuild was cut before it took over");

    let rebuilt = rebuild(&ledger.store, &accounts, &RebuildOptions::default(), |_| {}).await.unwrap();
    assert_eq!((rebuilt.resumed_at, rebuilt.position, rebuilt.build), (Some(ledger.last), ledger.last, 2));
    assert_eq!(verify(&ledger.store, &accounts, &Room::default()).await.unwrap().different, 0);
    // The projector goes on upon the new tables.
    ledger.act(Operation::RegisterCustomer(Registration { name: "Bob".into(), email: None })).await;
    ledger.projected(Some(&projector)).await;
    projector.shutdown().await;
}

#[tokio::test]
async fn a_projection_that_stopped_at_spoilt_rows_goes_on_after_a_rebuild() {
    let mut ledger = Ledger::new().await;
    let projector = ledger.projector(true).await;
    varied_history(&mut ledger).await;
    let customer = ledger.act(Operation::RegisterCustomer(Registration { name: "Bob".into(), email: None })).await;
    ledger.projected(Some(&projector)).await;
    let before = ledger.last;
    sqlx::query("delete from customers_v1").execute(ledger.database.pool()).await.unwrap();
    let join = JoinGroup { customer: id(&customer), group: "gold".into() };
    ledger.act(Operation::JoinGroup(join)).await;

    let reader = Reader::new(&ledger.store, BOARD, Some(&projector));
    match reader.wait_for("customers", ledger.last, LONG).await {
        Err(ReadError::Behind { position, stopped: true, .. }) => assert_eq!(position, before),
        other => panic!("{other:?}"),
    }
    let customers = find("customers").unwrap();
    assert_eq!(
        rebuild(&ledger.store, &customers, &RebuildOptions::default(), |_| {}).await.unwrap().position,
        ledger.last
    );
    reader.wait_for("customers", ledger.last, LONG).await.unwrap();
    let mut connection = ledger.store.connection().await.unwrap();
    let standings = standings(BOARD, &mut connection).await.unwrap();
    assert!(standings.iter().all(|standing| standing.state == State::Running && standing.error.is_none()));
    assert_eq!(verify(&ledger.store, &customers, &Room::default()).await.unwrap().different, 0);
    projector.shutdown().await;
}

#[tokio::test]
async fn a_book_that_cannot_be_folded_leaves_the_serving_tables_alone() {
    let ledger = Ledger::varied_and_projected().await;
    let projector = ledger.projector(true).await;
    let tickets = find("tickets").unwrap();
    let mut connection = ledger.store.connection().await.unwrap();
    let served = checksum(&tickets, &mut connection).await.unwrap();
    break_the_book(ledger.database.pool()).await;

    match rebuild(&ledger.store, &tickets, &RebuildOptions::default(), |_| {}).await {
        Err(RebuildError::Fold { position, .. }) => assert_eq!(position, ledger.last + 1),
        other => panic!("{other:?}"),
    }
    assert_eq!(checksum(&tickets, &mut connection).await.unwrap(), served);
    projector.shutdown().await;
}

/// More events than a rebuild reads at once at first.
const MANY: i64 = 2_500;

/// Appends the event of an account's fifth entry once more, with something else in its payload.
async fn enter_again(pool: &PgPool, change: &str) {
    sqlx::query(&format!(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         select aggregate_type, aggregate_id, {MANY} + 1, event_type, event_version, payload::jsonb {change}, metadata
         from events where position = 6"
    ))
    .execute(pool)
    .await
    .unwrap();
}

/// The tables are filled before they have keys, so that nothing is in the way of the second row at first.
#[tokio::test]
async fn of_two_distant_events_that_make_the_same_row_a_rebuild_names_the_second() {
    let ledger = Ledger::new().await;
    long_book(ledger.database.pool(), 1, MANY).await;
    enter_again(ledger.database.pool(), "").await;
    let statement = find("account_statement").unwrap();
    match rebuild(&ledger.store, &statement, &RebuildOptions::default(), |_| {}).await {
        Err(RebuildError::Fold { position, reason }) => {
            assert_eq!(position, MANY as u64 + 1);
            assert!(reason.contains("duplicate key"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    let output = Command::new(program("daybook"))
        .envs(daybook_tests::master_key_env())
        .args(["rebuild", "account_statement", "--database-url", ledger.database.url()])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&format!("event {} cannot be folded", MANY + 1)), "{said}");
    let left = r"select count(*) from pg_class where relname like '%\_b2'";
    assert_eq!(sqlx::query_scalar::<_, i64>(left).fetch_one(ledger.database.pool()).await.unwrap(), 0);
}

/// What a key may hold is bounded, and is no matter either before there is one.
#[tokio::test]
async fn an_event_whose_row_is_too_large_for_its_key_is_named_by_a_rebuild() {
    let mut ledger = Ledger::new().await;
    let customer = ledger.act(Operation::RegisterCustomer(Registration { name: "Ada".into(), email: None })).await;
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         select aggregate_type, aggregate_id, 2, 'customer.joined_group', '1.0',
             json_build_object('joined_group', json_build_object('group', (
                 select string_agg(md5(number::text), '') from generate_series(1, 200) number
             ))),
             metadata
         from events where aggregate_id = $1",
    )
    .bind(customer["id"].as_str().unwrap())
    .execute(ledger.database.pool())
    .await
    .unwrap();
    match rebuild(&ledger.store, &find("customers").unwrap(), &RebuildOptions::default(), |_| {}).await {
        Err(RebuildError::Fold { position, reason }) => {
            assert_eq!(position, ledger.last + 1);
            assert!(reason.contains("exceeds"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_rebuild_finds_the_row_of_a_distant_event() {
    let ledger = Ledger::new().await;
    long_book(ledger.database.pool(), 1, MANY).await;
    let change = format!(
        r#"|| jsonb_build_object('credited', payload::jsonb -> 'credited' || '{{"entry": {MANY}, "reverses": 5}}')"#
    );
    enter_again(ledger.database.pool(), &change).await;
    let projector = ledger.projector(true).await;
    let statement = find("account_statement").unwrap();
    let mut keyed_at = Vec::new();
    let note = |progress: Progress| {
        if progress.phase == Phase::Indexing {
            keyed_at.push(progress.position);
        }
    };
    let rebuilt = rebuild(&ledger.store, &statement, &RebuildOptions::default(), note).await.unwrap();
    assert_eq!((rebuilt.position, rebuilt.proof.different), (MANY as u64 + 1, 0));
    let (first, last) = (keyed_at[0], keyed_at[1]);
    assert!(first == 0 && last > 0 && last < rebuilt.position, "a key is there before it is needed: {keyed_at:?}");
    let reversed = "select reversed_by from account_statement where entry = 5";
    let reversed: Option<i64> = sqlx::query_scalar(reversed).fetch_one(ledger.store.pool()).await.unwrap();
    assert_eq!(reversed, Some(MANY));
    // It has all indexes that the table of the migration has, the key among them.
    let indexes = "select indisprimary, indisunique, substring(pg_get_indexdef(indexrelid) from ' (USING .*)$')
                   from pg_index where indrelid = $1::regclass order by 1, 2, 3";
    for table in ["account_statement_v1", "account_days_v1"] {
        let of = async |table: &str| -> Vec<(bool, bool, String)> {
            sqlx::query_as(indexes).bind(table).fetch_all(ledger.database.pool()).await.unwrap()
        };
        assert_eq!(of(table).await, of(&format!("{table}_b2")).await);
    }
    projector.shutdown().await;
}

#[tokio::test]
async fn a_table_in_use_that_lacks_its_key_gets_it_when_a_program_starts() {
    let ledger = Ledger::varied().await;
    sqlx::raw_sql("alter table accounts_v1 drop constraint accounts_v1_pkey")
        .execute(ledger.database.pool())
        .await
        .unwrap();
    let projector = ledger.projector(true).await;
    let keys = "select count(*) from pg_index where indrelid = 'accounts_v1'::regclass and indisprimary";
    assert_eq!(sqlx::query_scalar::<_, i64>(keys).fetch_one(ledger.database.pool()).await.unwrap(), 1);
    projector.shutdown().await;
}

#[tokio::test]
async fn a_migration_exchanges_the_index_of_the_journal_in_all_builds() {
    let ledger = Ledger::varied_and_projected().await;
    let projector = ledger.projector(true).await;
    rebuild(&ledger.store, &find("journal").unwrap(), &RebuildOptions::default(), |_| {}).await.unwrap();
    let by_account = "select pg_get_indexdef(indexrelid) from pg_index
                      where indrelid in ('journal_lines_v1'::regclass, 'journal_lines_v1_b2'::regclass)
                          and pg_get_indexdef(indexrelid) like '%(account_id, %'
                      order by 1";
    let now: Vec<String> = sqlx::query_scalar(by_account).fetch_all(ledger.database.pool()).await.unwrap();
    assert!(now.len() == 2 && now.iter().all(|index| index.contains("leg = 1")), "{now:?}");
    // As they were.
    sqlx::raw_sql(
        "do $$
         declare
             made regclass;
             index regclass;
         begin
             foreach made in array array['journal_lines_v1', 'journal_lines_v1_b2'] loop
                 select indexrelid into strict index from pg_index
                 where indrelid = made and pg_get_indexdef(indexrelid) like '%(account_id, %';
                 execute format('drop index %s', index);
                 execute format('create index on %s (account_id, position) where (account_id is not null)', made);
             end loop;
         end
         $$",
    )
    .execute(ledger.database.pool())
    .await
    .unwrap();
    let migration = include_str!("../../migrations/0022_journal_index.sql");
    sqlx::raw_sql(migration).execute(ledger.database.pool()).await.unwrap();
    let without_names = |indexes: Vec<String>| -> Vec<String> {
        indexes.iter().map(|index| index.split_once(" ON ").unwrap().1.to_owned()).collect()
    };
    let then: Vec<String> = sqlx::query_scalar(by_account).fetch_all(ledger.database.pool()).await.unwrap();
    assert_eq!(without_names(then), without_names(now));
    projector.shutdown().await;
}

#[tokio::test]
async fn who_asks_for_what_is_not_projected_yet_is_told_how_far_it_is() {
    let ledger = Ledger::varied().await;
    let reader = Reader::new(&ledger.store, BOARD, None);
    let fresh = Freshness { position: ledger.last, wait: Duration::from_millis(50) };
    match reader.snapshot(&Viewer::Provider, &["accounts"], Some(fresh)).await {
        Err(ReadError::Behind { projection: "accounts", position: 0, wanted, stopped: false }) => {
            assert_eq!(wanted, ledger.last);
        }
        other => panic!("{other:?}"),
    }
}

/// A fold of many events may take its time; what reads the past holds the tables of its build and not what readers see.
#[tokio::test]
async fn a_build_takes_over_while_somebody_reads_the_past() {
    let ledger = Ledger::varied_and_projected().await;
    let projector = ledger.projector(true).await;
    let reader = Reader::new(&ledger.store, BOARD, Some(&projector));
    let moment = Moment { as_of: None, known_at: Some(ledger.last) };
    let mut past = reader.snapshot_of_past(&Viewer::Provider, &["payments"], None, moment).await.unwrap();
    let payments = find("payments").unwrap();
    let options = RebuildOptions::default();
    let rebuilt = tokio::time::timeout(LONG / 6, rebuild(&ledger.store, &payments, &options, |_| {})).await;
    rebuilt.expect("nobody is in its way").unwrap();
    // The reader goes on with the build that it began with.
    let all = Chosen::default();
    let candidates = past.candidates("payments", &all, None, 100).await.unwrap();
    let keys: Vec<String> = candidates.into_iter().map(|candidate| candidate.key).collect();
    past.bring_back("payments", &keys).await.unwrap();
    let brought: Vec<PaymentRow> = newest(&mut past, &Viewer::Provider, &all, 100).await;
    let mut now = reader.snapshot(&Viewer::Provider, &["payments"], None).await.unwrap();
    assert_eq!(brought, newest(&mut now, &Viewer::Provider, &all, 100).await);
    projector.shutdown().await;
}
