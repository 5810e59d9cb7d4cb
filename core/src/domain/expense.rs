//! An expense: one thing the customer was charged for. It is adjusted or reversed by further entries, never edited.

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use super::{
    AccountId, Id, LedgerAggregate, LedgerEvent, Mentions, Money, Noun, OrderId, Owner, ServiceId, account::Entry,
    function::Function, posting::JournalEntry, version::written_version,
};
use crate::terms::{
    refusal::{absent, conflict, invalid, refusals},
    rule::Rule,
};

pub type ExpenseId = Id<Expense>;

/// The total of an expense and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Amounts {
    pub net: Money,
    pub tax: Money,
    pub total: Money,
}

#[derive(Clone, Debug)]
pub enum ExpenseCommand {
    Record(Box<Recorded>),
    /// Sets a new total by an adjusting entry on the account.
    Adjust {
        amounts: Amounts,
        entry: Entry,
    },
    Reverse {
        entry: Entry,
    },
    /// Reverses the reversal.
    Reinstate {
        entry: Entry,
    },
}

/// An expense as it was first charged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recorded {
    pub account: AccountId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
    /// The item of the order, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_item: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceId>,
    pub description: String,
    pub quantity: Decimal,
    /// Per cent, on top of the net amount.
    pub tax_rate: Decimal,
    pub amounts: Amounts,
    /// The account entry that charges it.
    pub entry: Entry,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExpenseEvent {
    Recorded(Box<Recorded>),
    Adjusted { before: Amounts, after: Amounts, entry: Entry },
    Reversed { amounts: Amounts, entry: Entry, reverses: Entry },
    Reinstated { amounts: Amounts, entry: Entry, reverses: Entry },
}

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum ExpenseRejection {
        #[error("the expense already exists")]
        AlreadyRecorded = conflict("expense-exists", "The expense already exists"),
        #[error("there is no such expense")]
        NotRecorded = absent("expense-not-found", "There is no such expense"),
        #[error("an expense cannot be below zero")]
        Negative at "/total" = invalid("expense-negative", "An expense cannot be below zero"),
        #[error("the quantity must be greater than zero, with at most 6 decimals")]
        QuantityOutOfRange at "/quantity" =
            invalid("quantity-out-of-range", "A quantity is greater than zero with at most 6 decimals"),
        #[error("the tax rate must be at least 0 and below 1000 per cent, with at most 4 decimals")]
        TaxRateOutOfRange at "/tax_rate" = invalid(
            "tax-rate-out-of-range",
            "A tax rate is at least 0 and below 1000 per cent, with at most 4 decimals",
        ),
        #[error("the total of the expense is already {total}")]
        TotalUnchanged { total: Money } at "/total" =
            conflict("total-unchanged", "The total of the expense is already so"),
        #[error("the expense is reversed already")]
        AlreadyReversed = conflict("already-reversed", "The expense is reversed already"),
        #[error("the expense is not reversed")]
        NotReversed = conflict("not-reversed", "The expense is not reversed"),
    }
}

/// How an expense stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    Recorded,
    Reversed,
}

impl Status {
    /// How an expense stands after an event.
    pub fn after(self, event: &ExpenseEvent) -> Self {
        match event {
            ExpenseEvent::Recorded(_) | ExpenseEvent::Reinstated { .. } => Self::Recorded,
            ExpenseEvent::Adjusted { .. } => self,
            ExpenseEvent::Reversed { .. } => Self::Reversed,
        }
    }
}

/// What a recorded expense knows of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    pub account: AccountId,
    pub tax_rate: Decimal,
    pub amounts: Amounts,
    pub description: String,
    /// The account entries that charge it now, in order; a reversal empties the list.
    pub charges: Vec<Entry>,
    /// The entry that reversed it, while it is reversed.
    pub reversed_by: Option<Entry>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expense {
    #[default]
    Unknown,
    Recorded(Box<Standing>),
}

impl Noun for Expense {
    const PREFIX: &'static str = "exp";
}

impl LedgerAggregate for Expense {
    const FOLD_VERSION: i32 = 1;
    const READ_BY: Function = Function::ExpensesRead;

    fn owner(&self) -> Owner<'_> {
        match self {
            Self::Unknown => Owner::Everybody,
            Self::Recorded(standing) => Owner::Account(&standing.account),
        }
    }
}

impl Expense {
    /// The expense, if it has been recorded.
    pub fn standing(&self) -> Result<&Standing, ExpenseRejection> {
        match self {
            Self::Unknown => Err(ExpenseRejection::NotRecorded),
            Self::Recorded(standing) => Ok(standing),
        }
    }
}

impl Standing {
    pub fn status(&self) -> Status {
        if self.reversed_by.is_some() { Status::Reversed } else { Status::Recorded }
    }
}

impl Aggregate for Expense {
    const TYPE: &'static str = "expense";
    type Command = ExpenseCommand;
    type Event = ExpenseEvent;
    type Error = ExpenseRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: ExpenseCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), ExpenseRejection> {
        use ExpenseCommand as C;
        use ExpenseRejection as R;

        let event = match (&*self, command) {
            (Self::Unknown, C::Record(recorded)) if recorded.amounts.total.is_negative() => return Err(R::Negative),
            (Self::Unknown, C::Record(recorded)) => ExpenseEvent::Recorded(recorded),
            (Self::Unknown, _) => return Err(R::NotRecorded),
            (Self::Recorded(_), C::Record(_)) => return Err(R::AlreadyRecorded),
            (Self::Recorded(standing), command) => match (standing.reversed_by, command) {
                (Some(_), C::Adjust { .. } | C::Reverse { .. }) => return Err(R::AlreadyReversed),
                (None, C::Adjust { amounts, .. }) if amounts.total.is_negative() => return Err(R::Negative),
                (None, C::Adjust { amounts, .. }) if amounts.total == standing.amounts.total => {
                    return Err(R::TotalUnchanged { total: amounts.total });
                }
                (None, C::Adjust { amounts, entry }) => {
                    ExpenseEvent::Adjusted { before: standing.amounts, after: amounts, entry }
                }
                (None, C::Reverse { entry }) => {
                    let reverses = *standing.charges.last().expect("what stands was charged");
                    ExpenseEvent::Reversed { amounts: standing.amounts, entry, reverses }
                }
                (None, C::Reinstate { .. }) => return Err(R::NotReversed),
                (Some(reverses), C::Reinstate { entry }) => {
                    ExpenseEvent::Reinstated { amounts: standing.amounts, entry, reverses }
                }
                (_, C::Record(_)) => return Err(R::AlreadyRecorded),
            },
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: ExpenseEvent) {
        match (&mut *self, event) {
            (Self::Unknown, ExpenseEvent::Recorded(recorded)) => {
                *self = Self::Recorded(Box::new(Standing {
                    account: recorded.account,
                    tax_rate: recorded.tax_rate,
                    amounts: recorded.amounts,
                    description: recorded.description,
                    charges: vec![recorded.entry],
                    reversed_by: None,
                }));
            }
            (Self::Recorded(standing), ExpenseEvent::Adjusted { before, after, entry }) => {
                if after.total.amount() > before.total.amount() {
                    standing.charges.push(entry);
                }
                standing.amounts = after;
            }
            (Self::Recorded(standing), ExpenseEvent::Reversed { entry, .. }) => {
                standing.charges.clear();
                standing.reversed_by = Some(entry);
            }
            (Self::Recorded(standing), ExpenseEvent::Reinstated { entry, .. }) => {
                standing.charges = vec![entry];
                standing.reversed_by = None;
            }
            (Self::Unknown, _) | (Self::Recorded(_), ExpenseEvent::Recorded(_)) => {}
        }
    }
}

impl DomainEvent for ExpenseEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Recorded(_) => "expense.recorded",
            Self::Adjusted { .. } => "expense.adjusted",
            Self::Reversed { .. } => "expense.reversed",
            Self::Reinstated { .. } => "expense.reinstated",
        }
        .into()
    }

    fn event_version(&self) -> String {
        written_version(self)
    }
}

impl LedgerEvent for ExpenseEvent {
    type Aggregate = Expense;

    const VERSIONS: &'static [(&'static str, &'static str)] = &[
        ("expense.adjusted", "1.0"),
        ("expense.recorded", "1.0"),
        ("expense.reinstated", "1.0"),
        ("expense.reversed", "1.0"),
    ];

    fn postings(&self) -> JournalEntry {
        // Its money moves through entries of the account.
        Vec::new()
    }

    fn rule(&self) -> Option<Rule> {
        None
    }

    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        match self {
            Self::Recorded(recorded) => {
                mentions.add(&recorded.account);
                mentions.add_all(&recorded.order);
                mentions.add_all(&recorded.service);
            }
            Self::Adjusted { .. } | Self::Reversed { .. } | Self::Reinstated { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};

    use super::*;
    use crate::domain::fixtures::{id, number, usd};

    fn given(events: Vec<ExpenseEvent>) -> AggregateTestExecutor<Expense> {
        TestFramework::with(()).given(events)
    }

    fn amounts(total: &str) -> Amounts {
        Amounts { net: usd(total), tax: usd("0"), total: usd(total) }
    }

    fn of(total: &str) -> Box<Recorded> {
        Box::new(Recorded {
            account: id("main"),
            order: None,
            order_item: None,
            service: None,
            description: "VPS".into(),
            quantity: number("1"),
            tax_rate: number("0"),
            amounts: amounts(total),
            entry: 2,
        })
    }

    fn recorded() -> ExpenseEvent {
        ExpenseEvent::Recorded(of("12.00"))
    }

    fn adjust(total: &str) -> ExpenseCommand {
        ExpenseCommand::Adjust { amounts: amounts(total), entry: 3 }
    }

    fn raised() -> ExpenseEvent {
        ExpenseEvent::Adjusted { before: amounts("12.00"), after: amounts("15.00"), entry: 3 }
    }

    fn reversed() -> ExpenseEvent {
        ExpenseEvent::Reversed { amounts: amounts("12.00"), entry: 3, reverses: 2 }
    }

    fn reinstated() -> ExpenseEvent {
        ExpenseEvent::Reinstated { amounts: amounts("12.00"), entry: 4, reverses: 3 }
    }

    #[test]
    fn the_status_that_events_lead_to_is_that_of_the_expense() {
        let (mut expense, mut status) = (Expense::default(), Status::Recorded);
        let adjusted = ExpenseEvent::Adjusted { before: amounts("10.00"), after: amounts("12.00"), entry: 3 };
        for event in [recorded(), adjusted, reversed(), reinstated(), reversed()] {
            status = status.after(&event);
            expense.apply(event);
            assert_eq!(expense.standing().map(Standing::status), Ok(status));
        }
        assert_eq!(status, Status::Reversed);
    }

    #[test]
    fn an_expense_is_recorded_raised_and_lowered() {
        given(vec![]).when(ExpenseCommand::Record(of("12.00"))).then_expect_events(vec![recorded()]);
        given(vec![recorded()]).when(adjust("15.00")).then_expect_events(vec![raised()]);
        let lowered = ExpenseEvent::Adjusted { before: amounts("12.00"), after: amounts("0.00"), entry: 3 };
        given(vec![recorded()]).when(adjust("0.00")).then_expect_events(vec![lowered]);
    }

    #[test]
    fn a_reversal_and_its_undoing_name_the_entry_that_they_take_back() {
        given(vec![recorded()]).when(ExpenseCommand::Reverse { entry: 3 }).then_expect_events(vec![reversed()]);
        given(vec![recorded(), reversed()])
            .when(ExpenseCommand::Reinstate { entry: 4 })
            .then_expect_events(vec![reinstated()]);
        let again = ExpenseEvent::Reversed { amounts: amounts("12.00"), entry: 5, reverses: 4 };
        given(vec![recorded(), reversed(), reinstated()])
            .when(ExpenseCommand::Reverse { entry: 5 })
            .then_expect_events(vec![again]);
    }

    #[test]
    fn an_expense_is_recorded_once() {
        for history in [vec![recorded()], vec![recorded(), reversed()]] {
            given(history)
                .when(ExpenseCommand::Record(of("12.00")))
                .then_expect_error(ExpenseRejection::AlreadyRecorded);
        }
    }

    #[test]
    fn nothing_happens_to_an_expense_that_is_not_recorded() {
        let commands = [adjust("1.00"), ExpenseCommand::Reverse { entry: 3 }, ExpenseCommand::Reinstate { entry: 3 }];
        for command in commands {
            given(vec![]).when(command).then_expect_error(ExpenseRejection::NotRecorded);
        }
        assert_eq!(Expense::Unknown.standing(), Err(ExpenseRejection::NotRecorded));
    }

    #[test]
    fn an_expense_below_zero_is_refused() {
        given(vec![]).when(ExpenseCommand::Record(of("-0.01"))).then_expect_error(ExpenseRejection::Negative);
        given(vec![recorded()]).when(adjust("-0.01")).then_expect_error(ExpenseRejection::Negative);
    }

    #[test]
    fn an_adjustment_to_the_same_total_is_refused() {
        let total = usd("12.00");
        given(vec![recorded()]).when(adjust("12.00")).then_expect_error(ExpenseRejection::TotalUnchanged { total });
    }

    #[test]
    fn a_reversed_expense_is_neither_adjusted_nor_reversed_again() {
        for command in [adjust("1.00"), ExpenseCommand::Reverse { entry: 4 }] {
            given(vec![recorded(), reversed()]).when(command).then_expect_error(ExpenseRejection::AlreadyReversed);
        }
    }

    #[test]
    fn an_expense_that_stands_is_not_reinstated() {
        for history in [vec![recorded()], vec![recorded(), reversed(), reinstated()]] {
            given(history)
                .when(ExpenseCommand::Reinstate { entry: 5 })
                .then_expect_error(ExpenseRejection::NotReversed);
        }
    }
}
