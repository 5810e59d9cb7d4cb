//! A table as RFC 4180 has it. Texts are quoted, and none of them is a formula; numbers stay numbers.

use daybook_core::spreadsheet::cell;
use serde_json::Value;

use crate::http::columns::{Cell, Column};

pub const CONTENT_TYPE: &str = "text/csv; charset=utf-8; header=present";

/// The names of the columns.
pub fn head(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    names.join(",") + "\r\n"
}

/// Adds a line for each row.
pub fn write(rows: &[Value], columns: &[Column], to: &mut String) {
    for row in rows {
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
        to.push_str("\r\n");
    }
}
