//! Allocation: which money covers which charge, by rule or by hand.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Answer, OperationRejection, Refusal, answer, reason_given};
use crate::{
    domain::{
        AccountId, Event, ExpenseId, InvoiceId, Money, PaymentId,
        account::{AccountCommand, AccountEvent, ChargeOrigin, Entry},
        expense::ExpenseRejection,
        invoice::InvoiceCommand,
        payment::PaymentRejection,
    },
    writer::UnitOfWork,
};

/// A charge, by what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChargeRef {
    Invoice(InvoiceId),
    Expense(ExpenseId),
}

/// Staff move money of a payment: to a charge, back from one, or from one to another.
#[derive(Clone, Debug)]
pub struct AllocatePayment {
    pub payment: PaymentId,
    pub from: Option<ChargeRef>,
    pub to: Option<ChargeRef>,
    pub amount: Money,
}

impl AllocatePayment {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        reason_given(books)?;
        if self.from.is_none() && self.to.is_none() {
            return Err(OperationRejection::NowhereToAllocate.into());
        }
        let payment = books.get(&self.payment).started()?;
        let (account, status) = (payment.account.clone(), payment.status);
        let funds = payment.entry.ok_or(PaymentRejection::WrongStatus { status, wanted: "allocated" })?;
        let amount = self.amount;

        if let Some(from) = &self.from {
            let charge = from.entry(books, &account)?;
            books.execute(&account, AccountCommand::Release { funds, charge, amount })?;
        }
        if let Some(to) = &self.to {
            let charge = to.entry(books, &account)?;
            books.execute(&account, AccountCommand::Allocate { funds, charge, amount })?;
        }
        settle_invoices(books)?;
        let free = books.get(&account).ledger()?.free(funds);
        Ok(answer(json!({ "payment": self.payment, "amount": amount, "free": free })))
    }
}

impl ChargeRef {
    /// The entry of this account that charges it now.
    fn entry(&self, books: &mut UnitOfWork<'_>, account: &AccountId) -> Result<Entry, Refusal> {
        let (charged, entry) = match self {
            Self::Invoice(invoice) => {
                let standing = books.get(invoice).standing()?;
                (&standing.account, standing.entry)
            }
            Self::Expense(expense) => {
                let standing = books.get(expense).standing()?;
                (&standing.account, *standing.charges.last().ok_or(ExpenseRejection::AlreadyReversed)?)
            }
        };
        if charged == account { Ok(entry) } else { Err(OperationRejection::Foreign.into()) }
    }
}

/// Free credit serves a new charge by itself, unless the customer has switched that off.
pub(super) fn apply_credit(books: &mut UnitOfWork<'_>, account: &AccountId, charge: Entry) -> Result<(), Refusal> {
    if books.get(account).ledger()?.automatic_allocation {
        books.execute(account, AccountCommand::ApplyCredit { charge })?;
    }
    Ok(())
}

/// Money that has come free serves whatever is open, unless the customer has switched that off.
pub(super) fn spread_free_credit(books: &mut UnitOfWork<'_>, account: &AccountId) -> Result<(), Refusal> {
    let ledger = books.get(account).ledger()?;
    if !ledger.automatic_allocation {
        return Ok(());
    }
    let free: Vec<Entry> = ledger.free_funds().collect();
    for funds in free {
        books.execute(account, AccountCommand::CoverOldest { funds })?;
    }
    Ok(())
}

/// Tells each invoice that an allocation of this command touched what of it is due now.
pub(super) fn settle_invoices(books: &mut UnitOfWork<'_>) -> Result<(), Refusal> {
    let mut touched: BTreeMap<InvoiceId, Entry> = BTreeMap::new();
    for new in books.events() {
        if let Event::Account(
            AccountEvent::Allocated { charge, to: ChargeOrigin::Invoice(invoice), .. }
            | AccountEvent::Released { charge, to: ChargeOrigin::Invoice(invoice), .. },
        ) = &new.event
        {
            touched.insert(invoice.clone(), *charge);
        }
    }
    for (invoice, charge) in touched {
        let account = books.get(&invoice).standing()?.account.clone();
        let due = books.get(&account).ledger()?.uncovered(charge);
        books.execute(&invoice, InvoiceCommand::Settle { due })?;
    }
    Ok(())
}
