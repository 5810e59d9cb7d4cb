//! What the tests of the domain speak of: a customer, an account, some money, a day.

use chrono::NaiveDate;
use rust_decimal::Decimal;

use super::{Id, Money, Noun, PayerId, payer};

/// An identifier that a test can tell from another.
pub fn id<N: Noun>(name: &str) -> Id<N> {
    Id::named(name).expect("a name")
}

pub fn usd(amount: &str) -> Money {
    Money::parse(amount, "USD").expect("dollars")
}

pub fn yen(amount: &str) -> Money {
    Money::parse(amount, "JPY").expect("yen")
}

pub fn number(text: &str) -> Decimal {
    text.parse().expect("a number")
}

pub fn day(date: &str) -> NaiveDate {
    date.parse().expect("a date")
}

pub fn london() -> payer::Address {
    payer::Address { country: "GB".into(), city: "London".into(), ..payer::Address::default() }
}

pub fn payer_snapshot() -> payer::PayerSnapshot {
    let payer: PayerId = id("ada");
    payer::PayerSnapshot {
        payer,
        kind: payer::PayerKind::Individual,
        name: "Ada Byron".into(),
        address: payer::PrintedAddress { country: "GB".into(), city: "London".into(), ..Default::default() },
        tax_number: None,
    }
}
