//! Sessions: where somebody is signed in, in which membership a session acts, and how it ends.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use daybook_identity::{AccessKind, Ended, Session};
use daybook_projections::user;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use utoipa::ToSchema;

use super::{log, no_cookie};
use crate::{
    app::App,
    http::{
        address::Named,
        authentication::{self, Asker, BELIEVED, Client},
        body::JsonBody,
        error::ApiError,
        wire::{Beside, NameOf, json},
    },
    user::Party,
};

/// A session of a person.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionShown {
    id: String,
    /// Whether it is the one that asks.
    current: bool,
    /// `password` or `second_factor`: what was shown at its beginning.
    level: &'static str,
    /// `provider`, or the customer, in whose membership it acts unless a request says otherwise.
    membership: Option<String>,
    began_at: DateTime<Utc>,
    /// To the minute.
    seen_at: DateTime<Utc>,
    address: String,
    agent: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SessionsShown {
    sessions: Vec<SessionShown>,
}

/// The session of the cookie, if there is one that has not ended.
pub async fn current(app: &App, headers: &HeaderMap) -> Result<Option<Session>, ApiError> {
    let Some(secret) = authentication::cookie(app, headers) else { return Ok(None) };
    Ok(app.identity().sessions.find(&secret, app.clock().now()).await?)
}

/// Where the person who asks is signed in.
#[utoipa::path(get, path = "/v1/sessions", responses((status = 200, body = SessionsShown)))]
pub async fn list(State(app): State<App>, Asker(asker): Asker) -> Result<Response, ApiError> {
    let principal = asker.person()?;
    let own = asker.session().map(|session| session.id.as_str());
    let sessions = app.identity().sessions.list(principal.user.as_str(), app.clock().now()).await?;
    let sessions = sessions.into_iter().map(|session| SessionShown {
        current: own == Some(&session.id),
        id: session.id,
        level: session.level.into(),
        membership: session.membership,
        began_at: session.began_at,
        seen_at: session.seen_at,
        address: session.address,
        agent: session.agent,
    });
    Ok(json(&SessionsShown { sessions: sessions.collect() }))
}

/// The name of a session, which is not its secret.
pub type SessionName = NameOf<Session>;

impl Beside for Session {
    const PREFIX: &'static str = "ses";
    const NOUN: &'static str = "a session";
}

/// Ends a session of the person who asks.
#[utoipa::path(delete, path = "/v1/sessions/{id}", responses((status = 204)))]
pub async fn end(
    State(app): State<App>,
    Asker(asker): Asker,
    Named(NameOf { name: id, .. }): Named<SessionName>,
) -> Result<Response, ApiError> {
    asker.in_session()?;
    let (principal, now) = (asker.person()?, app.clock().now());
    if !app.identity().sessions.end(principal.user.as_str(), &id, Ended::ByUser, now).await? {
        return Err(ApiError::new("session-not-found", "there is no such session"));
    }
    ended().await
}

/// Ends all sessions of the person who asks but the one that asks.
#[utoipa::path(delete, path = "/v1/sessions", responses((status = 204)))]
pub async fn end_others(State(app): State<App>, Asker(asker): Asker) -> Result<Response, ApiError> {
    let (principal, kept) = (asker.person()?, asker.in_session()?.id.as_str());
    let now = app.clock().now();
    app.identity().sessions.end_but(principal.user.as_str(), Some(kept), Ended::ByUser, now).await?;
    ended().await
}

/// Ends the session that asks.
#[utoipa::path(post, path = "/v1/sign-out", responses((status = 204)))]
pub async fn sign_out(State(app): State<App>, client: Client, headers: HeaderMap) -> Result<Response, ApiError> {
    if let Some(session) = current(&app, &headers).await? {
        let now = app.clock().now();
        app.identity().sessions.end(&session.user, &session.id, Ended::SignedOut, now).await?;
        log(&app, &client, AccessKind::SignedOut, &session.user, Some(&session.id)).await?;
    }
    let mut response = ended().await?;
    response.headers_mut().append(header::SET_COOKIE, no_cookie(&app));
    Ok(response)
}

/// What was ended is believed no longer, by any process.
async fn ended() -> Result<Response, ApiError> {
    sleep(BELIEVED).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    party: Party,
}

/// From now on the session acts in another membership of the person.
#[utoipa::path(post, path = "/v1/session/membership", request_body = Switch, responses((status = 204)))]
pub async fn switch(
    State(app): State<App>,
    Asker(asker): Asker,
    JsonBody(Switch { party }): JsonBody<Switch>,
) -> Result<Response, ApiError> {
    let session = asker.in_session()?;
    let party = daybook_core::domain::Party::from(party);
    let mut connection = app.store().pool().acquire().await?;
    if user::member(&mut connection, &session.user, Some(party.key())).await?.is_none() {
        return Err(ApiError::field("not-a-member", "/party", "the person is no member there"));
    }
    drop(connection);
    app.identity().sessions.switch(&session.id, party.key()).await?;
    ended().await
}
