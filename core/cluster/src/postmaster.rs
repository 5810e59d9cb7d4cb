//! The postmaster: the one process that is PostgreSQL, whether this process started it or found it running.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::OpenOptionsExt, net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{ClusterError, ClusterOptions, Lifetime, binaries::Binaries, file, place::Place, process};

/// Part of the socket's name; nothing listens on a port.
pub(super) const PORT: u16 = 5432;

const POLL: Duration = Duration::from_millis(20);

/// How often a start is tried again when processes of a killed predecessor have not ended yet.
const ATTEMPTS: u32 = 5;

#[derive(Debug)]
pub(super) struct Postmaster {
    pub pid: Pid,
    pub socket: PathBuf,
    /// Stays with this very process, even if its number is given to another one.
    handle: OwnedFd,
    /// Present when this process started it.
    child: Option<Child>,
}

impl Postmaster {
    /// The postmaster that runs on this data, ready to answer. A `postmaster.pid` left by a killed one is removed.
    pub fn running(data: &Path, timeout: Duration) -> Result<Option<Self>, ClusterError> {
        let deadline = Instant::now() + timeout;
        let path = Noted::path(data);
        while path.exists() {
            let noted = match Noted::read(data)? {
                Some(noted) if works_on(noted.pid, data)? => Some(noted),
                _ => None,
            };
            let Some(noted) = noted else {
                tracing::warn!("PostgreSQL was not stopped in an orderly way the last time");
                return match fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => Err(file("remove", &path)(error)),
                    _ => Ok(None),
                };
            };
            if noted.ready && UnixStream::connect(socket_file(&noted.socket)).is_ok() {
                let handle = pidfd_open(noted.pid, PidfdFlags::empty())
                    .map_err(|error| process("watch PostgreSQL")(error.into()))?;
                return Ok(Some(Self { pid: noted.pid, socket: noted.socket, handle, child: None }));
            }
            if Instant::now() > deadline {
                return Err(ClusterError::StartTimedOut { timeout, log: "found running, but not ready".to_owned() });
            }
            thread::sleep(POLL);
        }
        Ok(None)
    }

    /// Starts PostgreSQL and waits until it is ready to answer.
    pub fn start(place: &Place, binaries: &Binaries, options: &ClusterOptions) -> Result<Self, ClusterError> {
        let socket = place.prepare_socket_directory()?;
        let deadline = Instant::now() + options.start_timeout;
        let mut attempt = 1;
        loop {
            let log = Log::open(place.log())?;
            let mut child = spawn(place, binaries, options, &socket, &log)?;
            let pid = Pid::from_child(&child);
            let handle =
                pidfd_open(pid, PidfdFlags::empty()).map_err(|error| process("watch PostgreSQL")(error.into()))?;
            loop {
                if Noted::read(&place.data())?.is_some_and(|noted| noted.pid == pid && noted.ready) {
                    return Ok(Self { pid, socket, handle, child: Some(child) });
                }
                if child.try_wait().map_err(process("watch PostgreSQL"))?.is_some() {
                    break;
                }
                if Instant::now() > deadline {
                    child.kill().map_err(process("end PostgreSQL"))?;
                    child.wait().map_err(process("end PostgreSQL"))?;
                    return Err(ClusterError::StartTimedOut { timeout: options.start_timeout, log: log.tail() });
                }
                thread::sleep(POLL);
            }
            let log = log.tail();
            if attempt == ATTEMPTS || !log.contains("still in use") {
                return Err(ClusterError::StartFailed { log });
            }
            thread::sleep(Duration::from_secs(1));
            attempt += 1;
        }
    }

    /// Completes when the process has ended.
    pub fn ended(&self) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let handle = self.handle.try_clone();
        async move {
            #[expect(
                deprecated,
                reason = "its successor is unsafe; a descriptor that is owned stays open as long as needed"
            )]
            let handle = AsyncFd::with_interest(handle?, Interest::READABLE)?;
            handle.readable().await.map(drop)
        }
    }

    pub fn signal(&self, signal: Signal) {
        // It fails only when the process has ended already, which is what the signal is for.
        if let Err(error) = pidfd_send_signal(&self.handle, signal) {
            tracing::debug!(%error, "PostgreSQL had ended before it was told to");
        }
    }

    /// Lets go of a process that has ended.
    pub fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.wait().expect("a child that nobody has waited for can be waited for");
        }
    }
}

pub(super) fn socket_file(directory: &Path) -> PathBuf {
    directory.join(format!(".s.PGSQL.{PORT}"))
}

fn spawn(
    place: &Place,
    binaries: &Binaries,
    options: &ClusterOptions,
    socket: &Path,
    log: &Log,
) -> Result<Child, ClusterError> {
    let durability = match options.lifetime {
        Lifetime::Kept => "on",
        Lifetime::ThrowAway => "off",
    };
    let mut command = place.command(&binaries.directory.join("postgres"));
    command.arg("-D").arg(place.data()).arg("-k").arg(socket);
    command.args(["-c", "listen_addresses="]);
    command.args(["-c", &format!("port={PORT}")]);
    command.args(["-c", "unix_socket_permissions=0700"]);
    command.args(["-c", "logging_collector=off"]);
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        command.args(["-c", &format!("{setting}={durability}")]);
    }
    command
        .current_dir(place.data())
        // Ctrl-C is for us: PostgreSQL stops after the last command has been answered.
        .process_group(0)
        .stdout(log.writer()?)
        .stderr(log.writer()?)
        .spawn()
        .map_err(process("run postgres"))
}

/// Whether this process works on this data: the number in an old `postmaster.pid` may be somebody else's by now. An
/// error when that cannot be told, since the notes of a server that runs must stay.
fn works_on(pid: Pid, data: &Path) -> Result<bool, ClusterError> {
    // Anyone may read how a process was called; where it works, only its owner and the privileged.
    let path = PathBuf::from(format!("/proc/{pid}/cmdline"));
    match fs::read(&path) {
        Ok(arguments) => Ok(names(&arguments, data)),
        // It ended, before or while its arguments were read.
        Err(error)
            if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) =>
        {
            Ok(false)
        }
        Err(error) => Err(file("read", &path)(error)),
    }
}

/// Whether one of the arguments, each ended by a NUL, is this directory. A process that has ended and waits to be
/// reaped has none.
fn names(arguments: &[u8], data: &Path) -> bool {
    arguments.split(|byte| *byte == 0).any(|argument| argument == data.as_os_str().as_bytes())
}

/// What the postmaster notes about itself in `postmaster.pid`.
#[derive(Debug, PartialEq, Eq)]
struct Noted {
    pid: Pid,
    socket: PathBuf,
    ready: bool,
}

impl Noted {
    fn path(data: &Path) -> PathBuf {
        data.join("postmaster.pid")
    }

    fn read(data: &Path) -> Result<Option<Self>, ClusterError> {
        let path = Self::path(data);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file("read", &path)(error)),
        }
    }

    /// Its lines are: pid, data, start, port, socket directory, address, shared memory, state.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = Pid::from_raw(lines.next()?.trim().parse().ok()?)?;
        let socket = PathBuf::from(lines.nth(3).unwrap_or_default());
        let ready = lines.nth(2).is_some_and(|state| state.trim() == "ready");
        Some(Self { pid, socket, ready })
    }
}

/// PostgreSQL's log, from this start on.
struct Log {
    path: PathBuf,
    file: File,
    beginning: u64,
}

impl Log {
    fn open(path: PathBuf) -> Result<Self, ClusterError> {
        // Failed statements stand in it, and with them what customers have written.
        let opened = File::options().create(true).append(true).read(true).mode(0o600).open(&path);
        let file_ = opened.map_err(file("open", &path))?;
        let beginning = file_.metadata().map_err(file("read", &path))?.len();
        Ok(Self { path, file: file_, beginning })
    }

    fn writer(&self) -> Result<File, ClusterError> {
        self.file.try_clone().map_err(file("open", &self.path))
    }

    /// The last lines; nothing when the log cannot be read, since this is for an error's message.
    fn tail(mut self) -> String {
        let mut text = Vec::new();
        let read = self.file.seek(SeekFrom::Start(self.beginning)).and_then(|_| self.file.read_to_end(&mut text));
        if read.is_err() {
            return format!("see {}", self.path.display());
        }
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_postmaster_s_notes_are_understood() {
        let text = "4711\n/home/x/data\n1700000000\n5432\n/home/x/socket\n\n  1234 0\nready   \n";
        let pid = Pid::from_raw(4711).expect("a number above zero");
        let noted = Noted { pid, socket: "/home/x/socket".into(), ready: true };
        assert_eq!(Noted::parse(text), Some(noted));
    }

    #[test]
    fn notes_that_are_being_written_are_not_ready() {
        let pid = Pid::from_raw(4711).expect("a number above zero");
        assert_eq!(Noted::parse("4711\n/home/x/data\n"), Some(Noted { pid, socket: PathBuf::new(), ready: false }));
        assert_eq!(Noted::parse(""), None);
    }

    #[test]
    fn a_postmaster_is_known_by_the_data_it_was_called_with() {
        let arguments = b"/usr/bin/postgres\0-D\0/home/x/data\0-k\0/home/x/socket\0";
        assert!(names(arguments, Path::new("/home/x/data")));
        assert!(!names(arguments, Path::new("/home/x/dat")));
        assert!(!names(b"", Path::new("/home/x/data")));
    }

    #[test]
    fn the_processes_of_others_are_told_apart_and_one_that_is_no_more_works_on_nothing() {
        // The first process belongs to the administrator and can be seen by everybody.
        let first = Pid::from_raw(1).expect("a number above zero");
        assert!(matches!(works_on(first, Path::new("/home/x/data")), Ok(false)));
        let nobody = Pid::from_raw(i32::MAX).expect("a number above zero");
        assert!(matches!(works_on(nobody, Path::new("/home/x/data")), Ok(false)));
    }
}
