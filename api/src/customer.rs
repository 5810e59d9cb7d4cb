//! Customers over HTTP: registering them, and the groups that grant them prices.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_core::{
    domain::customer::{CustomerRejection, is_group_name},
    operations::{JoinGroup, LeaveGroup, Operation, Registration},
    terms::sealed::Sealed,
};
use daybook_projections::{
    Chosen, Sort,
    customer::{CustomerRow, CustomerSummary},
};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{RefOr, schema::Schema},
};

use crate::{
    app::App,
    http::{
        address::Named,
        error::ApiError,
        listing::{Listing, One, Paging, Question},
        moment::AskedMoment,
        page::Page,
        time::Time,
        wire::{AskedText, CustomerRef, Email, Label, Name, Nothing, Ref, Sentence, Text, pattern_text},
        write::{Made, Writing, Written},
    },
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCustomer {
    #[schema(example = "Ada Lovelace")]
    name: Name,
    email: Option<Email>,
    /// When it took effect; now, unless it is recorded later than it happened.
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
    let operation = Operation::RegisterCustomer(Registration { name: name.into(), email: email.map(Sealed::from) });
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
    /// What the name contains, in upper or lower case.
    #[param(inline)]
    name: Option<AskedText>,
}

impl Question for CustomerQuery {
    type Row = CustomerSummary;
    type Shown = CustomerShown;

    const SORTS: &'static [Sort] = &[Sort::text("name"), Sort::text("email").nullable(), Sort::moment("registered_at")];
    const UNINDEXED: &'static [&'static str] = &["name"];

    fn chosen(self) -> Result<Chosen, ApiError> {
        let Self { group, email, name } = self;
        let chosen = Chosen::default().now("email", email.map(String::from)).containing("name", name.map(String::from));
        let Some(group) = group else { return Ok(chosen) };
        let pieces = ["id in (select customer_id from customer_groups where group_name = ", ")"];
        Ok(chosen.now_where(pieces.into(), vec![String::from(group).into()]))
    }
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
#[utoipa::path(get, path = "/v1/customers", params(CustomerQuery, Paging, AskedMoment), responses((status = 200, body = Page<CustomerShown>)))]
pub async fn list(State(app): State<App>, asked: Listing<CustomerQuery>) -> Result<Response, ApiError> {
    app.list(asked).await
}

/// One customer.
#[utoipa::path(get, path = "/v1/customers/{id}", params(AskedMoment), responses((status = 200, body = CustomerShown)))]
pub async fn show(
    State(app): State<App>,
    Named(Ref(id)): Named<CustomerRef>,
    asked: One<CustomerQuery>,
) -> Result<Response, ApiError> {
    let (rows, found) = app.one::<CustomerSummary>(id.as_str(), asked.asking.clone()).await?;
    app.show(asked, rows, CustomerShown::from(found)).await
}
