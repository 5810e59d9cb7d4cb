//! Refunds over HTTP: money of a payment on its way back to the payer.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_core::{
    domain::payment,
    operations::{FailRefund, Operation, SettleRefund, StartRefund},
};
use daybook_projections::{payment::PaymentRow, payment::RefundRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        address::Named,
        error::ApiError,
        listing::Asking,
        moment::AskedMoment,
        time::Time,
        wire::{Amount, Name, OneOf, PaymentRef, Ref, RefundRef, Sentence, WordList},
        write::{Writing, Written},
    },
    payment::GatewayReason,
};

/// How a refund stands.
pub type RefundStatus = OneOf<payment::RefundStatus>;

impl WordList for payment::RefundStatus {
    const NAME: &'static str = "RefundStatus";
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRefund {
    /// At most what of the payment nothing was bought with. Of a refund that was made at the gateway: any amount greater
    /// than zero.
    amount: Amount,
    /// The gateway's own refund id, of a refund that was made there already.
    #[schema(example = "re_3OqXYZ")]
    gateway_refund: Option<Name>,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettledRefund {
    /// The gateway's own refund id. With it a notice of the same refund finds this one.
    #[schema(example = "re_3OqXYZ")]
    gateway_refund: Option<Name>,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

/// Takes money off the account, to be paid back by the gateway.
///
/// With `gateway_refund` the refund was made already, and is settled at once. An id that is known answers the refund that
/// bears it (with another amount: `amount-differs`). Else the oldest refund under way of that amount is settled and bears
/// the id, or one of that amount that was settled without an id bears it. Else it is a refund of its own: its money has left, also where it was tied to what it paid for, and what the
/// payment does not have is debt.
#[utoipa::path(post, path = "/v1/payments/{id}/refunds", request_body = NewRefund, responses((status = 201, body = RefundStanding)))]
pub async fn start_refund(
    State(app): State<App>,
    Named(Ref(payment)): Named<PaymentRef>,
    Writing { body, request }: Writing<NewRefund>,
) -> Result<Written, ApiError> {
    let NewRefund { amount, gateway_refund, effective_at, reason } = body;
    let gateway_refund = gateway_refund.map(String::from);
    let operation = Operation::StartRefund(StartRefund { payment, amount: amount.0, gateway_refund });
    app.make(request.command(operation, effective_at, reason)?, &[("currency-mismatch", "/amount")]).await
}

/// Tells that the gateway has paid it back.
///
/// A refund that is settled already stays as it is, and bears the id if it had none. An id that another refund of the payment bears is
/// refused (`gateway-refund-assigned`).
#[utoipa::path(post, path = "/v1/payments/{id}/refunds/{refund}/settle", request_body = SettledRefund, responses((status = 200, body = RefundStanding)))]
pub async fn settle_refund(
    State(app): State<App>,
    Named(named): Named<(PaymentRef, RefundRef)>,
    Writing { body, request }: Writing<SettledRefund>,
) -> Result<Written, ApiError> {
    let SettledRefund { gateway_refund, effective_at, reason } = body;
    let (Ref(payment), Ref(refund)) = named;
    let gateway_refund = gateway_refund.map(String::from);
    let operation = Operation::SettleRefund(SettleRefund { payment, refund, gateway_refund });
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
    status: &'static str,
    gateway_reason: Option<String>,
    /// The gateway's own refund id.
    gateway_refund: Option<String>,
    /// The number of the entry that took the money off the account.
    entry: i64,
    started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    position: i64,
}

impl From<RefundRow> for RefundShown {
    fn from(row: RefundRow) -> Self {
        let amount = Amount::of(row.amount, &row.currency);
        let RefundRow { id, status, gateway_reason, gateway_refund, entry, started_at, ended_at, position, .. } = row;
        let status = status.as_str();
        Self { id, amount, status, gateway_reason, gateway_refund, entry, started_at, ended_at, position }
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
    asking: Asking,
) -> Result<Response, ApiError> {
    let (mut rows, _) = app.one::<PaymentRow>(payment.as_str(), asking).await?;
    let data = rows.belonging::<RefundRow>(payment.as_str()).await?;
    let data = data.into_iter().map(RefundShown::from).collect();
    Ok(rows.show(Refunds { data }))
}
