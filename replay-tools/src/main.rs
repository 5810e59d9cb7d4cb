//! `daybook`: the tools of those who fill, check and rebuild a ledger.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use daybook_replay_tools::{demo, import, ledger::LedgerOptions, rebuild, schema, status, verify};
use tracing_subscriber::EnvFilter;

#[derive(Debug, Parser)]
#[command(name = "daybook", version, about)]
struct Arguments {
    #[command(flatten)]
    ledger: LedgerOptions,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Bring in what another system has recorded
    #[command(subcommand)]
    Import(Import),
    /// Check the book and everything derived from it; exit 1 if anything is wrong
    Verify(verify::Arguments),
    /// Build projections anew from the book, while they are being read
    Rebuild(rebuild::Arguments),
    /// Show which events the book holds in which versions, and whether this program reads them
    Schema(schema::Arguments),
    /// Show where the book and each projection stand
    Status(status::Arguments),
    /// Fill the ledger with two years of a small hosting provider
    Demo(demo::Arguments),
}

#[derive(Debug, Subcommand)]
enum Import {
    /// Invoice lines as CSV: invoices, credit notes and adjustments on one account per customer
    Invoices(import::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let Arguments { ledger, verb } = Arguments::parse();
    let outcome = match verb {
        Verb::Import(Import::Invoices(arguments)) => import::run(&ledger, &arguments).await,
        Verb::Verify(arguments) => verify::run(&ledger, &arguments).await,
        Verb::Rebuild(arguments) => rebuild::run(&ledger, &arguments).await,
        Verb::Schema(arguments) => schema::run(&ledger, &arguments).await,
        Verb::Status(arguments) => status::run(&ledger, &arguments).await,
        Verb::Demo(arguments) => demo::run(&ledger, &arguments).await,
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("daybook: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}
