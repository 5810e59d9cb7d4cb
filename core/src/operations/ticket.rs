//! Tickets: opening one, writing on it, and putting it away.

use serde_json::json;

use super::{Answer, Refusal, answer};
use crate::{
    domain::{
        Ticket, TicketId,
        ticket::{Subject, TicketAction, TicketCommand, TicketOpening, TicketRejection},
    },
    state::UnitOfWork,
};

#[derive(Clone, Debug)]
pub struct WriteOnTicket {
    pub ticket: TicketId,
    pub action: TicketAction,
}

impl TicketOpening {
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
        books.execute(&ticket, TicketCommand::Open(self.clone()))?;
        Ok(answer(json!({ "id": ticket })))
    }
}

impl WriteOnTicket {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        books.execute(&self.ticket, TicketCommand::Act(self.action.clone()))?;
        Ok(answer(json!({ "id": self.ticket })))
    }
}
