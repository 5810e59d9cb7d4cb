//! Tickets: who may open one about what, and the way to the archive and back.

use super::*;
use crate::{
    domain::{
        TicketId,
        customer::CustomerRejection,
        order::OrderRejection,
        service::ServiceRejection,
        ticket::{Subject, TicketRejection},
    },
    operations::{PlaceOrder, TicketAction, TicketOpening, WriteOnTicket},
};

fn open(books: &Books, account: &AccountId, about: Option<Subject>) -> TicketOpening {
    TicketOpening {
        customer: books.ledger(account).customer.clone(),
        category: "support".into(),
        subject: "no answer to ping".into(),
        about,
        message: "please look".into(),
    }
}

fn write(ticket: &TicketId, action: TicketAction) -> Operation {
    Operation::WriteOnTicket(WriteOnTicket { ticket: ticket.clone(), action })
}

#[test]
fn s72_a_ticket_is_archived_once_nobody_waits_for_an_answer_and_can_come_back() {
    let mut books = Books::new();
    let account = books.account("USD");
    let opening = Operation::OpenTicket(open(&books, &account, None));
    let ticket: TicketId = id(&books.done(opening));
    assert_eq!(books.refused(write(&ticket, TicketAction::Archive)), TicketRejection::AnswerDue.into());
    for action in [
        TicketAction::TakeUp,
        TicketAction::Answer { message: "rebooted".into() },
        TicketAction::Read,
        TicketAction::Archive,
        TicketAction::Restore,
        TicketAction::Reply { message: "again".into() },
    ] {
        books.done(write(&ticket, action));
    }
    assert_eq!(books.refused(write(&ticket, TicketAction::Archive)), TicketRejection::AnswerDue.into());
}

#[test]
fn a_ticket_is_about_something_of_the_same_customer() {
    let mut books = Books::new();
    let (account, other) = (books.account("USD"), books.account("USD"));
    let item = crate::domain::order::ItemRequest {
        product: "vps".into(),
        description: "VPS".into(),
        quantity: number("1"),
        unit_price: number("1"),
        part: None,
        tax_rate: number("0"),
    };
    let place = PlaceOrder { account: account.clone(), description: "servers".into(), items: vec![item] };
    let order: OrderId = id(&books.done(Operation::PlaceOrder(place)));
    let about = |books: &Books, account, about| Operation::OpenTicket(open(books, account, Some(about)));
    let own = about(&books, &account, Subject::Order(order.clone()));
    books.done(own);
    let foreign = about(&books, &other, Subject::Order(order));
    assert_eq!(books.refused(foreign), TicketRejection::ForeignSubject.into());
    let unknown = about(&books, &account, Subject::Order(Id::named("none").expect("a name")));
    assert_eq!(books.refused(unknown), OrderRejection::NotPlaced.into());
    let unknown = about(&books, &account, Subject::Service(Id::named("none").expect("a name")));
    assert_eq!(books.refused(unknown), ServiceRejection::NotActivated.into());
}

#[test]
fn a_ticket_of_an_unknown_customer_is_refused() {
    let mut books = Books::new();
    let account = books.account("USD");
    let nobody = TicketOpening { customer: Id::named("nobody").expect("a name"), ..open(&books, &account, None) };
    assert_eq!(books.refused(Operation::OpenTicket(nobody)), CustomerRejection::NotRegistered.into());
}
