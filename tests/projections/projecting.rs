//! Running projections: one process drives each, another takes over; what is held stands still; what cannot be folded is
//! set aside by decision and taken back, and nothing is skipped silently.

use std::time::Duration;

use chrono::{DateTime, Utc};
use daybook_core::{
    Position,
    domain::Money,
    operations::{AccountOpening, AdjustAccount, Operation, Registration},
    store::Store,
};
use daybook_projections::{
    BOARD, Projector, ProjectorOptions, ReadError, Reader,
    engine::{
        Definition, ParkError, RebuildError, RebuildOptions, Room, Stage, Standing, State, discard, park, pause,
        rebuild, repair, resume, roll_back, standings, unpark, verify,
    },
    find,
};
use daybook_tests::{
    commands::id,
    equality,
    history::{LONG, Ledger, varied_history},
};
use tokio::runtime::Runtime;

async fn register(ledger: &mut Ledger) {
    ledger.act(Operation::RegisterCustomer(Registration { name: "Bob".into(), email: None })).await;
}

async fn standing(ledger: &Ledger, name: &str) -> Standing {
    let mut connection = ledger.store.connection().await.unwrap();
    let standings = standings(BOARD, &mut connection).await.unwrap();
    standings.into_iter().find(|standing| standing.name == name).unwrap()
}

/// Waits until the projection has stopped; answers with where it stands.
async fn stopped(reader: &Reader, name: &str, wanted: Position) -> Position {
    match reader.wait_for(name, wanted, LONG).await {
        Err(ReadError::Behind { position, stopped: true, .. }) => position,
        other => panic!("{name} did not stop: {other:?}"),
    }
}

async fn differing(ledger: &Ledger, definition: &Definition) -> i64 {
    verify(&ledger.store, definition, &Room::default()).await.unwrap().different
}

#[tokio::test]
async fn one_process_drives_and_another_takes_over_when_it_dies() {
    let mut ledger = Ledger::new().await;
    let lease = Duration::from_millis(400);
    let options = ProjectorOptions { lease, poll: Duration::from_millis(50), ..ProjectorOptions::default() };
    // A process of its own, as far as that goes within a test.
    let process = Runtime::new().unwrap();
    let (logins, of_first) = (ledger.database.logins().clone(), options.clone());
    let first = process.spawn(async {
        let store = Store::connect(logins, daybook_tests::store_options()).await.unwrap();
        Projector::start(&store, BOARD, None, of_first).await.unwrap()
    });
    let first = first.await.unwrap();
    varied_history(&mut ledger).await;
    ledger.projected(None).await;
    let holders = "select distinct holder::text from projections";
    let holder: Vec<String> = sqlx::query_scalar(holders).fetch_all(ledger.database.pool()).await.unwrap();
    assert_eq!(holder.len(), 1, "one process drives all of them");

    let second = Projector::start(&ledger.store, BOARD, None, options).await.unwrap();
    register(&mut ledger).await;
    ledger.projected(None).await;
    let still: Vec<String> = sqlx::query_scalar(holders).fetch_all(ledger.database.pool()).await.unwrap();
    assert_eq!(still, holder, "a second process leaves what is driven alone");

    // Cut off in the middle of whatever it does, it gives nothing back.
    process.shutdown_background();
    first.ended().await;
    register(&mut ledger).await;
    ledger.projected(None).await;
    let now: Vec<String> = sqlx::query_scalar(holders).fetch_all(ledger.database.pool()).await.unwrap();
    assert!(now.len() == 1 && now != holder, "the second process drives all of them now");
    assert_eq!(equality::broken(&ledger.store, BOARD).await, []);
    second.shutdown().await;
}

#[tokio::test]
async fn who_shuts_down_gives_its_leases_back() {
    let mut ledger = Ledger::new().await;
    let projector = ledger.projector(true).await;
    varied_history(&mut ledger).await;
    ledger.projected(Some(&projector)).await;
    assert!(standing(&ledger, "accounts").await.driven);
    projector.shutdown().await;
    assert!(!standing(&ledger, "accounts").await.driven);
}

#[tokio::test]
async fn a_projection_that_is_held_stands_still_while_the_others_go_on() {
    let mut ledger = Ledger::varied_and_projected().await;
    let projector = ledger.projector(true).await;
    let before = ledger.last;
    assert!(pause("customers", ledger.store.pool()).await.unwrap());
    assert!(!pause("customers", ledger.store.pool()).await.unwrap(), "it is paused already");
    register(&mut ledger).await;

    let reader = Reader::new(&ledger.store, BOARD, Some(&projector));
    for projection in BOARD.iter().filter(|projection| projection.name != "customers") {
        reader.wait_for(projection.name, ledger.last, LONG).await.unwrap();
    }
    let held = standing(&ledger, "customers").await;
    assert_eq!((held.state, held.position, held.lag_events), (State::Paused, before, ledger.last - before));
    assert!(resume("customers", ledger.store.pool()).await.unwrap());
    reader.wait_for("customers", ledger.last, LONG).await.unwrap();
    assert_eq!(differing(&ledger, &find("customers").unwrap()).await, 0);
    projector.shutdown().await;
}

/// A process that drives keeps rows in memory that change again and again; what others do to them must not be lost.
#[tokio::test]
async fn rows_that_others_write_are_what_the_next_event_changes() {
    let mut ledger = Ledger::new().await;
    let projector = ledger.projector(true).await;
    let reader = Reader::new(&ledger.store, BOARD, Some(&projector));
    let customer = ledger.act(Operation::RegisterCustomer(Registration { name: "Bob".into(), email: None })).await;
    let usd = |amount| Money::parse(amount, "USD").unwrap();
    let (currency, time_zone) = (usd("0").currency(), "UTC".into());
    let open = AccountOpening { customer: id(&customer), currency, name: "the account".into(), time_zone };
    let account = ledger.act(Operation::OpenAccount(open)).await;
    let deposit = async |ledger: &mut Ledger, amount| {
        let (account, description) = (id(&account), "a deposit".into());
        ledger.act(Operation::AdjustAccount(AdjustAccount { account, amount: usd(amount), description })).await;
    };
    let accounts = find("accounts").unwrap();
    let pool = ledger.database.pool().clone();
    let balance = async || {
        let text: String = sqlx::query_scalar("select balance::text from accounts").fetch_one(&pool).await.unwrap();
        text
    };
    deposit(&mut ledger, "1.00").await;
    ledger.projected(Some(&projector)).await;

    // Set aside before it is folded, and nothing after it either.
    pause("accounts", ledger.store.pool()).await.unwrap();
    deposit(&mut ledger, "20.00").await;
    park(&ledger.store, &accounts, ledger.last, "a test wants it", "staff:anna").await.unwrap();
    let parked = ledger.last;
    resume("accounts", ledger.store.pool()).await.unwrap();
    deposit(&mut ledger, "300.00").await;
    ledger.projected(Some(&projector)).await;
    assert_eq!(balance().await, "1.00");
    unpark(&ledger.store, &accounts, parked, "staff:anna").await.unwrap();
    assert_eq!(balance().await, "321.00");
    deposit(&mut ledger, "4000.00").await;
    reader.wait_for("accounts", ledger.last, LONG).await.unwrap();
    assert_eq!(balance().await, "4321.00");
    assert_eq!(differing(&ledger, &accounts).await, 0);

    // A row that somebody has taken away is missed, and folded anew on request.
    sqlx::query("delete from accounts_v1").execute(&pool).await.unwrap();
    let before = ledger.last;
    deposit(&mut ledger, "1.00").await;
    assert_eq!(stopped(&reader, "accounts", ledger.last).await, before);
    let error = standing(&ledger, "accounts").await.error.unwrap();
    assert!(error.contains("there is no row"), "{error}");
    let key: String = account["id"].as_str().unwrap().into();
    repair(&ledger.store, &accounts, [key].into()).await.unwrap();
    resume("accounts", ledger.store.pool()).await.unwrap();
    reader.wait_for("accounts", ledger.last, LONG).await.unwrap();
    assert_eq!(balance().await, "4322.00");
    projector.shutdown().await;
}

/// A projector that does not look by itself which builds there are and whether they are its own: it has to notice.
async fn who_does_not_look(ledger: &Ledger, board: &'static [Definition]) -> Projector {
    let seldom = Duration::from_secs(3600);
    let options = ProjectorOptions { poll: seldom, lease: seldom, ..ProjectorOptions::default() };
    Projector::start(&ledger.store, board, Some(&ledger.writer), options).await.unwrap()
}

#[tokio::test]
async fn what_took_over_was_mended_or_taken_away_is_noticed_with_the_next_event() {
    let mut ledger = Ledger::new().await;
    let projector = who_does_not_look(&ledger, BOARD).await;
    let reader = Reader::new(&ledger.store, BOARD, Some(&projector));
    let customers = find("customers").unwrap();
    let pool = ledger.database.pool().clone();
    let told = async |ledger: &mut Ledger| {
        register(ledger).await;
        reader.wait_for("customers", ledger.last, LONG).await.unwrap();
        let told: i64 = sqlx::query_scalar("select count(*) from customers").fetch_one(&pool).await.unwrap();
        assert_eq!(told as Position, ledger.last, "each event is a customer");
    };
    told(&mut ledger).await;
    // The second rebuild leaves a build that has tables of its own, and not those of the migration.
    for _ in 0..2 {
        rebuild(&ledger.store, &customers, &RebuildOptions::default(), |_| {}).await.unwrap();
        told(&mut ledger).await;
    }
    roll_back(&ledger.store, &customers, None).await.unwrap();
    told(&mut ledger).await;
    repair(&ledger.store, &customers, ["cus_nobody".to_owned()].into()).await.unwrap();
    told(&mut ledger).await;
    discard(&ledger.store, &customers, Stage::Kept).await.unwrap();
    told(&mut ledger).await;
    assert_eq!(differing(&ledger, &customers).await, 0);
    projector.shutdown().await;
}

/// Nothing else moves, and no further event tells it to look.
#[tokio::test]
async fn who_was_refused_its_turn_tries_again() {
    let mut ledger = Ledger::new().await;
    let board: &'static [Definition] = Box::leak(Box::new([find("customers").unwrap()]));
    let projector = who_does_not_look(&ledger, board).await;
    let reader = Reader::new(&ledger.store, board, Some(&projector));
    register(&mut ledger).await;
    reader.wait_for("customers", ledger.last, LONG).await.unwrap();
    let mut locked = ledger.database.pool().begin().await.unwrap();
    sqlx::query("select from projections where name = 'customers' for update").execute(&mut *locked).await.unwrap();
    register(&mut ledger).await;
    // It comes with the commit and with the notification, each time in vain.
    let refused = "select count(*) from pg_stat_activity
        where datname = current_database() and query ilike 'commit' and query_start > $1";
    let mut last: DateTime<Utc> = sqlx::query_scalar("select now()").fetch_one(&mut *locked).await.unwrap();
    let in_vain = async {
        for _ in 0..2 {
            while sqlx::query_scalar::<_, i64>(refused).bind(last).fetch_one(ledger.database.pool()).await.unwrap() == 0
            {
                tokio::task::yield_now().await;
            }
            last = sqlx::query_scalar("select clock_timestamp()").fetch_one(ledger.database.pool()).await.unwrap();
        }
    };
    tokio::time::timeout(LONG, in_vain).await.expect("it tries again");
    locked.rollback().await.unwrap();
    reader.wait_for("customers", ledger.last, LONG).await.unwrap();
    projector.shutdown().await;
}

/// Breaks the payload of an event by hand, as only the owner of the tables can; answers with its position.
async fn break_an_event(ledger: &Ledger, event_type: &str) -> Position {
    sqlx::raw_sql("alter table events disable trigger refuse_change").execute(ledger.database.pool()).await.unwrap();
    let position: i64 = sqlx::query_scalar(
        "update events set payload = json_build_object('broken', payload)
         where position = (select min(position) from events where event_type = $1)
         returning position",
    )
    .bind(event_type)
    .fetch_one(ledger.database.pool())
    .await
    .unwrap();
    position as Position
}

async fn mend(ledger: &Ledger, position: Position) {
    sqlx::query("update events set payload = payload -> 'broken' where position = $1")
        .bind(position as i64)
        .execute(ledger.database.pool())
        .await
        .unwrap();
}

#[tokio::test]
async fn what_this_process_has_appended_is_not_read_again_unless_it_has_lost_sight_of_the_book() {
    let mut ledger = Ledger::new().await;
    ledger.writer.keep_recent();
    varied_history(&mut ledger).await;
    // So that it can be told who reads.
    let broken = break_an_event(&ledger, "ticket.taken_up").await;
    let projector = ledger.projector(true).await;
    ledger.projected(Some(&projector)).await;
    projector.shutdown().await;

    // The same once the writer had to connect anew, since nobody knows what has become of the book meanwhile.
    let mut other = Ledger::new().await;
    other.writer.keep_recent();
    varied_history(&mut other).await;
    assert_eq!(break_an_event(&other, "ticket.taken_up").await, broken);
    let of_the_writer: Vec<bool> = sqlx::query_scalar(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity
         where datname = current_database() and query like 'with locked as materialized%'",
    )
    .fetch_all(other.database.pool())
    .await
    .unwrap();
    assert_eq!(of_the_writer, [true]);
    register(&mut other).await;
    let projector = other.projector(true).await;
    let reader = Reader::new(&other.store, BOARD, Some(&projector));
    assert_eq!(stopped(&reader, "tickets", other.last).await, broken - 1);
    projector.shutdown().await;
}

#[tokio::test]
async fn an_event_of_another_book_makes_no_rows() {
    let mut ledger = Ledger::new().await;
    ledger.writer.keep_recent();
    varied_history(&mut ledger).await;
    // As if the one that was restored had another last event.
    sqlx::raw_sql(
        "alter table events disable trigger refuse_change;
         update events set recorded_at = recorded_at + interval '1 second',
             payload = json_build_object('other', payload)
         where position = (select max(position) from events)",
    )
    .execute(ledger.database.pool())
    .await
    .unwrap();
    let projector = ledger.projector(true).await;
    let reader = Reader::new(&ledger.store, BOARD, Some(&projector));
    assert_eq!(stopped(&reader, "history", ledger.last).await, ledger.last - 1);
    projector.shutdown().await;
}

#[tokio::test]
async fn a_broken_event_is_set_aside_with_the_rest_of_its_stream_and_taken_back() {
    let mut ledger = Ledger::varied().await;
    let broken = break_an_event(&ledger, "ticket.taken_up").await;
    // As another process finds it: the one that has appended it need not read it.
    let projector = ledger.projector(false).await;
    let reader = Reader::new(&ledger.store, BOARD, Some(&projector));
    let tickets = find("tickets").unwrap();
    let follow = ["history", "journal", "tickets"];

    // Only those who need the event stop; the message names it.
    for projection in BOARD {
        if follow.contains(&projection.name) {
            assert_eq!(stopped(&reader, projection.name, ledger.last).await, broken - 1);
            let standing = standing(&ledger, projection.name).await;
            assert_eq!((standing.state, standing.error_position), (State::Stopped, Some(broken)));
            let error = standing.error.unwrap();
            assert!(error.contains(&format!("event {broken}")) && error.contains("ticket.taken_up"), "{error}");
        } else {
            reader.wait_for(projection.name, ledger.last, LONG).await.unwrap();
        }
    }

    // What is in the rows already, is not followed, or is not there cannot be set aside.
    let reason = "the payload was broken by hand";
    let refuse = async |definition: Definition, position| {
        park(&ledger.store, &definition, position, reason, "staff:anna").await.unwrap_err()
    };
    assert!(matches!(refuse(tickets, broken - 1).await, ParkError::NotFollowed(_) | ParkError::Folded { .. }));
    assert!(matches!(refuse(find("accounts").unwrap(), broken).await, ParkError::NotFollowed(_)));
    assert!(matches!(refuse(tickets, ledger.last + 1).await, ParkError::NoEvent(_)));
    assert!(matches!(refuse(tickets, 0).await, ParkError::NoEvent(0)));

    for name in follow {
        let parked = park(&ledger.store, &find(name).unwrap(), broken, reason, "staff:anna").await.unwrap();
        assert_eq!((parked.from_position, parked.reason.as_str(), parked.error.is_some()), (broken, reason, true));
        reader.wait_for(name, ledger.last, LONG).await.unwrap();
        assert_eq!(standing(&ledger, name).await.parked, [parked]);
    }
    assert!(matches!(refuse(tickets, broken).await, ParkError::Folded { .. } | ParkError::Parked(_)));
    // The rest of the stream is set aside as well: the ticket is as it was when it was opened.
    let (id, status, messages): (String, String, i64) =
        sqlx::query_as("select id, status, messages::bigint from tickets order by position limit 1")
            .fetch_one(ledger.database.pool())
            .await
            .unwrap();
    assert_eq!((status.as_str(), messages), ("open", 1));
    // Rows that lack what is set aside are what the book says; a rebuild makes the same ones.
    assert_eq!(equality::broken(&ledger.store, BOARD).await, []);

    // While it cannot be read it cannot be taken back, and everything stays.
    let failed = unpark(&ledger.store, &tickets, broken, "staff:anna").await.unwrap_err();
    assert!(matches!(failed, ParkError::Refold(RebuildError::Fold { position, .. }) if position == broken), "{failed}");
    assert_eq!(standing(&ledger, "tickets").await.parked.len(), 1);
    let nothing = unpark(&ledger.store, &tickets, broken + 1, "staff:anna").await.unwrap_err();
    assert!(matches!(nothing, ParkError::NotParked(_)));

    mend(&ledger, broken).await;
    for name in follow {
        unpark(&ledger.store, &find(name).unwrap(), broken, "staff:bert").await.unwrap();
        assert_eq!(standing(&ledger, name).await.parked, []);
    }
    let status: String = sqlx::query_scalar("select status from tickets where id = $1")
        .bind(&id)
        .fetch_one(ledger.database.pool())
        .await
        .unwrap();
    assert_eq!(status, "archived");
    let recorded: Vec<(String, String)> = sqlx::query_as("select parked_by, unparked_by from parked_streams")
        .fetch_all(ledger.database.pool())
        .await
        .unwrap();
    assert_eq!(recorded, vec![("staff:anna".to_owned(), "staff:bert".to_owned()); follow.len()]);
    assert_eq!(equality::broken(&ledger.store, BOARD).await, []);
    register(&mut ledger).await;
    ledger.projected(Some(&projector)).await;
    projector.shutdown().await;
}
