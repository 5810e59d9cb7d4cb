//! Least rights: sessions of the application log in as the application and can become nobody else.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Stdio,
    time::Duration,
};

use daybook_cluster::{Cluster, ClusterOptions, DATABASE};
use daybook_core::{
    store::{APPLICATION_ROLE, Logins, Store},
    writer::{Writer, WriterOptions},
};
use daybook_tests::{
    commands::register,
    people::{client, staff_token},
    program,
};
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};
use tempfile::{NamedTempFile, TempDir};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time,
};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_session_of_the_application_can_become_nobody_else() {
    let directory = reachable_directory();
    let cluster = Cluster::start(&ClusterOptions::throw_away(directory.path().join("home"))).await.unwrap();
    let store = Store::open(cluster.logins(DATABASE), daybook_tests::store_options()).await.unwrap();
    assert!(!store.can_become_owner().await.unwrap());

    let mut session = store.connection().await.unwrap();
    for escape in [
        "reset role; create table mine (number integer)",
        "reset role; alter table events disable trigger all",
        "set role none; drop table idempotency",
        "set role daybook",
        "set session authorization daybook",
        "reset session authorization; drop table idempotency",
        "create role mine superuser",
        "alter role daybook_app superuser",
        "grant daybook to daybook_app",
        "copy (select 1) to program 'true'",
        "copy events to '/tmp/events'",
        "select pg_read_file('postgresql.conf')",
        "select lo_import('/etc/passwd')",
        "select rolpassword from pg_authid",
        "alter system set fsync = off",
        "set session_replication_role = replica",
        "create database mine",
        "create extension dblink",
    ] {
        let refused = sqlx::raw_sql(escape).execute(&mut session).await;
        let code = refused.as_ref().err().and_then(sqlx::Error::as_database_error).and_then(|error| error.code());
        assert_eq!(code.as_deref(), Some("42501"), "{escape}: {refused:?}");
    }
    // What the application is for goes on.
    let (writer, running) = Writer::start(store.clone(), WriterOptions::default());
    assert_eq!(writer.execute(register("Ada")).await.unwrap().position, 1);
    running.shutdown().await;
    session.close().await.unwrap();
    store.close().await;
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_application_logs_in_by_a_secret_of_the_home() {
    let directory = reachable_directory();
    let options = ClusterOptions::throw_away(directory.path().join("home"));
    let cluster = Cluster::start(&options).await.unwrap();
    let application = cluster.logins(DATABASE).application().clone();
    assert!(can_log_in(&application).await);
    assert!(!can_log_in(&application.clone().password("guessed")).await, "PostgreSQL asks for the secret");

    let file = options.home.join("postgres.secret");
    let secret = fs::read_to_string(&file).unwrap();
    assert_eq!((fs::metadata(&file).unwrap().mode() & 0o777, secret.trim().len()), (0o600, 64));
    for told in [format!("{cluster:?}"), format!("{:?}", cluster.logins(DATABASE)), cluster.url(DATABASE)] {
        assert!(!told.contains(secret.trim()), "{told}");
    }
    let log = fs::read_to_string(options.home.join("postgres.log")).unwrap();
    assert!(!log.contains(secret.trim()), "{log}");

    // One that others may read is none.
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let refused = Cluster::start(&options).await.unwrap_err().to_string();
    assert!(refused.contains("postgres.secret may be read or written by others"), "{refused}");
    // Another one takes its place, and the earlier one is of no use any more.
    fs::remove_file(&file).unwrap();
    let second = Cluster::start(&options).await.unwrap();
    assert!(!can_log_in(&application).await);
    assert!(can_log_in(second.logins(DATABASE).application()).await);
    second.stop().await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_home_of_an_earlier_version_is_brought_over() {
    let directory = reachable_directory();
    let options = ClusterOptions::new(directory.path().join("home"));
    let cluster = Cluster::start(&options).await.unwrap();
    let store = Store::open(cluster.url(DATABASE).parse().unwrap(), daybook_tests::store_options()).await.unwrap();
    let (writer, running) = Writer::start(store.clone(), WriterOptions::default());
    writer.execute(register("Ada")).await.unwrap();
    running.shutdown().await;
    as_an_earlier_version_left_it(&cluster, &options.home).await;
    assert!(store.can_become_owner().await.unwrap(), "sessions of an earlier version only took on a role");

    // Its PostgreSQL runs still, and is joined.
    let joined = Cluster::start(&options).await.unwrap();
    goes_on(&joined, 2).await;
    assert!(store.head().await.is_ok(), "the earlier version reads on");
    store.close().await;
    as_an_earlier_version_left_it(&joined, &options.home).await;
    joined.stop().await.unwrap();
    cluster.stop().await.unwrap();

    let started = Cluster::start(&options).await.unwrap();
    goes_on(&started, 3).await;
    let admission = fs::read_to_string(started.data_directory().join("pg_hba.conf")).unwrap();
    assert!(admission.contains("\n# of the operator\n"), "{admission}");
    assert!(!can_log_in(&started.logins(DATABASE).application().clone().password("guessed")).await);
    started.stop().await.unwrap();
}

/// Without a secret, and with a role that nobody logs in as.
async fn as_an_earlier_version_left_it(cluster: &Cluster, home: &Path) {
    let mut owner = PgConnection::connect(&cluster.url(DATABASE)).await.unwrap();
    owner.execute("alter role daybook_app nologin password null").await.unwrap();
    owner.close().await.unwrap();
    fs::remove_file(home.join("postgres.secret")).unwrap();
    let admission = cluster.data_directory().join("pg_hba.conf");
    let text = "local all all trust\nhost all all all reject\n\n# of the operator\nlocal replication all trust\n";
    fs::write(admission, text).unwrap();
}

async fn goes_on(cluster: &Cluster, position: u64) {
    let store = Store::open(cluster.logins(DATABASE), daybook_tests::store_options()).await.unwrap();
    assert!(!store.can_become_owner().await.unwrap());
    let (writer, running) = Writer::start(store.clone(), WriterOptions::default());
    assert_eq!(writer.execute(register("Ada")).await.unwrap().position, position);
    running.shutdown().await;
    store.close().await;
}

#[tokio::test]
async fn a_server_that_runs_has_no_connection_of_the_owner() {
    let directory = reachable_directory();
    let home = directory.path().join("home");
    let server = Server::start(&["--home", home.to_str().unwrap()]).await;
    let cluster = Cluster::start(&ClusterOptions::new(&home)).await.unwrap();
    server.writes().await;

    let mut owner = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    let logins = "select distinct session.usename::text from pg_stat_activity session
        where session.datname = 'daybook' and session.backend_type = 'client backend'";
    // PostgreSQL takes a moment to end a session that is closed.
    let least = async {
        while sqlx::query_scalar::<_, String>(logins).fetch_all(&mut owner).await.unwrap() != [APPLICATION_ROLE] {}
    };
    time::timeout(PATIENCE, least).await.expect("every session is one of the application");
    owner.close().await.unwrap();

    for arguments in [&["verify"][..], &["status"], &["rebuild", "payments"], &["export", "--format", "csv"]] {
        let tool = Command::new(program("daybook"))
            .envs(daybook_tests::master_key_env())
            .args(arguments)
            .arg("--home")
            .arg(&home)
            .output()
            .await
            .unwrap();
        assert!(tool.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&tool.stderr));
    }
    let secret = fs::read_to_string(home.join("postgres.secret")).unwrap();
    let log = server.stop().await;
    assert!(!log.contains(secret.trim()) && !log.contains("logs in as the owner"), "{log}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn on_a_postgresql_of_the_user_s_own_owner_and_application_have_a_login_each() {
    let directory = reachable_directory();
    let cluster = Cluster::start(&ClusterOptions::throw_away(directory.path().join("home"))).await.unwrap();
    let mut administrator = PgConnection::connect(&cluster.url(DATABASE)).await.unwrap();
    administrator
        .execute(
            "create role ledger_owner login; create role ledger_server login in role daybook_app;
             grant daybook_app to ledger_owner; grant create on schema public to ledger_owner",
        )
        .await
        .unwrap();
    let url = |login: &str| cluster.url(DATABASE).replace("user=daybook", &format!("user={login}"));
    let refused = Store::migrate(&url("ledger_owner").parse().unwrap()).await.unwrap_err().to_string();
    assert!(refused.contains("the role daybook_customer and the schema public_own"), "{refused}");
    administrator
        .execute(
            "create role daybook_customer nologin; grant daybook_customer to daybook_app;
             create schema public_own authorization ledger_owner",
        )
        .await
        .unwrap();
    administrator.close().await.unwrap();
    let (application, owner) = (url("ledger_server"), url("ledger_owner"));
    let home = directory.path().join("none");
    let of_both = ["--home", home.to_str().unwrap(), "--database-url", &application, "--owner-url", &owner];

    let server = Server::start(&of_both).await;
    server.writes().await;
    let log = server.stop().await;
    assert!(!log.contains("logs in as the owner"), "{log}");
    for arguments in [&["verify"][..], &["rebuild", "payments"]] {
        let tool = Command::new(program("daybook"))
            .envs(daybook_tests::master_key_env())
            .args(arguments)
            .args(of_both)
            .output()
            .await
            .unwrap();
        assert!(tool.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&tool.stderr));
    }
    let logins = Logins::of_urls(&application, Some(&owner)).unwrap();
    let store = Store::connect(logins, daybook_tests::store_options()).await.unwrap();
    assert!(!store.can_become_owner().await.unwrap());
    store.close().await;

    // By the owner's login alone everything works, and the log says once what would be better.
    let server = Server::start(&["--home", home.to_str().unwrap(), "--database-url", &owner]).await;
    server.writes().await;
    let log = server.stop().await;
    assert_eq!(log.matches("logs in as the owner").count(), 1, "{log}");
    cluster.stop().await.unwrap();
}

async fn can_log_in(options: &PgConnectOptions) -> bool {
    match PgConnection::connect_with(options).await {
        Ok(connection) => {
            connection.close().await.unwrap();
            true
        }
        Err(error) => {
            let code = error.as_database_error().and_then(|error| error.code()).map(|code| code.to_string());
            assert_eq!(code.as_deref(), Some("28P01"), "{error}");
            false
        }
    }
}

/// A server in a process of its own.
struct Server {
    child: tokio::process::Child,
    url: String,
    log: NamedTempFile,
    /// The arguments that name it.
    ledger: Vec<String>,
}

impl Server {
    async fn start(arguments: &[&str]) -> Self {
        let log = NamedTempFile::new().unwrap();
        let mut child = Command::new(program("daybook-server"))
            .envs(daybook_tests::master_key_env())
            .args(["--listen", "127.0.0.1:0", "--log-format", "json", "--log-key", "none"])
            .args(arguments)
            .env_remove("DATABASE_URL")
            .env("RUST_LOG", "info,sqlx=debug")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.reopen().unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let introduced = async {
            while let Some(line) = said.next_line().await.unwrap() {
                if let Some(url) = line.strip_prefix("Daybook serves on ") {
                    return url.to_owned();
                }
            }
            panic!("the server does not start: {}", fs::read_to_string(log.path()).unwrap());
        };
        let url = time::timeout(PATIENCE, introduced).await.expect("the server starts");
        Self { child, url, log, ledger: arguments.iter().map(ToString::to_string).collect() }
    }

    async fn writes(&self) {
        let ledger: Vec<&str> = self.ledger.iter().map(String::as_str).chain(["--log-key", "none"]).collect();
        let customer = client(&staff_token(&ledger).await).post(format!("{}/v1/customers", self.url));
        let answer = customer.json(&serde_json::json!({ "name": "Ada Lovelace" })).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    }

    /// Answers with its log.
    async fn stop(mut self) -> String {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = self.child.wait().await.unwrap();
        let log = fs::read_to_string(self.log.path()).unwrap();
        assert!(ended.success(), "{log}");
        log
    }
}

fn reachable_directory() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap()
}
