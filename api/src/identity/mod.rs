//! Signing in, sessions, tokens, and what persons do about themselves.

pub mod access_log;
pub mod demonstration;
pub mod factor_reset;
pub mod me;
pub mod password;
pub mod session;
pub mod sign_in;
pub mod sweep;
pub mod token;

use axum::http::HeaderValue;
use daybook_core::domain::UserId;
use daybook_identity::{GuessingError, IdentityError, PasswordError, Shown};

use crate::{
    app::App,
    http::{
        authentication::{COOKIE, PLAIN_COOKIE},
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

/// The identifier of a user as the rows have it.
fn user_id(id: &str) -> Result<UserId, ApiError> {
    id.parse().map_err(|_| ApiError::new("internal", "the identifier of a user cannot be read"))
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
                Self::new("internal", "what this needs to know in secret cannot be read")
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

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Unsuitable(why) => Self::field(why.code(), "/password", why.to_string()),
            PasswordError::Failed(error) => error.into(),
        }
    }
}
