//! What a key has signed last, in a file beside it. The database may be restored from an older backup, and forgets then
//! what the log has given its word for; the file does not.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use daybook_log::{Checkpoint, witness};
use tokio::{task, time};

use super::{LogError, LogKey};

/// How often to look whether another process has signed.
const PATIENCE: Duration = Duration::from_millis(10);

/// The last checkpoint, held by one process at a time: of several that sign with one key, none may put an earlier one
/// in the place of a later one.
#[derive(Debug)]
pub(super) struct LastSigned {
    pub checkpoint: Option<Checkpoint>,
    path: PathBuf,
    #[expect(dead_code, reason = "it is held, and not read")]
    lock: File,
}

impl LastSigned {
    /// Waits until no other process is signing, and reads what was signed last.
    pub async fn lock(key: &LogKey) -> Result<Self, LogError> {
        let lock = acquire(key.path()).await.map_err(|source| LogError::File { path: key.path().into(), source })?;
        let path = key.last_signed();
        let checkpoint =
            witness::last(&path, key.public()).map_err(|source| LogError::LastSigned { path: path.clone(), source })?;
        Ok(Self { checkpoint, path, lock })
    }

    /// Keeps a checkpoint, also through a crash, before anybody sees it; and goes on holding the place.
    pub async fn keep(self, checkpoint: &Checkpoint) -> Result<Self, LogError> {
        let (path, note) = (self.path.clone(), checkpoint.note.clone());
        // With what it holds: also if nobody waits for it any more, nobody else writes meanwhile.
        let kept = task::spawn_blocking(move || witness::replace(&self.path, &note).map(|()| self)).await;
        let kept = kept.unwrap_or_else(|error| Err(io::Error::other(error)));
        let kept = kept.map_err(|source| LogError::File { path, source })?;
        Ok(Self { checkpoint: Some(checkpoint.clone()), ..kept })
    }
}

async fn acquire(key: &Path) -> io::Result<File> {
    let file = File::open(key)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => time::sleep(PATIENCE).await,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}
