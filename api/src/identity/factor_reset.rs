//! The reset of a second factor that somebody has lost: one of the staff asks for it, another one completes it after the
//! waiting time, and meanwhile the person and whoever manages the customer's users can cancel it.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use daybook_core::{
    domain::UserId,
    operations::{FactorResetStep, Operation, ResetFactors},
};
use daybook_identity::{Access, AccessKind, CutOff, Ended, Purpose};
use daybook_projections::factor_reset::{self, FactorResetRow};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    areas, in_each, line_by,
    password::{LinkMade, handed_over, log_link},
};
use crate::{
    app::App,
    http::{
        address::Named,
        authentication::{Asker, Authenticated, Client},
        body::JsonBody,
        error::ApiError,
        wire::{Ref, Sentence, UserRef},
        write::{Made, WriteRequest, Writing, Written},
    },
    user::Reasoned,
};

const COMPLETE: &str = "/v1/users/{id}/factor-reset/complete";

/// A reset of the second factor that somebody of the staff has asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct FactorResetShown {
    requested_at: DateTime<Utc>,
    /// From then on it can be completed.
    completable_at: DateTime<Utc>,
    /// From then on it is as if nobody had asked.
    lapses_at: DateTime<Utc>,
}

impl From<FactorResetRow> for FactorResetShown {
    fn from(FactorResetRow { requested_at, completable_at, lapses_at, .. }: FactorResetRow) -> Self {
        Self { requested_at, completable_at, lapses_at }
    }
}

/// What the person is told at each sign-in, as long as nothing is sent by mail.
pub async fn pending(app: &App, user: &str) -> Result<Option<FactorResetShown>, ApiError> {
    let mut connection = app.store().pool().acquire().await?;
    let row = factor_reset::of_user(&mut connection, user, app.clock().now()).await?;
    Ok(row.map(Into::into))
}

/// How a reset stands after it was asked for.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
struct FactorResetMade {
    /// The person.
    id: UserRef,
    completable_at: DateTime<Utc>,
    lapses_at: DateTime<Utc>,
}

/// Asks for the reset of a second factor that a person has lost, with a reason.
///
/// Another one of the staff completes it after the waiting time. The person sees it at the next sign-in and can cancel it.
#[utoipa::path(post, path = "/v1/users/{id}/factor-reset", request_body = Reasoned, responses((status = 201, body = FactorResetMade)))]
pub async fn request(
    State(app): State<App>,
    client: Client,
    Asker(asker): Asker,
    Named(Ref(user)): Named<UserRef>,
    Writing { body: Reasoned { reason }, request }: Writing<Reasoned>,
) -> Result<Written, ApiError> {
    asker.in_session()?;
    let operation = step(&user, FactorResetStep::Request { wait: app.factor_reset_wait() });
    let written = app.make(request.command(operation, None, reason.clone())?, &[]).await?;
    note(&app, &client, &asker, &user, "/v1/users/{id}/factor-reset", reason).await?;
    Ok(written)
}

/// Completes the reset: the factors, the recovery codes and the password of the person are gone, and all sessions end.
///
/// The answer is a link by which the person chooses another password, to be handed over. Whoever asked for the reset cannot
/// complete it.
#[utoipa::path(post, path = "/v1/users/{id}/factor-reset/complete", request_body = Reasoned, responses((status = 201, body = LinkMade)))]
pub async fn complete(
    State(app): State<App>,
    client: Client,
    Asker(asker): Asker,
    request: WriteRequest,
    Named(Ref(user)): Named<UserRef>,
    JsonBody(Reasoned { reason }): JsonBody<Reasoned>,
) -> Result<Response, ApiError> {
    asker.in_session()?;
    let command = request.command(step(&user, FactorResetStep::Complete), None, reason.clone())?;
    let cut_off = CutOff::all(user.as_str(), Ended::FactorChanged);
    let completing = app.clone();
    app.to_the_end(async move {
        completing.change_and(command, &[], cut_off).await?;
        note(&completing, &client, &asker, &user, COMPLETE, reason).await?;
        log_link(&completing, &client, &asker, user.as_str(), COMPLETE).await?;
        handed_over(&completing, user.as_str(), Purpose::PasswordReset).await
    })
    .await
}

/// Cancels the reset that a user waits for.
#[utoipa::path(post, path = "/v1/users/{id}/factor-reset/cancel", request_body = Reasoned, responses((status = 200, body = Made)))]
pub async fn cancel(
    State(app): State<App>,
    client: Client,
    Asker(asker): Asker,
    Named(Ref(user)): Named<UserRef>,
    Writing { body: Reasoned { reason }, request }: Writing<Reasoned>,
) -> Result<Written, ApiError> {
    let operation = step(&user, FactorResetStep::Cancel);
    let written = app.change(request.command(operation, None, reason.clone())?, &[]).await?;
    note(&app, &client, &asker, &user, "/v1/users/{id}/factor-reset/cancel", reason).await?;
    Ok(written)
}

/// Cancels the reset of one's own second factor.
///
/// A session that has shown the password alone may do that: to cancel lets nobody in.
#[utoipa::path(post, path = "/v1/me/factor-reset/cancel", responses((status = 204)))]
pub async fn cancel_own(
    State(app): State<App>,
    client: Client,
    Asker(asker): Asker,
    request: WriteRequest,
) -> Result<Response, ApiError> {
    asker.in_session()?;
    let user = asker.person()?.user.clone();
    let operation = step(&user, FactorResetStep::Cancel);
    app.change(request.command(operation, None, None)?, &[]).await?;
    note(&app, &client, &asker, &user, "/v1/me/factor-reset/cancel", None).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn step(user: &UserId, step: FactorResetStep) -> Operation {
    Operation::ResetFactors(ResetFactors { user: user.clone(), step })
}

/// Writes into the access log of each customer of the person, and into that of the person, who did what about the factor.
async fn note(
    app: &App,
    client: &Client,
    asker: &Authenticated,
    person: &UserId,
    what: &str,
    reason: Option<Sentence>,
) -> Result<(), ApiError> {
    let (acts, person) = (asker.person()?, person.as_str());
    let line = Access {
        what: Some(what),
        entity: Some(person),
        reason: reason.as_ref().map(|reason| reason.0.as_str()),
        ..line_by(asker, client, AccessKind::Acted)
    };
    // What one customer's people do is no other customer's to know, beyond what it did to the person.
    let bare = Access { user: None, address: None, agent: None, credential: None, reason: None, ..line };
    let areas = areas(app, person).await?;
    let mut lines = in_each(&areas, line);
    for line in &mut lines {
        if asker.customer().is_some_and(|own| line.customer != Some(own)) {
            *line = Access { customer: line.customer, ..bare };
        }
    }
    let told = format!("by {}", acts.user);
    if acts.user.as_str() != person {
        // The lines of a person go by the person.
        lines.push(Access { user: Some(person), reason: Some(&told), ..bare });
    }
    Ok(app.identity().access_log.write_all(&lines, app.clock().now()).await?)
}
