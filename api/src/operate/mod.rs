//! What operators see and do over HTTP.

pub mod health;
pub mod metrics;
pub mod operation;
pub mod operator;
pub mod parking;
pub mod projection;
pub mod rebuild;
