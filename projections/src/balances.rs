//! Whether the ways to an account's balance lead to the same: the account's own row, the lines of its statement, what the
//! last of its events says, and the days that a balance of the past is summed up from.
//!
//! Each projection may be a faithful fold and the three still disagree, where PostgreSQL reads a moment as another day
//! than the fold, or where one of them leaves a stream out that the others follow.

use daybook_core::store::{Store, StoreError};
use sqlx::{Connection, Executor as _, FromRow};

/// An account whose balances disagree.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Disagreement {
    pub account_id: String,
    /// Of the account's row; `None` if there is none.
    pub balance: Option<String>,
    /// The closing balance of a statement of all of it.
    pub closing: Option<String>,
    /// What the last entry says that the account has come to.
    pub told: Option<String>,
    /// The first day (UTC) of which a balance of the past counts something else than the statement.
    pub day: Option<String>,
}

/// How many accounts were compared, and the first one whose balances disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    pub accounts: u64,
    pub first: Option<Disagreement>,
}

/// The two projections need not be abreast: lines count up to where the accounts have come to, and an account that has
/// changed since the statement came to its place is left out.
const DISAGREEING: &str = "
    with at as (
        select max(position) filter (where name = 'accounts') as accounts,
            max(position) filter (where name = 'account_statement') as statement
        from projections
        where stage = 'serving'
    ),
    entered as (
        select line.account_id, sum(line.amount) as closing, (array_agg(line.balance order by line.entry desc))[1] as told
        from account_statement line cross join at
        where line.position <= at.accounts
        group by line.account_id
    ),
    dated as (
        select account_id, (occurred_at at time zone 'UTC')::date as day, sum(amount) as amount, count(*) as entries
        from account_statement
        group by 1, 2
    ),
    moved as (
        select coalesce(line.account_id, kept.account_id) as account_id, min(coalesce(line.day, kept.day)) as day
        from dated line full join account_days kept on kept.account_id = line.account_id and kept.day = line.day
        where line.amount is distinct from kept.amount or line.entries is distinct from kept.entries
        group by 1
    )
    select coalesce(a.id, e.account_id, m.account_id) as account_id, a.balance::text as balance,
        e.closing::text as closing, e.told::text as told, m.day::text as day
    from accounts a
    full join entered e on e.account_id = a.id
    full join moved m on m.account_id = coalesce(a.id, e.account_id)
    cross join at
    where coalesce(a.changed_position <= at.statement, true)
        and (a.balance is distinct from coalesce(e.closing, 0) or a.balance is distinct from coalesce(e.told, 0)
            or m.day is not null)
    order by 1
    limit 1";

/// Compares all accounts, in one snapshot.
pub async fn compare(store: &Store) -> Result<Compared, StoreError> {
    let mut connection = store.connection().await?;
    connection.execute("set statement_timeout = 0; set idle_in_transaction_session_timeout = 0").await?;
    let mut snapshot = connection.begin_with("begin isolation level repeatable read, read only").await?;
    let first = sqlx::query_as(DISAGREEING).fetch_optional(&mut *snapshot).await?;
    let accounts: i64 = sqlx::query_scalar("select count(*) from accounts").fetch_one(&mut *snapshot).await?;
    snapshot.rollback().await?;
    connection.close().await?;
    Ok(Compared { accounts: accounts.unsigned_abs(), first })
}
