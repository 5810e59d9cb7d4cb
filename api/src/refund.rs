//! Refunds over HTTP: money of a payment on its way back to the payer.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_core::operations::{FailRefund, Operation, SettleRefund, StartRefund};
use daybook_projections::payment::{self as read_model, RefundRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    address::{AskedAt, Named},
    app::App,
    error::ApiError,
    moment::AskedMoment,
    payment::GatewayReason,
    read::Fresh,
    time::Time,
    wire::{Amount, Nothing, OneOf, PaymentRef, Ref, RefundRef, Sentence, WordList},
    write::{Occasion, Writing, Written},
};

/// How a refund stands.
pub type RefundStatus = OneOf<RefundStatuses>;

pub enum RefundStatuses {}

impl WordList for RefundStatuses {
    const NAME: &'static str = "RefundStatus";
    const WORDS: &'static [&'static str] = &["pending", "settled", "failed"];
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRefund {
    /// At most what of the payment nothing was bought with.
    amount: Amount,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

/// Takes money off the account, to be paid back by the gateway.
#[utoipa::path(post, path = "/v1/payments/{id}/refunds", request_body = NewRefund, responses((status = 201, body = RefundStanding)))]
pub async fn start_refund(
    State(app): State<App>,
    Named(Ref(payment)): Named<PaymentRef>,
    Writing { body, request }: Writing<NewRefund>,
) -> Result<Written, ApiError> {
    let NewRefund { amount, effective_at, reason } = body;
    let operation = Operation::StartRefund(StartRefund { payment, amount: amount.0 });
    app.make(request.command(operation, effective_at, reason)?, &[("currency-mismatch", "/amount")]).await
}

/// Tells that the gateway has paid it back.
#[utoipa::path(post, path = "/v1/payments/{id}/refunds/{refund}/settle", request_body = Occasion, responses((status = 200, body = RefundStanding)))]
pub async fn settle_refund(
    State(app): State<App>,
    Named(named): Named<(PaymentRef, RefundRef)>,
    Writing { body, request }: Writing<Occasion>,
) -> Result<Written, ApiError> {
    let Occasion { effective_at, reason } = body;
    let (Ref(payment), Ref(refund)) = named;
    let operation = Operation::SettleRefund(SettleRefund { payment, refund });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

/// Tells that the gateway could not pay it back: the money returns to the account.
#[utoipa::path(post, path = "/v1/payments/{id}/refunds/{refund}/fail", request_body = GatewayReason, responses((status = 200, body = RefundStanding)))]
pub async fn fail_refund(
    State(app): State<App>,
    Named(named): Named<(PaymentRef, RefundRef)>,
    Writing { body, request }: Writing<GatewayReason>,
) -> Result<Written, ApiError> {
    let GatewayReason { gateway_reason, effective_at, reason } = body;
    let (Ref(payment), Ref(refund)) = named;
    let operation = Operation::FailRefund(FailRefund { payment, refund, gateway_reason: gateway_reason.into() });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

/// How a refund stands after a command.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
struct RefundStanding {
    id: RefundRef,
    payment: PaymentRef,
    #[schema(value_type = RefundStatus)]
    status: String,
    /// What else of the payment can be refunded.
    refundable: Amount,
    /// Of the account.
    balance: Amount,
}

/// A refund.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefundShown {
    id: String,
    amount: Amount,
    #[schema(value_type = RefundStatus)]
    status: String,
    gateway_reason: Option<String>,
    /// The number of the entry that took the money off the account.
    entry: i64,
    started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    position: i64,
}

impl From<RefundRow> for RefundShown {
    fn from(row: RefundRow) -> Self {
        let amount = Amount::of(row.amount, &row.currency);
        let RefundRow { id, status, gateway_reason, entry, started_at, ended_at, position, .. } = row;
        Self { id, amount, status, gateway_reason, entry, started_at, ended_at, position }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Refunds {
    data: Vec<RefundShown>,
}

/// The refunds of a payment, oldest first.
#[utoipa::path(get, path = "/v1/payments/{id}/refunds", params(AskedMoment), responses((status = 200, body = Refunds)))]
pub async fn list_refunds(
    State(app): State<App>,
    Named(Ref(payment)): Named<PaymentRef>,
    AskedAt(Nothing {}, moment): AskedAt<Nothing>,
    fresh: Fresh,
) -> Result<Response, ApiError> {
    let mut rows = app.read_one("payments", payment.as_str(), moment, fresh).await?;
    let found = read_model::get(&mut rows, payment.as_str()).await?;
    found.ok_or_else(|| ApiError::new("payment-not-found", "there is no such payment"))?;
    let data = read_model::refunds(&mut rows, payment.as_str()).await?;
    let data = data.into_iter().map(RefundShown::from).collect();
    Ok(rows.show(Refunds { data }))
}
