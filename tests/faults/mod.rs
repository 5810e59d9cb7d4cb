//! What goes wrong, and what is left then.

mod cancellation;
mod clock;
mod concurrency;
mod connections;
pub mod crash;
mod crowd;
mod kill;
mod lost_connection;
mod proxies;
mod read_your_writes;
mod tables;
mod tls;
