//! Invoices and credit notes: rounding, numbers, discounts over lines, and never crediting more than is left.

use proptest::prelude::*;

use super::*;
use crate::{
    domain::{
        CreditNote, CreditNoteId, Rounding,
        credit_note::CreditNoteRejection,
        invoice::{DocumentDiscount, InvoiceRejection, LineToCredit},
        payer::PayerRejection,
    },
    operations::{ChangePayer, ChangeTerms, CreditRequest, IssueCreditNote, PayerChange, RecordExpense, Terms},
    terms::tax::TaxRounding,
};

const THREE: [(&str, &str); 3] = [("10.03", "15"); 3];

fn credit_note(account: &AccountId, payer: &PayerId, lines: Vec<CreditRequest>) -> Operation {
    Operation::IssueCreditNote(IssueCreditNote {
        account: account.clone(),
        payer: payer.clone(),
        numbering: Numbering::Series("CN-2026".into()),
        issued_on: Some(day("2026-07-20")),
        policy: RoundingPolicy::default(),
        lines,
    })
}

fn of(invoice: &InvoiceId, line: u32, quantity: Option<&str>, amount: Option<&str>) -> CreditRequest {
    CreditRequest::Line {
        invoice: invoice.clone(),
        line: LineToCredit { line, quantity: quantity.map(number), amount: amount.map(number) },
        item: "vps".into(),
        description: "taken back".into(),
    }
}

fn whole(invoice: &InvoiceId, line: u32) -> CreditRequest {
    of(invoice, line, None, None)
}

fn totals(books: &Books, invoice: &InvoiceId) -> (Decimal, Decimal, Decimal) {
    let totals = &books.state(invoice).standing().expect("the invoice is final").totals;
    (totals.net, totals.tax.amount(), totals.total.amount())
}

#[test]
fn s34_tax_is_rounded_per_rate_or_per_line_as_the_policy_says() {
    let mut books = Books::new();
    let account = books.account("USD");
    let per_rate = books.invoice_of(&account, &THREE);
    assert_eq!(totals(&books, &per_rate), (number("30.09"), number("4.51"), number("34.60")));
    let policy = RoundingPolicy { tax: TaxRounding::PerLine, ..RoundingPolicy::default() };
    let per_line = books.invoice_by(&account, &THREE, policy);
    assert_eq!(totals(&books, &per_line), (number("30.09"), number("4.50"), number("34.59")));
    assert_eq!(books.balance(&account), number("-69.19"));
}

#[test]
fn s35_credit_notes_line_by_line_take_back_the_very_tax() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let invoice = books.invoice_of(&account, &THREE);
    let notes: Vec<Answer> =
        (1..=3).map(|line| books.done(credit_note(&account, &payer, vec![whole(&invoice, line)]))).collect();
    let taxes: Vec<Decimal> = notes.iter().map(|note| amount(note, "tax")).collect();
    assert_eq!(taxes, ["1.50", "1.50", "1.51"].map(number));
    assert_eq!(notes.iter().map(|note| amount(note, "total")).sum::<Decimal>(), number("34.60"));
    assert_eq!((books.due(&invoice), books.balance(&account)), (number("0.00"), number("0.00")));
    let fourth = credit_note(&account, &payer, vec![of(&invoice, 3, None, Some("0.01"))]);
    assert_eq!(books.refused(fourth).code(), "over-credit");
}

#[test]
fn s36_a_discount_is_rounded_once_and_split_over_the_lines() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let discount = Some(DocumentDiscount::Percent(number("15")));
    let draft = IssueInvoice { discount, ..invoice(&account, &payer, &[("9.95", "0"); 3]) };
    let answer = books.done(Operation::IssueInvoice(draft));
    assert_eq!(amount(&answer, "total"), number("25.37"));
    let Some(Event::Invoice(InvoiceEvent::Finalised(document))) =
        books.events.iter().rev().map(|new| &new.event).find(|event| event.event_type() == "invoice.finalised")
    else {
        panic!("the invoice is final")
    };
    let parts: Vec<Decimal> = document.lines.iter().map(|line| line.discount.amount).collect();
    assert_eq!(parts, ["1.50", "1.49", "1.49"].map(number));
}

#[test]
fn s38_yen_are_rounded_by_the_recorded_rule() {
    let mut books = Books::new();
    let account = books.account("JPY");
    let half_up = books.invoice_of(&account, &[("1127", "10")]);
    assert_eq!(totals(&books, &half_up), (number("1127"), number("113"), number("1240")));
    let policy = RoundingPolicy { rounding: Rounding::TowardsZero, ..RoundingPolicy::default() };
    let truncated = books.invoice_by(&account, &[("1127", "10")], policy);
    assert_eq!(totals(&books, &truncated), (number("1127"), number("112"), number("1239")));
}

#[test]
fn s39_dinars_have_three_decimals() {
    let mut books = Books::new();
    let account = books.account("BHD");
    let invoice = books.invoice_of(&account, &[("1.234", "5")]);
    assert_eq!(totals(&books, &invoice), (number("1.234"), number("0.062"), number("1.296")));
    let payer = books.payer(&account);
    let ten = Money::parse("10.000", "BHD").expect("dinars");
    let discount = Some(DocumentDiscount::AmountOff(ten));
    let draft = IssueInvoice { discount, ..self::invoice(&account, &payer, &[("10.000", "0"); 3]) };
    let invoice: InvoiceId = id(&books.done(Operation::IssueInvoice(draft)));
    let left: Vec<Decimal> =
        books.state(&invoice).standing().expect("it is final").lines.iter().map(|line| line.amount).collect();
    assert_eq!(left, ["6.666", "6.667", "6.667"].map(number));
}

#[test]
fn numbers_of_a_series_are_contiguous_whatever_is_refused() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let mut numbers = Vec::new();
    for lines in [&[("1.00", "0")][..], &[], &[("2.00", "0")]] {
        let issued = books.run(Operation::IssueInvoice(invoice(&account, &payer, lines)));
        numbers.extend(issued.ok().map(|answer| text(&answer, "number").to_owned()));
    }
    assert_eq!(numbers, ["INV-2026-000001", "INV-2026-000002"]);
}

#[test]
fn s32_an_invoice_keeps_the_payer_as_it_was() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let issue = Operation::IssueInvoice(invoice(&account, &payer, &[("1.00", "0")]));
    let before: InvoiceId = id(&books.done(issue.clone()));
    let change = PayerChange::Rename { name: "Ada Lovelace".into() };
    books.done(Operation::ChangePayer(ChangePayer { payer: payer.clone(), changes: vec![change] }));
    let after: InvoiceId = id(&books.done(issue.clone()));
    let name = |invoice| books.state::<Invoice>(invoice).standing().expect("it is final").payer.name.clone();
    assert_eq!((name(&before), name(&after)), ("Ada Byron".into(), "Ada Lovelace".into()));
    let change = PayerChange::Deactivate;
    books.done(Operation::ChangePayer(ChangePayer { payer, changes: vec![change] }));
    assert_eq!(books.refused(issue), PayerRejection::Deactivated.into());
}

#[test]
fn an_invoice_over_nothing_is_paid_at_once() {
    let mut books = Books::new();
    let account = books.account("USD");
    let invoice = books.invoice_of(&account, &[("0.00", "20")]);
    assert_eq!(books.state(&invoice).standing().expect("it is final").status, crate::domain::invoice::Status::Paid);
    assert_eq!(books.balance(&account), number("0.00"));
}

#[test]
fn a_discount_larger_than_the_invoice_leaves_nothing_to_pay() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let discount = Some(DocumentDiscount::AmountOff(usd("50.00")));
    let draft = IssueInvoice { discount, ..invoice(&account, &payer, &[("10.00", "20"), ("20.00", "10")]) };
    let answer = books.done(Operation::IssueInvoice(draft));
    assert_eq!((amount(&answer, "total"), amount(&answer, "due")), (number("0.00"), number("0.00")));
}

#[test]
fn crediting_a_paid_invoice_is_credit_on_the_account() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let invoice = books.invoice_of(&account, &[("100.00", "20")]);
    books.paid(&account, "120.00");
    let answer = books.done(credit_note(&account, &payer, vec![of(&invoice, 1, None, Some("50.00"))]));
    assert_eq!((amount(&answer, "total"), amount(&answer, "balance")), (number("60.00"), number("60.00")));
    assert_eq!(books.due(&invoice), number("0.00"));
}

#[test]
fn a_credit_closes_its_own_invoice_first_then_the_oldest_due() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    // A debt is not closed before the purpose where the customer may owe.
    let post_paid = ChangeTerms { account: account.clone(), terms: Terms::PostPaidAllowed };
    books.done(Operation::ChangeTerms(post_paid));
    let older = books.invoice_of(&account, &[("10.00", "0")]);
    let newer = books.invoice_of(&account, &[("30.00", "0")]);
    books.paid_for(&account, "25.00", Purpose::Invoice(newer.clone()));
    books.done(credit_note(&account, &payer, vec![of(&newer, 1, None, Some("12.00"))]));
    assert_eq!((books.due(&newer), books.due(&older)), (number("0.00"), number("3.00")));
}

#[test]
fn pieces_are_credited_by_quantity_and_never_more_than_are_left() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let draft = IssueInvoice { lines: vec![line("3", "3.333333", "0")], ..invoice(&account, &payer, &[]) };
    let invoice: InvoiceId = id(&books.done(Operation::IssueInvoice(draft)));
    let two = books.done(credit_note(&account, &payer, vec![of(&invoice, 1, Some("2"), None)]));
    assert_eq!(amount(&two, "total"), number("6.67"));
    let two_more = credit_note(&account, &payer, vec![of(&invoice, 1, Some("2"), None)]);
    let over = InvoiceRejection::OverCredit { line: 1, quantity_left: number("1"), amount_left: number("3.333333") };
    assert_eq!(books.refused(two_more), over.into());
    let last = books.done(credit_note(&account, &payer, vec![of(&invoice, 1, Some("1"), None)]));
    assert_eq!((amount(&last, "total"), books.balance(&account)), (number("3.33"), number("0.00")));
}

#[test]
fn a_line_stands_twice_on_a_credit_note_only_as_far_as_it_reaches() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let invoice = books.invoice_of(&account, &[("10.00", "0")]);
    let half = || of(&invoice, 1, None, Some("5.00"));
    assert_eq!(books.refused(credit_note(&account, &payer, vec![half(), half(), half()])).code(), "over-credit");
    books.done(credit_note(&account, &payer, vec![half(), half()]));
    assert_eq!(books.due(&invoice), number("0.00"));
}

#[test]
fn a_credit_note_over_an_invoice_of_another_account_is_refused() {
    let mut books = Books::new();
    let (account, other) = (books.account("USD"), books.account("USD"));
    let payer = books.payer(&account);
    let foreign = books.invoice_of(&other, &[("10.00", "0")]);
    let refusal = books.refused(credit_note(&account, &payer, vec![whole(&foreign, 1)]));
    assert_eq!(refusal, CreditNoteRejection::ForeignInvoice.into());
}

#[test]
fn a_free_credit_line_refers_to_nothing_and_has_its_own_tax() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let free = CreditRequest::Free(line("2", "5.00", "20"));
    let answer = books.done(credit_note(&account, &payer, vec![free]));
    assert_eq!((amount(&answer, "tax"), amount(&answer, "balance")), (number("2.00"), number("12.00")));
    let note: CreditNoteId = id(&answer);
    assert!(matches!(books.state::<CreditNote>(&note), CreditNote::Issued { .. }));
}

#[test]
fn figures_that_no_decimal_can_hold_are_refused_not_panicked_over() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let most = "79228162514264337593543950335";
    for free in [
        line(most, "1", "0"),
        line("1", most, "0"),
        line("1", "1", most),
        line("1", "1", "-100"),
        line("-1", "5.00", "0"),
        line("0.0000001", "1", "0"),
    ] {
        let refusal = books.refused(credit_note(&account, &payer, vec![CreditRequest::Free(free)]));
        assert_eq!(refusal, CreditNoteRejection::LineOutOfRange { line: 1 }.into());
    }
    let invoice = books.invoice_of(&account, &[("10.00", "20")]);
    for wanted in [
        of(&invoice, 1, Some(most), None),
        of(&invoice, 1, Some(most), Some(most)),
        of(&invoice, 1, None, Some(most)),
        of(&invoice, 1, Some("-1"), None),
        of(&invoice, 1, None, Some("-0.01")),
    ] {
        assert_eq!(books.refused(credit_note(&account, &payer, vec![wanted])).code(), "over-credit");
    }
}

#[test]
fn the_largest_invoices_are_split_and_credited_without_overflow() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let discount = Some(DocumentDiscount::Percent(number("33.3333")));
    let lines = vec![line("1", "499999999999999.123456", "19"), line("3", "133333333333333.111111", "19")];
    let draft = IssueInvoice { discount, lines, ..invoice(&account, &payer, &[]) };
    let invoice: InvoiceId = id(&books.done(Operation::IssueInvoice(draft)));
    for (line, quantity) in [(2, Some("1")), (2, Some("1")), (1, None), (2, None)] {
        books.done(credit_note(&account, &payer, vec![of(&invoice, line, quantity, None)]));
    }
    assert_eq!((books.due(&invoice), books.balance(&account)), (number("0.00"), number("0.00")));
}

#[test]
fn an_invoice_beyond_what_an_account_can_keep_is_refused() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let huge = || Operation::IssueInvoice(invoice(&account, &payer, &[("999999999999999", "0")]));
    books.done(huge());
    assert_eq!(books.refused(huge()).code(), "balance-out-of-range");
    let rounded_up = Operation::IssueInvoice(invoice(&account, &payer, &[("999999999999999.999", "0")]));
    assert_eq!(books.refused(rounded_up).code(), "line-out-of-range");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever portions an invoice is credited in, in the end exactly the invoice is credited, and before never more.
    #[test]
    fn credits_in_any_portions_sum_to_the_invoice(
        lines in prop::collection::vec((1u32..20, 0i64..100_000_000, prop::sample::select(vec!["0", "5.5", "19", "20"])), 1..5),
        portions in prop::collection::vec((0usize..5, 1u32..20), 0..8),
        per_line: bool,
        prices_include_tax: bool,
        percent in 0u32..=100,
    ) {
        let mut books = Books::new();
        let account = books.account("USD");
        let payer = books.payer(&account);
        let tax = if per_line { TaxRounding::PerLine } else { TaxRounding::PerRate };
        let draft = IssueInvoice {
            policy: RoundingPolicy { tax, prices_include_tax, ..RoundingPolicy::default() },
            lines: lines.iter().map(|(quantity, price, rate)| DraftLine {
                quantity: Decimal::from(*quantity),
                unit_price: Decimal::new(*price, 4),
                ..line("1", "1", rate)
            }).collect(),
            discount: Some(DocumentDiscount::Percent(percent.into())),
            ..invoice(&account, &payer, &[])
        };
        let invoice: InvoiceId = id(&books.done(Operation::IssueInvoice(draft)));
        for (line, quantity) in portions {
            let portion = of(&invoice, line as u32 + 1, Some(&quantity.to_string()), None);
            // Refused where nothing or less than a cent is left.
            let _ = books.run(credit_note(&account, &payer, vec![portion]));
        }
        let left: Vec<CreditRequest> = books.state(&invoice).standing().expect("it is final").lines.iter().zip(1..)
            .filter(|(line, _)| !line.amount.is_zero() || !line.quantity.is_zero())
            .map(|(_, number)| whole(&invoice, number))
            .collect();
        if !left.is_empty() {
            let _ = books.run(credit_note(&account, &payer, left));
        }
        let standing = books.state(&invoice).standing().expect("it is final");
        prop_assert_eq!(standing.credited.total, standing.totals.total);
        prop_assert_eq!(standing.due.amount(), Decimal::ZERO);
    }
}

#[test]
fn s28_what_a_credit_note_takes_back_of_a_paid_invoice_can_be_refunded() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let invoice = books.invoice_of(&account, &[("100.00", "0")]);
    let payment = books.paid(&account, "100.00");
    books.done(credit_note(&account, &payer, vec![of(&invoice, 1, None, Some("10.00"))]));
    assert_eq!((books.balance(&account), books.due(&invoice)), (number("10.00"), number("0.00")));

    let refund = |amount: &str| {
        Operation::StartRefund(crate::operations::StartRefund {
            payment: payment.clone(),
            amount: usd(amount),
            gateway_refund: None,
        })
    };
    assert_eq!(books.refused(refund("10.01")).code(), "over-refund");
    books.done(refund("10.00"));
    assert_eq!((books.balance(&account), books.due(&invoice)), (number("0.00"), number("0.00")));
}

#[test]
fn a_due_date_beyond_the_calendar_is_refused() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let issued_on = day("9999-12-31");
    let last = invoice(&account, &payer, &[("1.00", "0")]);
    let refusal =
        books.refused(Operation::IssueInvoice(IssueInvoice { issued_on: Some(issued_on), due_in_days: 1, ..last }));
    assert_eq!(refusal.code(), "date-out-of-range");
}

#[test]
fn a_discount_of_the_whole_leaves_nothing_due() {
    for (lines, discount) in [
        (vec![line("2.25", "64.22", "19")], DocumentDiscount::Percent(number("100"))),
        (vec![line("2.25", "64.22", "19")], DocumentDiscount::AmountOff(usd("144.50"))),
        (vec![line("1", "0.004", "900"); 9], DocumentDiscount::Percent(number("100"))),
        (vec![line("1", "0.004", "0"), line("2.25", "64.22", "7")], DocumentDiscount::AmountOff(usd("1000.00"))),
    ] {
        let mut books = Books::new();
        let account = books.account("USD");
        let payer = books.payer(&account);
        let draft = IssueInvoice { lines, discount: Some(discount), ..invoice(&account, &payer, &[]) };
        let invoice: InvoiceId = id(&books.done(Operation::IssueInvoice(draft)));
        let standing = books.state(&invoice).standing().expect("it is final");
        assert_eq!((standing.due, standing.status), (usd("0.00"), crate::domain::invoice::Status::Paid));
    }
}

#[test]
fn a_discount_on_lines_below_the_smallest_unit_is_taken_off() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let lines = vec![line("1", "0.004", "0"); 10];
    let discount = Some(DocumentDiscount::Percent(number("50")));
    let draft = IssueInvoice { lines, discount, ..invoice(&account, &payer, &[]) };
    assert_eq!(amount(&books.done(Operation::IssueInvoice(draft)), "total"), number("0.02"));
}

#[test]
fn a_price_has_eight_decimals() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let storage = line("1951593", "0.00000548", "0");
    let draft = IssueInvoice { lines: vec![storage.clone()], ..invoice(&account, &payer, &[]) };
    let answer = books.done(Operation::IssueInvoice(draft));
    assert_eq!(amount(&answer, "total"), number("10.69"));
    let half = of(&id(&answer), 1, Some("975796.5"), None);
    let credit = books.done(credit_note(&account, &payer, vec![half]));
    assert_eq!(amount(&credit, "total"), number("5.35"));
    let free = CreditRequest::Free(storage);
    assert_eq!(amount(&books.done(credit_note(&account, &payer, vec![free])), "total"), number("10.69"));
}

#[test]
fn no_two_documents_of_a_kind_have_one_number() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let issue = |numbering: Numbering| {
        Operation::IssueInvoice(IssueInvoice { numbering, ..invoice(&account, &payer, &[("1.00", "0")]) })
    };
    let given = |number: &str| issue(Numbering::Given(number.into()));
    let next = || issue(Numbering::Series("ABC".into()));

    books.done(given("ABC-000001"));
    assert_eq!(text(&books.done(next()), "number"), "ABC-000002");
    for taken in ["ABC-000001", "ABC-000002"] {
        assert_eq!(books.refused(given(taken)).code(), "number-taken");
    }
    books.done(given("ABC-000004"));
    assert_eq!(text(&books.done(next()), "number"), "ABC-000003");
    assert_eq!(text(&books.done(next()), "number"), "ABC-000005");
    for alone in ["2024/0001/17", "536365", "№ 5"] {
        books.done(given(alone));
        assert_eq!(books.refused(given(alone)).code(), "number-taken");
    }
    // A credit note is another kind of document.
    let line = CreditRequest::Free(line("1", "1.00", "0"));
    let Operation::IssueCreditNote(note) = credit_note(&account, &payer, vec![line]) else { unreachable!() };
    for number in ["ABC-000001", "536365"] {
        let note = || {
            let numbering = Numbering::Given(number.into());
            Operation::IssueCreditNote(IssueCreditNote { numbering, ..note.clone() })
        };
        books.done(note());
        assert_eq!(books.refused(note()).code(), "number-taken");
    }
}

#[test]
fn documents_bear_the_local_day_of_their_account() {
    for (zone, at, local, due) in [
        ("Asia/Tokyo", "2026-12-31T15:30:00Z", "2027-01-01", "2027-01-15"),
        ("America/Los_Angeles", "2027-01-01T07:30:00Z", "2026-12-31", "2027-01-14"),
        ("Pacific/Auckland", "2026-12-31T11:30:00Z", "2027-01-01", "2027-01-15"),
    ] {
        let mut books = Books::new();
        let account = books.account_in(zone);
        let payer = books.payer(&account);
        books.context.occurred_at = at.parse().expect("a moment");
        let numbering = Numbering::SeriesOfTheYear("INV");
        let local_day = IssueInvoice { numbering, issued_on: None, ..invoice(&account, &payer, &[("1.00", "0")]) };
        let issued = books.done(Operation::IssueInvoice(local_day.clone()));
        assert_eq!(text(&issued, "number"), format!("INV-{}-000001", &local[..4]));
        let document = books.document(&id(&issued));
        assert_eq!((document.issued_on, document.due_on), (day(local), day(due)), "{zone}");

        let explicit = IssueInvoice { issued_on: Some(day("2026-06-30")), ..local_day };
        let issued = books.done(Operation::IssueInvoice(explicit));
        assert_eq!(books.document(&id(&issued)).issued_on, day("2026-06-30"));

        let expense = RecordExpense {
            account: account.clone(),
            description: "work".into(),
            quantity: number("1"),
            net: usd("1.00"),
            tax_rate: number("0"),
        };
        books.done(Operation::RecordExpense(expense));
        let ledger = books.ledger(&account);
        assert_eq!(ledger.charges[&ledger.last_entry].due_on, day(local), "{zone}");
    }
}

#[test]
fn a_free_credit_of_minus_times_minus_is_refused() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    for odd in [line("-1", "-10", "0"), line("0", "10", "0"), line("-2", "0", "0"), line("1", "-0.001", "0")] {
        let lines = vec![CreditRequest::Free(line("1", "1.00", "0")), CreditRequest::Free(odd)];
        let refusal = books.refused(credit_note(&account, &payer, lines));
        assert_eq!(refusal, CreditNoteRejection::LineOutOfRange { line: 2 }.into());
    }
}

#[test]
fn a_discount_on_lines_below_the_smallest_unit_takes_of_each_tax_rate_its_part() {
    let mut books = Books::new();
    let account = books.account("USD");
    let payer = books.payer(&account);
    let (taxed, free) = (vec![line("1", "0.009", "20"); 500], vec![line("1", "0.009", "0"); 500]);
    for lines in [[taxed.clone(), free.clone()].concat(), [free, taxed].concat()] {
        let discount = Some(DocumentDiscount::Percent(number("50")));
        let draft = IssueInvoice { lines, discount, ..invoice(&account, &payer, &[]) };
        let issued = books.done(Operation::IssueInvoice(draft));
        assert_eq!(amount(&issued, "tax"), number("0.45"));
    }
}
