//! The private key of the log: a file outside the database, made at the first start.

use std::{
    io,
    ops::Deref,
    path::{Path, PathBuf},
};

use daybook_log::{SigningKey, note::KeyError};
use rand_core::OsRng;
use uuid::Uuid;

use super::{LogError, standing};
use crate::{
    private_file::{self, Secret},
    store::Store,
};

#[derive(Debug, thiserror::Error)]
pub enum LogKeyError {
    #[error("the log's key cannot be kept at {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} does not hold a private key", path.display())]
    Unreadable { path: PathBuf, source: KeyError },
    #[error(
        "{} may be read or written by others than its owner: run `chmod 600 {}`, and if anybody may have read it, trust nothing that it signs from now on",
        path.display(), path.display()
    )]
    Exposed { path: PathBuf },
    #[error(
        "the key of this ledger's log, {vkey}, is not at {}: put it back, name another place by --log-key, or go on without signing by --log-key none",
        path.display()
    )]
    Missing { path: PathBuf, vkey: String },
    #[error(
        "{} holds the key of another log, `{found}`; this ledger's is `{expected}`: name the place of its own key by --log-key, or go on without signing by --log-key none",
        path.display()
    )]
    Another { path: PathBuf, found: String, expected: String },
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The private key of a log, and the file that it lies in.
#[derive(Clone, Debug)]
pub struct LogKey {
    key: SigningKey,
    path: PathBuf,
}

impl Deref for LogKey {
    type Target = SigningKey;

    fn deref(&self) -> &SigningKey {
        &self.key
    }
}

impl LogKey {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file beside the key that holds what it has signed last.
    pub fn last_signed(&self) -> PathBuf {
        last_signed(&self.path)
    }

    pub fn into_key(self) -> SigningKey {
        self.key
    }
}

/// The file beside the file of a key that holds what the key has signed last.
pub fn last_signed(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(".signed");
    name.into()
}

/// The key of this ledger's log. At the first start the log gets its name and its key: first the name, then the file,
/// then the public key in the ledger; whatever comes between, the next start goes on from there.
pub async fn open_key(store: &Store, path: &Path) -> Result<LogKey, LogKeyError> {
    let name = format!("daybook/{}", Uuid::now_v7());
    sqlx::query("update transparency_log set origin = $1 where origin is null")
        .bind(name)
        .execute(store.pool())
        .await
        .map_err(LogError::from)?;
    let log = standing(store.pool()).await?;
    let origin = log.origin.expect("it was given a moment ago");
    let key = match (read_key(path)?, &log.vkey) {
        (Some(key), _) => key,
        (None, Some(vkey)) => return Err(LogKeyError::Missing { path: path.into(), vkey: vkey.clone() }),
        (None, None) => create(path, &origin)?,
    };
    if key.public().name() != origin {
        let (found, expected) = (key.public().name().to_owned(), origin);
        return Err(LogKeyError::Another { path: path.into(), found, expected });
    }
    sqlx::query("update transparency_log set vkey = $1 where vkey is null")
        .bind(key.public().to_string())
        .execute(store.pool())
        .await
        .map_err(LogError::from)?;
    // Another process may have been at its own first start.
    match standing(store.pool()).await?.vkey {
        Some(vkey) if vkey != key.public().to_string() => {
            let found = key.public().to_string();
            Err(LogKeyError::Another { path: path.into(), found, expected: vkey })
        }
        _ => Ok(key),
    }
}

/// The key in a file, whichever log's it is; `None` if there is no such file.
pub fn read_key(path: &Path) -> Result<Option<LogKey>, LogKeyError> {
    let text = match private_file::read(path).map_err(|source| LogKeyError::File { path: path.into(), source })? {
        Secret::Nothing => return Ok(None),
        Secret::Exposed => return Err(LogKeyError::Exposed { path: path.into() }),
        Secret::Text(text) => text,
    };
    let key = text.parse().map_err(|source| LogKeyError::Unreadable { path: path.into(), source })?;
    Ok(Some(LogKey { key, path: path.into() }))
}

fn create(path: &Path, origin: &str) -> Result<LogKey, LogKeyError> {
    let (private, _) = signed_note::generate_key(&mut OsRng, origin);
    private_file::write_new(path, &format!("{private}\n"))
        .map_err(|source| LogKeyError::File { path: path.into(), source })?;
    // Whoever was first: it is his key that lies there.
    Ok(read_key(path)?.expect("a key was written here a moment ago"))
}
