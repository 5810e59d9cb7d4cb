//! Accounts as they stand now: balance, holds, terms.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{Account, AccountEvent, Event},
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};

use crate::engine::{Changes, FoldError, Follows, Lasting, Projection, Row, Source, Table, place};

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

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Account::TYPE, &self.id)]
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
            AccountEvent::Opened { customer, currency, name, time_zone } => changes.insert(AccountRow {
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
            }),
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

pub async fn get(connection: &mut PgConnection, id: &str) -> Result<Option<AccountRow>, sqlx::Error> {
    sqlx::query_as(
        "select id, customer_id, name, currency, time_zone, balance, held, credit_limit, post_paid,
             automatic_allocation, opened_at, entries, position, changed_position
         from accounts
         where id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// What of the accounts to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub customer: Option<String>,
    pub currency: Option<String>,
}

impl Filter {
    /// What of it never changes in a row.
    pub fn lasting(&self) -> Lasting {
        Lasting::default().is("customer_id", self.customer.as_ref()).is("currency", self.currency.as_ref())
    }
}

/// Newest first; `before` is the position of the last row of the page before this one.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<AccountRow>, sqlx::Error> {
    sqlx::query_as(
        "select id, customer_id, name, currency, time_zone, balance, held, credit_limit, post_paid,
             automatic_allocation, opened_at, entries, position, changed_position
         from accounts
         where ($1::text is null or customer_id = $1)
             and ($2::text is null or currency = $2)
             and ($3::bigint is null or position < $3)
         order by position desc
         limit $4",
    )
    .bind(&filter.customer)
    .bind(&filter.currency)
    .bind(before)
    .bind(limit)
    .fetch_all(connection)
    .await
}
