//! Rows that drift from the book: a watch finds them, a dry run and a rebuild name them, a repair mends the keys alone.

use std::{collections::BTreeSet, fs};

use daybook_core::Position;
use daybook_projections::{
    BOARD, Definition,
    engine::{
        self, Drift, Look, RebuildError, RebuildOptions, Room, Verified, look, rebuild, repair, standings, verify,
        verify_all,
    },
    find,
};
use daybook_tests::{equality, history::Ledger, spread};

async fn look_at(ledger: &Ledger, definition: &Definition, position: Position) -> Look {
    look(&ledger.store, definition, position).await.unwrap()
}

async fn run(ledger: &Ledger, statement: &str) {
    sqlx::raw_sql(statement).execute(ledger.database.pool()).await.unwrap();
}

/// How many events of each projection an ordinary run looks at: with every noun there are more of both.
const LOOKS: usize = 20;

#[tokio::test]
async fn the_watch_finds_every_healthy_row_sound() {
    let ledger = Ledger::varied_and_projected().await;
    let projector = ledger.projector(true).await;
    let of_each_type = "select aggregate_type, unnest(array[min(position), max(position)]) from events
         group by aggregate_type, event_type order by 2";
    let events: Vec<(String, i64)> = sqlx::query_as(of_each_type).fetch_all(ledger.database.pool()).await.unwrap();
    for projection in BOARD {
        let mut sound = 0;
        let followed = events.iter().filter(|(aggregate, _)| projection.follows.includes(aggregate)).collect();
        for (_, position) in spread(followed, LOOKS) {
            match look_at(&ledger, projection, *position as Position).await {
                Look::Sound(rows) => sound += rows,
                Look::Nothing | Look::TooWide => {}
                Look::Drifted(found) => panic!("{} at {position}: {found:?}", projection.name),
            }
        }
        assert!(sound > 0, "{}", projection.name);
    }
    projector.shutdown().await;
}

/// A spoilt row, and the events that concern it.
struct Spoilt {
    projection: &'static str,
    statement: &'static str,
    /// The positions of the events whose rows are looked at.
    events: &'static str,
    /// What must be named.
    table: &'static str,
}

const SPOILT: [Spoilt; 7] = [
    Spoilt {
        projection: "accounts",
        statement: "update accounts_v1 set balance = balance + 0.01 where currency = 'EUR'",
        events: "select position from events where event_type = 'account.opened'",
        table: "accounts",
    },
    Spoilt {
        projection: "account_statement",
        statement: "delete from account_days_v1 where (account_id, day) = (select account_id, min(day) from account_days_v1 group by 1 limit 1)",
        events: "select position from events where event_type = 'account.credited'",
        table: "account_days",
    },
    Spoilt {
        projection: "payments",
        statement: "update payments_v2 set account_id = 'acc_other' where position = (select min(position) from payments_v2)",
        events: "select position from events where event_type = 'payment.started'",
        table: "payments",
    },
    Spoilt {
        projection: "payments",
        statement: "update payment_allocations_v2 set amount = amount - 1 where amount <> 0",
        events: "select position from events where event_type = 'account.allocated'",
        table: "payment_allocations",
    },
    Spoilt {
        projection: "payments",
        statement: "update payments_v2 set status = 'on its way' where position = (select min(position) from payments_v2)",
        events: "select position from events where event_type = 'payment.started'",
        table: "payments",
    },
    Spoilt {
        projection: "history",
        statement: "update history_v2 set occurred_at = occurred_at + interval '1 day' where position in (select position from events where event_type = 'ticket.opened')",
        events: "select position from events where event_type = 'ticket.opened'",
        table: "history",
    },
    Spoilt {
        projection: "tickets",
        statement: "insert into ticket_messages_v1 select ticket_id, position + 100000, side, actor, 'never written', written_at from ticket_messages_v1 limit 1",
        events: "select position from events where event_type = 'ticket.opened'",
        table: "ticket_messages",
    },
];

async fn drifts(ledger: &Ledger, projection: &str) -> Vec<Drift> {
    let mut connection = ledger.store.connection().await.unwrap();
    let standings = standings(BOARD, &mut connection).await.unwrap();
    standings.into_iter().find(|standing| standing.name == projection).unwrap().drifts
}

#[tokio::test]
async fn the_watch_finds_what_is_wrong_and_a_repair_mends_it() {
    let ledger = Ledger::varied_and_projected().await;
    let projector = ledger.projector(true).await;
    for Spoilt { projection, statement, events, table } in SPOILT {
        let definition = find(projection).unwrap();
        run(&ledger, statement).await;
        let wrong = verify(&ledger.store, &definition, &Room::default()).await.unwrap();
        assert!(wrong.different > 0 && wrong.differences[0].table == table, "{statement}: {wrong:?}");

        let positions: Vec<i64> = sqlx::query_scalar(events).fetch_all(ledger.database.pool()).await.unwrap();
        let mut keys = BTreeSet::new();
        for position in positions {
            if let Look::Drifted(found) = look_at(&ledger, &definition, position as Position).await {
                assert!(found.iter().all(|difference| difference.table == table), "{statement}: {found:?}");
                let first = definition.tables.iter().find(|of| of.name() == table).unwrap().key()[0];
                keys.extend(found.into_iter().map(|difference| difference.key[first].as_str().unwrap().to_owned()));
            }
        }
        assert!(!keys.is_empty(), "{statement} is not found");
        let told = drifts(&ledger, projection).await;
        assert!(told.iter().all(|drift| drift.table == table) && !told.is_empty(), "{told:?}");

        let repaired = repair(&ledger.store, &definition, keys.clone()).await.unwrap();
        assert_eq!((&repaired.keys, repaired.mended), (&keys, wrong.different), "{statement}");
        assert_eq!(verify(&ledger.store, &definition, &Room::default()).await.unwrap().different, 0, "{statement}");
        assert_eq!(drifts(&ledger, projection).await, []);
    }
    projector.shutdown().await;
}

#[tokio::test]
async fn a_repair_of_what_is_right_changes_nothing_and_of_what_is_not_there_either() {
    let ledger = Ledger::varied_and_projected().await;
    let projector = ledger.projector(true).await;
    let accounts = find("accounts").unwrap();
    let id: String =
        sqlx::query_scalar("select min(id) from accounts").fetch_one(ledger.database.pool()).await.unwrap();
    let repaired = repair(&ledger.store, &accounts, BTreeSet::from([id, "acc_nobody".into()])).await.unwrap();
    assert_eq!((repaired.rows, repaired.mended, repaired.position), (1, 0, ledger.last));
    projector.shutdown().await;
}

#[tokio::test]
async fn a_dry_run_names_the_drift_and_leaves_nothing() {
    let ledger = Ledger::varied_and_projected().await;
    let projector = ledger.projector(true).await;
    run(&ledger, "update accounts_v1 set name = 'spoilt' where currency = 'EUR'").await;
    let accounts = find("accounts").unwrap();
    let tables = "select count(*) from pg_class where relname like 'accounts_v%' and relkind = 'r'";
    let before: i64 = sqlx::query_scalar(tables).fetch_one(ledger.database.pool()).await.unwrap();

    let dry = RebuildOptions { dry_run: true, ..RebuildOptions::default() };
    let rebuilt = rebuild(&ledger.store, &accounts, &dry, |_| {}).await.unwrap();
    let live = rebuilt.live.unwrap();
    assert_eq!((rebuilt.switched_in, rebuilt.proof.different, live.different), (None, 0, 1));
    let (stored, expected) =
        (live.differences[0].stored.as_ref().unwrap(), live.differences[0].expected.as_ref().unwrap());
    assert_eq!((stored["name"].as_str(), expected["name"].as_str()), (Some("spoilt"), Some("main EUR")));
    let after: i64 = sqlx::query_scalar(tables).fetch_one(ledger.database.pool()).await.unwrap();
    let builds: Vec<i32> = sqlx::query_scalar("select build from projections where name = 'accounts'")
        .fetch_all(ledger.database.pool())
        .await
        .unwrap();
    assert_eq!((after, builds), (before, vec![1]));
    // The one that serves is as it was; a rebuild that is not dry tells the same, and mends it.
    let rebuilt = rebuild(&ledger.store, &accounts, &RebuildOptions::default(), |_| {}).await.unwrap();
    assert_eq!(rebuilt.live.unwrap().different, 1);
    assert_eq!(equality::broken(&ledger.store, BOARD).await, []);
    projector.shutdown().await;
}

#[tokio::test]
async fn rows_that_are_not_proven_do_not_serve() {
    let ledger = Ledger::varied_and_projected().await;
    let projector = ledger.projector(true).await;
    // Whatever the new build is given, one of its rows becomes another.
    run(
        &ledger,
        "create function spoil() returns trigger language plpgsql as $$
         begin
             if new.currency = 'EUR' then new.name := 'planted'; end if;
             return new;
         end $$;
         create function plant() returns event_trigger language plpgsql as $$
         declare made record;
         begin
             for made in select objid::regclass::text as name from pg_event_trigger_ddl_commands()
                 where command_tag = 'CREATE TABLE' and objid::regclass::text like 'accounts_v1_b%'
             loop
                 execute format('create trigger spoil before insert or update on %s for each row execute function spoil()', made.name);
             end loop;
         end $$;
         create event trigger plant on ddl_command_end when tag in ('CREATE TABLE') execute function plant()",
    )
    .await;
    let accounts = find("accounts").unwrap();
    match rebuild(&ledger.store, &accounts, &RebuildOptions::default(), |_| {}).await {
        Err(error @ RebuildError::Unproven(_)) => {
            let RebuildError::Unproven(proof) = &error else { unreachable!() };
            assert_eq!((proof.different, proof.differences[0].table), (1, "accounts"));
            let id = proof.differences[0].key["id"].as_str().unwrap();
            assert!(error.to_string().contains(id), "{error}");
        }
        other => panic!("{other:?}"),
    }
    run(&ledger, "drop event trigger plant").await;
    // The one that served still does, and nothing of the refused one is left.
    let builds: Vec<(i32, String)> = sqlx::query_as("select build, stage from projections where name = 'accounts'")
        .fetch_all(ledger.database.pool())
        .await
        .unwrap();
    assert_eq!(builds, [(1, "serving".to_owned())]);
    assert_eq!(equality::broken(&ledger.store, BOARD).await, []);
    projector.shutdown().await;
}

#[tokio::test]
async fn what_is_wrong_is_named_where_memory_is_scarce_too() {
    let ledger = Ledger::varied_and_projected().await;
    let directory = tempfile::tempdir().unwrap();
    let cramped = Room { memory: 4 << 10, directory: directory.path().into() };
    for Spoilt { projection, statement, .. } in SPOILT {
        let definition = find(projection).unwrap();
        run(&ledger, statement).await;
        let at_once = verify(&ledger.store, &definition, &Room::default()).await.unwrap();
        let divided = verify(&ledger.store, &definition, &cramped).await.unwrap();
        assert!(divided.portions > 1 && divided.different > 0, "{statement}: {divided:?}");
        assert_eq!((divided.different, divided.rows), (at_once.different, at_once.rows), "{statement}");
        if at_once.different <= 10 {
            let keys = |found: &Verified| -> BTreeSet<String> {
                found.differences.iter().map(|difference| difference.key.to_string()).collect()
            };
            assert_eq!(keys(&at_once), keys(&divided), "{statement}");
        }
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "something is left on the disk");

    let accounts = find("accounts").unwrap();
    let nowhere = Room { directory: directory.path().join("nowhere"), ..cramped };
    let failed = verify(&ledger.store, &accounts, &nowhere).await;
    assert!(matches!(failed, Err(RebuildError::Spill(_))), "{failed:?}");
}

#[tokio::test]
async fn a_build_that_could_not_be_proven_for_want_of_room_is_kept_and_proven_the_next_time() {
    let ledger = Ledger::varied_and_projected().await;
    let projector = ledger.projector(true).await;
    let statement = find("account_statement").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let cramped = Room { memory: 4 << 10, directory: directory.path().join("nowhere") };
    let nowhere = RebuildOptions { room: cramped.clone(), ..RebuildOptions::default() };
    let failed = rebuild(&ledger.store, &statement, &nowhere, |_| {}).await;
    assert!(matches!(failed, Err(RebuildError::Spill(_))), "{failed:?}");

    let somewhere = Room { directory: directory.path().into(), ..cramped };
    let options = RebuildOptions { room: somewhere, ..RebuildOptions::default() };
    let rebuilt = rebuild(&ledger.store, &statement, &options, |_| {}).await.unwrap();
    assert_eq!((rebuilt.resumed_at, rebuilt.proof.different), (Some(ledger.last), 0));
    assert!(rebuilt.proof.portions > 1 && rebuilt.switched_in.is_some(), "{rebuilt:?}");
    projector.shutdown().await;
}

#[tokio::test]
async fn what_fits_into_memory_is_decided_where_the_rest_has_no_room() {
    let ledger = Ledger::varied_and_projected().await;
    let directory = tempfile::tempdir().unwrap();
    run(&ledger, "update accounts_v1 set name = 'spoilt' where currency = 'EUR'").await;
    // The accounts fill a page of the disk or two, and the history many.
    let nowhere = Room { memory: 128 << 10, directory: directory.path().join("nowhere") };
    let definitions = engine::latest(BOARD);
    let found = verify_all(&ledger.store, &definitions, &nowhere).await.unwrap();
    let of = |name| definitions.iter().zip(&found).find(|(definition, _)| definition.name == name).unwrap().1;
    assert!(matches!(of("accounts"), Ok(Verified { different: 1, portions: 1, .. })), "{:?}", of("accounts"));
    assert!(matches!(of("history"), Err(RebuildError::Spill(_))), "{:?}", of("history"));
}

#[tokio::test]
async fn a_row_that_is_there_twice_is_found() {
    let ledger = Ledger::varied_and_projected().await;
    let accounts = find("accounts").unwrap();
    run(
        &ledger,
        "alter table accounts_v1 drop constraint accounts_v1_pkey;
         insert into accounts_v1 select * from accounts_v1 where currency = 'EUR'",
    )
    .await;
    let twice = verify(&ledger.store, &accounts, &Room::default()).await.unwrap();
    assert_eq!((twice.rows, twice.different), (3, 1));
    let difference = &twice.differences[0];
    assert_eq!(difference.stored.as_ref().unwrap()["currency"], "EUR");
    assert_eq!(difference.expected, None);

    // No key leads to a row that has none.
    run(
        &ledger,
        "alter table accounts_v1 alter column id drop not null;
         update accounts_v1 set id = null where ctid = (select max(ctid) from accounts_v1)",
    )
    .await;
    let nameless = verify(&ledger.store, &accounts, &Room::default()).await.unwrap();
    assert_eq!((nameless.rows, nameless.different), (3, 1));
}
