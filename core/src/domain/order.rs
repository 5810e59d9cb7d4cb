//! An order: items at frozen prices that wait to be paid for, and are then processed all at once.

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use imbl::OrdMap;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use super::{
    AccountId, Currency, CustomerId, ExpenseId, Id, LedgerAggregate, LedgerEvent, Mentions, Money, Noun, Owner,
    PaymentId, ServiceId,
    discount::AppliedDiscount,
    function::Function,
    invoice::{exact_amount, is_tax_rate},
    posting::JournalEntry,
    version::written_version,
};
use crate::terms::{
    refusal::{PRODUCT_MISSING, absent, conflict, invalid, refusals},
    rule::Rule,
    tax::{RoundingPolicy, TaxedLine},
};

pub type OrderId = Id<Order>;

/// The part of a period that is charged, such as 20 of 31 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartOfPeriod {
    pub days: u32,
    pub of: u32,
}

/// What is ordered, before discounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemRequest {
    pub product: String,
    pub description: String,
    pub quantity: Decimal,
    /// May be finer than the currency.
    pub unit_price: Decimal,
    pub part: Option<PartOfPeriod>,
    /// Per cent, on top of the price.
    pub tax_rate: Decimal,
}

/// An item of an order with its quote: the price that it will cost, whatever becomes of the price list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderItem {
    /// From 1, never reused within the order.
    pub number: u32,
    pub product: String,
    pub description: String,
    pub quantity: Decimal,
    pub unit_price: Decimal,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartOfPeriod>,
    /// The price before the discount.
    pub list: Money,
    /// The discount that won, if any applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discount: Option<AppliedDiscount>,
    pub net: Money,
    pub tax_rate: Decimal,
    pub tax: Money,
    pub total: Money,
}

/// An order as it was placed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Placement {
    pub customer: CustomerId,
    pub account: AccountId,
    pub currency: Currency,
    pub description: String,
    pub items: Vec<OrderItem>,
}

#[derive(Clone, Debug)]
pub enum OrderCommand {
    Place(Placement),
    AddItem {
        item: Box<OrderItem>,
    },
    RemoveItem {
        number: u32,
    },
    Rename {
        description: String,
    },
    /// A payment for the order is under way.
    AwaitPayment {
        payment: PaymentId,
    },
    /// The payment ended without paying for it.
    StopAwaiting {
        payment: PaymentId,
    },
    Process {
        results: Vec<ItemResult>,
        payment: Option<PaymentId>,
    },
    Delete,
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ItemResult {
    pub number: u32,
    pub expense: ExpenseId,
    pub service: ServiceId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderEvent {
    Placed(Placement),
    ItemAdded {
        item: Box<OrderItem>,
    },
    ItemRemoved {
        number: u32,
    },
    Renamed {
        description: String,
    },
    PaymentAwaited {
        payment: PaymentId,
    },
    PaymentMissed {
        payment: PaymentId,
    },
    Processed {
        total: Money,
        results: Vec<ItemResult>,
        /// The payment that paid for it; absent when the balance did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payment: Option<PaymentId>,
    },
    Deleted {},
}

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum OrderRejection {
        #[error("the order already exists")]
        AlreadyPlaced = conflict("order-exists", "The order already exists"),
        #[error("there is no such order")]
        NotPlaced = absent("order-not-found", "There is no such order"),
        #[error("an order needs at least one item")]
        NoItems at "/items" = invalid("no-items", "An order needs at least one item"),
        #[error("an item needs a product")]
        ProductMissing = PRODUCT_MISSING,
        #[error(
            "item {item} needs a quantity above zero with at most 6 decimals, a price of at least zero with at most 8, a tax rate with at most 4, and an amount below 10^15 (below 10^13 where it has more than 12 decimals)"
        )]
        ItemOutOfRange { item: u32 } at "/items"[item] =
            invalid("item-out-of-range", "A quantity, price or tax rate of an item is out of range"),
        #[error("a part of a period has fewer days than the period, and at least one")]
        PartOutOfRange { item: u32 } at "/items"[item]"/part" =
            invalid("part-out-of-range", "A part of a period has fewer days than the period, and at least one"),
        #[error("the order has no item {item}")]
        UnknownItem { item: u32 } = absent("order-item-not-found", "The order has no such item"),
        #[error("the only item of an order cannot be removed: delete the order")]
        LastItem = conflict("last-item", "The only item of an order cannot be removed: delete the order"),
        #[error("an order needs a description")]
        DescriptionMissing at "/description" = invalid("description-missing", "A description is needed"),
        #[error("a payment for the order is under way")]
        Locked = conflict("order-locked", "A payment for the order is under way"),
        #[error("the order does not wait for that payment")]
        NotAwaited = conflict("payment-not-awaited", "The order does not wait for that payment"),
        #[error("the order is processed")]
        AlreadyProcessed = conflict("order-processed", "The order is processed"),
        #[error("the order is deleted")]
        Deleted = conflict("order-deleted", "The order is deleted"),
    }
}

/// How an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    Open,
    InProgress,
    Processed,
    Deleted,
}

/// How an order stands, and what it waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Open,
    /// A payment for it is under way.
    InProgress(PaymentId),
    Processed,
    Deleted,
}

/// What a placed order knows of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    pub customer: CustomerId,
    pub account: AccountId,
    pub currency: Currency,
    pub description: String,
    pub items: OrdMap<u32, OrderItem>,
    pub last_item: u32,
    pub stage: Stage,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    #[default]
    Unknown,
    Placed(Box<Placed>),
}

impl Noun for Order {
    const PREFIX: &'static str = "ord";
}

impl LedgerAggregate for Order {
    const FOLD_VERSION: i32 = 1;
    const READ_BY: Function = Function::OrdersRead;

    fn owner(&self) -> Owner<'_> {
        match self {
            Self::Unknown => Owner::Everybody,
            Self::Placed(placed) => Owner::Customer(&placed.customer),
        }
    }
}

impl Order {
    /// The order, if it has been placed.
    pub fn placed(&self) -> Result<&Placed, OrderRejection> {
        match self {
            Self::Unknown => Err(OrderRejection::NotPlaced),
            Self::Placed(placed) => Ok(placed),
        }
    }
}

impl Stage {
    /// The stage that an event leads to; `None` where the order stays where it is.
    pub fn after(event: &OrderEvent) -> Option<Self> {
        match event {
            OrderEvent::PaymentMissed { .. } => Some(Self::Open),
            OrderEvent::PaymentAwaited { payment } => Some(Self::InProgress(payment.clone())),
            OrderEvent::Processed { .. } => Some(Self::Processed),
            OrderEvent::Deleted {} => Some(Self::Deleted),
            OrderEvent::Placed(_)
            | OrderEvent::ItemAdded { .. }
            | OrderEvent::ItemRemoved { .. }
            | OrderEvent::Renamed { .. } => None,
        }
    }

    pub fn status(&self) -> Status {
        match self {
            Self::Open => Status::Open,
            Self::InProgress(_) => Status::InProgress,
            Self::Processed => Status::Processed,
            Self::Deleted => Status::Deleted,
        }
    }
}

impl ItemRequest {
    /// The price before any discount: quantity times unit price, or that part of it, rounded once.
    pub fn list(&self, item: u32, currency: Currency, policy: RoundingPolicy) -> Result<Money, OrderRejection> {
        if self.product.trim().is_empty() {
            return Err(OrderRejection::ProductMissing);
        }
        let out_of_range = OrderRejection::ItemOutOfRange { item };
        if !is_tax_rate(self.tax_rate) || self.quantity <= Decimal::ZERO || self.unit_price < Decimal::ZERO {
            return Err(out_of_range);
        }
        let mut exact = exact_amount(self.quantity, self.unit_price).ok_or(out_of_range.clone())?;
        if let Some(PartOfPeriod { days, of }) = self.part {
            if days == 0 || days > of {
                return Err(OrderRejection::PartOutOfRange { item });
            }
            exact = exact.checked_mul(days.into()).ok_or(out_of_range.clone())? / Decimal::from(of);
        }
        Ok(Money::round(exact, currency, policy.rounding))
    }

    /// The quote: list price, less the discount, plus tax.
    pub fn quote(
        self,
        number: u32,
        list: Money,
        discount: Option<AppliedDiscount>,
        policy: RoundingPolicy,
    ) -> Result<OrderItem, OrderRejection> {
        let currency = list.currency();
        let saving = discount.as_ref().map_or(Decimal::ZERO, |discount| discount.saving.amount());
        let net = Money::round((list.amount() - saving).max(Decimal::ZERO), currency, policy.rounding);
        let totals = policy.totals(&[TaxedLine { amount: net.amount(), rate: self.tax_rate }], currency);
        for amount in [list, totals.tax, totals.total] {
            Money::new(amount.amount(), currency).map_err(|_| OrderRejection::ItemOutOfRange { item: number })?;
        }
        Ok(OrderItem {
            number,
            product: self.product,
            description: self.description,
            quantity: self.quantity,
            unit_price: self.unit_price,
            part: self.part,
            list,
            discount,
            net,
            tax_rate: self.tax_rate,
            tax: totals.tax,
            total: totals.total,
        })
    }
}

/// The sum of these items can be recorded; `item` is the one to blame if it cannot.
fn sum_in_range<'a>(
    items: impl IntoIterator<Item = &'a OrderItem>,
    currency: Currency,
    item: u32,
) -> Result<(), OrderRejection> {
    let sum = items.into_iter().map(|item| item.total.amount()).sum();
    Money::new(sum, currency).map(drop).map_err(|_| OrderRejection::ItemOutOfRange { item })
}

impl Placement {
    fn check(&self) -> Result<(), OrderRejection> {
        if self.items.is_empty() {
            return Err(OrderRejection::NoItems);
        }
        if self.description.trim().is_empty() {
            return Err(OrderRejection::DescriptionMissing);
        }
        sum_in_range(&self.items, self.currency, self.items.len() as u32)
    }
}

impl Placed {
    pub fn total(&self) -> Money {
        let sum = self.items.values().map(|item| item.total.amount()).sum();
        Money::round(sum, self.currency, super::Rounding::default())
    }

    fn open(&self) -> Result<(), OrderRejection> {
        match self.stage {
            Stage::Open => Ok(()),
            Stage::InProgress(_) => Err(OrderRejection::Locked),
            Stage::Processed => Err(OrderRejection::AlreadyProcessed),
            Stage::Deleted => Err(OrderRejection::Deleted),
        }
    }

    fn decide(&self, command: OrderCommand) -> Result<OrderEvent, OrderRejection> {
        use OrderCommand as C;
        use OrderEvent as E;
        use OrderRejection as R;

        match command {
            C::Place(_) => Err(R::AlreadyPlaced),
            C::AddItem { mut item } => {
                self.open()?;
                item.number = self.last_item + 1;
                sum_in_range(self.items.values().chain([&*item]), self.currency, item.number)?;
                Ok(E::ItemAdded { item })
            }
            C::RemoveItem { number } => {
                self.open()?;
                if !self.items.contains_key(&number) {
                    return Err(R::UnknownItem { item: number });
                }
                if self.items.len() == 1 { Err(R::LastItem) } else { Ok(E::ItemRemoved { number }) }
            }
            C::Rename { .. } if self.stage == Stage::Deleted => Err(R::Deleted),
            C::Rename { description } if description.trim().is_empty() => Err(R::DescriptionMissing),
            C::Rename { description } => Ok(E::Renamed { description }),
            C::AwaitPayment { payment } => {
                self.open()?;
                Ok(E::PaymentAwaited { payment })
            }
            C::StopAwaiting { payment } if self.stage == Stage::InProgress(payment.clone()) => {
                Ok(E::PaymentMissed { payment })
            }
            C::StopAwaiting { .. } => Err(R::NotAwaited),
            C::Process { results, payment } => {
                match &self.stage {
                    Stage::InProgress(awaited) if Some(awaited) == payment.as_ref() => {}
                    _ => self.open()?,
                }
                Ok(E::Processed { total: self.total(), results, payment })
            }
            C::Delete => {
                self.open()?;
                Ok(E::Deleted {})
            }
        }
    }

    fn record(&mut self, event: OrderEvent) {
        if let Some(stage) = Stage::after(&event) {
            self.stage = stage;
        }
        match event {
            OrderEvent::ItemAdded { item } => {
                self.last_item = item.number;
                self.items.insert(item.number, *item);
            }
            OrderEvent::ItemRemoved { number } => {
                self.items.remove(&number);
            }
            OrderEvent::Renamed { description } => self.description = description,
            OrderEvent::Placed(_)
            | OrderEvent::PaymentAwaited { .. }
            | OrderEvent::PaymentMissed { .. }
            | OrderEvent::Processed { .. }
            | OrderEvent::Deleted {} => {}
        }
    }
}

impl Aggregate for Order {
    const TYPE: &'static str = "order";
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Error = OrderRejection;
    type Services = ();

    async fn handle(&mut self, command: OrderCommand, (): &(), sink: &EventSink<Self>) -> Result<(), OrderRejection> {
        let event = match (&*self, command) {
            (Self::Unknown, OrderCommand::Place(placement)) => {
                placement.check()?;
                OrderEvent::Placed(placement)
            }
            (Self::Unknown, _) => return Err(OrderRejection::NotPlaced),
            (Self::Placed(placed), command) => placed.decide(command)?,
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: OrderEvent) {
        match (&mut *self, event) {
            (Self::Unknown, OrderEvent::Placed(Placement { customer, account, currency, description, items })) => {
                let last_item = items.iter().map(|item| item.number).max().unwrap_or(0);
                let items = items.into_iter().map(|item| (item.number, item)).collect();
                let stage = Stage::Open;
                *self = Self::Placed(Box::new(Placed {
                    customer,
                    account,
                    currency,
                    description,
                    items,
                    last_item,
                    stage,
                }));
            }
            // Nothing can happen to an order before it is placed.
            (Self::Unknown, _) => {}
            (Self::Placed(placed), event) => placed.record(event),
        }
    }
}

impl DomainEvent for OrderEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Placed(_) => "order.placed",
            Self::ItemAdded { .. } => "order.item_added",
            Self::ItemRemoved { .. } => "order.item_removed",
            Self::Renamed { .. } => "order.renamed",
            Self::PaymentAwaited { .. } => "order.payment_awaited",
            Self::PaymentMissed { .. } => "order.payment_missed",
            Self::Processed { .. } => "order.processed",
            Self::Deleted {} => "order.deleted",
        }
        .into()
    }

    fn event_version(&self) -> String {
        written_version(self)
    }
}

impl LedgerEvent for OrderEvent {
    type Aggregate = Order;

    const VERSIONS: &'static [(&'static str, &'static str)] = &[
        ("order.deleted", "1.0"),
        ("order.item_added", "1.0"),
        ("order.item_removed", "1.0"),
        ("order.payment_awaited", "1.0"),
        ("order.payment_missed", "1.0"),
        ("order.placed", "1.0"),
        ("order.processed", "1.0"),
        ("order.renamed", "1.0"),
    ];

    fn postings(&self) -> JournalEntry {
        Vec::new()
    }

    fn rule(&self) -> Option<Rule> {
        None
    }

    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        match self {
            Self::Placed(Placement { customer, account, items, .. }) => {
                mentions.add(customer);
                mentions.add(account);
                items.iter().for_each(|item| mention_item(item, mentions));
            }
            Self::ItemAdded { item } => mention_item(item, mentions),
            Self::PaymentAwaited { payment } | Self::PaymentMissed { payment } => mentions.add(payment),
            Self::Processed { results, payment, .. } => {
                mentions.add_all(payment);
                for ItemResult { expense, service, .. } in results {
                    mentions.add(expense);
                    mentions.add(service);
                }
            }
            Self::ItemRemoved { .. } | Self::Renamed { .. } | Self::Deleted {} => {}
        }
    }
}

fn mention_item<'a>(item: &'a OrderItem, mentions: &mut Mentions<'a>) {
    mentions.add_all(item.discount.iter().map(|applied| &applied.discount));
}

#[cfg(test)]
mod tests;
