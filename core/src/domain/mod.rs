//! The domain: what may happen, in the words of billing. It does no I/O, asks no clock and makes no identifiers.
//!
//! This page is the board of all aggregates and of all events.

pub mod account;
pub mod books;
pub mod credit_note;
pub mod customer;
pub mod discount;
pub mod expense;
#[cfg(test)]
mod fixtures;
pub mod id;
pub mod invoice;
pub mod money;
pub mod number_series;
pub mod order;
pub mod payer;
pub mod payment;
pub mod posting;
pub mod rule;
pub mod service;
pub mod tax;
pub mod ticket;
pub mod version;

use cqrs_es::{Aggregate, DomainEvent};
use serde::de::DeserializeOwned;

pub use account::{Account, AccountEvent, AccountId};
pub use books::{Books, BooksEvent, BooksId};
pub use credit_note::{CreditNote, CreditNoteEvent, CreditNoteId};
pub use customer::{Customer, CustomerEvent, CustomerId};
pub use discount::{Discount, DiscountId, Discounts, DiscountsEvent};
pub use expense::{Expense, ExpenseEvent, ExpenseId};
pub use id::{Id, IdError, Noun};
pub use invoice::{Invoice, InvoiceEvent, InvoiceId};
pub use money::{Currency, ExactMoney, Money, MoneyError, Rounding};
pub use number_series::{NumberSeries, NumberSeriesEvent};
pub use order::{Order, OrderEvent, OrderId};
pub use payer::{Payer, PayerEvent, PayerId};
pub use payment::{Dispute, DisputeId, Payment, PaymentEvent, PaymentId, Refund, RefundId};
pub use service::{Service, ServiceEvent, ServiceId};
pub use ticket::{Ticket, TicketEvent, TicketId};
pub use version::present_version;

use crate::operations::Refusal;

/// An aggregate of the ledger: a cqrs-es aggregate whose identifier, events and refusals are on the boards.
pub trait LedgerAggregate:
    Aggregate<Services = (), Event: Into<Event> + TryFrom<Event, Error = Event>, Error: Into<Refusal>>
    + Noun
    + Clone
    + std::fmt::Debug
    + 'static
{
    /// Raise it whenever `apply` or the state's shape changes: snapshots of another version are discarded.
    const FOLD_VERSION: i32;

    /// How much of the cache this state takes, in units of about a hundred bytes.
    fn weight(&self) -> usize {
        1
    }
}

/// Every aggregate type of the ledger.
pub const AGGREGATE_TYPES: [&str; 13] = [
    Account::TYPE,
    Books::TYPE,
    CreditNote::TYPE,
    Customer::TYPE,
    Discounts::TYPE,
    Expense::TYPE,
    Invoice::TYPE,
    NumberSeries::TYPE,
    Order::TYPE,
    Payer::TYPE,
    Payment::TYPE,
    Service::TYPE,
    Ticket::TYPE,
];

/// Every event of the ledger.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Account(AccountEvent),
    Books(BooksEvent),
    CreditNote(CreditNoteEvent),
    Customer(CustomerEvent),
    Discounts(DiscountsEvent),
    Expense(ExpenseEvent),
    Invoice(InvoiceEvent),
    NumberSeries(NumberSeriesEvent),
    Order(OrderEvent),
    Payer(PayerEvent),
    Payment(PaymentEvent),
    Service(ServiceEvent),
    Ticket(TicketEvent),
}

/// Why stored bytes are not an event that this program knows.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the aggregate type `{0}` is unknown to this version")]
    UnknownAggregate(String),
    #[error("the event type `{0}` is unknown to this version")]
    UnknownType(String),
    #[error("`{event_type}` is stored in version {stored}, and nothing here leads from there to version {present}")]
    UnknownVersion { event_type: String, stored: String, present: &'static str },
    #[error("the payload does not fit the event")]
    Payload(#[from] serde_json::Error),
    #[error("the payload is a `{payload}`, but the row says `{row}`")]
    TypeMismatch { row: String, payload: String },
}

impl Event {
    /// Reads a payload that is already upcast to the present version.
    pub fn decode(aggregate_type: &str, payload: &str) -> Result<Self, DecodeError> {
        fn read<E: DeserializeOwned + Into<Event>>(payload: &str) -> Result<Event, DecodeError> {
            Ok(serde_json::from_str::<E>(payload)?.into())
        }
        match aggregate_type {
            Account::TYPE => read::<AccountEvent>(payload),
            Books::TYPE => read::<BooksEvent>(payload),
            CreditNote::TYPE => read::<CreditNoteEvent>(payload),
            Customer::TYPE => read::<CustomerEvent>(payload),
            Discounts::TYPE => read::<DiscountsEvent>(payload),
            Expense::TYPE => read::<ExpenseEvent>(payload),
            Invoice::TYPE => read::<InvoiceEvent>(payload),
            NumberSeries::TYPE => read::<NumberSeriesEvent>(payload),
            Order::TYPE => read::<OrderEvent>(payload),
            Payer::TYPE => read::<PayerEvent>(payload),
            Payment::TYPE => read::<PaymentEvent>(payload),
            Service::TYPE => read::<ServiceEvent>(payload),
            Ticket::TYPE => read::<TicketEvent>(payload),
            unknown => Err(DecodeError::UnknownAggregate(unknown.into())),
        }
    }

    pub fn aggregate_type(&self) -> &'static str {
        match self {
            Self::Account(_) => Account::TYPE,
            Self::Books(_) => Books::TYPE,
            Self::CreditNote(_) => CreditNote::TYPE,
            Self::Customer(_) => Customer::TYPE,
            Self::Discounts(_) => Discounts::TYPE,
            Self::Expense(_) => Expense::TYPE,
            Self::Invoice(_) => Invoice::TYPE,
            Self::NumberSeries(_) => NumberSeries::TYPE,
            Self::Order(_) => Order::TYPE,
            Self::Payer(_) => Payer::TYPE,
            Self::Payment(_) => Payment::TYPE,
            Self::Service(_) => Service::TYPE,
            Self::Ticket(_) => Ticket::TYPE,
        }
    }

    pub fn event_type(&self) -> String {
        self.inner().event_type()
    }

    pub fn event_version(&self) -> String {
        self.inner().event_version()
    }

    /// The payload column, as cqrs-es writes it.
    pub fn payload(&self) -> String {
        self.inner().payload()
    }

    fn inner(&self) -> &dyn Stored {
        match self {
            Self::Account(event) => event,
            Self::Books(event) => event,
            Self::CreditNote(event) => event,
            Self::Customer(event) => event,
            Self::Discounts(event) => event,
            Self::Expense(event) => event,
            Self::Invoice(event) => event,
            Self::NumberSeries(event) => event,
            Self::Order(event) => event,
            Self::Payer(event) => event,
            Self::Payment(event) => event,
            Self::Service(event) => event,
            Self::Ticket(event) => event,
        }
    }
}

/// What is stored of any event.
trait Stored {
    fn event_type(&self) -> String;
    fn event_version(&self) -> String;
    fn payload(&self) -> String;
}

impl<E: DomainEvent> Stored for E {
    fn event_type(&self) -> String {
        DomainEvent::event_type(self)
    }

    fn event_version(&self) -> String {
        DomainEvent::event_version(self)
    }

    fn payload(&self) -> String {
        serde_json::to_string(self).expect("an event has no map with keys that are not text")
    }
}

impl From<AccountEvent> for Event {
    fn from(event: AccountEvent) -> Self {
        Self::Account(event)
    }
}

impl TryFrom<Event> for AccountEvent {
    type Error = Event;

    fn try_from(event: Event) -> Result<Self, Event> {
        match event {
            Event::Account(event) => Ok(event),
            other => Err(other),
        }
    }
}

impl From<BooksEvent> for Event {
    fn from(event: BooksEvent) -> Self {
        Self::Books(event)
    }
}

impl TryFrom<Event> for BooksEvent {
    type Error = Event;

    fn try_from(event: Event) -> Result<Self, Event> {
        match event {
            Event::Books(event) => Ok(event),
            other => Err(other),
        }
    }
}

impl From<CreditNoteEvent> for Event {
    fn from(event: CreditNoteEvent) -> Self {
        Self::CreditNote(event)
    }
}

impl TryFrom<Event> for CreditNoteEvent {
    type Error = Event;

    fn try_from(event: Event) -> Result<Self, Event> {
        match event {
            Event::CreditNote(event) => Ok(event),
            other => Err(other),
        }
    }
}

impl From<CustomerEvent> for Event {
    fn from(event: CustomerEvent) -> Self {
        Self::Customer(event)
    }
}

impl TryFrom<Event> for CustomerEvent {
    type Error = Event;

    fn try_from(event: Event) -> Result<Self, Event> {
        match event {
            Event::Customer(event) => Ok(event),
            other => Err(other),
        }
    }
}

impl From<DiscountsEvent> for Event {
    fn from(event: DiscountsEvent) -> Self {
        Self::Discounts(event)
    }
}

impl TryFrom<Event> for DiscountsEvent {
    type Error = Event;

    fn try_from(event: Event) -> Result<Self, Event> {
        match event {
            Event::Discounts(event) => Ok(event),
            other => Err(other),
        }
    }
}

impl From<ExpenseEvent> for Event {
    fn from(event: ExpenseEvent) -> Self {
        Self::Expense(event)
    }
}

impl TryFrom<Event> for ExpenseEvent {
    type Error = Event;

    fn try_from(event: Event) -> Result<Self, Event> {
        match event {
            Event::Expense(event) => Ok(event),
            other => Err(other),
        }
    }
}

impl From<InvoiceEvent> for Event {
    fn from(event: InvoiceEvent) -> Self {
        Self::Invoice(event)
    }
}

impl TryFrom<Event> for InvoiceEvent {
    type Error = Event;

    fn try_from(event: Event) -> Result<Self, Event> {
        match event {
            Event::Invoice(event) => Ok(event),
            other => Err(other),
        }
    }
}

impl From<NumberSeriesEvent> for Event {
    fn from(event: NumberSeriesEvent) -> Self {
        Self::NumberSeries(event)
    }
}

impl TryFrom<Event> for NumberSeriesEvent {
    type Error = Event;

    fn try_from(event: Event) -> Result<Self, Event> {
        match event {
            Event::NumberSeries(event) => Ok(event),
            other => Err(other),
        }
    }
}

impl From<OrderEvent> for Event {
    fn from(event: OrderEvent) -> Self {
        Self::Order(event)
    }
}

impl TryFrom<Event> for OrderEvent {
    type Error = Event;

    fn try_from(event: Event) -> Result<Self, Event> {
        match event {
            Event::Order(event) => Ok(event),
            other => Err(other),
        }
    }
}

impl From<PayerEvent> for Event {
    fn from(event: PayerEvent) -> Self {
        Self::Payer(event)
    }
}

impl TryFrom<Event> for PayerEvent {
    type Error = Event;

    fn try_from(event: Event) -> Result<Self, Event> {
        match event {
            Event::Payer(event) => Ok(event),
            other => Err(other),
        }
    }
}

impl From<PaymentEvent> for Event {
    fn from(event: PaymentEvent) -> Self {
        Self::Payment(event)
    }
}

impl TryFrom<Event> for PaymentEvent {
    type Error = Event;

    fn try_from(event: Event) -> Result<Self, Event> {
        match event {
            Event::Payment(event) => Ok(event),
            other => Err(other),
        }
    }
}

impl From<ServiceEvent> for Event {
    fn from(event: ServiceEvent) -> Self {
        Self::Service(event)
    }
}

impl TryFrom<Event> for ServiceEvent {
    type Error = Event;

    fn try_from(event: Event) -> Result<Self, Event> {
        match event {
            Event::Service(event) => Ok(event),
            other => Err(other),
        }
    }
}

impl From<TicketEvent> for Event {
    fn from(event: TicketEvent) -> Self {
        Self::Ticket(event)
    }
}

impl TryFrom<Event> for TicketEvent {
    type Error = Event;

    fn try_from(event: Event) -> Result<Self, Event> {
        match event {
            Event::Ticket(event) => Ok(event),
            other => Err(other),
        }
    }
}
