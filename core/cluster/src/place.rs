//! Where the cluster lies and whose it is: in the ledger's home, or elsewhere when PostgreSQL could not get there.

use std::{
    env, fs,
    fs::{DirBuilder, File, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::geteuid;
use sha2::{Digest, Sha256};

use super::{ClusterError, ClusterOptions, Lifetime, OWNER, binaries::Binaries, file, postmaster, process};

/// Home of the clusters of those homes that an unprivileged user cannot reach.
const ELSEWHERE: &str = "/var/lib/daybook";

/// The longest path of a Unix socket, without the zero at its end.
const LONGEST_SOCKET_PATH: usize = 107;

/// What `pg_hba.conf` begins with.
const ADMISSION: &str = "\
# Daybook's, who puts it here again at each start: the application logs in by the secret in postgres.secret.
local all daybook_app scram-sha-256
";

#[derive(Clone, Debug)]
pub(super) struct Place {
    pub home: PathBuf,
    /// Home itself, or where `postgres.location` in home points to.
    pub directory: PathBuf,
    /// Whom PostgreSQL runs as, when not as ourselves.
    pub user: Option<User>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    uid: u32,
    gid: u32,
}

impl Place {
    /// Decides where the cluster of this home lies; once decided, it stays so.
    pub fn choose(home: PathBuf) -> Result<Self, ClusterError> {
        let data_at = |directory: &Path| fs::metadata(directory.join("data")).ok();
        let we = geteuid();
        let mut directory = located(&home)?.unwrap_or_else(|| home.clone());
        if !we.is_root() {
            return match data_at(&directory) {
                Some(data) if data.uid() != we.as_raw() => {
                    Err(ClusterError::ForeignData { data: directory.join("data"), owner: data.uid() })
                }
                _ => Ok(Self { home, directory, user: None }),
            };
        }
        let user = match data_at(&directory) {
            Some(data) if data.uid() != 0 => {
                let user = User { uid: data.uid(), gid: data.gid() };
                user.let_through(&home)?;
                user
            }
            _ => {
                let user = User::unprivileged()?;
                user.let_through(&home)?;
                if directory == home && !user.reaches(&home)? {
                    directory = elsewhere(&home)?;
                }
                user
            }
        };
        Ok(Self { home, directory, user: Some(user) })
    }

    pub fn start_lock_of(home: &Path) -> PathBuf {
        home.join("postgres.start.lock")
    }

    pub fn start_lock(&self) -> PathBuf {
        Self::start_lock_of(&self.home)
    }

    pub fn users_lock(&self) -> PathBuf {
        self.home.join("postgres.users.lock")
    }

    pub fn secret(&self) -> PathBuf {
        self.home.join("postgres.secret")
    }

    pub fn log(&self) -> PathBuf {
        self.home.join("postgres.log")
    }

    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The major version of the PostgreSQL that wrote the data; nothing when there is no data yet.
    pub fn written_by(&self) -> Result<Option<u32>, ClusterError> {
        let path = self.data().join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => {
                let unreadable = || file("understand", &path)(io::Error::from(ErrorKind::InvalidData));
                Ok(Some(text.trim().parse().map_err(|_| unreadable())?))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file("read", &path)(error)),
        }
    }

    /// Makes an empty cluster, under the lock of whoever starts.
    pub fn initialise(
        &self,
        binaries: &Binaries,
        options: &ClusterOptions,
        starting: &File,
    ) -> Result<(), ClusterError> {
        tracing::info!(data = %self.data().display(), version = binaries.major, "initialising PostgreSQL");
        // Built aside and renamed, so that an interrupted initialisation is never taken for a cluster.
        let unfinished = self.directory.join("data.unfinished");
        let initdb = |locale: &str| {
            remove_directory(&unfinished)?;
            self.make_private_directory(&unfinished)?;
            let mut command = self.command(&binaries.directory.join("initdb"));
            command.arg("--pgdata").arg(&unfinished).args([
                &format!("--username={OWNER}"),
                "--encoding=UTF8",
                &format!("--locale={locale}"),
                "--auth-local=trust",
                "--auth-host=reject",
                "--data-checksums",
                "--no-instructions",
            ]);
            if options.lifetime == Lifetime::ThrowAway {
                command.arg("--no-sync");
            }
            // Should we be killed, then initdb goes on for a moment; holding the lock, too, it lets nobody start meanwhile.
            command.stdin(starting.try_clone().map_err(process("run initdb"))?);
            let output = command.current_dir(&self.directory).output().map_err(process("run initdb"))?;
            if output.status.success() {
                return Ok(());
            }
            let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(ClusterError::InitialisationFailed { stderr })
        };
        // Not every machine has the locale C.UTF-8; plain C sorts the same.
        initdb("C.UTF-8").or_else(|_| initdb("C"))?;

        let settings = unfinished.join("postgresql.conf");
        let mut end = File::options().append(true).open(&settings).map_err(file("open", &settings))?;
        end.write_all(tunables(options).as_bytes()).map_err(file("write", &settings))?;
        end.sync_all().map_err(file("flush", &settings))?;
        fs::rename(&unfinished, self.data()).map_err(file("rename", &unfinished))
    }

    /// Makes sure that PostgreSQL admits the application by its secret only; answers whether that is new. The rest of the
    /// file is the operator's: the first line that fits decides.
    pub fn assert_admission(&self) -> Result<bool, ClusterError> {
        let path = self.data().join("pg_hba.conf");
        let text = fs::read_to_string(&path).map_err(file("read", &path))?;
        if text.starts_with(ADMISSION) {
            return Ok(false);
        }
        // Renamed into its place, so that PostgreSQL never reads half of it.
        let unfinished = path.with_extension("conf.unfinished");
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(file("remove", &unfinished)(error)),
            _ => {}
        }
        let created = File::options().create_new(true).write(true).mode(0o600).open(&unfinished);
        let mut end = created.map_err(file("create", &unfinished))?;
        end.write_all(format!("{ADMISSION}\n{text}").as_bytes()).map_err(file("write", &unfinished))?;
        end.sync_all().map_err(file("flush", &unfinished))?;
        if let Some(user) = self.user {
            fchown(&end, Some(user.uid), Some(user.gid)).map_err(file("hand over", &unfinished))?;
        }
        fs::rename(&unfinished, &path).map_err(file("rename", &unfinished))?;
        Ok(true)
    }

    /// In the cluster's own directory, or at a shorter path where that one is too long.
    pub fn socket_directory(&self) -> PathBuf {
        let short_name = format!("daybook-{}", short_hash(&self.directory));
        let possible =
            [self.directory.join("socket"), env::temp_dir().join(&short_name), Path::new("/tmp").join(&short_name)];
        let fits = |directory: &PathBuf| {
            postmaster::socket_file(directory).as_os_str().as_bytes().len() <= LONGEST_SOCKET_PATH
        };
        possible.into_iter().find(fits).expect("a path of 40 bytes fits")
    }

    /// Makes the directory of the socket, which only PostgreSQL's user and root can enter.
    pub fn prepare_socket_directory(&self) -> Result<PathBuf, ClusterError> {
        let directory = &self.socket_directory();
        match fs::symlink_metadata(directory) {
            Ok(found) => {
                // In a directory that everybody may write to, somebody else may have come first.
                let ours = [geteuid().as_raw(), self.user.map_or(geteuid().as_raw(), |user| user.uid)];
                if !found.is_dir() || !ours.contains(&found.uid()) {
                    return Err(ClusterError::ForeignSocketDirectory { directory: directory.clone() });
                }
                self.hand_over(directory)?;
            }
            Err(_) => self.make_private_directory(directory)?,
        }
        // Left by a PostgreSQL that was killed; whether one runs has been found out before.
        for stale in [postmaster::socket_file(directory), directory.join(".s.PGSQL.5432.lock")] {
            match fs::remove_file(&stale) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(file("remove", &stale)(error)),
                _ => {}
            }
        }
        Ok(directory.clone())
    }

    /// A PostgreSQL program, run as the user that owns the data, undisturbed by the caller's environment.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Removes the cluster and its home.
    pub fn remove(&self) -> Result<(), ClusterError> {
        remove_directory(&self.socket_directory())?;
        remove_directory(&self.directory)?;
        remove_directory(&self.home)
    }

    fn make_private_directory(&self, directory: &Path) -> Result<(), ClusterError> {
        DirBuilder::new().mode(0o700).create(directory).map_err(file("create", directory))?;
        self.hand_over(directory)
    }

    fn hand_over(&self, directory: &Path) -> Result<(), ClusterError> {
        fs::set_permissions(directory, Permissions::from_mode(0o700)).map_err(file("protect", directory))?;
        match self.user {
            Some(user) => chown(directory, Some(user.uid), Some(user.gid)).map_err(file("hand over", directory)),
            None => Ok(()),
        }
    }
}

impl User {
    /// The system user for PostgreSQL, else the user for whatever owns nothing.
    fn unprivileged() -> Result<Self, ClusterError> {
        let path = Path::new("/etc/passwd");
        let accounts = fs::read_to_string(path).map_err(file("read", path))?;
        let named = |name: &str| {
            accounts.lines().find_map(|line| {
                let mut fields = line.split(':');
                let found = fields.next()? == name;
                let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
                found.then_some(Self { uid, gid })
            })
        };
        named("postgres").or_else(|| named("nobody")).ok_or(ClusterError::NoUnprivilegedUser)
    }

    /// Lets the user go through a home that is closed to others, but not look around in it.
    fn let_through(self, home: &Path) -> Result<(), ClusterError> {
        let found = fs::metadata(home).map_err(file("read", home))?;
        // One that was opened to another user's group before is opened to this one's.
        let is_of_others = found.gid() != self.gid;
        if !matches!((found.mode() & 0o777, is_of_others), (0o700, _) | (0o710, true)) {
            return Ok(());
        }
        chown(home, None, Some(self.gid)).map_err(file("hand over", home))?;
        fs::set_permissions(home, Permissions::from_mode(0o710)).map_err(file("protect", home))
    }

    /// Whether this user can enter the directory: tried, since modes alone do not tell all.
    fn reaches(self, directory: &Path) -> Result<bool, ClusterError> {
        let outcome = Command::new("/bin/sh")
            .args(["-c", ":"])
            .current_dir(directory)
            .uid(self.uid)
            .gid(self.gid)
            .stdin(Stdio::null())
            .status();
        match outcome {
            Ok(status) => Ok(status.success()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(false),
            Err(error) => Err(process("try an unprivileged user")(error)),
        }
    }
}

/// Makes the home, or closes one that is there already to all other users of the machine; answers with its full path.
pub(super) fn prepare_home(home: &Path) -> Result<PathBuf, ClusterError> {
    if let Some(parent) = home.parent() {
        fs::create_dir_all(parent).map_err(file("create", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(home) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(file("create", home)(error)),
        _ => {}
    }
    let home = home.canonicalize().map_err(file("resolve", home))?;
    let directory = File::open(&home).map_err(file("open", &home))?;
    // What else may lie in a directory is not for us to close, unless a ledger has been at home there before.
    let is_home = Place::start_lock_of(&home).exists();
    let is_empty = || Ok(fs::read_dir(&home)?.next().is_none());
    if is_home || is_empty().map_err(file("read", &home))? {
        keep_from_others(&directory, 0o700).map_err(file("protect", &home))?;
    } else {
        refuse_foreign(&directory, &home)?;
    }
    Ok(home)
}

/// Refuses what another user keeps closed. Root could enter, and would have to open it for the user who runs PostgreSQL.
fn refuse_foreign(directory: &File, home: &Path) -> Result<(), ClusterError> {
    let found = directory.metadata().map_err(file("read", home))?;
    let (ours, closed) = (found.uid() == geteuid().as_raw(), found.mode() & 0o067 == 0);
    // The log's key may lie in a home before any PostgreSQL does.
    if ours || !closed || home.join("log.key").exists() {
        return Ok(());
    }
    Err(ClusterError::ForeignHome { home: home.into(), owner: found.uid() })
}

/// Takes from everybody but the owner what the mode does not give them. A directory that all users share, and one that is
/// somebody else's, stays as it is.
pub(super) fn keep_from_others(file: &File, mode: u32) -> io::Result<()> {
    let found = file.metadata()?;
    let (shared, ours) = (found.mode() & 0o1000 != 0, found.uid() == geteuid().as_raw());
    // The group of PostgreSQL's user may go through a home of root.
    let closed = found.mode() & 0o067 == 0;
    if shared || !ours || closed {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(mode))
}

/// Where an earlier start has put the cluster, when not into home.
fn located(home: &Path) -> Result<Option<PathBuf>, ClusterError> {
    let location = home.join("postgres.location");
    match fs::read_to_string(&location) {
        Ok(text) => {
            let directory = PathBuf::from(text.trim_end_matches('\n'));
            // An empty ledger in its stead would look as if everything had been lost.
            match directory.canonicalize() {
                Ok(directory) => Ok(Some(directory)),
                Err(_) => Err(ClusterError::DataGone { directory, location }),
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file("read", &location)(error)),
    }
}

/// A directory for the cluster of a home that PostgreSQL's user cannot enter.
fn elsewhere(home: &Path) -> Result<PathBuf, ClusterError> {
    let root = Path::new(ELSEWHERE);
    fs::create_dir_all(root).map_err(file("create", root))?;
    let root = root.canonicalize().map_err(file("resolve", root))?;
    let name = short_hash(home);
    // What is there already belonged to an earlier home of the same path.
    let directory = (1_u32..)
        .map(|count| if count == 1 { root.join(&name) } else { root.join(format!("{name}-{count}")) })
        .find(|directory| !directory.exists())
        .expect("a directory holds fewer than four thousand million others");
    fs::create_dir(&directory).map_err(file("create", &directory))?;
    let location = home.join("postgres.location");
    fs::write(&location, format!("{}\n", directory.display())).map_err(file("write", &location))?;
    tracing::info!(
        home = %home.display(),
        directory = %directory.display(),
        "PostgreSQL's user cannot enter home, so the data goes elsewhere"
    );
    Ok(directory)
}

fn short_hash(path: &Path) -> String {
    Sha256::digest(path.as_os_str().as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn remove_directory(directory: &Path) -> Result<(), ClusterError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(file("remove", directory)(error)),
        _ => Ok(()),
    }
}

/// What the operator may tune later; what must hold in any case is given to PostgreSQL at each start instead.
fn tunables(options: &ClusterOptions) -> String {
    let ClusterOptions { max_connections, .. } = options;
    format!(
        "
# Daybook's first values. They are yours to change; sockets and durability are set by Daybook at each start.
max_connections = {max_connections}
shared_buffers = 256MB
min_wal_size = 1GB
max_wal_size = 4GB
checkpoint_timeout = 15min
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
"
    )
}
