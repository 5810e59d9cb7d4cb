//! Accounts: opening, terms, holds, corrections by staff, and transfers between a customer's own accounts.

use super::*;
use crate::{
    domain::account::{AccountRejection, HoldId},
    operations::{AdjustAccount, ChangeTerms, HoldFunds, ReleaseHold, Terms, TransferFunds},
};

fn adjust(account: &AccountId, amount: &str) -> Operation {
    let description = "goodwill".into();
    Operation::AdjustAccount(AdjustAccount { account: account.clone(), amount: usd(amount), description })
}

fn hold(account: &AccountId, amount: &str) -> Operation {
    Operation::HoldFunds(HoldFunds { account: account.clone(), amount: usd(amount) })
}

fn terms(account: &AccountId, terms: Terms) -> Operation {
    Operation::ChangeTerms(ChangeTerms { account: account.clone(), terms })
}

fn transfer(from: &AccountId, to: &AccountId, amount: Money, rate: &str) -> TransferFunds {
    TransferFunds { from: from.clone(), to: to.clone(), amount, rate: number(rate), rate_source: "ECB".into() }
}

/// Two accounts of one customer.
fn pair(books: &mut Books, from: &str, to: &str) -> (AccountId, AccountId) {
    let from = books.account(from);
    let customer = books.ledger(&from).customer.clone();
    let to = books.account_of(&customer, to);
    (from, to)
}

#[test]
fn a_customer_has_one_account_in_a_currency() {
    let mut books = Books::new();
    let (dollars, _) = pair(&mut books, "USD", "EUR");
    let open = AccountOpening {
        customer: books.ledger(&dollars).customer.clone(),
        currency: "USD".parse().expect("dollars"),
        name: "second".into(),
        time_zone: "Europe/Berlin".into(),
    };
    assert_eq!(books.refused(Operation::OpenAccount(open)).code(), "account-exists");
}

#[test]
fn s48_a_transfer_has_both_legs_with_its_rate_or_none() {
    let mut books = Books::new();
    let (dollars, euros) = pair(&mut books, "USD", "EUR");
    let send = || Operation::TransferFunds(transfer(&dollars, &euros, usd("100.00"), "0.9137"));
    let missing = usd("100.00");
    assert_eq!(books.refused(send()), AccountRejection::InsufficientFunds { missing }.into());
    books.paid(&dollars, "100.00");
    let answer = books.done(send());
    assert_eq!(amount(&answer, "received"), number("91.37"));
    assert_eq!((books.balance(&dollars), books.balance(&euros)), (number("0.00"), number("91.37")));
}

#[test]
fn a_transfer_is_rounded_to_the_digits_of_the_receiving_currency() {
    let mut books = Books::new();
    let (dollars, yen) = pair(&mut books, "USD", "JPY");
    books.paid(&dollars, "10.00");
    let answer = books.done(Operation::TransferFunds(transfer(&dollars, &yen, usd("1.23"), "151.37")));
    assert_eq!(text(&answer["received"], "amount"), "186");
    let too_small = transfer(&dollars, &yen, usd("0.01"), "0.0000000001");
    let refusal = books.refused(Operation::TransferFunds(too_small));
    assert_eq!(refusal, OperationRejection::ConversionOutOfRange.into());
    let too_large = transfer(&dollars, &yen, usd("999999999999999.00"), "9999999999");
    let refusal = books.refused(Operation::TransferFunds(too_large));
    assert_eq!(refusal, OperationRejection::ConversionOutOfRange.into());
}

#[test]
fn a_transfer_stays_within_a_customer_and_has_a_rate_with_a_source() {
    let mut books = Books::new();
    let (dollars, euros) = pair(&mut books, "USD", "EUR");
    let stranger = books.account("EUR");
    let nobody: AccountId = "acc_nobody".parse().expect("an identifier");
    books.paid(&dollars, "10.00");
    let one = usd("1.00");
    for (operation, refusal) in [
        (transfer(&dollars, &dollars, one, "1"), OperationRejection::SameAccount),
        (transfer(&dollars, &nobody, one, "0.9"), OperationRejection::NoRecipient),
        (transfer(&dollars, &stranger, one, "0.9"), OperationRejection::Foreign),
        (transfer(&dollars, &euros, one, "0"), OperationRejection::RateOutOfRange),
        (transfer(&dollars, &euros, one, "-1"), OperationRejection::RateOutOfRange),
        (transfer(&dollars, &euros, one, "0.00000000001"), OperationRejection::RateOutOfRange),
        (
            TransferFunds { rate_source: " ".into(), ..transfer(&dollars, &euros, one, "0.9") },
            OperationRejection::RateOutOfRange,
        ),
    ] {
        assert_eq!(books.refused(Operation::TransferFunds(operation)), refusal.into());
    }
    let negative = transfer(&dollars, &euros, usd("-1.00"), "0.9");
    assert_eq!(books.refused(Operation::TransferFunds(negative)), AccountRejection::AmountNotPositive.into());
    let foreign_money = transfer(&euros, &dollars, one, "0.9");
    assert_eq!(books.refused(Operation::TransferFunds(foreign_money)).code(), "currency-mismatch");
}

#[test]
fn a_transfer_pays_what_is_due_at_the_other_end() {
    let mut books = Books::new();
    let (dollars, euros) = pair(&mut books, "USD", "EUR");
    books.paid(&dollars, "100.00");
    let invoice = books.invoice_of(&euros, &[("50.00", "0")]);
    books.done(Operation::TransferFunds(transfer(&dollars, &euros, usd("100.00"), "0.9")));
    assert_eq!((books.due(&invoice), books.balance(&euros)), (number("0.00"), number("40.00")));
}

#[test]
fn a_correction_credits_or_charges_with_a_reason() {
    let mut books = Books::new();
    let account = books.account("USD");
    assert_eq!(books.without_reason(adjust(&account, "5.00")), no_reason());
    books.done(adjust(&account, "5.00"));
    let down = books.done(adjust(&account, "-7.50"));
    assert_eq!(amount(&down, "balance"), number("-2.50"));
    assert_eq!(books.refused(adjust(&account, "0.00")), AccountRejection::AmountNotPositive.into());
}

#[test]
fn what_is_held_cannot_be_spent_until_it_is_released() {
    let mut books = Books::new();
    let (account, euros) = pair(&mut books, "USD", "EUR");
    books.paid(&account, "10.00");
    let held: HoldId = id(&books.done(hold(&account, "8.00")));
    let missing = usd("3.00");
    let spend = || Operation::TransferFunds(transfer(&account, &euros, usd("5.00"), "0.9"));
    assert_eq!(books.refused(spend()), AccountRejection::InsufficientFunds { missing }.into());
    assert_eq!(books.refused(hold(&account, "2.01")).code(), "insufficient-funds");
    let release = Operation::ReleaseHold(ReleaseHold { account: account.clone(), hold: held });
    books.done(release.clone());
    assert_eq!(books.refused(release), AccountRejection::UnknownHold.into());
    books.done(spend());
}

#[test]
fn s12b_post_paid_and_a_credit_limit_exclude_each_other() {
    let mut books = Books::new();
    let account = books.account("USD");
    books.done(terms(&account, Terms::CreditLimit(usd("50.00"))));
    let refusal = books.refused(terms(&account, Terms::PostPaidAllowed));
    assert_eq!(refusal, AccountRejection::LimitAndPostPaid.into());
    books.done(terms(&account, Terms::CreditLimit(usd("0.00"))));
    books.done(terms(&account, Terms::PostPaidAllowed));
    books.done(terms(&account, Terms::PostPaidRevoked));
    books.done(terms(&account, Terms::AutomaticAllocationOff));
    books.done(terms(&account, Terms::AutomaticAllocationOn));
}
