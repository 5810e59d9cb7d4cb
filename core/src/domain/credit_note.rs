//! A credit note: takes back lines of invoices, in whole or in part, or credits the customer freely.

use chrono::NaiveDate;
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AccountId, Currency, CustomerId, Id, InvoiceId, LedgerAggregate, LedgerEvent, Mentions, Noun, Owner,
    account::Entry, function::Function, payer::PayerSnapshot, posting::JournalEntry, version::written_version,
};
use crate::terms::{
    refusal::{LINE_OUT_OF_RANGE, NO_LINES, NUMBER_MISSING, conflict, invalid, refusals},
    rule::Rule,
    tax::Totals,
};

pub type CreditNoteId = Id<CreditNote>;

#[derive(Clone, Debug)]
pub enum CreditNoteCommand {
    Issue(Box<CreditDocument>),
}

/// What a credit line refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceLineRef {
    pub invoice: InvoiceId,
    /// From 1.
    pub line: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreditNoteEvent {
    Issued(Box<CreditDocument>),
}

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum CreditNoteRejection {
        #[error("the credit note is final")]
        Final = conflict("credit-note-final", "The credit note is final"),
        #[error("a credit note needs a number")]
        NumberMissing at "/numbering" = NUMBER_MISSING,
        #[error("a credit note needs at least one line")]
        NoLines at "/lines" = NO_LINES,
        #[error(
            "a quantity is not negative and has at most 6 decimals, a price is not negative and has at most 8, a tax rate at most 4, and the amount of line {line} stays below 10^15 (below 10^13 where it has more than 12 decimals)"
        )]
        LineOutOfRange { line: u32 } at "/lines"[line] = LINE_OUT_OF_RANGE,
        #[error("a credit note over nothing credits nothing")]
        NothingCredited at "/lines" = invalid("nothing-credited", "A credit note over nothing credits nothing"),
        #[error("the invoice belongs to another account")]
        ForeignInvoice = invalid("foreign-invoice", "The invoice belongs to another account"),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreditNote {
    #[default]
    Unknown,
    Issued {
        customer: CustomerId,
    },
}

impl Noun for CreditNote {
    const PREFIX: &'static str = "crn";
}

impl LedgerAggregate for CreditNote {
    const FOLD_VERSION: i32 = 2;
    const READ_BY: Function = Function::CreditNotesRead;

    fn owner(&self) -> Owner<'_> {
        match self {
            Self::Unknown => Owner::Everybody,
            Self::Issued { customer } => Owner::Customer(customer),
        }
    }
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
                && line.quantity >= Decimal::ZERO
                && line.unit_price >= Decimal::ZERO
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
        if *self != Self::Unknown {
            return Err(CreditNoteRejection::Final);
        }
        document.check()?;
        sink.write(CreditNoteEvent::Issued(document), self).await;
        Ok(())
    }

    fn apply(&mut self, CreditNoteEvent::Issued(document): CreditNoteEvent) {
        *self = Self::Issued { customer: document.customer };
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
        written_version(self)
    }
}

impl LedgerEvent for CreditNoteEvent {
    type Aggregate = CreditNote;

    const VERSIONS: &'static [(&'static str, &'static str)] = &[("credit_note.issued", "1.0")];

    fn postings(&self) -> JournalEntry {
        // Its money moves through entries of the account.
        Vec::new()
    }

    fn rule(&self) -> Option<Rule> {
        None
    }

    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        let Self::Issued(document) = self;
        mentions.add(&document.account);
        mentions.add(&document.customer);
        mentions.add(&document.payer.payer);
        mentions.add_all(document.lines.iter().filter_map(|line| line.of.as_ref()).map(|of| &of.invoice));
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;
    use crate::{
        domain::fixtures::{day, id, number, payer_snapshot, usd},
        terms::tax::TaxedAmount,
    };

    /// A credit note over one free line of 10.00 with 20 per cent of tax.
    fn document() -> CreditDocument {
        let line = CreditLine {
            number: 1,
            of: None,
            item: "vps".into(),
            description: "not delivered".into(),
            quantity: number("1"),
            unit_price: number("10.00"),
            amount: number("10.00"),
            tax_rate: number("20"),
        };
        let rates = vec![TaxedAmount { rate: number("20"), net: number("10"), tax: usd("2.00") }];
        CreditDocument {
            number: "CN-1".into(),
            account: id("main"),
            customer: id("ada"),
            payer: payer_snapshot(),
            issued_on: day("2026-07-20"),
            currency: usd("0").currency(),
            lines: vec![line],
            totals: Totals { net: number("10"), tax: usd("2.00"), total: usd("12.00"), residue: Decimal::ZERO, rates },
            entry: 2,
        }
    }

    fn issue(document: CreditDocument) -> CreditNoteCommand {
        CreditNoteCommand::Issue(Box::new(document))
    }

    fn refused(document: CreditDocument, rejection: CreditNoteRejection) {
        TestFramework::<CreditNote>::with(())
            .given_no_previous_events()
            .when(issue(document))
            .then_expect_error(rejection);
    }

    fn with_line(change: impl FnOnce(&mut CreditLine)) -> CreditDocument {
        let mut document = document();
        change(&mut document.lines[0]);
        document
    }

    #[test]
    fn a_credit_note_is_issued_with_its_lines_and_totals() {
        TestFramework::<CreditNote>::with(())
            .given_no_previous_events()
            .when(issue(document()))
            .then_expect_events(vec![CreditNoteEvent::Issued(Box::new(document()))]);
    }

    #[test]
    fn an_issued_credit_note_is_final() {
        TestFramework::<CreditNote>::with(())
            .given(vec![CreditNoteEvent::Issued(Box::new(document()))])
            .when(issue(document()))
            .then_expect_error(CreditNoteRejection::Final);
    }

    #[test]
    fn a_credit_note_without_a_number_is_refused() {
        refused(CreditDocument { number: " ".into(), ..document() }, CreditNoteRejection::NumberMissing);
    }

    #[test]
    fn a_credit_note_without_lines_is_refused() {
        refused(CreditDocument { lines: Vec::new(), ..document() }, CreditNoteRejection::NoLines);
    }

    #[test]
    fn a_line_out_of_range_is_refused() {
        let rejection = || CreditNoteRejection::LineOutOfRange { line: 1 };
        refused(with_line(|line| line.quantity = number("0.0000001")), rejection());
        refused(with_line(|line| line.unit_price = number("1000000000000000")), rejection());
        refused(with_line(|line| line.tax_rate = number("1000")), rejection());
        refused(with_line(|line| line.amount = number("-0.01")), rejection());
    }

    #[test]
    fn a_credit_note_over_nothing_is_refused() {
        let totals = Totals { total: usd("0.00"), ..document().totals };
        refused(CreditDocument { totals, ..document() }, CreditNoteRejection::NothingCredited);
    }

    #[test]
    fn an_invoice_of_another_account_has_a_refusal_of_its_own() {
        // Raised where the accounts are compared, in the operation.
        assert_eq!(CreditNoteRejection::ForeignInvoice.code(), "foreign-invoice");
    }
}
