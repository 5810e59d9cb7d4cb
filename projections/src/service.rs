//! Services: what customers have after their orders are processed.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{Event, Service, ServiceEvent},
};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};

use crate::engine::{Changes, FoldError, Follows, Lasting, Projection, Row, Source, Table, place};

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
    pub status: String,
    pub activated_at: DateTime<Utc>,
    /// Of the event that activated it; listings go by it.
    pub position: i64,
}

impl Row for ServiceRow {
    type Key = String;
    const TABLE: &'static str = "services";
    const KEY: &'static [&'static str] = &["id"];

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Service::TYPE, &self.id)]
    }
}

impl Projection for Services {
    const NAME: &'static str = "services";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[Service::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<ServiceRow>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        let Event::Service(ServiceEvent::Activated { customer, account, order, product, description }) = &event.event
        else {
            return Ok(());
        };
        changes.insert(ServiceRow {
            id: event.aggregate_id.clone(),
            customer_id: customer.as_str().into(),
            account_id: account.as_str().into(),
            order_id: order.as_str().into(),
            product: product.clone(),
            description: description.clone(),
            status: "active".into(),
            activated_at: event.occurred_at(),
            position: place(event),
        });
        Ok(())
    }
}

/// What of the services to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub customer: Option<String>,
    pub account: Option<String>,
    pub order: Option<String>,
}

impl Filter {
    /// What of it never changes in a row.
    pub fn lasting(&self) -> Lasting {
        Lasting::default()
            .is("customer_id", self.customer.as_ref())
            .is("account_id", self.account.as_ref())
            .is("order_id", self.order.as_ref())
    }
}

pub async fn get(connection: &mut PgConnection, id: &str) -> Result<Option<ServiceRow>, sqlx::Error> {
    sqlx::query_as(
        "select id, customer_id, account_id, order_id, product, description, status, activated_at, position
         from services
         where id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// Newest first; `before` is the position of the last row of the page before this one.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<ServiceRow>, sqlx::Error> {
    sqlx::query_as(
        "select id, customer_id, account_id, order_id, product, description, status, activated_at, position
         from services
         where ($1::text is null or customer_id = $1)
             and ($2::text is null or account_id = $2)
             and ($3::text is null or order_id = $3)
             and ($4::bigint is null or position < $4)
         order by position desc
         limit $5",
    )
    .bind(&filter.customer)
    .bind(&filter.account)
    .bind(&filter.order)
    .bind(before)
    .bind(limit)
    .fetch_all(connection)
    .await
}
