//! A table as RFC 4180 has it. Texts are quoted, and none of them is a formula; numbers stay numbers.

use std::{
    fs::File,
    io::{BufWriter, Write},
};

use daybook_core::spreadsheet::cell;
use serde_json::Value;

use crate::http::{
    columns::{Cell, Column},
    error::ApiError,
    export::{Rows, unwritten},
};

pub const CONTENT_TYPE: &str = "text/csv; charset=utf-8; header=present";

/// Writes the rows that are handed over.
pub fn write(columns: &[Column], mut rows: Rows) -> Result<File, ApiError> {
    let mut file = BufWriter::new(tempfile::tempfile().map_err(unwritten)?);
    let mut lines = head(columns);
    loop {
        file.write_all(lines.as_bytes()).map_err(unwritten)?;
        lines.clear();
        match rows.next()? {
            Some(rows) => add(&rows, columns, &mut lines),
            None => return file.into_inner().map_err(|error| unwritten(error.into_error())),
        }
    }
}

/// The names of the columns.
fn head(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    names.join(",") + "\r\n"
}

/// Adds a line for each row. A line of nothing would be no row in the eyes of most programs.
fn add(rows: &[Value], columns: &[Column], to: &mut String) {
    for row in rows {
        let begun = to.len();
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                to.push(',');
            }
            match column.cell(row) {
                Cell::Empty => {}
                Cell::Text(text) => to.push_str(&cell(&text)),
                Cell::Truth(truth) => to.push_str(if truth { "true" } else { "false" }),
                Cell::Number(plain) | Cell::Day(plain) | Cell::Moment(plain) => to.push_str(&plain),
            }
        }
        if to.len() == begun {
            to.push_str("\"\"");
        }
        to.push_str("\r\n");
    }
}
