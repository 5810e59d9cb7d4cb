//! Notices of gateways over HTTP: they name the payment, so that any number of the same notice is one payment.

use axum::extract::State;
use daybook_core::operations::{GatewayNotice, NoticeOutcome, Operation};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    error::ApiError,
    payment::{NAMED_IN_PAYMENT, PaymentStanding, Purpose},
    time::Time,
    wire::{AccountRef, Amount, Label, Name, PaymentRef, Sentence},
    write::{Writing, Written},
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// The provider's name for the gateway.
    #[schema(example = "stripe")]
    gateway: Label,
    /// The gateway's own payment id.
    #[schema(example = "pi_3OqXYZ")]
    gateway_payment: Name,
    /// Our payment, if the gateway was told of one.
    payment: Option<PaymentRef>,
    account: AccountRef,
    amount: Amount,
    #[serde(default)]
    purpose: Purpose,
    outcome: Outcome,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    Failed(Why),
    Fraudulent(Why),
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Why {
    gateway_reason: Sentence,
}

/// Takes a gateway's notice. Sent any number of times, it is one payment.
#[utoipa::path(post, path = "/v1/payments/notices", request_body = Notice, responses((status = 200, body = PaymentStanding)))]
pub async fn take(State(app): State<App>, Writing { body, request }: Writing<Notice>) -> Result<Written, ApiError> {
    let Notice { gateway, gateway_payment, payment, account, amount, purpose, outcome, effective_at, reason } = body;
    let operation = GatewayNotice {
        gateway: gateway.into(),
        gateway_payment: gateway_payment.into(),
        payment: payment.map(|payment| payment.0),
        account: account.0,
        amount: amount.0,
        purpose: purpose.into(),
        outcome: outcome.into(),
    };
    let command = request.command(Operation::GatewayNotice(operation), effective_at, reason)?;
    let named = [&NAMED_IN_PAYMENT[..], &[("malformed-id", "/gateway")]].concat();
    app.change(command, &named).await
}

impl From<Outcome> for NoticeOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed(Why { gateway_reason }) => Self::Failed { gateway_reason: gateway_reason.into() },
            Outcome::Fraudulent(Why { gateway_reason }) => Self::Fraudulent { gateway_reason: gateway_reason.into() },
        }
    }
}
