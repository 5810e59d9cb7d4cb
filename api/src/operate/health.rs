//! Whether the server lives, and whether it is ready to serve.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use daybook_core::{
    Position, chain,
    clock::ClockTrouble,
    store::{StoreError, head_and_clock},
    transparency::Kept,
    writer::Failing,
};
use daybook_projections::{
    BOARD,
    engine::{Standing, State as Motion, standings},
};
use serde::Serialize;
use serde_json::json;
use tokio::{sync::Mutex, time::Instant};
use utoipa::ToSchema;

use crate::{app::App, http::error::ApiError};

#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    #[schema(example = "ready")]
    status: &'static str,
    version: &'static str,
    /// The projections that are not quite as they should be, although they keep nobody from being served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    projections: Vec<Ailing>,
    /// The transparency log, if it cannot be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    log: Option<AilingLog>,
    /// The clock of the database, if it is behind the last event and an operator has said that it is right.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    clock: Option<AilingClock>,
    /// The certificate that callers are shown, if the one in its file cannot be.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    certificate: Option<AilingCertificate>,
}

/// A projection that an operator should look at.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ailing {
    projection: &'static str,
    #[schema(value_type = String, example = "stopped")]
    state: Motion,
    position: Position,
    lag_events: Position,
    lag_milliseconds: i64,
    /// Whether a process drives it.
    driven: bool,
    /// The event that it stopped at.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_position: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The version that serves, and the one of this program.
    serving_version: i32,
    program_version: i32,
    drifted_rows: usize,
    /// Whether the lag, or the event that it stopped at, makes the server unready.
    #[serde(skip)]
    late: bool,
}

/// A transparency log that does not grow, or is not signed.
#[derive(Debug, Serialize, ToSchema)]
pub struct AilingLog {
    error: String,
    /// Events in the tree.
    size: u64,
    /// Events in the latest checkpoint that this process knows of.
    signed_size: u64,
}

/// A clock by which events are recorded although it is behind the last one.
#[derive(Debug, Serialize, ToSchema)]
pub struct AilingClock {
    error: String,
}

/// A certificate that is shown on, although its file holds another one by now.
#[derive(Debug, Serialize, ToSchema)]
pub struct AilingCertificate {
    error: String,
}

/// How long the server stays unready after commands could not be recorded, unless others have been recorded since. When
/// nobody sends it commands any more, there is no other way to find out whether it can record them again.
const SINCE_FAILING: Duration = Duration::from_secs(5);

/// How long it stays known whether tables can grow: finding out writes some megabytes.
const ROOM_STAYS_KNOWN: Duration = Duration::from_secs(1);

/// Whether tables can grow, found out once for everybody who asks.
#[derive(Debug, Default)]
pub struct Room(Mutex<Option<Found>>);

#[derive(Clone, Debug)]
struct Found {
    at: Instant,
    outcome: Result<(), Arc<StoreError>>,
}

impl Room {
    async fn find(&self, look: impl AsyncFnOnce() -> Result<(), StoreError>) -> Result<(), Arc<StoreError>> {
        let mut last = self.0.lock().await;
        if let Some(found) = &*last
            && found.at.elapsed() < ROOM_STAYS_KNOWN
        {
            return found.outcome.clone();
        }
        let outcome = look().await.map_err(Arc::new);
        *last = Some(Found { at: Instant::now(), outcome: outcome.clone() });
        outcome
    }
}

/// The process answers.
#[utoipa::path(get, path = "/livez", responses((status = 200, body = Health)))]
pub async fn live() -> Json<Health> {
    let version = env!("CARGO_PKG_VERSION");
    Json(Health { status: "live", version, projections: Vec::new(), log: None, clock: None, certificate: None })
}

/// The store takes writes, and every projection follows it within the lag that is allowed.
///
/// A transparency log that cannot be kept is named and makes nothing unready: appending does not wait for it, no other
/// server could sign in its place, and to send the customers away would mend nothing. One that has signed what the book
/// lacks does: what were recorded now would be a fork, and nothing is until an operator has decided.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = Health)))]
pub async fn ready(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    let not_ready = |detail: String| ApiError::new("not-ready", detail).retry_after(1);
    if app.writer().is_closed() {
        return Err(not_ready("the writer takes no commands".into()));
    }
    if let Some(Failing { error, at }) = app.writer().failing() {
        let room = app.room().find(async || app.store().find_room().await).await;
        if room.is_err() || at.elapsed() < SINCE_FAILING {
            let error = room.err().map_or_else(|| chain(&error), |error| chain(&*error));
            return Err(not_ready(format!("the store does not record what it is given: {error}")));
        }
    }
    let mut connection = app.store().pool().acquire().await?;
    let writable: bool =
        sqlx::query_scalar("select not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off'")
            .fetch_one(&mut *connection)
            .await?;
    if !writable {
        return Err(not_ready("the store does not take writes".into()));
    }
    let kept = app.kept();
    if let (true, Some(trouble)) = (kept.forked, &kept.trouble) {
        return Err(not_ready(trouble.to_string()).with("log", json!(AilingLog::of(kept))));
    }
    if app.is_upgrading() {
        return Err(not_ready("the ledger of an earlier version is being brought to this one".into()));
    }
    let (head, now) = head_and_clock(&mut *connection).await?;
    if let Err(trouble) = app.writer().clock().judge(head, now) {
        return Err(not_ready(trouble.to_string()).with("clock", now.to_rfc3339()));
    }
    let clock = app.clock().overruled(head, now).map(AilingClock::of);
    let budget = i64::try_from(app.lag_budget().as_millis()).unwrap_or(i64::MAX);
    let standings = standings(BOARD, &mut connection).await?;
    let projections: Vec<Ailing> = standings.into_iter().filter_map(|standing| Ailing::of(standing, budget)).collect();
    let log = AilingLog::of(app.kept());
    if projections.iter().any(|ailing| ailing.late) {
        let late = projections.iter().filter(|ailing| ailing.late).map(Ailing::sentence);
        let detail = late.collect::<Vec<_>>().join("; ");
        let problem = not_ready(detail).with("projections", json!(projections));
        return Err(if let Some(log) = log { problem.with("log", json!(log)) } else { problem });
    }
    let certificate = app.certificate_trouble().map(|error| AilingCertificate { error });
    Ok(Json(Health { status: "ready", version: env!("CARGO_PKG_VERSION"), projections, log, clock, certificate }))
}

impl AilingClock {
    fn of(trouble: ClockTrouble) -> Self {
        Self { error: trouble.to_string() }
    }
}

impl AilingLog {
    fn of(Kept { size, signed, trouble, .. }: Kept) -> Option<Self> {
        trouble.map(|error| Self { error: error.to_string(), size, signed_size: signed })
    }
}

impl Ailing {
    /// What is to be said of a projection; `None` if all is well with it.
    fn of(standing: Standing, budget: i64) -> Option<Self> {
        let late = standing.state == Motion::Stopped || standing.lag_milliseconds > budget;
        let well = !late
            && standing.state == Motion::Running
            && standing.driven
            && standing.version == standing.program_version
            && standing.drifts.is_empty();
        if well {
            return None;
        }
        Some(Self {
            projection: standing.name,
            state: standing.state,
            position: standing.position,
            lag_events: standing.lag_events,
            lag_milliseconds: standing.lag_milliseconds,
            driven: standing.driven,
            error_position: standing.error_position,
            error: standing.error,
            serving_version: standing.version,
            program_version: standing.program_version,
            drifted_rows: standing.drifts.len(),
            late,
        })
    }

    fn sentence(&self) -> String {
        let Self { projection, position, lag_events, .. } = self;
        match (self.state, self.error_position, &self.error) {
            (Motion::Stopped, Some(at), Some(error)) => {
                // Most errors begin with the event themselves.
                let reason = error.strip_prefix(&format!("event {at}: ")).unwrap_or(error);
                format!("`{projection}` has stopped at position {position}, before event {at}: {reason}")
            }
            (Motion::Paused, ..) => {
                format!("`{projection}` is paused at position {position}, {lag_events} events behind")
            }
            _ => format!("`{projection}` is at position {position}, {lag_events} events behind"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whether_there_is_room_is_found_out_once_in_a_second() {
        let (room, looks) = (Room::default(), AtomicU32::new(0));
        let look = async || {
            looks.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Err(StoreError::TimedOut { after: Duration::ZERO })
        };
        let found = join_all((0..10).map(|_| room.find(look))).await;
        assert!(found.iter().all(Result::is_err));
        assert_eq!(looks.load(Ordering::SeqCst), 1, "whoever asks meanwhile waits for the same answer");
        tokio::time::advance(ROOM_STAYS_KNOWN).await;
        assert!(room.find(async || Ok(())).await.is_ok(), "it is asked again");
        assert!(room.find(look).await.is_ok(), "and known for a second");
        assert_eq!(looks.load(Ordering::SeqCst), 1);
    }
}
