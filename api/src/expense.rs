//! Expenses over HTTP: charges outside orders, and their corrections by further entries.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_core::{
    domain::expense,
    operations::{AdjustExpense, Operation, RecordExpense, ReinstateExpense, ReverseExpense},
};
use daybook_projections::{
    Chosen, Sort,
    expense::{CoverageRow, ExpenseRow},
    listing,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    account::AccountQuery,
    app::App,
    http::{
        address::Named,
        error::ApiError,
        listing::{Listing, One, Paging, Question, of_amount},
        moment::AskedMoment,
        page::Page,
        shape::Expand,
        tagged::{Origin, Tagged},
        time::{AskedTime, Time},
        wire::{
            AccountRef, Amount, AskedText, CurrencyCode, ExpenseRef, Number, OneOf, OrderRef, Ref, Sentence,
            ServiceRef, WordList, text,
        },
        write::{Occasion, Writing, Written},
    },
    order::OrderQuery,
    order::one,
    service::ServiceQuery,
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewExpense {
    account: AccountRef,
    description: Sentence,
    #[serde(default = "one")]
    quantity: Number,
    /// For the whole quantity, before tax.
    net: Amount,
    /// Per cent, on top.
    #[serde(default)]
    tax_rate: Number,
    /// When it took effect; now, unless it is recorded later than it happened.
    effective_at: Option<Time>,
    /// Needed: a charge that was not ordered says why.
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTotal {
    /// What the expense should have cost, with tax.
    total: Amount,
    effective_at: Option<Time>,
    /// Needed: a correction says why.
    reason: Option<Sentence>,
}

/// Charges something that was not ordered, with a reason.
#[utoipa::path(post, path = "/v1/expenses", request_body = NewExpense, responses((status = 201, body = ExpenseStanding)))]
pub async fn record(
    State(app): State<App>,
    Writing { body, request }: Writing<NewExpense>,
) -> Result<Written, ApiError> {
    let NewExpense { account: Ref(account), description, quantity, net, tax_rate, effective_at, reason } = body;
    let (quantity, net, tax_rate) = (quantity.0, net.0, tax_rate.0);
    let operation =
        Operation::RecordExpense(RecordExpense { account, description: description.into(), quantity, net, tax_rate });
    let named = [("account-not-found", "/account"), ("amount-not-positive", "/net"), ("currency-mismatch", "/net")];
    app.create("/v1/expenses", request.command(operation, effective_at, reason)?, &named).await
}

/// Sets another total by an adjusting entry, with a reason.
#[utoipa::path(post, path = "/v1/expenses/{id}/adjust", request_body = NewTotal, responses((status = 200, body = ExpenseStanding)))]
pub async fn adjust(
    State(app): State<App>,
    Named(Ref(expense)): Named<ExpenseRef>,
    Writing { body, request }: Writing<NewTotal>,
) -> Result<Written, ApiError> {
    let NewTotal { total, effective_at, reason } = body;
    let operation = Operation::AdjustExpense(AdjustExpense { expense, total: total.0 });
    app.change(request.command(operation, effective_at, reason)?, &[("currency-mismatch", "/total")]).await
}

/// Takes an expense back by a reversing entry, with a reason.
#[utoipa::path(post, path = "/v1/expenses/{id}/reverse", request_body = Occasion, responses((status = 200, body = ExpenseStanding)))]
pub async fn reverse(
    State(app): State<App>,
    Named(Ref(expense)): Named<ExpenseRef>,
    Writing { body, request }: Writing<Occasion>,
) -> Result<Written, ApiError> {
    let Occasion { effective_at, reason } = body;
    let operation = Operation::ReverseExpense(ReverseExpense { expense });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

/// Takes a reversal back, with a reason.
#[utoipa::path(post, path = "/v1/expenses/{id}/reinstate", request_body = Occasion, responses((status = 200, body = ExpenseStanding)))]
pub async fn reinstate(
    State(app): State<App>,
    Named(Ref(expense)): Named<ExpenseRef>,
    Writing { body, request }: Writing<Occasion>,
) -> Result<Written, ApiError> {
    let Occasion { effective_at, reason } = body;
    let operation = Operation::ReinstateExpense(ReinstateExpense { expense });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

/// How an expense stands after a command.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
struct ExpenseStanding {
    id: ExpenseRef,
    #[schema(value_type = ExpenseStatus)]
    status: String,
    total: Amount,
    /// The number of the entry on the account.
    entry: u64,
    /// Of the account.
    balance: Amount,
}

/// How an expense stands.
pub type ExpenseStatus = OneOf<expense::Status>;

impl WordList for expense::Status {
    const NAME: &'static str = "ExpenseStatus";
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExpenseQuery {
    id: Option<ExpenseRef>,
    account: Option<AccountRef>,
    #[param(inline)]
    status: Option<ExpenseStatus>,
    order: Option<OrderRef>,
    service: Option<ServiceRef>,
    /// What the description contains, in upper or lower case.
    #[param(inline)]
    description: Option<AskedText>,
    /// Charged at this moment or later.
    #[param(inline)]
    from: Option<AskedTime>,
    /// Charged before this moment.
    #[param(inline)]
    to: Option<AskedTime>,
    currency: Option<CurrencyCode>,
    /// Of this total or more, in the currency that `currency` names.
    amount_from: Option<Number>,
    /// Of this total or less, in the currency that `currency` names.
    amount_to: Option<Number>,
}

impl Question for ExpenseQuery {
    type Row = ExpenseRow;
    type Shown = ExpenseShown;

    const SORTS: &'static [Sort] = &[
        Sort::text("description"),
        Sort::text("status"),
        Sort::money("total"),
        Sort::money("uncovered"),
        Sort::moment("charged_at"),
    ];
    const UNINDEXED: &'static [&'static str] =
        &["status", "description", "from", "to", "currency", "amount_from", "amount_to"];
    const EXPANDS: &'static [Expand] = &[
        Expand::to::<AccountQuery>("account"),
        Expand::to::<OrderQuery>("order"),
        Expand::to::<ServiceQuery>("service"),
    ];

    fn chosen(self) -> Result<Chosen, ApiError> {
        let Self { id, account, status, order, service, description, from, to, currency, amount_from, amount_to } =
            self;
        let chosen = Chosen::default()
            .lasting("id", id.map(text))
            .lasting("account_id", account.map(text))
            .lasting("order_id", order.map(text))
            .lasting("service_id", service.map(text))
            .now("status", status.map(String::from))
            .containing("description", description.map(String::from))
            .lasting_within("charged_at", from.map(|from| from.0), to.map(|to| to.0));
        of_amount(chosen, "total", currency, amount_from, amount_to)
    }
}

/// An expense.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExpenseShown {
    id: String,
    account: String,
    order: Option<String>,
    order_item: Option<i32>,
    service: Option<String>,
    description: String,
    quantity: Number,
    tax_rate: Number,
    net: Amount,
    tax: Amount,
    total: Amount,
    #[schema(value_type = ExpenseStatus)]
    status: &'static str,
    /// The number of the entry that charged it first.
    entry: i64,
    covered: Amount,
    uncovered: Amount,
    charged_at: DateTime<Utc>,
    /// Of the event that recorded it.
    position: i64,
    /// In a listing it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage: Option<Vec<Coverage>>,
}

/// What an expense has of some money.
#[derive(Debug, Serialize, ToSchema)]
pub struct Coverage {
    /// The number of the entry that brought the money.
    funds: i64,
    #[schema(value_type = Origin, inline = false)]
    origin: Tagged,
    amount: Amount,
}

impl From<ExpenseRow> for ExpenseShown {
    fn from(row: ExpenseRow) -> Self {
        let money = |amount| Amount::of(amount, &row.currency);
        Self {
            net: money(row.net),
            tax: money(row.tax),
            total: money(row.total),
            covered: money(row.covered),
            uncovered: money(row.uncovered),
            id: row.id,
            account: row.account_id,
            order: row.order_id,
            order_item: row.order_item,
            service: row.service_id,
            description: row.description,
            quantity: Number(row.quantity),
            tax_rate: Number(row.tax_rate),
            status: row.status.as_str(),
            entry: row.entry,
            charged_at: row.charged_at,
            position: row.position,
            coverage: None,
        }
    }
}

impl From<CoverageRow> for Coverage {
    fn from(row: CoverageRow) -> Self {
        let amount = Amount::of(row.amount, &row.currency);
        Self { funds: row.funds, origin: Tagged::of(row.origin, row.origin_id), amount }
    }
}

/// Expenses, the newest first.
#[utoipa::path(get, path = "/v1/expenses", params(ExpenseQuery, Paging, AskedMoment), responses((status = 200, body = Page<ExpenseShown>)))]
pub async fn list(State(app): State<App>, asked: Listing<ExpenseQuery>) -> Result<Response, ApiError> {
    app.list(asked).await
}

/// One expense, with what covers it.
#[utoipa::path(get, path = "/v1/expenses/{id}", params(AskedMoment), responses((status = 200, body = ExpenseShown)))]
pub async fn show(
    State(app): State<App>,
    Named(Ref(id)): Named<ExpenseRef>,
    asked: One<ExpenseQuery>,
) -> Result<Response, ApiError> {
    let (mut rows, found) = app.one::<ExpenseRow>(id.as_str(), asked.asking.clone()).await?;
    let coverage = rows.belonging_where::<CoverageRow>(id.as_str(), &listing::in_force()).await?;
    let coverage = Some(coverage.into_iter().map(Coverage::from).collect());
    app.show(asked, rows, ExpenseShown { coverage, ..found.into() }).await
}
