//! Services over HTTP: what customers have after their orders are processed.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_projections::{Chosen, service::ServiceRow};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    http::{
        address::Named,
        error::ApiError,
        listing::{Asking, Listing, Paging, Question},
        moment::AskedMoment,
        page::Page,
        wire::{AccountRef, CustomerRef, OrderRef, Ref, ServiceRef, text},
    },
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ServiceQuery {
    customer: Option<CustomerRef>,
    account: Option<AccountRef>,
    order: Option<OrderRef>,
}

impl Question for ServiceQuery {
    type Row = ServiceRow;
    type Shown = ServiceShown;

    fn chosen(self) -> Chosen {
        let Self { customer, account, order } = self;
        Chosen::default()
            .lasting("customer_id", customer.map(text))
            .lasting("account_id", account.map(text))
            .lasting("order_id", order.map(text))
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
    asking: Asking,
) -> Result<Response, ApiError> {
    let (rows, found) = app.one::<ServiceRow>(id.as_str(), asking).await?;
    Ok(rows.show(ServiceShown::from(found)))
}
