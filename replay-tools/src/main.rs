//! `daybook`: the tools of those who fill, check and rebuild a ledger.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use daybook_replay_tools::{
    check::{replay, schema, verify, why},
    demo, diff, export, import,
    ledger::LedgerOptions,
    operate::{drill, projection, rebuild, sender, status, tree, user},
    prove::{archive, checkpoint, proof, statement},
    tell_trouble,
};
use daybook_verify::usage;
use rustls::crypto::ring;
use tracing_subscriber::EnvFilter;

/// Most of what this program allocates is small and short-lived, and freed on another thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// Check the book and everything derived from it, or with --full the log itself; exit 1 if anything is wrong, 2 if
    /// nothing is and some of it could not be looked at, 64 if the arguments are not understood. Nothing
    /// is changed, so that a replica can be verified
    Verify(verify::Arguments),
    /// Add to the log's tree what the book holds by now, sign it, and print the checkpoint
    Checkpoint(checkpoint::Arguments),
    /// Print the public key of the log
    Key,
    /// Write a proof that `daybook-verify proof` checks without this ledger
    #[command(subcommand)]
    Prove(proof::Prove),
    /// Write the journal for hledger, ledger-cli, beancount, a spreadsheet or a script; or what can be checked without
    /// this ledger
    Export(Export),
    /// Tell what differs between two databases or two positions: events and balances; exit 0 if nothing, 1 if
    /// something does, 2 if that cannot be told, 64 if the arguments are not understood
    Diff(diff::Arguments),
    /// Restore a backup into a PostgreSQL of its own, verify it, and say what it lacks; exit 1 if anything is wrong
    Drill(drill::Arguments),
    /// Look after the tree of the log
    #[command(subcommand)]
    Tree(Tree),
    /// Fold the book up to any position, and show what it comes to; exit 1 if it is compared and differs
    Replay(replay::Arguments),
    /// Build projections anew from the book, while they are being read
    Rebuild(rebuild::Arguments),
    /// Let the build of a projection that is kept serve again
    Rollback(projection::RollBack),
    /// Take the build of a projection away that is kept for a roll-back
    Discard(projection::Discard),
    /// Hold a projection where it stands
    Pause(projection::Projection),
    /// Let a projection go on that is paused or has stopped
    Resume(projection::Projection),
    /// Let a projection go on without an event that it cannot fold, and without the rest of that event's stream
    Park(projection::Park),
    /// Take back in what was set aside
    Unpark(projection::Unpark),
    /// Fold the rows of some keys anew
    Repair(projection::Repair),
    /// Show which events the book holds in which versions, and whether this program reads them
    Schema(schema::Arguments),
    /// Show where the book and each projection stand
    Status(status::Arguments),
    /// Show why the balance of an account is what it is: the events behind it, step by step
    Why(why::Arguments),
    /// Look after those who sign in
    #[command(subcommand)]
    User(user::User),
    /// Look after the tokens of programs
    #[command(subcommand)]
    Token(user::Tokens),
    /// Look after the secrets by which gateways sign their notices
    #[command(subcommand)]
    Sender(sender::Sender),
    /// Fill the ledger with two years of a small hosting provider
    Demo(demo::Arguments),
}

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Export {
    #[command(subcommand)]
    proven: Option<Proven>,
    #[command(flatten)]
    journal: Option<export::Arguments>,
}

/// What can be checked without the ledger that wrote it.
#[derive(Debug, Subcommand)]
enum Proven {
    /// The whole log: every event, the checkpoint and the public key, for `daybook-verify archive`
    Log(archive::Arguments),
    /// The statement of an account with a proof for every entry, for `daybook-verify statement`
    Statement(statement::Arguments),
}

#[derive(Debug, Subcommand)]
enum Tree {
    /// Make the tiles anew from the events; these must lead to every checkpoint that was signed
    Rebuild(tree::Arguments),
}

#[derive(Debug, Subcommand)]
enum Import {
    /// Invoice lines as CSV: invoices, credit notes and adjustments on one account per customer
    Invoices(import::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    // Tools ask for whole books at once: that a statement takes long is no news.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,sqlx::query=error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false).init();

    let Arguments { ledger, verb } = usage::arguments();
    // One library of cryptography, here for PostgreSQL.
    ring::default_provider().install_default().expect("nothing has used TLS yet");
    // As scripts know it from diff(1).
    let trouble = if matches!(verb, Verb::Diff(_)) { ExitCode::from(2) } else { ExitCode::FAILURE };
    let outcome = match verb {
        Verb::Import(Import::Invoices(arguments)) => import::run(&ledger, &arguments).await,
        Verb::Verify(arguments) => verify::run(&ledger, &arguments).await,
        Verb::Checkpoint(arguments) => checkpoint::run(&ledger, &arguments).await,
        Verb::Key => checkpoint::print_key(&ledger).await,
        Verb::Prove(what) => proof::run(&ledger, &what).await,
        Verb::Export(Export { proven: Some(Proven::Log(arguments)), .. }) => archive::run(&ledger, &arguments).await,
        Verb::Export(Export { proven: Some(Proven::Statement(arguments)), .. }) => {
            statement::run(&ledger, &arguments).await
        }
        Verb::Export(Export { journal: Some(arguments), .. }) => export::run(&ledger, &arguments).await,
        Verb::Export(Export { journal: None, proven: None }) => {
            Err("--format: name one for the journal; or name `log` or `statement`".into())
        }
        Verb::Diff(arguments) => diff::run(&ledger, &arguments).await,
        Verb::Drill(arguments) => drill::run(&ledger, &arguments).await,
        Verb::Tree(Tree::Rebuild(arguments)) => tree::rebuild(&ledger, &arguments).await,
        Verb::Replay(arguments) => replay::run(&ledger, &arguments).await,
        Verb::Rebuild(arguments) => rebuild::run(&ledger, &arguments).await,
        Verb::Rollback(arguments) => projection::roll_back(&ledger, &arguments).await,
        Verb::Discard(arguments) => projection::discard(&ledger, &arguments).await,
        Verb::Pause(arguments) => projection::pause(&ledger, &arguments).await,
        Verb::Resume(arguments) => projection::resume(&ledger, &arguments).await,
        Verb::Park(arguments) => projection::park(&ledger, &arguments).await,
        Verb::Unpark(arguments) => projection::unpark(&ledger, &arguments).await,
        Verb::Repair(arguments) => projection::repair(&ledger, &arguments).await,
        Verb::Schema(arguments) => schema::run(&ledger, &arguments).await,
        Verb::Status(arguments) => status::run(&ledger, &arguments).await,
        Verb::Why(arguments) => why::run(&ledger, &arguments).await,
        Verb::User(verb) => user::run(&ledger, &verb).await,
        Verb::Token(verb) => user::tokens(&ledger, &verb).await,
        Verb::Sender(verb) => sender::run(&ledger, &verb),
        Verb::Demo(arguments) => demo::run(&ledger, &arguments).await,
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            tell_trouble(&error);
            trouble
        }
    }
}
