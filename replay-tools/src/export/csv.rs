//! The journal as RFC 4180 has it: a row for each line, after the opening and before the closing balances.

use std::io::{self, Write};

use chrono::NaiveDate;
use daybook_core::spreadsheet::cell;

use super::{Book, Declared, Format, Posting, Transaction, exact, instant};

pub(super) struct Csv;

const COLUMNS: [&str; 17] = [
    "row",
    "date",
    "position",
    "ledger_account",
    "account",
    "amount",
    "balance",
    "currency",
    "description",
    "event",
    "aggregate",
    "entry",
    "origin",
    "origin_id",
    "occurred_at",
    "recorded_at",
    "correlation_id",
];

impl Format for Csv {
    fn begin(&self, out: &mut dyn Write, _: &Book) -> io::Result<()> {
        row(out, &COLUMNS.map(str::to_owned))
    }

    /// An account is a column.
    fn account(&self, _: &mut dyn Write, _: &Declared) -> io::Result<()> {
        Ok(())
    }

    fn transaction(&self, out: &mut dyn Write, transaction: &Transaction) -> io::Result<()> {
        let kind = if transaction.entry.is_some() { "line" } else { "opening" };
        transaction.postings.iter().try_for_each(|line| {
            let mut cells = money(kind, transaction.day, line);
            cells[8] = cell(&transaction.description);
            if let Some(entry) = &transaction.entry {
                cells[2] = entry.position.to_string();
                cells[9] = entry.event_type.clone();
                cells[10] = cell(&format!("{}/{}", entry.aggregate_type, entry.aggregate_id));
                cells[11] = entry.number.map(|number| number.to_string()).unwrap_or_default();
                cells[12] = entry.origin.clone().unwrap_or_default();
                cells[13] = cell(entry.origin_id.as_deref().unwrap_or_default());
                cells[14] = instant(entry.occurred_at);
                cells[15] = instant(entry.recorded_at);
                cells[16] = cell(entry.correlation_id.as_deref().unwrap_or_default());
            }
            row(out, &cells)
        })
    }

    fn closing(&self, out: &mut dyn Write, on: NaiveDate, line: &Posting) -> io::Result<()> {
        row(out, &money("closing", on, line))
    }
}

fn money(kind: &str, day: NaiveDate, line: &Posting) -> [String; 17] {
    let mut cells: [String; 17] = std::array::from_fn(|_| String::new());
    cells[0] = kind.into();
    cells[1] = day.to_string();
    cells[3] = line.account.ledger_account().into();
    cells[4] = line.account.wallet().unwrap_or_default().into();
    cells[5] = exact(line.amount, line.currency).to_string();
    cells[6] = exact(line.balance, line.currency).to_string();
    cells[7] = line.currency.code().into();
    cells
}

/// Texts are quoted; the other cells hold nothing that would have to be.
fn row(out: &mut dyn Write, cells: &[String; 17]) -> io::Result<()> {
    write!(out, "{}\r\n", cells.join(","))
}
