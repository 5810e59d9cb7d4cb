//! Rules: which rule of the house an event followed, in words. For each event that moves money or changes what is due, one
//! short name that stays, and a sentence for whoever asks why.

use super::{
    AccountEvent, Event, InvoiceEvent, PaymentEvent,
    account::{ChargeOrigin, FundsOrigin},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable, such as `expense-charged`.
    pub name: &'static str,
    pub text: &'static str,
}

impl Event {
    /// The rule that led to this event; `None` for one that changes no figure.
    pub fn rule(&self) -> Option<Rule> {
        match self {
            Self::Account(event) => of_account(event),
            Self::Invoice(event) => Some(of_invoice(event)),
            Self::Payment(event) => of_payment(event),
            Self::Books(_)
            | Self::CreditNote(_)
            | Self::Customer(_)
            | Self::Discounts(_)
            | Self::Expense(_)
            | Self::NumberSeries(_)
            | Self::Order(_)
            | Self::Payer(_)
            | Self::Service(_)
            | Self::Ticket(_) => None,
        }
    }
}

fn of_account(event: &AccountEvent) -> Option<Rule> {
    Some(match event {
        AccountEvent::Credited { origin, reverses, .. } => of_funds(origin, reverses.is_some()),
        AccountEvent::Charged { origin, reverses, .. } => of_charge(origin, reverses.is_some()),
        AccountEvent::Allocated { .. } => rule(
            "funds-allocated",
            "Money covers a charge; the balance stays. A debt that no credit limit allows comes first, then what the \
             money was meant for, then what is due longest.",
        ),
        AccountEvent::Released { .. } => {
            rule("funds-released", "Money no longer covers a charge and is free again; the balance stays.")
        }
        AccountEvent::Held { .. } => rule("funds-held", "Money is set aside; the balance stays, less can be spent."),
        AccountEvent::HoldReleased { .. } => rule("hold-released", "Money set aside can be spent again."),
        AccountEvent::FundsSetAside { .. } => rule(
            "funds-set-aside",
            "Money is dated ahead: the balance of all entries has it, but it can be spent only once it takes effect.",
        ),
        AccountEvent::FundsSetFree { .. } => {
            rule("funds-set-free", "Money that was dated ahead has taken effect and can be spent, or is taken back.")
        }
        AccountEvent::Opened { .. }
        | AccountEvent::CreditLimitSet { .. }
        | AccountEvent::PostPaidAllowed {}
        | AccountEvent::PostPaidRevoked {}
        | AccountEvent::AutomaticAllocationSwitchedOn {}
        | AccountEvent::AutomaticAllocationSwitchedOff {} => return None,
    })
}

fn of_funds(origin: &FundsOrigin, reverses: bool) -> Rule {
    match origin {
        FundsOrigin::Payment(_) if reverses => {
            rule("dispute-won", "A dispute is won: the gateway gives its amount back, and it is credited once.")
        }
        FundsOrigin::Payment(_) => rule(
            "payment-credited",
            "A payment has come in, or is pledged and counts already: its amount is credited in full.",
        ),
        FundsOrigin::CreditNote(_) => rule("credit-note-credited", "A credit note is issued: its total is credited."),
        FundsOrigin::Expense(_) => rule(
            "expense-given-back",
            "An expense was lowered or reversed: the difference is credited, and what had paid for it is free again.",
        ),
        FundsOrigin::Transfer(_) => {
            rule("transfer-received", "A transfer from another account of the customer, at the rate that both record.")
        }
        FundsOrigin::Refund(_) => rule("refund-failed", "A refund did not go through: its amount is credited again."),
        FundsOrigin::Adjustment => rule("adjustment-credited", "Staff correct the balance upwards and say why."),
    }
}

fn of_charge(origin: &ChargeOrigin, reverses: bool) -> Rule {
    match (origin, reverses) {
        (ChargeOrigin::Expense(_), false) => {
            rule("expense-charged", "An order is processed, or staff record or raise an expense: its total is charged.")
        }
        (ChargeOrigin::Expense(_), true) => {
            rule("expense-reinstated", "The reversal of an expense is reversed: its total is charged again.")
        }
        (ChargeOrigin::Invoice(_), _) => rule("invoice-charged", "An invoice is final: its total is charged."),
        (ChargeOrigin::Refund(_), _) => {
            rule("refund-started", "A refund is on its way to the payer: its amount is charged when it sets out.")
        }
        (ChargeOrigin::Payment(_), false) => rule(
            "payment-disputed",
            "The gateway takes money of a payment back because of a dispute: its amount is charged at once. What the \
             payment covered last is open again first, and only as much as is needed.",
        ),
        (ChargeOrigin::Payment(_), true) => rule(
            "payment-taken-back",
            "A payment was taken back, or its pledge withdrawn: what of it was left is charged, and what it covered is \
             open again.",
        ),
        (ChargeOrigin::Transfer(_), _) => {
            rule("transfer-sent", "A transfer to another account of the customer, at the rate that both record.")
        }
        (ChargeOrigin::Adjustment, _) => rule("adjustment-charged", "Staff correct the balance downwards and say why."),
    }
}

fn of_invoice(event: &InvoiceEvent) -> Rule {
    match event {
        InvoiceEvent::Finalised(_) => rule("invoice-final", "The invoice is issued: its total is due."),
        InvoiceEvent::LinesCredited { .. } => rule(
            "invoice-credited",
            "A credit note takes back lines of the invoice. What is due falls by what of the credit covers its charge.",
        ),
        InvoiceEvent::PartPaid { .. } => rule("invoice-part-paid", "Money covers a further part of the charge."),
        InvoiceEvent::Paid {} => rule("invoice-paid", "Money covers the whole of the charge."),
        InvoiceEvent::DueAgain { .. } => rule("invoice-due-again", "Money that covered the charge was taken back."),
    }
}

fn of_payment(event: &PaymentEvent) -> Option<Rule> {
    match event {
        PaymentEvent::RefundSettled { .. } => {
            Some(rule("refund-settled", "A refund has reached the payer: it leaves the clearing of payments."))
        }
        PaymentEvent::Started { .. }
        | PaymentEvent::Submitted {}
        | PaymentEvent::Pledged { .. }
        | PaymentEvent::PledgeWithdrawn {}
        | PaymentEvent::Credited { .. }
        | PaymentEvent::Failed { .. }
        | PaymentEvent::Deleted {}
        | PaymentEvent::MarkedFraudulent { .. }
        | PaymentEvent::RefundStarted { .. }
        | PaymentEvent::Recognised { .. }
        | PaymentEvent::RefundNamed { .. }
        | PaymentEvent::RefundFailed { .. }
        | PaymentEvent::DisputeOpened { .. }
        | PaymentEvent::DisputeWon { .. }
        | PaymentEvent::DisputeLost { .. }
        | PaymentEvent::AssignedTo { .. } => None,
    }
}

fn rule(name: &'static str, text: &'static str) -> Rule {
    Rule { name, text }
}
