//! The transparency log.

mod http;
mod keeper;
mod large_entries;
mod tampering;
