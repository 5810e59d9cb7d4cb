//! Discounts over HTTP: granted to one customer, a group or everyone, and revoked.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_core::{
    domain::discount,
    operations::{GrantDiscount, Operation, RevokeDiscount},
};
use daybook_projections::{
    Chosen, Sort,
    customer::CustomerGroupRow,
    discount::{self as read_model, DiscountRow},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    http::{
        address::Named,
        error::ApiError,
        listing::{Listing, One, Paged, Paging, Question},
        moment::AskedMoment,
        page::Page,
        time::{AskedTime, Time},
        wire::{
            Amount, AskedText, CustomerRef, DiscountRef, Label, Name, Number, OneOf, Ref, Sentence, WordList, Words,
        },
        write::{Made, Writing, Written},
    },
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDiscount {
    audience: Audience,
    #[schema(example = "Spring offer")]
    name: Name,
    #[serde(default)]
    scope: Scope,
    value: DiscountValue,
    /// The larger number wins.
    #[serde(default)]
    priority: i32,
    valid_from: Option<Time>,
    /// The first moment at which it is no longer valid.
    valid_until: Option<Time>,
    /// When it took effect; now, unless it is recorded later than it happened.
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

/// Whom a discount is for.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    Everyone,
    Group(Label),
    Customer(CustomerRef),
}

/// What a discount is for.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    #[default]
    All,
    Product(Label),
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiscountValue {
    Percent(Number),
    AmountOff(Amount),
    /// The price becomes this, where that is less.
    FixedPrice(Amount),
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Whom it was granted to.
    audience: Audience,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

/// Grants a discount.
#[utoipa::path(post, path = "/v1/discounts", request_body = NewDiscount, responses((status = 201, body = Made)))]
pub async fn grant(
    State(app): State<App>,
    Writing { body, request }: Writing<NewDiscount>,
) -> Result<Written, ApiError> {
    let NewDiscount { audience, name, scope, value, priority, valid_from, valid_until, effective_at, reason } = body;
    let (valid_from, valid_until) = (valid_from.map(|from| from.0), valid_until.map(|until| until.0));
    let (audience, scope, value) = (audience.into(), scope.into(), value.into());
    let operation = GrantDiscount { audience, name: name.into(), scope, value, priority, valid_from, valid_until };
    let command = request.command(Operation::GrantDiscount(operation), effective_at, reason)?;
    let named = [
        ("customer-not-found", "/audience/customer"),
        ("group-malformed", "/audience/group"),
        ("malformed-id", "/audience/group"),
        ("product-missing", "/scope/product"),
    ];
    app.create("/v1/discounts", command, &named).await
}

/// Revokes a discount. Orders that were placed with it keep it.
#[utoipa::path(post, path = "/v1/discounts/{id}/revoke", request_body = Revocation, responses((status = 200, body = Made)))]
pub async fn revoke(
    State(app): State<App>,
    Named(Ref(discount)): Named<DiscountRef>,
    Writing { body, request }: Writing<Revocation>,
) -> Result<Written, ApiError> {
    let Revocation { audience, effective_at, reason } = body;
    let operation = Operation::RevokeDiscount(RevokeDiscount { audience: audience.into(), discount });
    app.change(request.command(operation, effective_at, reason)?, &[("malformed-id", "/audience/group")]).await
}

impl From<Audience> for discount::Audience {
    fn from(audience: Audience) -> Self {
        match audience {
            Audience::Everyone => Self::Everyone,
            Audience::Group(Words(group)) => Self::Group(group),
            Audience::Customer(customer) => Self::Customer(customer.0),
        }
    }
}

impl From<Scope> for discount::Scope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::All => Self::All,
            Scope::Product(Words(product)) => Self::Product(product),
        }
    }
}

impl From<DiscountValue> for discount::Value {
    fn from(value: DiscountValue) -> Self {
        match value {
            DiscountValue::Percent(percent) => Self::Percent(percent.0),
            DiscountValue::AmountOff(amount) => Self::AmountOff(amount.0),
            DiscountValue::FixedPrice(price) => Self::FixedPrice(price.0),
        }
    }
}

/// The discount that won for an item, and what it saves.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
pub struct AppliedDiscount {
    discount: DiscountRef,
    name: String,
    audience: Audience,
    value: DiscountValue,
    priority: i32,
    saving: Amount,
}

/// Whom a discount is for.
pub type AudienceKind = OneOf<discount::AudienceKind>;

impl WordList for discount::AudienceKind {
    const NAME: &'static str = "AudienceKind";
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DiscountQuery {
    #[param(inline)]
    audience: Option<AudienceKind>,
    /// The name of the group or the identifier of the customer.
    #[param(inline)]
    audience_id: Option<AskedText>,
    /// Those that are granted, not revoked, and valid at this moment.
    #[param(inline)]
    valid_at: Option<AskedTime>,
}

impl Question for DiscountQuery {
    type Row = DiscountRow;
    type Shown = DiscountShown;

    const SORTS: &'static [Sort] = &[
        Sort::text("name"),
        Sort::whole("priority"),
        Sort::moment("valid_from").nullable(),
        Sort::moment("valid_until").nullable(),
        Sort::moment("granted_at"),
        Sort::moment("revoked_at").nullable(),
    ];
    const UNINDEXED: &'static [&'static str] = &["audience_id", "valid_at"];

    fn chosen(self) -> Result<Chosen, ApiError> {
        let Self { audience, audience_id, valid_at } = self;
        let chosen = Chosen::default()
            .lasting("audience", audience.map(String::from))
            .lasting("audience_id", audience_id.map(String::from));
        Ok(match valid_at {
            None => chosen,
            Some(AskedTime(at)) => read_model::valid_at(chosen, at),
        })
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OwnDiscountQuery {
    /// The moment that is asked about, unless one is given; as known at a position, the time of its recording. Discounts run
    /// out without an event, so that only an answer that was asked with this parameter stays the same for ever.
    #[param(inline)]
    valid_at: Option<AskedTime>,
}

/// A discount.
#[derive(Debug, Serialize, ToSchema)]
pub struct DiscountShown {
    id: String,
    #[schema(inline = false)]
    audience: Audience,
    name: String,
    #[schema(inline = false)]
    scope: Scope,
    value: DiscountValue,
    priority: i32,
    valid_from: Option<DateTime<Utc>>,
    /// The first moment at which it is no longer valid.
    valid_until: Option<DateTime<Utc>>,
    granted_at: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
    /// Of the event that granted it.
    position: i64,
}

impl From<DiscountRow> for DiscountShown {
    fn from(row: DiscountRow) -> Self {
        let audience_id = row.audience_id.unwrap_or_default();
        let amount = |amount| Amount::of(amount, row.currency.as_deref().unwrap_or_default());
        Self {
            id: row.id,
            audience: match *row.audience {
                discount::AudienceKind::Customer => {
                    Audience::Customer(Ref(audience_id.parse().expect("a row holds an identifier")))
                }
                discount::AudienceKind::Group => Audience::Group(Words(audience_id)),
                discount::AudienceKind::Everyone => Audience::Everyone,
            },
            name: row.name,
            scope: row.product.map_or(Scope::All, |product| Scope::Product(Words(product))),
            value: match row.kind.as_str() {
                "amount_off" => DiscountValue::AmountOff(amount(row.value)),
                "fixed_price" => DiscountValue::FixedPrice(amount(row.value)),
                _ => DiscountValue::Percent(Number(row.value)),
            },
            priority: row.priority,
            valid_from: row.valid_from,
            valid_until: row.valid_until,
            granted_at: row.granted_at,
            revoked_at: row.revoked_at,
            position: row.position,
        }
    }
}

/// Discounts, the newest first.
#[utoipa::path(get, path = "/v1/discounts", params(DiscountQuery, Paging, AskedMoment), responses((status = 200, body = Page<DiscountShown>)))]
pub async fn list(State(app): State<App>, asked: Listing<DiscountQuery>) -> Result<Response, ApiError> {
    app.list(asked).await
}

/// One discount.
#[utoipa::path(get, path = "/v1/discounts/{id}", params(AskedMoment), responses((status = 200, body = DiscountShown)))]
pub async fn show(
    State(app): State<App>,
    Named(Ref(id)): Named<DiscountRef>,
    asked: One<DiscountQuery>,
) -> Result<Response, ApiError> {
    let (rows, found) = app.one::<DiscountRow>(id.as_str(), asked.asking.clone()).await?;
    app.show(asked, rows, DiscountShown::from(found)).await
}

/// The discounts that a customer has: own ones, those of the customer's groups, and those of everyone.
#[utoipa::path(get, path = "/v1/customers/{id}/discounts", params(OwnDiscountQuery, Paging, AskedMoment), responses((status = 200, body = Page<DiscountShown>)))]
pub async fn list_of_customer(
    State(app): State<App>,
    Named(Ref(customer)): Named<CustomerRef>,
    asked: Paged<OwnDiscountQuery>,
) -> Result<Response, ApiError> {
    let Paged { question: OwnDiscountQuery { valid_at }, paging, asking, addressed } = asked;
    let at = match valid_at {
        Some(AskedTime(valid_at)) => valid_at,
        None => app.time_at(asking.moment).await?,
    };
    let mut walk = app.walk(addressed, paging)?;
    // Discounts and groups lie in tables of two projections.
    let mut rows = app.read_at(&["discounts", "customers"], asking).await?;
    rows.bring_back("customers", &[customer.to_string()]).await?;
    let groups = rows.belonging::<CustomerGroupRow>(customer.as_str()).await?;
    let groups = groups.into_iter().map(|row| row.group_name).collect();
    let chosen = read_model::valid_at(read_model::of_customer(customer.as_str(), groups), at);
    let found = rows.chosen::<DiscountRow>(&mut walk.steps, &chosen).await?;
    let found = found.into_iter().map(|found| found.row).collect();
    Ok(rows.answer(walk.page(found, |row: &DiscountRow| row.position, DiscountShown::from)))
}
