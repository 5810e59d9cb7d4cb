//! Expenses outside orders, and their corrections: each is a further entry, never an edit.

use rust_decimal::Decimal;
use serde_json::json;

use super::{Answer, Refusal, allocation, answer, reason_given, today};
use crate::{
    domain::{
        AccountId, Expense, ExpenseId, Money, Rounding,
        account::{
            AccountCommand, AccountRejection, Charge, ChargeOrigin, Credit, Entry, FundsOrigin, Overdraft, RevenueShare,
        },
        expense::{Amounts, ExpenseCommand, ExpenseRejection, Recorded, Standing},
        invoice::is_tax_rate,
    },
    state::UnitOfWork,
    terms::tax::{RoundingPolicy, TaxedLine},
};

/// Staff charge something that was not ordered.
#[derive(Clone, Debug)]
pub struct RecordExpense {
    pub account: AccountId,
    pub description: String,
    pub quantity: Decimal,
    /// For the whole quantity, before tax.
    pub net: Money,
    /// Per cent, on top.
    pub tax_rate: Decimal,
}

/// Sets a new total, tax included at the rate of the expense.
#[derive(Clone, Debug)]
pub struct AdjustExpense {
    pub expense: ExpenseId,
    pub total: Money,
}

#[derive(Clone, Debug)]
pub struct ReverseExpense {
    pub expense: ExpenseId,
}

/// Reverses a reversal.
#[derive(Clone, Debug)]
pub struct ReinstateExpense {
    pub expense: ExpenseId,
}

impl RecordExpense {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        reason_given(books)?;
        let ledger = books.get(&self.account).ledger()?;
        ledger.same_currency(self.net)?;
        let entry = ledger.next_entry();
        if !self.net.is_positive() {
            return Err(AccountRejection::AmountNotPositive.into());
        }
        if self.quantity <= Decimal::ZERO || self.quantity.normalize().scale() > 6 {
            return Err(ExpenseRejection::QuantityOutOfRange.into());
        }
        if !is_tax_rate(self.tax_rate) {
            return Err(ExpenseRejection::TaxRateOutOfRange.into());
        }
        let line = TaxedLine { amount: self.net.amount(), rate: self.tax_rate };
        let totals = RoundingPolicy::default().totals(&[line], self.net.currency());
        let amounts = Amounts { net: self.net, tax: totals.tax, total: totals.total };
        let expense = books.new_id::<Expense>();
        let recorded = Recorded {
            account: self.account.clone(),
            order: None,
            order_item: None,
            service: None,
            description: self.description.clone(),
            quantity: self.quantity,
            tax_rate: self.tax_rate,
            amounts,
            entry,
        };
        books.execute(&expense, ExpenseCommand::Record(Box::new(recorded)))?;
        charge(books, &expense, &self.account, amounts, &self.description, None)?;
        standing(books, &expense)
    }
}

impl AdjustExpense {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        reason_given(books)?;
        let before = books.get(&self.expense).standing()?.clone();
        let ledger = books.get(&before.account).ledger()?;
        ledger.same_currency(self.total)?;
        let entry = ledger.next_entry();
        let after = with_tax_inside(self.total, before.tax_rate);
        books.execute(&self.expense, ExpenseCommand::Adjust { amounts: after, entry })?;
        let description = format!("adjustment: {}", before.description);
        if after.total.amount() > before.amounts.total.amount() {
            let more = difference(after, before.amounts);
            charge(books, &self.expense, &before.account, more, &description, None)?;
        } else {
            let less = difference(before.amounts, after);
            give_back(books, &self.expense, &before, less, &description)?;
        }
        standing(books, &self.expense)
    }
}

impl ReverseExpense {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        reason_given(books)?;
        let before = books.get(&self.expense).standing()?.clone();
        let entry = books.get(&before.account).ledger()?.next_entry();
        books.execute(&self.expense, ExpenseCommand::Reverse { entry })?;
        let description = format!("reversal: {}", before.description);
        give_back(books, &self.expense, &before, before.amounts, &description)?;
        standing(books, &self.expense)
    }
}

impl ReinstateExpense {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        reason_given(books)?;
        let before = books.get(&self.expense).standing()?.clone();
        let entry = books.get(&before.account).ledger()?.next_entry();
        books.execute(&self.expense, ExpenseCommand::Reinstate { entry })?;
        let description = format!("reversal undone: {}", before.description);
        charge(books, &self.expense, &before.account, before.amounts, &description, before.reversed_by)?;
        standing(books, &self.expense)
    }
}

fn charge(
    books: &mut UnitOfWork<'_>,
    expense: &ExpenseId,
    account: &AccountId,
    amounts: Amounts,
    description: &str,
    reverses: Option<Entry>,
) -> Result<(), Refusal> {
    let entry = books.get(account).ledger()?.next_entry();
    let charge = Charge {
        origin: ChargeOrigin::Expense(expense.clone()),
        amount: amounts.total,
        description: description.into(),
        revenue: Some(revenue(amounts)),
        due_on: today(books, account)?,
        reverses,
        overdraft: Overdraft::Permitted,
    };
    books.execute(account, AccountCommand::Charge(charge))?;
    allocation::apply_credit(books, account, entry)
}

/// Credits a part of an expense or all of it: the payments that covered that much are free again, and the credit
/// takes their place.
fn give_back(
    books: &mut UnitOfWork<'_>,
    expense: &ExpenseId,
    before: &Standing,
    amounts: Amounts,
    description: &str,
) -> Result<(), Refusal> {
    let account = &before.account;
    let currency = amounts.total.currency();
    let mut left = amounts.total.amount();
    for &charge in before.charges.iter().rev() {
        let until_uncovered = Money::round(left, currency, Rounding::default());
        books.execute(account, AccountCommand::Uncover { charge, until_uncovered })?;
        left -= books.get(account).ledger()?.uncovered(charge).amount().min(left);
    }
    let funds = books.get(account).ledger()?.next_entry();
    let credit = Credit {
        origin: FundsOrigin::Expense(expense.clone()),
        amount: amounts.total,
        description: description.into(),
        revenue: Some(revenue(amounts)),
        reverses: before.charges.last().copied(),
    };
    allocation::credit(books, account, credit)?;
    for &charge in before.charges.iter().rev() {
        books.execute(account, AccountCommand::CoverCharge { funds, charge })?;
    }
    allocation::spread_free_credit(books, account)?;
    allocation::settle_invoices(books)
}

fn with_tax_inside(total: Money, tax_rate: Decimal) -> Amounts {
    let policy = RoundingPolicy { prices_include_tax: true, ..RoundingPolicy::default() };
    let totals = policy.totals(&[TaxedLine { amount: total.amount(), rate: tax_rate }], total.currency());
    Amounts { net: Money::round(totals.net, total.currency(), Rounding::default()), tax: totals.tax, total }
}

fn difference(larger: Amounts, smaller: Amounts) -> Amounts {
    let less =
        |left: Money, right: Money| Money::round(left.amount() - right.amount(), left.currency(), Rounding::default());
    Amounts {
        net: less(larger.net, smaller.net),
        tax: less(larger.tax, smaller.tax),
        total: less(larger.total, smaller.total),
    }
}

fn revenue(amounts: Amounts) -> RevenueShare {
    RevenueShare { net: amounts.net.amount(), tax: amounts.tax.amount(), residue: Decimal::ZERO }
}

fn standing(books: &mut UnitOfWork<'_>, expense: &ExpenseId) -> Result<Answer, Refusal> {
    let standing = books.get(expense).standing()?.clone();
    let ledger = books.get(&standing.account).ledger()?;
    Ok(answer(json!({
        "id": expense,
        "status": standing.status(),
        "total": standing.amounts.total,
        "entry": ledger.last_entry,
        "balance": ledger.balance,
    })))
}
