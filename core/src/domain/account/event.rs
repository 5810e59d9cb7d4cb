//! What an event of an account says of itself: its stored name and version, its journal entry, its rule in words, and
//! whom it mentions.

use cqrs_es::DomainEvent;
use rust_decimal::Decimal;

use super::{Account, AccountEvent, ChargeOrigin, FundsOrigin, TransferLeg};
use crate::{
    domain::{
        LedgerEvent, Mentions,
        posting::{JournalEntry, LedgerAccount, between, entry_with_revenue},
        version::written_version,
    },
    terms::rule::Rule,
};

impl DomainEvent for AccountEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Opened(_) => "account.opened",
            Self::CreditLimitSet { .. } => "account.credit_limit_set",
            Self::PostPaidAllowed {} => "account.post_paid_allowed",
            Self::PostPaidRevoked {} => "account.post_paid_revoked",
            Self::AutomaticAllocationSwitchedOn {} => "account.automatic_allocation_switched_on",
            Self::AutomaticAllocationSwitchedOff {} => "account.automatic_allocation_switched_off",
            Self::Credited { .. } => "account.credited",
            Self::Charged { .. } => "account.charged",
            Self::Allocated { .. } => "account.allocated",
            Self::Released { .. } => "account.released",
            Self::Held { .. } => "account.held",
            Self::HoldReleased { .. } => "account.hold_released",
            Self::FundsSetAside { .. } => "account.funds_set_aside",
            Self::FundsSetFree { .. } => "account.funds_set_free",
        }
        .into()
    }

    fn event_version(&self) -> String {
        written_version(self)
    }
}

impl LedgerEvent for AccountEvent {
    type Aggregate = Account;

    const VERSIONS: &'static [(&'static str, &'static str)] = &[
        ("account.allocated", "1.0"),
        ("account.automatic_allocation_switched_off", "1.0"),
        ("account.automatic_allocation_switched_on", "1.0"),
        ("account.charged", "1.0"),
        ("account.credit_limit_set", "1.0"),
        ("account.credited", "1.0"),
        ("account.funds_set_aside", "1.0"),
        ("account.funds_set_free", "1.0"),
        ("account.held", "1.0"),
        ("account.hold_released", "1.0"),
        ("account.opened", "1.0"),
        ("account.post_paid_allowed", "1.0"),
        ("account.post_paid_revoked", "1.0"),
        ("account.released", "1.0"),
    ];

    fn postings(&self) -> JournalEntry {
        match self {
            Self::Charged { origin, amount, revenue, .. } => {
                let counter = match origin {
                    ChargeOrigin::Expense(_) | ChargeOrigin::Invoice(_) => {
                        return entry_with_revenue(*amount, *revenue, Decimal::ONE);
                    }
                    ChargeOrigin::Refund(_) => LedgerAccount::RefundClearing,
                    ChargeOrigin::Payment(_) => LedgerAccount::PaymentClearing,
                    ChargeOrigin::Transfer(_) => LedgerAccount::CurrencyExchange,
                    ChargeOrigin::Adjustment => LedgerAccount::Adjustments,
                };
                between(LedgerAccount::CustomerWallets, counter, *amount)
            }
            Self::Credited { origin, amount, revenue, .. } => {
                let counter = match origin {
                    FundsOrigin::CreditNote(_) | FundsOrigin::Expense(_) => {
                        return entry_with_revenue(*amount, *revenue, Decimal::NEGATIVE_ONE);
                    }
                    FundsOrigin::Payment(_) => LedgerAccount::PaymentClearing,
                    FundsOrigin::Refund(_) => LedgerAccount::RefundClearing,
                    FundsOrigin::Transfer(_) => LedgerAccount::CurrencyExchange,
                    FundsOrigin::Adjustment => LedgerAccount::Adjustments,
                };
                between(counter, LedgerAccount::CustomerWallets, *amount)
            }
            Self::Opened(_)
            | Self::CreditLimitSet { .. }
            | Self::PostPaidAllowed {}
            | Self::PostPaidRevoked {}
            | Self::AutomaticAllocationSwitchedOn {}
            | Self::AutomaticAllocationSwitchedOff {}
            | Self::Allocated { .. }
            | Self::Released { .. }
            | Self::Held { .. }
            | Self::HoldReleased { .. }
            | Self::FundsSetAside { .. }
            | Self::FundsSetFree { .. } => Vec::new(),
        }
    }

    fn rule(&self) -> Option<Rule> {
        Some(match self {
            Self::Credited { origin, reverses, .. } => rule_of_funds(origin, reverses.is_some()),
            Self::Charged { origin, reverses, .. } => rule_of_charge(origin, reverses.is_some()),
            Self::Allocated { .. } => Rule::new(
                "funds-allocated",
                "Money covers a charge; the balance stays. A debt that no credit limit allows comes first, then what the \
                 money was meant for, then what is due longest.",
            ),
            Self::Released { .. } => {
                Rule::new("funds-released", "Money no longer covers a charge and is free again; the balance stays.")
            }
            Self::Held { .. } => Rule::new("funds-held", "Money is set aside; the balance stays, less can be spent."),
            Self::HoldReleased { .. } => Rule::new("hold-released", "Money set aside can be spent again."),
            Self::FundsSetAside { .. } => Rule::new(
                "funds-set-aside",
                "Money is dated ahead: the balance of all entries has it, but it can be spent only once it takes effect.",
            ),
            Self::FundsSetFree { .. } => Rule::new(
                "funds-set-free",
                "Money that was dated ahead has taken effect and can be spent, or is taken back.",
            ),
            Self::Opened(_)
            | Self::CreditLimitSet { .. }
            | Self::PostPaidAllowed {}
            | Self::PostPaidRevoked {}
            | Self::AutomaticAllocationSwitchedOn {}
            | Self::AutomaticAllocationSwitchedOff {} => return None,
        })
    }

    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        match self {
            Self::Opened(opening) => mentions.add(&opening.customer),
            Self::Credited { origin, .. } => mention_funds(origin, mentions),
            Self::Charged { origin, .. } => mention_charge(origin, mentions),
            Self::Allocated { from, to, .. } | Self::Released { from, to, .. } => {
                mention_funds(from, mentions);
                mention_charge(to, mentions);
            }
            Self::Held { hold, .. } | Self::HoldReleased { hold, .. } => mentions.add(hold),
            Self::CreditLimitSet { .. }
            | Self::PostPaidAllowed {}
            | Self::PostPaidRevoked {}
            | Self::AutomaticAllocationSwitchedOn {}
            | Self::AutomaticAllocationSwitchedOff {}
            | Self::FundsSetAside { .. }
            | Self::FundsSetFree { .. } => {}
        }
    }
}

fn rule_of_funds(origin: &FundsOrigin, reverses: bool) -> Rule {
    match origin {
        FundsOrigin::Payment(_) if reverses => {
            Rule::new("dispute-won", "A dispute is won: the gateway gives its amount back, and it is credited once.")
        }
        FundsOrigin::Payment(_) => Rule::new(
            "payment-credited",
            "A payment has come in, or is pledged and counts already: its amount is credited in full.",
        ),
        FundsOrigin::CreditNote(_) => {
            Rule::new("credit-note-credited", "A credit note is issued: its total is credited.")
        }
        FundsOrigin::Expense(_) => Rule::new(
            "expense-given-back",
            "An expense was lowered or reversed: the difference is credited, and what had paid for it is free again.",
        ),
        FundsOrigin::Transfer(_) => Rule::new(
            "transfer-received",
            "A transfer from another account of the customer, at the rate that both record.",
        ),
        FundsOrigin::Refund(_) => {
            Rule::new("refund-failed", "A refund did not go through: its amount is credited again.")
        }
        FundsOrigin::Adjustment => Rule::new("adjustment-credited", "Staff correct the balance upwards and say why."),
    }
}

fn rule_of_charge(origin: &ChargeOrigin, reverses: bool) -> Rule {
    match (origin, reverses) {
        (ChargeOrigin::Expense(_), false) => Rule::new(
            "expense-charged",
            "An order is processed, or staff record or raise an expense: its total is charged.",
        ),
        (ChargeOrigin::Expense(_), true) => {
            Rule::new("expense-reinstated", "The reversal of an expense is reversed: its total is charged again.")
        }
        (ChargeOrigin::Invoice(_), _) => Rule::new("invoice-charged", "An invoice is final: its total is charged."),
        (ChargeOrigin::Refund(_), _) => {
            Rule::new("refund-started", "A refund is on its way to the payer: its amount is charged when it sets out.")
        }
        (ChargeOrigin::Payment(_), false) => Rule::new(
            "payment-disputed",
            "The gateway takes money of a payment back because of a dispute: its amount is charged at once. What the \
             payment covered last is open again first, and only as much as is needed.",
        ),
        (ChargeOrigin::Payment(_), true) => Rule::new(
            "payment-taken-back",
            "A payment was taken back, or its pledge withdrawn: what of it was left is charged, and what it covered is \
             open again.",
        ),
        (ChargeOrigin::Transfer(_), _) => {
            Rule::new("transfer-sent", "A transfer to another account of the customer, at the rate that both record.")
        }
        (ChargeOrigin::Adjustment, _) => {
            Rule::new("adjustment-charged", "Staff correct the balance downwards and say why.")
        }
    }
}

fn mention_funds<'a>(origin: &'a FundsOrigin, mentions: &mut Mentions<'a>) {
    match origin {
        FundsOrigin::Payment(payment) => mentions.add(payment),
        FundsOrigin::CreditNote(credit_note) => mentions.add(credit_note),
        FundsOrigin::Expense(expense) => mentions.add(expense),
        FundsOrigin::Transfer(leg) => mention_transfer(leg, mentions),
        FundsOrigin::Refund(refund) => mentions.add(refund),
        FundsOrigin::Adjustment => {}
    }
}

fn mention_charge<'a>(origin: &'a ChargeOrigin, mentions: &mut Mentions<'a>) {
    match origin {
        ChargeOrigin::Expense(expense) => mentions.add(expense),
        ChargeOrigin::Invoice(invoice) => mentions.add(invoice),
        ChargeOrigin::Refund(refund) => mentions.add(refund),
        ChargeOrigin::Payment(payment) => mentions.add(payment),
        ChargeOrigin::Transfer(leg) => mention_transfer(leg, mentions),
        ChargeOrigin::Adjustment => {}
    }
}

fn mention_transfer<'a>(leg: &'a TransferLeg, mentions: &mut Mentions<'a>) {
    mentions.add(&leg.transfer);
    mentions.add(&leg.peer);
}
