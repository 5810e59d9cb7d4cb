//! Credit notes with their lines: what was taken back of which invoice, and what was credited freely.

use chrono::{DateTime, NaiveDate, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{CreditNote, CreditNoteEvent, Event, Noun, credit_note::CreditDocument, payer::PayerSnapshot},
    terms::tax::TaxedAmount,
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, types::Json};

use crate::{
    engine::{Changes, FoldError, Follows, Owner, Projection, Row, Shown, Source, Table, place},
    listing::Listed,
};

#[derive(Debug)]
pub enum CreditNotes {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct CreditNoteRow {
    pub id: String,
    pub number: String,
    pub account_id: String,
    pub customer_id: String,
    /// As the payer was on the day of issue.
    pub payer: Json<PayerSnapshot>,
    pub issued_on: NaiveDate,
    pub currency: String,
    pub net: Decimal,
    pub tax: Decimal,
    pub total: Decimal,
    /// What rounding the total took away.
    pub residue: Decimal,
    pub rates: Json<Vec<TaxedAmount>>,
    /// The account entry that credits it.
    pub entry: i64,
    pub issued_at: DateTime<Utc>,
    /// Of the event that issued it; listings go by it.
    pub position: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct CreditNoteLineRow {
    pub credit_note_id: String,
    /// From 1.
    pub number: i32,
    /// The line it takes back; a free-standing one has none.
    pub invoice_id: Option<String>,
    pub invoice_line: Option<i32>,
    pub free_standing: bool,
    pub item: String,
    pub description: String,
    pub quantity: Decimal,
    pub unit_price: Decimal,
    /// Exact.
    pub amount: Decimal,
    pub tax_rate: Decimal,
}

impl Row for CreditNoteRow {
    type Key = String;
    const TABLE: &'static str = "credit_notes";
    const KEY: &'static [&'static str] = &["id"];
    const PREFIX: Option<&'static str> = Some(CreditNote::PREFIX);
    const OWNER: Owner = Owner::Customer("customer_id");
    const SHOWN: Shown = Shown::NEWEST_FIRST;

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(CreditNote::TYPE, &self.id)]
    }
}

impl Row for CreditNoteLineRow {
    type Key = (String, i32);
    const TABLE: &'static str = "credit_note_lines";
    const KEY: &'static [&'static str] = &["credit_note_id", "number"];
    const OWNER: Owner = Owner::parent::<CreditNoteRow>("credit_note_id");

    fn key(&self) -> Self::Key {
        (self.credit_note_id.clone(), self.number)
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(CreditNote::TYPE, &self.credit_note_id)]
    }
}

impl Listed for CreditNoteRow {
    type Of = CreditNoteRow;
    const PROJECTION: &'static str = CreditNotes::NAME;
    const NOUN: &'static str = "credit note";
    const NOT_FOUND: &'static str = "credit-note-not-found";

    fn position(&self) -> i64 {
        self.position
    }
}

impl Projection for CreditNotes {
    const NAME: &'static str = "credit_notes";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[CreditNote::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<CreditNoteRow>(), Table::of::<CreditNoteLineRow>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        let Event::CreditNote(CreditNoteEvent::Issued(document)) = &event.event else { return Ok(()) };
        changes.insert(credit_note_row(event, document));
        line_rows(&event.aggregate_id, document).for_each(|row| changes.insert(row));
        Ok(())
    }
}

fn credit_note_row(event: &RecordedEvent, document: &CreditDocument) -> CreditNoteRow {
    CreditNoteRow {
        id: event.aggregate_id.clone(),
        number: document.number.clone(),
        account_id: document.account.to_string(),
        customer_id: document.customer.to_string(),
        payer: Json(document.payer.clone()),
        issued_on: document.issued_on,
        currency: document.currency.code().into(),
        net: document.totals.net,
        tax: document.totals.tax.amount(),
        total: document.totals.total.amount(),
        residue: document.totals.residue,
        rates: Json(document.totals.rates.clone()),
        entry: document.entry as i64,
        issued_at: event.occurred_at(),
        position: place(event),
    }
}

fn line_rows(credit_note_id: &str, document: &CreditDocument) -> impl Iterator<Item = CreditNoteLineRow> {
    document.lines.iter().map(move |line| CreditNoteLineRow {
        credit_note_id: credit_note_id.into(),
        number: line.number as i32,
        invoice_id: line.of.as_ref().map(|of| of.invoice.to_string()),
        invoice_line: line.of.as_ref().map(|of| of.line as i32),
        free_standing: line.of.is_none(),
        item: line.item.clone(),
        description: line.description.clone(),
        quantity: line.quantity,
        unit_price: line.unit_price,
        amount: line.amount,
        tax_rate: line.tax_rate,
    })
}
