//! What persons see and change of themselves: where they are members, what they may do, and by what they show who they are.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use daybook_core::{
    domain::{
        Id,
        function::Function,
        user::{self as domain, CredentialChange, Factor, RecoveryCodes},
    },
    operations::{ChangeCredentials, Operation},
};
use daybook_identity::{AccessKind, Attempt, CutOff, Ended, FactorOf, Level, RecoveryOf, Secret, Session, Verdict};
use daybook_projections::user::{self, UserRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    cookie, count_refused, factor_account,
    factor_reset::{self, FactorResetShown},
    sign_in::SecretText,
};
use crate::{
    app::App,
    http::{
        address::Named,
        authentication::{self, Asker, Authenticated, Client, session_needed},
        body::JsonBody,
        error::ApiError,
        wire::{FactorRef, Ref, json},
        write::WriteRequest,
    },
    user::{FactorShown, FunctionName, MembershipShown},
};

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    user: String,
    login: String,
    name: String,
    /// `provider`, or the customer, in whose membership is asked.
    membership: String,
    /// What may be done in it, as it was asked.
    #[schema(value_type = Vec<FunctionName>)]
    functions: Vec<&'static str>,
    memberships: Vec<MembershipShown>,
    factors: Vec<FactorShown>,
    /// How many recovery codes have not been used.
    recovery_codes_left: u64,
    /// That the factors are about to be taken off. Whoever has not asked for it cancels it.
    factor_reset: Option<FactorResetShown>,
    /// Until when what needs the password or the factor once more may be done.
    stepped_up_until: Option<DateTime<Utc>>,
}

/// Who asks, where this person is a member, and what may be done.
#[utoipa::path(get, path = "/v1/me", responses((status = 200, body = Me)))]
pub async fn show(State(app): State<App>, Asker(asker): Asker) -> Result<Response, ApiError> {
    let principal = asker.person()?;
    let user = own(&app, &asker).await?;
    let mut connection = app.store().pool().acquire().await?;
    let memberships = user::memberships(&mut connection, &user.id).await?;
    let factors = user::factors(&mut connection, &user.id).await?;
    drop(connection);
    let left = match &user.recovery_codes_id {
        Some(set) => app.identity().recovery.left(RecoveryOf { user: &user.id, set }).await?,
        None => 0,
    };
    let factor_reset = factor_reset::pending(&app, &user.id).await?;
    Ok(json(&Me {
        user: user.id,
        login: user.login,
        name: user.name,
        membership: principal.party.key().into(),
        functions: asker.functions.iter().copied().map(Function::name).collect(),
        memberships: memberships.into_iter().map(Into::into).collect(),
        factors: factors.into_iter().map(Into::into).collect(),
        recovery_codes_left: left,
        factor_reset,
        stepped_up_until: asker.session().and_then(|session| session.stepped_up_until),
    }))
}

/// A second factor that is about to be one. It is not shown again.
#[derive(Debug, Serialize, ToSchema)]
pub struct Enrolled {
    id: String,
    /// In base32, to be typed into an authenticator.
    secret: String,
    /// The same as `otpauth://…`, for a QR code.
    uri: String,
}

/// Begins to add a second factor: codes that change with the time. It becomes one by the first code that it shows.
#[utoipa::path(post, path = "/v1/me/factors", responses((status = 201, body = Enrolled)))]
pub async fn enrol(State(app): State<App>, Asker(asker): Asker) -> Result<Response, ApiError> {
    asker.in_session()?;
    let user = own(&app, &asker).await?;
    let id = Id::<Factor>::from_uuid(Uuid::now_v7());
    let of = FactorOf { user: &user.id, factor: id.as_str() };
    let enrolment = app.identity().factors.enrol(of, "Daybook", &user.login, app.clock().now()).await?;
    let (secret, uri) = (enrolment.secret.expose().to_owned(), enrolment.uri.expose().to_owned());
    Ok(shown_once(Enrolled { id: id.to_string(), secret, uri }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FirstCode {
    code: SecretText,
}

/// Adds the factor, by the code that it shows now. Every other session of the person ends, and the cookie of this one gets a
/// new value.
#[utoipa::path(post, path = "/v1/me/factors/{id}/confirm", request_body = FirstCode, responses((status = 204)))]
pub async fn confirm(
    State(app): State<App>,
    client: Client,
    Asker(asker): Asker,
    request: WriteRequest,
    headers: HeaderMap,
    Named(Ref(factor)): Named<FactorRef>,
    JsonBody(FirstCode { code }): JsonBody<FirstCode>,
) -> Result<Response, ApiError> {
    let session = asker.in_session()?;
    let user = asker.person()?.user.as_str();
    let of = FactorOf { user, factor: factor.as_str() };
    is_of_now(&app, &client, session, of, &Secret::new(code.0)).await?;
    let change = CredentialChange::AddFactor { factor, kind: domain::FactorKind::Totp };
    let mut response = record(&app, &asker, request, change, Some(Ended::FactorChanged)).await?;
    // This session has just shown the factor.
    let secret = authentication::cookie(&app, &headers).ok_or_else(session_needed)?;
    let raised = app.identity().sessions.raise(&secret, Level::SecondFactor, app.clock().now()).await?;
    let raised = raised.ok_or_else(session_needed)?;
    response.headers_mut().append(header::SET_COOKIE, cookie(&app, &raised));
    Ok(response)
}

/// Refuses a code that the factor does not show now. Guessing at it is held up as at any second factor of the person.
async fn is_of_now(
    app: &App,
    client: &Client,
    session: &Session,
    of: FactorOf<'_>,
    code: &Secret,
) -> Result<(), ApiError> {
    let now = app.clock().now();
    let account = factor_account(of.user);
    let attempt = Attempt { account: &account, address: client.address, session: Some(&session.id) };
    let admitted = app.identity().guessing.admit(attempt, now).await?;
    match app.identity().factors.verify(of, code, now).await {
        Ok(Verdict::Accepted) => Ok(app.identity().guessing.succeeded(admitted, now).await?),
        Ok(Verdict::Wrong | Verdict::UsedBefore) => {
            count_refused(app, client, AccessKind::StepUpRefused, Some(of.user.to_owned())).await?;
            Err(ApiError::new("sign-in-refused", "the code is not right"))
        }
        Err(error) => {
            app.identity().guessing.not_made(admitted).await?;
            Err(error.into())
        }
    }
}

/// Removes a factor. Every other session of the person ends.
#[utoipa::path(delete, path = "/v1/me/factors/{id}", responses((status = 204)))]
pub async fn remove_factor(
    State(app): State<App>,
    Asker(asker): Asker,
    request: WriteRequest,
    Named(Ref(factor)): Named<FactorRef>,
) -> Result<Response, ApiError> {
    asker.in_session()?;
    record(&app, &asker, request, CredentialChange::RemoveFactor { factor }, Some(Ended::FactorChanged)).await
}

/// Codes to be written down. They are not shown again.
#[derive(Debug, Serialize, ToSchema)]
pub struct CodesMade {
    codes: Vec<String>,
}

/// Makes ten codes, each of which takes the place of a second factor once. Those made before are worth nothing.
#[utoipa::path(post, path = "/v1/me/recovery-codes", responses((status = 201, body = CodesMade)))]
pub async fn make_codes(
    State(app): State<App>,
    Asker(asker): Asker,
    request: WriteRequest,
) -> Result<Response, ApiError> {
    asker.in_session()?;
    let principal = asker.person()?;
    let id = Id::<RecoveryCodes>::from_uuid(Uuid::now_v7());
    let of = RecoveryOf { user: principal.user.as_str(), set: id.as_str() };
    let codes = app.identity().recovery.make(of, app.clock().now()).await?;
    record(&app, &asker, request, CredentialChange::MakeRecoveryCodes { codes: id }, None).await?;
    Ok(shown_once(CodesMade { codes: codes.iter().map(|code| code.expose().to_owned()).collect() }))
}

async fn own(app: &App, asker: &Authenticated) -> Result<UserRow, ApiError> {
    let mut connection = app.store().pool().acquire().await?;
    let user = user::user(&mut connection, asker.person()?.user.as_str()).await?;
    user.ok_or_else(|| ApiError::new("user-not-found", "there is no such user"))
}

async fn record(
    app: &App,
    asker: &Authenticated,
    request: WriteRequest,
    change: CredentialChange,
    ends_others: Option<Ended>,
) -> Result<Response, ApiError> {
    let user = asker.person()?.user.clone();
    let cut_off = ends_others.zip(asker.session()).map(|(ended, kept)| CutOff::others(user.as_str(), &kept.id, ended));
    let operation = Operation::ChangeCredentials(ChangeCredentials { user, change });
    let command = request.command(operation, None, None)?;
    match cut_off {
        Some(cut_off) => app.change_and(command, &[], cut_off).await?,
        None => app.change(command, &[]).await?,
    };
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn shown_once(answer: impl Serialize) -> Response {
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (StatusCode::CREATED, [no_store], Json(answer)).into_response()
}
