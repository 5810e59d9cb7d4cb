//! When events take effect for the documents that they make: not before what they build on.
//!
//! An entry of an account takes effect when it says so, whatever the order: it is one summand of a balance. An allocation
//! takes effect once its money is there, its charge is there, and every earlier allocation of either has taken effect. So
//! no payment covers more than it has, no expense is covered by more than it costs, and both tell the same of each other.
//! An event of a payment or an expense waits for those before it in its stream, and what takes something back also for
//! the allocations that its command undid.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{
        AccountEvent, Event, ExpenseEvent, Payment, PaymentEvent,
        account::{ChargeOrigin, Entry, FundsOrigin},
    },
};

use crate::engine::{Effects, Source};

/// What has taken effect up to the command that was looked at last. Commands are looked at in the order of the book.
#[derive(Debug, Default)]
pub(crate) struct Allocations {
    /// By the document, or by the entry where there is none.
    made: HashMap<String, DateTime<Utc>>,
    allocated: HashMap<String, DateTime<Utc>>,
}

/// How an event hangs together with others.
enum Part {
    /// It makes something, or adds to it.
    Makes(String),
    /// It says which money covers which charge.
    Allocates {
        funds: String,
        charge: String,
    },
    /// It takes something back, together with the allocations that stood in the way.
    TakesBack(String),
    Alone,
}

impl Effects for Allocations {
    fn of(&mut self, command: &[&RecordedEvent]) -> Vec<DateTime<Utc>> {
        let parts: Vec<Part> = command.iter().map(|event| Part::of(event)).collect();
        let mut effects: Vec<DateTime<Utc>> = command.iter().map(|event| event.occurred_at()).collect();
        for (part, effect) in parts.iter().zip(&mut effects) {
            if let Part::Makes(made) = part {
                *effect = later(&mut self.made, made, *effect);
            }
        }
        // What a command allocates goes together: money is moved from one charge to another at one moment.
        let allocations = || parts.iter().zip(command).filter_map(|(part, event)| part.allocation().zip(Some(event)));
        let allocated = allocations()
            .flat_map(|((funds, charge), event)| {
                let known = [funds, charge].into_iter().flat_map(|one| [self.made.get(one), self.allocated.get(one)]);
                known.flatten().copied().chain([event.occurred_at()])
            })
            .max();
        for ((funds, charge), _) in allocations() {
            for one in [funds, charge] {
                self.allocated.extend(allocated.map(|allocated| (one.to_owned(), allocated)));
            }
        }
        for (part, effect) in parts.iter().zip(&mut effects) {
            match part {
                Part::Makes(_) | Part::Alone => {}
                Part::Allocates { .. } => *effect = allocated.unwrap_or(*effect),
                Part::TakesBack(made) => {
                    let at = allocated.map_or(*effect, |allocated| allocated.max(*effect));
                    *effect = later(&mut self.made, made, at);
                }
            }
        }
        effects
    }

    /// An entry that credits a payment takes effect with it.
    fn depends_on(&self, event: &RecordedEvent) -> Option<Source> {
        match &event.event {
            Event::Account(AccountEvent::Credited { origin: FundsOrigin::Payment(payment), .. }) => {
                Some(Source::stream(Payment::TYPE, payment.as_str()))
            }
            _ => None,
        }
    }
}

/// This moment, or the one that is known already if that is later; known from now on.
fn later(known: &mut HashMap<String, DateTime<Utc>>, name: &str, at: DateTime<Utc>) -> DateTime<Utc> {
    let latest = known.get(name).map_or(at, |known| at.max(*known));
    known.insert(name.into(), latest);
    latest
}

impl Part {
    fn of(event: &RecordedEvent) -> Self {
        let id = &event.aggregate_id;
        match &event.event {
            Event::Account(AccountEvent::Credited { entry, origin, .. }) => Self::Makes(funds(origin, id, *entry)),
            Event::Account(AccountEvent::Charged { entry, origin, .. }) => Self::Makes(charge(origin, id, *entry)),
            Event::Account(
                AccountEvent::Allocated { funds: from_entry, from, charge: to_entry, to, .. }
                | AccountEvent::Released { funds: from_entry, from, charge: to_entry, to, .. },
            ) => Self::Allocates { funds: funds(from, id, *from_entry), charge: charge(to, id, *to_entry) },
            Event::Payment(
                PaymentEvent::Started(_)
                | PaymentEvent::Submitted {}
                | PaymentEvent::Pledged { .. }
                | PaymentEvent::Credited { .. }
                | PaymentEvent::Failed { .. }
                | PaymentEvent::Deleted {}
                | PaymentEvent::AssignedTo { .. },
            ) => Self::Makes(id.clone()),
            Event::Payment(
                PaymentEvent::PledgeWithdrawn {}
                | PaymentEvent::MarkedFraudulent { .. }
                | PaymentEvent::RefundStarted { .. }
                | PaymentEvent::RefundSettled { .. }
                | PaymentEvent::Recognised { .. }
                | PaymentEvent::RefundNamed { .. }
                | PaymentEvent::RefundFailed { .. }
                | PaymentEvent::DisputeOpened { .. }
                | PaymentEvent::DisputeWon { .. }
                | PaymentEvent::DisputeLost { .. },
            ) => Self::TakesBack(id.clone()),
            Event::Expense(ExpenseEvent::Adjusted { before, after, .. })
                if after.total.amount() < before.total.amount() =>
            {
                Self::TakesBack(id.clone())
            }
            Event::Expense(ExpenseEvent::Reversed { .. }) => Self::TakesBack(id.clone()),
            Event::Expense(
                ExpenseEvent::Recorded(_) | ExpenseEvent::Adjusted { .. } | ExpenseEvent::Reinstated { .. },
            ) => Self::Makes(id.clone()),
            _ => Self::Alone,
        }
    }

    fn allocation(&self) -> Option<(&str, &str)> {
        match self {
            Self::Allocates { funds, charge } => Some((funds, charge)),
            Self::Makes(_) | Self::TakesBack(_) | Self::Alone => None,
        }
    }
}

/// The document that money comes from, or the entry that brought it.
fn funds(origin: &FundsOrigin, account: &str, entry: Entry) -> String {
    match origin {
        FundsOrigin::Payment(payment) => payment.to_string(),
        FundsOrigin::CreditNote(note) => note.to_string(),
        // What was given back of an expense is money of its own.
        FundsOrigin::Expense(_) | FundsOrigin::Transfer(_) | FundsOrigin::Refund(_) | FundsOrigin::Adjustment => {
            of_entry(account, entry)
        }
    }
}

/// The document that is charged for, or the entry that charged.
fn charge(origin: &ChargeOrigin, account: &str, entry: Entry) -> String {
    match origin {
        ChargeOrigin::Expense(expense) => expense.to_string(),
        ChargeOrigin::Invoice(invoice) => invoice.to_string(),
        ChargeOrigin::Refund(_) | ChargeOrigin::Payment(_) | ChargeOrigin::Transfer(_) | ChargeOrigin::Adjustment => {
            of_entry(account, entry)
        }
    }
}

fn of_entry(account: &str, entry: Entry) -> String {
    format!("{account}/{entry}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixtures::{at, usd};

    fn payment() -> FundsOrigin {
        FundsOrigin::Payment("pay_1".parse().expect("a payment"))
    }

    fn expense() -> ChargeOrigin {
        ChargeOrigin::Expense("exp_1".parse().expect("an expense"))
    }

    fn credited() -> AccountEvent {
        let (origin, amount) = (payment(), usd("50.00"));
        AccountEvent::Credited {
            entry: 1,
            origin,
            amount,
            balance: amount,
            description: "payment".into(),
            revenue: None,
            reverses: None,
        }
    }

    fn charged() -> AccountEvent {
        AccountEvent::Charged {
            entry: 2,
            origin: expense(),
            amount: usd("50.00"),
            balance: usd("0.00"),
            description: "a server".into(),
            revenue: None,
            due_on: chrono::NaiveDate::MIN,
            reverses: None,
        }
    }

    fn allocated() -> AccountEvent {
        AccountEvent::Allocated { funds: 1, from: payment(), charge: 2, to: expense(), amount: usd("50.00") }
    }

    fn released() -> AccountEvent {
        AccountEvent::Released { funds: 1, from: payment(), charge: 2, to: expense(), amount: usd("50.00") }
    }

    /// The seconds at which the events take effect that one command after another made at these seconds.
    fn seconds(commands: Vec<(i64, Vec<(&str, Event)>)>) -> Vec<Vec<i64>> {
        let mut effects = Allocations::default();
        let mut told = Vec::new();
        for (second, events) in commands {
            let events: Vec<_> = events.into_iter().map(|(id, event)| at(second, 1, id, event)).collect();
            let effects = effects.of(&events.iter().collect::<Vec<_>>());
            told.push(effects.iter().map(DateTime::timestamp).collect());
        }
        told
    }

    #[test]
    fn an_allocation_takes_effect_at_the_later_of_its_two_sides() {
        let told = seconds(vec![
            (60, vec![("acc_1", credited().into())]),
            (20, vec![("acc_1", charged().into()), ("acc_1", allocated().into())]),
        ]);
        assert_eq!(told, [vec![60], vec![20, 60]]);
    }

    #[test]
    fn what_is_released_was_allocated_before() {
        let told = seconds(vec![
            (10, vec![("acc_1", credited().into())]),
            (60, vec![("acc_1", charged().into()), ("acc_1", allocated().into())]),
            (20, vec![("acc_1", released().into())]),
        ]);
        assert_eq!(told, [vec![10], vec![60, 60], vec![60]]);
    }

    #[test]
    fn an_expense_is_not_reversed_before_its_money_is_free() {
        let amounts =
            |total| daybook_core::domain::expense::Amounts { net: usd(total), tax: usd("0"), total: usd(total) };
        let reversed = ExpenseEvent::Reversed { amounts: amounts("50.00"), entry: 3, reverses: 2 };
        let told = seconds(vec![
            (10, vec![("acc_1", credited().into())]),
            (60, vec![("acc_1", charged().into()), ("acc_1", allocated().into())]),
            (20, vec![("exp_1", reversed.into()), ("acc_1", released().into())]),
        ]);
        assert_eq!(told[2], [60, 60]);
    }
}
