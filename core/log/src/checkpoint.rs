//! A checkpoint (C2SP `tlog-checkpoint`): how long the log is and the root of its tree, signed by the log.

use tlog_tiles::{Checkpoint as Body, Hash};

use crate::{
    note::{self, OpenError, PublicKey, SigningKey},
    tree::{LARGEST, Tree},
};

/// A checkpoint whose signature was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Events in the log.
    pub size: u64,
    pub root: Hash,
    /// As it is signed.
    pub note: String,
}

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("the checkpoint cannot be trusted: {0}")]
    Open(#[from] OpenError),
    #[error("this is signed, but it is not a checkpoint")]
    Malformed,
    #[error("the checkpoint is of the log `{0}`")]
    OtherLog(String),
    #[error("no log is as long as this checkpoint says")]
    TooLarge,
}

impl Checkpoint {
    /// The tree that it is of.
    pub fn tree(&self) -> Tree {
        Tree { size: self.size, root: self.root }
    }

    pub fn sign(size: u64, root: Hash, key: &SigningKey) -> Self {
        let body = Body::new(key.public().name(), size, root, "").expect("a key has a name");
        let text = String::from_utf8(body.to_bytes()).expect("a checkpoint is a text");
        Self { size, root, note: key.sign(&text) }
    }

    /// Reads a checkpoint that this key has signed; witnesses may have signed it, too.
    pub fn open(note: &str, key: &PublicKey) -> Result<Self, CheckpointError> {
        Self::of_text(&note::open(note.as_bytes(), key)?, note, key)
    }

    /// Reads a checkpoint that this key alone has signed, with not a byte to spare.
    pub fn open_alone(note: &str, key: &PublicKey) -> Result<Self, CheckpointError> {
        Self::of_text(&note::open_alone(note.as_bytes(), key)?, note, key)
    }

    fn of_text(text: &str, note: &str, key: &PublicKey) -> Result<Self, CheckpointError> {
        let body = Body::from_bytes(text.as_bytes()).map_err(|_| CheckpointError::Malformed)?;
        if body.origin() != key.name() {
            return Err(CheckpointError::OtherLog(body.origin().into()));
        }
        if body.size() > LARGEST {
            return Err(CheckpointError::TooLarge);
        }
        Ok(Self { size: body.size(), root: *body.hash(), note: note.into() })
    }
}

#[cfg(test)]
mod tests {
    use tlog_tiles::record_hash;

    use super::*;
    use crate::note::tests::key;

    #[test]
    fn a_checkpoint_reads_back() {
        let checkpoint = Checkpoint::sign(7, record_hash(b"root"), &key());
        assert_eq!(Checkpoint::open_alone(&checkpoint.note, key().public()).expect("ours"), checkpoint);
        assert!(checkpoint.note.starts_with("PeterNeumann\n7\n"), "{}", checkpoint.note);
    }

    #[test]
    fn another_origin_is_refused_though_the_key_fits() {
        let note = key().sign(&format!("elsewhere\n7\n{}\n", record_hash(b"root")));
        assert!(matches!(Checkpoint::open(&note, key().public()), Err(CheckpointError::OtherLog(_))));
    }
}
