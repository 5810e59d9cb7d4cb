//! An order: every refusal in its order, and the prices that it freezes.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};

use super::*;
use crate::domain::{
    discount::{Audience, Value},
    fixtures::{id, number, usd},
};

fn given(events: Vec<OrderEvent>) -> AggregateTestExecutor<Order> {
    TestFramework::with(()).given(events)
}

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

fn list(request: &ItemRequest) -> Result<Money, OrderRejection> {
    request.list(1, usd("0").currency(), RoundingPolicy::default())
}

fn item(number: u32, price: &str) -> OrderItem {
    let list = list(&vps(price)).expect("a price in range");
    vps(price).quote(number, list, None, RoundingPolicy::default()).expect("a quote in range")
}

fn add(price: &str) -> OrderCommand {
    OrderCommand::AddItem { item: Box::new(item(0, price)) }
}

fn added(number: u32, price: &str) -> OrderEvent {
    OrderEvent::ItemAdded { item: Box::new(item(number, price)) }
}

fn place(description: &str, items: Vec<OrderItem>) -> OrderCommand {
    let currency = usd("0").currency();
    OrderCommand::Place(Placement {
        customer: id("ada"),
        account: id("main"),
        currency,
        description: description.into(),
        items,
    })
}

fn placed(items: Vec<OrderItem>) -> OrderEvent {
    let currency = usd("0").currency();
    OrderEvent::Placed(Placement {
        customer: id("ada"),
        account: id("main"),
        currency,
        description: "servers".into(),
        items,
    })
}

fn rename(description: &str) -> OrderCommand {
    OrderCommand::Rename { description: description.into() }
}

fn results() -> Vec<ItemResult> {
    vec![ItemResult { number: 1, expense: id("first"), service: id("first") }]
}

fn process(payment: Option<&str>) -> OrderCommand {
    OrderCommand::Process { results: results(), payment: payment.map(id) }
}

fn processed(payment: Option<&str>) -> OrderEvent {
    OrderEvent::Processed { total: usd("12.00"), results: results(), payment: payment.map(id) }
}

/// An order of one item for 12.00.
fn open() -> Vec<OrderEvent> {
    vec![placed(vec![item(1, "12.00")])]
}

fn after(event: OrderEvent) -> Vec<OrderEvent> {
    [open(), vec![event]].concat()
}

fn in_progress() -> Vec<OrderEvent> {
    after(OrderEvent::PaymentAwaited { payment: id("first") })
}

/// All that only an open order takes.
fn changes() -> Vec<OrderCommand> {
    let second = OrderCommand::AwaitPayment { payment: id("second") };
    vec![add("3.00"), OrderCommand::RemoveItem { number: 1 }, second, process(None), OrderCommand::Delete]
}

#[test]
fn an_order_is_placed_changed_and_deleted() {
    let items = || vec![item(1, "12.00")];
    given(vec![]).when(place("servers", items())).then_expect_events(vec![placed(items())]);
    given(open()).when(add("3.00")).then_expect_events(vec![added(2, "3.00")]);
    given(after(added(2, "3.00")))
        .when(OrderCommand::RemoveItem { number: 1 })
        .then_expect_events(vec![OrderEvent::ItemRemoved { number: 1 }]);
    let renamed = OrderEvent::Renamed { description: "club".into() };
    given(open()).when(rename("club")).then_expect_events(vec![renamed]);
    given(open()).when(OrderCommand::Delete).then_expect_events(vec![OrderEvent::Deleted {}]);
}

#[test]
fn the_number_of_an_item_is_never_reused() {
    given([after(added(2, "3.00")), vec![OrderEvent::ItemRemoved { number: 2 }]].concat())
        .when(add("3.00"))
        .then_expect_events(vec![added(3, "3.00")]);
}

#[test]
fn an_order_is_processed_from_the_balance_or_by_the_payment_it_waits_for() {
    given(open()).when(process(None)).then_expect_events(vec![processed(None)]);
    given(in_progress()).when(process(Some("first"))).then_expect_events(vec![processed(Some("first"))]);
    let missed = || OrderEvent::PaymentMissed { payment: id("first") };
    given(in_progress()).when(OrderCommand::StopAwaiting { payment: id("first") }).then_expect_events(vec![missed()]);
    given([in_progress(), vec![missed()]].concat()).when(process(None)).then_expect_events(vec![processed(None)]);
}

#[test]
fn a_quote_is_the_list_price_less_the_discount_plus_tax() {
    let part = Some(PartOfPeriod { days: 20, of: 31 });
    let request = ItemRequest { part, tax_rate: number("20"), ..vps("12.00") };
    let list = list(&request).expect("a price in range");
    assert_eq!(list, usd("7.74"));
    let discount = AppliedDiscount {
        discount: id("spring"),
        name: "spring".into(),
        audience: Audience::Everyone,
        value: Value::AmountOff(usd("0.74")),
        priority: 0,
        saving: usd("0.74"),
    };
    let quote = request.quote(1, list, Some(discount), RoundingPolicy::default()).expect("a quote in range");
    assert_eq!((quote.net, quote.tax, quote.total), (usd("7.00"), usd("1.40"), usd("8.40")));
}

// Refusals, in the order of the enum.

#[test]
fn an_order_is_placed_once() {
    given(open()).when(place("servers", vec![item(1, "12.00")])).then_expect_error(OrderRejection::AlreadyPlaced);
}

#[test]
fn nothing_happens_to_an_order_that_is_not_placed() {
    for command in changes() {
        given(vec![]).when(command).then_expect_error(OrderRejection::NotPlaced);
    }
    assert_eq!(Order::Unknown.placed(), Err(OrderRejection::NotPlaced));
}

#[test]
fn an_order_without_items_is_refused() {
    given(vec![]).when(place("servers", vec![])).then_expect_error(OrderRejection::NoItems);
}

#[test]
fn an_item_without_a_product_is_refused() {
    assert_eq!(list(&ItemRequest { product: " ".into(), ..vps("12.00") }), Err(OrderRejection::ProductMissing));
}

#[test]
fn an_item_out_of_range_is_refused() {
    let most = number("79228162514264337593543950335");
    for request in [
        vps("0.000000001"),
        vps("-0.01"),
        vps("1000000000000000"),
        ItemRequest { quantity: number("0.0000001"), ..vps("1") },
        ItemRequest { quantity: most, unit_price: most, ..vps("1") },
        ItemRequest { tax_rate: number("1000"), ..vps("1") },
        ItemRequest { tax_rate: number("-1"), ..vps("1") },
    ] {
        assert_eq!(list(&request), Err(OrderRejection::ItemOutOfRange { item: 1 }), "{request:?}");
    }
    let huge = "900000000000000";
    given(vec![])
        .when(place("servers", vec![item(1, huge), item(2, huge)]))
        .then_expect_error(OrderRejection::ItemOutOfRange { item: 2 });
    given(vec![placed(vec![item(1, huge)])])
        .when(add(huge))
        .then_expect_error(OrderRejection::ItemOutOfRange { item: 2 });
    let taxed = ItemRequest { tax_rate: number("900"), ..vps(huge) };
    let quote = taxed.quote(1, usd(huge), None, RoundingPolicy::default());
    assert_eq!(quote, Err(OrderRejection::ItemOutOfRange { item: 1 }));
}

#[test]
fn a_part_longer_than_its_period_or_of_no_days_is_refused() {
    for (days, of) in [(0, 31), (32, 31), (0, 0), (1, 0)] {
        let request = ItemRequest { part: Some(PartOfPeriod { days, of }), ..vps("12.00") };
        assert_eq!(list(&request), Err(OrderRejection::PartOutOfRange { item: 1 }));
    }
}

#[test]
fn an_item_that_is_not_there_is_not_removed() {
    given(open())
        .when(OrderCommand::RemoveItem { number: 2 })
        .then_expect_error(OrderRejection::UnknownItem { item: 2 });
}

#[test]
fn the_only_item_is_not_removed() {
    given(open()).when(OrderCommand::RemoveItem { number: 1 }).then_expect_error(OrderRejection::LastItem);
}

#[test]
fn an_order_without_a_description_is_refused() {
    let nameless = place(" ", vec![item(1, "12.00")]);
    given(vec![]).when(nameless).then_expect_error(OrderRejection::DescriptionMissing);
    given(open()).when(rename("")).then_expect_error(OrderRejection::DescriptionMissing);
}

#[test]
fn an_order_that_waits_for_a_payment_is_locked() {
    for command in changes().into_iter().chain([process(Some("second"))]) {
        given(in_progress()).when(command).then_expect_error(OrderRejection::Locked);
    }
}

#[test]
fn an_order_stops_waiting_only_for_the_payment_it_waits_for() {
    for history in [open(), in_progress()] {
        given(history)
            .when(OrderCommand::StopAwaiting { payment: id("second") })
            .then_expect_error(OrderRejection::NotAwaited);
    }
}

#[test]
fn a_processed_order_stays_as_it_is() {
    for command in changes() {
        given(after(processed(None))).when(command).then_expect_error(OrderRejection::AlreadyProcessed);
    }
}

#[test]
fn a_deleted_order_stays_deleted() {
    for command in changes().into_iter().chain([rename("club")]) {
        given(after(OrderEvent::Deleted {})).when(command).then_expect_error(OrderRejection::Deleted);
    }
}
