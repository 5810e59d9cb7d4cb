//! Whatever the writer accepts, everything after it can hold: random commands with the oddest values that there are go
//! through every projection, export and `daybook verify`.

use std::{env, process::Command as Program};

use chrono::{DateTime, TimeDelta, Utc};
use daybook_core::{
    Actor, ActorKind, Context,
    domain::{
        AccountId, Currency, CustomerId, DisputeId, ExpenseId, InvoiceId, Money, OrderId, PayerId, PaymentId, RefundId,
        Rounding,
        discount::{Audience, Scope, Value},
        invoice::{DocumentDiscount, DraftLine, LineToCredit},
        order::{ItemRequest, PartOfPeriod},
        payer::{Address, PayerKind},
        payment::Purpose,
    },
    operations::{
        AccountOpening, AdjustAccount, AdjustExpense, AdvancePayment, Answer, ChangeTerms, CreditRequest, FailRefund,
        GatewayNotice, GrantDiscount, IssueCreditNote, IssueInvoice, LoseDispute, NoticeOutcome, Numbering,
        OpenDispute, Operation, PayOrder, PayOrderBy, PaymentRequest, PaymentStep, PlaceOrder, Profile, RecordExpense,
        Registration, ReverseExpense, SettleRefund, StartRefund, Terms, TicketOpening, TransferFunds, WinDispute,
    },
    terms::tax::{RoundingPolicy, TaxRounding},
    writer::{Command, ExecuteError, WriterOptions},
};
use daybook_projections::{BOARD, Projector, ProjectorOptions, Reader};
use daybook_tests::{
    accountant::{ACCOUNTANTS, export, exported},
    commands::id,
    database,
    history::LONG,
    program,
};
use futures::{StreamExt, stream};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use rust_decimal::Decimal;
use uuid::Uuid;

/// How many commands are accepted before everything is looked at. `DAYBOOK_SOAK` asks for ten times as many, of another seed
/// each time; `DAYBOOK_SEED` names one.
const ACCEPTED: usize = 10_000;

/// What makes texts that readers of them stumble over.
const PIECES: [&str; 24] = [
    "a",
    "Ada Byron",
    " ",
    "\n",
    "\t",
    "\r\n",
    "\u{1}",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "\u{202e}",
    "é",
    "e\u{301}",
    "№ 5",
    "𝒜🏴‍☠️",
    "\"",
    "'",
    "\\",
    "\\u0000",
    ";  : | {}",
    "=SUM(A1)",
    "-- */ $$",
    "<b>&amp;",
];

const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "America/Los_Angeles", "Pacific/Apia", "Asia/Kathmandu", "Pacific/Kiritimati"];

/// What exists so far.
#[derive(Default)]
struct World {
    customers: Vec<CustomerId>,
    accounts: Vec<(CustomerId, AccountId, Currency)>,
    payers: Vec<(CustomerId, PayerId)>,
    payments: Vec<(PaymentId, Currency)>,
    orders: Vec<(OrderId, Currency)>,
    invoices: Vec<(AccountId, InvoiceId)>,
    expenses: Vec<(ExpenseId, Currency)>,
    disputes: Vec<(PaymentId, DisputeId)>,
    refunds: Vec<(PaymentId, RefundId)>,
    /// Payments by the gateway's id.
    notices: Vec<(String, AccountId, Money)>,
}

/// Random values at the ends of their ranges as often as between them.
struct Dice(StdRng);

impl Dice {
    fn one_in(&mut self, of: u32) -> bool {
        self.0.random_ratio(1, of)
    }

    fn pick<'t, T>(&mut self, things: &'t [T]) -> Option<&'t T> {
        things.choose(&mut self.0)
    }

    fn text(&mut self) -> String {
        let pieces = self.0.random_range(1..6);
        let mut text: String = (0..pieces).map(|_| *PIECES.choose(&mut self.0).expect("there are pieces")).collect();
        match self.0.random_range(0..200) {
            // Refused, wherever it stands.
            0 => text.push('\0'),
            1 => text = text.repeat(1_000),
            _ => {}
        }
        text
    }

    /// A name that a gateway gives: few, so that the same ones come again, and some odd ones.
    fn name(&mut self) -> String {
        if self.one_in(6) { self.text() } else { format!("№ {}", self.0.random_range(0..3)) }
    }

    /// A number of up to so many decimals, small ones as often as large ones. So many of them sum up to less than 28 digits,
    /// which is what a decimal of this program holds.
    fn number(&mut self, decimals: u32) -> Decimal {
        let digits = self.0.random_range(0..5);
        let whole = self.0.random_range(0..10_u64.pow(digits));
        Decimal::from_i128_with_scale(whole.into(), self.0.random_range(0..=decimals))
    }

    fn money(&mut self, currency: Currency) -> Money {
        match self.0.random_range(0..40) {
            0 => Money::new(Decimal::from(9_999_999_u64), currency).expect("a large amount"),
            1 => Money::new(Decimal::new(1, currency.digits()), currency).expect("the smallest amount"),
            _ => Money::round(self.number(currency.digits()), currency, Rounding::TowardsZero),
        }
    }

    /// A moment in which something can be recorded, and some in which nothing can.
    fn moment(&mut self) -> DateTime<Utc> {
        match self.0.random_range(0..12) {
            0 => "1900-01-01T00:00:00Z".parse().expect("the first moment"),
            1 => Utc::now() + TimeDelta::days(self.0.random_range(0..366)),
            2 => "2011-12-30T09:59:59.999999Z".parse().expect("a day that Samoa skipped"),
            3 if self.one_in(20) => "2026-06-30T23:59:60.5Z".parse().expect("a leap second"),
            4 if self.one_in(20) => "+12026-01-01T00:00:00Z".parse().expect("a far year"),
            _ => {
                let seconds = self.0.random_range(-2_200_000_000..1_790_000_000);
                DateTime::from_timestamp_micros(seconds * 1_000_000 + self.0.random_range(0..1_000_000))
                    .expect("a moment")
            }
        }
    }

    fn line(&mut self) -> DraftLine {
        DraftLine {
            item: self.text(),
            description: self.text(),
            quantity: self.number(6),
            unit_price: self.number(8),
            tax_rate: self.rate(),
        }
    }

    fn rate(&mut self) -> Decimal {
        *self.pick(&["0", "7", "19", "999.9999", "0.0001"].map(|rate| rate.parse().expect("a rate"))).expect("a rate")
    }

    fn policy(&mut self) -> RoundingPolicy {
        RoundingPolicy {
            rounding: *self
                .pick(&[Rounding::HalfAwayFromZero, Rounding::HalfEven, Rounding::TowardsZero])
                .expect("there are rules"),
            tax: if self.one_in(2) { TaxRounding::PerRate } else { TaxRounding::PerLine },
            prices_include_tax: self.one_in(2),
        }
    }

    fn numbering(&mut self) -> Numbering {
        match self.0.random_range(0..4) {
            0 => Numbering::Given(self.text()),
            1 => Numbering::Given(format!("INV-{:06}", self.0.random_range(1..2_000))),
            2 => Numbering::SeriesOfTheYear("INV"),
            _ => Numbering::Series("INV".into()),
        }
    }

    fn context(&mut self) -> Context {
        Context {
            actor: Actor::new(ActorKind::Staff, "anna"),
            principal: None,
            on_behalf_of: None,
            reason: Some(self.text()),
            correlation_id: Uuid::now_v7(),
            causation_id: None,
            occurred_at: self.moment(),
        }
    }

    fn operation(&mut self, world: &World) -> Option<Operation> {
        let kind = self.0.random_range(0..38);
        if kind == 0 || world.customers.len() < 5 {
            return Some(Operation::RegisterCustomer(Registration { name: self.text().into(), email: None }));
        }
        let customer = self.pick(&world.customers)?.clone();
        if kind == 1 || world.accounts.len() < 12 {
            let code = *self.pick(&["USD", "EUR", "JPY", "BHD", "CLF", "HUF"])?;
            return Some(Operation::OpenAccount(AccountOpening {
                customer,
                currency: code.parse().ok()?,
                name: self.text(),
                time_zone: (*self.pick(&ZONES)?).into(),
            }));
        }
        if kind == 2 || world.payers.len() < 12 {
            return Some(Operation::CreatePayer(Profile {
                customer,
                kind: if self.one_in(2) { PayerKind::Company } else { PayerKind::Individual },
                name: self.text().into(),
                address: Address {
                    country: "GB".into(),
                    postal_code: self.text().into(),
                    city: self.text().into(),
                    street: self.text().into(),
                },
                tax_number: self.one_in(2).then(|| self.text().into()),
            }));
        }
        let (customer, account, currency) = self.pick(&world.accounts)?.clone();
        let of_customer: Vec<_> = world.payers.iter().filter(|(of, _)| *of == customer).collect();
        let payer = self.pick(&of_customer).map(|(_, payer)| payer.clone());
        let amount = self.money(currency);
        Some(match kind {
            3 | 4 => Operation::AdjustAccount(AdjustAccount {
                account,
                amount: if self.one_in(2) { amount } else { amount.negated() },
                description: self.text(),
            }),
            5 | 6 => Operation::StartPayment(PaymentRequest {
                account,
                payer,
                method: self.text(),
                amount,
                purpose: Purpose::Advance,
            }),
            7 | 8 => {
                let (payment, currency) = self.pick(&world.payments)?.clone();
                let step = match self.0.random_range(0..6) {
                    0 => PaymentStep::Submit,
                    1 => PaymentStep::Pledge,
                    2 => PaymentStep::Fail { gateway_reason: self.text() },
                    3 => PaymentStep::MarkFraudulent { gateway_reason: self.text() },
                    _ => PaymentStep::Credit {
                        document_number: self.one_in(2).then(|| self.text()),
                        amount: self.one_in(2).then(|| self.money(currency)),
                    },
                };
                Operation::AdvancePayment(AdvancePayment { payment, step })
            }
            9..=12 => Operation::GatewayNotice(GatewayNotice {
                gateway: "Bank".into(),
                gateway_payment: format!("{}{}", self.text().trim(), self.0.random_range(0..1_000_000)),
                payment: None,
                account,
                amount,
                purpose: Purpose::Advance,
                outcome: match self.0.random_range(0..4) {
                    0 => NoticeOutcome::Failed { gateway_reason: self.text() },
                    _ => NoticeOutcome::Succeeded,
                },
            }),
            13..=16 => Operation::IssueInvoice(IssueInvoice {
                account,
                payer: payer?,
                numbering: self.numbering(),
                issued_on: None,
                due_in_days: self.0.random(),
                policy: self.policy(),
                lines: (0..self.0.random_range(1..5)).map(|_| self.line()).collect(),
                discount: match self.0.random_range(0..4) {
                    0 => Some(DocumentDiscount::Percent(Decimal::new(self.0.random_range(0..=1_000_000), 4))),
                    1 => Some(DocumentDiscount::AmountOff(self.money(currency))),
                    2 => Some(DocumentDiscount::Percent(Decimal::ONE_HUNDRED)),
                    _ => None,
                },
            }),
            17 | 18 => {
                let (account, invoice) = self.pick(&world.invoices)?.clone();
                let customer = world.accounts.iter().find(|(_, of, _)| *of == account)?.0.clone();
                let (_, payer) = world.payers.iter().find(|(of, _)| *of == customer)?.clone();
                let line = match self.one_in(2) {
                    true => CreditRequest::Free(self.line()),
                    false => CreditRequest::Line {
                        invoice,
                        line: LineToCredit { line: 1, quantity: None, amount: self.one_in(2).then(|| self.number(8)) },
                        item: self.text(),
                        description: self.text(),
                    },
                };
                Operation::IssueCreditNote(IssueCreditNote {
                    account,
                    payer,
                    numbering: self.numbering(),
                    issued_on: None,
                    policy: self.policy(),
                    lines: vec![line],
                })
            }
            19..=21 => Operation::RecordExpense(RecordExpense {
                account,
                description: self.text(),
                quantity: self.number(6),
                net: amount,
                tax_rate: self.rate(),
            }),
            22 => {
                let (expense, currency) = self.pick(&world.expenses)?.clone();
                match self.one_in(2) {
                    true => Operation::ReverseExpense(ReverseExpense { expense }),
                    false => Operation::AdjustExpense(AdjustExpense { expense, total: self.money(currency) }),
                }
            }
            23 | 24 => Operation::PlaceOrder(PlaceOrder {
                account,
                description: self.text(),
                items: vec![ItemRequest {
                    product: self.text(),
                    description: self.text(),
                    quantity: self.number(6),
                    unit_price: self.number(8),
                    part: self.one_in(3).then_some(PartOfPeriod { days: 1, of: u32::MAX }),
                    tax_rate: self.rate(),
                }],
            }),
            25 => {
                let (order, _) = self.pick(&world.orders)?.clone();
                let by = match self.one_in(2) {
                    true => PayOrderBy::Balance,
                    false => PayOrderBy::Payment { payer: None, method: self.text(), amount: None },
                };
                Operation::PayOrder(PayOrder { order, by })
            }
            26 => {
                let mut own = world.accounts.iter().filter(|(of, to, _)| *of == customer && *to != account);
                Operation::TransferFunds(TransferFunds {
                    to: own.next()?.1.clone(),
                    from: account,
                    amount,
                    rate: self.number(10),
                    rate_source: self.text(),
                })
            }
            27 => {
                let (payment, currency) = self.pick(&world.payments)?.clone();
                Operation::StartRefund(StartRefund { payment, amount: self.money(currency), gateway_refund: None })
            }
            28 => Operation::GrantDiscount(GrantDiscount {
                audience: Audience::Customer(customer),
                name: self.text(),
                scope: Scope::All,
                value: Value::AmountOff(amount),
                priority: self.0.random(),
                valid_from: self.one_in(2).then(|| self.moment()),
                valid_until: self.one_in(2).then(|| self.moment()),
            }),
            29 => Operation::ChangeTerms(ChangeTerms { account, terms: Terms::CreditLimit(amount) }),
            32 => {
                let (payment, currency) = self.pick(&world.payments)?.clone();
                Operation::OpenDispute(OpenDispute {
                    payment,
                    gateway_dispute: self.name(),
                    amount: self.money(currency),
                    gateway_reason: self.text(),
                })
            }
            33 => {
                let (payment, dispute) = self.pick(&world.disputes)?.clone();
                match self.one_in(2) {
                    true => Operation::WinDispute(WinDispute { payment, dispute }),
                    false => Operation::LoseDispute(LoseDispute { payment, dispute }),
                }
            }
            34 => {
                let (payment, currency) = self.pick(&world.payments)?.clone();
                let gateway_refund = Some(self.name());
                Operation::StartRefund(StartRefund { payment, amount: self.money(currency), gateway_refund })
            }
            35 => {
                let (payment, refund) = self.pick(&world.refunds)?.clone();
                match self.one_in(3) {
                    true => Operation::FailRefund(FailRefund { payment, refund, gateway_reason: self.text() }),
                    false => {
                        let gateway_refund = self.one_in(2).then(|| self.name());
                        Operation::SettleRefund(SettleRefund { payment, refund, gateway_refund })
                    }
                }
            }
            36 => {
                let (gateway_payment, account, amount) = self.pick(&world.notices)?.clone();
                let gateway_dispute = self.name();
                let outcome = match self.0.random_range(0..6) {
                    0 | 1 => NoticeOutcome::Disputed { gateway_dispute, gateway_reason: self.text() },
                    2 => NoticeOutcome::DisputeWon { gateway_dispute },
                    3 => NoticeOutcome::DisputeLost { gateway_dispute },
                    4 => NoticeOutcome::Refunded { gateway_refund: gateway_dispute },
                    _ => NoticeOutcome::Fraudulent { gateway_reason: self.text() },
                };
                // The payment's own amount as often as another one.
                let amount = if self.one_in(2) { amount } else { self.money(amount.currency()) };
                Operation::GatewayNotice(GatewayNotice {
                    gateway: "bank".into(),
                    gateway_payment,
                    payment: None,
                    account,
                    amount,
                    purpose: Purpose::Advance,
                    outcome,
                })
            }
            _ => Operation::OpenTicket(TicketOpening {
                customer,
                category: self.text(),
                subject: self.text().into(),
                about: None,
                message: self.text().into(),
            }),
        })
    }
}

impl World {
    /// Remembers what an accepted operation made.
    fn remember(&mut self, operation: &Operation, answer: &Answer) {
        let currency = |account: &AccountId, world: &Self| {
            world
                .accounts
                .iter()
                .find(|(_, of, _)| of == account)
                .map(|(_, _, currency)| *currency)
                .expect("an account")
        };
        match operation {
            Operation::RegisterCustomer(_) => self.customers.push(id(answer)),
            Operation::OpenAccount(open) => self.accounts.push((open.customer.clone(), id(answer), open.currency)),
            Operation::CreatePayer(create) => self.payers.push((create.customer.clone(), id(answer))),
            Operation::StartPayment(start) => self.payments.push((id(answer), currency(&start.account, self))),
            Operation::GatewayNotice(notice) => {
                self.payments.push((id(answer), currency(&notice.account, self)));
                self.notices.push((notice.gateway_payment.clone(), notice.account.clone(), notice.amount));
            }
            Operation::OpenDispute(open) => self.disputes.push((open.payment.clone(), id(answer))),
            Operation::StartRefund(start) => self.refunds.push((start.payment.clone(), id(answer))),
            Operation::PlaceOrder(place) => self.orders.push((id(answer), currency(&place.account, self))),
            Operation::IssueInvoice(issue) => self.invoices.push((issue.account.clone(), id(answer))),
            Operation::RecordExpense(record) => self.expenses.push((id(answer), currency(&record.account, self))),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_accepted_can_be_projected_exported_and_verified() {
    // The same commands every time, unless something new is looked for.
    let soaks = env::var_os("DAYBOOK_SOAK").is_some();
    let wanted = if soaks { 10 * ACCEPTED } else { ACCEPTED };
    let given = env::var("DAYBOOK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| if soaks { rand::random() } else { 1 });
    eprintln!("DAYBOOK_SEED={seed}");
    let mut dice = Dice(StdRng::seed_from_u64(seed));
    let database = database().await;
    let store = database.store().await;
    let (handle, writer) = database.writer_with(WriterOptions::default()).await;
    let projector = Projector::start(&store, BOARD, None, ProjectorOptions::default()).await.unwrap();
    let reader = Reader::new(&store, BOARD, Some(&projector));

    let mut world = World::default();
    let (mut accepted, mut refused, mut last) = (0, 0, 0);
    while accepted < wanted {
        let commands: Vec<Command> = (0..64)
            .filter_map(|_| {
                let (operation, context) = (dice.operation(&world)?, dice.context());
                Some(Command { id: Uuid::now_v7(), operation, context, idempotency: None, expected: None })
            })
            .collect();
        let verdicts: Vec<_> =
            stream::iter(&commands).map(|command| handle.execute(command.clone())).buffered(64).collect().await;
        for (command, verdict) in commands.iter().zip(verdicts) {
            match verdict {
                Ok(done) => {
                    world.remember(&command.operation, &done.answer);
                    (accepted, last) = (accepted + 1, done.position);
                }
                Err(ExecuteError::Refused(_)) => refused += 1,
                Err(error) => panic!("seed {seed}: {:?} failed: {error:?}", command.operation),
            }
        }
    }
    for projection in BOARD {
        let arrived = reader.wait_for(projection.name, last, 10 * LONG).await;
        arrived.unwrap_or_else(|error| panic!("seed {seed}: {}: {error}", projection.name));
    }
    projector.shutdown().await;
    writer.shutdown().await;
    eprintln!("{accepted} commands accepted and {refused} refused, {last} events");

    let verified = Program::new(program("daybook"))
        .envs(daybook_tests::master_key_env())
        .args(["verify", "--database-url", database.url()])
        .output()
        .unwrap();
    assert!(verified.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&verified.stdout));
    let directory = tempfile::tempdir().unwrap();
    for accountant in ACCOUNTANTS {
        let file = exported(&database, directory.path(), accountant.name(), &[]);
        assert_eq!(accountant.check(&file), Ok(()), "seed {seed}: {}", accountant.name());
    }
    for format in ["csv", "ndjson"] {
        let output = export(&database, &["--format", format]);
        assert!(output.status.success(), "seed {seed}: {format}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
