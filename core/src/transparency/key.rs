//! The private key of the log: a file outside the database, made at the first start.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use daybook_verify::{SigningKey, note::KeyError};
use rand_core::OsRng;
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

/// The key of this ledger's log. At the first start the log gets its name and its key: first the name, then the file,
/// then the public key in the ledger; whatever comes between, the next start goes on from there.
pub async fn open_key(store: &Store, path: &Path) -> Result<SigningKey, LogKeyError> {
    let name = format!("daybook/{}", Uuid::now_v7());
    sqlx::query("update transparency_log set origin = $1 where origin is null")
        .bind(name)
        .execute(store.pool())
        .await
        .map_err(LogError::from)?;
    let log = standing(store.pool()).await?;
    let origin = log.origin.expect("it was given a moment ago");
    let key = match (read(path)?, &log.vkey) {
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

fn read(path: &Path) -> Result<Option<SigningKey>, LogKeyError> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let key = text.parse().map_err(|source| LogKeyError::Unreadable { path: path.into(), source })?;
            Ok(Some(key))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LogKeyError::File { path: path.into(), source }),
    }
}

fn create(path: &Path, origin: &str) -> Result<SigningKey, LogKeyError> {
    let (private, _) = signed_note::generate_key(&mut OsRng, origin);
    write_new(path, &format!("{private}\n")).map_err(|source| LogKeyError::File { path: path.into(), source })?;
    // Whoever was first: it is his key that lies there.
    Ok(read(path)?.expect("a key was written here a moment ago"))
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
