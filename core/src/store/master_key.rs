//! The master key of a ledger: a file outside of the database, made at the first start. It wraps the keys of persons.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use super::{Store, StoreError, aead::Secret};
use crate::private_file::{self, Secret as Found};

/// What the text of a master key begins with.
const LABEL: &str = "DAYBOOK+MASTER+KEY+";

/// A key that wraps others; where it is named, its id stands.
#[derive(Clone)]
pub struct MasterKey {
    id: String,
    secret: Secret,
}

#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    #[error("the master key cannot be kept at {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} does not hold a master key", path.display())]
    Unreadable { path: PathBuf },
    #[error(
        "{} may be read or written by others than its owner: run `chmod 600 {}`; whoever has read it reads the texts about \
         persons in any copy of this ledger",
        path.display(), path.display()
    )]
    Exposed { path: PathBuf },
    #[error(
        "the master key of this ledger, {id}, is not at {}: put it back, or name another place by --master-key; without it no \
         text about a person can be read, and nothing was changed",
        path.display()
    )]
    Missing { path: PathBuf, id: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A text that is no master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a master key is written {LABEL}… with 32 bytes in Base64")]
pub struct NoMasterKeyText;

impl MasterKey {
    pub fn generate() -> Self {
        Self::of(Secret::generate())
    }

    pub fn of_bytes(bytes: [u8; 32]) -> Self {
        Self::of(Secret::of(bytes))
    }

    fn of(secret: Secret) -> Self {
        let hash: [u8; 32] =
            Sha256::new().chain_update("daybook master key\n").chain_update(secret.bytes()).finalize().into();
        let id = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { id, secret }
    }

    /// The beginning of its hash: it tells nothing of the key, and which one it is.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// As it stands in a file.
    pub fn to_text(&self) -> String {
        format!("{LABEL}{}\n", BASE64_STANDARD.encode(self.secret.bytes()))
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

impl FromStr for MasterKey {
    type Err = NoMasterKeyText;

    fn from_str(text: &str) -> Result<Self, NoMasterKeyText> {
        let encoded = text.trim().strip_prefix(LABEL).ok_or(NoMasterKeyText)?;
        let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| NoMasterKeyText)?;
        Ok(Self::of_bytes(bytes.try_into().map_err(|_| NoMasterKeyText)?))
    }
}

/// The master key in a file; `None` if there is no such file.
pub fn read_master_key(path: &Path) -> Result<Option<MasterKey>, MasterKeyError> {
    let found = private_file::read(path).map_err(|source| MasterKeyError::File { path: path.into(), source })?;
    match found {
        Found::Nothing => Ok(None),
        Found::Exposed => Err(MasterKeyError::Exposed { path: path.into() }),
        Found::Text(text) => text.parse().map(Some).map_err(|_| MasterKeyError::Unreadable { path: path.into() }),
    }
}

impl Store {
    /// The ledger with the master key in this file, which seals and opens texts about persons. It is made if the ledger has
    /// none yet.
    pub async fn unlocked(self, path: &Path) -> Result<Self, MasterKeyError> {
        let key = match read_master_key(path)? {
            Some(key) => key,
            None => match self.keys().master_key_in_use().await? {
                Some(id) => return Err(MasterKeyError::Missing { path: path.into(), id }),
                None => make(path)?,
            },
        };
        Ok(self.with_master_key(key).await?)
    }

    /// The same for who only reads: without the file, texts that are sealed cannot be read, and all else can.
    pub async fn unlocked_to_read(self, path: &Path) -> Result<Self, MasterKeyError> {
        match read_master_key(path)? {
            Some(key) => Ok(self.with_master_key(key).await?),
            None => Ok(self),
        }
    }
}

fn make(path: &Path) -> Result<MasterKey, MasterKeyError> {
    private_file::write_new(path, &MasterKey::generate().to_text())
        .map_err(|source| MasterKeyError::File { path: path.into(), source })?;
    // Whoever was first: it is his key that lies there.
    Ok(read_master_key(path)?.expect("a key was written here a moment ago"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_key_reads_back_what_it_writes() {
        let key = MasterKey::generate();
        let read: MasterKey = key.to_text().parse().expect("it was written as one");
        assert_eq!((read.id(), read.secret.bytes()), (key.id(), key.secret.bytes()));
        for wrong in ["", "DAYBOOK+MASTER+KEY+", "DAYBOOK+MASTER+KEY+AAAA", "PRIVATE+KEY+daybook"] {
            assert_eq!(wrong.parse::<MasterKey>().err(), Some(NoMasterKeyText), "{wrong}");
        }
    }

    #[test]
    fn a_master_key_is_told_by_its_id_alone() {
        let key = MasterKey::of_bytes([7; 32]);
        assert_eq!(key.id().len(), 16);
        assert_ne!(key.id(), MasterKey::of_bytes([8; 32]).id());
        assert_eq!(format!("{key:?}"), format!("MasterKey({})", key.id()));
    }
}
