//! A ticket: a conversation between a customer and the provider, from the question to the archive.

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use super::{
    CustomerId, Id, LedgerAggregate, LedgerEvent, Mentions, Noun, OrderId, Owner, ServiceId, function::Function,
    posting::JournalEntry, version::written_version,
};
use crate::terms::{
    refusal::{absent, conflict, invalid, refusals},
    rule::Rule,
    sealed::{Sealed, Texts},
};

pub type TicketId = Id<Ticket>;

/// What a ticket is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Service(ServiceId),
    Order(OrderId),
}

#[derive(Clone, Debug)]
pub enum TicketCommand {
    Open(TicketOpening),
    Act(TicketAction),
}

/// The question that a customer comes with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TicketOpening {
    pub customer: CustomerId,
    pub category: String,
    pub subject: Sealed,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<Subject>,
    pub message: Sealed,
}

/// What can be done with a ticket once it is open.
#[derive(Clone, Debug)]
pub enum TicketAction {
    /// A member of staff takes it up.
    TakeUp,
    /// The provider writes.
    Answer {
        message: Sealed,
    },
    /// The customer writes.
    Reply {
        message: Sealed,
    },
    /// The customer has seen the answer.
    Read,
    Archive,
    Restore,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TicketEvent {
    Opened(TicketOpening),
    TakenUp {},
    Answered { message: Sealed },
    Replied { message: Sealed },
    Read {},
    Archived {},
    Restored {},
}

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum TicketRejection {
        #[error("the ticket already exists")]
        AlreadyOpened = conflict("ticket-exists", "The ticket already exists"),
        #[error("there is no such ticket")]
        NotOpened = absent("ticket-not-found", "There is no such ticket"),
        #[error("a ticket needs a subject")]
        SubjectMissing at "/subject" = invalid("subject-missing", "A ticket needs a subject"),
        #[error("a ticket needs a category")]
        CategoryMissing at "/category" = invalid("category-missing", "A ticket needs a category"),
        #[error("a message needs a text")]
        MessageMissing at "/message" = invalid("message-missing", "A message needs a text"),
        #[error("the ticket has been taken up already")]
        AlreadyTakenUp = conflict("ticket-taken-up", "The ticket has been taken up already"),
        #[error("there is no unread answer")]
        NothingToRead = conflict("nothing-to-read", "The ticket has no unread answer"),
        #[error("the ticket cannot be archived while an answer is due")]
        AnswerDue = conflict("answer-due", "The ticket cannot be archived while an answer is due"),
        #[error("the ticket is archived; restore it first")]
        Archived = conflict("ticket-archived", "The ticket is archived; restore it first"),
        #[error("the ticket is not archived")]
        NotArchived = conflict("ticket-not-archived", "The ticket is not archived"),
        #[error("the service or order that the ticket is about belongs to another customer")]
        ForeignSubject at "/about" =
            invalid("foreign-subject", "The service or order of the ticket belongs to another customer"),
    }
}

/// How a ticket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    /// Nobody has taken it up; an answer is due.
    Open,
    /// An answer is due.
    InProgress,
    /// The answer waits to be read.
    Answered,
    /// The customer has read the answer.
    Read,
    Archived,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ticket {
    #[default]
    Unknown,
    Opened {
        customer: CustomerId,
        status: Status,
    },
}

impl Noun for Ticket {
    const PREFIX: &'static str = "tkt";
}

impl LedgerAggregate for Ticket {
    const FOLD_VERSION: i32 = 3;
    const READ_BY: Function = Function::TicketsRead;

    fn owner(&self) -> Owner<'_> {
        match self {
            Self::Unknown => Owner::Everybody,
            Self::Opened { customer, .. } => Owner::Customer(customer),
        }
    }

    fn person<'a>(&'a self, own: &'a str) -> &'a str {
        match self {
            Self::Unknown => own,
            Self::Opened { customer, .. } => customer.as_str(),
        }
    }
}

impl Status {
    /// How a ticket stands after an event.
    pub fn after(event: &TicketEvent) -> Self {
        match event {
            TicketEvent::Opened(_) | TicketEvent::Restored {} => Self::Open,
            TicketEvent::TakenUp {} | TicketEvent::Replied { .. } => Self::InProgress,
            TicketEvent::Answered { .. } => Self::Answered,
            TicketEvent::Read {} => Self::Read,
            TicketEvent::Archived {} => Self::Archived,
        }
    }

    fn decide(self, action: TicketAction) -> Result<TicketEvent, TicketRejection> {
        use TicketAction as A;
        use TicketEvent as E;
        use TicketRejection as R;

        match (self, action) {
            (Self::Archived, A::Restore) => Ok(E::Restored {}),
            (Self::Archived, _) => Err(R::Archived),
            (_, A::Restore) => Err(R::NotArchived),
            (Self::Open, A::TakeUp) => Ok(E::TakenUp {}),
            (_, A::TakeUp) => Err(R::AlreadyTakenUp),
            (_, A::Answer { message } | A::Reply { message }) if message.is_blank() => Err(R::MessageMissing),
            (_, A::Answer { message }) => Ok(E::Answered { message }),
            (_, A::Reply { message }) => Ok(E::Replied { message }),
            (Self::Answered, A::Read) => Ok(E::Read {}),
            (_, A::Read) => Err(R::NothingToRead),
            (Self::Open | Self::InProgress, A::Archive) => Err(R::AnswerDue),
            (_, A::Archive) => Ok(E::Archived {}),
        }
    }
}

impl Aggregate for Ticket {
    const TYPE: &'static str = "ticket";
    type Command = TicketCommand;
    type Event = TicketEvent;
    type Error = TicketRejection;
    type Services = ();

    async fn handle(&mut self, command: TicketCommand, (): &(), sink: &EventSink<Self>) -> Result<(), TicketRejection> {
        use TicketCommand as C;
        use TicketRejection as R;

        let event = match (&*self, command) {
            (Self::Unknown, C::Open(opening)) if opening.subject.is_blank() => return Err(R::SubjectMissing),
            (Self::Unknown, C::Open(opening)) if opening.category.trim().is_empty() => return Err(R::CategoryMissing),
            (Self::Unknown, C::Open(opening)) if opening.message.is_blank() => return Err(R::MessageMissing),
            (Self::Unknown, C::Open(opening)) => TicketEvent::Opened(opening),
            (Self::Unknown, C::Act(_)) => return Err(R::NotOpened),
            (Self::Opened { .. }, C::Open(_)) => return Err(R::AlreadyOpened),
            (Self::Opened { status, .. }, C::Act(action)) => status.decide(action)?,
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: TicketEvent) {
        let after = Status::after(&event);
        match (&mut *self, event) {
            (_, TicketEvent::Opened(TicketOpening { customer, .. })) => {
                *self = Self::Opened { customer, status: after };
            }
            (Self::Opened { status, .. }, _) => *status = after,
            (Self::Unknown, _) => {}
        }
    }
}

impl DomainEvent for TicketEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Opened(_) => "ticket.opened",
            Self::TakenUp {} => "ticket.taken_up",
            Self::Answered { .. } => "ticket.answered",
            Self::Replied { .. } => "ticket.replied",
            Self::Read {} => "ticket.read",
            Self::Archived {} => "ticket.archived",
            Self::Restored {} => "ticket.restored",
        }
        .into()
    }

    fn event_version(&self) -> String {
        written_version(self)
    }
}

impl LedgerEvent for TicketEvent {
    type Aggregate = Ticket;

    const VERSIONS: &'static [(&'static str, &'static str)] = &[
        ("ticket.answered", "1.1"),
        ("ticket.archived", "1.0"),
        ("ticket.opened", "1.1"),
        ("ticket.read", "1.0"),
        ("ticket.replied", "1.1"),
        ("ticket.restored", "1.0"),
        ("ticket.taken_up", "1.0"),
    ];

    fn postings(&self) -> JournalEntry {
        Vec::new()
    }

    fn rule(&self) -> Option<Rule> {
        None
    }

    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        match self {
            Self::Opened(TicketOpening { customer, about, .. }) => {
                mentions.add(customer);
                match about {
                    None => {}
                    Some(Subject::Service(service)) => mentions.add(service),
                    Some(Subject::Order(order)) => mentions.add(order),
                }
            }
            Self::TakenUp {}
            | Self::Answered { .. }
            | Self::Replied { .. }
            | Self::Read {}
            | Self::Archived {}
            | Self::Restored {} => {}
        }
    }

    fn sealed(&mut self) -> Texts<'_> {
        match self {
            Self::Opened(TicketOpening { subject, message, .. }) => vec![("subject", subject), ("message", message)],
            Self::Answered { message } | Self::Replied { message } => vec![("message", message)],
            Self::TakenUp {} | Self::Read {} | Self::Archived {} | Self::Restored {} => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};

    use super::*;
    use crate::domain::fixtures::id;

    fn given(events: Vec<TicketEvent>) -> AggregateTestExecutor<Ticket> {
        TestFramework::with(()).given(events)
    }

    fn opening(category: &str, subject: &str, message: &str) -> TicketOpening {
        let (customer, about) = (id("ada"), None);
        let (category, subject, message) = (category.into(), subject.into(), message.into());
        TicketOpening { customer, category, subject, about, message }
    }

    fn open(category: &str, subject: &str, message: &str) -> TicketCommand {
        TicketCommand::Open(opening(category, subject, message))
    }

    fn opened() -> TicketEvent {
        TicketEvent::Opened(opening("support", "ping", "please look"))
    }

    fn answer(message: &str) -> TicketCommand {
        TicketCommand::Act(TicketAction::Answer { message: message.into() })
    }

    fn answered() -> TicketEvent {
        TicketEvent::Answered { message: "rebooted".into() }
    }

    fn reply(message: &str) -> TicketCommand {
        TicketCommand::Act(TicketAction::Reply { message: message.into() })
    }

    fn replied() -> TicketEvent {
        TicketEvent::Replied { message: "again".into() }
    }

    fn archived() -> Vec<TicketEvent> {
        vec![opened(), answered(), TicketEvent::Archived {}]
    }

    #[test]
    fn a_ticket_goes_from_the_question_to_the_archive_and_back() {
        given(vec![]).when(open("support", "ping", "please look")).then_expect_events(vec![opened()]);
        given(vec![opened()])
            .when(TicketCommand::Act(TicketAction::TakeUp))
            .then_expect_events(vec![TicketEvent::TakenUp {}]);
        given(vec![opened(), TicketEvent::TakenUp {}]).when(answer("rebooted")).then_expect_events(vec![answered()]);
        given(vec![opened(), answered()])
            .when(TicketCommand::Act(TicketAction::Read))
            .then_expect_events(vec![TicketEvent::Read {}]);
        given(vec![opened(), answered(), TicketEvent::Read {}])
            .when(reply("again"))
            .then_expect_events(vec![replied()]);
        given(vec![opened(), answered(), TicketEvent::Read {}])
            .when(TicketCommand::Act(TicketAction::Archive))
            .then_expect_events(vec![TicketEvent::Archived {}]);
        given(archived())
            .when(TicketCommand::Act(TicketAction::Restore))
            .then_expect_events(vec![TicketEvent::Restored {}]);
    }

    #[test]
    fn a_ticket_is_opened_once() {
        for history in [vec![opened()], archived()] {
            given(history)
                .when(open("support", "ping", "please look"))
                .then_expect_error(TicketRejection::AlreadyOpened);
        }
    }

    #[test]
    fn nothing_is_written_on_a_ticket_that_is_not_open() {
        for command in [
            TicketCommand::Act(TicketAction::TakeUp),
            answer("rebooted"),
            TicketCommand::Act(TicketAction::Archive),
            TicketCommand::Act(TicketAction::Restore),
        ] {
            given(vec![]).when(command).then_expect_error(TicketRejection::NotOpened);
        }
    }

    #[test]
    fn a_ticket_without_a_subject_is_refused() {
        given(vec![]).when(open("support", " ", "please look")).then_expect_error(TicketRejection::SubjectMissing);
    }

    #[test]
    fn a_ticket_without_a_category_is_refused() {
        given(vec![]).when(open("", "ping", "please look")).then_expect_error(TicketRejection::CategoryMissing);
    }

    #[test]
    fn a_message_without_a_text_is_refused() {
        given(vec![]).when(open("support", "ping", "")).then_expect_error(TicketRejection::MessageMissing);
        for command in [answer(" "), reply("")] {
            given(vec![opened()]).when(command).then_expect_error(TicketRejection::MessageMissing);
        }
    }

    #[test]
    fn a_ticket_is_taken_up_once() {
        for history in [vec![opened(), TicketEvent::TakenUp {}], vec![opened(), answered()]] {
            given(history)
                .when(TicketCommand::Act(TicketAction::TakeUp))
                .then_expect_error(TicketRejection::AlreadyTakenUp);
        }
    }

    #[test]
    fn only_an_unread_answer_is_read() {
        for history in [vec![opened()], vec![opened(), answered(), TicketEvent::Read {}]] {
            given(history)
                .when(TicketCommand::Act(TicketAction::Read))
                .then_expect_error(TicketRejection::NothingToRead);
        }
    }

    #[test]
    fn a_ticket_is_not_archived_while_an_answer_is_due() {
        let restored = archived().into_iter().chain([TicketEvent::Restored {}]).collect();
        for history in [vec![opened()], vec![opened(), answered(), replied()], restored] {
            given(history)
                .when(TicketCommand::Act(TicketAction::Archive))
                .then_expect_error(TicketRejection::AnswerDue);
        }
    }

    #[test]
    fn an_archived_ticket_is_left_alone() {
        for command in [
            TicketCommand::Act(TicketAction::TakeUp),
            answer("rebooted"),
            reply("again"),
            TicketCommand::Act(TicketAction::Archive),
        ] {
            given(archived()).when(command).then_expect_error(TicketRejection::Archived);
        }
    }

    #[test]
    fn a_ticket_that_is_not_archived_is_not_restored() {
        given(vec![opened()])
            .when(TicketCommand::Act(TicketAction::Restore))
            .then_expect_error(TicketRejection::NotArchived);
    }

    #[test]
    fn a_foreign_subject_has_a_refusal_of_its_own() {
        // Raised where the owners are compared, in the operation.
        assert_eq!(TicketRejection::ForeignSubject.code(), "foreign-subject");
    }
}
