//! Customers, and the groups they are in.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{Customer, CustomerEvent, Event},
};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};

use crate::engine::{Changes, FoldError, Follows, Lasting, Projection, Row, Source, Table, place};

#[derive(Debug)]
pub enum Customers {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct CustomerRow {
    pub id: String,
    pub name: String,
    pub email: Option<String>,
    pub registered_at: DateTime<Utc>,
    /// Of the event that registered the customer; listings go by it.
    pub position: i64,
    /// Of the last event that changed the customer.
    pub changed_position: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct CustomerGroupRow {
    pub customer_id: String,
    pub group_name: String,
    pub joined_at: DateTime<Utc>,
}

impl Row for CustomerRow {
    type Key = String;
    const TABLE: &'static str = "customers";
    const KEY: &'static [&'static str] = &["id"];

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Customer::TYPE, &self.id)]
    }
}

impl Row for CustomerGroupRow {
    type Key = (String, String);
    const TABLE: &'static str = "customer_groups";
    const KEY: &'static [&'static str] = &["customer_id", "group_name"];

    fn key(&self) -> Self::Key {
        (self.customer_id.clone(), self.group_name.clone())
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Customer::TYPE, &self.customer_id)]
    }
}

impl Projection for Customers {
    const NAME: &'static str = "customers";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[Customer::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<CustomerRow>(), Table::of::<CustomerGroupRow>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        let Event::Customer(customer_event) = &event.event else { return Ok(()) };
        let id = event.aggregate_id.clone();
        let position = place(event);
        match customer_event.clone() {
            CustomerEvent::Registered { name, email } => changes.insert(CustomerRow {
                id,
                name,
                email,
                registered_at: event.occurred_at(),
                position,
                changed_position: position,
            }),
            CustomerEvent::JoinedGroup { group } => {
                changes.update(id.clone(), move |row: &mut CustomerRow| row.changed_position = position);
                let joined_at = event.occurred_at();
                changes.insert(CustomerGroupRow { customer_id: id, group_name: group, joined_at });
            }
            CustomerEvent::LeftGroup { group } => {
                changes.update(id.clone(), move |row: &mut CustomerRow| row.changed_position = position);
                changes.delete::<CustomerGroupRow>((id, group));
            }
            CustomerEvent::AccountAdded { .. } => {
                changes.update(id, move |row: &mut CustomerRow| row.changed_position = position);
            }
        }
        Ok(())
    }
}

/// A customer as listed.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct CustomerSummary {
    #[sqlx(flatten)]
    pub customer: CustomerRow,
    /// In alphabetical order.
    pub groups: Vec<String>,
}

/// What of the customers to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub group: Option<String>,
    pub email: Option<String>,
}

impl Filter {
    /// What of it never changes in a row.
    pub fn lasting(&self) -> Lasting {
        Lasting::default()
    }
}

pub async fn get(connection: &mut PgConnection, id: &str) -> Result<Option<CustomerSummary>, sqlx::Error> {
    sqlx::query_as(
        "select c.id, c.name, c.email, c.registered_at, c.position, c.changed_position,
             array(select group_name from customer_groups where customer_id = c.id order by group_name) as groups
         from customers c
         where c.id = $1",
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
) -> Result<Vec<CustomerSummary>, sqlx::Error> {
    sqlx::query_as(
        "select c.id, c.name, c.email, c.registered_at, c.position, c.changed_position,
             array(select group_name from customer_groups where customer_id = c.id order by group_name) as groups
         from customers c
         where ($1::text is null or c.id in (select customer_id from customer_groups where group_name = $1))
             and ($2::text is null or c.email = $2)
             and ($3::bigint is null or c.position < $3)
         order by c.position desc
         limit $4",
    )
    .bind(&filter.group)
    .bind(&filter.email)
    .bind(before)
    .bind(limit)
    .fetch_all(connection)
    .await
}
