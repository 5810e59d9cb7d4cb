//! TLS: the certificate that callers are shown. Its files are read again while the server runs, so that a new certificate
//! needs no restart.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use daybook_core::{chain, private_file};
use rustls::{
    Error, InconsistentKeys, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use sha2::{Digest, Sha256};
use tokio::{task::spawn_blocking, time::sleep};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

/// How often the files are read again.
const LOOKS_EVERY: Duration = Duration::from_secs(10);

/// Larger files hold no certificate: a chain has some thousand bytes.
const LARGEST: u64 = 1 << 20;

/// The certificate and the private key of the server. Clones are the same.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    looks_every: Duration,
    provider: Arc<CryptoProvider>,
    shown: Mutex<Shown>,
}

/// What new connections are shown.
#[derive(Debug)]
struct Shown {
    key: Arc<CertifiedKey>,
    /// Of the files that it was read from.
    print: Fingerprint,
    /// Why the files of now are not shown.
    trouble: Option<String>,
}

type Fingerprint = [u8; 32];

/// Why a certificate cannot be used. Nothing of a key is in it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{} cannot be read", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} is too large for a certificate or a key", path.display())]
    TooLarge { path: PathBuf },
    #[error(
        "{} may be read or written by others than its owner: run `chmod 600 {}`, and have a new key certified if anybody may have read it",
        path.display(), path.display()
    )]
    Exposed { path: PathBuf },
    #[error("{} holds no certificate in PEM", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} holds a certificate that cannot be read", path.display())]
    Unreadable { path: PathBuf, source: Error },
    #[error("{} holds no private key in PEM that can be used", path.display())]
    NoKey { path: PathBuf },
    #[error("the key in {} is not the key of the certificate in {}", key.display(), certificate.display())]
    Mismatch { key: PathBuf, certificate: PathBuf },
}

impl Certificates {
    /// Reads a certificate with the chain above it, and its private key. Both files are PEM.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let (found, print) = Files::read(certificate, key)?.certified(certificate, key, &provider)?;
        let shown = Mutex::new(Shown { key: Arc::new(found), print, trouble: None });
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Ok(Self(Arc::new(Inner { certificate, key, looks_every: LOOKS_EVERY, provider, shown })))
    }

    /// The same, but its files are read again so often.
    pub fn looking_every(self, pause: Duration) -> Self {
        let Inner { certificate, key, provider, shown, .. } =
            Arc::into_inner(self.0).expect("a pause is set before anything is served");
        Self(Arc::new(Inner { certificate, key, looks_every: pause, provider, shown }))
    }

    /// Why the present files are not shown, but those of before.
    pub fn trouble(&self) -> Option<String> {
        self.shown(|shown| shown.trouble.clone())
    }

    /// Begins connections by TLS 1.2 or 1.3.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let config = ServerConfig::builder_with_provider(Arc::clone(&self.0.provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("ring has ciphers for both versions");
        let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    /// Reads the files again and again. Never ends.
    pub(crate) async fn watch(self) {
        loop {
            sleep(self.0.looks_every).await;
            let certificates = self.clone();
            // The files may lie on a disk of the network.
            if spawn_blocking(move || certificates.look()).await.is_err() {
                tracing::error!("looking at the files of the certificate has failed");
            }
        }
    }

    /// Shows what the files hold now. What cannot be shown leaves the certificate of before.
    ///
    /// The files are compared by what they hold: a rename, a symbolic link that is switched and a file that is written over
    /// are all found that way.
    fn look(&self) {
        let Inner { certificate, key, provider, .. } = &*self.0;
        let files = Files::read(certificate, key);
        let is_shown = |print: &Fingerprint| self.shown(|shown| shown.print == *print);
        let found = files.and_then(|files| match files.print() {
            print if is_shown(&print) => Ok(None),
            _ => files.certified(certificate, key, provider).map(Some),
        });
        match found {
            Ok(None) => self.shown(|shown| shown.trouble = None),
            Ok(Some((found, print))) => {
                tracing::info!(certificate = %certificate.display(), "new connections are shown a new certificate");
                let key = Arc::new(found);
                self.shown(|shown| *shown = Shown { key, print, trouble: None });
            }
            Err(error) => {
                let trouble = chain(&error);
                if self.shown(|shown| shown.trouble.replace(trouble.clone())).as_ref() != Some(&trouble) {
                    tracing::error!(error = trouble, "the certificate of before is shown on");
                }
            }
        }
    }

    fn shown<T>(&self, look: impl FnOnce(&mut Shown) -> T) -> T {
        look(&mut self.0.shown.lock().expect("nobody falls while holding it"))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown(|shown| Arc::clone(&shown.key)))
    }
}

/// What the two files hold.
struct Files {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Files {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let (certificate, _) = read(certificate)?;
        let (found, metadata) = read(key)?;
        let found = Zeroizing::new(found);
        if !private_file::is_private(&metadata) {
            return Err(TlsError::Exposed { path: key.into() });
        }
        Ok(Self { certificate, key: found })
    }

    fn print(&self) -> Fingerprint {
        let mut print = Sha256::new();
        print.update(self.certificate.len().to_le_bytes());
        print.update(&self.certificate);
        print.update(&*self.key);
        print.finalize().into()
    }

    /// The certificate with its key, if one belongs to the other.
    fn certified(
        &self,
        certificate: &Path,
        key: &Path,
        provider: &CryptoProvider,
    ) -> Result<(CertifiedKey, Fingerprint), TlsError> {
        let none = || TlsError::NoCertificate { path: certificate.into() };
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<_, _>>().map_err(|_| none())?;
        if chain.is_empty() {
            return Err(none());
        }
        // The reason is left out: it could show some of the key.
        let unusable = || TlsError::NoKey { path: key.into() };
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| unusable())?;
        let private = provider.key_provider.load_private_key(private).map_err(|_| unusable())?;
        let certified = CertifiedKey::new(chain, private);
        match certified.keys_match() {
            Ok(()) => Ok((certified, self.print())),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(TlsError::Mismatch { key: key.into(), certificate: certificate.into() })
            }
            Err(source) => Err(TlsError::Unreadable { path: certificate.into(), source }),
        }
    }
}

/// What a file holds, and whose it is.
fn read(path: &Path) -> Result<(Vec<u8>, Metadata), TlsError> {
    let failed = |source| TlsError::File { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(LARGEST)).unwrap_or_default() + 1);
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        return Err(TlsError::TooLarge { path: path.into() });
    }
    Ok((bytes, metadata))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt, symlink},
    };

    use rcgen::generate_simple_self_signed;
    use tempfile::TempDir;

    use super::*;

    /// Files of a certificate that is made anew at each call.
    fn write(folder: &Path) -> (PathBuf, PathBuf) {
        let made = generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate can be made");
        let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        fs::write(&certificate, made.cert.pem()).expect("it can be written");
        fs::write(&key, made.signing_key.serialize_pem()).expect("it can be written");
        fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("it is ours");
        (certificate, key)
    }

    fn folder() -> TempDir {
        tempfile::tempdir().expect("a folder can be made")
    }

    fn shown(certificates: &Certificates) -> Vec<u8> {
        certificates.shown(|shown| shown.key.cert[0].to_vec())
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let folder = folder();
        let (certificate, key) = write(folder.path());
        let refused = |what: &str| {
            let error = Certificates::open(&certificate, &key).expect_err(what).to_string();
            assert!(!error.contains("MII"), "{error}");
            error
        };
        assert!(Certificates::open(&certificate, &key).is_ok());
        fs::set_permissions(&key, Permissions::from_mode(0o640)).expect("it is ours");
        assert!(refused("others may read it").contains(&format!("chmod 600 {}", key.display())));
        fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("it is ours");

        let (whole, own) = (fs::read(&certificate).expect("it is there"), fs::read(&key).expect("it is there"));
        for (broken, of, said) in [
            (b"".to_vec(), &certificate, "holds no certificate"),
            (whole[..whole.len() / 2].to_vec(), &certificate, "holds no certificate"),
            (own.clone(), &certificate, "holds no certificate"),
            (
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec(),
                &certificate,
                "cannot be read",
            ),
            (vec![b'x'; 2 << 20], &certificate, "too large"),
            (b"".to_vec(), &key, "holds no private key"),
            (own[..own.len() / 2].to_vec(), &key, "holds no private key"),
            (b"-----BEGIN MIIEvQ-----\n".to_vec(), &key, "holds no private key"),
        ] {
            fs::write(of, &broken).expect("it can be written");
            let error = refused(said);
            assert!(error.contains(said) && error.contains(&*of.to_string_lossy()), "{error}");
            fs::write(&certificate, &whole).expect("it can be written");
            fs::write(&key, &own).expect("it can be written");
        }
        let (_, of_another) = write(&{
            let other = folder.path().join("other");
            fs::create_dir(&other).expect("a folder can be made");
            other
        });
        fs::copy(&of_another, &key).expect("it can be copied");
        assert!(refused("the key is of another certificate").contains("is not the key of the certificate"));
        fs::remove_file(&certificate).expect("it was there");
        assert!(refused("it is gone").contains("tls.crt cannot be read"));
    }

    #[test]
    fn what_the_files_hold_is_shown_and_what_cannot_be_used_leaves_the_one_of_before() {
        let folder = folder();
        let (certificate, key) = write(folder.path());
        let certificates = Certificates::open(&certificate, &key).expect("it can be used");
        let first = shown(&certificates);
        certificates.look();
        assert_eq!((shown(&certificates), certificates.trouble()), (first.clone(), None));

        write(folder.path());
        certificates.look();
        let second = shown(&certificates);
        assert_ne!(second, first);

        let whole = fs::read(&certificate).expect("it is there");
        fs::write(&certificate, "half of a certi").expect("it can be written");
        certificates.look();
        assert_eq!(shown(&certificates), second);
        let trouble = certificates.trouble().expect("the file is broken");
        assert!(trouble.contains("tls.crt holds no certificate"), "{trouble}");
        fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("it is ours");
        certificates.look();
        assert!(certificates.trouble().expect("others may read the key").contains("chmod 600"));

        fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("it is ours");
        fs::write(&certificate, whole).expect("it can be written");
        certificates.look();
        assert_eq!((shown(&certificates), certificates.trouble()), (second, None));
    }

    #[test]
    fn a_symbolic_link_that_is_switched_is_followed() {
        let folder = folder();
        let versions = ["one", "two"].map(|name| folder.path().join(name));
        for version in &versions {
            fs::create_dir(version).expect("a folder can be made");
            write(version);
        }
        // As Kubernetes does it: the files are links through a link to a folder, and that one is switched.
        let data = folder.path().join("..data");
        symlink(&versions[0], &data).expect("a link can be made");
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), folder.path().join(name)).expect("a link can be made");
        }
        let certificates = Certificates::open(&folder.path().join("tls.crt"), &folder.path().join("tls.key"))
            .expect("links are followed");
        let first = shown(&certificates);
        symlink(&versions[1], folder.path().join("..next")).expect("a link can be made");
        fs::rename(folder.path().join("..next"), &data).expect("a link can be replaced");
        certificates.look();
        assert_ne!(shown(&certificates), first);
        assert_eq!(certificates.trouble(), None);
    }
}
