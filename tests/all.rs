//! Every test that needs a real PostgreSQL, one module per noun.

#![allow(clippy::unwrap_used, reason = "a test may fall where it stands")]

mod api;
mod books;
mod cancellation;
mod clock;
mod cluster;
mod columns;
mod concurrency;
mod connections;
mod crash;
mod description;
mod diff;
mod drift;
mod exports;
mod golden;
mod import;
mod input;
mod kill;
mod listings;
mod lost_connection;
mod ops;
mod ops_rebuild;
mod projecting;
mod purity;
mod reading;
mod rebuild;
mod reference;
mod replay;
mod representable;
mod restore;
mod scenarios;
mod schema;
mod shapes;
mod snapshots;
mod store;
mod time_travel;
mod tools;
mod transparency;
mod transparency_http;
mod transparency_keeper;
mod upgrade;
mod verify;
mod versions;
mod writer;
