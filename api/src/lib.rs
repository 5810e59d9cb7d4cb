//! The API of Daybook: the desk where JSON comes in as commands and rows go out as JSON.

mod account;
mod app;
mod audit;
mod books;
mod config;
mod credit_note;
mod customer;
mod discount;
mod expense;
mod http;
mod identity;
mod invoice;
mod operate;
mod order;
mod payer;
mod payment;
mod routes;
mod service;
mod statement;
mod ticket;
mod user;

pub use app::{App, AppOptions, Running};
pub use config::{Config, LogFormat};
pub use http::admission::Hosts;
pub use http::arrival::{Edge, Proxies};
pub use http::authentication::{Authenticated, Means};
pub use http::connections::{ConnectionOptions, serve};
pub use http::cors::Origins;
pub use http::layers::with_layers;
pub use http::openapi::Declared;
pub use http::past::PastOptions;
pub use http::rate::RateOptions;
pub use http::tls::{Certificates, TlsError};
pub use identity::demonstration::{Guest, guests};
pub use identity::sign_up::Terms;
pub use identity::sweep::SweepOptions;
pub use routes::{
    Need, authenticated, editing, listings, needing_step_up, needs, openapi, router, routes_of, watched,
};
