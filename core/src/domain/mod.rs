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
pub mod function;
pub mod invoice;
pub mod number_series;
pub mod order;
pub mod payer;
pub mod payment;
pub mod posting;
pub mod service;
pub mod team;
pub mod ticket;
pub mod user;
pub mod user_name;
pub mod version;

use std::{collections::BTreeSet, fmt};

use cqrs_es::{Aggregate, DomainEvent};
use derive_more::{From, TryInto};
use function::Function;
use posting::JournalEntry;
use schemars::JsonSchema;
use strum::EnumCount;

pub use account::{Account, AccountEvent, AccountId};
pub use books::{Books, BooksEvent, BooksId};
pub use credit_note::{CreditNote, CreditNoteEvent, CreditNoteId};
pub use customer::{Customer, CustomerEvent, CustomerId};
pub use discount::{Discount, DiscountId, Discounts, DiscountsEvent};
pub use expense::{Expense, ExpenseEvent, ExpenseId};
pub use invoice::{Invoice, InvoiceEvent, InvoiceId};
pub use number_series::{NumberSeries, NumberSeriesEvent};
pub use order::{Order, OrderEvent, OrderId};
pub use payer::{Payer, PayerEvent, PayerId};
pub use payment::{Dispute, DisputeId, Payment, PaymentEvent, PaymentId, Refund, RefundId};
pub use service::{Service, ServiceEvent, ServiceId};
pub use team::{Team, TeamEvent, TeamId};
pub use ticket::{Ticket, TicketEvent, TicketId};
pub use user::{Party, Principal, User, UserEvent, UserId};
pub use user_name::{UserName, UserNameEvent, UserNameId};
pub use version::present_version;

pub use crate::terms::{
    id::{Id, IdError, Noun},
    money::{Currency, ExactMoney, Money, MoneyError, Rounding},
};
use crate::terms::{rule::Rule, sealed::Texts};

/// An aggregate of the ledger: a cqrs-es aggregate whose identifier and events are on the boards.
pub trait LedgerAggregate: Aggregate<Services = (), Event: LedgerEvent> + Noun + Clone + fmt::Debug + 'static {
    /// Raise it whenever `apply` or the state's shape changes: snapshots of another version are discarded.
    const FOLD_VERSION: i32;

    /// What whoever reads it may do. Its events are shown to nobody else, wherever they are shown.
    const READ_BY: Function;

    /// Whether the state keeps texts about a person. Then it is folded from opened events only, and never written as a
    /// snapshot.
    const HOLDS_TEXTS: bool = false;

    /// Whose it is. What a customer's principal asks for reads nothing that is another customer's.
    fn owner(&self) -> Owner<'_>;

    /// How much of the cache this state takes, in units of about a hundred bytes.
    fn weight(&self) -> usize {
        1
    }

    /// Whom the texts of its events are about: their key is that of this person. `own` is the aggregate's identifier.
    fn person<'a>(&'a self, own: &'a str) -> &'a str {
        own
    }
}

/// Whose an aggregate is.
#[derive(Debug)]
pub enum Owner<'a> {
    Customer(&'a CustomerId),
    /// As the account: it never changes its customer.
    Account(&'a AccountId),
    /// As another payment, which this one stands for.
    Payment(&'a PaymentId),
    /// Of each customer in which the person is a member.
    Members(&'a user::Person),
    /// What its identifier names: the customer itself.
    Itself,
    /// Nobody's yet, or the ledger's own: reading it says nothing of a customer.
    Everybody,
}

/// What an event says of itself to the rest of the ledger.
pub trait LedgerEvent: DomainEvent + JsonSchema + Into<Event> + TryFrom<Event, Error: fmt::Debug> {
    /// What it happens to.
    type Aggregate: LedgerAggregate<Event = Self>;

    /// The event types of the noun and the version in which each is written today. It is raised whenever the JSON shape
    /// of the event changes; what was written in earlier versions is brought to this one when it is read.
    const VERSIONS: &'static [(&'static str, &'static str)];

    /// The journal entry of this event; empty for one that moves no money.
    fn postings(&self) -> JournalEntry;

    /// The rule that led to this event; `None` for one that changes no figure.
    fn rule(&self) -> Option<Rule>;

    /// Adds whatever else this event names: it stands in the history of each.
    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>);

    /// The texts about a person in this event. The store seals them when it writes, and opens them when it reads.
    fn sealed(&mut self) -> Texts<'_> {
        Vec::new()
    }
}

/// The identifiers that an event mentions, each once.
#[derive(Debug, Default)]
pub struct Mentions<'a>(pub BTreeSet<&'a str>);

impl<'a> Mentions<'a> {
    fn add<N>(&mut self, id: &'a Id<N>) {
        self.0.insert(id.as_str());
    }

    fn add_all<N: 'a>(&mut self, ids: impl IntoIterator<Item = &'a Id<N>>) {
        ids.into_iter().for_each(|id| self.add(id));
    }
}

/// Every aggregate type of the ledger: as many as there are kinds of events.
pub const AGGREGATE_TYPES: [&str; Event::COUNT] = [
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
    Team::TYPE,
    Ticket::TYPE,
    User::TYPE,
    UserName::TYPE,
];

/// Something to do with an aggregate whose type is known only by its name.
pub trait Visitor {
    type Output;

    fn visit<A: LedgerAggregate>(self) -> Self::Output;
}

/// Calls the visitor with the aggregate of this type; `None` for a type that this program does not know.
pub fn with_aggregate<V: Visitor>(aggregate_type: &str, visitor: V) -> Option<V::Output> {
    Some(match aggregate_type {
        Account::TYPE => visitor.visit::<Account>(),
        Books::TYPE => visitor.visit::<Books>(),
        CreditNote::TYPE => visitor.visit::<CreditNote>(),
        Customer::TYPE => visitor.visit::<Customer>(),
        Discounts::TYPE => visitor.visit::<Discounts>(),
        Expense::TYPE => visitor.visit::<Expense>(),
        Invoice::TYPE => visitor.visit::<Invoice>(),
        NumberSeries::TYPE => visitor.visit::<NumberSeries>(),
        Order::TYPE => visitor.visit::<Order>(),
        Payer::TYPE => visitor.visit::<Payer>(),
        Payment::TYPE => visitor.visit::<Payment>(),
        Service::TYPE => visitor.visit::<Service>(),
        Team::TYPE => visitor.visit::<Team>(),
        Ticket::TYPE => visitor.visit::<Ticket>(),
        User::TYPE => visitor.visit::<User>(),
        UserName::TYPE => visitor.visit::<UserName>(),
        _ => return None,
    })
}

/// Whether identifiers of the ledger begin so, before the `_`.
pub fn is_prefix(text: &str) -> bool {
    nouns().any(|(prefix, _)| prefix == text)
}

/// The type of the aggregate with this identifier. `None` for what is part of another, and for what is no identifier.
pub fn aggregate_type_of(id: &str) -> Option<&'static str> {
    let (begin, _) = id.split_once('_')?;
    AGGREGATE_TYPES.into_iter().find(|of| with_aggregate(of, NounOf).is_some_and(|(prefix, _)| prefix == begin))
}

/// What whoever reads the thing with this identifier may do. `None` if no identifier of the ledger begins so.
pub fn read_by(id: &str) -> Option<Function> {
    let (begin, _) = id.split_once('_')?;
    nouns().find(|(prefix, _)| *prefix == begin).map(|(_, function)| function)
}

/// What whoever reads aggregates of this type may do. `None` for a type that this program does not know.
pub fn type_read_by(aggregate_type: &str) -> Option<Function> {
    with_aggregate(aggregate_type, NounOf).map(|(_, function)| function)
}

struct NounOf;

impl Visitor for NounOf {
    type Output = (&'static str, Function);

    fn visit<A: LedgerAggregate>(self) -> Self::Output {
        (A::PREFIX, A::READ_BY)
    }
}

/// How the identifiers of each noun begin, and what whoever reads it may do.
fn nouns() -> impl Iterator<Item = (&'static str, Function)> {
    let parts = [
        (account::Hold::PREFIX, Account::READ_BY),
        (account::Transfer::PREFIX, Account::READ_BY),
        (Refund::PREFIX, Payment::READ_BY),
        (Dispute::PREFIX, Payment::READ_BY),
        (Discount::PREFIX, Discounts::READ_BY),
        (user::Password::PREFIX, User::READ_BY),
        (user::Factor::PREFIX, User::READ_BY),
        (user::RecoveryCodes::PREFIX, User::READ_BY),
        (user::Token::PREFIX, User::READ_BY),
    ];
    AGGREGATE_TYPES.into_iter().filter_map(|of| with_aggregate(of, NounOf)).chain(parts)
}

/// Every event of the ledger.
#[derive(Clone, Debug, PartialEq, EnumCount, From, TryInto)]
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
    Team(TeamEvent),
    Ticket(TicketEvent),
    User(UserEvent),
    UserName(UserNameEvent),
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
    #[error("its texts are sealed, and this program was not given the master key")]
    NoMasterKey,
    #[error("the key `{0}` of a text is missing in `person_keys`")]
    KeyMissing(String),
    #[error("the text `{place}` cannot be opened by its key `{key}`: one of them is not what was written")]
    TextAltered { place: &'static str, key: String },
}

impl Event {
    /// Reads a payload that is already upcast to the present version.
    pub fn decode(aggregate_type: &str, payload: &str) -> Result<Self, DecodeError> {
        struct Decode<'a>(&'a str);

        impl Visitor for Decode<'_> {
            type Output = Result<Event, DecodeError>;

            fn visit<A: LedgerAggregate>(self) -> Self::Output {
                Ok(serde_json::from_str::<A::Event>(self.0)?.into())
            }
        }

        let decoded = with_aggregate(aggregate_type, Decode(payload));
        decoded.unwrap_or_else(|| Err(DecodeError::UnknownAggregate(aggregate_type.into())))
    }

    pub fn aggregate_type(&self) -> &'static str {
        self.inner().aggregate_type()
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

    /// The journal entry of this event; empty for one that moves no money.
    pub fn postings(&self) -> JournalEntry {
        self.inner().postings()
    }

    /// The rule that led to this event; `None` for one that changes no figure.
    pub fn rule(&self) -> Option<Rule> {
        self.inner().rule()
    }

    /// Adds whatever else this event names.
    pub fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        self.inner().mentions(mentions);
    }

    /// The texts about a person in this event.
    pub fn sealed(&mut self) -> Texts<'_> {
        self.inner_mut().sealed()
    }

    fn inner(&self) -> &dyn Inner {
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
            Self::Team(event) => event,
            Self::Ticket(event) => event,
            Self::User(event) => event,
            Self::UserName(event) => event,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn Inner {
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
            Self::Team(event) => event,
            Self::Ticket(event) => event,
            Self::User(event) => event,
            Self::UserName(event) => event,
        }
    }
}

/// An event whose noun is known only where it is used.
trait Inner {
    fn sealed(&mut self) -> Texts<'_>;
    fn aggregate_type(&self) -> &'static str;
    fn event_type(&self) -> String;
    fn event_version(&self) -> String;
    fn payload(&self) -> String;
    fn postings(&self) -> JournalEntry;
    fn rule(&self) -> Option<Rule>;
    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>);
}

impl<E: LedgerEvent> Inner for E {
    fn sealed(&mut self) -> Texts<'_> {
        LedgerEvent::sealed(self)
    }

    fn aggregate_type(&self) -> &'static str {
        E::Aggregate::TYPE
    }

    fn event_type(&self) -> String {
        DomainEvent::event_type(self)
    }

    fn event_version(&self) -> String {
        DomainEvent::event_version(self)
    }

    fn payload(&self) -> String {
        serde_json::to_string(self).expect("an event has no map with keys that are not text")
    }

    fn postings(&self) -> JournalEntry {
        LedgerEvent::postings(self)
    }

    fn rule(&self) -> Option<Rule> {
        LedgerEvent::rule(self)
    }

    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        LedgerEvent::mentions(self, mentions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct TypeOf;

    impl Visitor for TypeOf {
        type Output = &'static str;

        fn visit<A: LedgerAggregate>(self) -> &'static str {
            <A::Event as LedgerEvent>::Aggregate::TYPE
        }
    }

    #[test]
    fn no_two_nouns_share_a_prefix() {
        let prefixes: Vec<_> = nouns().map(|(prefix, _)| prefix).collect();
        let different: BTreeSet<_> = prefixes.iter().collect();
        assert_eq!(different.len(), prefixes.len(), "{prefixes:?}");
    }

    #[test]
    fn every_aggregate_type_leads_to_its_aggregate() {
        for aggregate_type in AGGREGATE_TYPES {
            assert_eq!(with_aggregate(aggregate_type, TypeOf), Some(aggregate_type));
        }
    }
}
