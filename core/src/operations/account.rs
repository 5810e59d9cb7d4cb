//! Accounts: opening them, their terms, holds, and corrections by staff.

use serde_json::json;

use super::{Answer, Refusal, allocation, answer, reason_given, today};
use crate::{
    domain::{
        Account, AccountId, Money,
        account::{
            AccountCommand, AccountOpening, Charge, ChargeOrigin, Credit, FundsOrigin, Hold, HoldId, Overdraft, Terms,
        },
        customer::CustomerCommand,
    },
    state::UnitOfWork,
};

#[derive(Clone, Debug)]
pub struct ChangeTerms {
    pub account: AccountId,
    pub terms: Terms,
}

#[derive(Clone, Debug)]
pub struct HoldFunds {
    pub account: AccountId,
    pub amount: Money,
}

#[derive(Clone, Debug)]
pub struct ReleaseHold {
    pub account: AccountId,
    pub hold: HoldId,
}

/// A correction by staff: a positive amount credits the account, a negative one charges it.
#[derive(Clone, Debug)]
pub struct AdjustAccount {
    pub account: AccountId,
    pub amount: Money,
    pub description: String,
}

impl AccountOpening {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let account = books.new_id::<Account>();
        let currency = self.currency;
        books.execute(&self.customer, CustomerCommand::AddAccount { account: account.clone(), currency })?;
        books.execute(&account, AccountCommand::Open(self.clone()))?;
        Ok(answer(json!({ "id": account, "balance": Money::zero(currency) })))
    }
}

impl ChangeTerms {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        books.execute(&self.account, AccountCommand::ChangeTerms(self.terms))?;
        Ok(answer(json!({ "id": self.account })))
    }
}

impl HoldFunds {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let hold = books.new_id::<Hold>();
        books.execute(&self.account, AccountCommand::Hold { hold: hold.clone(), amount: self.amount })?;
        Ok(answer(json!({ "id": hold, "account": self.account })))
    }
}

impl ReleaseHold {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        books.execute(&self.account, AccountCommand::ReleaseHold { hold: self.hold.clone() })?;
        Ok(answer(json!({ "id": self.hold, "account": self.account })))
    }
}

impl AdjustAccount {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        reason_given(books)?;
        let today = today(books, &self.account)?;
        let entry = books.get(&self.account).ledger()?.next_entry();
        let description = self.description.clone();
        if self.amount.is_negative() {
            let charge = Charge {
                origin: ChargeOrigin::Adjustment,
                amount: self.amount.abs(),
                description,
                revenue: None,
                due_on: today,
                reverses: None,
                overdraft: Overdraft::Permitted,
            };
            books.execute(&self.account, AccountCommand::Charge(charge))?;
            allocation::apply_credit(books, &self.account, entry)?;
        } else {
            let (origin, amount) = (FundsOrigin::Adjustment, self.amount);
            let credit = Credit { origin, amount, description, revenue: None, reverses: None };
            allocation::credit(books, &self.account, credit)?;
            books.execute(&self.account, AccountCommand::CoverOldest { funds: entry })?;
        }
        allocation::settle_invoices(books)?;
        let balance = books.get(&self.account).ledger()?.balance;
        Ok(answer(json!({ "account": self.account, "entry": entry, "balance": balance })))
    }
}
