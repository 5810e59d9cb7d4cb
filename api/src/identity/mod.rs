//! Signing in, sessions, tokens, and what persons do about themselves.

pub mod access_log;
pub mod demonstration;
pub mod factor_reset;
pub mod me;
pub mod password;
pub mod session;
pub mod sign_in;
pub mod sign_up;
pub mod sweep;
pub mod token;

use axum::http::HeaderValue;
use daybook_core::domain::UserId;
use daybook_identity::{
    Access, AccessKind, Admitted, GuessingError, IdentityError, KeyError, PasswordError, PasswordOf, Secret, Shown,
    SignUpError,
};
use daybook_projections::user;

use crate::{
    app::App,
    http::{
        authentication::{Authenticated, COOKIE, Client, PLAIN_COOKIE},
        error::ApiError,
    },
};

/// What sets the cookie of a session, which the browser forgets when the session must have ended.
fn cookie(app: &App, secret: &Shown) -> HeaderValue {
    set_cookie(app, secret.expose(), app.identity().sessions.options().absolute.num_seconds())
}

/// What takes the cookie away.
fn no_cookie(app: &App) -> HeaderValue {
    set_cookie(app, "", 0)
}

fn set_cookie(app: &App, value: &str, seconds: i64) -> HeaderValue {
    let (name, secure) = if app.is_encrypted() { (COOKIE, "; Secure") } else { (PLAIN_COOKIE, "") };
    let line = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    let mut line = HeaderValue::from_str(&line).expect("a secret is written in plain ASCII");
    line.set_sensitive(true);
    line
}

/// Whether the password is right. An attempt that could not be made, because too many are being made, is no failure.
async fn verified(
    app: &App,
    of: Option<PasswordOf<'_>>,
    typed: &Secret,
    admitted: Admitted,
) -> Result<(bool, Admitted), ApiError> {
    match app.identity().passwords.verify(of, typed).await {
        Ok(is_right) => Ok((is_right, admitted)),
        Err(error) => {
            app.identity().guessing.not_made(admitted).await?;
            Err(error.into())
        }
    }
}

/// What guessing at the second factors of a person is counted for.
fn factor_account(user: &str) -> String {
    format!("factor of {user}")
}

/// The identifier of a user as the rows have it.
fn user_id(id: &str) -> Result<UserId, ApiError> {
    id.parse().map_err(|_| ApiError::new("internal", "the identifier of a user cannot be read"))
}

/// Writes a line about a person, who did it, into the area of each customer where the person is a member: each customer sees
/// when its people sign in.
async fn log(
    app: &App,
    client: &Client,
    kind: AccessKind,
    user: &str,
    credential: Option<&str>,
) -> Result<(), ApiError> {
    let line = Access { user: Some(user), credential, ..line_of(client, kind) };
    let areas = areas(app, user).await?;
    Ok(app.identity().access_log.write_all(&in_each(&areas, line), app.clock().now()).await?)
}

/// Counts an attempt to prove who somebody is that failed, and notes it in the areas of the person, if there is one of that
/// name. That happens in the background: the time of the answer does not say whether the name is somebody's.
async fn count_refused(app: &App, client: &Client, kind: AccessKind, user: Option<String>) -> Result<(), ApiError> {
    let now = app.clock().now();
    app.identity().guessing.refused(client.address, now).await?;
    if let Some(user) = user {
        let (noting, client) = (app.clone(), client.clone());
        app.identity().note("a refused sign-in", async move {
            let areas = areas(&noting, &user).await.map_err(|error| error.detail().to_owned())?;
            let line = Access { user: Some(&user), ..line_of(&client, kind) };
            let written = noting.identity().access_log.write_refused(&in_each(&areas, line), now).await;
            written.map_err(|error| daybook_core::chain(&error))
        });
    }
    Ok(())
}

/// What this person does, by this session or token.
fn line_by<'a>(asker: &'a Authenticated, client: &'a Client, kind: AccessKind) -> Access<'a> {
    let user = asker.principal.as_ref().map(|principal| principal.user.as_str());
    Access { user, credential: asker.credential(), ..line_of(client, kind) }
}

fn line_of(client: &Client, kind: AccessKind) -> Access<'_> {
    Access { address: Some(client.address), agent: client.agent.as_deref(), ..Access::new(kind) }
}

/// The customers where a person is a member; nobody's area, if there is none.
async fn areas(app: &App, user: &str) -> Result<Vec<Option<String>>, ApiError> {
    let mut connection = app.store().pool().acquire().await?;
    let memberships = user::memberships(&mut connection, user).await?;
    let customers: Vec<_> = memberships.into_iter().filter_map(|membership| membership.customer_id).map(Some).collect();
    Ok(if customers.is_empty() { vec![None] } else { customers })
}

fn in_each<'a>(areas: &'a [Option<String>], line: Access<'a>) -> Vec<Access<'a>> {
    areas.iter().map(|customer| Access { customer: customer.as_deref(), ..line }).collect()
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Store(error) => error.into(),
            IdentityError::Busy(busy) => {
                Self::new("overloaded", busy.to_string()).retry_after(busy.retry_after.as_secs())
            }
            IdentityError::Keys(_) | IdentityError::Unreadable { .. } => {
                tracing::error!(error = %daybook_core::chain(&error), "a secret cannot be read");
                let detail = match error {
                    IdentityError::Keys(KeyError::Missing { .. }) => {
                        "the server lacks the key of this second factor, so that no code can be checked: a recovery code works \
                         without it, and the operator can put the key back"
                    }
                    _ => "what this needs to know in secret cannot be read",
                };
                Self::new("internal", detail)
            }
        }
    }
}

impl From<GuessingError> for ApiError {
    fn from(error: GuessingError) -> Self {
        match error {
            GuessingError::Held { retry_after } => {
                let seconds = u64::try_from(retry_after.num_seconds()).unwrap_or(1);
                Self::new("too-many-attempts", "too many attempts have failed").retry_after(seconds)
            }
            GuessingError::Failed(error) => error.into(),
        }
    }
}

impl From<SignUpError> for ApiError {
    fn from(error: SignUpError) -> Self {
        match error {
            SignUpError::TooMany { retry_after } => {
                let seconds = u64::try_from(retry_after.num_seconds()).unwrap_or(1);
                Self::new("too-many-sign-ups", error.to_string()).retry_after(seconds)
            }
            SignUpError::Full => Self::new("overloaded", error.to_string()).retry_after(3_600),
            SignUpError::Password(error) => error.into(),
            SignUpError::Failed(error) => error.into(),
        }
    }
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Unsuitable(why) => Self::field(why.code(), "/password", why.to_string()),
            PasswordError::Failed(error) => error.into(),
        }
    }
}
