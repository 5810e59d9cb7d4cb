//! A number series: the contiguous numbers of one kind of document, such as the invoices of a year.

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LedgerAggregate, Noun, version::written_version};

#[derive(Clone, Debug)]
pub enum NumberSeriesCommand {
    /// Takes the next number for a document. The document and the number stand in one append, so none is lost.
    Take { document: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NumberSeriesEvent {
    Taken { number: u64, document: String },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberSeriesRejection {
    #[error("the document that takes a number must be named")]
    DocumentMissing,
}

impl NumberSeriesRejection {
    pub fn code(&self) -> &'static str {
        match self {
            Self::DocumentMissing => "document-missing",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NumberSeries {
    /// The last number taken; 0 before the first.
    pub last: u64,
}

impl Noun for NumberSeries {
    const PREFIX: &'static str = "ser";
}

impl LedgerAggregate for NumberSeries {
    const FOLD_VERSION: i32 = 1;
}

impl Aggregate for NumberSeries {
    const TYPE: &'static str = "number_series";
    type Command = NumberSeriesCommand;
    type Event = NumberSeriesEvent;
    type Error = NumberSeriesRejection;
    type Services = ();

    async fn handle(
        &mut self,
        NumberSeriesCommand::Take { document }: NumberSeriesCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), NumberSeriesRejection> {
        if document.is_empty() {
            return Err(NumberSeriesRejection::DocumentMissing);
        }
        sink.write(NumberSeriesEvent::Taken { number: self.last + 1, document }, self).await;
        Ok(())
    }

    fn apply(&mut self, NumberSeriesEvent::Taken { number, .. }: NumberSeriesEvent) {
        self.last = number;
    }
}

impl DomainEvent for NumberSeriesEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Taken { .. } => "number_series.taken",
        }
        .into()
    }

    fn event_version(&self) -> String {
        written_version(&self.event_type())
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

    #[test]
    fn a_number_without_a_document_is_refused() {
        TestFramework::<NumberSeries>::with(())
            .given_no_previous_events()
            .when(take(""))
            .then_expect_error(NumberSeriesRejection::DocumentMissing);
    }
}
