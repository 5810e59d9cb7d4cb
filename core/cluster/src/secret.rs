//! The secret by which the application logs in: a file in the home, made at the first start. PostgreSQL knows only what
//! checks it, so that neither a log nor a dump of the roles tells it.

use std::{
    fmt,
    fs::{self, File},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::Path,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use rand_core::{OsRng, RngCore};
use rustix::process::geteuid;
use sha2::{Digest, Sha256};

use super::{ClusterError, file, place::Place};

const BYTES: usize = 32;

/// What PostgreSQL itself takes. More would protect a password that somebody thought of.
const ITERATIONS: u32 = 4096;

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

/// Not the secret itself.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The secret in the home, made where there is none. The caller holds the lock of whoever starts.
    pub fn of(place: &Place) -> Result<Self, ClusterError> {
        let path = place.secret();
        match fs::read_to_string(&path) {
            Ok(text) => {
                // One that others may read has been changed by somebody, and is a secret no more.
                let mode = fs::metadata(&path).map_err(file("read", &path))?.mode();
                if mode & 0o077 != 0 {
                    return Err(ClusterError::ExposedSecret { path });
                }
                match text.trim_end() {
                    secret if secret.len() == 2 * BYTES && secret.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                        Ok(Self(secret.to_owned()))
                    }
                    _ => Err(file("understand", &path)(io::Error::from(ErrorKind::InvalidData))),
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Self::make(&path, &place.home),
            Err(error) => Err(file("read", &path)(error)),
        }
    }

    fn make(path: &Path, home: &Path) -> Result<Self, ClusterError> {
        let mut bytes = [0; BYTES];
        OsRng.fill_bytes(&mut bytes);
        let secret = Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        // Written aside and renamed, so that an interrupted start leaves no half of it.
        let unfinished = path.with_extension("secret.unfinished");
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(file("remove", &unfinished)(error)),
            _ => {}
        }
        let created = File::options().create_new(true).write(true).mode(0o600).open(&unfinished);
        let mut made = created.map_err(file("create", &unfinished))?;
        made.write_all(format!("{}\n", secret.0).as_bytes()).map_err(file("write", &unfinished))?;
        made.sync_all().map_err(file("flush", &unfinished))?;
        if geteuid().is_root() {
            // A home of another user's stays one that he can use.
            let owner = fs::metadata(home).map_err(file("read", home))?.uid();
            fchown(&made, Some(owner), None).map_err(file("hand over", &unfinished))?;
        }
        fs::rename(&unfinished, path).map_err(file("rename", &unfinished))?;
        Ok(secret)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What PostgreSQL keeps of the secret (RFC 5803). It is the same each time, so that a look shows whether it is of
    /// this secret.
    pub fn verifier(&self) -> String {
        let salt = &Sha256::digest(format!("daybook salt {}", self.0))[..16];
        let salted = salted(self.0.as_bytes(), salt);
        let stored = Sha256::digest(keyed(&salted, &[b"Client Key"]));
        let server = keyed(&salted, &[b"Server Key"]);
        let [salt, stored, server] = [salt, &stored, &server].map(|bytes| BASE64_STANDARD.encode(bytes));
        format!("SCRAM-SHA-256${ITERATIONS}:{salt}${stored}:{server}")
    }
}

/// `Hi` of RFC 5802.
fn salted(password: &[u8], salt: &[u8]) -> [u8; 32] {
    let mut round = keyed(password, &[salt, &1_u32.to_be_bytes()]);
    let mut sum = round;
    for _ in 1..ITERATIONS {
        round = keyed(password, &[&round]);
        for (sum, byte) in sum.iter_mut().zip(round) {
            *sum ^= byte;
        }
    }
    sum
}

fn keyed(key: &[u8], texts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
    for text in texts {
        mac.update(text);
    }
    mac.finalize().into_bytes().into()
}
