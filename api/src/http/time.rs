//! How moments and days look in JSON and in queries.

use chrono::{DateTime, NaiveDate, Utc};
use daybook_core::terms::calendar::{self, CalendarError, RECORDED_YEARS};
use serde::{Deserialize, Deserializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, RefOr, SchemaFormat,
        schema::{Schema, Type},
    },
};

use crate::http::wire::Text;

/// A moment that is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub DateTime<Utc>);

/// A day that is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(pub NaiveDate);

/// A moment that a query asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedTime(pub DateTime<Utc>);

/// A day that a query asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedDay(pub NaiveDate);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, "a moment as RFC 3339 has it", "invalid-value", calendar::recorded_moment).map(Self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, "a day, `YYYY-MM-DD`", "invalid-value", calendar::recorded_day).map(Self)
    }
}

impl<'de> Deserialize<'de> for AskedTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, "a moment as RFC 3339 has it", "malformed-parameter", asked_moment).map(Self)
    }
}

impl<'de> Deserialize<'de> for AskedDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, "a day, `YYYY-MM-DD`", "malformed-parameter", calendar::day).map(Self)
    }
}

fn read<'de, D: Deserializer<'de>, T, E: ToString>(
    deserializer: D,
    expecting: &'static str,
    code: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    deserializer.deserialize_str(Text::new(expecting, |text| parse(text).map_err(|error| (code, error.to_string()))))
}

/// A plus sign in a query reads as a space, unless it is escaped.
pub fn asked_moment(text: &str) -> Result<DateTime<Utc>, String> {
    calendar::moment(text).map_err(|error| match error {
        CalendarError::NotAMoment => format!("{error}; `+` is written `%2B` in an address"),
        _ => error.to_string(),
    })
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        let (first, last) = (RECORDED_YEARS.start(), RECORDED_YEARS.end());
        let text = format!("A moment as RFC 3339 has it, in the years {first} to {last}; a second is 00 to 59.");
        described(KnownFormat::DateTime, &moment_pattern(), &text)
    }
}

impl PartialSchema for Day {
    fn schema() -> RefOr<Schema> {
        let (first, last) = (RECORDED_YEARS.start(), RECORDED_YEARS.end());
        described(KnownFormat::Date, DAY, &format!("A day, `YYYY-MM-DD`, in the years {first} to {last}."))
    }
}

impl PartialSchema for AskedTime {
    fn schema() -> RefOr<Schema> {
        described(KnownFormat::DateTime, &moment_pattern(), "A moment as RFC 3339 has it; a second is 00 to 59.")
    }
}

impl PartialSchema for AskedDay {
    fn schema() -> RefOr<Schema> {
        described(KnownFormat::Date, DAY, "A day, `YYYY-MM-DD`.")
    }
}

fn described(format: KnownFormat, pattern: &str, text: &str) -> RefOr<Schema> {
    let (format, pattern) = (SchemaFormat::KnownFormat(format), format!("^{pattern}$"));
    let schema = ObjectBuilder::new().schema_type(Type::String).format(Some(format)).pattern(Some(pattern));
    schema.description(Some(text)).build().into()
}

/// How a day is written, in any year but the year 0.
const DAY: &str = r"(\d{3}[1-9]|\d{2}[1-9]\d|\d[1-9]\d{2}|[1-9]\d{3})-\d{2}-\d{2}";

/// How a moment is written.
pub fn moment_pattern() -> String {
    format!(r"{DAY}[Tt ]\d{{2}}:\d{{2}}:[0-5]\d(\.\d+)?([Zz]|[+-]\d{{2}}:\d{{2}})")
}

impl ToSchema for Time {}
impl ToSchema for Day {}
impl ToSchema for AskedTime {}
impl ToSchema for AskedDay {}
