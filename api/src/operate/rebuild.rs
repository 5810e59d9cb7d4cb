//! Rebuilds over HTTP: asked for by a request, made in the background, and told of by the projection they belong to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_core::{Position, chain, clock::Clock, store::Store};
use daybook_projections::{
    Definition,
    engine::{self, Difference, RebuildError, RebuildOptions, Rebuilt, Room, Verified},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    app::{App, Background},
    http::{address::Named, error::ApiError},
    operate::{
        operation::{Ending, Gauge, Kind, NewOperation, OperationShown, Operations, Reading, accepted},
        operator::{Instruction, Nothing, named},
    },
};

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rebuild {
    /// Build, compare and tell; leave everything as it was.
    #[serde(default)]
    dry_run: bool,
    /// Begin anew, even where an interrupted build could go on.
    #[serde(default)]
    afresh: bool,
}

/// Builds a projection anew in the background, while it is being read. The operation says how far it is and what it has come
/// to, and so does `last_rebuild` of the projection.
#[utoipa::path(post, path = "/v1/ops/projections/{name}/rebuild", request_body = Rebuild, responses((status = 202, body = OperationShown)))]
pub async fn rebuild(
    State(app): State<App>,
    Named(name): Named<String>,
    Instruction { body, by }: Instruction<Rebuild>,
) -> Result<Response, ApiError> {
    let (definition, Rebuild { dry_run, afresh }) = (named(&name)?, body);
    let elsewhere = app.standing(definition).await?.building.is_some_and(|building| building.driven);
    let (doing, who) = (app.rebuilds().clone(), by.clone());
    // Who hangs up now must not leave a rebuild that is said to wait and that nobody begins.
    let begin = async move { doing.begin(definition, body, &who).await };
    let begun = if elsewhere { None } else { app.to_the_end(begin).await? };
    let Some(operation) = begun else {
        let error = ApiError::new("rebuild-under-way", format!("a build of `{name}` is being made"));
        return Err(error.retry_after(3));
    };
    tracing::info!(projection = definition.name, operation, dry_run, afresh, by, "a rebuild is asked for");
    accepted(&app, &operation).await
}

/// Folds the whole book in the background, and compares the rows that serve with what comes out. It changes nothing.
#[utoipa::path(post, path = "/v1/ops/projections/{name}/verify", responses((status = 202, body = OperationShown)))]
pub async fn verify(
    State(app): State<App>,
    Named(name): Named<String>,
    Instruction { by, body: Nothing {} }: Instruction<Nothing>,
) -> Result<Response, ApiError> {
    let definition = app.serving(&name).await?;
    let Some(operation) = app.rebuilds().verify(definition, &by).await? else {
        let detail = format!("a verification of `{name}` is under way or waits");
        return Err(ApiError::new("operation-under-way", detail));
    };
    tracing::info!(projection = definition.name, operation, by, "a verification is asked for");
    accepted(&app, &operation).await
}

/// The rebuilds of this process.
#[derive(Clone, Debug)]
pub struct Rebuilds {
    store: Store,
    clock: Clock,
    operations: Operations,
    room: Room,
    /// By projection, the last one.
    attempts: Arc<Mutex<HashMap<&'static str, LastRebuild>>>,
}

/// A rebuild that was asked for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LastRebuild {
    dry_run: bool,
    afresh: bool,
    asked_by: String,
    asked_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    #[serde(flatten)]
    status: RebuildStatus,
}

/// What it has come to.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
enum RebuildStatus {
    /// Another one is being made.
    Waiting,
    /// `building` tells how far.
    Running,
    /// The new build serves, or would if this had not been a dry run.
    Rebuilt {
        build: i32,
        version: i32,
        /// The last event that is in the rows.
        position: Position,
        /// Where an interrupted build went on.
        resumed_at: Option<Position>,
        rows: i64,
        /// The rows that served against the new ones. Of the same version: their drift. Of another one: what it changes.
        #[schema(value_type = Option<Object>)]
        live: Option<Verified>,
        /// `null` if nothing took over, because this was a dry run.
        readers_waited_microseconds: Option<u64>,
    },
    /// The new rows were not those of a fresh fold, so that nothing took over.
    Refused {
        different: i64,
        /// The first rows that differ, with their keys.
        #[schema(value_type = Vec<Object>)]
        differences: Vec<Difference>,
    },
    Failed {
        error: String,
    },
}

impl Rebuilds {
    /// `room` is what each of them may take of the machine.
    pub fn new(store: Store, clock: Clock, background: Background, room: Room) -> Self {
        let operations = Operations::new(store.clone(), clock.clone(), background);
        Self { store, clock, operations, room, attempts: Arc::default() }
    }

    /// What the rebuild of a projection has come to that was asked for last.
    pub fn last(&self, projection: &str) -> Option<LastRebuild> {
        self.attempts().get(projection).cloned()
    }

    /// Begins a rebuild; `None` if one of that projection has not ended yet.
    async fn begin(
        &self,
        definition: Definition,
        Rebuild { dry_run, afresh }: Rebuild,
        by: &str,
    ) -> Result<Option<String>, ApiError> {
        let (asked_by, asked_at, ended_at) = (by.to_owned(), self.clock.now(), None);
        let attempt = LastRebuild { dry_run, afresh, asked_by, asked_at, ended_at, status: RebuildStatus::Waiting };
        let before = {
            let mut attempts = self.attempts();
            if attempts.get(definition.name).is_some_and(|last| last.ended_at.is_none()) {
                return Ok(None);
            }
            attempts.insert(definition.name, attempt)
        };
        let options = RebuildOptions { room: self.room.clone(), dry_run, afresh };
        let request = json!({ "dry_run": dry_run, "afresh": afresh });
        let new = NewOperation { kind: Kind::Rebuild, subject: definition.name, request, asked_by: by };
        let (doing, ending) = (self.clone(), self.clone());
        let work = move |gauge: Gauge| doing.rebuilt(definition, options, gauge);
        let ended = move |is_cancelled: bool| {
            let error = if is_cancelled { "it was cancelled" } else { "the server has a fault; its log says which" };
            ending.not_left_running(&definition, error);
        };
        let begun = self.operations.begin(new, work, ended).await;
        if !matches!(begun, Ok(Some(_))) {
            let mut attempts = self.attempts();
            match before {
                Some(before) => _ = attempts.insert(definition.name, before),
                None => _ = attempts.remove(definition.name),
            }
        }
        Ok(begun?)
    }

    async fn rebuilt(self, definition: Definition, options: RebuildOptions, gauge: Gauge) -> Ending {
        self.tell(&definition, RebuildStatus::Running, None);
        let progress = |progress: engine::Progress| {
            gauge.set(Reading {
                phase: Some(progress.phase.into()),
                done: Some(progress.position),
                total: Some(progress.head),
            });
        };
        let outcome = engine::rebuild(&self.store, &definition, &options, progress).await;
        let problem = outcome.as_ref().err().map(|error| {
            let code = if matches!(error, RebuildError::Unproven(_)) { "build-unproven" } else { "internal" };
            ApiError::new(code, chain(error).to_string())
        });
        let status = RebuildStatus::of(&definition, outcome);
        let shown = serde_json::to_value(&status).expect("it is JSON");
        self.tell(&definition, status, Some(self.clock.now()));
        match problem {
            None => Ending::Done(shown),
            Some(problem) => Ending::Failed(Box::new(problem.with("found", shown))),
        }
    }

    /// Begins to compare the rows of a projection with a fresh fold.
    async fn verify(&self, definition: Definition, by: &str) -> Result<Option<String>, ApiError> {
        let new = NewOperation { kind: Kind::Verify, subject: definition.name, request: json!({}), asked_by: by };
        let (store, room) = (self.store.clone(), self.room.clone());
        let work = move |_: Gauge| async move {
            match engine::verify(&store, &definition, &room).await {
                Ok(found) => Ending::Done(serde_json::to_value(found).expect("it is JSON")),
                Err(error) => Ending::Failed(Box::new(ApiError::new("internal", chain(&error).to_string()))),
            }
        };
        Ok(self.operations.begin(new, work, |_| {}).await?)
    }

    /// What was cut does not look as if it went on.
    fn not_left_running(&self, definition: &Definition, error: &str) {
        let ended_at = Some(self.clock.now());
        if let Some(attempt) = self.attempts().get_mut(definition.name).filter(|attempt| attempt.ended_at.is_none()) {
            (attempt.status, attempt.ended_at) = (RebuildStatus::Failed { error: error.into() }, ended_at);
        }
    }

    fn tell(&self, definition: &Definition, status: RebuildStatus, ended_at: Option<DateTime<Utc>>) {
        if let Some(attempt) = self.attempts().get_mut(definition.name) {
            (attempt.status, attempt.ended_at) = (status, ended_at);
        }
    }

    fn attempts(&self) -> MutexGuard<'_, HashMap<&'static str, LastRebuild>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RebuildStatus {
    fn of(definition: &Definition, outcome: Result<Rebuilt, RebuildError>) -> Self {
        let projection = definition.name;
        match outcome {
            Ok(rebuilt) => {
                let Rebuilt { build, version, position, resumed_at, proof, live, switched_in, .. } = rebuilt;
                let serves = switched_in.is_some();
                tracing::info!(projection, build, version, position, serves, "a rebuild has ended");
                let readers_waited_microseconds =
                    switched_in.map(|waited| u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
                let rows = proof.rows;
                Self::Rebuilt { build, version, position, resumed_at, rows, live, readers_waited_microseconds }
            }
            Err(RebuildError::Unproven(proof)) => {
                let Verified { different, differences, .. } = *proof;
                tracing::error!(projection, different, "a rebuild is refused: its rows are not those of a fresh fold");
                Self::Refused { different, differences }
            }
            Err(error) => {
                let error = chain(&error).to_string();
                tracing::error!(projection, error, "a rebuild has failed");
                Self::Failed { error }
            }
        }
    }
}
