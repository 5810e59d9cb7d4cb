//! The journal over HTTP: the legs of every entry, and the trial balance that they come to.

use axum::{extract::State, http::Uri, response::Response};
use chrono::{DateTime, Utc};
use daybook_projections::journal::{self as read_model, Filter, JournalLineRow, TrialBalanceRow};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    address::AskedAt,
    app::App,
    error::ApiError,
    moment::AskedMoment,
    page::Page,
    read::Fresh,
    wire::{AccountRef, Nothing, Number, text},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JournalQuery {
    /// An account of the chart.
    ledger_account: Option<String>,
    /// The account of a customer.
    account: Option<AccountRef>,
    /// Effective from this moment on.
    from: Option<DateTime<Utc>>,
    /// Effective before this moment.
    to: Option<DateTime<Utc>>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// A leg of an entry of the journal.
#[derive(Debug, Serialize, ToSchema)]
pub struct LegShown {
    /// Of the event that the entry was derived from.
    position: i64,
    /// From 1.
    leg: i32,
    /// An account of the chart.
    ledger_account: String,
    /// The customer's account, where one is concerned.
    account: Option<String>,
    /// A debit is positive, a credit negative; revenue and rounding may be finer than the currency.
    amount: Number,
    currency: String,
    event_type: String,
    occurred_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TrialBalance {
    data: Vec<Standing>,
    /// Whether debits equal credits in every currency.
    balanced: bool,
}

/// How an account of the chart stands in one currency.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrialBalanceLine)]
pub struct Standing {
    ledger_account: String,
    currency: String,
    debit: Number,
    credit: Number,
    /// Debit minus credit.
    balance: Number,
}

impl From<JournalLineRow> for LegShown {
    fn from(row: JournalLineRow) -> Self {
        Self {
            position: row.position,
            leg: row.leg,
            ledger_account: row.ledger_account,
            account: row.account_id,
            amount: Number(row.amount),
            currency: row.currency,
            event_type: row.event_type,
            occurred_at: row.occurred_at,
            recorded_at: row.recorded_at,
        }
    }
}

impl From<TrialBalanceRow> for Standing {
    fn from(row: TrialBalanceRow) -> Self {
        let TrialBalanceRow { ledger_account, currency, debit, credit, balance } = row;
        let (debit, credit, balance) = (Number(debit), Number(credit), Number(balance));
        Self { ledger_account, currency, debit, credit, balance }
    }
}

/// The journal, the oldest entry first.
#[utoipa::path(get, path = "/v1/audit/journal", params(JournalQuery, AskedMoment), responses((status = 200, body = Page<LegShown>)))]
pub async fn list_journal(
    State(app): State<App>,
    uri: Uri,
    AskedAt(asked, moment): AskedAt<JournalQuery>,
    fresh: Fresh,
) -> Result<Response, ApiError> {
    // A cursor is one number, and an entry has far fewer legs than this.
    const LEGS: i64 = 1_000;
    let JournalQuery { ledger_account, account, from, to, cursor, limit } = asked;
    let filter = Filter { ledger_account, account: account.map(text), from, to };
    let listing = app.listing(uri, filter, moment, cursor.as_deref(), limit)?;
    let after = listing.before().map(|place| (place / LEGS, (place % LEGS) as i32));
    let mut rows = app.read_kept(&["journal"], moment, fresh).await?;
    let at = rows.moment();
    let found = read_model::list(&mut rows, &listing.filter, &at, after, listing.rows()).await?;
    Ok(rows.tell(listing.page(found, |row| row.position * LEGS + i64::from(row.leg), LegShown::from)))
}

/// What the accounts of the chart come to.
#[utoipa::path(get, path = "/v1/audit/trial-balance", params(AskedMoment), responses((status = 200, body = TrialBalance)))]
pub async fn trial_balance(
    State(app): State<App>,
    AskedAt(Nothing {}, moment): AskedAt<Nothing>,
    fresh: Fresh,
) -> Result<Response, ApiError> {
    let mut rows = app.read_kept(&["journal"], moment, fresh).await?;
    let at = rows.moment();
    let standings = if at.is_now() {
        read_model::trial_balance(&mut rows).await?
    } else {
        read_model::trial_balance_at(&mut rows, &at).await?
    };
    let mut sums = std::collections::BTreeMap::<&str, rust_decimal::Decimal>::new();
    for standing in &standings {
        *sums.entry(&standing.currency).or_default() += standing.balance;
    }
    let balanced = sums.values().all(|sum| sum.is_zero());
    let data = standings.into_iter().map(Standing::from).collect();
    Ok(rows.show(TrialBalance { data, balanced }))
}
