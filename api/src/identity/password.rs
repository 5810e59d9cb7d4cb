//! Passwords: choosing one by a link or in place of the present one. Every other session of the person ends with it.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use daybook_core::{
    Actor, ActorKind, Context,
    domain::{
        Id, UserId,
        function::Function,
        user::{CredentialChange, Password},
    },
    operations::{ChangeCredentials, Operation},
    writer::{Command, Idempotency},
};
use daybook_identity::{
    Access, AccessKind, Attempt, CutOff, Ended, NewLink, PasswordOf, Purpose, Secret, Shown, Standing,
};
use daybook_projections::user::{self, MembershipRow, UserRow};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{areas, count_refused, in_each, line_by, sign_in::SecretText, user_id, verified};
use crate::{
    app::App,
    http::{
        address::Named,
        authentication::{Asker, Authenticated, Client, forbidden, unauthenticated},
        body::JsonBody,
        error::ApiError,
        wire::{Ref, UserRef, json},
        write::WriteRequest,
    },
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The present one.
    current: SecretText,
    password: SecretText,
}

/// Chooses another password.
#[utoipa::path(post, path = "/v1/me/password", request_body = NewPassword, responses((status = 204)))]
pub async fn change(
    State(app): State<App>,
    client: Client,
    Asker(asker): Asker,
    request: WriteRequest,
    JsonBody(NewPassword { current, password }): JsonBody<NewPassword>,
) -> Result<Response, ApiError> {
    let principal = asker.person()?;
    let session = asker.in_session()?;
    let now = app.clock().now();
    let user = known(&app, principal.user.as_str()).await?;
    let account = app.logins().name(&user.login);
    let attempt = Attempt { account: account.as_str(), address: client.address, session: Some(&session.id) };
    let admitted = app.identity().guessing.admit(attempt, now).await?;
    let of = user.password_id.as_deref().map(|password| PasswordOf { user: &user.id, password });
    let (is_right, admitted) = verified(&app, of, &Secret::new(current.0), admitted).await?;
    if !is_right {
        count_refused(&app, &client, AccessKind::StepUpRefused, Some(user.id)).await?;
        return Err(ApiError::new("sign-in-refused", "the present password is another one"));
    }
    app.identity().guessing.succeeded(admitted, now).await?;
    let id = keep(&app, &user, password).await?;
    let operation = Operation::ChangeCredentials(ChangeCredentials {
        user: principal.user.clone(),
        change: CredentialChange::SetPassword { password: id },
    });
    let cut_off = CutOff::others(&user.id, &session.id, Ended::PasswordChanged);
    app.change_and(request.command(operation, None, None)?, &[], cut_off).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkedPassword {
    /// What the link carries.
    link: SecretText,
    password: SecretText,
}

/// Chooses a password by the link of an invitation, or of a reset. A second factor stays as it is.
#[utoipa::path(post, path = "/v1/password", request_body = LinkedPassword, responses((status = 204)))]
pub async fn choose(
    State(app): State<App>,
    JsonBody(LinkedPassword { link, password }): JsonBody<LinkedPassword>,
) -> Result<Response, ApiError> {
    let (link, now) = (Secret::new(link.0), app.clock().now());
    let links = &app.identity().links;
    let mut found = None;
    for purpose in [Purpose::Invitation, Purpose::PasswordReset] {
        if let Standing::Usable(link) = links.look(&link, purpose, now).await? {
            found = Some(link);
        }
    }
    let no_use = || ApiError::new("link-used", "the link was used, has expired, or is none");
    let user = known(&app, &found.ok_or_else(no_use)?.user).await?;
    // Before the link is used up: whoever chooses a bad one chooses again.
    let id = keep(&app, &user, password).await?;
    let once = used_once(&link, &id);
    let operation = Operation::ChangeCredentials(ChangeCredentials {
        user: user_id(&user.id)?,
        change: CredentialChange::SetPassword { password: id },
    });
    let command = Command { idempotency: Some(once), ..of_itself(&user_id(&user.id)?, operation, now) };
    let changed = app.change_and(command, &[], CutOff::all(&user.id, Ended::PasswordChanged)).await;
    changed.map_err(|error| if error.code() == "idempotency-mismatch" { no_use() } else { error })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A link to be handed over.
#[derive(Debug, Serialize, ToSchema)]
pub struct LinkMade {
    /// What the link carries. It is not shown again.
    link: String,
    expires_at: DateTime<Utc>,
}

impl LinkMade {
    pub fn new(link: &Shown, expires_at: DateTime<Utc>) -> Self {
        Self { link: link.expose().to_owned(), expires_at }
    }
}

/// Makes a link by which a person chooses a first password, or another one, to be handed over by whoever asks for it.
#[utoipa::path(post, path = "/v1/users/{id}/password-link", responses((status = 201, body = LinkMade)))]
pub async fn make_link(
    State(app): State<App>,
    client: Client,
    Asker(asker): Asker,
    Named(Ref(id)): Named<UserRef>,
) -> Result<Response, ApiError> {
    let mut connection = app.store().pool().acquire().await?;
    let user = user::user(&mut connection, id.as_str()).await?;
    let memberships = user::memberships(&mut connection, id.as_str()).await?;
    drop(connection);
    let not_found = || ApiError::new("user-not-found", "there is no such user");
    let user = user.ok_or_else(not_found)?;
    may_let_in(&asker, &memberships, not_found)?;
    log_link(&app, &client, &asker, &user.id, "/v1/users/{id}/password-link").await?;
    let purpose = if user.password_id.is_some() { Purpose::PasswordReset } else { Purpose::Invitation };
    handed_over(&app, &user.id, purpose).await
}

/// A new link of this purpose, to be handed over by whoever asks.
pub async fn handed_over(app: &App, user: &str, purpose: Purpose) -> Result<Response, ApiError> {
    let now = app.clock().now();
    let link = app.identity().links.make(NewLink { user, purpose, about: None }, now).await?;
    let made = LinkMade::new(&link, now + purpose.life());
    let mut response = json(&made);
    *response.status_mut() = StatusCode::CREATED;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Writes down, before the link is made, that somebody gets the means to sign in as this person. Each customer of the person
/// sees it.
pub async fn log_link(
    app: &App,
    client: &Client,
    asker: &Authenticated,
    user: &str,
    what: &str,
) -> Result<(), ApiError> {
    let line = Access { what: Some(what), entity: Some(user), ..line_by(asker, client, AccessKind::LinkMade) };
    let areas = areas(app, user).await?;
    Ok(app.identity().access_log.write_all(&in_each(&areas, line), app.clock().now()).await?)
}

/// A link lets its maker in as the person, so the maker must hold every right of the person.
fn may_let_in(
    asker: &Authenticated,
    memberships: &[MembershipRow],
    not_found: impl Fn() -> ApiError,
) -> Result<(), ApiError> {
    let Some(customer) = asker.customer() else {
        let is_of_the_house = memberships.iter().any(|membership| membership.customer_id.is_none());
        return if is_of_the_house && !asker.may(Function::RightsGrant) {
            Err(forbidden(Function::RightsGrant))
        } else {
            Ok(())
        };
    };
    let is_ours = |membership: &MembershipRow| membership.customer_id.as_deref() == Some(customer);
    if !memberships.iter().any(is_ours) {
        return Err(not_found());
    }
    if !memberships.iter().all(is_ours) {
        return Err(ApiError::new(
            "user-shared",
            "the user is a member elsewhere, too: the provider lets the person in",
        ));
    }
    if memberships.iter().any(|membership| !membership.allowed().is_subset(&asker.functions)) {
        return Err(ApiError::new("right-not-held", "whoever lets somebody in may do all that the person may"));
    }
    Ok(())
}

async fn known(app: &App, id: &str) -> Result<UserRow, ApiError> {
    let mut connection = app.store().pool().acquire().await?;
    let user = user::user(&mut connection, id).await?;
    user.filter(|user| user.enabled).ok_or_else(|| unauthenticated("the person cannot sign in"))
}

/// Writes the hash of a password under a name that the event is about to carry.
async fn keep(app: &App, user: &UserRow, password: SecretText) -> Result<Id<Password>, ApiError> {
    let id = Id::<Password>::from_uuid(Uuid::now_v7());
    let names = [user.login.clone(), user.name.clone()];
    let of = PasswordOf { user: &user.id, password: id.as_str() };
    app.identity().passwords.keep(of, &Secret::new(password.0), &names, app.clock().now()).await?;
    Ok(id)
}

/// The command of a link is recorded once, whoever uses the link at the same moment; a command that fails leaves the link as it
/// was. The book knows the link by a hash, and each use by the password that it would set.
fn used_once(link: &Secret, password: &Id<Password>) -> Idempotency {
    let key = Sha256::digest(link.expose()).iter().map(|byte| format!("{byte:02x}")).collect();
    Idempotency { scope: "one-time link".into(), key, fingerprint: Sha256::digest(password.as_str()).into() }
}

/// A command that a person gives about himself or herself without a session, by what was sent to that person alone.
pub fn of_itself(user: &UserId, operation: Operation, now: DateTime<Utc>) -> Command {
    let context = Context {
        actor: Actor::new(ActorKind::Customer, user.as_str()),
        principal: None,
        on_behalf_of: None,
        reason: None,
        correlation_id: Uuid::now_v7(),
        causation_id: None,
        occurred_at: chrono::SubsecRound::trunc_subsecs(now, 6),
    };
    Command { id: Uuid::now_v7(), operation, context, idempotency: None, expected: None }
}
