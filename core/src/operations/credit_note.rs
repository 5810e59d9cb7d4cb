//! Issuing a credit note: lines of invoices are taken back, never more than is left of them, and the account credited.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use rust_decimal::Decimal;
use serde_json::json;

use super::{Answer, Refusal, allocation, answer, invoice::Numbering, invoice::revenue};
use crate::{
    domain::{
        AccountId, CreditNote, CreditNoteId, Currency, Event, InvoiceEvent, InvoiceId, Money, PayerId,
        account::{AccountCommand, Credit, Entry, FundsOrigin},
        credit_note::{CreditDocument, CreditLine, CreditNoteCommand, CreditNoteRejection, InvoiceLineRef},
        invoice::{DraftLine, InvoiceCommand, LineToCredit, exact_amount, is_tax_rate, sums_exactly},
        number_series::DocumentKind,
    },
    state::UnitOfWork,
    terms::tax::{RoundingPolicy, TaxedLine, Totals},
};

#[derive(Clone, Debug)]
pub struct IssueCreditNote {
    pub account: AccountId,
    pub payer: PayerId,
    pub numbering: Numbering,
    /// The local day of the account on which it takes effect, unless another is given.
    pub issued_on: Option<NaiveDate>,
    /// For free-standing lines; lines of an invoice follow the policy of the invoice.
    pub policy: RoundingPolicy,
    pub lines: Vec<CreditRequest>,
}

#[derive(Clone, Debug)]
pub enum CreditRequest {
    /// A line of an invoice, by quantity, by amount, or all that is left of it.
    Line { invoice: InvoiceId, line: LineToCredit, item: String, description: String },
    /// Refers to nothing.
    Free(DraftLine),
}

impl IssueCreditNote {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let at = books.context().occurred_at;
        let ledger = books.get(&self.account).ledger()?;
        let (customer, currency, entry) = (ledger.customer.clone(), ledger.currency(), ledger.next_entry());
        let issued_on = self.issued_on.unwrap_or_else(|| ledger.day_of(at));
        let payer = books.get(&self.payer).snapshot(&self.payer, &customer)?;
        let credit_note = books.new_id::<CreditNote>();
        let number = self.numbering.number(books, DocumentKind::CreditNote, credit_note.as_str(), issued_on)?;

        let mut lines = self.free_lines()?;
        let free: Vec<TaxedLine> =
            lines.values().map(|line| TaxedLine { amount: line.amount, rate: line.tax_rate }).collect();
        let mut totals = self.policy.totals(&free, currency);
        let mut credited: Vec<(Entry, Money)> = Vec::new();
        for (invoice, wanted) in self.by_invoice() {
            let (of_invoice, sums) = self.credit_invoice(books, &credit_note, &invoice, &wanted, currency)?;
            credited.push((books.get(&invoice).standing()?.entry, sums.total));
            totals.add(&sums);
            lines.extend(of_invoice);
        }
        let total = totals.total;
        let revenue = revenue(&totals);
        let document = CreditDocument {
            number: number.clone(),
            account: self.account.clone(),
            customer,
            payer,
            issued_on,
            currency,
            lines: lines.into_values().collect(),
            totals,
            entry,
        };
        books.execute(&credit_note, CreditNoteCommand::Issue(Box::new(document.clone())))?;

        // The payments that covered what is credited are free again; the credit note takes their place.
        for &(charge, until_uncovered) in &credited {
            books.execute(&self.account, AccountCommand::Uncover { charge, until_uncovered })?;
        }
        let credit = Credit {
            origin: FundsOrigin::CreditNote(credit_note.clone()),
            amount: total,
            description: format!("credit note {number}"),
            revenue: Some(revenue),
            reverses: None,
        };
        allocation::credit(books, &self.account, credit)?;
        for (charge, credited) in credited {
            let uncovered = books.get(&self.account).ledger()?.uncovered(charge);
            let amount = if uncovered.amount() < credited.amount() { uncovered } else { credited };
            if amount.is_positive() {
                books.execute(&self.account, AccountCommand::Allocate { funds: entry, charge, amount })?;
            }
        }
        books.execute(&self.account, AccountCommand::CoverOldest { funds: entry })?;
        allocation::spread_free_credit(books, &self.account)?;
        allocation::settle_invoices(books)?;
        let balance = books.get(&self.account).ledger()?.balance;
        Ok(answer(json!({
            "id": credit_note,
            "number": number,
            "net": document.totals.net,
            "tax": document.totals.tax,
            "total": total,
            "balance": balance,
        })))
    }

    /// The wanted lines of each invoice, with their numbers on the credit note.
    fn by_invoice(&self) -> BTreeMap<InvoiceId, Vec<(u32, LineToCredit)>> {
        let mut by_invoice: BTreeMap<InvoiceId, Vec<(u32, LineToCredit)>> = BTreeMap::new();
        for (request, number) in self.lines.iter().zip(1..) {
            if let CreditRequest::Line { invoice, line, .. } = request {
                by_invoice.entry(invoice.clone()).or_default().push((number, line.clone()));
            }
        }
        by_invoice
    }

    fn free_lines(&self) -> Result<BTreeMap<u32, CreditLine>, CreditNoteRejection> {
        let mut lines = BTreeMap::new();
        for (request, number) in self.lines.iter().zip(1..) {
            if let CreditRequest::Free(DraftLine { item, description, quantity, unit_price, tax_rate }) =
                request.clone()
            {
                // Minus times minus would be a credit of pieces that nobody has.
                let is_owed = quantity > Decimal::ZERO && unit_price >= Decimal::ZERO && is_tax_rate(tax_rate);
                let amount = exact_amount(quantity, unit_price).filter(|_| is_owed);
                let amount = amount.ok_or(CreditNoteRejection::LineOutOfRange { line: number })?;
                let line = CreditLine { number, of: None, item, description, quantity, unit_price, amount, tax_rate };
                lines.insert(number, line);
            }
        }
        // The first line with which the sum leaves what can be added exactly.
        let through = |last: &u32| lines.range(..=*last).map(|(_, line): (_, &CreditLine)| line.amount);
        if sums_exactly(lines.values().map(|line| line.amount)) {
            return Ok(lines);
        }
        let line = lines.keys().copied().find(|number| !sums_exactly(through(number))).unwrap_or(1);
        Err(CreditNoteRejection::LineOutOfRange { line })
    }

    fn credit_invoice(
        &self,
        books: &mut UnitOfWork<'_>,
        credit_note: &CreditNoteId,
        invoice: &InvoiceId,
        wanted: &[(u32, LineToCredit)],
        currency: Currency,
    ) -> Result<(Vec<(u32, CreditLine)>, Totals), Refusal> {
        let standing = books.get(invoice).standing()?.clone();
        if standing.account != self.account {
            return Err(CreditNoteRejection::ForeignInvoice.into());
        }
        let lines = wanted.iter().map(|(_, line)| line.clone()).collect();
        books.execute(invoice, InvoiceCommand::Credit { credit_note: credit_note.clone(), lines })?;
        let Some(Event::Invoice(InvoiceEvent::LinesCredited { lines: credited, totals, .. })) =
            books.events().last().map(|new| new.event.clone())
        else {
            // Only while a stream is missing, and then this attempt is thrown away.
            return Ok((Vec::new(), empty(currency)));
        };
        let lines = wanted.iter().zip(credited).map(|((number, line), credited)| {
            let left = &standing.lines[line.line as usize - 1];
            let (item, description) = self.words(*number);
            let of = Some(InvoiceLineRef { invoice: invoice.clone(), line: line.line });
            let line = CreditLine {
                number: *number,
                of,
                item,
                description,
                quantity: credited.quantity,
                unit_price: left.unit_price,
                amount: credited.amount,
                tax_rate: left.tax_rate,
            };
            (*number, line)
        });
        Ok((lines.collect(), totals))
    }

    fn words(&self, number: u32) -> (String, String) {
        match &self.lines[number as usize - 1] {
            CreditRequest::Line { item, description, .. } => (item.clone(), description.clone()),
            CreditRequest::Free(line) => (line.item.clone(), line.description.clone()),
        }
    }
}

fn empty(currency: Currency) -> Totals {
    let zero = Money::zero(currency);
    Totals { net: Decimal::ZERO, tax: zero, total: zero, residue: Decimal::ZERO, rates: Vec::new() }
}
