//! Long work that is asked for over HTTP: answered with 202 and the address of a resource that says how far it is, what it has
//! come to, and takes a request to cancel it.
//!
//! The server that was asked does the work, and touches its row every second. Every server on the ledger shows it, also after
//! a restart. A row that nobody touches any more is shown as interrupted.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, TimeDelta, Utc};
use daybook_core::{
    chain,
    clock::Clock,
    store::{Store, StoreError},
};
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, types::Json as Stored};
use tokio::{sync::Semaphore, time::sleep};
use ulid::Ulid;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    app::{App, Background},
    http::{
        address::{Asked, Named},
        error::ApiError,
        page::{DEFAULT_LIMIT, PageLimit},
        wire::{Beside, NameOf, json},
    },
    operate::operator::{Instruction, Nothing},
};

/// How often the server that does the work says so.
const TOUCHED_EVERY: Duration = Duration::from_secs(1);

/// That nobody does it any more: the server that did has not touched it for long.
const INTERRUPTED: &str = "touched_at < now() - interval '15 seconds'";

/// How long it can be found out what came of it.
const KEPT_FOR: TimeDelta = TimeDelta::days(30);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    Rebuild,
    Verify,
}

/// How far the work is, of which only the worker knows.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<Mutex<Reading>>);

#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    pub phase: Option<&'static str>,
    pub done: Option<u64>,
    pub total: Option<u64>,
}

impl Gauge {
    pub fn set(&self, reading: Reading) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reading;
    }

    fn get(&self) -> Reading {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the work has ended.
#[derive(Debug)]
pub enum Ending {
    Done(Value),
    /// With what it has found, where it has found something.
    Failed(Box<ApiError>),
}

/// The operations that this server does.
#[derive(Clone, Debug)]
pub struct Operations {
    store: Store,
    clock: Clock,
    background: Background,
    /// One is done at a time: each takes its share of the memory.
    turn: Arc<Semaphore>,
}

/// What is asked for.
#[derive(Debug)]
pub struct NewOperation<'a> {
    pub kind: Kind,
    pub subject: &'a str,
    pub request: Value,
    pub asked_by: &'a str,
}

impl Operations {
    pub fn new(store: Store, clock: Clock, background: Background) -> Self {
        Self { store, clock, background, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Writes down what is asked for, and does it in the background once nothing else is done. `None` if the same is being done
    /// or waits already. `ended` is called with whether it was cancelled.
    pub async fn begin<W: Future<Output = Ending> + Send + 'static>(
        &self,
        new: NewOperation<'_>,
        work: impl FnOnce(Gauge) -> W,
        ended: impl FnOnce(bool) + Send + 'static,
    ) -> Result<Option<String>, StoreError> {
        let now = self.clock.now();
        let id = format!("opn_{}", Ulid::from_bytes(Uuid::now_v7().into_bytes()));
        sqlx::query("delete from operations where ended_at < $1 or touched_at < $1")
            .bind(now - KEPT_FOR)
            .execute(self.store.pool())
            .await?;
        // By the clock of the database: the clocks of servers differ.
        let stored = sqlx::query(&format!(
            "insert into operations (id, kind, subject, request, asked_by, asked_at, status, touched_at)
             select $1, $2, $3, $4, $5, $6, 'waiting', now()
             where not exists (
                 select from operations where kind = $2 and subject = $3 and ended_at is null and not {INTERRUPTED}
             )"
        ))
        .bind(&id)
        .bind(<&str>::from(new.kind))
        .bind(new.subject)
        .bind(Stored(new.request))
        .bind(new.asked_by)
        .bind(now)
        .execute(self.store.pool())
        .await?;
        if stored.rows_affected() == 0 {
            return Ok(None);
        }
        let gauge = Gauge::default();
        let (doing, working) = (self.clone(), work(gauge.clone()));
        let of = id.clone();
        self.background.run(async move {
            let in_turn = async {
                let _turn = doing.turn.acquire().await.expect("the semaphore is never closed");
                if let Err(error) = doing.begun(&of).await {
                    tracing::warn!(error = %chain(&error), "that an operation has begun is not written down");
                }
                // A fault must not leave it running for ever in the eyes of everybody.
                AssertUnwindSafe(working).catch_unwind().await
            };
            let ending = tokio::select! {
                ending = in_turn => Some(ending.unwrap_or_else(|_| {
                    let error = ApiError::new("internal", "the server has a fault; its log says which");
                    Ending::Failed(Box::new(error))
                })),
                () = doing.until_cancelled(&of, &gauge) => None,
            };
            ended(ending.is_none());
            // Nobody else knows what came of it.
            while let Err(error) = doing.ended(&of, ending.as_ref(), gauge.get()).await {
                tracing::error!(error = %chain(&error), "that an operation has ended is not written down yet");
                sleep(TOUCHED_EVERY).await;
            }
        });
        Ok(Some(id))
    }

    async fn begun(&self, id: &str) -> Result<(), sqlx::Error> {
        let begun = "update operations set status = 'running', begun_at = $2, touched_at = now()
                     where id = $1 and ended_at is null";
        sqlx::query(begun).bind(id).bind(self.clock.now()).execute(self.store.pool()).await?;
        Ok(())
    }

    /// Says every second how far it is, until somebody wants it to end or has written down that it has ended.
    async fn until_cancelled(&self, id: &str, gauge: &Gauge) {
        loop {
            sleep(TOUCHED_EVERY).await;
            let Reading { phase, done, total } = gauge.get();
            let touched: Result<Option<(Option<String>,)>, sqlx::Error> = sqlx::query_as(
                "update operations set touched_at = now(), phase = $2, done = $3, total = $4
                 where id = $1 and ended_at is null returning cancelled_by",
            )
            .bind(id)
            .bind(phase)
            .bind(done.map(|done| done as i64))
            .bind(total.map(|total| total as i64))
            .fetch_optional(self.store.pool())
            .await;
            match touched {
                Ok(Some((None,))) => {}
                Ok(_) => return,
                Err(error) => tracing::warn!(error = %chain(&error), "how far an operation is, is not written down"),
            }
        }
    }

    async fn ended(&self, id: &str, ending: Option<&Ending>, reading: Reading) -> Result<(), sqlx::Error> {
        let (status, outcome) = match ending {
            Some(Ending::Done(result)) => ("done", Some(result.clone())),
            Some(Ending::Failed(error)) => {
                let instance = format!("urn:daybook:operation:{id}");
                ("failed", Some(serde_json::to_value(error.document(instance)).expect("a problem is JSON")))
            }
            None => ("cancelled", None),
        };
        sqlx::query(
            "update operations set status = $2, outcome = $3, ended_at = $4, phase = $5, done = $6, total = $7
             where id = $1 and ended_at is null",
        )
        .bind(id)
        .bind(status)
        .bind(outcome.map(Stored))
        .bind(self.clock.now())
        .bind(reading.phase)
        .bind(reading.done.map(|done| done as i64))
        .bind(reading.total.map(|total| total as i64))
        .execute(self.store.pool())
        .await?;
        Ok(())
    }
}

#[derive(Debug, FromRow)]
struct OperationRow {
    id: String,
    kind: String,
    subject: String,
    request: Stored<Value>,
    asked_by: String,
    asked_at: DateTime<Utc>,
    begun_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    status: String,
    done: Option<i64>,
    total: Option<i64>,
    phase: Option<String>,
    outcome: Option<Stored<Value>>,
    cancelled_by: Option<String>,
    touched_at: DateTime<Utc>,
    is_interrupted: bool,
}

/// The rows with what follows from them by the clock of the database.
fn rows() -> String {
    format!(
        "select id, kind, subject, request, asked_by, asked_at, begun_at, ended_at, status, done, total, phase, outcome,
             cancelled_by, touched_at, ended_at is null and {INTERRUPTED} as is_interrupted
         from operations"
    )
}

/// Long work that was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperationShown {
    id: String,
    /// `rebuild` or `verify`.
    kind: String,
    /// The projection.
    subject: String,
    /// What was asked for beside it.
    #[schema(value_type = Object)]
    request: Value,
    /// `waiting`, `running`, `done`, `failed`, `cancelled`, or `interrupted` if its server has gone.
    status: String,
    /// Of a rebuild.
    progress: Option<ProgressShown>,
    asked_by: String,
    asked_at: DateTime<Utc>,
    begun_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    cancelled_by: Option<String>,
    /// Its outcome.
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    /// Why it failed.
    #[schema(value_type = Option<Object>)]
    problem: Option<Value>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ProgressShown {
    phase: Option<String>,
    done: Option<i64>,
    total: Option<i64>,
    /// What is counted.
    unit: &'static str,
    /// How many seconds the rest of the filling takes, if it goes on as it did.
    eta_seconds: Option<i64>,
}

impl OperationRow {
    fn shown(self) -> OperationShown {
        // The other phases go by the rows, which nobody counts.
        let is_counted = self.ended_at.is_none() && self.phase.as_deref() == Some("filling");
        let eta_seconds = self.begun_at.zip(self.done).zip(self.total).filter(|_| is_counted);
        let eta_seconds = eta_seconds.and_then(|((begun_at, done), total)| {
            let gone = (self.touched_at - begun_at).num_seconds();
            (done > 0).then(|| gone.saturating_mul((total - done).max(0)) / done)
        });
        let is_known = self.phase.is_some() || self.done.is_some();
        let progress = is_known.then_some(ProgressShown {
            phase: self.phase,
            done: self.done,
            total: self.total,
            unit: "events",
            eta_seconds,
        });
        let outcome = self.outcome.map(|Stored(outcome)| outcome);
        let (result, problem) = if self.status == "failed" { (None, outcome) } else { (outcome, None) };
        OperationShown {
            id: self.id,
            kind: self.kind,
            subject: self.subject,
            request: self.request.0,
            status: if self.is_interrupted { "interrupted".into() } else { self.status },
            progress,
            asked_by: self.asked_by,
            asked_at: self.asked_at,
            begun_at: self.begun_at,
            ended_at: self.ended_at,
            cancelled_by: self.cancelled_by,
            result,
            problem,
        }
    }
}

pub type OperationName = NameOf<OperationShown>;

impl Beside for OperationShown {
    const PREFIX: &'static str = "opn";
    const NOUN: &'static str = "an operation";
}

async fn found(app: &App, id: &str) -> Result<OperationRow, ApiError> {
    let row = sqlx::query_as(&format!("{} where id = $1", rows())).bind(id).fetch_optional(app.store().pool()).await?;
    row.ok_or_else(|| ApiError::new("operation-not-found", "there is no such operation"))
}

/// The answer to whoever has asked for long work: where to look what becomes of it.
pub async fn accepted(app: &App, id: &str) -> Result<Response, ApiError> {
    let shown = found(app, id).await?.shown();
    let location = HeaderValue::from_str(&format!("/v1/operations/{id}")).expect("a name is plain ASCII");
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(shown)).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OperationQuery {
    /// So many at most.
    #[param(inline)]
    limit: Option<PageLimit>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OperationsShown {
    operations: Vec<OperationShown>,
}

/// Long work that was asked for in the last 30 days, the newest first.
#[utoipa::path(get, path = "/v1/operations", params(OperationQuery), responses((status = 200, body = OperationsShown)))]
pub async fn list(
    State(app): State<App>,
    Asked(OperationQuery { limit }): Asked<OperationQuery>,
) -> Result<Response, ApiError> {
    let limit = limit.map_or(DEFAULT_LIMIT, |limit| limit.0);
    let statement = format!("{} order by asked_at desc, id desc limit $1", rows());
    let found: Vec<OperationRow> =
        sqlx::query_as(&statement).bind(i64::from(limit)).fetch_all(app.store().pool()).await?;
    Ok(json(&OperationsShown { operations: found.into_iter().map(OperationRow::shown).collect() }))
}

/// The progress and the outcome of long work.
#[utoipa::path(get, path = "/v1/operations/{id}", responses((status = 200, body = OperationShown)))]
pub async fn show(
    State(app): State<App>,
    Named(NameOf { name: id, .. }): Named<OperationName>,
) -> Result<Response, ApiError> {
    Ok(json(&found(&app, &id).await?.shown()))
}

/// Wants long work to end before it is done. It ends within seconds, and leaves what serves as it is; an interrupted build can
/// be gone on with.
#[utoipa::path(post, path = "/v1/operations/{id}/cancel", responses((status = 202, body = OperationShown)))]
pub async fn cancel(
    State(app): State<App>,
    Named(NameOf { name: id, .. }): Named<OperationName>,
    Instruction { by, body: Nothing {} }: Instruction<Nothing>,
) -> Result<Response, ApiError> {
    // Of what was interrupted, nobody else would write down that it has ended.
    let statement = format!(
        "update operations set cancelled_by = coalesce(cancelled_by, $2),
             status = case when {INTERRUPTED} then 'cancelled' else status end,
             ended_at = case when {INTERRUPTED} then $3 end
         where id = $1 and ended_at is null"
    );
    let asked = sqlx::query(&statement).bind(&id).bind(&by).bind(app.clock().now()).execute(app.store().pool()).await?;
    let row = found(&app, &id).await?;
    if asked.rows_affected() == 0 {
        return Err(ApiError::new("operation-ended", "the operation has ended already"));
    }
    tracing::info!(operation = id, by, "an operation is to be cancelled");
    Ok((StatusCode::ACCEPTED, Json(row.shown())).into_response())
}
