//! What the ledger refuses its own commands: nothing that a caller sends comes to that.

use cqrs_es::event_sink::EventSink;
use daybook_core::{
    domain::{
        Account, AccountId, CustomerId, Invoice, LedgerAggregate, NumberSeries, Order, PaymentId, Service,
        account::AccountCommand,
        discount::{self, Audience, Scope},
        invoice::{DraftLine, InvoiceCommand},
        number_series::NumberSeriesCommand,
        order::{ItemRequest, OrderCommand},
        payer::{Address, PayerKind},
        payment::Purpose,
        service::{Activation, ServiceCommand},
    },
    operations::{
        AccountOpening, CreditRequest, GrantDiscount, HoldFunds, IssueCreditNote, Numbering, OpenDispute, Operation,
        PaymentRequest, PlaceOrder, Profile, RecordExpense, Refusal, StartRefund,
    },
    terms::tax::RoundingPolicy,
    writer::Command,
};
use daybook_tests::{
    api::TestApp,
    commands::{command, open_ticket, register, usd},
};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{Parties, Raised, credited, dollars};

/// Events of the aggregates that are asked alone.
const INVOICE: &str = include_str!("../../golden/events/invoice.finalised/v1.0.json");
const ORDER: &str = include_str!("../../golden/events/order.placed/v1.0.json");

/// The ledger makes identifiers from those of the commands: only who sends a command twice finds what it has made.
pub async fn what_stands_already(app: &TestApp, parties: &Parties, raised: &mut Raised) {
    let account: AccountId = parties.usd.parse().unwrap();
    let customer: CustomerId = parties.ada.parse().unwrap();
    let payer = parties.payer.parse().unwrap();
    let payment: PaymentId = credited(app, &parties.usd, "500").await.parse().unwrap();
    let open = |currency: &str| {
        Operation::OpenAccount(AccountOpening {
            customer: customer.clone(),
            currency: currency.parse().unwrap(),
            name: "other".into(),
            time_zone: "UTC".into(),
        })
    };
    let dispute = |name: &str| {
        Operation::OpenDispute(OpenDispute {
            payment: payment.clone(),
            gateway_dispute: name.into(),
            amount: usd("1"),
            gateway_reason: "stolen".into(),
        })
    };
    let words = || "words".to_owned();
    let (quantity, unit_price, tax_rate) = (Decimal::ONE, Decimal::ONE, Decimal::ZERO);
    let line = DraftLine { item: words(), description: words(), quantity, unit_price, tax_rate };
    let item = ItemRequest { product: words(), description: words(), quantity, unit_price, part: None, tax_rate };
    let text = || words().into();
    let address = Address { country: words(), postal_code: text(), city: text(), street: text() };
    let order = Operation::PlaceOrder(PlaceOrder { account: account.clone(), description: words(), items: vec![item] });
    let started = Operation::StartPayment(PaymentRequest {
        account: account.clone(),
        payer: None,
        method: "card".into(),
        amount: usd("1"),
        purpose: Purpose::Advance,
    });
    let refund = StartRefund { payment: payment.clone(), amount: usd("1"), gateway_refund: None };
    let expense = Operation::RecordExpense(RecordExpense {
        account: account.clone(),
        description: words(),
        quantity,
        net: usd("1"),
        tax_rate,
    });
    let credit_note = Operation::IssueCreditNote(IssueCreditNote {
        account: account.clone(),
        payer,
        numbering: Numbering::SeriesOfTheYear("TWICE"),
        issued_on: None,
        policy: RoundingPolicy::default(),
        lines: vec![CreditRequest::Free(line)],
    });
    let discount = Operation::GrantDiscount(GrantDiscount {
        audience: Audience::Everyone,
        name: words(),
        scope: Scope::All,
        value: discount::Value::Percent(Decimal::ONE),
        priority: 0,
        valid_from: None,
        valid_until: None,
    });
    let payer = Operation::CreatePayer(Profile {
        customer: customer.clone(),
        kind: PayerKind::Company,
        name: text(),
        address,
        tax_number: None,
    });
    let hold = Operation::HoldFunds(HoldFunds { account, amount: usd("1") });
    let refund = Operation::StartRefund(refund);
    let (customer, ticket) = (register("Eve").operation, open_ticket(&customer).operation);
    let twice = [
        ("account-already-open", open("JPY"), open("CHF")),
        ("credit-note-final", credit_note.clone(), credit_note),
        ("customer-exists", customer.clone(), customer),
        ("discount-exists", discount.clone(), discount),
        ("dispute-exists", dispute("dp_a"), dispute("dp_b")),
        ("expense-exists", expense.clone(), expense),
        ("hold-exists", hold.clone(), hold),
        ("order-exists", order.clone(), order),
        ("payer-exists", payer.clone(), payer),
        ("payment-exists", started.clone(), started),
        ("refund-exists", refund.clone(), refund),
        ("ticket-exists", ticket.clone(), ticket),
    ];
    for (code, once, again) in twice {
        let once = command(once);
        let again = Command { operation: again, ..once.clone() };
        app.writer().execute(once).await.unwrap_or_else(|error| panic!("{code}: {error}"));
        raised.refusal(app, again, code).await;
    }
    // The API refuses it before the ledger does.
    raised.refusal(app, register("a\u{0}b"), "text-with-nul").await;
}

/// What the operations never ask of an aggregate.
pub async fn what_no_operation_asks(raised: &mut Raised) {
    let entry = |number| serde_json::from_value(json!(number)).unwrap();
    let account = event::<Account>(json!({ "opened": {
        "customer": "cus_1", "currency": "USD", "name": "main", "time_zone": "UTC",
    } }));
    let credited = event::<Account>(json!({ "credited": {
        "entry": 1, "origin": "adjustment", "amount": dollars("1"), "balance": dollars("1"), "description": "gift",
    } }));
    let activated = event::<Service>(json!({ "activated": {
        "customer": "cus_1", "account": "acc_1", "order": "ord_1", "product": "vps", "description": "VPS",
    } }));
    let activate = ServiceCommand::Activate(Activation {
        customer: "cus_1".parse().unwrap(),
        account: "acc_1".parse().unwrap(),
        order: "ord_1".parse().unwrap(),
        product: "vps".into(),
        description: "VPS".into(),
    });
    let finalised: Value = serde_json::from_str(INVOICE).unwrap();
    let placed: Value = serde_json::from_str(ORDER).unwrap();
    let of_nothing = AccountCommand::Allocate { funds: entry(9), charge: entry(9), amount: usd("1") };
    let to_nothing = AccountCommand::Allocate { funds: entry(1), charge: entry(9), amount: usd("1") };
    let credit_nothing = InvoiceCommand::Credit { credit_note: "crn_1".parse().unwrap(), lines: Vec::new() };
    let stop = OrderCommand::StopAwaiting { payment: "pay_1".parse().unwrap() };
    let take = NumberSeriesCommand::Take { document: String::new() };
    let refusals = [
        refusal::<Account>(vec![account.clone()], of_nothing).await,
        refusal::<Account>(vec![account, credited], to_nothing).await,
        refusal::<Invoice>(vec![event::<Invoice>(finalised)], credit_nothing).await,
        refusal::<Order>(vec![event::<Order>(placed)], stop).await,
        refusal::<NumberSeries>(Vec::new(), take).await,
        refusal::<Service>(vec![activated], activate).await,
    ];
    let codes = refusals.map(|refusal| refusal.code());
    let expected = [
        "unknown-funds",
        "unknown-charge",
        "nothing-to-credit",
        "payment-not-awaited",
        "document-missing",
        "service-active",
    ];
    assert_eq!(codes, expected);
    raised.codes.extend(codes.map(str::to_owned));
}

fn event<A: LedgerAggregate>(payload: Value) -> A::Event {
    serde_json::from_value(payload).unwrap()
}

async fn refusal<A>(given: Vec<A::Event>, command: A::Command) -> Refusal
where
    A: LedgerAggregate<Error: Into<Refusal>>,
{
    let mut aggregate = A::default();
    given.into_iter().for_each(|event| aggregate.apply(event));
    aggregate.handle(command, &(), &EventSink::default()).await.unwrap_err().into()
}
