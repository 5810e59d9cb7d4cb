//! The engine of the projections, and its operators.

mod drift;
mod operations;
mod ops;
mod ops_rebuild;
mod projecting;
mod rebuild;
mod versions;
