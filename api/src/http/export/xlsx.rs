//! A table as a workbook for spreadsheets. Numbers, days and moments are what they are there; a text is a text, whatever it
//! begins with.
//!
//! A spreadsheet computes with 15 digits and keeps no more than milliseconds of a moment. A number with more digits is
//! written as a text, so that none of them is lost.

use std::{
    fs::File,
    io::{self, BufWriter},
};

use chrono::{DateTime, Datelike, Timelike};
use rust_xlsxwriter::{ExcelDateTime, Format, Workbook, Worksheet, XlsxError};
use serde_json::Value;

use crate::http::{
    columns::{Cell, Column},
    error::ApiError,
    export::{Rows, unwritten},
};

/// So many digits of a number a spreadsheet keeps.
const DIGITS: usize = 15;

/// So many lines a sheet has at most, the head among them.
const LINES: u32 = 1_048_576;

/// Writes the rows that are handed over.
pub fn write(columns: &[Column], mut rows: Rows) -> Result<File, ApiError> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet_with_constant_memory().map_err(failed)?;
    let mut writing = Writing { day: Format::new(), moment: Format::new(), columns, sheet, line: 0 };
    writing.day = writing.day.set_num_format("yyyy-mm-dd");
    writing.moment = writing.moment.set_num_format("yyyy-mm-dd hh:mm:ss.000");
    writing.head().map_err(failed)?;
    while let Some(rows) = rows.next()? {
        for row in rows {
            if writing.line == LINES {
                return Err(too_many());
            }
            writing.row(&row)?;
        }
    }
    kept(&mut book).map_err(unwritten)
}

fn kept(book: &mut Workbook) -> io::Result<File> {
    let mut file = BufWriter::new(tempfile::tempfile()?);
    book.save_to_writer(&mut file).map_err(io::Error::other)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)
}

fn too_many() -> ApiError {
    let detail = format!("a sheet has at most {} rows; ask for less, or for `text/csv`", LINES - 1);
    ApiError::new("read-too-long", detail)
}

fn failed(error: XlsxError) -> ApiError {
    unwritten(io::Error::other(error))
}

fn too_large(column: &Column, row: &Value) -> ApiError {
    let (column, of) = (&column.name, row["id"].as_str().unwrap_or_default());
    let detail =
        format!("`{column}` of `{of}` has more than the 32,767 characters of a cell in a workbook; ask for `text/csv`");
    ApiError::new("read-too-long", detail)
}

struct Writing<'a> {
    day: Format,
    moment: Format,
    columns: &'a [Column],
    sheet: &'a mut Worksheet,
    line: u32,
}

impl Writing<'_> {
    fn head(&mut self) -> Result<(), XlsxError> {
        for (column, at) in self.columns.iter().zip(0..) {
            self.sheet.write_string(self.line, at, &*column.name)?;
        }
        self.line += 1;
        Ok(())
    }

    fn row(&mut self, row: &Value) -> Result<(), ApiError> {
        for (column, at) in self.columns.iter().zip(0..) {
            self.cell(at, column.cell(row)).map_err(|error| match error {
                XlsxError::MaxStringLengthExceeded => too_large(column, row),
                error => failed(error),
            })?;
        }
        self.line += 1;
        Ok(())
    }

    fn cell(&mut self, at: u16, cell: Cell) -> Result<(), XlsxError> {
        match cell {
            Cell::Empty => {}
            Cell::Text(text) => drop(self.sheet.write_string(self.line, at, text)?),
            Cell::Truth(truth) => drop(self.sheet.write_boolean(self.line, at, truth)?),
            Cell::Number(number) => match exact(&number) {
                Some(exact) => drop(self.sheet.write_number(self.line, at, exact)?),
                None => drop(self.sheet.write_string(self.line, at, number)?),
            },
            Cell::Day(day) => {
                let day = ExcelDateTime::parse_from_str(&day)?;
                self.sheet.write_datetime_with_format(self.line, at, day, &self.day)?;
            }
            Cell::Moment(moment) => match milliseconds(&moment)? {
                Some(moment) => drop(self.sheet.write_datetime_with_format(self.line, at, moment, &self.moment)?),
                None => drop(self.sheet.write_string(self.line, at, moment)?),
            },
        }
        Ok(())
    }
}

/// The moment without what is smaller than a millisecond, which a spreadsheet would round.
fn milliseconds(moment: &str) -> Result<Option<ExcelDateTime>, XlsxError> {
    let Ok(moment) = DateTime::parse_from_rfc3339(moment) else { return Ok(None) };
    let moment = moment.naive_utc();
    let part = |part: u32| u8::try_from(part).expect("months, days, hours and minutes are small");
    let Ok(year) = u16::try_from(moment.year()) else { return Ok(None) };
    let day = ExcelDateTime::from_ymd(year, part(moment.month()), part(moment.day()))?;
    let millisecond = u16::try_from(moment.nanosecond() / 1_000_000).expect("there are a thousand of them");
    let hour = u16::from(part(moment.hour()));
    day.and_hms_milli(hour, part(moment.minute()), part(moment.second()), millisecond).map(Some)
}

/// The number as a spreadsheet computes with it, unless it would lose digits.
fn exact(number: &str) -> Option<f64> {
    let kept = if number.contains('.') { number.trim_end_matches('0') } else { number };
    let digits = kept.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0').count();
    number.parse().ok().filter(|_| digits <= DIGITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_one_as_long_as_a_spreadsheet_keeps_its_digits() {
        assert_eq!(exact("-12.00"), Some(-12.0));
        assert_eq!(exact("0.000000000000001"), Some(1e-15));
        assert_eq!(exact("123456789012345"), Some(123_456_789_012_345.0));
        assert_eq!(exact("10000000000000.00"), Some(1e13));
        assert_eq!(exact("1234567890123456"), None);
        assert_eq!(exact("12345678901234.05"), None);
    }

    #[test]
    fn a_moment_is_one_up_to_the_last_microsecond_of_a_minute() {
        let written = |moment: &str| milliseconds(moment).expect(moment).expect(moment).to_excel();
        let last = written("2026-01-01T23:59:59.999999Z");
        assert_eq!(last, written("2026-01-01T23:59:59.999Z"));
        assert!(written("2026-01-01T23:59:59.998Z") < last && last < written("2026-01-02T00:00:00Z"));
    }
}
