//! A transfer between two accounts of a customer: both legs or none, at a rate that both legs record.

use rust_decimal::Decimal;
use serde_json::json;

use super::{Answer, OperationRejection, Refusal, allocation, answer, today};
use crate::{
    domain::{
        AccountId, Money, Rounding,
        account::{AccountCommand, Charge, ChargeOrigin, Credit, FundsOrigin, Overdraft, Transfer, TransferLeg},
    },
    state::UnitOfWork,
};

#[derive(Clone, Debug)]
pub struct TransferFunds {
    pub from: AccountId,
    pub to: AccountId,
    /// In the currency of the account that sends.
    pub amount: Money,
    /// Received units for one unit sent.
    pub rate: Decimal,
    pub rate_source: String,
}

impl TransferFunds {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        if self.from == self.to {
            return Err(OperationRejection::SameAccount.into());
        }
        let in_range = self.rate > Decimal::ZERO && self.rate < Decimal::from(10_000_000_000_u64);
        if !in_range || self.rate.normalize().scale() > 10 || self.rate_source.trim().is_empty() {
            return Err(OperationRejection::RateOutOfRange.into());
        }
        let from = books.get(&self.from).ledger()?;
        let (sender, charge) = (from.customer.clone(), from.next_entry());
        let to = books.get(&self.to).ledger().map_err(|_| OperationRejection::NoRecipient)?;
        let (recipient, funds, currency) = (to.customer.clone(), to.next_entry(), to.currency());
        if sender != recipient {
            return Err(OperationRejection::Foreign.into());
        }
        let exact = self.amount.amount().checked_mul(self.rate).ok_or(OperationRejection::ConversionOutOfRange)?;
        let received = Money::round(exact, currency, Rounding::default());
        if received.is_zero() || Money::new(received.amount(), currency).is_err() {
            return Err(OperationRejection::ConversionOutOfRange.into());
        }

        let transfer = books.new_id::<Transfer>();
        let leg = |peer: &AccountId| {
            Box::new(TransferLeg {
                transfer: transfer.clone(),
                peer: peer.clone(),
                sent: self.amount,
                received,
                rate: self.rate,
                rate_source: self.rate_source.clone(),
            })
        };
        let out = Charge {
            origin: ChargeOrigin::Transfer(leg(&self.to)),
            amount: self.amount,
            description: format!("transfer of {} for {received}", self.amount),
            revenue: None,
            due_on: today(books, &self.from)?,
            reverses: None,
            overdraft: Overdraft::Refused,
        };
        books.execute(&self.from, AccountCommand::Charge(out))?;
        books.execute(&self.from, AccountCommand::ApplyCredit { charge })?;
        let credit = Credit {
            origin: FundsOrigin::Transfer(leg(&self.from)),
            amount: received,
            description: format!("transfer of {} for {received}", self.amount),
            revenue: None,
            reverses: None,
        };
        allocation::credit(books, &self.to, credit)?;
        books.execute(&self.to, AccountCommand::CoverOldest { funds })?;
        allocation::settle_invoices(books)?;
        Ok(answer(json!({ "id": transfer, "sent": self.amount, "received": received })))
    }
}
