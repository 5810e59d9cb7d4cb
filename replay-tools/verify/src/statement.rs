//! A customer's statement with proofs: the log says, signed, how many entries the account has and what they come to;
//! every entry of the account follows, each with the proof that it is in the log.
//!
//! What it proves. Each entry is in the log whose root is signed. None is missing among them: their numbers are
//! 1, 2, 3 … without a gap, and each balance follows from the one before. That the last of them is the last there is
//! stands in the signed header, and only there: a log that hides the newest entries signs a false number, and that
//! signature is the evidence against it.

use std::{collections::HashMap, io::BufRead};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tlog_tiles::Hash;

use crate::{
    checkpoint::Checkpoint,
    event::LogEvent,
    lines::{self, Lines, Refused},
    note::{self, PublicKey, SigningKey},
    tree,
};

/// The first line of what is signed. A checkpoint begins with the origin of a log, so that neither passes for the other.
pub const FORMAT: &str = "daybook/statement/1";

/// What the log says of the account, and signs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    pub account: String,
    pub currency: String,
    /// The first moment of the period; from the beginning, unless it is told.
    pub from: Option<DateTime<Utc>>,
    /// The moment after the period; to the end, unless it is told.
    pub to: Option<DateTime<Utc>>,
    /// The number of the account's last entry in a log of this size.
    pub entries: u64,
    /// What the entries come to that took effect before the period, and before its end.
    pub opening: Decimal,
    pub closing: Decimal,
    /// Events in the log, and the root of its tree.
    pub size: u64,
    #[serde(with = "crate::lines::hash")]
    pub root: Hash,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    /// A signed note.
    Statement(String),
    Entry(ProvenEntry),
}

/// An event that is an entry of the account, and the way from its leaf to the root.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenEntry {
    pub event: LogEvent<'static>,
    #[serde(with = "crate::lines::hashes")]
    pub proof: Vec<Hash>,
}

/// The part of an account's event that a statement is about.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Movement {
    Credited(Entry),
    Charged(Entry),
}

#[derive(Debug, Deserialize)]
struct Entry {
    entry: u64,
    amount: Amount,
    balance: Amount,
}

#[derive(Debug, Deserialize)]
struct Amount {
    amount: Decimal,
    currency: String,
}

/// The events that are entries of an account, by type and version. What is not listed here cannot be judged.
const ENTRIES: [(&str, &str); 2] = [("account.credited", "1.0"), ("account.charged", "1.0")];

/// Whether an event is an entry of an account.
pub fn is_entry(event_type: &str) -> bool {
    ENTRIES.iter().any(|(entry, _)| *entry == event_type)
}

/// What the entries of an account come to, as they are added up.
#[derive(Clone, Debug)]
pub struct Sums {
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    entries: u64,
    balance: Decimal,
    opening: Decimal,
    closing: Decimal,
    currency: String,
    position: u64,
}

impl Sums {
    /// `zero` is written with the decimals of the currency.
    pub fn new(currency: &str, zero: Decimal, from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> Self {
        let (balance, opening, closing) = (zero, zero, zero);
        Self { from, to, entries: 0, balance, opening, closing, currency: currency.into(), position: 0 }
    }

    /// Adds the next entry. Its number and its balance must follow from what came before.
    pub fn add(&mut self, event: &LogEvent<'_>) -> Result<(), String> {
        if !ENTRIES.contains(&(&*event.event_type, &*event.event_version)) {
            let (event_type, version) = (&event.event_type, &event.event_version);
            return Err(format!("an event `{event_type}` of version {version} is not an entry that can be judged"));
        }
        let movement: Movement =
            serde_json::from_str(&event.payload).map_err(|error| format!("the entry cannot be read ({error})"))?;
        let (entry, change) = match &movement {
            Movement::Credited(entry) => (entry, entry.amount.amount),
            Movement::Charged(entry) => (entry, -entry.amount.amount),
        };
        let due = self.entries + 1;
        if entry.entry != due || event.position <= self.position {
            return Err(format!("entry {} stands where entry {due} is due", entry.entry));
        }
        if [&entry.amount.currency, &entry.balance.currency].iter().any(|currency| **currency != self.currency) {
            return Err(format!("entry {due} is not in {}", self.currency));
        }
        let sum = |sum: Decimal| sum.checked_add(change).ok_or("the amounts are too large");
        let balance = sum(self.balance)?;
        if entry.balance.amount != balance {
            return Err(format!("entry {due} says {}, but the entries lead to {balance}", entry.balance.amount));
        }
        let occurred_at = occurred_at(event)?;
        if self.from.is_some_and(|from| occurred_at < from) {
            self.opening = sum(self.opening)?;
        }
        if self.to.is_none_or(|to| occurred_at < to) {
            self.closing = sum(self.closing)?;
        }
        (self.entries, self.balance, self.position) = (due, balance, event.position);
        Ok(())
    }

    pub fn summary(self, account: &str, checkpoint: &Checkpoint) -> Summary {
        let Self { from, to, entries, opening, closing, currency, .. } = self;
        let (size, root) = (checkpoint.size, checkpoint.root);
        Summary { account: account.into(), currency, from, to, entries, opening, closing, size, root }
    }
}

/// When an event took effect; one that does not say took effect when it was recorded.
fn occurred_at(event: &LogEvent<'_>) -> Result<DateTime<Utc>, String> {
    let metadata: HashMap<String, String> = serde_json::from_str(&event.metadata).unwrap_or_default();
    let told = metadata.get("occurred_at").and_then(|time| time.parse().ok());
    told.or_else(|| DateTime::from_timestamp_micros(event.recorded_at_us)).ok_or_else(|| "it has no time".into())
}

/// The first line of the file, signed.
pub fn header(summary: &Summary, key: &SigningKey) -> impl Serialize + use<> {
    let summary = serde_json::to_string(summary).expect("a summary is JSON");
    Line::Statement(key.sign(&format!("{FORMAT}\n{summary}\n")))
}

pub fn entry(event: LogEvent<'static>, proof: Vec<Hash>) -> impl Serialize {
    Line::Entry(ProvenEntry { event, proof })
}

/// Reads a whole statement. With a checkpoint of the reader's own, the statement must be of that very tree.
pub fn verify(reader: impl BufRead, key: &PublicKey, checkpoint: Option<&Checkpoint>) -> Result<Summary, Refused> {
    let mut lines = Lines::new(reader);
    let Line::Statement(signed) = lines.read("the header of a statement")? else {
        return Err(lines.refuse("this is not the header of a statement".into()));
    };
    let summary = open(&signed, key).map_err(|reason| lines.refuse(reason))?;
    if checkpoint.is_some_and(|known| (known.size, known.root) != (summary.size, summary.root)) {
        return Err(lines.refuse(format!("the statement is of another tree, of {} events", summary.size)));
    }
    let mut sums = Sums::new(&summary.currency, Decimal::ZERO, summary.from, summary.to);
    for number in 1..=summary.entries {
        let Line::Entry(ProvenEntry { event, proof }) = lines.read(&format!("entry {number}"))? else {
            return Err(lines.refuse(format!("entry {number} is due here")));
        };
        if (&*event.aggregate_type, &*event.aggregate_id) != ("account", &*summary.account) {
            return Err(lines.refuse("this is an event of another account".into()));
        }
        sums.add(&event).map_err(|reason| lines.refuse(reason))?;
        let index = event.position.wrapping_sub(1);
        if !tree::includes(&proof, summary.size, summary.root, index, event.leaf()) {
            return Err(lines.refuse(format!("the proof does not lead from event {} to the root", event.position)));
        }
    }
    lines.end()?;
    if (sums.opening, sums.closing) != (summary.opening, summary.closing) {
        let (opening, closing) = (sums.opening, sums.closing);
        let reason = format!("the entries lead from {opening} to {closing}, but the header says otherwise");
        return Err(Refused::Line { line: 1, reason });
    }
    Ok(summary)
}

fn open(signed: &str, key: &PublicKey) -> Result<Summary, String> {
    let text = note::open_alone(signed.as_bytes(), key).map_err(|error| error.to_string())?;
    let (format, summary) = text.split_once('\n').unwrap_or_default();
    if format != FORMAT {
        return Err(format!("`{format}` is signed, and not a statement"));
    }
    lines::exactly(summary.trim_end_matches('\n').as_bytes())
}
