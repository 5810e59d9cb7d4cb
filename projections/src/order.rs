//! Orders with their items: what was quoted, what became of it, and which payment paid for it.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{
        Event, Noun, Order, OrderEvent,
        order::{ItemResult, OrderItem, Placement, Stage, Status},
    },
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use crate::{
    engine::{Changes, FoldError, Follows, Owner, Projection, Row, Shown, Source, Table, place},
    listing::Listed,
    word::Word,
};

#[derive(Debug)]
pub enum Orders {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct OrderRow {
    pub id: String,
    pub customer_id: String,
    pub account_id: String,
    pub currency: String,
    pub description: String,
    pub status: Word<Status>,
    /// The payment it waits for, or the one that paid for it.
    pub payment_id: Option<String>,
    pub placed_at: DateTime<Utc>,
    pub processed_at: Option<DateTime<Utc>>,
    /// Of the event that placed it; listings go by it.
    pub position: i64,
    /// Of the last event that changed it.
    pub changed_position: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct OrderItemRow {
    pub order_id: String,
    /// From 1.
    pub number: i32,
    pub product: String,
    pub description: String,
    pub quantity: Decimal,
    pub unit_price: Decimal,
    /// The part of a period that is charged, such as 20 of 31 days.
    pub part_days: Option<i32>,
    pub part_of: Option<i32>,
    /// Before the discount.
    pub list: Decimal,
    pub discount_id: Option<String>,
    pub discount_name: Option<String>,
    pub saving: Decimal,
    pub net: Decimal,
    pub tax_rate: Decimal,
    pub tax: Decimal,
    pub total: Decimal,
    /// Once the order is processed.
    pub expense_id: Option<String>,
    pub service_id: Option<String>,
}

impl Row for OrderRow {
    type Key = String;
    const TABLE: &'static str = "orders";
    const KEY: &'static [&'static str] = &["id"];
    const PREFIX: Option<&'static str> = Some(Order::PREFIX);
    const OWNER: Owner = Owner::Customer("customer_id");
    const SHOWN: Shown = Shown::NEWEST_FIRST;

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Order::TYPE, &self.id)]
    }
}

impl Row for OrderItemRow {
    type Key = (String, i32);
    const TABLE: &'static str = "order_items";
    const KEY: &'static [&'static str] = &["order_id", "number"];
    const OWNER: Owner = Owner::parent::<OrderRow>("order_id");

    fn key(&self) -> Self::Key {
        (self.order_id.clone(), self.number)
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Order::TYPE, &self.order_id)]
    }
}

impl Projection for Orders {
    const NAME: &'static str = "orders";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[Order::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<OrderRow>(), Table::of::<OrderItemRow>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        let Event::Order(order_event) = &event.event else { return Ok(()) };
        let (id, at) = (&event.aggregate_id, event.occurred_at());
        let stage = Stage::after(order_event);
        match order_event.clone() {
            OrderEvent::Placed(Placement { customer, account, currency, description, items }) => {
                changes.insert(OrderRow {
                    id: id.clone(),
                    customer_id: customer.as_str().into(),
                    account_id: account.as_str().into(),
                    currency: currency.code().into(),
                    description,
                    status: Word(Status::Open),
                    payment_id: None,
                    placed_at: at,
                    processed_at: None,
                    position: place(event),
                    changed_position: place(event),
                });
                items.into_iter().for_each(|item| changes.insert(item_row(id, item)));
            }
            OrderEvent::ItemAdded { item } => {
                changes.insert(item_row(id, *item));
                change(event, &stage, changes, |_| {});
            }
            OrderEvent::ItemRemoved { number } => {
                changes.delete::<OrderItemRow>((id.clone(), number as i32));
                change(event, &stage, changes, |_| {});
            }
            OrderEvent::Renamed { description } => change(event, &stage, changes, |row| row.description = description),
            OrderEvent::PaymentAwaited { payment } => change(event, &stage, changes, move |row| {
                row.payment_id = Some(payment.to_string());
            }),
            OrderEvent::PaymentMissed { .. } => change(event, &stage, changes, |row| row.payment_id = None),
            OrderEvent::Processed { results, payment, .. } => {
                change(event, &stage, changes, move |row| {
                    row.payment_id = payment.map(|payment| payment.to_string());
                    row.processed_at = Some(at);
                });
                for ItemResult { number, expense, service } in results {
                    changes.update((id.clone(), number as i32), move |row: &mut OrderItemRow| {
                        row.expense_id = Some(expense.to_string());
                        row.service_id = Some(service.to_string());
                    });
                }
            }
            OrderEvent::Deleted {} => change(event, &stage, changes, |_| {}),
        }
        Ok(())
    }
}

fn change(
    event: &RecordedEvent,
    stage: &Option<Stage>,
    changes: &mut Changes,
    change: impl FnOnce(&mut OrderRow) + Send + 'static,
) {
    let (status, position) = (stage.as_ref().map(Stage::status), place(event));
    changes.update(event.aggregate_id.clone(), move |row: &mut OrderRow| {
        if let Some(status) = status {
            row.status = Word(status);
        }
        row.changed_position = position;
        change(row);
    });
}

fn item_row(order_id: &str, item: OrderItem) -> OrderItemRow {
    OrderItemRow {
        order_id: order_id.into(),
        number: item.number as i32,
        product: item.product,
        description: item.description,
        quantity: item.quantity,
        unit_price: item.unit_price,
        part_days: item.part.map(|part| part.days as i32),
        part_of: item.part.map(|part| part.of as i32),
        list: item.list.amount(),
        discount_id: item.discount.as_ref().map(|applied| applied.discount.to_string()),
        saving: item.discount.as_ref().map_or(Decimal::ZERO, |applied| applied.saving.amount()),
        discount_name: item.discount.map(|applied| applied.name),
        net: item.net.amount(),
        tax_rate: item.tax_rate,
        tax: item.tax.amount(),
        total: item.total.amount(),
        expense_id: None,
        service_id: None,
    }
}

/// An order as it is listed, with the sums of its items.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct OrderSummary {
    #[sqlx(flatten)]
    pub order: OrderRow,
    pub total: Decimal,
    pub saving: Decimal,
    pub items: i64,
}

impl Listed for OrderSummary {
    type Of = OrderRow;
    const PROJECTION: &'static str = Orders::NAME;
    const NOUN: &'static str = "order";
    const NOT_FOUND: &'static str = "order-not-found";
    const BESIDES: &'static str = ", sums.total, sums.saving, sums.items";
    const JOINED: &'static str = "cross join lateral (
            select coalesce(sum(total), 0) as total, coalesce(sum(saving), 0) as saving, count(*) as items
            from order_items where order_id = orders.id
        ) sums";

    fn position(&self) -> i64 {
        self.order.position
    }
}
