//! Payers: whose details stand on the documents of a customer.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{
        Event, Noun, Payer, PayerEvent,
        payer::{Address, PayerKind, Profile},
    },
    terms::sealed::StillSealed,
};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use crate::{
    customer::told,
    engine::{Changes, FoldError, Follows, Owner, Projection, Row, Shown, Source, Table, place},
    listing::Listed,
    word::Word,
};

#[derive(Debug)]
pub enum Payers {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct PayerRow {
    pub id: String,
    pub customer_id: String,
    pub kind: Word<PayerKind>,
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
    const PREFIX: Option<&'static str> = Some(Payer::PREFIX);
    const OWNER: Owner = Owner::Customer("customer_id");
    const SHOWN: Shown = Shown::NEWEST_FIRST;

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Payer::TYPE, &self.id)]
    }
}

impl Listed for PayerRow {
    type Of = PayerRow;
    const PROJECTION: &'static str = Payers::NAME;
    const NOUN: &'static str = "payer";
    const NOT_FOUND: &'static str = "payer-not-found";

    fn position(&self) -> i64 {
        self.position
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
            PayerEvent::Created(Profile { customer, kind, name, address, tax_number }) => {
                let [postal_code, city, street] = shown(&address)?;
                let country = address.country;
                changes.insert(PayerRow {
                    id: event.aggregate_id.clone(),
                    customer_id: customer.to_string(),
                    kind: Word(kind),
                    name: name.shown()?.to_owned(),
                    country,
                    postal_code,
                    city,
                    street,
                    tax_number: told(tax_number.as_ref())?,
                    active: true,
                    created_at: event.occurred_at(),
                    position: place(event),
                    changed_position: place(event),
                });
            }
            PayerEvent::Renamed { name } => {
                let name = name.shown()?.to_owned();
                change(event, changes, |row| row.name = name);
            }
            PayerEvent::Moved { address } => {
                let [postal_code, city, street] = shown(&address)?;
                change(event, changes, |row| {
                    row.country = address.country;
                    row.postal_code = postal_code;
                    row.city = city;
                    row.street = street;
                });
            }
            PayerEvent::TaxNumberChanged { tax_number } => {
                let tax_number = told(tax_number.as_ref())?;
                change(event, changes, |row| row.tax_number = tax_number);
            }
            PayerEvent::Deactivated {} => change(event, changes, |row| row.active = false),
        }
        Ok(())
    }
}

fn shown(Address { country: _, postal_code, city, street }: &Address) -> Result<[String; 3], StillSealed> {
    Ok([postal_code.shown()?.into(), city.shown()?.into(), street.shown()?.into()])
}

fn change(event: &RecordedEvent, changes: &mut Changes, change: impl FnOnce(&mut PayerRow) + Send + 'static) {
    let position = place(event);
    changes.update(event.aggregate_id.clone(), move |row: &mut PayerRow| {
        row.changed_position = position;
        change(row);
    });
}
