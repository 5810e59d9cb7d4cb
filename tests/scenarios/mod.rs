//! The acceptance scenarios, through HTTP. A test is named by its number: `s02b_…` is scenario S2b.

mod discounts;
mod disputes;
mod documents;
mod http;
mod listings;
mod orders;
mod payments;
mod projections;
mod refunds;
mod rights;
mod schema;
mod statements;
mod tampering;
mod tickets;
mod time_travel;
pub mod world;
