//! Invoices with their lines: the document as it was issued, what is still due, and what has been credited.

use chrono::{DateTime, NaiveDate, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{
        Event, Invoice, InvoiceEvent,
        invoice::{Document, DocumentDiscount},
        payer::PayerSnapshot,
        tax::{RoundingPolicy, TaxedAmount},
    },
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, types::Json};

use crate::engine::{Changes, FoldError, Follows, Lasting, Projection, Row, Source, Table, place};

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
    /// `issued`, `part_paid` or `paid`.
    pub status: String,
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

    fn key(&self) -> Self::Key {
        (self.invoice_id.clone(), self.number)
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Invoice::TYPE, &self.invoice_id)]
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
                change(event, changes, move |row| {
                    row.credited_net += net;
                    row.credited_tax += tax;
                    row.credited_total += total;
                });
            }
            InvoiceEvent::PartPaid { due } | InvoiceEvent::DueAgain { due } => {
                let due = due.amount();
                change(event, changes, move |row| {
                    row.status = if due < row.total { "part_paid" } else { "issued" }.into();
                    row.due = due;
                });
            }
            InvoiceEvent::Paid {} => change(event, changes, |row| {
                row.status = "paid".into();
                row.due = Decimal::ZERO;
            }),
        }
        Ok(())
    }
}

fn change(event: &RecordedEvent, changes: &mut Changes, change: impl FnOnce(&mut InvoiceRow) + Send + 'static) {
    let position = place(event);
    changes.update(event.aggregate_id.clone(), move |row: &mut InvoiceRow| {
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
        status: "issued".into(),
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

/// What of the invoices to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub customer: Option<String>,
    pub account: Option<String>,
    pub status: Option<String>,
    pub number: Option<String>,
}

impl Filter {
    /// What of it never changes in a row.
    pub fn lasting(&self) -> Lasting {
        Lasting::default()
            .is("customer_id", self.customer.as_ref())
            .is("account_id", self.account.as_ref())
            .is("number", self.number.as_ref())
    }
}

pub async fn get(connection: &mut PgConnection, id: &str) -> Result<Option<InvoiceRow>, sqlx::Error> {
    sqlx::query_as(
        "select id, number, account_id, customer_id, payer, issued_on, due_on, currency, policy, discount, status, net,
             tax, total, residue, rates, due, credited_net, credited_tax, credited_total, entry, finalised_at,
             position, changed_position
         from invoices
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
) -> Result<Vec<InvoiceRow>, sqlx::Error> {
    sqlx::query_as(
        "select id, number, account_id, customer_id, payer, issued_on, due_on, currency, policy, discount, status, net,
             tax, total, residue, rates, due, credited_net, credited_tax, credited_total, entry, finalised_at,
             position, changed_position
         from invoices
         where ($1::text is null or customer_id = $1)
             and ($2::text is null or account_id = $2)
             and ($3::text is null or status = $3)
             and ($4::text is null or number = $4)
             and ($5::bigint is null or position < $5)
         order by position desc
         limit $6",
    )
    .bind(&filter.customer)
    .bind(&filter.account)
    .bind(&filter.status)
    .bind(&filter.number)
    .bind(before)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// The lines of an invoice, in their order.
pub async fn lines(connection: &mut PgConnection, invoice_id: &str) -> Result<Vec<InvoiceLineRow>, sqlx::Error> {
    sqlx::query_as(
        "select invoice_id, number, item, description, quantity, unit_price, discount, amount, tax_rate,
             credited_quantity, credited_amount
         from invoice_lines
         where invoice_id = $1
         order by number",
    )
    .bind(invoice_id)
    .fetch_all(connection)
    .await
}
