//! The account statement: one line per entry, with both of its times and its position, so that a balance as of any
//! moment, and as it was known at any position, can be told.

use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{
        Account, AccountEvent, Event, Money,
        account::{ChargeOrigin, Entry, FundsOrigin, TransferLeg},
    },
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, types::Json};

use crate::engine::{Changes, FoldError, Follows, Moment, Projection, Row, Source, Table, place};

#[derive(Debug)]
pub enum AccountStatement {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct StatementRow {
    pub account_id: String,
    /// 1, 2, 3 … in the order of recording.
    pub entry: i64,
    pub position: i64,
    /// When it took effect.
    pub occurred_at: DateTime<Utc>,
    /// When it would have taken effect, had that period not been closed.
    pub dated_at: Option<DateTime<Utc>>,
    pub recorded_at: DateTime<Utc>,
    /// Where the money came from or what it went for: `payment`, `invoice` …
    pub origin: String,
    pub origin_id: Option<String>,
    pub transfer: Option<Json<TransferLeg>>,
    pub description: String,
    /// Positive for a credit, negative for a charge.
    pub amount: Decimal,
    /// After this entry, in the order of recording.
    pub balance: Decimal,
    pub currency: String,
    /// Of a charge.
    pub due_on: Option<NaiveDate>,
    /// The entry that this one takes back.
    pub reverses: Option<i64>,
    /// The entry that took this one back.
    pub reversed_by: Option<i64>,
}

/// What a day's entries come to, by the day (UTC) on which they took effect: an opening balance need not sum up the
/// entries of years.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct AccountDayRow {
    pub account_id: String,
    pub day: NaiveDate,
    pub amount: Decimal,
    pub entries: i64,
}

impl Row for StatementRow {
    type Key = (String, i64);
    const TABLE: &'static str = "account_statement";
    const KEY: &'static [&'static str] = &["account_id", "entry"];

    fn key(&self) -> Self::Key {
        (self.account_id.clone(), self.entry)
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Account::TYPE, &self.account_id)]
    }

    const STAYS_BUT_FOR: Option<&'static [&'static str]> = Some(&["reversed_by"]);
}

impl Row for AccountDayRow {
    type Key = (String, NaiveDate);
    const TABLE: &'static str = "account_days";
    const KEY: &'static [&'static str] = &["account_id", "day"];

    fn key(&self) -> Self::Key {
        (self.account_id.clone(), self.day)
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Account::TYPE, &self.account_id)]
    }
}

impl Projection for AccountStatement {
    const NAME: &'static str = "account_statement";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[Account::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<StatementRow>(), Table::of::<AccountDayRow>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        if let Some(line) = line_of(event) {
            enter(line, changes);
        }
        Ok(())
    }
}

/// The line that an event leads to, if it is an entry of an account.
pub(crate) fn line_of(event: &RecordedEvent) -> Option<StatementRow> {
    let Event::Account(account_event) = &event.event else { return None };
    match account_event {
        AccountEvent::Credited { entry, origin, amount, balance, description, reverses, .. } => {
            let (origin, origin_id) = funds_origin(origin);
            Some(StatementRow {
                origin: origin.into(),
                origin_id,
                transfer: transfer_leg(account_event),
                ..line(event, *entry, amount.amount(), *balance, description, *reverses)
            })
        }
        AccountEvent::Charged { entry, origin, amount, balance, description, due_on, reverses, .. } => {
            let (origin, origin_id) = charge_origin(origin);
            Some(StatementRow {
                origin: origin.into(),
                origin_id,
                transfer: transfer_leg(account_event),
                due_on: Some(*due_on),
                ..line(event, *entry, -amount.amount(), *balance, description, *reverses)
            })
        }
        AccountEvent::Opened { .. }
        | AccountEvent::CreditLimitSet { .. }
        | AccountEvent::PostPaidAllowed {}
        | AccountEvent::PostPaidRevoked {}
        | AccountEvent::AutomaticAllocationSwitchedOn {}
        | AccountEvent::AutomaticAllocationSwitchedOff {}
        | AccountEvent::Allocated { .. }
        | AccountEvent::Released { .. }
        | AccountEvent::Held { .. }
        | AccountEvent::HoldReleased { .. } => None,
    }
}

/// The name and the identifier of where funds came from.
pub(crate) fn funds_origin(origin: &FundsOrigin) -> (&'static str, Option<String>) {
    let id = |id: &dyn fmt::Display| Some(id.to_string());
    match origin {
        FundsOrigin::Payment(payment) => ("payment", id(payment)),
        FundsOrigin::CreditNote(credit_note) => ("credit_note", id(credit_note)),
        FundsOrigin::Expense(expense) => ("expense", id(expense)),
        FundsOrigin::Transfer(leg) => ("transfer", id(&leg.transfer)),
        FundsOrigin::Refund(refund) => ("refund", id(refund)),
        FundsOrigin::Adjustment => ("adjustment", None),
    }
}

/// The name and the identifier of what a charge is for.
pub(crate) fn charge_origin(origin: &ChargeOrigin) -> (&'static str, Option<String>) {
    let id = |id: &dyn fmt::Display| Some(id.to_string());
    match origin {
        ChargeOrigin::Expense(expense) => ("expense", id(expense)),
        ChargeOrigin::Invoice(invoice) => ("invoice", id(invoice)),
        ChargeOrigin::Refund(refund) => ("refund", id(refund)),
        ChargeOrigin::Payment(payment) => ("payment", id(payment)),
        ChargeOrigin::Transfer(leg) => ("transfer", id(&leg.transfer)),
        ChargeOrigin::Adjustment => ("adjustment", None),
    }
}

fn transfer_leg(event: &AccountEvent) -> Option<Json<TransferLeg>> {
    match event {
        AccountEvent::Credited { origin: FundsOrigin::Transfer(leg), .. }
        | AccountEvent::Charged { origin: ChargeOrigin::Transfer(leg), .. } => Some(Json((**leg).clone())),
        _ => None,
    }
}

fn line(
    event: &RecordedEvent,
    entry: Entry,
    amount: Decimal,
    balance: Money,
    description: &str,
    reverses: Option<Entry>,
) -> StatementRow {
    StatementRow {
        account_id: event.aggregate_id.clone(),
        entry: entry as i64,
        position: place(event),
        occurred_at: event.occurred_at(),
        dated_at: event.metadata.dated_at,
        recorded_at: event.recorded_at,
        origin: String::new(),
        origin_id: None,
        transfer: None,
        description: description.into(),
        amount,
        balance: balance.amount(),
        currency: balance.currency().code().into(),
        due_on: None,
        reverses: reverses.map(|entry| entry as i64),
        reversed_by: None,
    }
}

fn enter(line: StatementRow, changes: &mut Changes) {
    let (account_id, entry, amount, day) =
        (line.account_id.clone(), line.entry, line.amount, line.occurred_at.date_naive());
    if let Some(reversed) = line.reverses {
        changes.update((account_id.clone(), reversed), move |row: &mut StatementRow| row.reversed_by = Some(entry));
    }
    changes.insert(line);
    let key = (account_id.clone(), day);
    let empty = move || AccountDayRow { account_id, day, amount: Decimal::ZERO, entries: 0 };
    changes.upsert(key, empty, move |row: &mut AccountDayRow| {
        row.amount += amount;
        row.entries += 1;
    });
}

/// What of a statement to tell. The first moment is included, the last is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Period {
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    /// Only what counts at this moment.
    pub moment: Moment,
}

impl Period {
    /// A bound of the period, or the moment that nothing after counts at, whichever is first.
    fn bounded(&self, bound: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        match (bound, self.moment.before()) {
            (Some(bound), Some(before)) => Some(bound.min(before)),
            (bound, before) => bound.or(before),
        }
    }
}

/// The place of a line in a statement: lines go by the time they took effect, then by the order of recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub occurred_at: DateTime<Utc>,
    pub position: i64,
}

/// A page of a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Before the first moment of the period.
    pub opening: Decimal,
    /// After the last moment of the period, whatever page this is.
    pub closing: Decimal,
    /// Each line with the balance after it in this order.
    pub lines: Vec<(StatementRow, Decimal)>,
}

/// The statement of an account for a period; `after` is the place of the last line of the page before this one.
pub async fn statement(
    connection: &mut PgConnection,
    account_id: &str,
    period: &Period,
    after: Option<Place>,
    limit: i64,
) -> Result<Statement, sqlx::Error> {
    let known_at = period.moment.position();
    let opening = match period.from {
        None => Decimal::ZERO,
        Some(from) => balance(connection, account_id, period.bounded(Some(from)), known_at).await?,
    };
    let to = period.bounded(period.to);
    let closing = balance(connection, account_id, to, known_at).await?;
    // A row tells what takes its entry back now: of another moment that has to be looked up.
    let rows: Vec<StatementRow> = sqlx::query_as(
        "select account_id, entry, position, occurred_at, dated_at, recorded_at, origin, origin_id, transfer,
             description, amount, balance, currency, due_on, reverses,
             case
                 when $4::bigint is null and $8::timestamptz is null then reversed_by
                 else (
                     select r.entry from account_statement r
                     where r.account_id = s.account_id and r.entry > s.entry and r.entry <= s.reversed_by
                         and r.reverses = s.entry
                         and ($4::bigint is null or r.position <= $4)
                         and ($8::timestamptz is null or r.occurred_at < $8)
                     order by r.entry desc
                     limit 1
                 )
             end as reversed_by
         from account_statement s
         where account_id = $1
             and ($2::timestamptz is null or occurred_at >= $2)
             and ($3::timestamptz is null or occurred_at < $3)
             and ($4::bigint is null or position <= $4)
             and ($5::timestamptz is null or (occurred_at, position) > ($5, $6::bigint))
         order by occurred_at, position
         limit $7",
    )
    .bind(account_id)
    .bind(period.from)
    .bind(to)
    .bind(known_at)
    .bind(after.map(|place| place.occurred_at))
    .bind(after.map(|place| place.position))
    .bind(limit)
    .bind(period.moment.before())
    .fetch_all(&mut *connection)
    .await?;
    let mut running = match after {
        None => opening,
        Some(place) => balance_after(connection, account_id, place, known_at).await?,
    };
    let lines = rows.into_iter().map(|row| {
        running += row.amount;
        (row, running)
    });
    Ok(Statement { opening, closing, lines: lines.collect() })
}

/// The balance from all that took effect before a moment, or from everything; as it was known at a position, if one is
/// given.
pub async fn balance(
    connection: &mut PgConnection,
    account_id: &str,
    before: Option<DateTime<Utc>>,
    known_at: Option<i64>,
) -> Result<Decimal, sqlx::Error> {
    // Whole days are summed up already, but not as they were known earlier.
    sqlx::query_scalar(
        "select
             coalesce((
                 select sum(amount) from account_days
                 where account_id = $1 and $3::bigint is null
                     and ($2::timestamptz is null or day < ($2 at time zone 'UTC')::date)
             ), 0)
             + coalesce((
                 select sum(amount) from account_statement
                 where account_id = $1 and $3::bigint is null
                     and occurred_at >= date_trunc('day', $2, 'UTC') and occurred_at < $2
             ), 0)
             + coalesce((
                 select sum(amount) from account_statement
                 where account_id = $1 and position <= $3 and ($2::timestamptz is null or occurred_at < $2)
             ), 0)",
    )
    .bind(account_id)
    .bind(before)
    .bind(known_at)
    .fetch_one(connection)
    .await
}

async fn balance_after(
    connection: &mut PgConnection,
    account_id: &str,
    place: Place,
    known_at: Option<i64>,
) -> Result<Decimal, sqlx::Error> {
    let before = balance(connection, account_id, Some(place.occurred_at), known_at).await?;
    let at_once: Decimal = sqlx::query_scalar(
        "select coalesce(sum(amount), 0) from account_statement
         where account_id = $1 and occurred_at = $2 and position <= $3 and ($4::bigint is null or position <= $4)",
    )
    .bind(account_id)
    .bind(place.occurred_at)
    .bind(place.position)
    .bind(known_at)
    .fetch_one(connection)
    .await?;
    Ok(before + at_once)
}

#[cfg(test)]
mod tests {
    use daybook_core::domain::{ExpenseId, account::RevenueShare};
    use rust_decimal::dec;

    use super::*;
    use crate::engine::{
        Memory,
        fixtures::{at, usd},
    };

    fn charged(entry: Entry, balance: &str) -> AccountEvent {
        AccountEvent::Charged {
            entry,
            origin: ChargeOrigin::Expense("exp_1".parse::<ExpenseId>().expect("an expense")),
            amount: usd("12.30"),
            balance: usd(balance),
            description: "a server".into(),
            revenue: Some(RevenueShare { net: dec!(12.30), tax: dec!(0), residue: dec!(0) }),
            due_on: NaiveDate::MIN,
            reverses: None,
        }
    }

    fn taken_back(entry: Entry, reverses: Entry) -> AccountEvent {
        AccountEvent::Credited {
            entry,
            origin: FundsOrigin::Adjustment,
            amount: usd("12.30"),
            balance: usd("0.00"),
            description: "reversal".into(),
            revenue: None,
            reverses: Some(reverses),
        }
    }

    #[test]
    fn charges_are_negative_and_linked_with_what_takes_them_back() {
        let events = [at(86_400, 1, "acc_1", charged(1, "-12.30")), at(86_399, 2, "acc_1", taken_back(2, 1))];
        let mut rows = Memory::fold::<AccountStatement>(&events).expect("rows");
        let lines = rows.rows::<StatementRow>();
        let told: Vec<_> = lines.iter().map(|row| (row.amount, row.balance, row.reverses, row.reversed_by)).collect();
        assert_eq!(told, [(dec!(-12.30), dec!(-12.30), None, Some(2)), (dec!(12.30), dec!(0.00), Some(1), None)]);
        let origins: Vec<_> = lines.iter().map(|row| (row.origin.as_str(), row.origin_id.as_deref())).collect();
        assert_eq!(origins, [("expense", Some("exp_1")), ("adjustment", None)]);

        // Each day has what took effect on it, whenever it was recorded.
        let days: Vec<_> = rows.rows::<AccountDayRow>().into_iter().map(|row| (row.day, row.amount)).collect();
        let day = |day| NaiveDate::from_ymd_opt(1970, 1, day).expect("a day");
        assert_eq!(days, [(day(1), dec!(12.30)), (day(2), dec!(-12.30))]);
    }

    #[test]
    fn what_takes_back_an_entry_that_is_not_there_cannot_be_folded() {
        let error = Memory::fold::<AccountStatement>(&[at(0, 1, "acc_1", taken_back(2, 1))]).expect_err("no entry 1");
        let key = r#"("acc_1", 1)"#.to_owned();
        assert_eq!(error, FoldError::RowMissing { table: "account_statement", key });
    }

    #[test]
    fn the_same_entry_twice_cannot_be_folded() {
        let twice = [at(0, 1, "acc_1", charged(1, "-12.30")), at(0, 2, "acc_1", charged(1, "-12.30"))];
        let error = Memory::fold::<AccountStatement>(&twice).expect_err("entry 1 is there");
        assert!(matches!(error, FoldError::RowExists { table: "account_statement", .. }), "{error}");
    }
}
