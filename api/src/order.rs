//! Orders over HTTP: placed at frozen prices, changed while open, and paid for all at once.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use daybook_core::{
    domain::order,
    operations::{
        AddOrderItem, DeleteOrder, Operation, PayOrder, PayOrderBy, PlaceOrder, RemoveOrderItem, RenameOrder,
    },
};
use daybook_projections::{
    Chosen, Sort,
    order::{OrderItemRow, OrderSummary},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    account::AccountQuery,
    app::App,
    customer::CustomerQuery,
    discount::AppliedDiscount,
    http::{
        address::Named,
        error::ApiError,
        listing::{Listing, One, Paging, Question},
        moment::AskedMoment,
        page::Page,
        shape::Expand,
        time::{AskedTime, Time},
        wire::{
            AccountRef, Amount, AskedText, CustomerRef, Label, Nothing, Number, OneOf, OrderRef, PayerRef, PaymentRef,
            Ref, Sentence, WordList, Words, text,
        },
        write::{Occasion, Writing, Written},
    },
    payment::PaymentQuery,
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    account: AccountRef,
    #[schema(example = "VPS for the shop")]
    description: Sentence,
    items: Vec<NewItem>,
    /// When it took effect; now, unless it is recorded later than it happened.
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewItem {
    #[schema(example = "vps")]
    product: Label,
    #[serde(default)]
    description: Sentence,
    #[serde(default = "one")]
    quantity: Number,
    /// May be finer than the currency.
    #[schema(example = "12.00")]
    unit_price: Number,
    /// The part of a period that is charged.
    part: Option<PartOfPeriod>,
    /// Per cent, on top of the price.
    #[serde(default)]
    #[schema(example = "19")]
    tax_rate: Number,
}

pub fn one() -> Number {
    Number(rust_decimal::Decimal::ONE)
}

/// Such as 20 of 31 days.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PartOfPeriod {
    days: u32,
    of: u32,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddedItem {
    item: NewItem,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDescription {
    description: Sentence,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderPayment {
    by: PaidBy,
    effective_at: Option<Time>,
    reason: Option<Sentence>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaidBy {
    /// The account is debited now.
    Balance,
    /// A payment is started, and the order waits for it.
    Payment(PaymentForOrder),
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PaymentForOrder {
    payer: Option<PayerRef>,
    #[schema(example = "card")]
    method: Label,
    /// What is missing, unless another amount is given.
    amount: Option<Amount>,
}

/// Places an order. Its prices, with the best of the customer's discounts, are frozen in it.
#[utoipa::path(post, path = "/v1/orders", request_body = NewOrder, responses((status = 201, body = OrderStanding)))]
pub async fn place(State(app): State<App>, Writing { body, request }: Writing<NewOrder>) -> Result<Written, ApiError> {
    let NewOrder { account: Ref(account), description, items, effective_at, reason } = body;
    let items = items.into_iter().map(Into::into).collect();
    let operation = Operation::PlaceOrder(PlaceOrder { account, description: description.into(), items });
    let named = [("account-not-found", "/account"), ("product-missing", "/items")];
    app.create("/v1/orders", request.command(operation, effective_at, reason)?, &named).await
}

/// Adds an item to an open order.
#[utoipa::path(post, path = "/v1/orders/{id}/items", request_body = AddedItem, responses((status = 201, body = OrderStanding)))]
pub async fn add_item(
    State(app): State<App>,
    Named(Ref(order)): Named<OrderRef>,
    Writing { body, request }: Writing<AddedItem>,
) -> Result<Written, ApiError> {
    let AddedItem { item, effective_at, reason } = body;
    let operation = Operation::AddOrderItem(AddOrderItem { order, item: item.into() });
    let named =
        [("product-missing", "/item/product"), ("item-out-of-range", "/item"), ("part-out-of-range", "/item/part")];
    app.make(request.command(operation, effective_at, reason)?, &named).await
}

/// Removes an item from an open order.
#[utoipa::path(delete, path = "/v1/orders/{id}/items/{number}", responses((status = 200, body = OrderStanding)))]
pub async fn remove_item(
    State(app): State<App>,
    Named(named): Named<(OrderRef, u32)>,
    Writing { request, .. }: Writing<Nothing>,
) -> Result<Written, ApiError> {
    let (Ref(order), number) = named;
    let operation = Operation::RemoveOrderItem(RemoveOrderItem { order, number });
    app.change(request.command(operation, None, None)?, &[]).await
}

/// Gives an order another description.
#[utoipa::path(post, path = "/v1/orders/{id}/rename", request_body = NewDescription, responses((status = 200, body = OrderStanding)))]
pub async fn rename(
    State(app): State<App>,
    Named(Ref(order)): Named<OrderRef>,
    Writing { body, request }: Writing<NewDescription>,
) -> Result<Written, ApiError> {
    let NewDescription { description, effective_at, reason } = body;
    let operation = Operation::RenameOrder(RenameOrder { order, description: description.into() });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

/// Deletes an open order. Its history stays.
#[utoipa::path(post, path = "/v1/orders/{id}/delete", request_body = Occasion, responses((status = 200, body = OrderStanding)))]
pub async fn delete(
    State(app): State<App>,
    Named(Ref(order)): Named<OrderRef>,
    Writing { body, request }: Writing<Occasion>,
) -> Result<Written, ApiError> {
    let Occasion { effective_at, reason } = body;
    let operation = Operation::DeleteOrder(DeleteOrder { order });
    app.change(request.command(operation, effective_at, reason)?, &[]).await
}

/// Pays for an order: from the balance at once, or by a payment that it then waits for.
#[utoipa::path(post, path = "/v1/orders/{id}/pay", request_body = OrderPayment, responses((status = 200, body = OrderStanding)))]
pub async fn pay(
    State(app): State<App>,
    Named(Ref(order)): Named<OrderRef>,
    Writing { body, request }: Writing<OrderPayment>,
) -> Result<Written, ApiError> {
    let OrderPayment { by, effective_at, reason } = body;
    let operation = Operation::PayOrder(PayOrder { order, by: by.into() });
    let named = [
        ("amount-not-positive", "/by/payment/amount"),
        ("currency-mismatch", "/by/payment/amount"),
        ("foreign-payer", "/by/payment/payer"),
        ("method-missing", "/by/payment/method"),
        ("payer-not-found", "/by/payment/payer"),
    ];
    app.change(request.command(operation, effective_at, reason)?, &named).await
}

impl From<NewItem> for order::ItemRequest {
    fn from(item: NewItem) -> Self {
        let NewItem { product: Words(product), description: Words(description), quantity, unit_price, part, tax_rate } =
            item;
        let description = if description.trim().is_empty() { product.clone() } else { description };
        let part = part.map(|PartOfPeriod { days, of }| order::PartOfPeriod { days, of });
        Self { product, description, quantity: quantity.0, unit_price: unit_price.0, part, tax_rate: tax_rate.0 }
    }
}

impl From<PaidBy> for PayOrderBy {
    fn from(by: PaidBy) -> Self {
        match by {
            PaidBy::Balance => Self::Balance,
            PaidBy::Payment(PaymentForOrder { payer, method, amount }) => Self::Payment {
                payer: payer.map(|payer| payer.0),
                method: method.into(),
                amount: amount.map(|amount| amount.0),
            },
        }
    }
}

/// How an order stands after a command.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
pub struct OrderStanding {
    id: OrderRef,
    #[schema(value_type = OrderStatus)]
    status: String,
    total: Amount,
    /// What is missing on the account before the order can be paid from the balance.
    missing: Amount,
    items: Vec<QuotedItem>,
    /// The payment that was started, if one was.
    payment: Option<StartedPayment>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
struct QuotedItem {
    number: u32,
    /// Before the discount.
    list: Amount,
    #[schema(inline = false)]
    discount: Option<AppliedDiscount>,
    total: Amount,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "the writer stores the answer as JSON; this describes it")]
struct StartedPayment {
    id: PaymentRef,
    amount: Amount,
}

/// How an order stands.
pub type OrderStatus = OneOf<order::Status>;

impl WordList for order::Status {
    const NAME: &'static str = "OrderStatus";
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OrderQuery {
    customer: Option<CustomerRef>,
    account: Option<AccountRef>,
    #[param(inline)]
    status: Option<OrderStatus>,
    /// What the description contains, in upper or lower case.
    #[param(inline)]
    description: Option<AskedText>,
    /// Placed at this moment or later.
    #[param(inline)]
    from: Option<AskedTime>,
    /// Placed before this moment.
    #[param(inline)]
    to: Option<AskedTime>,
}

impl Question for OrderQuery {
    type Row = OrderSummary;
    type Shown = OrderShown;

    const SORTS: &'static [Sort] = &[
        Sort::text("description"),
        Sort::text("status"),
        Sort::money("total"),
        Sort::moment("placed_at"),
        Sort::moment("processed_at").nullable(),
    ];
    const UNINDEXED: &'static [&'static str] = &["status", "description", "from", "to"];
    const EXPANDS: &'static [Expand] = &[
        Expand::to::<CustomerQuery>("customer"),
        Expand::to::<AccountQuery>("account"),
        Expand::to::<PaymentQuery>("payment"),
    ];

    fn chosen(self) -> Result<Chosen, ApiError> {
        let Self { customer, account, status, description, from, to } = self;
        Ok(Chosen::default()
            .lasting("customer_id", customer.map(text))
            .lasting("account_id", account.map(text))
            .now("status", status.map(String::from))
            .containing("description", description.map(String::from))
            .lasting_within("placed_at", from.map(|from| from.0), to.map(|to| to.0)))
    }
}

/// An order.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderShown {
    id: String,
    customer: String,
    account: String,
    description: String,
    #[schema(value_type = OrderStatus)]
    status: &'static str,
    total: Amount,
    /// What discounts took off.
    saving: Amount,
    /// The payment it waits for, or the one that paid for it.
    payment: Option<String>,
    placed_at: DateTime<Utc>,
    processed_at: Option<DateTime<Utc>>,
    /// Of the event that placed it.
    position: i64,
    /// How many items it has.
    item_count: i64,
    /// In a listing they are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<ItemShown>>,
}

/// An item of an order at its frozen price.
#[derive(Debug, Serialize, ToSchema)]
pub struct ItemShown {
    number: i32,
    product: String,
    description: String,
    quantity: Number,
    unit_price: Number,
    #[schema(inline = false)]
    part: Option<PartOfPeriod>,
    /// Before the discount.
    list: Amount,
    discount: Option<String>,
    discount_name: Option<String>,
    saving: Amount,
    net: Amount,
    tax_rate: Number,
    tax: Amount,
    total: Amount,
    /// Once the order is processed.
    expense: Option<String>,
    service: Option<String>,
}

impl From<OrderSummary> for OrderShown {
    fn from(OrderSummary { order, total, saving, items }: OrderSummary) -> Self {
        Self {
            total: Amount::of(total, &order.currency),
            saving: Amount::of(saving, &order.currency),
            id: order.id,
            customer: order.customer_id,
            account: order.account_id,
            description: order.description,
            status: order.status.as_str(),
            payment: order.payment_id,
            placed_at: order.placed_at,
            processed_at: order.processed_at,
            position: order.position,
            item_count: items,
            items: None,
        }
    }
}

impl ItemShown {
    fn of(row: OrderItemRow, currency: &str) -> Self {
        let money = |amount| Amount::of(amount, currency);
        let part = row.part_days.zip(row.part_of);
        Self {
            number: row.number,
            product: row.product,
            description: row.description,
            quantity: Number(row.quantity),
            unit_price: Number(row.unit_price),
            part: part.map(|(days, of)| PartOfPeriod { days: days.unsigned_abs(), of: of.unsigned_abs() }),
            list: money(row.list),
            discount: row.discount_id,
            discount_name: row.discount_name,
            saving: money(row.saving),
            net: money(row.net),
            tax_rate: Number(row.tax_rate),
            tax: money(row.tax),
            total: money(row.total),
            expense: row.expense_id,
            service: row.service_id,
        }
    }
}

/// Orders, the newest first.
#[utoipa::path(get, path = "/v1/orders", params(OrderQuery, Paging, AskedMoment), responses((status = 200, body = Page<OrderShown>)))]
pub async fn list(State(app): State<App>, asked: Listing<OrderQuery>) -> Result<Response, ApiError> {
    app.list(asked).await
}

/// One order with its items.
#[utoipa::path(get, path = "/v1/orders/{id}", params(AskedMoment), responses((status = 200, body = OrderShown)))]
pub async fn show(
    State(app): State<App>,
    Named(Ref(id)): Named<OrderRef>,
    asked: One<OrderQuery>,
) -> Result<Response, ApiError> {
    let (mut rows, found) = app.one::<OrderSummary>(id.as_str(), asked.asking.clone()).await?;
    let currency = found.order.currency.clone();
    let items = rows.belonging::<OrderItemRow>(id.as_str()).await?;
    let items = items.into_iter().map(|item| ItemShown::of(item, &currency)).collect();
    app.show(asked, rows, OrderShown { items: Some(items), ..found.into() }).await
}
