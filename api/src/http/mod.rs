//! What is the same for every request: how it is admitted, read and answered, whichever noun it is about.

pub mod access;
pub mod address;
pub mod admission;
pub mod arrival;
pub mod authentication;
pub mod body;
pub mod browsers;
pub mod caller;
pub mod connections;
pub mod error;
pub mod header;
pub mod layers;
pub mod listing;
pub mod moment;
pub mod openapi;
pub mod page;
pub mod past;
pub mod problem;
pub mod read;
pub mod signature;
pub mod strict;
pub mod tagged;
pub mod time;
pub mod tls;
pub mod wire;
pub mod write;
