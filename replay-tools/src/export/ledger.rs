//! The journal for ledger-cli. It checks each assertion in the order of the file, which is the order of days.

use std::io::{self, Write};

use chrono::NaiveDate;

use super::{Book, Declared, Format, Posting, Transaction, journal};

pub(super) struct Ledger;

impl Format for Ledger {
    fn begin(&self, out: &mut dyn Write, book: &Book) -> io::Result<()> {
        writeln!(out, "; The book as known at position {}", book.position)?;
        writeln!(out, "; Check it by `ledger --pedantic balance`\n")?;
        for (currency, decimals) in &book.currencies {
            // Assertions are checked as exactly as amounts are shown.
            let pattern = journal::pattern(*currency, *decimals).replace(". ", " ");
            writeln!(out, "commodity {currency}\n    format {pattern}")?;
        }
        journal::tags(out)
    }

    fn account(&self, out: &mut dyn Write, account: &Declared) -> io::Result<()> {
        writeln!(out, "account {}", journal::account_name(&account.account))?;
        let ledger_account = account.account.ledger_account();
        match &account.name {
            Some(name) => writeln!(out, "    note {ledger_account}: {}", journal::harmless(name)),
            None => writeln!(out, "    note {ledger_account}"),
        }
    }

    fn transaction(&self, out: &mut dyn Write, transaction: &Transaction) -> io::Result<()> {
        journal::transaction(out, transaction)
    }

    fn closing(&self, out: &mut dyn Write, on: NaiveDate, line: &Posting) -> io::Result<()> {
        journal::closing(out, on, line)
    }
}
