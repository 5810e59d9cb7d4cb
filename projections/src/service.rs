//! Services: what customers have after their orders are processed.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{Event, Noun, Service, ServiceEvent, service::Status},
};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use crate::{
    engine::{Changes, FoldError, Follows, Owner, Projection, Row, Shown, Source, Table, place},
    listing::Listed,
    word::Word,
};

#[derive(Debug)]
pub enum Services {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct ServiceRow {
    pub id: String,
    pub customer_id: String,
    pub account_id: String,
    pub order_id: String,
    pub product: String,
    pub description: String,
    pub status: Word<Status>,
    pub activated_at: DateTime<Utc>,
    /// Of the event that activated it; listings go by it.
    pub position: i64,
}

impl Row for ServiceRow {
    type Key = String;
    const TABLE: &'static str = "services";
    const KEY: &'static [&'static str] = &["id"];
    const PREFIX: Option<&'static str> = Some(Service::PREFIX);
    const OWNER: Owner = Owner::Customer("customer_id");
    const SHOWN: Shown = Shown::NEWEST_FIRST;

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Service::TYPE, &self.id)]
    }
}

impl Listed for ServiceRow {
    type Of = ServiceRow;
    const PROJECTION: &'static str = Services::NAME;
    const NOUN: &'static str = "service";
    const NOT_FOUND: &'static str = "service-not-found";

    fn position(&self) -> i64 {
        self.position
    }
}

impl Projection for Services {
    const NAME: &'static str = "services";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[Service::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<ServiceRow>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        let Event::Service(service_event) = &event.event else { return Ok(()) };
        let ServiceEvent::Activated(activation) = service_event;
        changes.insert(ServiceRow {
            id: event.aggregate_id.clone(),
            customer_id: activation.customer.to_string(),
            account_id: activation.account.to_string(),
            order_id: activation.order.to_string(),
            product: activation.product.clone(),
            description: activation.description.clone(),
            status: Word(Status::after(service_event)),
            activated_at: event.occurred_at(),
            position: place(event),
        });
        Ok(())
    }
}
