//! Exporting the journal for accounting programs that are not ours, and for spreadsheets and scripts.
//!
//! A position of the book that moves money is one transaction. Each of its lines says what its account comes to
//! afterwards, so that whoever reads the file computes every balance anew and finds out when a single one is off.
//! hledger and ledger check that at each line. beancount knows no balance within a day: there, each account is
//! checked at the end of every day that has moved it. All three check every account once more at the end.

mod beancount;
mod csv;
mod hledger;
mod journal;
mod ledger;
mod ndjson;
mod output;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, io, path::PathBuf, process::ExitCode, str::FromStr, time::Duration};

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use clap::ValueEnum;
use daybook_core::{
    Position,
    domain::{AccountId, Currency},
    store::{Store, position_at},
    terms::calendar,
};
use daybook_projections::{
    BOARD, Freshness, Projector, ProjectorOptions, Reader, Snapshot, Viewer,
    accounting::{self, AccountUse, Balance, CurrencyUse, Line, Opening, Place, Selection},
    engine::{self, Standing, State},
};
use rust_decimal::Decimal;

pub(crate) use self::output::Output;
use crate::{
    ToolError,
    ledger::{Ledger, LedgerOptions},
};

/// How long the projections may take to follow what is in the book.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is read; all of it at one moment.
const READ: [&str; 3] = ["journal", "account_statement", "accounts"];

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[arg(long)]
    format: FormatName,
    /// Only the entries of this customer's account
    #[arg(long, value_name = "ID")]
    account: Option<AccountId>,
    /// The first day (UTC); what took effect before is in the opening balances
    #[arg(long, value_name = "DAY", value_parser = calendar::day)]
    from: Option<NaiveDate>,
    /// The day after the last one (UTC)
    #[arg(long, value_name = "DAY", value_parser = calendar::day)]
    to: Option<NaiveDate>,
    /// Only what had taken effect at this moment, such as 2026-03-31T22:00:00Z
    #[arg(long, value_name = "MOMENT", value_parser = calendar::moment)]
    as_of: Option<DateTime<Utc>>,
    /// As it was known then: a position of the book, or a moment
    #[arg(long, value_name = "POSITION|MOMENT")]
    as_known_at: Option<Known>,
    /// The file to write; it appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    Hledger,
    Ledger,
    Beancount,
    Csv,
    Ndjson,
}

/// How far the book had come when it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Position(Position),
    Moment(DateTime<Utc>),
}

impl FromStr for Known {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('@').unwrap_or(text);
        if let Ok(position) = digits.parse() {
            return Ok(Self::Position(position));
        }
        calendar::moment(text).map(Self::Moment).map_err(|error| format!("it is no position of the book, and {error}"))
    }
}

/// How the parts of an export are written, one after another.
pub(crate) trait Format {
    /// What comes before everything else.
    fn begin(&self, out: &mut dyn io::Write, book: &Book) -> io::Result<()>;
    /// An account that transactions name; all of them come before the first transaction.
    fn account(&self, out: &mut dyn io::Write, account: &Declared) -> io::Result<()>;
    fn transaction(&self, out: &mut dyn io::Write, transaction: &Transaction) -> io::Result<()>;
    /// What an account comes to at the end; all of them come after the last transaction.
    fn closing(&self, out: &mut dyn io::Write, on: NaiveDate, line: &Posting) -> io::Result<()>;
}

/// What the whole export has in common.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Book {
    /// What had been recorded up to here is in it.
    pub position: Position,
    pub account: Option<String>,
    pub from: Option<NaiveDate>,
    /// The day after the last one.
    pub to: Option<NaiveDate>,
    /// Each with as many decimals as its finest amount has, and no fewer than its smallest unit: a program that is
    /// told so neither rounds nor tolerates anything.
    pub currencies: Vec<(Currency, u32)>,
}

/// An account of the export.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Account {
    Of(Place),
    /// What stands against the opening balances; it comes back to zero.
    Opening,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Declared {
    pub account: Account,
    /// What a customer's account is called.
    pub name: Option<String>,
    pub currencies: Vec<Currency>,
    pub first_day: NaiveDate,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Transaction {
    pub day: NaiveDate,
    /// What it is in the book; nothing is, for an opening balance.
    pub entry: Option<Entry>,
    pub description: String,
    pub postings: Vec<Posting>,
}

/// What leads from a transaction back to the book.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub position: i64,
    pub event_type: String,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub correlation_id: Option<String>,
    pub occurred_at: DateTime<Utc>,
    pub recorded_at: DateTime<Utc>,
    /// The number within the customer's account.
    pub number: Option<i64>,
    pub origin: Option<String>,
    pub origin_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Posting {
    pub account: Account,
    /// A debit is positive, a credit negative.
    pub amount: Decimal,
    pub currency: Currency,
    /// After this posting.
    pub balance: Decimal,
    /// No later posting of this day changes the balance.
    pub last_of_day: bool,
}

impl FormatName {
    fn format(self) -> &'static dyn Format {
        match self {
            Self::Hledger => &hledger::Hledger,
            Self::Ledger => &ledger::Ledger,
            Self::Beancount => &beancount::Beancount,
            Self::Csv => &csv::Csv,
            Self::Ndjson => &ndjson::Ndjson,
        }
    }
}

impl Account {
    /// The names from the root of the chart down to it, in small letters, without the customer's account.
    pub fn path(&self) -> &'static str {
        use daybook_core::domain::posting::LedgerAccount as Ledger;
        let Self::Of(place) = self else { return "equity:opening" };
        match place.ledger_account {
            Ledger::CustomerWallets => "liabilities:wallets",
            Ledger::PaymentClearing => "assets:clearing",
            Ledger::RefundClearing => "liabilities:refunds",
            Ledger::Revenue => "income:revenue",
            Ledger::TaxPayable => "liabilities:tax",
            Ledger::Rounding => "expenses:rounding",
            Ledger::Adjustments => "expenses:adjustments",
            Ledger::CurrencyExchange => "equity:exchange",
        }
    }

    /// The customer's account, where it is one.
    pub fn wallet(&self) -> Option<&str> {
        match self {
            Self::Of(place) => place.wallet.as_deref(),
            Self::Opening => None,
        }
    }

    /// What our own chart calls it.
    pub fn ledger_account(&self) -> &'static str {
        match self {
            Self::Of(place) => place.ledger_account.as_str(),
            Self::Opening => "opening",
        }
    }
}

impl Entry {
    /// What leads back to the book, by name; none of it has a space or a comma.
    pub fn tags(&self) -> Vec<(&'static str, String)> {
        let mut tags = vec![
            ("position", self.position.to_string()),
            ("event", self.event_type.clone()),
            (AGGREGATE, format!("{}/{}", self.aggregate_type, self.aggregate_id)),
            ("occurred_at", instant(self.occurred_at)),
            ("recorded_at", instant(self.recorded_at)),
        ];
        tags.extend(self.correlation_id.clone().map(|id| ("correlation_id", id)));
        tags.extend(self.number.map(|number| ("entry", number.to_string())));
        tags.extend(self.origin.clone().map(|origin| ("origin", origin)));
        tags.extend(self.origin_id.clone().map(|id| ("origin_id", id)));
        tags
    }
}

const AGGREGATE: &str = "aggregate";

/// The names of all tags.
pub(crate) const TAGS: [&str; 9] =
    ["position", "event", AGGREGATE, "occurred_at", "recorded_at", "correlation_id", "entry", "origin", "origin_id"];

pub async fn run(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    if let (Some(from), Some(to)) = (arguments.from, arguments.to)
        && to < from
    {
        return Err("--to: the day after the last one cannot come before the first one".into());
    }
    // A book is exported as it is, from a replica as well.
    let ledger = Ledger::open_as_it_is(options).await?;
    let exported = export(&ledger, arguments).await;
    ledger.close().await?;
    exported?;
    Ok(ExitCode::SUCCESS)
}

async fn export(ledger: &Ledger, arguments: &Arguments) -> Result<(), ToolError> {
    ledger.store().assert_version().await?;
    let known_at = match arguments.as_known_at {
        None => None,
        Some(Known::Position(wanted)) => Some(wanted),
        Some(Known::Moment(moment)) => {
            let known = position_at(ledger.store().pool(), moment).await?;
            Some(known.ok_or("--as-known-at: this moment is still to come")?)
        }
    };
    let mut snapshot = whole(ledger).await?;
    let position = snapshot.position();
    let known_at = known_at.unwrap_or(position);
    if known_at > position {
        return Err(format!("--as-known-at: the book ends at position {position}").into());
    }
    if let Some(account) = &arguments.account {
        let known: bool = sqlx::query_scalar("select exists (select from accounts where id = $1 and position <= $2)")
            .bind(account.as_str())
            .bind(i64::try_from(known_at)?)
            .fetch_one(&mut *snapshot)
            .await?;
        if !known {
            return Err(format!("--account: there is no account {account}").into());
        }
    }
    let selection = Selection {
        known_at: i64::try_from(known_at)?,
        account: arguments.account.as_ref().map(|account| account.as_str().to_owned()),
        from: arguments.from,
        to: arguments.to,
        as_of: arguments.as_of,
    };
    accounting::check(&mut snapshot, &selection, ledger.store().upcasters()).await?;
    let mut output = Output::create(arguments.output.as_deref())?;
    let transactions = write(&mut snapshot, &selection, arguments.format.format(), output.writer()).await?;
    output.finish()?;
    if let Some(file) = &arguments.output {
        eprintln!("{}: {transactions} transactions, as known at position {known_at}", file.display());
    }
    Ok(())
}

/// A snapshot of the rows that an export is made of, once they have all that is in the book now.
async fn whole(ledger: &Ledger) -> Result<Snapshot, ToolError> {
    let store = ledger.store();
    let position = store.head().await?.position;
    let held = |standing: &Standing| {
        READ.contains(&standing.name) && standing.state != State::Running && standing.position < position
    };
    let standings = standings(store).await?;
    // A projection that nobody has served yet has no standing at all.
    let is_there =
        |name: &&str| standings.iter().any(|standing| standing.name == *name && standing.position >= position);
    let is_behind = !READ.iter().all(is_there);
    if let Some(Standing { name, state, position, .. }) = standings.into_iter().find(held) {
        let state = format!("{state:?}").to_lowercase();
        return Err(format!("the projection `{name}` is {state} at position {position}: see `daybook status`").into());
    }
    // A running server does it anyway; without one, somebody must. A replica is waited for: it can only be read.
    let projector = match is_behind && takes_writes(store).await? {
        true => Some(Projector::start(store, BOARD, None, ProjectorOptions::default()).await?),
        false => None,
    };
    let reader = Reader::new(store, BOARD, projector.as_ref());
    let snapshot = reader.snapshot(&Viewer::Provider, &READ, Some(Freshness { position, wait: PATIENCE })).await;
    if let Some(projector) = projector {
        projector.shutdown().await;
    }
    let mut snapshot = snapshot?;
    for standing in engine::standings(BOARD, &mut snapshot).await? {
        if let Some(parked) = standing.parked.first().filter(|_| READ.contains(&standing.name)) {
            let (name, kind, id) = (standing.name, &parked.aggregate_type, &parked.aggregate_id);
            return Err(format!("the projection `{name}` leaves out {kind} {id}, which is parked: see `unpark`").into());
        }
    }
    // As long as whoever takes the output lets us wait.
    sqlx::raw_sql("set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0")
        .execute(&mut *snapshot)
        .await?;
    Ok(snapshot)
}

async fn takes_writes(store: &Store) -> Result<bool, ToolError> {
    let read_only: String = sqlx::query_scalar("show transaction_read_only").fetch_one(store.pool()).await?;
    Ok(read_only == "off")
}

async fn standings(store: &Store) -> Result<Vec<Standing>, ToolError> {
    Ok(engine::standings(BOARD, &mut store.connection().await?).await?)
}

/// Writes all of it; answers with the number of transactions.
async fn write(
    snapshot: &mut Snapshot,
    selection: &Selection,
    format: &dyn Format,
    out: &mut dyn io::Write,
) -> Result<u64, ToolError> {
    let currencies = accounting::currencies(snapshot, selection).await?;
    let last_day = currencies.iter().map(|used| used.last_day).max();
    let book = Book {
        position: u64::try_from(selection.known_at)?,
        account: selection.account.clone(),
        from: selection.from,
        to: selection.to,
        currencies: currencies.iter().map(precision).collect::<Result<_, _>>()?,
    };
    format.begin(out, &book)?;

    let all: Vec<Currency> = book.currencies.iter().map(|(currency, _)| *currency).collect();
    if let Some(from) = selection.from {
        let opening = Declared { account: Account::Opening, name: None, currencies: all, first_day: from };
        format.account(out, &opening)?;
    }
    accounting::accounts(snapshot, selection, |used| -> Result<(), ToolError> {
        Ok(format.account(out, &declared(used, selection.from)?)?)
    })
    .await?;

    let mut transactions = 0;
    let mut counters = BTreeMap::new();
    if let Some(from) = selection.from {
        accounting::openings(snapshot, selection, |opening| -> Result<(), ToolError> {
            let transaction = opening_balance(from, opening)?;
            let counter = &transaction.postings[1];
            counters.insert(counter.currency.code(), counter.clone());
            transactions += 1;
            Ok(format.transaction(out, &transaction)?)
        })
        .await?;
    }

    let mut open: Option<(i64, Transaction)> = None;
    accounting::lines(snapshot, selection, |line| -> Result<(), ToolError> {
        if let Some((position, transaction)) = &mut open
            && *position == line.position
        {
            transaction.postings.push(posting(&line)?);
            return Ok(());
        }
        let begun = (line.position, begun(line)?);
        if let Some((_, complete)) = open.replace(begun) {
            transactions += 1;
            format.transaction(out, &complete)?;
        }
        Ok(())
    })
    .await?;
    if let Some((_, complete)) = open {
        transactions += 1;
        format.transaction(out, &complete)?;
    }

    let Some(last_day) = last_day.max(selection.from).filter(|_| last_day.is_some()) else { return Ok(transactions) };
    for counter in counters.into_values() {
        format.closing(out, last_day, &Posting { amount: Decimal::ZERO, ..counter })?;
    }
    accounting::balances(snapshot, selection, |balance| -> Result<(), ToolError> {
        let Balance { place, currency, amount } = balance;
        let closing = Posting {
            account: Account::Of(place),
            amount: Decimal::ZERO,
            currency: currency.parse()?,
            balance: amount,
            last_of_day: true,
        };
        Ok(format.closing(out, last_day, &closing)?)
    })
    .await?;
    Ok(transactions)
}

fn precision(used: &CurrencyUse) -> Result<(Currency, u32), ToolError> {
    let currency: Currency = used.currency.parse()?;
    Ok((currency, u32::try_from(used.decimals)?.max(currency.digits())))
}

fn declared(used: AccountUse, from: Option<NaiveDate>) -> Result<Declared, ToolError> {
    let AccountUse { place, name, currencies, first_day } = used;
    // Another program on the same table may have named it as no journal can.
    if let Some(wallet) = &place.wallet {
        wallet.parse::<AccountId>().map_err(|error| format!("the account `{wallet}`: {error}"))?;
    }
    let currencies = currencies.iter().map(|code| code.parse()).collect::<Result<_, _>>()?;
    // What took effect earlier is in its opening balance.
    let first_day = from.map_or(first_day, |from| first_day.max(from));
    Ok(Declared { account: Account::Of(place), name, currencies, first_day })
}

fn opening_balance(day: NaiveDate, opening: Opening) -> Result<Transaction, ToolError> {
    let Opening { balance: Balance { place, currency, amount }, counter } = opening;
    let currency = currency.parse()?;
    let posting = |account, amount, balance| Posting { account, amount, currency, balance, last_of_day: false };
    let postings = vec![posting(Account::Of(place), amount, amount), posting(Account::Opening, -amount, counter)];
    Ok(Transaction { day, entry: None, description: "opening balance".into(), postings })
}

/// A transaction of which the first line is known.
fn begun(line: Line) -> Result<Transaction, ToolError> {
    // The three programs agree on the dates of these years only.
    if !(1400..=2999).contains(&line.day.year()) {
        let (position, day) = (line.position, line.day);
        let remedy = match day.year() {
            ..1400 => "let the export begin later by --from, so that it is in the opening balance",
            _ => "leave it out by --to or --as-of",
        };
        return Err(format!(
            "the entry at position {position} took effect on {day}, which accounting programs do not read alike: {remedy}"
        )
        .into());
    }
    let postings = vec![posting(&line)?];
    let description = line.description.unwrap_or_else(|| line.event_type.replace(['.', '_'], " "));
    let entry = Entry {
        position: line.position,
        event_type: line.event_type,
        aggregate_type: line.aggregate_type,
        aggregate_id: line.aggregate_id,
        correlation_id: line.correlation_id,
        occurred_at: line.occurred_at,
        recorded_at: line.recorded_at,
        number: line.entry,
        origin: line.origin,
        origin_id: line.origin_id,
    };
    Ok(Transaction { day: line.day, entry: Some(entry), description, postings })
}

fn posting(line: &Line) -> Result<Posting, ToolError> {
    Ok(Posting {
        account: Account::Of(line.place.clone()),
        amount: line.amount,
        currency: line.currency.parse()?,
        balance: line.balance,
        last_of_day: line.last_of_day,
    })
}

/// With at least as many decimals as the currency has, and no more than it takes.
pub(crate) fn exact(amount: Decimal, currency: Currency) -> Decimal {
    let mut amount = amount.normalize();
    if amount.scale() < currency.digits() {
        amount.rescale(currency.digits());
    }
    amount
}

pub(crate) fn instant(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// A text in one line, its words one space apart.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
