//! The watchdog: a shell that outlives a killed process and then does what [`Cluster::stop`](super::Cluster::stop)
//! would have done.

use std::{
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

use super::{Lifetime, place::Place};

// Its input ends when our process does, however that happens. The lock is then free unless other processes still use
// the cluster, who have watchdogs of their own; a moment's patience, since the lock may be let go after the input.
const SCRIPT: &str = r#"
users=$1 data=$2 signal=$3
shift 3
read -r _
exec 9<"$users" || exit 0
flock --exclusive --wait 5 9 || exit 0
pid=$(head -n 1 "$data/postmaster.pid" 2>/dev/null)
works() { [ -n "$pid" ] && tr '\0' '\n' <"/proc/$pid/cmdline" | grep -Fxq -- "$data"; }
if works; then
    kill -s "$signal" "$pid"
    while works; do sleep 0.05; done
fi
if [ $# -gt 0 ]; then rm -rf -- "$@"; fi
"#;

/// Sets a watchdog for this process; without the tool `flock` there is none, and the next start joins what still runs.
pub(super) fn set(place: &Place, lifetime: Lifetime) -> Option<Child> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT, "daybook-watchdog"]).arg(place.users_lock()).arg(place.data());
    match lifetime {
        Lifetime::Kept => command.arg("INT"),
        Lifetime::ThrowAway => command.arg("QUIT").arg(place.socket_directory()).arg(&place.directory).arg(&place.home),
    };
    let watchdog = command
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    watchdog
        .inspect_err(|error| tracing::warn!(%error, "nobody will stop PostgreSQL should this process be killed"))
        .ok()
}

/// Sends the watchdog home.
pub(super) fn dismiss(watchdog: Option<Child>) {
    let Some(mut watchdog) = watchdog else { return };
    if let Err(error) = watchdog.kill().and_then(|()| watchdog.wait()) {
        tracing::warn!(%error, "the watchdog of PostgreSQL does not end");
    }
}
