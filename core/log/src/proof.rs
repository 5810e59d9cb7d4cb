//! Proofs that stand by themselves: that an event is in the log, and that one checkpoint continues another.

use serde::{Deserialize, Serialize};
use tlog_tiles::Hash;

use crate::{
    checkpoint::Checkpoint,
    event::LogEvent,
    lines::{Refused, exactly},
    note::PublicKey,
    tree,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Proof {
    Event(EventProof),
    Consistency(ConsistencyProof),
}

/// An event and the way from its leaf to the root of a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventProof {
    pub event: LogEvent<'static>,
    /// The siblings of the way, from the leaf upwards (RFC 6962, 2.1.1).
    #[serde(with = "crate::lines::hashes")]
    pub proof: Vec<Hash>,
    /// A signed note.
    pub checkpoint: String,
}

/// Two checkpoints, and what shows that the later tree begins with the earlier one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyProof {
    /// Signed notes.
    pub from: String,
    pub to: String,
    /// RFC 6962, 2.1.2; empty where a checkpoint is compared with itself.
    #[serde(with = "crate::lines::hashes")]
    pub proof: Vec<Hash>,
}

impl Proof {
    /// Reads a proof as the ledger writes it; only the end of its line may be missing.
    pub fn read(bytes: &[u8]) -> Result<Self, Refused> {
        exactly(bytes.strip_suffix(b"\n").unwrap_or(bytes)).map_err(|reason| Refused::Line { line: 1, reason })
    }

    /// Reads a proof that must be one of consistency.
    pub fn read_consistency(bytes: &[u8]) -> Result<ConsistencyProof, Refused> {
        match Self::read(bytes)? {
            Self::Consistency(proof) => Ok(proof),
            Self::Event(_) => Err(Refused::Whole("this is not a proof of consistency".into())),
        }
    }

    /// Checks the proof; answers with the checkpoint that it leads to.
    pub fn check(&self, key: &PublicKey) -> Result<Checkpoint, Refused> {
        match self {
            Self::Event(proof) => proof.check(key),
            Self::Consistency(proof) => proof.check(key).map(|(_, to)| to),
        }
    }
}

impl EventProof {
    pub fn check(&self, key: &PublicKey) -> Result<Checkpoint, Refused> {
        let checkpoint = open(&self.checkpoint, key)?;
        if self.event.is_in(&self.proof, checkpoint.size, checkpoint.root) {
            Ok(checkpoint)
        } else {
            Err(Refused::Whole(format!("the proof does not lead from event {} to the root", self.event.position)))
        }
    }
}

impl ConsistencyProof {
    /// Checks the proof; answers with both checkpoints.
    pub fn check(&self, key: &PublicKey) -> Result<(Checkpoint, Checkpoint), Refused> {
        let (from, to) = (open(&self.from, key)?, open(&self.to, key)?);
        if tree::extends(&self.proof, (to.size, to.root), (from.size, from.root)) {
            Ok((from, to))
        } else {
            let (from, to) = (from.size, to.size);
            Err(Refused::Whole(format!("the checkpoint of {to} events does not continue the one of {from}")))
        }
    }
}

fn open(note: &str, key: &PublicKey) -> Result<Checkpoint, Refused> {
    Checkpoint::open_alone(note, key).map_err(|error| Refused::Whole(error.to_string()))
}
