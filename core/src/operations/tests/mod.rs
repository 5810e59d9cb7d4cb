//! The operations over books in memory: every command is decided as the writer does it, and after each the books are
//! checked as an auditor would.

mod access;
mod accounts;
mod disputes;
mod documents;
mod expenses;
mod orders;
mod payments;
mod random;
mod tickets;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::{
    AccountOpening, Answer, IssueInvoice, Numbering, Operation, OperationRejection, PaymentRequest, Profile, Refusal,
    Registration,
};
use crate::{
    domain::{
        Account, AccountEvent, AccountId, CreditNoteEvent, Event, Id, Invoice, InvoiceEvent, InvoiceId,
        LedgerAggregate, Money, Noun, OrderId, PayerId, Payment, PaymentId,
        account::{Entry, Ledger},
        invoice::{Document, DraftLine},
        payer::{Address, PayerKind},
        payment::{Purpose, Status},
        posting::balanced,
    },
    event::{Actor, ActorKind, Context},
    operations::{AdvancePayment, PaymentStep},
    state::{Aggregates, Loaded, NewEvent, StreamKey, UnitOfWork},
    terms::tax::RoundingPolicy,
};

/// Books in memory, and all that has been recorded in them.
struct Books {
    aggregates: Aggregates,
    context: Context,
    /// When commands are given.
    now: DateTime<Utc>,
    commands: u128,
    events: Vec<NewEvent>,
}

impl Books {
    fn new() -> Self {
        Self {
            aggregates: Aggregates::new(usize::MAX),
            context: Context {
                actor: Actor::new(ActorKind::Staff, "anna"),
                principal: None,
                on_behalf_of: None,
                reason: Some("asked by telephone".into()),
                correlation_id: Uuid::nil(),
                causation_id: None,
                occurred_at: noon("2026-07-12"),
            },
            // No command of most tests is dated ahead.
            now: noon("2036-01-01"),
            commands: 0,
            events: Vec::new(),
        }
    }

    /// Decides an operation, checks the books, and answers with what the operation answers.
    fn run(&mut self, operation: Operation) -> Result<Answer, Refusal> {
        self.commands += 1;
        // The moment when it is given, and a step wide enough for the identifiers that one command makes.
        let now = u128::try_from(self.now.timestamp_millis()).expect("a moment after 1970");
        let command_id = Uuid::from_u128((now << 80) + 0x7000_8000_0000_0000_0000 + (self.commands << 20));
        loop {
            let mut books = UnitOfWork::new(&self.aggregates, &self.context, command_id);
            let decision = operation.decide(&mut books);
            let missing = books.missing().to_vec();
            if !missing.is_empty() {
                for stream in missing {
                    let blank = Loaded::blank(stream.aggregate_type).expect("the type is on the board");
                    self.aggregates.insert(stream, blank);
                }
                continue;
            }
            let answer = decision?;
            let outcome = books.finish();
            for (stream, loaded) in outcome.touched {
                self.aggregates.insert(stream, loaded);
            }
            self.events.extend(outcome.events.iter().cloned());
            self.check(&outcome.events);
            return Ok(answer);
        }
    }

    /// As [`Self::run`], where a refusal would be a fault of the test.
    fn done(&mut self, operation: Operation) -> Answer {
        self.run(operation).expect("the operation is accepted")
    }

    fn refused(&mut self, operation: Operation) -> Refusal {
        let before = self.events.len();
        let refusal = self.run(operation).expect_err("the operation is refused");
        assert_eq!(self.events.len(), before, "a refused command leaves nothing behind");
        refusal
    }

    fn without_reason(&mut self, operation: Operation) -> Refusal {
        let reason = self.context.reason.take();
        let refusal = self.refused(operation);
        self.context.reason = reason;
        refusal
    }

    fn state<A: LedgerAggregate>(&self, id: &Id<A>) -> &A {
        self.aggregates.get(&StreamKey::of(id)).expect("the stream is in memory").state()
    }

    fn ledger(&self, account: &AccountId) -> &Ledger {
        self.state(account).ledger().expect("the account is open")
    }

    fn balance(&self, account: &AccountId) -> Decimal {
        self.ledger(account).balance.amount()
    }

    fn due(&self, invoice: &InvoiceId) -> Decimal {
        self.state(invoice).standing().expect("the invoice is final").due.amount()
    }

    /// The types of the events of the last commands, from a point in the book.
    fn types_since(&self, position: usize) -> Vec<String> {
        self.events[position..].iter().map(|new| new.event.event_type()).collect()
    }

    /// The balances after each entry of an account, in order.
    fn statement(&self, account: &AccountId) -> Vec<Decimal> {
        let stream = StreamKey::of(account);
        let entries = self.events.iter().filter(|new| new.stream == stream);
        entries.filter_map(|new| movement(&new.event)).map(|(_, _, balance)| balance.amount()).collect()
    }

    // ── the auditor ─────────────────────────────────────────────────────────────────────────────────────────────

    fn check(&self, new: &[NewEvent]) {
        for new in new {
            let event = &new.event;
            assert_eq!(balanced(&event.postings()), Ok(()), "{event:?}");
            let read = Event::decode(event.aggregate_type(), &event.payload());
            assert_eq!(read.as_ref().ok(), Some(event), "an event reads back as it was written: {read:?}");
        }
        let mut numbers = BTreeSet::new();
        for (kind, number) in self.events.iter().filter_map(|new| number_of(&new.event)) {
            assert!(numbers.insert((kind, number)), "two documents have the number {number}");
        }
        let mut streams: BTreeMap<&StreamKey, Vec<&NewEvent>> = BTreeMap::new();
        for new in &self.events {
            streams.entry(&new.stream).or_default().push(new);
        }
        let touched: HashMap<&StreamKey, ()> = new.iter().map(|new| (&new.stream, ())).collect();
        for (stream, events) in streams.into_iter().filter(|(stream, _)| touched.contains_key(stream)) {
            self.check_stream(stream, &events);
        }
    }

    /// Sequences are dense, a fold of the events is the state, and so is a snapshot of it.
    fn check_stream(&self, stream: &StreamKey, events: &[&NewEvent]) {
        let loaded = self.aggregates.get(stream).expect("what was touched is in memory");
        let mut folded = Loaded::blank(stream.aggregate_type).expect("the type is on the board");
        for (new, sequence) in events.iter().zip(1..) {
            assert_eq!(new.sequence, sequence, "{stream:?}");
            folded.apply(new.event.clone());
        }
        assert_eq!(folded.sequence, loaded.sequence);
        let snapshot = loaded.any().to_json();
        assert_eq!(folded.any().to_json(), snapshot);
        let mut restored = Loaded::blank(stream.aggregate_type).expect("the type is on the board");
        restored.any_mut().restore(&snapshot).expect("a snapshot reads back");
        assert_eq!(restored.any().to_json(), snapshot);
        match stream.aggregate_type {
            "account" => self.check_account(loaded.state::<Account>(), events),
            "invoice" => self.check_invoice(loaded.state::<Invoice>(), events),
            "payment" => self.check_payment(loaded.state::<Payment>()),
            _ => {}
        }
    }

    fn check_account(&self, account: &Account, events: &[&NewEvent]) {
        let ledger = account.ledger().expect("an account with events is open");
        let mut balance = Decimal::ZERO;
        let mut last: Entry = 0;
        for (entry, change, after) in events.iter().filter_map(|new| movement(&new.event)) {
            assert_eq!(entry, last + 1, "entries are numbered without gaps");
            last = entry;
            balance += change;
            assert_eq!(balance, after.amount(), "each entry tells the balance after it");
        }
        assert_eq!((balance, last), (ledger.balance.amount(), ledger.last_entry));

        let free: Decimal = ledger.funds.values().map(|funds| funds.free.amount()).sum();
        let uncovered: Decimal = ledger.charges.values().map(|charge| charge.uncovered.amount()).sum();
        assert_eq!(balance, free - uncovered, "the balance is what is free less what is uncovered");

        for entry in ledger.free_funds() {
            assert!(
                !ledger.ahead.contains_key(&entry),
                "funds {entry} are dated ahead and cover nothing by themselves"
            );
            assert!(!ledger.free(entry).is_zero());
        }

        let mut covers = BTreeMap::new();
        for (&entry, funds) in &ledger.funds {
            assert!(!funds.free.is_negative(), "funds {entry} are overdrawn");
            for &(charge, part) in &funds.covers {
                assert!(part.is_positive());
                assert_eq!(covers.insert((entry, charge), part), None);
            }
        }
        for (&entry, charge) in &ledger.charges {
            assert!(!charge.uncovered.is_negative(), "charge {entry} is covered twice");
            for &(funds, part) in &charge.covered_by {
                assert_eq!(covers.remove(&(funds, entry)), Some(part), "both sides of a cover agree");
            }
            if let crate::domain::account::ChargeOrigin::Invoice(invoice) = &charge.origin {
                let standing = self.state(invoice).standing().expect("what is charged is final");
                assert_eq!(standing.due, charge.uncovered, "an invoice knows what of it is due");
                assert_eq!(standing.status == crate::domain::invoice::Status::Paid, charge.uncovered.is_zero());
            }
        }
        assert!(covers.is_empty(), "funds cover what is not covered by them: {covers:?}");
    }

    fn check_invoice(&self, invoice: &Invoice, events: &[&NewEvent]) {
        let standing = invoice.standing().expect("an invoice with events is final");
        assert!(!standing.due.is_negative() && standing.due.amount() <= standing.totals.total.amount());
        assert!(standing.credited.total.amount() <= standing.totals.total.amount(), "more is credited than was owed");
        assert!(standing.credited.tax.amount() <= standing.totals.tax.amount());
        for line in &standing.lines {
            assert!(line.amount >= Decimal::ZERO && line.amount <= line.of_amount, "{line:?}");
        }
        for new in events {
            if let Event::Invoice(InvoiceEvent::LinesCredited { totals, .. }) = &new.event {
                assert_eq!(totals.net + totals.tax.amount() - totals.residue, totals.total.amount());
                assert!(!totals.tax.is_negative());
            }
        }
    }

    fn check_payment(&self, payment: &Payment) {
        let Payment::Started(started) = payment else { return };
        let refunding: Decimal = started.refunding.values().map(|refund| refund.amount.amount()).sum();
        if started.made_refunds.is_empty() && started.disputes.is_empty() {
            let received = started.received.amount();
            assert!(started.returned.amount() + refunding <= received, "more goes back than came in");
        }
        for dispute in started.disputes.values() {
            let taken = self.ledger(&started.account).charges.get(&dispute.entry).expect("a dispute is charged");
            assert_eq!(taken.amount(), dispute.amount, "a dispute is charged with its amount");
        }
        if started.status == Status::Fraudulent {
            let entry = started.entry.expect("it was credited or pledged");
            assert!(self.ledger(&started.account).free(entry).is_zero(), "what the gateway took back is not free");
        }
    }

    // ── fixtures ────────────────────────────────────────────────────────────────────────────────────────────────

    /// A customer's account, empty.
    fn account(&mut self, currency: &str) -> AccountId {
        let customer =
            id(&self.done(Operation::RegisterCustomer(Registration { name: "Ada Byron".into(), email: None })));
        self.account_of(&customer, currency)
    }

    fn account_of(&mut self, customer: &crate::domain::CustomerId, currency: &str) -> AccountId {
        self.opened(customer, currency, "Europe/Berlin")
    }

    /// A customer's account in dollars, kept in another time zone.
    fn account_in(&mut self, time_zone: &str) -> AccountId {
        let customer =
            id(&self.done(Operation::RegisterCustomer(Registration { name: "Ada Byron".into(), email: None })));
        self.opened(&customer, "USD", time_zone)
    }

    fn opened(&mut self, customer: &crate::domain::CustomerId, currency: &str, time_zone: &str) -> AccountId {
        id(&self.done(Operation::OpenAccount(AccountOpening {
            customer: customer.clone(),
            currency: currency.parse().expect("a currency"),
            name: "main".into(),
            time_zone: time_zone.into(),
        })))
    }

    /// An invoice as it was issued.
    fn document(&self, invoice: &InvoiceId) -> &Document {
        let mut of_it = self.events.iter().filter(|new| &*new.stream.aggregate_id == invoice.as_str());
        match of_it.next().map(|new| &new.event) {
            Some(Event::Invoice(InvoiceEvent::Finalised(document))) => document,
            other => panic!("an invoice begins with its document, not with {other:?}"),
        }
    }

    fn payer(&mut self, account: &AccountId) -> PayerId {
        let customer = self.ledger(account).customer.clone();
        id(&self.done(Operation::CreatePayer(Profile {
            customer,
            kind: PayerKind::Individual,
            name: "Ada Byron".into(),
            address: Address { country: "GB".into(), city: "London".into(), ..Address::default() },
            tax_number: None,
        })))
    }

    /// A payment that has arrived.
    fn paid_for(&mut self, account: &AccountId, amount: &str, purpose: Purpose) -> PaymentId {
        let amount = self.money(account, amount);
        let payment = id(&self.done(start_payment(account, amount, purpose)));
        self.done(step(&payment, PaymentStep::Credit { document_number: None, amount: None }));
        payment
    }

    fn paid(&mut self, account: &AccountId, amount: &str) -> PaymentId {
        self.paid_for(account, amount, Purpose::Advance)
    }

    fn invoice_of(&mut self, account: &AccountId, lines: &[(&str, &str)]) -> InvoiceId {
        self.invoice_by(account, lines, RoundingPolicy::default())
    }

    fn invoice_by(&mut self, account: &AccountId, lines: &[(&str, &str)], policy: RoundingPolicy) -> InvoiceId {
        let payer = self.payer(account);
        let draft = IssueInvoice { policy, ..invoice(account, &payer, lines) };
        id(&self.done(Operation::IssueInvoice(draft)))
    }

    fn money(&self, account: &AccountId, amount: &str) -> Money {
        Money::parse(amount, self.ledger(account).currency().code()).expect("an amount of the account's currency")
    }
}

/// The number of the document that an event issues, and the kind of the document.
fn number_of(event: &Event) -> Option<(&'static str, &str)> {
    match event {
        Event::Invoice(InvoiceEvent::Finalised(document)) => Some(("invoice", &document.number)),
        Event::CreditNote(CreditNoteEvent::Issued(document)) => Some(("credit note", &document.number)),
        _ => None,
    }
}

/// The entry of an account that an event makes: its number, its signed amount, the balance after it.
fn movement(event: &Event) -> Option<(Entry, Decimal, Money)> {
    match event {
        Event::Account(AccountEvent::Credited { entry, amount, balance, .. }) => {
            Some((*entry, amount.amount(), *balance))
        }
        Event::Account(AccountEvent::Charged { entry, amount, balance, .. }) => {
            Some((*entry, -amount.amount(), *balance))
        }
        _ => None,
    }
}

/// The identifier that an answer tells.
fn id<N: Noun>(answer: &Answer) -> Id<N> {
    text(answer, "id").parse().expect("the answer tells an identifier of that noun")
}

fn text<'a>(answer: &'a Answer, field: &str) -> &'a str {
    answer[field].as_str().expect("the answer has that field as text")
}

/// The amount of a field of an answer.
fn amount(answer: &Answer, field: &str) -> Decimal {
    answer[field]["amount"].as_str().and_then(|text| text.parse().ok()).expect("the answer has that field as money")
}

fn usd(amount: &str) -> Money {
    Money::parse(amount, "USD").expect("dollars")
}

fn day(date: &str) -> NaiveDate {
    date.parse().expect("a date")
}

fn noon(date: &str) -> DateTime<Utc> {
    day(date).and_hms_opt(12, 0, 0).expect("noon").and_utc()
}

fn order_for(order: &OrderId) -> Purpose {
    Purpose::Order(order.clone())
}

fn start_payment(account: &AccountId, amount: Money, purpose: Purpose) -> Operation {
    let (account, method) = (account.clone(), "bank".into());
    Operation::StartPayment(PaymentRequest { account, payer: None, method, amount, purpose })
}

fn step(payment: &PaymentId, step: PaymentStep) -> Operation {
    Operation::AdvancePayment(AdvancePayment { payment: payment.clone(), step })
}

/// An invoice of single pieces: price and tax rate of each line.
fn invoice(account: &AccountId, payer: &PayerId, lines: &[(&str, &str)]) -> IssueInvoice {
    IssueInvoice {
        account: account.clone(),
        payer: payer.clone(),
        numbering: Numbering::Series("INV-2026".into()),
        issued_on: Some(day("2026-07-12")),
        due_in_days: 14,
        policy: RoundingPolicy::default(),
        lines: lines.iter().map(|(price, rate)| line("1", price, rate)).collect(),
        discount: None,
    }
}

fn line(quantity: &str, price: &str, rate: &str) -> DraftLine {
    DraftLine {
        item: "vps".into(),
        description: "VPS".into(),
        quantity: number(quantity),
        unit_price: number(price),
        tax_rate: number(rate),
    }
}

fn number(text: &str) -> Decimal {
    text.parse().expect("a number")
}

fn no_reason() -> Refusal {
    OperationRejection::ReasonMissing.into()
}
