//! Notices of gateways over HTTP: they name the payment, so that any number of the same notice is one payment.

use axum::extract::State;
use daybook_core::operations::{GatewayNotice, NoticeOutcome, Operation};
use daybook_identity::{SenderName, SenderNameError};
use serde::{Deserialize, Deserializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, schema::Schema},
};

use crate::{
    app::App,
    http::{
        address::Named,
        error::ApiError,
        time::Time,
        wire::{AccountRef, Amount, Label, Name, PaymentRef, Sentence, Text, pattern_text},
        write::{WriteRequest, Writing, Written},
    },
    payment::{NAMED_IN_PAYMENT, PaymentStanding, Purpose},
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
    /// What came, which may be more or less than was asked for; of a dispute or refund: its own amount. It is in the
    /// currency of the account (`currency-mismatch`).
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
    /// The money came. The same again changes nothing; another amount of the same payment of the gateway is refused
    /// (`amount-differs`).
    Succeeded,
    /// The payment failed, whatever amount the notice speaks of.
    Failed(Why),
    /// The gateway took the payment back as a whole. Of another amount than came, or of a payment that went back before, it
    /// is a dispute that is lost at once.
    Fraudulent(Why),
    /// The gateway takes the amount back: the account is debited at once.
    Disputed(Disputed),
    /// The gateway gives the amount of the dispute back.
    DisputeWon(OfDispute),
    /// The amount of the dispute stays with the payer.
    DisputeLost(OfDispute),
    /// A refund was made at the gateway. One that is known by its id stands as it is. Else it settles the oldest refund
    /// under way of that amount. Else it is a refund of its own.
    Refunded(OfRefund),
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Disputed {
    /// The gateway's own dispute id, unique within the payment.
    #[schema(example = "dp_1OqXYZ")]
    gateway_dispute: Name,
    gateway_reason: Sentence,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OfDispute {
    /// The gateway's own dispute id.
    #[schema(example = "dp_1OqXYZ")]
    gateway_dispute: Name,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OfRefund {
    /// The gateway's own refund id, unique within the payment.
    #[schema(example = "re_3OqXYZ")]
    gateway_refund: Name,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Why {
    gateway_reason: Sentence,
}

/// Takes a gateway's notice. Sent any number of times, it is one payment, one dispute or one refund.
///
/// A dispute or refund of a payment whose money has not come yet is refused (`payment-not-found`, `payment-status`), and so
/// is the end of a dispute that is not known yet (`dispute-not-found`): the gateway sends its notice again.
#[utoipa::path(post, path = "/v1/payments/notices", request_body = Notice, responses((status = 200, body = PaymentStanding)))]
pub async fn take(State(app): State<App>, Writing { body, request }: Writing<Notice>) -> Result<Written, ApiError> {
    record(&app, body, request).await
}

/// Takes a gateway's notice that the gateway has signed. No token is needed.
///
/// The gateway in the body is the one that the address names. A message that is sent again under its id is answered as
/// before; else it is taken like any other notice.
#[utoipa::path(post, path = "/v1/gateways/{gateway}/notices", request_body = Notice, responses((status = 200, body = PaymentStanding)))]
pub async fn take_signed(
    State(app): State<App>,
    Named(Sender(sender)): Named<Sender>,
    Writing { body, request }: Writing<Notice>,
) -> Result<Written, ApiError> {
    if body.gateway.0 != sender.as_str() {
        let detail = format!("`{sender}` sends notices of its own payments only");
        return Err(ApiError::field("invalid-value", "/gateway", detail));
    }
    record(&app, body, request).await
}

/// The name of a gateway in an address.
#[derive(Debug)]
pub struct Sender(SenderName);

impl<'de> Deserialize<'de> for Sender {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read =
            |text: &str| text.parse().map(Self).map_err(|error: SenderNameError| ("not-found", error.to_string()));
        deserializer.deserialize_str(Text::new("the name of a gateway", read))
    }
}

impl PartialSchema for Sender {
    fn schema() -> RefOr<Schema> {
        pattern_text("^[a-z0-9_-]{1,64}$", "stripe")
    }
}

async fn record(app: &App, notice: Notice, request: WriteRequest) -> Result<Written, ApiError> {
    let Notice { gateway, gateway_payment, payment, account, amount, purpose, outcome, effective_at, reason } = notice;
    // What goes back of a payment that nobody has reported yet is refused by the name that the gateway gives it.
    let of_payment = if payment.is_some() { "/payment" } else { "/gateway_payment" };
    let of_payment = [("malformed-id", "/gateway"), ("payment-not-found", of_payment)];
    let named = [outcome.named(), &of_payment, &NAMED_IN_PAYMENT].concat();
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
    app.change(command, &named).await
}

impl Outcome {
    /// Which field of it names what a code speaks of.
    fn named(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Succeeded | Self::Failed(_) | Self::Fraudulent(_) => &[],
            Self::Disputed(_) => &[("gateway-dispute-malformed", "/outcome/disputed/gateway_dispute")],
            Self::DisputeWon(_) => &[
                ("dispute-not-found", "/outcome/dispute_won/gateway_dispute"),
                ("gateway-dispute-malformed", "/outcome/dispute_won/gateway_dispute"),
            ],
            Self::DisputeLost(_) => &[
                ("dispute-not-found", "/outcome/dispute_lost/gateway_dispute"),
                ("gateway-dispute-malformed", "/outcome/dispute_lost/gateway_dispute"),
            ],
            Self::Refunded(_) => &[("gateway-refund-malformed", "/outcome/refunded/gateway_refund")],
        }
    }
}

impl From<Outcome> for NoticeOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed(Why { gateway_reason }) => Self::Failed { gateway_reason: gateway_reason.into() },
            Outcome::Fraudulent(Why { gateway_reason }) => Self::Fraudulent { gateway_reason: gateway_reason.into() },
            Outcome::Disputed(Disputed { gateway_dispute, gateway_reason }) => {
                Self::Disputed { gateway_dispute: gateway_dispute.into(), gateway_reason: gateway_reason.into() }
            }
            Outcome::DisputeWon(OfDispute { gateway_dispute }) => {
                Self::DisputeWon { gateway_dispute: gateway_dispute.into() }
            }
            Outcome::DisputeLost(OfDispute { gateway_dispute }) => {
                Self::DisputeLost { gateway_dispute: gateway_dispute.into() }
            }
            Outcome::Refunded(OfRefund { gateway_refund }) => Self::Refunded { gateway_refund: gateway_refund.into() },
        }
    }
}
