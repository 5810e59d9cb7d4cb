//! Random commands over a few accounts: whatever is accepted leaves books that an auditor signs.

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::{
    domain::{
        CustomerId, DisputeId, ExpenseId, OrderId, RefundId,
        account::HoldId,
        discount::{Audience, Scope, Value},
        invoice::{DocumentDiscount, LineToCredit},
        order::ItemRequest,
    },
    operations::{
        AdjustAccount, AdjustExpense, AllocatePayment, ChangeTerms, ChargeRef, CreditRequest, DeleteOrder, FailRefund,
        GatewayNotice, GrantDiscount, HoldFunds, IssueCreditNote, LoseDispute, NoticeOutcome, OpenDispute, PayOrder,
        PayOrderBy, PlaceOrder, RecordExpense, ReinstateExpense, ReleaseHold, ReverseExpense, SettleRefund,
        StartRefund, Terms, TransferFunds, WinDispute,
    },
};

/// A command by numbers: which kind, and which of the things that exist so far it is about.
#[derive(Clone, Debug)]
struct Move {
    kind: u8,
    account: usize,
    thing: usize,
    other: usize,
    cents: u32,
    flag: bool,
}

fn a_move() -> impl Strategy<Value = Move> {
    (0u8..38, 0usize..4, any::<u16>(), any::<u16>(), 1u32..20_000, any::<bool>()).prop_map(
        |(kind, account, thing, other, cents, flag)| Move {
            kind,
            account,
            thing: thing.into(),
            other: other.into(),
            cents,
            flag,
        },
    )
}

/// What exists so far.
#[derive(Default)]
struct World {
    accounts: Vec<(CustomerId, AccountId, PayerId)>,
    payments: Vec<PaymentId>,
    refunds: Vec<(PaymentId, RefundId)>,
    disputes: Vec<(PaymentId, DisputeId)>,
    invoices: Vec<InvoiceId>,
    expenses: Vec<ExpenseId>,
    orders: Vec<OrderId>,
    holds: Vec<(AccountId, HoldId)>,
}

fn pick<T: Clone>(things: &[T], which: usize) -> Option<T> {
    (!things.is_empty()).then(|| things[which % things.len()].clone())
}

impl World {
    fn new(books: &mut Books) -> Self {
        let mut accounts = Vec::new();
        for _ in 0..2 {
            let dollars = books.account("USD");
            let customer = books.ledger(&dollars).customer.clone();
            let yen = books.account_of(&customer, "JPY");
            let payer = books.payer(&dollars);
            accounts.extend([(customer.clone(), dollars, payer.clone()), (customer, yen, payer)]);
        }
        Self { accounts, ..Self::default() }
    }

    fn operation(&self, books: &Books, Move { kind, account, thing, other, cents, flag }: Move) -> Option<Operation> {
        let (customer, account, payer) = self.accounts[account].clone();
        let currency = books.ledger(&account).currency();
        let exact = Decimal::new(cents.into(), currency.digits());
        let money = Money::new(exact, currency).expect("a small amount");
        let gateway_reason = String::from("because");
        let paying = |step| pick(&self.payments, thing).map(|payment| self::step(&payment, step));
        let item = || ItemRequest {
            product: "vps".into(),
            description: "VPS".into(),
            quantity: Decimal::from(1 + other as u32 % 3),
            unit_price: Decimal::new(cents.into(), 3),
            part: None,
            tax_rate: Decimal::from(if flag { 19 } else { 0 }),
        };
        let charge = |which: usize, invoice: bool| match invoice {
            true => pick(&self.invoices, which).map(ChargeRef::Invoice),
            false => pick(&self.expenses, which).map(ChargeRef::Expense),
        };
        Some(match kind {
            0 | 1 => start_payment(&account, money, Purpose::Advance),
            2 => start_payment(&account, money, Purpose::Invoice(pick(&self.invoices, thing)?)),
            3 => start_payment(&account, money, Purpose::Order(pick(&self.orders, thing)?)),
            4 | 5 => paying(PaymentStep::Credit { document_number: None, amount: None })?,
            6 => paying(if flag { PaymentStep::Pledge } else { PaymentStep::WithdrawPledge })?,
            7 => paying(if flag { PaymentStep::Fail { gateway_reason } } else { PaymentStep::Submit })?,
            8 => paying(PaymentStep::MarkFraudulent { gateway_reason })?,
            9 => Operation::GatewayNotice(GatewayNotice {
                gateway: "stripe".into(),
                gateway_payment: format!("{}", thing % 5),
                payment: if flag { pick(&self.payments, other) } else { None },
                account,
                amount: money,
                purpose: Purpose::Advance,
                outcome: match other % 3 {
                    0 => NoticeOutcome::Fraudulent { gateway_reason },
                    1 => NoticeOutcome::Failed { gateway_reason },
                    _ => NoticeOutcome::Succeeded,
                },
            }),
            10 | 11 => Operation::IssueInvoice(IssueInvoice {
                lines: vec![
                    DraftLine { unit_price: Decimal::new(cents.into(), 3), ..line("3", "1", "19") },
                    DraftLine { unit_price: exact, ..line("1", "1", "0") },
                ],
                numbering: match flag {
                    true => Numbering::Series("INV-2026".into()),
                    false => Numbering::Given(format!("INV-2026-{:06}", 1 + thing % 20)),
                },
                discount: match other % 4 {
                    0 => Some(DocumentDiscount::Percent(Decimal::from(1 + cents % 100))),
                    1 => Some(DocumentDiscount::AmountOff(money)),
                    _ => None,
                },
                ..invoice(&account, &payer, &[])
            }),
            12 => Operation::IssueCreditNote(IssueCreditNote {
                account,
                payer,
                numbering: Numbering::Series("CN-2026".into()),
                issued_on: Some(day("2026-07-20")),
                policy: RoundingPolicy::default(),
                lines: vec![CreditRequest::Line {
                    invoice: pick(&self.invoices, thing)?,
                    line: LineToCredit {
                        line: 1 + other as u32 % 2,
                        quantity: None,
                        amount: flag.then(|| Decimal::new(cents.into(), 3)),
                    },
                    item: "vps".into(),
                    description: "taken back".into(),
                }],
            }),
            13 => Operation::StartRefund(StartRefund {
                payment: pick(&self.payments, thing)?,
                amount: money,
                gateway_refund: None,
            }),
            14 => {
                let (payment, refund) = pick(&self.refunds, thing)?;
                match flag {
                    true => Operation::SettleRefund(SettleRefund { payment, refund, gateway_refund: None }),
                    false => Operation::FailRefund(FailRefund { payment, refund, gateway_reason }),
                }
            }
            15 => Operation::RecordExpense(RecordExpense {
                account,
                description: "work".into(),
                quantity: Decimal::ONE,
                net: money,
                tax_rate: Decimal::from(if flag { 19 } else { 0 }),
            }),
            16 => {
                let expense = pick(&self.expenses, thing)?;
                let account = &books.state(&expense).standing().ok()?.account;
                let currency = books.ledger(account).currency();
                let total = Money::new(Decimal::new(cents.into(), currency.digits()), currency).ok()?;
                Operation::AdjustExpense(AdjustExpense { expense, total })
            }
            17 => Operation::ReverseExpense(ReverseExpense { expense: pick(&self.expenses, thing)? }),
            18 => Operation::ReinstateExpense(ReinstateExpense { expense: pick(&self.expenses, thing)? }),
            19 | 20 => Operation::AllocatePayment(AllocatePayment {
                payment: pick(&self.payments, thing)?,
                from: if flag { charge(other, other % 3 != 0) } else { None },
                to: if other % 5 == 0 { None } else { charge(thing, thing % 2 == 0) },
                amount: money,
            }),
            21 | 22 => Operation::PlaceOrder(PlaceOrder {
                account,
                description: "servers".into(),
                items: vec![item(), item()],
            }),
            23 => {
                let by = match flag {
                    true => PayOrderBy::Balance,
                    false => PayOrderBy::Payment { payer: None, method: "card".into(), amount: None },
                };
                Operation::PayOrder(PayOrder { order: pick(&self.orders, thing)?, by })
            }
            24 => Operation::DeleteOrder(DeleteOrder { order: pick(&self.orders, thing)? }),
            25 => {
                let to = self.accounts[other % self.accounts.len()].1.clone();
                let rate = Decimal::new(1 + i64::from(cents), 3);
                Operation::TransferFunds(TransferFunds {
                    from: account,
                    to,
                    amount: money,
                    rate,
                    rate_source: "ECB".into(),
                })
            }
            26 => Operation::AdjustAccount(AdjustAccount {
                account,
                amount: if flag { money } else { money.negated() },
                description: "correction".into(),
            }),
            27 => Operation::ChangeTerms(ChangeTerms {
                account,
                terms: match other % 5 {
                    0 => Terms::CreditLimit(if flag { money } else { Money::zero(currency) }),
                    1 => Terms::PostPaidAllowed,
                    2 => Terms::PostPaidRevoked,
                    3 => Terms::AutomaticAllocationOn,
                    _ => Terms::AutomaticAllocationOff,
                },
            }),
            28 => match flag {
                true => Operation::HoldFunds(HoldFunds { account, amount: money }),
                false => {
                    let (account, hold) = pick(&self.holds, thing)?;
                    Operation::ReleaseHold(ReleaseHold { account, hold })
                }
            },
            30 => Operation::OpenDispute(OpenDispute {
                payment: pick(&self.payments, thing)?,
                gateway_dispute: format!("dp_{}", other % 3),
                amount: money,
                gateway_reason,
            }),
            31 => {
                let (payment, dispute) = pick(&self.disputes, thing)?;
                match flag {
                    true => Operation::WinDispute(WinDispute { payment, dispute }),
                    false => Operation::LoseDispute(LoseDispute { payment, dispute }),
                }
            }
            32 => {
                let gateway_refund = Some(format!("re_{}", other % 3));
                Operation::StartRefund(StartRefund {
                    payment: pick(&self.payments, thing)?,
                    amount: money,
                    gateway_refund,
                })
            }
            33 => {
                let (payment, refund) = pick(&self.refunds, thing)?;
                let gateway_refund = Some(format!("re_{}", other % 3));
                Operation::SettleRefund(SettleRefund { payment, refund, gateway_refund })
            }
            34 => paying(PaymentStep::Credit { document_number: None, amount: Some(money) })?,
            35 | 36 => {
                let payment = pick(&self.payments, thing)?;
                let started = books.state(&payment).started().ok()?;
                let known = started.disputes.values().next();
                let name = format!("dp_{}", other % 3);
                let (gateway_dispute, amount) = match known {
                    Some(dispute) if flag => (dispute.gateway_dispute.clone().unwrap_or(name), dispute.amount),
                    _ => (name, Money::new(exact, started.amount.currency()).unwrap_or(started.amount)),
                };
                Operation::GatewayNotice(GatewayNotice {
                    gateway: "stripe".into(),
                    gateway_payment: format!("{}", thing % 5),
                    account: started.account.clone(),
                    payment: Some(payment),
                    amount,
                    purpose: Purpose::Advance,
                    outcome: match other % 5 {
                        0 | 1 => NoticeOutcome::Disputed { gateway_dispute, gateway_reason },
                        2 => NoticeOutcome::DisputeWon { gateway_dispute },
                        3 => NoticeOutcome::DisputeLost { gateway_dispute },
                        _ => NoticeOutcome::Refunded { gateway_refund: format!("re_{}", thing % 3) },
                    },
                })
            }
            _ => Operation::GrantDiscount(GrantDiscount {
                audience: if flag { Audience::Everyone } else { Audience::Customer(customer) },
                name: "spring".into(),
                scope: Scope::All,
                value: if other % 2 == 0 { Value::AmountOff(money) } else { Value::Percent(Decimal::TEN) },
                priority: other as i32 % 3,
                valid_from: None,
                valid_until: None,
            }),
        })
    }

    /// Remembers what an accepted operation made.
    fn remember(&mut self, operation: &Operation, answer: &Answer, events: &[NewEvent]) {
        match operation {
            Operation::StartPayment(_) => self.payments.push(id(answer)),
            Operation::GatewayNotice(_) => self.payments.push(id(answer)),
            Operation::StartRefund(start) => self.refunds.push((start.payment.clone(), id(answer))),
            Operation::OpenDispute(open) => self.disputes.push((open.payment.clone(), id(answer))),
            Operation::IssueInvoice(_) => self.invoices.push(id(answer)),
            Operation::PlaceOrder(_) => self.orders.push(id(answer)),
            Operation::HoldFunds(hold) => self.holds.push((hold.account.clone(), id(answer))),
            _ => {}
        }
        for new in events {
            if let ("expense.recorded", Ok(expense)) = (&*new.event.event_type(), new.stream.aggregate_id.parse()) {
                self.expenses.push(expense);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_is_accepted_leaves_books_that_agree(moves in prop::collection::vec(a_move(), 1..80)) {
        let mut books = Books::new();
        let mut world = World::new(&mut books);
        books.now = books.context.occurred_at;
        for next in moves {
            // Every move is a day after the one before; some are dated ten days ahead or back.
            books.now += TimeDelta::days(1);
            books.context.occurred_at = books.now + TimeDelta::days(match next.thing % 8 {
                0 => 10,
                1 => -10,
                _ => 0,
            });
            let Some(operation) = world.operation(&books, next) else { continue };
            let before = books.events.len();
            match books.run(operation.clone()) {
                Ok(answer) => world.remember(&operation, &answer, &books.events[before..]),
                Err(_) => prop_assert_eq!(books.events.len(), before),
            }
        }
    }
}
