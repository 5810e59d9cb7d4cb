//! A history in which everything happens that can happen, and the ledger in which it happens.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use daybook_core::{
    Actor, ActorKind, Context, Position,
    domain::{
        AccountId, CustomerId, DisputeId, ExpenseId, Id, InvoiceId, OrderId, Party, PayerId, PaymentId, RefundId,
        TicketId, UserId,
        account::HoldId,
        discount::{Audience, Scope, Value},
        function::{Function, Role},
        invoice::{DraftLine, LineToCredit},
        order::{ItemRequest, PartOfPeriod},
        payer::{Address, PayerKind},
        payment::Purpose,
        user::{Contact, ContactKind, CredentialChange, FactorKind, FactorResetStep, MembershipChange, TokenGrant},
    },
    operations::{
        AccountOpening, AddOrderItem, AdjustAccount, AdjustExpense, AdvancePayment, AllocatePayment, ChangeCredentials,
        ChangeMembership, ChangePayer, ChangeTerms, ChangeUser, ChargeRef, ClosePeriod, CreditRequest, DeleteOrder,
        FailRefund, GatewayNotice, GrantDiscount, HoldFunds, Invitation, InviteUser, IssueCreditNote, IssueInvoice,
        JoinGroup, LeaveGroup, LoseDispute, NoticeOutcome, Numbering, OpenDispute, Operation, PayOrder, PayOrderBy,
        PayerChange, PaymentRequest, PaymentStep, PlaceOrder, Profile, RecordExpense, Registration, ReinstateExpense,
        ReleaseHold, RemoveOrderItem, RenameOrder, ResetFactors, ReverseExpense, RevokeDiscount, SettleRefund,
        StartRefund, Terms, TicketAction, TicketOpening, TransferFunds, UserChange, WinDispute, WriteOnTicket,
    },
    store::Store,
    terms::tax::RoundingPolicy,
    writer::{Command, Writer, WriterHandle, WriterOptions},
};
use daybook_projections::{BOARD, Projector, ProjectorOptions, Reader};
use rust_decimal::{Decimal, dec};
use serde_json::Value as Json;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    Template, TestDatabase,
    commands::{id, usd},
    database,
};

/// Longer than anything takes.
pub const LONG: Duration = Duration::from_secs(60);

/// When the history of a ledger begins.
const BEGINNING: DateTime<Utc> = DateTime::from_timestamp_micros(1_700_000_000_123_456).expect("a time");

/// A ledger in a database of its own, with a writer.
#[derive(Debug)]
pub struct Ledger {
    // Dropped last: it takes the database away.
    pub store: Store,
    pub writer: WriterHandle,
    running: Writer,
    now: DateTime<Utc>,
    /// The position of the last event.
    pub last: Position,
    pub database: TestDatabase,
}

impl Ledger {
    pub async fn new() -> Self {
        Self::on(database().await, BEGINNING, 0).await
    }

    /// After a varied history, of which no projection has an event yet.
    pub async fn varied() -> Self {
        copied(&WRITTEN, async || {
            let mut ledger = Self::new().await;
            varied_history(&mut ledger).await;
            ledger
        })
        .await
    }

    /// After a varied history that every projection has. No projector runs.
    pub async fn varied_and_projected() -> Self {
        copied(&PROJECTED, async || {
            let ledger = Self::varied().await;
            let projector = ledger.projector(false).await;
            ledger.projected(Some(&projector)).await;
            projector.shutdown().await;
            ledger
        })
        .await
    }

    /// The same by a writer of its own options, in a database that nobody copies.
    pub async fn varied_with(options: WriterOptions) -> Self {
        let mut ledger = Self::writing(database().await, BEGINNING, 0, options).await;
        varied_history(&mut ledger).await;
        ledger
    }

    /// What is left when the writer has ended.
    pub async fn stopped(self) -> (Store, TestDatabase) {
        self.running.shutdown().await;
        (self.store, self.database)
    }

    async fn on(database: TestDatabase, now: DateTime<Utc>, last: Position) -> Self {
        Self::writing(database, now, last, WriterOptions::default()).await
    }

    async fn writing(database: TestDatabase, now: DateTime<Utc>, last: Position, options: WriterOptions) -> Self {
        let store = database.store().await;
        let (writer, running) = Writer::start(store.clone(), options);
        Self { store, writer, running, now, last, database }
    }

    /// Does it, a day and an hour after what was done before.
    pub async fn act(&mut self, operation: Operation) -> Json {
        self.now += TimeDelta::hours(25);
        self.act_at(self.now, operation).await
    }

    /// Does it as of a moment.
    pub async fn act_at(&mut self, occurred_at: DateTime<Utc>, operation: Operation) -> Json {
        let context = Context {
            actor: Actor::new(ActorKind::Staff, "anna"),
            principal: None,
            on_behalf_of: Some(Actor::new(ActorKind::Customer, "cus_1")),
            reason: Some("as agreed".into()),
            correlation_id: Uuid::now_v7(),
            causation_id: None,
            occurred_at,
        };
        let command = Command { id: Uuid::now_v7(), operation, context, idempotency: None, expected: None };
        let done = self.writer.execute(command).await.expect("the history is one that the domain allows");
        self.last = done.position;
        done.answer
    }

    /// Runs until it is shut down; `beside_writer` tells whether the writer wakes it and hands its events over.
    pub async fn projector(&self, beside_writer: bool) -> Projector {
        let writer = beside_writer.then_some(&self.writer);
        Projector::start(&self.store, BOARD, writer, ProjectorOptions::default())
            .await
            .expect("a projector can be started")
    }

    /// Waits until every projection has every event.
    pub async fn projected(&self, projector: Option<&Projector>) {
        let reader = Reader::new(&self.store, BOARD, projector);
        for projection in BOARD {
            reader.wait_for(projection.name, self.last, LONG).await.expect("all projections arrive");
        }
    }
}

/// A ledger that is written once and copied: its database, the time of its last command and its last position.
type Copied = OnceCell<(Template, DateTime<Utc>, Position)>;

static WRITTEN: Copied = OnceCell::const_new();
static PROJECTED: Copied = OnceCell::const_new();

async fn copied(original: &Copied, write: impl AsyncFn() -> Ledger) -> Ledger {
    if !Template::can_be_kept().await {
        return write().await;
    }
    let kept = original.get_or_init(async || {
        let Ledger { store, writer, running, now, last, database } = write().await;
        drop((store, writer));
        running.shutdown().await;
        (database.into_template().await, now, last)
    });
    let (template, now, last) = kept.await;
    Ledger::on(template.copy().await, *now, *last).await
}

/// A little of everything that can happen.
pub async fn varied_history(ledger: &mut Ledger) {
    let customer: CustomerId =
        id(&ledger.act(Operation::RegisterCustomer(Registration { name: "Ada".into(), email: None })).await);
    let account = open_account(ledger, &customer, "USD").await;
    groups_and_discounts(ledger, &customer).await;
    orders(ledger, &account).await;
    documents(ledger, &customer, &account).await;
    payments(ledger, &account).await;
    expenses(ledger, &account).await;
    terms_and_transfers(ledger, &customer, &account).await;
    tickets(ledger, &customer).await;
    users(ledger, &customer).await;
    close_a_period(ledger, &account).await;
}

async fn open_account(ledger: &mut Ledger, customer: &CustomerId, currency: &str) -> AccountId {
    let open = AccountOpening {
        customer: customer.clone(),
        currency: currency.parse().expect("a currency"),
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
    advance(ledger, &id(&paid["payment"]), PaymentStep::Credit { document_number: Some("D-1".into()), amount: None })
        .await;

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
    let create = Profile {
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
        ledger.act(Operation::ChangePayer(ChangePayer { payer: payer.clone(), changes: vec![change] })).await;
    }

    let line = |item: &str, quantity| DraftLine {
        item: item.into(),
        description: format!("line {item}"),
        quantity,
        unit_price: dec!(30.0915),
        tax_rate: dec!(7),
    };
    let issued_on = NaiveDate::from_ymd_opt(2023, 12, 1).expect("a day");
    let issue = IssueInvoice {
        account: account.clone(),
        payer: payer.clone(),
        numbering: Numbering::Series("INV".into()),
        issued_on: Some(issued_on),
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
        issued_on: Some(issued_on),
        policy: RoundingPolicy::default(),
        lines: vec![
            CreditRequest::Line { invoice, line: to_credit, item: "b".into(), description: "returned".into() },
            CreditRequest::Free(line("goodwill", dec!(0.1))),
        ],
    };
    ledger.act(Operation::IssueCreditNote(credit)).await;
    ledger.act(Operation::ChangePayer(ChangePayer { payer, changes: vec![PayerChange::Deactivate] })).await;
}

async fn advance(ledger: &mut Ledger, payment: &PaymentId, step: PaymentStep) {
    ledger.act(Operation::AdvancePayment(AdvancePayment { payment: payment.clone(), step })).await;
}

async fn payments(ledger: &mut Ledger, account: &AccountId) {
    let start = |amount| {
        Operation::StartPayment(PaymentRequest {
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
        let start = StartRefund { payment: announced.clone(), amount: usd(amount), gateway_refund: None };
        let refund: RefundId = id(&ledger.act(Operation::StartRefund(start)).await);
        let payment = announced.clone();
        let end = if succeeds {
            Operation::SettleRefund(SettleRefund { payment, refund, gateway_refund: None })
        } else {
            Operation::FailRefund(FailRefund { payment, refund, gateway_reason: "card closed".into() })
        };
        ledger.act(end).await;
    }
    disputes(ledger, &announced, account).await;
    let stolen: PaymentId = id(&ledger.act(start("40.00")).await);
    advance(ledger, &stolen, PaymentStep::Credit { document_number: None, amount: None }).await;
    advance(ledger, &stolen, PaymentStep::MarkFraudulent { gateway_reason: "chargeback".into() }).await;
}

/// One dispute is won, one is lost; a payment comes short, and a refund of it is made at the gateway.
async fn disputes(ledger: &mut Ledger, payment: &PaymentId, account: &AccountId) {
    for (name, amount) in [("dp_1", "4.00"), ("dp_2", "2.50")] {
        let open = OpenDispute {
            payment: payment.clone(),
            gateway_dispute: name.into(),
            amount: usd(amount),
            gateway_reason: "product not received".into(),
        };
        let dispute: DisputeId = id(&ledger.act(Operation::OpenDispute(open)).await);
        let payment = payment.clone();
        let end = if name == "dp_1" {
            Operation::WinDispute(WinDispute { payment, dispute })
        } else {
            Operation::LoseDispute(LoseDispute { payment, dispute })
        };
        ledger.act(end).await;
    }
    let start = PaymentRequest {
        account: account.clone(),
        payer: None,
        method: "card".into(),
        amount: usd("12.00"),
        purpose: Purpose::Advance,
    };
    let short: PaymentId = id(&ledger.act(Operation::StartPayment(start)).await);
    let notice = |amount, outcome| {
        Operation::GatewayNotice(GatewayNotice {
            gateway: "stripe".into(),
            gateway_payment: "pi_2".into(),
            payment: Some(short.clone()),
            account: account.clone(),
            amount: usd(amount),
            purpose: Purpose::Advance,
            outcome,
        })
    };
    ledger.act(notice("11.50", NoticeOutcome::Succeeded)).await;
    ledger.act(notice("11.50", NoticeOutcome::Refunded { gateway_refund: "re_1".into() })).await;
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

/// All that was done before is closed; what is back-dated to it takes effect afterwards.
async fn close_a_period(ledger: &mut Ledger, account: &AccountId) {
    let (long_ago, through) = (ledger.now - TimeDelta::days(40), ledger.now.date_naive());
    let close = ClosePeriod { through, time_zone: "Europe/Berlin".into() };
    ledger.now += TimeDelta::days(1);
    ledger.act(Operation::ClosePeriod(close)).await;
    let adjust = AdjustAccount { account: account.clone(), amount: usd("-1.10"), description: "forgotten".into() };
    ledger.act_at(long_ago, Operation::AdjustAccount(adjust)).await;
}

async fn tickets(ledger: &mut Ledger, customer: &CustomerId) {
    for restored in [false, true] {
        let open = TicketOpening {
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

/// Two persons: one of the customer's, and one of the provider's who has no right any more.
async fn users(ledger: &mut Ledger, customer: &CustomerId) {
    use MembershipChange as M;

    let party = Party::Customer(customer.clone());
    let invite = |login: &str, party: &Party, rights: Vec<M>| {
        Operation::InviteUser(InviteUser {
            invitation: Invitation {
                login: format!("{login}@example.org").into(),
                login_name: Id::named(login).expect("a name"),
                name: format!("{login} the person").into(),
            },
            party: party.clone(),
            rights,
        })
    };
    let ada: UserId = id(&ledger.act(invite("lovelace", &party, vec![M::GrantSuperuser])).await);
    let clerk: UserId = id(&ledger.act(invite("clerk", &party, vec![])).await);
    let olga: UserId = id(&ledger.act(invite("olga", &Party::Provider, vec![M::GrantRole(Role::Staff)])).await);
    let address = Address { country: "GB".into(), city: "London upon Thames".into(), ..Address::default() };
    for (user, change) in [
        (&ada, UserChange::Rename { name: "Ada Lovelace".into() }),
        (&ada, UserChange::Move { address }),
        (
            &ada,
            UserChange::AddContact {
                contact: Contact { kind: ContactKind::Email, value: "lovelace@example.org".into() },
            },
        ),
        (
            &ada,
            UserChange::AddContact {
                contact: Contact { kind: ContactKind::Telephone, value: "+44 20 7946 0000".into() },
            },
        ),
        (&ada, UserChange::RemoveContact { number: 1 }),
        (&clerk, UserChange::Disable),
        (&clerk, UserChange::Enable),
        (&olga, UserChange::Disable),
    ] {
        ledger.act(Operation::ChangeUser(ChangeUser { user: user.clone(), change })).await;
    }
    for (user, party, change) in [
        (&clerk, &party, M::GrantSuperuser),
        (&ada, &party, M::RevokeSuperuser),
        (&ada, &party, M::GrantFunction(Function::OrdersRead)),
        (&ada, &party, M::GrantFunction(Function::TicketsRead)),
        (&ada, &party, M::DenyFunction(Function::TicketsRead)),
        (&olga, &Party::Provider, M::RevokeRole(Role::Staff)),
    ] {
        let (user, party) = (user.clone(), party.clone());
        ledger.act(Operation::ChangeMembership(ChangeMembership { user, party, change })).await;
    }
    let grant = |name: &str| TokenGrant {
        token: Id::named(name).expect("a name"),
        party: party.clone(),
        name: name.into(),
        functions: Some([Function::OrdersRead].into_iter().collect()),
        expires_at: Some(ledger.now + TimeDelta::days(30)),
    };
    let (kept, revoked) = (grant("kept"), grant("revoked"));
    let factor =
        |name: &str| CredentialChange::AddFactor { factor: Id::named(name).expect("a name"), kind: FactorKind::Totp };
    for change in [
        CredentialChange::SetPassword { password: Id::named("first").expect("a name") },
        CredentialChange::SetPassword { password: Id::named("second").expect("a name") },
        factor("lost"),
        factor("telephone"),
        CredentialChange::RemoveFactor { factor: Id::named("lost").expect("a name") },
        CredentialChange::MakeRecoveryCodes { codes: Id::named("codes").expect("a name") },
        CredentialChange::RevokeToken { token: revoked.token.clone() },
    ] {
        if matches!(change, CredentialChange::RevokeToken { .. }) {
            for grant in [&kept, &revoked] {
                let change = CredentialChange::MakeToken(grant.clone());
                ledger.act(Operation::ChangeCredentials(ChangeCredentials { user: ada.clone(), change })).await;
            }
        }
        ledger.act(Operation::ChangeCredentials(ChangeCredentials { user: ada.clone(), change })).await;
    }
    // One factor is taken off after all, and one reset is still waited for: all at one moment.
    let (at, wait) = (ledger.now, TimeDelta::zero());
    let key = CredentialChange::AddFactor { factor: Id::named("key").expect("a name"), kind: FactorKind::Totp };
    let key = Operation::ChangeCredentials(ChangeCredentials { user: clerk.clone(), change: key });
    let step = |user: &UserId, step| Operation::ResetFactors(ResetFactors { user: user.clone(), step });
    for operation in [
        key,
        step(&ada, FactorResetStep::Request { wait }),
        step(&ada, FactorResetStep::Cancel),
        step(&clerk, FactorResetStep::Request { wait }),
        step(&clerk, FactorResetStep::Complete),
        step(&ada, FactorResetStep::Request { wait }),
    ] {
        ledger.act_at(at, operation).await;
    }
}
