//! Customers, and the groups they are in.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{Customer, CustomerEvent, Event, Noun, customer::Registration},
    terms::sealed::{Sealed, StillSealed},
};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};

use crate::{
    engine::{Changes, FoldError, Follows, Owner, Projection, Row, Shown, Source, Table, place},
    listing::Listed,
};

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
    const PREFIX: Option<&'static str> = Some(Customer::PREFIX);
    const OWNER: Owner = Owner::Customer("id");
    const SHOWN: Shown = Shown::NEWEST_FIRST;

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
    const OWNER: Owner = Owner::Customer("customer_id");

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
            CustomerEvent::Registered(Registration { name, email }) => changes.insert(CustomerRow {
                id,
                name: name.shown()?.to_owned(),
                email: told(email.as_ref())?,
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

/// What may be missing; an erased text is missing, too.
pub(crate) fn told(text: Option<&Sealed>) -> Result<Option<String>, StillSealed> {
    let told = text.map_or(Ok(None), Sealed::told)?;
    Ok(told.map(str::to_owned))
}

/// A customer as listed.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct CustomerSummary {
    #[sqlx(flatten)]
    pub customer: CustomerRow,
    /// In alphabetical order.
    pub groups: Vec<String>,
}

impl Listed for CustomerSummary {
    type Of = CustomerRow;
    const PROJECTION: &'static str = Customers::NAME;
    const NOUN: &'static str = "customer";
    const NOT_FOUND: &'static str = "customer-not-found";
    const BESIDES: &'static str = ", array(select group_name from customer_groups where customer_id = customers.id order by group_name) as groups";

    fn position(&self) -> i64 {
        self.customer.position
    }
}

/// The customer who was registered first.
pub async fn first(connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("select id from customers order by position limit 1").fetch_optional(connection).await
}
