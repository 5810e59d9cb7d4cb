//! The access log: who has signed in, and who of the provider's people has looked at what of a customer.

use axum::{extract::State, response::Response};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use daybook_core::domain::function::Function;
use daybook_identity::{AccessLine, Cursor};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    app::App,
    http::{
        address::Asked,
        authentication::{Asker, forbidden},
        error::ApiError,
        page::{DEFAULT_LIMIT, PageLimit},
        wire::{AskedText, CustomerRef, UserRef, json, text},
    },
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AccessQuery {
    /// What happened in the area of this customer. A customer's user need not name it.
    customer: Option<CustomerRef>,
    /// What this person did. Everybody may read the lines about themselves.
    #[param(inline)]
    user: Option<UserRef>,
    /// The `next_cursor` of the page before.
    #[param(inline)]
    cursor: Option<AskedText>,
    /// So many lines at most.
    #[param(inline)]
    limit: Option<PageLimit>,
}

/// A line of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccessLineShown {
    /// Of an attempt that was refused, the minute: the same attempts within a minute share a line.
    at: DateTime<Utc>,
    /// `signed_up`, `signed_in`, `sign_in_refused`, `signed_out`, `stepped_up`, `step_up_refused`, `viewed`, `acted`,
    /// `link_made` or `denied`.
    kind: String,
    user: Option<String>,
    customer: Option<String>,
    address: Option<String>,
    agent: Option<String>,
    /// The session or the token, by its name.
    credential: Option<String>,
    /// The address that was asked, without what is in its braces.
    what: Option<String>,
    /// What it was about.
    entity: Option<String>,
    /// Of what was denied, the code of the problem; of an act, the reason that was given.
    reason: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AccessLinesShown {
    lines: Vec<AccessLineShown>,
    next_cursor: Option<String>,
}

/// The access log of a customer or of a person, the newest line first.
#[utoipa::path(get, path = "/v1/access-log", params(AccessQuery), responses((status = 200, body = AccessLinesShown)))]
pub async fn list(
    State(app): State<App>,
    Asker(asker): Asker,
    Asked(AccessQuery { customer, user, cursor, limit }): Asked<AccessQuery>,
) -> Result<Response, ApiError> {
    let before = cursor.map(|cursor| read(&String::from(cursor))).transpose()?;
    let limit = limit.map_or(DEFAULT_LIMIT, |limit| limit.0);
    let own = asker.principal.as_ref().map(|principal| principal.user.to_string());
    let log = &app.identity().access_log;
    let may_read = asker.may(Function::AccessLogRead);
    let lines = match (customer.map(text), user.map(text), asker.customer()) {
        (None, Some(user), _) if own.as_ref() == Some(&user) => log.of_user(&user, before, limit).await?,
        _ if !may_read => return Err(forbidden(Function::AccessLogRead)),
        // A customer sees of its own area alone, and of its people what they did there.
        (customer, None, Some(of)) if customer.as_deref().is_none_or(|customer| customer == of) => {
            log.of_customer(of, before, limit).await?
        }
        (_, _, Some(_)) => Vec::new(),
        (Some(customer), None, None) => log.of_customer(&customer, before, limit).await?,
        (None, Some(user), None) => log.of_user(&user, before, limit).await?,
        (Some(_), Some(_), None) | (None, None, None) => {
            let detail = "ask for the lines of one `customer` or of one `user`";
            return Err(ApiError::new("malformed-parameter", detail).with("parameter", "customer"));
        }
    };
    let full = lines.len() == limit as usize;
    let next_cursor = lines.last().filter(|_| full).map(|line| write(line.cursor));
    Ok(json(&AccessLinesShown { lines: lines.into_iter().map(Into::into).collect(), next_cursor }))
}

impl From<AccessLine> for AccessLineShown {
    fn from(line: AccessLine) -> Self {
        let AccessLine { cursor, kind, user, customer, address, agent, credential, what, entity, reason } = line;
        Self { at: cursor.at, kind, user, customer, address, agent, credential, what, entity, reason }
    }
}

/// Where a line stands is no secret to a reader of the line.
fn write(Cursor { at, id }: Cursor) -> String {
    let bytes = [&at.timestamp_micros().to_be_bytes()[..], id.as_bytes()].concat();
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn read(cursor: &str) -> Result<Cursor, ApiError> {
    let read = || {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (at, id) = bytes.split_first_chunk()?;
        let at = DateTime::from_timestamp_micros(i64::from_be_bytes(*at))?;
        Some(Cursor { at, id: Uuid::from_slice(id).ok()? })
    };
    let detail = "the cursor was not given by this listing; begin again without one";
    read().ok_or_else(|| ApiError::new("invalid-cursor", detail).with("parameter", "cursor"))
}
