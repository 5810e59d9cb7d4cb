//! Accounts as they stand now: balance, holds, terms.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{Account, AccountEvent, Event, Noun, account::AccountOpening},
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use crate::{
    engine::{Changes, FoldError, Follows, Owner, Projection, Row, Shown, Source, Table, place},
    listing::Listed,
};

#[derive(Debug)]
pub enum Accounts {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct AccountRow {
    pub id: String,
    pub customer_id: String,
    pub name: String,
    pub currency: String,
    /// IANA name; the days and months of statements are those of this zone.
    pub time_zone: String,
    pub balance: Decimal,
    /// Set aside, not yet spent: holds, and what is dated ahead.
    pub held: Decimal,
    pub credit_limit: Decimal,
    pub post_paid: bool,
    pub automatic_allocation: bool,
    pub opened_at: DateTime<Utc>,
    /// How many entries it has.
    pub entries: i64,
    /// Of the event that opened it; listings go by it.
    pub position: i64,
    /// Of the last event that changed it.
    pub changed_position: i64,
}

impl Row for AccountRow {
    type Key = String;
    const TABLE: &'static str = "accounts";
    const KEY: &'static [&'static str] = &["id"];
    const PREFIX: Option<&'static str> = Some(Account::PREFIX);
    const OWNER: Owner = Owner::Customer("customer_id");
    const SHOWN: Shown = Shown::NEWEST_FIRST;

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Account::TYPE, &self.id)]
    }
}

impl Listed for AccountRow {
    type Of = AccountRow;
    const PROJECTION: &'static str = Accounts::NAME;
    const NOUN: &'static str = "account";
    const NOT_FOUND: &'static str = "account-not-found";

    fn position(&self) -> i64 {
        self.position
    }
}

impl Projection for Accounts {
    const NAME: &'static str = "accounts";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[Account::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<AccountRow>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        let Event::Account(account_event) = &event.event else { return Ok(()) };
        let position = place(event);
        let mut change = |change: Box<dyn FnOnce(&mut AccountRow) + Send>| {
            changes.update(event.aggregate_id.clone(), move |row: &mut AccountRow| {
                row.changed_position = position;
                change(row);
            });
        };
        match account_event {
            AccountEvent::Opened(AccountOpening { customer, currency, name, time_zone }) => {
                changes.insert(AccountRow {
                    id: event.aggregate_id.clone(),
                    customer_id: customer.as_str().into(),
                    name: name.clone(),
                    currency: currency.code().into(),
                    time_zone: time_zone.clone(),
                    balance: Decimal::ZERO,
                    held: Decimal::ZERO,
                    credit_limit: Decimal::ZERO,
                    post_paid: false,
                    automatic_allocation: true,
                    opened_at: event.occurred_at(),
                    entries: 0,
                    position,
                    changed_position: position,
                })
            }
            AccountEvent::CreditLimitSet { limit } => {
                let limit = limit.amount();
                change(Box::new(move |row| row.credit_limit = limit));
            }
            AccountEvent::PostPaidAllowed {} => change(Box::new(|row| row.post_paid = true)),
            AccountEvent::PostPaidRevoked {} => change(Box::new(|row| row.post_paid = false)),
            AccountEvent::AutomaticAllocationSwitchedOn {} => change(Box::new(|row| row.automatic_allocation = true)),
            AccountEvent::AutomaticAllocationSwitchedOff {} => change(Box::new(|row| row.automatic_allocation = false)),
            AccountEvent::Credited { amount, .. } => enter(amount.amount(), &mut change),
            AccountEvent::Charged { amount, .. } => enter(-amount.amount(), &mut change),
            AccountEvent::Held { amount, .. } => {
                let amount = amount.amount();
                change(Box::new(move |row| row.held += amount));
            }
            AccountEvent::HoldReleased { amount, .. } => {
                let amount = amount.amount();
                change(Box::new(move |row| row.held -= amount));
            }
            AccountEvent::FundsSetAside { amount, .. } => {
                let amount = amount.amount();
                change(Box::new(move |row| row.held += amount));
            }
            AccountEvent::FundsSetFree { amount, .. } => {
                let amount = amount.amount();
                change(Box::new(move |row| row.held -= amount));
            }
            // Which funds cover which charges moves no money.
            AccountEvent::Allocated { .. } | AccountEvent::Released { .. } => {}
        }
        Ok(())
    }
}

/// Adds an entry. The balance that the event tells is that of the order of recording, in which other entries may come
/// before it than those that took effect by a moment.
fn enter(amount: Decimal, change: &mut impl FnMut(Box<dyn FnOnce(&mut AccountRow) + Send>)) {
    change(Box::new(move |row| {
        row.balance += amount;
        row.entries += 1;
    }));
}
