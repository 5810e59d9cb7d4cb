//! Refunds: money of a payment on its way back to the payer.

use serde_json::json;

use super::{
    Answer, Refusal, answer,
    dispute::take_out,
    payment::{is_plain, take_back},
    today,
};
use crate::{
    domain::{
        AccountId, Money, PaymentId, Refund, RefundId,
        account::{AccountCommand, Charge, ChargeOrigin, Credit, FundsOrigin, Overdraft},
        payment::{MadeRefund, PaymentCommand, PaymentRejection, RefundStatus, Started, Status},
    },
    operations::allocation,
    state::UnitOfWork,
};

/// Takes the money off the account; the gateway is asked afterwards, unless it has made the refund already.
#[derive(Clone, Debug)]
pub struct StartRefund {
    pub payment: PaymentId,
    pub amount: Money,
    /// The gateway's own id of a refund that was made there. The same id any number of times is one refund.
    pub gateway_refund: Option<String>,
}

#[derive(Clone, Debug)]
pub struct SettleRefund {
    pub payment: PaymentId,
    pub refund: RefundId,
    /// The gateway's own id of the refund.
    pub gateway_refund: Option<String>,
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
        if let Some(gateway_refund) = &self.gateway_refund {
            let refund = made_at_the_gateway(books, &self.payment, gateway_refund, self.amount)?;
            return standing(books, &self.payment, &refund, RefundStatus::Settled);
        }
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
        let out = refunded(books, &self.payment, &account, &refund, amount)?;
        books.execute(&account, AccountCommand::Charge(out))?;
        books.execute(&account, AccountCommand::Allocate { funds, charge, amount })?;
        standing(books, &self.payment, &refund, RefundStatus::Pending)
    }
}

impl SettleRefund {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let (refund, gateway_refund) = (self.refund.clone(), self.gateway_refund.clone());
        let is_settled = books.get(&self.payment).started()?.is_settled(&refund);
        match gateway_refund {
            // A notice of the gateway may have settled it before.
            None if is_settled => {}
            Some(name) if is_settled => {
                let made = made_before(books, &self.payment, &name)?;
                let payment = books.get(&self.payment).started()?;
                let is_named = !payment.unnamed_refunds.contains_key(refund.as_str());
                match (made, payment.stands_for(&refund)) {
                    (Some(made), _) if made.refund == refund => {}
                    (None, Some(other)) if is_named => {
                        let settle = PaymentCommand::SettleRefund { refund: other.clone(), gateway_refund: Some(name) };
                        books.execute(&self.payment, settle)?;
                        return standing(books, &self.payment, &other, RefundStatus::Settled);
                    }
                    _ => books.execute(&self.payment, PaymentCommand::NameRefund { refund, gateway_refund: name })?,
                }
            }
            gateway_refund => {
                if let Some(name) = &gateway_refund {
                    made_before(books, &self.payment, name)?;
                }
                books.execute(&self.payment, PaymentCommand::SettleRefund { refund, gateway_refund })?;
            }
        }
        standing(books, &self.payment, &self.refund, RefundStatus::Settled)
    }
}

/// A refund that the gateway has made. One that is known by its id stands as it is. Else it is one of that
/// amount that was settled without an id, or that is under way. Else it is another one, and its money has left whatever it was tied to.
pub(super) fn made_at_the_gateway(
    books: &mut UnitOfWork<'_>,
    payment: &PaymentId,
    gateway_refund: &str,
    amount: Money,
) -> Result<RefundId, Refusal> {
    let started = books.get(payment).started()?.clone();
    let account = &started.account;
    books.get(account).ledger()?.same_currency(amount)?;
    if let Some(MadeRefund { refund, amount: recorded }) = made_before(books, payment, gateway_refund)? {
        return if recorded == amount {
            Ok(refund)
        } else {
            Err(PaymentRejection::RefundAmountDiffers { given: amount, recorded }.into())
        };
    }
    let gateway_refund = gateway_refund.to_owned();
    // Of two that it may be, the one that is settled: the other can still fail.
    if let Some(refund) = started.unnamed_of(amount) {
        books.execute(payment, PaymentCommand::NameRefund { refund: refund.clone(), gateway_refund })?;
        return Ok(refund);
    }
    let refund = match started.under_way_of(amount) {
        Some(refund) => refund,
        None => record(books, payment, &started, amount)?,
    };
    let settle = PaymentCommand::SettleRefund { refund: refund.clone(), gateway_refund: Some(gateway_refund) };
    books.execute(payment, settle)?;
    Ok(refund)
}

/// The refund that bears the gateway's id.
fn made_before(
    books: &mut UnitOfWork<'_>,
    payment: &PaymentId,
    gateway_refund: &str,
) -> Result<Option<MadeRefund>, Refusal> {
    if !is_plain(gateway_refund) {
        return Err(PaymentRejection::GatewayRefundMalformed.into());
    }
    Ok(books.get(payment).started()?.made_refunds.get(gateway_refund).cloned())
}

/// Takes the money of a refund that was made elsewhere off the account, which may go negative.
fn record(
    books: &mut UnitOfWork<'_>,
    payment: &PaymentId,
    started: &Started,
    amount: Money,
) -> Result<RefundId, Refusal> {
    let (account, status) = (&started.account, started.status);
    let (refund, entry) = (books.new_id::<Refund>(), books.get(account).ledger()?.next_entry());
    books.execute(payment, PaymentCommand::RecordRefund { refund: refund.clone(), amount, entry })?;
    let funds = started.entry.ok_or(PaymentRejection::WrongStatus { status, wanted: "refunded" })?;
    let out = refunded(books, payment, account, &refund, amount)?;
    take_out(books, account, funds, out)?;
    Ok(refund)
}

fn refunded(
    books: &mut UnitOfWork<'_>,
    payment: &PaymentId,
    account: &AccountId,
    refund: &RefundId,
    amount: Money,
) -> Result<Charge, Refusal> {
    Ok(Charge {
        origin: ChargeOrigin::Refund(refund.clone()),
        amount,
        description: format!("refund of payment {payment}"),
        revenue: None,
        due_on: today(books, account)?,
        reverses: None,
        overdraft: Overdraft::Permitted,
    })
}

impl FailRefund {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let payment = books.get(&self.payment).started()?;
        let account = payment.account.clone();
        // A notice of the gateway may have been taken for this one where it spoke of another of the same amount.
        let refund = payment.stands_for(&self.refund).unwrap_or_else(|| self.refund.clone());
        let under_way = payment.under_way(&refund)?;
        let gateway_reason = self.gateway_reason.clone();
        let description = format!("refund failed: {gateway_reason}");
        books.execute(&self.payment, PaymentCommand::FailRefund { refund: refund.clone(), gateway_reason })?;

        // The payment's own money is free again; what comes back covers the entry that had taken it out.
        let charge = under_way.entry;
        let funds = books.get(&account).ledger()?.next_entry();
        books.execute(&account, AccountCommand::Uncover { charge, until_uncovered: under_way.amount })?;
        let back = Credit {
            origin: FundsOrigin::Refund(refund.clone()),
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
        standing(books, &self.payment, &refund, RefundStatus::Failed)
    }
}

fn standing(
    books: &mut UnitOfWork<'_>,
    payment: &PaymentId,
    refund: &RefundId,
    status: RefundStatus,
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
