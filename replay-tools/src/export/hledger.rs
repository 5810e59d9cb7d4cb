//! The journal for hledger. It checks each assertion in the order of days, and within a day in that of the file.

use std::io::{self, Write};

use chrono::NaiveDate;

use super::{Book, Declared, Format, Posting, Transaction, journal};

pub(super) struct Hledger;

impl Format for Hledger {
    fn begin(&self, out: &mut dyn Write, book: &Book) -> io::Result<()> {
        writeln!(out, "; The book as known at position {}", book.position)?;
        writeln!(out, "; Check it by `hledger check --strict`, in a UTF-8 locale\n")?;
        writeln!(out, "decimal-mark .")?;
        for (currency, decimals) in &book.currencies {
            writeln!(out, "commodity {}", journal::pattern(*currency, *decimals))?;
        }
        journal::tags(out)
    }

    fn account(&self, out: &mut dyn Write, account: &Declared) -> io::Result<()> {
        let (name, ledger_account) = (journal::account_name(&account.account), account.account.ledger_account());
        write!(out, "account {name}  ; ledger_account: {ledger_account}")?;
        if let Some(name) = &account.name {
            write!(out, ", name: {}", journal::harmless(name).replace(',', " "))?;
        }
        writeln!(out)
    }

    fn transaction(&self, out: &mut dyn Write, transaction: &Transaction) -> io::Result<()> {
        journal::transaction(out, transaction)
    }

    fn closing(&self, out: &mut dyn Write, on: NaiveDate, line: &Posting) -> io::Result<()> {
        journal::closing(out, on, line)
    }
}
