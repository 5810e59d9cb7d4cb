//! Payers over HTTP: the legal persons whose details stand on documents.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_core::{
    domain::{self},
    operations::{ChangePayer, Operation, PayerChange, Profile},
    terms::sealed::Sealed,
};
use daybook_projections::{Chosen, Sort, payer::PayerRow};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    customer::CustomerQuery,
    http::{
        address::Named,
        error::ApiError,
        listing::{Listing, One, Paging, Question},
        moment::AskedMoment,
        page::Page,
        shape::Expand,
        time::Time,
        wire::{AskedText, CustomerRef, Label, Name, PayerRef, Ref, Sentence, Words, text},
        write::{Made, Occasion, Writing, Written},
    },
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPayer {
    customer: CustomerRef,
    kind: PayerKind,
    #[schema(example = "Analytical Engines Ltd")]
    name: Name,
    address: Address,
    tax_number: Option<Label>,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayerKind {
    Individual,
    Company,
    SoleProprietor,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// ISO 3166-1 alpha-2, or the name of the country where only that is known.
    #[schema(example = "GB")]
    country: Name,
    #[serde(default)]
    postal_code: Label,
    #[serde(default)]
    city: Name,
    #[serde(default)]
    street: Name,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewName {
    name: Name,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAddress {
    address: Address,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTaxNumber {
    /// `null` takes the number away.
    #[serde(deserialize_with = "Option::deserialize")]
    tax_number: Option<Label>,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

/// Creates a payer of a customer.
#[utoipa::path(post, path = "/v1/payers", request_body = NewPayer, responses((status = 201, body = Made)))]
pub async fn create(State(app): State<App>, Writing { body, request }: Writing<NewPayer>) -> Result<Written, ApiError> {
    let NewPayer { customer: Ref(customer), kind, name, address, tax_number, effective_at, reason } = body;
    let (kind, address) = (kind.into(), address.into());
    let operation = Operation::CreatePayer(Profile {
        customer,
        kind,
        name: name.into(),
        address,
        tax_number: tax_number.map(Sealed::from),
    });
    let named = [("customer-not-found", "/customer")];
    app.create("/v1/payers", request.command(operation, effective_at, reason)?, &named).await
}

/// What is to be another.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayerEdit {
    #[schema(example = "Analytical Engines Ltd")]
    name: Option<Name>,
    /// The whole address.
    #[schema(inline = false)]
    address: Option<Address>,
    /// `null` takes the number away; without the member it stays.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Label>)]
    tax_number: Option<Option<Label>>,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

/// A member that is there, be it as `null`.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Label>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Changes what is named of a payer, all of it or nothing. Documents issued before keep what they bear.
#[utoipa::path(patch, path = "/v1/payers/{id}", request_body = PayerEdit, responses((status = 200, body = Made)))]
pub async fn edit(
    State(app): State<App>,
    Named(Ref(payer)): Named<PayerRef>,
    Writing { body, request }: Writing<PayerEdit>,
) -> Result<Written, ApiError> {
    let PayerEdit { name, address, tax_number, effective_at, reason } = body;
    let name = name.map(|name| PayerChange::Rename { name: name.into() });
    let address = address.map(|address| PayerChange::Move { address: address.into() });
    let tax_number = tax_number.map(|number| PayerChange::ChangeTaxNumber { tax_number: number.map(Sealed::from) });
    let changes: Vec<PayerChange> = [name, address, tax_number].into_iter().flatten().collect();
    if changes.is_empty() {
        let detail = "one of `name`, `address` and `tax_number` is needed";
        return Err(ApiError::new("missing-field", detail));
    }
    let operation = Operation::ChangePayer(ChangePayer { payer, changes });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

/// Gives a payer another name. Documents issued before keep the name that they bear.
#[utoipa::path(post, path = "/v1/payers/{id}/rename", request_body = NewName, responses((status = 200, body = Made)))]
pub async fn rename(
    State(app): State<App>,
    Named(Ref(payer)): Named<PayerRef>,
    Writing { body, request }: Writing<NewName>,
) -> Result<Written, ApiError> {
    let NewName { name, effective_at, reason } = body;
    let operation =
        Operation::ChangePayer(ChangePayer { payer, changes: vec![PayerChange::Rename { name: name.into() }] });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

/// Gives a payer another address. Documents issued before keep the address that they bear.
#[utoipa::path(post, path = "/v1/payers/{id}/move", request_body = NewAddress, responses((status = 200, body = Made)))]
pub async fn relocate(
    State(app): State<App>,
    Named(Ref(payer)): Named<PayerRef>,
    Writing { body, request }: Writing<NewAddress>,
) -> Result<Written, ApiError> {
    let NewAddress { address, effective_at, reason } = body;
    let change = PayerChange::Move { address: address.into() };
    let operation = Operation::ChangePayer(ChangePayer { payer, changes: vec![change] });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

/// Gives a payer another tax number, or takes it away.
#[utoipa::path(post, path = "/v1/payers/{id}/tax-number", request_body = NewTaxNumber, responses((status = 200, body = Made)))]
pub async fn change_tax_number(
    State(app): State<App>,
    Named(Ref(payer)): Named<PayerRef>,
    Writing { body, request }: Writing<NewTaxNumber>,
) -> Result<Written, ApiError> {
    let NewTaxNumber { tax_number, effective_at, reason } = body;
    let change = PayerChange::ChangeTaxNumber { tax_number: tax_number.map(Sealed::from) };
    let operation = Operation::ChangePayer(ChangePayer { payer, changes: vec![change] });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

/// Ends the use of a payer for new documents.
#[utoipa::path(post, path = "/v1/payers/{id}/deactivate", request_body = Occasion, responses((status = 200, body = Made)))]
pub async fn deactivate(
    State(app): State<App>,
    Named(Ref(payer)): Named<PayerRef>,
    Writing { body, request }: Writing<Occasion>,
) -> Result<Written, ApiError> {
    let Occasion { effective_at, reason } = body;
    let operation = Operation::ChangePayer(ChangePayer { payer, changes: vec![PayerChange::Deactivate] });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

impl From<PayerKind> for domain::payer::PayerKind {
    fn from(kind: PayerKind) -> Self {
        match kind {
            PayerKind::Individual => Self::Individual,
            PayerKind::Company => Self::Company,
            PayerKind::SoleProprietor => Self::SoleProprietor,
        }
    }
}

impl From<Address> for domain::payer::Address {
    fn from(Address { country, postal_code, city, street }: Address) -> Self {
        Self { country: country.into(), postal_code: postal_code.into(), city: city.into(), street: street.into() }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PayerQuery {
    customer: Option<CustomerRef>,
    active: Option<bool>,
    /// What the name contains, in upper or lower case.
    #[param(inline)]
    name: Option<AskedText>,
}

impl Question for PayerQuery {
    type Row = PayerRow;
    type Shown = PayerShown;

    const SORTS: &'static [Sort] =
        &[Sort::text("name"), Sort::text("kind"), Sort::truth("active"), Sort::moment("created_at")];
    const UNINDEXED: &'static [&'static str] = &["active", "name"];
    const EXPANDS: &'static [Expand] = &[Expand::to::<CustomerQuery>("customer")];

    fn chosen(self) -> Result<Chosen, ApiError> {
        let Self { customer, active, name } = self;
        let chosen = Chosen::default().lasting("customer_id", customer.map(text)).now("active", active);
        Ok(chosen.containing("name", name.map(String::from)))
    }
}

/// A payer.
#[derive(Debug, Serialize, ToSchema)]
pub struct PayerShown {
    id: String,
    customer: String,
    kind: &'static str,
    name: String,
    #[schema(inline = false)]
    address: Address,
    tax_number: Option<String>,
    active: bool,
    created_at: DateTime<Utc>,
    /// Of the event that created it.
    position: i64,
}

impl From<PayerRow> for PayerShown {
    fn from(row: PayerRow) -> Self {
        let PayerRow { country, postal_code, city, street, .. } = row;
        Self {
            id: row.id,
            customer: row.customer_id,
            kind: row.kind.as_str(),
            name: row.name,
            address: Address {
                country: Words(country),
                postal_code: Words(postal_code),
                city: Words(city),
                street: Words(street),
            },
            tax_number: row.tax_number,
            active: row.active,
            created_at: row.created_at,
            position: row.position,
        }
    }
}

/// A payer as it stands on a document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the document keeps it as JSON; this describes it")]
pub struct PayerOnDocument {
    payer: PayerRef,
    kind: String,
    name: String,
    #[schema(inline = false)]
    address: Address,
    tax_number: Option<String>,
}

/// Payers, the newest first.
#[utoipa::path(get, path = "/v1/payers", params(PayerQuery, Paging, AskedMoment), responses((status = 200, body = Page<PayerShown>)))]
pub async fn list(State(app): State<App>, asked: Listing<PayerQuery>) -> Result<Response, ApiError> {
    app.list(asked).await
}

/// One payer.
#[utoipa::path(get, path = "/v1/payers/{id}", params(AskedMoment), responses((status = 200, body = PayerShown)))]
pub async fn show(
    State(app): State<App>,
    Named(Ref(id)): Named<PayerRef>,
    asked: One<PayerQuery>,
) -> Result<Response, ApiError> {
    let (rows, found) = app.one::<PayerRow>(id.as_str(), asked.asking.clone()).await?;
    app.show(asked, rows, PayerShown::from(found)).await
}
