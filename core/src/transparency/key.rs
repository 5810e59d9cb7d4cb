//! The private key of the log: a file outside the database, made at the first start.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    ops::Deref,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use daybook_log::{SigningKey, note::KeyError};
use rand_core::OsRng;
use rustix::process::geteuid;
use uuid::Uuid;

use super::{LogError, standing};
use crate::store::Store;

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
    let failed = |source| LogKeyError::File { path: path.into(), source };
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    // As ssh has it: a file that is another's is his to look after, such as one that is mounted here.
    let metadata = file.metadata().map_err(failed)?;
    if metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o077 != 0 {
        return Err(LogKeyError::Exposed { path: path.into() });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    let key = text.parse().map_err(|source| LogKeyError::Unreadable { path: path.into(), source })?;
    Ok(Some(LogKey { key, path: path.into() }))
}

fn create(path: &Path, origin: &str) -> Result<LogKey, LogKeyError> {
    let (private, _) = signed_note::generate_key(&mut OsRng, origin);
    write_new(path, &format!("{private}\n")).map_err(|source| LogKeyError::File { path: path.into(), source })?;
    // Whoever was first: it is his key that lies there.
    Ok(read_key(path)?.expect("a key was written here a moment ago"))
}

/// Writes a file that is there as a whole or not at all, for its owner only; one that is there stays as it is.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", Uuid::now_v7().simple()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&beside, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    })();
    let removed = fs::remove_file(&beside);
    written.and(removed)?;
    File::open(directory)?.sync_all()
}
