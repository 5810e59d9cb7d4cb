//! A payment: money a payer sends towards an account, until it is credited, fails, or goes back.

mod event;

use cqrs_es::{Aggregate, event_sink::EventSink};
use imbl::{OrdMap, Vector};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use super::{
    AccountId, Id, InvoiceId, LedgerAggregate, Money, Noun, OrderId, Owner, PayerId, account::Entry, function::Function,
};
use crate::terms::refusal::{AMOUNT_NOT_POSITIVE, Kind, absent, conflict, invalid, refusals};

pub type PaymentId = Id<Payment>;

/// Names a refund: a part of a payment on its way back to the payer.
#[derive(Debug)]
pub enum Refund {}

impl Noun for Refund {
    const PREFIX: &'static str = "rfd";
}

pub type RefundId = Id<Refund>;

/// Names a dispute: money of a payment that the gateway has taken back, and gives back if the dispute is won.
#[derive(Debug)]
pub enum Dispute {}

impl Noun for Dispute {
    const PREFIX: &'static str = "dsp";
}

pub type DisputeId = Id<Dispute>;

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

/// A payment is announced; no money has been seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentRequest {
    pub account: AccountId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<PayerId>,
    pub method: String,
    pub amount: Money,
    pub purpose: Purpose,
}

#[derive(Clone, Debug)]
pub enum PaymentCommand {
    Start(PaymentRequest),
    /// Handed to the gateway.
    Submit,
    /// Staff treat the money as good although it has not been seen.
    Pledge {
        entry: Entry,
    },
    WithdrawPledge,
    /// The money is here. `entry` is the account entry it makes; a pledge has made its entry already.
    /// `amount` is what came, which may be another amount than was asked for.
    /// `gateway` is the gateway's own payment that brought it, if one reported it.
    Credit {
        entry: Entry,
        amount: Money,
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
    /// A refund that was made at the gateway: the money has left, whatever the payment still has.
    RecordRefund {
        refund: RefundId,
        amount: Money,
        entry: Entry,
    },
    /// `gateway_refund` is the gateway's own id of the refund.
    SettleRefund {
        refund: RefundId,
        gateway_refund: Option<String>,
    },
    /// The money that staff have credited turns out to be this payment of the gateway.
    Recognise {
        gateway: PaymentId,
    },
    /// A refund that was settled without the gateway's own id turns out to have this one.
    NameRefund {
        refund: RefundId,
        gateway_refund: String,
    },
    FailRefund {
        refund: RefundId,
        gateway_reason: String,
    },
    /// The gateway takes back any amount. `entry` is the account entry that takes it out.
    OpenDispute {
        dispute: DisputeId,
        gateway_dispute: Option<String>,
        amount: Money,
        entry: Entry,
        gateway_reason: String,
    },
    /// The gateway gives it back. `entry` is the account entry that brings it.
    WinDispute {
        dispute: DisputeId,
        entry: Entry,
    },
    LoseDispute {
        dispute: DisputeId,
    },
    /// The gateway's own payment id turns out to name a payment that has a stream already.
    AssignTo {
        payment: PaymentId,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentEvent {
    Started(PaymentRequest),
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
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway_refund: Option<String>,
    },
    Recognised {
        gateway: PaymentId,
    },
    RefundNamed {
        refund: RefundId,
        gateway_refund: String,
    },
    RefundFailed {
        refund: RefundId,
        amount: Money,
        gateway_reason: String,
    },
    DisputeOpened {
        dispute: DisputeId,
        /// The gateway's own id of the dispute; a report of fraud has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway_dispute: Option<String>,
        amount: Money,
        entry: Entry,
        gateway_reason: String,
    },
    DisputeWon {
        dispute: DisputeId,
        amount: Money,
        entry: Entry,
    },
    DisputeLost {
        dispute: DisputeId,
        amount: Money,
    },
    AssignedTo {
        payment: PaymentId,
    },
}

const AMOUNT_DIFFERS: Kind =
    conflict("amount-differs", "What is recorded of that payment, refund or dispute has another amount");

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum PaymentRejection {
        #[error("the payment already exists")]
        AlreadyStarted = conflict("payment-exists", "The payment already exists"),
        #[error("there is no such payment")]
        NotStarted = absent("payment-not-found", "There is no such payment"),
        #[error("the amount must be greater than zero")]
        AmountNotPositive at "/amount" = AMOUNT_NOT_POSITIVE,
        #[error("the payment method must be named")]
        MethodMissing at "/method" = invalid("method-missing", "The payment method must be named"),
        #[error("the payment is {status}, so it cannot be {wanted}")]
        WrongStatus { status: Status, wanted: &'static str } with { status = payment_status } =
            conflict("payment-status", "The payment is in another state than the request needs"),
        #[error("the notice speaks of {notice}, the payment of {payment}")]
        AmountDiffers { notice: Money, payment: Money } at "/amount" with { notice, payment } = AMOUNT_DIFFERS,
        #[error("only {refundable} of the payment can be refunded, because {tied} is tied to what it paid for")]
        OverRefund { refundable: Money, tied: Money } at "/amount" with { refundable, tied } =
            invalid("over-refund", "More would be refunded than is free of the payment"),
        #[error("the refund already exists")]
        RefundExists = conflict("refund-exists", "The refund already exists"),
        #[error("there is no such refund under way")]
        UnknownRefund = absent("refund-not-found", "There is no such refund under way"),
        #[error("the refund is recorded with {recorded}, not with {given}")]
        RefundAmountDiffers { given: Money, recorded: Money } at "/amount" with { given, recorded } = AMOUNT_DIFFERS,
        #[error("the gateway's refund id belongs to refund {refund}")]
        GatewayRefundAssigned { refund: RefundId } at "/gateway_refund" with { refund } =
            conflict("gateway-refund-assigned", "The gateway's refund id belongs to another refund of the payment"),
        #[error("the gateway's own refund id is missing, or begins or ends with a space")]
        GatewayRefundMalformed at "/gateway_refund" = invalid(
            "gateway-refund-malformed",
            "The gateway's own refund id is missing, or begins or ends with a space",
        ),
        #[error("the dispute already exists")]
        DisputeExists = conflict("dispute-exists", "The dispute already exists"),
        #[error("there is no such dispute")]
        UnknownDispute = absent("dispute-not-found", "The payment has no such dispute"),
        #[error("the dispute is {stage}, so it cannot be {wanted}")]
        WrongDisputeStatus { stage: DisputeStage, wanted: &'static str } with { stage = dispute_status } =
            conflict("dispute-status", "The dispute has ended otherwise"),
        #[error("a dispute is won when the gateway gives the money back, not ahead of that")]
        WonAhead at "/effective_at" =
            invalid("dispute-won-ahead", "A dispute is won when the gateway gives the money back, not ahead of that"),
        #[error("the dispute is recorded with {recorded}, not with {given}")]
        DisputeAmountDiffers { given: Money, recorded: Money } at "/amount" with { given, recorded } = AMOUNT_DIFFERS,
        #[error("the gateway's own dispute id is missing, or begins or ends with a space")]
        GatewayDisputeMalformed at "/gateway_dispute" = invalid(
            "gateway-dispute-malformed",
            "The gateway's own dispute id is missing, or begins or ends with a space",
        ),
        #[error("the gateway's payment id belongs to payment {payment}")]
        AssignedElsewhere { payment: PaymentId } with { payment } =
            conflict("gateway-payment-assigned", "The gateway's payment id belongs to another payment"),
        #[error("the gateway's own payment id is missing")]
        GatewayPaymentMissing at "/gateway_payment" =
            invalid("gateway-payment-missing", "The gateway's own payment id is missing"),
    }
}

/// How a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
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
    /// How a payment stands after an event. `kept` is what of the money that came had not gone back before.
    pub fn after(self, event: &PaymentEvent, kept: Decimal) -> Self {
        match event {
            PaymentEvent::Started(_) => self,
            PaymentEvent::PledgeWithdrawn {} => Self::New,
            PaymentEvent::Submitted {} => Self::InProgress,
            PaymentEvent::Pledged { .. } => Self::Pledged,
            PaymentEvent::Credited { .. } => Self::Credited,
            PaymentEvent::Failed { .. } => Self::Failed,
            PaymentEvent::Deleted {} => Self::Deleted,
            PaymentEvent::MarkedFraudulent { .. } => Self::Fraudulent,
            // A refund that arrives after the gateway took the rest back makes the payment no less fraudulent.
            PaymentEvent::RefundSettled { .. } if self == Self::Fraudulent => self,
            PaymentEvent::RefundSettled { amount, .. } if amount.amount() < kept => Self::PartlyReturned,
            PaymentEvent::RefundSettled { .. } => Self::Returned,
            PaymentEvent::RefundStarted { .. }
            | PaymentEvent::Recognised { .. }
            | PaymentEvent::RefundNamed { .. }
            | PaymentEvent::RefundFailed { .. }
            | PaymentEvent::DisputeOpened { .. }
            | PaymentEvent::DisputeWon { .. }
            | PaymentEvent::DisputeLost { .. }
            | PaymentEvent::AssignedTo { .. } => self,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&<&str>::from(self).replace('_', " "))
    }
}

/// A refund that the gateway has neither settled nor failed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundUnderWay {
    pub amount: Money,
    /// The account entry that took the money out.
    pub entry: Entry,
}

/// A refund that the gateway has made, by the gateway's own id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MadeRefund {
    pub refund: RefundId,
    pub amount: Money,
}

/// How a refund stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RefundStatus {
    Pending,
    Settled,
    Failed,
}

/// How a dispute stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DisputeStage {
    Open,
    Won,
    Lost,
}

impl std::fmt::Display for DisputeStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.into())
    }
}

/// What the payment knows of a dispute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DisputeStanding {
    pub gateway_dispute: Option<String>,
    pub amount: Money,
    /// The account entry that took the money out.
    pub entry: Entry,
    pub stage: DisputeStage,
}

/// What a started payment knows of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    pub account: AccountId,
    /// What was asked for.
    pub amount: Money,
    /// What came; nothing until it is credited.
    pub received: Money,
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
    /// Refunds that bear an id of the gateway, by that id.
    pub made_refunds: OrdMap<String, MadeRefund>,
    /// Refunds that were settled without an id of the gateway.
    pub unnamed_refunds: OrdMap<String, Money>,
    pub disputes: OrdMap<String, DisputeStanding>,
    /// The account entries by which money of it has left: of refunds that have not failed, and disputes that are not won.
    pub taken_by: Vector<Entry>,
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
    const FOLD_VERSION: i32 = 2;
    const READ_BY: Function = Function::PaymentsRead;

    fn owner(&self) -> Owner<'_> {
        match self {
            Self::Started(started) => Owner::Account(&started.account),
            Self::AssignedTo(payment) => Owner::Payment(payment),
            Self::Unknown => Owner::Everybody,
        }
    }
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
            (_, C::Start(_) | C::AssignTo { .. }) => Err(R::AlreadyStarted),
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
                C::Credit { entry, amount, document_number, gateway },
            ) => {
                if !amount.is_positive() {
                    return Err(R::AmountNotPositive);
                }
                // The entry of a pledge is on the account already, with the amount that was asked for.
                if self.status == S::Pledged && amount != self.amount {
                    return Err(R::AmountDiffers { notice: amount, payment: self.amount });
                }
                Ok(E::Credited { account, amount, entry, document_number, gateway })
            }
            (_, C::Credit { .. }) => wrong("credited"),
            (S::Credited | S::PartlyReturned | S::Returned | S::Fraudulent, C::Recognise { gateway })
                if self.credited_by.is_none() =>
            {
                Ok(E::Recognised { gateway })
            }
            (_, C::Recognise { .. }) => wrong("recognised"),
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
            // The money has left, also of a payment that has gone back before.
            (
                S::Credited | S::PartlyReturned | S::Returned | S::Fraudulent,
                C::RecordRefund { refund, amount, entry },
            ) => {
                if !amount.is_positive() {
                    return Err(R::AmountNotPositive);
                }
                self.is_new_refund(&refund)?;
                Ok(E::RefundStarted { refund, amount, entry })
            }
            (_, C::RecordRefund { .. }) => wrong("refunded"),
            (_, C::SettleRefund { refund, gateway_refund }) => self.settle_refund(refund, gateway_refund),
            (_, C::NameRefund { refund, gateway_refund }) => self.name_refund(refund, gateway_refund),
            (_, C::FailRefund { refund, gateway_reason }) => {
                let amount = self.under_way(&refund)?.amount;
                Ok(E::RefundFailed { refund, amount, gateway_reason })
            }
            // A payment that is marked fraudulent has been taken back as a whole already.
            (
                S::Credited | S::PartlyReturned | S::Returned,
                C::OpenDispute { dispute, gateway_dispute, amount, entry, gateway_reason },
            ) => {
                if !amount.is_positive() {
                    return Err(R::AmountNotPositive);
                }
                if self.disputes.contains_key(dispute.as_str()) || self.dispute(&gateway_dispute, amount).is_some() {
                    return Err(R::DisputeExists);
                }
                Ok(E::DisputeOpened { dispute, gateway_dispute, amount, entry, gateway_reason })
            }
            (_, C::OpenDispute { .. }) => wrong("disputed"),
            (_, C::WinDispute { dispute, entry }) => {
                let DisputeStanding { stage, amount, .. } = *self.disputed(&dispute)?;
                match stage {
                    DisputeStage::Open => Ok(E::DisputeWon { dispute, amount, entry }),
                    DisputeStage::Won | DisputeStage::Lost => Err(R::WrongDisputeStatus { stage, wanted: "won" }),
                }
            }
            (_, C::LoseDispute { dispute }) => {
                let DisputeStanding { stage, amount, .. } = *self.disputed(&dispute)?;
                match stage {
                    DisputeStage::Open => Ok(E::DisputeLost { dispute, amount }),
                    DisputeStage::Won | DisputeStage::Lost => Err(R::WrongDisputeStatus { stage, wanted: "lost" }),
                }
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
        self.is_new_refund(&refund)?;
        if amount.amount() > refundable.amount() {
            let left = self.received.amount() - self.gone() - refundable.amount();
            let tied = Money::round(left.max(Decimal::ZERO), self.amount.currency(), super::Rounding::default());
            return Err(PaymentRejection::OverRefund { refundable, tied });
        }
        Ok(PaymentEvent::RefundStarted { refund, amount, entry })
    }

    fn is_new_refund(&self, refund: &RefundId) -> Result<(), PaymentRejection> {
        if self.refunding.contains_key(refund.as_str()) { Err(PaymentRejection::RefundExists) } else { Ok(()) }
    }

    fn settle_refund(
        &self,
        refund: RefundId,
        gateway_refund: Option<String>,
    ) -> Result<PaymentEvent, PaymentRejection> {
        let amount = self.under_way(&refund)?.amount;
        match gateway_refund.as_ref().and_then(|name| self.made_refunds.get(name)) {
            Some(made) => Err(PaymentRejection::GatewayRefundAssigned { refund: made.refund.clone() }),
            None => Ok(PaymentEvent::RefundSettled { refund, amount, gateway_refund }),
        }
    }

    fn name_refund(&self, refund: RefundId, gateway_refund: String) -> Result<PaymentEvent, PaymentRejection> {
        if let Some(made) = self.made_refunds.get(&gateway_refund) {
            return Err(PaymentRejection::GatewayRefundAssigned { refund: made.refund.clone() });
        }
        if self.unnamed_refunds.contains_key(refund.as_str()) {
            Ok(PaymentEvent::RefundNamed { refund, gateway_refund })
        } else {
            Err(PaymentRejection::UnknownRefund)
        }
    }

    /// What came and neither went back, nor is on its way back, nor is disputed.
    pub fn is_here(&self) -> Money {
        let here = (self.received.amount() - self.gone()).max(Decimal::ZERO);
        Money::round(here, self.received.currency(), super::Rounding::default())
    }

    /// Another refund under way of the same amount as one that is settled already. A gateway's notice may have been taken
    /// for either of them.
    pub fn stands_for(&self, settled: &RefundId) -> Option<RefundId> {
        let unnamed = self.unnamed_refunds.get(settled.as_str()).copied();
        let made = || self.made_refunds.values().find(|made| made.refund == *settled).map(|made| made.amount);
        self.under_way_of(unnamed.or_else(made)?)
    }

    /// What went back, is on its way back, or is disputed.
    fn gone(&self) -> Decimal {
        let refunding: Decimal = self.refunding.values().map(|refund| refund.amount.amount()).sum();
        let disputes = self.disputes.values().filter(|dispute| dispute.stage != DisputeStage::Won);
        let disputed: Decimal = disputes.map(|dispute| dispute.amount.amount()).sum();
        self.returned.amount() + refunding + disputed
    }

    /// The oldest refund under way of this amount: a refund that the gateway reports is that one.
    pub fn under_way_of(&self, amount: Money) -> Option<RefundId> {
        let of_amount = self.refunding.iter().filter(|(_, refund)| refund.amount == amount);
        of_amount.min_by_key(|(_, refund)| refund.entry).and_then(|(refund, _)| refund.parse().ok())
    }

    /// The oldest refund of this amount that was settled without an id of the gateway.
    pub fn unnamed_of(&self, amount: Money) -> Option<RefundId> {
        let (refund, _) = self.unnamed_refunds.iter().find(|(_, unnamed)| **unnamed == amount)?;
        refund.parse().ok()
    }

    pub fn is_settled(&self, refund: &RefundId) -> bool {
        self.unnamed_refunds.contains_key(refund.as_str())
            || self.made_refunds.values().any(|made| made.refund == *refund)
    }

    pub fn disputed(&self, dispute: &DisputeId) -> Result<&DisputeStanding, PaymentRejection> {
        self.disputes.get(dispute.as_str()).ok_or(PaymentRejection::UnknownDispute)
    }

    /// The dispute that bears the gateway's id. A report of fraud has no id: it is known by its amount.
    pub fn dispute(&self, gateway_dispute: &Option<String>, amount: Money) -> Option<(DisputeId, &DisputeStanding)> {
        let is_it = |dispute: &DisputeStanding| {
            dispute.gateway_dispute == *gateway_dispute && (gateway_dispute.is_some() || dispute.amount == amount)
        };
        let (dispute, standing) = self.disputes.iter().find(|(_, dispute)| is_it(dispute))?;
        Some((dispute.parse().ok()?, standing))
    }

    /// A refund that can still be settled or fail.
    pub fn under_way(&self, refund: &RefundId) -> Result<RefundUnderWay, PaymentRejection> {
        self.refunding.get(refund.as_str()).copied().ok_or(PaymentRejection::UnknownRefund)
    }

    fn record(&mut self, event: PaymentEvent) {
        self.status = self.status.after(&event, self.received.amount() - self.returned.amount());
        match event {
            PaymentEvent::Started(_)
            | PaymentEvent::AssignedTo { .. }
            | PaymentEvent::Submitted {}
            | PaymentEvent::Failed { .. }
            | PaymentEvent::Deleted {}
            | PaymentEvent::MarkedFraudulent { .. } => {}
            PaymentEvent::Pledged { entry, .. } => self.entry = Some(entry),
            PaymentEvent::PledgeWithdrawn {} => self.entry = None,
            PaymentEvent::Credited { entry, amount, gateway, .. } => {
                self.received = amount;
                self.entry = Some(entry);
                self.credited_by = gateway;
            }
            PaymentEvent::RefundStarted { refund, amount, entry } => {
                self.taken_by.push_back(entry);
                self.refunding.insert(refund.as_str().into(), RefundUnderWay { amount, entry });
            }
            PaymentEvent::RefundSettled { refund, amount, gateway_refund } => {
                self.refunding.remove(refund.as_str());
                if let Some(name) = gateway_refund {
                    self.made_refunds.insert(name, MadeRefund { refund, amount });
                } else {
                    self.unnamed_refunds.insert(refund.as_str().into(), amount);
                }
                let returned = self.returned.amount() + amount.amount();
                self.returned = Money::round(returned, amount.currency(), super::Rounding::default());
            }
            PaymentEvent::Recognised { gateway } => self.credited_by = Some(gateway),
            PaymentEvent::RefundNamed { refund, gateway_refund } => {
                if let Some(amount) = self.unnamed_refunds.remove(refund.as_str()) {
                    self.made_refunds.insert(gateway_refund, MadeRefund { refund, amount });
                }
            }
            PaymentEvent::RefundFailed { refund, .. } => {
                if let Some(failed) = self.refunding.remove(refund.as_str()) {
                    self.taken_by.retain(|entry| *entry != failed.entry);
                }
            }
            PaymentEvent::DisputeOpened { dispute, gateway_dispute, amount, entry, .. } => {
                let opened = DisputeStanding { gateway_dispute, amount, entry, stage: DisputeStage::Open };
                self.taken_by.push_back(entry);
                self.disputes.insert(dispute.as_str().into(), opened);
            }
            PaymentEvent::DisputeWon { dispute, .. } => self.end_dispute(&dispute, DisputeStage::Won),
            PaymentEvent::DisputeLost { dispute, .. } => self.end_dispute(&dispute, DisputeStage::Lost),
        }
    }

    fn end_dispute(&mut self, dispute: &DisputeId, stage: DisputeStage) {
        if let Some(standing) = self.disputes.get_mut(dispute.as_str()) {
            standing.stage = stage;
            let taken = standing.entry;
            if stage == DisputeStage::Won {
                self.taken_by.retain(|entry| *entry != taken);
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
            (Self::Unknown, PaymentCommand::Start(request)) => {
                if !request.amount.is_positive() {
                    return Err(PaymentRejection::AmountNotPositive);
                }
                if request.method.trim().is_empty() {
                    return Err(PaymentRejection::MethodMissing);
                }
                PaymentEvent::Started(request)
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
            (Self::Unknown, PaymentEvent::Started(PaymentRequest { account, amount, purpose, .. })) => {
                *self = Self::Started(Box::new(Started {
                    account,
                    amount,
                    received: Money::zero(amount.currency()),
                    purpose,
                    status: Status::New,
                    entry: None,
                    credited_by: None,
                    returned: Money::zero(amount.currency()),
                    refunding: OrdMap::new(),
                    made_refunds: OrdMap::new(),
                    unnamed_refunds: OrdMap::new(),
                    disputes: OrdMap::new(),
                    taken_by: Vector::new(),
                }));
            }
            (Self::Unknown, PaymentEvent::AssignedTo { payment }) => *self = Self::AssignedTo(payment),
            (Self::Unknown | Self::AssignedTo(_), _) => {}
        }
    }
}

#[cfg(test)]
mod tests;
