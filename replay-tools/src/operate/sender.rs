//! The secrets of programs outside that sign what they send, such as payment gateways. They are files; no server is needed,
//! and one that runs finds what has changed at its next message.

use std::process::ExitCode;

use daybook_identity::{SenderName, Senders};

use crate::{ToolError, ledger::LedgerOptions};

/// Look after the secrets by which gateways sign their notices
#[derive(Debug, clap::Subcommand)]
pub enum Sender {
    /// Make a further secret for a gateway, and print it on standard output; it is not shown again. Earlier ones stay valid
    Add(Named),
    /// Print the gateways that have a secret, with the number of their secrets
    List,
    /// Take all secrets but the newest from a gateway
    Retire(Named),
    /// Take all secrets from a gateway: nothing that it signs is believed any more
    Forget(Named),
}

#[derive(Debug, clap::Args)]
pub struct Named {
    /// The name of the gateway, as its payments have it
    name: SenderName,
}

pub fn run(options: &LedgerOptions, verb: &Sender) -> Result<ExitCode, ToolError> {
    let senders = Senders::new(options.home());
    match verb {
        Sender::Add(Named { name }) => {
            println!("{}", senders.add(name)?.expose());
            eprintln!("{name} signs what it posts to /v1/gateways/{name}/notices");
        }
        Sender::List => {
            for (name, count) in senders.list()? {
                println!("{name}\t{count}");
            }
        }
        Sender::Retire(Named { name }) => eprintln!("{} of {name} retired", secrets(senders.retire(name)?)),
        Sender::Forget(Named { name }) => eprintln!("{} of {name} taken away", secrets(senders.forget(name)?)),
    }
    Ok(ExitCode::SUCCESS)
}

fn secrets(count: usize) -> String {
    if count == 1 { "1 secret".into() } else { format!("{count} secrets") }
}
