//! Every projection on the board: what lies in the tables is what a rebuild makes, and what a fresh fold makes, however
//! many projectors are at work, and whatever one event does to one of them.

use std::{str::FromStr, time::Duration};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use daybook_core::{
    Actor, ActorKind, Context, Position,
    domain::{
        AccountId, CustomerId, ExpenseId, InvoiceId, Money, OrderId, PayerId, PaymentId, RefundId, TicketId,
        account::HoldId,
        discount::{Audience, Scope, Value},
        invoice::{DraftLine, LineToCredit},
        order::{ItemRequest, PartOfPeriod},
        payer::{Address, PayerKind},
        payment::Purpose,
        tax::RoundingPolicy,
    },
    operations::{
        AddOrderItem, AdjustAccount, AdjustExpense, AdvancePayment, AllocatePayment, ChangePayer, ChangeTerms,
        ChargeRef, CreatePayer, CreditRequest, DeleteOrder, FailRefund, GatewayNotice, GrantDiscount, HoldFunds,
        IssueCreditNote, IssueInvoice, JoinGroup, LeaveGroup, NoticeOutcome, Numbering, OpenAccount, OpenTicket,
        Operation, PayOrder, PayOrderBy, PayerChange, PaymentStep, PlaceOrder, RecordExpense, RegisterCustomer,
        ReinstateExpense, ReleaseHold, RemoveOrderItem, RenameOrder, ReverseExpense, RevokeDiscount, SettleRefund,
        StartPayment, StartRefund, Terms, TicketAction, TransferFunds, WriteOnTicket,
    },
    store::Store,
    writer::{Command, Writer, WriterHandle, WriterOptions},
};
use daybook_projections::{
    BOARD, Projector, ProjectorOptions, ReadError, Reader,
    engine::{Difference, State, checksum, rebuild, standings, verify},
    find,
};
use daybook_tests::{TestDatabase, database};
use rust_decimal::{Decimal, dec};
use serde_json::Value as Json;
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(60);

/// A ledger in a database of its own, with a writer.
struct Ledger {
    // Dropped last: it takes the database away.
    store: Store,
    writer: WriterHandle,
    _running: Writer,
    now: DateTime<Utc>,
    last: Position,
    _database: TestDatabase,
}

impl Ledger {
    async fn new() -> Self {
        let database = database().await;
        let store = database.store().await;
        let (writer, running) = Writer::start(store.clone(), WriterOptions::default());
        let now = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        Self { store, writer, _running: running, now, last: 0, _database: database }
    }

    /// Does it, a day and an hour after what was done before.
    async fn act(&mut self, operation: Operation) -> Json {
        self.now += TimeDelta::hours(25);
        let context = Context {
            actor: Actor::new(ActorKind::Staff, "anna"),
            on_behalf_of: Some(Actor::new(ActorKind::Customer, "cus_1")),
            reason: Some("as agreed".into()),
            correlation_id: Uuid::now_v7(),
            causation_id: None,
            occurred_at: self.now,
        };
        let done =
            self.writer.execute(Command { id: Uuid::now_v7(), operation, context, idempotency: None }).await.unwrap();
        self.last = done.position;
        done.answer
    }

    async fn projector(&self, committed: bool) -> Projector {
        let committed = committed.then(|| self.writer.committed());
        Projector::start(&self.store, BOARD, committed, ProjectorOptions::default()).await.unwrap()
    }

    async fn projected(&self, projector: Option<&Projector>) {
        let reader = Reader::new(&self.store, BOARD, projector);
        for projection in BOARD {
            reader.wait_for(projection.name, self.last, LONG).await.unwrap();
        }
    }
}

fn id<T: FromStr<Err: std::fmt::Debug>>(answer: &Json) -> T {
    answer["id"].as_str().unwrap().parse().unwrap()
}

fn usd(amount: &str) -> Money {
    Money::parse(amount, "USD").unwrap()
}

/// A little of everything that can happen.
async fn varied_history(ledger: &mut Ledger) {
    let customer: CustomerId =
        id(&ledger.act(Operation::RegisterCustomer(RegisterCustomer { name: "Ada".into(), email: None })).await);
    let account = open_account(ledger, &customer, "USD").await;
    groups_and_discounts(ledger, &customer).await;
    orders(ledger, &account).await;
    documents(ledger, &customer, &account).await;
    payments(ledger, &account).await;
    expenses(ledger, &account).await;
    terms_and_transfers(ledger, &customer, &account).await;
    tickets(ledger, &customer).await;
}

async fn open_account(ledger: &mut Ledger, customer: &CustomerId, currency: &str) -> AccountId {
    let open = OpenAccount {
        customer: customer.clone(),
        currency: currency.parse().unwrap(),
        name: format!("main {currency}"),
        time_zone: "Europe/Berlin".into(),
    };
    id(&ledger.act(Operation::OpenAccount(open)).await)
}

async fn groups_and_discounts(ledger: &mut Ledger, customer: &CustomerId) {
    for group in ["gold", "silver"] {
        let join = JoinGroup { customer: customer.clone(), group: group.into() };
        ledger.act(Operation::JoinGroup(join)).await;
    }
    let leave = LeaveGroup { customer: customer.clone(), group: "silver".into() };
    ledger.act(Operation::LeaveGroup(leave)).await;
    let grants = [
        (Audience::Everyone, Scope::All, Value::Percent(dec!(5))),
        (Audience::Group("gold".into()), Scope::Product("vps".into()), Value::AmountOff(usd("1.50"))),
        (Audience::Customer(customer.clone()), Scope::Product("domain".into()), Value::FixedPrice(usd("9.00"))),
    ];
    for (audience, scope, value) in grants {
        let grant = GrantDiscount {
            audience: audience.clone(),
            name: "spring".into(),
            scope,
            value,
            priority: 1,
            valid_from: None,
            valid_until: None,
        };
        let granted = ledger.act(Operation::GrantDiscount(grant)).await;
        if audience == Audience::Everyone {
            ledger.act(Operation::RevokeDiscount(RevokeDiscount { audience, discount: id(&granted) })).await;
        }
    }
}

fn item(product: &str, unit_price: Decimal, part: Option<PartOfPeriod>) -> ItemRequest {
    ItemRequest {
        product: product.into(),
        description: format!("one {product}"),
        quantity: dec!(2),
        unit_price,
        part,
        tax_rate: dec!(19),
    }
}

async fn orders(ledger: &mut Ledger, account: &AccountId) {
    let place = |description: &str| {
        Operation::PlaceOrder(PlaceOrder {
            account: account.clone(),
            description: description.into(),
            items: vec![
                item("vps", dec!(10.005), Some(PartOfPeriod { days: 20, of: 31 })),
                item("domain", dec!(12), None),
            ],
        })
    };
    let order: OrderId = id(&ledger.act(place("first")).await);
    let add = AddOrderItem { order: order.clone(), item: item("backup", dec!(1), None) };
    ledger.act(Operation::AddOrderItem(add)).await;
    ledger.act(Operation::RemoveOrderItem(RemoveOrderItem { order: order.clone(), number: 1 })).await;
    ledger.act(Operation::RenameOrder(RenameOrder { order: order.clone(), description: "second".into() })).await;
    let by = PayOrderBy::Payment { payer: None, method: "card".into(), amount: None };
    let paid = ledger.act(Operation::PayOrder(PayOrder { order: order.clone(), by: by.clone() })).await;
    let fail = PaymentStep::Fail { gateway_reason: "declined".into() };
    advance(ledger, &id(&paid["payment"]), fail).await;
    let paid = ledger.act(Operation::PayOrder(PayOrder { order, by })).await;
    advance(ledger, &id(&paid["payment"]), PaymentStep::Credit { document_number: Some("D-1".into()) }).await;

    let order = id(&ledger.act(place("never")).await);
    ledger.act(Operation::DeleteOrder(DeleteOrder { order })).await;
    let adjust = AdjustAccount { account: account.clone(), amount: usd("100.00"), description: "welcome".into() };
    ledger.act(Operation::AdjustAccount(adjust)).await;
    let order = id(&ledger.act(place("from the balance")).await);
    ledger.act(Operation::PayOrder(PayOrder { order, by: PayOrderBy::Balance })).await;
}

async fn documents(ledger: &mut Ledger, customer: &CustomerId, account: &AccountId) {
    let address = Address {
        country: "DE".into(),
        postal_code: "10115".into(),
        city: "Berlin".into(),
        street: "Chausseestr. 1".into(),
    };
    let create = CreatePayer {
        customer: customer.clone(),
        kind: PayerKind::Company,
        name: "Ada GmbH".into(),
        address: address.clone(),
        tax_number: None,
    };
    let payer: PayerId = id(&ledger.act(Operation::CreatePayer(create)).await);
    let changes = [
        PayerChange::Rename { name: "Ada AG".into() },
        PayerChange::Move { address: Address { city: "Potsdam".into(), ..address } },
        PayerChange::ChangeTaxNumber { tax_number: Some("DE1".into()) },
    ];
    for change in changes {
        ledger.act(Operation::ChangePayer(ChangePayer { payer: payer.clone(), change })).await;
    }

    let line = |item: &str, quantity| DraftLine {
        item: item.into(),
        description: format!("line {item}"),
        quantity,
        unit_price: dec!(30.0915),
        tax_rate: dec!(7),
    };
    let issued_on = NaiveDate::from_ymd_opt(2023, 12, 1).unwrap();
    let issue = IssueInvoice {
        account: account.clone(),
        payer: payer.clone(),
        numbering: Numbering::Series("INV".into()),
        issued_on,
        due_in_days: 14,
        policy: RoundingPolicy::default(),
        lines: vec![line("a", dec!(1)), line("b", dec!(5))],
        discount: None,
    };
    let invoice: InvoiceId = id(&ledger.act(Operation::IssueInvoice(issue)).await);
    let notice = GatewayNotice {
        gateway: "bank".into(),
        gateway_payment: "77".into(),
        payment: None,
        account: account.clone(),
        amount: usd("200.00"),
        purpose: Purpose::Invoice(invoice.clone()),
        outcome: NoticeOutcome::Succeeded,
    };
    ledger.act(Operation::GatewayNotice(notice)).await;
    let to_credit = LineToCredit { line: 2, quantity: Some(dec!(2)), amount: None };
    let credit = IssueCreditNote {
        account: account.clone(),
        payer: payer.clone(),
        numbering: Numbering::Given("CN-1".into()),
        issued_on,
        policy: RoundingPolicy::default(),
        lines: vec![
            CreditRequest::Line { invoice, line: to_credit, item: "b".into(), description: "returned".into() },
            CreditRequest::Free(line("goodwill", dec!(0.1))),
        ],
    };
    ledger.act(Operation::IssueCreditNote(credit)).await;
    ledger.act(Operation::ChangePayer(ChangePayer { payer, change: PayerChange::Deactivate })).await;
}

async fn advance(ledger: &mut Ledger, payment: &PaymentId, step: PaymentStep) {
    ledger.act(Operation::AdvancePayment(AdvancePayment { payment: payment.clone(), step })).await;
}

async fn payments(ledger: &mut Ledger, account: &AccountId) {
    let start = |amount| {
        Operation::StartPayment(StartPayment {
            account: account.clone(),
            payer: None,
            method: "card".into(),
            amount: usd(amount),
            purpose: Purpose::Advance,
        })
    };
    let pledged: PaymentId = id(&ledger.act(start("20.00")).await);
    advance(ledger, &pledged, PaymentStep::Submit).await;
    advance(ledger, &pledged, PaymentStep::Pledge).await;
    advance(ledger, &pledged, PaymentStep::WithdrawPledge).await;
    advance(ledger, &pledged, PaymentStep::Delete).await;
    let announced: PaymentId = id(&ledger.act(start("25.00")).await);
    let notice = GatewayNotice {
        gateway: "stripe".into(),
        gateway_payment: "pi_1".into(),
        payment: Some(announced.clone()),
        account: account.clone(),
        amount: usd("25.00"),
        purpose: Purpose::Advance,
        outcome: NoticeOutcome::Succeeded,
    };
    ledger.act(Operation::GatewayNotice(notice)).await;
    for (amount, succeeds) in [("5.00", true), ("3.00", false)] {
        let start = StartRefund { payment: announced.clone(), amount: usd(amount) };
        let refund: RefundId = id(&ledger.act(Operation::StartRefund(start)).await);
        let payment = announced.clone();
        let end = if succeeds {
            Operation::SettleRefund(SettleRefund { payment, refund })
        } else {
            Operation::FailRefund(FailRefund { payment, refund, gateway_reason: "card closed".into() })
        };
        ledger.act(end).await;
    }
    let stolen: PaymentId = id(&ledger.act(start("40.00")).await);
    advance(ledger, &stolen, PaymentStep::Credit { document_number: None }).await;
    advance(ledger, &stolen, PaymentStep::MarkFraudulent { gateway_reason: "chargeback".into() }).await;
}

async fn expenses(ledger: &mut Ledger, account: &AccountId) {
    let record = RecordExpense {
        account: account.clone(),
        description: "remote hands".into(),
        quantity: dec!(1),
        net: usd("400.00"),
        tax_rate: dec!(19),
    };
    let expense: ExpenseId = id(&ledger.act(Operation::RecordExpense(record)).await);
    let notice = GatewayNotice {
        gateway: "bank".into(),
        gateway_payment: "78".into(),
        payment: None,
        account: account.clone(),
        amount: usd("500.00"),
        purpose: Purpose::Advance,
        outcome: NoticeOutcome::Succeeded,
    };
    let payment: PaymentId = id(&ledger.act(Operation::GatewayNotice(notice)).await);
    let charge = Some(ChargeRef::Expense(expense.clone()));
    for (from, to) in [(charge.clone(), None), (None, charge)] {
        let allocate = AllocatePayment { payment: payment.clone(), from, to, amount: usd("1.00") };
        ledger.act(Operation::AllocatePayment(allocate)).await;
    }
    for total in ["480.00", "8.00"] {
        let adjust = AdjustExpense { expense: expense.clone(), total: usd(total) };
        ledger.act(Operation::AdjustExpense(adjust)).await;
    }
    ledger.act(Operation::ReverseExpense(ReverseExpense { expense: expense.clone() })).await;
    ledger.act(Operation::ReinstateExpense(ReinstateExpense { expense: expense.clone() })).await;
}

async fn terms_and_transfers(ledger: &mut Ledger, customer: &CustomerId, account: &AccountId) {
    let hold = HoldFunds { account: account.clone(), amount: usd("2.00") };
    let hold: HoldId = id(&ledger.act(Operation::HoldFunds(hold)).await);
    ledger.act(Operation::ReleaseHold(ReleaseHold { account: account.clone(), hold })).await;
    ledger.act(Operation::HoldFunds(HoldFunds { account: account.clone(), amount: usd("1.00") })).await;
    let euros = open_account(ledger, customer, "EUR").await;
    let transfer = TransferFunds {
        from: account.clone(),
        to: euros.clone(),
        amount: usd("10.00"),
        rate: dec!(0.9123),
        rate_source: "central bank".into(),
    };
    ledger.act(Operation::TransferFunds(transfer)).await;
    let terms = [Terms::AutomaticAllocationOff, Terms::AutomaticAllocationOn, Terms::CreditLimit(usd("50.00"))];
    for terms in terms {
        ledger.act(Operation::ChangeTerms(ChangeTerms { account: account.clone(), terms })).await;
    }
    for terms in [Terms::PostPaidAllowed, Terms::PostPaidRevoked, Terms::PostPaidAllowed] {
        ledger.act(Operation::ChangeTerms(ChangeTerms { account: euros.clone(), terms })).await;
    }
}

async fn tickets(ledger: &mut Ledger, customer: &CustomerId) {
    for restored in [false, true] {
        let open = OpenTicket {
            customer: customer.clone(),
            category: "technical".into(),
            subject: "it is slow".into(),
            about: None,
            message: "why?".into(),
        };
        let ticket: TicketId = id(&ledger.act(Operation::OpenTicket(open)).await);
        let mut actions = vec![
            TicketAction::TakeUp,
            TicketAction::Answer { message: "try again".into() },
            TicketAction::Reply { message: "no better".into() },
            TicketAction::Answer { message: "we changed a disk".into() },
            TicketAction::Read,
            TicketAction::Archive,
        ];
        if restored {
            actions.push(TicketAction::Restore);
        }
        for action in actions {
            ledger.act(Operation::WriteOnTicket(WriteOnTicket { ticket: ticket.clone(), action })).await;
        }
    }
}

#[tokio::test]
async fn live_rows_are_rebuilt_rows_are_a_fresh_fold() {
    let mut ledger = Ledger::new().await;
    let projector = ledger.projector(true).await;
    varied_history(&mut ledger).await;
    ledger.projected(Some(&projector)).await;

    for projection in BOARD {
        let mut connection = ledger.store.connection().await.unwrap();
        let live = checksum(projection, &mut connection).await.unwrap();
        for table in &live {
            assert!(table.rows > 0, "the history leaves nothing in {}", table.table);
        }
        let verified = verify(&ledger.store, projection).await.unwrap();
        assert_eq!((verified.different, verified.position), (0, ledger.last), "{verified:?}");
        let rebuilt = rebuild(&ledger.store, projection, |_| {}).await.unwrap();
        assert_eq!(rebuilt.position, ledger.last);
        assert_eq!(checksum(projection, &mut connection).await.unwrap(), live);
        assert_eq!(verify(&ledger.store, projection).await.unwrap().different, 0);
    }
    projector.shutdown().await;
}

#[tokio::test]
async fn two_projectors_at_once_apply_every_event_once() {
    let mut ledger = Ledger::new().await;
    let small = ProjectorOptions { batch: 3, ..ProjectorOptions::default() };
    let elsewhere = ledger._database.store().await;
    let here = Projector::start(&ledger.store, BOARD, Some(ledger.writer.committed()), small.clone()).await.unwrap();
    let there = Projector::start(&elsewhere, BOARD, None, small).await.unwrap();
    varied_history(&mut ledger).await;
    ledger.projected(Some(&here)).await;
    ledger.projected(None).await;

    for projection in BOARD {
        let verified = verify(&ledger.store, projection).await.unwrap();
        assert_eq!((verified.different, verified.position), (0, ledger.last), "{verified:?}");
    }
    here.shutdown().await;
    there.shutdown().await;
}

#[tokio::test]
async fn an_event_that_cannot_be_folded_stops_those_who_follow_it_and_no_other() {
    let mut ledger = Ledger::new().await;
    varied_history(&mut ledger).await;
    let before = ledger.last;
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         values ('ticket', 'tkt_broken', 1, 'ticket.answered', '1.0', '{\"answered\": {}}', '{}')",
    )
    .execute(ledger._database.pool())
    .await
    .unwrap();
    ledger.act(Operation::RegisterCustomer(RegisterCustomer { name: "Bob".into(), email: None })).await;

    let projector = ledger.projector(false).await;
    let reader = Reader::new(&ledger.store, BOARD, Some(&projector));
    for projection in BOARD {
        let follows = matches!(projection.name, "tickets" | "history" | "journal");
        match reader.wait_for(projection.name, ledger.last, LONG).await {
            Ok(()) => assert!(!follows, "{} went over it", projection.name),
            Err(ReadError::Behind { position, stopped, .. }) => {
                assert_eq!((position, stopped, follows), (before, true, true))
            }
            Err(other) => panic!("{other}"),
        }
        let verified = verify(&ledger.store, projection).await.unwrap();
        assert_eq!(verified.different, 0, "{verified:?}");
    }

    let mut connection = ledger.store.connection().await.unwrap();
    for standing in standings(BOARD, &mut connection).await.unwrap() {
        if standing.state == State::Stopped {
            assert_eq!(standing.error_position, Some(before + 1));
            let error = standing.error.unwrap();
            assert!(error.starts_with(&format!("event {}: the event cannot be read", before + 1)), "{error}");
            assert_eq!((standing.position, standing.lag_events), (before, 2));
        } else {
            assert_eq!((standing.error, standing.lag_events, standing.lag_milliseconds), (None, 0, 0));
        }
    }
    projector.shutdown().await;
}

#[tokio::test]
async fn a_row_that_was_tampered_with_is_named() {
    let mut ledger = Ledger::new().await;
    let projector = ledger.projector(true).await;
    varied_history(&mut ledger).await;
    ledger.projected(Some(&projector)).await;
    sqlx::query("update accounts_v1 set balance = balance + 1 where currency = 'EUR'")
        .execute(ledger._database.pool())
        .await
        .unwrap();

    let verified = verify(&ledger.store, find("accounts").unwrap()).await.unwrap();
    assert_eq!((verified.rows, verified.different), (2, 1));
    let Difference { table, key, stored, expected } = &verified.differences[0];
    let (stored, expected) = (stored.as_ref().unwrap(), expected.as_ref().unwrap());
    assert_eq!((*table, &key["id"]), ("accounts", &expected["id"]));
    assert_eq!((stored["balance"].to_string(), expected["balance"].to_string()), ("10.12".into(), "9.12".into()));
    projector.shutdown().await;
}
