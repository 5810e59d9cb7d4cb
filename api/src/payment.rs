//! Payments over HTTP: from the announcement to the money on the account.

pub mod allocation;
pub mod dispute;
pub mod notice;
pub mod refund;

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_core::{
    domain::payment,
    operations::{AdvancePayment, Operation, PaymentRequest, PaymentStep},
};
use daybook_projections::{
    Chosen, Sort,
    payment::{DisputeRow, PaymentRow, RefundRow},
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
        tagged::Tagged,
        time::{AskedTime, Time},
        wire::{
            AccountRef, Amount, AskedText, CurrencyCode, InvoiceRef, Label, Number, OneOf, OrderRef, PayerRef,
            PaymentRef, Ref, Sentence, WordList, text,
        },
        write::{Occasion, WriteRequest, Writing, Written},
    },
    order::OrderStanding,
    payer::PayerQuery,
    payment::{dispute::DisputeShown, refund::RefundShown},
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPayment {
    account: AccountRef,
    payer: Option<PayerRef>,
    #[schema(example = "card")]
    method: Label,
    amount: Amount,
    #[serde(default)]
    purpose: Purpose,
    /// When it took effect; now, unless it is recorded later than it happened.
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

/// What the payer wants the money to do. Uncovered debt comes first in any case.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(examples("advance", json!({ "order": "ord_01JD8Z2Q4Y0000000000000001" })))]
pub enum Purpose {
    /// Credit on the account.
    #[default]
    Advance,
    Order(OrderRef),
    Invoice(InvoiceRef),
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditedPayment {
    /// What came, in the currency of the account and greater than zero; what was asked for, unless one is given. Less pays
    /// a part of what the payment is meant for, more is credit.
    amount: Option<Amount>,
    /// The number of the bank's or the gateway's own document.
    document_number: Option<Label>,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GatewayReason {
    #[schema(example = "card expired")]
    pub gateway_reason: Sentence,
    pub effective_at: Option<Time>,
    pub reason: Option<Sentence>,
}

/// Announces a payment. The balance changes when it is credited.
#[utoipa::path(post, path = "/v1/payments", request_body = NewPayment, responses((status = 201, body = PaymentStanding)))]
pub async fn start(
    State(app): State<App>,
    Writing { body, request }: Writing<NewPayment>,
) -> Result<Written, ApiError> {
    let NewPayment { account: Ref(account), payer, method, amount, purpose, effective_at, reason } = body;
    let (payer, purpose) = (payer.map(|payer| payer.0), purpose.into());
    let operation =
        Operation::StartPayment(PaymentRequest { account, payer, method: method.into(), amount: amount.0, purpose });
    app.create("/v1/payments", request.command(operation, effective_at, reason)?, &NAMED_IN_PAYMENT).await
}

pub const NAMED_IN_PAYMENT: [(&str, &str); 7] = [
    ("account-not-found", "/account"),
    ("currency-mismatch", "/amount"),
    ("foreign-id", "/purpose"),
    ("invoice-not-found", "/purpose/invoice"),
    ("order-not-found", "/purpose/order"),
    ("payer-not-found", "/payer"),
    ("payment-not-found", "/payment"),
];

/// Tells that the payment was handed to the gateway.
#[utoipa::path(post, path = "/v1/payments/{id}/submit", request_body = Occasion, responses((status = 200, body = PaymentStanding)))]
pub async fn submit(
    State(app): State<App>,
    Named(payment): Named<PaymentRef>,
    Writing { body, request }: Writing<Occasion>,
) -> Result<Written, ApiError> {
    advance(&app, payment, PaymentStep::Submit, request, body).await
}

/// Tells that the money is here: the account is credited with what came. A pledge is corrected to what came.
#[utoipa::path(post, path = "/v1/payments/{id}/credit", request_body = CreditedPayment, responses((status = 200, body = PaymentStanding)))]
pub async fn credit(
    State(app): State<App>,
    Named(payment): Named<PaymentRef>,
    Writing { body, request }: Writing<CreditedPayment>,
) -> Result<Written, ApiError> {
    let CreditedPayment { amount, document_number, effective_at, reason } = body;
    let (document_number, amount) = (document_number.map(String::from), amount.map(|amount| amount.0));
    let step = PaymentStep::Credit { document_number, amount };
    advance(&app, payment, step, request, Occasion { effective_at, reason }).await
}

/// Treats the money as good although it has not been seen.
#[utoipa::path(post, path = "/v1/payments/{id}/pledge", request_body = Occasion, responses((status = 200, body = PaymentStanding)))]
pub async fn pledge(
    State(app): State<App>,
    Named(payment): Named<PaymentRef>,
    Writing { body, request }: Writing<Occasion>,
) -> Result<Written, ApiError> {
    advance(&app, payment, PaymentStep::Pledge, request, body).await
}

/// Takes a pledge back, with the money that it credited.
#[utoipa::path(post, path = "/v1/payments/{id}/withdraw-pledge", request_body = Occasion, responses((status = 200, body = PaymentStanding)))]
pub async fn withdraw_pledge(
    State(app): State<App>,
    Named(payment): Named<PaymentRef>,
    Writing { body, request }: Writing<Occasion>,
) -> Result<Written, ApiError> {
    advance(&app, payment, PaymentStep::WithdrawPledge, request, body).await
}

/// Tells that the payment failed.
#[utoipa::path(post, path = "/v1/payments/{id}/fail", request_body = GatewayReason, responses((status = 200, body = PaymentStanding)))]
pub async fn fail(
    State(app): State<App>,
    Named(payment): Named<PaymentRef>,
    Writing { body, request }: Writing<GatewayReason>,
) -> Result<Written, ApiError> {
    let GatewayReason { gateway_reason, effective_at, reason } = body;
    advance(
        &app,
        payment,
        PaymentStep::Fail { gateway_reason: gateway_reason.into() },
        request,
        Occasion { effective_at, reason },
    )
    .await
}

/// Deletes a payment that was never handed to a gateway. Its history stays.
#[utoipa::path(post, path = "/v1/payments/{id}/delete", request_body = Occasion, responses((status = 200, body = PaymentStanding)))]
pub async fn delete(
    State(app): State<App>,
    Named(payment): Named<PaymentRef>,
    Writing { body, request }: Writing<Occasion>,
) -> Result<Written, ApiError> {
    advance(&app, payment, PaymentStep::Delete, request, body).await
}

/// Tells that the gateway took the money back: the account is debited at once.
#[utoipa::path(post, path = "/v1/payments/{id}/fraud", request_body = GatewayReason, responses((status = 200, body = PaymentStanding)))]
pub async fn mark_fraudulent(
    State(app): State<App>,
    Named(payment): Named<PaymentRef>,
    Writing { body, request }: Writing<GatewayReason>,
) -> Result<Written, ApiError> {
    let GatewayReason { gateway_reason, effective_at, reason } = body;
    let step = PaymentStep::MarkFraudulent { gateway_reason: gateway_reason.into() };
    advance(&app, payment, step, request, Occasion { effective_at, reason }).await
}

async fn advance(
    app: &App,
    Ref(payment): PaymentRef,
    step: PaymentStep,
    request: WriteRequest,
    Occasion { effective_at, reason }: Occasion,
) -> Result<Written, ApiError> {
    let operation = Operation::AdvancePayment(AdvancePayment { payment, step });
    app.change(request.command(operation, effective_at, reason)?, &[("currency-mismatch", "/amount")]).await
}

impl From<Purpose> for payment::Purpose {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Advance => Self::Advance,
            Purpose::Order(order) => Self::Order(order.0),
            Purpose::Invoice(invoice) => Self::Invoice(invoice.0),
        }
    }
}

/// How a payment stands after a command.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
pub struct PaymentStanding {
    id: PaymentRef,
    #[schema(value_type = PaymentStatus)]
    status: String,
    /// What was asked for.
    amount: Amount,
    /// What came; nothing until it is credited.
    received: Amount,
    account: AccountRef,
    /// Of the account.
    balance: Amount,
    /// The order that the payment is meant for.
    #[schema(inline = false)]
    order: Option<OrderStanding>,
}

/// How a payment stands.
pub type PaymentStatus = OneOf<payment::Status>;

impl WordList for payment::Status {
    const NAME: &'static str = "PaymentStatus";
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PaymentQuery {
    account: Option<AccountRef>,
    #[param(inline)]
    status: Option<PaymentStatus>,
    /// The order or invoice that they are meant for.
    #[param(inline)]
    purpose: Option<AskedText>,
    payer: Option<PayerRef>,
    #[param(inline)]
    method: Option<AskedText>,
    /// Started at this moment or later.
    #[param(inline)]
    from: Option<AskedTime>,
    /// Started before this moment.
    #[param(inline)]
    to: Option<AskedTime>,
    currency: Option<CurrencyCode>,
    /// Of this amount or more, in the currency that `currency` names.
    amount_from: Option<Number>,
    /// Of this amount or less, in the currency that `currency` names.
    amount_to: Option<Number>,
}

impl Question for PaymentQuery {
    type Row = PaymentRow;
    type Shown = PaymentShown;

    const SORTS: &'static [Sort] = &[
        Sort::money("amount"),
        Sort::text("method"),
        Sort::text("status"),
        Sort::moment("started_at"),
        Sort::moment("credited_at").nullable(),
    ];
    const UNINDEXED: &'static [&'static str] =
        &["status", "payer", "method", "from", "to", "currency", "amount_from", "amount_to"];
    const EXPANDS: &'static [Expand] = &[Expand::to::<AccountQuery>("account"), Expand::to::<PayerQuery>("payer")];

    fn chosen(self) -> Result<Chosen, ApiError> {
        let Self { account, status, purpose, payer, method, from, to, currency, amount_from, amount_to } = self;
        let chosen = Chosen::default()
            .lasting("account_id", account.map(text))
            .lasting("purpose_id", purpose.map(String::from))
            .lasting("payer_id", payer.map(text))
            .now("method", method.map(String::from))
            .now("status", status.map(String::from))
            .lasting_within("started_at", from.map(|from| from.0), to.map(|to| to.0));
        of_amount(chosen, "amount", currency, amount_from, amount_to)
    }
}

/// A payment.
#[derive(Debug, Serialize, ToSchema)]
pub struct PaymentShown {
    id: String,
    account: String,
    payer: Option<String>,
    method: String,
    /// What was asked for.
    amount: Amount,
    /// What came; nothing until it is credited.
    received: Amount,
    #[schema(value_type = Purpose, inline = false)]
    purpose: Tagged,
    #[schema(value_type = PaymentStatus)]
    status: &'static str,
    document_number: Option<String>,
    /// Why it failed or was taken back, in the gateway's words.
    gateway_reason: Option<String>,
    /// The payment under the gateway's own id.
    gateway_payment: Option<String>,
    /// The number of the entry that credits the account.
    entry: Option<i64>,
    /// What covers charges now.
    allocated: Amount,
    /// What covers nothing, and can be refunded.
    free: Amount,
    /// What went back to the payer.
    returned: Amount,
    /// What disputes have taken and not given back.
    disputed: Amount,
    started_at: DateTime<Utc>,
    credited_at: Option<DateTime<Utc>>,
    /// Of the event that started it.
    position: i64,
    /// In a listing they are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    refunds: Option<Vec<RefundShown>>,
    /// In a listing they are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    disputes: Option<Vec<DisputeShown>>,
}

impl From<PaymentRow> for PaymentShown {
    fn from(row: PaymentRow) -> Self {
        let money = |amount| Amount::of(amount, &row.currency);
        Self {
            amount: money(row.amount),
            allocated: money(row.allocated),
            free: money(row.free),
            returned: money(row.returned),
            received: money(row.received),
            disputed: money(row.disputed),
            id: row.id,
            account: row.account_id,
            payer: row.payer_id,
            method: row.method,
            purpose: Tagged::of(row.purpose, row.purpose_id),
            status: row.status.as_str(),
            document_number: row.document_number,
            gateway_reason: row.gateway_reason,
            gateway_payment: row.gateway_payment,
            entry: row.entry,
            started_at: row.started_at,
            credited_at: row.credited_at,
            position: row.position,
            refunds: None,
            disputes: None,
        }
    }
}

/// Payments, the newest first.
#[utoipa::path(get, path = "/v1/payments", params(PaymentQuery, Paging, AskedMoment), responses((status = 200, body = Page<PaymentShown>)))]
pub async fn list(State(app): State<App>, asked: Listing<PaymentQuery>) -> Result<Response, ApiError> {
    app.list(asked).await
}

/// One payment with its refunds and disputes.
#[utoipa::path(get, path = "/v1/payments/{id}", params(AskedMoment), responses((status = 200, body = PaymentShown)))]
pub async fn show(
    State(app): State<App>,
    Named(Ref(id)): Named<PaymentRef>,
    asked: One<PaymentQuery>,
) -> Result<Response, ApiError> {
    let (mut rows, found) = app.one::<PaymentRow>(id.as_str(), asked.asking.clone()).await?;
    let refunds = rows.belonging::<RefundRow>(id.as_str()).await?;
    let refunds = Some(refunds.into_iter().map(RefundShown::from).collect());
    let disputes = rows.belonging::<DisputeRow>(id.as_str()).await?;
    let disputes = Some(disputes.into_iter().map(DisputeShown::from).collect());
    app.show(asked, rows, PaymentShown { refunds, disputes, ..found.into() }).await
}
