//! The journal for beancount, which checks balances at the beginning of days only: after each posting that is the
//! last of its account on its day follows what the account comes to on the next morning.
//!
//! No other amount stands in the file than those that beancount checks.

use std::io::{self, Write};

use chrono::{Days, NaiveDate};

use super::{Account, Book, Declared, Format, Posting, Transaction, exact, one_line};

pub(super) struct Beancount;

impl Format for Beancount {
    fn begin(&self, out: &mut dyn Write, book: &Book) -> io::Result<()> {
        writeln!(out, "; The book as known at position {}", book.position)?;
        writeln!(out, "; Check it by `bean-check`\n")?;
        writeln!(out, "option \"title\" \"Daybook\"")?;
        // Otherwise half of the last decimal is tolerated in a transaction, and all of it in a balance.
        writeln!(out, "option \"inferred_tolerance_multiplier\" \"0\"")?;
        writeln!(out, "option \"inferred_tolerance_default\" \"*:0\"")?;
        for (currency, _) in &book.currencies {
            writeln!(out, "option \"operating_currency\" \"{currency}\"")?;
        }
        for (currency, _) in &book.currencies {
            writeln!(out, "1970-01-01 commodity {currency}")?;
        }
        Ok(())
    }

    fn account(&self, out: &mut dyn Write, account: &Declared) -> io::Result<()> {
        let currencies: Vec<&str> = account.currencies.iter().map(|currency| currency.code()).collect();
        writeln!(out, "{} open {} {}", account.first_day, name(&account.account), currencies.join(","))?;
        writeln!(out, "  ledger_account: {}", quoted(account.account.ledger_account()))?;
        if let Some(wallet) = account.account.wallet() {
            writeln!(out, "  account: {}", quoted(wallet))?;
        }
        match &account.name {
            Some(name) => writeln!(out, "  name: {}", quoted(name)),
            None => Ok(()),
        }
    }

    fn transaction(&self, out: &mut dyn Write, transaction: &Transaction) -> io::Result<()> {
        let description = quoted(&transaction.description);
        match &transaction.entry {
            None => writeln!(out, "\n{} * {description}", transaction.day)?,
            Some(entry) => {
                writeln!(out, "\n{} * {description} ^position-{}", transaction.day, entry.position)?;
                for (name, value) in entry.tags() {
                    writeln!(out, "  {name}: {}", quoted(&value))?;
                }
            }
        }
        for line in &transaction.postings {
            let amount = exact(line.amount, line.currency);
            writeln!(out, "  {}  {amount} {}", name(&line.account), line.currency)?;
        }
        let last_of_day = transaction.postings.iter().filter(|line| line.last_of_day);
        last_of_day.into_iter().try_for_each(|line| balance(out, transaction.day, line))
    }

    fn closing(&self, out: &mut dyn Write, on: NaiveDate, line: &Posting) -> io::Result<()> {
        balance(out, on, line)
    }
}

/// At the end of a day is in the morning of the next.
fn balance(out: &mut dyn Write, at_the_end_of: NaiveDate, line: &Posting) -> io::Result<()> {
    let day = at_the_end_of.checked_add_days(Days::new(1)).unwrap_or(at_the_end_of);
    let amount = exact(line.balance, line.currency);
    writeln!(out, "{day} balance {}  {amount} {}", name(&line.account), line.currency)
}

/// Every part begins with a capital letter and has letters, digits and hyphens only.
fn name(account: &Account) -> String {
    let mut name = String::new();
    for part in account.path().split(':') {
        let (initial, rest) = part.split_at(1);
        name.extend([if name.is_empty() { "" } else { ":" }, &initial.to_ascii_uppercase(), rest]);
    }
    if let Some(wallet) = account.wallet() {
        // `acc_` is common to all; what else cannot stand there is written as a hyphen and a letter.
        name.push_str(":Acc-");
        for c in wallet.strip_prefix("acc_").unwrap_or(wallet).chars() {
            match c {
                '-' => name.push_str("--"),
                '_' => name.push_str("-u"),
                '.' => name.push_str("-d"),
                ':' => name.push_str("-c"),
                c => name.push(c),
            }
        }
    }
    name
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", one_line(text).replace('\\', "\\\\").replace('"', "\\\""))
}
