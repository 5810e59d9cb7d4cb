//! The domain: what may happen, in the words of billing. It does no I/O, asks no clock and makes no identifiers.

pub mod id;
pub mod money;
