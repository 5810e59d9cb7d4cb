//! A statement as a table, as RFC 4180 has it, with the opening and the closing balance as the first and the last row.

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use daybook_core::spreadsheet::cell;

use super::StatementShown;
use crate::http::wire::Amount;

pub const CONTENT_TYPE: &str = "text/csv; charset=utf-8; header=present";

const COLUMNS: [&str; 15] = [
    "row",
    "entry",
    "position",
    "occurred_at",
    "dated_at",
    "recorded_at",
    "origin",
    "origin_id",
    "description",
    "amount",
    "balance",
    "currency",
    "due_on",
    "reverses",
    "reversed_by",
];

/// Texts are quoted; the other cells hold nothing that would have to be. The position in the closing row is the one that the statement is made at.
pub fn write(statement: &StatementShown) -> String {
    let mut table = String::new();
    let mut write = |cells: [String; 15]| {
        table.push_str(&cells.join(","));
        table.push_str("\r\n");
    };
    let currency = statement.currency();
    let balance_row = |row: &str, position: String, day: Option<NaiveDate>, balance: Amount| {
        let mut cells: [String; 15] = Default::default();
        cells[0] = row.into();
        cells[2] = position;
        cells[3] = day.map(|day| day.to_string()).unwrap_or_default();
        cells[10] = balance.0.amount().to_string();
        cells[11] = currency.into();
        cells
    };
    write(COLUMNS.map(str::to_owned));
    write(balance_row("opening", String::new(), statement.from, statement.opening));
    for line in &statement.lines {
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let entry = |entry: Option<i64>| entry.map(|entry| entry.to_string()).unwrap_or_default();
        write([
            "line".into(),
            line.entry.to_string(),
            line.position.to_string(),
            time(line.occurred_at),
            line.dated_at.map(time).unwrap_or_default(),
            time(line.recorded_at),
            line.origin.word.clone(),
            cell(line.origin.id.as_deref().unwrap_or_default()),
            cell(&line.description),
            line.amount.0.amount().to_string(),
            line.balance.0.amount().to_string(),
            currency.into(),
            line.due_on.map(|day| day.to_string()).unwrap_or_default(),
            entry(line.reverses),
            entry(line.reversed_by),
        ]);
    }
    write(balance_row("closing", statement.position.to_string(), statement.last_day(), statement.closing));
    table
}
