//! The version in which an event is written today, found by the names under which it is stored.

use super::{LedgerAggregate, LedgerEvent, Visitor, with_aggregate};

/// Finds the event types of an aggregate with their present versions.
struct Versions;

impl Visitor for Versions {
    type Output = &'static [(&'static str, &'static str)];

    fn visit<A: LedgerAggregate>(self) -> Self::Output {
        A::Event::VERSIONS
    }
}

/// The event types of an aggregate with their present versions; none for one that this program does not know.
pub fn present_versions(aggregate_type: &str) -> &'static [(&'static str, &'static str)] {
    with_aggregate(aggregate_type, Versions).unwrap_or_default()
}

/// The present version of an event type; `None` for a type that this program does not know.
pub fn present_version(aggregate_type: &str, event_type: &str) -> Option<&'static str> {
    find(present_versions(aggregate_type), event_type)
}

/// The version that an event of ours is written in.
pub(super) fn written_version<E: LedgerEvent>(event: &E) -> String {
    find(E::VERSIONS, &event.event_type()).expect("every event of a noun is on its list").to_owned()
}

fn find(versions: &[(&str, &'static str)], event_type: &str) -> Option<&'static str> {
    versions.iter().find(|(listed, _)| *listed == event_type).map(|(_, version)| *version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_type_of_the_ledger_has_a_version() {
        assert_eq!(present_version("invoice", "invoice.finalised"), Some("1.1"));
    }

    #[test]
    fn an_event_type_of_another_program_has_no_version_here() {
        assert_eq!(present_version("martian", "martian.landed"), None);
        assert_eq!(present_version("ticket", "martian.landed"), None);
    }
}
