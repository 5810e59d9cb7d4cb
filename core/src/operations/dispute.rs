//! Disputes: money of a payment that the gateway takes back, and gives back if the dispute is won.

use serde_json::json;

use super::{
    Answer, Refusal, allocation, answer,
    payment::{cover_again, is_plain, take_back},
    today,
};
use crate::{
    domain::{
        AccountId, Dispute, DisputeId, Money, PaymentId,
        account::{AccountCommand, Charge, ChargeOrigin, Credit, Entry, FundsOrigin, Overdraft},
        payment::{DisputeStage, PaymentCommand, PaymentRejection, Status},
    },
    state::UnitOfWork,
};

/// The gateway takes back any amount of a payment. The same dispute any number of times is one dispute.
#[derive(Clone, Debug)]
pub struct OpenDispute {
    pub payment: PaymentId,
    /// The gateway's own dispute id.
    pub gateway_dispute: String,
    pub amount: Money,
    pub gateway_reason: String,
}

/// The gateway gives the money back.
#[derive(Clone, Debug)]
pub struct WinDispute {
    pub payment: PaymentId,
    pub dispute: DisputeId,
}

/// The money stays with the payer.
#[derive(Clone, Debug)]
pub struct LoseDispute {
    pub payment: PaymentId,
    pub dispute: DisputeId,
}

impl OpenDispute {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let name = Some(named(&self.gateway_dispute)?);
        let dispute = open(books, &self.payment, name, self.amount, &self.gateway_reason)?;
        standing(books, &self.payment, &dispute)
    }
}

impl WinDispute {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        win(books, &self.payment, &self.dispute)?;
        standing(books, &self.payment, &self.dispute)
    }
}

impl LoseDispute {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        lose(books, &self.payment, &self.dispute)?;
        standing(books, &self.payment, &self.dispute)
    }
}

/// The gateway's own dispute id, as it can be recorded.
pub(super) fn named(gateway_dispute: &str) -> Result<String, PaymentRejection> {
    if is_plain(gateway_dispute) {
        Ok(gateway_dispute.to_owned())
    } else {
        Err(PaymentRejection::GatewayDisputeMalformed)
    }
}

/// The dispute of this payment that bears the gateway's id, with the amount that the gateway speaks of.
pub(super) fn find(
    books: &mut UnitOfWork<'_>,
    payment: &PaymentId,
    gateway_dispute: &str,
    amount: Money,
) -> Result<DisputeId, Refusal> {
    let name = Some(named(gateway_dispute)?);
    let started = books.get(payment).started()?;
    let (dispute, recorded) = started.dispute(&name, amount).ok_or(PaymentRejection::UnknownDispute)?;
    same_amount(amount, recorded.amount)?;
    Ok(dispute)
}

/// The account is debited at once and may go negative; expenses stay. A dispute that is known stands as it is.
pub(super) fn open(
    books: &mut UnitOfWork<'_>,
    payment: &PaymentId,
    gateway_dispute: Option<String>,
    amount: Money,
    gateway_reason: &str,
) -> Result<DisputeId, Refusal> {
    let started = books.get(payment).started()?.clone();
    let account = &started.account;
    books.get(account).ledger()?.same_currency(amount)?;
    if let Some((known, recorded)) = started.dispute(&gateway_dispute, amount) {
        same_amount(amount, recorded.amount)?;
        return Ok(known);
    }
    let (dispute, entry) = (books.new_id::<Dispute>(), books.get(account).ledger()?.next_entry());
    let gateway_reason = gateway_reason.to_owned();
    let description = format!("disputed at the gateway: {gateway_reason}");
    let command =
        PaymentCommand::OpenDispute { dispute: dispute.clone(), gateway_dispute, amount, entry, gateway_reason };
    books.execute(payment, command)?;
    let status = started.status;
    let funds = started.entry.ok_or(PaymentRejection::WrongStatus { status, wanted: "disputed" })?;
    let taken = Charge {
        origin: ChargeOrigin::Payment(payment.clone()),
        amount,
        description,
        revenue: None,
        due_on: today(books, account)?,
        reverses: None,
        overdraft: Overdraft::Permitted,
    };
    take_out(books, account, funds, taken)?;
    Ok(dispute)
}

/// Money leaves whatever it is tied to: first what these funds have, as much of it as is needed; the rest is debt.
pub(super) fn take_out(
    books: &mut UnitOfWork<'_>,
    account: &AccountId,
    funds: Entry,
    taken: Charge,
) -> Result<(), Refusal> {
    let ledger = books.get(account).ledger()?;
    let (charge, is_ahead) = (ledger.next_entry(), ledger.ahead.contains_key(&funds));
    let until_free = taken.amount;
    if is_ahead {
        // What is dated ahead covers nothing of today; once it takes effect it closes this debt.
        books.execute(account, AccountCommand::Charge(taken))?;
    } else {
        books.execute(account, AccountCommand::Free { funds, until_free })?;
        books.execute(account, AccountCommand::Charge(taken))?;
        books.execute(account, AccountCommand::CoverCharge { funds, charge })?;
    }
    allocation::spread_free_credit(books, account)?;
    allocation::settle_invoices(books)
}

/// The amount comes back once, and covers again.
pub(super) fn win(books: &mut UnitOfWork<'_>, payment: &PaymentId, dispute: &DisputeId) -> Result<(), Refusal> {
    let started = books.get(payment).started()?.clone();
    let account = &started.account;
    let disputed = started.disputed(dispute)?;
    if disputed.stage == DisputeStage::Won {
        return Ok(());
    }
    if allocation::is_dated_ahead(books) {
        return Err(PaymentRejection::WonAhead.into());
    }
    let back = books.get(account).ledger()?.next_entry();
    books.execute(payment, PaymentCommand::WinDispute { dispute: dispute.clone(), entry: back })?;

    let (charge, amount) = (disputed.entry, disputed.amount);
    let given_back = Credit {
        origin: FundsOrigin::Payment(payment.clone()),
        amount,
        description: "dispute won at the gateway".into(),
        revenue: None,
        reverses: Some(charge),
    };
    allocation::credit(books, account, given_back)?;
    books.execute(account, AccountCommand::Uncover { charge, until_uncovered: amount })?;
    books.execute(account, AccountCommand::CoverCharge { funds: back, charge })?;
    if started.status == Status::Fraudulent {
        // The gateway has taken the whole payment back, and this part of it is the payer's, too.
        take_back(books, payment, &started, "taken back by the gateway")?;
    } else {
        cover_again(books, &started)?;
    }
    allocation::spread_free_credit(books, account)?;
    allocation::settle_invoices(books)
}

/// Nothing moves any more.
pub(super) fn lose(books: &mut UnitOfWork<'_>, payment: &PaymentId, dispute: &DisputeId) -> Result<(), Refusal> {
    if books.get(payment).started()?.disputed(dispute)?.stage == DisputeStage::Lost {
        return Ok(());
    }
    Ok(books.execute(payment, PaymentCommand::LoseDispute { dispute: dispute.clone() })?)
}

fn same_amount(given: Money, recorded: Money) -> Result<(), PaymentRejection> {
    if given == recorded { Ok(()) } else { Err(PaymentRejection::DisputeAmountDiffers { given, recorded }) }
}

fn standing(books: &mut UnitOfWork<'_>, payment: &PaymentId, dispute: &DisputeId) -> Result<Answer, Refusal> {
    let started = books.get(payment).started()?.clone();
    let balance = books.get(&started.account).ledger()?.balance;
    let disputed = started.disputed(dispute)?;
    Ok(answer(json!({
        "id": dispute,
        "payment": payment,
        "gateway_dispute": disputed.gateway_dispute,
        "status": disputed.stage,
        "amount": disputed.amount,
        "balance": balance,
    })))
}
