//! The embedded PostgreSQL: it keeps the data, is shared by processes, and survives being killed.

use std::{
    env, fs,
    fs::Permissions,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use daybook_cluster::{Cluster, ClusterOptions, DATABASE, Left};
use daybook_tests::people::{client, staff_token};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, BufReader, Lines},
    process::Command,
    time,
};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_second_start_finds_everything_as_it_was() {
    let directory = reachable_directory();
    let options = ClusterOptions::new(directory.path().join("home"));

    let cluster = Cluster::start(&options).await.unwrap();
    write(&cluster, 7).await;
    assert_eq!(cluster.stop().await.unwrap(), Left::Stopped);

    let cluster = Cluster::start(&options).await.unwrap();
    assert_eq!(read(&cluster).await, [7]);
    assert_eq!(cluster.stop().await.unwrap(), Left::Stopped);
}

#[tokio::test]
async fn what_is_committed_is_on_the_disk() {
    let directory = reachable_directory();
    let cluster = Cluster::start(&ClusterOptions::new(directory.path().join("home"))).await.unwrap();

    let mut connection = PgConnection::connect(&cluster.url(DATABASE)).await.unwrap();
    for (setting, expected) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("data_checksums", "on"),
    ] {
        let value: String =
            sqlx::query_scalar("select current_setting($1)").bind(setting).fetch_one(&mut connection).await.unwrap();
        assert_eq!(value, expected, "{setting}");
    }
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_last_to_leave_stops_it() {
    let directory = reachable_directory();
    let options = ClusterOptions::throw_away(directory.path().join("home"));

    let (first, second) = tokio::join!(Cluster::start(&options), Cluster::start(&options));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.postmaster_pid(), second.postmaster_pid());

    assert_eq!(first.stop().await.unwrap(), Left::Running);
    write(&second, 1).await;
    let died = second.died();
    assert_eq!(second.stop().await.unwrap(), Left::Stopped);
    time::timeout(PATIENCE, died).await.unwrap().unwrap();
    assert!(!options.home.exists(), "a throw-away cluster leaves nothing behind");
}

#[tokio::test]
async fn a_killed_postgres_is_noticed_and_started_again() {
    let directory = reachable_directory();
    let options = ClusterOptions::new(directory.path().join("home"));

    let cluster = Cluster::start(&options).await.unwrap();
    write(&cluster, 3).await;
    kill(cluster.postmaster_pid());
    time::timeout(PATIENCE, cluster.died()).await.unwrap().unwrap();
    drop(cluster);

    let cluster = Cluster::start(&options).await.unwrap();
    assert_eq!(read(&cluster).await, [3]);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_lives_on_while_its_postgres_is_started_again() {
    let directory = reachable_directory();
    let home = directory.path().join("home");
    let mut server = Command::new(daybook_tests::program("daybook-server"))
        .envs(daybook_tests::master_key_env())
        .args(["--listen", "127.0.0.1:0", "--log-format", "json", "--home"])
        .arg(&home)
        .env_remove("DATABASE_URL")
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    let line = line_with("Daybook serves on ", &mut said).await;
    let url = line.trim_start_matches("Daybook serves on ").to_owned();
    let first = noted_postmaster(&home);

    for _ in 0..2 {
        let killed = noted_postmaster(&home);
        kill(killed);
        line_with("PostgreSQL has ended by itself", &mut log).await;
        line_with("PostgreSQL runs again", &mut log).await;
        assert_ne!(noted_postmaster(&home), killed);
    }
    // What the end of PostgreSQL has cost the server is a connection here and there.
    let token = staff_token(&["--home", home.to_str().unwrap()]).await;
    let client = client(&token);
    let ready = async {
        while !client.get(format!("{url}/readyz")).send().await.unwrap().status().is_success() {}
        let customer = client.post(format!("{url}/v1/customers")).json(&serde_json::json!({ "name": "Ada Lovelace" }));
        customer.send().await.unwrap().status().as_u16()
    };
    assert_eq!(time::timeout(PATIENCE, ready).await.expect("the server becomes ready again"), 201);

    // The watchdog ends the PostgreSQL that runs now, and not only the one that it was set for.
    let last = noted_postmaster(&home);
    assert_ne!(last, first);
    server.kill().await.unwrap();
    ended(last).await;
}

async fn line_with(text: &str, lines: &mut Lines<impl AsyncBufRead + Unpin>) -> String {
    let found = async {
        loop {
            let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("the output ends before: {text}"));
            if line.contains(text) {
                return line;
            }
        }
    };
    time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("nothing says: {text}"))
}

/// The process that the cluster in this home notes as its own.
fn noted_postmaster(home: &Path) -> i32 {
    let notes = fs::read_to_string(home.join("data/postmaster.pid")).unwrap();
    notes.lines().next().unwrap().trim().parse().unwrap()
}

/// Not a test of its own: what [`a_killed_process_leaves_no_postgres_behind`] kills.
#[tokio::test]
async fn process_to_be_killed() {
    let Some(home) = env::var_os("DAYBOOK_TEST_HOME") else { return };
    let cluster = Cluster::start(&ClusterOptions::new(home)).await.unwrap();
    eprintln!("postmaster {}", cluster.postmaster_pid());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_process_leaves_no_postgres_behind() {
    let directory = reachable_directory();
    let home = directory.path().join("home");
    let mut process = process_using(&home).await;

    process.child.kill().await.unwrap();
    ended(process.postmaster).await;

    let cluster = Cluster::start(&ClusterOptions::new(&home)).await.unwrap();
    assert_ne!(cluster.postmaster_pid(), process.postmaster);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_process_takes_postgres_from_nobody() {
    let directory = reachable_directory();
    let home = directory.path().join("home");
    let mut process = process_using(&home).await;

    let cluster = Cluster::start(&ClusterOptions::new(&home)).await.unwrap();
    assert_eq!(cluster.postmaster_pid(), process.postmaster);
    process.child.kill().await.unwrap();
    write(&cluster, 5).await;
    assert_eq!(read(&cluster).await, [5]);
    assert_eq!(cluster.stop().await.unwrap(), Left::Stopped);
    ended(process.postmaster).await;
}

#[tokio::test]
async fn a_home_that_postgres_cannot_enter_has_its_data_elsewhere() {
    let directory = directory_with(0o700);
    let options = ClusterOptions::new(directory.path().join("home"));

    let cluster = Cluster::start(&options).await.unwrap();
    write(&cluster, 9).await;
    let data = cluster.data_directory();
    cluster.stop().await.unwrap();

    let cluster = Cluster::start(&options).await.unwrap();
    assert_eq!(read(&cluster).await, [9]);
    assert_eq!(cluster.data_directory(), data);
    cluster.stop().await.unwrap();

    // Only root starts PostgreSQL as another user, who cannot enter then.
    let location = options.home.join("postgres.location");
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    assert_eq!(location.exists(), root);
    if root {
        let elsewhere = PathBuf::from(fs::read_to_string(location).unwrap().trim_end());
        assert_eq!(elsewhere.join("data"), data);
        fs::remove_dir_all(&elsewhere).unwrap();
        let refused = Cluster::start(&options).await.unwrap_err().to_string();
        assert!(refused.ends_with("but it is gone"), "{refused}");
    }
}

#[tokio::test]
async fn a_closed_directory_of_another_user_is_not_taken_for_a_home() {
    let directory = reachable_directory();
    let home = directory.path().join("somebody");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, Permissions::from_mode(0o700)).unwrap();
    fs::write(home.join("diary"), "private").unwrap();
    // Only root can give a directory to another user, and enter it then.
    if chown(&home, Some(54_321), Some(54_321)).is_err() {
        return;
    }
    let refused = Cluster::start(&ClusterOptions::new(&home)).await.unwrap_err().to_string();
    assert!(refused.contains("belongs to another user of this machine (uid 54321)"), "{refused}");
    let found = fs::metadata(&home).unwrap();
    assert_eq!((found.mode() & 0o777, found.uid(), found.gid()), (0o700, 54_321, 54_321));
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1, "nothing was put there");
}

#[tokio::test]
async fn no_other_user_can_enter_the_home_or_open_its_locks() {
    let directory = reachable_directory();
    let options = ClusterOptions::new(directory.path().join("new/home"));
    let modes = |options: &ClusterOptions| {
        let mode = |path: &Path| fs::metadata(path).unwrap().mode();
        let locks = ["postgres.start.lock", "postgres.users.lock"].map(|lock| mode(&options.home.join(lock)) & 0o777);
        // Root lets the user who runs PostgreSQL go through, and nobody else.
        (mode(&options.home) & 0o767, locks)
    };
    Cluster::start(&options).await.unwrap().stop().await.unwrap();
    assert_eq!(modes(&options), (0o700, [0o600, 0o600]));

    // As an earlier version left it.
    fs::set_permissions(&options.home, Permissions::from_mode(0o755)).unwrap();
    for lock in ["postgres.start.lock", "postgres.users.lock"] {
        fs::set_permissions(options.home.join(lock), Permissions::from_mode(0o644)).unwrap();
    }
    let cluster = Cluster::start(&options).await.unwrap();
    assert_eq!(modes(&options), (0o700, [0o600, 0o600]));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_directory_that_others_use_is_not_closed_to_them() {
    let directory = reachable_directory();
    let home = directory.path().join("shared");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("of somebody else"), "").unwrap();
    fs::set_permissions(&home, Permissions::from_mode(0o1777)).unwrap();
    let cluster = Cluster::start(&ClusterOptions::new(&home)).await.unwrap();
    assert_eq!(fs::metadata(&home).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(fs::metadata(home.join("postgres.start.lock")).unwrap().mode() & 0o777, 0o600);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_no_obstacle() {
    let directory = reachable_directory();
    let home = directory.path().join("a directory with a long name & a space".repeat(3));
    let cluster = Cluster::start(&ClusterOptions::throw_away(home)).await.unwrap();
    write(&cluster, 2).await;
    assert_eq!(read(&cluster).await, [2]);
    assert_eq!(cluster.stop().await.unwrap(), Left::Stopped);
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own() {
    let (one, other) = tokio::join!(daybook_tests::database(), daybook_tests::database());
    sqlx::query("create table only_here (number integer)").execute(one.pool()).await.unwrap();
    let there: Option<String> =
        sqlx::query_scalar("select to_regclass('only_here')::text").fetch_one(other.pool()).await.unwrap();
    assert_eq!(there, None);
    assert_ne!(one.url(), other.url());
}

/// A directory that every user may enter.
fn reachable_directory() -> TempDir {
    directory_with(0o755)
}

fn directory_with(mode: u32) -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(mode)).tempdir().unwrap()
}

async fn write(cluster: &Cluster, number: i32) {
    let mut connection = PgConnection::connect(&cluster.url(DATABASE)).await.unwrap();
    sqlx::query("create table if not exists kept (number integer)").execute(&mut connection).await.unwrap();
    sqlx::query("insert into kept (number) values ($1)").bind(number).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn read(cluster: &Cluster) -> Vec<i32> {
    let mut connection = PgConnection::connect(&cluster.url(DATABASE)).await.unwrap();
    let numbers = sqlx::query_scalar("select number from kept").fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    numbers
}

struct Process {
    child: tokio::process::Child,
    postmaster: i32,
}

/// A process of its own that uses the cluster until it is killed.
async fn process_using(home: &Path) -> Process {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "store::cluster::process_to_be_killed", "--nocapture"])
        .env("DAYBOOK_TEST_HOME", home)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some(pid) = line.strip_prefix("postmaster ") {
            return Process { child, postmaster: pid.parse().unwrap() };
        }
    }
    panic!("the process did not start PostgreSQL");
}

/// By a call: a small system has no program `kill`.
fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// Waits until the process is no more.
async fn ended(pid: i32) {
    let waiting = Command::new("tail").args(["-f", "/dev/null", &format!("--pid={pid}")]).kill_on_drop(true).status();
    assert!(time::timeout(PATIENCE, waiting).await.unwrap().unwrap().success());
}
