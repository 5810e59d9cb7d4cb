//! Signing up without an invitation, where the operator allows it: a mail address, which is confirmed by a link before
//! anything is recorded, becomes a customer and its first user.

use std::{fs, io, path::Path, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, NaiveDate, Utc};
use daybook_core::{
    domain::{Id, UserId, customer::is_email, user::Password},
    operations::{Acceptance, Invitation, Operation, SignUp},
    terms::text_hash::TextHash,
    writer::{Command, Idempotency},
};
use daybook_identity::{self as identity, Access, AccessKind, Attempt, NewSignUp, PasswordOf, Secret};
use daybook_projections::user;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    count_refused, line_by, log,
    password::{LinkMade, log_link, of_itself},
    sign_in::SecretText,
};
use crate::{
    app::App,
    http::{
        address::{Asked, Named},
        authentication::{Asker, Authenticated, Client},
        body::JsonBody,
        error::ApiError,
        page::{DEFAULT_LIMIT, PageLimit},
        wire::{Beside, Email, Label, Name, NameOf, json},
        write::LEDGER_POSITION,
    },
};

/// The most bytes of the text of the terms.
const LONGEST_TERMS: u64 = 200_000;

/// What whoever signs up accepts.
#[derive(Clone, Debug)]
pub struct Terms {
    dated: NaiveDate,
    text: Arc<str>,
    hash: TextHash,
}

impl Terms {
    /// Of the text in a file.
    pub fn read(path: &Path, dated: NaiveDate) -> io::Result<Self> {
        let other = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason);
        if fs::metadata(path)?.len() > LONGEST_TERMS {
            return Err(other("the terms are longer than 200,000 bytes"));
        }
        let text = fs::read_to_string(path)?;
        if text.trim().is_empty() {
            return Err(other("the terms are empty"));
        }
        Ok(Self::of(&text, dated))
    }

    pub fn of(text: &str, dated: NaiveDate) -> Self {
        Self { dated, text: text.into(), hash: TextHash::of(text) }
    }
}

/// The terms that are to be accepted.
#[derive(Debug, Serialize, ToSchema)]
pub struct TermsShown {
    dated: NaiveDate,
    /// SHA-256 of the text in UTF-8, in hexadecimal digits.
    sha256: String,
    text: String,
}

/// The terms that whoever signs up accepts.
#[utoipa::path(get, path = "/v1/sign-up", responses((status = 200, body = TermsShown)))]
pub async fn terms(State(app): State<App>) -> Result<Response, ApiError> {
    let Terms { dated, text, hash } = open(&app)?;
    Ok(json(&TermsShown { dated: *dated, sha256: hash.to_string(), text: text.to_string() }))
}

fn open(app: &App) -> Result<&Terms, ApiError> {
    app.terms().ok_or_else(|| ApiError::new("sign-up-closed", "people are invited here"))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPerson {
    /// The name to sign in by from then on. Small and capital letters are the same.
    #[schema(example = "ada@example.org")]
    mail: Email,
    #[schema(example = "Ada Lovelace")]
    name: Name,
    password: SecretText,
    /// The SHA-256 of the terms that are accepted: those that `GET /v1/sign-up` shows.
    terms_sha256: Label,
}

/// A sign-up that waits for the mail address to be confirmed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Waiting {
    /// Until then it can be confirmed.
    expires_at: DateTime<Utc>,
}

/// Signs up. Nothing is recorded before the mail address is confirmed by the link that is sent to it.
///
/// The answer is the same whether somebody has signed up with that address before or not.
#[utoipa::path(post, path = "/v1/sign-up", request_body = NewPerson, responses((status = 202, body = Waiting)))]
pub async fn make(
    State(app): State<App>,
    client: Client,
    JsonBody(NewPerson { mail, name, password, terms_sha256 }): JsonBody<NewPerson>,
) -> Result<Response, ApiError> {
    let terms = open(&app)?;
    // Not by their date: a text that was changed under its date is not the one that the person has seen.
    if terms_sha256.0 != terms.hash.to_string() {
        let detail = format!("the terms to be accepted are those of {} that GET /v1/sign-up shows", terms.dated);
        return Err(ApiError::field("terms-outdated", "/terms_sha256", detail));
    }
    let mail = mail.0.trim();
    if !is_email(mail) {
        let detail = "an e-mail address has one @ between two texts without spaces";
        return Err(ApiError::field("email-malformed", "/mail", detail));
    }
    if name.0.trim().is_empty() {
        return Err(ApiError::field("name-missing", "/name", "a person needs a name"));
    }
    let login_name = app.logins().name(mail);
    let new = NewSignUp {
        login_name: login_name.as_str(),
        mail,
        name: &name.0,
        password: &Secret::new(password.0),
        terms_dated: terms.dated,
        terms_hash: &terms.hash.to_string(),
        address: client.address,
    };
    let expires_at = app.identity().sign_ups.make(new, app.clock().now()).await?;
    Ok((StatusCode::ACCEPTED, Json(Waiting { expires_at })).into_response())
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// What the link carries.
    link: SecretText,
    /// The password that was chosen, once more: somebody else may have signed up with this address.
    password: SecretText,
}

/// Who has become a customer.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignedUp {
    customer: String,
    user: String,
}

/// Confirms the mail address: the person becomes the first user of a new customer, and can sign in.
#[utoipa::path(post, path = "/v1/sign-up/confirm", request_body = Confirmation, responses((status = 201, body = SignedUp)))]
pub async fn confirm(
    State(app): State<App>,
    client: Client,
    JsonBody(Confirmation { link, password }): JsonBody<Confirmation>,
) -> Result<Response, ApiError> {
    open(&app)?;
    let now = app.clock().now();
    let found = app.identity().sign_ups.of_link(&Secret::new(link.0), now).await?.ok_or_else(no_use)?;
    let account = format!("sign-up {}", found.id);
    let attempt = Attempt { account: &account, address: client.address, session: None };
    let admitted = app.identity().guessing.admit(attempt, now).await?;
    let is_chosen = match app.identity().sign_ups.is_chosen(&found, &Secret::new(password.0)).await {
        Ok(is_chosen) => is_chosen,
        Err(error) => {
            app.identity().guessing.not_made(admitted).await?;
            return Err(error.into());
        }
    };
    if !is_chosen {
        count_refused(&app, &client, AccessKind::SignInRefused, None).await?;
        return Err(ApiError::new("sign-in-refused", "that is not the password that was chosen"));
    }
    // Nobody asks again where somebody confirmed.
    app.identity().guessing.not_made(admitted).await?;
    let confirming = app.clone();
    app.to_the_end(async move { become_customer(&confirming, &client, &found).await }).await
}

fn no_use() -> ApiError {
    ApiError::new("link-used", "the link was used, has expired, or is none")
}

/// Records it, and only then throws the sign-up away: whatever is cut in between can be confirmed again.
async fn become_customer(app: &App, client: &Client, found: &identity::SignUp) -> Result<Response, ApiError> {
    let unreadable = || ApiError::new("internal", "what was stored of the sign-up cannot be read");
    let now = app.clock().now();
    let (user, password) = (UserId::from_uuid(Uuid::now_v7()), Id::<Password>::from_uuid(Uuid::now_v7()));
    let of = PasswordOf { user: user.as_str(), password: password.as_str() };
    if !app.identity().sign_ups.keep_password(found, of, now).await? {
        return Err(no_use());
    }
    let operation = Operation::SignUp(SignUp {
        user: user.clone(),
        invitation: Invitation {
            login: found.mail.as_str().into(),
            login_name: found.login_name.parse().map_err(|_| unreadable())?,
            name: found.name.as_str().into(),
        },
        password,
        terms: Acceptance {
            dated: found.terms_dated,
            sha256: found.terms_hash.parse().map_err(|_| unreadable())?,
            accepted_at: found.made_at,
        },
    });
    let once =
        Idempotency { scope: "sign-up".into(), key: found.id.clone(), fingerprint: Sha256::digest(&found.id).into() };
    let command = Command { idempotency: Some(once), ..of_itself(&user, operation, now) };
    let done = app.run(command).await?;
    let [customer, user] = ["customer", "user"].map(|of| done.answer[of].as_str().unwrap_or_default().to_owned());
    log(app, client, AccessKind::SignedUp, &user, None).await?;
    app.identity().sign_ups.remove(&found.id).await?;
    let position = (LEDGER_POSITION, HeaderValue::from(done.position));
    Ok((StatusCode::CREATED, [position], Json(SignedUp { customer, user })).into_response())
}

/// Somebody who has signed up and waits to be confirmed.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignUpShown {
    id: String,
    mail: String,
    name: String,
    /// Whether somebody signs in by that address already. There is no link for such a sign-up.
    known: bool,
    terms_dated: NaiveDate,
    /// The address that it came from, or the network of an IPv6 address.
    network: String,
    made_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SignUpsShown {
    sign_ups: Vec<SignUpShown>,
    /// Give it as `below` to get what comes next; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_below: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SignUpQuery {
    /// The `next_below` of the page before.
    #[param(inline)]
    below: Option<SignUpName>,
    /// So many at most.
    #[param(inline)]
    limit: Option<PageLimit>,
}

/// Who has signed up and waits to be confirmed, the newest first.
#[utoipa::path(get, path = "/v1/sign-ups", params(SignUpQuery), responses((status = 200, body = SignUpsShown)))]
pub async fn list(
    State(app): State<App>,
    client: Client,
    Asker(asker): Asker,
    Asked(SignUpQuery { below, limit }): Asked<SignUpQuery>,
) -> Result<Response, ApiError> {
    let limit = limit.map_or(DEFAULT_LIMIT, |limit| limit.0);
    note(&app, &client, &asker, AccessKind::Viewed, "/v1/sign-ups", None).await?;
    let below = below.as_ref().map(|NameOf { name: id, .. }| id.as_str());
    let waiting = app.identity().sign_ups.waiting(below, app.clock().now(), limit).await?;
    let is_full = waiting.len() == limit as usize;
    let next_below = waiting.last().filter(|_| is_full).map(|last| last.id.clone());
    let names: Vec<String> = waiting.iter().map(|waiting| waiting.login_name.clone()).collect();
    let mut connection = app.store().pool().acquire().await?;
    let known = user::known_logins(&mut connection, &names).await?;
    let sign_ups = waiting.into_iter().map(|waiting| SignUpShown {
        known: known.contains(&waiting.login_name),
        id: waiting.id,
        mail: waiting.mail,
        name: waiting.name,
        terms_dated: waiting.terms_dated,
        network: waiting.network,
        made_at: waiting.made_at,
        expires_at: waiting.expires_at,
    });
    Ok(json(&SignUpsShown { sign_ups: sign_ups.collect(), next_below }))
}

/// Writes down who has looked at the sign-ups, or has thrown one away: nobody's customer is in them yet.
async fn note(
    app: &App,
    client: &Client,
    asker: &Authenticated,
    kind: AccessKind,
    what: &str,
    entity: Option<&str>,
) -> Result<(), ApiError> {
    let line = Access { what: Some(what), entity, ..line_by(asker, client, kind) };
    Ok(app.identity().access_log.write_all(&[line], app.clock().now()).await?)
}

pub type SignUpName = NameOf<identity::SignUp>;

impl Beside for identity::SignUp {
    const PREFIX: &'static str = "sup";
    const NOUN: &'static str = "a sign-up";
}

/// Makes the link that confirms the mail address, to be sent to that address and to nobody else.
#[utoipa::path(post, path = "/v1/sign-ups/{id}/link", responses((status = 201, body = LinkMade)))]
pub async fn make_link(
    State(app): State<App>,
    client: Client,
    Asker(asker): Asker,
    Named(NameOf { name: id, .. }): Named<SignUpName>,
) -> Result<Response, ApiError> {
    let now = app.clock().now();
    let found = app.identity().sign_ups.find(&id, now).await?.ok_or_else(not_found)?;
    let mut connection = app.store().pool().acquire().await?;
    let known = user::known_logins(&mut connection, std::slice::from_ref(&found.login_name)).await?;
    drop(connection);
    if !known.is_empty() {
        return Err(ApiError::new("login-taken", "somebody signs in by that address already"));
    }
    log_link(&app, &client, &asker, &found.id, "/v1/sign-ups/{id}/link").await?;
    let (link, expires_at) = app.identity().sign_ups.link(&found, now).await?;
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((StatusCode::CREATED, [no_store], Json(LinkMade::new(&link, expires_at))).into_response())
}

/// Throws a sign-up away.
#[utoipa::path(delete, path = "/v1/sign-ups/{id}", responses((status = 204)))]
pub async fn remove(
    State(app): State<App>,
    client: Client,
    Asker(asker): Asker,
    Named(NameOf { name: id, .. }): Named<SignUpName>,
) -> Result<Response, ApiError> {
    note(&app, &client, &asker, AccessKind::Acted, "/v1/sign-ups/{id}", Some(&id)).await?;
    if app.identity().sign_ups.remove(&id).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(not_found())
    }
}

fn not_found() -> ApiError {
    ApiError::new("sign-up-not-found", "there is no such sign-up that waits")
}
