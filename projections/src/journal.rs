//! The journal in double entry, and the trial balance: what the chart of accounts says of every event that moves money.

use chrono::{DateTime, Utc};
use daybook_core::{
    RecordedEvent,
    domain::{Event, posting::Posting},
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};

use crate::engine::{Changes, FoldError, Follows, Moment, Owner, Projection, Row, Source, Table, place};

#[derive(Debug)]
pub enum Journal {}

/// One leg of a journal entry. The legs of one position are one entry, and balance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct JournalLineRow {
    pub position: i64,
    /// From 1.
    pub leg: i32,
    /// An account of the chart.
    pub ledger_account: String,
    /// The customer's account, where one is concerned.
    pub account_id: Option<String>,
    /// A debit is positive, a credit negative. Revenue and rounding may be finer than the currency.
    pub amount: Decimal,
    pub currency: String,
    pub event_type: String,
    pub occurred_at: DateTime<Utc>,
    /// When it would have taken effect, had that period not been closed.
    pub dated_at: Option<DateTime<Utc>>,
    pub recorded_at: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct TrialBalanceRow {
    pub ledger_account: String,
    pub currency: String,
    pub debit: Decimal,
    pub credit: Decimal,
    /// Debit minus credit.
    pub balance: Decimal,
}

impl Row for JournalLineRow {
    type Key = (i64, i32);
    const TABLE: &'static str = "journal_lines";
    const KEY: &'static [&'static str] = &["position", "leg"];
    const OWNER: Owner = Owner::Account("account_id");

    fn key(&self) -> Self::Key {
        (self.position, self.leg)
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::Event(self.position)]
    }

    const STAYS_BUT_FOR: Option<&'static [&'static str]> = Some(&[]);
}

impl Row for TrialBalanceRow {
    type Key = (String, String);
    const TABLE: &'static str = "trial_balance";
    const KEY: &'static [&'static str] = &["ledger_account", "currency"];
    const OWNER: Owner = Owner::Nobody;

    fn key(&self) -> Self::Key {
        (self.ledger_account.clone(), self.currency.clone())
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::Book]
    }
}

impl Projection for Journal {
    const NAME: &'static str = "journal";
    const VERSION: i32 = 1;
    // An event of an unknown type might move money: better to stop than to show books that lack it.
    const FOLLOWS: Follows = Follows::Everything;
    const TABLES: &'static [Table] = &[Table::of::<JournalLineRow>(), Table::of::<TrialBalanceRow>()];
    const READ_ALONE: bool = true;

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        for line in lines_of(event) {
            let (ledger_account, currency, amount) = (line.ledger_account.clone(), line.currency.clone(), line.amount);
            changes.insert(line);
            let key = (ledger_account.clone(), currency.clone());
            let zero = Decimal::ZERO;
            let empty = move || TrialBalanceRow { ledger_account, currency, debit: zero, credit: zero, balance: zero };
            changes.upsert(key, empty, move |row: &mut TrialBalanceRow| {
                if amount > zero {
                    row.debit += amount;
                } else {
                    row.credit -= amount;
                }
                row.balance += amount;
            });
        }
        Ok(())
    }
}

/// The journal entry that an event leads to; nothing, if it moves no money.
pub(crate) fn lines_of(event: &RecordedEvent) -> Vec<JournalLineRow> {
    let account_id = matches!(event.event, Event::Account(_)).then(|| event.aggregate_id.clone());
    let line = |(Posting { account, amount, currency }, leg)| JournalLineRow {
        position: place(event),
        leg,
        ledger_account: account.as_str().into(),
        account_id: account_id.clone(),
        amount,
        currency: currency.code().into(),
        event_type: event.event.event_type(),
        occurred_at: event.occurred_at(),
        dated_at: event.metadata.dated_at,
        recorded_at: event.recorded_at,
    };
    event.event.postings().into_iter().zip(1..).map(line).collect()
}

/// What of the journal to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub ledger_account: Option<String>,
    pub account: Option<String>,
    pub currency: Option<String>,
    /// Effective from this moment on.
    pub from: Option<DateTime<Utc>>,
    /// Effective before this moment.
    pub to: Option<DateTime<Utc>>,
}

/// In the order of the book; `after` is the position and leg of the last line of the page before this one.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    moment: &Moment,
    after: Option<(i64, i32)>,
    limit: i64,
) -> Result<Vec<JournalLineRow>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "select position, leg, ledger_account, account_id, amount, currency, event_type, occurred_at, dated_at,
             recorded_at
         from ",
    );
    match &filter.account {
        None => query.push("journal_lines as line where true"),
        Some(account) => {
            let (begin, end) = CONCERNING;
            query.push(begin).push_bind(account).push(end).push(" as line where true")
        }
    };
    filter.ledger_account.as_ref().map(|of| query.push(" and ledger_account = ").push_bind(of));
    filter.account.as_ref().map(|of| query.push(" and account_id = ").push_bind(of));
    filter.currency.as_ref().map(|of| query.push(" and currency = ").push_bind(of));
    filter.from.map(|from| query.push(" and occurred_at >= ").push_bind(from));
    filter.to.map(|to| query.push(" and occurred_at < ").push_bind(to));
    if let Some((position, leg)) = after {
        query.push(" and position >= ").push_bind(position).push(" and (position, leg) > (").push_bind(position);
        query.push(", ").push_bind(leg).push(")");
    }
    push_moment(&mut query, moment);
    query.push(" order by position, leg limit ").push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}

fn push_moment(query: &mut QueryBuilder<'_, Postgres>, moment: &Moment) {
    moment.position().map(|known_at| query.push(" and position <= ").push_bind(known_at));
    moment.before().map(|before| query.push(" and occurred_at < ").push_bind(before));
}

/// Where a query finds the lines that concern the customer's account `$2`, or all lines if none is asked for.
pub(crate) fn concerning(account: Option<&String>) -> String {
    let (begin, end) = CONCERNING;
    if account.is_none() { "journal_lines".into() } else { format!("{begin}$2{end}") }
}

/// What stands before and after an account in a query for the lines that concern it. An index has the first leg of each
/// entry; the others concern the same account at the same time, and are looked up for each of those that are wanted, in
/// place of a join that may begin at the first line of the journal.
const CONCERNING: (&str, &str) = (
    "(select entry.position, l.leg, l.ledger_account, l.account_id, l.amount, l.currency, l.event_type, entry.occurred_at,
          l.dated_at, l.recorded_at
      from journal_lines entry
      cross join lateral (
          select * from journal_lines legs
          where legs.position = entry.position and legs.occurred_at = entry.occurred_at
          order by leg
      ) l
      where entry.account_id = ",
    " and entry.leg = 1)",
);

/// The trial balance now, of one currency or of all.
pub async fn trial_balance(
    connection: &mut PgConnection,
    currency: Option<&str>,
) -> Result<Vec<TrialBalanceRow>, sqlx::Error> {
    let mut query =
        QueryBuilder::new("select ledger_account, currency, debit, credit, balance from trial_balance where true");
    currency.map(|currency| query.push(" and currency = ").push_bind(currency));
    query.push(" order by currency, ledger_account");
    query.build_query_as().fetch_all(connection).await
}

/// The trial balance of another moment.
pub async fn trial_balance_at(
    connection: &mut PgConnection,
    currency: Option<&str>,
    moment: &Moment,
) -> Result<Vec<TrialBalanceRow>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "select ledger_account, currency,
             coalesce(sum(amount) filter (where amount > 0), 0) as debit,
             coalesce(-sum(amount) filter (where amount < 0), 0) as credit,
             sum(amount) as balance
         from journal_lines
         where true",
    );
    push_moment(&mut query, moment);
    currency.map(|currency| query.push(" and currency = ").push_bind(currency));
    query.push(" group by ledger_account, currency order by currency, ledger_account");
    query.build_query_as().fetch_all(connection).await
}
