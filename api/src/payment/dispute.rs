//! Disputes over HTTP: money of a payment that the gateway takes back, and gives back if the dispute is won.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_core::{
    domain::payment,
    operations::{LoseDispute, OpenDispute, Operation, WinDispute},
};
use daybook_projections::payment::{DisputeRow, PaymentRow};
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
        wire::{Amount, DisputeRef, Name, OneOf, PaymentRef, Ref, Sentence, WordList},
        write::{Occasion, Writing, Written},
    },
};

/// How a dispute stands.
pub type DisputeStatus = OneOf<payment::DisputeStage>;

impl WordList for payment::DisputeStage {
    const NAME: &'static str = "DisputeStatus";
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDispute {
    /// The gateway's own dispute id, unique within the payment.
    #[schema(example = "dp_1OqXYZ")]
    gateway_dispute: Name,
    /// What the gateway takes back: any amount greater than zero, also more than the payment.
    amount: Amount,
    #[schema(example = "product not received")]
    gateway_reason: Sentence,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

/// Records that the gateway takes money of a payment back: the account is debited at once and may go negative.
///
/// First goes what the payment has: what it covered last is uncovered first, and only as much as is needed. The rest is
/// debt. The same dispute again with the same amount changes nothing; with another amount it is refused
/// (`amount-differs`). A payment can be disputed once its money has come (`payment-status`).
#[utoipa::path(post, path = "/v1/payments/{id}/disputes", request_body = NewDispute, responses((status = 201, body = DisputeStanding)))]
pub async fn open_dispute(
    State(app): State<App>,
    Named(Ref(payment)): Named<PaymentRef>,
    Writing { body, request }: Writing<NewDispute>,
) -> Result<Written, ApiError> {
    let NewDispute { gateway_dispute, amount, gateway_reason, effective_at, reason } = body;
    let operation = Operation::OpenDispute(OpenDispute {
        payment,
        gateway_dispute: gateway_dispute.into(),
        amount: amount.0,
        gateway_reason: gateway_reason.into(),
    });
    app.make(request.command(operation, effective_at, reason)?, &[("currency-mismatch", "/amount")]).await
}

/// Records that the dispute is won: the same amount is credited once, and covers again.
///
/// Won a second time, it stands as it is. A dispute that is lost stays lost (`dispute-status`).
#[utoipa::path(post, path = "/v1/payments/{id}/disputes/{dispute}/win", request_body = Occasion, responses((status = 200, body = DisputeStanding)))]
pub async fn win_dispute(
    State(app): State<App>,
    Named(named): Named<(PaymentRef, DisputeRef)>,
    Writing { body, request }: Writing<Occasion>,
) -> Result<Written, ApiError> {
    let Occasion { effective_at, reason } = body;
    let (Ref(payment), Ref(dispute)) = named;
    let operation = Operation::WinDispute(WinDispute { payment, dispute });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

/// Records that the dispute is lost: the money stays with the payer, and nothing moves any more.
///
/// Lost a second time, it stands as it is. A dispute that is won stays won (`dispute-status`).
#[utoipa::path(post, path = "/v1/payments/{id}/disputes/{dispute}/lose", request_body = Occasion, responses((status = 200, body = DisputeStanding)))]
pub async fn lose_dispute(
    State(app): State<App>,
    Named(named): Named<(PaymentRef, DisputeRef)>,
    Writing { body, request }: Writing<Occasion>,
) -> Result<Written, ApiError> {
    let Occasion { effective_at, reason } = body;
    let (Ref(payment), Ref(dispute)) = named;
    let operation = Operation::LoseDispute(LoseDispute { payment, dispute });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

/// How a dispute stands after a command.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
struct DisputeStanding {
    id: DisputeRef,
    payment: PaymentRef,
    /// The gateway's own dispute id. A report of fraud has none.
    gateway_dispute: Option<Name>,
    #[schema(value_type = DisputeStatus)]
    status: String,
    amount: Amount,
    /// Of the account.
    balance: Amount,
}

/// A dispute.
#[derive(Debug, Serialize, ToSchema)]
pub struct DisputeShown {
    id: String,
    /// The gateway's own dispute id. A report of fraud has none.
    gateway_dispute: Option<String>,
    amount: Amount,
    #[schema(value_type = DisputeStatus)]
    status: &'static str,
    gateway_reason: String,
    /// The number of the entry that took the money off the account.
    entry: i64,
    /// The number of the entry that brought the money back.
    won_entry: Option<i64>,
    opened_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    position: i64,
}

impl From<DisputeRow> for DisputeShown {
    fn from(row: DisputeRow) -> Self {
        let amount = Amount::of(row.amount, &row.currency);
        let DisputeRow {
            id,
            gateway_dispute,
            status,
            gateway_reason,
            entry,
            won_entry,
            opened_at,
            ended_at,
            position,
            ..
        } = row;
        let status = status.as_str();
        Self { id, gateway_dispute, amount, status, gateway_reason, entry, won_entry, opened_at, ended_at, position }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Disputes {
    data: Vec<DisputeShown>,
}

/// The disputes of a payment, oldest first.
#[utoipa::path(get, path = "/v1/payments/{id}/disputes", params(AskedMoment), responses((status = 200, body = Disputes)))]
pub async fn list_disputes(
    State(app): State<App>,
    Named(Ref(payment)): Named<PaymentRef>,
    asking: Asking,
) -> Result<Response, ApiError> {
    let (mut rows, _) = app.one::<PaymentRow>(payment.as_str(), asking).await?;
    let data = rows.belonging::<DisputeRow>(payment.as_str()).await?;
    let data = data.into_iter().map(DisputeShown::from).collect();
    Ok(rows.show(Disputes { data }))
}
