//! Services over HTTP: what customers have after their orders are processed.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_projections::{Chosen, Sort, service::ServiceRow};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    account::AccountQuery,
    app::App,
    customer::CustomerQuery,
    http::{
        address::Named,
        error::ApiError,
        listing::{Listing, One, Paging, Question},
        moment::AskedMoment,
        page::Page,
        shape::Expand,
        wire::{AccountRef, AskedText, CustomerRef, OrderRef, Ref, ServiceRef, text},
    },
    order::OrderQuery,
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ServiceQuery {
    customer: Option<CustomerRef>,
    account: Option<AccountRef>,
    order: Option<OrderRef>,
    #[param(inline)]
    product: Option<AskedText>,
}

impl Question for ServiceQuery {
    type Row = ServiceRow;
    type Shown = ServiceShown;

    const SORTS: &'static [Sort] =
        &[Sort::text("product"), Sort::text("description"), Sort::text("status"), Sort::moment("activated_at")];
    const UNINDEXED: &'static [&'static str] = &["product"];
    const EXPANDS: &'static [Expand] = &[
        Expand::to::<CustomerQuery>("customer"),
        Expand::to::<AccountQuery>("account"),
        Expand::to::<OrderQuery>("order"),
    ];

    fn chosen(self) -> Result<Chosen, ApiError> {
        let Self { customer, account, order, product } = self;
        Ok(Chosen::default()
            .lasting("customer_id", customer.map(text))
            .lasting("account_id", account.map(text))
            .lasting("order_id", order.map(text))
            .lasting("product", product.map(String::from)))
    }
}

/// A service.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServiceShown {
    id: String,
    customer: String,
    account: String,
    order: String,
    product: String,
    description: String,
    #[schema(example = "active")]
    status: &'static str,
    activated_at: DateTime<Utc>,
    /// Of the event that activated it.
    position: i64,
}

impl From<ServiceRow> for ServiceShown {
    fn from(row: ServiceRow) -> Self {
        Self {
            id: row.id,
            customer: row.customer_id,
            account: row.account_id,
            order: row.order_id,
            product: row.product,
            description: row.description,
            status: row.status.as_str(),
            activated_at: row.activated_at,
            position: row.position,
        }
    }
}

/// Services, the newest first.
#[utoipa::path(get, path = "/v1/services", params(ServiceQuery, Paging, AskedMoment), responses((status = 200, body = Page<ServiceShown>)))]
pub async fn list(State(app): State<App>, asked: Listing<ServiceQuery>) -> Result<Response, ApiError> {
    app.list(asked).await
}

/// One service.
#[utoipa::path(get, path = "/v1/services/{id}", params(AskedMoment), responses((status = 200, body = ServiceShown)))]
pub async fn show(
    State(app): State<App>,
    Named(Ref(id)): Named<ServiceRef>,
    asked: One<ServiceQuery>,
) -> Result<Response, ApiError> {
    let (rows, found) = app.one::<ServiceRow>(id.as_str(), asked.asking.clone()).await?;
    app.show(asked, rows, ServiceShown::from(found)).await
}
