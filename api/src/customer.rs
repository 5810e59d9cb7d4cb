//! Customers over HTTP: registering them, and the groups that grant them prices.

use axum::{extract::State, http::Uri, response::Response};
use chrono::{DateTime, Utc};
use daybook_core::{
    domain::customer::{CustomerRejection, is_group_name},
    operations::{JoinGroup, LeaveGroup, Operation, RegisterCustomer},
};
use daybook_projections::customer::{self as read_model, CustomerRow, CustomerSummary, Filter};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{RefOr, schema::Schema},
};

use crate::{
    address::{AskedAt, Named},
    app::App,
    error::ApiError,
    moment::AskedMoment,
    page::{Cursor, Page, PageLimit},
    read::Fresh,
    time::Time,
    wire::{AskedText, CustomerRef, Email, Label, Name, Nothing, Ref, Sentence, Text, pattern_text},
    write::{Made, Writing, Written},
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCustomer {
    #[schema(example = "Ada Lovelace")]
    name: Name,
    email: Option<Email>,
    /// When it took effect; now, unless it is told later than it happened.
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupMembership {
    #[schema(example = "resellers")]
    group: Label,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

/// Registers a customer.
#[utoipa::path(post, path = "/v1/customers", request_body = NewCustomer, responses((status = 201, body = Made)))]
pub async fn register(
    State(app): State<App>,
    Writing { body, request }: Writing<NewCustomer>,
) -> Result<Written, ApiError> {
    let NewCustomer { name, email, effective_at, reason } = body;
    let operation = Operation::RegisterCustomer(RegisterCustomer { name: name.into(), email: email.map(String::from) });
    app.create("/v1/customers", request.command(operation, effective_at, reason)?, &[]).await
}

/// Puts a customer into a group.
#[utoipa::path(post, path = "/v1/customers/{id}/groups", request_body = GroupMembership, responses((status = 200, body = Made)))]
pub async fn join_group(
    State(app): State<App>,
    Named(Ref(customer)): Named<CustomerRef>,
    Writing { body, request }: Writing<GroupMembership>,
) -> Result<Written, ApiError> {
    let GroupMembership { group, effective_at, reason } = body;
    let operation = Operation::JoinGroup(JoinGroup { customer, group: group.into() });
    app.change(request.command(operation, effective_at, reason)?, &[("group-malformed", "/group")]).await
}

/// The name of a group in an address.
#[derive(Debug)]
pub struct GroupName(String);

impl<'de> Deserialize<'de> for GroupName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text::new("the name of a group", |text| match is_group_name(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(("not-found", CustomerRejection::GroupMalformed.to_string())),
        }))
    }
}

impl PartialSchema for GroupName {
    fn schema() -> RefOr<Schema> {
        pattern_text("^[a-z0-9._-]{1,64}$", "resellers")
    }
}

/// Takes a customer out of a group.
#[utoipa::path(delete, path = "/v1/customers/{id}/groups/{group}", responses((status = 200, body = Made)))]
pub async fn leave_group(
    State(app): State<App>,
    Named(named): Named<(CustomerRef, GroupName)>,
    Writing { request, .. }: Writing<Nothing>,
) -> Result<Written, ApiError> {
    let (Ref(customer), GroupName(group)) = named;
    let operation = Operation::LeaveGroup(LeaveGroup { customer, group });
    app.change(request.command(operation, None, None)?, &[]).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CustomerQuery {
    #[param(inline)]
    group: Option<AskedText>,
    #[param(inline)]
    email: Option<AskedText>,
    #[param(inline)]
    cursor: Option<Cursor>,
    #[param(inline)]
    limit: Option<PageLimit>,
}

/// A customer.
#[derive(Debug, Serialize, ToSchema)]
pub struct CustomerShown {
    id: String,
    name: String,
    email: Option<String>,
    /// In alphabetical order.
    groups: Vec<String>,
    registered_at: DateTime<Utc>,
    /// Of the event that registered the customer.
    position: i64,
}

impl From<CustomerSummary> for CustomerShown {
    fn from(CustomerSummary { customer, groups }: CustomerSummary) -> Self {
        let CustomerRow { id, name, email, registered_at, position, changed_position: _ } = customer;
        Self { id, name, email, groups, registered_at, position }
    }
}

/// Customers, the newest first.
#[utoipa::path(get, path = "/v1/customers", params(CustomerQuery, AskedMoment), responses((status = 200, body = Page<CustomerShown>)))]
pub async fn list(
    State(app): State<App>,
    uri: Uri,
    AskedAt(asked, moment): AskedAt<CustomerQuery>,
    fresh: Fresh,
) -> Result<Response, ApiError> {
    let CustomerQuery { group, email, cursor, limit } = asked;
    let filter = Filter { group: group.map(String::from), email: email.map(String::from) };
    let lasting = filter.lasting();
    let mut listing = app.listing(uri, filter, moment, cursor.as_deref(), limit)?;
    let mut rows = app.read_at(&["customers"], moment, fresh).await?;
    let mut found = Vec::new();
    while let Some(limit) = rows.next(&mut listing, &lasting, found.len()).await? {
        found.extend(read_model::list(&mut rows, &listing.filter, listing.before(), limit).await?);
    }
    Ok(rows.tell(listing.page(found, |row| row.customer.position, CustomerShown::from)))
}

/// One customer.
#[utoipa::path(get, path = "/v1/customers/{id}", params(AskedMoment), responses((status = 200, body = CustomerShown)))]
pub async fn show(
    State(app): State<App>,
    Named(Ref(id)): Named<CustomerRef>,
    AskedAt(Nothing {}, moment): AskedAt<Nothing>,
    fresh: Fresh,
) -> Result<Response, ApiError> {
    let mut rows = app.read_one("customers", id.as_str(), moment, fresh).await?;
    let found = read_model::get(&mut rows, id.as_str()).await?;
    let found = found.ok_or_else(|| ApiError::new("customer-not-found", "there is no such customer"))?;
    Ok(rows.show(CustomerShown::from(found)))
}
