//! The version in which each event is written today. It is raised whenever the JSON shape of the event changes; what was
//! written in earlier versions is brought to this one when it is read.

/// Every event type of the ledger with its present version, in the order of the alphabet.
pub const PRESENT_VERSIONS: [(&str, &str); 71] = [
    ("account.allocated", "1.0"),
    ("account.automatic_allocation_switched_off", "1.0"),
    ("account.automatic_allocation_switched_on", "1.0"),
    ("account.charged", "1.0"),
    ("account.credit_limit_set", "1.0"),
    ("account.credited", "1.0"),
    ("account.funds_set_aside", "1.0"),
    ("account.funds_set_free", "1.0"),
    ("account.held", "1.0"),
    ("account.hold_released", "1.0"),
    ("account.opened", "1.0"),
    ("account.post_paid_allowed", "1.0"),
    ("account.post_paid_revoked", "1.0"),
    ("account.released", "1.0"),
    ("books.period_closed", "1.0"),
    ("credit_note.issued", "1.0"),
    ("customer.account_added", "1.0"),
    ("customer.joined_group", "1.0"),
    ("customer.left_group", "1.0"),
    ("customer.registered", "1.0"),
    ("discount.granted", "1.0"),
    ("discount.revoked", "1.0"),
    ("expense.adjusted", "1.0"),
    ("expense.recorded", "1.0"),
    ("expense.reinstated", "1.0"),
    ("expense.reversed", "1.0"),
    ("invoice.due_again", "1.0"),
    ("invoice.finalised", "1.1"),
    ("invoice.lines_credited", "1.0"),
    ("invoice.paid", "1.0"),
    ("invoice.part_paid", "1.0"),
    ("number_series.reserved", "1.0"),
    ("number_series.taken", "1.0"),
    ("order.deleted", "1.0"),
    ("order.item_added", "1.0"),
    ("order.item_removed", "1.0"),
    ("order.payment_awaited", "1.0"),
    ("order.payment_missed", "1.0"),
    ("order.placed", "1.0"),
    ("order.processed", "1.0"),
    ("order.renamed", "1.0"),
    ("payer.created", "1.0"),
    ("payer.deactivated", "1.0"),
    ("payer.moved", "1.0"),
    ("payer.renamed", "1.0"),
    ("payer.tax_number_changed", "1.0"),
    ("payment.assigned_to", "1.0"),
    ("payment.credited", "1.0"),
    ("payment.deleted", "1.0"),
    ("payment.dispute_lost", "1.0"),
    ("payment.dispute_opened", "1.0"),
    ("payment.dispute_won", "1.0"),
    ("payment.failed", "1.0"),
    ("payment.marked_fraudulent", "1.0"),
    ("payment.pledge_withdrawn", "1.0"),
    ("payment.pledged", "1.0"),
    ("payment.recognised", "1.0"),
    ("payment.refund_failed", "1.0"),
    ("payment.refund_named", "1.0"),
    ("payment.refund_settled", "1.1"),
    ("payment.refund_started", "1.0"),
    ("payment.started", "1.0"),
    ("payment.submitted", "1.0"),
    ("service.activated", "1.0"),
    ("ticket.answered", "1.0"),
    ("ticket.archived", "1.0"),
    ("ticket.opened", "1.0"),
    ("ticket.read", "1.0"),
    ("ticket.replied", "1.0"),
    ("ticket.restored", "1.0"),
    ("ticket.taken_up", "1.0"),
];

/// The present version of an event type; `None` for a type that this program does not know.
pub fn present_version(event_type: &str) -> Option<&'static str> {
    let place = PRESENT_VERSIONS.binary_search_by_key(&event_type, |(listed, _)| listed).ok()?;
    Some(PRESENT_VERSIONS[place].1)
}

/// The version that an event of ours is written in.
pub(super) fn written_version(event_type: &str) -> String {
    present_version(event_type).expect("every event of the domain is on the board").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_is_in_the_order_of_the_alphabet() {
        assert!(PRESENT_VERSIONS.is_sorted_by(|(before, _), (after, _)| before < after));
        assert!(PRESENT_VERSIONS.iter().all(|(event_type, version)| present_version(event_type) == Some(*version)));
    }

    #[test]
    fn an_event_type_of_another_program_has_no_version_here() {
        assert_eq!(present_version("martian.landed"), None);
    }
}
