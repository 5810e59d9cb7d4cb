//! The settings of the server: flags, and environment variables of the same names.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use axum::http::HeaderValue;
use chrono::{Datelike, NaiveDate, TimeDelta};
use clap::{Parser, ValueEnum};
use daybook_identity::SessionOptions;
use daybook_projections::NewVersions;
use ipnet::IpNet;

use crate::{
    http::{
        admission::Hosts,
        arrival::{Proxies, proxy},
        connections::ConnectionOptions,
        cors::{Origins, origin},
        rate::RateOptions,
        tls::{Certificates, TlsError},
    },
    identity::{sign_up::Terms, sweep::SweepOptions},
};

/// The billing ledger of a service provider, served over HTTP.
#[derive(Clone, Debug, Parser)]
#[command(name = "daybook-server", version, about)]
pub struct Config {
    /// The ledger's home: the embedded PostgreSQL lies there.
    #[arg(long, env = "DAYBOOK_HOME", default_value = ".daybook", value_name = "DIRECTORY")]
    pub home: PathBuf,

    /// A PostgreSQL of your own instead of the embedded one, by a login that has the role `daybook_app` and owns nothing. If
    /// it is the one that owns the ledger's tables, everything works, and the server warns.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,

    /// The login there that owns the ledger's tables, for migrations and builds only.
    #[arg(long, env = "DAYBOOK_OWNER_URL", value_name = "URL", hide_env_values = true, requires = "database_url")]
    owner_url: Option<String>,

    /// Where to listen. An address that other machines reach needs a certificate or proxies.
    #[arg(long, env = "DAYBOOK_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT", value_parser = address)]
    pub listen: SocketAddr,

    /// Where `/livez`, `/readyz` and `/metrics` are answered without a token and without encryption, to programs that watch the
    /// server: an address of this machine or of a private network. `--listen` then has no `/metrics`.
    #[arg(long, env = "DAYBOOK_METRICS_LISTEN", value_name = "ADDRESS:PORT", value_parser = private_address)]
    pub metrics_listen: Option<SocketAddr>,

    /// The certificate of the server and the chain above it, in PEM: connections are then encrypted by TLS 1.2 or 1.3. A new
    /// certificate in the file is shown within ten seconds, without a restart.
    #[arg(long, env = "DAYBOOK_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,

    /// The private key of the certificate, in PEM, readable by its owner only.
    #[arg(long, env = "DAYBOOK_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,

    /// A proxy before this server that encrypts for it, by its address or its network, such as 10.0.0.7 or 10.0.0.0/24; several
    /// with commas. It is believed what it says of its callers by `X-Forwarded-For`, `X-Forwarded-Proto` and
    /// `X-Forwarded-Host`, and nobody else is. Without a certificate, nobody but these proxies and this machine is answered.
    #[arg(long, env = "DAYBOOK_PROXIES", value_name = "ADDRESS", value_delimiter = ',', value_parser = proxy)]
    proxies: Vec<IpNet>,

    /// A name by which callers reach this server, such as that of the proxy before it; as often as there are names. Addresses
    /// and `localhost` need no naming. A request for any other name is refused.
    #[arg(long = "hosts", env = "DAYBOOK_HOSTS", value_name = "NAME", value_delimiter = ',', value_parser = host_name)]
    hosts: Vec<String>,

    /// The pages of other sites that may ask by a token, by their origins, such as `https://panel.example`; several with commas.
    /// Cookies count for none of them. Without it, browsers let no page of another site read an answer.
    #[arg(long, env = "DAYBOOK_CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',', value_parser = origin)]
    cors_origins: Vec<HeaderValue>,

    /// How many commands may wait for the writer; further ones are answered that the ledger is overloaded.
    #[arg(long, env = "DAYBOOK_QUEUE", default_value_t = 8192, value_name = "COMMANDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub queue: u32,

    /// How many commands are written in one transaction at most.
    #[arg(long, env = "DAYBOOK_BATCH", default_value_t = 1000, value_name = "COMMANDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,

    /// How much of the ledger the writer keeps in memory, in MiB; what is larger than a quarter of that counts as a quarter.
    #[arg(long, env = "DAYBOOK_CACHE", default_value_t = 40, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub cache: u32,

    /// How many connections to the database the queries share.
    #[arg(long, env = "DAYBOOK_CONNECTIONS", default_value_t = 20, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(2..))]
    pub connections: u32,

    /// How many callers may be connected at once. Further ones are answered by 503 with `Retry-After`. Each takes one of the
    /// files that the process may have open (`ulimit -n`).
    #[arg(long, env = "DAYBOOK_CALLERS", default_value_t = 800, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    callers: u32,

    /// How long, in seconds, a caller may take to agree on encryption, for the head of the next request on a connection, again
    /// for the body, and how long it may take nothing of an answer; a connection that takes longer is closed.
    #[arg(long, env = "DAYBOOK_PATIENCE", default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    patience: u32,

    /// How many requests of one user are answered in a minute, by whatever tokens and sessions, by this process; 0 for as many
    /// as come. Further ones are answered by 429.
    #[arg(long, env = "DAYBOOK_RATE_LIMIT", default_value_t = 6_000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=10_000_000))]
    rate_limit: u32,

    /// The same for one address of those who have not signed in; an IPv6 network of 64 bits counts as one address.
    #[arg(long, env = "DAYBOOK_RATE_LIMIT_ADDRESS", default_value_t = 600, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=10_000_000))]
    rate_limit_address: u32,

    /// After how many minutes without a request a session ends.
    #[arg(long, env = "DAYBOOK_SESSION_IDLE", default_value_t = 720, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(5..=43_200))]
    session_idle: u32,

    /// After how many hours a session ends, however much it is used.
    #[arg(long, env = "DAYBOOK_SESSION_END", default_value_t = 720, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(1..=8_760))]
    session_end: u32,

    /// For how many months lines of the access log are kept. Whole months are removed.
    #[arg(long, env = "DAYBOOK_ACCESS_LOG_MONTHS", default_value_t = 13, value_name = "MONTHS", value_parser = clap::value_parser!(u32).range(1..=240))]
    access_log_months: u32,

    /// How often, in minutes, what has ended is removed: secrets that nothing names, sessions, links, months of the access log.
    #[arg(long, env = "DAYBOOK_SWEEP", default_value_t = 60, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=1_440))]
    sweep: u32,

    /// Print links that sign the users of a demonstration in, also where the ledger lies in a PostgreSQL of your own. `./run`
    /// fills an empty ledger there only with this. Only on a loopback address and without proxies.
    #[arg(long, env = "DAYBOOK_DEMO")]
    demo: bool,

    /// How old, in seconds, an event may be that a projection has not seen before the server calls itself not ready.
    #[arg(long, env = "DAYBOOK_LAG_BUDGET", default_value_t = 10, value_name = "SECONDS")]
    pub lag_budget: u32,

    /// What to do where this program has a newer version of a projection than the one that serves.
    #[arg(long, env = "DAYBOOK_NEW_VERSIONS", default_value = "build")]
    new_versions: Upgrade,

    /// How often, in seconds, to compare a few rows with the book, one projection after the other; 0 for never.
    #[arg(long, env = "DAYBOOK_WATCH", default_value_t = 1, value_name = "SECONDS")]
    watch: u32,

    /// The private key that signs the transparency log, made at the first start; `log.key` in the home if none is given.
    /// `none` to sign nothing.
    #[arg(long, env = "DAYBOOK_LOG_KEY", value_name = "FILE")]
    log_key: Option<PathBuf>,

    /// The master key, by which texts about persons are sealed and read, made at the first start; `master.key` in the home
    /// if none is given. Whoever loses it loses these texts.
    #[arg(long, env = "DAYBOOK_MASTER_KEY_FILE", value_name = "FILE")]
    master_key: Option<PathBuf>,

    /// How long, in hours, the reset of a lost second factor waits before another one of the staff can complete it.
    #[arg(long, env = "DAYBOOK_FACTOR_RESET_WAIT", default_value_t = 24, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(1..=720))]
    factor_reset_wait: u32,

    /// Let people sign up without an invitation. The file has the terms that they accept, as text in UTF-8 of at most 200,000
    /// bytes; the ledger keeps the SHA-256 of the text that each person accepted.
    #[arg(long, env = "DAYBOOK_SIGN_UP_TERMS", value_name = "FILE", requires = "sign_up_terms_dated")]
    sign_up_terms: Option<PathBuf>,

    /// The date that these terms bear. A new text needs a new date.
    #[arg(long, env = "DAYBOOK_SIGN_UP_TERMS_DATED", value_name = "YYYY-MM-DD", requires = "sign_up_terms", value_parser = date)]
    sign_up_terms_dated: Option<NaiveDate>,

    /// Go by the database's clock where nothing would be recorded otherwise: after more than 31 days without a record,
    /// although this machine's differs from it by more than five minutes; and where the last event was recorded more than
    /// five minutes ahead of it, at the time of that event until the clock has come there.
    #[arg(long, env = "DAYBOOK_TRUST_DATABASE_CLOCK")]
    pub trust_database_clock: bool,

    /// How to write the log. `RUST_LOG` says what of it.
    #[arg(long, env = "DAYBOOK_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

impl Config {
    /// Whether the settings fit together, and otherwise what to do.
    pub fn check(&self) -> Result<(), String> {
        let is_here = self.listen.ip().is_loopback();
        if !is_here && self.tls_certificate.is_none() && self.proxies.is_empty() {
            let (listen, port) = (self.listen, self.listen.port());
            return Err(format!(
                "other machines reach `--listen {listen}`, and connections would not be encrypted: give a certificate by \
                 --tls-certificate FILE and --tls-key FILE, or name the proxy before this server that encrypts by \
                 --proxies ADDRESS; or listen on a loopback address, such as 127.0.0.1:{port} or [::1]:{port}"
            ));
        }
        if self.demo && !(is_here && self.proxies.is_empty()) {
            let reason = "--demo prints links that sign anybody in: listen on a loopback address, without --proxies";
            return Err(reason.into());
        }
        let SessionOptions { idle, absolute } = self.sessions();
        if idle > absolute {
            let (idle, end) = (self.session_idle, self.session_end);
            return Err(format!(
                "a session cannot rest for {idle} minutes (--session-idle) and end after {end} hours (--session-end): the \
                 first must not be longer than the second"
            ));
        }
        Ok(())
    }

    /// The certificate that callers are shown, if connections are encrypted here.
    pub fn certificates(&self) -> Result<Option<Certificates>, TlsError> {
        match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => Certificates::open(certificate, key).map(Some),
            _ => Ok(None),
        }
    }

    pub fn proxies(&self) -> Proxies {
        Proxies::new(&self.proxies)
    }

    /// Whether callers come by encrypted connections alone, be it that they end before this server.
    pub fn is_encrypted(&self) -> bool {
        self.tls_certificate.is_some() || !self.proxies.is_empty()
    }

    /// Whether links sign the users of a demonstration in: only who is at this machine reaches the server then.
    pub fn takes_links(&self) -> bool {
        let is_ours = self.database_url().is_none() || self.demo;
        is_ours && self.listen.ip().is_loopback() && self.proxies.is_empty()
    }

    /// How long sessions last.
    pub fn sessions(&self) -> SessionOptions {
        SessionOptions {
            idle: TimeDelta::minutes(self.session_idle.into()),
            absolute: TimeDelta::hours(self.session_end.into()),
        }
    }

    /// How often what has ended is removed.
    pub fn sweep(&self) -> SweepOptions {
        let pause = Duration::from_secs(60 * u64::from(self.sweep));
        SweepOptions { pause, months_kept: self.access_log_months }
    }

    /// The database of the user's own. An empty one is none: that is how a variable is unset where it cannot be removed.
    pub fn database_url(&self) -> Option<&str> {
        self.database_url.as_deref().filter(|url| !url.is_empty())
    }

    /// How the owner of its tables connects, if not by the same login.
    pub fn owner_url(&self) -> Option<&str> {
        self.owner_url.as_deref().filter(|url| !url.is_empty())
    }

    pub fn new_versions(&self) -> NewVersions {
        match self.new_versions {
            Upgrade::Build => NewVersions::Build,
            Upgrade::Await => NewVersions::Await,
        }
    }

    /// Where the private key of the transparency log lies, if it is to sign.
    pub fn log_key(&self) -> Option<PathBuf> {
        match &self.log_key {
            Some(path) if path.as_os_str() == "none" => None,
            Some(path) if !path.as_os_str().is_empty() => Some(path.clone()),
            _ => Some(self.home.join("log.key")),
        }
    }

    /// Where the master key lies.
    pub fn master_key(&self) -> PathBuf {
        let named = self.master_key.clone().filter(|path| !path.as_os_str().is_empty());
        named.unwrap_or_else(|| self.home.join("master.key"))
    }

    /// The names by which callers reach this server.
    pub fn hosts(&self) -> Hosts {
        Hosts::new(&self.hosts)
    }

    /// The pages of other sites that may ask.
    pub fn origins(&self) -> Origins {
        Origins::new(&self.cors_origins)
    }

    /// How callers may be connected.
    pub fn callers(&self, certificates: Option<Certificates>) -> ConnectionOptions {
        ConnectionOptions { limit: self.callers as usize, patience: self.patience(), certificates }
    }

    /// How many requests are answered in a minute.
    pub fn rates(&self) -> RateOptions {
        RateOptions { of_principal: self.rate_limit, of_address: self.rate_limit_address }
    }

    /// How long a caller is waited for.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.patience.into())
    }

    /// How long the reset of a lost second factor waits.
    pub fn factor_reset_wait(&self) -> TimeDelta {
        TimeDelta::hours(self.factor_reset_wait.into())
    }

    /// What whoever signs up accepts, if people can sign up.
    pub fn terms(&self) -> Result<Option<Terms>, String> {
        let (Some(path), Some(dated)) = (&self.sign_up_terms, self.sign_up_terms_dated) else { return Ok(None) };
        let read = Terms::read(path, dated);
        read.map(Some).map_err(|error| format!("--sign-up-terms {}: {error}", path.display()))
    }

    /// The pause between two looks at the rows.
    pub fn watch(&self) -> Option<Duration> {
        (self.watch > 0).then(|| Duration::from_secs(self.watch.into()))
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Upgrade {
    /// It is built in the background, and takes over.
    Build,
    /// The earlier version goes on serving until an operator has the new one built.
    Await,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Human-readable on a terminal, JSON otherwise.
    Auto,
    Human,
    Json,
}

fn host_name(text: &str) -> Result<String, String> {
    let name = text.trim().trim_end_matches('.');
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !name.is_empty() && name.chars().all(is_of_a_name) {
        Ok(name.to_owned())
    } else {
        Err("a host is a name alone, such as billing.example.com, without scheme, port or path".into())
    }
}

fn date(text: &str) -> Result<NaiveDate, String> {
    let written = text.parse::<NaiveDate>().ok().filter(|date| date.to_string() == text);
    let date = written.filter(|date| (1900..=9998).contains(&date.year()));
    date.ok_or_else(|| "a date looks like 2026-11-30, in the years 1900 to 9998".to_owned())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "an address looks like 127.0.0.1:8080".to_owned())
}

/// An address that is reached from this machine or a private network alone.
fn private_address(text: &str) -> Result<SocketAddr, String> {
    let at = address(text)?;
    let is_private = match at.ip().to_canonical() {
        // 100.64.0.0/10 is shared within one network (RFC 6598).
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || matches!(ip.octets(), [100, 64..=127, ..]),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    };
    if is_private {
        Ok(at)
    } else {
        Err("it is answered without a token there: name an address of this machine or of a private network alone, such as \
             127.0.0.1:9090 or 10.0.0.5:9090"
            .into())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    #[test]
    fn the_settings_are_consistent() {
        Config::command().debug_assert();
    }

    fn config(arguments: &[&str]) -> Result<Config, clap::Error> {
        Config::try_parse_from(["daybook-server"].iter().chain(arguments))
    }

    fn check(arguments: &[&str]) -> Result<(), String> {
        config(arguments).expect("each setting is well written").check()
    }

    #[test]
    fn an_address_that_others_can_reach_needs_a_certificate_or_proxies() {
        for open in ["0.0.0.0:8080", "[::]:8080", "192.0.2.7:8080"] {
            let reason = check(&["--listen", open]).expect_err(open);
            for way in ["--tls-certificate", "--tls-key", "--proxies", "127.0.0.1:8080"] {
                assert!(reason.contains(way), "{reason}");
            }
            assert_eq!(check(&["--listen", open, "--tls-certificate", "c.pem", "--tls-key", "k.pem"]), Ok(()));
            assert_eq!(check(&["--listen", open, "--proxies", "10.0.0.7,2001:db8::/64"]), Ok(()));
        }
        for own in ["127.0.0.1:8080", "127.9.9.9:1", "[::1]:0"] {
            assert_eq!(check(&["--listen", own]), Ok(()));
        }
        for (wrong, named) in [
            (&["--listen", "localhost:8080"][..], "--listen"),
            (&["--proxies", "0.0.0.0/0"], "--proxies"),
            (&["--proxies", "10.0.0.7,proxy.example"], "--proxies"),
            (&["--tls-certificate", "c.pem"], "--tls-key"),
            (&["--tls-key", "k.pem"], "--tls-certificate"),
        ] {
            let error = config(wrong).expect_err("it is wrong").to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn metrics_without_a_token_are_for_private_networks() {
        let at = |address: &str| config(&["--metrics-listen", address]).map(|config| config.metrics_listen.is_some());
        for private in ["127.0.0.1:9090", "[::1]:0", "10.0.0.5:9090", "172.16.0.1:1", "100.64.0.1:1", "[fd00::1]:9090"]
        {
            assert!(at(private).is_ok_and(|given| given), "{private}");
        }
        for open in
            ["0.0.0.0:9090", "[::]:9090", "192.0.2.7:9090", "100.128.0.1:1", "[2001:db8::1]:9090", "localhost:1"]
        {
            let error = at(open).expect_err(open).to_string();
            assert!(error.contains("--metrics-listen"), "{error}");
        }
    }

    #[test]
    fn cookies_are_sent_by_encrypted_connections_alone_where_callers_come_by_such() {
        let encrypted = |arguments: &[&str]| config(arguments).expect("the settings fit").is_encrypted();
        assert!(!encrypted(&[]));
        assert!(encrypted(&["--tls-certificate", "c.pem", "--tls-key", "k.pem"]));
        assert!(encrypted(&["--proxies", "127.0.0.1"]));
    }

    #[test]
    fn links_of_a_demonstration_are_for_this_machine_and_in_a_database_of_ones_own_only_if_asked_for() {
        let takes = |arguments: &[&str]| config(arguments).expect("the settings are well written").takes_links();
        let (own, tls) = (["--database-url", "postgres://ledger"], ["--tls-certificate", "c", "--tls-key", "k"]);
        assert!(takes(&["--database-url", ""]));
        assert!(takes(&["--database-url", "", "--listen", "[::1]:0", tls[0], tls[1], tls[2], tls[3]]));
        assert!(!takes(&own));
        assert!(takes(&[own[0], own[1], "--demo"]));
        for reached in [&["--proxies", "127.0.0.1"][..], &["--listen", "0.0.0.0:1", tls[0], tls[1], tls[2], tls[3]]] {
            assert!(!takes(&[&["--database-url", ""], reached].concat()), "{reached:?}");
            let reason = check(&[&["--demo"], reached].concat()).expect_err("others would see them");
            assert!(reason.contains("--demo"), "{reason}");
        }
    }

    #[test]
    fn times_have_bounds() {
        let usual = config(&[]).expect("the settings fit");
        let (sessions, sweep) = (usual.sessions(), usual.sweep());
        assert_eq!((sessions.idle, sessions.absolute), (TimeDelta::hours(12), TimeDelta::days(30)));
        assert_eq!((sweep.pause, sweep.months_kept), (Duration::from_secs(3_600), 13));
        let other =
            config(&["--session-idle", "30", "--session-end", "8", "--access-log-months", "6", "--sweep", "1440"]);
        let other = other.expect("the settings fit");
        assert_eq!((other.sessions().idle, other.sessions().absolute), (TimeDelta::minutes(30), TimeDelta::hours(8)));
        assert_eq!((other.sweep().pause, other.sweep().months_kept), (Duration::from_secs(86_400), 6));
        for wrong in [
            ["--session-idle", "4"],
            ["--session-idle", "43201"],
            ["--session-end", "0"],
            ["--session-end", "8761"],
            ["--access-log-months", "0"],
            ["--access-log-months", "241"],
            ["--sweep", "0"],
            ["--sweep", "1441"],
        ] {
            let error = config(&wrong).expect_err("it is out of bounds");
            assert_eq!(error.kind(), ErrorKind::ValueValidation);
            assert!(error.to_string().contains(wrong[0]), "{error}");
        }
        let reason = check(&["--session-idle", "121", "--session-end", "2"]).expect_err("it ends before it rests");
        assert!(reason.contains("--session-idle") && reason.contains("--session-end"), "{reason}");
        assert_eq!(check(&["--session-idle", "120", "--session-end", "2"]), Ok(()));
    }

    #[test]
    fn a_host_is_a_name_alone() {
        assert_eq!(host_name(" billing.example. ").as_deref(), Ok("billing.example"));
        for wrong in ["", "https://billing.example", "billing.example:8443", "billing.example/", "a b"] {
            assert!(host_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn new_versions_are_built_and_the_rows_watched_unless_somebody_says_otherwise() {
        let config = |arguments: &[&str]| config(arguments).expect("the settings fit");
        let usual = config(&[]);
        assert_eq!((usual.new_versions(), usual.watch()), (NewVersions::Build, Some(Duration::from_secs(1))));
        let other = config(&["--new-versions", "await", "--watch", "0"]);
        assert_eq!((other.new_versions(), other.watch()), (NewVersions::Await, None));
    }

    #[test]
    fn a_lost_factor_is_not_reset_at_once() {
        let config = Config::try_parse_from(["daybook-server"]).expect("the settings fit");
        assert_eq!(config.factor_reset_wait(), TimeDelta::hours(24));
        for hours in ["0", "721"] {
            assert!(Config::try_parse_from(["daybook-server", "--factor-reset-wait", hours]).is_err(), "{hours}");
        }
    }

    #[test]
    fn terms_have_a_text_and_a_date() {
        let terms = |arguments: &[&str]| config(arguments).expect("the settings are well written").terms();
        assert!(terms(&[]).expect("nobody signs up").is_none());
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path().join("terms.txt");
        let path = path.to_str().expect("the path is text");
        let with = ["--sign-up-terms", path, "--sign-up-terms-dated", "2026-11-30"];
        assert!(terms(&with).expect_err("there is no file").contains("--sign-up-terms"));
        for (text, is_good) in [("", false), (" \n", false), ("Pay in time.", true)] {
            std::fs::write(path, text).expect("a file can be written");
            assert_eq!(terms(&with).is_ok_and(|terms| terms.is_some()), is_good, "{text:?}");
        }
        std::fs::write(path, "a".repeat(200_001)).expect("a file can be written");
        assert!(terms(&with).is_err());
        for wrong in [&with[..2], &with[2..], &["--sign-up-terms", path, "--sign-up-terms-dated", "30.11.2026"]] {
            assert!(config(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_logs_key_lies_in_the_home_unless_given() {
        let key = |arguments: &[&str]| {
            let arguments = ["daybook-server", "--home", "here"].iter().chain(arguments);
            Config::try_parse_from(arguments).expect("the settings fit").log_key()
        };
        assert_eq!(key(&[]), Some("here/log.key".into()));
        assert_eq!(key(&["--log-key", "/elsewhere"]), Some("/elsewhere".into()));
        assert_eq!(key(&["--log-key", "none"]), None);
    }

    #[test]
    fn the_master_key_lies_in_the_home_unless_given() {
        let key = |arguments: &[&str]| {
            let arguments = ["daybook-server", "--home", "here"].iter().chain(arguments);
            Config::try_parse_from(arguments).expect("the settings fit").master_key()
        };
        assert_eq!(key(&[]), PathBuf::from("here/master.key"));
        assert_eq!(key(&["--master-key", "/elsewhere"]), PathBuf::from("/elsewhere"));
    }

    #[test]
    fn an_empty_database_url_is_none() {
        let url = |text: &str| {
            let config = Config::try_parse_from(["daybook-server", "--database-url", text]).expect("the settings fit");
            config.database_url().map(str::to_owned)
        };
        assert_eq!(url(""), None);
        assert_eq!(url("postgres://ledger").as_deref(), Some("postgres://ledger"));
    }
}
