//! Whoever hangs up, and when ever, leaves nothing behind on the connections that all requests share.

use std::{future::poll_fn, pin::pin, task::Poll};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode},
};
use daybook_api::{App, AppOptions, openapi};
use daybook_core::store::Store;
use daybook_identity::{Level, NewSession};
use daybook_tests::{TestDatabase, database};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use sqlx::PgPool;
use tower::ServiceExt as _;
use uuid::Uuid;

/// Of the pool that the requests share: those of a store, but for the one on which the projector listens.
const CONNECTIONS: usize = 9;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_cut_at_any_point_leaves_every_connection_clean_and_every_read_fresh() {
    let database = database().await;
    let store = database.store().await;
    let running = App::start(store.clone(), AppOptions::default()).await.unwrap();
    let router = daybook_tests::api::open_router(&running);
    let customer = registered(&router, "Ada Lovelace").await;
    let id = customer["id"].as_str().unwrap().to_owned();
    let account = json!({ "customer": id, "currency": "EUR", "name": "Main account" });
    let (_, account) = answered(&router, post("/v1/accounts", &account)).await;
    let account = account["id"].as_str().unwrap().to_owned();
    let mut random = StdRng::seed_from_u64(11);

    for round in 0..12 {
        let cut = requests(&id, &account).into_iter().map(|request| {
            let polls = random.random_range(1..24);
            tokio::spawn(polled(router.clone().oneshot(request), polls))
        });
        for request in cut.collect::<Vec<_>>() {
            request.await.unwrap();
        }
        clean(&store, &database, round).await;
    }

    let newest = registered(&router, "Grace Hopper").await;
    let newest = newest["id"].as_str().unwrap();
    // More reads than there are connections, and the pool hands out the one that has rested longest.
    for _ in 0..3 * CONNECTIONS {
        let (status, events) = answered(&router, get("/v1/audit/events?limit=500".into())).await;
        assert_eq!(status, StatusCode::OK, "{events}");
        assert!(events.to_string().contains(newest), "a read lacks the newest event");
    }
    running.shutdown().await;
}

/// A session that outlived it would be good again once the person is enabled.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_signed_out_however_early_whoever_disables_the_person_hangs_up() {
    let database = database().await;
    let running = App::start(database.store().await, AppOptions::default()).await.unwrap();
    let (router, app) = (daybook_tests::api::open_router(&running), running.app().clone());
    let mut recorded = 0;
    for polls in 1..=16 {
        let body = json!({ "login": format!("ada{polls}@example.org"), "name": "Ada", "party": "provider" });
        let (_, user) = answered(&router, post("/v1/users", &body)).await;
        let user = user["id"].as_str().unwrap();
        let (level, address) = (Level::Password, [192, 0, 2, 7].into());
        let new = NewSession { user, membership: None, level, address, agent: None };
        app.identity().sessions.begin(new, app.clock().now()).await.unwrap();
        polled(router.clone().oneshot(post(&format!("/v1/users/{user}/disable"), &json!({}))), polls).await;
        app.unfinished().close();
        app.unfinished().wait().await;
        app.unfinished().reopen();
        // Whatever was on its way to the writer is recorded before this.
        registered(&router, "Grace Hopper").await;
        let (is_disabled, sessions, plans): (bool, i64, i64) = sqlx::query_as(
            "select exists (select from events where aggregate_id = $1 and event_type = 'user.disabled'),
                 (select count(*) from sessions where user_id = $1 and ended_at is null),
                 (select count(*) from cut_offs)",
        )
        .bind(user)
        .fetch_one(database.pool())
        .await
        .unwrap();
        assert_eq!((sessions, plans), (i64::from(!is_disabled), 0), "after {polls} polls");
        recorded += u32::from(is_disabled);
    }
    assert!(recorded > 0, "no request came far enough");
    running.shutdown().await;
}

/// A request of each kind that reads, of the present and of the past, and some that write.
fn requests(customer: &str, account: &str) -> Vec<Request<Body>> {
    let description = openapi();
    let paths = description.paths.paths.iter().filter(|(_, item)| item.get.is_some()).map(|(path, _)| {
        let path = path.replace("/customers/{id}", &format!("/customers/{customer}"));
        path.replace("/accounts/{id}", &format!("/accounts/{account}")).replace("/{name}", "/customer")
    });
    let paths =
        paths.map(|path| path.replace("{id}", "unknown").replace("{code}", "unknown").replace("{*index}", "000"));
    let paths: Vec<String> = paths.map(|path| path.replace("{level}", "0")).collect();
    let past = paths.iter().map(|path| format!("{path}?as_known_at=1")).collect::<Vec<_>>();
    let effective = paths.iter().map(|path| format!("{path}?as_of=2030-01-01T00:00:00Z")).collect::<Vec<_>>();
    let mut requests: Vec<Request<Body>> = [paths, past, effective].into_iter().flatten().map(get).collect();
    requests.push(post("/v1/customers", &json!({ "name": "Cut Short" })));
    for instruction in ["pause", "resume"] {
        requests.push(post(&format!("/v1/ops/projections/customer/{instruction}"), &json!({})));
    }
    let unknown = json!({ "position": 999_999, "reason": "none" });
    requests.push(post("/v1/ops/projections/customer/park", &unknown));
    requests.push(post("/v1/ops/projections/customer/repair", &json!({ "keys": [customer] })));
    requests
}

/// Waits until all connections of the pool have come back, and looks what is on them.
async fn clean(store: &Store, database: &TestDatabase, round: u32) {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(store.pool().acquire().await.expect("every connection comes back"));
    }
    let mut processes: Vec<i32> = Vec::new();
    for connection in &mut connections {
        let (process, temporary, settings): (i32, i64, String) = sqlx::query_as(
            "select pg_backend_pid(),
                 (select count(*) from pg_class where relnamespace = pg_my_temp_schema() and relkind = 'r'),
                 concat_ws(' ', current_user, current_setting('plan_cache_mode'), current_setting('statement_timeout'),
                     current_setting('enable_seqscan'))",
        )
        .fetch_one(&mut **connection)
        .await
        .unwrap();
        assert_eq!((temporary, settings.as_str()), (0, "daybook_app auto 1min on"), "round {round}");
        processes.push(process);
    }
    assert_eq!(in_transaction(&processes, database.pool()).await, [], "round {round}");
}

/// Those of these processes of the database that are in a transaction, and what they did last.
async fn in_transaction(processes: &[i32], pool: &PgPool) -> Vec<(i32, String)> {
    sqlx::query_as("select pid, query from pg_stat_activity where pid = any($1) and state <> 'idle'")
        .bind(processes)
        .fetch_all(pool)
        .await
        .unwrap()
}

/// Polls a future so many times at most, and drops it then, whatever it waits for.
async fn polled(future: impl Future, times: u32) {
    let (mut future, mut polls) = (pin!(future), 0);
    poll_fn(|context| {
        polls += 1;
        if future.as_mut().poll(context).is_ready() || polls == times { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn registered(router: &Router, name: &str) -> Value {
    let (status, body) = answered(router, post("/v1/customers", &json!({ "name": name }))).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    body
}

async fn answered(router: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status, serde_json::from_slice(&body).unwrap_or_default())
}

fn get(path: String) -> Request<Body> {
    Request::builder().uri(path).header("host", "localhost").body(Body::empty()).unwrap()
}

fn post(path: &str, body: &Value) -> Request<Body> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json");
    request.header("idempotency-key", Uuid::now_v7().to_string()).body(Body::from(body.to_string())).unwrap()
}
