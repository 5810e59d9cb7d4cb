//! The one who asks, and whom they stand in for, as what is recorded names them.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use chrono::{DateTime, SubsecRound, Utc};
use daybook_core::{
    Actor, ActorKind, Context,
    domain::{Party, Principal},
};
use utoipa::{
    PartialSchema,
    openapi::{RefOr, schema::Schema},
};
use uuid::Uuid;

use crate::http::{
    authentication::{Asker, Authenticated},
    error::ApiError,
    header::malformed,
    layers::RequestId,
    wire::pattern_text,
};

pub const ON_BEHALF_OF: &str = "daybook-on-behalf-of";

/// Whom the one who asks stands in for, as a header names them. It is read once, before any handler runs.
#[derive(Clone, Debug, Default)]
pub struct OnBehalfOf(pub Option<Actor>);

impl OnBehalfOf {
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        Ok(Self(actor(headers, ON_BEHALF_OF)?))
    }

    /// The customer, if it is one.
    pub fn customer(&self) -> Option<&str> {
        self.0.as_ref().filter(|actor| actor.kind == ActorKind::Customer).map(|actor| &*actor.name)
    }
}

/// The one who asks, and the request that all of its events will refer to.
#[derive(Clone, Debug)]
pub struct Caller {
    pub who: Arc<Authenticated>,
    on_behalf_of: OnBehalfOf,
    correlation_id: Uuid,
}

impl Caller {
    /// In whose name a key of idempotency counts: the person, and the party for which the person asks. Neither a token nor a
    /// session is part of it, so that a retry may come by another one.
    pub fn scope(&self) -> String {
        let party = match (&self.on_behalf_of.0, &self.who.principal) {
            (Some(other), _) => other.to_string(),
            (None, Some(Principal { party: Party::Customer(customer), .. })) => customer.to_string(),
            // The provider is the only party of its own people. Their keys of before read the same.
            (None, _) => return format!("{} ", self.who.actor),
        };
        // None of them has a line feed, so that no two scopes read the same.
        format!("{}\n{party}\n", self.who.actor)
    }

    /// What the events of this request carry.
    pub fn context(self, occurred_at: DateTime<Utc>, reason: Option<String>) -> Context {
        Context {
            actor: self.who.actor.clone(),
            principal: self.who.principal.clone(),
            on_behalf_of: self.on_behalf_of.0,
            reason: reason.filter(|reason| !reason.trim().is_empty()),
            correlation_id: self.correlation_id,
            causation_id: None,
            // Whole microseconds, as PostgreSQL keeps them.
            occurred_at: occurred_at.trunc_subsecs(6),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Asker(who) = Asker::from_request_parts(parts, state).await?;
        let on_behalf_of = parts.extensions.get::<OnBehalfOf>().cloned().unwrap_or_default();
        let given = parts.extensions.get::<RequestId>().and_then(RequestId::uuid);
        Ok(Self { who, on_behalf_of, correlation_id: given.unwrap_or_else(Uuid::now_v7) })
    }
}

/// An actor as a header writes it: spaces at its ends are none of it.
#[derive(Debug)]
pub struct ActorHeader;

impl PartialSchema for ActorHeader {
    fn schema() -> RefOr<Schema> {
        pattern_text("^(customer|staff|gateway|system):[ -~]{0,127}[!-~]$", "staff:anna")
    }
}

fn actor(headers: &HeaderMap, name: &'static str) -> Result<Option<Actor>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().map_err(|_| malformed(name, "an actor is written in visible ASCII"))?;
    text.parse().map(Some).map_err(|error: daybook_core::event::ActorError| malformed(name, error.to_string()))
}

#[cfg(test)]
mod tests {
    use daybook_core::domain::function::Functions;

    use super::*;
    use crate::http::authentication::Means;

    #[test]
    fn a_key_counts_for_a_person_and_the_party_that_is_asked_for() {
        let scope = |kind, party: Option<Party>, header: Option<&str>| {
            let user: daybook_core::domain::UserId = "usr_1".parse().expect("an identifier");
            let principal = party.map(|party| Principal { user, party, token: None });
            let (actor, functions) = (Actor::new(kind, "usr_1"), Functions::new());
            let who = Authenticated { actor, principal, functions, means: Means::Token, is_half: false };
            let on_behalf_of = OnBehalfOf(header.map(|text| text.parse().expect("an actor")));
            Caller { who: Arc::new(who), on_behalf_of, correlation_id: Uuid::nil() }.scope()
        };
        let customer = |id: &str| Some(Party::Customer(id.parse().expect("an identifier")));
        // Keys of before there were parties read so, and are still found.
        assert_eq!(scope(ActorKind::Staff, Some(Party::Provider), None), "staff:usr_1 ");
        assert_eq!(scope(ActorKind::System, None, None), "system:usr_1 ");
        let all = [
            scope(ActorKind::Customer, customer("cus_1"), None),
            scope(ActorKind::Customer, customer("cus_2"), None),
            scope(ActorKind::Staff, Some(Party::Provider), None),
            scope(ActorKind::Staff, Some(Party::Provider), Some("customer:cus_1")),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len(), "{all:?}");
    }
}
