//! Credit notes over HTTP: they take back lines of invoices, or credit the customer freely.

use axum::{extract::State, response::Response};
use chrono::{DateTime, NaiveDate, Utc};
use daybook_core::{
    domain::{invoice::LineToCredit, payer::PayerSnapshot},
    operations::{CreditRequest, IssueCreditNote, Operation},
};
use daybook_projections::{
    Chosen, Sort,
    credit_note::{CreditNoteLineRow, CreditNoteRow},
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
        listing::{Listing, One, Paging, Question, of_amount},
        moment::AskedMoment,
        page::Page,
        shape::Expand,
        time::{AskedDay, Day, Time},
        wire::{
            AccountRef, Amount, AskedText, CreditNoteRef, CurrencyCode, CustomerRef, InvoiceRef, Label, Number,
            PayerRef, Ref, Sentence, text,
        },
        write::{Writing, Written},
    },
    invoice::{DocumentNumber, NAMED_IN_DOCUMENT, NewLine, RoundingPolicy, TaxShown},
    payer::PayerOnDocument,
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCreditNote {
    account: AccountRef,
    payer: PayerRef,
    /// The next number of the year's series, unless another one is given.
    numbering: Option<DocumentNumber>,
    /// The day on which it takes effect, unless one is given.
    issued_on: Option<Day>,
    /// For free lines; lines of an invoice follow the policy of the invoice.
    #[serde(default)]
    policy: RoundingPolicy,
    lines: Vec<NewCreditLine>,
    /// When it took effect; now, unless it is recorded later than it happened.
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NewCreditLine {
    /// Takes back a line of an invoice.
    Line(CreditedLine),
    /// Refers to nothing.
    Free(NewLine),
}

/// A line of an invoice: that quantity, that amount, or all that is left of it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditedLine {
    invoice: InvoiceRef,
    /// From 1.
    line: u32,
    quantity: Option<Number>,
    /// In the terms of the invoice's prices: with tax if they include it.
    amount: Option<Number>,
    #[serde(default)]
    item: Label,
    #[serde(default)]
    description: Sentence,
}

/// Issues a credit note and credits the account, never with more than is left of a line.
#[utoipa::path(post, path = "/v1/credit-notes", request_body = NewCreditNote, responses((status = 201, body = CreditNoteIssued)))]
pub async fn issue(
    State(app): State<App>,
    Writing { body, request }: Writing<NewCreditNote>,
) -> Result<Written, ApiError> {
    let operation = IssueCreditNote {
        account: body.account.0,
        payer: body.payer.0,
        numbering: DocumentNumber::or_series_of_the_year(body.numbering, "CRN"),
        issued_on: body.issued_on.map(|Day(day)| day),
        policy: body.policy.into(),
        lines: body.lines.into_iter().map(Into::into).collect(),
    };
    let command = request.command(Operation::IssueCreditNote(operation), body.effective_at, body.reason)?;
    let of_lines =
        [("foreign-invoice", "/lines"), ("invoice-line-not-found", "/lines"), ("invoice-not-found", "/lines")];
    app.create("/v1/credit-notes", command, &[&NAMED_IN_DOCUMENT[..], &of_lines].concat()).await
}

impl From<NewCreditLine> for CreditRequest {
    fn from(line: NewCreditLine) -> Self {
        match line {
            NewCreditLine::Line(CreditedLine { invoice, line, quantity, amount, item, description }) => Self::Line {
                invoice: invoice.0,
                line: LineToCredit { line, quantity: quantity.map(|q| q.0), amount: amount.map(|a| a.0) },
                item: item.into(),
                description: description.into(),
            },
            NewCreditLine::Free(line) => Self::Free(line.into()),
        }
    }
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
struct CreditNoteIssued {
    id: CreditNoteRef,
    #[schema(example = "CRN-2026-000001")]
    number: String,
    /// Exact; may be finer than the currency.
    net: Number,
    tax: Amount,
    total: Amount,
    /// Of the account.
    balance: Amount,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CreditNoteQuery {
    customer: Option<CustomerRef>,
    account: Option<AccountRef>,
    /// Those that take back something of this invoice.
    invoice: Option<InvoiceRef>,
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

impl Question for CreditNoteQuery {
    type Row = CreditNoteRow;
    type Shown = CreditNoteShown;

    const SORTS: &'static [Sort] = &[Sort::text("number"), Sort::day("issued_on"), Sort::money("total")];
    const UNINDEXED: &'static [&'static str] = &["payer", "from", "to", "currency", "amount_from", "amount_to"];
    const EXPANDS: &'static [Expand] =
        &[Expand::to::<AccountQuery>("account"), Expand::to::<CustomerQuery>("customer")];

    fn chosen(self) -> Result<Chosen, ApiError> {
        let Self { customer, account, invoice, number, payer, from, to, currency, amount_from, amount_to } = self;
        let chosen = Chosen::default()
            .lasting("customer_id", customer.map(text))
            .lasting("account_id", account.map(text))
            .lasting("number", number.map(String::from))
            .lasting("payer ->> 'payer'", payer.map(text))
            .lasting_within("issued_on", from.map(|from| from.0), to.map(|to| to.0));
        let chosen = of_amount(chosen, "total", currency, amount_from, amount_to)?;
        let Some(invoice) = invoice else { return Ok(chosen) };
        let pieces = ["id in (select credit_note_id from credit_note_lines where invoice_id = ", ")"];
        Ok(chosen.now_where(pieces.into(), vec![text(invoice).into()]))
    }
}

/// A credit note.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreditNoteShown {
    id: String,
    number: String,
    account: String,
    customer: String,
    /// As the payer was on the day of issue.
    #[schema(value_type = PayerOnDocument)]
    payer: PayerSnapshot,
    issued_on: NaiveDate,
    /// Exact; may be finer than the currency.
    net: Number,
    tax: Amount,
    total: Amount,
    /// What rounding the total took away.
    residue: Number,
    #[schema(inline = false)]
    rates: Vec<TaxShown>,
    /// The number of the entry that credits the account.
    entry: i64,
    issued_at: DateTime<Utc>,
    /// Of the event that issued it.
    position: i64,
    /// In a listing they are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<Vec<CreditLineShown>>,
}

/// A line of a credit note.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreditLineShown {
    number: i32,
    /// The line that it takes back; a free-standing one has none.
    invoice: Option<String>,
    invoice_line: Option<i32>,
    free_standing: bool,
    item: String,
    description: String,
    quantity: Number,
    unit_price: Number,
    /// Exact.
    amount: Number,
    tax_rate: Number,
}

impl From<CreditNoteRow> for CreditNoteShown {
    fn from(row: CreditNoteRow) -> Self {
        let money = |amount| Amount::of(amount, &row.currency);
        Self {
            tax: money(row.tax),
            total: money(row.total),
            id: row.id,
            number: row.number,
            account: row.account_id,
            customer: row.customer_id,
            payer: row.payer.0,
            issued_on: row.issued_on,
            net: Number(row.net),
            residue: Number(row.residue),
            rates: row.rates.0.into_iter().map(TaxShown::from).collect(),
            entry: row.entry,
            issued_at: row.issued_at,
            position: row.position,
            lines: None,
        }
    }
}

impl From<CreditNoteLineRow> for CreditLineShown {
    fn from(row: CreditNoteLineRow) -> Self {
        Self {
            number: row.number,
            invoice: row.invoice_id,
            invoice_line: row.invoice_line,
            free_standing: row.free_standing,
            item: row.item,
            description: row.description,
            quantity: Number(row.quantity),
            unit_price: Number(row.unit_price),
            amount: Number(row.amount),
            tax_rate: Number(row.tax_rate),
        }
    }
}

/// Credit notes, the newest first.
#[utoipa::path(get, path = "/v1/credit-notes", params(CreditNoteQuery, Paging, AskedMoment), responses((status = 200, body = Page<CreditNoteShown>)))]
pub async fn list(State(app): State<App>, asked: Listing<CreditNoteQuery>) -> Result<Response, ApiError> {
    app.list(asked).await
}

/// One credit note with its lines.
#[utoipa::path(get, path = "/v1/credit-notes/{id}", params(AskedMoment), responses((status = 200, body = CreditNoteShown)))]
pub async fn show(
    State(app): State<App>,
    Named(Ref(id)): Named<CreditNoteRef>,
    asked: One<CreditNoteQuery>,
) -> Result<Response, ApiError> {
    let (mut rows, found) = app.one::<CreditNoteRow>(id.as_str(), asked.asking.clone()).await?;
    let lines = rows.belonging::<CreditNoteLineRow>(id.as_str()).await?;
    let lines = Some(lines.into_iter().map(CreditLineShown::from).collect());
    app.show(asked, rows, CreditNoteShown { lines, ..found.into() }).await
}
