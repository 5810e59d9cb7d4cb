//! Orders: waiting, paying from the balance or by a payment, and the prices that discounts make.

use super::*;
use crate::{
    domain::{
        CustomerId,
        account::AccountRejection,
        customer::CustomerRejection,
        discount::{Audience, Scope, Value},
        order::{ItemRequest, OrderRejection, PartOfPeriod},
        payer::PayerRejection,
    },
    operations::{
        AddOrderItem, ChangeTerms, DeleteOrder, GrantDiscount, JoinGroup, LeaveGroup, PayOrder, PayOrderBy, PlaceOrder,
        RemoveOrderItem, RenameOrder, RevokeDiscount, Terms,
    },
};

fn vps(price: &str) -> ItemRequest {
    ItemRequest {
        product: "vps".into(),
        description: "VPS, one month".into(),
        quantity: number("1"),
        unit_price: number(price),
        part: None,
        tax_rate: number("0"),
    }
}

fn place(account: &AccountId, items: Vec<ItemRequest>) -> Operation {
    Operation::PlaceOrder(PlaceOrder { account: account.clone(), description: "servers".into(), items })
}

fn pay_from_balance(order: &OrderId) -> Operation {
    Operation::PayOrder(PayOrder { order: order.clone(), by: PayOrderBy::Balance })
}

fn pay_by_card(order: &OrderId) -> Operation {
    let by = PayOrderBy::Payment { payer: None, method: "card".into(), amount: None };
    Operation::PayOrder(PayOrder { order: order.clone(), by })
}

fn credit_limit(account: &AccountId, limit: &str) -> Operation {
    Operation::ChangeTerms(ChangeTerms { account: account.clone(), terms: Terms::CreditLimit(usd(limit)) })
}

fn owing(books: &mut Books, amount: &str) -> AccountId {
    let account = books.account("USD");
    books.invoice_of(&account, &[(amount, "0")]);
    account
}

fn discount(audience: Audience, scope: Scope, percent: &str, priority: i32) -> GrantDiscount {
    let value = Value::Percent(number(percent));
    GrantDiscount { audience, name: "spring".into(), scope, value, priority, valid_from: None, valid_until: None }
}

fn total_of(books: &mut Books, account: &AccountId, price: &str) -> Decimal {
    amount(&books.done(place(account, vec![vps(price)])), "total")
}

#[test]
fn s1_an_order_waits_for_what_is_missing_and_is_processed_when_it_comes() {
    let mut books = Books::new();
    let account = books.account("USD");
    books.paid(&account, "10.00");
    let placed = books.done(place(&account, vec![vps("12.00")]));
    assert_eq!((text(&placed, "status"), amount(&placed, "missing")), ("open", number("2.00")));
    assert_eq!(books.balance(&account), number("10.00"));

    let order: OrderId = id(&placed);
    let start = books.done(pay_by_card(&order));
    assert_eq!((text(&start, "status"), amount(&start["payment"], "amount")), ("in_progress", number("2.00")));
    let payment: PaymentId = id(&start["payment"]);
    let before = books.events.len();
    let credited = books.done(step(&payment, PaymentStep::Credit { document_number: None, amount: None }));
    assert_eq!(text(&credited["order"], "status"), "processed");
    let types = books.types_since(before);
    for (kind, times) in
        [("payment.credited", 1), ("order.processed", 1), ("expense.recorded", 1), ("service.activated", 1)]
    {
        assert_eq!(types.iter().filter(|found| *found == kind).count(), times, "{kind} in {types:?}");
    }
    assert_eq!(books.statement(&account), [number("10.00"), number("12.00"), number("0.00")]);
}

#[test]
fn s2_a_debt_is_closed_before_the_order() {
    let mut books = Books::new();
    let account = owing(&mut books, "15.00");
    let order: OrderId = id(&books.done(place(&account, vec![vps("12.00")])));
    books.paid_for(&account, "20.00", order_for(&order));
    assert_eq!(books.balance(&account), number("5.00"));
    let renamed = books.done(Operation::RenameOrder(RenameOrder { order, description: "later".into() }));
    assert_eq!((text(&renamed, "status"), amount(&renamed, "missing")), ("open", number("7.00")));
}

#[test]
fn s2b_a_debt_inside_the_limit_does_not_hold_up_the_order() {
    let mut books = Books::new();
    let account = owing(&mut books, "15.00");
    books.done(credit_limit(&account, "50.00"));
    let order: OrderId = id(&books.done(place(&account, vec![vps("12.00")])));
    books.paid_for(&account, "20.00", order_for(&order));
    assert_eq!(books.balance(&account), number("-7.00"));
    assert_eq!(books.refused(pay_from_balance(&order)), OrderRejection::AlreadyProcessed.into());
}

#[test]
fn s12_an_order_beyond_the_credit_limit_is_refused_with_what_is_missing() {
    let mut books = Books::new();
    let account = owing(&mut books, "45.00");
    books.done(credit_limit(&account, "50.00"));
    let ten: OrderId = id(&books.done(place(&account, vec![vps("10.00")])));
    let missing = usd("5.00");
    assert_eq!(books.refused(pay_from_balance(&ten)), AccountRejection::CreditLimitExceeded { missing }.into());
    let five: OrderId = id(&books.done(place(&account, vec![vps("5.00")])));
    books.done(pay_from_balance(&five));
    assert_eq!(books.balance(&account), number("-50.00"));
}

#[test]
fn an_order_of_several_items_is_paid_for_as_a_whole_or_not_at_all() {
    let mut books = Books::new();
    let account = books.account("USD");
    books.paid(&account, "20.00");
    let order: OrderId = id(&books.done(place(&account, vec![vps("12.00"), vps("12.00")])));
    let missing = usd("4.00");
    assert_eq!(books.refused(pay_from_balance(&order)), AccountRejection::InsufficientFunds { missing }.into());
    books.paid(&account, "4.00");
    let before = books.events.len();
    books.done(pay_from_balance(&order));
    assert_eq!(books.types_since(before).iter().filter(|kind| *kind == "expense.recorded").count(), 2);
    assert_eq!(books.balance(&account), number("0.00"));
}

#[test]
fn items_come_and_go_while_the_order_is_open() {
    let mut books = Books::new();
    let account = books.account("USD");
    let order: OrderId = id(&books.done(place(&account, vec![vps("12.00")])));
    let add = Operation::AddOrderItem(AddOrderItem { order: order.clone(), item: vps("3.00") });
    assert_eq!(amount(&books.done(add), "total"), number("15.00"));
    let remove = |number| Operation::RemoveOrderItem(RemoveOrderItem { order: order.clone(), number });
    assert_eq!(amount(&books.done(remove(1)), "total"), number("3.00"));
    assert_eq!(books.refused(remove(2)), OrderRejection::LastItem.into());
    let deleted = books.done(Operation::DeleteOrder(DeleteOrder { order: order.clone() }));
    assert_eq!(text(&deleted, "status"), "deleted");
    assert_eq!(books.refused(pay_from_balance(&order)), OrderRejection::Deleted.into());
}

#[test]
fn an_order_whose_payment_fails_is_open_again() {
    let mut books = Books::new();
    let account = books.account("USD");
    let order: OrderId = id(&books.done(place(&account, vec![vps("12.00")])));
    let payment: PaymentId = id(&books.done(pay_by_card(&order))["payment"]);
    assert_eq!(books.refused(pay_from_balance(&order)), OrderRejection::Locked.into());
    let failed = books.done(step(&payment, PaymentStep::Fail { gateway_reason: "declined".into() }));
    assert_eq!((text(&failed, "status"), text(&failed["order"], "status")), ("failed", "open"));
}

#[test]
fn money_that_arrives_after_the_order_was_deleted_is_credit() {
    let mut books = Books::new();
    let account = books.account("USD");
    let order: OrderId = id(&books.done(place(&account, vec![vps("12.00")])));
    let payment: PaymentId = id(&books.done(pay_by_card(&order))["payment"]);
    books.done(step(&payment, PaymentStep::Fail { gateway_reason: "timed out".into() }));
    books.done(Operation::DeleteOrder(DeleteOrder { order }));
    books.done(step(&payment, PaymentStep::Credit { document_number: None, amount: None }));
    assert_eq!(books.balance(&account), number("12.00"));
}

#[test]
fn a_payer_of_another_customer_cannot_pay_for_the_order() {
    let mut books = Books::new();
    let (account, other) = (books.account("USD"), books.account("USD"));
    let stranger = books.payer(&other);
    let order: OrderId = id(&books.done(place(&account, vec![vps("12.00")])));
    let by = PayOrderBy::Payment { payer: Some(stranger), method: "card".into(), amount: None };
    assert_eq!(books.refused(Operation::PayOrder(PayOrder { order, by })), PayerRejection::ForeignPayer.into());
}

#[test]
fn a_part_of_a_period_costs_its_part_of_the_price() {
    let mut books = Books::new();
    let account = books.account("USD");
    let part = |days| Some(PartOfPeriod { days, of: 31 });
    let placed = books.done(place(&account, vec![ItemRequest { part: part(20), ..vps("12.00") }]));
    assert_eq!(amount(&placed, "total"), number("7.74"));
    let whole = ItemRequest { part: part(32), ..vps("12.00") };
    assert_eq!(books.refused(place(&account, vec![whole])), OrderRejection::PartOutOfRange { item: 1 }.into());
}

#[test]
fn s38_yen_have_no_decimals() {
    let mut books = Books::new();
    let account = books.account("JPY");
    let item = ItemRequest { part: Some(PartOfPeriod { days: 20, of: 31 }), ..vps("1000") };
    assert_eq!(text(&books.done(place(&account, vec![item]))["total"], "amount"), "645");
    let item = ItemRequest { tax_rate: number("10"), ..vps("1127") };
    assert_eq!(text(&books.done(place(&account, vec![item]))["total"], "amount"), "1240");
}

#[test]
fn s15c_the_closest_discount_wins_then_the_priority_then_the_larger() {
    let mut books = Books::new();
    let account = books.account("USD");
    let customer: CustomerId = books.ledger(&account).customer.clone();
    let vps_only = || Scope::Product("vps".into());
    let for_everyone = Operation::GrantDiscount(discount(Audience::Everyone, vps_only(), "25", 0));
    let everyone = id(&books.done(for_everyone));
    let for_customer = discount(Audience::Customer(customer.clone()), Scope::All, "15", 0);
    books.done(Operation::GrantDiscount(for_customer));
    assert_eq!(total_of(&mut books, &account, "40.00"), number("34.00"));

    let revoke = RevokeDiscount { audience: Audience::Everyone, discount: everyone };
    books.done(Operation::RevokeDiscount(revoke));
    books.done(Operation::GrantDiscount(discount(Audience::Everyone, vps_only(), "25", 1)));
    assert_eq!(total_of(&mut books, &account, "40.00"), number("30.00"));

    let larger = discount(Audience::Everyone, vps_only(), "30", 1);
    books.done(Operation::GrantDiscount(larger));
    assert_eq!(total_of(&mut books, &account, "40.00"), number("28.00"));
}

#[test]
fn a_group_gives_its_discount_while_the_customer_is_in_it() {
    let mut books = Books::new();
    let account = books.account("USD");
    let customer = books.ledger(&account).customer.clone();
    let resellers = Audience::Group("resellers".into());
    books.done(Operation::GrantDiscount(discount(resellers, Scope::All, "10", 0)));
    assert_eq!(total_of(&mut books, &account, "40.00"), number("40.00"));
    let (customer, group) = (customer, String::from("resellers"));
    books.done(Operation::JoinGroup(JoinGroup { customer: customer.clone(), group: group.clone() }));
    assert_eq!(total_of(&mut books, &account, "40.00"), number("36.00"));
    books.done(Operation::LeaveGroup(LeaveGroup { customer, group }));
    assert_eq!(total_of(&mut books, &account, "40.00"), number("40.00"));
}

#[test]
fn s15d_a_discount_larger_than_the_price_leaves_nothing_to_pay() {
    let mut books = Books::new();
    let account = books.account("USD");
    let off =
        GrantDiscount { value: Value::AmountOff(usd("50.00")), ..discount(Audience::Everyone, Scope::All, "1", 0) };
    books.done(Operation::GrantDiscount(off));
    let placed = books.done(place(&account, vec![vps("30.00")]));
    assert_eq!(amount(&placed, "total"), number("0.00"));
    assert_eq!(text(&placed["items"][0]["discount"]["saving"], "amount"), "30.00");
    let paid = books.done(pay_from_balance(&id(&placed)));
    assert_eq!(text(&paid, "status"), "processed");
}

#[test]
fn a_discount_for_an_unknown_customer_is_refused() {
    let mut books = Books::new();
    let nobody = Audience::Customer(Id::named("nobody").expect("a name"));
    let grant = Operation::GrantDiscount(discount(nobody, Scope::All, "10", 0));
    assert_eq!(books.refused(grant), CustomerRejection::NotRegistered.into());
}

#[test]
fn s6_the_price_of_an_order_stays_when_a_discount_ends() {
    let mut books = Books::new();
    let account = books.account("USD");
    let granted = books.done(Operation::GrantDiscount(discount(Audience::Everyone, Scope::All, "50", 0)));
    let order: OrderId = id(&books.done(place(&account, vec![vps("12.00")])));
    let revoke = RevokeDiscount { audience: Audience::Everyone, discount: id(&granted) };
    books.done(Operation::RevokeDiscount(revoke));
    books.paid_for(&account, "6.00", order_for(&order));
    assert_eq!(books.balance(&account), number("0.00"));
}

#[test]
fn prices_at_the_edge_of_what_can_be_kept_are_refused_not_recorded() {
    let mut books = Books::new();
    let account = books.account("USD");
    let huge = vps("999999999999999.999");
    let out_of_range = |item| OrderRejection::ItemOutOfRange { item }.into();
    assert_eq!(books.refused(place(&account, vec![huge])), out_of_range(1));
    let taxed = ItemRequest { tax_rate: number("999.9999"), ..vps("900000000000000") };
    assert_eq!(books.refused(place(&account, vec![taxed])), out_of_range(1));
    let many = vec![vps("900000000000000"), vps("900000000000000")];
    assert_eq!(books.refused(place(&account, many)), out_of_range(2));
    let order: OrderId = id(&books.done(place(&account, vec![vps("900000000000000")])));
    let add = AddOrderItem { order, item: vps("900000000000000") };
    assert_eq!(books.refused(Operation::AddOrderItem(add)), out_of_range(2));
}

#[test]
fn an_item_of_no_pieces_or_of_minus_times_minus_is_refused() {
    let mut books = Books::new();
    let account = books.account("USD");
    let order = id(&books.done(place(&account, vec![vps("1.00")])));
    for (quantity, unit_price) in [("-1", "-10"), ("0", "10"), ("-2", "0"), ("1", "-0.001"), ("1", "0.000000001")] {
        let odd = || ItemRequest { quantity: number(quantity), unit_price: number(unit_price), ..vps("1.00") };
        let refused = |item| OrderRejection::ItemOutOfRange { item }.into();
        assert_eq!(books.refused(place(&account, vec![vps("1.00"), odd()])), refused(2));
        let add = AddOrderItem { order: OrderId::clone(&order), item: odd() };
        assert_eq!(books.refused(Operation::AddOrderItem(add)), refused(2));
    }
}
