//! A payment: every refusal in its order, and the way of the money from the announcement to wherever it ends.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};

use super::*;
use crate::domain::fixtures::{id, usd};

fn given(events: Vec<PaymentEvent>) -> AggregateTestExecutor<Payment> {
    TestFramework::with(()).given(events)
}

fn start(amount: &str, method: &str) -> PaymentCommand {
    let (account, method, amount) = (id("main"), method.into(), usd(amount));
    PaymentCommand::Start(PaymentRequest { account, payer: None, method, amount, purpose: Purpose::Advance })
}

fn started() -> PaymentEvent {
    let (account, method, amount) = (id("main"), "card".into(), usd("100.00"));
    PaymentEvent::Started(PaymentRequest { account, payer: None, method, amount, purpose: Purpose::Advance })
}

fn submitted() -> PaymentEvent {
    PaymentEvent::Submitted {}
}

fn pledged() -> PaymentEvent {
    PaymentEvent::Pledged { account: id("main"), amount: usd("100.00"), entry: 1 }
}

fn credit() -> PaymentCommand {
    PaymentCommand::Credit { entry: 1, amount: usd("100.00"), document_number: None, gateway: None }
}

fn credited() -> PaymentEvent {
    PaymentEvent::Credited {
        account: id("main"),
        amount: usd("100.00"),
        entry: 1,
        document_number: None,
        gateway: None,
    }
}

fn fail() -> PaymentCommand {
    PaymentCommand::Fail { gateway_reason: "declined".into() }
}

fn failed() -> PaymentEvent {
    PaymentEvent::Failed { gateway_reason: "declined".into() }
}

fn mark_fraudulent() -> PaymentCommand {
    PaymentCommand::MarkFraudulent { gateway_reason: "chargeback".into() }
}

fn fraudulent() -> PaymentEvent {
    PaymentEvent::MarkedFraudulent { gateway_reason: "chargeback".into() }
}

fn refund(name: &str, amount: &str, refundable: &str) -> PaymentCommand {
    let (refund, amount, refundable) = (id(name), usd(amount), usd(refundable));
    PaymentCommand::StartRefund { refund, amount, refundable, entry: 2 }
}

fn refunding(name: &str, amount: &str) -> PaymentEvent {
    PaymentEvent::RefundStarted { refund: id(name), amount: usd(amount), entry: 2 }
}

fn settle(name: &str) -> PaymentCommand {
    PaymentCommand::SettleRefund { refund: id(name), gateway_refund: None }
}

fn refunded(name: &str, amount: &str) -> PaymentEvent {
    PaymentEvent::RefundSettled { refund: id(name), amount: usd(amount), gateway_refund: None }
}

fn fail_refund(name: &str) -> PaymentCommand {
    PaymentCommand::FailRefund { refund: id(name), gateway_reason: "card expired".into() }
}

fn refund_failed(name: &str, amount: &str) -> PaymentEvent {
    PaymentEvent::RefundFailed { refund: id(name), amount: usd(amount), gateway_reason: "card expired".into() }
}

fn assigned() -> PaymentEvent {
    PaymentEvent::AssignedTo { payment: id("ours") }
}

/// A credited payment of which 40.00 are on their way back.
fn giving_back() -> Vec<PaymentEvent> {
    vec![started(), credited(), refunding("first", "40.00")]
}

fn status(events: Vec<PaymentEvent>) -> Status {
    let mut payment = Payment::default();
    events.into_iter().for_each(|event| payment.apply(event));
    payment.started().expect("it is started").status
}

#[test]
fn a_payment_is_started_submitted_and_credited() {
    given(vec![]).when(start("100.00", "card")).then_expect_events(vec![started()]);
    given(vec![started()]).when(PaymentCommand::Submit).then_expect_events(vec![submitted()]);
    given(vec![started(), submitted()]).when(credit()).then_expect_events(vec![credited()]);
}

#[test]
fn a_payment_that_failed_may_still_arrive() {
    given(vec![started(), submitted()]).when(fail()).then_expect_events(vec![failed()]);
    given(vec![started(), submitted(), failed()]).when(credit()).then_expect_events(vec![credited()]);
}

#[test]
fn a_pledge_is_confirmed_or_withdrawn() {
    let withdrawn = || PaymentEvent::PledgeWithdrawn {};
    given(vec![started()]).when(PaymentCommand::Pledge { entry: 1 }).then_expect_events(vec![pledged()]);
    given(vec![started(), pledged()]).when(credit()).then_expect_events(vec![credited()]);
    given(vec![started(), pledged()]).when(PaymentCommand::WithdrawPledge).then_expect_events(vec![withdrawn()]);
    assert_eq!(status(vec![started(), pledged(), withdrawn()]), Status::New);
}

#[test]
fn a_payment_that_was_never_submitted_is_deleted() {
    given(vec![started()]).when(PaymentCommand::Delete).then_expect_events(vec![PaymentEvent::Deleted {}]);
}

#[test]
fn refunds_return_a_payment_in_part_and_in_full() {
    given(vec![started(), credited()])
        .when(refund("first", "40.00", "100.00"))
        .then_expect_events(vec![refunding("first", "40.00")]);
    given(giving_back()).when(settle("first")).then_expect_events(vec![refunded("first", "40.00")]);
    let part = [giving_back(), vec![refunded("first", "40.00")]].concat();
    assert_eq!(status(part.clone()), Status::PartlyReturned);
    let rest = vec![refunding("second", "60.00"), refunded("second", "60.00")];
    assert_eq!(status([part, rest].concat()), Status::Returned);
}

#[test]
fn a_refund_that_fails_can_be_tried_again() {
    given(giving_back()).when(fail_refund("first")).then_expect_events(vec![refund_failed("first", "40.00")]);
    given([giving_back(), vec![refund_failed("first", "40.00")]].concat())
        .when(refund("first", "40.00", "100.00"))
        .then_expect_events(vec![refunding("first", "40.00")]);
}

#[test]
fn a_payment_that_the_gateway_takes_back_is_fraudulent_and_stays_so() {
    for kept in [credited(), pledged()] {
        given(vec![started(), kept]).when(mark_fraudulent()).then_expect_events(vec![fraudulent()]);
    }
    assert_eq!(status([giving_back(), vec![fraudulent(), refunded("first", "40.00")]].concat()), Status::Fraudulent);
}

#[test]
fn the_gateways_own_identifier_leads_to_the_payment() {
    given(vec![]).when(PaymentCommand::AssignTo { payment: id("ours") }).then_expect_events(vec![assigned()]);
}

// Refusals, in the order of the enum.

#[test]
fn a_payment_is_started_once() {
    for command in [start("100.00", "card"), PaymentCommand::AssignTo { payment: id("ours") }] {
        given(vec![started()]).when(command).then_expect_error(PaymentRejection::AlreadyStarted);
    }
}

#[test]
fn nothing_happens_to_a_payment_that_is_not_started() {
    for command in [PaymentCommand::Submit, credit(), fail(), mark_fraudulent(), settle("first")] {
        given(vec![]).when(command).then_expect_error(PaymentRejection::NotStarted);
    }
    assert_eq!(Payment::Unknown.started(), Err(PaymentRejection::NotStarted));
}

#[test]
fn an_amount_that_is_not_positive_is_refused() {
    for amount in ["0.00", "-0.01"] {
        given(vec![]).when(start(amount, "card")).then_expect_error(PaymentRejection::AmountNotPositive);
        given(vec![started(), credited()])
            .when(refund("first", amount, "100.00"))
            .then_expect_error(PaymentRejection::AmountNotPositive);
    }
}

#[test]
fn a_payment_without_a_method_is_refused() {
    given(vec![]).when(start("100.00", " ")).then_expect_error(PaymentRejection::MethodMissing);
}

#[test]
fn a_payment_does_nothing_that_its_status_does_not_allow() {
    use Status as S;
    let histories = [
        vec![started()],
        vec![started(), submitted()],
        vec![started(), pledged()],
        vec![started(), credited()],
        [giving_back(), vec![refunded("first", "40.00")]].concat(),
        vec![started(), credited(), refunding("all", "100.00"), refunded("all", "100.00")],
        vec![started(), failed()],
        vec![started(), PaymentEvent::Deleted {}],
        vec![started(), credited(), fraudulent()],
    ];
    let rules: [(PaymentCommand, &str, &[Status]); 8] = [
        (PaymentCommand::Submit, "submitted", &[S::New]),
        (PaymentCommand::Pledge { entry: 1 }, "pledged", &[S::New, S::InProgress]),
        (PaymentCommand::WithdrawPledge, "withdrawn as a pledge", &[S::Pledged]),
        (credit(), "credited", &[S::New, S::InProgress, S::Pledged, S::Failed, S::Deleted]),
        (fail(), "failed", &[S::New, S::InProgress]),
        (PaymentCommand::Delete, "deleted", &[S::New]),
        (mark_fraudulent(), "marked fraudulent", &[S::Pledged, S::Credited, S::PartlyReturned]),
        (refund("second", "1.00", "60.00"), "refunded", &[S::Credited, S::PartlyReturned]),
    ];
    for (command, wanted, allowed) in rules {
        for history in &histories {
            let status = status(history.clone());
            let outcome = given(history.clone()).when(command.clone()).inspect_result();
            match allowed.contains(&status) {
                true => assert!(outcome.is_ok(), "{status} can be {wanted}"),
                false => assert_eq!(outcome, Err(PaymentRejection::WrongStatus { status, wanted })),
            }
        }
    }
}

#[test]
fn a_notice_of_another_amount_has_a_refusal_of_its_own() {
    // Raised where the notice is compared with the payment, in the operation.
    let differs = PaymentRejection::AmountDiffers { notice: usd("1.00"), payment: usd("2.00") };
    assert_eq!(differs.to_string(), "the notice speaks of 1.00 USD, the payment of 2.00 USD");
}

#[test]
fn no_more_is_refunded_than_is_free_and_the_rest_is_explained() {
    let (refundable, tied) = (usd("0.00"), usd("60.00"));
    given(giving_back())
        .when(refund("second", "0.01", "0.00"))
        .then_expect_error(PaymentRejection::OverRefund { refundable, tied });
}

#[test]
fn a_refund_is_started_once() {
    given(giving_back()).when(refund("first", "1.00", "60.00")).then_expect_error(PaymentRejection::RefundExists);
}

#[test]
fn a_refund_that_is_not_under_way_neither_settles_nor_fails() {
    for history in [vec![started(), credited()], [giving_back(), vec![refunded("first", "40.00")]].concat()] {
        for command in [settle("first"), fail_refund("first")] {
            given(history.clone()).when(command).then_expect_error(PaymentRejection::UnknownRefund);
        }
    }
}

#[test]
fn the_gateways_own_identifier_is_not_a_payment_itself() {
    for command in [start("100.00", "card"), credit(), PaymentCommand::AssignTo { payment: id("other") }] {
        let payment = id("ours");
        given(vec![assigned()]).when(command).then_expect_error(PaymentRejection::AssignedElsewhere { payment });
    }
}

fn open_dispute(name: &str, gateway: &str, amount: &str) -> PaymentCommand {
    PaymentCommand::OpenDispute {
        dispute: id(name),
        gateway_dispute: Some(gateway.into()),
        amount: usd(amount),
        entry: 2,
        gateway_reason: "not received".into(),
    }
}

fn disputed(name: &str, gateway: &str, amount: &str) -> PaymentEvent {
    PaymentEvent::DisputeOpened {
        dispute: id(name),
        gateway_dispute: Some(gateway.into()),
        amount: usd(amount),
        entry: 2,
        gateway_reason: "not received".into(),
    }
}

#[test]
fn a_dispute_is_opened_with_any_amount_and_won_or_lost() {
    let opened = || vec![started(), credited(), disputed("first", "dp_1", "130.00")];
    given(vec![started(), credited()])
        .when(open_dispute("first", "dp_1", "130.00"))
        .then_expect_events(vec![disputed("first", "dp_1", "130.00")]);
    let win = || PaymentCommand::WinDispute { dispute: id("first"), entry: 3 };
    let won = || PaymentEvent::DisputeWon { dispute: id("first"), amount: usd("130.00"), entry: 3 };
    given(opened()).when(win()).then_expect_events(vec![won()]);
    let lose = || PaymentCommand::LoseDispute { dispute: id("first") };
    let lost = || PaymentEvent::DisputeLost { dispute: id("first"), amount: usd("130.00") };
    given(opened()).when(lose()).then_expect_events(vec![lost()]);
    let ended = |end| [opened(), vec![end]].concat();
    let wrong = |stage, wanted| PaymentRejection::WrongDisputeStatus { stage, wanted };
    given(ended(won())).when(lose()).then_expect_error(wrong(DisputeStage::Won, "lost"));
    given(ended(lost())).when(win()).then_expect_error(wrong(DisputeStage::Lost, "won"));
    given(ended(won())).when(win()).then_expect_error(wrong(DisputeStage::Won, "won"));
}

#[test]
fn a_dispute_of_that_name_exists_once() {
    let opened = || vec![started(), credited(), disputed("first", "dp_1", "5.00")];
    given(opened()).when(open_dispute("second", "dp_1", "6.00")).then_expect_error(PaymentRejection::DisputeExists);
    given(opened()).when(open_dispute("first", "dp_2", "5.00")).then_expect_error(PaymentRejection::DisputeExists);
    let unknown = PaymentCommand::LoseDispute { dispute: id("other") };
    given(opened()).when(unknown).then_expect_error(PaymentRejection::UnknownDispute);
}

#[test]
fn a_dispute_needs_an_amount_and_money_that_came() {
    let none = PaymentRejection::AmountNotPositive;
    given(vec![started(), credited()]).when(open_dispute("first", "dp_1", "0.00")).then_expect_error(none);
    for (events, status) in [
        (vec![started()], Status::New),
        (vec![started(), pledged()], Status::Pledged),
        (vec![started(), credited(), fraudulent()], Status::Fraudulent),
    ] {
        let wrong = PaymentRejection::WrongStatus { status, wanted: "disputed" };
        given(events).when(open_dispute("first", "dp_1", "5.00")).then_expect_error(wrong);
    }
}

#[test]
fn a_refund_that_the_gateway_made_is_not_bounded_and_its_id_is_of_one_refund() {
    let record = |amount: &str| PaymentCommand::RecordRefund { refund: id("first"), amount: usd(amount), entry: 2 };
    given(vec![started(), credited()]).when(record("130.00")).then_expect_events(vec![refunding("first", "130.00")]);
    given(vec![started(), credited()]).when(record("0.00")).then_expect_error(PaymentRejection::AmountNotPositive);
    given(giving_back()).when(record("40.00")).then_expect_error(PaymentRejection::RefundExists);
    let wrong = PaymentRejection::WrongStatus { status: Status::New, wanted: "refunded" };
    given(vec![started()]).when(record("5.00")).then_expect_error(wrong);

    let named = |name: &str| PaymentEvent::RefundSettled {
        refund: id(name),
        amount: usd("40.00"),
        gateway_refund: Some("re_1".into()),
    };
    let mut events = giving_back();
    events.extend([named("first"), refunding("second", "40.00")]);
    let settle = PaymentCommand::SettleRefund { refund: id("second"), gateway_refund: Some("re_1".into()) };
    given(events).when(settle).then_expect_error(PaymentRejection::GatewayRefundAssigned { refund: id("first") });
}

#[test]
fn a_payment_that_came_short_is_returned_once_what_came_went_back() {
    let short = PaymentCommand::Credit { entry: 1, amount: usd("40.00"), document_number: None, gateway: None };
    let came = PaymentEvent::Credited {
        account: id("main"),
        amount: usd("40.00"),
        entry: 1,
        document_number: None,
        gateway: None,
    };
    given(vec![started()]).when(short.clone()).then_expect_events(vec![came.clone()]);
    // The entry of a pledge bears what was asked for.
    let differs = PaymentRejection::AmountDiffers { notice: usd("40.00"), payment: usd("100.00") };
    given(vec![started(), pledged()]).when(short).then_expect_error(differs);
    let none = PaymentCommand::Credit { entry: 1, amount: usd("0.00"), document_number: None, gateway: None };
    given(vec![started()]).when(none).then_expect_error(PaymentRejection::AmountNotPositive);
    let returned = vec![started(), came, refunding("first", "40.00"), refunded("first", "40.00")];
    assert_eq!(status(returned), Status::Returned);
}
