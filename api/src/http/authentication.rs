//! Who asks, and whether they may: the layer that reads a request's token or cookie, and the one around each route that
//! compares what its caller may do with what the route needs.
//!
//! What was found out about a token or a session is believed for [`BELIEVED`]. A command that changes a right, a password or
//! a session is answered only after that, so that the next request on any process obeys.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use daybook_core::{
    Actor, ActorKind,
    domain::{
        Party, Principal,
        function::{Function, Functions},
    },
};
use daybook_identity::{Level, Secret, Session};
use daybook_projections::{
    Viewer,
    user::{self, TokenMember},
};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::{
    app::App,
    http::{access::Asked, caller::OnBehalfOf, error::ApiError, header::malformed, signature::signed},
    routes::Need,
};

/// Which membership a request of a session acts in: `provider`, or the identifier of the customer.
pub const MEMBERSHIP: &str = "daybook-membership";

/// The name of the cookie that has the secret of a session, where the connection is encrypted.
pub const COOKIE: &str = "__Host-daybook";
/// The same where it is not, which browsers take from this machine only.
pub const PLAIN_COOKIE: &str = "daybook";

/// How long it is believed what a token or a session was worth.
pub const BELIEVED: Duration = Duration::from_millis(250);

/// So many are kept in mind at most.
const KEPT: usize = 10_000;

/// Where a request comes from: the address of the caller, also if a proxy that the operator has named stands between.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Who asks, and what they may do in the membership in which they ask.
#[derive(Clone, Debug)]
pub struct Authenticated {
    pub actor: Actor,
    /// `None` for a program of the ledger's own, which asks in nobody's name.
    pub principal: Option<Principal>,
    pub functions: Functions,
    pub means: Means,
    /// Whether the second factor is still to be shown: until then nothing else is done.
    pub is_half: bool,
}

/// By what the one who asks has shown who they are.
#[derive(Clone, Debug)]
pub enum Means {
    Program,
    Token,
    Session(Session),
    /// The signature of a program outside, such as a gateway.
    Signature,
}

/// Marks a route that needs a session to show the password or the second factor once more.
#[derive(Clone, Copy, Debug)]
pub struct NeedsStepUp;

/// What was found out a short while ago, by the hash of what was shown and the membership.
#[derive(Debug, Default)]
pub struct Believed(Mutex<HashMap<[u8; 32], Finding>>);

/// Who was found, and when.
type Finding = (Instant, Arc<Authenticated>);

impl Believed {
    fn get(&self, key: &[u8; 32]) -> Option<Arc<Authenticated>> {
        let believed = self.0.lock().expect("nobody falls while holding it");
        believed.get(key).filter(|(since, _)| since.elapsed() < BELIEVED).map(|(_, found)| Arc::clone(found))
    }

    fn put(&self, key: [u8; 32], since: Instant, found: &Arc<Authenticated>) {
        let mut believed = self.0.lock().expect("nobody falls while holding it");
        if believed.len() >= KEPT {
            believed.retain(|_, (since, _)| since.elapsed() < BELIEVED);
        }
        if believed.len() < KEPT {
            believed.insert(key, (since, Arc::clone(found)));
        }
    }
}

impl Authenticated {
    /// A program of the ledger's own, which may do everything.
    pub fn program(actor: Actor) -> Self {
        let functions = Function::ALL.iter().copied().collect();
        Self { actor, principal: None, functions, means: Means::Program, is_half: false }
    }

    fn of(principal: Principal, functions: Functions, means: Means) -> Self {
        let kind = match principal.party {
            Party::Provider => ActorKind::Staff,
            Party::Customer(_) => ActorKind::Customer,
        };
        let actor = Actor::new(kind, principal.user.as_str());
        Self { actor, principal: Some(principal), functions, means, is_half: false }
    }

    pub fn may(&self, function: Function) -> bool {
        self.functions.contains(&function)
    }

    /// The customer whose things it may see, if it is no provider's.
    pub fn customer(&self) -> Option<&str> {
        self.principal.as_ref()?.party.customer().map(|customer| customer.as_str())
    }

    /// The session or the token that asks, by its public name.
    pub fn credential(&self) -> Option<&str> {
        let token = || self.principal.as_ref()?.token.as_ref().map(|token| token.as_str());
        self.session().map(|session| session.id.as_str()).or_else(token)
    }

    /// The person who asks. A program of the ledger's own is none.
    pub fn person(&self) -> Result<&Principal, ApiError> {
        self.principal.as_ref().ok_or_else(|| unauthenticated("only a person has sessions, tokens and a password"))
    }

    /// The session that asks. What decides who somebody is, is not done by a token.
    pub fn in_session(&self) -> Result<&Session, ApiError> {
        self.session().ok_or_else(session_needed)
    }

    pub fn session(&self) -> Option<&Session> {
        match &self.means {
            Means::Session(session) => Some(session),
            Means::Program | Means::Token | Means::Signature => None,
        }
    }
}

/// The layer that finds out who asks. What cannot be found out is no failure yet: some routes need nobody.
pub async fn authenticate(State(app): State<App>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let found = app.who(&parts).await;
    // Whoever shows what is not valid is nobody.
    let asker = found.as_ref().ok().and_then(Option::as_deref);
    let shows = parts.headers.contains_key(header::AUTHORIZATION) || cookie(&app, &parts.headers).is_some();
    let standing = app.rates().count(parts.uri.path(), asker, shows, address(&parts));
    let mut response = match standing.and_then(|standing| standing.refusal()) {
        // Before anything is read of the body, or any password is hashed.
        Some(refusal) => refusal.into_response(),
        None => match found.and_then(|found| identified(parts, found)) {
            Ok(mut parts) => {
                parts.extensions.insert(app);
                next.run(Request::from_parts(parts, body)).await
            }
            Err(refusal) => refusal.into_response(),
        },
    };
    if let Some(standing) = standing {
        standing.write(response.headers_mut());
    }
    response
}

/// The request with the one who asks.
fn identified(mut parts: Parts, found: Option<Arc<Authenticated>>) -> Result<Parts, ApiError> {
    let Some(found) = found else { return Ok(parts) };
    // A browser sends its cookie with what any page asks it to.
    if found.session().is_some() && !parts.method.is_safe() {
        of_our_page(&parts.headers)?;
    }
    parts.extensions.insert(found);
    Ok(parts)
}

/// A request with a cookie says that one of our pages sent it. That an `Origin` is ours was looked at before.
fn of_our_page(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_same = |site: &HeaderValue| site == "same-origin";
    if headers.get("sec-fetch-site").map_or_else(|| headers.contains_key(header::ORIGIN), is_same) {
        return Ok(());
    }
    let detail = "a request with a cookie needs `Sec-Fetch-Site: same-origin`, or an `Origin` that is this server";
    Err(ApiError::new("cross-site-request", detail))
}

/// The layer around a route: it lets a request through if the one who asks may do what the route is for, and has the access
/// log name what was looked at and what was refused.
pub async fn admit(State(need): State<Need>, request: Request, next: Next) -> Result<Response, ApiError> {
    let (mut parts, body) = match need {
        Need::Signature => {
            let app = request.extensions().get::<App>().cloned().expect("every request carries its application");
            signed(&app, request).await?
        }
        _ => request.into_parts(),
    };
    let found = parts.extensions.get::<Arc<Authenticated>>().cloned();
    let on_behalf_of = if found.is_some() { OnBehalfOf::of(&parts.headers)? } else { OnBehalfOf::default() };
    let asked = found.as_ref().and_then(|found| Asked::of(need, found, &on_behalf_of, &parts));
    match seeing(need, found.as_deref(), &on_behalf_of, &parts) {
        // Only the tests come with a viewer already.
        Ok(Some(viewer)) if parts.extensions.get::<Viewer>().is_none() => drop(parts.extensions.insert(viewer)),
        Ok(_) => {}
        Err(refused) => {
            if let Some(asked) = asked {
                asked.refused(&refused).await;
            }
            return Err(refused);
        }
    }
    parts.extensions.insert(on_behalf_of);
    let response = next.run(Request::from_parts(parts, body)).await;
    match asked {
        Some(asked) => asked.answered(response).await,
        None => Ok(response),
    }
}

/// What the one who asks sees of the ledger, if that request is allowed.
fn seeing(
    need: Need,
    found: Option<&Authenticated>,
    on_behalf_of: &OnBehalfOf,
    parts: &Parts,
) -> Result<Option<Viewer>, ApiError> {
    allowed(need, found)?;
    if let (Some(found), Some(app), Some(NeedsStepUp)) = (found, parts.extensions.get::<App>(), parts.extensions.get())
    {
        stepped_up(found, app.clock().now())?;
    }
    found.map(|found| viewer(found, on_behalf_of)).transpose()
}

/// Refuses what the one who asks may not do.
fn allowed(need: Need, found: Option<&Authenticated>) -> Result<(), ApiError> {
    match (need, found) {
        (Need::Nothing | Need::Signature, _) | (Need::Begun, Some(_)) => Ok(()),
        (_, None) => Err(unauthenticated("a token or a session is needed")),
        (_, Some(found)) if found.is_half => Err(unauthenticated("the second factor is still to be shown")),
        (Need::Identity, Some(_)) => Ok(()),
        (Need::May(function), Some(found)) if found.may(function) => Ok(()),
        (Need::May(function), Some(_)) => Err(forbidden(function)),
    }
}

/// What the caller sees of the ledger: what is of the customer in whose membership, or in whose name, is asked.
fn viewer(found: &Authenticated, on_behalf_of: &OnBehalfOf) -> Result<Viewer, ApiError> {
    let read_only = |detail: &str| Err(ApiError::new("impersonation-read-only", detail));
    match (found.customer(), &on_behalf_of.0, &found.principal) {
        (Some(_), Some(_), _) => read_only("only the provider's people stand in for a customer"),
        (Some(customer), None, _) => Ok(Viewer::of_customers([customer.to_owned()])),
        (None, Some(_), Some(_)) => match on_behalf_of.customer() {
            Some(customer) => Ok(Viewer::of_customers([customer.to_owned()])),
            None => read_only("the provider's people stand in for customers alone"),
        },
        (None, _, None) | (None, None, _) => Ok(Viewer::Provider),
    }
}

pub fn forbidden(function: Function) -> ApiError {
    ApiError::new("forbidden-by-role", format!("`{function}` is not allowed here")).with("function", function.name())
}

pub fn session_needed() -> ApiError {
    ApiError::new("session-needed", "that is done in a session, and not by a token")
}

pub fn unauthenticated(detail: &str) -> ApiError {
    ApiError::new("unauthenticated", detail)
}

impl App {
    /// Who asks, if that can be found out. A token that is none is refused; a session that has ended is as none.
    async fn who(&self, parts: &Parts) -> Result<Option<Arc<Authenticated>>, ApiError> {
        let membership = parts.headers.get(MEMBERSHIP).map(|value| value.to_str().unwrap_or_default());
        let (token, cookie) = (bearer(&parts.headers)?, cookie(self, &parts.headers));
        let Some(shown) = token.clone().or_else(|| cookie.clone()) else { return Ok(None) };
        let mut key = Sha256::new();
        key.update([u8::from(token.is_some())]);
        key.update(membership.unwrap_or_default());
        key.update([0]);
        key.update(shown.expose());
        let key = key.finalize().into();
        if let Some(found) = self.believed().get(&key) {
            return Ok(Some(found));
        }
        let since = Instant::now();
        let found = match token {
            Some(token) => Some(self.of_token(&token, membership, address(parts)).await?),
            None => self.of_session(&shown, membership).await?,
        };
        Ok(found.map(|found| {
            let found = Arc::new(found);
            self.believed().put(key, since, &found);
            found
        }))
    }

    async fn of_token(
        &self,
        token: &Secret,
        membership: Option<&str>,
        address: IpAddr,
    ) -> Result<Authenticated, ApiError> {
        let now = self.clock().now();
        let none = || unauthenticated("the token is not valid, or not valid any more");
        let found = self.identity().tokens.find(token, address, now).await?.ok_or_else(none)?;
        let mut connection = self.store().pool().acquire().await?;
        let token = user::member_by_token(&mut connection, &found.user, &found.token).await?;
        let token = token.filter(|token| {
            token.member.enabled
                && token.expires_at.is_none_or(|end| now < end)
                && membership.is_none_or(|membership| membership == token.member.membership.party)
        });
        let TokenMember { token_id, scope, member, .. } = token.ok_or_else(none)?;
        let mut functions = member.membership.allowed();
        if let Some(scope) = &scope {
            functions.retain(|function| scope.contains(function));
        }
        let principal = principal(&member.membership, Some(&token_id))?;
        Ok(Authenticated::of(principal, functions, Means::Token))
    }

    async fn of_session(&self, cookie: &Secret, membership: Option<&str>) -> Result<Option<Authenticated>, ApiError> {
        let Some(session) = self.identity().sessions.find(cookie, self.clock().now()).await? else { return Ok(None) };
        let mut connection = self.store().pool().acquire().await?;
        let wanted = membership.or(session.membership.as_deref());
        let member = user::member(&mut connection, &session.user, wanted).await?;
        let Some(member) = member.filter(|member| member.enabled) else {
            // A membership that was named and is not there is a fault of the request.
            return if membership.is_some() { Err(no_member()) } else { Ok(None) };
        };
        // Who has a second factor has not shown yet who it is by the password alone. Nor does a password show it that was
        // taken away together with the factor: the session that it began is about to be ended.
        let is_half = session.level < Level::SecondFactor && (member.has_factor || !member.has_password);
        let functions = if is_half { Functions::new() } else { member.membership.allowed() };
        let principal = principal(&member.membership, None)?;
        Ok(Some(Authenticated { is_half, ..Authenticated::of(principal, functions, Means::Session(session)) }))
    }
}

/// Refuses what needs the password or the second factor once more. To make a token needed it, so that a token has it for
/// whatever it may be used for.
fn stepped_up(asker: &Authenticated, now: DateTime<Utc>) -> Result<(), ApiError> {
    match asker.session() {
        Some(session) if !session.is_stepped_up(now) => {
            let detail = "show the password or the second factor once more: POST /v1/session/step-up";
            Err(ApiError::new("step-up-needed", detail))
        }
        _ => Ok(()),
    }
}

fn no_member() -> ApiError {
    malformed(MEMBERSHIP, "there is no such membership")
}

fn principal(membership: &user::MembershipRow, token: Option<&str>) -> Result<Principal, ApiError> {
    let unreadable = |_| ApiError::new("internal", "an identifier of the ledger cannot be read");
    let party = match &membership.customer_id {
        None => Party::Provider,
        Some(customer) => Party::Customer(customer.parse().map_err(unreadable)?),
    };
    let token = token.map(str::parse).transpose().map_err(unreadable)?;
    Ok(Principal { user: membership.user_id.parse().map_err(unreadable)?, party, token })
}

/// The token of `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Result<Option<Secret>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let token = token.ok_or_else(|| unauthenticated("`Authorization` is written `Bearer dbk_…`"))?;
    Ok(Some(Secret::new(token)))
}

/// The secret of a session. Where connections are encrypted, a cookie of the plain name counts for nothing: whoever can
/// change what goes over another connection to this host could set it, and sign somebody in as somebody else.
pub fn cookie(app: &App, headers: &HeaderMap) -> Option<Secret> {
    let named = |wanted: &str| {
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| Secret::new(value)).next()
    };
    named(if app.is_encrypted() { COOKIE } else { PLAIN_COOKIE })
}

/// Where a request comes from, and by which program.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: IpAddr,
    pub agent: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let agent = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        Ok(Self { address: address(parts), agent: agent.map(str::to_owned) })
    }
}

/// Where the request comes from.
pub fn address(parts: &Parts) -> IpAddr {
    parts.extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |Peer(address)| *address)
}

/// The one who asks, as a handler takes it.
#[derive(Clone, Debug)]
pub struct Asker(pub Arc<Authenticated>);

impl std::ops::Deref for Asker {
    type Target = Authenticated;

    fn deref(&self) -> &Authenticated {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let found = parts.extensions.get::<Arc<Authenticated>>().cloned();
        found.map(Self).ok_or_else(|| unauthenticated("a token or a session is needed"))
    }
}
