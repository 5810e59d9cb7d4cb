//! Requests that write: from the body and its idempotency key to a command, and from its outcome to an answer.

use std::{panic::resume_unwind, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use daybook_core::{
    Position, chain,
    clock::Clock,
    domain::function::Function,
    event::AHEAD,
    operations::Operation,
    store::idempotency::{digest, given},
    writer::{Command, Done, Expected, Idempotency},
};
use daybook_identity::{CutOff, Planned};
use daybook_projections::{engine::Projection, factor_reset::FactorResets, user::Users};
use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tokio::time::sleep;
use tracing::Instrument;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, schema::Schema},
};
use uuid::Uuid;

use crate::{
    app::App,
    http::{
        authentication::{BELIEVED, forbidden},
        body,
        caller::Caller,
        error::ApiError,
        header::malformed,
        precondition::{self, Edits},
        time::Time,
        wire::{Sentence, pattern_text},
    },
};

pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
pub const LEDGER_POSITION: HeaderName = HeaderName::from_static("ledger-position");
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Marks a route that moves money: without an idempotency key it does nothing.
#[derive(Clone, Copy, Debug)]
pub struct MovesMoney;

/// How a route answers what it has recorded.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    pub status: StatusCode,
    /// The listing that what was made belongs to.
    pub made_in: Option<&'static str>,
}

/// A request that writes, with its body read.
#[derive(Debug)]
pub struct Writing<T> {
    pub body: T,
    pub request: WriteRequest,
}

/// Who asks, and under which key a retry finds the answer again.
#[derive(Debug)]
pub struct WriteRequest {
    caller: Caller,
    idempotency: Option<Idempotency>,
    expected: Option<Expected>,
    clock: Clock,
}

impl WriteRequest {
    /// Whether a retry would be answered as before.
    pub fn has_key(&self) -> bool {
        self.idempotency.is_some()
    }

    pub fn command(
        self,
        operation: Operation,
        effective_at: Option<Time>,
        reason: Option<Sentence>,
    ) -> Result<Command, ApiError> {
        let effective_at = effective_at.map(|Time(at)| at);
        if effective_at.is_some() && !self.caller.who.may(Function::EffectDate) {
            return Err(forbidden(Function::EffectDate));
        }
        // The clock is asked here, at the edge, and nowhere behind it.
        let now = self.clock.now();
        if effective_at.is_some_and(|at| at > now + AHEAD) {
            let detail = format!("it lies more than {} days ahead: write it when it is nearer", AHEAD.num_days());
            return Err(ApiError::field("invalid-value", "/effective_at", detail));
        }
        let context = self.caller.context(effective_at.unwrap_or(now), reason.map(String::from));
        Ok(Command { id: Uuid::now_v7(), operation, context, idempotency: self.idempotency, expected: self.expected })
    }
}

/// How long a change of rights waits for the rows that every request reads.
const KNOWN_BY: Duration = Duration::from_secs(10);

/// The projections that the next request reads of a command that changes what somebody may do.
fn followers(operation: &Operation) -> &'static [&'static str] {
    match operation {
        Operation::ResetFactors(_) => &[Users::NAME, FactorResets::NAME],
        Operation::InviteUser(_)
        | Operation::SignUp(_)
        | Operation::ChangeUser(_)
        | Operation::ChangeMembership(_)
        | Operation::ChangeCredentials(_) => &[Users::NAME],
        _ => &[],
    }
}

/// Why a request is not done now.
#[derive(Debug)]
pub enum NotDone {
    Refused(ApiError),
    /// It was recorded before, and this is the answer given then.
    Recorded(Written),
}

impl<T: DeserializeOwned> FromRequest<App> for Writing<T> {
    type Rejection = NotDone;

    async fn from_request(request: Request, app: &App) -> Result<Self, NotDone> {
        let (mut parts, content) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, app).await?;
        let expected = precondition::expected(&parts)?;
        // The limit of its length travels in the extensions.
        let whole = Request::from_parts(parts.clone(), content);
        let content = body::content(whole, app).await?;
        let idempotency = idempotency(&parts, &caller, &content)?;
        let error = match body::read(&parts.headers, &content) {
            Ok(body) => {
                precondition(&parts, idempotency.is_some())?;
                let clock = app.clock().clone();
                return Ok(Self { body, request: WriteRequest { caller, idempotency, expected, clock } });
            }
            Err(error) => error,
        };
        // An earlier version may have had other limits, and a retry is answered as the request was.
        let recorded = app.recorded(&parts, idempotency.as_ref()).await?;
        Err(recorded.map_or(NotDone::Refused(error), NotDone::Recorded))
    }
}

/// A request that is answered anew each time it is sent: what it answers is stored nowhere.
impl FromRequestParts<App> for WriteRequest {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let expected = precondition::expected(parts)?;
        precondition(parts, false)?;
        Ok(Self { caller, idempotency: None, expected, clock: app.clock().clone() })
    }
}

impl From<ApiError> for NotDone {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

impl IntoResponse for NotDone {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(error) => error.into_response(),
            Self::Recorded(written) => written.into_response(),
        }
    }
}

/// Refuses an edit that does not say what it has seen. A retry by its key is answered as before, whatever stands there now.
fn precondition(parts: &Parts, has_key: bool) -> Result<(), ApiError> {
    let is_given = has_key || parts.headers.contains_key(header::IF_MATCH);
    match parts.extensions.get::<Edits>() {
        Some(Edits) if !is_given => Err(precondition::required()),
        _ => Ok(()),
    }
}

fn idempotency(parts: &Parts, caller: &Caller, content: &Bytes) -> Result<Option<Idempotency>, ApiError> {
    let IdempotencyKey(key) = match (IdempotencyKey::of(&parts.headers)?, parts.extensions.get::<MovesMoney>()) {
        (Some(key), _) => key,
        (None, None) => return Ok(None),
        (None, Some(MovesMoney)) => {
            let detail = "a request that moves money needs a header `Idempotency-Key`, so that sending it again after a \
                          lost answer moves the money once";
            let error = ApiError::new("idempotency-key-missing", detail);
            return Err(error.with("documentation", "/problems/idempotency-key-missing"));
        }
    };
    let template = parts.extensions.get::<MatchedPath>().map_or(parts.uri.path(), MatchedPath::as_str);
    let mut fingerprint = Sha256::new();
    // Neither a method nor a path has a line feed, so that no two requests read the same.
    fingerprint.update(format!("{}\n{}\n", parts.method, parts.uri.path()));
    fingerprint.update(content);
    let scope = format!("{}{} {template}", caller.scope(), parts.method);
    Ok(Some(Idempotency { scope, key, fingerprint: fingerprint.finalize().into() }))
}

/// The text of a header `Idempotency-Key`.
#[derive(Debug)]
pub struct IdempotencyKey(String);

/// The most characters of a key.
const LONGEST_KEY: usize = 255;

impl IdempotencyKey {
    fn of(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
        let visible = value.to_str().ok().filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()));
        match visible {
            Some(key) if (1..=LONGEST_KEY).contains(&key.len()) => Ok(Some(Self(key.to_owned()))),
            _ => {
                let detail = format!("an idempotency key has 1 to {LONGEST_KEY} visible ASCII characters");
                Err(malformed(IDEMPOTENCY_KEY, detail))
            }
        }
    }
}

impl PartialSchema for IdempotencyKey {
    fn schema() -> RefOr<Schema> {
        pattern_text(&format!("^[!-~]{{1,{LONGEST_KEY}}}$"), "0193a5b0-7c1e-7000-8000-000000000001")
    }
}

/// A body that only says when and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Occasion {
    /// When it took effect; now, unless it is recorded later than it happened.
    pub effective_at: Option<Time>,
    pub reason: Option<Sentence>,
}

/// What was made or changed.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
pub struct Made {
    id: String,
}

/// The answer to a command that was recorded, now or when it was sent first.
#[derive(Debug)]
pub struct Written {
    done: Done,
    status: StatusCode,
    /// The listing that what was made belongs to.
    made_in: Option<&'static str>,
}

impl App {
    /// Runs a command that makes something, which then stands under `listing`. For `named` see `ApiError::of_command`.
    pub async fn create(
        &self,
        listing: &'static str,
        command: Command,
        named: &[(&str, &str)],
    ) -> Result<Written, ApiError> {
        let done = self.execute(command, named).await?;
        Ok(Written { done, status: StatusCode::CREATED, made_in: Some(listing) })
    }

    /// Runs a command that makes something without an address of its own.
    pub async fn make(&self, command: Command, named: &[(&str, &str)]) -> Result<Written, ApiError> {
        let done = self.execute(command, named).await?;
        Ok(Written { done, status: StatusCode::CREATED, made_in: None })
    }

    /// Runs a command that changes what is there.
    pub async fn change(&self, command: Command, named: &[(&str, &str)]) -> Result<Written, ApiError> {
        let done = self.execute(command, named).await?;
        Ok(Written { done, status: StatusCode::OK, made_in: None })
    }

    /// Runs a command that is given without a session.
    pub async fn run(&self, command: Command) -> Result<Done, ApiError> {
        self.execute(command, &[]).await
    }

    /// Runs a command that takes from a person what lets the person in, and ends what that could still be used by: at once,
    /// also if the rows do not follow in time, and again for what began before every process knew of it.
    ///
    /// A caller who hangs up does not keep it from its end. What a process that is killed leaves, the next one ends.
    pub async fn change_and(
        &self,
        command: Command,
        named: &'static [(&'static str, &'static str)],
        cut_off: CutOff,
    ) -> Result<Written, ApiError> {
        let app = self.clone();
        self.to_the_end(async move {
            let planned = app.identity().plan_cut_off(&cut_off, command.id, app.clock().now()).await?;
            let followers = followers(&command.operation);
            let done = match app.record(command, named).await {
                // It is found out whether it was recorded, and what it takes ends then.
                Err(error) if error.code() == "outcome-unknown" => return Err(error),
                Err(error) => {
                    app.forgotten(planned).await;
                    return Err(error);
                }
                Ok(done) => done,
            };
            app.identity().cut_off(&cut_off, app.clock().now()).await?;
            app.rows_follow(followers, done.position).await?;
            app.identity().cut_off(&cut_off, app.clock().now()).await?;
            app.forgotten(planned).await;
            sleep(BELIEVED).await;
            Ok(Written { done, status: StatusCode::OK, made_in: None })
        })
        .await
    }

    /// What is left of it is looked at again, so that no answer depends on it.
    async fn forgotten(&self, planned: Planned) {
        if let Err(error) = self.identity().forget_cut_off(planned).await {
            tracing::warn!(error = %chain(&error), "a cut-off that is done stays written down");
        }
    }

    /// Does something that belongs together, also if the caller hangs up meanwhile.
    pub async fn to_the_end<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        match self.unfinished().spawn(work.in_current_span()).await {
            Ok(outcome) => outcome,
            Err(error) => resume_unwind(error.into_panic()),
        }
    }

    /// What this very request was answered when it was recorded, if it was.
    async fn recorded(&self, parts: &Parts, asked: Option<&Idempotency>) -> Result<Option<Written>, ApiError> {
        let (Some(asked), Some(recorded)) = (asked, parts.extensions.get::<Recorded>()) else { return Ok(None) };
        let key = digest(&asked.scope, &asked.key);
        let mut connection = self.store().pool().acquire().await?;
        let given = given(&mut connection, &[key]).await?.remove(&key);
        let Recorded { status, made_in } = *recorded;
        Ok(given.filter(|given| given.fingerprint == asked.fingerprint).map(|given| Written {
            done: Done { position: given.position, answer: given.answer, replayed: true },
            status,
            made_in,
        }))
    }

    async fn execute(&self, command: Command, named: &[(&str, &str)]) -> Result<Done, ApiError> {
        let followers = followers(&command.operation);
        let done = self.record(command, named).await?;
        self.followed(followers, done.position).await?;
        Ok(done)
    }

    /// Runs a command and does not wait for what every request reads.
    async fn record(&self, command: Command, named: &[(&str, &str)]) -> Result<Done, ApiError> {
        let kept = self.kept();
        if kept.forked {
            let why = kept.trouble.as_deref().unwrap_or("the ledger lacks events that its log has signed").to_owned();
            return Err(ApiError::new("ledger-forked", why).retry_after(60));
        }
        if self.is_upgrading() {
            let detail = "the ledger was written by an earlier version, and is being brought to this one";
            return Err(ApiError::new("ledger-upgrading", detail).retry_after(5));
        }
        let done = self.writer().execute(command).await.map_err(|error| ApiError::of_command(error, named))?;
        Ok(done)
    }

    /// Waits until every process knows of a right, a password or a token that was changed at this position.
    pub async fn rights_are_known(&self, position: Position) -> Result<(), ApiError> {
        self.followed(&[Users::NAME], position).await
    }

    async fn followed(&self, followers: &[&'static str], position: Position) -> Result<(), ApiError> {
        self.rows_follow(followers, position).await?;
        if !followers.is_empty() {
            // What was found out before is believed no longer.
            sleep(BELIEVED).await;
        }
        Ok(())
    }

    async fn rows_follow(&self, followers: &[&'static str], position: Position) -> Result<(), ApiError> {
        for projection in followers {
            self.reader().wait_for(projection, position, KNOWN_BY).await?;
        }
        Ok(())
    }
}

impl IntoResponse for Written {
    fn into_response(self) -> Response {
        let Self { done, status, made_in } = self;
        let id = done.answer.get("id").and_then(|id| id.as_str()).map(str::to_owned);
        let mut response = (status, Json(done.answer)).into_response();
        let headers = response.headers_mut();
        headers.insert(LEDGER_POSITION, HeaderValue::from(done.position));
        if done.replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        if let (Some(listing), Some(id)) = (made_in, id) {
            let location = HeaderValue::from_str(&format!("{listing}/{id}"));
            headers.insert(header::LOCATION, location.expect("an identifier is plain ASCII"));
        }
        response
    }
}
