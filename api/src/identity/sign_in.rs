//! Signing in: by the password, then by the second factor, if the person has one. A name that nobody has gets the same answer
//! after the same time as a wrong password.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use daybook_identity::{
    AccessKind, Attempt, Ended, FactorOf, Level, NewSession, PasswordOf, RecoveryOf, Secret, Verdict,
};
use daybook_projections::user::{self, FactorRow, UserRow};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use utoipa::ToSchema;

use super::{
    cookie, count_refused, factor_account,
    factor_reset::{self, FactorResetShown},
    log,
    session::current,
    verified,
};
use crate::{
    app::App,
    http::{
        authentication::{self, Asker, BELIEVED, Client, session_needed, unauthenticated},
        body::JsonBody,
        error::ApiError,
        wire::{Email, Words},
    },
};

/// What is typed where nobody shall read it.
pub type SecretText = Words<1_000>;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    #[schema(example = "ada@example.org")]
    login: Email,
    password: SecretText,
}

/// What a sign-in has come to.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignedIn {
    /// The person.
    user: String,
    /// What is still to be shown: `second_factor`, or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<&'static str>,
    /// That the second factor is about to be taken off. Whoever has not asked for it cancels it.
    #[serde(skip_serializing_if = "Option::is_none")]
    factor_reset: Option<FactorResetShown>,
}

/// Begins a session. A person with a second factor may do nothing before it is shown.
#[utoipa::path(post, path = "/v1/sign-in", request_body = SignIn, responses((status = 200, body = SignedIn)))]
pub async fn sign_in(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
    JsonBody(SignIn { login, password }): JsonBody<SignIn>,
) -> Result<Response, ApiError> {
    let now = app.clock().now();
    let account = app.logins().name(&login.0);
    let attempt = Attempt { account: account.as_str(), address: client.address, session: None };
    let admitted = app.identity().guessing.admit(attempt, now).await?;
    let mut connection = app.store().pool().acquire().await?;
    let known = user::of_login(&mut connection, account.as_str()).await?;
    drop(connection);
    let of = known
        .as_ref()
        .filter(|user| user.enabled)
        .and_then(|user| user.password_id.as_deref().map(|password| PasswordOf { user: &user.id, password }));
    let (is_right, admitted) = verified(&app, of, &Secret::new(password.0), admitted).await?;
    let user = match known {
        Some(user) if is_right => user,
        known => return Err(refused(&app, &client, AccessKind::SignInRefused, known.map(|user| user.id)).await?),
    };
    let has_factor = {
        let mut connection = app.store().pool().acquire().await?;
        !user::factors(&mut connection, &user.id).await?.is_empty()
    };
    app.identity().guessing.succeeded(admitted, now).await?;
    let (session, secret) = begin(&app, &user, Level::Password, &client).await?;
    // Whoever took the password away meanwhile has ended the sessions that there were, and this one began after that.
    if !still_signs_in_so(&app, &user).await? {
        app.identity().sessions.end(&user.id, &session, Ended::PasswordChanged, now).await?;
        return Err(refused(&app, &client, AccessKind::SignInRefused, Some(user.id)).await?);
    }
    if !has_factor {
        log(&app, &client, AccessKind::SignedIn, &user.id, Some(&session)).await?;
    }
    // Whatever session the browser had ends with it.
    if let Some(former) = current(&app, &headers).await? {
        app.identity().sessions.end(&former.user, &former.id, Ended::Replaced, now).await?;
    }
    let needs = has_factor.then_some("second_factor");
    let factor_reset = factor_reset::pending(&app, &user.id).await?;
    Ok(with_cookie(&app, &secret, SignedIn { user: user.id, needs, factor_reset }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecondFactor {
    /// The code that the authenticator shows.
    code: Option<SecretText>,
    /// Or one of the codes that were written down.
    recovery_code: Option<SecretText>,
}

/// Shows the second factor. The cookie gets a new value.
#[utoipa::path(post, path = "/v1/sign-in/second-factor", request_body = SecondFactor, responses((status = 200, body = SignedIn)))]
pub async fn second_factor(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
    _asker: Asker,
    JsonBody(shown): JsonBody<SecondFactor>,
) -> Result<Response, ApiError> {
    let now = app.clock().now();
    let (session, secret) = of_cookie(&app, &headers).await?;
    prove_factor(&app, &client, &session, shown).await?;
    let raised = app.identity().sessions.raise(&secret, Level::SecondFactor, now).await?;
    let raised = raised.ok_or_else(|| unauthenticated("the session has ended"))?;
    // The cookie of before is worth nothing when the new one is there.
    sleep(BELIEVED).await;
    log(&app, &client, AccessKind::SignedIn, &session.user, Some(&session.id)).await?;
    let factor_reset = factor_reset::pending(&app, &session.user).await?;
    Ok(with_cookie(&app, &raised, SignedIn { user: session.user, needs: None, factor_reset }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StepUp {
    password: Option<SecretText>,
    code: Option<SecretText>,
    recovery_code: Option<SecretText>,
}

/// Shows once more who one is: for five minutes, what needs that may be done. Who has a second factor shows it.
#[utoipa::path(post, path = "/v1/session/step-up", request_body = StepUp, responses((status = 200, body = SignedIn)))]
pub async fn step_up(
    State(app): State<App>,
    client: Client,
    headers: HeaderMap,
    _asker: Asker,
    JsonBody(StepUp { password, code, recovery_code }): JsonBody<StepUp>,
) -> Result<Response, ApiError> {
    let now = app.clock().now();
    let (session, secret) = of_cookie(&app, &headers).await?;
    let (user, has_factor) = {
        let mut connection = app.store().pool().acquire().await?;
        let user = user::user(&mut connection, &session.user).await?.ok_or_else(|| unauthenticated("nobody"))?;
        let has_factor = !user::factors(&mut connection, &user.id).await?.is_empty();
        (user, has_factor)
    };
    if has_factor {
        prove_factor(&app, &client, &session, SecondFactor { code, recovery_code }).await?;
    } else {
        let account = app.logins().name(&user.login);
        let attempt = Attempt { account: account.as_str(), address: client.address, session: Some(&session.id) };
        let admitted = app.identity().guessing.admit(attempt, now).await?;
        let of = user.password_id.as_deref().map(|password| PasswordOf { user: &user.id, password });
        let typed = Secret::new(password.map(|password| password.0).unwrap_or_default());
        let (is_right, admitted) = verified(&app, of, &typed, admitted).await?;
        if !is_right {
            return Err(refused(&app, &client, AccessKind::StepUpRefused, Some(session.user)).await?);
        }
        app.identity().guessing.succeeded(admitted, now).await?;
    }
    let renewed = app.identity().sessions.step_up(&secret, now).await?;
    let renewed = renewed.ok_or_else(|| unauthenticated("the session has ended"))?;
    sleep(BELIEVED).await;
    log(&app, &client, AccessKind::SteppedUp, &session.user, Some(&session.id)).await?;
    let factor_reset = factor_reset::pending(&app, &session.user).await?;
    Ok(with_cookie(&app, &renewed, SignedIn { user: session.user, needs: None, factor_reset }))
}

/// The session of the cookie, and the cookie's own secret.
async fn of_cookie(app: &App, headers: &HeaderMap) -> Result<(daybook_identity::Session, Secret), ApiError> {
    let secret = authentication::cookie(app, headers).ok_or_else(session_needed)?;
    let session = app.identity().sessions.find(&secret, app.clock().now()).await?.ok_or_else(session_needed)?;
    Ok((session, secret))
}

async fn prove_factor(
    app: &App,
    client: &Client,
    session: &daybook_identity::Session,
    SecondFactor { code, recovery_code }: SecondFactor,
) -> Result<(), ApiError> {
    let now = app.clock().now();
    let account = factor_account(&session.user);
    // A session that has shown no factor yet is made anew by whoever has the password: it counts for nothing.
    let shown = (session.level == Level::SecondFactor).then_some(session.id.as_str());
    let attempt = Attempt { account: &account, address: client.address, session: shown };
    let admitted = app.identity().guessing.admit(attempt, now).await?;
    let (user, factors) = {
        let mut connection = app.store().pool().acquire().await?;
        let user = user::user(&mut connection, &session.user).await?.ok_or_else(|| unauthenticated("nobody"))?;
        let factors = user::factors(&mut connection, &session.user).await?;
        (user, factors)
    };
    let is_right = match is_shown(app, &user, &factors, SecondFactor { code, recovery_code }).await {
        Ok(is_right) => is_right,
        Err(error) => {
            app.identity().guessing.not_made(admitted).await?;
            return Err(error);
        }
    };
    if !is_right {
        let kind = if shown.is_some() { AccessKind::StepUpRefused } else { AccessKind::SignInRefused };
        return Err(refused(app, client, kind, Some(session.user.clone())).await?);
    }
    app.identity().guessing.succeeded(admitted, now).await?;
    Ok(())
}

/// Whether the person may still sign in, and by the password that was shown.
async fn still_signs_in_so(app: &App, shown: &UserRow) -> Result<bool, ApiError> {
    let mut connection = app.store().pool().acquire().await?;
    let now = user::user(&mut connection, &shown.id).await?;
    Ok(now.is_some_and(|now| now.enabled && now.password_id == shown.password_id))
}

/// Whether what is shown is a code of one of the factors, or a recovery code that has not been used.
async fn is_shown(
    app: &App,
    user: &UserRow,
    factors: &[FactorRow],
    SecondFactor { code, recovery_code }: SecondFactor,
) -> Result<bool, ApiError> {
    let now = app.clock().now();
    if let Some(code) = code {
        let code = Secret::new(code.0);
        for factor in factors {
            let of = FactorOf { user: &user.id, factor: &factor.id };
            if app.identity().factors.verify(of, &code, now).await? == Verdict::Accepted {
                return Ok(true);
            }
        }
    } else if let (Some(code), Some(set)) = (recovery_code, &user.recovery_codes_id) {
        let of = RecoveryOf { user: &user.id, set };
        return Ok(app.identity().recovery.redeem(of, &Secret::new(code.0), now).await?);
    }
    Ok(false)
}

async fn begin(
    app: &App,
    user: &UserRow,
    level: Level,
    client: &Client,
) -> Result<(String, daybook_identity::Shown), ApiError> {
    let new =
        NewSession { user: &user.id, membership: None, level, address: client.address, agent: client.agent.as_deref() };
    let (session, secret) = app.identity().sessions.begin(new, app.clock().now()).await?;
    Ok((session.id, secret))
}

/// The answer to an attempt that failed, which says nothing of why.
async fn refused(app: &App, client: &Client, kind: AccessKind, user: Option<String>) -> Result<ApiError, ApiError> {
    count_refused(app, client, kind, user).await?;
    Ok(ApiError::new("sign-in-refused", "the name, the password or the code is not right"))
}

fn with_cookie(app: &App, secret: &daybook_identity::Shown, answer: SignedIn) -> Response {
    let no_store = (header::CACHE_CONTROL, axum::http::HeaderValue::from_static("no-store"));
    ([(header::SET_COOKIE, cookie(app, secret)), no_store], Json(answer)).into_response()
}
