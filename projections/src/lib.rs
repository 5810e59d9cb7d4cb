//! The projections of Daybook: read models folded from the book. This page is the board of all of them.

pub mod account;
pub mod accounting;
pub mod balances;
pub mod books;
pub mod credit_note;
pub mod customer;
pub mod discount;
mod effect;
#[expect(clippy::disallowed_methods, reason = "leases, deadlines and progress")]
pub mod engine;
pub mod expense;
pub mod explanation;
pub mod factor_reset;
pub mod history;
pub mod invoice;
pub mod journal;
pub mod listing;
pub mod order;
pub mod payer;
pub mod payment;
pub mod service;
pub mod statement;
pub mod ticket;
pub mod user;
pub mod word;

pub use engine::{
    Chosen, Definition, Freshness, Known, Moment, NewVersions, Place, Plans, Projector, ProjectorOptions, ReadError,
    Reader, RowOrder, Snapshot, Sort, Value, Viewer,
};

/// Every projection there is. An earlier version stays on the board for as long as it may still serve or be kept, so that
/// this program can drive it.
pub static BOARD: &[Definition] = &[
    Definition::of::<account::Accounts>(),
    Definition::of::<statement::AccountStatement>(),
    Definition::of::<books::ClosedPeriods>(),
    Definition::of::<credit_note::CreditNotes>(),
    Definition::of::<customer::Customers>(),
    Definition::of::<discount::Discounts>(),
    Definition::of::<expense::Expenses>(),
    Definition::of::<factor_reset::FactorResets>(),
    Definition::of::<history::History>(),
    Definition::of::<invoice::Invoices>(),
    Definition::of::<journal::Journal>(),
    Definition::of::<order::Orders>(),
    Definition::of::<payer::Payers>(),
    Definition::of::<payment::Payments>(),
    Definition::of::<service::Services>(),
    Definition::of::<ticket::Tickets>(),
    Definition::of::<user::Users>(),
];

/// The projection of this name, in the version of this program.
pub fn find(name: &str) -> Option<Definition> {
    engine::latest(BOARD).into_iter().find(|definition| definition.name == name)
}
