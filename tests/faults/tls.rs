//! Connections that are encrypted: what they carry, certificates that change, and callers who keep the server waiting or do
//! not encrypt.

use std::{
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use daybook_api::{App, AppOptions, Certificates, ConnectionOptions, Hosts, Running, serve};
use daybook_tests::{database, master_key_env, program};
use rcgen::generate_simple_self_signed;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, crypto::ring, version};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::Command,
    task::{JoinHandle, yield_now},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

/// How long something may take that takes far less.
const LONG: Duration = Duration::from_secs(60);

/// A name of the server, which is in its certificates.
const NAME: &str = "billing.example";

const LIVE: &str = "GET /livez HTTP/1.1\r\nhost: billing.example\r\nconnection: close\r\n\r\n";

/// A certificate and its key in files.
struct Files {
    folder: TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let files = Self { folder, certificate, key };
        files.renew();
        files
    }

    /// Puts another certificate there, as `certbot` does it, and answers with it.
    fn renew(&self) -> CertificateDer<'static> {
        let made = generate_simple_self_signed([NAME.to_owned(), "localhost".to_owned()]).unwrap();
        self.replace(&self.key, made.signing_key.serialize_pem().as_bytes());
        self.replace(&self.certificate, made.cert.pem().as_bytes());
        made.cert.der().clone()
    }

    /// A file is whole at any moment, since the new one is renamed over it.
    fn replace(&self, file: &Path, content: &[u8]) {
        let beside = self.folder.path().join("new");
        fs::write(&beside, content).unwrap();
        fs::set_permissions(&beside, Permissions::from_mode(0o600)).unwrap();
        fs::rename(beside, file).unwrap();
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(&self.certificate).unwrap()
    }
}

/// A caller who trusts one certificate alone.
async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// Asks by a connection of its own; the head of the answer and its body.
async fn asks(served: &Served, trusted: &CertificateDer<'static>, request: &str) -> (String, Value) {
    let mut connection = connect(served.address, trusted, &VERSIONS).await.expect("the certificate is the trusted one");
    connection.write_all(request.as_bytes()).await.unwrap();
    answer(&mut connection).await
}

async fn answer(connection: &mut (impl AsyncReadExt + Unpin)) -> (String, Value) {
    let mut answered = String::new();
    timeout(LONG, connection.read_to_string(&mut answered)).await.expect("the connection is closed").unwrap();
    let (head, body) = answered.split_once("\r\n\r\n").expect("an answer has a head");
    (head.to_lowercase(), serde_json::from_str(body).unwrap_or_default())
}

/// The application, served in this process by TLS.
struct Served {
    address: SocketAddr,
    running: Running,
    serving: JoinHandle<()>,
    stop: CancellationToken,
}

impl Served {
    async fn with(files: &Files, options: ConnectionOptions) -> Self {
        let certificates = Certificates::open(&files.certificate, &files.key).unwrap();
        let certificates = certificates.looking_every(Duration::from_millis(10));
        let app = AppOptions {
            encrypted: true,
            certificates: Some(certificates.clone()),
            hosts: Hosts::new(&[NAME.to_owned()]),
            ..AppOptions::default()
        };
        let running = App::start(database().await.store().await, app).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let options = ConnectionOptions { certificates: Some(certificates), ..options };
        let serving =
            tokio::spawn(serve(listener, daybook_panel::router(running.app().clone()), options, stop.clone()));
        Self { address, running, serving, stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(LONG, self.serving).await.expect("nobody keeps it from stopping").unwrap();
        self.running.shutdown().await;
    }
}

#[tokio::test]
async fn callers_are_answered_by_tls_and_browsers_stay_with_it() {
    let files = Files::new();
    let served = Served::with(&files, ConnectionOptions::default()).await;
    let trusted = files.certificate();
    for version in VERSIONS {
        let mut connection = connect(served.address, &trusted, &[version]).await.expect("both versions are spoken");
        assert_eq!(connection.get_ref().1.protocol_version(), Some(version.version));
        connection.write_all(LIVE.as_bytes()).await.unwrap();
        let (head, body) = answer(&mut connection).await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("strict-transport-security: max-age=31536000"), "{head}");
        assert_eq!(body["status"], "live");
    }
    // Cookies are for encrypted connections and for this host alone.
    let out = "POST /v1/sign-out HTTP/1.1\r\nhost: billing.example\r\nconnection: close\r\ncontent-length: 0\r\n";
    let (head, _) = asks(&served, &trusted, &format!("{out}\r\n")).await;
    assert!(head.starts_with("http/1.1 204"), "{head}");
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie is taken away");
    assert!(cookie.starts_with("__host-daybook=;") && cookie.ends_with("; secure"), "{cookie}");
    // A page of the same name that was not encrypted is another site.
    for (scheme, status) in [("https", 204), ("http", 403)] {
        let (head, _) = asks(&served, &trusted, &format!("{out}origin: {scheme}://billing.example\r\n\r\n")).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{scheme}: {head}");
    }
    // `localhost` has other servers, too.
    let (head, _) = asks(&served, &trusted, &LIVE.replace("billing.example", "localhost")).await;
    assert!(!head.contains("strict-transport-security"), "{head}");
    served.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_a_broken_one_leaves_the_one_of_before() {
    let files = Files::new();
    let served = Served::with(&files, ConnectionOptions::default()).await;
    let first = files.certificate();
    let mut before = connect(served.address, &first, &VERSIONS).await.unwrap();
    let second = files.renew();
    until_shown(&served, &second).await;
    assert!(connect(served.address, &first, &VERSIONS).await.is_err(), "the first one is shown no more");
    // Who was connected stays so.
    before.write_all(LIVE.as_bytes()).await.unwrap();
    assert!(answer(&mut before).await.0.starts_with("http/1.1 200"));

    files.replace(&files.certificate, b"half of a certi");
    let ready = LIVE.replace("/livez", "/readyz");
    let told = async {
        loop {
            let (_, ready) = asks(&served, &second, &ready).await;
            if let Some(error) = ready["certificate"]["error"].as_str() {
                return (ready["status"].clone(), error.to_owned());
            }
            yield_now().await;
        }
    };
    let (status, error) = timeout(LONG, told).await.expect("the trouble is named");
    assert_eq!(status, "ready", "callers are served all the same");
    assert!(error.contains(&format!("{} holds no certificate", files.certificate.display())), "{error}");

    let third = files.renew();
    until_shown(&served, &third).await;
    assert_eq!(asks(&served, &third, &ready).await.1["certificate"], Value::Null);
    served.stop().await;
}

/// Connects until this certificate is shown.
async fn until_shown(served: &Served, certificate: &CertificateDer<'static>) {
    let shown = async {
        while connect(served.address, certificate, &VERSIONS).await.is_err() {
            yield_now().await;
        }
    };
    timeout(LONG, shown).await.expect("the new certificate is shown");
}

#[tokio::test]
async fn a_caller_who_never_agrees_on_encryption_blocks_nobody() {
    let files = Files::new();
    let patience = Duration::from_secs(2);
    let served = Served::with(&files, ConnectionOptions { limit: 2, patience, ..Default::default() }).await;
    let trusted = files.certificate();
    // The head of a first record, of which the rest does not come; and nothing at all.
    for said in [&[22, 3, 1, 2, 0, 1][..], &[]] {
        let mut slow = TcpStream::connect(served.address).await.unwrap();
        slow.write_all(said).await.unwrap();
        let begun = Instant::now();
        let (head, _) = asks(&served, &trusted, LIVE).await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let mut rest = Vec::new();
        // The connection is closed or reset.
        let _ = timeout(LONG, slow.read_to_end(&mut rest)).await.expect("patience ends");
        assert!(begun.elapsed() >= patience, "it was cut after {:?}", begun.elapsed());
    }
    // They count as callers: with two of them, a third one is told to come again.
    let slow = [TcpStream::connect(served.address).await.unwrap(), TcpStream::connect(served.address).await.unwrap()];
    let (head, _) = asks(&served, &trusted, LIVE).await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    drop(slow);
    served.stop().await;
}

#[tokio::test]
async fn a_stop_waits_for_nobody_who_has_not_agreed_on_encryption() {
    let files = Files::new();
    let served = Served::with(&files, ConnectionOptions::default()).await;
    let mut slow = TcpStream::connect(served.address).await.unwrap();
    slow.write_all(&[22, 3, 1]).await.unwrap();
    asks(&served, &files.certificate(), LIVE).await;
    let begun = Instant::now();
    served.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(30), "it took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_caller_who_does_not_encrypt_reads_why_it_is_refused() {
    let files = Files::new();
    let served = Served::with(&files, ConnectionOptions::default()).await;
    let mut plain = TcpStream::connect(served.address).await.unwrap();
    let request = "GET /v1/accounts HTTP/1.1\r\nhost: billing.example\r\nauthorization: Bearer dbk_1\r\n\r\n";
    plain.write_all(request.as_bytes()).await.unwrap();
    let (head, problem) = answer(&mut plain).await;
    assert!(head.starts_with("http/1.1 403") && head.contains("connection: close"), "{head}");
    assert!(!head.contains("strict-transport-security"), "nobody has shown who the server is: {head}");
    assert_eq!(problem["type"], "/problems/encryption-needed");
    assert!(problem["detail"].as_str().unwrap().contains("https://"), "{problem}");
    served.stop().await;
}

#[tokio::test]
async fn the_server_takes_a_certificate_and_names_a_file_that_breaks() {
    let (files, database) = (Files::new(), database().await);
    let mut server = Command::new(program("daybook-server"))
        .envs(master_key_env())
        .args(["--listen", "0.0.0.0:0", "--database-url", database.url(), "--log-key", "none"])
        .args(["--hosts", NAME, "--log-format", "json"])
        .env("DAYBOOK_TLS_CERTIFICATE", &files.certificate)
        .env("DAYBOOK_TLS_KEY", &files.key)
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap()).lines();
    let port = loop {
        let line = timeout(LONG, said.next_line()).await.unwrap().unwrap().expect("it says where it listens");
        if let Some((_, address)) = line.split_once("https://0.0.0.0:") {
            break address.split('/').next().unwrap().parse().unwrap();
        }
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut connection = connect(address, &files.certificate(), &VERSIONS).await.unwrap();
    connection.write_all(LIVE.as_bytes()).await.unwrap();
    assert!(answer(&mut connection).await.0.starts_with("http/1.1 200"));

    files.replace(&files.key, b"no key");
    let mut errors = BufReader::new(server.stderr.take().unwrap()).lines();
    let error = timeout(LONG, errors.next_line()).await.unwrap().unwrap().expect("an error is logged");
    let error: Value = serde_json::from_str(&error).unwrap();
    let named = error["error"].as_str().unwrap();
    assert!(named.contains(&*files.key.to_string_lossy()), "{error}");
    server.kill().await.unwrap();
}

#[tokio::test]
async fn a_server_that_others_would_reach_unencrypted_does_not_start() {
    let home = TempDir::new().unwrap();
    let refused = async |arguments: &[&str]| {
        let mut server = Command::new(program("daybook-server"));
        let ended = server.env_clear().arg("--home").arg(home.path()).args(arguments).kill_on_drop(true).output();
        let ended = timeout(LONG, ended).await.expect("it ends by itself").unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    let (code, said) = refused(&["--listen", "0.0.0.0:0"]).await;
    assert_eq!(code, Some(64), "{said}");
    for way in ["--tls-certificate", "--proxies", "loopback"] {
        assert!(said.contains(way), "{said}");
    }
    let files = Files::new();
    let (certificate, key) = (files.certificate.to_str().unwrap(), files.key.to_str().unwrap());
    fs::set_permissions(&files.key, Permissions::from_mode(0o644)).unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--tls-certificate", certificate, "--tls-key", key];
    let (code, said) = refused(&arguments).await;
    assert!(code == Some(1) && said.contains("chmod 600") && said.contains(key), "{code:?} {said}");
}
