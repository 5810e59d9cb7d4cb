//! Exporting a customer's statement with a proof for every entry, and the log's word that there are no more.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use chrono::NaiveDate;
use chrono_tz::Tz;
use daybook_core::{
    domain::{AccountEvent, Event, account::AccountOpening},
    midnight,
    store::{RawEvent, Store, read_stream},
    terms::calendar,
    transparency::{LogError, prove_inclusions},
};
use daybook_log::{Checkpoint, SigningKey, lines};
use daybook_verify::statement::{self, Sums};
use rust_decimal::Decimal;

use crate::{
    ToolError,
    export::Output,
    ledger::{Ledger, LedgerOptions},
    prove::checkpoint,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The account, such as `acc_…`; or several
    #[arg(required = true)]
    accounts: Vec<String>,
    /// The first day, in the account's time zone; from the beginning, unless told
    #[arg(long, value_name = "DAY", value_parser = calendar::day)]
    from: Option<NaiveDate>,
    /// The day after the last one, in the account's time zone; to the end, unless told
    #[arg(long, value_name = "DAY", value_parser = calendar::day)]
    to: Option<NaiveDate>,
    /// Where to write the statement; the directory for those of several accounts, each `<account>.ndjson`
    #[arg(long, short, value_name = "FILE|DIRECTORY")]
    output: PathBuf,
}

pub async fn run(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    let Arguments { from, to, .. } = arguments;
    if from.zip(*to).is_some_and(|(from, to)| to < from) {
        return Err("--to: the day after the last one cannot come before the first one".into());
    }
    let ledger = Ledger::open_to_sign(options).await?;
    let exported = export_all(ledger.store(), options, arguments).await;
    ledger.close().await?;
    exported?;
    Ok(ExitCode::SUCCESS)
}

async fn export_all(store: &Store, options: &LedgerOptions, arguments: &Arguments) -> Result<(), ToolError> {
    let Arguments { accounts, from, to, output } = arguments;
    let key = options.open_key(store).await?.ok_or("a statement is signed: it needs the key of the log")?;
    let log = Log { store, key, checkpoint: checkpoint::up_to_date(store, options).await? };
    match accounts.as_slice() {
        [account] => tell(log.export(account, *from, *to, output).await?, output),
        several => {
            fs::create_dir_all(output).map_err(|error| format!("{}: {error}", output.display()))?;
            for account in several {
                let file = output.join(format!("{account}.ndjson"));
                tell(log.export(account, *from, *to, &file).await?, &file);
            }
        }
    }
    Ok(())
}

fn tell(entries: u64, file: &Path) {
    // The statement itself may go to the standard output.
    eprintln!("{entries} entries are in {}", file.display());
}

/// What statements are made of and signed with.
struct Log<'a> {
    store: &'a Store,
    key: SigningKey,
    checkpoint: Checkpoint,
}

impl Log<'_> {
    /// Writes the statement of an account; answers with the number of its entries.
    async fn export(
        &self,
        account: &str,
        from: Option<NaiveDate>,
        to: Option<NaiveDate>,
        output: &Path,
    ) -> Result<u64, ToolError> {
        let Self { store, key, checkpoint } = self;
        let mut connection = store.connection().await?;
        let mut events = read_stream(&mut connection, "account", account, 0).await?;
        events.retain(|event| event.position <= checkpoint.size);
        let opened = opened(store, &events)?.ok_or_else(|| format!("there is no account {account}"))?;
        let begins = |day: NaiveDate| midnight(day, opened.zone);
        let mut sums = Sums::new(&opened.currency, opened.zero, from.map(begins), to.map(begins));

        let entries: Vec<RawEvent> =
            events.into_iter().filter(|event| statement::is_entry(&event.event_type)).collect();
        let positions: Vec<u64> = entries.iter().map(|event| event.position).collect();
        let proofs = prove_inclusions(&mut connection, checkpoint, &positions).await?;
        for (event, proof) in entries.iter().zip(&proofs) {
            let event = event.to_log();
            if !event.is_in(proof, checkpoint.size, checkpoint.root) {
                return Err(LogError::Event(event.position).into());
            }
            sums.add(&event).map_err(|reason| format!("event {}: {reason}", event.position))?;
        }
        let summary = sums.summary(account, checkpoint);
        let mut output = Output::create(Some(output))?;
        let mut out = output.writer();
        lines::write(&statement::header(&summary, key), &mut out)?;
        for (event, proof) in entries.into_iter().zip(proofs) {
            lines::write(&statement::entry(event.into_log(), proof), &mut out)?;
        }
        output.finish()?;
        Ok(summary.entries)
    }
}

/// What an account was opened with.
struct Opened {
    currency: String,
    /// With the decimals of the currency.
    zero: Decimal,
    zone: Tz,
}

fn opened(store: &Store, events: &[RawEvent]) -> Result<Option<Opened>, ToolError> {
    for raw in events {
        if let Event::Account(AccountEvent::Opened(AccountOpening { currency, time_zone, .. })) =
            raw.event(store.upcasters())?
        {
            let (currency, zero) = (currency.code().to_owned(), Decimal::new(0, currency.digits()));
            return Ok(Some(Opened { currency, zero, zone: time_zone.parse()? }));
        }
    }
    Ok(None)
}
