//! The calendar of the ledger: how moments and days are written, and the years in which something is recorded.
//!
//! Whatever reads a moment or a day reads it here, so that the writer takes nothing that PostgreSQL, a projection or an
//! export cannot hold.

use std::ops::RangeInclusive;

use chrono::{DateTime, Datelike, NaiveDate, SubsecRound, Timelike, Utc};
use thiserror::Error;

/// The years of everything that is recorded. A day of them lies in a year of four digits in every time zone, which is what
/// all exports can write; an earlier year is a slip of the pen.
pub const RECORDED_YEARS: RangeInclusive<i32> = 1900..=9998;

/// The years that a reader can ask about. Books of earlier versions hold moments of any of them.
const ASKED_YEARS: RangeInclusive<i32> = 1..=9999;

const NANOSECONDS_OF_A_SECOND: u32 = 1_000_000_000;

/// Why a text is not a moment, or not a day.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CalendarError {
    #[error("it is no moment as RFC 3339 has it, such as `2026-04-11T00:00:00Z`")]
    NotAMoment,
    #[error("a minute has the seconds 00 to 59: a leap second cannot be kept, write the second before it or after it")]
    LeapSecond,
    #[error("it is no day as `YYYY-MM-DD` has it, such as `2026-04-11`")]
    NotADay,
    #[error("a year lies between {first} and {last}")]
    OutOfRange { first: i32, last: i32 },
}

/// A moment that is asked about, in whole microseconds, as everything in the book.
pub fn moment(text: &str) -> Result<DateTime<Utc>, CalendarError> {
    let moment = DateTime::parse_from_rfc3339(text).map_err(|_| CalendarError::NotAMoment)?.to_utc();
    // The library keeps a second 60 as a second of two, which nothing else can compare with other moments.
    if moment.nanosecond() >= NANOSECONDS_OF_A_SECOND {
        return Err(CalendarError::LeapSecond);
    }
    within(&ASKED_YEARS, moment.year())?;
    Ok(moment.trunc_subsecs(6))
}

/// A day that is asked about.
pub fn day(text: &str) -> Result<NaiveDate, CalendarError> {
    let has_shape = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
    let day = text.parse::<NaiveDate>().ok().filter(|_| has_shape).ok_or(CalendarError::NotADay)?;
    within(&ASKED_YEARS, day.year())?;
    Ok(day)
}

/// A moment that is to be recorded.
pub fn recorded_moment(text: &str) -> Result<DateTime<Utc>, CalendarError> {
    let moment = moment(text)?;
    within(&RECORDED_YEARS, moment.year())?;
    Ok(moment)
}

/// A day that is to be recorded.
pub fn recorded_day(text: &str) -> Result<NaiveDate, CalendarError> {
    let day = day(text)?;
    within(&RECORDED_YEARS, day.year())?;
    Ok(day)
}

/// A moment that PostgreSQL, the program and all exports read as the same one: to the microsecond, and in no second 60.
pub fn is_recordable(moment: DateTime<Utc>) -> bool {
    RECORDED_YEARS.contains(&moment.year())
        && moment.nanosecond() < NANOSECONDS_OF_A_SECOND
        && moment.nanosecond().is_multiple_of(1_000)
}

fn within(years: &RangeInclusive<i32>, year: i32) -> Result<(), CalendarError> {
    let (first, last) = (*years.start(), *years.end());
    if years.contains(&year) { Ok(()) } else { Err(CalendarError::OutOfRange { first, last }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_in_whole_microseconds_of_utc() {
        let read = moment("2026-06-30T23:59:59.123456789+02:00").expect("a moment");
        assert_eq!(read.to_rfc3339(), "2026-06-30T21:59:59.123456+00:00");
    }

    #[test]
    fn a_second_60_is_refused_wherever_it_stands() {
        for text in [
            "2026-06-30T23:59:60Z",
            "2016-12-31T23:59:60Z",
            "2026-06-30T23:59:60.5Z",
            "2026-06-30T12:00:60Z",
            "2026-07-01T01:59:60+02:00",
        ] {
            assert_eq!(moment(text), Err(CalendarError::LeapSecond), "{text}");
        }
        assert_eq!(moment("2026-06-30T23:59:61Z"), Err(CalendarError::NotAMoment));
    }

    #[test]
    fn a_moment_that_is_written_in_another_way_is_refused() {
        for text in ["", "2026-04-11", "2026-04-11T00:00:00", "2026-4-11T0:0:0Z", "+12026-04-11T00:00:00Z", " 2026"] {
            assert_eq!(moment(text), Err(CalendarError::NotAMoment), "{text}");
        }
    }

    #[test]
    fn a_day_is_written_with_four_two_and_two_digits() {
        assert_eq!(day("2024-02-29"), Ok(NaiveDate::from_ymd_opt(2024, 2, 29).expect("a day")));
        for text in ["", "2026-1-1", "2026-01-1 ", " 2026-1-1", "+2026-1-01", "2026-02-30", "2026/01/01", "20260-1-1"] {
            assert_eq!(day(text), Err(CalendarError::NotADay), "{text}");
        }
    }

    #[test]
    fn a_year_that_not_everything_can_hold_is_refused() {
        let out_of_range = |first, last| Some(CalendarError::OutOfRange { first, last });
        assert_eq!(moment("0000-12-31T23:59:59Z").err(), out_of_range(1, 9999));
        assert_eq!(moment("9999-12-31T23:59:59-01:00").err(), out_of_range(1, 9999));
        assert_eq!(day("0000-12-31").err(), out_of_range(1, 9999));
        assert!(moment("0001-01-01T00:00:00Z").is_ok() && day("9999-12-31").is_ok());
        for text in ["0001-01-01", "1899-12-31", "9999-01-01"] {
            assert_eq!(recorded_day(text).err(), out_of_range(1900, 9998), "{text}");
            assert_eq!(recorded_moment(&format!("{text}T00:00:00Z")).err(), out_of_range(1900, 9998), "{text}");
        }
        assert!(recorded_day("1900-01-01").is_ok() && recorded_moment("9998-12-31T23:59:59Z").is_ok());
    }

    #[test]
    fn moments_that_something_reads_as_others_are_not_recorded() {
        let moment = |text: &str| text.parse::<DateTime<Utc>>().expect("a moment");
        assert!(is_recordable(moment("2026-06-30T23:59:59.999999Z")));
        for odd in
            ["2026-06-30T23:59:60Z", "2026-06-30T23:59:59.9999999Z", "+10000-01-01T00:00:00Z", "1899-12-31T23:59:59Z"]
        {
            assert!(!is_recordable(moment(odd)), "{odd}");
        }
    }
}
