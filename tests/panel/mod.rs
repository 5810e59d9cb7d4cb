//! The pages, in a real browser and without one.

mod chrome;
mod figures;
mod house;
mod pages;
mod sources;
mod tasks;
