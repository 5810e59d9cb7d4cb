//! Tickets: opening one, writing on it, and putting it away.

use serde_json::json;

use super::{Answer, Refusal, answer};
use crate::{
    domain::{
        CustomerId, Ticket, TicketId,
        ticket::{Subject, TicketCommand, TicketRejection},
    },
    writer::UnitOfWork,
};

#[derive(Clone, Debug)]
pub struct OpenTicket {
    pub customer: CustomerId,
    pub category: String,
    pub subject: String,
    pub about: Option<Subject>,
    pub message: String,
}

#[derive(Clone, Debug)]
pub struct WriteOnTicket {
    pub ticket: TicketId,
    pub action: TicketAction,
}

#[derive(Clone, Debug)]
pub enum TicketAction {
    TakeUp,
    /// The provider writes.
    Answer {
        message: String,
    },
    /// The customer writes.
    Reply {
        message: String,
    },
    Read,
    Archive,
    Restore,
}

impl OpenTicket {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        books.get(&self.customer).groups()?;
        let owner = match &self.about {
            None => self.customer.clone(),
            Some(Subject::Service(service)) => books.get(service).customer()?.clone(),
            Some(Subject::Order(order)) => books.get(order).placed()?.customer.clone(),
        };
        if owner != self.customer {
            return Err(TicketRejection::ForeignSubject.into());
        }
        let ticket = books.new_id::<Ticket>();
        let Self { customer, category, subject, about, message } = self.clone();
        books.execute(&ticket, TicketCommand::Open { customer, category, subject, about, message })?;
        Ok(answer(json!({ "id": ticket })))
    }
}

impl WriteOnTicket {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let command = match self.action.clone() {
            TicketAction::TakeUp => TicketCommand::TakeUp,
            TicketAction::Answer { message } => TicketCommand::Answer { message },
            TicketAction::Reply { message } => TicketCommand::Reply { message },
            TicketAction::Read => TicketCommand::Read,
            TicketAction::Archive => TicketCommand::Archive,
            TicketAction::Restore => TicketCommand::Restore,
        };
        books.execute(&self.ticket, command)?;
        Ok(answer(json!({ "id": self.ticket })))
    }
}
