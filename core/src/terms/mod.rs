//! The terms that all nouns are written in: identifiers, money, taxes, days, texts about persons, and how a rule or a refusal is said. They know
//! no noun.

pub mod calendar;
pub mod day;
pub mod id;
pub mod money;
pub mod refusal;
pub mod rule;
pub mod sealed;
pub mod tax;
pub mod text_hash;
