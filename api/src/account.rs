//! Accounts over HTTP: opening them, their terms, holds, corrections by staff, and transfers between them.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_core::operations::{
    AccountOpening, AdjustAccount, ChangeTerms, HoldFunds, Operation, ReleaseHold, Terms, TransferFunds,
};
use daybook_projections::{Chosen, Plans, Sort, account::AccountRow, statement};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    customer::CustomerQuery,
    http::{
        address::Named,
        error::ApiError,
        listing::{Asking, Listing, One, Paging, Question, not_found},
        moment::AskedMoment,
        page::Page,
        read::Rows,
        shape::Expand,
        time::Time,
        wire::{
            AccountRef, Amount, AskedText, CurrencyCode, CustomerRef, HoldRef, Label, Name, Number, Ref, Sentence,
            Words, text,
        },
        write::{Made, Occasion, Writing, Written},
    },
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    customer: CustomerRef,
    /// A customer has one account in a currency.
    currency: CurrencyCode,
    #[schema(example = "Main account")]
    name: Name,
    /// IANA name; the days and months of statements are those of this zone.
    #[serde(default = "utc")]
    #[schema(example = "Europe/Berlin")]
    time_zone: Label,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

fn utc() -> Label {
    Words("UTC".into())
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCreditLimit {
    /// Zero takes the limit away.
    limit: Amount,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostPaid {
    allowed: bool,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AutomaticAllocation {
    /// Whether free credit serves new charges by itself.
    on: bool,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHold {
    amount: Amount,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAdjustment {
    /// A positive amount credits the account, a negative one charges it.
    amount: Amount,
    description: Sentence,
    effective_at: Option<Time>,
    /// Needed: a correction says why.
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTransfer {
    /// Another account of the same customer.
    to: AccountRef,
    /// In the currency of the account that sends.
    amount: Amount,
    /// Received units for one unit sent.
    #[schema(example = "0.9137")]
    rate: Number,
    /// Where the rate comes from.
    #[schema(example = "ECB 2026-11-20")]
    rate_source: Name,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

/// Opens an account of a customer in a currency.
#[utoipa::path(post, path = "/v1/accounts", request_body = NewAccount, responses((status = 201, body = AccountOpened)))]
pub async fn open(State(app): State<App>, Writing { body, request }: Writing<NewAccount>) -> Result<Written, ApiError> {
    let NewAccount { customer, currency, name, time_zone, effective_at, reason } = body;
    let operation =
        AccountOpening { customer: customer.0, currency: currency.0, name: name.into(), time_zone: time_zone.into() };
    let command = request.command(Operation::OpenAccount(operation), effective_at, reason)?;
    app.create("/v1/accounts", command, &[("customer-not-found", "/customer"), ("account-exists", "/currency")]).await
}

/// Sets how far below zero the balance may go.
#[utoipa::path(post, path = "/v1/accounts/{id}/credit-limit", request_body = NewCreditLimit, responses((status = 200, body = Made)))]
pub async fn set_credit_limit(
    State(app): State<App>,
    Named(Ref(account)): Named<AccountRef>,
    Writing { body, request }: Writing<NewCreditLimit>,
) -> Result<Written, ApiError> {
    let NewCreditLimit { limit, effective_at, reason } = body;
    let operation = Operation::ChangeTerms(ChangeTerms { account, terms: Terms::CreditLimit(limit.0) });
    let named = [("currency-mismatch", "/limit")];
    app.change(request.command(operation, effective_at, reason)?, &named).await
}

/// Allows or revokes services that are paid for afterwards.
#[utoipa::path(post, path = "/v1/accounts/{id}/post-paid", request_body = PostPaid, responses((status = 200, body = Made)))]
pub async fn change_post_paid(
    State(app): State<App>,
    Named(Ref(account)): Named<AccountRef>,
    Writing { body, request }: Writing<PostPaid>,
) -> Result<Written, ApiError> {
    let PostPaid { allowed, effective_at, reason } = body;
    let terms = if allowed { Terms::PostPaidAllowed } else { Terms::PostPaidRevoked };
    let operation = Operation::ChangeTerms(ChangeTerms { account, terms });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

/// Switches on or off that free credit serves new charges by itself.
#[utoipa::path(post, path = "/v1/accounts/{id}/automatic-allocation", request_body = AutomaticAllocation, responses((status = 200, body = Made)))]
pub async fn switch_automatic_allocation(
    State(app): State<App>,
    Named(Ref(account)): Named<AccountRef>,
    Writing { body, request }: Writing<AutomaticAllocation>,
) -> Result<Written, ApiError> {
    let AutomaticAllocation { on, effective_at, reason } = body;
    let terms = if on { Terms::AutomaticAllocationOn } else { Terms::AutomaticAllocationOff };
    let operation = Operation::ChangeTerms(ChangeTerms { account, terms });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

/// Sets money aside.
#[utoipa::path(post, path = "/v1/accounts/{id}/holds", request_body = NewHold, responses((status = 201, body = HoldChanged)))]
pub async fn hold(
    State(app): State<App>,
    Named(Ref(account)): Named<AccountRef>,
    Writing { body, request }: Writing<NewHold>,
) -> Result<Written, ApiError> {
    let NewHold { amount, effective_at, reason } = body;
    let operation = Operation::HoldFunds(HoldFunds { account, amount: amount.0 });
    let named = [("currency-mismatch", "/amount")];
    app.make(request.command(operation, effective_at, reason)?, &named).await
}

/// Frees money that was set aside.
#[utoipa::path(post, path = "/v1/accounts/{id}/holds/{hold}/release", request_body = Occasion, responses((status = 200, body = HoldChanged)))]
pub async fn release_hold(
    State(app): State<App>,
    Named(named): Named<(AccountRef, HoldRef)>,
    Writing { body, request }: Writing<Occasion>,
) -> Result<Written, ApiError> {
    let Occasion { effective_at, reason } = body;
    let (Ref(account), Ref(hold)) = named;
    let operation = Operation::ReleaseHold(ReleaseHold { account, hold });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

/// Corrects the balance, with a reason.
#[utoipa::path(post, path = "/v1/accounts/{id}/adjustments", request_body = NewAdjustment, responses((status = 201, body = AccountAdjusted)))]
pub async fn adjust(
    State(app): State<App>,
    Named(Ref(account)): Named<AccountRef>,
    Writing { body, request }: Writing<NewAdjustment>,
) -> Result<Written, ApiError> {
    let NewAdjustment { amount, description, effective_at, reason } = body;
    let operation =
        Operation::AdjustAccount(AdjustAccount { account, amount: amount.0, description: description.into() });
    let named = [("currency-mismatch", "/amount")];
    app.make(request.command(operation, effective_at, reason)?, &named).await
}

/// Moves money to another account of the same customer, at a rate that both accounts record.
#[utoipa::path(post, path = "/v1/accounts/{id}/transfers", request_body = NewTransfer, responses((status = 201, body = TransferMade)))]
pub async fn transfer(
    State(app): State<App>,
    Named(Ref(from)): Named<AccountRef>,
    Writing { body, request }: Writing<NewTransfer>,
) -> Result<Written, ApiError> {
    let NewTransfer { to: Ref(to), amount, rate, rate_source, effective_at, reason } = body;
    let operation = TransferFunds { from, to, amount: amount.0, rate: rate.0, rate_source: rate_source.into() };
    let command = request.command(Operation::TransferFunds(operation), effective_at, reason)?;
    app.make(command, &[("currency-mismatch", "/amount"), ("foreign-id", "/to")]).await
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
struct AccountOpened {
    id: AccountRef,
    balance: Amount,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
struct HoldChanged {
    id: HoldRef,
    account: AccountRef,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
struct AccountAdjusted {
    account: AccountRef,
    /// The number of the entry on the account.
    entry: u64,
    balance: Amount,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
struct TransferMade {
    #[schema(example = "trf_01JD8Z2Q4Y0000000000000001")]
    id: String,
    sent: Amount,
    received: Amount,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AccountQuery {
    customer: Option<CustomerRef>,
    currency: Option<CurrencyCode>,
    /// What the name contains, in upper or lower case.
    #[param(inline)]
    name: Option<AskedText>,
}

impl Question for AccountQuery {
    type Row = AccountRow;
    type Shown = AccountShown;

    const SORTS: &'static [Sort] = &[
        Sort::text("name"),
        Sort::text("currency"),
        Sort::money("balance"),
        Sort::money("held"),
        Sort::money("credit_limit"),
        Sort::moment("opened_at"),
    ];
    const UNINDEXED: &'static [&'static str] = &["currency", "name"];
    const EXPANDS: &'static [Expand] = &[Expand::to::<CustomerQuery>("customer")];

    fn chosen(self) -> Result<Chosen, ApiError> {
        let Self { customer, currency, name } = self;
        let currency = currency.map(|currency| currency.0.to_string());
        let chosen = Chosen::default().lasting("customer_id", customer.map(text)).lasting("currency", currency);
        Ok(chosen.containing("name", name.map(String::from)))
    }
}

/// An account.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountShown {
    id: String,
    customer: String,
    name: String,
    currency: String,
    time_zone: String,
    balance: Amount,
    /// Set aside: holds, and money that is dated ahead.
    held: Amount,
    credit_limit: Amount,
    /// What can be spent; nothing limits a post-paid account.
    available: Option<Amount>,
    post_paid: bool,
    automatic_allocation: bool,
    /// How many entries it has.
    entries: i64,
    opened_at: DateTime<Utc>,
    /// Of the event that opened it.
    position: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BalanceShown {
    account: String,
    /// Of all entries that the question is about; without `as_of` also of those that are dated ahead.
    balance: Amount,
    /// Of the entries that have taken effect by now, or by `as_of`.
    in_effect: Amount,
    as_of: Option<DateTime<Utc>>,
    /// The position of the book that the balance is told at.
    position: u64,
}

impl From<AccountRow> for AccountShown {
    fn from(row: AccountRow) -> Self {
        let money = |amount| Amount::of(amount, &row.currency);
        Self {
            balance: money(row.balance),
            held: money(row.held),
            credit_limit: money(row.credit_limit),
            available: (!row.post_paid).then(|| money(row.balance + row.credit_limit - row.held)),
            id: row.id,
            customer: row.customer_id,
            name: row.name,
            currency: row.currency.clone(),
            time_zone: row.time_zone,
            post_paid: row.post_paid,
            automatic_allocation: row.automatic_allocation,
            entries: row.entries,
            opened_at: row.opened_at,
            position: row.position,
        }
    }
}

/// Accounts, the newest first.
#[utoipa::path(get, path = "/v1/accounts", params(AccountQuery, Paging, AskedMoment), responses((status = 200, body = Page<AccountShown>)))]
pub async fn list(State(app): State<App>, asked: Listing<AccountQuery>) -> Result<Response, ApiError> {
    app.list(asked).await
}

/// One account.
#[utoipa::path(get, path = "/v1/accounts/{id}", params(AskedMoment), responses((status = 200, body = AccountShown)))]
pub async fn show(
    State(app): State<App>,
    Named(Ref(id)): Named<AccountRef>,
    asked: One<AccountQuery>,
) -> Result<Response, ApiError> {
    let (rows, found) = app.one::<AccountRow>(id.as_str(), asked.asking.clone()).await?;
    app.show(asked, rows, AccountShown::from(found)).await
}

/// The balance of an account.
#[utoipa::path(get, path = "/v1/accounts/{id}/balance", params(AskedMoment), responses((status = 200, body = BalanceShown)))]
pub async fn balance(
    State(app): State<App>,
    Named(Ref(id)): Named<AccountRef>,
    asking: Asking,
) -> Result<Response, ApiError> {
    let mut rows = app.read_kept_with(Plans::Kept, &["account_statement", "accounts"], asking).await?;
    let account = existing(&mut rows, id.as_str()).await?;
    let (before, known_at) = (rows.moment().before(), rows.moment().position());
    let balance = statement::balance(&mut rows, id.as_str(), before, known_at).await?;
    let in_effect = match before {
        Some(_) => balance,
        None => statement::balance(&mut rows, id.as_str(), Some(app.clock().now()), known_at).await?,
    };
    let [balance, in_effect] = [balance, in_effect].map(|balance| Amount::of(balance, &account.currency));
    let (as_of, position) = (rows.asked().as_of, rows.position());
    Ok(rows.show(BalanceShown { account: account.id, balance, in_effect, as_of, position }))
}

/// The account, if there was one in the book at the moment that is asked about: as of any time, since entries may take
/// effect before the account was opened.
pub async fn existing(rows: &mut Rows, id: &str) -> Result<AccountRow, ApiError> {
    let known_at = rows.moment().position();
    let found = rows.get::<AccountRow>(id).await?;
    if known_at.is_none_or(|known_at| found.position <= known_at) { Ok(found) } else { Err(not_found::<AccountRow>()) }
}
