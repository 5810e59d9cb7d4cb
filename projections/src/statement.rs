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
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder, Row as _, postgres::PgRow, types::Json};

use crate::engine::{Changes, FoldError, Follows, Moment, Owner, Projection, Row, Shown, Source, Table, place};

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
    const OWNER: Owner = Owner::Account("account_id");
    const SHOWN: Shown = Shown::PLAIN.in_order("occurred_at, position");

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
    const OWNER: Owner = Owner::Account("account_id");

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
        AccountEvent::Opened(_)
        | AccountEvent::CreditLimitSet { .. }
        | AccountEvent::PostPaidAllowed {}
        | AccountEvent::PostPaidRevoked {}
        | AccountEvent::AutomaticAllocationSwitchedOn {}
        | AccountEvent::AutomaticAllocationSwitchedOff {}
        | AccountEvent::Allocated { .. }
        | AccountEvent::Released { .. }
        | AccountEvent::Held { .. }
        | AccountEvent::HoldReleased { .. }
        | AccountEvent::FundsSetAside { .. }
        | AccountEvent::FundsSetFree { .. } => None,
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
#[derive(Clone, Copy, Debug)]
struct Place {
    occurred_at: DateTime<Utc>,
    position: i64,
}

/// A statement for a period.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Before the first moment of the period.
    pub opening: Decimal,
    pub lines: Vec<StatementLine>,
}

/// What a statement tells of an entry; see [`StatementRow`].
#[derive(Clone, Debug, PartialEq)]
pub struct StatementLine {
    pub entry: i64,
    pub position: i64,
    pub occurred_at: DateTime<Utc>,
    pub dated_at: Option<DateTime<Utc>>,
    pub recorded_at: DateTime<Utc>,
    pub origin: String,
    pub origin_id: Option<String>,
    pub description: String,
    pub amount: Decimal,
    pub due_on: Option<NaiveDate>,
    pub reverses: Option<i64>,
    pub reversed_by: Option<i64>,
    /// After this line, in the order of the statement.
    pub balance: Decimal,
}

impl Statement {
    /// After the last moment of the period.
    pub fn closing(&self) -> Decimal {
        self.lines.last().map_or(self.opening, |line| line.balance)
    }
}

/// The statement of an account for a period, read in portions of so many lines.
pub async fn statement(
    connection: &mut PgConnection,
    account_id: &str,
    period: &Period,
    portion: usize,
) -> Result<Statement, sqlx::Error> {
    let mut rows = lines(&mut *connection, account_id, period, None, portion).await?;
    // With the first line comes what was there before.
    let opening = match (period.from, rows.first()) {
        (None, _) => Decimal::ZERO,
        (Some(_), Some(row)) => row.try_get(COLUMNS)?,
        (Some(from), None) => {
            let before = period.bounded(Some(from));
            balance(&mut *connection, account_id, before, period.moment.position()).await?
        }
    };
    let mut statement = Statement { opening, lines: Vec::with_capacity(rows.len()) };
    loop {
        let full = rows.len() == portion;
        for row in &rows {
            statement.lines.push(read_line(row, statement.closing())?);
        }
        match statement.lines.last() {
            Some(StatementLine { occurred_at, position, .. }) if full => {
                let last = Place { occurred_at: *occurred_at, position: *position };
                rows = lines(&mut *connection, account_id, period, Some(last), portion).await?;
            }
            _ => return Ok(statement),
        }
    }
}

/// The next lines after a place, and with each of the first ones the balance before all of them, if the period begins at
/// some moment.
///
/// The text of the query has only the conditions that are asked for, so that one plan is good for all who ask the same.
async fn lines(
    connection: &mut PgConnection,
    account_id: &str,
    period: &Period,
    after: Option<Place>,
    limit: usize,
) -> Result<Vec<PgRow>, sqlx::Error> {
    let (to, before, known_at) = (period.bounded(period.to), period.moment.before(), period.moment.position());
    let mut query = QueryBuilder::new(
        "select entry, position, occurred_at, dated_at, recorded_at, origin, origin_id, description, amount, due_on,
             reverses, ",
    );
    // A row tells what takes its entry back now: of another moment that has to be looked up.
    if known_at.is_none() && before.is_none() {
        query.push("reversed_by");
    } else {
        query.push(
            "(select r.entry from account_statement r
              where r.account_id = s.account_id and r.entry > s.entry and r.entry <= s.reversed_by
                  and r.reverses = s.entry",
        );
        known_at.map(|known_at| query.push(" and r.position <= ").push_bind(known_at));
        before.map(|before| query.push(" and r.occurred_at < ").push_bind(before));
        query.push(" order by r.entry desc limit 1)");
    }
    // It is worked out once, and stands in each row.
    if let (Some(from), None) = (period.from, after) {
        query.push(", ");
        push_balance(&mut query, account_id, period.bounded(Some(from)), known_at);
    }
    query.push(" from account_statement s where account_id = ").push_bind(account_id);
    period.from.map(|from| query.push(" and occurred_at >= ").push_bind(from));
    to.map(|to| query.push(" and occurred_at < ").push_bind(to));
    known_at.map(|known_at| query.push(" and position <= ").push_bind(known_at));
    if let Some(Place { occurred_at, position }) = after {
        query.push(" and (occurred_at, position) > (").push_bind(occurred_at).push(", ").push_bind(position).push(")");
    }
    query.push(" order by occurred_at, position limit ").push_bind(limit as i64);
    query.build().fetch_all(connection).await
}

/// Of a line, before the balance.
const COLUMNS: usize = 12;

/// A line by the places of its columns; their names would have to be looked up in every row.
fn read_line(row: &PgRow, before: Decimal) -> Result<StatementLine, sqlx::Error> {
    let amount: Decimal = row.try_get(8)?;
    Ok(StatementLine {
        entry: row.try_get(0)?,
        position: row.try_get(1)?,
        occurred_at: row.try_get(2)?,
        dated_at: row.try_get(3)?,
        recorded_at: row.try_get(4)?,
        origin: row.try_get(5)?,
        origin_id: row.try_get(6)?,
        description: row.try_get(7)?,
        amount,
        due_on: row.try_get(9)?,
        reverses: row.try_get(10)?,
        reversed_by: row.try_get(11)?,
        balance: before + amount,
    })
}

/// The balance from all that took effect before a moment, or from everything; as it was known at a position, if one is
/// given.
pub async fn balance(
    connection: &mut PgConnection,
    account_id: &str,
    before: Option<DateTime<Utc>>,
    known_at: Option<i64>,
) -> Result<Decimal, sqlx::Error> {
    let mut query = QueryBuilder::new("select ");
    push_balance(&mut query, account_id, before, known_at);
    query.build_query_scalar().fetch_one(connection).await
}

fn push_balance(
    query: &mut QueryBuilder<'_, Postgres>,
    account_id: &str,
    before: Option<DateTime<Utc>>,
    known_at: Option<i64>,
) {
    let sum = |query: &mut QueryBuilder<'_, Postgres>, table| {
        query.push("coalesce((select sum(amount) from ").push(table).push(" where account_id = ");
        query.push_bind(account_id.to_owned());
    };
    // Whole days are summed up already, but not as they were known earlier.
    match (known_at, before) {
        (None, None) => sum(query, "account_days"),
        (None, Some(before)) => {
            sum(query, "account_days");
            query.push(" and day < (").push_bind(before).push(" at time zone 'UTC')::date), 0) + ");
            sum(query, "account_statement");
            query.push(" and occurred_at >= date_trunc('day', ").push_bind(before).push("::timestamptz, 'UTC')");
            query.push(" and occurred_at < ").push_bind(before);
        }
        (Some(known_at), before) => {
            sum(query, "account_statement");
            query.push(" and position <= ").push_bind(known_at);
            before.map(|before| query.push(" and occurred_at < ").push_bind(before));
        }
    }
    query.push("), 0)");
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
