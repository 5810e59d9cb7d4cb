//! An invoice: every refusal in its order, its rounding, and what credits leave of it.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use proptest::prelude::*;

use super::*;
use crate::domain::fixtures::{day, id, number, payer_snapshot, usd, yen};

fn given(events: Vec<InvoiceEvent>) -> AggregateTestExecutor<Invoice> {
    TestFramework::with(()).given(events)
}

fn line(quantity: &str, unit_price: &str, tax_rate: &str) -> DraftLine {
    DraftLine {
        item: "vps".into(),
        description: "VPS".into(),
        quantity: number(quantity),
        unit_price: number(unit_price),
        tax_rate: number(tax_rate),
    }
}

/// Three lines of 10.03 with 15 per cent of tax.
fn draft() -> Draft {
    Draft {
        number: "INV-1".into(),
        account: id("main"),
        customer: id("ada"),
        payer: payer_snapshot(),
        issued_on: day("2026-07-12"),
        due_on: day("2026-07-26"),
        currency: usd("0").currency(),
        policy: RoundingPolicy::default(),
        lines: vec![line("1", "10.03", "15"); 3],
        discount: None,
        entry: 1,
    }
}

fn of(lines: Vec<DraftLine>) -> Draft {
    Draft { lines, ..draft() }
}

fn finalise(draft: Draft) -> InvoiceCommand {
    InvoiceCommand::Finalise(Box::new(draft))
}

fn document(draft: Draft) -> Document {
    draft.finalised().expect("the draft is in order")
}

fn finalised() -> InvoiceEvent {
    InvoiceEvent::Finalised(Box::new(document(draft())))
}

fn refused(draft: Draft, rejection: InvoiceRejection) {
    given(vec![]).when(finalise(draft)).then_expect_error(rejection);
}

fn credit(lines: Vec<LineToCredit>) -> InvoiceCommand {
    InvoiceCommand::Credit { credit_note: id("first"), lines }
}

fn whole(line: u32) -> LineToCredit {
    LineToCredit { line, quantity: None, amount: None }
}

fn pieces(line: u32, quantity: &str) -> LineToCredit {
    LineToCredit { quantity: Some(number(quantity)), ..whole(line) }
}

fn part(line: u32, amount: &str) -> LineToCredit {
    LineToCredit { amount: Some(number(amount)), ..whole(line) }
}

fn settle(due: &str) -> InvoiceCommand {
    InvoiceCommand::Settle { due: usd(due) }
}

/// The invoice after these credits, one credit note each, with the totals of each.
fn credited(draft: Draft, notes: &[Vec<LineToCredit>]) -> (Invoice, Vec<Totals>) {
    let mut invoice = Invoice::default();
    invoice.apply(InvoiceEvent::Finalised(Box::new(document(draft))));
    let mut all = Vec::new();
    for wanted in notes {
        let (lines, totals) = invoice.standing().expect("it is final").credit(wanted).expect("so much is left");
        all.push(totals.clone());
        invoice.apply(InvoiceEvent::LinesCredited { credit_note: id("first"), lines, totals });
    }
    (invoice, all)
}

#[test]
fn an_invoice_is_final_with_its_totals() {
    given(vec![]).when(finalise(draft())).then_expect_events(vec![finalised()]);
    let Totals { net, tax, total, residue, .. } = document(draft()).totals;
    assert_eq!((net, tax, total, residue), (number("30.09"), usd("4.51"), usd("34.60"), Decimal::ZERO));
}

#[test]
fn an_invoice_tells_once_that_it_is_part_paid_paid_and_due_again() {
    let part_paid = || InvoiceEvent::PartPaid { due: usd("4.60") };
    given(vec![finalised()]).when(settle("4.60")).then_expect_events(vec![part_paid()]);
    given(vec![finalised(), part_paid()]).when(settle("4.60")).then_expect_events(vec![]);
    given(vec![finalised(), part_paid()]).when(settle("0")).then_expect_events(vec![InvoiceEvent::Paid {}]);
    given(vec![finalised(), InvoiceEvent::Paid {}]).when(settle("0")).then_expect_events(vec![]);
    given(vec![finalised(), InvoiceEvent::Paid {}])
        .when(settle("34.60"))
        .then_expect_events(vec![InvoiceEvent::DueAgain { due: usd("34.60") }]);
}

#[test]
fn an_invoice_over_nothing_is_paid_when_it_is_settled() {
    let nothing = InvoiceEvent::Finalised(Box::new(document(of(vec![line("1", "0", "20")]))));
    given(vec![nothing]).when(settle("0")).then_expect_events(vec![InvoiceEvent::Paid {}]);
}

#[test]
fn a_discount_is_rounded_once_and_split_by_the_largest_fraction() {
    let discount = Some(DocumentDiscount::Percent(number("15")));
    let document = document(Draft { discount, ..of(vec![line("1", "9.95", "0"); 3]) });
    let parts: Vec<Decimal> = document.lines.iter().map(|line| line.discount.amount).collect();
    assert_eq!(parts, ["1.50", "1.49", "1.49"].map(number));
    assert_eq!(document.totals.total, usd("25.37"));
}

#[test]
fn a_discount_never_makes_a_line_negative() {
    for percent in ["50", "99", "100"] {
        let discount = Some(DocumentDiscount::Percent(number(percent)));
        let fine = vec![line("1", "0.004", "20"), line("1", "0.004", "10"), line("1", "0.012", "0")];
        let document = document(Draft { discount, ..of(fine) });
        assert!(document.lines.iter().all(|line| line.amount >= Decimal::ZERO), "{:?}", document.lines);
        assert!(!document.totals.total.is_negative());
    }
}

#[test]
fn the_last_credit_takes_what_is_left_of_the_tax() {
    let (_, notes) = credited(draft(), &[vec![whole(1)], vec![whole(2)], vec![whole(3)]]);
    let taxes: Vec<Money> = notes.iter().map(|totals| totals.tax).collect();
    assert_eq!(taxes, [usd("1.50"), usd("1.50"), usd("1.51")]);
}

#[test]
fn pieces_are_credited_in_proportion_and_the_last_take_the_rest() {
    let thirds = of(vec![line("3", "3.333333", "0")]);
    let (invoice, notes) = credited(thirds, &[vec![pieces(1, "1")], vec![pieces(1, "2")]]);
    let sums: Vec<Money> = notes.iter().map(|totals| totals.total).collect();
    assert_eq!(sums, [usd("3.33"), usd("6.67")]);
    let left = &invoice.standing().expect("it is final").lines[0];
    assert_eq!((left.quantity, left.amount), (Decimal::ZERO, Decimal::ZERO));
}

// Refusals, in the order of the enum.

#[test]
fn a_final_invoice_is_not_finalised_again() {
    given(vec![finalised()]).when(finalise(draft())).then_expect_error(InvoiceRejection::Final);
}

#[test]
fn nothing_happens_to_an_invoice_that_is_not_final() {
    for command in [settle("0"), credit(vec![whole(1)])] {
        given(vec![]).when(command).then_expect_error(InvoiceRejection::NotFinalised);
    }
    assert_eq!(Invoice::Unknown.standing(), Err(InvoiceRejection::NotFinalised));
}

#[test]
fn an_invoice_without_a_number_is_refused() {
    refused(Draft { number: " ".into(), ..draft() }, InvoiceRejection::NumberMissing);
}

#[test]
fn an_invoice_without_lines_is_refused() {
    refused(of(vec![]), InvoiceRejection::NoLines);
}

#[test]
fn a_negative_line_is_refused() {
    for negative in [line("1", "-5", "0"), line("-1", "5", "0"), line("-1", "-5", "0"), line("0", "-5", "0")] {
        refused(of(vec![line("1", "1", "0"), negative]), InvoiceRejection::LineNegative { line: 2 });
    }
    // Pieces that come back for nothing are no debt of ours.
    document(of(vec![line("-1", "0", "0")]));
}

#[test]
fn a_line_out_of_range_is_refused() {
    let most = "79228162514264337593543950335";
    for odd in [
        line("0.0000001", "1", "0"),
        line("1", "0.000000001", "0"),
        line("1.000001", "10000000000000.00000001", "0"),
        line("1", "1", "0.00001"),
        line("1", "1", "-1"),
        line("1", "1", "1000"),
        line("1", "1000000000000000", "0"),
        line(most, most, "0"),
        line("1", "900000000000000", "900"),
    ] {
        refused(of(vec![odd]), InvoiceRejection::LineOutOfRange { line: 1 });
    }
}

#[test]
fn a_discount_out_of_range_is_refused() {
    let currency = usd("0").currency();
    for discount in [
        DocumentDiscount::Percent(number("-1")),
        DocumentDiscount::Percent(number("100.1")),
        DocumentDiscount::Percent(number("0.00001")),
        DocumentDiscount::AmountOff(usd("-0.01")),
        DocumentDiscount::AmountOff(yen("5")),
    ] {
        let discount = Some(discount);
        refused(Draft { discount, ..draft() }, InvoiceRejection::DiscountOutOfRange { currency });
    }
}

#[test]
fn a_line_that_is_not_there_is_not_credited() {
    for line in [0, 4, u32::MAX] {
        given(vec![finalised()])
            .when(credit(vec![whole(line)]))
            .then_expect_error(InvoiceRejection::UnknownLine { line });
    }
}

#[test]
fn a_credit_without_lines_is_refused() {
    given(vec![finalised()]).when(credit(vec![])).then_expect_error(InvoiceRejection::NothingToCredit);
}

#[test]
fn no_more_is_credited_than_is_left_of_a_line() {
    let over = |quantity, amount| InvoiceRejection::OverCredit {
        line: 1,
        quantity_left: number(quantity),
        amount_left: number(amount),
    };
    for wanted in [
        pieces(1, "2"),
        pieces(1, "-1"),
        pieces(1, "0"),
        pieces(1, "0.0000001"),
        part(1, "10.04"),
        part(1, "0"),
        part(1, "-0.01"),
        part(1, "0.000000000000001"),
        LineToCredit { quantity: Some(number("2")), ..part(1, "1") },
    ] {
        given(vec![finalised()]).when(credit(vec![wanted])).then_expect_error(over("1", "10.03"));
    }
    given(vec![finalised()]).when(credit(vec![whole(1), whole(1)])).then_expect_error(over("0", "0.00"));
}

/// A decimal of up to 28 digits, small ones as often as large ones.
fn any_decimal() -> impl Strategy<Value = Decimal> {
    (any::<i128>(), 34u32..120, 0u32..9).prop_map(|(digits, shift, scale)| {
        Decimal::try_from_i128_with_scale(digits >> shift, scale).expect("28 digits")
    })
}

proptest! {
    /// Whatever a draft holds, it is answered without a panic, and what is final can be recorded.
    #[test]
    fn any_draft_is_finalised_or_refused(
        lines in prop::collection::vec((any_decimal(), any_decimal(), -10i64..100_000_000, 0u32..8), 0..6),
        percent in prop::option::of((-10i64..1_100_000, 0u32..6)),
        prices_include_tax: bool,
    ) {
        let lines = lines.into_iter().map(|(quantity, unit_price, rate, scale)| {
            DraftLine { quantity, unit_price, tax_rate: Decimal::new(rate, scale), ..line("1", "1", "0") }
        });
        let discount = percent.map(|(percent, scale)| DocumentDiscount::Percent(Decimal::new(percent, scale)));
        let policy = RoundingPolicy { prices_include_tax, ..RoundingPolicy::default() };
        let lines = lines.collect();
        if let Ok(document) = (Draft { lines, discount, policy, ..draft() }).finalised() {
            let event = InvoiceEvent::Finalised(Box::new(document));
            let json = serde_json::to_string(&event).expect("an event is JSON");
            prop_assert_eq!(serde_json::from_str::<InvoiceEvent>(&json).expect("it reads back"), event);
        }
    }
}
