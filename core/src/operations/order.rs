//! Orders: placing them at the best price the customer has, and paying for them all at once.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Answer, OperationRejection, Refusal, allocation, answer, today};
use crate::{
    domain::{
        AccountId, Expense, Money, Order, OrderId, PayerId, Payment, PaymentId, Service,
        account::{AccountCommand, AccountRejection, Charge, ChargeOrigin, Entry, Overdraft, RevenueShare},
        discount::{Audience, Grant, best},
        expense::{Amounts, ExpenseCommand, Recorded},
        order::{ItemRequest, ItemResult, OrderCommand, OrderItem, Placement, Stage},
        payment::{PaymentCommand, PaymentRequest, Purpose},
        service::{Activation, ServiceCommand},
    },
    state::UnitOfWork,
    terms::tax::RoundingPolicy,
};

#[derive(Clone, Debug)]
pub struct PlaceOrder {
    pub account: AccountId,
    pub description: String,
    pub items: Vec<ItemRequest>,
}

#[derive(Clone, Debug)]
pub struct AddOrderItem {
    pub order: OrderId,
    pub item: ItemRequest,
}

#[derive(Clone, Debug)]
pub struct RemoveOrderItem {
    pub order: OrderId,
    /// From 1.
    pub number: u32,
}

#[derive(Clone, Debug)]
pub struct RenameOrder {
    pub order: OrderId,
    pub description: String,
}

#[derive(Clone, Debug)]
pub struct DeleteOrder {
    pub order: OrderId,
}

#[derive(Clone, Debug)]
pub struct PayOrder {
    pub order: OrderId,
    pub by: PayOrderBy,
}

#[derive(Clone, Debug)]
pub enum PayOrderBy {
    /// The account is debited now.
    Balance,
    /// A payment is started, and the order waits for it. Its amount is what is missing, unless another is given.
    Payment { payer: Option<PayerId>, method: String, amount: Option<Money> },
}

impl PlaceOrder {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let ledger = books.get(&self.account).ledger()?;
        let (customer, currency) = (ledger.customer.clone(), ledger.currency());
        let order = books.new_id::<Order>();
        let mut items = Vec::with_capacity(self.items.len());
        for (request, number) in self.items.iter().zip(1..) {
            items.push(quote(books, &self.account, request, number)?);
        }
        let (account, description) = (self.account.clone(), self.description.clone());
        books.execute(&order, OrderCommand::Place(Placement { customer, account, currency, description, items }))?;
        standing(books, &order)
    }
}

impl AddOrderItem {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let placed = books.get(&self.order).placed()?;
        let (account, number) = (placed.account.clone(), placed.last_item + 1);
        let item = quote(books, &account, &self.item, number)?;
        books.execute(&self.order, OrderCommand::AddItem { item: Box::new(item) })?;
        standing(books, &self.order)
    }
}

impl RemoveOrderItem {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        books.execute(&self.order, OrderCommand::RemoveItem { number: self.number })?;
        standing(books, &self.order)
    }
}

impl RenameOrder {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        books.execute(&self.order, OrderCommand::Rename { description: self.description.clone() })?;
        standing(books, &self.order)
    }
}

impl DeleteOrder {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        books.execute(&self.order, OrderCommand::Delete)?;
        standing(books, &self.order)
    }
}

impl PayOrder {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let placed = books.get(&self.order).placed()?;
        let (account, total) = (placed.account.clone(), placed.total());
        match &self.by {
            PayOrderBy::Balance => {
                process(books, &self.order, None)?;
                allocation::settle_invoices(books)?;
                standing(books, &self.order)
            }
            PayOrderBy::Payment { payer, method, amount } => {
                let ledger = books.get(&account).ledger()?;
                let (customer, missing) = (ledger.customer.clone(), ledger.missing(total));
                if let Some(payer) = payer {
                    books.get(payer).snapshot(payer, &customer)?;
                }
                // What the balance would cover already is still charged to the payment method if nothing is missing.
                let amount = amount.unwrap_or(if missing.is_zero() { total } else { missing });
                // A debt near the limit of amounts, and the order on top of it, can be more than a payment can be.
                Money::new(amount.amount(), amount.currency()).map_err(|_| AccountRejection::BalanceOutOfRange)?;
                let payment = books.new_id::<Payment>();
                let request = PaymentRequest {
                    account: account.clone(),
                    payer: payer.clone(),
                    method: method.clone(),
                    amount,
                    purpose: Purpose::Order(self.order.clone()),
                };
                books.get(&account).ledger()?.same_currency(amount)?;
                books.execute(&payment, PaymentCommand::Start(request))?;
                books.execute(&self.order, OrderCommand::AwaitPayment { payment: payment.clone() })?;
                let mut fields = standing(books, &self.order)?;
                fields["payment"] = answer(json!({ "id": payment, "amount": amount }));
                Ok(fields)
            }
        }
    }
}

/// What a payment does for the order it is meant for: processes it if the account now suffices, else lets it go.
pub(super) fn serve(
    books: &mut UnitOfWork<'_>,
    order: &OrderId,
    payment: &PaymentId,
    funds: Entry,
) -> Result<(), Refusal> {
    let placed = books.get(order).placed()?;
    let (account, total, stage) = (placed.account.clone(), placed.total(), placed.stage.clone());
    let awaited = stage == Stage::InProgress(payment.clone());
    if !awaited && stage != Stage::Open {
        return Ok(());
    }
    if books.get(&account).ledger()?.missing(total).is_positive() {
        return if awaited { release(books, order, payment) } else { Ok(()) };
    }
    process(books, order, Some((payment, funds)))?;
    Ok(())
}

/// The order no longer waits for the payment.
pub(super) fn release(books: &mut UnitOfWork<'_>, order: &OrderId, payment: &PaymentId) -> Result<(), Refusal> {
    if books.get(order).placed()?.stage == Stage::InProgress(payment.clone()) {
        books.execute(order, OrderCommand::StopAwaiting { payment: payment.clone() })?;
    }
    Ok(())
}

/// Charges every item as an expense and opens its service, all or nothing.
fn process(
    books: &mut UnitOfWork<'_>,
    order: &OrderId,
    paid_by: Option<(&PaymentId, Entry)>,
) -> Result<Vec<ItemResult>, Refusal> {
    let placed = books.get(order).placed()?.clone();
    let results: Vec<ItemResult> = placed
        .items
        .keys()
        .map(|&number| ItemResult { number, expense: books.new_id::<Expense>(), service: books.new_id::<Service>() })
        .collect();
    let payment = paid_by.map(|(payment, _)| payment.clone());
    books.execute(order, OrderCommand::Process { results: results.clone(), payment })?;
    // Refused as a whole before the first item is charged, so that the amount missing is that of the whole order.
    books.get(&placed.account).ledger()?.within_floor(placed.total())?;

    for (item, result) in placed.items.values().zip(&results) {
        let entry = books.get(&placed.account).ledger()?.next_entry();
        let recorded = Recorded {
            account: placed.account.clone(),
            order: Some(order.clone()),
            order_item: Some(item.number),
            service: Some(result.service.clone()),
            description: item.description.clone(),
            quantity: item.quantity,
            tax_rate: item.tax_rate,
            amounts: Amounts { net: item.net, tax: item.tax, total: item.total },
            entry,
        };
        books.execute(&result.expense, ExpenseCommand::Record(Box::new(recorded)))?;
        charge_item(books, &placed.account, item, result)?;
        if let Some((_, funds)) = paid_by {
            books.execute(&placed.account, AccountCommand::CoverCharge { funds, charge: entry })?;
        }
        books.execute(&placed.account, AccountCommand::ApplyCredit { charge: entry })?;
        let activation = Activation {
            customer: placed.customer.clone(),
            account: placed.account.clone(),
            order: order.clone(),
            product: item.product.clone(),
            description: item.description.clone(),
        };
        books.execute(&result.service, ServiceCommand::Activate(activation))?;
    }
    Ok(results)
}

fn charge_item(
    books: &mut UnitOfWork<'_>,
    account: &AccountId,
    item: &OrderItem,
    result: &ItemResult,
) -> Result<(), Refusal> {
    let charge = Charge {
        origin: ChargeOrigin::Expense(result.expense.clone()),
        amount: item.total,
        description: item.description.clone(),
        revenue: Some(RevenueShare {
            net: item.net.amount(),
            tax: item.tax.amount(),
            residue: rust_decimal::Decimal::ZERO,
        }),
        due_on: today(books, account)?,
        reverses: None,
        overdraft: Overdraft::Refused,
    };
    books.execute(account, AccountCommand::Charge(charge))?;
    Ok(())
}

/// The price of an item, with the best of the discounts that the customer, the customer's groups and everyone have.
fn quote(
    books: &mut UnitOfWork<'_>,
    account: &AccountId,
    request: &ItemRequest,
    number: u32,
) -> Result<OrderItem, Refusal> {
    let at = books.context().occurred_at;
    let policy = RoundingPolicy::default();
    let ledger = books.get(account).ledger()?;
    let (customer, currency) = (ledger.customer.clone(), ledger.currency());
    let mut audiences = vec![Audience::Everyone, Audience::Customer(customer.clone())];
    audiences.extend(books.get(&customer).groups()?.iter().cloned().map(Audience::Group));
    let mut grants: BTreeMap<String, Grant> = BTreeMap::new();
    for audience in audiences {
        let stream = audience.id().map_err(OperationRejection::from)?;
        grants.extend(books.get(&stream).grants.iter().map(|(id, grant)| (id.clone(), grant.clone())));
    }
    let list = request.list(number, currency, policy)?;
    let discount = best(grants.values(), &request.product, list, at, policy.rounding);
    Ok(request.clone().quote(number, list, discount, policy)?)
}

/// How the order stands, with what is missing before it can be paid from the balance.
pub(super) fn standing(books: &mut UnitOfWork<'_>, order: &OrderId) -> Result<Answer, Refusal> {
    let placed = books.get(order).placed()?.clone();
    let total = placed.total();
    let missing = match placed.stage {
        Stage::Open | Stage::InProgress(_) => books.get(&placed.account).ledger()?.missing(total),
        Stage::Processed | Stage::Deleted => Money::zero(total.currency()),
    };
    let items: Vec<_> = placed
        .items
        .values()
        .map(|item| json!({ "number": item.number, "list": item.list, "discount": item.discount, "total": item.total }))
        .collect();
    Ok(answer(
        json!({ "id": order, "status": placed.stage.status(), "total": total, "missing": missing, "items": items }),
    ))
}
