//! Many tasks, few accounts, random commands, two processes: whatever comes of it, the book is right.

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use daybook_core::{
    Position,
    domain::{
        Account, AccountEvent, AccountId, CustomerId, Event, ExpenseId, InvoiceEvent, Money, PayerId, PaymentId,
        RefundId,
        invoice::DraftLine,
        payer::{Address, PayerKind},
        posting::balanced,
    },
    operations::{
        AccountOpening, AdjustAccount, FailRefund, GatewayNotice, IssueInvoice, NoticeOutcome, Numbering, Operation,
        Profile, RecordExpense, ReverseExpense, SettleRefund, StartRefund, TransferFunds,
    },
    store::{RawEvent, Upcasters},
    terms::tax::RoundingPolicy,
    writer::{ExecuteError, WriterHandle},
};
use daybook_projections::{
    BOARD, Projector, ProjectorOptions, Reader,
    engine::{Room, verify},
    find,
};
use daybook_tests::{
    TestDatabase,
    commands::{command, id, keyed, noon, register},
    database,
    history::LONG,
    whole_book,
};
use futures::future::join_all;
use proptest::prelude::*;
use rust_decimal::{Decimal, dec};

use crate::laws::reference::{Deed, Paper};

const TASKS: usize = 64;
/// Two customers with an account in each.
const CURRENCIES: [&str; 4] = ["USD", "EUR", "GBP", "CHF"];
const ACCOUNTS: usize = 2 * CURRENCIES.len();

/// What a task does next. Figures are whole, so that tax on them needs no rounding.
#[derive(Clone, Debug)]
enum Step {
    /// The same number is the same payment, whichever task hears of it.
    Pay {
        account: usize,
        number: u8,
    },
    Adjust {
        account: usize,
        cents: i64,
    },
    Invoice {
        account: usize,
        net: u32,
    },
    Spend {
        account: usize,
        net: u32,
        reverse: bool,
    },
    Transfer {
        from: usize,
        to: usize,
        cents: i64,
        rate: Decimal,
    },
    Refund {
        account: usize,
        number: u8,
        cents: i64,
        fails: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let account = || 0..ACCOUNTS;
    let rate = prop::sample::select(vec![dec!(1), dec!(2), dec!(0.5), dec!(0.3333)]);
    prop_oneof![
        4 => (account(), 0..12_u8).prop_map(|(account, number)| Step::Pay { account, number }),
        2 => (account(), (-3000_i64..3000).prop_filter("a correction is not zero", |cents| *cents != 0))
            .prop_map(|(account, cents)| Step::Adjust { account, cents }),
        2 => (account(), 1..40_u32).prop_map(|(account, net)| Step::Invoice { account, net }),
        2 => (account(), 1..40_u32, any::<bool>())
            .prop_map(|(account, net, reverse)| Step::Spend { account, net, reverse }),
        3 => (account(), 1..CURRENCIES.len(), 2..6000_i64, rate).prop_map(|(from, further, cents, rate)| {
            let customer = from / CURRENCIES.len() * CURRENCIES.len();
            Step::Transfer { from, to: customer + (from + further) % CURRENCIES.len(), cents, rate }
        }),
        2 => (account(), 0..12_u8, 1..4000_i64, any::<bool>())
            .prop_map(|(account, number, cents, fails)| Step::Refund { account, number, cents, fails }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_book_agrees_with_paper(tasks in prop::collection::vec(prop::collection::vec(step(), 1..8), TASKS)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(check(tasks));
    }
}

async fn check(tasks: Vec<Vec<Step>>) {
    let database = database().await;
    let (one, running) = database.writer().await;
    let (other, running_too) = database.writer().await;
    // It takes over what one of the two appends, and reads what the other does.
    let store = database.store().await;
    let projector = Projector::start(&store, BOARD, Some(&one), ProjectorOptions::default()).await.unwrap();
    let parties = Parties::open(&one).await;

    let tasks = tasks.into_iter().enumerate().map(|(number, steps)| {
        let writer = if number % 2 == 0 { one.clone() } else { other.clone() };
        tokio::spawn(Task { number, parties: parties.clone(), writer, seen: Vec::new() }.run(steps))
    });
    let seen: Vec<Seen> = join_all(tasks).await.into_iter().flat_map(|seen| seen.unwrap()).collect();
    running.shutdown().await;
    running_too.shutdown().await;

    let head = store.head().await.unwrap().position;
    let reader = Reader::new(&store, BOARD, Some(&projector));
    for name in ["accounts", "account_statement", "journal", "history"] {
        reader.wait_for(name, head, LONG).await.unwrap();
        assert_eq!(verify(&store, &find(name).unwrap(), &Room::default()).await.unwrap().different, 0, "{name}");
    }
    projector.shutdown().await;

    let paper = agree(seen);
    histories_agree(&database, &parties, &paper).await;
}

/// The customers, their payers and their accounts.
#[derive(Clone)]
struct Parties {
    accounts: Vec<AccountId>,
    payers: Vec<PayerId>,
}

impl Parties {
    async fn open(writer: &WriterHandle) -> Self {
        let (mut accounts, mut payers) = (Vec::new(), Vec::new());
        for name in ["Anna", "Berta"] {
            let customer: CustomerId = id(&writer.execute(register(name)).await.unwrap().answer);
            let payer = Operation::CreatePayer(Profile {
                customer: customer.clone(),
                kind: PayerKind::Individual,
                name: name.into(),
                address: Address { country: "DE".into(), ..Address::default() },
                tax_number: None,
            });
            payers.push(id(&writer.execute(command(payer)).await.unwrap().answer));
            for currency in CURRENCIES {
                let open = Operation::OpenAccount(AccountOpening {
                    customer: customer.clone(),
                    currency: currency.parse().unwrap(),
                    name: currency.into(),
                    time_zone: "UTC".into(),
                });
                accounts.push(id(&writer.execute(command(open)).await.unwrap().answer));
            }
        }
        Self { accounts, payers }
    }
}

/// What a task asked for and was told.
#[derive(Debug)]
struct Seen {
    deed: Deed,
    /// Where it stands, and the balance that the answer tells; or the code of the refusal.
    outcome: Result<(Position, Option<Decimal>), &'static str>,
    /// The book reached at least so far before it was asked for, and when it was answered.
    since: Position,
    until: Position,
}

struct Task {
    number: usize,
    parties: Parties,
    writer: WriterHandle,
    seen: Vec<Seen>,
}

impl Task {
    async fn run(mut self, steps: Vec<Step>) -> Vec<Seen> {
        for step in steps {
            match step {
                Step::Pay { account, number } => self.pay(account, number).await,
                Step::Adjust { account, cents } => self.adjust(account, Decimal::new(cents, 2)).await,
                Step::Invoice { account, net } => self.invoice(account, net.into()).await,
                Step::Spend { account, net, reverse } => self.spend(account, net.into(), reverse).await,
                Step::Transfer { from, to, cents, rate } => self.transfer(from, to, Decimal::new(cents, 2), rate).await,
                Step::Refund { account, number, cents, fails } => {
                    self.refund(account, number, Decimal::new(cents, 2), fails).await;
                }
            }
        }
        self.seen
    }

    /// Executes twice at once under one key, and expects one answer. `deed` says what was asked for, by the id that
    /// the answer gives.
    async fn execute(&mut self, operation: Operation, deed: impl FnOnce(&str) -> Deed) -> Option<String> {
        let key = format!("{}-{}", self.number, self.seen.len());
        let command = keyed(command(operation), &key, 0);
        let committed = self.writer.committed();
        let since = *committed.borrow();
        let (first, second) = tokio::join!(self.writer.execute(command.clone()), self.writer.execute(command));
        let until = *committed.borrow();
        match (first, second) {
            (Ok(first), Ok(second)) => {
                assert!(!first.replayed && second.replayed);
                assert_eq!((first.position, &first.answer), (second.position, &second.answer));
                let id = first.answer["id"].as_str().unwrap_or_default();
                let balance = first.answer["balance"]["amount"].as_str().map(|text| text.parse().unwrap());
                self.seen.push(Seen { deed: deed(id), outcome: Ok((first.position, balance)), since, until });
                Some(id.to_owned())
            }
            // A refusal leaves its key free, so that the second may find that it can be done by now.
            (Err(ExecuteError::Refused(refusal)), second) => {
                let id = second.as_ref().ok().and_then(|done| done.answer["id"].as_str()).map(str::to_owned);
                match second {
                    Ok(done) => {
                        let balance = done.answer["balance"]["amount"].as_str().map(|text| text.parse().unwrap());
                        let deed = deed(id.as_deref().unwrap_or_default());
                        self.seen.push(Seen { deed, outcome: Ok((done.position, balance)), since, until });
                    }
                    Err(ExecuteError::Refused(_)) => {
                        self.seen.push(Seen { deed: deed(""), outcome: Err(refusal.code()), since, until });
                    }
                    Err(error) => panic!("{error}"),
                }
                id
            }
            unexpected => panic!("{unexpected:?}"),
        }
    }

    async fn pay(&mut self, account: usize, number: u8) {
        let amount = Decimal::from(10 + 5 * u32::from(number));
        let operation = Operation::GatewayNotice(GatewayNotice {
            gateway: "test".into(),
            gateway_payment: format!("{account}-{number}"),
            payment: None,
            account: self.parties.accounts[account].clone(),
            amount: money(account, amount),
            purpose: daybook_core::domain::payment::Purpose::Advance,
            outcome: NoticeOutcome::Succeeded,
        });
        let payment = payment(account, number).as_str().to_owned();
        self.execute(operation, |_| Deed::Paid { account, payment, amount }).await;
    }

    async fn adjust(&mut self, account: usize, amount: Decimal) {
        let operation = Operation::AdjustAccount(AdjustAccount {
            account: self.parties.accounts[account].clone(),
            amount: money(account, amount),
            description: "a correction".into(),
        });
        self.execute(operation, |_| Deed::Adjusted { account, amount }).await;
    }

    async fn invoice(&mut self, account: usize, net: Decimal) {
        let operation = Operation::IssueInvoice(IssueInvoice {
            account: self.parties.accounts[account].clone(),
            payer: self.parties.payers[account / CURRENCIES.len()].clone(),
            numbering: Numbering::Series("INV".into()),
            issued_on: Some(noon().date_naive()),
            due_in_days: 0,
            policy: RoundingPolicy::default(),
            lines: vec![DraftLine {
                item: "x".into(),
                description: "a thing".into(),
                quantity: dec!(1),
                unit_price: net,
                tax_rate: dec!(20),
            }],
            discount: None,
        });
        self.execute(operation, |_| Deed::Invoiced { account, total: net * dec!(1.2) }).await;
    }

    async fn spend(&mut self, account: usize, net: Decimal, reverse: bool) {
        let operation = Operation::RecordExpense(RecordExpense {
            account: self.parties.accounts[account].clone(),
            description: "a thing".into(),
            quantity: dec!(1),
            net: money(account, net),
            tax_rate: dec!(20),
        });
        let total = net * dec!(1.2);
        let spent = |id: &str| Deed::Spent { account, expense: id.into(), total };
        if let Some(expense) = self.execute(operation, spent).await
            && reverse
        {
            let id: ExpenseId = expense.parse().unwrap();
            let operation = Operation::ReverseExpense(ReverseExpense { expense: id });
            self.execute(operation, |_| Deed::SpendingReversed { expense }).await;
        }
    }

    async fn transfer(&mut self, from: usize, to: usize, sent: Decimal, rate: Decimal) {
        let operation = Operation::TransferFunds(TransferFunds {
            from: self.parties.accounts[from].clone(),
            to: self.parties.accounts[to].clone(),
            amount: money(from, sent),
            rate,
            rate_source: "the tests".into(),
        });
        self.execute(operation, |_| Deed::Transferred { from, to, sent, rate }).await;
    }

    async fn refund(&mut self, account: usize, number: u8, amount: Decimal, fails: bool) {
        let payment = payment(account, number);
        let operation = Operation::StartRefund(StartRefund {
            payment: payment.clone(),
            amount: money(account, amount),
            gateway_refund: None,
        });
        let name = payment.as_str().to_owned();
        let started = |id: &str| Deed::RefundStarted { payment: name, refund: id.into(), amount };
        let Some(refund) = self.execute(operation, started).await else { return };
        let id: RefundId = refund.parse().unwrap();
        if fails {
            let gateway_reason = "card expired".into();
            let operation = Operation::FailRefund(FailRefund { payment, refund: id, gateway_reason });
            self.execute(operation, |_| Deed::RefundFailed { refund }).await;
        } else {
            let operation = Operation::SettleRefund(SettleRefund { payment, refund: id, gateway_refund: None });
            self.execute(operation, |_| Deed::RefundSettled { refund }).await;
        }
    }
}

fn money(account: usize, amount: Decimal) -> Money {
    Money::new(amount, CURRENCIES[account % CURRENCIES.len()].parse().unwrap()).unwrap()
}

fn payment(account: usize, number: u8) -> PaymentId {
    PaymentId::named(&format!("test:{account}-{number}")).unwrap()
}

/// Does on paper what was done, in the order of the book: every balance told must be the one on paper, and every
/// refusal must have had its reason at some moment while the caller waited.
fn agree(seen: Vec<Seen>) -> Paper {
    let mut first_notices: BTreeMap<String, Position> = BTreeMap::new();
    for seen in &seen {
        if let (Deed::Paid { payment, .. }, Ok((position, _))) = (&seen.deed, &seen.outcome) {
            let first = first_notices.entry(payment.clone()).or_insert(*position);
            *first = (*first).min(*position);
        }
    }
    // A notice that was heard before records nothing, so that it shares its position with what is recorded there.
    let heard_before = |seen: &Seen, position: Position| matches!(&seen.deed, Deed::Paid { payment, .. } if first_notices[payment] < position);
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for seen in seen {
        match seen.outcome {
            Ok((position, balance)) => done.push((position, heard_before(&seen, position), seen.deed, balance)),
            Err(code) => refused.push((seen.since, seen.until, code, seen.deed)),
        }
    }
    done.sort_by_key(|(position, heard_before, ..)| (*position, *heard_before));

    let mut paper = Paper::default();
    let mut moments = vec![(0, paper.clone())];
    for (position, _, deed, told) in done {
        let balance = paper.record(&deed).unwrap_or_else(|obstacle| panic!("{deed:?} at {position}: {obstacle:?}"));
        if let Some(told) = told {
            assert_eq!(Some(told), balance, "{deed:?} at {position}");
        }
        moments.push((position, paper.clone()));
    }
    for (since, until, code, deed) in refused {
        let first = moments.iter().rposition(|(position, _)| *position <= since).unwrap();
        let mut while_waiting = moments[first..].iter().take_while(|(position, _)| *position <= until);
        let had_its_reason =
            while_waiting.any(|(_, paper)| paper.clone().record(&deed).is_err_and(|obstacle| obstacle.contains(&code)));
        assert!(had_its_reason, "{deed:?} was refused as {code} between {since} and {until}");
    }
    paper
}

/// The book itself: dense, balanced, and each account's history entry by entry.
async fn histories_agree(database: &TestDatabase, parties: &Parties, paper: &Paper) {
    let book = whole_book(database.pool()).await;
    assert_eq!(database.store().await.head().await.unwrap().position, book.len() as u64);
    let mut invoices = 0;
    for event in book.iter().map(|raw| raw.event(&Upcasters::default()).unwrap()) {
        balanced(&event.postings()).unwrap();
        if let Event::Invoice(InvoiceEvent::Finalised(document)) = event {
            invoices += 1;
            assert_eq!(document.number, format!("INV-{invoices:06}"));
        }
    }
    for (number, account) in parties.accounts.iter().enumerate() {
        let history = book.iter().filter(|raw| raw.aggregate_id == account.as_str());
        let folded = history_agrees(history, number);
        let ledger = folded.ledger().unwrap();
        assert_eq!(ledger.balance.amount(), paper.balance(number));
        assert_eq!(ledger.funds.values().map(|funds| funds.free.amount()).sum::<Decimal>(), paper.free(number));
        let uncovered: Decimal = ledger.charges.values().map(|charge| charge.uncovered.amount()).sum();
        assert_eq!(uncovered, paper.uncovered(number));
    }
}

fn history_agrees<'a>(history: impl Iterator<Item = &'a RawEvent>, number: usize) -> Account {
    let mut account = Account::default();
    let (mut entries, mut balance) = (0, Decimal::ZERO);
    for raw in history {
        let Event::Account(event) = raw.event(&Upcasters::default()).unwrap() else {
            panic!("an account has events of its own: {raw:?}")
        };
        let told = match &event {
            AccountEvent::Credited { entry, amount, balance: told, .. } => {
                balance += amount.amount();
                Some((entry, told))
            }
            AccountEvent::Charged { entry, amount, balance: told, .. } => {
                balance -= amount.amount();
                Some((entry, told))
            }
            _ => None,
        };
        if let Some((entry, told)) = told {
            entries += 1;
            assert_eq!((*entry, *told), (entries, money(number, balance)));
        }
        account.apply(event);
    }
    account
}
