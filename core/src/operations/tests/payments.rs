//! Payments: what they cover, notices that come more than once, refunds, and money that the gateway takes back.

use super::*;
use crate::{
    domain::{
        RefundId,
        account::AccountRejection,
        invoice::LineToCredit,
        order::{ItemRequest, Stage},
        payment::PaymentRejection,
    },
    operations::{
        AdjustAccount, AllocatePayment, ChangeTerms, ChargeRef, CreditRequest, FailRefund, GatewayNotice, HoldFunds,
        IssueCreditNote, NoticeOutcome, PayOrder, PayOrderBy, PlaceOrder, SettleRefund, StartRefund, Terms,
    },
};

fn notice(account: &AccountId, gateway_payment: &str, amount: &str, outcome: NoticeOutcome) -> GatewayNotice {
    GatewayNotice {
        gateway: "stripe".into(),
        gateway_payment: gateway_payment.into(),
        payment: None,
        account: account.clone(),
        amount: usd(amount),
        purpose: Purpose::Advance,
        outcome,
    }
}

fn refund(payment: &PaymentId, amount: &str) -> Operation {
    Operation::StartRefund(StartRefund { payment: payment.clone(), amount: usd(amount), gateway_refund: None })
}

fn refund_failed(payment: &PaymentId, refund: &RefundId) -> Operation {
    let gateway_reason = "card expired".into();
    Operation::FailRefund(FailRefund { payment: payment.clone(), refund: refund.clone(), gateway_reason })
}

fn refund_settled(payment: &PaymentId, refund: &RefundId) -> Operation {
    Operation::SettleRefund(SettleRefund { payment: payment.clone(), refund: refund.clone(), gateway_refund: None })
}

fn fraud(payment: &PaymentId) -> Operation {
    step(payment, PaymentStep::MarkFraudulent { gateway_reason: "chargeback".into() })
}

fn allocate(payment: &PaymentId, from: Option<&InvoiceId>, to: Option<&InvoiceId>, amount: &str) -> Operation {
    let charge = |invoice: &InvoiceId| ChargeRef::Invoice(invoice.clone());
    let (from, to) = (from.map(charge), to.map(charge));
    Operation::AllocatePayment(AllocatePayment { payment: payment.clone(), from, to, amount: usd(amount) })
}

fn keep_credit(account: &AccountId) -> Operation {
    Operation::ChangeTerms(ChangeTerms { account: account.clone(), terms: Terms::AutomaticAllocationOff })
}

fn status(books: &Books, payment: &PaymentId) -> Status {
    books.state(payment).started().expect("the payment is started").status
}

fn over_refund(refundable: &str, tied: &str) -> Refusal {
    PaymentRejection::OverRefund { refundable: usd(refundable), tied: usd(tied) }.into()
}

#[test]
fn s16_the_same_notice_three_times_is_one_payment() {
    let mut books = Books::new();
    let account = books.account("USD");
    let succeeded = || Operation::GatewayNotice(notice(&account, "pi_1", "25.00", NoticeOutcome::Succeeded));
    let first = books.done(succeeded());
    let recorded = books.events.len();
    for _ in 0..2 {
        assert_eq!(books.done(succeeded()), first);
    }
    assert_eq!(books.events.len(), recorded);
    assert_eq!(books.statement(&account), [number("25.00")]);
}

#[test]
fn s17_two_notices_of_one_provider_payment_are_one_payment() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("25.00"), Purpose::Advance)));
    let first =
        GatewayNotice { payment: Some(ours.clone()), ..notice(&account, "pi_1", "25.00", NoticeOutcome::Succeeded) };
    books.done(Operation::GatewayNotice(first));
    let second = notice(&account, "pi_1", "25.00", NoticeOutcome::Succeeded);
    assert_eq!(text(&books.done(Operation::GatewayNotice(second)), "id"), ours.as_str());
    assert_eq!(books.statement(&account), [number("25.00")]);
}

#[test]
fn a_notice_of_another_amount_or_account_is_refused() {
    let mut books = Books::new();
    let (account, other) = (books.account("USD"), books.account("USD"));
    books.done(Operation::GatewayNotice(notice(&account, "pi_1", "25.00", NoticeOutcome::Succeeded)));
    let less = notice(&account, "pi_1", "24.00", NoticeOutcome::Succeeded);
    let differs = PaymentRejection::AmountDiffers { notice: usd("24.00"), payment: usd("25.00") };
    assert_eq!(books.refused(Operation::GatewayNotice(less)), differs.into());
    let elsewhere = notice(&other, "pi_1", "25.00", NoticeOutcome::Succeeded);
    assert_eq!(books.refused(Operation::GatewayNotice(elsewhere)), OperationRejection::Foreign.into());
}

#[test]
fn a_gateway_whose_name_could_be_mistaken_is_refused() {
    let mut books = Books::new();
    let account = books.account("USD");
    for gateway in ["", " ", "stripe ", "stripe:eu"] {
        let odd = GatewayNotice { gateway: gateway.into(), ..notice(&account, "1", "25.00", NoticeOutcome::Succeeded) };
        let refusal = books.refused(Operation::GatewayNotice(odd));
        assert_eq!(refusal.code(), "malformed-id");
    }
}

#[test]
fn a_notice_without_the_gateways_payment_id_is_refused() {
    let mut books = Books::new();
    let account = books.account("USD");
    for missing in ["", " "] {
        let refusal =
            books.refused(Operation::GatewayNotice(notice(&account, missing, "7.00", NoticeOutcome::Succeeded)));
        assert_eq!(refusal, PaymentRejection::GatewayPaymentMissing.into());
    }
}

#[test]
fn a_gateways_payment_id_has_any_signs_but_control_characters() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ids = ["RF18 5390 0754 7034", "2024/0001/17", "Zahlung №5", "a%2Fb?c#d"];
    for gateway_payment in ids {
        books.done(Operation::GatewayNotice(notice(&account, gateway_payment, "1.00", NoticeOutcome::Succeeded)));
    }
    assert_eq!(books.statement(&account).len(), ids.len());
    for odd in ["a\nb", "a\0", " a"] {
        let refusal = books.refused(Operation::GatewayNotice(notice(&account, odd, "1.00", NoticeOutcome::Succeeded)));
        assert_eq!(refusal.code(), "malformed-id");
    }
}

#[test]
fn gateways_whose_names_differ_in_case_are_one() {
    let mut books = Books::new();
    let account = books.account("USD");
    for gateway in ["stripe", "Stripe", "STRIPE"] {
        let notice = notice(&account, "pi_1", "25.00", NoticeOutcome::Succeeded);
        books.done(Operation::GatewayNotice(GatewayNotice { gateway: gateway.into(), ..notice }));
    }
    assert_eq!(books.statement(&account), [number("25.00")]);
}

#[test]
fn a_late_notice_changes_nothing_about_what_is_settled() {
    let mut books = Books::new();
    let account = books.account("USD");
    let notice = |outcome| Operation::GatewayNotice(notice(&account, "pi_1", "25.00", outcome));
    books.done(notice(NoticeOutcome::Failed { gateway_reason: "timed out".into() }));
    assert_eq!(text(&books.done(notice(NoticeOutcome::Succeeded)), "status"), "credited");
    let late = books.done(notice(NoticeOutcome::Failed { gateway_reason: "timed out".into() }));
    assert_eq!(text(&late, "status"), "credited");
    books.done(notice(NoticeOutcome::Fraudulent { gateway_reason: "chargeback".into() }));
    let recorded = books.events.len();
    for outcome in [
        NoticeOutcome::Succeeded,
        NoticeOutcome::Failed { gateway_reason: "timed out".into() },
        NoticeOutcome::Fraudulent { gateway_reason: "chargeback".into() },
    ] {
        assert_eq!(text(&books.done(notice(outcome)), "status"), "fraudulent");
    }
    assert_eq!((books.events.len(), books.balance(&account)), (recorded, number("0.00")));
}

#[test]
fn s21_an_invoice_is_paid_in_parts() {
    let mut books = Books::new();
    let account = books.account("USD");
    let invoice = books.invoice_of(&account, &[("100.00", "0")]);
    let before = books.events.len();
    books.paid_for(&account, "40.00", Purpose::Invoice(invoice.clone()));
    assert_eq!(books.due(&invoice), number("60.00"));
    books.paid_for(&account, "60.00", Purpose::Invoice(invoice.clone()));
    assert_eq!(books.due(&invoice), number("0.00"));
    let types = books.types_since(before);
    let told: Vec<_> = types.iter().filter(|kind| kind.starts_with("invoice.")).collect();
    assert_eq!(told, ["invoice.part_paid", "invoice.paid"]);
}

#[test]
fn s22_one_payment_covers_many_invoices_oldest_first() {
    let mut books = Books::new();
    let account = books.account("USD");
    let invoices = ["30.00", "50.00", "40.00"].map(|price| books.invoice_of(&account, &[(price, "0")]));
    let before = books.events.len();
    books.paid(&account, "100.00");
    assert_eq!(invoices.each_ref().map(|invoice| books.due(invoice)), ["0.00", "0.00", "20.00"].map(number));
    assert_eq!(books.types_since(before).iter().filter(|kind| *kind == "account.allocated").count(), 3);
}

#[test]
fn s23_an_overpayment_is_credit_for_the_next_invoice() {
    let mut books = Books::new();
    let account = books.account("USD");
    let first = books.invoice_of(&account, &[("100.00", "0")]);
    books.paid_for(&account, "120.00", Purpose::Invoice(first.clone()));
    assert_eq!((books.due(&first), books.balance(&account)), (number("0.00"), number("20.00")));
    let second = books.invoice_of(&account, &[("50.00", "0")]);
    assert_eq!(books.due(&second), number("30.00"));
}

#[test]
fn s23_credit_stays_where_the_customer_switched_that_off() {
    let mut books = Books::new();
    let account = books.account("USD");
    books.done(keep_credit(&account));
    books.paid(&account, "20.00");
    let invoice = books.invoice_of(&account, &[("50.00", "0")]);
    assert_eq!((books.due(&invoice), books.balance(&account)), (number("50.00"), number("-30.00")));
}

#[test]
fn s24_staff_move_a_payment_from_one_invoice_to_another() {
    let mut books = Books::new();
    let account = books.account("USD");
    let x = books.invoice_of(&account, &[("40.00", "0")]);
    let y = books.invoice_of(&account, &[("30.00", "0")]);
    let payment = books.paid_for(&account, "40.00", Purpose::Invoice(x.clone()));
    let before = books.events.len();
    let moved = books.done(allocate(&payment, Some(&x), Some(&y), "30.00"));
    assert_eq!(
        (books.due(&x), books.due(&y), amount(&moved, "free")),
        (number("30.00"), number("0.00"), number("0.00"))
    );
    assert_eq!(
        books.types_since(before),
        ["account.released", "account.allocated", "invoice.due_again", "invoice.paid"]
    );
    let available = usd("0.00");
    let too_much = allocate(&payment, None, Some(&x), "1.00");
    assert_eq!(books.refused(too_much), AccountRejection::OverAllocation { available }.into());
    let allocated = usd("10.00");
    let too_much = allocate(&payment, Some(&x), None, "10.01");
    assert_eq!(books.refused(too_much), AccountRejection::OverRelease { allocated }.into());
}

#[test]
fn an_allocation_by_hand_needs_a_reason_a_place_and_the_right_account() {
    let mut books = Books::new();
    let (account, other) = (books.account("USD"), books.account("USD"));
    let payment = books.paid(&account, "40.00");
    let foreign = books.invoice_of(&other, &[("40.00", "0")]);
    let operation = allocate(&payment, None, Some(&foreign), "40.00");
    assert_eq!(books.without_reason(operation.clone()), no_reason());
    assert_eq!(books.refused(operation), OperationRejection::Foreign.into());
    assert_eq!(books.refused(allocate(&payment, None, None, "40.00")), OperationRejection::NowhereToAllocate.into());
}

#[test]
fn s25_only_what_is_free_of_a_payment_goes_back() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment = books.paid(&account, "100.00");
    books.invoice_of(&account, &[("60.00", "0")]);
    let started = books.done(refund(&payment, "40.00"));
    assert_eq!((text(&started, "status"), amount(&started, "refundable")), ("pending", number("0.00")));
    assert_eq!(books.balance(&account), number("0.00"));
    let settled = books.done(refund_settled(&payment, &id(&started)));
    assert_eq!((text(&settled, "status"), status(&books, &payment)), ("settled", Status::PartlyReturned));
    assert_eq!(books.refused(refund(&payment, "0.01")), over_refund("0.00", "60.00"));
}

#[test]
fn s26_a_refund_that_fails_is_back_on_the_account() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment = books.paid(&account, "100.00");
    let started = books.done(refund(&payment, "40.00"));
    assert_eq!(books.balance(&account), number("60.00"));
    let failed = books.done(refund_failed(&payment, &id(&started)));
    assert_eq!((text(&failed, "status"), amount(&failed, "refundable")), ("failed", number("100.00")));
    assert_eq!(books.statement(&account), ["100.00", "60.00", "100.00"].map(number));
    assert_eq!(books.refused(refund_failed(&payment, &id(&started))), PaymentRejection::UnknownRefund.into());
}

#[test]
fn s29_the_second_of_two_refunds_finds_what_the_first_left() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment = books.paid(&account, "100.00");
    books.done(refund(&payment, "60.00"));
    assert_eq!(books.refused(refund(&payment, "60.00")), over_refund("40.00", "0.00"));
}

#[test]
fn a_payment_that_went_back_in_full_is_returned() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment = books.paid(&account, "100.00");
    for part in ["60.00", "40.00"] {
        let started = books.done(refund(&payment, part));
        books.done(refund_settled(&payment, &id(&started)));
    }
    assert_eq!((status(&books, &payment), books.balance(&account)), (Status::Returned, number("0.00")));
    let refused = books.refused(refund(&payment, "0.01"));
    assert_eq!(refused, PaymentRejection::WrongStatus { status: Status::Returned, wanted: "refunded" }.into());
}

#[test]
fn a_failed_refund_pays_what_has_become_due_meanwhile() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment = books.paid(&account, "100.00");
    let started = books.done(refund(&payment, "100.00"));
    let invoice = books.invoice_of(&account, &[("30.00", "0")]);
    assert_eq!(books.due(&invoice), number("30.00"));
    books.done(refund_failed(&payment, &id(&started)));
    assert_eq!((books.due(&invoice), books.balance(&account)), (number("0.00"), number("70.00")));
}

#[test]
fn s54_a_payment_that_the_gateway_takes_back_leaves_the_invoice_due_again() {
    let mut books = Books::new();
    let account = books.account("USD");
    let invoice = books.invoice_of(&account, &[("100.00", "0")]);
    let payment = books.paid_for(&account, "100.00", Purpose::Invoice(invoice.clone()));
    let answer = books.done(fraud(&payment));
    assert_eq!((text(&answer, "status"), amount(&answer, "balance")), ("fraudulent", number("-100.00")));
    assert_eq!(books.due(&invoice), number("100.00"));
}

#[test]
fn fraud_after_a_partial_refund_takes_only_the_rest() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment = books.paid(&account, "100.00");
    let invoice = books.invoice_of(&account, &[("60.00", "0")]);
    let started = books.done(refund(&payment, "40.00"));
    books.done(refund_settled(&payment, &id(&started)));
    books.done(fraud(&payment));
    assert_eq!((books.balance(&account), books.due(&invoice)), (number("-60.00"), number("60.00")));
}

#[test]
fn a_refund_that_fails_after_fraud_is_no_gift() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment = books.paid(&account, "100.00");
    let started = books.done(refund(&payment, "40.00"));
    books.done(fraud(&payment));
    assert_eq!(books.balance(&account), number("0.00"));
    books.done(refund_failed(&payment, &id(&started)));
    assert_eq!((books.balance(&account), status(&books, &payment)), (number("0.00"), Status::Fraudulent));
}

#[test]
fn a_refund_that_settles_after_fraud_leaves_the_payment_fraudulent() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment = books.paid(&account, "100.00");
    let started = books.done(refund(&payment, "40.00"));
    books.done(fraud(&payment));
    books.done(refund_settled(&payment, &id(&started)));
    assert_eq!((books.balance(&account), status(&books, &payment)), (number("0.00"), Status::Fraudulent));
}

#[test]
fn a_pledge_counts_as_money_until_it_is_confirmed_or_withdrawn() {
    let mut books = Books::new();
    let account = books.account("USD");
    let invoice = books.invoice_of(&account, &[("50.00", "0")]);
    let purpose = Purpose::Invoice(invoice.clone());
    let payment: PaymentId = id(&books.done(start_payment(&account, usd("50.00"), purpose)));
    books.done(step(&payment, PaymentStep::Pledge));
    assert_eq!(books.due(&invoice), number("0.00"));
    books.done(step(&payment, PaymentStep::WithdrawPledge));
    assert_eq!((books.due(&invoice), status(&books, &payment)), (number("50.00"), Status::New));
    books.done(step(&payment, PaymentStep::Pledge));
    books.done(step(&payment, PaymentStep::Credit { document_number: Some("17".into()), amount: None }));
    assert_eq!(books.statement(&account), ["-50.00", "0.00", "-50.00", "0.00"].map(number));
}

#[test]
fn a_payment_for_an_invoice_of_another_account_is_refused() {
    let mut books = Books::new();
    let (account, other) = (books.account("USD"), books.account("USD"));
    let foreign = books.invoice_of(&other, &[("50.00", "0")]);
    let start = start_payment(&account, usd("50.00"), Purpose::Invoice(foreign));
    assert_eq!(books.refused(start), OperationRejection::Foreign.into());
}

#[test]
fn a_payment_to_an_unknown_account_is_refused() {
    let mut books = Books::new();
    let nowhere: AccountId = Id::named("nowhere").expect("a name");
    let start = start_payment(&nowhere, usd("50.00"), Purpose::Advance);
    assert_eq!(books.refused(start), AccountRejection::NotOpen.into());
}

fn succeeded(account: &AccountId, gateway_payment: &str, ours: &PaymentId) -> Operation {
    let payment = Some(ours.clone());
    let outcome = NoticeOutcome::Succeeded;
    Operation::GatewayNotice(GatewayNotice { payment, ..notice(account, gateway_payment, "100.00", outcome) })
}

#[test]
fn a_payer_who_pays_twice_has_twice_the_money() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("100.00"), Purpose::Advance)));
    books.done(succeeded(&account, "1", &ours));
    let second: PaymentId = id(&books.done(succeeded(&account, "2", &ours)));
    assert_ne!(second, ours);
    assert_eq!(books.balance(&account), number("200.00"));
    // Each is still one payment, however often it is reported.
    books.done(succeeded(&account, "1", &ours));
    books.done(succeeded(&account, "2", &ours));
    assert_eq!(books.balance(&account), number("200.00"));

    let outcome = NoticeOutcome::Fraudulent { gateway_reason: "chargeback".into() };
    let back = GatewayNotice { payment: Some(ours.clone()), ..notice(&account, "2", "100.00", outcome) };
    books.done(Operation::GatewayNotice(back));
    assert_eq!(books.balance(&account), number("100.00"));
    assert_eq!((status(&books, &ours), status(&books, &second)), (Status::Credited, Status::Fraudulent));
}

#[test]
fn a_notice_about_other_money_does_not_touch_the_payment() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("100.00"), Purpose::Advance)));
    books.done(succeeded(&account, "1", &ours));
    let outcome = NoticeOutcome::Fraudulent { gateway_reason: "chargeback".into() };
    let foreign = GatewayNotice { payment: Some(ours), ..notice(&account, "2", "100.00", outcome) };
    let refusal = books.refused(Operation::GatewayNotice(foreign));
    assert_eq!(refusal.code(), "gateway-payment-assigned");
    assert_eq!(books.balance(&account), number("100.00"));
}

#[test]
fn s17_the_notice_that_names_our_payment_may_come_last() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("100.00"), Purpose::Advance)));
    let first = notice(&account, "3", "100.00", NoticeOutcome::Succeeded);
    let by_gateway: PaymentId = id(&books.done(Operation::GatewayNotice(first)));
    let answered: PaymentId = id(&books.done(succeeded(&account, "3", &ours)));
    assert_eq!(answered, by_gateway);
    assert_eq!(books.balance(&account), number("100.00"));
    assert_eq!(status(&books, &ours), Status::Failed);
}

#[test]
fn money_for_a_payment_that_was_deleted_is_credited() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("100.00"), Purpose::Advance)));
    books.done(step(&ours, PaymentStep::Delete));
    books.done(succeeded(&account, "4", &ours));
    assert_eq!(books.balance(&account), number("100.00"));
}

#[test]
fn a_pledge_ends_when_the_gateway_reports_a_failure() {
    let mut books = Books::new();
    let account = books.account("USD");
    let ours: PaymentId = id(&books.done(start_payment(&account, usd("100.00"), Purpose::Advance)));
    books.done(step(&ours, PaymentStep::Pledge));
    let outcome = NoticeOutcome::Failed { gateway_reason: "no funds".into() };
    let failed = GatewayNotice { payment: Some(ours.clone()), ..notice(&account, "5", "100.00", outcome) };
    books.done(Operation::GatewayNotice(failed));
    assert_eq!((books.balance(&account), status(&books, &ours)), (number("0.00"), Status::Failed));
}

#[test]
fn what_a_hold_or_a_debt_needs_is_not_refunded() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payment = books.paid(&account, "100.00");
    books.done(Operation::HoldFunds(HoldFunds { account: account.clone(), amount: usd("70.00") }));
    assert_eq!(books.refused(refund(&payment, "40.00")), over_refund("30.00", "70.00"));

    let other = books.account("USD");
    let payment = books.paid(&other, "100.00");
    books.done(keep_credit(&other));
    let (amount, description) = (usd("-100.00"), "correction".into());
    books.done(Operation::AdjustAccount(AdjustAccount { account: other, amount, description }));
    assert_eq!(books.refused(refund(&payment, "1.00")), over_refund("0.00", "100.00"));
}

/// A payment of next June that is credited in December.
fn dated_ahead(books: &mut Books, account: &AccountId, amount: &str, purpose: Purpose) -> PaymentId {
    let payment = id(&books.done(start_payment(account, usd(amount), purpose)));
    books.context.occurred_at = noon("2027-06-01");
    books.done(step(&payment, PaymentStep::Credit { document_number: None, amount: None }));
    books.context.occurred_at = books.now;
    payment
}

fn order_of_fifteen(books: &mut Books, account: &AccountId) -> OrderId {
    let item = ItemRequest {
        product: "vps".into(),
        description: "VPS".into(),
        quantity: number("1"),
        unit_price: number("15.00"),
        part: None,
        tax_rate: number("0"),
    };
    let place = PlaceOrder { account: account.clone(), description: "servers".into(), items: vec![item] };
    id(&books.done(Operation::PlaceOrder(place)))
}

fn in_december() -> (Books, AccountId) {
    let mut books = Books::new();
    let account = books.account("USD");
    (books.now, books.context.occurred_at) = (noon("2026-12-15"), noon("2026-12-15"));
    (books, account)
}

fn later(books: &mut Books, date: &str) {
    (books.now, books.context.occurred_at) = (noon(date), noon(date));
}

#[test]
fn money_that_is_dated_ahead_is_not_spent_before_it_takes_effect() {
    let (mut books, account) = in_december();
    let order = order_of_fifteen(&mut books, &account);
    let payment = dated_ahead(&mut books, &account, "15.00", order_for(&order));
    assert_eq!(books.balance(&account), number("15.00"));
    assert_eq!(books.ledger(&account).available(), Some(number("0.00")));

    let pay = || Operation::PayOrder(PayOrder { order: order.clone(), by: PayOrderBy::Balance });
    assert_eq!(books.refused(pay()).code(), "order-locked");
    let refund = StartRefund { payment: payment.clone(), amount: usd("1.00"), gateway_refund: None };
    assert_eq!(books.refused(Operation::StartRefund(refund)).code(), "over-refund");
    let hold = HoldFunds { account: account.clone(), amount: usd("1.00") };
    assert_eq!(books.refused(Operation::HoldFunds(hold.clone())).code(), "insufficient-funds");

    // The first command on the account after its moment finds the money, which has processed the order.
    later(&mut books, "2027-06-02");
    assert_eq!(books.refused(Operation::HoldFunds(hold)).code(), "insufficient-funds");
    let terms = ChangeTerms { account: account.clone(), terms: Terms::CreditLimit(usd("1.00")) };
    books.done(Operation::ChangeTerms(terms));
    assert_eq!(books.state(&order).placed().expect("it is placed").stage, Stage::Processed);
    assert_eq!(books.balance(&account), number("0.00"));
}

#[test]
fn money_that_is_dated_ahead_closes_no_debt_of_today() {
    let (mut books, account) = in_december();
    let invoice = books.invoice_of(&account, &[("10.00", "0")]);
    dated_ahead(&mut books, &account, "15.00", Purpose::Invoice(invoice.clone()));
    assert_eq!(books.due(&invoice), number("10.00"));
    books.paid(&account, "4.00");
    assert_eq!(books.due(&invoice), number("6.00"));
    assert_eq!(books.ledger(&account).available(), Some(number("-6.00")));
    later(&mut books, "2027-07-01");
    books.paid(&account, "1.00");
    assert_eq!((books.due(&invoice), books.balance(&account)), (number("0.00"), number("10.00")));
}

#[test]
fn a_back_dated_command_does_not_find_money_of_later() {
    let (mut books, account) = in_december();
    dated_ahead(&mut books, &account, "15.00", Purpose::Advance);
    books.now = noon("2027-07-01");
    let hold = || Operation::HoldFunds(HoldFunds { account: account.clone(), amount: usd("15.00") });
    books.context.occurred_at = noon("2027-05-01");
    assert_eq!(books.refused(hold()).code(), "insufficient-funds");
    books.context.occurred_at = noon("2027-06-15");
    books.done(hold());
}

#[test]
fn money_that_is_dated_ahead_is_taken_back_as_a_whole() {
    let (mut books, account) = in_december();
    let payment = dated_ahead(&mut books, &account, "15.00", Purpose::Advance);
    books.done(step(&payment, PaymentStep::MarkFraudulent { gateway_reason: "chargeback".into() }));
    assert_eq!(books.balance(&account), number("0.00"));
    assert_eq!(books.ledger(&account).available(), Some(number("0.00")));
}

#[test]
fn corrections_that_are_dated_ahead_make_nothing_available_today() {
    let (mut books, account) = in_december();
    let invoice = books.invoice_of(&account, &[("10.00", "0")]);
    books.paid(&account, "10.00");
    books.context.occurred_at = noon("2027-06-01");
    let payer = books.payer(&account);
    let line = LineToCredit { line: 1, quantity: None, amount: None };
    let line = CreditRequest::Line { invoice, line, item: "vps".into(), description: "taken back".into() };
    books.done(Operation::IssueCreditNote(IssueCreditNote {
        account: account.clone(),
        payer,
        numbering: Numbering::Series("CN".into()),
        issued_on: None,
        policy: RoundingPolicy::default(),
        lines: vec![line],
    }));
    let adjust = AdjustAccount { account: account.clone(), amount: usd("5.00"), description: "goodwill".into() };
    books.done(Operation::AdjustAccount(adjust));
    assert_eq!(books.balance(&account), number("15.00"));
    assert_eq!(books.ledger(&account).available(), Some(number("0.00")));
    later(&mut books, "2027-06-01");
    books.done(Operation::HoldFunds(HoldFunds { account, amount: usd("15.00") }));
}

#[test]
fn an_order_is_free_again_when_its_money_of_later_is_taken_back() {
    let (mut books, account) = in_december();
    let order = order_of_fifteen(&mut books, &account);
    let payment = dated_ahead(&mut books, &account, "15.00", order_for(&order));
    books.done(step(&payment, PaymentStep::MarkFraudulent { gateway_reason: "chargeback".into() }));
    assert_eq!(books.state(&order).placed().expect("it is placed").stage, Stage::Open);
}

#[test]
fn a_command_that_is_dated_ahead_itself_does_not_spend_what_has_taken_effect() {
    let (mut books, account) = in_december();
    let order = order_of_fifteen(&mut books, &account);
    dated_ahead(&mut books, &account, "15.00", order_for(&order));
    later(&mut books, "2027-06-02");
    books.context.occurred_at = noon("2028-05-01");
    let adjust = AdjustAccount { account: account.clone(), amount: usd("1.00"), description: "goodwill".into() };
    books.done(Operation::AdjustAccount(adjust));
    assert_ne!(books.state(&order).placed().expect("it is placed").stage, Stage::Processed);
}

#[test]
fn a_pledge_of_later_counts_once_the_money_is_here() {
    let (mut books, account) = in_december();
    let order = order_of_fifteen(&mut books, &account);
    let payment = id(&books.done(start_payment(&account, usd("15.00"), order_for(&order))));
    books.context.occurred_at = noon("2027-06-01");
    books.done(step(&payment, PaymentStep::Pledge));
    books.context.occurred_at = books.now;
    books.done(step(&payment, PaymentStep::Credit { document_number: None, amount: None }));
    assert_eq!(books.state(&order).placed().expect("it is placed").stage, Stage::Processed);
}
