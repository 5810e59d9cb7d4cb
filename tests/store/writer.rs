//! The writer: answers once and for ever, many processes, and what it does when it cannot go on.

use std::time::Duration;

use cqrs_es::Aggregate;
use daybook_core::{
    domain::{Account, AccountEvent, Event, Money, account::HoldId},
    operations::{AdjustAccount, HoldFunds, Operation, ReleaseHold},
    store::{StoreError, Upcasters},
    writer::{Done, ExecuteError, Failure, Writer, WriterHandle, WriterOptions},
};
use daybook_tests::{
    TestDatabase,
    commands::{account, adjust, command, id, keyed, pay_in, register, usd},
    database, whole_book,
};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use rust_decimal::Decimal;
use sqlx::{PgConnection, Postgres, Transaction};
use tokio::time::timeout;

#[tokio::test]
async fn the_same_request_under_the_same_key_is_answered_the_same_for_ever() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let account = account(&writer).await;
    let command = keyed(pay_in(&account, "p1", usd("20.00")), "key", 1);

    let (first, second) = tokio::join!(writer.execute(command.clone()), writer.execute(command.clone()));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(!first.replayed && second.replayed, "both came in one batch");
    running.shutdown().await;

    let (writer, running) = database.writer().await;
    writer.execute(adjust(&account, usd("-1.00"))).await.unwrap();
    let third = writer.execute(command).await.unwrap();
    assert_eq!(third, Done { replayed: true, ..first.clone() });
    assert_eq!(second, third);
    assert_eq!(first.answer["balance"]["amount"], "20.00");
    assert_eq!(last_balance(&database).await, usd("19.00"));
    running.shutdown().await;
}

#[tokio::test]
async fn another_request_under_the_same_key_is_refused() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let account = account(&writer).await;
    let first = keyed(pay_in(&account, "p1", usd("20.00")), "key", 1);
    let other = keyed(pay_in(&account, "p2", usd("30.00")), "key", 2);
    let (first, in_one_batch) = tokio::join!(writer.execute(first), writer.execute(other.clone()));
    first.unwrap();
    assert!(matches!(in_one_batch, Err(ExecuteError::KeyReused)));
    assert!(matches!(writer.execute(other).await, Err(ExecuteError::KeyReused)));
    assert_eq!(last_balance(&database).await, usd("20.00"));
    running.shutdown().await;
}

#[tokio::test]
async fn a_refused_command_leaves_nothing_and_its_key_free() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let account = account(&writer).await;
    let before = whole_book(database.pool()).await.len();
    let yen = Money::parse("5", "JPY").unwrap();
    let refused = writer.execute(keyed(adjust(&account, yen), "key", 1)).await.unwrap_err();
    assert!(matches!(&refused, ExecuteError::Refused(refusal) if refusal.code() == "currency-mismatch"), "{refused}");
    assert_eq!(whole_book(database.pool()).await.len(), before);
    writer.execute(keyed(adjust(&account, usd("5.00")), "key", 2)).await.unwrap();
    running.shutdown().await;
}

/// What the domain would refuse a second time is answered as it was the first time.
#[tokio::test]
async fn a_repetition_is_no_refusal() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let account = account(&writer).await;
    let hold = HoldFunds { account: account.clone(), amount: usd("5.00") };
    writer.execute(adjust(&account, usd("5.00"))).await.unwrap();
    let hold = id(&writer.execute(command(Operation::HoldFunds(hold))).await.unwrap().answer);
    let release =
        || command(Operation::ReleaseHold(ReleaseHold { account: account.clone(), hold: HoldId::clone(&hold) }));
    let first = writer.execute(keyed(release(), "key", 1)).await.unwrap();
    let again = writer.execute(keyed(release(), "key", 1)).await.unwrap();
    assert!(again.replayed);
    assert_eq!((again.position, again.answer), (first.position, first.answer));
    let other = writer.execute(keyed(release(), "other", 1)).await;
    assert!(matches!(other, Err(ExecuteError::Refused(_))), "{other:?}");
    running.shutdown().await;
}

/// While one batch is being recorded the next is decided on it; if it comes to nothing, neither does what followed.
#[tokio::test]
async fn what_was_decided_on_a_batch_that_failed_is_decided_again() {
    let database = database().await;
    let (writer, running) = database.writer_with(WriterOptions { batch: 7, ..WriterOptions::default() }).await;
    let account = account(&writer).await;
    sqlx::raw_sql(
        "create function refuse_poison() returns trigger language plpgsql as $$
         begin raise exception 'poison'; end $$;
         create trigger refuse_poison before insert on events
         for each row when (new.payload::text like '%poison%') execute function refuse_poison()",
    )
    .execute(database.pool())
    .await
    .unwrap();
    let adjusted = |number: u32| {
        let description = if number.is_multiple_of(40) { "poison" } else { "a correction" };
        let (account, amount, description) = (account.clone(), usd("1.00"), description.into());
        command(Operation::AdjustAccount(AdjustAccount { account, amount, description }))
    };
    let outcomes = join_all((1..=400).map(|number| writer.execute(adjusted(number)))).await;
    let mut balances: Vec<Decimal> = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(done) => balances.push(done.answer["balance"]["amount"].as_str().unwrap().parse().unwrap()),
            Err(error) => assert!(matches!(error, ExecuteError::Failed(Failure::Database(_))), "{error}"),
        }
    }
    let done = writer.execute(adjust(&account, usd("1.00"))).await.unwrap();
    balances.push(done.answer["balance"]["amount"].as_str().unwrap().parse().unwrap());
    let expected: Vec<Decimal> = (1..=balances.len()).map(Decimal::from).collect();
    assert_eq!(balances, expected);
    assert!((330..400).contains(&balances.len()), "{}", balances.len());
    assert_eq!(last_balance(&database).await, usd(&balances.len().to_string()));
    running.shutdown().await;
}

#[tokio::test]
async fn a_command_identifier_used_twice_harms_nobody_else() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let anna = register("Anna");
    writer.execute(anna.clone()).await.unwrap();
    running.shutdown().await;

    // A new process does not remember it; the event it would append stands already.
    let (writer, running) = database.writer().await;
    let (again, berta) = tokio::join!(writer.execute(anna), writer.execute(register("Berta")));
    let again = again.unwrap_err();
    assert!(matches!(&again, ExecuteError::Refused(refusal) if refusal.code() == "customer-exists"), "{again}");
    assert_eq!(berta.unwrap().position, 2);
    running.shutdown().await;
}

#[tokio::test]
async fn two_processes_write_one_book() {
    let database = database().await;
    let (one, running) = database.writer().await;
    let (other, running_too) = database.writer().await;
    let accounts = join_all((0..4).map(|_| account(&one))).await;

    // Each amount is paid through one process and taken through the other; both work on the same accounts.
    let pay = |writer: WriterHandle, number: usize| {
        let command = pay_in(&accounts[number % 4], &format!("p{number}"), usd("2.00"));
        async move { writer.execute(command).await.map(|_| ()) }
    };
    let take = |writer: WriterHandle, number: usize| {
        let command = adjust(&accounts[number % 4], usd("-1.00"));
        async move { writer.execute(command).await.map(|_| ()) }
    };
    for round in 0..10 {
        let numbers = round * 16..(round + 1) * 16;
        let (paid, taken) = tokio::join!(
            join_all(numbers.clone().map(|number| pay(one.clone(), number))),
            join_all(numbers.map(|number| take(other.clone(), number))),
        );
        for done in paid.into_iter().chain(taken) {
            done.unwrap();
        }
    }
    running.shutdown().await;
    running_too.shutdown().await;

    let book = whole_book(database.pool()).await;
    for account in &accounts {
        let history = book.iter().filter(|raw| raw.aggregate_id == account.as_str());
        let mut balance = usd("0.00");
        for event in history.map(|raw| raw.event(&Upcasters::default()).unwrap()) {
            let (told, now) = match event {
                Event::Account(AccountEvent::Credited { amount, balance: told, .. }) => {
                    (told, balance.checked_add(amount).unwrap())
                }
                Event::Account(AccountEvent::Charged { amount, balance: told, .. }) => {
                    (told, balance.checked_sub(amount).unwrap())
                }
                _ => continue,
            };
            assert_eq!(told, now);
            balance = now;
        }
        assert_eq!(balance, usd("40.00"));
    }
}

/// What is refused is decided under the lock of the head where another process was first; the lock does not outlast it.
#[tokio::test]
async fn a_refusal_holds_nobody_up() {
    let database = database().await;
    let (one, running) = database.writer().await;
    let (other, running_too) = database.writer().await;
    let account = account(&one).await;
    other.execute(adjust(&account, usd("1.00"))).await.unwrap();
    one.execute(adjust(&account, usd("1.00"))).await.unwrap();
    let yen = Money::parse("5", "JPY").unwrap();
    let refused = other.execute(adjust(&account, yen)).await;
    assert!(matches!(refused, Err(ExecuteError::Refused(_))), "{refused:?}");
    let done = timeout(Duration::from_secs(5), one.execute(adjust(&account, usd("1.00")))).await.unwrap().unwrap();
    assert_eq!(done.answer["balance"]["amount"], "3.00");
    running.shutdown().await;
    running_too.shutdown().await;
}

#[tokio::test]
async fn a_full_queue_is_told_at_once() {
    let database = database().await;
    let (writer, running) = database.writer_with(WriterOptions { queue: 2, ..WriterOptions::default() }).await;
    let lock = locked(&database).await;
    let mut answers: FuturesUnordered<_> = (0..5).map(|_| writer.execute(register("Anna"))).collect();
    for _ in 0..3 {
        let overloaded = answers.next().await.unwrap();
        assert!(matches!(overloaded, Err(ExecuteError::Failed(Failure::Overloaded))), "{overloaded:?}");
    }
    lock.rollback().await.unwrap();
    assert_eq!(answers.filter(|answer| futures::future::ready(answer.is_ok())).count().await, 2);
    running.shutdown().await;
}

#[tokio::test]
async fn a_command_that_waited_too_long_is_not_begun() {
    let database = database().await;
    let options = WriterOptions { deadline: Duration::ZERO, ..WriterOptions::default() };
    let (writer, running) = database.writer_with(options).await;
    let late = writer.execute(register("Anna")).await;
    assert!(matches!(late, Err(ExecuteError::Failed(Failure::DeadlinePassed))), "{late:?}");
    running.shutdown().await;
    assert!(whole_book(database.pool()).await.is_empty());
}

#[tokio::test]
async fn a_shutdown_answers_what_was_accepted() {
    let database = database().await;
    let (writer, running) = database.writer_with(WriterOptions { batch: 7, ..WriterOptions::default() }).await;
    let lock = locked(&database).await;
    let mut accepted = Vec::new();
    for _ in 0..50 {
        let writer = writer.clone();
        let mut answer = Box::pin(async move { writer.execute(register("Anna")).await });
        assert!(futures::poll!(&mut answer).is_pending(), "it is in the queue now");
        accepted.push(answer);
    }
    let mut shutdown = Box::pin(running.shutdown());
    assert!(futures::poll!(&mut shutdown).is_pending());
    let late = writer.execute(register("Berta")).await;
    assert!(matches!(late, Err(ExecuteError::Failed(Failure::ShuttingDown))), "{late:?}");
    lock.rollback().await.unwrap();
    for answer in join_all(accepted).await {
        answer.unwrap();
    }
    shutdown.await;
    assert_eq!(whole_book(database.pool()).await.len(), 50);
}

#[tokio::test]
async fn a_writer_that_has_fallen_is_noticed_and_does_not_call_it_a_shutdown() {
    let database = database().await;
    let store = database.store().await;
    let elsewhere = tokio::runtime::Runtime::new().unwrap();
    let (writer, _running) = {
        let _within = elsewhere.enter();
        Writer::start(store, WriterOptions::default())
    };
    assert!(!writer.is_closed());
    elsewhere.shutdown_background();
    writer.closed().await;
    assert!(writer.is_closed());
    let lost = writer.execute(register("Anna")).await;
    assert!(matches!(lost, Err(ExecuteError::Failed(Failure::OutcomeUnknown))), "{lost:?}");
}

#[tokio::test]
async fn a_connection_that_died_in_the_meantime_is_replaced() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let account = account(&writer).await;
    writer.execute(pay_in(&account, "p1", usd("20.00"))).await.unwrap();
    let ended: Vec<bool> = sqlx::query_scalar(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()",
    )
    .fetch_all(database.pool())
    .await
    .unwrap();
    assert!(ended.contains(&true));
    let done = writer.execute(pay_in(&account, "p2", usd("1.00"))).await.unwrap();
    assert_eq!(done.answer["balance"]["amount"], "21.00");
    running.shutdown().await;
}

#[tokio::test]
async fn an_unreadable_stream_hinders_only_who_needs_it() {
    let database = database().await;
    let (writer, running) = database.writer().await;
    let (broken, whole) = (account(&writer).await, account(&writer).await);
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         values ($1, $2, 2, 'account.frozen', '1.0', '{\"frozen\": {}}', '{}')",
    )
    .bind(Account::TYPE)
    .bind(broken.as_str())
    .execute(database.pool())
    .await
    .unwrap();
    let (hindered, unhindered) =
        tokio::join!(writer.execute(adjust(&broken, usd("1.00"))), writer.execute(adjust(&whole, usd("1.00"))));
    let Err(ExecuteError::Failed(Failure::Database(error))) = hindered else { panic!("{hindered:?}") };
    assert!(matches!(&*error, StoreError::Unreadable(event) if event.event_type == "account.frozen"));
    unhindered.unwrap();
    running.shutdown().await;
}

#[tokio::test]
async fn others_are_told_by_a_notification_that_the_book_has_grown() {
    let database = database().await;
    let store = database.store().await;
    let mut listener = sqlx::postgres::PgListener::connect_with(database.pool()).await.unwrap();
    listener.listen(store.channel()).await.unwrap();
    let (writer, running) = Writer::start(store, WriterOptions::default());
    let done = writer.execute(register("Anna")).await.unwrap();
    loop {
        let heard = listener.recv().await.unwrap();
        if heard.payload() == done.position.to_string() {
            break;
        }
    }
    running.shutdown().await;
}

/// Keeps everybody from appending until it is rolled back.
async fn locked(database: &TestDatabase) -> Transaction<'static, Postgres> {
    let mut lock = database.pool().begin().await.unwrap();
    let connection: &mut PgConnection = &mut lock;
    sqlx::query("select from book_head for update").execute(connection).await.unwrap();
    lock
}

/// The balance that the last entry in the book tells.
async fn last_balance(database: &TestDatabase) -> Money {
    let book = whole_book(database.pool()).await;
    let balance = book.iter().rev().find_map(|raw| match raw.event(&Upcasters::default()).unwrap() {
        Event::Account(AccountEvent::Credited { balance, .. } | AccountEvent::Charged { balance, .. }) => Some(balance),
        _ => None,
    });
    balance.unwrap()
}
