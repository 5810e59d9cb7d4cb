//! A credit note: takes back lines of invoices, in whole or in part, or credits the customer freely.

use chrono::NaiveDate;
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{
    AccountId, Currency, CustomerId, Id, InvoiceId, LedgerAggregate, Noun, account::Entry, payer::PayerSnapshot,
    tax::Totals,
};

pub type CreditNoteId = Id<CreditNote>;

#[derive(Clone, Debug)]
pub enum CreditNoteCommand {
    Issue(Box<CreditDocument>),
}

/// What a credit line refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceLineRef {
    pub invoice: InvoiceId,
    /// From 1.
    pub line: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreditLine {
    /// From 1.
    pub number: u32,
    /// Absent on a free-standing line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<InvoiceLineRef>,
    pub item: String,
    pub description: String,
    pub quantity: Decimal,
    pub unit_price: Decimal,
    /// Exact.
    pub amount: Decimal,
    /// Per cent.
    pub tax_rate: Decimal,
}

/// The document as it was issued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreditDocument {
    pub number: String,
    pub account: AccountId,
    pub customer: CustomerId,
    pub payer: PayerSnapshot,
    pub issued_on: NaiveDate,
    pub currency: Currency,
    pub lines: Vec<CreditLine>,
    pub totals: Totals,
    /// The account entry that credits it.
    pub entry: Entry,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreditNoteEvent {
    Issued(Box<CreditDocument>),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreditNoteRejection {
    #[error("the credit note is final")]
    Final,
    #[error("a credit note needs a number")]
    NumberMissing,
    #[error("a credit note needs at least one line")]
    NoLines,
    #[error(
        "a quantity and a price have at most 6 decimals, a tax rate at most 4, and the amount of line {line} lies above 0 and below 10^15"
    )]
    LineOutOfRange { line: u32 },
    #[error("a credit note over nothing credits nothing")]
    NothingCredited,
    #[error("the invoice belongs to another account")]
    ForeignInvoice,
}

impl CreditNoteRejection {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Final => "credit-note-final",
            Self::NumberMissing => "number-missing",
            Self::NoLines => "no-lines",
            Self::LineOutOfRange { .. } => "line-out-of-range",
            Self::NothingCredited => "nothing-credited",
            Self::ForeignInvoice => "foreign-invoice",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreditNote {
    #[default]
    Unknown,
    Issued,
}

impl Noun for CreditNote {
    const PREFIX: &'static str = "crn";
}

impl LedgerAggregate for CreditNote {
    const FOLD_VERSION: i32 = 1;
}

impl CreditDocument {
    fn check(&self) -> Result<(), CreditNoteRejection> {
        if self.number.trim().is_empty() {
            return Err(CreditNoteRejection::NumberMissing);
        }
        if self.lines.is_empty() {
            return Err(CreditNoteRejection::NoLines);
        }
        for line in &self.lines {
            let in_range = super::invoice::exact_amount(line.quantity, line.unit_price).is_some()
                && super::invoice::is_tax_rate(line.tax_rate)
                && line.amount >= Decimal::ZERO;
            if !in_range {
                return Err(CreditNoteRejection::LineOutOfRange { line: line.number });
            }
        }
        if self.totals.total.is_positive() { Ok(()) } else { Err(CreditNoteRejection::NothingCredited) }
    }
}

impl Aggregate for CreditNote {
    const TYPE: &'static str = "credit_note";
    type Command = CreditNoteCommand;
    type Event = CreditNoteEvent;
    type Error = CreditNoteRejection;
    type Services = ();

    async fn handle(
        &mut self,
        CreditNoteCommand::Issue(document): CreditNoteCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), CreditNoteRejection> {
        if *self == Self::Issued {
            return Err(CreditNoteRejection::Final);
        }
        document.check()?;
        sink.write(CreditNoteEvent::Issued(document), self).await;
        Ok(())
    }

    fn apply(&mut self, CreditNoteEvent::Issued(_): CreditNoteEvent) {
        *self = Self::Issued;
    }
}

impl DomainEvent for CreditNoteEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Issued(_) => "credit_note.issued",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}
