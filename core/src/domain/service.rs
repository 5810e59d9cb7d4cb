//! A service: what the customer has after an order is processed.

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use super::{
    AccountId, CustomerId, Id, LedgerAggregate, LedgerEvent, Mentions, Noun, OrderId, Owner, function::Function,
    posting::JournalEntry, version::written_version,
};
use crate::terms::{
    refusal::{absent, conflict, refusals},
    rule::Rule,
};

pub type ServiceId = Id<Service>;

/// What an item of an order becomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Activation {
    pub customer: CustomerId,
    pub account: AccountId,
    pub order: OrderId,
    pub product: String,
    pub description: String,
}

#[derive(Clone, Debug)]
pub enum ServiceCommand {
    Activate(Activation),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceEvent {
    Activated(Activation),
}

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum ServiceRejection {
        #[error("the service is active already")]
        AlreadyActive = conflict("service-active", "The service is active already"),
        #[error("there is no such service")]
        NotActivated = absent("service-not-found", "There is no such service"),
    }
}

/// How a service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    Active,
}

impl Status {
    /// How a service stands after an event.
    pub fn after(event: &ServiceEvent) -> Self {
        match event {
            ServiceEvent::Activated(_) => Self::Active,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    #[default]
    Unknown,
    Active {
        customer: CustomerId,
    },
}

impl Noun for Service {
    const PREFIX: &'static str = "srv";
}

impl LedgerAggregate for Service {
    const FOLD_VERSION: i32 = 1;
    const READ_BY: Function = Function::ServicesRead;

    fn owner(&self) -> Owner<'_> {
        match self {
            Self::Unknown => Owner::Everybody,
            Self::Active { customer } => Owner::Customer(customer),
        }
    }
}

impl Service {
    /// Whose service it is.
    pub fn customer(&self) -> Result<&CustomerId, ServiceRejection> {
        match self {
            Self::Unknown => Err(ServiceRejection::NotActivated),
            Self::Active { customer } => Ok(customer),
        }
    }
}

impl Aggregate for Service {
    const TYPE: &'static str = "service";
    type Command = ServiceCommand;
    type Event = ServiceEvent;
    type Error = ServiceRejection;
    type Services = ();

    async fn handle(
        &mut self,
        ServiceCommand::Activate(activation): ServiceCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), ServiceRejection> {
        if *self != Self::Unknown {
            return Err(ServiceRejection::AlreadyActive);
        }
        sink.write(ServiceEvent::Activated(activation), self).await;
        Ok(())
    }

    fn apply(&mut self, ServiceEvent::Activated(activation): ServiceEvent) {
        *self = Self::Active { customer: activation.customer };
    }
}

impl DomainEvent for ServiceEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Activated(_) => "service.activated",
        }
        .into()
    }

    fn event_version(&self) -> String {
        written_version(self)
    }
}

impl LedgerEvent for ServiceEvent {
    type Aggregate = Service;

    const VERSIONS: &'static [(&'static str, &'static str)] = &[("service.activated", "1.0")];

    fn postings(&self) -> JournalEntry {
        Vec::new()
    }

    fn rule(&self) -> Option<Rule> {
        None
    }

    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        let Self::Activated(Activation { customer, account, order, .. }) = self;
        mentions.add(customer);
        mentions.add(account);
        mentions.add(order);
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;
    use crate::domain::fixtures::id;

    fn activation() -> Activation {
        let (customer, account, order) = (id("ada"), id("main"), id("first"));
        Activation { customer, account, order, product: "vps".into(), description: "VPS".into() }
    }

    fn activate() -> ServiceCommand {
        ServiceCommand::Activate(activation())
    }

    fn activated() -> ServiceEvent {
        ServiceEvent::Activated(activation())
    }

    #[test]
    fn a_service_is_activated_for_its_customer() {
        TestFramework::<Service>::with(())
            .given_no_previous_events()
            .when(activate())
            .then_expect_events(vec![activated()]);
        let mut service = Service::default();
        service.apply(activated());
        assert_eq!(service.customer(), Ok(&id("ada")));
    }

    #[test]
    fn an_active_service_is_not_activated_again() {
        TestFramework::<Service>::with(())
            .given(vec![activated()])
            .when(activate())
            .then_expect_error(ServiceRejection::AlreadyActive);
    }

    #[test]
    fn a_service_that_is_not_active_has_no_customer() {
        assert_eq!(Service::Unknown.customer(), Err(ServiceRejection::NotActivated));
    }
}
