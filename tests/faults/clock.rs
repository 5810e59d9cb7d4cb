//! A clock that cannot be trusted: nothing is recorded by it, and who asks is told why.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use daybook_api::AppOptions;
use daybook_core::{
    clock::{Clock, ClockTrouble, Clocks},
    store::StoreError,
    writer::{ExecuteError, Failure, Writer, WriterOptions},
};
use daybook_tests::{TestDatabase, api::TestApp, commands::register, database, operator::metrics, program};
use serde_json::{Value, json};
use sqlx::Executor;
use tokio::process::Command;

/// The clocks of this machine, as somebody has moved them.
#[derive(Clone, Debug, Default)]
struct Moved(Arc<Mutex<(TimeDelta, Duration)>>);

impl Moved {
    fn by(&self, of_wall: TimeDelta, elapsed: Duration) {
        *self.0.lock().unwrap() = (of_wall, elapsed);
    }
}

impl Clocks for Moved {
    fn wall(&self) -> DateTime<Utc> {
        Utc::now() + self.0.lock().unwrap().0
    }

    fn elapsed(&self) -> Duration {
        // Nothing of these tests takes minutes.
        self.0.lock().unwrap().1
    }
}

fn options(clocks: &Moved) -> WriterOptions {
    WriterOptions { clock: Clock::of(clocks.clone()), ..WriterOptions::default() }
}

fn trouble(error: ExecuteError) -> ClockTrouble {
    match error {
        ExecuteError::Failed(Failure::Database(error)) => match &*error {
            StoreError::Clock(trouble) => trouble.clone(),
            error => panic!("{error} is not of the clock"),
        },
        error => panic!("{error} is not of the clock"),
    }
}

const INSERT: &str =
    "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
    position, recorded_at)
 values ('stock', 'a', 1, 'e', '1.0', '{}', '{}', 1, $1)";

/// An event of another program, recorded so long from now.
async fn recorded(database: &TestDatabase, from_now: TimeDelta) -> Result<(), sqlx::Error> {
    sqlx::query(INSERT).bind(Utc::now() + from_now).execute(database.pool()).await.map(drop)
}

/// What the book ends with, as a clock that was so far ahead would have recorded it.
async fn record_ahead(database: &TestDatabase, by: TimeDelta) {
    let mut session = database.pool().acquire().await.unwrap();
    session.execute("set session_replication_role = replica").await.unwrap();
    let recorded_at = Utc::now() + by;
    for moved in ["update events set recorded_at = $1", "update book_head set recorded_at = $1"] {
        sqlx::query(moved).bind(recorded_at).execute(&mut *session).await.unwrap();
    }
    session.execute("reset session_replication_role").await.unwrap();
}

const HOUR: TimeDelta = TimeDelta::hours(1);

#[tokio::test]
async fn a_clock_that_jumps_records_nothing_until_it_is_set_right() {
    let database = database().await;
    let clocks = Moved::default();
    let (writer, running) = Writer::start(database.store().await, options(&clocks));
    writer.execute(register("Ada")).await.unwrap();
    let jumps = [
        (HOUR, Duration::ZERO, "this machine"),
        (-HOUR, Duration::ZERO, "this machine"),
        // Both stood still while time went on.
        (TimeDelta::zero(), Duration::from_secs(3600), "this machine"),
        // Only the database's.
        (HOUR, Duration::from_secs(3600), "the database"),
    ];
    for (of_wall, elapsed, of) in jumps {
        clocks.by(of_wall, elapsed);
        let refused = trouble(writer.execute(register("Bea")).await.unwrap_err());
        assert!(matches!(&refused, ClockTrouble::Jumped { of: jumped, .. } if *jumped == of), "{of}: {refused:?}");
        assert_eq!(database.store().await.head().await.unwrap().position, 1, "{of}");
    }
    let minutes = 4;
    clocks.by(TimeDelta::minutes(minutes), Duration::ZERO);
    assert_eq!(writer.execute(register("Bea")).await.unwrap().position, 2, "so little is no jump");
    running.shutdown().await;
}

#[tokio::test]
async fn a_clock_behind_the_last_record_records_nothing() {
    let database = database().await;
    recorded(&database, TimeDelta::zero()).await.unwrap();
    record_ahead(&database, HOUR).await;
    let (writer, running) = database.writer().await;
    let refused = trouble(writer.execute(register("Ada")).await.unwrap_err());
    assert!(matches!(refused, ClockTrouble::Behind { .. }), "{refused:?}");
    assert_eq!(database.store().await.head().await.unwrap().position, 1);
    running.shutdown().await;

    let verified = Command::new(program("daybook"))
        .envs(daybook_tests::master_key_env())
        .args(["verify", "--json", "--database-url", database.url()])
        .output()
        .await
        .unwrap();
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let clock = checks.iter().find(|check| check["name"] == "the clock is not behind the book").unwrap();
    assert_eq!((verified.status.code(), &clock["first_bad_position"]), (Some(1), &json!(1)), "{report:#}");
}

#[tokio::test]
async fn no_other_program_records_further_ahead_than_clocks_may_differ() {
    let database = database().await;
    let refused = recorded(&database, TimeDelta::minutes(6)).await.unwrap_err();
    let refused = refused.as_database_error().unwrap();
    assert_eq!(refused.constraint(), Some("events_recorded_by_now"), "{refused}");
    assert_eq!(database.store().await.head().await.unwrap().position, 0);
}

#[tokio::test]
async fn behind_the_last_record_an_operator_s_word_lets_recording_go_on_at_its_time() {
    let ahead = TestApp::start().await;
    ahead.done("/v1/customers", json!({ "name": "Ada" })).await;
    let database = ahead.stop().await;
    record_ahead(&database, HOUR).await;
    let before = database.store().await.head().await.unwrap();
    let refused = TestApp::on(database).await;
    let answer = refused.post("/v1/customers", json!({ "name": "Bea" })).await;
    let detail = answer.refused(503, "clock-jumped")["detail"].as_str().unwrap();
    assert!(detail.contains("--trust-database-clock"), "{detail}");
    let database = refused.stop().await;

    let writer = WriterOptions { clock: Clock::default().trusting_the_database(true), ..WriterOptions::default() };
    let app = TestApp::with(database, AppOptions { writer, ..AppOptions::default() }).await;
    app.done("/v1/customers", json!({ "name": "Bea" })).await;
    app.done("/v1/customers", json!({ "name": "Cleo" })).await;
    let head = app.database.store().await.head().await.unwrap();
    assert_eq!((head.position, head.recorded_at), (3, before.recorded_at));
    // Whoever asks goes on being told.
    let ready = app.get("/readyz").await;
    let told = ready.body["clock"]["error"].as_str().unwrap_or_else(|| panic!("{}", ready.text));
    assert!(ready.status == 200 && told.contains("the last event was recorded at"), "{}", ready.text);
    assert_eq!(metrics(&app).await["daybook_clock_trouble"], "1");
}

#[tokio::test]
async fn what_has_no_date_takes_effect_when_the_clock_of_the_process_says() {
    let clocks = Moved::default();
    clocks.by(HOUR, Duration::ZERO);
    let app = TestApp::with(database().await, AppOptions { writer: options(&clocks), ..AppOptions::default() }).await;
    app.done("/v1/customers", json!({ "name": "Ada" })).await;
    let occurred_at: DateTime<Utc> =
        sqlx::query_scalar("select (metadata ->> 'occurred_at')::timestamptz from events where position = 1")
            .fetch_one(app.database.pool())
            .await
            .unwrap();
    let ahead = occurred_at - Utc::now();
    assert!((ahead - HOUR).abs() < TimeDelta::minutes(2), "{occurred_at}");
}

#[tokio::test]
async fn a_clock_a_little_behind_the_last_record_goes_on_from_there() {
    let database = database().await;
    recorded(&database, TimeDelta::minutes(4)).await.unwrap();
    let (writer, running) = database.writer().await;
    assert_eq!(writer.execute(register("Ada")).await.unwrap().position, 2);
    running.shutdown().await;
}

#[tokio::test]
async fn after_a_long_silence_an_operator_is_asked_only_if_the_clocks_disagree() {
    let idle = async |of_wall, trusted| {
        let database = database().await;
        recorded(&database, -TimeDelta::days(40)).await.unwrap();
        let clocks = Moved::default();
        clocks.by(of_wall, Duration::ZERO);
        let clock = Clock::of(clocks).trusting_the_database(trusted);
        let (writer, running) =
            Writer::start(database.store().await, WriterOptions { clock, ..WriterOptions::default() });
        let done = writer.execute(register("Ada")).await.map(|done| done.position);
        running.shutdown().await;
        done
    };
    assert_eq!(idle(TimeDelta::zero(), false).await.unwrap(), 2, "an idle ledger is healthy");
    let refused = trouble(idle(-HOUR, false).await.unwrap_err());
    assert!(matches!(refused, ClockTrouble::Disagreement { .. }), "{refused:?}");
    assert_eq!(idle(-HOUR, true).await.unwrap(), 2);
}

#[tokio::test]
async fn a_clock_that_jumped_is_told_over_http() {
    let clocks = Moved::default();
    let app = TestApp::with(database().await, AppOptions { writer: options(&clocks), ..AppOptions::default() }).await;
    app.done("/v1/customers", json!({ "name": "Ada" })).await;
    assert_eq!(metrics(&app).await["daybook_clock_trouble"], "0");
    clocks.by(HOUR, Duration::ZERO);
    let refused = app.post("/v1/customers", json!({ "name": "Bea" })).await;
    let detail = refused.refused(503, "clock-jumped")["detail"].as_str().unwrap();
    assert!(detail.contains("the clock of this machine has jumped"), "{detail}");
    assert_eq!(app.position().await, 1);
    let ready = app.get("/readyz").await;
    assert!(ready.refused(503, "not-ready")["detail"].as_str().unwrap().contains("has jumped"), "{}", ready.text);
    assert_eq!(metrics(&app).await["daybook_clock_trouble"], "1");
    clocks.by(TimeDelta::zero(), Duration::ZERO);
    app.done("/v1/customers", json!({ "name": "Bea" })).await;
    assert_eq!(app.get("/livez").await.status, 200);
}
