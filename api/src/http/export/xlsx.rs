//! A table as a workbook for spreadsheets. Numbers, days and moments are what they are there; a text is a text, whatever it
//! begins with.
//!
//! A spreadsheet computes with 15 digits and keeps no more than milliseconds of a moment. A number with more digits is
//! written as a text, so that none of them is lost.

use std::{
    fs::File,
    io::{self, BufWriter, Seek, Write},
};

use rust_xlsxwriter::{ExcelDateTime, Format, Workbook, Worksheet, XlsxError};
use serde_json::Value;
use tokio::sync::mpsc::Receiver;

use crate::http::{
    columns::{Cell, Column},
    error::ApiError,
};

/// So many digits of a number a spreadsheet keeps.
const DIGITS: usize = 15;

/// So many lines a sheet has at most, the head among them.
const LINES: u32 = 1_048_576;

/// Writes the rows that are handed over into a file without a name; answers with it, at its beginning, and its length.
pub fn write(columns: &[Column], mut rows: Receiver<Vec<Value>>) -> Result<(File, u64), ApiError> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet_with_constant_memory().map_err(unwritten)?;
    let mut writing = Writing { day: Format::new(), moment: Format::new(), columns, sheet, line: 0 };
    writing.day = writing.day.set_num_format("yyyy-mm-dd");
    writing.moment = writing.moment.set_num_format("yyyy-mm-dd hh:mm:ss.000");
    writing.head().map_err(unwritten)?;
    while let Some(rows) = rows.blocking_recv() {
        for row in rows {
            if writing.line == LINES {
                return Err(too_many());
            }
            writing.row(&row).map_err(unwritten)?;
        }
    }
    kept(&mut book).map_err(|error| {
        tracing::error!(%error, "a workbook cannot be written");
        ApiError::new("internal", "the workbook cannot be written")
    })
}

fn kept(book: &mut Workbook) -> io::Result<(File, u64)> {
    let mut file = BufWriter::new(tempfile::tempfile()?);
    book.save_to_writer(&mut file).map_err(io::Error::other)?;
    file.flush()?;
    let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

fn too_many() -> ApiError {
    let detail = format!("a sheet has at most {} rows; ask for less, or for `text/csv`", LINES - 1);
    ApiError::new("read-too-long", detail)
}

fn unwritten(error: XlsxError) -> ApiError {
    tracing::error!(%error, "a workbook cannot be written");
    ApiError::new("internal", "the workbook cannot be written")
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

    fn row(&mut self, row: &Value) -> Result<(), XlsxError> {
        for (column, at) in self.columns.iter().zip(0..) {
            match column.cell(row) {
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
                Cell::Moment(moment) => {
                    let moment = ExcelDateTime::parse_from_str(moment.trim_end_matches('Z'))?;
                    self.sheet.write_datetime_with_format(self.line, at, moment, &self.moment)?;
                }
            }
        }
        self.line += 1;
        Ok(())
    }
}

/// The number as a spreadsheet computes with it, unless it would lose digits.
fn exact(number: &str) -> Option<f64> {
    let digits = number.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0').count();
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
        assert_eq!(exact("1234567890123456"), None);
        assert_eq!(exact("12345678901234.05"), None);
    }
}
