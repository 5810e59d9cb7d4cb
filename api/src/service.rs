//! Services over HTTP: what customers have after their orders are processed.

use axum::{extract::State, http::Uri, response::Response};
use chrono::{DateTime, Utc};
use daybook_projections::service::{self as read_model, Filter, ServiceRow};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    address::{AskedAt, Named},
    app::App,
    error::ApiError,
    moment::AskedMoment,
    page::{Cursor, Page, PageLimit},
    read::Fresh,
    wire::{AccountRef, CustomerRef, Nothing, OrderRef, Ref, ServiceRef, text},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ServiceQuery {
    customer: Option<CustomerRef>,
    account: Option<AccountRef>,
    order: Option<OrderRef>,
    #[param(inline)]
    cursor: Option<Cursor>,
    #[param(inline)]
    limit: Option<PageLimit>,
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
    status: String,
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
            status: row.status,
            activated_at: row.activated_at,
            position: row.position,
        }
    }
}

/// Services, the newest first.
#[utoipa::path(get, path = "/v1/services", params(ServiceQuery, AskedMoment), responses((status = 200, body = Page<ServiceShown>)))]
pub async fn list(
    State(app): State<App>,
    uri: Uri,
    AskedAt(asked, moment): AskedAt<ServiceQuery>,
    fresh: Fresh,
) -> Result<Response, ApiError> {
    let ServiceQuery { customer, account, order, cursor, limit } = asked;
    let filter = Filter { customer: customer.map(text), account: account.map(text), order: order.map(text) };
    let lasting = filter.lasting();
    let mut listing = app.listing(uri, filter, moment, cursor.as_deref(), limit)?;
    let mut rows = app.read_at(&["services"], moment, fresh).await?;
    let mut found = Vec::new();
    while let Some(limit) = rows.next(&mut listing, &lasting, found.len()).await? {
        found.extend(read_model::list(&mut rows, &listing.filter, listing.before(), limit).await?);
    }
    Ok(rows.tell(listing.page(found, |row| row.position, ServiceShown::from)))
}

/// One service.
#[utoipa::path(get, path = "/v1/services/{id}", params(AskedMoment), responses((status = 200, body = ServiceShown)))]
pub async fn show(
    State(app): State<App>,
    Named(Ref(id)): Named<ServiceRef>,
    AskedAt(Nothing {}, moment): AskedAt<Nothing>,
    fresh: Fresh,
) -> Result<Response, ApiError> {
    let mut rows = app.read_one("services", id.as_str(), moment, fresh).await?;
    let found = read_model::get(&mut rows, id.as_str()).await?;
    let found = found.ok_or_else(|| ApiError::new("service-not-found", "there is no such service"))?;
    Ok(rows.show(ServiceShown::from(found)))
}
