//! The embedded PostgreSQL: a private cluster that Daybook initialises, starts, supervises and stops.
//!
//! It lies under the home directory and listens on a Unix socket only. Any number of processes may use it at once, such
//! as the server and a tool beside it: the first one starts it, the last one stops it, and a watchdog does so for a
//! process that was killed. Linux only, since it relies on process handles and on `/proc`.

#![expect(clippy::disallowed_methods, reason = "waits a limited time for PostgreSQL to start and stop")]

mod binaries;
mod logins;
mod place;
mod postmaster;
mod secret;
mod watchdog;

use std::{
    error::Error,
    fs::{File, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Child,
    time::Duration,
};

use rustix::process::Signal;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::{task, time};

pub use logins::Logins;
use place::Place;
use postmaster::Postmaster;
use secret::Secret;

/// The oldest PostgreSQL that Daybook runs on.
pub const OLDEST_MAJOR: u32 = 15;

/// The role that owns the cluster and every database in it.
pub const OWNER: &str = "daybook";

/// The role that the application logs in as. It owns nothing, and cannot become the owner.
pub const APPLICATION_ROLE: &str = "daybook_app";

/// The database that every cluster has from the start.
pub const DATABASE: &str = "daybook";

/// How long to wait before PostgreSQL is started again that ended soon after its start, or does not start: twice as long
/// each time, up to the longest pause.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long PostgreSQL must run for its next end to be one of its own.
const STEADY: Duration = Duration::from_secs(60);

/// How long a fast shutdown may take: it writes a checkpoint.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The directory that is the ledger's home; created where missing.
    pub home: PathBuf,
    pub lifetime: Lifetime,
    /// Written into `postgresql.conf` when the cluster is initialised; the operator may change it there.
    pub max_connections: u32,
    /// Includes the recovery after a crash.
    pub start_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The books: what is committed is on the disk.
    Kept,
    /// For tests: nothing is flushed, and home itself is removed with the last user.
    ThrowAway,
}

impl ClusterOptions {
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self {
            home: home.into(),
            lifetime: Lifetime::Kept,
            max_connections: 100,
            start_timeout: Duration::from_secs(300),
        }
    }

    /// A cluster that vanishes, its home included, as soon as nobody uses it.
    pub fn throw_away(home: impl Into<PathBuf>) -> Self {
        Self { lifetime: Lifetime::ThrowAway, max_connections: 200, ..Self::new(home) }
    }
}

/// One process's use of the running cluster. Dropping it is as good as [`Cluster::stop`], except that nobody waits.
#[derive(Debug)]
pub struct Cluster {
    place: Place,
    options: ClusterOptions,
    secret: Secret,
    postmaster: Postmaster,
    /// Locked shared for as long as this process uses the cluster.
    users: File,
    watchdog: Option<Child>,
}

/// What became of the cluster when this process left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Stopped,
    /// Another process still uses it.
    Running,
}

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(
        "no PostgreSQL found on this machine: install version {OLDEST_MAJOR} or newer (Debian package `postgresql`)"
    )]
    NotFound,
    #[error("PostgreSQL {OLDEST_MAJOR} or newer is needed (Debian package `postgresql`), found only {found}")]
    TooOld { found: String },
    #[error(
        "the data in {} was written by PostgreSQL {written_by}, which is not on this machine (Debian package `postgresql-{written_by}`)",
        data.display()
    )]
    OtherVersion { data: PathBuf, written_by: u32 },
    #[error("`{name}` is missing beside the programs of PostgreSQL in {} (Debian package `postgresql-client`)", directory.display())]
    ProgramMissing { name: &'static str, directory: PathBuf },
    #[error("the data in {} belongs to another user of this machine (uid {owner})", data.display())]
    ForeignData { data: PathBuf, owner: u32 },
    #[error(
        "{} belongs to another user of this machine (uid {owner}), holds other files and is closed: it stays as it is; name an empty directory as the home, or one that does not exist yet",
        home.display()
    )]
    ForeignHome { home: PathBuf, owner: u32 },
    #[error("the data of this ledger lay in {}, as {} says, but it is gone", directory.display(), location.display())]
    DataGone { directory: PathBuf, location: PathBuf },
    #[error("{} is not a directory of our own, so the socket cannot be put there", directory.display())]
    ForeignSocketDirectory { directory: PathBuf },
    #[error("PostgreSQL refuses to run as root, and this machine has neither a user `postgres` nor `nobody`")]
    NoUnprivilegedUser,
    #[error("initdb failed: {stderr}")]
    InitialisationFailed { stderr: String },
    #[error("PostgreSQL ended while it was starting: {log}")]
    StartFailed { log: String },
    #[error("PostgreSQL did not become ready within {} seconds: {log}", timeout.as_secs())]
    StartTimedOut { timeout: Duration, log: String },
    #[error("PostgreSQL did not stop within {} seconds", STOP_TIMEOUT.as_secs())]
    StopTimedOut,
    #[error("cannot {action} {}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot {action}")]
    Process { action: &'static str, source: io::Error },
    #[error(
        "{} may be read or written by others than its owner: remove it, and the next start makes another one",
        path.display()
    )]
    ExposedSecret { path: PathBuf },
    #[error(
        "this PostgreSQL follows another one, and the application cannot log in by the secret in {}: put the file of that name from the other home there, after a program of this version has started at that home",
        path.display()
    )]
    SecretOfAnother { path: PathBuf },
    #[error("the embedded PostgreSQL does not answer as it should")]
    Database(#[from] sqlx::Error),
}

impl Cluster {
    /// Joins the running cluster of this home, or starts it, initialised where there is none yet.
    pub async fn start(options: &ClusterOptions) -> Result<Self, ClusterError> {
        let options = options.clone();
        let (cluster, starting) =
            task::spawn_blocking(move || start(&options)).await.expect("starting the cluster does not panic")?;
        cluster.assert_login().await?;
        cluster.create_database(DATABASE).await?;
        drop(starting);
        Ok(cluster)
    }

    /// How the owner connects; understood by sqlx and by `psql`. Only root and the user whom PostgreSQL runs as reach the
    /// socket, and they could read and write the data anyway, so that nothing else is asked of them.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgresql:///{}?host={}&port={}&user={OWNER}&sslmode=disable",
            percent_encoded(database.as_bytes()),
            percent_encoded(self.postmaster.socket.as_os_str().as_encoded_bytes()),
            postmaster::PORT,
        )
    }

    /// How the owner and the application connect.
    pub fn logins(&self, database: &str) -> Logins {
        let owner: PgConnectOptions = self.url(database).parse().expect("a URL of our own is well formed");
        let application = owner.clone().username(APPLICATION_ROLE).password(self.secret.as_str());
        Logins::new(owner, application)
    }

    /// Where PostgreSQL keeps its files, for messages.
    pub fn data_directory(&self) -> PathBuf {
        self.place.data()
    }

    /// A program that came with the PostgreSQL of this cluster, such as `psql`.
    pub fn program(&self, name: &'static str) -> Result<PathBuf, ClusterError> {
        let directory = binaries::find(self.place.written_by()?, &self.place.data())?.directory;
        let program = directory.join(name);
        if program.is_file() { Ok(program) } else { Err(ClusterError::ProgramMissing { name, directory }) }
    }

    /// The process id of the postmaster.
    pub fn postmaster_pid(&self) -> i32 {
        self.postmaster.pid.as_raw_nonzero().get()
    }

    /// Makes sure that the database exists.
    pub async fn create_database(&self, name: &str) -> Result<(), ClusterError> {
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await?;
        if !exists {
            let statement = format!("create database \"{}\"", name.replace('"', "\"\""));
            sqlx::query(&statement).execute(&mut connection).await?;
        }
        connection.close().await?;
        Ok(())
    }

    /// Makes sure that the application can log in by the secret of this home, and that its role can do nothing to the
    /// cluster. One of an earlier version could not log in, and one that was restored has another secret.
    async fn assert_login(&self) -> Result<(), ClusterError> {
        let verifier = self.secret.verifier();
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        let asserted: bool = sqlx::query_scalar(
            "select exists (select from pg_authid where rolname = $1 and rolpassword = $2 and rolcanlogin
                 and not (rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls))",
        )
        .bind(APPLICATION_ROLE)
        .bind(&verifier)
        .fetch_one(&mut connection)
        .await?;
        if !asserted {
            let follows: bool = sqlx::query_scalar("select pg_is_in_recovery()").fetch_one(&mut connection).await?;
            if follows {
                return Err(ClusterError::SecretOfAnother { path: self.place.secret() });
            }
            sqlx::raw_sql(&application_role(&verifier)).execute(&mut connection).await?;
        }
        connection.close().await?;
        Ok(())
    }

    /// Completes when PostgreSQL has ended, whoever ended it.
    pub fn died(&self) -> impl Future<Output = io::Result<()>> + Send + 'static {
        self.postmaster.ended()
    }

    /// Starts PostgreSQL again whenever it ends, for as long as this is awaited. It may end because it was killed, or
    /// because its disk is full; the pauses between two attempts grow.
    pub async fn supervise(&mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let running = time::Instant::now();
            if let Err(error) = self.died().await {
                tracing::error!(%error, "the embedded PostgreSQL cannot be watched, and is not started again");
                return std::future::pending().await;
            }
            tracing::error!(log = %self.place.log().display(), "PostgreSQL has ended by itself; its log tells why");
            self.postmaster.reap();
            if running.elapsed() > STEADY {
                pause = FIRST_PAUSE;
            }
            loop {
                time::sleep(pause).await;
                pause = (2 * pause).min(LONGEST_PAUSE);
                match self.start_again().await {
                    Ok(()) => break,
                    Err(error) => {
                        tracing::error!(error = %with_causes(&error), "PostgreSQL does not start; trying again")
                    }
                }
            }
            tracing::warn!(pid = self.postmaster_pid(), "PostgreSQL runs again");
        }
    }

    async fn start_again(&mut self) -> Result<(), ClusterError> {
        let (place, options) = (self.place.clone(), self.options.clone());
        let started = task::spawn_blocking(move || {
            let _starting = locked(&place.start_lock())?;
            match Postmaster::running(&place.data(), options.start_timeout)? {
                Some(postmaster) => Ok(postmaster),
                None => Postmaster::start(&place, &binaries::find(place.written_by()?, &place.data())?, &options),
            }
        });
        self.postmaster = started.await.expect("starting PostgreSQL does not panic")?;
        Ok(())
    }

    /// Leaves the cluster; the last one to leave stops it and waits until it is down.
    pub async fn stop(mut self) -> Result<Left, ClusterError> {
        let (mut cluster, last, starting) = task::spawn_blocking(move || {
            let starting = locked(&self.place.start_lock())?;
            // From here on nobody needs to act for this process.
            watchdog::dismiss(self.watchdog.take());
            let last = match self.users.try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => false,
                Err(TryLockError::Error(source)) => return Err(file("lock", &self.place.users_lock())(source)),
            };
            // It may have been started again, by a supervision that was given up meanwhile or by another process.
            if last
                && let Some(running) = Postmaster::running(&self.place.data(), self.options.start_timeout)?
                && running.pid != self.postmaster.pid
            {
                self.postmaster = running;
            }
            Ok((self, last, starting))
        })
        .await
        .expect("leaving the cluster does not panic")?;
        if !last {
            tracing::info!("left PostgreSQL running: another process uses it");
            return Ok(Left::Running);
        }
        let ended = cluster.postmaster.ended();
        cluster.postmaster.signal(match cluster.options.lifetime {
            Lifetime::Kept => Signal::INT,
            Lifetime::ThrowAway => Signal::QUIT,
        });
        time::timeout(STOP_TIMEOUT, ended)
            .await
            .map_err(|_| ClusterError::StopTimedOut)?
            .map_err(process("wait for the end of PostgreSQL"))?;
        cluster.postmaster.reap();
        if cluster.options.lifetime == Lifetime::ThrowAway {
            cluster.place.remove()?;
        }
        tracing::info!("stopped PostgreSQL");
        drop(starting);
        Ok(Left::Stopped)
    }
}

/// Joins or starts the cluster; answers also with the lock that keeps others from starting or stopping it meanwhile.
fn start(options: &ClusterOptions) -> Result<(Cluster, File), ClusterError> {
    let home = place::prepare_home(&options.home)?;
    let starting = locked(&Place::start_lock_of(&home))?;
    let place = Place::choose(home)?;

    // Waits for a watchdog that is stopping the cluster just now.
    let users_lock = place.users_lock();
    let users = open_lock(&users_lock)?;
    users.lock_shared().map_err(file("lock", &users_lock))?;

    let secret = Secret::of(&place)?;
    let watchdog = watchdog::set(&place, options.lifetime);
    let postmaster = match Postmaster::running(&place.data(), options.start_timeout)? {
        Some(postmaster) => {
            tracing::info!(pid = %postmaster.pid, "joined the running PostgreSQL");
            if place.assert_admission()? {
                postmaster.signal(Signal::HUP);
            }
            postmaster
        }
        None => {
            let binaries = binaries::find(place.written_by()?, &place.data())?;
            if place.written_by()?.is_none() {
                place.initialise(&binaries, options, &starting)?;
            }
            place.assert_admission()?;
            let postmaster = Postmaster::start(&place, &binaries, options)?;
            tracing::info!(
                pid = %postmaster.pid,
                version = binaries.major,
                data = %place.data().display(),
                "started PostgreSQL"
            );
            postmaster
        }
    };
    let cluster = Cluster { place, options: options.clone(), secret, postmaster, users, watchdog };
    Ok((cluster, starting))
}

/// Makes the role where it is missing, and its login the one that is checked by this verifier.
fn application_role(verifier: &str) -> String {
    format!(
        "do $$
         begin
             if not exists (select from pg_roles where rolname = '{APPLICATION_ROLE}') then
                 create role {APPLICATION_ROLE};
             end if;
         end
         $$;
         alter role {APPLICATION_ROLE} login nosuperuser nocreatedb nocreaterole noreplication nobypassrls
             password '{verifier}'"
    )
}

/// The file, locked; waits for whoever holds the lock.
fn locked(path: &Path) -> Result<File, ClusterError> {
    let lock = open_lock(path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            tracing::info!("waiting for another process that starts or stops PostgreSQL");
            lock.lock().map_err(file("lock", path))?;
        }
        Err(TryLockError::Error(source)) => return Err(file("lock", path)(source)),
    }
    Ok(lock)
}

/// Whoever can open a file can lock it, and so keep everybody else from starting and stopping. One of an earlier version
/// could be opened by all users.
fn open_lock(path: &Path) -> Result<File, ClusterError> {
    let opened = File::options().create(true).truncate(false).write(true).mode(0o600).open(path);
    let lock = opened.map_err(file("open", path))?;
    place::keep_from_others(&lock, 0o600).map_err(file("protect", path))?;
    Ok(lock)
}

fn percent_encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClusterError {
    let path = path.to_owned();
    move |source| ClusterError::File { action, path, source }
}

/// The error in one line with what lies behind it, of which formats of logs report the first only.
fn with_causes(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn process(action: &'static str) -> impl FnOnce(io::Error) -> ClusterError {
    move |source| ClusterError::Process { action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_odd_characters_fits_into_a_url() {
        assert_eq!(percent_encoded("/a b/ä?&".as_bytes()), "/a%20b/%C3%A4%3F%26");
    }
}
