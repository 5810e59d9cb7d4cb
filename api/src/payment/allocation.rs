//! Allocations over HTTP: which charges the money of a payment covers, and moving it by hand.

use axum::{extract::State, response::Response};
use daybook_core::operations::{AllocatePayment, ChargeRef, Operation};
use daybook_projections::{listing, payment::AllocationRow, payment::PaymentRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        address::Named,
        error::ApiError,
        listing::Asking,
        moment::AskedMoment,
        tagged::{Origin, Tagged},
        time::Time,
        wire::{Amount, ExpenseRef, InvoiceRef, PaymentRef, Ref, Sentence},
        write::{Writing, Written},
    },
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAllocation {
    /// Where the money comes back from; free money of the payment, if nothing is named.
    from: Option<Charged>,
    /// Where the money goes; it becomes free, if nothing is named.
    to: Option<Charged>,
    amount: Amount,
    effective_at: Option<Time>,
    /// Needed: a correction says why.
    reason: Option<Sentence>,
}

/// A charge, by what it is for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Charged {
    Invoice(InvoiceRef),
    Expense(ExpenseRef),
}

/// Moves money of a payment: to a charge, back from one, or from one to another.
#[utoipa::path(post, path = "/v1/payments/{id}/allocations", request_body = NewAllocation, responses((status = 201, body = AllocationMade)))]
pub async fn allocate(
    State(app): State<App>,
    Named(Ref(payment)): Named<PaymentRef>,
    Writing { body, request }: Writing<NewAllocation>,
) -> Result<Written, ApiError> {
    let NewAllocation { from, to, amount, effective_at, reason } = body;
    // A code does not tell which of the two it speaks of; where only one is given, it is that one.
    let named = match (&from, &to) {
        (Some(from), None) => from.named("/from/invoice", "/from/expense"),
        (_, Some(to)) => to.named("/to/invoice", "/to/expense"),
        (None, None) => Vec::new(),
    };
    let (from, to) = (from.map(Into::into), to.map(Into::into));
    let operation = Operation::AllocatePayment(AllocatePayment { payment, from, to, amount: amount.0 });
    app.make(request.command(operation, effective_at, reason)?, &named).await
}

impl Charged {
    fn named(&self, invoice: &'static str, expense: &'static str) -> Vec<(&'static str, &'static str)> {
        let field = match self {
            Self::Invoice(_) => invoice,
            Self::Expense(_) => expense,
        };
        vec![
            ("invoice-not-found", invoice),
            ("expense-not-found", expense),
            ("foreign-id", field),
            ("currency-mismatch", "/amount"),
        ]
    }
}

impl From<Charged> for ChargeRef {
    fn from(charged: Charged) -> Self {
        match charged {
            Charged::Invoice(invoice) => Self::Invoice(invoice.0),
            Charged::Expense(expense) => Self::Expense(expense.0),
        }
    }
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
struct AllocationMade {
    payment: PaymentRef,
    amount: Amount,
    /// What of the payment covers nothing now.
    free: Amount,
}

/// What a charge has of a payment.
#[derive(Debug, Serialize, ToSchema)]
pub struct AllocationShown {
    /// The number of the entry that charges the account.
    charge: i64,
    #[schema(value_type = Origin, inline = false)]
    target: Tagged,
    amount: Amount,
}

impl From<AllocationRow> for AllocationShown {
    fn from(row: AllocationRow) -> Self {
        let amount = Amount::of(row.amount, &row.currency);
        Self { charge: row.charge, target: Tagged::of(row.target, row.target_id), amount }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Allocations {
    data: Vec<AllocationShown>,
}

/// What the money of a payment covers now, in the order of the charges.
#[utoipa::path(get, path = "/v1/payments/{id}/allocations", params(AskedMoment), responses((status = 200, body = Allocations)))]
pub async fn list_allocations(
    State(app): State<App>,
    Named(Ref(payment)): Named<PaymentRef>,
    asking: Asking,
) -> Result<Response, ApiError> {
    let (mut rows, _) = app.one::<PaymentRow>(payment.as_str(), asking).await?;
    let data = rows.belonging_where::<AllocationRow>(payment.as_str(), &listing::in_force()).await?;
    let data = data.into_iter().map(AllocationShown::from).collect();
    Ok(rows.show(Allocations { data }))
}
