//! Expenses: adjusted and reversed by further entries, with the payments that covered them free again.

use super::*;
use crate::{
    domain::{ExpenseId, account::AccountRejection, expense::ExpenseRejection},
    operations::{
        AdjustExpense, AllocatePayment, ChangeTerms, ChargeRef, RecordExpense, ReinstateExpense, ReverseExpense,
        StartRefund, Terms,
    },
};

fn record(account: &AccountId, net: Money, tax_rate: &str) -> Operation {
    Operation::RecordExpense(RecordExpense {
        account: account.clone(),
        description: "restore from backup".into(),
        quantity: number("1"),
        net,
        tax_rate: number(tax_rate),
    })
}

fn adjust(expense: &ExpenseId, total: &str) -> Operation {
    Operation::AdjustExpense(AdjustExpense { expense: expense.clone(), total: usd(total) })
}

fn reverse(expense: &ExpenseId) -> Operation {
    Operation::ReverseExpense(ReverseExpense { expense: expense.clone() })
}

fn reinstate(expense: &ExpenseId) -> Operation {
    Operation::ReinstateExpense(ReinstateExpense { expense: expense.clone() })
}

/// A payment of 100.00 and an expense of 12.00 that it covers.
fn covered(books: &mut Books) -> (AccountId, PaymentId, ExpenseId) {
    let account = books.account("USD");
    let payment = books.paid(&account, "100.00");
    let expense = id(&books.done(record(&account, usd("10.00"), "20")));
    (account, payment, expense)
}

fn free(books: &Books, payment: &PaymentId) -> Decimal {
    let started = books.state(payment).started().expect("the payment is started");
    books.ledger(&started.account).free(started.entry.expect("the payment is credited")).amount()
}

#[test]
fn an_expense_is_charged_with_its_tax_and_covered_by_what_is_free() {
    let mut books = Books::new();
    let (account, payment, _) = covered(&mut books);
    assert_eq!((books.balance(&account), free(&books, &payment)), (number("88.00"), number("88.00")));
}

#[test]
fn s30_an_expense_reversed_by_mistake_is_reinstated() {
    let mut books = Books::new();
    let (account, payment, expense) = covered(&mut books);
    books.done(reverse(&expense));
    assert_eq!((books.balance(&account), free(&books, &payment)), (number("100.00"), number("100.00")));
    assert_eq!(books.refused(reverse(&expense)), ExpenseRejection::AlreadyReversed.into());
    let again = books.done(reinstate(&expense));
    assert_eq!((text(&again, "status"), amount(&again, "balance")), ("recorded", number("88.00")));
    assert_eq!(books.refused(reinstate(&expense)), ExpenseRejection::NotReversed.into());
    let links: Vec<_> = books
        .events
        .iter()
        .filter_map(|new| match &new.event {
            Event::Account(
                AccountEvent::Charged { entry, reverses, .. } | AccountEvent::Credited { entry, reverses, .. },
            ) => Some((*entry, *reverses)),
            _ => None,
        })
        .collect();
    assert_eq!(links, [(1, None), (2, None), (3, Some(2)), (4, Some(3))]);
}

#[test]
fn an_expense_is_lowered_and_raised() {
    let mut books = Books::new();
    let (account, payment, expense) = covered(&mut books);
    books.done(adjust(&expense, "7.00"));
    assert_eq!((books.balance(&account), free(&books, &payment)), (number("93.00"), number("93.00")));
    books.done(adjust(&expense, "15.00"));
    assert_eq!((books.balance(&account), free(&books, &payment)), (number("85.00"), number("85.00")));
    let total = usd("15.00");
    assert_eq!(books.refused(adjust(&expense, "15.00")), ExpenseRejection::TotalUnchanged { total }.into());
    assert_eq!(books.refused(adjust(&expense, "-0.01")), ExpenseRejection::Negative.into());
}

#[test]
fn an_expense_adjusted_up_and_down_is_reversed_and_reinstated_as_a_whole() {
    let mut books = Books::new();
    let (account, payment, expense) = covered(&mut books);
    for total in ["20.00", "9.00", "11.00"] {
        books.done(adjust(&expense, total));
    }
    books.done(reverse(&expense));
    assert_eq!((books.balance(&account), free(&books, &payment)), (number("100.00"), number("100.00")));
    books.done(reinstate(&expense));
    assert_eq!((books.balance(&account), free(&books, &payment)), (number("89.00"), number("89.00")));
    books.done(adjust(&expense, "0.00"));
    assert_eq!((books.balance(&account), free(&books, &payment)), (number("100.00"), number("100.00")));
    assert_eq!(books.refused(reverse(&expense)), AccountRejection::AmountNotPositive.into());
}

#[test]
fn an_expense_that_nothing_covers_leaves_no_debt_when_it_is_reversed() {
    let mut books = Books::new();
    let account = books.account("USD");
    let expense: ExpenseId = id(&books.done(record(&account, usd("10.00"), "20")));
    assert_eq!(books.balance(&account), number("-12.00"));
    books.paid(&account, "5.00");
    books.done(reverse(&expense));
    assert_eq!(books.balance(&account), number("5.00"));
}

#[test]
fn money_freed_by_a_reversal_can_be_refunded() {
    let mut books = Books::new();
    let (account, payment, expense) = covered(&mut books);
    let all = || {
        Operation::StartRefund(StartRefund { payment: payment.clone(), amount: usd("100.00"), gateway_refund: None })
    };
    assert_eq!(books.refused(all()).code(), "over-refund");
    books.done(reverse(&expense));
    books.done(all());
    assert_eq!(books.balance(&account), number("0.00"));
}

#[test]
fn money_is_released_from_every_charge_of_an_adjusted_expense() {
    let mut books = Books::new();
    let (account, payment, expense) = covered(&mut books);
    books.done(adjust(&expense, "15.00"));
    let from = Some(ChargeRef::Expense(expense));
    let release = AllocatePayment { payment: payment.clone(), from: from.clone(), to: None, amount: usd("14.00") };
    books.done(Operation::AllocatePayment(release));
    assert_eq!((free(&books, &payment), books.balance(&account)), (number("99.00"), number("85.00")));
    let back = AllocatePayment { payment: payment.clone(), from: None, to: from, amount: usd("14.00") };
    books.done(Operation::AllocatePayment(back));
    assert_eq!(free(&books, &payment), number("85.00"));
}

#[test]
fn without_automatic_allocation_an_expense_stays_uncovered() {
    let mut books = Books::new();
    let account = books.account("USD");
    let terms = Terms::AutomaticAllocationOff;
    books.done(Operation::ChangeTerms(ChangeTerms { account: account.clone(), terms }));
    let payment = books.paid(&account, "100.00");
    let expense = id(&books.done(record(&account, usd("10.00"), "20")));
    let untouched = |books: &Books| assert_eq!(free(books, &payment), number("100.00"));
    untouched(&books);
    books.done(adjust(&expense, "20.00"));
    untouched(&books);
    books.done(reverse(&expense));
    books.done(reinstate(&expense));
    untouched(&books);
    assert_eq!(books.balance(&account), number("80.00"));
}

#[test]
fn corrections_need_a_reason() {
    let mut books = Books::new();
    let (account, _, expense) = covered(&mut books);
    for operation in
        [record(&account, usd("1.00"), "0"), adjust(&expense, "1.00"), reverse(&expense), reinstate(&expense)]
    {
        assert_eq!(books.without_reason(operation), no_reason());
    }
}

#[test]
fn an_expense_over_nothing_or_in_another_currency_is_refused() {
    let mut books = Books::new();
    let account = books.account("USD");
    assert_eq!(books.refused(record(&account, usd("0.00"), "0")), AccountRejection::AmountNotPositive.into());
    let yen = Money::parse("5", "JPY").expect("yen");
    assert_eq!(books.refused(record(&account, yen, "0")).code(), "currency-mismatch");
    assert_eq!(books.refused(record(&account, usd("999999999999999.00"), "999")).code(), "balance-out-of-range");
}

#[test]
fn a_quantity_that_cannot_be_kept_is_refused() {
    let mut books = Books::new();
    let account = books.account("USD");
    let of = |quantity: &str| {
        Operation::RecordExpense(RecordExpense {
            account: account.clone(),
            description: "restore from backup".into(),
            quantity: number(quantity),
            net: usd("1.00"),
            tax_rate: number("0"),
        })
    };
    for quantity in ["0", "-1", "0.0000001"] {
        assert_eq!(books.refused(of(quantity)), ExpenseRejection::QuantityOutOfRange.into());
    }
    books.done(of("0.000001"));
}

#[test]
fn a_tax_rate_that_is_none_is_refused() {
    let mut books = Books::new();
    let account = books.account("USD");
    for rate in ["-1", "1000", "7.00001"] {
        assert_eq!(books.refused(record(&account, usd("1.00"), rate)), ExpenseRejection::TaxRateOutOfRange.into());
    }
}
