//! Discounts: what one audience (a customer, a group, everyone) has been granted, and which discount wins.

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use imbl::OrdMap;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use super::{
    Currency, CustomerId, Id, IdError, LedgerAggregate, LedgerEvent, Mentions, Money, Noun, Owner, Rounding,
    customer::is_group_name, function::Function, posting::JournalEntry, version::written_version,
};
use crate::terms::{
    refusal::{GROUP_MALFORMED, NAME_MISSING, PRODUCT_MISSING, absent, conflict, invalid, refusals},
    rule::Rule,
};

/// Names one discount.
#[derive(Debug)]
pub enum Discount {}

impl Noun for Discount {
    const PREFIX: &'static str = "dsc";
}

pub type DiscountId = Id<Discount>;

/// Names the discounts of one audience.
pub type AudienceId = Id<Discounts>;

/// Whom a discount is for. A later one in this list is the closer one, and wins over a wider one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    Everyone,
    Group(String),
    Customer(CustomerId),
}

/// The word for an audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AudienceKind {
    Everyone,
    Group,
    Customer,
}

/// What a discount is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    All,
    Product(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    Percent(Decimal),
    AmountOff(Money),
    /// The price becomes this, where that is less.
    FixedPrice(Money),
}

/// One discount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    pub discount: DiscountId,
    pub audience: Audience,
    pub name: String,
    pub scope: Scope,
    pub value: Value,
    /// The larger number wins.
    pub priority: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<DateTime<Utc>>,
    /// The first moment at which it is no longer valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<DateTime<Utc>>,
}

/// The discount that won for an item, and what it saves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppliedDiscount {
    pub discount: DiscountId,
    pub name: String,
    pub audience: Audience,
    pub value: Value,
    pub priority: i32,
    pub saving: Money,
}

#[derive(Clone, Debug)]
pub enum DiscountsCommand {
    Grant(Box<Grant>),
    Revoke { discount: DiscountId },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiscountsEvent {
    Granted(Box<Grant>),
    Revoked { discount: DiscountId },
}

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum DiscountsRejection {
        #[error("the discount already exists")]
        AlreadyGranted = conflict("discount-exists", "The discount already exists"),
        #[error("there is no such discount")]
        UnknownDiscount = absent("discount-not-found", "There is no such discount for that audience"),
        #[error("a discount needs a name")]
        NameMissing at "/name" = NAME_MISSING,
        #[error("a group is named by 1 to 64 characters of a-z 0-9 . _ -")]
        GroupMalformed = GROUP_MALFORMED,
        #[error("a discount for a product needs the product's name")]
        ProductMissing = PRODUCT_MISSING,
        #[error("a percentage lies above 0 and at most at 100, with at most 4 decimals")]
        PercentOutOfRange at "/value" =
            invalid("percent-out-of-range", "A percentage lies above 0 and at most at 100, with at most 4 decimals"),
        #[error("an amount off must be greater than zero, a fixed price not negative")]
        AmountOutOfRange at "/value" =
            invalid("amount-out-of-range", "An amount off is greater than zero, a fixed price not negative"),
        #[error("a discount ends after it begins")]
        ValidityEmpty at "/valid_until" = invalid("validity-empty", "A discount ends after it begins"),
    }
}

/// The discounts that one audience has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Discounts {
    pub grants: OrdMap<String, Grant>,
}

impl Noun for Discounts {
    const PREFIX: &'static str = "aud";
}

impl LedgerAggregate for Discounts {
    const FOLD_VERSION: i32 = 1;
    const READ_BY: Function = Function::DiscountsRead;

    fn owner(&self) -> Owner<'_> {
        // An audience may be a group, and its name is the identifier.
        Owner::Everybody
    }

    fn weight(&self) -> usize {
        1 + 2 * self.grants.len()
    }
}

impl Audience {
    /// The stream in which this audience's discounts stand.
    pub fn id(&self) -> Result<AudienceId, IdError> {
        match self {
            Self::Everyone => Id::named("everyone"),
            Self::Group(group) => Id::named(&format!("group:{group}")),
            Self::Customer(customer) => Id::named(&format!("customer:{customer}")),
        }
    }

    pub fn kind(&self) -> AudienceKind {
        match self {
            Self::Everyone => AudienceKind::Everyone,
            Self::Group(_) => AudienceKind::Group,
            Self::Customer(_) => AudienceKind::Customer,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Everyone => 0,
            Self::Group(_) => 1,
            Self::Customer(_) => 2,
        }
    }
}

impl Grant {
    /// What it saves on this price; `None` where it does not apply.
    fn saving(&self, product: &str, list: Money, at: DateTime<Utc>, rounding: Rounding) -> Option<Money> {
        let begun = self.valid_from.is_none_or(|from| from <= at);
        let ended = self.valid_until.is_some_and(|until| until <= at);
        let meant = match &self.scope {
            Scope::All => true,
            Scope::Product(only) => only == product,
        };
        if !begun || ended || !meant {
            return None;
        }
        let price = list.amount();
        let exact = match &self.value {
            Value::Percent(percent) => price * *percent / Decimal::ONE_HUNDRED,
            Value::AmountOff(off) if off.currency() == list.currency() => off.amount(),
            Value::FixedPrice(fixed) if fixed.currency() == list.currency() => price - fixed.amount(),
            Value::AmountOff(_) | Value::FixedPrice(_) => return None,
        };
        // Never below a price of zero, never a surcharge.
        let saving = Money::round(exact.clamp(Decimal::ZERO, price.max(Decimal::ZERO)), list.currency(), rounding);
        saving.is_positive().then_some(saving)
    }

    fn check(&self) -> Result<(), DiscountsRejection> {
        use DiscountsRejection as R;
        if self.name.trim().is_empty() {
            return Err(R::NameMissing);
        }
        if matches!(&self.audience, Audience::Group(group) if !is_group_name(group)) {
            return Err(R::GroupMalformed);
        }
        if matches!(&self.scope, Scope::Product(product) if product.trim().is_empty()) {
            return Err(R::ProductMissing);
        }
        match &self.value {
            Value::Percent(percent)
                if *percent <= Decimal::ZERO || *percent > Decimal::ONE_HUNDRED || percent.normalize().scale() > 4 =>
            {
                return Err(R::PercentOutOfRange);
            }
            Value::AmountOff(off) if !off.is_positive() => return Err(R::AmountOutOfRange),
            Value::FixedPrice(fixed) if fixed.is_negative() => return Err(R::AmountOutOfRange),
            Value::Percent(_) | Value::AmountOff(_) | Value::FixedPrice(_) => {}
        }
        match (self.valid_from, self.valid_until) {
            (Some(from), Some(until)) if until <= from => Err(R::ValidityEmpty),
            _ => Ok(()),
        }
    }
}

/// The one discount that wins for an item; discounts do not stack. The first difference decides: the priority
/// number, then one customer before a group before everyone, then a product before all products, then the larger
/// saving, then the earlier identifier.
pub fn best<'a>(
    grants: impl IntoIterator<Item = &'a Grant>,
    product: &str,
    list: Money,
    at: DateTime<Utc>,
    rounding: Rounding,
) -> Option<AppliedDiscount> {
    grants
        .into_iter()
        .filter_map(|grant| grant.saving(product, list, at, rounding).map(|saving| (grant, saving)))
        .max_by_key(|(grant, saving)| {
            let narrow = matches!(grant.scope, Scope::Product(_));
            (grant.priority, grant.audience.rank(), narrow, saving.amount(), std::cmp::Reverse(grant.discount.clone()))
        })
        .map(|(grant, saving)| AppliedDiscount {
            discount: grant.discount.clone(),
            name: grant.name.clone(),
            audience: grant.audience.clone(),
            value: grant.value.clone(),
            priority: grant.priority,
            saving,
        })
}

impl Value {
    /// The currency of an amount; a percentage has none.
    pub fn currency(&self) -> Option<Currency> {
        match self {
            Self::Percent(_) => None,
            Self::AmountOff(amount) | Self::FixedPrice(amount) => Some(amount.currency()),
        }
    }
}

impl Aggregate for Discounts {
    const TYPE: &'static str = "discounts";
    type Command = DiscountsCommand;
    type Event = DiscountsEvent;
    type Error = DiscountsRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: DiscountsCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), DiscountsRejection> {
        let event = match command {
            DiscountsCommand::Grant(grant) => {
                if self.grants.contains_key(grant.discount.as_str()) {
                    return Err(DiscountsRejection::AlreadyGranted);
                }
                grant.check()?;
                DiscountsEvent::Granted(grant)
            }
            DiscountsCommand::Revoke { discount } => {
                if !self.grants.contains_key(discount.as_str()) {
                    return Err(DiscountsRejection::UnknownDiscount);
                }
                DiscountsEvent::Revoked { discount }
            }
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: DiscountsEvent) {
        match event {
            DiscountsEvent::Granted(grant) => {
                self.grants.insert(grant.discount.as_str().into(), *grant);
            }
            DiscountsEvent::Revoked { discount } => {
                self.grants.remove(discount.as_str());
            }
        }
    }
}

impl DomainEvent for DiscountsEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Granted(_) => "discount.granted",
            Self::Revoked { .. } => "discount.revoked",
        }
        .into()
    }

    fn event_version(&self) -> String {
        written_version(self)
    }
}

impl LedgerEvent for DiscountsEvent {
    type Aggregate = Discounts;

    const VERSIONS: &'static [(&'static str, &'static str)] =
        &[("discount.granted", "1.0"), ("discount.revoked", "1.0")];

    fn postings(&self) -> JournalEntry {
        Vec::new()
    }

    fn rule(&self) -> Option<Rule> {
        None
    }

    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        match self {
            Self::Granted(grant) => {
                mentions.add(&grant.discount);
                match &grant.audience {
                    Audience::Customer(customer) => mentions.add(customer),
                    Audience::Everyone | Audience::Group(_) => {}
                }
            }
            Self::Revoked { discount } => mentions.add(discount),
        }
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};
    use rust_decimal::dec;

    use super::*;
    use crate::domain::fixtures::{day, id, usd, yen};

    fn given(events: Vec<DiscountsEvent>) -> AggregateTestExecutor<Discounts> {
        TestFramework::with(()).given(events)
    }

    /// A tenth off everything for everyone.
    fn tenth() -> Grant {
        Grant {
            discount: id("tenth"),
            audience: Audience::Everyone,
            name: "spring".into(),
            scope: Scope::All,
            value: Value::Percent(dec!(10)),
            priority: 0,
            valid_from: None,
            valid_until: None,
        }
    }

    fn grant(grant: Grant) -> DiscountsCommand {
        DiscountsCommand::Grant(Box::new(grant))
    }

    fn granted() -> DiscountsEvent {
        DiscountsEvent::Granted(Box::new(tenth()))
    }

    fn revoke() -> DiscountsCommand {
        DiscountsCommand::Revoke { discount: id("tenth") }
    }

    fn revoked() -> DiscountsEvent {
        DiscountsEvent::Revoked { discount: id("tenth") }
    }

    fn refused(wanted: Grant, rejection: DiscountsRejection) {
        given(vec![]).when(grant(wanted)).then_expect_error(rejection);
    }

    fn noon(date: &str) -> DateTime<Utc> {
        day(date).and_hms_opt(12, 0, 0).expect("noon").and_utc()
    }

    /// What these discounts save on a price of 40.00 for a VPS, by the winner.
    fn saving(grants: &[Grant]) -> Option<(DiscountId, Money)> {
        let best = best(grants, "vps", usd("40.00"), noon("2026-07-12"), Rounding::default());
        best.map(|applied| (applied.discount, applied.saving))
    }

    #[test]
    fn a_discount_is_granted_and_revoked() {
        given(vec![]).when(grant(tenth())).then_expect_events(vec![granted()]);
        given(vec![granted()]).when(revoke()).then_expect_events(vec![revoked()]);
    }

    #[test]
    fn a_discount_is_granted_once() {
        given(vec![granted()]).when(grant(tenth())).then_expect_error(DiscountsRejection::AlreadyGranted);
    }

    #[test]
    fn an_unknown_or_revoked_discount_is_not_revoked() {
        given(vec![]).when(revoke()).then_expect_error(DiscountsRejection::UnknownDiscount);
        given(vec![granted(), revoked()]).when(revoke()).then_expect_error(DiscountsRejection::UnknownDiscount);
    }

    #[test]
    fn a_discount_without_a_name_is_refused() {
        refused(Grant { name: " ".into(), ..tenth() }, DiscountsRejection::NameMissing);
    }

    #[test]
    fn a_discount_for_a_group_with_an_odd_name_is_refused() {
        let audience = Audience::Group("Re Sellers".into());
        refused(Grant { audience, ..tenth() }, DiscountsRejection::GroupMalformed);
    }

    #[test]
    fn a_discount_for_a_nameless_product_is_refused() {
        let scope = Scope::Product(String::new());
        refused(Grant { scope, ..tenth() }, DiscountsRejection::ProductMissing);
    }

    #[test]
    fn a_percentage_out_of_range_is_refused() {
        for percent in [dec!(0), dec!(-1), dec!(100.0001), dec!(0.00001)] {
            let value = Value::Percent(percent);
            refused(Grant { value, ..tenth() }, DiscountsRejection::PercentOutOfRange);
        }
    }

    #[test]
    fn an_amount_out_of_range_is_refused() {
        for value in [Value::AmountOff(usd("0.00")), Value::AmountOff(usd("-1")), Value::FixedPrice(usd("-0.01"))] {
            refused(Grant { value, ..tenth() }, DiscountsRejection::AmountOutOfRange);
        }
    }

    #[test]
    fn a_discount_that_ends_before_it_begins_is_refused() {
        let (valid_from, valid_until) = (Some(noon("2026-07-12")), Some(noon("2026-07-12")));
        refused(Grant { valid_from, valid_until, ..tenth() }, DiscountsRejection::ValidityEmpty);
    }

    #[test]
    fn a_discount_counts_from_its_first_moment_until_before_its_last() {
        let from = |date| Grant { valid_from: Some(noon(date)), ..tenth() };
        let until = |date| Grant { valid_until: Some(noon(date)), ..tenth() };
        assert_eq!(saving(&[from("2026-07-12")]), Some((id("tenth"), usd("4.00"))));
        assert_eq!(saving(&[from("2026-07-13")]), None);
        assert_eq!(saving(&[until("2026-07-13")]), Some((id("tenth"), usd("4.00"))));
        assert_eq!(saving(&[until("2026-07-12")]), None);
    }

    #[test]
    fn a_discount_saves_no_more_than_the_price_and_never_adds_to_it() {
        let worth = |value| saving(&[Grant { value, ..tenth() }]).map(|(_, saving)| saving);
        assert_eq!(worth(Value::AmountOff(usd("50.00"))), Some(usd("40.00")));
        assert_eq!(worth(Value::FixedPrice(usd("30.00"))), Some(usd("10.00")));
        assert_eq!(worth(Value::FixedPrice(usd("50.00"))), None);
        assert_eq!(worth(Value::FixedPrice(usd("0.00"))), Some(usd("40.00")));
        assert_eq!(worth(Value::AmountOff(yen("5"))), None);
    }

    #[test]
    fn one_discount_wins_by_priority_then_closeness_then_narrowness_then_size_then_age() {
        let named = |name: &str, change: fn(&mut Grant)| {
            let mut grant = Grant { discount: id(name), ..tenth() };
            change(&mut grant);
            grant
        };
        let ladder = [
            named("b-older", |_| {}),
            named("a-oldest", |_| {}),
            named("larger", |grant| grant.value = Value::Percent(dec!(20))),
            named("narrow", |grant| grant.scope = Scope::Product("vps".into())),
            named("group", |grant| grant.audience = Audience::Group("resellers".into())),
            named("person", |grant| grant.audience = Audience::Customer(id("ada"))),
            named("first", |grant| grant.priority = 1),
        ];
        for (last, winner) in ladder.iter().enumerate().skip(1) {
            assert_eq!(saving(&ladder[..=last]).map(|(discount, _)| discount), Some(winner.discount.clone()));
        }
        let elsewhere = named("elsewhere", |grant| grant.scope = Scope::Product("domain".into()));
        assert_eq!(saving(&[elsewhere]), None);
    }
}
