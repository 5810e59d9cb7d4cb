//! A number series: the contiguous numbers of one kind of document, such as the invoices of a year, and the numbers that
//! documents brought along. No two documents of a kind have one number.

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use imbl::OrdMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Id, IdError, LedgerAggregate, LedgerEvent, Mentions, Noun, Owner, function::Function, posting::JournalEntry,
    version::written_version,
};
use crate::terms::{
    refusal::{conflict, invalid, refusals},
    rule::Rule,
};

/// What bears a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    Invoice,
    CreditNote,
}

impl DocumentKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Invoice => "invoice",
            Self::CreditNote => "credit_note",
        }
    }
}

#[derive(Clone, Debug)]
pub enum NumberSeriesCommand {
    /// Takes the next number that is not reserved. The document and the number stand in one append, so none is lost.
    Take { document: String },
    /// Keeps a number for a document that had it where it was issued first.
    Reserve { number: u64, kind: DocumentKind, document: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NumberSeriesEvent {
    Taken {
        number: u64,
        document: String,
    },
    /// A document brought the number along; the series steps over it.
    Reserved {
        number: u64,
        kind: DocumentKind,
        document: String,
    },
}

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum NumberSeriesRejection {
        #[error("the document that takes a number must be named")]
        DocumentMissing = invalid("document-missing", "The document that takes a number must be named"),
        #[error("another document of this kind has that number")]
        NumberTaken = conflict("number-taken", "Another document of this kind has that number"),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NumberSeries {
    /// The last number taken; 0 before the first.
    pub last: u64,
    /// Numbers that documents brought along, and the kinds of these documents.
    pub reserved: OrdMap<u64, Vec<DocumentKind>>,
}

impl Noun for NumberSeries {
    const PREFIX: &'static str = "ser";
    const NAMED_BY_OTHERS: bool = true;
}

impl LedgerAggregate for NumberSeries {
    const FOLD_VERSION: i32 = 2;
    const READ_BY: Function = Function::InvoicesRead;

    fn owner(&self) -> Owner<'_> {
        Owner::Everybody
    }

    fn weight(&self) -> usize {
        1 + self.reserved.len()
    }
}

/// The number of the document at this place of a series: six digits or more.
pub fn numbered(series: &str, place: u64) -> String {
    format!("{series}-{place:06}")
}

/// The stream that keeps a number which a document brings along, and the place in it. A number that a series could give
/// is kept by that series, whose next number is then found without another look; any other has a stream of its own.
pub fn series_of(kind: DocumentKind, number: &str) -> Result<(Id<NumberSeries>, u64), IdError> {
    // A space more is no other number.
    let number = match number.trim() {
        trimmed if trimmed == number || trimmed.is_empty() => trimmed,
        _ => return Err(IdError::MalformedName),
    };
    let of_series = number.rsplit_once('-').and_then(|(series, digits)| {
        let place: u64 = digits.parse().ok().filter(|place| (1..u64::MAX).contains(place))?;
        let id = Id::named(series).ok()?;
        (numbered(series, place) == number).then_some((id, place))
    });
    match of_series {
        Some(place) => Ok(place),
        None => Ok((Id::named(&format!("given:{}:{}", kind.as_str(), number))?, 1)),
    }
}

impl NumberSeries {
    fn next(&self) -> u64 {
        let mut next = self.last + 1;
        while self.reserved.contains_key(&next) {
            next += 1;
        }
        next
    }

    /// Whether a document of this kind has the number. What the series gave, it may have given to any kind.
    fn has(&self, number: u64, kind: DocumentKind) -> bool {
        match self.reserved.get(&number) {
            Some(kinds) => kinds.contains(&kind),
            None => number <= self.last,
        }
    }
}

impl Aggregate for NumberSeries {
    const TYPE: &'static str = "number_series";
    type Command = NumberSeriesCommand;
    type Event = NumberSeriesEvent;
    type Error = NumberSeriesRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: NumberSeriesCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), NumberSeriesRejection> {
        let event = match command {
            NumberSeriesCommand::Take { document } | NumberSeriesCommand::Reserve { document, .. }
                if document.is_empty() =>
            {
                return Err(NumberSeriesRejection::DocumentMissing);
            }
            NumberSeriesCommand::Take { document } => NumberSeriesEvent::Taken { number: self.next(), document },
            NumberSeriesCommand::Reserve { number, kind, .. } if self.has(number, kind) => {
                return Err(NumberSeriesRejection::NumberTaken);
            }
            NumberSeriesCommand::Reserve { number, kind, document } => {
                NumberSeriesEvent::Reserved { number, kind, document }
            }
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: NumberSeriesEvent) {
        match event {
            NumberSeriesEvent::Taken { number, .. } => self.last = number,
            NumberSeriesEvent::Reserved { number, kind, .. } => {
                self.reserved.entry(number).or_default().push(kind);
            }
        }
    }
}

impl DomainEvent for NumberSeriesEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Taken { .. } => "number_series.taken",
            Self::Reserved { .. } => "number_series.reserved",
        }
        .into()
    }

    fn event_version(&self) -> String {
        written_version(self)
    }
}

impl LedgerEvent for NumberSeriesEvent {
    type Aggregate = NumberSeries;

    const VERSIONS: &'static [(&'static str, &'static str)] =
        &[("number_series.reserved", "1.0"), ("number_series.taken", "1.0")];

    fn postings(&self) -> JournalEntry {
        Vec::new()
    }

    fn rule(&self) -> Option<Rule> {
        None
    }

    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        let (Self::Taken { document, .. } | Self::Reserved { document, .. }) = self;
        mentions.0.insert(document);
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    fn take(document: &str) -> NumberSeriesCommand {
        NumberSeriesCommand::Take { document: document.into() }
    }

    fn taken(number: u64, document: &str) -> NumberSeriesEvent {
        NumberSeriesEvent::Taken { number, document: document.into() }
    }

    #[test]
    fn numbers_follow_one_another_from_one() {
        TestFramework::<NumberSeries>::with(())
            .given_no_previous_events()
            .when(take("inv_1"))
            .then_expect_events(vec![taken(1, "inv_1")]);
        TestFramework::<NumberSeries>::with(())
            .given(vec![taken(1, "inv_1"), taken(2, "inv_2")])
            .when(take("inv_3"))
            .then_expect_events(vec![taken(3, "inv_3")]);
    }

    fn reserve(number: u64, kind: DocumentKind) -> NumberSeriesCommand {
        NumberSeriesCommand::Reserve { number, kind, document: "inv_1".into() }
    }

    fn reserved(number: u64, kind: DocumentKind) -> NumberSeriesEvent {
        NumberSeriesEvent::Reserved { number, kind, document: "inv_1".into() }
    }

    #[test]
    fn a_series_steps_over_numbers_that_were_given() {
        let given = [1, 3, 4].map(|number| reserved(number, DocumentKind::Invoice));
        let mut series = NumberSeries::default();
        given.into_iter().for_each(|event| series.apply(event));
        assert_eq!(series.next(), 2);
        series.apply(taken(2, "inv_2"));
        assert_eq!(series.next(), 5);
    }

    #[test]
    fn a_number_is_given_once_to_each_kind_of_document() {
        TestFramework::<NumberSeries>::with(())
            .given(vec![reserved(7, DocumentKind::Invoice)])
            .when(reserve(7, DocumentKind::CreditNote))
            .then_expect_events(vec![reserved(7, DocumentKind::CreditNote)]);
    }

    #[test]
    fn numbers_that_a_series_could_give_belong_to_it_and_others_stand_alone() {
        let place = |number: &str| {
            let (series, place) = series_of(DocumentKind::Invoice, number).expect("a number that can be kept");
            (series.to_string(), place)
        };
        assert_eq!(place("INV-2026-000007"), ("ser_INV-2026".into(), 7));
        assert_eq!(place("INV-1000000"), ("ser_INV".into(), 1_000_000));
        for alone in ["536365", "INV-7", "INV-0000007", "INV-000000", "-000007", "2024/0001/17", "№ 7"] {
            assert_eq!(place(alone), (format!("ser_given:invoice:{alone}"), 1));
        }
        for odd in [&"№".repeat(300), "ABC-000001 ", " 7", "7\u{a0}"] {
            assert_eq!(series_of(DocumentKind::Invoice, odd), Err(IdError::MalformedName), "{odd:?}");
        }
    }

    // Refusals, in the order of the enum.

    #[test]
    fn a_number_without_a_document_is_refused() {
        TestFramework::<NumberSeries>::with(())
            .given_no_previous_events()
            .when(take(""))
            .then_expect_error(NumberSeriesRejection::DocumentMissing);
    }

    #[test]
    fn a_number_that_another_document_has_is_refused() {
        for before in [reserved(1, DocumentKind::Invoice), taken(1, "crn_1")] {
            TestFramework::<NumberSeries>::with(())
                .given(vec![before])
                .when(reserve(1, DocumentKind::Invoice))
                .then_expect_error(NumberSeriesRejection::NumberTaken);
        }
    }
}
