//! Discounts: what each audience has been granted, and what of it was revoked.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{
        Discount, Discounts as Granted, DiscountsEvent, Event, Noun,
        discount::{Audience, AudienceKind, Grant, Scope, Value},
    },
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use crate::{
    customer::CustomerGroupRow,
    engine::{Changes, Chosen, FoldError, Follows, Owner, Projection, Row, Shown, Source, Table, place},
    listing::Listed,
    word::Word,
};

#[derive(Debug)]
pub enum Discounts {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct DiscountRow {
    pub id: String,
    pub audience: Word<AudienceKind>,
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

/// A customer who is in the group.
const IN_GROUP: Owner = Owner::Parent {
    column: "audience_id",
    table: CustomerGroupRow::TABLE,
    key: "group_name",
    owner: &CustomerGroupRow::OWNER,
};

impl Row for DiscountRow {
    type Key = String;
    const TABLE: &'static str = "discounts";
    const KEY: &'static [&'static str] = &["id"];
    const PREFIX: Option<&'static str> = Some(Discount::PREFIX);
    const OWNER: Owner = Owner::AnyOf(&[
        Owner::Where { column: "audience", is: "everyone", owner: &Owner::Everybody },
        Owner::Where { column: "audience", is: "customer", owner: &Owner::Customer("audience_id") },
        Owner::Where { column: "audience", is: "group", owner: &IN_GROUP },
    ]);
    const SHOWN: Shown = Shown::NEWEST_FIRST;

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        let id = self.audience_id.clone().unwrap_or_default();
        let audience = match *self.audience {
            AudienceKind::Group => Audience::Group(id),
            AudienceKind::Customer => match id.parse() {
                Ok(customer) => Audience::Customer(customer),
                Err(_) => return Vec::new(),
            },
            AudienceKind::Everyone => Audience::Everyone,
        };
        audience.id().map(|id| Source::stream(Granted::TYPE, id.as_str())).into_iter().collect()
    }
}

impl Listed for DiscountRow {
    type Of = DiscountRow;
    const PROJECTION: &'static str = Discounts::NAME;
    const NOUN: &'static str = "discount";
    const NOT_FOUND: &'static str = "discount-not-found";

    fn position(&self) -> i64 {
        self.position
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
    let audience_id = match &grant.audience {
        Audience::Everyone => None,
        Audience::Group(group) => Some(group.clone()),
        Audience::Customer(customer) => Some(customer.to_string()),
    };
    let (kind, value, currency) = match &grant.value {
        Value::Percent(percent) => ("percent", *percent, None),
        Value::AmountOff(money) => ("amount_off", money.amount(), Some(money.currency())),
        Value::FixedPrice(money) => ("fixed_price", money.amount(), Some(money.currency())),
    };
    DiscountRow {
        id: grant.discount.to_string(),
        audience: Word(grant.audience.kind()),
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

/// The discounts that are granted, not revoked, and valid at a moment.
pub fn valid_at(chosen: Chosen, at: DateTime<Utc>) -> Chosen {
    let pieces = [
        "granted_at <= ",
        " and coalesce(revoked_at > ",
        ", true) and coalesce(valid_from <= ",
        ", true) and coalesce(valid_until > ",
        ", true)",
    ];
    chosen.now_where(pieces.into(), vec![at.into(); 4])
}

/// The discounts that a customer of these groups can have: its own, those of its groups and everyone's.
pub fn of_customer(customer: &str, groups: Vec<String>) -> Chosen {
    let pieces = [
        "(audience = 'everyone' or (audience = 'customer' and audience_id = ",
        ") or (audience = 'group' and audience_id = any(",
        ")))",
    ];
    Chosen::default().lasting_where(pieces.into(), vec![customer.into(), groups.into()])
}
