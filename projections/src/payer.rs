//! Payers: whose details stand on the documents of a customer.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{
        Event, Payer, PayerEvent,
        payer::{Address, PayerKind},
    },
};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};

use crate::engine::{Changes, FoldError, Follows, Lasting, Projection, Row, Source, Table, place};

#[derive(Debug)]
pub enum Payers {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct PayerRow {
    pub id: String,
    pub customer_id: String,
    /// `individual`, `company` or `sole_proprietor`.
    pub kind: String,
    pub name: String,
    pub country: String,
    pub postal_code: String,
    pub city: String,
    pub street: String,
    pub tax_number: Option<String>,
    pub active: bool,
    pub created_at: DateTime<Utc>,
    /// Of the event that created it; listings go by it.
    pub position: i64,
    /// Of the last event that changed it.
    pub changed_position: i64,
}

impl Row for PayerRow {
    type Key = String;
    const TABLE: &'static str = "payers";
    const KEY: &'static [&'static str] = &["id"];

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Payer::TYPE, &self.id)]
    }
}

impl Projection for Payers {
    const NAME: &'static str = "payers";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[Payer::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<PayerRow>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        let Event::Payer(payer_event) = &event.event else { return Ok(()) };
        match payer_event.clone() {
            PayerEvent::Created { customer, kind, name, address, tax_number } => {
                let Address { country, postal_code, city, street } = address;
                let kind = match kind {
                    PayerKind::Individual => "individual",
                    PayerKind::Company => "company",
                    PayerKind::SoleProprietor => "sole_proprietor",
                };
                changes.insert(PayerRow {
                    id: event.aggregate_id.clone(),
                    customer_id: customer.to_string(),
                    kind: kind.into(),
                    name,
                    country,
                    postal_code,
                    city,
                    street,
                    tax_number,
                    active: true,
                    created_at: event.occurred_at(),
                    position: place(event),
                    changed_position: place(event),
                });
            }
            PayerEvent::Renamed { name } => change(event, changes, |row| row.name = name),
            PayerEvent::Moved { address } => change(event, changes, |row| {
                let Address { country, postal_code, city, street } = address;
                row.country = country;
                row.postal_code = postal_code;
                row.city = city;
                row.street = street;
            }),
            PayerEvent::TaxNumberChanged { tax_number } => change(event, changes, |row| row.tax_number = tax_number),
            PayerEvent::Deactivated {} => change(event, changes, |row| row.active = false),
        }
        Ok(())
    }
}

fn change(event: &RecordedEvent, changes: &mut Changes, change: impl FnOnce(&mut PayerRow) + Send + 'static) {
    let position = place(event);
    changes.update(event.aggregate_id.clone(), move |row: &mut PayerRow| {
        row.changed_position = position;
        change(row);
    });
}

/// What of the payers to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub customer: Option<String>,
    pub active: Option<bool>,
}

impl Filter {
    /// What of it never changes in a row.
    pub fn lasting(&self) -> Lasting {
        Lasting::default().is("customer_id", self.customer.as_ref())
    }
}

pub async fn get(connection: &mut PgConnection, id: &str) -> Result<Option<PayerRow>, sqlx::Error> {
    sqlx::query_as(
        "select id, customer_id, kind, name, country, postal_code, city, street, tax_number, active, created_at,
             position, changed_position
         from payers
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
) -> Result<Vec<PayerRow>, sqlx::Error> {
    sqlx::query_as(
        "select id, customer_id, kind, name, country, postal_code, city, street, tax_number, active, created_at,
             position, changed_position
         from payers
         where ($1::text is null or customer_id = $1)
             and ($2::boolean is null or active = $2)
             and ($3::bigint is null or position < $3)
         order by position desc
         limit $4",
    )
    .bind(&filter.customer)
    .bind(filter.active)
    .bind(before)
    .bind(limit)
    .fetch_all(connection)
    .await
}
