//! An expense: one thing the customer was charged for. It is adjusted or reversed by further entries, never edited.

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{AccountId, Id, LedgerAggregate, Money, Noun, OrderId, ServiceId, account::Entry};

pub type ExpenseId = Id<Expense>;

/// The total of an expense and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpenseEvent {
    Recorded(Box<Recorded>),
    Adjusted { before: Amounts, after: Amounts, entry: Entry },
    Reversed { amounts: Amounts, entry: Entry, reverses: Entry },
    Reinstated { amounts: Amounts, entry: Entry, reverses: Entry },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpenseRejection {
    #[error("the expense already exists")]
    AlreadyRecorded,
    #[error("there is no such expense")]
    NotRecorded,
    #[error("an expense cannot be below zero")]
    Negative,
    #[error("the total of the expense is already {total}")]
    TotalUnchanged { total: Money },
    #[error("the expense is reversed already")]
    AlreadyReversed,
    #[error("the expense is not reversed")]
    NotReversed,
}

impl ExpenseRejection {
    pub fn code(&self) -> &'static str {
        match self {
            Self::AlreadyRecorded => "expense-exists",
            Self::NotRecorded => "expense-not-found",
            Self::Negative => "expense-negative",
            Self::TotalUnchanged { .. } => "total-unchanged",
            Self::AlreadyReversed => "already-reversed",
            Self::NotReversed => "not-reversed",
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
        "1.0".into()
    }
}
