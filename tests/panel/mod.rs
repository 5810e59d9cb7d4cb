//! The pages, in a real browser and without one.

mod chrome;
mod figures;
mod house;
mod pages;
mod screenshots;
mod sources;
mod tasks;
