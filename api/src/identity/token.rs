//! Tokens, by which programs ask in the name of a person, in one membership.

use std::collections::HashMap;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use daybook_core::{
    domain::{
        Id,
        function::Function,
        user::{CredentialChange, Token, TokenGrant},
    },
    operations::{ChangeCredentials, Operation},
};
use daybook_identity::TokenOf;
use daybook_projections::user::{self, TokenRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::App,
    http::{
        address::Named,
        authentication::Asker,
        error::ApiError,
        time::Time,
        wire::{Label, Ref, Sentence, TokenRef, json},
        write::{Made, Writing, Written},
    },
    user::{FunctionName, Reasoned},
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    #[schema(example = "monthly export")]
    name: Label,
    /// What it may be used for: all that its owner may do, unless some are named.
    #[schema(max_items = 100)]
    functions: Option<Vec<FunctionName>>,
    expires_at: Option<Time>,
    reason: Option<Sentence>,
}

/// A token as it was made. It is not shown again.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenMade {
    id: String,
    token: String,
}

/// Makes a token for the person who asks, in the membership in which is asked.
#[utoipa::path(post, path = "/v1/tokens", request_body = NewToken, responses((status = 201, body = TokenMade)))]
pub async fn make(
    State(app): State<App>,
    Asker(asker): Asker,
    Writing { body, request }: Writing<NewToken>,
) -> Result<Response, ApiError> {
    let NewToken { name, functions, expires_at, reason } = body;
    let principal = asker.person()?;
    asker.in_session()?;
    if request.has_key() {
        // What is answered is stored with a key, and the token itself is stored nowhere.
        return Err(ApiError::new("malformed-header", "a token is made without an `Idempotency-Key`"));
    }
    let id = Id::<Token>::from_uuid(Uuid::now_v7());
    let of = TokenOf { user: principal.user.as_str(), token: id.as_str() };
    let secret = app.identity().tokens.make(of, app.clock().now()).await?;
    let grant = TokenGrant {
        token: id.clone(),
        party: principal.party.clone(),
        name: name.into(),
        functions: functions.map(|functions| functions.into_iter().map(FunctionName::word).collect()),
        expires_at: expires_at.map(|Time(at)| at),
    };
    let operation = Operation::ChangeCredentials(ChangeCredentials {
        user: principal.user.clone(),
        change: CredentialChange::MakeToken(grant),
    });
    app.change(request.command(operation, None, reason)?, &[]).await?;
    let made = Json(TokenMade { id: id.to_string(), token: secret.expose().to_owned() });
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((StatusCode::CREATED, [no_store], made).into_response())
}

/// Revokes a token of the person who asks.
#[utoipa::path(post, path = "/v1/tokens/{id}/revoke", request_body = Reasoned, responses((status = 200, body = Made)))]
pub async fn revoke(
    State(app): State<App>,
    Asker(asker): Asker,
    Named(Ref(token)): Named<TokenRef>,
    Writing { body: Reasoned { reason }, request }: Writing<Reasoned>,
) -> Result<Written, ApiError> {
    let user = asker.person()?.user.clone();
    let operation =
        Operation::ChangeCredentials(ChangeCredentials { user, change: CredentialChange::RevokeToken { token } });
    app.change(request.command(operation, None, reason)?, &[]).await
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TokenShown {
    id: String,
    name: String,
    /// `provider`, or the customer, in whose membership it asks.
    party: String,
    #[schema(value_type = Option<Vec<FunctionName>>)]
    functions: Option<Vec<&'static str>>,
    made_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    /// To the minute.
    last_used_at: Option<DateTime<Utc>>,
    last_used_from: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TokensShown {
    tokens: Vec<TokenShown>,
}

/// The tokens of the person who asks, with their last use.
#[utoipa::path(get, path = "/v1/tokens", responses((status = 200, body = TokensShown)))]
pub async fn list(State(app): State<App>, Asker(asker): Asker) -> Result<Response, ApiError> {
    let user = asker.person()?.user.as_str();
    let uses = app.identity().tokens.uses(user).await?;
    let mut uses: HashMap<_, _> = uses.into_iter().map(|used| (used.token.clone(), used)).collect();
    let mut connection = app.store().pool().acquire().await?;
    let tokens = user::tokens(&mut connection, user).await?;
    let tokens = tokens.into_iter().map(|row| {
        let used = uses.remove(&row.id);
        let TokenRow { id, party, name, functions, made_at, expires_at, revoked_at, .. } = row;
        TokenShown {
            id,
            name,
            party,
            functions: functions.map(|functions| functions.0.into_iter().map(Function::name).collect()),
            made_at,
            expires_at,
            revoked_at,
            last_used_at: used.as_ref().and_then(|used| used.last_used_at),
            last_used_from: used.and_then(|used| used.last_used_from),
        }
    });
    Ok(json(&TokensShown { tokens: tokens.collect() }))
}
