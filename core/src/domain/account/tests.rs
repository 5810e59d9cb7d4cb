//! An account: every refusal in its order, and the ways of money between funds and charges.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};

use super::*;
use crate::domain::fixtures::{day, id, usd, yen};

fn given(events: Vec<AccountEvent>) -> AggregateTestExecutor<Account> {
    TestFramework::with(()).given(events)
}

fn opening(time_zone: &str) -> AccountOpening {
    let currency = usd("0").currency();
    AccountOpening { customer: id("ada"), currency, name: "main".into(), time_zone: time_zone.into() }
}

fn open(time_zone: &str) -> AccountCommand {
    AccountCommand::Open(opening(time_zone))
}

fn opened() -> AccountEvent {
    AccountEvent::Opened(opening("Europe/Berlin"))
}

fn limit(amount: &str) -> AccountEvent {
    AccountEvent::CreditLimitSet { limit: usd(amount) }
}

fn set_limit(limit: Money) -> AccountCommand {
    AccountCommand::ChangeTerms(Terms::CreditLimit(limit))
}

fn payment() -> FundsOrigin {
    FundsOrigin::Payment(id("first"))
}

fn invoice() -> ChargeOrigin {
    ChargeOrigin::Invoice(id("first"))
}

fn credit(amount: Money) -> AccountCommand {
    let (origin, description) = (payment(), "payment".into());
    AccountCommand::Credit(Credit { origin, amount, description, revenue: None, reverses: None })
}

fn credited(entry: Entry, amount: &str, balance: &str) -> AccountEvent {
    credited_from(payment(), entry, amount, balance)
}

fn credited_from(origin: FundsOrigin, entry: Entry, amount: &str, balance: &str) -> AccountEvent {
    let (amount, balance, description) = (usd(amount), usd(balance), "payment".into());
    AccountEvent::Credited { entry, origin, amount, balance, description, revenue: None, reverses: None }
}

fn charge(amount: Money, overdraft: Overdraft) -> AccountCommand {
    AccountCommand::Charge(Charge {
        origin: invoice(),
        amount,
        description: "invoice".into(),
        revenue: None,
        due_on: day("2026-07-26"),
        reverses: None,
        overdraft,
    })
}

fn spend(amount: &str) -> AccountCommand {
    charge(usd(amount), Overdraft::Refused)
}

fn bill(amount: &str) -> AccountCommand {
    charge(usd(amount), Overdraft::Permitted)
}

fn charged(entry: Entry, amount: &str, balance: &str) -> AccountEvent {
    charged_for(invoice(), entry, amount, balance, "2026-07-26")
}

fn charged_for(origin: ChargeOrigin, entry: Entry, amount: &str, balance: &str, due_on: &str) -> AccountEvent {
    let (amount, balance, description) = (usd(amount), usd(balance), "invoice".into());
    let due_on = day(due_on);
    AccountEvent::Charged { entry, origin, amount, balance, description, revenue: None, due_on, reverses: None }
}

fn allocate(funds: Entry, charge: Entry, amount: &str) -> AccountCommand {
    AccountCommand::Allocate { funds, charge, amount: usd(amount) }
}

fn allocated(funds: Entry, charge: Entry, amount: &str) -> AccountEvent {
    AccountEvent::Allocated { funds, from: payment(), charge, to: invoice(), amount: usd(amount) }
}

fn release(funds: Entry, charge: Entry, amount: &str) -> AccountCommand {
    AccountCommand::Release { funds, charge, amount: usd(amount) }
}

fn released(funds: Entry, charge: Entry, amount: &str) -> AccountEvent {
    AccountEvent::Released { funds, from: payment(), charge, to: invoice(), amount: usd(amount) }
}

fn hold(amount: &str) -> AccountCommand {
    AccountCommand::Hold { hold: id("first"), amount: usd(amount) }
}

fn held(amount: &str) -> AccountEvent {
    AccountEvent::Held { hold: id("first"), amount: usd(amount) }
}

/// 100.00 came in, and 60.00 of it cover a charge of 60.00.
fn covered() -> Vec<AccountEvent> {
    vec![opened(), credited(1, "100.00", "100.00"), charged(2, "60.00", "40.00"), allocated(1, 2, "60.00")]
}

#[test]
fn an_account_opens_and_gets_its_terms() {
    given(vec![]).when(open("Europe/Berlin")).then_expect_events(vec![opened()]);
    for (command, event) in [
        (set_limit(usd("50.00")), limit("50.00")),
        (AccountCommand::ChangeTerms(Terms::PostPaidAllowed), AccountEvent::PostPaidAllowed {}),
        (AccountCommand::ChangeTerms(Terms::AutomaticAllocationOff), AccountEvent::AutomaticAllocationSwitchedOff {}),
    ] {
        given(vec![opened()]).when(command).then_expect_events(vec![event]);
    }
    given(vec![opened(), AccountEvent::PostPaidAllowed {}])
        .when(AccountCommand::ChangeTerms(Terms::PostPaidRevoked))
        .then_expect_events(vec![AccountEvent::PostPaidRevoked {}]);
    given(vec![opened(), AccountEvent::AutomaticAllocationSwitchedOff {}])
        .when(AccountCommand::ChangeTerms(Terms::AutomaticAllocationOn))
        .then_expect_events(vec![AccountEvent::AutomaticAllocationSwitchedOn {}]);
}

#[test]
fn entries_are_numbered_and_tell_the_balance_after_them() {
    given(vec![opened()]).when(credit(usd("10.00"))).then_expect_events(vec![credited(1, "10.00", "10.00")]);
    given(vec![opened(), credited(1, "10.00", "10.00")])
        .when(spend("10.00"))
        .then_expect_events(vec![charged(2, "10.00", "0.00")]);
    given(vec![opened()]).when(bill("34.60")).then_expect_events(vec![charged(1, "34.60", "-34.60")]);
    given(vec![opened()]).when(bill("0.00")).then_expect_events(vec![charged(1, "0.00", "0.00")]);
}

#[test]
fn a_limit_and_post_paid_terms_let_the_balance_go_below_zero() {
    given(vec![opened(), limit("50.00")]).when(spend("50.00")).then_expect_events(vec![charged(1, "50.00", "-50.00")]);
    given(vec![opened(), AccountEvent::PostPaidAllowed {}])
        .when(spend("900.00"))
        .then_expect_events(vec![charged(1, "900.00", "-900.00")]);
}

#[test]
fn money_goes_to_the_oldest_due_first() {
    let debts = vec![
        opened(),
        charged_for(invoice(), 1, "30.00", "-30.00", "2026-08-01"),
        charged_for(invoice(), 2, "50.00", "-80.00", "2026-07-01"),
        credited(3, "60.00", "-20.00"),
    ];
    given(debts)
        .when(AccountCommand::CoverOldest { funds: 3 })
        .then_expect_events(vec![allocated(3, 2, "50.00"), allocated(3, 1, "10.00")]);
}

#[test]
fn only_a_debt_that_no_limit_allows_is_closed_first() {
    let owing = vec![charged(1, "15.00", "-15.00"), credited(2, "20.00", "5.00")];
    let debt = |terms| [vec![opened()], terms, owing.clone()].concat();
    let cover = || AccountCommand::CoverDebt { funds: 2 };
    given(debt(vec![])).when(cover()).then_expect_events(vec![allocated(2, 1, "15.00")]);
    given(debt(vec![limit("50.00")])).when(cover()).then_expect_events(vec![]);
    given(debt(vec![AccountEvent::PostPaidAllowed {}])).when(cover()).then_expect_events(vec![]);
}

#[test]
fn a_charge_takes_what_is_free_oldest_first() {
    let funds =
        vec![opened(), credited(1, "10.00", "10.00"), credited(2, "10.00", "20.00"), charged(3, "15.00", "5.00")];
    given(funds)
        .when(AccountCommand::ApplyCredit { charge: 3 })
        .then_expect_events(vec![allocated(1, 3, "10.00"), allocated(2, 3, "5.00")]);
}

#[test]
fn cover_is_released_newest_first_until_enough_is_uncovered() {
    let twice = vec![
        opened(),
        credited(1, "10.00", "10.00"),
        credited(2, "10.00", "20.00"),
        charged(3, "15.00", "5.00"),
        allocated(1, 3, "10.00"),
        allocated(2, 3, "5.00"),
    ];
    let uncover = |amount| AccountCommand::Uncover { charge: 3, until_uncovered: usd(amount) };
    given(twice.clone()).when(uncover("4.00")).then_expect_events(vec![released(2, 3, "4.00")]);
    given(twice).when(uncover("6.00")).then_expect_events(vec![released(2, 3, "5.00"), released(1, 3, "1.00")]);
}

#[test]
fn a_correction_of_the_same_expense_is_not_uncovered() {
    let (expense, correction) = (ChargeOrigin::Expense(id("vps")), FundsOrigin::Expense(id("vps")));
    let corrected = vec![
        opened(),
        charged_for(expense.clone(), 1, "12.00", "-12.00", "2026-07-12"),
        credited_from(correction.clone(), 2, "5.00", "-7.00"),
        AccountEvent::Allocated { funds: 2, from: correction, charge: 1, to: expense, amount: usd("5.00") },
    ];
    let uncover = AccountCommand::Uncover { charge: 1, until_uncovered: usd("12.00") };
    given(corrected).when(uncover).then_expect_events(vec![]);
}

#[test]
fn withdrawn_money_leaves_what_it_covered_but_not_what_went_back_to_the_payer() {
    let refund = ChargeOrigin::Refund(id("first"));
    let refunded = vec![
        charged_for(refund.clone(), 3, "40.00", "0.00", "2026-07-12"),
        AccountEvent::Allocated { funds: 1, from: payment(), charge: 3, to: refund, amount: usd("40.00") },
    ];
    given([covered(), refunded].concat())
        .when(AccountCommand::Withdraw { funds: 1 })
        .then_expect_events(vec![released(1, 2, "60.00")]);
}

#[test]
fn what_the_gateway_took_back_is_not_withdrawn_again() {
    let taken = ChargeOrigin::Payment(id("first"));
    let taken_back = vec![
        opened(),
        credited(1, "100.00", "100.00"),
        charged_for(taken.clone(), 2, "100.00", "0.00", "2026-07-12"),
        AccountEvent::Allocated { funds: 1, from: payment(), charge: 2, to: taken, amount: usd("100.00") },
    ];
    given(taken_back).when(AccountCommand::Withdraw { funds: 1 }).then_expect_events(vec![]);
}

#[test]
fn a_hold_keeps_money_from_being_spent_until_it_is_released() {
    let funded = || vec![opened(), credited(1, "10.00", "10.00")];
    let with_hold = || [funded(), vec![held("8.00")]].concat();
    given(funded()).when(hold("8.00")).then_expect_events(vec![held("8.00")]);
    let missing = usd("3.00");
    given(with_hold()).when(spend("5.00")).then_expect_error(AccountRejection::InsufficientFunds { missing });
    let hold_released = AccountEvent::HoldReleased { hold: id("first"), amount: usd("8.00") };
    given(with_hold())
        .when(AccountCommand::ReleaseHold { hold: id("first") })
        .then_expect_events(vec![hold_released.clone()]);
    given([with_hold(), vec![hold_released]].concat())
        .when(spend("5.00"))
        .then_expect_events(vec![charged(2, "5.00", "5.00")]);
}

// Refusals, in the order of the enum.

#[test]
fn an_open_account_does_not_open_again() {
    given(vec![opened()]).when(open("Europe/Berlin")).then_expect_error(AccountRejection::AlreadyOpen);
}

#[test]
fn nothing_happens_to_an_account_that_is_not_open() {
    for command in
        [credit(usd("1.00")), bill("1.00"), hold("1.00"), AccountCommand::ChangeTerms(Terms::PostPaidAllowed)]
    {
        given(vec![]).when(command).then_expect_error(AccountRejection::NotOpen);
    }
    assert_eq!(Account::Unknown.ledger(), Err(AccountRejection::NotOpen));
}

#[test]
fn an_unknown_time_zone_is_refused() {
    let time_zone = String::from("Europe/Atlantis");
    given(vec![]).when(open(&time_zone)).then_expect_error(AccountRejection::UnknownTimeZone { time_zone });
}

#[test]
fn another_currency_is_refused() {
    let rejection = AccountRejection::CurrencyMismatch { account: usd("0").currency(), given: yen("0").currency() };
    for command in [
        credit(yen("5")),
        charge(yen("5"), Overdraft::Permitted),
        set_limit(yen("5")),
        AccountCommand::Allocate { funds: 1, charge: 2, amount: yen("5") },
        AccountCommand::Release { funds: 1, charge: 2, amount: yen("5") },
        AccountCommand::Hold { hold: id("first"), amount: yen("5") },
    ] {
        given(covered()).when(command).then_expect_error(rejection.clone());
    }
}

#[test]
fn an_amount_that_is_not_positive_is_refused() {
    for amount in ["0.00", "-0.01"] {
        for command in [credit(usd(amount)), allocate(1, 2, amount), release(1, 2, amount), hold(amount)] {
            given(covered()).when(command).then_expect_error(AccountRejection::AmountNotPositive);
        }
    }
    given(vec![opened()]).when(bill("-0.01")).then_expect_error(AccountRejection::AmountNotPositive);
}

#[test]
fn an_amount_or_a_balance_out_of_range_is_refused() {
    let most = "999999999999999.99";
    let rich = || vec![opened(), credited(1, most, most)];
    given(rich()).when(credit(usd("0.01"))).then_expect_error(AccountRejection::BalanceOutOfRange);
    given(vec![opened(), charged(1, most, "-999999999999999.99")])
        .when(bill("0.01"))
        .then_expect_error(AccountRejection::BalanceOutOfRange);
    // The balance could be kept, but not the amount.
    let sum = usd(most).checked_add(usd(most)).expect("a sum");
    given(rich()).when(charge(sum, Overdraft::Permitted)).then_expect_error(AccountRejection::BalanceOutOfRange);
}

#[test]
fn a_negative_credit_limit_is_refused() {
    given(vec![opened()]).when(set_limit(usd("-0.01"))).then_expect_error(AccountRejection::LimitNegative);
}

#[test]
fn a_credit_limit_and_post_paid_exclude_each_other() {
    given(vec![opened(), limit("50.00")])
        .when(AccountCommand::ChangeTerms(Terms::PostPaidAllowed))
        .then_expect_error(AccountRejection::LimitAndPostPaid);
    given(vec![opened(), AccountEvent::PostPaidAllowed {}])
        .when(set_limit(usd("50.00")))
        .then_expect_error(AccountRejection::LimitAndPostPaid);
}

#[test]
fn post_paid_is_not_allowed_twice() {
    given(vec![opened(), AccountEvent::PostPaidAllowed {}])
        .when(AccountCommand::ChangeTerms(Terms::PostPaidAllowed))
        .then_expect_error(AccountRejection::AlreadyPostPaid);
}

#[test]
fn post_paid_that_is_not_allowed_is_not_revoked() {
    given(vec![opened()])
        .when(AccountCommand::ChangeTerms(Terms::PostPaidRevoked))
        .then_expect_error(AccountRejection::NotPostPaid);
}

#[test]
fn automatic_allocation_is_not_switched_to_what_it_is() {
    given(vec![opened()])
        .when(AccountCommand::ChangeTerms(Terms::AutomaticAllocationOn))
        .then_expect_error(AccountRejection::AllocationUnchanged);
    given(vec![opened(), AccountEvent::AutomaticAllocationSwitchedOff {}])
        .when(AccountCommand::ChangeTerms(Terms::AutomaticAllocationOff))
        .then_expect_error(AccountRejection::AllocationUnchanged);
}

#[test]
fn spending_more_than_there_is_is_refused_with_what_is_missing() {
    let missing = usd("2.00");
    given(vec![opened(), credited(1, "10.00", "10.00")])
        .when(spend("12.00"))
        .then_expect_error(AccountRejection::InsufficientFunds { missing });
}

#[test]
fn spending_beyond_the_limit_is_refused_with_what_is_missing() {
    let missing = usd("5.00");
    given(vec![opened(), limit("50.00"), charged(1, "45.00", "-45.00")])
        .when(spend("10.00"))
        .then_expect_error(AccountRejection::CreditLimitExceeded { missing });
}

#[test]
fn an_entry_that_is_not_money_that_came_in_covers_nothing() {
    for entry in [2, 9] {
        for command in [
            allocate(entry, 2, "1.00"),
            release(entry, 2, "1.00"),
            AccountCommand::CoverDebt { funds: entry },
            AccountCommand::CoverCharge { funds: entry, charge: 2 },
            AccountCommand::CoverOldest { funds: entry },
            AccountCommand::Withdraw { funds: entry },
        ] {
            given(covered()).when(command).then_expect_error(AccountRejection::UnknownFunds { entry });
        }
    }
}

#[test]
fn an_entry_that_is_not_a_charge_is_not_covered() {
    for entry in [1, 9] {
        for command in [
            allocate(1, entry, "1.00"),
            release(1, entry, "1.00"),
            AccountCommand::CoverCharge { funds: 1, charge: entry },
            AccountCommand::ApplyCredit { charge: entry },
            AccountCommand::Uncover { charge: entry, until_uncovered: usd("1.00") },
        ] {
            given(covered()).when(command).then_expect_error(AccountRejection::UnknownCharge { entry });
        }
    }
}

#[test]
fn no_more_is_allocated_than_is_free_and_open() {
    let available = usd("0.00");
    given(covered()).when(allocate(1, 2, "0.01")).then_expect_error(AccountRejection::OverAllocation { available });
    let (available, open) = (usd("40.00"), || [covered(), vec![charged(3, "50.00", "-10.00")]].concat());
    given(open()).when(allocate(1, 3, "40.01")).then_expect_error(AccountRejection::OverAllocation { available });
    given(open()).when(allocate(1, 3, "40.00")).then_expect_events(vec![allocated(1, 3, "40.00")]);
}

#[test]
fn no_more_is_released_than_is_allocated() {
    let allocated = usd("60.00");
    given(covered()).when(release(1, 2, "60.01")).then_expect_error(AccountRejection::OverRelease { allocated });
    given(covered()).when(release(1, 2, "60.00")).then_expect_events(vec![released(1, 2, "60.00")]);
}

#[test]
fn a_hold_is_placed_once() {
    given(vec![opened(), credited(1, "10.00", "10.00"), held("1.00")])
        .when(hold("1.00"))
        .then_expect_error(AccountRejection::HoldExists);
}

#[test]
fn an_unknown_hold_is_not_released() {
    given(vec![opened()])
        .when(AccountCommand::ReleaseHold { hold: id("first") })
        .then_expect_error(AccountRejection::UnknownHold);
}
