//! Why a balance is what it is: the events behind it, folded step by step.

use std::process::ExitCode;

use daybook_core::{Position, domain::AccountId, store::Store};
use daybook_projections::{
    BOARD, Moment, Reader, Viewer,
    account::AccountRow,
    explanation::{self, Step, TOGETHER},
    listing,
};

use crate::{
    ToolError,
    ledger::{Ledger, LedgerOptions},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The account, such as `acc_01M81KYNJCE8ABEWTNN8VQFW2R`
    account: AccountId,
    /// As it was known at this position of the book
    #[arg(long)]
    at: Option<Position>,
}

/// Steps are read and told so many at a time.
const PORTION: i64 = 500;

pub async fn run(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    let ledger = Ledger::open_as_it_is(options).await?;
    let told = tell(ledger.store(), arguments).await;
    ledger.close().await?;
    told.map(|()| ExitCode::SUCCESS)
}

async fn tell(store: &Store, arguments: &Arguments) -> Result<(), ToolError> {
    let reader = Reader::new(store, BOARD, None);
    let mut rows = reader.snapshot(&Viewer::Provider, &["account_statement", "accounts"], None).await?;
    let (id, head) = (arguments.account.as_str(), rows.position());
    let at = arguments.at.unwrap_or(head);
    if at > head {
        return Err(format!("the statements have come to position {head}, and {at} was asked for").into());
    }
    let account: Option<AccountRow> = listing::get(&mut rows, &Viewer::Provider, id).await?;
    let account = account.ok_or_else(|| format!("there is no account {id}"))?;
    if account.position.unsigned_abs() > at {
        return Err(
            format!("there is no account {id} at position {at}: position {} opened it", account.position).into()
        );
    }
    println!("account {id}, {}, as known at position {at}", account.currency);
    let moment = Moment { as_of: None, known_at: Some(at) };
    let (mut after, mut balance) = (None, None);
    loop {
        let steps = explanation::of_balance(&mut rows, store.upcasters(), id, &moment, after, PORTION).await?;
        let Some(last) = steps.last() else { break };
        (after, balance) = (Some(last.number), Some(last.after));
        for step in &steps {
            tell_step(step);
        }
    }
    match balance {
        Some(balance) => println!("\nbalance {balance} {}", account.currency),
        None => println!("\nno entry yet: the balance is zero"),
    }
    Ok(())
}

fn tell_step(step: &Step) {
    let Step { number, event, before, after, together } = step;
    let metadata = &event.metadata;
    let rule = event.event.rule();
    println!(
        "\nentry {number}  position {}  {}  {}",
        event.position,
        event.event.event_type(),
        rule.map_or("", |rule| rule.name)
    );
    println!("  {before} {:+} = {after}", after - before);
    if let Some(rule) = rule {
        println!("  {}", rule.text);
    }
    let by = metadata.actor.as_ref().map_or("an unnamed program".into(), ToString::to_string);
    let for_whom = metadata.on_behalf_of.as_ref().map_or(String::new(), |actor| format!(" on behalf of {actor}"));
    let reason = metadata.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    println!("  by {by}{for_whom}{reason}");
    let dated = metadata.dated_at.map_or(String::new(), |at| format!(", dated {at}"));
    println!("  took effect {}{dated}, recorded {}", event.occurred_at(), event.recorded_at);
    for posting in event.event.postings() {
        println!("  {:<20} {:>20} {}", posting.account.as_str(), posting.amount, posting.currency.code());
    }
    if let Some(command_id) = metadata.command_id {
        println!("  command {command_id}");
    }
    for other in together {
        println!("    with {:>8}  {:<28} {}", other.position, other.event.event_type(), other.aggregate_id);
    }
    if together.len() as i64 >= TOGETHER {
        println!("    at most {TOGETHER} events before and after it are told");
    }
}
