//! Signing: what a checkpoint says comes from the events themselves, and continues whatever this key has signed before.

use std::{fs, io, path::Path};

use daybook_log::{
    Checkpoint,
    tree::{self, Frontier},
    witness,
};
use sqlx::PgConnection;
use tlog_tiles::Hash;

use super::{
    Added, LogError, LogKey,
    key::last_signed,
    last_signed::LastSigned,
    latest_checkpoint,
    scan::read_leaves,
    standing,
    tiles::{read_wanted, resume},
};
use crate::store::{events::signed, head};

/// Events that are read at once.
const CHUNK: u64 = 1 << 16;

/// Signs a tree while it grows.
#[derive(Debug)]
pub struct Signer {
    key: LogKey,
    /// The tree of the events, from the last checkpoint on. No tile after that has a say in it: a spoilt one would be
    /// signed, and could never be mended.
    trunk: Option<Frontier>,
}

impl Signer {
    pub fn new(key: LogKey) -> Self {
        Self { key, trunk: None }
    }

    /// Takes over what was hashed of the events when they were added to the tiles, so that they need not be read again.
    pub fn grew(&mut self, added: &Added) {
        if let Some(trunk) = &mut self.trunk
            && trunk.size() + added.leaves.len() as u64 == added.size
        {
            added.leaves.iter().for_each(|leaf| trunk.push(*leaf));
        }
    }

    /// Forgets the events that were read: behind another connection there may be another book.
    pub fn forget(&mut self) {
        self.trunk = None;
    }

    /// Signs the tree as far as it has come, unless that is signed already; answers with the latest checkpoint. Only what
    /// follows from the events is signed, and what continues both the checkpoint before and the last one that lies
    /// beside the key.
    pub async fn sign(&mut self, connection: &mut PgConnection) -> Result<Option<Checkpoint>, LogError> {
        let memory = LastSigned::lock(&self.key).await?;
        // In this order: what others sign in between is of no smaller tree. Tiles that others add to meanwhile still begin
        // with what they held.
        let last = latest_checkpoint(&mut *connection).await?.map(|last| last.open(self.key.public())).transpose()?;
        let size = standing(&mut *connection).await?.size;
        let before: Vec<Checkpoint> = last.iter().chain(&memory.checkpoint).cloned().collect();
        let promised = before.iter().map(|before| before.size).max().unwrap_or_default();
        if promised > size {
            // A crash may have taken the last of the tree, which is made again from the events; but not of the book.
            let book = head(&mut *connection).await?.position;
            return if book < promised { Err(LogError::Restored { signed: promised, book }) } else { Ok(last) };
        }
        if size == 0 {
            return Ok(None);
        }
        let checkpoint = match &last {
            Some(last) if last.size == size => last.clone(),
            _ => Checkpoint::sign(size, self.root(connection, last.as_ref(), size).await?, &self.key),
        };
        for before in &before {
            continues(connection, &checkpoint, before).await?;
        }
        let is_kept = memory.checkpoint.as_ref().is_some_and(|kept| kept.size == size);
        let memory = if is_kept { memory } else { memory.keep(&checkpoint).await? };
        if last.is_none_or(|last| last.size < size) {
            // Two processes sign the same tree alike.
            sqlx::query("insert into log_checkpoints (size, note) values ($1, $2) on conflict (size) do nothing")
                .bind(signed(size)?)
                .bind(&checkpoint.note)
                .execute(connection)
                .await?;
        }
        drop(memory);
        Ok(Some(checkpoint))
    }

    /// The book has at least as many events as this key has signed.
    pub async fn reaches(&self, connection: &mut PgConnection) -> Result<(), LogError> {
        let signed = self.last(connection).await?.map_or(0, |last| last.size);
        let book = head(&mut *connection).await?.position;
        if book < signed { Err(LogError::Restored { signed, book }) } else { Ok(()) }
    }

    /// Whether the events themselves do not lead to what was signed, whatever the tiles say.
    pub async fn is_forked(&self, connection: &mut PgConnection) -> Result<bool, LogError> {
        match self.last(connection).await? {
            Some(last) => Ok(!events_lead_to(connection, &last).await?),
            None => Ok(false),
        }
    }

    /// The largest tree that this key has signed, as the ledger or the file beside the key knows.
    async fn last(&self, connection: &mut PgConnection) -> Result<Option<Checkpoint>, LogError> {
        let memory = LastSigned::lock(&self.key).await?.checkpoint;
        let stored = latest_checkpoint(connection).await?.map(|last| last.open(self.key.public())).transpose()?;
        Ok(memory.into_iter().chain(stored).max_by_key(|checkpoint| checkpoint.size))
    }

    /// The root of the tree of so many events. The tiles must lead to the same.
    async fn root(
        &mut self,
        connection: &mut PgConnection,
        last: Option<&Checkpoint>,
        size: u64,
    ) -> Result<Hash, LogError> {
        let from = last.map_or(0, |last| last.size);
        let trunk = match self.trunk.take().filter(|trunk| (from..=size).contains(&trunk.size())) {
            Some(trunk) => trunk,
            None => frontier(connection, last, size).await?,
        };
        let trunk = self.trunk.insert(trunk);
        while trunk.size() < size {
            let (from, to) = (trunk.size() + 1, size.min(trunk.size() + CHUNK));
            for leaf in read_leaves(connection, from, to).await? {
                trunk.push(leaf);
            }
            if trunk.size() < to {
                return Err(LogError::Missing(trunk.size() + 1));
            }
        }
        let root = trunk.root();
        if resume(connection, size).await?.root() == root { Ok(root) } else { Err(LogError::Spoilt(size)) }
    }
}

/// Signs the tree as far as it has come.
pub async fn sign(connection: &mut PgConnection, key: &LogKey) -> Result<Option<Checkpoint>, LogError> {
    Signer::new(key.clone()).sign(connection).await
}

/// The book has all that was signed, as the file beside the key tells: whoever appends to another one makes a fork. The
/// private key is not needed, and a home without that file says nothing.
pub async fn continues_last_signed(connection: &mut PgConnection, key_file: &Path) -> Result<(), LogError> {
    let log = standing(&mut *connection).await?;
    let (Some(origin), Some(key)) = (&log.origin, log.key()?) else { return Ok(()) };
    let path = last_signed(key_file);
    let note = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|source| LogError::File { path: path.clone(), source })?,
    };
    // Several ledgers may share a home: what another log has signed says nothing of this book.
    if note.lines().next() != Some(origin) {
        return Ok(());
    }
    let last = witness::last(&path, &key).map_err(|source| LogError::LastSigned { path, source })?;
    let Some(last) = last else { return Ok(()) };
    let (signed, book) = (last.size, head(&mut *connection).await?.position);
    if book < signed {
        return Err(LogError::Restored { signed, book });
    }
    // The tiles tell at once where they are sound and reach so far. Otherwise the events do.
    if frontier(connection, Some(&last), book).await.is_ok() || events_lead_to(connection, &last).await? {
        Ok(())
    } else {
        Err(LogError::Inconsistent { signed, now: book })
    }
}

/// Whether the events themselves lead to what was signed, whatever the tiles say.
async fn events_lead_to(connection: &mut PgConnection, signed: &Checkpoint) -> Result<bool, LogError> {
    let mut tree = Frontier::default();
    while tree.size() < signed.size {
        let (from, to) = (tree.size() + 1, signed.size.min(tree.size() + CHUNK));
        for leaf in read_leaves(connection, from, to).await? {
            tree.push(leaf);
        }
        if tree.size() < to {
            return Ok(false);
        }
    }
    Ok(tree.root() == signed.root)
}

/// The tree of a checkpoint, to go on from: the tiles are proven to lead to what was signed.
async fn frontier(connection: &mut PgConnection, last: Option<&Checkpoint>, now: u64) -> Result<Frontier, LogError> {
    let Some(Checkpoint { size, root, .. }) = last else { return Ok(Frontier::default()) };
    let tiles = read_wanted(connection, &tree::tiles_for_frontier(*size)).await?;
    tree::read_frontier(&tiles, *size, *root).map_err(|_| LogError::Inconsistent { signed: *size, now })
}

async fn continues(connection: &mut PgConnection, now: &Checkpoint, before: &Checkpoint) -> Result<(), LogError> {
    let (newer, older) = ((now.size, now.root), (before.size, before.root));
    if newer == older {
        return Ok(());
    }
    let tiles = read_wanted(connection, &tree::tiles_for_consistency(now.size, before.size)).await?;
    let proof = tree::prove_consistency(&tiles, now.size, now.root, before.size).map_err(LogError::Tiles)?;
    if tree::extends(&proof, newer, older) {
        Ok(())
    } else {
        Err(LogError::Inconsistent { signed: before.size, now: now.size })
    }
}
