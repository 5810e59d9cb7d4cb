//! A customer's statement with proofs: the log says, signed, how many entries the account has and what they come to;
//! every entry of the account follows, each with the proof that it is in the log.
//!
//! What it proves. Each entry is in the log whose root is signed. None is missing among them: their numbers are
//! 1, 2, 3 … without a gap, and each balance follows from the one before. That the last of them is the last there is
//! stands in the signed header, and only there: a log that hides the newest entries signs a false number, and that
//! signature is the evidence against it. An archive of the log shows it: see [`Statement::first_lacking`].

use std::io::BufRead;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tlog_tiles::Hash;

use daybook_log::{
    checkpoint::Checkpoint,
    event::LogEvent,
    lines::{self, Lines, Refused},
    note::{self, PublicKey, SigningKey},
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
    #[serde(with = "daybook_log::lines::hash")]
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
    #[serde(with = "daybook_log::lines::hashes")]
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

/// The entries of an account, as they come: each number and each balance must follow from the one before.
#[derive(Clone, Debug)]
pub struct Chain {
    entries: u64,
    balance: Decimal,
    currency: String,
    position: u64,
}

impl Chain {
    /// `zero` is written with the decimals of the currency.
    pub fn new(currency: &str, zero: Decimal) -> Self {
        Self { entries: 0, balance: zero, currency: currency.into(), position: 0 }
    }

    /// A chain in the currency of its first entry.
    pub fn of_first(event: &LogEvent<'_>) -> Result<Self, String> {
        let (entry, _) = Entry::read(event)?;
        Ok(Self::new(&entry.amount.currency, Decimal::ZERO))
    }

    /// Adds the next entry; answers with what it adds to the balance.
    pub fn add(&mut self, event: &LogEvent<'_>) -> Result<Decimal, String> {
        let (entry, change) = Entry::read(event)?;
        let due = self.entries + 1;
        if entry.entry != due || event.position <= self.position {
            return Err(format!("entry {} stands where entry {due} is due", entry.entry));
        }
        if [&entry.amount.currency, &entry.balance.currency].iter().any(|currency| **currency != self.currency) {
            return Err(format!("entry {due} is not in {}", self.currency));
        }
        let balance = sum(self.balance, change)?;
        if entry.balance.amount != balance {
            return Err(format!("entry {due} says {}, but the entries lead to {balance}", entry.balance.amount));
        }
        (self.entries, self.balance, self.position) = (due, balance, event.position);
        Ok(change)
    }
}

impl Entry {
    /// The entry that an event is, and what it adds to the balance.
    fn read(event: &LogEvent<'_>) -> Result<(Self, Decimal), String> {
        if !can_be_judged(event) {
            let (event_type, version) = (&event.event_type, &event.event_version);
            return Err(format!("an event `{event_type}` of version {version} is not an entry that can be judged"));
        }
        let movement: Movement =
            serde_json::from_str(&event.payload).map_err(|error| format!("the entry cannot be read ({error})"))?;
        let (event_type, change) = match &movement {
            Movement::Credited(entry) => ("account.credited", entry.amount.amount),
            Movement::Charged(entry) => ("account.charged", -entry.amount.amount),
        };
        if event.event_type != event_type {
            return Err(format!("the payload is that of an event `{event_type}`, and not `{}`", event.event_type));
        }
        let (Movement::Credited(entry) | Movement::Charged(entry)) = movement;
        Ok((entry, change))
    }
}

/// Whether an event is an entry of a version that is known here.
pub fn can_be_judged(event: &LogEvent<'_>) -> bool {
    ENTRIES.contains(&(&*event.event_type, &*event.event_version))
}

fn sum(sum: Decimal, change: Decimal) -> Result<Decimal, String> {
    sum.checked_add(change).ok_or_else(|| "the amounts are too large".into())
}

/// What the entries of an account come to in a period, as they are added up.
#[derive(Clone, Debug)]
pub struct Sums {
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    chain: Chain,
    opening: Decimal,
    closing: Decimal,
}

impl Sums {
    /// `zero` is written with the decimals of the currency.
    pub fn new(currency: &str, zero: Decimal, from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> Self {
        Self { from, to, chain: Chain::new(currency, zero), opening: zero, closing: zero }
    }

    /// Adds the next entry. Its number and its balance must follow from what came before.
    pub fn add(&mut self, event: &LogEvent<'_>) -> Result<(), String> {
        let change = self.chain.add(event)?;
        let occurred_at = occurred_at(event)?;
        if self.from.is_some_and(|from| occurred_at < from) {
            self.opening = sum(self.opening, change)?;
        }
        if self.to.is_none_or(|to| occurred_at < to) {
            self.closing = sum(self.closing, change)?;
        }
        Ok(())
    }

    pub fn summary(self, account: &str, checkpoint: &Checkpoint) -> Summary {
        let Self { from, to, chain: Chain { entries, currency, .. }, opening, closing } = self;
        let (size, root) = (checkpoint.size, checkpoint.root);
        Summary { account: account.into(), currency, from, to, entries, opening, closing, size, root }
    }
}

/// When an event took effect; one that does not say took effect when it was recorded. What cannot be read might say so,
/// too, and is refused.
fn occurred_at(event: &LogEvent<'_>) -> Result<DateTime<Utc>, String> {
    let metadata: Map<String, Value> =
        serde_json::from_str(&event.metadata).map_err(|error| format!("the metadata cannot be read ({error})"))?;
    match metadata.get("occurred_at") {
        Some(told) => {
            let time = told.as_str().and_then(|time| time.parse().ok());
            time.ok_or_else(|| format!("`occurred_at` in the metadata is {told}, which is not a time"))
        }
        None => DateTime::from_timestamp_micros(event.recorded_at_us).ok_or_else(|| "it has no time".into()),
    }
}

/// The first line of the file, signed.
pub fn header(summary: &Summary, key: &SigningKey) -> impl Serialize + use<> {
    let summary = serde_json::to_string(summary).expect("a summary is JSON");
    Line::Statement(key.sign(&format!("{FORMAT}\n{summary}\n")))
}

pub fn entry(event: LogEvent<'static>, proof: Vec<Hash>) -> impl Serialize {
    Line::Entry(ProvenEntry { event, proof })
}

/// A statement that holds in itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    pub summary: Summary,
    /// Where in the log its entries stand, in their order.
    pub positions: Vec<u64>,
}

impl Statement {
    /// Finds, in events of the log in their order, the first entry of the account that the statement lacks: the finder
    /// takes event after event, and tells it once it has been there.
    pub fn first_lacking(&self) -> impl FnMut(&LogEvent<'_>) -> Option<u64> {
        let Summary { account, size, .. } = &self.summary;
        let mut due = self.positions.iter();
        let mut lacking = None;
        move |event| {
            let of_account = event.aggregate_type == "account" && event.aggregate_id == **account;
            if lacking.is_none() && of_account && event.position <= *size && is_entry(&event.event_type) {
                lacking = (due.next() != Some(&event.position)).then_some(event.position);
            }
            lacking
        }
    }
}

/// Reads a whole statement. Whether its tree is the one that everybody is shown is for [`crate::outside`] to say.
pub fn verify(reader: impl BufRead, key: &PublicKey) -> Result<Statement, Refused> {
    let mut lines = Lines::new(reader);
    let Line::Statement(signed) = lines.read("the header of a statement")? else {
        return Err(lines.refuse("this is not the header of a statement".into()));
    };
    let summary = open(&signed, key).map_err(|reason| lines.refuse(reason))?;
    let mut positions = Vec::new();
    let mut sums = Sums::new(&summary.currency, Decimal::ZERO, summary.from, summary.to);
    for number in 1..=summary.entries {
        let Line::Entry(ProvenEntry { event, proof }) = lines.read(&format!("entry {number}"))? else {
            return Err(lines.refuse(format!("entry {number} is due here")));
        };
        if (&*event.aggregate_type, &*event.aggregate_id) != ("account", &*summary.account) {
            return Err(lines.refuse("this is an event of another account".into()));
        }
        sums.add(&event).map_err(|reason| lines.refuse(reason))?;
        if !event.is_in(&proof, summary.size, summary.root) {
            return Err(lines.refuse(format!("the proof does not lead from event {} to the root", event.position)));
        }
        positions.push(event.position);
    }
    lines.end()?;
    if (sums.opening, sums.closing) != (summary.opening, summary.closing) {
        let (opening, closing) = (sums.opening, sums.closing);
        let reason = format!("the entries lead from {opening} to {closing}, but the header says otherwise");
        return Err(Refused::Line { line: 1, reason });
    }
    Ok(Statement { summary, positions })
}

fn open(signed: &str, key: &PublicKey) -> Result<Summary, String> {
    let text = note::open_alone(signed.as_bytes(), key).map_err(|error| error.to_string())?;
    let (format, summary) = text.split_once('\n').unwrap_or_default();
    if format != FORMAT {
        return Err(format!("`{format}` is signed, and not a statement"));
    }
    lines::exactly(summary.trim_end_matches('\n').as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_log::tree::{self, TileBuilder, Tiles};

    use crate::fixtures::key;

    /// Entries that say this of themselves: number, amount and balance.
    fn events(entries: &[(u64, &str, &str)]) -> Vec<LogEvent<'static>> {
        let event = |(index, (entry, amount, balance)): (usize, &(u64, &str, &str))| {
            LogEvent {
            position: index as u64 + 1,
            aggregate_type: "account".into(),
            aggregate_id: "acc_1".into(),
            sequence: index as u64 + 2,
            event_type: "account.credited".into(),
            event_version: "1.0".into(),
            payload: format!(
                r#"{{"credited":{{"entry":{entry},"amount":{{"amount":"{amount}","currency":"USD"}},"balance":{{"amount":"{balance}","currency":"USD"}}}}}}"#
            )
            .into(),
            metadata: r#"{"occurred_at":"2026-07-01T00:00:00Z"}"#.into(),
            recorded_at_us: 0,
        }
        };
        entries.iter().enumerate().map(event).collect()
    }

    /// A statement whose header says that there are so many entries.
    fn statement(events: Vec<LogEvent<'static>>, entries: u64, closing: &str) -> Vec<u8> {
        let mut builder = TileBuilder::default();
        events.iter().for_each(|event| builder.push(event.leaf()));
        let (size, root, tiles) = (builder.size(), builder.root(), Tiles(builder.take_changed()));
        let summary = Summary {
            account: "acc_1".into(),
            currency: "USD".into(),
            from: None,
            to: None,
            entries,
            opening: Decimal::ZERO,
            closing: closing.parse().expect("an amount"),
            size,
            root,
        };
        let mut out = Vec::new();
        lines::write(&header(&summary, &key()), &mut out).expect("memory");
        for event in events {
            let proof = tree::prove_inclusion(&tiles, size, root, event.position - 1).expect("the tiles are there");
            lines::write(&entry(event, proof), &mut out).expect("memory");
        }
        out
    }

    fn verdict(bytes: &[u8]) -> Result<Statement, String> {
        verify(bytes, key().public()).map_err(|error| error.to_string())
    }

    const SOUND: [(u64, &str, &str); 3] = [(1, "1.00", "1.00"), (2, "2.00", "3.00"), (3, "4.00", "7.00")];

    #[test]
    fn no_byte_can_be_changed() {
        let bytes = statement(events(&SOUND), 3, "7.00");
        verdict(&bytes).expect("it is sound");
        for at in (0..bytes.len()).step_by(3) {
            for flip in [1, 0x20] {
                let mut spoilt = bytes.clone();
                spoilt[at] ^= flip;
                assert!(verdict(&spoilt).is_err(), "byte {at}");
            }
        }
        let text = String::from_utf8(bytes).expect("a statement is a text");
        for (from, to) in
            [(",\"sequence\"", ", \"sequence\""), ("\"acc_1\"", "\"\\u0061cc_1\""), ("\n{\"entry", "\n\n{\"entry")]
        {
            let other = text.replacen(from, to, 1);
            assert!(other != text && verdict(other.as_bytes()).is_err(), "{to}: the same, but written otherwise");
        }
    }

    #[test]
    fn a_log_that_contradicts_itself_is_refused_though_all_is_signed() {
        let refused = |entries: &[(u64, &str, &str)], number, closing, why: &str| {
            let error = verdict(&statement(events(entries), number, closing)).expect_err(why);
            assert!(error.contains(why), "{error}");
        };
        refused(&[SOUND[0], SOUND[2]], 2, "7.00", "entry 3 stands where entry 2 is due");
        refused(&[SOUND[0], SOUND[0]], 2, "2.00", "entry 1 stands where entry 2 is due");
        refused(&[SOUND[0], (2, "2.00", "4.00")], 2, "3.00", "entry 2 says 4.00, but the entries lead to 3.00");
        refused(&SOUND, 3, "8.00", "line 1: the entries lead from 0 to 7.00");
        refused(&SOUND, 4, "7.00", "line 5: the file ends where entry 4 is due");
        refused(&SOUND, 2, "3.00", "line 4: the file goes on");
    }

    /// An entry must not be dated otherwise than it reads.
    #[test]
    fn a_date_that_cannot_be_read_is_refused_and_other_metadata_is_not_asked() {
        let verdict_with = |metadata: &str| {
            let mut changed = events(&SOUND);
            changed[1].metadata = metadata.to_owned().into();
            verdict(&statement(changed, 3, "7.00"))
        };
        let refused = |metadata: &str, why: &str| {
            let error = verdict_with(metadata).expect_err(why);
            assert!(error.starts_with("line 3: ") && error.contains(why), "{error}");
        };
        refused("[]", "the metadata cannot be read");
        refused("", "the metadata cannot be read");
        refused(r#"{"occurred_at":"yesterday"}"#, "`occurred_at` in the metadata is \"yesterday\"");
        refused(r#"{"occurred_at":7}"#, "`occurred_at` in the metadata is 7");

        let event = |metadata: &str| LogEvent { metadata: metadata.to_owned().into(), ..events(&SOUND).remove(0) };
        let told = r#"{"tries":2,"occurred_at":"2026-07-01T00:00:00Z"}"#;
        assert_eq!(occurred_at(&event(told)), Ok("2026-07-01T00:00:00Z".parse().expect("a time")));
        assert_eq!(occurred_at(&event("{}")), Ok(DateTime::UNIX_EPOCH));
    }

    #[test]
    fn an_entry_of_another_tree_account_or_version_is_refused() {
        let refused = |change: fn(&mut LogEvent<'_>), why: &str| {
            let mut changed = events(&SOUND);
            change(&mut changed[1]);
            let error = verdict(&statement(changed, 3, "7.00")).expect_err(why);
            assert!(error.starts_with("line 3: ") && error.contains(why), "{error}");
        };
        refused(|event| event.aggregate_id = "acc_2".into(), "another account");
        refused(|event| event.event_version = "2.0".into(), "is not an entry that can be judged");
        refused(|event| event.payload = event.payload.replace("USD", "EUR").into(), "not in USD");
        let other = statement(events(&[SOUND[0], (2, "2.00", "3.00")]), 2, "3.00");
        let header = statement(events(&SOUND), 3, "7.00");
        let of = |bytes: &[u8], line: usize| bytes.split_inclusive(|byte| *byte == b'\n').nth(line).map(<[u8]>::to_vec);
        let mixed = [of(&header, 0), of(&other, 1), of(&other, 2)].into_iter().flatten().collect::<Vec<_>>().concat();
        assert!(verdict(&mixed).expect_err("of two trees").contains("the proof does not lead"));
    }
}
