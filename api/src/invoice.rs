//! Invoices over HTTP: issued once, final from their first moment.

use axum::{extract::State, response::Response};
use chrono::{DateTime, NaiveDate, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    domain::{self, Currency, ExactMoney, Invoice, InvoiceId, invoice, payer::PayerSnapshot},
    operations::{IssueInvoice, Numbering, Operation},
    store::read_stream,
    terms::tax,
};
use daybook_projections::{
    Chosen, Sort, Viewer,
    invoice::{InvoiceLineRow, InvoiceRow},
    listing,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    account::AccountQuery,
    app::App,
    customer::CustomerQuery,
    http::{
        address::Named,
        error::ApiError,
        listing::{Asking, Listing, One, Paging, Question, Reading, not_found, of_amount},
        moment::AskedMoment,
        page::Page,
        read::Fresh,
        shape::Expand,
        time::{AskedDay, Day, Time},
        wire::{
            AccountRef, Amount, AskedText, CurrencyCode, CustomerRef, InvoiceRef, Label, Number, OneOf, PayerRef, Ref,
            Sentence, WordList, Words, text,
        },
        write::{Writing, Written},
    },
    order::one,
    payer::PayerOnDocument,
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvoice {
    account: AccountRef,
    payer: PayerRef,
    /// The next number of the series of the year in which it is issued, such as `INV-2026`, unless another is given.
    numbering: Option<DocumentNumber>,
    /// The day on which it takes effect in the time zone of the account, unless another is given.
    issued_on: Option<Day>,
    #[serde(default)]
    due_in_days: u16,
    #[serde(default)]
    policy: RoundingPolicy,
    lines: Vec<NewLine>,
    discount: Option<DocumentDiscount>,
    /// When it took effect; now, unless it is recorded later than it happened.
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

/// Where the number of a document comes from.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentNumber {
    /// The next number of a series, contiguous whatever fails.
    #[schema(example = "INV-2026")]
    Series(Label),
    /// The number that the document had where it was issued first.
    Given(Label),
}

/// A line of a document.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLine {
    /// The provider's own code of what was sold.
    #[serde(default)]
    item: Label,
    description: Sentence,
    #[serde(default = "one")]
    quantity: Number,
    /// May be finer than the currency.
    #[schema(example = "10.03")]
    unit_price: Number,
    /// Per cent.
    #[serde(default)]
    #[schema(example = "15")]
    tax_rate: Number,
}

/// How a document rounds. It is recorded in the document.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RoundingPolicy {
    rounding: Rounding,
    tax: TaxRounding,
    /// Whether unit prices contain the tax.
    prices_include_tax: bool,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// 0.125 becomes 0.13.
    #[default]
    HalfAwayFromZero,
    /// 0.125 becomes 0.12, 0.135 becomes 0.14.
    HalfEven,
    /// 0.129 becomes 0.12.
    TowardsZero,
}

/// Where tax is rounded: once per rate of the document, or once per line.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaxRounding {
    #[default]
    PerRate,
    PerLine,
}

/// A discount on the whole document, spread over its lines.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentDiscount {
    Percent(Number),
    AmountOff(Amount),
}

/// Issues an invoice: a number, a final document and the charge on the account, all at once.
#[utoipa::path(post, path = "/v1/invoices", request_body = NewInvoice, responses((status = 201, body = InvoiceIssued)))]
pub async fn issue(
    State(app): State<App>,
    Writing { body, request }: Writing<NewInvoice>,
) -> Result<Written, ApiError> {
    let operation = IssueInvoice {
        account: body.account.0,
        payer: body.payer.0,
        numbering: DocumentNumber::or_series_of_the_year(body.numbering, "INV"),
        issued_on: body.issued_on.map(|Day(day)| day),
        due_in_days: body.due_in_days,
        policy: body.policy.into(),
        lines: body.lines.into_iter().map(Into::into).collect(),
        discount: body.discount.map(Into::into),
    };
    let command = request.command(Operation::IssueInvoice(operation), body.effective_at, body.reason)?;
    let due = [("date-out-of-range", "/due_in_days")];
    app.create("/v1/invoices", command, &[&NAMED_IN_DOCUMENT[..], &due].concat()).await
}

pub const NAMED_IN_DOCUMENT: [(&str, &str); 5] = [
    ("account-not-found", "/account"),
    ("payer-deactivated", "/payer"),
    ("payer-not-found", "/payer"),
    ("malformed-id", "/numbering/series"),
    ("number-taken", "/numbering/given"),
];

/// An invoice is never changed.
#[utoipa::path(patch, path = "/v1/invoices/{id}", responses((status = 409, body = crate::http::error::Problem, content_type = "application/problem+json")))]
pub async fn patch(
    State(app): State<App>,
    Named(Ref(invoice)): Named<InvoiceRef>,
    Reading(viewer): Reading,
) -> ApiError {
    is_final(&app, &invoice, viewer).await
}

/// An invoice is never replaced.
#[utoipa::path(put, path = "/v1/invoices/{id}", responses((status = 409, body = crate::http::error::Problem, content_type = "application/problem+json")))]
pub async fn put(State(app): State<App>, Named(Ref(invoice)): Named<InvoiceRef>, Reading(viewer): Reading) -> ApiError {
    is_final(&app, &invoice, viewer).await
}

/// An invoice is never deleted.
#[utoipa::path(delete, path = "/v1/invoices/{id}", responses((status = 409, body = crate::http::error::Problem, content_type = "application/problem+json")))]
pub async fn delete(
    State(app): State<App>,
    Named(Ref(invoice)): Named<InvoiceRef>,
    Reading(viewer): Reading,
) -> ApiError {
    is_final(&app, &invoice, viewer).await
}

async fn is_final(app: &App, invoice: &InvoiceId, viewer: Viewer) -> ApiError {
    match exists(app, invoice, viewer).await {
        Err(error) => error,
        Ok(false) => not_found::<InvoiceRow>(),
        Ok(true) => {
            ApiError::new("invoice-final", "an invoice is final; issue a credit note for what is wrong with it")
                .with("invoice", invoice.as_str())
                .with("instead", "/v1/credit-notes")
        }
    }
}

/// The provider asks the book itself, which knows an invoice from its first moment. To a customer, another's invoice is none.
async fn exists(app: &App, invoice: &InvoiceId, viewer: Viewer) -> Result<bool, ApiError> {
    if viewer == Viewer::Provider {
        let events = read_stream(app.store().pool(), Invoice::TYPE, invoice.as_str(), 0).await?;
        return Ok(!events.is_empty());
    }
    let asking = Asking { viewer, moment: AskedMoment::default(), fresh: Fresh::default() };
    let mut rows = app.read_kept(&["invoices"], asking).await?;
    let (connection, viewer) = rows.parts();
    Ok(listing::get::<InvoiceRow>(connection, viewer, invoice.as_str()).await?.is_some())
}

impl DocumentNumber {
    /// The numbering that was asked for, else the series of the year.
    pub fn or_series_of_the_year(numbering: Option<Self>, prefix: &'static str) -> Numbering {
        match numbering {
            Some(Self::Series(Words(series))) => Numbering::Series(series),
            Some(Self::Given(number)) => Numbering::Given(number.0),
            None => Numbering::SeriesOfTheYear(prefix),
        }
    }
}

impl From<NewLine> for invoice::DraftLine {
    fn from(NewLine { item, description, quantity, unit_price, tax_rate }: NewLine) -> Self {
        Self {
            item: item.into(),
            description: description.into(),
            quantity: quantity.0,
            unit_price: unit_price.0,
            tax_rate: tax_rate.0,
        }
    }
}

impl From<RoundingPolicy> for tax::RoundingPolicy {
    fn from(RoundingPolicy { rounding, tax, prices_include_tax }: RoundingPolicy) -> Self {
        let rounding = match rounding {
            Rounding::HalfAwayFromZero => domain::Rounding::HalfAwayFromZero,
            Rounding::HalfEven => domain::Rounding::HalfEven,
            Rounding::TowardsZero => domain::Rounding::TowardsZero,
        };
        let tax = match tax {
            TaxRounding::PerRate => tax::TaxRounding::PerRate,
            TaxRounding::PerLine => tax::TaxRounding::PerLine,
        };
        Self { rounding, tax, prices_include_tax }
    }
}

impl From<DocumentDiscount> for invoice::DocumentDiscount {
    fn from(discount: DocumentDiscount) -> Self {
        match discount {
            DocumentDiscount::Percent(percent) => Self::Percent(percent.0),
            DocumentDiscount::AmountOff(amount) => Self::AmountOff(amount.0),
        }
    }
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
struct InvoiceIssued {
    id: InvoiceRef,
    #[schema(example = "INV-2026-000001")]
    number: String,
    /// Exact; may be finer than the currency.
    net: Number,
    tax: Amount,
    total: Amount,
    /// What is still to be paid after credit on the account was applied.
    due: Amount,
}

/// How an invoice stands.
pub type InvoiceStatus = OneOf<invoice::Status>;

impl WordList for invoice::Status {
    const NAME: &'static str = "InvoiceStatus";
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InvoiceQuery {
    id: Option<InvoiceRef>,
    customer: Option<CustomerRef>,
    account: Option<AccountRef>,
    #[param(inline)]
    status: Option<InvoiceStatus>,
    #[param(inline)]
    number: Option<AskedText>,
    payer: Option<PayerRef>,
    /// The first day of issue.
    #[param(inline)]
    from: Option<AskedDay>,
    /// The day after the last day of issue.
    #[param(inline)]
    to: Option<AskedDay>,
    currency: Option<CurrencyCode>,
    /// Of this total or more, in the currency that `currency` names.
    amount_from: Option<Number>,
    /// Of this total or less, in the currency that `currency` names.
    amount_to: Option<Number>,
}

impl Question for InvoiceQuery {
    type Row = InvoiceRow;
    type Shown = InvoiceShown;

    const SORTS: &'static [Sort] = &[
        Sort::text("number"),
        Sort::day("issued_on").indexed_within("customer"),
        Sort::day("due_on"),
        Sort::text("status"),
        Sort::money("total"),
        Sort::money("due"),
    ];
    const UNINDEXED: &'static [&'static str] =
        &["status", "payer", "from", "to", "currency", "amount_from", "amount_to"];
    const EXPANDS: &'static [Expand] =
        &[Expand::to::<AccountQuery>("account"), Expand::to::<CustomerQuery>("customer")];

    fn chosen(self) -> Result<Chosen, ApiError> {
        let Self { id, customer, account, status, number, payer, from, to, currency, amount_from, amount_to } = self;
        let chosen = Chosen::default()
            .lasting("id", id.map(text))
            .lasting("customer_id", customer.map(text))
            .lasting("account_id", account.map(text))
            .lasting("number", number.map(String::from))
            .lasting("payer ->> 'payer'", payer.map(text))
            .now("status", status.map(String::from))
            .lasting_within("issued_on", from.map(|from| from.0), to.map(|to| to.0));
        of_amount(chosen, "total", currency, amount_from, amount_to)
    }
}

/// An invoice.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvoiceShown {
    id: String,
    number: String,
    account: String,
    customer: String,
    /// As the payer was on the day of issue.
    #[schema(value_type = PayerOnDocument)]
    payer: PayerSnapshot,
    issued_on: NaiveDate,
    due_on: NaiveDate,
    #[schema(value_type = InvoiceStatus)]
    status: &'static str,
    /// Exact; may be finer than the currency.
    net: Number,
    tax: Amount,
    total: Amount,
    /// What rounding the total took away.
    residue: Number,
    /// What is still to be paid.
    due: Amount,
    /// What credit notes have taken back, with tax.
    credited: Amount,
    #[schema(inline = false)]
    rates: Vec<TaxShown>,
    #[schema(value_type = RoundingPolicy)]
    policy: tax::RoundingPolicy,
    #[schema(value_type = Option<DocumentDiscount>)]
    discount: Option<invoice::DocumentDiscount>,
    /// The number of the entry that charges the account.
    entry: i64,
    finalised_at: DateTime<Utc>,
    /// Of the event that finalised it.
    position: i64,
    /// In a listing they are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<Vec<LineShown>>,
}

/// What a document comes to at one tax rate.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaxShown {
    /// Per cent.
    rate: Number,
    /// Exact; may be finer than the currency.
    net: Number,
    tax: Amount,
}

/// A line of an invoice.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineShown {
    number: i32,
    item: String,
    description: String,
    quantity: Number,
    unit_price: Number,
    /// Its share of the document's discount. Finer than the currency only where the lines cannot bear whole units of it.
    #[schema(value_type = Amount)]
    discount: ExactMoney,
    /// Quantity times unit price less discount, exact.
    amount: Number,
    tax_rate: Number,
    credited_quantity: Number,
    credited_amount: Number,
}

impl From<tax::TaxedAmount> for TaxShown {
    fn from(tax::TaxedAmount { rate, net, tax }: tax::TaxedAmount) -> Self {
        Self { rate: Number(rate), net: Number(net), tax: Amount(tax) }
    }
}

impl From<InvoiceRow> for InvoiceShown {
    fn from(row: InvoiceRow) -> Self {
        let money = |amount| Amount::of(amount, &row.currency);
        Self {
            tax: money(row.tax),
            total: money(row.total),
            due: money(row.due),
            credited: money(row.credited_total),
            id: row.id,
            number: row.number,
            account: row.account_id,
            customer: row.customer_id,
            payer: row.payer.0,
            issued_on: row.issued_on,
            due_on: row.due_on,
            status: row.status.as_str(),
            net: Number(row.net),
            residue: Number(row.residue),
            rates: row.rates.0.into_iter().map(TaxShown::from).collect(),
            policy: row.policy.0,
            discount: row.discount.map(|discount| discount.0),
            entry: row.entry,
            finalised_at: row.finalised_at,
            position: row.position,
            lines: None,
        }
    }
}

impl LineShown {
    fn of(row: InvoiceLineRow, currency: Currency) -> Self {
        Self {
            number: row.number,
            item: row.item,
            description: row.description,
            quantity: Number(row.quantity),
            unit_price: Number(row.unit_price),
            discount: ExactMoney { amount: row.discount, currency },
            amount: Number(row.amount),
            tax_rate: Number(row.tax_rate),
            credited_quantity: Number(row.credited_quantity),
            credited_amount: Number(row.credited_amount),
        }
    }
}

/// Invoices, the newest first.
#[utoipa::path(get, path = "/v1/invoices", params(InvoiceQuery, Paging, AskedMoment), responses((status = 200, body = Page<InvoiceShown>)))]
pub async fn list(State(app): State<App>, asked: Listing<InvoiceQuery>) -> Result<Response, ApiError> {
    app.list(asked).await
}

/// One invoice with its lines.
#[utoipa::path(get, path = "/v1/invoices/{id}", params(AskedMoment), responses((status = 200, body = InvoiceShown)))]
pub async fn show(
    State(app): State<App>,
    Named(Ref(id)): Named<InvoiceRef>,
    asked: One<InvoiceQuery>,
) -> Result<Response, ApiError> {
    let (mut rows, found) = app.one::<InvoiceRow>(id.as_str(), asked.asking.clone()).await?;
    let currency = found.currency.parse().expect("a row holds a currency that the domain has accepted");
    let lines = rows.belonging::<InvoiceLineRow>(id.as_str()).await?;
    let lines = lines.into_iter().map(|line| LineShown::of(line, currency)).collect();
    app.show(asked, rows, InvoiceShown { lines: Some(lines), ..found.into() }).await
}
