//! Issuing an invoice: a number, a final document, and the charge on the account, all at once.

use chrono::{Datelike, Duration, NaiveDate};
use serde_json::json;

use super::{Answer, OperationRejection, Refusal, allocation, answer};
use crate::{
    domain::{
        AccountId, Id, Invoice, NumberSeries, PayerId,
        account::{AccountCommand, Charge, ChargeOrigin, Overdraft, RevenueShare},
        invoice::{DocumentDiscount, Draft, DraftLine, InvoiceCommand},
        number_series::{DocumentKind, NumberSeriesCommand, numbered, series_of},
    },
    state::UnitOfWork,
    terms::{
        calendar::RECORDED_YEARS,
        tax::{RoundingPolicy, Totals},
    },
};

#[derive(Clone, Debug)]
pub struct IssueInvoice {
    pub account: AccountId,
    pub payer: PayerId,
    pub numbering: Numbering,
    /// The local day of the account on which it takes effect, unless another is given.
    pub issued_on: Option<NaiveDate>,
    /// Days until it is due.
    pub due_in_days: u16,
    pub policy: RoundingPolicy,
    pub lines: Vec<DraftLine>,
    pub discount: Option<DocumentDiscount>,
}

/// Where the number of a document comes from.
#[derive(Clone, Debug)]
pub enum Numbering {
    /// The next number of a series, such as `INV-2026`: contiguous, whatever fails, but for numbers that were given.
    Series(String),
    /// The next number of the series of the year in which the document is issued: `INV` in 2026 is `INV-2026`.
    SeriesOfTheYear(&'static str),
    /// The number that the document had where it was issued first.
    Given(String),
}

impl Numbering {
    /// The number of a document of this kind, which no other of the kind has or will have.
    pub(super) fn number(
        &self,
        books: &mut UnitOfWork<'_>,
        kind: DocumentKind,
        document: &str,
        issued_on: NaiveDate,
    ) -> Result<String, Refusal> {
        let document = String::from(document);
        let next_of = |books: &mut UnitOfWork<'_>, name: &str| {
            let series: Id<NumberSeries> = Id::named(name).map_err(OperationRejection::from)?;
            books.execute(&series, NumberSeriesCommand::Take { document: document.clone() })?;
            Ok(numbered(name, books.get(&series).last))
        };
        match self {
            Self::Series(name) => next_of(books, name),
            Self::SeriesOfTheYear(prefix) => next_of(books, &format!("{prefix}-{}", issued_on.year())),
            Self::Given(number) => {
                let (series, place) = series_of(kind, number).map_err(OperationRejection::from)?;
                books.execute(&series, NumberSeriesCommand::Reserve { number: place, kind, document })?;
                Ok(number.clone())
            }
        }
    }
}

impl IssueInvoice {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let at = books.context().occurred_at;
        let ledger = books.get(&self.account).ledger()?;
        let (customer, currency, entry) = (ledger.customer.clone(), ledger.currency(), ledger.next_entry());
        let issued_on = self.issued_on.unwrap_or_else(|| ledger.day_of(at));
        let payer = books.get(&self.payer).snapshot(&self.payer, &customer)?;
        let invoice = books.new_id::<Invoice>();
        let number = self.numbering.number(books, DocumentKind::Invoice, invoice.as_str(), issued_on)?;
        let due_on = issued_on.checked_add_signed(Duration::days(self.due_in_days.into()));
        let due_on =
            due_on.filter(|due_on| [issued_on, *due_on].iter().all(|day| RECORDED_YEARS.contains(&day.year())));
        let due_on = due_on.ok_or(OperationRejection::DateOutOfRange)?;
        let draft = Draft {
            number: number.clone(),
            account: self.account.clone(),
            customer,
            payer,
            issued_on,
            due_on,
            currency,
            policy: self.policy,
            lines: self.lines.clone(),
            discount: self.discount,
            entry,
        };
        books.execute(&invoice, InvoiceCommand::Finalise(Box::new(draft)))?;
        let totals = books.get(&invoice).standing()?.totals.clone();
        let charge = Charge {
            origin: ChargeOrigin::Invoice(invoice.clone()),
            amount: totals.total,
            description: format!("invoice {number}"),
            revenue: Some(revenue(&totals)),
            due_on,
            reverses: None,
            overdraft: Overdraft::Permitted,
        };
        books.execute(&self.account, AccountCommand::Charge(charge))?;
        allocation::apply_credit(books, &self.account, entry)?;
        let due = books.get(&self.account).ledger()?.uncovered(entry);
        books.execute(&invoice, InvoiceCommand::Settle { due })?;
        Ok(answer(json!({
            "id": invoice,
            "number": number,
            "net": totals.net,
            "tax": totals.tax,
            "total": totals.total,
            "due": due,
        })))
    }
}

/// How the total of a document lies on revenue, tax and rounding.
pub(super) fn revenue(totals: &Totals) -> RevenueShare {
    RevenueShare { net: totals.net, tax: totals.tax.amount(), residue: totals.residue }
}
