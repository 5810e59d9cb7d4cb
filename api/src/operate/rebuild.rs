//! Rebuilds over HTTP: asked for by a request, made in the background, and told of by the projection they belong to.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use daybook_core::{Position, chain, clock::Clock, store::Store};
use daybook_projections::{
    Definition,
    engine::{self, Difference, RebuildError, RebuildOptions, Rebuilt, Room, Verified},
};
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use crate::{
    app::{App, Background},
    http::{address::Named, error::ApiError},
    operate::{
        operator::{Instruction, named},
        projection::ProjectionShown,
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

/// Builds a projection anew in the background, while it is being read. `last_rebuild` tells what it comes to.
#[utoipa::path(post, path = "/v1/ops/projections/{name}/rebuild", request_body = Rebuild, responses((status = 202, body = ProjectionShown)))]
pub async fn rebuild(
    State(app): State<App>,
    Named(name): Named<String>,
    Instruction { body, by }: Instruction<Rebuild>,
) -> Result<Response, ApiError> {
    let (definition, Rebuild { dry_run, afresh }) = (named(&name)?, body);
    let elsewhere = app.standing(definition).await?.building.is_some_and(|building| building.driven);
    if elsewhere || !app.rebuilds().begin(definition, body, &by) {
        let error = ApiError::new("rebuild-under-way", format!("a build of `{name}` is being made"));
        return Err(error.retry_after(3));
    }
    tracing::info!(projection = definition.name, dry_run, afresh, by, "a rebuild is asked for");
    let mut response = (StatusCode::ACCEPTED, ProjectionShown::of(&app, definition).await?).into_response();
    let location = HeaderValue::from_str(&format!("/v1/ops/projections/{}", definition.name));
    response.headers_mut().insert(header::LOCATION, location.expect("the name of a projection is plain ASCII"));
    Ok(response)
}

/// The rebuilds of this process.
#[derive(Clone, Debug)]
pub struct Rebuilds {
    store: Store,
    clock: Clock,
    background: Background,
    room: Room,
    /// By projection, the last one.
    attempts: Arc<Mutex<HashMap<&'static str, LastRebuild>>>,
    /// One is made at a time: each takes its share of the memory.
    turn: Arc<Semaphore>,
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
        Self { store, clock, background, room, attempts: Arc::default(), turn: Arc::new(Semaphore::new(1)) }
    }

    /// What the rebuild of a projection has come to that was asked for last.
    pub fn last(&self, projection: &str) -> Option<LastRebuild> {
        self.attempts().get(projection).cloned()
    }

    /// Begins a rebuild; `false` if one of that projection has not ended yet.
    fn begin(&self, definition: Definition, Rebuild { dry_run, afresh }: Rebuild, by: &str) -> bool {
        let mut attempts = self.attempts();
        if attempts.get(definition.name).is_some_and(|last| last.ended_at.is_none()) {
            return false;
        }
        let (asked_by, asked_at, ended_at) = (by.to_owned(), self.clock.now(), None);
        let attempt = LastRebuild { dry_run, afresh, asked_by, asked_at, ended_at, status: RebuildStatus::Waiting };
        attempts.insert(definition.name, attempt);
        let options = RebuildOptions { room: self.room.clone(), dry_run, afresh };
        self.background.run(self.clone().run(definition, options));
        true
    }

    async fn run(self, definition: Definition, options: RebuildOptions) {
        let _turn = self.turn.acquire().await.expect("the semaphore is never closed");
        self.tell(&definition, RebuildStatus::Running, None);
        // A fault must not leave it running for ever in the eyes of everybody.
        let rebuilt = AssertUnwindSafe(engine::rebuild(&self.store, &definition, &options, |_| {}));
        let status = match rebuilt.catch_unwind().await {
            Ok(outcome) => RebuildStatus::of(&definition, outcome),
            Err(_) => RebuildStatus::Failed { error: "the server has a fault; its log tells which".into() },
        };
        self.tell(&definition, status, Some(self.clock.now()));
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
