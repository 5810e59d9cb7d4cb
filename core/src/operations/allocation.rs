//! Allocation: which money covers which charge, by rule or by hand.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde_json::json;

use super::{Answer, OperationRejection, Refusal, answer, reason_given};
use crate::{
    domain::{
        AccountId, Currency, Event, ExpenseId, Id, InvoiceId, LedgerAggregate, Money, PaymentId, Rounding,
        account::{AccountCommand, AccountEvent, AccountRejection, ChargeOrigin, Credit, Entry, FundsOrigin},
        expense::ExpenseRejection,
        invoice::InvoiceCommand,
        payment::PaymentRejection,
    },
    state::UnitOfWork,
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

        books.get(&account).ledger()?.spendable(amount)?;
        if let Some(from) = &self.from {
            let charges = from.charges(books, &account)?;
            release(books, &account, funds, &charges, amount)?;
        }
        if let Some(to) = &self.to {
            let charges = to.charges(books, &account)?;
            allocate(books, &account, funds, &charges, amount)?;
        }
        settle_invoices(books)?;
        let free = books.get(&account).ledger()?.free(funds);
        Ok(answer(json!({ "payment": self.payment, "amount": amount, "free": free })))
    }
}

impl ChargeRef {
    /// The entries of this account that charge it now, in order: an expense has one more for each time it was raised.
    fn charges(&self, books: &mut UnitOfWork<'_>, account: &AccountId) -> Result<Vec<Entry>, Refusal> {
        let (charged, charges) = match self {
            Self::Invoice(invoice) => {
                let standing = books.get(invoice).standing()?;
                (&standing.account, vec![standing.entry])
            }
            Self::Expense(expense) => {
                let standing = books.get(expense).standing()?;
                (&standing.account, standing.charges.clone())
            }
        };
        if charged != account {
            return Err(OperationRejection::Foreign.into());
        }
        if charges.is_empty() { Err(ExpenseRejection::AlreadyReversed.into()) } else { Ok(charges) }
    }
}

/// Takes an amount of these funds back from charges, the last one first.
fn release(
    books: &mut UnitOfWork<'_>,
    account: &AccountId,
    funds: Entry,
    charges: &[Entry],
    amount: Money,
) -> Result<(), Refusal> {
    let ledger = books.get(account).ledger()?;
    let covered: Vec<_> = charges.iter().rev().map(|&charge| (charge, ledger.covered_by(charge, funds))).collect();
    let allocated = sum(&covered, amount.currency());
    if amount.amount() > allocated.amount() {
        return Err(AccountRejection::OverRelease { allocated }.into());
    }
    for (charge, amount) in parts(&covered, amount) {
        books.execute(account, AccountCommand::Release { funds, charge, amount })?;
    }
    Ok(())
}

/// Moves an amount of these funds to charges, the first one first.
fn allocate(
    books: &mut UnitOfWork<'_>,
    account: &AccountId,
    funds: Entry,
    charges: &[Entry],
    amount: Money,
) -> Result<(), Refusal> {
    let ledger = books.get(account).ledger()?;
    let uncovered: Vec<_> = charges.iter().map(|&charge| (charge, ledger.uncovered(charge))).collect();
    let (free, open) = (ledger.usable(funds), sum(&uncovered, amount.currency()));
    let available = if free.amount() < open.amount() { free } else { open };
    if amount.amount() > available.amount() {
        return Err(AccountRejection::OverAllocation { available }.into());
    }
    for (charge, amount) in parts(&uncovered, amount) {
        books.execute(account, AccountCommand::Allocate { funds, charge, amount })?;
    }
    Ok(())
}

fn sum(shares: &[(Entry, Money)], currency: Currency) -> Money {
    Money::round(shares.iter().map(|(_, share)| share.amount()).sum(), currency, Rounding::default())
}

/// An amount taken from shares one after another, each as far as it reaches.
fn parts(shares: &[(Entry, Money)], amount: Money) -> Vec<(Entry, Money)> {
    let mut left = amount.amount();
    let mut parts = Vec::new();
    for &(entry, share) in shares {
        let part = share.amount().min(left);
        left -= part;
        if !part.is_zero() {
            parts.push((entry, Money::round(part, amount.currency(), Rounding::default())));
        }
    }
    parts
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

/// How far a command may be dated ahead and still count at once: clocks differ by seconds, not by minutes.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::seconds(60);

/// Credits an account. What the command dates ahead is not available before it takes effect, and returns `false`.
pub(super) fn credit(books: &mut UnitOfWork<'_>, account: &AccountId, credit: Credit) -> Result<bool, Refusal> {
    let (funds, amount) = (books.get(account).ledger()?.next_entry(), credit.amount);
    books.execute(account, AccountCommand::Credit(credit))?;
    let (until, is_ahead) = (books.context().occurred_at, is_dated_ahead(books));
    if is_ahead {
        books.execute(account, AccountCommand::SetAside { funds, amount, until })?;
    }
    Ok(!is_ahead)
}

/// Whether the command takes effect later than it is given.
pub(super) fn is_dated_ahead(books: &UnitOfWork<'_>) -> bool {
    books.given_at().is_some_and(|now| books.context().occurred_at > now + CLOCKS_DIFFER)
}

/// Money that was dated ahead and has taken effect since serves what it is meant for, and then whatever is due.
pub(super) fn take_effect(books: &mut UnitOfWork<'_>, account: &AccountId) -> Result<(), Refusal> {
    // What a command does bears its date: one that is itself dated ahead leaves the money to the next.
    if is_dated_ahead(books) {
        return Ok(());
    }
    let at = books.context().occurred_at;
    let now = books.given_at().map_or(at, |now| at.min(now));
    let Ok(ledger) = books.get(account).ledger() else { return Ok(()) };
    let in_effect = ledger.in_effect_by(now);
    let payments: Vec<PaymentId> = in_effect
        .iter()
        .filter_map(|funds| match &ledger.funds.get(funds)?.origin {
            FundsOrigin::Payment(payment) => Some(payment.clone()),
            _ => None,
        })
        .collect();
    look_up(books, &payments);
    for &funds in &in_effect {
        let origin = books.get(account).ledger()?.funds.get(&funds).map(|funds| funds.origin.clone());
        books.execute(account, AccountCommand::SetFree { funds })?;
        match origin {
            Some(FundsOrigin::Payment(payment)) => super::payment::serve(books, &payment, funds)?,
            _ => books.execute(account, AccountCommand::CoverOldest { funds })?,
        }
    }
    if in_effect.is_empty() { Ok(()) } else { settle_invoices(books) }
}

/// Notes all of them as wanted, where the first that is not in memory would otherwise be the only one of a round.
fn look_up<'i, A: LedgerAggregate>(books: &mut UnitOfWork<'_>, ids: impl IntoIterator<Item = &'i Id<A>>) {
    for id in ids {
        books.get(id);
    }
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
    look_up(books, touched.keys());
    for (invoice, charge) in touched {
        let account = books.get(&invoice).standing()?.account.clone();
        let due = books.get(&account).ledger()?.uncovered(charge);
        books.execute(&invoice, InvoiceCommand::Settle { due })?;
    }
    Ok(())
}
