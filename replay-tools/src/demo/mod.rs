//! Demonstration data: a small hosting provider over two years, told by a seeded generator and a clock of its own.
//!
//! The same seed gives the same history. Every command carries an idempotency key, so that a demonstration that was
//! interrupted is completed by running it again.

mod story;

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use daybook_core::{
    Actor, ActorKind, Context, Position,
    operations::{Answer, Operation, Refusal},
    writer::{Command, ExecuteError, Idempotency, WriterHandle},
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    ToolError,
    ledger::{Ledger, LedgerOptions},
    progress::Progress,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Another seed, another history
    #[arg(long, default_value_t = 1494)]
    seed: u64,
    /// Customers of the provider
    #[arg(long, default_value_t = 24)]
    customers: u32,
    /// Do nothing if the ledger holds events already
    #[arg(long)]
    if_empty: bool,
}

/// Fills the ledger and says what is in it.
pub async fn run(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    let ledger = Ledger::open(options).await?;
    if arguments.if_empty && ledger.store().head().await?.position > 0 {
        ledger.close().await?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Err(forked) = ledger.refuse_fork(options).await {
        ledger.close().await?;
        return Err(forked);
    }
    let running = ledger.run().await?;
    let mut teller = Teller {
        writer: running.writer(),
        seed: arguments.seed,
        told: 0,
        position: 0,
        progress: Progress::new("demonstration", "months", u64::from(story::MONTHS)),
    };
    let told = story::tell(&mut teller, arguments.seed, arguments.customers).await;
    running.catch_up_and_stop().await?;
    ledger.close().await?;
    told?;
    let Teller { told, position, progress, .. } = teller;
    progress.finish();
    println!("{told} commands over two years; the book stands at position {position}");
    Ok(ExitCode::SUCCESS)
}

/// Sends the commands of the story, each at the moment that the story's clock shows.
struct Teller {
    writer: WriterHandle,
    seed: u64,
    told: u64,
    position: Position,
    progress: Progress,
}

impl Teller {
    /// A command that the domain may refuse, as it refuses customers in real life.
    async fn attempt(
        &mut self,
        at: DateTime<Utc>,
        actor: Actor,
        operation: Operation,
    ) -> Result<Result<Answer, Refusal>, ToolError> {
        self.told += 1;
        let reason = (actor.kind == ActorKind::Staff).then(|| "asked by the customer".to_owned());
        let context = Context {
            actor,
            principal: None,
            on_behalf_of: None,
            reason,
            correlation_id: self.command_id(at),
            causation_id: None,
            occurred_at: at,
        };
        let fingerprint = Sha256::digest(format!("{at} {operation:?}")).into();
        let scope = format!("demonstration:{}", self.seed);
        let idempotency = Some(Idempotency { scope, key: self.told.to_string(), fingerprint });
        let id = self.command_id(at);
        let command = Command { id, operation, context, idempotency, expected: None };
        match self.writer.execute(command).await {
            Ok(done) => {
                self.position = self.position.max(done.position);
                Ok(Ok(done.answer))
            }
            Err(ExecuteError::Refused(refusal)) => Ok(Err(refusal)),
            Err(other) => Err(other.into()),
        }
    }

    /// The same in every run: of the story's time, the seed, and how much has been told.
    fn command_id(&self, at: DateTime<Utc>) -> Uuid {
        let mut bytes = [0; 10];
        let print = Sha256::digest(format!("{} {}", self.seed, self.told));
        bytes.copy_from_slice(&print[..10]);
        uuid::Builder::from_unix_timestamp_millis(at.timestamp_millis().unsigned_abs(), &bytes).into_uuid()
    }

    /// A command that the story knows to be right.
    async fn tell(&mut self, at: DateTime<Utc>, actor: Actor, operation: Operation) -> Result<Answer, ToolError> {
        Ok(self.attempt(at, actor, operation).await??)
    }
}
