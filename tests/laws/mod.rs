//! What must hold whatever is asked, for every noun.

mod api;
mod browsers;
mod columns;
mod crates;
mod description;
mod docs;
mod edge;
pub mod golden;
mod history;
mod input;
mod listings;
mod looks;
mod migrations;
mod preconditions;
mod problems;
mod purity;
pub mod reference;
mod representable;
mod rights;
mod sealed;
mod secrets;
mod shapes;
mod shown;
pub mod time_travel;
mod walls;
