//! Expenses: what each comes to now, and what covers it.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{
        Account, AccountEvent, Event, Expense, ExpenseEvent, ExpenseId, Noun,
        account::{ChargeOrigin, FundsOrigin},
        expense::{Amounts, Status},
    },
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use crate::{
    effect::Allocations,
    engine::{Changes, Effects, FoldError, Follows, Owner, Projection, Row, Shown, Source, Table, place},
    listing::Listed,
    statement::funds_origin,
    word::Word,
};

#[derive(Debug)]
pub enum Expenses {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct ExpenseRow {
    pub id: String,
    pub account_id: String,
    pub order_id: Option<String>,
    pub order_item: Option<i32>,
    pub service_id: Option<String>,
    pub description: String,
    pub quantity: Decimal,
    pub tax_rate: Decimal,
    pub net: Decimal,
    pub tax: Decimal,
    pub total: Decimal,
    pub currency: String,
    pub status: Word<Status>,
    /// The account entry that charged it first.
    pub entry: i64,
    /// By money of others than its own corrections.
    pub covered: Decimal,
    /// Nothing, while it is reversed.
    pub uncovered: Decimal,
    pub charged_at: DateTime<Utc>,
    /// Of the event that recorded it; listings go by it.
    pub position: i64,
    /// Of the last event that changed it.
    pub changed_position: i64,
}

/// What an expense has of funds. A row whose amount is zero tells of an allocation that was taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct CoverageRow {
    pub expense_id: String,
    /// The entry of the account that brought the money.
    pub funds: i64,
    /// `payment`, `credit_note` …
    pub origin: String,
    pub origin_id: Option<String>,
    pub amount: Decimal,
    pub currency: String,
    /// Of the last event that changed it.
    pub changed_position: i64,
}

impl Row for ExpenseRow {
    type Key = String;
    const TABLE: &'static str = "expenses";
    const KEY: &'static [&'static str] = &["id"];
    const PREFIX: Option<&'static str> = Some(Expense::PREFIX);
    const OWNER: Owner = Owner::Account("account_id");
    const SHOWN: Shown = Shown::NEWEST_FIRST;

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        // The account says what covers it.
        vec![Source::stream(Expense::TYPE, &self.id), Source::stream(Account::TYPE, &self.account_id)]
    }
}

impl Row for CoverageRow {
    type Key = (String, i64);
    const TABLE: &'static str = "expense_coverage";
    const KEY: &'static [&'static str] = &["expense_id", "funds"];
    const OWNER: Owner = Owner::parent::<ExpenseRow>("expense_id");

    fn key(&self) -> Self::Key {
        (self.expense_id.clone(), self.funds)
    }

    fn sources(&self) -> Vec<Source> {
        // The expense itself names its account.
        Vec::new()
    }
}

impl Listed for ExpenseRow {
    type Of = ExpenseRow;
    const PROJECTION: &'static str = Expenses::NAME;
    const NOUN: &'static str = "expense";
    const NOT_FOUND: &'static str = "expense-not-found";

    fn position(&self) -> i64 {
        self.position
    }
}

impl Projection for Expenses {
    const NAME: &'static str = "expenses";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[Expense::TYPE, Account::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<ExpenseRow>(), Table::of::<CoverageRow>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        match &event.event {
            Event::Expense(expense_event) => fold_expense(event, expense_event, changes),
            Event::Account(account_event) => fold_account(event, account_event, changes),
            _ => {}
        }
        Ok(())
    }

    fn effects() -> Option<Box<dyn Effects>> {
        Some(Box::<Allocations>::default())
    }
}

fn fold_expense(event: &RecordedEvent, expense_event: &ExpenseEvent, changes: &mut Changes) {
    let id = event.aggregate_id.clone();
    match expense_event {
        ExpenseEvent::Recorded(recorded) => {
            let Amounts { net, tax, total } = recorded.amounts;
            changes.insert(ExpenseRow {
                id,
                account_id: recorded.account.to_string(),
                order_id: recorded.order.as_ref().map(ToString::to_string),
                order_item: recorded.order_item.map(|number| number as i32),
                service_id: recorded.service.as_ref().map(ToString::to_string),
                description: recorded.description.clone(),
                quantity: recorded.quantity,
                tax_rate: recorded.tax_rate,
                net: net.amount(),
                tax: tax.amount(),
                total: total.amount(),
                currency: total.currency().code().into(),
                status: Word(Status::Recorded),
                entry: recorded.entry as i64,
                covered: Decimal::ZERO,
                uncovered: total.amount(),
                charged_at: event.occurred_at(),
                position: place(event),
                changed_position: place(event),
            });
        }
        ExpenseEvent::Adjusted { after, .. } => {
            let Amounts { net, tax, total } = *after;
            change(event, id, changes, move |row| {
                row.net = net.amount();
                row.tax = tax.amount();
                row.total = total.amount();
            });
        }
        ExpenseEvent::Reversed { .. } | ExpenseEvent::Reinstated { .. } => {
            let followed = expense_event.clone();
            change(event, id, changes, move |row| row.status = Word(row.status.after(&followed)));
        }
    }
}

/// What the account covers expenses with.
fn fold_account(event: &RecordedEvent, account_event: &AccountEvent, changes: &mut Changes) {
    match account_event {
        AccountEvent::Allocated { funds, from, to: ChargeOrigin::Expense(expense), amount, .. } => {
            cover(event, expense, *funds as i64, from, amount.amount(), amount.currency().code(), changes);
        }
        AccountEvent::Released { funds, from, to: ChargeOrigin::Expense(expense), amount, .. } => {
            cover(event, expense, *funds as i64, from, -amount.amount(), amount.currency().code(), changes);
        }
        AccountEvent::Allocated { .. }
        | AccountEvent::Released { .. }
        | AccountEvent::Opened(_)
        | AccountEvent::CreditLimitSet { .. }
        | AccountEvent::PostPaidAllowed {}
        | AccountEvent::PostPaidRevoked {}
        | AccountEvent::AutomaticAllocationSwitchedOn {}
        | AccountEvent::AutomaticAllocationSwitchedOff {}
        | AccountEvent::Credited { .. }
        | AccountEvent::Charged { .. }
        | AccountEvent::Held { .. }
        | AccountEvent::HoldReleased { .. }
        | AccountEvent::FundsSetAside { .. }
        | AccountEvent::FundsSetFree { .. } => {}
    }
}

fn cover(
    event: &RecordedEvent,
    expense: &ExpenseId,
    funds: i64,
    from: &FundsOrigin,
    amount: Decimal,
    currency: &'static str,
    changes: &mut Changes,
) {
    // A correction lowers the total itself; it does not pay for it.
    let own_correction = matches!(from, FundsOrigin::Expense(corrected) if corrected == expense);
    if !own_correction {
        change(event, expense.to_string(), changes, move |row| row.covered += amount);
    }
    let (origin, origin_id) = funds_origin(from);
    let (expense_id, position) = (expense.to_string(), place(event));
    let key = (expense_id.clone(), funds);
    let empty = move || CoverageRow {
        expense_id,
        funds,
        origin: origin.into(),
        origin_id,
        amount: Decimal::ZERO,
        currency: currency.into(),
        changed_position: position,
    };
    changes.upsert(key, empty, move |row: &mut CoverageRow| {
        row.amount += amount;
        row.changed_position = position;
    });
}

fn change(
    event: &RecordedEvent,
    id: String,
    changes: &mut Changes,
    change: impl FnOnce(&mut ExpenseRow) + Send + 'static,
) {
    let position = place(event);
    changes.update(id, move |row: &mut ExpenseRow| {
        change(row);
        row.uncovered = match *row.status {
            Status::Recorded => row.total - row.covered,
            Status::Reversed => Decimal::ZERO,
        };
        row.changed_position = position;
    });
}

#[cfg(test)]
mod tests {
    use daybook_core::domain::expense::Recorded;
    use rust_decimal::dec;

    use super::*;
    use crate::engine::{
        Memory,
        fixtures::{book, usd},
    };

    fn amounts(total: &str) -> Amounts {
        Amounts { net: usd(total), tax: usd("0"), total: usd(total) }
    }

    fn recorded() -> (&'static str, Event) {
        let recorded = Recorded {
            account: "acc_1".parse().expect("an account"),
            order: None,
            order_item: None,
            service: None,
            description: "a server".into(),
            quantity: dec!(1),
            tax_rate: dec!(0),
            amounts: amounts("10.00"),
            entry: 2,
        };
        ("exp_1", ExpenseEvent::Recorded(Box::new(recorded)).into())
    }

    fn payment() -> FundsOrigin {
        FundsOrigin::Payment("pay_1".parse().expect("a payment"))
    }

    fn correction() -> FundsOrigin {
        FundsOrigin::Expense("exp_1".parse().expect("an expense"))
    }

    fn allocated(funds: u64, from: FundsOrigin, amount: &str) -> (&'static str, Event) {
        let to = ChargeOrigin::Expense("exp_1".parse().expect("an expense"));
        ("acc_1", AccountEvent::Allocated { funds, from, charge: 2, to, amount: usd(amount) }.into())
    }

    fn released(funds: u64, from: FundsOrigin, amount: &str) -> (&'static str, Event) {
        let to = ChargeOrigin::Expense("exp_1".parse().expect("an expense"));
        ("acc_1", AccountEvent::Released { funds, from, charge: 2, to, amount: usd(amount) }.into())
    }

    /// Status, total, covered, uncovered.
    fn standing(events: impl IntoIterator<Item = (&'static str, Event)>) -> (&'static str, Decimal, Decimal, Decimal) {
        let mut rows = Memory::fold::<Expenses>(&book(events)).expect("rows");
        let row = rows.rows::<ExpenseRow>().remove(0);
        (row.status.as_str(), row.total, row.covered, row.uncovered)
    }

    #[test]
    fn a_payment_covers_what_it_is_allocated_to() {
        let rows = standing([recorded(), allocated(1, payment(), "4.00")]);
        assert_eq!(rows, ("recorded", dec!(10), dec!(4), dec!(6)));
    }

    #[test]
    fn a_correction_lowers_the_total_and_covers_nothing() {
        let adjusted = ExpenseEvent::Adjusted { before: amounts("10.00"), after: amounts("8.00"), entry: 3 };
        let rows = standing([
            recorded(),
            allocated(1, payment(), "10.00"),
            ("exp_1", adjusted.into()),
            released(1, payment(), "2.00"),
            allocated(3, correction(), "2.00"),
        ]);
        assert_eq!(rows, ("recorded", dec!(8), dec!(8), dec!(0)));
    }

    #[test]
    fn nothing_is_uncovered_of_a_reversed_expense_until_it_is_reinstated() {
        let reversed = ExpenseEvent::Reversed { amounts: amounts("10.00"), entry: 3, reverses: 2 };
        let reinstated = ExpenseEvent::Reinstated { amounts: amounts("10.00"), entry: 4, reverses: 3 };
        let mut events = vec![recorded(), ("exp_1", reversed.into()), allocated(3, correction(), "10.00")];
        assert_eq!(standing(events.clone()), ("reversed", dec!(10), dec!(0), dec!(0)));
        events.push(("exp_1", reinstated.into()));
        assert_eq!(standing(events), ("recorded", dec!(10), dec!(0), dec!(10)));
    }

    #[test]
    fn what_covers_an_expense_is_told_by_funds() {
        let events = book([recorded(), allocated(1, payment(), "4.00"), released(1, payment(), "1.00")]);
        let mut rows = Memory::fold::<Expenses>(&events).expect("rows");
        let covered: Vec<_> =
            rows.rows::<CoverageRow>().into_iter().map(|row| (row.funds, row.origin_id, row.amount)).collect();
        assert_eq!(covered, [(1, Some("pay_1".into()), dec!(3))]);
    }
}
