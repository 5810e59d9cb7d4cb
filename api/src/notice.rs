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
    wire::{AccountRef, Amount, PaymentRef},
    write::{Writing, Written},
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// The provider's name for the gateway.
    #[schema(example = "stripe")]
    gateway: String,
    /// The gateway's own payment id.
    #[schema(example = "pi_3OqXYZ")]
    gateway_payment: String,
    /// Our payment, if the gateway was told of one.
    payment: Option<PaymentRef>,
    account: AccountRef,
    amount: Amount,
    #[serde(default)]
    purpose: Purpose,
    outcome: Outcome,
    effective_at: Option<Time>,
    reason: Option<String>,
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
    gateway_reason: String,
}

/// Takes a gateway's notice. Sent any number of times, it is one payment.
#[utoipa::path(post, path = "/v1/payments/notices", request_body = Notice, responses((status = 200, body = PaymentStanding)))]
pub async fn take(State(app): State<App>, Writing { body, request }: Writing<Notice>) -> Result<Written, ApiError> {
    let Notice { gateway, gateway_payment, payment, account, amount, purpose, outcome, effective_at, reason } = body;
    let operation = GatewayNotice {
        gateway,
        gateway_payment,
        payment: payment.map(|payment| payment.0),
        account: account.0,
        amount: amount.0,
        purpose: purpose.into(),
        outcome: outcome.into(),
    };
    let command = request.command(Operation::GatewayNotice(operation), effective_at, reason)?;
    app.change(command, &NAMED_IN_PAYMENT).await
}

impl From<Outcome> for NoticeOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed(Why { gateway_reason }) => Self::Failed { gateway_reason },
            Outcome::Fraudulent(Why { gateway_reason }) => Self::Fraudulent { gateway_reason },
        }
    }
}
