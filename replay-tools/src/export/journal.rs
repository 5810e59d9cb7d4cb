//! What hledger and ledger write alike: both read the plain text journal that ledger began.

use std::io::{self, Write};

use chrono::NaiveDate;
use daybook_core::domain::Currency;

use super::{Account, Posting, TAGS, Transaction, exact, one_line};

/// Both know a customer's account by its identifier. A colon would begin a sub-account.
pub(super) fn account_name(account: &Account) -> String {
    match account.wallet() {
        None => account.path().into(),
        Some(wallet) => format!("{}:{}", account.path(), wallet.replace(':', "/")),
    }
}

/// The characters of a text in a journal: ledger reads no line of more than 4,096 bytes.
const LONGEST: usize = 900;

/// A description ends where a comment begins, and hledger divides it at a bar. The book has the whole of a text that is
/// too long for a line.
pub(super) fn harmless(text: &str) -> String {
    let line = one_line(&text.replace(';', ",").replace('|', "/"));
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

pub(super) fn tags(out: &mut dyn Write) -> io::Result<()> {
    TAGS.iter().try_for_each(|tag| writeln!(out, "tag {tag}"))
}

/// The pattern of an amount with so many decimals. hledger wants to see the decimal point in any case.
pub(super) fn pattern(currency: Currency, decimals: u32) -> String {
    format!("1000.{} {currency}", "0".repeat(decimals as usize))
}

/// Its code is the position in the book.
pub(super) fn transaction(out: &mut dyn Write, transaction: &Transaction) -> io::Result<()> {
    let description = harmless(&transaction.description);
    match &transaction.entry {
        None => writeln!(out, "\n{} * {description}", transaction.day)?,
        Some(entry) => {
            writeln!(out, "\n{} * ({}) {description}", transaction.day, entry.position)?;
            for (name, value) in entry.tags() {
                writeln!(out, "    ; {name}: {}", harmless(&value))?;
            }
        }
    }
    transaction.postings.iter().try_for_each(|line| posting(out, line))
}

/// A transaction that moves nothing, and says what is there.
pub(super) fn closing(out: &mut dyn Write, on: NaiveDate, line: &Posting) -> io::Result<()> {
    writeln!(out, "\n{on} * closing balance")?;
    posting(out, line)
}

fn posting(out: &mut dyn Write, line: &Posting) -> io::Result<()> {
    let (amount, balance) = (exact(line.amount, line.currency), exact(line.balance, line.currency));
    let currency = line.currency;
    writeln!(out, "    {}  {amount} {currency} = {balance} {currency}", account_name(&line.account))
}
