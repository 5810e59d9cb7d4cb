//! The journal as accounting programs want it: entries in the order in which they took effect, each line with the
//! balance of its account after it, between what was there before and what is there after.
//!
//! PostgreSQL sums up, so that a reader who takes row after row needs memory for one row only. In one snapshot all
//! these queries tell of the same entries. That the rows of the journal follow from the events is for [`check`] to say.

mod check;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use daybook_core::domain::posting::LedgerAccount;
use futures::{TryStreamExt, stream::BoxStream};
use rust_decimal::Decimal;
use serde::{Deserialize, de::IntoDeserializer};
use sqlx::{FromRow, PgConnection, Row, postgres::PgRow};

use crate::journal::concerning;

pub use self::check::{CheckError, check};

/// Which entries to tell of, always whole ones. Days are those of UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// What had been recorded up to this position.
    pub known_at: i64,
    /// Only entries of this customer's account.
    pub account: Option<String>,
    /// The first day; what took effect earlier is in the opening balances.
    pub from: Option<NaiveDate>,
    /// The day after the last one.
    pub to: Option<NaiveDate>,
    /// What had taken effect at this moment.
    pub as_of: Option<DateTime<Utc>>,
}

/// An account of the chart, or a customer's own account under it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub ledger_account: LedgerAccount,
    /// The customer's account, where the chart's is the wallets.
    pub wallet: Option<String>,
}

/// One leg of an entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub position: i64,
    pub place: Place,
    /// A debit is positive, a credit negative. May be finer than the currency.
    pub amount: Decimal,
    pub currency: String,
    /// After this line.
    pub balance: Decimal,
    /// No later line of this day changes the balance.
    pub last_of_day: bool,
    pub day: NaiveDate,
    pub event_type: String,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub correlation_id: Option<String>,
    pub occurred_at: DateTime<Utc>,
    pub recorded_at: DateTime<Utc>,
    /// Of the entry of the customer's account, as is all that follows.
    pub description: Option<String>,
    pub entry: Option<i64>,
    pub origin: Option<String>,
    pub origin_id: Option<String>,
}

/// A currency of the entries.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct CurrencyUse {
    pub currency: String,
    /// Of the finest amount.
    pub decimals: i32,
    /// The last day that has an entry.
    pub last_day: NaiveDate,
}

/// An account that entries touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountUse {
    pub place: Place,
    /// What the customer's account is called.
    pub name: Option<String>,
    pub currencies: Vec<String>,
    /// The day of the first entry.
    pub first_day: NaiveDate,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    pub place: Place,
    pub currency: String,
    pub amount: Decimal,
}

/// A balance from before the first day.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    pub balance: Balance,
    /// What stands against this one and those before it, so that all of them balance.
    pub counter: Decimal,
}

impl Selection {
    /// The first moment that is not in it any more.
    fn before(&self) -> Option<DateTime<Utc>> {
        let end = self.to.map(|day| day.and_time(NaiveTime::MIN).and_utc());
        // PostgreSQL keeps microseconds.
        let after = self.as_of.map(|moment| moment + TimeDelta::microseconds(1));
        end.into_iter().chain(after).min()
    }
}

/// The selected lines, and the earlier ones that lead to the opening balances.
fn chosen(selection: &Selection) -> String {
    format!(
        "chosen as (
             select position, leg, ledger_account, account_id, amount, currency, event_type, occurred_at, recorded_at,
                 case when ledger_account = 'customer_wallets' then account_id end as wallet,
                 (occurred_at at time zone 'UTC')::date as day
             from {} as line
             where position <= $1
                 and ($2::text is null or account_id = $2)
                 and ($3::timestamptz is null or occurred_at < $3)
         )",
        concerning(selection.account.as_ref())
    )
}

/// The currencies in use, by their codes.
pub async fn currencies(connection: &mut PgConnection, selection: &Selection) -> Result<Vec<CurrencyUse>, sqlx::Error> {
    let chosen = chosen(selection);
    let query = format!(
        "with {chosen}
         select currency, max(scale(trim_scale(amount))) as decimals, max(day) as last_day
         from chosen
         group by currency
         order by currency"
    );
    sqlx::query_as(&query)
        .bind(selection.known_at)
        .bind(&selection.account)
        .bind(selection.before())
        .fetch_all(connection)
        .await
}

/// Passes the accounts in use on, in the order of their names.
pub async fn accounts<E: From<sqlx::Error>>(
    connection: &mut PgConnection,
    selection: &Selection,
    each: impl FnMut(AccountUse) -> Result<(), E>,
) -> Result<(), E> {
    let chosen = chosen(selection);
    let query = format!(
        "with {chosen}
         select used.ledger_account, used.wallet, a.name, used.currencies, used.first_day
         from (
             select ledger_account, wallet, array_agg(distinct currency order by currency) as currencies,
                 min(day) as first_day
             from chosen
             group by ledger_account, wallet
         ) as used
         left join accounts a on a.id = used.wallet
         order by used.ledger_account, used.wallet"
    );
    let rows = sqlx::query_as(&query).bind(selection.known_at).bind(&selection.account).bind(selection.before());
    pass_on(rows.fetch(connection), each).await
}

/// Passes the balances on that are not zero before the first day; none, unless there is a first day.
pub async fn openings<E: From<sqlx::Error>>(
    connection: &mut PgConnection,
    selection: &Selection,
    each: impl FnMut(Opening) -> Result<(), E>,
) -> Result<(), E> {
    let chosen = chosen(selection);
    let query = format!(
        "with {chosen}
         select ledger_account, wallet, currency, amount,
             -sum(amount) over (
                 partition by currency order by ledger_account, wallet rows unbounded preceding
             ) as counter
         from (
             select ledger_account, wallet, currency, sum(amount) as amount
             from chosen
             where day < $4::date
             group by ledger_account, wallet, currency
             having sum(amount) <> 0
         ) as opening
         order by ledger_account, wallet, currency"
    );
    let rows = sqlx::query_as(&query)
        .bind(selection.known_at)
        .bind(&selection.account)
        .bind(selection.before())
        .bind(selection.from);
    pass_on(rows.fetch(connection), each).await
}

/// Passes the lines on: by the time at which the entries took effect, then in the order of recording.
pub async fn lines<E: From<sqlx::Error>>(
    connection: &mut PgConnection,
    selection: &Selection,
    each: impl FnMut(Line) -> Result<(), E>,
) -> Result<(), E> {
    let chosen = chosen(selection);
    let query = format!(
        "with {chosen},
         running as (
             select position, leg, ledger_account, wallet, account_id, amount, currency, event_type, occurred_at,
                 recorded_at, day,
                 sum(amount) over (its rows unbounded preceding) as balance,
                 lead(day) over its is distinct from day as last_of_day
             from chosen
             window its as (partition by ledger_account, wallet, currency order by occurred_at, position)
         )
         select r.position, r.ledger_account, r.wallet, r.amount, r.currency, r.balance, r.last_of_day, r.day,
             r.event_type, r.occurred_at, r.recorded_at, e.aggregate_type, e.aggregate_id,
             e.metadata ->> 'correlation_id' as correlation_id, s.description, s.entry, s.origin, s.origin_id
         from running r
         join events e on e.position = r.position
         left join account_statement s
             on s.account_id = r.account_id and s.occurred_at = r.occurred_at and s.position = r.position
         where $4::date is null or r.day >= $4::date
         order by r.occurred_at, r.position, r.leg"
    );
    let rows = sqlx::query_as(&query)
        .bind(selection.known_at)
        .bind(&selection.account)
        .bind(selection.before())
        .bind(selection.from);
    pass_on(rows.fetch(connection), each).await
}

/// Passes the balances on that all of it comes to, those of zero included.
pub async fn balances<E: From<sqlx::Error>>(
    connection: &mut PgConnection,
    selection: &Selection,
    each: impl FnMut(Balance) -> Result<(), E>,
) -> Result<(), E> {
    let chosen = chosen(selection);
    let query = format!(
        "with {chosen}
         select ledger_account, wallet, currency, sum(amount) as amount
         from chosen
         group by ledger_account, wallet, currency
         order by ledger_account, wallet, currency"
    );
    let rows = sqlx::query_as(&query).bind(selection.known_at).bind(&selection.account).bind(selection.before());
    pass_on(rows.fetch(connection), each).await
}

async fn pass_on<T, E: From<sqlx::Error>>(
    mut rows: BoxStream<'_, Result<T, sqlx::Error>>,
    mut each: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    while let Some(row) = rows.try_next().await? {
        each(row)?;
    }
    Ok(())
}

impl Place {
    fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        let name: &str = row.try_get("ledger_account")?;
        let named: Result<_, serde::de::value::Error> = LedgerAccount::deserialize(name.into_deserializer());
        let ledger_account = named.map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Self { ledger_account, wallet: row.try_get("wallet")? })
    }
}

impl FromRow<'_, PgRow> for AccountUse {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            place: Place::of(row)?,
            name: row.try_get("name")?,
            currencies: row.try_get("currencies")?,
            first_day: row.try_get("first_day")?,
        })
    }
}

impl FromRow<'_, PgRow> for Balance {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self { place: Place::of(row)?, currency: row.try_get("currency")?, amount: row.try_get("amount")? })
    }
}

impl FromRow<'_, PgRow> for Opening {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self { balance: Balance::from_row(row)?, counter: row.try_get("counter")? })
    }
}

impl FromRow<'_, PgRow> for Line {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            position: row.try_get("position")?,
            place: Place::of(row)?,
            amount: row.try_get("amount")?,
            currency: row.try_get("currency")?,
            balance: row.try_get("balance")?,
            last_of_day: row.try_get("last_of_day")?,
            day: row.try_get("day")?,
            event_type: row.try_get("event_type")?,
            aggregate_type: row.try_get("aggregate_type")?,
            aggregate_id: row.try_get("aggregate_id")?,
            correlation_id: row.try_get("correlation_id")?,
            occurred_at: row.try_get("occurred_at")?,
            recorded_at: row.try_get("recorded_at")?,
            description: row.try_get("description")?,
            entry: row.try_get("entry")?,
            origin: row.try_get("origin")?,
            origin_id: row.try_get("origin_id")?,
        })
    }
}
