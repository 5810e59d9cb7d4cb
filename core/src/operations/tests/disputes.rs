//! Money that came in another amount, disputes, and refunds that the gateway has made by itself.

use super::*;
use crate::{
    domain::{
        DisputeId, RefundId,
        account::AccountRejection,
        order::{ItemRequest, Stage},
        payment::{DisputeStage, PaymentRejection},
    },
    operations::{
        FailRefund, GatewayNotice, LoseDispute, NoticeOutcome, OpenDispute, PayOrder, PayOrderBy, PlaceOrder,
        SettleRefund, StartRefund, WinDispute,
    },
};

fn notice(account: &AccountId, ours: Option<&PaymentId>, amount: &str, outcome: NoticeOutcome) -> Operation {
    Operation::GatewayNotice(GatewayNotice {
        gateway: "stripe".into(),
        gateway_payment: "pi_1".into(),
        payment: ours.cloned(),
        account: account.clone(),
        amount: usd(amount),
        purpose: Purpose::Advance,
        outcome,
    })
}

fn succeeded(account: &AccountId, ours: &PaymentId, amount: &str) -> Operation {
    notice(account, Some(ours), amount, NoticeOutcome::Succeeded)
}

fn disputed(name: &str) -> NoticeOutcome {
    NoticeOutcome::Disputed { gateway_dispute: name.into(), gateway_reason: "not as described".into() }
}

fn won(name: &str) -> NoticeOutcome {
    NoticeOutcome::DisputeWon { gateway_dispute: name.into() }
}

fn lost(name: &str) -> NoticeOutcome {
    NoticeOutcome::DisputeLost { gateway_dispute: name.into() }
}

fn fraudulent() -> NoticeOutcome {
    NoticeOutcome::Fraudulent { gateway_reason: "stolen card".into() }
}

fn made(name: &str) -> NoticeOutcome {
    NoticeOutcome::Refunded { gateway_refund: name.into() }
}

fn dispute(payment: &PaymentId, name: &str, amount: &str) -> Operation {
    let (gateway_dispute, gateway_reason) = (name.into(), "not as described".into());
    Operation::OpenDispute(OpenDispute {
        payment: payment.clone(),
        gateway_dispute,
        amount: usd(amount),
        gateway_reason,
    })
}

fn win(payment: &PaymentId, dispute: &DisputeId) -> Operation {
    Operation::WinDispute(WinDispute { payment: payment.clone(), dispute: dispute.clone() })
}

fn lose(payment: &PaymentId, dispute: &DisputeId) -> Operation {
    Operation::LoseDispute(LoseDispute { payment: payment.clone(), dispute: dispute.clone() })
}

fn refund(payment: &PaymentId, amount: &str, gateway_refund: Option<&str>) -> Operation {
    let gateway_refund = gateway_refund.map(String::from);
    Operation::StartRefund(StartRefund { payment: payment.clone(), amount: usd(amount), gateway_refund })
}

fn settle(payment: &PaymentId, refund: &RefundId, gateway_refund: Option<&str>) -> Operation {
    let gateway_refund = gateway_refund.map(String::from);
    Operation::SettleRefund(SettleRefund { payment: payment.clone(), refund: refund.clone(), gateway_refund })
}

fn fail_refund(payment: &PaymentId, refund: &RefundId) -> Operation {
    let gateway_reason = "card expired".into();
    Operation::FailRefund(FailRefund { payment: payment.clone(), refund: refund.clone(), gateway_reason })
}

fn status(books: &Books, payment: &PaymentId) -> Status {
    books.state(payment).started().expect("the payment is started").status
}

fn stage(books: &Books, payment: &PaymentId, dispute: &DisputeId) -> DisputeStage {
    books.state(payment).started().expect("the payment is started").disputed(dispute).expect("it is disputed").stage
}

fn unchanged(books: &mut Books, operation: Operation) -> Answer {
    let before = books.events.len();
    let answer = books.done(operation);
    assert_eq!(books.events.len(), before, "nothing more is recorded");
    answer
}

fn order_of(books: &mut Books, account: &AccountId, price: &str) -> OrderId {
    let item = ItemRequest {
        product: "vps".into(),
        description: "VPS".into(),
        quantity: number("1"),
        unit_price: number(price),
        part: None,
        tax_rate: number("0"),
    };
    let place = PlaceOrder { account: account.clone(), description: "servers".into(), items: vec![item] };
    id(&books.done(Operation::PlaceOrder(place)))
}

// ── money of another amount ─────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn less_money_than_was_asked_for_pays_a_part_of_the_invoice() {
    let mut books = Books::new();
    let account = books.account("USD");
    let invoice = books.invoice_of(&account, &[("20.00", "0")]);
    let purpose = Purpose::Invoice(invoice.clone());
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), purpose)));
    let answer = books.done(succeeded(&account, &ours, "19.50"));
    assert_eq!((amount(&answer, "amount"), amount(&answer, "received")), (number("20.00"), number("19.50")));
    assert_eq!((books.due(&invoice), books.balance(&account)), (number("0.50"), number("-0.50")));
    unchanged(&mut books, succeeded(&account, &ours, "19.50"));
    let differs = PaymentRejection::AmountDiffers { notice: usd("20.00"), payment: usd("19.50") };
    assert_eq!(books.refused(succeeded(&account, &ours, "20.00")), differs.into());
    books.paid(&account, "1.00");
    assert_eq!((books.due(&invoice), books.balance(&account)), (number("0.00"), number("0.50")));
}

/// Staff saw the money first. The gateway's first notice is that money, and a second payment is other money.
#[test]
fn a_second_payment_of_the_gateway_is_other_money_also_where_staff_credited_the_first() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("5.00"), Purpose::Advance)));
    books.done(step(&ours, PaymentStep::Credit { document_number: None, amount: None }));
    let first = succeeded(&account, &ours, "5.00");
    books.done(first.clone());
    assert_eq!(books.balance(&account), number("5.00"));
    unchanged(&mut books, first);
    let second = succeeded(&account, &ours, "5.00").renamed("pi_2");
    books.done(second.clone());
    assert_eq!(books.balance(&account), number("10.00"));
    unchanged(&mut books, second);
    books.done(notice(&account, None, "5.00", made("re_1")).renamed("pi_2"));
    assert_eq!((books.balance(&account), status(&books, &ours)), (number("5.00"), Status::Credited));
}

#[test]
fn more_money_than_was_asked_for_is_credit() {
    let mut books = Books::new();
    let account = books.account("USD");
    let invoice = books.invoice_of(&account, &[("20.00", "0")]);
    let purpose = Purpose::Invoice(invoice.clone());
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), purpose)));
    books.done(succeeded(&account, &ours, "20.50"));
    assert_eq!((books.due(&invoice), books.balance(&account)), (number("0.00"), number("0.50")));
}

#[test]
fn an_order_that_its_money_does_not_suffice_for_is_open_again() {
    let mut books = Books::new();
    let account = books.account("USD");
    let order = order_of(&mut books, &account, "20.00");
    let by = PayOrderBy::Payment { payer: None, method: "card".into(), amount: None };
    let paying = books.done(Operation::PayOrder(PayOrder { order: order.clone(), by }));
    let ours: PaymentId = id(&paying["payment"]);
    let answer = books.done(succeeded(&account, &ours, "19.50"));
    assert_eq!((text(&answer["order"], "status"), amount(&answer["order"], "missing")), ("open", number("0.50")));
    assert_eq!(books.balance(&account), number("19.50"));
    books.paid_for(&account, "0.50", order_for(&order));
    assert_eq!(books.state(&order).placed().expect("it is placed").stage, Stage::Processed);
}

#[test]
fn staff_say_what_came() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), Purpose::Advance)));
    let credit = |amount| step(&ours, PaymentStep::Credit { document_number: None, amount: Some(amount) });
    assert_eq!(books.refused(credit(usd("0.00"))), PaymentRejection::AmountNotPositive.into());
    let euros = Money::parse("20.00", "EUR").expect("euros");
    assert_eq!(books.refused(credit(euros)).code(), "currency-mismatch");
    let answer = books.done(credit(usd("19.50")));
    assert_eq!((text(&answer, "status"), amount(&answer, "received")), ("credited", number("19.50")));
    assert_eq!(books.balance(&account), number("19.50"));
}

#[test]
fn a_pledge_is_corrected_to_what_came() {
    for (came, due, balance) in [("19.50", "0.50", "-0.50"), ("20.50", "0.00", "0.50")] {
        let mut books = Books::new();
        let account = books.account("USD");
        let invoice = books.invoice_of(&account, &[("20.00", "0")]);
        let purpose = Purpose::Invoice(invoice.clone());
        let ours: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), purpose)));
        books.done(step(&ours, PaymentStep::Pledge));
        assert_eq!(books.due(&invoice), number("0.00"));
        books.done(succeeded(&account, &ours, came));
        assert_eq!((books.due(&invoice), books.balance(&account)), (number(due), number(balance)));
        assert_eq!(status(&books, &ours), Status::Credited);
        unchanged(&mut books, succeeded(&account, &ours, came));
    }
}

#[test]
fn a_failure_is_taken_whatever_amount_it_speaks_of() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), Purpose::Advance)));
    let failed = NoticeOutcome::Failed { gateway_reason: "declined".into() };
    books.done(notice(&account, Some(&ours), "19.50", failed));
    assert_eq!(status(&books, &ours), Status::Failed);
}

#[test]
fn money_in_another_currency_is_refused() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), Purpose::Advance)));
    let Operation::GatewayNotice(dollars) = succeeded(&account, &ours, "20.00") else { unreachable!() };
    let euros = GatewayNotice { amount: Money::parse("20.00", "EUR").expect("euros"), ..dollars };
    assert_eq!(books.refused(Operation::GatewayNotice(euros)).code(), "currency-mismatch");
}

#[test]
fn a_refund_is_bounded_by_what_came() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), Purpose::Advance)));
    books.done(succeeded(&account, &ours, "19.50"));
    let bounded = PaymentRejection::OverRefund { refundable: usd("19.50"), tied: usd("0.00") };
    assert_eq!(books.refused(refund(&ours, "20.00", None)), bounded.into());
    let started = books.done(refund(&ours, "19.50", None));
    books.done(settle(&ours, &id(&started), None));
    assert_eq!(status(&books, &ours), Status::Returned);
}

// ── disputes ────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn s54_a_dispute_uncovers_what_was_covered_last_and_only_as_much_as_is_needed() {
    let mut books = Books::new();
    let account = books.account("USD");
    let first = books.invoice_of(&account, &[("10.00", "0")]);
    let payment = books.paid(&account, "20.00");
    let second = books.invoice_of(&account, &[("8.00", "0")]);
    let opened = books.done(dispute(&payment, "dp_1", "5.00"));
    assert_eq!((text(&opened, "status"), amount(&opened, "balance")), ("open", number("-3.00")));
    assert_eq!((books.due(&first), books.due(&second)), (number("0.00"), number("3.00")));
    // The same dispute again changes nothing; of another amount it is refused.
    assert_eq!(unchanged(&mut books, dispute(&payment, "dp_1", "5.00")), opened);
    let differs = PaymentRejection::DisputeAmountDiffers { given: usd("6.00"), recorded: usd("5.00") };
    assert_eq!(books.refused(dispute(&payment, "dp_1", "6.00")), differs.into());

    let answer = books.done(win(&payment, &id(&opened)));
    assert_eq!((text(&answer, "status"), amount(&answer, "balance")), ("won", number("2.00")));
    assert_eq!((books.due(&first), books.due(&second)), (number("0.00"), number("0.00")));
    let reversed = books.events.iter().rev().find_map(|new| match &new.event {
        Event::Account(AccountEvent::Credited { reverses, .. }) => *reverses,
        _ => None,
    });
    assert_eq!(reversed, books.state(&payment).started().expect("started").disputes.values().next().map(|d| d.entry));
    unchanged(&mut books, win(&payment, &id(&opened)));
    let refused = books.refused(lose(&payment, &id(&opened)));
    assert_eq!(refused.to_string(), "the dispute is won, so it cannot be lost");
}

#[test]
fn a_dispute_is_lost_once_and_for_all() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment = books.paid(&account, "20.00");
    let opened: DisputeId = id(&books.done(dispute(&payment, "dp_1", "20.00")));
    let before = books.events.len();
    books.done(lose(&payment, &opened));
    assert_eq!(books.types_since(before), ["payment.dispute_lost"]);
    unchanged(&mut books, lose(&payment, &opened));
    assert_eq!(books.refused(win(&payment, &opened)).code(), "dispute-status");
    assert_eq!((books.balance(&account), stage(&books, &payment, &opened)), (number("0.00"), DisputeStage::Lost));
}

#[test]
fn a_dispute_of_more_than_the_payment_is_debt() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment = books.paid(&account, "20.00");
    let opened: DisputeId = id(&books.done(dispute(&payment, "dp_1", "35.00")));
    assert_eq!(books.balance(&account), number("-15.00"));
    books.paid(&account, "10.00");
    assert_eq!(books.balance(&account), number("-5.00"));
    books.done(win(&payment, &opened));
    assert_eq!(books.balance(&account), number("30.00"));
}

#[test]
fn a_payment_that_went_back_can_still_be_disputed() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment = books.paid(&account, "20.00");
    let started = books.done(refund(&payment, "20.00", None));
    books.done(settle(&payment, &id(&started), None));
    let opened: DisputeId = id(&books.done(dispute(&payment, "dp_1", "20.00")));
    assert_eq!((books.balance(&account), status(&books, &payment)), (number("-20.00"), Status::Returned));
    books.done(win(&payment, &opened));
    assert_eq!(books.balance(&account), number("0.00"));
}

#[test]
fn a_dispute_beside_a_refund_under_way_closes_when_the_refund_fails() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment = books.paid(&account, "20.00");
    let started: RefundId = id(&books.done(refund(&payment, "5.00", None)));
    books.done(dispute(&payment, "dp_1", "20.00"));
    assert_eq!(books.balance(&account), number("-5.00"));
    books.done(fail_refund(&payment, &started));
    assert_eq!(books.balance(&account), number("0.00"));
    let uncovered: Decimal = books.ledger(&account).charges.values().map(|charge| charge.uncovered.amount()).sum();
    assert_eq!(uncovered, number("0.00"));
}

#[test]
fn disputes_come_as_notices_too() {
    let mut books = Books::new();
    let account = books.account("USD");
    let dispute = |amount, outcome| notice(&account, None, amount, outcome);
    // Before its payment is known, the gateway is asked to come again.
    assert_eq!(books.refused(dispute("5.00", disputed("dp_1"))), PaymentRejection::NotStarted.into());
    books.done(dispute("20.00", NoticeOutcome::Succeeded));
    assert_eq!(books.refused(dispute("5.00", won("dp_1"))), PaymentRejection::UnknownDispute.into());
    assert_eq!(amount(&books.done(dispute("5.00", disputed("dp_1"))), "balance"), number("15.00"));
    unchanged(&mut books, dispute("5.00", disputed("dp_1")));
    assert_eq!(books.refused(dispute("4.00", won("dp_1"))).code(), "amount-differs");
    assert_eq!(amount(&books.done(dispute("5.00", won("dp_1"))), "balance"), number("20.00"));
    unchanged(&mut books, dispute("5.00", won("dp_1")));
    assert_eq!(books.refused(dispute("5.00", lost("dp_1"))).code(), "dispute-status");
    books.done(dispute("7.00", disputed("dp_2")));
    books.done(dispute("7.00", lost("dp_2")));
    unchanged(&mut books, dispute("7.00", lost("dp_2")));
    assert_eq!(books.refused(dispute("7.00", won("dp_2"))).code(), "dispute-status");
    assert_eq!(books.balance(&account), number("13.00"));
}

#[test]
fn a_dispute_needs_a_name_an_amount_and_money_that_came() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), Purpose::Advance)));
    assert_eq!(books.refused(dispute(&ours, "dp_1", "5.00")).code(), "payment-status");
    books.done(succeeded(&account, &ours, "20.00"));
    for name in ["", " ", " dp_1"] {
        let refused = books.refused(dispute(&ours, name, "5.00"));
        assert_eq!(refused, PaymentRejection::GatewayDisputeMalformed.into());
    }
    for none in ["0.00", "-1.00"] {
        assert_eq!(books.refused(dispute(&ours, "dp_1", none)), PaymentRejection::AmountNotPositive.into());
    }
    let unknown: DisputeId = Id::named("unknown").expect("a name");
    assert_eq!(books.refused(win(&ours, &unknown)), PaymentRejection::UnknownDispute.into());
    let euros = Money::parse("5.00", "EUR").expect("euros");
    let Operation::OpenDispute(open) = dispute(&ours, "dp_1", "5.00") else { unreachable!() };
    let refused = books.refused(Operation::OpenDispute(OpenDispute { amount: euros, ..open }));
    assert!(matches!(refused, Refusal::Account(AccountRejection::CurrencyMismatch { .. })), "{refused:?}");
}

#[test]
fn fraud_of_another_amount_or_after_a_refund_is_a_dispute_that_is_lost_at_once() {
    let mut books = Books::new();
    let account = books.account("USD");
    let fraud = |amount| notice(&account, None, amount, fraudulent());
    books.done(notice(&account, None, "20.00", NoticeOutcome::Succeeded));
    let answer = books.done(fraud("5.00"));
    assert_eq!((text(&answer, "status"), amount(&answer, "balance")), ("credited", number("15.00")));
    unchanged(&mut books, fraud("5.00"));
    let payment: PaymentId = id(&answer);
    let of_payment = &books.state(&payment).started().expect("it is started").disputes;
    assert!(of_payment.values().all(|dispute| dispute.stage == DisputeStage::Lost));
    // Of its own amount it is taken back as a whole, as far as it has not gone back.
    let answer = books.done(fraud("20.00"));
    assert_eq!((text(&answer, "status"), amount(&answer, "balance")), ("fraudulent", number("0.00")));

    let other = books.account("USD");
    let payment = books.paid(&other, "20.00");
    let started = books.done(refund(&payment, "20.00", None));
    books.done(settle(&payment, &id(&started), None));
    books.done(notice(&other, Some(&payment), "20.00", fraudulent()).renamed("pi_2"));
    assert_eq!((books.balance(&other), status(&books, &payment)), (number("-20.00"), Status::Returned));
}

impl Operation {
    /// The same notice of another payment of the gateway.
    fn renamed(self, gateway_payment: &str) -> Self {
        match self {
            Self::GatewayNotice(notice) => {
                Self::GatewayNotice(GatewayNotice { gateway_payment: gateway_payment.into(), ..notice })
            }
            other => other,
        }
    }
}

#[test]
fn a_dispute_that_is_won_after_fraud_is_no_gift() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment = books.paid(&account, "20.00");
    let opened: DisputeId = id(&books.done(dispute(&payment, "dp_1", "5.00")));
    books.done(step(&payment, PaymentStep::MarkFraudulent { gateway_reason: "stolen card".into() }));
    assert_eq!(books.balance(&account), number("0.00"));
    books.done(win(&payment, &opened));
    assert_eq!(books.balance(&account), number("0.00"));
    assert_eq!(books.refused(dispute(&payment, "dp_2", "5.00")).code(), "payment-status");
}

#[test]
fn a_dispute_is_not_won_ahead_of_its_time() {
    let mut books = Books::new();
    let account = books.account("USD");
    (books.now, books.context.occurred_at) = (noon("2026-12-15"), noon("2026-12-15"));
    let payment = books.paid(&account, "20.00");
    let opened: DisputeId = id(&books.done(dispute(&payment, "dp_1", "20.00")));
    books.context.occurred_at = noon("2027-06-01");
    assert_eq!(books.refused(win(&payment, &opened)), PaymentRejection::WonAhead.into());
    books.context.occurred_at = books.now;
    books.done(win(&payment, &opened));
    assert_eq!(books.ledger(&account).available(), Some(number("20.00")));
}

/// What a dispute took was a charge of its own, which other money may have covered: fraud does not take it once more.
#[test]
fn fraud_takes_nothing_that_a_dispute_has_taken() {
    let mut books = Books::new();
    let account = books.account("USD");
    (books.now, books.context.occurred_at) = (noon("2026-12-15"), noon("2027-06-01"));
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), Purpose::Advance)));
    books.done(succeeded(&account, &ours, "20.00"));
    books.context.occurred_at = books.now;
    books.done(dispute(&ours, "dp_1", "20.00"));
    books.done(notice(&account, None, "20.00", fraudulent()));
    assert_eq!(books.balance(&account), number("0.00"));

    let account = books.account("USD");
    let payment = books.paid(&account, "20.00");
    let under_way: RefundId = id(&books.done(refund(&payment, "20.00", None)));
    books.done(dispute(&payment, "dp_1", "20.00"));
    books.paid(&account, "20.00");
    books.done(fail_refund(&payment, &under_way));
    books.done(step(&payment, PaymentStep::MarkFraudulent { gateway_reason: "stolen card".into() }));
    assert_eq!(books.balance(&account), number("20.00"));
}

#[test]
fn fraud_of_a_part_of_a_pledge_waits_for_the_money() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), Purpose::Advance)));
    books.done(step(&ours, PaymentStep::Pledge));
    let part = notice(&account, Some(&ours), "5.00", fraudulent());
    assert_eq!(books.refused(part.clone()).code(), "amount-differs");
    books.done(succeeded(&account, &ours, "20.00"));
    books.done(part);
    assert_eq!((status(&books, &ours), books.balance(&account)), (Status::Credited, number("15.00")));
}

// ── refunds made at the gateway ─────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_refund_made_at_the_gateway_is_one_by_whatever_door_it_comes() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), Purpose::Advance)));
    books.done(succeeded(&account, &ours, "20.00"));
    let first = books.done(refund(&ours, "5.00", Some("re_1")));
    assert_eq!((text(&first, "status"), amount(&first, "balance")), ("settled", number("15.00")));
    unchanged(&mut books, notice(&account, None, "5.00", made("re_1")));
    assert_eq!(unchanged(&mut books, refund(&ours, "5.00", Some("re_1"))), first);
    unchanged(&mut books, settle(&ours, &id(&first), Some("re_1")));
    let differs = PaymentRejection::RefundAmountDiffers { given: usd("6.00"), recorded: usd("5.00") };
    assert_eq!(books.refused(refund(&ours, "6.00", Some("re_1"))), differs.into());
    assert_eq!(books.refused(notice(&account, None, "6.00", made("re_1"))).code(), "amount-differs");
    books.done(notice(&account, None, "5.00", made("re_2")));
    assert_eq!((books.balance(&account), status(&books, &ours)), (number("10.00"), Status::PartlyReturned));
}

#[test]
fn a_refund_under_way_is_settled_by_the_gateways_own() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), Purpose::Advance)));
    books.done(succeeded(&account, &ours, "20.00"));
    let [first, second]: [RefundId; 2] = ["5.00", "5.00"].map(|part| id(&books.done(refund(&ours, part, None))));
    books.done(notice(&account, None, "5.00", made("re_1")));
    assert_eq!(books.balance(&account), number("10.00"));
    let refused = books.refused(settle(&ours, &second, Some("re_1")));
    assert_eq!(refused, PaymentRejection::GatewayRefundAssigned { refund: first.clone() }.into());
    unchanged(&mut books, settle(&ours, &first, Some("re_1")));
    books.done(settle(&ours, &second, Some("re_2")));
    unchanged(&mut books, notice(&account, None, "5.00", made("re_2")));
    assert_eq!(books.balance(&account), number("10.00"));
}

/// Of two refunds of one amount a notice may be taken for the wrong one. That makes no difference.
#[test]
fn two_refunds_of_one_amount_stand_for_each_other() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), Purpose::Advance)));
    books.done(succeeded(&account, &payment, "20.00"));
    let [first, second]: [RefundId; 2] = ["5.00", "5.00"].map(|part| id(&books.done(refund(&payment, part, None))));
    // The gateway has made the second one, and the first one fails there.
    books.done(notice(&account, None, "5.00", made("re_2")));
    books.done(fail_refund(&payment, &first));
    assert_eq!(books.balance(&account), number("15.00"));
    assert!(books.state(&payment).started().expect("it is started").refunding.is_empty());
    assert_eq!(books.refused(fail_refund(&payment, &second)).code(), "refund-not-found");

    let [first, _]: [RefundId; 2] = ["1.00", "1.00"].map(|part| id(&books.done(refund(&payment, part, None))));
    books.done(notice(&account, None, "1.00", made("re_4")));
    books.done(settle(&payment, &first, Some("re_3")));
    unchanged(&mut books, notice(&account, None, "1.00", made("re_3")));
    assert_eq!(books.balance(&account), number("13.00"));
    assert!(books.state(&payment).started().expect("it is started").refunding.is_empty());
}

#[test]
fn a_late_notice_of_a_settled_refund_settles_no_other() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), Purpose::Advance)));
    books.done(succeeded(&account, &payment, "20.00"));
    let [first, second]: [RefundId; 2] = ["5.00", "5.00"].map(|part| id(&books.done(refund(&payment, part, None))));
    books.done(settle(&payment, &first, None));
    books.done(notice(&account, None, "5.00", made("re_1")));
    books.done(fail_refund(&payment, &second));
    assert_eq!(books.balance(&account), number("15.00"));
}

#[test]
fn a_refund_that_first_names_our_payment_serves_no_order() {
    let mut books = Books::new();
    let account = books.account("USD");
    let order = order_of(&mut books, &account, "20.00");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), Purpose::Order(order.clone()))));
    books.done(notice(&account, None, "20.00", NoticeOutcome::Succeeded));
    books.done(notice(&account, Some(&ours), "20.00", made("re_1")));
    assert_eq!(books.balance(&account), number("0.00"));
    assert_eq!(books.state(&order).placed().expect("it is placed").stage, Stage::Open);
}

#[test]
fn a_refund_settled_by_hand_is_the_one_that_the_gateway_reports_later() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), Purpose::Advance)));
    books.done(succeeded(&account, &ours, "20.00"));
    let by_hand: RefundId = id(&books.done(refund(&ours, "5.00", None)));
    books.done(settle(&ours, &by_hand, None));
    unchanged(&mut books, settle(&ours, &by_hand, None));
    books.done(notice(&account, None, "5.00", made("re_1")));
    assert_eq!(books.balance(&account), number("15.00"));
    let again = unchanged(&mut books, refund(&ours, "5.00", Some("re_1")));
    let again: RefundId = id(&again);
    assert_eq!(again, by_hand);
    // It has a name now, so that the next one of the amount is another.
    books.done(notice(&account, None, "5.00", made("re_2")));
    assert_eq!(books.balance(&account), number("10.00"));

    // By hand once more, and the name is told afterwards.
    let third: RefundId = id(&books.done(refund(&ours, "1.00", None)));
    books.done(settle(&ours, &third, None));
    let refused = books.refused(settle(&ours, &third, Some("re_2")));
    assert_eq!(refused.code(), "gateway-refund-assigned");
    books.done(settle(&ours, &third, Some("re_3")));
    unchanged(&mut books, settle(&ours, &third, Some("re_3")));
    unchanged(&mut books, notice(&account, None, "1.00", made("re_3")));
    assert_eq!(books.balance(&account), number("9.00"));
}

#[test]
fn a_refund_that_failed_here_and_was_made_there_is_a_new_one() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment = books.paid(&account, "20.00");
    let started: RefundId = id(&books.done(refund(&payment, "5.00", None)));
    books.done(fail_refund(&payment, &started));
    let made: RefundId = id(&books.done(refund(&payment, "5.00", Some("re_1"))));
    assert_ne!(made, started);
    assert_eq!(books.balance(&account), number("15.00"));
}

#[test]
fn a_refund_made_at_the_gateway_has_left_whatever_it_paid_for() {
    let mut books = Books::new();
    let account = books.account("USD");
    let invoice = books.invoice_of(&account, &[("20.00", "0")]);
    let payment = books.paid(&account, "20.00");
    books.done(refund(&payment, "5.00", Some("re_1")));
    assert_eq!((books.due(&invoice), books.balance(&account)), (number("5.00"), number("-5.00")));
    books.done(refund(&payment, "30.00", Some("re_2")));
    assert_eq!((books.due(&invoice), books.balance(&account)), (number("20.00"), number("-35.00")));
    assert_eq!(status(&books, &payment), Status::Returned);
    books.done(refund(&payment, "1.00", Some("re_3")));
    assert_eq!(books.balance(&account), number("-36.00"));
    assert_eq!(books.refused(refund(&payment, "1.00", None)).code(), "payment-status");
}

#[test]
fn a_refund_made_at_the_gateway_needs_a_name_an_amount_and_money_that_came() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("20.00"), Purpose::Advance)));
    assert_eq!(books.refused(refund(&ours, "5.00", Some("re_1"))).code(), "payment-status");
    books.done(succeeded(&account, &ours, "20.00"));
    for name in ["", " ", "re_1 "] {
        let refused = books.refused(refund(&ours, "5.00", Some(name)));
        assert_eq!(refused, PaymentRejection::GatewayRefundMalformed.into());
    }
    assert_eq!(books.refused(refund(&ours, "0.00", Some("re_1"))), PaymentRejection::AmountNotPositive.into());
    let started: RefundId = id(&books.done(refund(&ours, "5.00", None)));
    assert_eq!(books.refused(settle(&ours, &started, Some(" "))).code(), "gateway-refund-malformed");
}
