//! Refunds: money of a payment on its way back to the payer.

use serde_json::json;

use super::{Answer, Refusal, answer, payment::take_back, today};
use crate::{
    domain::{
        Money, PaymentId, Refund, RefundId,
        account::{AccountCommand, Charge, ChargeOrigin, Credit, FundsOrigin, Overdraft},
        payment::{PaymentCommand, PaymentRejection, Status},
    },
    operations::allocation,
    writer::UnitOfWork,
};

/// Takes the money off the account; the gateway is asked afterwards.
#[derive(Clone, Debug)]
pub struct StartRefund {
    pub payment: PaymentId,
    pub amount: Money,
}

#[derive(Clone, Debug)]
pub struct SettleRefund {
    pub payment: PaymentId,
    pub refund: RefundId,
}

/// The gateway could not pay it back: the money returns to the account.
#[derive(Clone, Debug)]
pub struct FailRefund {
    pub payment: PaymentId,
    pub refund: RefundId,
    pub gateway_reason: String,
}

impl StartRefund {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let payment = books.get(&self.payment).started()?;
        let (account, status) = (payment.account.clone(), payment.status);
        let funds = payment.entry.ok_or(PaymentRejection::WrongStatus { status, wanted: "refunded" })?;
        let ledger = books.get(&account).ledger()?;
        ledger.same_currency(self.amount)?;
        // Only money that nothing was bought with can go back.
        let (refundable, charge) = (ledger.refundable(funds), ledger.next_entry());
        let (refund, amount) = (books.new_id::<Refund>(), self.amount);
        let start = PaymentCommand::StartRefund { refund: refund.clone(), amount, refundable, entry: charge };
        books.execute(&self.payment, start)?;
        let out = Charge {
            origin: ChargeOrigin::Refund(refund.clone()),
            amount,
            description: format!("refund of payment {}", self.payment),
            revenue: None,
            due_on: today(books, &account)?,
            reverses: None,
            overdraft: Overdraft::Permitted,
        };
        books.execute(&account, AccountCommand::Charge(out))?;
        books.execute(&account, AccountCommand::Allocate { funds, charge, amount })?;
        standing(books, &self.payment, &refund, "pending")
    }
}

impl SettleRefund {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        books.execute(&self.payment, PaymentCommand::SettleRefund { refund: self.refund.clone() })?;
        standing(books, &self.payment, &self.refund, "settled")
    }
}

impl FailRefund {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let payment = books.get(&self.payment).started()?;
        let account = payment.account.clone();
        let under_way = payment.under_way(&self.refund)?;
        let gateway_reason = self.gateway_reason.clone();
        let description = format!("refund failed: {gateway_reason}");
        books.execute(&self.payment, PaymentCommand::FailRefund { refund: self.refund.clone(), gateway_reason })?;

        // The payment's own money is free again; what comes back covers the entry that had taken it out.
        let charge = under_way.entry;
        let funds = books.get(&account).ledger()?.next_entry();
        books.execute(&account, AccountCommand::Uncover { charge, until_uncovered: under_way.amount })?;
        let back = Credit {
            origin: FundsOrigin::Refund(self.refund.clone()),
            amount: under_way.amount,
            description,
            revenue: None,
            reverses: Some(charge),
        };
        allocation::credit(books, &account, back)?;
        books.execute(&account, AccountCommand::CoverCharge { funds, charge })?;
        let payment = books.get(&self.payment).started()?.clone();
        if payment.status == Status::Fraudulent {
            // The gateway has taken the whole payment back, and this part of it never left.
            take_back(books, &self.payment, &payment, "taken back by the gateway")?;
        }
        allocation::spread_free_credit(books, &account)?;
        allocation::settle_invoices(books)?;
        standing(books, &self.payment, &self.refund, "failed")
    }
}

fn standing(
    books: &mut UnitOfWork<'_>,
    payment: &PaymentId,
    refund: &RefundId,
    status: &str,
) -> Result<Answer, Refusal> {
    let started = books.get(payment).started()?.clone();
    let ledger = books.get(&started.account).ledger()?;
    let refundable = started.entry.map_or(Money::zero(ledger.currency()), |funds| ledger.refundable(funds));
    let balance = ledger.balance;
    Ok(answer(json!({
        "id": refund,
        "payment": payment,
        "status": status,
        "refundable": refundable,
        "balance": balance,
    })))
}
