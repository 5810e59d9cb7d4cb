//! The words that the forms for people have in common.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::{LineShown, StatementShown};

/// To the minute, on the clocks of the account's time zone.
pub fn local(time: DateTime<Utc>, zone: Tz) -> String {
    time.with_timezone(&zone).format("%Y-%m-%d %H:%M").to_string()
}

impl StatementShown {
    /// The days it is about, the last one included.
    pub(super) fn period(&self) -> String {
        match (self.from, self.last_day()) {
            (Some(from), Some(last)) => format!("{from} to {last}"),
            (Some(from), None) => format!("from {from}"),
            (None, Some(last)) => format!("up to {last}"),
            (None, None) => "from the beginning".into(),
        }
    }

    pub(super) fn standing(&self) -> String {
        let Self { position, .. } = self;
        if self.closed {
            format!("closed at position {position} of the ledger")
        } else {
            format!("as the ledger stood at position {position}; the period is open")
        }
    }
}

impl LineShown {
    /// Where the entry comes from, and how it hangs together with others.
    pub(super) fn remarks(&self, zone: Tz) -> String {
        let word = self.origin.word.replace('_', " ");
        let origin = match &self.origin.id {
            Some(id) => format!("{word} {id}"),
            None => word,
        };
        let dated = self.dated_at.map(|at| format!("dated {}, when the books were closed", local(at, zone)));
        let due = self.due_on.map(|day| format!("due on {day}"));
        let reverses = self.reverses.map(|entry| format!("reverses entry {entry}"));
        let reversed_by = self.reversed_by.map(|entry| format!("reversed by entry {entry}"));
        // A description that the ledger made says no more than where the entry comes from.
        let origin = Some(origin).filter(|origin| *origin != self.description);
        let remarks = [origin, dated, due, reverses, reversed_by];
        remarks.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use daybook_core::domain::Currency;
    use rust_decimal::Decimal;

    use super::*;
    use crate::http::{tagged::Tagged, wire::Amount};

    fn line(origin: &str, origin_id: &str, description: &str) -> LineShown {
        let euro: Currency = "EUR".parse().expect("a currency");
        LineShown {
            entry: 1,
            position: 7,
            occurred_at: DateTime::UNIX_EPOCH,
            dated_at: None,
            recorded_at: DateTime::UNIX_EPOCH,
            origin: Tagged::of(origin.into(), Some(origin_id.into())),
            description: description.into(),
            amount: Amount::in_currency(Decimal::ONE, euro),
            balance: Amount::in_currency(Decimal::ONE, euro),
            due_on: None,
            reverses: None,
            reversed_by: None,
        }
    }

    #[test]
    fn what_the_description_says_is_not_said_again() {
        let remarks = |line: LineShown| line.remarks(Tz::Europe__Berlin);
        assert_eq!(remarks(line("payment", "pay_1", "payment pay_1")), "");
        assert_eq!(remarks(line("payment", "pay_1", "gift")), "payment pay_1");
        let reversed = LineShown { reversed_by: Some(2), ..line("payment", "pay_1", "payment pay_1") };
        assert_eq!(remarks(reversed), "reversed by entry 2");
    }
}
