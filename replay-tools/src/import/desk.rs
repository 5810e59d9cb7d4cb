//! Who decides the commands of an import: a rehearsal in memory first, and then the writer.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, MutexGuard},
};

use chrono::{DateTime, Utc};
use daybook_core::{
    Actor, Context,
    operations::{Answer, Operation},
    store::{
        Store, StoreError,
        idempotency::{Given, KeyDigest, digest, given},
    },
    writer::{Command, Done, ExecuteError, Idempotency, Rehearsal, WriterHandle},
};
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::Mutex;
use uuid::Uuid;

/// Whose idempotency keys those of an import are.
const SCOPE: &str = "import-invoices";

/// How many keys are looked up at once.
const KEYS_AT_ONCE: usize = 10_000;

pub type Fingerprint = [u8; 32];

/// A part of the file that is recorded at once.
#[derive(Debug)]
pub struct Request {
    pub operation: Operation,
    pub key: String,
    /// Under which it is recorded.
    pub fingerprint: Fingerprint,
    /// Under which an earlier version may have recorded it.
    pub earlier_fingerprint: Fingerprint,
    pub at: DateTime<Utc>,
}

#[derive(Clone)]
pub struct Desk {
    /// What earlier imports were answered under the keys of this file.
    earlier: Arc<HashMap<KeyDigest, Given>>,
    decides: Decides,
}

#[derive(Clone)]
enum Decides {
    Rehearsal(Arc<Rehearsing>),
    Writer(WriterHandle),
}

struct Rehearsing {
    rehearsal: Mutex<Rehearsal>,
    /// What has been submitted since it was last loaded at once what all that waited would ask for.
    submitted: std::sync::Mutex<Vec<Arc<Command>>>,
}

impl Desk {
    /// Nothing is recorded; what earlier imports have recorded under these keys is known.
    pub async fn rehearsing(store: &Store, keys: impl Iterator<Item = String>) -> Result<Self, StoreError> {
        let keys: Vec<KeyDigest> = keys.map(|key| digest(SCOPE, &key)).collect();
        let mut connection = store.pool().acquire().await?;
        let mut earlier = HashMap::new();
        for keys in keys.chunks(KEYS_AT_ONCE) {
            earlier.extend(given(&mut connection, keys).await?);
        }
        let rehearsing =
            Rehearsing { rehearsal: Mutex::new(Rehearsal::new(store.clone())), submitted: std::sync::Mutex::default() };
        Ok(Self { earlier: Arc::new(earlier), decides: Decides::Rehearsal(Arc::new(rehearsing)) })
    }

    /// The same, but now it is recorded.
    pub fn recording(self, writer: WriterHandle) -> Self {
        Self { decides: Decides::Writer(writer), ..self }
    }

    pub fn records(&self) -> bool {
        matches!(self.decides, Decides::Writer(_))
    }

    /// What the writer has is in its queue at once; what is rehearsed is decided when its answer is waited for.
    pub fn submit(&self, request: Request) -> BoxFuture<'static, Result<Done, ExecuteError>> {
        if let Some(given) = self.earlier.get(&digest(SCOPE, &request.key)) {
            let same = [request.fingerprint, request.earlier_fingerprint].contains(&given.fingerprint);
            let done = Done { position: given.position, answer: given.answer.clone(), replayed: true };
            return std::future::ready(if same { Ok(done) } else { Err(ExecuteError::KeyReused) }).boxed();
        }
        let command = request.command();
        match &self.decides {
            Decides::Writer(writer) => writer.submit(command).boxed(),
            Decides::Rehearsal(rehearsing) => {
                let (rehearsing, command) = (Arc::clone(rehearsing), Arc::new(command));
                rehearsing.submitted().push(Arc::clone(&command));
                async move {
                    let answer = rehearsing.decide(&command).await?;
                    Ok(Done { position: 0, answer, replayed: false })
                }
                .boxed()
            }
        }
    }
}

impl Rehearsing {
    async fn decide(&self, command: &Command) -> Result<Answer, ExecuteError> {
        let mut rehearsal = self.rehearsal.lock().await;
        let fresh = {
            let mut submitted = self.submitted();
            let is_fresh = submitted.iter().any(|fresh| fresh.id == command.id);
            if is_fresh { mem::take(&mut *submitted) } else { Vec::new() }
        };
        rehearsal.look_ahead(fresh.iter().map(|fresh| &**fresh)).await?;
        rehearsal.decide(command).await
    }

    fn submitted(&self) -> MutexGuard<'_, Vec<Arc<Command>>> {
        self.submitted.lock().expect("nobody panics who holds it")
    }
}

impl Request {
    fn command(self) -> Command {
        let context = Context {
            actor: Actor::system("import"),
            principal: None,
            on_behalf_of: None,
            reason: Some("imported from a file of invoice lines".into()),
            correlation_id: Uuid::now_v7(),
            causation_id: None,
            occurred_at: self.at,
        };
        let idempotency = Idempotency { scope: SCOPE.into(), key: self.key, fingerprint: self.fingerprint };
        Command {
            id: Uuid::now_v7(),
            operation: self.operation,
            context,
            idempotency: Some(idempotency),
            expected: None,
        }
    }
}
