//! Invoices with their lines: the document as it was issued, what is still due, and what has been credited.

use chrono::{DateTime, NaiveDate, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{
        Event, Invoice, InvoiceEvent, Noun,
        invoice::{Document, DocumentDiscount, Status},
        payer::PayerSnapshot,
    },
    terms::tax::{RoundingPolicy, TaxedAmount},
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, types::Json};

use crate::{
    engine::{Changes, FoldError, Follows, Owner, Projection, Row, Shown, Source, Table, place},
    listing::Listed,
    word::Word,
};

#[derive(Debug)]
pub enum Invoices {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct InvoiceRow {
    pub id: String,
    pub number: String,
    pub account_id: String,
    pub customer_id: String,
    /// As the payer was on the day of issue.
    pub payer: Json<PayerSnapshot>,
    pub issued_on: NaiveDate,
    pub due_on: NaiveDate,
    pub currency: String,
    pub policy: Json<RoundingPolicy>,
    pub discount: Option<Json<DocumentDiscount>>,
    pub status: Word<Status>,
    pub net: Decimal,
    pub tax: Decimal,
    pub total: Decimal,
    /// What rounding the total took away.
    pub residue: Decimal,
    pub rates: Json<Vec<TaxedAmount>>,
    /// What is still to be paid.
    pub due: Decimal,
    pub credited_net: Decimal,
    pub credited_tax: Decimal,
    pub credited_total: Decimal,
    /// The account entry that charges it.
    pub entry: i64,
    pub finalised_at: DateTime<Utc>,
    /// Of the event that finalised it; listings go by it.
    pub position: i64,
    /// Of the last event that changed it.
    pub changed_position: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct InvoiceLineRow {
    pub invoice_id: String,
    /// From 1.
    pub number: i32,
    pub item: String,
    pub description: String,
    pub quantity: Decimal,
    pub unit_price: Decimal,
    pub discount: Decimal,
    /// Exact.
    pub amount: Decimal,
    pub tax_rate: Decimal,
    pub credited_quantity: Decimal,
    pub credited_amount: Decimal,
}

impl Row for InvoiceRow {
    type Key = String;
    const TABLE: &'static str = "invoices";
    const KEY: &'static [&'static str] = &["id"];
    const PREFIX: Option<&'static str> = Some(Invoice::PREFIX);
    const OWNER: Owner = Owner::Customer("customer_id");
    const SHOWN: Shown = Shown::NEWEST_FIRST;

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Invoice::TYPE, &self.id)]
    }
}

impl Row for InvoiceLineRow {
    type Key = (String, i32);
    const TABLE: &'static str = "invoice_lines";
    const KEY: &'static [&'static str] = &["invoice_id", "number"];
    const OWNER: Owner = Owner::parent::<InvoiceRow>("invoice_id");

    fn key(&self) -> Self::Key {
        (self.invoice_id.clone(), self.number)
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Invoice::TYPE, &self.invoice_id)]
    }
}

impl Listed for InvoiceRow {
    type Of = InvoiceRow;
    const PROJECTION: &'static str = Invoices::NAME;
    const NOUN: &'static str = "invoice";
    const NOT_FOUND: &'static str = "invoice-not-found";

    fn position(&self) -> i64 {
        self.position
    }
}

impl Projection for Invoices {
    const NAME: &'static str = "invoices";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[Invoice::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<InvoiceRow>(), Table::of::<InvoiceLineRow>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        let Event::Invoice(invoice_event) = &event.event else { return Ok(()) };
        match invoice_event {
            InvoiceEvent::Finalised(document) => {
                changes.insert(invoice_row(event, document));
                line_rows(&event.aggregate_id, document).for_each(|row| changes.insert(row));
            }
            InvoiceEvent::LinesCredited { lines, totals, .. } => {
                for line in lines {
                    let (quantity, amount) = (line.quantity, line.amount);
                    let key = (event.aggregate_id.clone(), line.line as i32);
                    changes.update(key, move |row: &mut InvoiceLineRow| {
                        row.credited_quantity += quantity;
                        row.credited_amount += amount;
                    });
                }
                let (net, tax, total) = (totals.net, totals.tax.amount(), totals.total.amount());
                change(event, invoice_event, changes, move |row| {
                    row.credited_net += net;
                    row.credited_tax += tax;
                    row.credited_total += total;
                });
            }
            InvoiceEvent::PartPaid { due } | InvoiceEvent::DueAgain { due } => {
                let due = due.amount();
                change(event, invoice_event, changes, move |row| row.due = due);
            }
            InvoiceEvent::Paid {} => change(event, invoice_event, changes, |row| row.due = Decimal::ZERO),
        }
        Ok(())
    }
}

fn change(
    event: &RecordedEvent,
    invoice_event: &InvoiceEvent,
    changes: &mut Changes,
    change: impl FnOnce(&mut InvoiceRow) + Send + 'static,
) {
    let (followed, position) = (invoice_event.clone(), place(event));
    changes.update(event.aggregate_id.clone(), move |row: &mut InvoiceRow| {
        row.status = Word(row.status.after(&followed, row.total));
        row.changed_position = position;
        change(row);
    });
}

fn invoice_row(event: &RecordedEvent, document: &Document) -> InvoiceRow {
    InvoiceRow {
        id: event.aggregate_id.clone(),
        number: document.number.clone(),
        account_id: document.account.to_string(),
        customer_id: document.customer.to_string(),
        payer: Json(document.payer.clone()),
        issued_on: document.issued_on,
        due_on: document.due_on,
        currency: document.currency.code().into(),
        policy: Json(document.policy),
        discount: document.discount.map(Json),
        status: Word(Status::Issued),
        net: document.totals.net,
        tax: document.totals.tax.amount(),
        total: document.totals.total.amount(),
        residue: document.totals.residue,
        rates: Json(document.totals.rates.clone()),
        due: document.totals.total.amount(),
        credited_net: Decimal::ZERO,
        credited_tax: Decimal::ZERO,
        credited_total: Decimal::ZERO,
        entry: document.entry as i64,
        finalised_at: event.occurred_at(),
        position: place(event),
        changed_position: place(event),
    }
}

fn line_rows(invoice_id: &str, document: &Document) -> impl Iterator<Item = InvoiceLineRow> {
    document.lines.iter().map(move |line| InvoiceLineRow {
        invoice_id: invoice_id.into(),
        number: line.number as i32,
        item: line.item.clone(),
        description: line.description.clone(),
        quantity: line.quantity,
        unit_price: line.unit_price,
        discount: line.discount.amount,
        amount: line.amount,
        tax_rate: line.tax_rate,
        credited_quantity: Decimal::ZERO,
        credited_amount: Decimal::ZERO,
    })
}
