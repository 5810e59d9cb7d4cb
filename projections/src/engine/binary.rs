//! Rows in the binary format of COPY (<https://www.postgresql.org/docs/current/sql-copy.html>), in which PostgreSQL has no
//! texts of numbers and moments to take apart. Each value is laid out as the receive function of its type reads it.

use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime};

use super::text::Texts;

/// How the values of a type are laid out.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Boolean,
    Integer,
    Bigint,
    Numeric,
    Date,
    Moment,
    Text,
    Jsonb,
}

/// PostgreSQL counts days and microseconds from the beginning of the year 2000.
const EPOCH: NaiveDate = NaiveDate::from_ymd_opt(2000, 1, 1).expect("a day");

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Bit fields and the length of an extension of the header: there are none.
const FLAGS: [u8; 8] = [0; 8];

/// The whole of what a COPY takes; `None` where a value is of a type or a form that is not known here, so that PostgreSQL
/// reads it as text, or says what is wrong with it.
pub(super) fn of(rows: &Texts<'_>) -> Option<Vec<u8>> {
    let layouts: Vec<Layout> = rows.columns().iter().map(|column| Layout::of(&column.kind)).collect::<Option<_>>()?;
    let width = i16::try_from(layouts.len()).ok()?;
    let mut out = Vec::with_capacity(rows.length() + (2 + 12 * layouts.len()) * rows.rows());
    out.extend(SIGNATURE);
    out.extend(FLAGS);
    for row in 0..rows.rows() {
        out.extend(width.to_be_bytes());
        for (column, layout) in layouts.iter().enumerate() {
            // A length comes first, and a null is one of -1.
            let begin = out.len();
            out.extend((-1_i32).to_be_bytes());
            if let Some(value) = rows.value(row, column) {
                layout.write(value, &mut out)?;
                let length = i32::try_from(out.len() - begin - 4).ok()?;
                out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
            }
        }
    }
    out.extend((-1_i16).to_be_bytes());
    Some(out)
}

impl Layout {
    /// Of a type as PostgreSQL writes it.
    fn of(kind: &str) -> Option<Self> {
        Some(match kind {
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "bigint" => Self::Bigint,
            "numeric" => Self::Numeric,
            "date" => Self::Date,
            "timestamp with time zone" => Self::Moment,
            "text" => Self::Text,
            "jsonb" => Self::Jsonb,
            _ => return None,
        })
    }

    fn write(self, value: &str, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Boolean => out.push(parsed::<bool>(value)?.into()),
            Self::Integer => out.extend(parsed::<i32>(value)?.to_be_bytes()),
            Self::Bigint => out.extend(parsed::<i64>(value)?.to_be_bytes()),
            Self::Numeric => numeric(value, out)?,
            Self::Date => {
                let days = readable(parsed(value)?)?.signed_duration_since(EPOCH).num_days();
                out.extend(i32::try_from(days).ok()?.to_be_bytes());
            }
            Self::Moment => {
                let moment = DateTime::parse_from_rfc3339(value).ok()?.naive_utc();
                let since = readable(moment.date())?.and_time(moment.time()) - EPOCH.and_time(NaiveTime::MIN);
                // Finer than a microsecond PostgreSQL would round.
                if since.subsec_nanos() % 1_000 != 0 {
                    return None;
                }
                out.extend(since.num_microseconds()?.to_be_bytes());
            }
            Self::Text => out.extend(value.as_bytes()),
            Self::Jsonb => {
                // The version of the format.
                out.push(1);
                out.extend(value.as_bytes());
            }
        }
        Some(())
    }
}

fn parsed<T: FromStr>(value: &str) -> Option<T> {
    value.parse().ok()
}

/// A day as PostgreSQL reads it, too: of other years it takes no text, so that such a row could not be found again.
fn readable(day: NaiveDate) -> Option<NaiveDate> {
    (1..=9999).contains(&day.year()).then_some(day)
}

/// Groups of four digits on both sides of the point, after their number, the power of 10,000 that the first one stands for,
/// the sign and the digits after the point. PostgreSQL strips groups that are zero by itself.
fn numeric(value: &str, out: &mut Vec<u8>) -> Option<()> {
    let (sign, plain) = value.strip_prefix('-').map_or((0_i16, value), |plain| (0x4000, plain));
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let (before, after) = (whole.len().div_ceil(4), fraction.len().div_ceil(4));
    let header =
        [(before + after).try_into().ok()?, i16::try_from(before).ok()? - 1, sign, fraction.len().try_into().ok()?];
    out.extend(header.iter().flat_map(|part| part.to_be_bytes()));
    let number = |digits: &[u8]| digits.iter().fold(0_i16, |number, digit| 10 * number + i16::from(digit - b'0'));
    out.extend(whole.as_bytes().rchunks(4).rev().flat_map(|digits| number(digits).to_be_bytes()));
    let missing = |digits: &[u8]| 10_i16.pow(4 - digits.len() as u32);
    out.extend(fraction.as_bytes().chunks(4).flat_map(|digits| (number(digits) * missing(digits)).to_be_bytes()));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::copy::Column;

    /// Of a value in a column of this type what follows its length.
    fn bytes(kind: &str, value: &str) -> Option<Vec<u8>> {
        let column = Column { name: "value".into(), kind: kind.into() };
        let all = of(&Texts::of([&value.to_owned()], vec![&column]))?;
        let (begin, end) = (SIGNATURE.len() + FLAGS.len() + 2 + 4, all.len() - 2);
        Some(all[begin..end].to_vec())
    }

    fn numeric_of(parts: [i16; 4], groups: &[i16]) -> Option<Vec<u8>> {
        Some(parts.iter().chain(groups).flat_map(|part| part.to_be_bytes()).collect())
    }

    #[test]
    fn numbers_keep_their_digits_after_the_point() {
        assert_eq!(bytes("numeric", "10000"), numeric_of([2, 1, 0, 0], &[1, 0]));
        assert_eq!(bytes("numeric", "0.00"), numeric_of([2, 0, 0, 2], &[0, 0]));
        assert_eq!(bytes("numeric", "-12345.678"), numeric_of([3, 1, 0x4000, 3], &[1, 2345, 6780]));
        assert_eq!(bytes("numeric", "0.00012345"), numeric_of([3, 0, 0, 8], &[0, 1, 2345]));
    }

    #[test]
    fn days_and_moments_are_counted_from_the_year_2000() {
        assert_eq!(bytes("date", "1999-12-31"), Some((-1_i32).to_be_bytes().into()));
        let moment = "timestamp with time zone";
        assert_eq!(bytes(moment, "2000-01-01T00:00:01.000002Z"), Some(1_000_002_i64.to_be_bytes().into()));
        assert_eq!(bytes(moment, "1999-12-31T23:59:59.999999Z"), Some((-1_i64).to_be_bytes().into()));
    }

    #[test]
    fn what_is_not_known_is_left_to_postgresql() {
        let moment = "timestamp with time zone";
        for (kind, value) in [
            ("numeric(10,2)", "1"),
            ("character varying", "a"),
            ("numeric", "1e5"),
            ("numeric", "NaN"),
            ("numeric", ""),
            ("numeric", "-"),
            ("integer", "2147483648"),
            ("bigint", "1.0"),
            ("boolean", "t"),
            ("date", "0000-06-01"),
            ("date", "-0001-01-01"),
            ("date", "+10000-01-01"),
            (moment, "0000-06-01T00:00:00Z"),
            (moment, "+10000-01-01T00:00:00Z"),
            (moment, "2026-11-27T00:00:00.0000001Z"),
        ] {
            assert_eq!(bytes(kind, value), None, "{kind} {value}");
        }
        for (kind, value) in [
            ("boolean", "true"),
            ("integer", "-2147483648"),
            ("bigint", "9223372036854775807"),
            ("text", ""),
            ("jsonb", "{}"),
            (moment, "9999-12-31T23:59:59.999999Z"),
        ] {
            assert!(bytes(kind, value).is_some(), "{kind} {value}");
        }
    }
}
