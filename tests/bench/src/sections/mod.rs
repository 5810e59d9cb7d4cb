//! The sections of the benchmark, in their order: one table each.

pub mod appending;
pub mod deposits;
pub mod identity;
pub mod listing;
pub mod pages;
pub mod rebuild;
pub mod start_up;
pub mod statement;
pub mod verify;

use crate::measure::{Bound, Claim, Quantity};

/// The names of the rows that stand in more than one section.
pub const DAYBOOK: &str = "Daybook";
pub const ONE_VIEW: &str = "postgres-es, one view";
pub const UNNEST: &str = "limit: UNNEST append";

pub fn at_least(of: &str, bound: f64, to: &str) -> Claim {
    Claim::Ratio { of: of.into(), to: to.into(), quantity: Quantity::Figure, bound: Bound::AtLeast(bound) }
}

pub fn at_most(of: &str, bound: f64, to: &str) -> Claim {
    Claim::Ratio { of: of.into(), to: to.into(), quantity: Quantity::Figure, bound: Bound::AtMost(bound) }
}

pub fn p99_at_most(of: &str, bound: f64, to: &str) -> Claim {
    Claim::Ratio { of: of.into(), to: to.into(), quantity: Quantity::P99, bound: Bound::AtMost(bound) }
}
