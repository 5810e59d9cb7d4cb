//! The event store: positions, immutability, and other programs on the same table.

use chrono::{SecondsFormat, TimeDelta, Utc};
use cqrs_es::{Aggregate, persist::PersistedEventRepository};
use daybook_core::{
    domain::{AccountEvent, CustomerId, Event, Ticket, TicketEvent, TicketId, ticket::TicketCommand},
    operations::{Operation, TicketAction, TicketOpening, WriteOnTicket},
    store::{Store, StoreError, Upcasters, read_events, read_stream},
};
use daybook_tests::{
    commands::{account, adjust, command, id, open_ticket, pay_in, register, usd},
    database, whole_book,
};
use futures::future::join_all;
use postgres_es::{PostgresEventRepository, postgres_cqrs};
use sqlx::PgConnection;

#[tokio::test]
async fn positions_are_dense_and_times_never_go_back() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let accounts = join_all((0..8).map(|_| account(&writer))).await;
    let payments = (0..200).map(|number| {
        let command = pay_in(&accounts[number % 8], &format!("p{number}"), usd("1.50"));
        writer.execute(command)
    });
    let mut done: Vec<u64> = join_all(payments).await.into_iter().map(|done| done.unwrap().position).collect();

    // Each payment is three events: started, credited, and the money on the account.
    done.sort_unstable();
    assert!(done.windows(2).all(|pair| pair[1] - pair[0] == 3), "{done:?}");
    let book = whole_book(database.pool()).await;
    assert_eq!(book.last().unwrap().position, *done.last().unwrap());
    assert_eq!(book.len() as u64, *done.last().unwrap());
    assert!(book.windows(2).all(|pair| pair[0].recorded_at <= pair[1].recorded_at));
    assert_eq!(*writer.committed().borrow(), *done.last().unwrap());
    running.shutdown().await;
}

#[tokio::test]
async fn a_stock_postgres_es_appends_to_the_book() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let customer: CustomerId = id(&writer.execute(register("Anna")).await.unwrap().answer);
    let ticket: TicketId = id(&writer.execute(open_ticket(&customer)).await.unwrap().answer);

    // The writer has the ticket in memory; the stock framework goes on with it, with several events and with one.
    let stock = postgres_cqrs::<Ticket>(database.store().await.pool().clone(), Vec::new(), ());
    stock.execute(ticket.as_str(), TicketCommand::Act(TicketAction::TakeUp)).await.unwrap();
    let answer = TicketAction::Answer { message: "12".into() };
    stock.execute(ticket.as_str(), TicketCommand::Act(answer)).await.unwrap();
    let action = TicketAction::Read;
    let operation = Operation::WriteOnTicket(WriteOnTicket { ticket: ticket.clone(), action });
    let done = writer.execute(command(operation)).await.unwrap();

    let stream = read_stream(database.pool(), Ticket::TYPE, ticket.as_str(), 0).await.unwrap();
    assert_eq!(stream.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(stream.iter().map(|event| event.position).collect::<Vec<_>>(), [2, 3, 4, 5]);
    assert_eq!(
        stream[2].event(&Upcasters::default()).unwrap(),
        Event::Ticket(TicketEvent::Answered { message: "12".into() })
    );
    assert_eq!(done.position, 5);

    // And a stream that only the stock framework wrote continues under the writer.
    let other: TicketId = "tkt_stock".parse().unwrap();
    let open = TicketOpening {
        customer,
        category: "billing".into(),
        subject: "another question".into(),
        about: None,
        message: "how long?".into(),
    };
    stock.execute(other.as_str(), TicketCommand::Open(open)).await.unwrap();
    let operation = Operation::WriteOnTicket(WriteOnTicket { ticket: other, action: TicketAction::TakeUp });
    assert_eq!(writer.execute(command(operation)).await.unwrap().position, 7);
    running.shutdown().await;
}

#[tokio::test]
async fn a_stock_postgres_es_reads_the_book() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let customer: CustomerId = id(&writer.execute(register("Anna")).await.unwrap().answer);
    let ticket: TicketId = id(&writer.execute(open_ticket(&customer)).await.unwrap().answer);
    running.shutdown().await;

    let ours = read_stream(database.pool(), Ticket::TYPE, ticket.as_str(), 0).await.unwrap();
    let repository = PostgresEventRepository::new(database.store().await.pool().clone());
    let theirs = repository.get_events::<Ticket>(ticket.as_str()).await.unwrap();
    assert_eq!(theirs.len(), 1);
    assert_eq!(theirs[0].sequence, 1);
    assert_eq!(theirs[0].event_type, "ticket.opened");
    let payload: serde_json::Value = serde_json::from_str(&ours[0].payload).unwrap();
    assert_eq!(theirs[0].payload, payload);
    assert_eq!(theirs[0].metadata["actor"], "system:tests");
}

#[tokio::test]
async fn what_is_written_stays_as_it_is() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    writer.execute(register("Anna")).await.unwrap();
    let application = database.store().await.pool().clone();
    for statement in ["update events set payload = '{}'", "delete from events", "truncate events"] {
        let refused = sqlx::query(statement).execute(&application).await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("42501"), "{statement}");
        let refused = sqlx::query(statement).execute(database.pool()).await.unwrap_err();
        let message = refused.as_database_error().unwrap().message().to_owned();
        assert!(message.starts_with("the book is never altered"), "{statement}: {message}");
    }
    for statement in [
        "update book_head set position = 0",
        "delete from book_head",
        "update idempotency set position = 0",
        "delete from idempotency",
    ] {
        let refused = sqlx::query(statement).execute(&application).await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("42501"), "{statement}");
    }
    running.shutdown().await;
}

/// Whoever reads it later, PostgreSQL and our program must read the same in it.
#[tokio::test]
async fn what_cannot_be_represented_is_not_stored_whoever_inserts_it() {
    let database = database().await;
    let application = database.store().await.pool().clone();
    let insert = async |payload: &str, metadata: &str, recorded_at: Option<&str>| {
        let insert = "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                metadata, position, recorded_at)
            select 'stock', gen_random_uuid()::text, 1, 'e', '1', $1::json, $2::json,
                case when $3 is not null then (select max(position) + 1 from book_head) end, $3::timestamptz";
        sqlx::query(insert).bind(payload).bind(metadata).bind(recorded_at).execute(&application).await
    };
    let refused = async |payload: &str, metadata: &str, recorded_at: Option<&str>| {
        let refused = insert(payload, metadata, recorded_at).await.expect_err(metadata);
        let refused = refused.as_database_error().unwrap();
        // The day of a moment is looked at by a cast, which names the value instead of the constraint.
        refused.constraint().map_or_else(|| refused.code().unwrap().into_owned(), str::to_owned)
    };
    let moment = |name: &str, moment: &str| format!(r#"{{"{name}": "{moment}"}}"#);
    for (name, constraint) in
        [("occurred_at", "events_occurred_at_representable"), ("dated_at", "events_dated_at_representable")]
    {
        for wrong in [
            "2026-06-30T23:59:60Z",
            "2026-06-30T23:59:60.5Z",
            "2026-06-30T23:60:00Z",
            "2026-06-30T24:00:00Z",
            "2026-06-30T23:59:59.9999999Z",
            "2026-06-30 23:59:59Z",
            "2026-06-30T23:59:59",
            "2026-06-30",
            "now",
            "infinity",
            "12026-06-30T23:59:59Z",
            "-2026-06-30T23:59:59Z",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
            "",
        ] {
            assert_eq!(refused("{}", &moment(name, wrong), None).await, constraint, "{wrong}");
        }
        assert_eq!(refused("{}", &moment(name, "2026-02-30T12:00:00Z"), None).await, "22008");
        assert_eq!(refused("{}", &format!(r#"{{"{name}": 5}}"#), None).await, constraint);
        for right in [
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z",
            "2024-02-29T23:59:59.5+05:30",
            "2026-06-30t12:00:00z",
        ] {
            insert("{}", &moment(name, right), None).await.expect(right);
        }
    }
    let nul = r#"{"text": ["a\u0000b"]}"#;
    for (payload, metadata) in [(nul, "{}"), ("{}", nul), (r#"{"\u0000": 1}"#, "{}"), (r#"["\\\u0000"]"#, "{}")] {
        assert_eq!(refused(payload, metadata, None).await, "events_contain_no_nul", "{payload} {metadata}");
    }
    for time in ["infinity", "294276-12-31", "0044-03-15 BC"] {
        assert_eq!(refused("{}", "{}", Some(time)).await, "events_recorded_at_representable", "{time}");
    }
    // A backslash before it makes it six letters.
    for harmless in [r#"["\\u0000"]"#, r#"["u0000"]"#, r#"["\u0001"]"#, r#""no map""#, "[]", "5", "null"] {
        insert(harmless, harmless, None).await.expect(harmless);
    }
}

#[tokio::test]
async fn events_that_stand_already_keep_no_ledger_from_the_constraints() {
    let database = database().await;
    let owner = database.pool();
    let constraints =
        ["contain_no_nul", "occurred_at_representable", "dated_at_representable", "recorded_at_representable"];
    for constraint in constraints {
        sqlx::query(&format!("alter table events drop constraint events_{constraint}")).execute(owner).await.unwrap();
    }
    sqlx::query("delete from _sqlx_migrations where version = 26").execute(owner).await.unwrap();
    let insert =
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        values ('stock', 'a', $1, 'e', '1', '{\"text\": \"\\u0000\"}', '{\"occurred_at\": \"2026-06-30T23:59:60Z\"}')";
    sqlx::query(insert).bind(1_i64).execute(owner).await.unwrap();
    Store::migrate(&database.url().parse().unwrap()).await.unwrap();
    sqlx::query(insert).bind(2_i64).execute(owner).await.expect_err("from now on it is refused");
}

#[tokio::test]
async fn a_book_is_not_emptied_by_whoever_has_switched_off_the_refusal_of_changes() {
    let database = database().await;
    for table in ["events", "book_head", "log_checkpoints"] {
        let mut transaction = database.pool().begin().await.unwrap();
        let switched_off = format!("alter table {table} disable trigger refuse_change");
        sqlx::query(&switched_off).execute(&mut *transaction).await.unwrap();
        let refused = sqlx::query(&format!("truncate {table}")).execute(&mut *transaction).await.unwrap_err();
        let message = refused.as_database_error().unwrap().message().to_owned();
        assert_eq!(message, format!("the book is never altered: truncate of {table} is refused"));
    }
}

#[tokio::test]
async fn a_position_that_would_leave_a_gap_is_refused() {
    let database = database().await;
    let application = database.store().await.pool().clone();
    let insert = async |positions: &[Option<i64>], times: &[&str]| {
        // Each time another stream.
        let insert = "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                metadata, position, recorded_at)
            select 'stock', gen_random_uuid()::text, number, 'e', '1', '{}', '{}', position, coalesce(at, now())
            from unnest($1::bigint[], $2::timestamptz[]) with ordinality as new (position, at, number)";
        let inserted = sqlx::query(insert).bind(positions).bind(times).execute(&application).await;
        inserted.map_err(|refused| refused.as_database_error().unwrap().constraint().unwrap().to_owned())
    };
    let refusal = async |positions: &[Option<i64>], times: &[&str]| insert(positions, times).await.unwrap_err();
    let append = async |positions: &[Option<i64>], times: &[&str]| {
        insert(positions, times).await.unwrap();
        database.store().await.head().await.unwrap().position
    };
    assert_eq!(refusal(&[Some(2)], &[]).await, "events_positions_dense");
    assert_eq!(refusal(&[Some(1), Some(3)], &[]).await, "events_positions_dense");
    assert_eq!(refusal(&[Some(0)], &[]).await, "events_position_check");
    assert_eq!(refusal(&[Some(1), Some(1)], &[]).await, "events_position_key");
    assert_eq!(refusal(&[Some(1)], &["1969-12-31"]).await, "events_recorded_in_order");
    assert_eq!(refusal(&[Some(1), Some(2)], &["2026-01-01", "2026-01-02"]).await, "events_recorded_in_order");
    assert_eq!(append(&[Some(1), Some(2)], &[]).await, 2);
    assert_eq!(append(&[], &[]).await, 2);
    assert_eq!(append(&[None, None], &[]).await, 4, "rows without positions of their own");
    assert_eq!(refusal(&[Some(6)], &[]).await, "events_positions_dense");
    assert_eq!(refusal(&[Some(5)], &["2026-01-01"]).await, "events_recorded_in_order");
    assert_eq!(refusal(&[Some(5)], &["2099-01-01"]).await, "events_recorded_by_now");
    assert_eq!(refusal(&[None, Some(6)], &["2099-01-01", "2099-01-01"]).await, "events_recorded_by_now");
    let soon = (Utc::now() + TimeDelta::minutes(4)).to_rfc3339_opts(SecondsFormat::Micros, true);
    assert_eq!(append(&[Some(5)], &[&soon]).await, 5);
    // A row without a position gets the time of the head, if that is later than the clock.
    let at_once = [&*soon, &*soon];
    assert_eq!(refusal(&[None, Some(8)], &at_once).await, "events_positions_dense", "the first one takes 6");
    assert_eq!(append(&[None, Some(7)], &at_once).await, 7);
}

#[tokio::test]
async fn a_position_whose_event_is_dropped_leaves_no_gap() {
    let database = database().await;
    let application = database.store().await.pool().clone();
    let insert = |rows: &str| {
        let insert = format!(
            "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                 position, recorded_at)
             select 'stock', 'a', sequence, 'e', '1', '{{}}', '{{}}', position, at
             from (values {rows}) as new (sequence, position, at)
             on conflict do nothing"
        );
        let application = application.clone();
        async move { sqlx::query(&insert).execute(&application).await }
    };
    insert("(1, null::bigint, null::timestamptz)").await.unwrap();
    for rows in [
        "(1, null::bigint, null::timestamptz)",
        "(1, null, null), (2, 3, '2999-01-01'::timestamptz)",
        "(2, 2, '1969-01-01'::timestamptz), (3, null, null)",
    ] {
        let refused = insert(rows).await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().constraint(), Some("events_positions_dense"), "{rows}");
    }
    insert("(2, null::bigint, null::timestamptz)").await.unwrap();
    assert_eq!(database.store().await.head().await.unwrap().position, 2);
}

/// Both functions act in the owner's name: a table of one's own must not get that out of them.
#[tokio::test]
async fn the_triggers_of_the_events_serve_no_other_table() {
    let database = database().await;
    let application = database.store().await.pool().clone();
    let head = "select position from book_head";
    for trigger in [
        "after insert on mine referencing new table as appended for each statement execute function advance_head()",
        "after insert on mine for each statement execute function advance_head()",
        "before insert on mine for each row execute function give_position()",
    ] {
        let mut connection = application.acquire().await.unwrap();
        let made = format!(
            "create temporary table mine (position bigint, recorded_at timestamptz);
             create temporary table appended as select 1::bigint as position, now() as recorded_at;
             grant all on pg_temp.appended to public;
             create trigger mine {trigger}"
        );
        sqlx::raw_sql(&made).execute(&mut *connection).await.unwrap();
        let refused = sqlx::query("insert into mine values (1, now())").execute(&mut *connection).await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("42501"), "{trigger}");
        assert_eq!(sqlx::query_scalar::<_, i64>(head).fetch_one(&mut *connection).await.unwrap(), 0, "{trigger}");
        connection.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_append_looks_at_no_more_of_the_head_while_somebody_reads_for_long() {
    let database = database().await;
    let application = database.store().await.pool().clone();
    let mut reading = database.pool().begin().await.unwrap();
    sqlx::raw_sql("set transaction isolation level repeatable read; select from events")
        .execute(&mut *reading)
        .await
        .unwrap();
    let mut connection = application.acquire().await.unwrap();
    // As the writer's connection does.
    sqlx::raw_sql("set enable_seqscan = off; set plan_cache_mode = force_generic_plan")
        .execute(&mut *connection)
        .await
        .unwrap();
    let mut blocks_of_appends = async |positions: std::ops::Range<i64>| {
        let before = blocks_of_head(&mut connection).await;
        for position in positions {
            let append = "with locked as materialized (select recorded_at from book_head where position = $1 - 1 for update)
                insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                    position, recorded_at)
                select 'stock', 'a', $1, 'e', '1', '{}', '{}', $1, greatest(recorded_at, clock_timestamp()) from locked";
            sqlx::query(append).bind(position).execute(&mut *connection).await.unwrap();
        }
        blocks_of_head(&mut connection).await - before
    };
    let first = blocks_of_appends(1..101).await;
    blocks_of_appends(101..1901).await;
    let last = blocks_of_appends(1901..2001).await;
    reading.rollback().await.unwrap();
    assert_eq!(database.store().await.head().await.unwrap().position, 2000);
    assert!(last < first * 2, "{first} blocks for a hundred appends became {last}");
}

/// How many blocks of the head of the book, and of its index, the server has looked at.
async fn blocks_of_head(connection: &mut PgConnection) -> i64 {
    sqlx::query("select pg_stat_force_next_flush()").execute(&mut *connection).await.unwrap();
    sqlx::query_scalar(
        "select heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read
         from pg_statio_all_tables where relid = 'book_head'::regclass",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_temporary_table_does_not_pass_for_the_end_of_the_book() {
    let database = database().await;
    let application = database.store().await.pool().clone();
    let mut connection = application.acquire().await.unwrap();
    sqlx::raw_sql(
        "create temporary table book_head as select 9000000000000000000 as position, now() as recorded_at;
         grant all on pg_temp.book_head to public",
    )
    .execute(&mut *connection)
    .await
    .unwrap();
    let insert = "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
            metadata, position, recorded_at)
        values ('stock', 'a', 1, 'e', '1', '{}', '{}', 1000000, '1999-01-01')";
    let refused = sqlx::query(insert).execute(&mut *connection).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().constraint(), Some("events_positions_dense"));
    let stock =
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        values ('stock', 'a', 1, 'e', '1', '{}', '{}')";
    sqlx::query(stock).execute(&mut *connection).await.unwrap();
    assert_eq!(database.store().await.head().await.unwrap().position, 1);
}

#[tokio::test]
async fn an_event_of_an_unknown_kind_is_named() {
    let database = database().await;
    let store = database.store().await;
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         values ('martian', 'zork', 1, 'martian.landed', '1.0', '{}', '{}')",
    )
    .execute(store.pool())
    .await
    .unwrap();
    let events = read_events(store.pool(), 0, 10).await.unwrap();
    let error = events[0].decode(&Upcasters::default()).unwrap_err();
    assert!(matches!(&error, StoreError::Unreadable(event) if event.position == 1));
    assert!(error.to_string().contains("martian.landed"), "{error}");
}

#[tokio::test]
async fn a_ledger_of_other_migrations_is_told_with_what_to_do() {
    let database = database().await;
    let owner = database.url().parse().unwrap();
    sqlx::query("update _sqlx_migrations set checksum = '\\x00' where version = 3")
        .execute(database.pool())
        .await
        .unwrap();
    let error = Store::migrate(&owner).await.expect_err("migration 3 was another one").to_string();
    assert!(error.contains("migration 3 ") && error.contains("start the program that made them"), "{error}");
}

#[tokio::test]
async fn migrations_of_many_databases_at_once_agree_on_the_role() {
    let databases = join_all((0..6).map(|_| database())).await;
    let owners: Vec<_> = databases.iter().map(|database| database.url().parse().unwrap()).collect();
    for migrated in join_all(owners.iter().chain(&owners).map(Store::migrate)).await {
        migrated.unwrap();
    }
}

#[tokio::test]
async fn a_read_model_may_be_rewritten_by_the_application() {
    let database = database().await;
    sqlx::query("create table shelf (position bigint)").execute(database.pool()).await.unwrap();
    Store::migrate(&database.url().parse().unwrap()).await.unwrap();
    let application = database.store().await.pool().clone();
    for statement in
        ["insert into shelf values (1)", "update shelf set position = 2", "delete from shelf", "truncate shelf"]
    {
        sqlx::query(statement).execute(&application).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_tells_the_balance_and_the_book_agrees() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let account = account(&writer).await;
    writer.execute(pay_in(&account, "p1", usd("20.00"))).await.unwrap();
    let done = writer.execute(adjust(&account, usd("-7.50"))).await.unwrap();
    assert_eq!(done.answer["balance"]["amount"], "12.50");
    let balances = whole_book(database.pool()).await.into_iter().filter_map(|raw| {
        match raw.event(&Upcasters::default()).unwrap() {
            Event::Account(AccountEvent::Credited { balance, .. } | AccountEvent::Charged { balance, .. }) => {
                Some(balance)
            }
            _ => None,
        }
    });
    assert_eq!(balances.collect::<Vec<_>>(), [usd("20.00"), usd("12.50")]);
    running.shutdown().await;
}
