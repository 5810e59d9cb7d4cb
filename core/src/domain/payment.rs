//! A payment: money a payer sends towards an account, until it is credited, fails, or goes back.

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use imbl::OrdMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AccountId, Id, InvoiceId, LedgerAggregate, Money, Noun, OrderId, PayerId, account::Entry, version::written_version,
};

pub type PaymentId = Id<Payment>;

/// Names a refund: a part of a payment on its way back to the payer.
#[derive(Debug)]
pub enum Refund {}

impl Noun for Refund {
    const PREFIX: &'static str = "rfd";
}

pub type RefundId = Id<Refund>;

/// What the payer wants the money to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Credit on the account.
    #[default]
    Advance,
    Order(OrderId),
    Invoice(InvoiceId),
}

#[derive(Clone, Debug)]
pub enum PaymentCommand {
    Start {
        account: AccountId,
        payer: Option<PayerId>,
        method: String,
        amount: Money,
        purpose: Purpose,
    },
    /// Handed to the gateway.
    Submit,
    /// Staff treat the money as good although it has not been seen.
    Pledge {
        entry: Entry,
    },
    WithdrawPledge,
    /// The money is here. `entry` is the account entry it makes; a pledge has made its entry already.
    /// `gateway` is the gateway's own payment that brought it, if one reported it.
    Credit {
        entry: Entry,
        document_number: Option<String>,
        gateway: Option<PaymentId>,
    },
    Fail {
        gateway_reason: String,
    },
    Delete,
    /// The gateway took the money back.
    MarkFraudulent {
        gateway_reason: String,
    },
    /// `refundable` is what is free of the payment, `entry` the account entry that takes the money out.
    StartRefund {
        refund: RefundId,
        amount: Money,
        refundable: Money,
        entry: Entry,
    },
    SettleRefund {
        refund: RefundId,
    },
    FailRefund {
        refund: RefundId,
        gateway_reason: String,
    },
    /// The gateway's own payment id turns out to name a payment that has a stream already.
    AssignTo {
        payment: PaymentId,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentEvent {
    Started {
        account: AccountId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payer: Option<PayerId>,
        method: String,
        amount: Money,
        purpose: Purpose,
    },
    Submitted {},
    Pledged {
        account: AccountId,
        amount: Money,
        entry: Entry,
    },
    PledgeWithdrawn {},
    Credited {
        account: AccountId,
        amount: Money,
        entry: Entry,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document_number: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway: Option<PaymentId>,
    },
    Failed {
        gateway_reason: String,
    },
    Deleted {},
    MarkedFraudulent {
        gateway_reason: String,
    },
    RefundStarted {
        refund: RefundId,
        amount: Money,
        entry: Entry,
    },
    RefundSettled {
        refund: RefundId,
        amount: Money,
    },
    RefundFailed {
        refund: RefundId,
        amount: Money,
        gateway_reason: String,
    },
    AssignedTo {
        payment: PaymentId,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentRejection {
    #[error("the payment already exists")]
    AlreadyStarted,
    #[error("there is no such payment")]
    NotStarted,
    #[error("the amount must be greater than zero")]
    AmountNotPositive,
    #[error("the payment method must be named")]
    MethodMissing,
    #[error("the payment is {status}, so it cannot be {wanted}")]
    WrongStatus { status: Status, wanted: &'static str },
    #[error("the notice speaks of {notice}, the payment of {payment}")]
    AmountDiffers { notice: Money, payment: Money },
    #[error("only {refundable} of the payment can be refunded, because {tied} is tied to what it paid for")]
    OverRefund { refundable: Money, tied: Money },
    #[error("the refund already exists")]
    RefundExists,
    #[error("there is no such refund under way")]
    UnknownRefund,
    #[error("the gateway's payment id belongs to payment {payment}")]
    AssignedElsewhere { payment: PaymentId },
    #[error("the gateway's own payment id is missing")]
    GatewayPaymentMissing,
}

impl PaymentRejection {
    pub fn code(&self) -> &'static str {
        match self {
            Self::AlreadyStarted => "payment-exists",
            Self::NotStarted => "payment-not-found",
            Self::AmountNotPositive => "amount-not-positive",
            Self::MethodMissing => "method-missing",
            Self::WrongStatus { .. } => "payment-status",
            Self::AmountDiffers { .. } => "amount-differs",
            Self::OverRefund { .. } => "over-refund",
            Self::RefundExists => "refund-exists",
            Self::UnknownRefund => "refund-not-found",
            Self::AssignedElsewhere { .. } => "gateway-payment-assigned",
            Self::GatewayPaymentMissing => "gateway-payment-missing",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    New,
    InProgress,
    Pledged,
    Credited,
    PartlyReturned,
    Returned,
    Failed,
    Deleted,
    Fraudulent,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::InProgress => "in_progress",
            Self::Pledged => "pledged",
            Self::Credited => "credited",
            Self::PartlyReturned => "partly_returned",
            Self::Returned => "returned",
            Self::Failed => "failed",
            Self::Deleted => "deleted",
            Self::Fraudulent => "fraudulent",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.as_str().replace('_', " "))
    }
}

/// A refund that the gateway has neither settled nor failed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundUnderWay {
    pub amount: Money,
    /// The account entry that took the money out.
    pub entry: Entry,
}

/// What a started payment knows of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    pub account: AccountId,
    pub amount: Money,
    pub purpose: Purpose,
    pub status: Status,
    /// The entry of the account that it made, once it is credited or pledged.
    pub entry: Option<Entry>,
    /// The gateway's own payment that brought the money, where one reported it.
    #[serde(default)]
    pub credited_by: Option<PaymentId>,
    /// Settled refunds.
    pub returned: Money,
    /// Refunds under way.
    pub refunding: OrdMap<String, RefundUnderWay>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payment {
    #[default]
    Unknown,
    Started(Box<Started>),
    /// The gateway's id of a payment that has a stream of its own.
    AssignedTo(PaymentId),
}

impl Noun for Payment {
    const PREFIX: &'static str = "pay";
    const NAMED_BY_OTHERS: bool = true;
}

impl LedgerAggregate for Payment {
    const FOLD_VERSION: i32 = 1;
}

impl Payment {
    /// The payment, if it has been started.
    pub fn started(&self) -> Result<&Started, PaymentRejection> {
        match self {
            Self::Unknown => Err(PaymentRejection::NotStarted),
            Self::Started(started) => Ok(started),
            Self::AssignedTo(payment) => Err(PaymentRejection::AssignedElsewhere { payment: payment.clone() }),
        }
    }
}

impl Started {
    fn decide(&self, command: PaymentCommand) -> Result<PaymentEvent, PaymentRejection> {
        use PaymentCommand as C;
        use PaymentEvent as E;
        use PaymentRejection as R;
        use Status as S;

        let (account, amount) = (self.account.clone(), self.amount);
        let wrong = |wanted| Err(R::WrongStatus { status: self.status, wanted });
        match (self.status, command) {
            (_, C::Start { .. } | C::AssignTo { .. }) => Err(R::AlreadyStarted),
            (S::New, C::Submit) => Ok(E::Submitted {}),
            (_, C::Submit) => wrong("submitted"),
            (S::New | S::InProgress, C::Pledge { entry }) => Ok(E::Pledged { account, amount, entry }),
            (_, C::Pledge { .. }) => wrong("pledged"),
            (S::Pledged, C::WithdrawPledge) => Ok(E::PledgeWithdrawn {}),
            (_, C::WithdrawPledge) => wrong("withdrawn as a pledge"),
            // A payment that failed or timed out may still succeed at the gateway.
            // One that was deleted here may be paid there all the same.
            (
                S::New | S::InProgress | S::Pledged | S::Failed | S::Deleted,
                C::Credit { entry, document_number, gateway },
            ) => Ok(E::Credited { account, amount, entry, document_number, gateway }),
            (_, C::Credit { .. }) => wrong("credited"),
            (S::New | S::InProgress, C::Fail { gateway_reason }) => Ok(E::Failed { gateway_reason }),
            (_, C::Fail { .. }) => wrong("failed"),
            (S::New, C::Delete) => Ok(E::Deleted {}),
            (_, C::Delete) => wrong("deleted"),
            (S::Pledged | S::Credited | S::PartlyReturned, C::MarkFraudulent { gateway_reason }) => {
                Ok(E::MarkedFraudulent { gateway_reason })
            }
            (_, C::MarkFraudulent { .. }) => wrong("marked fraudulent"),
            (S::Credited | S::PartlyReturned, C::StartRefund { refund, amount, refundable, entry }) => {
                self.start_refund(refund, amount, refundable, entry)
            }
            (_, C::StartRefund { .. }) => wrong("refunded"),
            (_, C::SettleRefund { refund }) => {
                let amount = self.under_way(&refund)?.amount;
                Ok(E::RefundSettled { refund, amount })
            }
            (_, C::FailRefund { refund, gateway_reason }) => {
                let amount = self.under_way(&refund)?.amount;
                Ok(E::RefundFailed { refund, amount, gateway_reason })
            }
        }
    }

    fn start_refund(
        &self,
        refund: RefundId,
        amount: Money,
        refundable: Money,
        entry: Entry,
    ) -> Result<PaymentEvent, PaymentRejection> {
        if !amount.is_positive() {
            return Err(PaymentRejection::AmountNotPositive);
        }
        if self.refunding.contains_key(refund.as_str()) {
            return Err(PaymentRejection::RefundExists);
        }
        if amount.amount() > refundable.amount() {
            let under_way =
                self.refunding.values().fold(self.returned.amount(), |sum, part| sum + part.amount.amount());
            let tied = self.amount.amount() - under_way - refundable.amount();
            let tied = Money::round(tied, self.amount.currency(), super::Rounding::default());
            return Err(PaymentRejection::OverRefund { refundable, tied });
        }
        Ok(PaymentEvent::RefundStarted { refund, amount, entry })
    }

    /// A refund that can still be settled or fail.
    pub fn under_way(&self, refund: &RefundId) -> Result<RefundUnderWay, PaymentRejection> {
        self.refunding.get(refund.as_str()).copied().ok_or(PaymentRejection::UnknownRefund)
    }

    fn record(&mut self, event: PaymentEvent) {
        match event {
            PaymentEvent::Started { .. } | PaymentEvent::AssignedTo { .. } => {}
            PaymentEvent::Submitted {} => self.status = Status::InProgress,
            PaymentEvent::Pledged { entry, .. } => {
                self.status = Status::Pledged;
                self.entry = Some(entry);
            }
            PaymentEvent::PledgeWithdrawn {} => {
                self.status = Status::New;
                self.entry = None;
            }
            PaymentEvent::Credited { entry, gateway, .. } => {
                self.status = Status::Credited;
                self.entry = Some(entry);
                self.credited_by = gateway;
            }
            PaymentEvent::Failed { .. } => self.status = Status::Failed,
            PaymentEvent::Deleted {} => self.status = Status::Deleted,
            PaymentEvent::MarkedFraudulent { .. } => self.status = Status::Fraudulent,
            PaymentEvent::RefundStarted { refund, amount, entry } => {
                self.refunding.insert(refund.as_str().into(), RefundUnderWay { amount, entry });
            }
            PaymentEvent::RefundSettled { refund, amount } => {
                self.refunding.remove(refund.as_str());
                let returned = self.returned.amount() + amount.amount();
                self.returned = Money::round(returned, amount.currency(), super::Rounding::default());
                // A refund that arrives after the gateway took the rest back makes the payment no less fraudulent.
                if self.status != Status::Fraudulent {
                    let whole = self.returned == self.amount;
                    self.status = if whole { Status::Returned } else { Status::PartlyReturned };
                }
            }
            PaymentEvent::RefundFailed { refund, .. } => {
                self.refunding.remove(refund.as_str());
            }
        }
    }
}

impl Aggregate for Payment {
    const TYPE: &'static str = "payment";
    type Command = PaymentCommand;
    type Event = PaymentEvent;
    type Error = PaymentRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: PaymentCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), PaymentRejection> {
        let event = match (&*self, command) {
            (Self::Unknown, PaymentCommand::Start { account, payer, method, amount, purpose }) => {
                if !amount.is_positive() {
                    return Err(PaymentRejection::AmountNotPositive);
                }
                if method.trim().is_empty() {
                    return Err(PaymentRejection::MethodMissing);
                }
                PaymentEvent::Started { account, payer, method, amount, purpose }
            }
            (Self::Unknown, PaymentCommand::AssignTo { payment }) => PaymentEvent::AssignedTo { payment },
            (Self::Unknown, _) => return Err(PaymentRejection::NotStarted),
            (Self::AssignedTo(payment), _) => {
                return Err(PaymentRejection::AssignedElsewhere { payment: payment.clone() });
            }
            (Self::Started(started), command) => started.decide(command)?,
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: PaymentEvent) {
        match (&mut *self, event) {
            (Self::Started(started), event) => started.record(event),
            (Self::Unknown, PaymentEvent::Started { account, amount, purpose, .. }) => {
                *self = Self::Started(Box::new(Started {
                    account,
                    amount,
                    purpose,
                    status: Status::New,
                    entry: None,
                    credited_by: None,
                    returned: Money::zero(amount.currency()),
                    refunding: OrdMap::new(),
                }));
            }
            (Self::Unknown, PaymentEvent::AssignedTo { payment }) => *self = Self::AssignedTo(payment),
            (Self::Unknown | Self::AssignedTo(_), _) => {}
        }
    }
}

impl DomainEvent for PaymentEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Started { .. } => "payment.started",
            Self::Submitted {} => "payment.submitted",
            Self::Pledged { .. } => "payment.pledged",
            Self::PledgeWithdrawn {} => "payment.pledge_withdrawn",
            Self::Credited { .. } => "payment.credited",
            Self::Failed { .. } => "payment.failed",
            Self::Deleted {} => "payment.deleted",
            Self::MarkedFraudulent { .. } => "payment.marked_fraudulent",
            Self::RefundStarted { .. } => "payment.refund_started",
            Self::RefundSettled { .. } => "payment.refund_settled",
            Self::RefundFailed { .. } => "payment.refund_failed",
            Self::AssignedTo { .. } => "payment.assigned_to",
        }
        .into()
    }

    fn event_version(&self) -> String {
        written_version(&self.event_type())
    }
}

#[cfg(test)]
mod tests;
