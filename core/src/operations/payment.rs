//! Payments: from the first request to the money on the account, whoever reports it and however often.

use serde_json::json;

use super::{Answer, OperationRejection, Refusal, allocation, answer, dispute, order, refund, today};
use crate::{
    domain::{
        AccountId, Id, IdError, Money, Payment, PaymentId,
        account::{AccountCommand, Charge, ChargeOrigin, Credit, Entry, FundsOrigin, Overdraft},
        order::OrderCommand,
        payment::{PaymentCommand, PaymentRejection, PaymentRequest, Purpose, Started, Status},
    },
    state::UnitOfWork,
};

/// The next step of a payment that has been started.
#[derive(Clone, Debug)]
pub struct AdvancePayment {
    pub payment: PaymentId,
    pub step: PaymentStep,
}

#[derive(Clone, Debug)]
pub enum PaymentStep {
    Submit,
    /// Staff treat the money as good although it has not been seen.
    Pledge,
    WithdrawPledge,
    Credit {
        document_number: Option<String>,
        /// What came, if it is not what was asked for.
        amount: Option<Money>,
    },
    Fail {
        gateway_reason: String,
    },
    Delete,
    MarkFraudulent {
        gateway_reason: String,
    },
}

/// A gateway reports what became of a payment. The same notice any number of times is one payment.
#[derive(Clone, Debug)]
pub struct GatewayNotice {
    /// The provider's name for the gateway, such as `stripe`.
    pub gateway: String,
    /// The gateway's own payment id.
    pub gateway_payment: String,
    /// Our payment, if the gateway was told of one.
    pub payment: Option<PaymentId>,
    /// Where the money goes; needed when the payment is not ours.
    pub account: AccountId,
    pub amount: Money,
    pub purpose: Purpose,
    pub outcome: NoticeOutcome,
}

#[derive(Clone, Debug)]
pub enum NoticeOutcome {
    Succeeded,
    Failed {
        gateway_reason: String,
    },
    Fraudulent {
        gateway_reason: String,
    },
    /// The amount of the notice is the dispute's.
    Disputed {
        gateway_dispute: String,
        gateway_reason: String,
    },
    DisputeWon {
        gateway_dispute: String,
    },
    DisputeLost {
        gateway_dispute: String,
    },
    /// The amount of the notice is the refund's.
    Refunded {
        gateway_refund: String,
    },
}

impl PaymentRequest {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let ledger = books.get(&self.account).ledger()?;
        ledger.same_currency(self.amount)?;
        let customer = ledger.customer.clone();
        if let Some(payer) = &self.payer {
            books.get(payer).snapshot(payer, &customer)?;
        }
        purpose_of_account(books, &self.account, &self.purpose)?;
        let payment = books.new_id::<Payment>();
        books.execute(&payment, PaymentCommand::Start(self.clone()))?;
        match &self.purpose {
            Purpose::Order(order) => {
                books.execute(order, OrderCommand::AwaitPayment { payment: payment.clone() })?;
            }
            Purpose::Advance | Purpose::Invoice(_) => {}
        }
        standing(books, &payment)
    }
}

impl AdvancePayment {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let payment = &self.payment;
        match self.step.clone() {
            PaymentStep::Submit => books.execute(payment, PaymentCommand::Submit)?,
            PaymentStep::Pledge => {
                let amount = books.get(payment).started()?.amount;
                credit(books, payment, amount, |entry| PaymentCommand::Pledge { entry })?;
            }
            PaymentStep::WithdrawPledge => {
                let started = books.get(payment).started()?.clone();
                books.execute(payment, PaymentCommand::WithdrawPledge)?;
                take_back(books, payment, &started, "pledge withdrawn")?;
            }
            PaymentStep::Credit { document_number, amount } => {
                let asked = books.get(payment).started()?.amount;
                credit_or_confirm(books, payment, amount.unwrap_or(asked), document_number, None)?;
            }
            PaymentStep::Fail { gateway_reason } => fail(books, payment, gateway_reason)?,
            PaymentStep::Delete => {
                let purpose = books.get(payment).started()?.purpose.clone();
                books.execute(payment, PaymentCommand::Delete)?;
                release_order(books, payment, &purpose)?;
            }
            PaymentStep::MarkFraudulent { gateway_reason } => mark_fraudulent(books, payment, gateway_reason)?,
        }
        standing(books, payment)
    }
}

impl GatewayNotice {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let payment = self.payment(books)?;
        let started = books.get(&payment).started()?.clone();
        if started.account != self.account {
            return Err(OperationRejection::Foreign.into());
        }
        books.get(&self.account).ledger()?.same_currency(self.amount)?;
        match (&self.outcome, started.status) {
            // What is settled stays settled: the notice has been heard before, or came late.
            (
                NoticeOutcome::Succeeded,
                Status::Credited | Status::PartlyReturned | Status::Returned | Status::Fraudulent,
            ) => {
                let (notice, payment) = (self.amount, started.received);
                if payment.is_positive() && notice != payment {
                    return Err(PaymentRejection::AmountDiffers { notice, payment }.into());
                }
            }
            (NoticeOutcome::Succeeded, _) => {
                let gateway = Some(self.gateway_payment(books)?);
                credit_or_confirm(books, &payment, self.amount, None, gateway)?;
            }
            (
                NoticeOutcome::Failed { .. },
                Status::Failed | Status::Credited | Status::PartlyReturned | Status::Returned | Status::Fraudulent,
            ) => {}
            (NoticeOutcome::Failed { gateway_reason }, Status::Pledged) => {
                books.execute(&payment, PaymentCommand::WithdrawPledge)?;
                take_back(books, &payment, &started, "pledge withdrawn: the payment failed")?;
                fail(books, &payment, gateway_reason.clone())?;
            }
            (NoticeOutcome::Failed { gateway_reason }, _) => fail(books, &payment, gateway_reason.clone())?,
            (NoticeOutcome::Fraudulent { .. }, Status::Fraudulent) => {}
            // Of another amount, or of a payment that went back before, it is a dispute that is lost at once.
            (NoticeOutcome::Fraudulent { gateway_reason }, status)
                if status == Status::Returned
                    || (matches!(status, Status::Credited | Status::PartlyReturned)
                        && self.amount != started.received) =>
            {
                let dispute = dispute::open(books, &payment, None, self.amount, gateway_reason)?;
                dispute::lose(books, &payment, &dispute)?;
            }
            // The money may still come, and what is wrong about it is reported again then.
            (NoticeOutcome::Fraudulent { .. }, Status::Pledged) if self.amount != started.amount => {
                return Err(PaymentRejection::AmountDiffers { notice: self.amount, payment: started.amount }.into());
            }
            (NoticeOutcome::Fraudulent { gateway_reason }, _) => {
                mark_fraudulent(books, &payment, gateway_reason.clone())?;
            }
            (NoticeOutcome::Disputed { gateway_dispute, gateway_reason }, _) => {
                let name = Some(dispute::named(gateway_dispute)?);
                dispute::open(books, &payment, name, self.amount, gateway_reason)?;
            }
            (NoticeOutcome::DisputeWon { gateway_dispute }, _) => {
                let dispute = dispute::find(books, &payment, gateway_dispute, self.amount)?;
                dispute::win(books, &payment, &dispute)?;
            }
            (NoticeOutcome::DisputeLost { gateway_dispute }, _) => {
                let dispute = dispute::find(books, &payment, gateway_dispute, self.amount)?;
                dispute::lose(books, &payment, &dispute)?;
            }
            (NoticeOutcome::Refunded { gateway_refund }, _) => {
                refund::made_at_the_gateway(books, &payment, gateway_refund, self.amount)?;
            }
        }
        standing(books, &payment)
    }

    /// The payment that the notice speaks of: ours if it names one, else the one whose stream bears the gateway's id.
    fn payment(&self, books: &mut UnitOfWork<'_>) -> Result<PaymentId, Refusal> {
        let by_gateway = self.gateway_payment(books)?;
        match (books.get(&by_gateway).clone(), &self.payment) {
            (Payment::Started(_), None) => {}
            (Payment::Started(_), Some(ours)) => self.paid_elsewhere(books, ours, &by_gateway)?,
            (Payment::AssignedTo(ours), None) => return Ok(ours),
            (Payment::AssignedTo(ours), Some(named)) if ours == *named => return Ok(ours),
            (Payment::AssignedTo(payment), Some(_)) => {
                return Err(PaymentRejection::AssignedElsewhere { payment }.into());
            }
            (Payment::Unknown, Some(named)) => {
                let ours = books.get(named).started()?;
                let other_money =
                    ours.credited_by.clone().filter(|gateway| !is_same_spelt_otherwise(gateway, &by_gateway));
                match (&self.outcome, other_money) {
                    (NoticeOutcome::Succeeded, None) => {
                        let is_here = ours.received.is_positive();
                        books.execute(&by_gateway, PaymentCommand::AssignTo { payment: named.clone() })?;
                        if is_here {
                            // Staff have credited it; further money of the gateway is other money.
                            books.execute(named, PaymentCommand::Recognise { gateway: by_gateway })?;
                        }
                        return Ok(named.clone());
                    }
                    // The payer has paid a second time: that is other money, and theirs.
                    (NoticeOutcome::Succeeded, Some(_)) => self.start(books, &by_gateway, Purpose::Advance)?,
                    (_, None) => return Ok(named.clone()),
                    (_, Some(payment)) => return Err(PaymentRejection::AssignedElsewhere { payment }.into()),
                }
            }
            // Money that nobody has reported yet neither goes back nor is disputed: the notice comes again.
            (Payment::Unknown, None) if !self.outcome.announces() => {
                return Err(PaymentRejection::NotStarted.into());
            }
            (Payment::Unknown, None) => {
                purpose_of_account(books, &self.account, &self.purpose)?;
                self.start(books, &by_gateway, self.purpose.clone())?;
            }
        }
        Ok(by_gateway)
    }

    fn start(&self, books: &mut UnitOfWork<'_>, payment: &PaymentId, purpose: Purpose) -> Result<(), Refusal> {
        books.get(&self.account).ledger()?.same_currency(self.amount)?;
        let request = PaymentRequest {
            account: self.account.clone(),
            payer: None,
            method: self.gateway.to_lowercase(),
            amount: self.amount,
            purpose,
        };
        Ok(books.execute(payment, PaymentCommand::Start(request))?)
    }

    /// The gateway reported the money before it said which payment of ours it is: ours is not waited for any more,
    /// and its order is served by the money that is here.
    fn paid_elsewhere(
        &self,
        books: &mut UnitOfWork<'_>,
        ours: &PaymentId,
        by_gateway: &PaymentId,
    ) -> Result<(), Refusal> {
        let started = books.get(ours).started()?.clone();
        let waiting = matches!(started.status, Status::New | Status::InProgress);
        let paid = books.get(by_gateway).started()?;
        let (account, entry) = (paid.account.clone(), paid.entry);
        let is_ahead = entry
            .is_some_and(|funds| books.get(&account).ledger().is_ok_and(|ledger| ledger.ahead.contains_key(&funds)));
        if !waiting || is_ahead || account != started.account {
            return Ok(());
        }
        fail(books, ours, format!("paid as {by_gateway}"))?;
        // A notice that takes the money back serves nothing with it.
        let came = matches!(self.outcome, NoticeOutcome::Succeeded);
        if let (true, Purpose::Order(order), Some(funds)) = (came, &started.purpose, entry) {
            order::serve(books, order, by_gateway, funds)?;
            allocation::settle_invoices(books)?;
        }
        Ok(())
    }

    /// The stream that bears the gateway's id. Names of gateways that differ in case only are one gateway.
    fn gateway_payment(&self, books: &mut UnitOfWork<'_>) -> Result<PaymentId, Refusal> {
        if self.gateway_payment.trim().is_empty() {
            return Err(PaymentRejection::GatewayPaymentMissing.into());
        }
        // The colon parts the two names, so that no two pairs make one identifier.
        if !is_plain(&self.gateway) || self.gateway.contains(':') || !is_plain(&self.gateway_payment) {
            return Err(OperationRejection::Name(IdError::MalformedName).into());
        }
        let id = |gateway: &str| Id::named(&format!("{gateway}:{}", self.gateway_payment));
        let folded = id(&self.gateway.to_lowercase()).map_err(OperationRejection::from)?;
        let as_given = id(&self.gateway).map_err(OperationRejection::from)?;
        // Streams were named as the gateway was spelt, before spellings were one: their notices find them again.
        if as_given != folded && *books.get(&as_given) != Payment::Unknown {
            return Ok(as_given);
        }
        // The same where the notice spells it in yet another way.
        match books.get(&folded) {
            Payment::AssignedTo(before) if is_same_spelt_otherwise(before, &folded) => Ok(before.clone()),
            _ => Ok(folded),
        }
    }
}

impl NoticeOutcome {
    /// Whether it can be the first that is heard of a payment.
    fn announces(&self) -> bool {
        match self {
            Self::Succeeded | Self::Failed { .. } | Self::Fraudulent { .. } => true,
            Self::Disputed { .. } | Self::DisputeWon { .. } | Self::DisputeLost { .. } | Self::Refunded { .. } => false,
        }
    }
}

/// Whether a name given by a gateway can be recorded as it is, so that the same name is found again.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.trim() == name
}

/// Whether both are one payment of one gateway, whose name was spelt in other letters before spellings were one.
fn is_same_spelt_otherwise(one: &PaymentId, other: &PaymentId) -> bool {
    in_small_letters(one) == in_small_letters(other)
}

/// The stream of a gateway's payment under the gateway's name in small letters.
pub fn in_small_letters(payment: &PaymentId) -> PaymentId {
    let folded = payment.as_str().split_once(':').map(|(gateway, id)| format!("{}:{id}", gateway.to_lowercase()));
    // Small letters may have more bytes, and a name has only so many.
    folded.and_then(|folded| folded.parse().ok()).unwrap_or_else(|| payment.clone())
}

/// The order or invoice that a payment is meant for is charged to the account that the payment goes to.
fn purpose_of_account(books: &mut UnitOfWork<'_>, account: &AccountId, purpose: &Purpose) -> Result<(), Refusal> {
    let charged = match purpose {
        Purpose::Advance => return Ok(()),
        Purpose::Order(order) => &books.get(order).placed()?.account,
        Purpose::Invoice(invoice) => &books.get(invoice).standing()?.account,
    };
    if charged == account { Ok(()) } else { Err(OperationRejection::Foreign.into()) }
}

fn credit_or_confirm(
    books: &mut UnitOfWork<'_>,
    payment: &PaymentId,
    amount: Money,
    document_number: Option<String>,
    gateway: Option<PaymentId>,
) -> Result<(), Refusal> {
    let started = books.get(payment).started()?.clone();
    let account = &started.account;
    books.get(account).ledger()?.same_currency(amount)?;
    match (started.status, started.entry) {
        // The pledge has credited the account already; now the money is here.
        (Status::Pledged, Some(entry)) if amount == started.amount => {
            books.execute(payment, PaymentCommand::Credit { entry, amount, document_number, gateway })?;
            // A pledge may have been dated ahead of the money.
            if !allocation::is_dated_ahead(books) && books.get(account).ledger()?.ahead.contains_key(&entry) {
                books.execute(account, AccountCommand::SetFree { funds: entry })?;
                serve(books, payment, entry)?;
                allocation::settle_invoices(books)?;
            }
            return Ok(());
        }
        // Other money came than was pledged: it takes the place of the pledge.
        (Status::Pledged, Some(_)) => {
            books.execute(payment, PaymentCommand::WithdrawPledge)?;
            withdraw(books, payment, &started, "pledge corrected to what came")?;
        }
        _ => {}
    }
    credit(books, payment, amount, |entry| PaymentCommand::Credit { entry, amount, document_number, gateway })?;
    if started.status == Status::Pledged {
        allocation::spread_free_credit(books, account)?;
        allocation::settle_invoices(books)?;
    }
    Ok(())
}

/// Money on the account: it closes a debt that no limit allows, then serves its purpose, then what is due longest;
/// what is left is credit.
fn credit(
    books: &mut UnitOfWork<'_>,
    payment: &PaymentId,
    amount: Money,
    command: impl FnOnce(Entry) -> PaymentCommand,
) -> Result<(), Refusal> {
    let started = books.get(payment).started()?.clone();
    let account = &started.account;
    let funds = books.get(account).ledger()?.next_entry();
    books.execute(payment, command(funds))?;
    let credit = Credit {
        origin: FundsOrigin::Payment(payment.clone()),
        amount,
        description: format!("payment {payment}"),
        revenue: None,
        reverses: None,
    };
    if allocation::credit(books, account, credit)? {
        serve(books, payment, funds)?;
    }
    allocation::settle_invoices(books)
}

/// What money of a payment does once it is available.
pub(super) fn serve(books: &mut UnitOfWork<'_>, payment: &PaymentId, funds: Entry) -> Result<(), Refusal> {
    let started = books.get(payment).started()?.clone();
    let account = &started.account;
    books.execute(account, AccountCommand::CoverDebt { funds })?;
    match &started.purpose {
        Purpose::Advance => {}
        Purpose::Order(order) => order::serve(books, order, payment, funds)?,
        Purpose::Invoice(invoice) => {
            let charge = books.get(invoice).standing()?.entry;
            books.execute(account, AccountCommand::CoverCharge { funds, charge })?;
        }
    }
    Ok(books.execute(account, AccountCommand::CoverOldest { funds })?)
}

/// What money of a payment that has been here before covers: its order was served or let go when it first came.
pub(super) fn cover_again(books: &mut UnitOfWork<'_>, started: &Started) -> Result<(), Refusal> {
    let account = &started.account;
    let Some(funds) = started.entry else { return Ok(()) };
    if !books.get(account).ledger()?.usable(funds).is_positive() {
        return Ok(());
    }
    books.execute(account, AccountCommand::CoverDebt { funds })?;
    if let Purpose::Invoice(invoice) = &started.purpose {
        let charge = books.get(invoice).standing()?.entry;
        books.execute(account, AccountCommand::CoverCharge { funds, charge })?;
    }
    Ok(books.execute(account, AccountCommand::CoverOldest { funds })?)
}

fn fail(books: &mut UnitOfWork<'_>, payment: &PaymentId, gateway_reason: String) -> Result<(), Refusal> {
    let purpose = books.get(payment).started()?.purpose.clone();
    books.execute(payment, PaymentCommand::Fail { gateway_reason })?;
    release_order(books, payment, &purpose)
}

fn release_order(books: &mut UnitOfWork<'_>, payment: &PaymentId, purpose: &Purpose) -> Result<(), Refusal> {
    match purpose {
        Purpose::Order(order) => order::release(books, order, payment),
        Purpose::Advance | Purpose::Invoice(_) => Ok(()),
    }
}

/// The gateway took the money back: the account is debited at once and may go negative; expenses stay.
fn mark_fraudulent(books: &mut UnitOfWork<'_>, payment: &PaymentId, gateway_reason: String) -> Result<(), Refusal> {
    let started = books.get(payment).started()?.clone();
    let description = format!("taken back by the gateway: {gateway_reason}");
    books.execute(payment, PaymentCommand::MarkFraudulent { gateway_reason })?;
    // Money that was dated ahead has not served its order yet, and never will.
    release_order(books, payment, &started.purpose)?;
    take_back(books, payment, &started, &description)
}

/// Takes the money of a payment off the account again, except what has gone back to the payer.
pub(super) fn take_back(
    books: &mut UnitOfWork<'_>,
    payment: &PaymentId,
    started: &Started,
    description: &str,
) -> Result<(), Refusal> {
    withdraw(books, payment, started, description)?;
    allocation::spread_free_credit(books, &started.account)?;
    allocation::settle_invoices(books)
}

/// As [`take_back`]; what the money covered waits for other money.
fn withdraw(
    books: &mut UnitOfWork<'_>,
    payment: &PaymentId,
    started: &Started,
    description: &str,
) -> Result<(), Refusal> {
    let account = &started.account;
    let status = started.status;
    let funds = started.entry.ok_or(PaymentRejection::WrongStatus { status, wanted: "taken back" })?;
    books.execute(account, AccountCommand::SetFree { funds })?;
    books.execute(account, AccountCommand::Withdraw { funds })?;
    let here = books.get(payment).started()?.is_here();
    let ledger = books.get(account).ledger()?;
    let (free, charge) = (ledger.free(funds), ledger.next_entry());
    // What went back or is disputed was taken off the account by charges of its own, which other money may cover.
    let amount = if status == Status::Pledged || free.amount() < here.amount() { free } else { here };
    if amount.is_positive() {
        let taken = Charge {
            origin: ChargeOrigin::Payment(payment.clone()),
            amount,
            description: description.into(),
            revenue: None,
            due_on: today(books, account)?,
            reverses: Some(funds),
            overdraft: Overdraft::Permitted,
        };
        books.execute(account, AccountCommand::Charge(taken))?;
        books.execute(account, AccountCommand::CoverCharge { funds, charge })?;
    }
    let taken_by = books.get(payment).started()?.taken_by.clone();
    taken_by.into_iter().try_for_each(|taken| take_the_place(books, account, funds, taken))
}

/// Funds cover a charge as far as they reach, and set other money free that has covered it.
fn take_the_place(books: &mut UnitOfWork<'_>, account: &AccountId, funds: Entry, charge: Entry) -> Result<(), Refusal> {
    books.execute(account, AccountCommand::CoverCharge { funds, charge })?;
    loop {
        let ledger = books.get(account).ledger()?;
        let (free, covered_by) = (ledger.free(funds), ledger.charges.get(&charge).map(|charge| &charge.covered_by));
        let other = covered_by.and_then(|by| by.iter().rev().find(|(other, _)| *other != funds)).copied();
        let Some((other, covered)) = other.filter(|_| free.is_positive()) else { return Ok(()) };
        let amount = if covered.amount() < free.amount() { covered } else { free };
        books.execute(account, AccountCommand::Release { funds: other, charge, amount })?;
        books.execute(account, AccountCommand::Allocate { funds, charge, amount })?;
    }
}

fn standing(books: &mut UnitOfWork<'_>, payment: &PaymentId) -> Result<Answer, Refusal> {
    let started = books.get(payment).started()?.clone();
    let balance = books.get(&started.account).ledger()?.balance;
    let mut fields = answer(json!({
        "id": payment,
        "status": started.status,
        "amount": started.amount,
        "received": started.received,
        "account": started.account,
        "balance": balance,
    }));
    if let Purpose::Order(order) = &started.purpose {
        fields["order"] = order::standing(books, order)?;
    }
    Ok(fields)
}
