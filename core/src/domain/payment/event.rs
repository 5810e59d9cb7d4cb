//! What an event of a payment says of itself: its stored name and version, its journal entry, its rule in words, and
//! whom it mentions.

use cqrs_es::DomainEvent;

use super::{Payment, PaymentEvent, PaymentRequest, Purpose};
use crate::{
    domain::{
        LedgerEvent, Mentions,
        posting::{JournalEntry, LedgerAccount, between},
        version::written_version,
    },
    terms::rule::Rule,
};

impl DomainEvent for PaymentEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Started(_) => "payment.started",
            Self::Submitted {} => "payment.submitted",
            Self::Pledged { .. } => "payment.pledged",
            Self::PledgeWithdrawn {} => "payment.pledge_withdrawn",
            Self::Credited { .. } => "payment.credited",
            Self::Failed { .. } => "payment.failed",
            Self::Deleted {} => "payment.deleted",
            Self::MarkedFraudulent { .. } => "payment.marked_fraudulent",
            Self::RefundStarted { .. } => "payment.refund_started",
            Self::RefundSettled { .. } => "payment.refund_settled",
            Self::Recognised { .. } => "payment.recognised",
            Self::RefundNamed { .. } => "payment.refund_named",
            Self::RefundFailed { .. } => "payment.refund_failed",
            Self::DisputeOpened { .. } => "payment.dispute_opened",
            Self::DisputeWon { .. } => "payment.dispute_won",
            Self::DisputeLost { .. } => "payment.dispute_lost",
            Self::AssignedTo { .. } => "payment.assigned_to",
        }
        .into()
    }

    fn event_version(&self) -> String {
        written_version(self)
    }
}

impl LedgerEvent for PaymentEvent {
    type Aggregate = Payment;

    const VERSIONS: &'static [(&'static str, &'static str)] = &[
        ("payment.assigned_to", "1.0"),
        ("payment.credited", "1.0"),
        ("payment.deleted", "1.0"),
        ("payment.dispute_lost", "1.0"),
        ("payment.dispute_opened", "1.0"),
        ("payment.dispute_won", "1.0"),
        ("payment.failed", "1.0"),
        ("payment.marked_fraudulent", "1.0"),
        ("payment.pledge_withdrawn", "1.0"),
        ("payment.pledged", "1.0"),
        ("payment.recognised", "1.0"),
        ("payment.refund_failed", "1.0"),
        ("payment.refund_named", "1.0"),
        ("payment.refund_settled", "1.1"),
        ("payment.refund_started", "1.0"),
        ("payment.started", "1.0"),
        ("payment.submitted", "1.0"),
    ];

    fn postings(&self) -> JournalEntry {
        match self {
            Self::RefundSettled { amount, .. } => {
                between(LedgerAccount::RefundClearing, LedgerAccount::PaymentClearing, *amount)
            }
            Self::Started(_)
            | Self::Submitted {}
            | Self::Pledged { .. }
            | Self::PledgeWithdrawn {}
            | Self::Credited { .. }
            | Self::Failed { .. }
            | Self::Deleted {}
            | Self::MarkedFraudulent { .. }
            | Self::RefundStarted { .. }
            | Self::Recognised { .. }
            | Self::RefundNamed { .. }
            | Self::RefundFailed { .. }
            | Self::DisputeOpened { .. }
            | Self::DisputeWon { .. }
            | Self::DisputeLost { .. }
            | Self::AssignedTo { .. } => Vec::new(),
        }
    }

    fn rule(&self) -> Option<Rule> {
        match self {
            Self::RefundSettled { .. } => {
                Some(Rule::new("refund-settled", "A refund has reached the payer: it leaves the clearing of payments."))
            }
            Self::Started(_)
            | Self::Submitted {}
            | Self::Pledged { .. }
            | Self::PledgeWithdrawn {}
            | Self::Credited { .. }
            | Self::Failed { .. }
            | Self::Deleted {}
            | Self::MarkedFraudulent { .. }
            | Self::RefundStarted { .. }
            | Self::Recognised { .. }
            | Self::RefundNamed { .. }
            | Self::RefundFailed { .. }
            | Self::DisputeOpened { .. }
            | Self::DisputeWon { .. }
            | Self::DisputeLost { .. }
            | Self::AssignedTo { .. } => None,
        }
    }

    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        match self {
            Self::Started(PaymentRequest { account, payer, purpose, .. }) => {
                mentions.add(account);
                mentions.add_all(payer);
                match purpose {
                    Purpose::Advance => {}
                    Purpose::Order(order) => mentions.add(order),
                    Purpose::Invoice(invoice) => mentions.add(invoice),
                }
            }
            Self::Pledged { account, .. } | Self::Credited { account, .. } => mentions.add(account),
            Self::RefundStarted { refund, .. }
            | Self::RefundSettled { refund, .. }
            | Self::RefundNamed { refund, .. }
            | Self::RefundFailed { refund, .. } => mentions.add(refund),
            Self::DisputeOpened { dispute, .. }
            | Self::DisputeWon { dispute, .. }
            | Self::DisputeLost { dispute, .. } => mentions.add(dispute),
            Self::AssignedTo { payment } | Self::Recognised { gateway: payment } => mentions.add(payment),
            Self::Submitted {}
            | Self::PledgeWithdrawn {}
            | Self::Failed { .. }
            | Self::Deleted {}
            | Self::MarkedFraudulent { .. } => {}
        }
    }
}
