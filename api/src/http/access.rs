//! What the access log keeps of a request: what the provider's people have looked at, under the customers whose it is, and
//! what was refused for want of a right.
//!
//! The customers follow from the identifiers in the address, by the owner rules of the rows
//! ([`Reader::owners`](daybook_projections::Reader::owners)). The line is written after the handler has answered and before
//! anything is sent: what the handler has waited for is then in the rows, and an answer whose line cannot be written is
//! not sent.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    extract::MatchedPath,
    http::{HeaderValue, StatusCode, Uri, header, request::Parts},
    response::Response,
};
use daybook_core::{
    Position, chain,
    domain::{Principal, function::Function, is_prefix},
};
use daybook_identity::{Access, AccessKind};
use daybook_projections::engine::Owners;

use crate::{
    app::App,
    http::{
        address::in_path,
        authentication::{Authenticated, address},
        caller::OnBehalfOf,
        error::ApiError,
        read::waiting,
        write::LEDGER_POSITION,
    },
    routes::Need,
};

/// So many things of one address are looked up. No route names more of them, and each costs a query.
const MOST_THINGS: usize = 8;

/// No identifier is longer.
const LONGEST: usize = 700;

/// A request of a principal, as far as the log may have to name it.
#[derive(Debug)]
pub struct Asked {
    app: App,
    found: Arc<Authenticated>,
    principal: Principal,
    on_behalf_of: OnBehalfOf,
    need: Need,
    reads: bool,
    uri: Uri,
    template: String,
    address: IpAddr,
    agent: Option<HeaderValue>,
    /// How long the projections that say whose something is are waited for.
    wait: Duration,
}

impl Asked {
    /// `None` if a program of the ledger's own asks.
    pub fn of(need: Need, found: &Arc<Authenticated>, on_behalf_of: &OnBehalfOf, parts: &Parts) -> Option<Self> {
        let template = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        Some(Self {
            app: parts.extensions.get::<App>()?.clone(),
            found: Arc::clone(found),
            principal: found.principal.clone()?,
            on_behalf_of: on_behalf_of.clone(),
            need,
            reads: parts.method.is_safe(),
            uri: parts.uri.clone(),
            template: template.to_owned(),
            address: address(parts),
            agent: parts.headers.get(header::USER_AGENT).cloned(),
            wait: waiting(&parts.headers),
        })
    }

    /// The answer, once its line is written.
    pub async fn answered(self, response: Response) -> Result<Response, ApiError> {
        let position = response.headers().get(LEDGER_POSITION).and_then(|value| value.to_str().ok()?.parse().ok());
        let (status, refused) = (response.status(), response.extensions().get::<ApiError>().cloned());
        if let Some(refused) = refused {
            self.refused(&refused).await;
        } else if self.reads && self.principal.party.customer().is_none() && !status.is_client_error() {
            self.viewed(position).await?;
        }
        Ok(response)
    }

    /// Writes a line if the request was refused for want of a right.
    pub async fn refused(&self, error: &ApiError) {
        // To show once more who one is belongs to the ordinary way.
        if error.status() == StatusCode::FORBIDDEN && error.code() != "step-up-needed" {
            self.denied(error.code()).await;
        }
    }

    /// Writes down that the principal asked for what it may not. The answer is a refusal, whether that can be written or not.
    async fn denied(&self, code: &'static str) {
        let thing = self.thing().await;
        let line = Access {
            customer: self.found.customer(),
            entity: thing.as_deref(),
            reason: Some(code),
            ..self.line(AccessKind::Denied)
        };
        if let Err(error) = self.app.identity().access_log.write_refused(&[line], self.app.clock().now()).await {
            tracing::warn!(error = %chain(&error), "a refused request does not stand in the access log");
        }
    }

    /// Writes a line for each customer at whose things one of the provider's people has looked.
    async fn viewed(&self, position: Option<Position>) -> Result<(), ApiError> {
        let mut things = self.things();
        if let Some(thing) = self.of_position().await? {
            things.push(thing);
        }
        let mut seen: BTreeMap<String, Option<&str>> = BTreeMap::new();
        let mut first = None;
        for thing in &things {
            let owners = self.owners(thing, position).await?;
            first = first.or(owners.is_there.then_some(thing.as_str()));
            for customer in owners.customers {
                seen.entry(customer).or_insert(Some(thing));
            }
        }
        if let Some(customer) = self.on_behalf_of.customer() {
            if self.is_narrowed() {
                // Nothing of any other customer is shown.
                seen.clear();
            }
            seen.entry(customer.to_owned()).or_insert(first);
        }
        let mut lines: Vec<Access<'_>> = seen
            .iter()
            .map(|(customer, thing)| Access {
                customer: Some(customer),
                entity: *thing,
                ..self.line(AccessKind::Viewed)
            })
            .collect();
        if lines.is_empty() && self.is_about_customers() {
            lines.push(Access { entity: first, ..self.line(AccessKind::Viewed) });
        }
        if !lines.is_empty() {
            self.app.identity().access_log.write_all(&lines, self.app.clock().now()).await?;
        }
        Ok(())
    }

    fn line(&self, kind: AccessKind) -> Access<'_> {
        Access {
            user: Some(self.principal.user.as_str()),
            address: Some(self.address),
            agent: self.agent.as_ref().and_then(|agent| agent.to_str().ok()),
            credential: self.found.credential(),
            what: Some(&self.template),
            ..Access::new(kind)
        }
    }

    /// Whether the route shows nothing but what is of the customer in whose name it is asked. Others, such as those of the log,
    /// show what they are asked for.
    fn is_narrowed(&self) -> bool {
        matches!(self.need, Need::May(function) if function.is_for_customers())
    }

    /// Whether the route shows things of customers, even if the address names none of them.
    fn is_about_customers(&self) -> bool {
        match self.need {
            Need::May(function) => function.is_for_customers() || function == Function::AuditRead,
            Need::Nothing | Need::Signature | Need::Begun | Need::Identity => false,
        }
    }

    /// The identifiers in the address: first those of the path, then those of the query.
    fn things(&self) -> Vec<String> {
        let of_path = self.of_path(|_| true);
        let query = form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes());
        let of_query = query.map(|(_, value)| value.into_owned());
        let mut things: Vec<String> = Vec::new();
        for thing in of_path.chain(of_query).filter(|text| is_identifier(text)) {
            if things.len() < MOST_THINGS && !things.contains(&thing) {
                things.push(thing);
            }
        }
        things
    }

    fn of_path(&self, is_asked: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
        in_path(&self.template, self.uri.path(), is_asked)
    }

    /// The aggregate of the event whose position is in the path.
    async fn of_position(&self) -> Result<Option<String>, ApiError> {
        let asked = self.of_path(|name| name == "position").next();
        let Some(position) = asked.and_then(|text| text.parse::<i64>().ok()) else { return Ok(None) };
        let aggregate = sqlx::query_scalar("select aggregate_id from events where position = $1").bind(position);
        Ok(aggregate.fetch_optional(self.app.store().pool()).await?)
    }

    /// The customers whose thing it is. While the rows do not say that, they are waited for as for any read.
    async fn owners(&self, thing: &str, position: Option<Position>) -> Result<Owners, ApiError> {
        let reader = self.app.reader();
        let mut owners = reader.owners(thing).await?;
        if !owners.is_known {
            let wanted = match position {
                Some(position) => position,
                None => self.app.store().head().await?.position,
            };
            for projection in reader.knowing_owners() {
                reader.wait_for(projection, wanted, self.wait).await?;
            }
            owners = reader.owners(thing).await?;
        }
        Ok(owners)
    }

    /// The first thing in the address that is one. A text that names nothing is not written down: it may be a secret that
    /// somebody has put in a wrong place.
    async fn thing(&self) -> Option<String> {
        for thing in self.things() {
            if self.app.reader().owners(&thing).await.is_ok_and(|owners| owners.is_there) {
                return Some(thing);
            }
        }
        None
    }
}

/// Whether a text of an address can be an identifier: the prefix of a noun, then `_` and a name. Other words of a query, such
/// as `in_progress`, are none.
fn is_identifier(text: &str) -> bool {
    text.len() <= LONGEST
        && !text.contains(char::is_control)
        && text.split_once('_').is_some_and(|(prefix, name)| is_prefix(prefix) && !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_a_prefix_and_a_name() {
        for text in ["cus_1", "ord_01JD8Z2Q4Y0000000000000001", "rfd_1", "inv_2024:7"] {
            assert!(is_identifier(text), "{text}");
        }
        for text in ["", "_1", "cus_", "accounts", "2024-01-01", "Cus_1", "c_1", "cus_\0", "in_progress"] {
            assert!(!is_identifier(text), "{text}");
        }
        assert!(!is_identifier(&format!("cus_{}", "x".repeat(LONGEST))));
    }
}
