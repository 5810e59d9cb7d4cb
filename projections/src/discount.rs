//! Discounts: what each audience has been granted, and what of it was revoked.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{
        Discounts as Granted, DiscountsEvent, Event,
        discount::{Audience, Grant, Scope, Value},
    },
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};

use crate::engine::{Changes, FoldError, Follows, Lasting, Projection, Row, Source, Table, place};

#[derive(Debug)]
pub enum Discounts {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct DiscountRow {
    pub id: String,
    /// `everyone`, `group` or `customer`.
    pub audience: String,
    /// The name of the group or the identifier of the customer.
    pub audience_id: Option<String>,
    pub name: String,
    /// The only product it is for; every product if absent.
    pub product: Option<String>,
    /// `percent`, `amount_off` or `fixed_price`.
    pub kind: String,
    pub value: Decimal,
    /// Of an amount; per cent have none.
    pub currency: Option<String>,
    /// The larger number wins.
    pub priority: i32,
    pub valid_from: Option<DateTime<Utc>>,
    /// The first moment at which it is no longer valid.
    pub valid_until: Option<DateTime<Utc>>,
    pub granted_at: DateTime<Utc>,
    pub revoked_at: Option<DateTime<Utc>>,
    /// Of the event that granted it; listings go by it.
    pub position: i64,
}

impl Row for DiscountRow {
    type Key = String;
    const TABLE: &'static str = "discounts";
    const KEY: &'static [&'static str] = &["id"];

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        let id = self.audience_id.clone().unwrap_or_default();
        let audience = match self.audience.as_str() {
            "group" => Audience::Group(id),
            "customer" => match id.parse() {
                Ok(customer) => Audience::Customer(customer),
                Err(_) => return Vec::new(),
            },
            _ => Audience::Everyone,
        };
        audience.id().map(|id| Source::stream(Granted::TYPE, id.as_str())).into_iter().collect()
    }
}

impl Projection for Discounts {
    const NAME: &'static str = "discounts";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[Granted::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<DiscountRow>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        let Event::Discounts(discounts_event) = &event.event else { return Ok(()) };
        match discounts_event {
            DiscountsEvent::Granted(grant) => changes.insert(discount_row(event, grant)),
            DiscountsEvent::Revoked { discount } => {
                let at = event.occurred_at();
                changes.update(discount.to_string(), move |row: &mut DiscountRow| row.revoked_at = Some(at));
            }
        }
        Ok(())
    }
}

fn discount_row(event: &RecordedEvent, grant: &Grant) -> DiscountRow {
    let (audience, audience_id) = match &grant.audience {
        Audience::Everyone => ("everyone", None),
        Audience::Group(group) => ("group", Some(group.clone())),
        Audience::Customer(customer) => ("customer", Some(customer.to_string())),
    };
    let (kind, value, currency) = match &grant.value {
        Value::Percent(percent) => ("percent", *percent, None),
        Value::AmountOff(money) => ("amount_off", money.amount(), Some(money.currency())),
        Value::FixedPrice(money) => ("fixed_price", money.amount(), Some(money.currency())),
    };
    DiscountRow {
        id: grant.discount.to_string(),
        audience: audience.into(),
        audience_id,
        name: grant.name.clone(),
        product: match &grant.scope {
            Scope::All => None,
            Scope::Product(product) => Some(product.clone()),
        },
        kind: kind.into(),
        value,
        currency: currency.map(|currency| currency.code().into()),
        priority: grant.priority,
        valid_from: grant.valid_from,
        valid_until: grant.valid_until,
        granted_at: event.occurred_at(),
        revoked_at: None,
        position: place(event),
    }
}

/// What of the discounts to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub audience: Option<String>,
    pub audience_id: Option<String>,
    /// Those that are granted, not revoked, and valid at this moment.
    pub valid_at: Option<DateTime<Utc>>,
}

impl Filter {
    /// What of it never changes in a row.
    pub fn lasting(&self) -> Lasting {
        Lasting::default().is("audience", self.audience.as_ref()).is("audience_id", self.audience_id.as_ref())
    }
}

pub async fn get(connection: &mut PgConnection, id: &str) -> Result<Option<DiscountRow>, sqlx::Error> {
    sqlx::query_as(
        "select id, audience, audience_id, name, product, kind, value, currency, priority, valid_from, valid_until,
             granted_at, revoked_at, position
         from discounts
         where id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// Newest first; `before` is the position of the last row of the page before this one.
pub async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<DiscountRow>, sqlx::Error> {
    sqlx::query_as(
        "select id, audience, audience_id, name, product, kind, value, currency, priority, valid_from, valid_until,
             granted_at, revoked_at, position
         from discounts
         where ($1::text is null or audience = $1)
             and ($2::text is null or audience_id = $2)
             and ($3::timestamptz is null or (
                 granted_at <= $3 and coalesce(revoked_at > $3, true)
                 and coalesce(valid_from <= $3, true) and coalesce(valid_until > $3, true)
             ))
             and ($4::bigint is null or position < $4)
         order by position desc
         limit $5",
    )
    .bind(&filter.audience)
    .bind(&filter.audience_id)
    .bind(filter.valid_at)
    .bind(before)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// What never changes of the discounts that a customer can have: their audiences.
pub async fn lasting_of_customer(connection: &mut PgConnection, customer_id: &str) -> Result<Lasting, sqlx::Error> {
    let audiences = sqlx::query_scalar("select group_name from customer_groups where customer_id = $1 union select $1")
        .bind(customer_id)
        .fetch_all(connection)
        .await?;
    Ok(Lasting::default().among_or_none("audience_id", audiences))
}

/// The discounts that a customer has at a moment: its own, those of its groups and everyone's. Needs the projection of
/// customers in the same snapshot.
pub async fn of_customer(
    connection: &mut PgConnection,
    customer_id: &str,
    at: DateTime<Utc>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<DiscountRow>, sqlx::Error> {
    sqlx::query_as(
        "select d.id, d.audience, d.audience_id, d.name, d.product, d.kind, d.value, d.currency, d.priority,
             d.valid_from, d.valid_until, d.granted_at, d.revoked_at, d.position
         from discounts d
         where (
                 d.audience = 'everyone'
                 or (d.audience = 'customer' and d.audience_id = $1)
                 or (d.audience = 'group' and d.audience_id in (
                     select g.group_name from customer_groups g where g.customer_id = $1
                 ))
             )
             and d.granted_at <= $2 and coalesce(d.revoked_at > $2, true)
             and coalesce(d.valid_from <= $2, true) and coalesce(d.valid_until > $2, true)
             and ($3::bigint is null or d.position < $3)
         order by d.position desc
         limit $4",
    )
    .bind(customer_id)
    .bind(at)
    .bind(before)
    .bind(limit)
    .fetch_all(connection)
    .await
}
