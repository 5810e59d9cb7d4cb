//! The journal over HTTP: the legs of every entry, and the trial balance that they come to.

use axum::{extract::State, response::Response};
use chrono::{DateTime, SecondsFormat, Utc};
use daybook_projections::journal::{self as read_model, Filter, JournalLineRow, TrialBalanceRow};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    audit::explanation::link_to_event,
    http::{
        address::AskedAt,
        error::ApiError,
        listing::{Paged, Paging},
        moment::AskedMoment,
        page::Page,
        time::AskedTime,
        wire::{AccountRef, AskedText, CurrencyCode, Number, text},
    },
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JournalQuery {
    /// An account of the chart.
    #[param(inline)]
    ledger_account: Option<AskedText>,
    /// The account of a customer.
    account: Option<AccountRef>,
    currency: Option<CurrencyCode>,
    /// Effective from this moment on.
    #[param(inline)]
    from: Option<AskedTime>,
    /// Effective before this moment.
    #[param(inline)]
    to: Option<AskedTime>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TrialBalanceQuery {
    /// Of one currency; of all, unless one is named.
    currency: Option<CurrencyCode>,
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
    /// When it would have taken effect, had that period not been closed.
    dated_at: Option<DateTime<Utc>>,
    recorded_at: DateTime<Utc>,
    /// Where the event is shown as it was written.
    event: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TrialBalance {
    data: Vec<Standing>,
    totals: Vec<Total>,
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
    /// The lines of the journal that come to this.
    journal: String,
}

/// What all accounts of the chart come to in one currency.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrialBalanceTotal)]
pub struct Total {
    currency: String,
    debit: Number,
    /// As much as the debit.
    credit: Number,
    /// Debit minus credit: zero.
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
            dated_at: row.dated_at,
            recorded_at: row.recorded_at,
            event: link_to_event(row.position.unsigned_abs()),
        }
    }
}

impl Standing {
    /// `until` says in the words of a query what the trial balance is of.
    fn of(row: TrialBalanceRow, until: &str) -> Self {
        let TrialBalanceRow { ledger_account, currency, debit, credit, balance } = row;
        let journal = format!("/v1/audit/journal?ledger_account={ledger_account}&currency={currency}{until}");
        let (debit, credit, balance) = (Number(debit), Number(credit), Number(balance));
        Self { ledger_account, currency, debit, credit, balance, journal }
    }
}

impl Total {
    /// In the order of the lines, which go by currency.
    fn of(standings: &[TrialBalanceRow]) -> Vec<Self> {
        let of_currency = standings.chunk_by(|one, other| one.currency == other.currency);
        of_currency
            .map(|lines| Self {
                currency: lines[0].currency.clone(),
                debit: Number(lines.iter().map(|line| line.debit).sum()),
                credit: Number(lines.iter().map(|line| line.credit).sum()),
                balance: Number(lines.iter().map(|line| line.balance).sum()),
            })
            .collect()
    }
}

/// The journal, the oldest entry first.
#[utoipa::path(get, path = "/v1/audit/journal", params(JournalQuery, Paging, AskedMoment), responses((status = 200, body = Page<LegShown>)))]
pub async fn list_journal(
    State(app): State<App>,
    Paged { question, paging, asking, addressed }: Paged<JournalQuery>,
) -> Result<Response, ApiError> {
    // A cursor is one number, and an entry has far fewer legs than this.
    const LEGS: i64 = 1_000;
    let JournalQuery { ledger_account, account, currency, from, to } = question;
    let (account, currency) = (account.map(text), currency.map(code));
    let ledger_account = ledger_account.map(String::from);
    let (from, to) = (from.map(|AskedTime(at)| at), to.map(|AskedTime(at)| at));
    let filter = Filter { ledger_account, account, currency, from, to };
    let walk = app.walk(addressed, paging)?;
    let after = walk.before().map(|place| (place / LEGS, (place % LEGS) as i32));
    let mut rows = app.read_kept(&["journal"], asking).await?;
    let at = rows.moment();
    let found = read_model::list(&mut rows, &filter, &at, after, walk.rows()).await?;
    Ok(rows.answer(walk.page(found, |row| row.position * LEGS + i64::from(row.leg), LegShown::from)))
}

/// The balance of every account of the chart.
#[utoipa::path(get, path = "/v1/audit/trial-balance", params(TrialBalanceQuery, AskedMoment), responses((status = 200, body = TrialBalance)))]
pub async fn trial_balance(
    State(app): State<App>,
    AskedAt(TrialBalanceQuery { currency }, asking): AskedAt<TrialBalanceQuery>,
) -> Result<Response, ApiError> {
    let mut rows = app.read_kept(&["journal"], asking).await?;
    let (at, currency) = (rows.moment(), currency.map(code));
    let standings = if at.is_now() {
        read_model::trial_balance(&mut rows, currency.as_deref()).await?
    } else {
        read_model::trial_balance_at(&mut rows, currency.as_deref(), &at).await?
    };
    let totals = Total::of(&standings);
    let balanced = totals.iter().all(|total| total.balance.0.is_zero());
    // The lines behind a line are those up to the same moment: what is recorded later does not come between.
    let known = at.known_at.unwrap_or(rows.position());
    let as_of =
        at.as_of.map_or(String::new(), |time| format!("&as_of={}", time.to_rfc3339_opts(SecondsFormat::AutoSi, true)));
    let until = format!("{as_of}&as_known_at={known}");
    let data = standings.into_iter().map(|row| Standing::of(row, &until)).collect();
    Ok(rows.show(TrialBalance { data, totals, balanced }))
}

fn code(currency: CurrencyCode) -> String {
    currency.0.code().into()
}
