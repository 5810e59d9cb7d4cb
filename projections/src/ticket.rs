//! Tickets, open and archived, with their messages.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use daybook_core::{
    RecordedEvent,
    domain::{
        Event, Noun, Ticket, TicketEvent,
        ticket::{Status, Subject, TicketOpening},
    },
    terms::sealed::{Sealed, StillSealed},
};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use crate::{
    engine::{Changes, FoldError, Follows, Owner, Projection, Row, Shown, Source, Table, place},
    listing::Listed,
    word::Word,
};

#[derive(Debug)]
pub enum Tickets {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct TicketRow {
    pub id: String,
    pub customer_id: String,
    pub category: String,
    pub subject: String,
    /// `service` or `order`.
    pub about: Option<String>,
    pub about_id: Option<String>,
    pub status: Word<Status>,
    pub archived: bool,
    pub messages: i32,
    pub opened_at: DateTime<Utc>,
    pub last_message_at: DateTime<Utc>,
    pub archived_at: Option<DateTime<Utc>>,
    /// Of the event that opened it; listings go by it.
    pub position: i64,
    /// Of the last event that changed it.
    pub changed_position: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromRow)]
pub struct TicketMessageRow {
    pub ticket_id: String,
    pub position: i64,
    /// `customer` or `provider`.
    pub side: String,
    /// Who wrote it.
    pub actor: Option<String>,
    pub message: String,
    pub written_at: DateTime<Utc>,
}

impl Row for TicketRow {
    type Key = String;
    const TABLE: &'static str = "tickets";
    const KEY: &'static [&'static str] = &["id"];
    const PREFIX: Option<&'static str> = Some(Ticket::PREFIX);
    const OWNER: Owner = Owner::Customer("customer_id");
    const SHOWN: Shown = Shown::NEWEST_FIRST;

    fn key(&self) -> String {
        self.id.clone()
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Ticket::TYPE, &self.id)]
    }
}

impl Row for TicketMessageRow {
    type Key = (String, i64);
    const TABLE: &'static str = "ticket_messages";
    const KEY: &'static [&'static str] = &["ticket_id", "position"];
    const OWNER: Owner = Owner::parent::<TicketRow>("ticket_id");

    fn key(&self) -> Self::Key {
        (self.ticket_id.clone(), self.position)
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::stream(Ticket::TYPE, &self.ticket_id)]
    }

    const STAYS_BUT_FOR: Option<&'static [&'static str]> = Some(&[]);
}

impl Listed for TicketRow {
    type Of = TicketRow;
    const PROJECTION: &'static str = Tickets::NAME;
    const NOUN: &'static str = "ticket";
    const NOT_FOUND: &'static str = "ticket-not-found";

    fn position(&self) -> i64 {
        self.position
    }
}

impl Projection for Tickets {
    const NAME: &'static str = "tickets";
    const VERSION: i32 = 1;
    const FOLLOWS: Follows = Follows::Only(&[Ticket::TYPE]);
    const TABLES: &'static [Table] = &[Table::of::<TicketRow>(), Table::of::<TicketMessageRow>()];

    fn fold(event: &RecordedEvent, changes: &mut Changes) -> Result<(), FoldError> {
        let Event::Ticket(ticket_event) = &event.event else { return Ok(()) };
        let at = event.occurred_at();
        match ticket_event {
            TicketEvent::Opened(TicketOpening { customer, category, subject, about, message }) => {
                let (about, about_id) = match about {
                    None => (None, None),
                    Some(Subject::Service(service)) => (Some("service".into()), Some(service.to_string())),
                    Some(Subject::Order(order)) => (Some("order".into()), Some(order.to_string())),
                };
                changes.insert(TicketRow {
                    id: event.aggregate_id.clone(),
                    customer_id: customer.to_string(),
                    category: category.clone(),
                    subject: subject.shown()?.to_owned(),
                    about,
                    about_id,
                    status: Word(Status::after(ticket_event)),
                    archived: false,
                    messages: 1,
                    opened_at: at,
                    last_message_at: at,
                    archived_at: None,
                    position: place(event),
                    changed_position: place(event),
                });
                changes.insert(message_row(event, "customer", message)?);
            }
            TicketEvent::TakenUp {} | TicketEvent::Read {} => change(event, ticket_event, changes, |_| {}),
            TicketEvent::Answered { message } => {
                changes.insert(message_row(event, "provider", message)?);
                change(event, ticket_event, changes, move |row| row.written(at));
            }
            TicketEvent::Replied { message } => {
                changes.insert(message_row(event, "customer", message)?);
                change(event, ticket_event, changes, move |row| row.written(at));
            }
            TicketEvent::Archived {} => change(event, ticket_event, changes, move |row| {
                row.archived = true;
                row.archived_at = Some(at);
            }),
            TicketEvent::Restored {} => change(event, ticket_event, changes, |row| {
                row.archived = false;
                row.archived_at = None;
            }),
        }
        Ok(())
    }
}

impl TicketRow {
    fn written(&mut self, at: DateTime<Utc>) {
        self.messages += 1;
        self.last_message_at = at;
    }
}

fn change(
    event: &RecordedEvent,
    ticket_event: &TicketEvent,
    changes: &mut Changes,
    change: impl FnOnce(&mut TicketRow) + Send + 'static,
) {
    let (status, position) = (Word(Status::after(ticket_event)), place(event));
    changes.update(event.aggregate_id.clone(), move |row: &mut TicketRow| {
        row.status = status;
        row.changed_position = position;
        change(row);
    });
}

fn message_row(event: &RecordedEvent, side: &str, message: &Sealed) -> Result<TicketMessageRow, StillSealed> {
    Ok(TicketMessageRow {
        ticket_id: event.aggregate_id.clone(),
        position: place(event),
        side: side.into(),
        actor: event.metadata.actor.as_ref().map(ToString::to_string),
        message: message.shown()?.to_owned(),
        written_at: event.occurred_at(),
    })
}
