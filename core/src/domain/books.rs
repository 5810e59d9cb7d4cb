//! The books: which periods are closed. What takes effect in a closed period is entered in the open one instead, so that
//! what was told of a closed period stays true.

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use chrono_tz::Tz;
use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Id, LedgerAggregate, LedgerEvent, Mentions, Noun, Owner, function::Function, posting::JournalEntry,
    version::written_version,
};
use crate::terms::{
    refusal::{DATE_OUT_OF_RANGE, UNKNOWN_TIME_ZONE, conflict, refusals},
    rule::Rule,
};
use crate::{midnight, terms::calendar::RECORDED_YEARS};

pub type BooksId = Id<Books>;

#[derive(Clone, Debug)]
pub enum BooksCommand {
    /// Closes everything up to the end of a day. There is no way back: a statement of a closed period may have been
    /// handed out.
    Close {
        /// The last day that is closed.
        through: NaiveDate,
        /// IANA name; the day ends at midnight there.
        time_zone: String,
        /// When the command takes effect: what is not over by then is not closed.
        at: DateTime<Utc>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BooksEvent {
    PeriodClosed {
        /// The last day that is closed.
        through: NaiveDate,
        time_zone: String,
        /// The first moment that is open: the midnight after that day.
        until: DateTime<Utc>,
    },
}

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum BooksRejection {
        #[error("`{time_zone}` is not a time zone of the IANA database")]
        UnknownTimeZone { time_zone: String } at "/time_zone" = UNKNOWN_TIME_ZONE,
        #[error("dates lie in the years 1900 to 9998")]
        DateOutOfRange = DATE_OUT_OF_RANGE,
        #[error("the books are closed until {until} already")]
        AlreadyClosed { until: DateTime<Utc> } =
            conflict("period-already-closed", "The books are closed that far already"),
        #[error("the period ends at {until}, and is not over yet")]
        NotOver { until: DateTime<Utc> } = conflict("period-not-over", "A period is closed when it is over"),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Books {
    /// The first moment that is open; `None` before anything was closed.
    pub open_from: Option<DateTime<Utc>>,
}

impl Books {
    /// The one stream of a ledger.
    pub fn id() -> BooksId {
        Id::named("ledger").expect("a word is a name")
    }
}

impl Noun for Books {
    const PREFIX: &'static str = "books";
}

impl LedgerAggregate for Books {
    const FOLD_VERSION: i32 = 1;
    const READ_BY: Function = Function::BooksRead;

    fn owner(&self) -> Owner<'_> {
        Owner::Everybody
    }
}

impl Aggregate for Books {
    const TYPE: &'static str = "books";
    type Command = BooksCommand;
    type Event = BooksEvent;
    type Error = BooksRejection;
    type Services = ();

    async fn handle(
        &mut self,
        BooksCommand::Close { through, time_zone, at }: BooksCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), BooksRejection> {
        let Ok(zone) = time_zone.parse::<Tz>() else {
            return Err(BooksRejection::UnknownTimeZone { time_zone });
        };
        let next_day = through.succ_opt().filter(|_| RECORDED_YEARS.contains(&through.year()));
        let until = midnight(next_day.ok_or(BooksRejection::DateOutOfRange)?, zone);
        if let Some(open_from) = self.open_from.filter(|open_from| until <= *open_from) {
            return Err(BooksRejection::AlreadyClosed { until: open_from });
        }
        if until > at {
            return Err(BooksRejection::NotOver { until });
        }
        sink.write(BooksEvent::PeriodClosed { through, time_zone, until }, self).await;
        Ok(())
    }

    fn apply(&mut self, BooksEvent::PeriodClosed { until, .. }: BooksEvent) {
        self.open_from = Some(until);
    }
}

impl DomainEvent for BooksEvent {
    fn event_type(&self) -> String {
        match self {
            Self::PeriodClosed { .. } => "books.period_closed",
        }
        .into()
    }

    fn event_version(&self) -> String {
        written_version(self)
    }
}

impl LedgerEvent for BooksEvent {
    type Aggregate = Books;

    const VERSIONS: &'static [(&'static str, &'static str)] = &[("books.period_closed", "1.0")];

    fn postings(&self) -> JournalEntry {
        Vec::new()
    }

    fn rule(&self) -> Option<Rule> {
        None
    }

    fn mentions<'a>(&'a self, _: &mut Mentions<'a>) {}
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;
    use crate::domain::fixtures::day;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn close(through: &str, time_zone: &str, at: &str) -> BooksCommand {
        BooksCommand::Close { through: day(through), time_zone: time_zone.into(), at: time(at) }
    }

    fn closed(through: &str, until: &str) -> BooksEvent {
        BooksEvent::PeriodClosed { through: day(through), time_zone: "Europe/Berlin".into(), until: time(until) }
    }

    #[test]
    fn a_period_is_closed_until_the_midnight_after_its_last_day() {
        TestFramework::<Books>::with(())
            .given_no_previous_events()
            .when(close("2026-03-31", "Europe/Berlin", "2026-03-31T22:00:00Z"))
            .then_expect_events(vec![closed("2026-03-31", "2026-03-31T22:00:00Z")]);
    }

    #[test]
    fn a_zone_that_does_not_exist_is_refused() {
        let time_zone = "Europe/Atlantis".to_owned();
        TestFramework::<Books>::with(())
            .given_no_previous_events()
            .when(close("2026-03-31", &time_zone, "2026-04-02T00:00:00Z"))
            .then_expect_error(BooksRejection::UnknownTimeZone { time_zone });
    }

    #[test]
    fn a_day_beyond_the_calendar_is_refused() {
        let through = NaiveDate::MAX;
        TestFramework::<Books>::with(())
            .given_no_previous_events()
            .when(BooksCommand::Close { through, time_zone: "UTC".into(), at: time("2026-04-02T00:00:00Z") })
            .then_expect_error(BooksRejection::DateOutOfRange);
    }

    #[test]
    fn what_is_closed_is_neither_closed_again_nor_opened() {
        for through in ["2026-03-31", "2026-02-28"] {
            TestFramework::<Books>::with(())
                .given(vec![closed("2026-03-31", "2026-03-31T22:00:00Z")])
                .when(close(through, "Europe/Berlin", "2026-05-01T00:00:00Z"))
                .then_expect_error(BooksRejection::AlreadyClosed { until: time("2026-03-31T22:00:00Z") });
        }
    }

    #[test]
    fn a_period_that_is_not_over_is_not_closed() {
        TestFramework::<Books>::with(())
            .given_no_previous_events()
            .when(close("2026-03-31", "Europe/Berlin", "2026-03-31T21:59:59Z"))
            .then_expect_error(BooksRejection::NotOver { until: time("2026-03-31T22:00:00Z") });
    }
}
