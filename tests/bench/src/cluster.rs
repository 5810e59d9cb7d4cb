//! The PostgreSQL that everything is measured on: a cluster of its own in a temporary directory, with durability on.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use daybook_cluster::{Cluster, ClusterOptions};
use daybook_core::store::Logins;
use serde::Serialize;
use sqlx::{
    Connection, Executor, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tempfile::TempDir;

use crate::{Failure, measure::median};

/// What `statfs` says of a file system that lies in memory.
const TMPFS: i64 = 0x0102_1994;

pub struct Server {
    cluster: Cluster,
    directory: TempDir,
    databases: AtomicU32,
}

/// What the figures were measured on.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub postgresql: String,
    pub fsync: String,
    pub synchronous_commit: String,
    pub full_page_writes: String,
    pub wal_sync_method: String,
    pub shared_buffers: String,
    pub cores: usize,
    /// The median time of a commit of one row by one connection, which is mostly the disk's.
    pub commit_milliseconds: f64,
}

impl Server {
    /// Starts it below this directory.
    pub async fn start(parent: &Path) -> Result<Self, Failure> {
        let file_system = rustix::fs::statfs(parent)?;
        if i64::from(file_system.f_type) == TMPFS {
            let path = parent.display();
            return Err(format!("{path} lies in memory, where nothing is durable: name another --directory").into());
        }
        let directory = tempfile::Builder::new().prefix("daybook-bench-").tempdir_in(parent)?;
        // PostgreSQL runs as another user when this is root, and must get there.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        let cluster = Cluster::start(&ClusterOptions::new(directory.path())).await?;
        Ok(Self { cluster, directory, databases: AtomicU32::new(0) })
    }

    /// Asserts that what is committed is on the disk, and tells what there is.
    pub async fn machine(&self) -> Result<Machine, Failure> {
        let name = self.fresh(None).await?;
        let mut connection = self.connection(&name).await?;
        let setting = async |connection: &mut PgConnection, name: &str| {
            sqlx::query_scalar::<_, String>("select current_setting($1)").bind(name).fetch_one(connection).await
        };
        let machine = Machine {
            postgresql: setting(&mut connection, "server_version").await?,
            fsync: setting(&mut connection, "fsync").await?,
            synchronous_commit: setting(&mut connection, "synchronous_commit").await?,
            full_page_writes: setting(&mut connection, "full_page_writes").await?,
            wal_sync_method: setting(&mut connection, "wal_sync_method").await?,
            shared_buffers: setting(&mut connection, "shared_buffers").await?,
            cores: std::thread::available_parallelism()?.get(),
            commit_milliseconds: commit_milliseconds(&mut connection).await?,
        };
        connection.close().await?;
        self.drop(&name).await?;
        for (name, value) in [
            ("fsync", &machine.fsync),
            ("synchronous_commit", &machine.synchronous_commit),
            ("full_page_writes", &machine.full_page_writes),
        ] {
            if value != "on" {
                return Err(format!("{name} is {value}: such figures would be of no use").into());
            }
        }
        Ok(machine)
    }

    /// A new database, empty or a copy of another one, on a server that has nothing left to write.
    pub async fn fresh(&self, template: Option<&str>) -> Result<String, Failure> {
        let name = format!("bench_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let template = template.map(|template| format!(" template {template}")).unwrap_or_default();
        self.administrate(&format!("create database {name}{template}")).await?;
        self.quiet().await?;
        Ok(name)
    }

    /// Makes it a template that nobody uses any more.
    pub async fn seal(&self, database: &str) -> Result<(), Failure> {
        self.administrate(&format!("alter database {database} with allow_connections false")).await?;
        // Connections that are being closed may take a moment, and a copy is made of a database without any.
        let ended = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = $1";
        let mut connection = self.connection("postgres").await?;
        sqlx::query(ended).bind(database).execute(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }

    pub async fn drop(&self, database: &str) -> Result<(), Failure> {
        self.administrate(&format!("drop database if exists {database} with (force)")).await
    }

    /// Has all pages written, so that no contestant pays for the one before it.
    pub async fn quiet(&self) -> Result<(), Failure> {
        self.administrate("checkpoint").await
    }

    pub fn url(&self, database: &str) -> String {
        self.cluster.url(database)
    }

    pub fn logins(&self, database: &str) -> Logins {
        self.cluster.logins(database)
    }

    pub fn options(&self, database: &str) -> Result<PgConnectOptions, Failure> {
        Ok(self.url(database).parse()?)
    }

    pub async fn connection(&self, database: &str) -> Result<PgConnection, Failure> {
        Ok(PgConnection::connect(&self.url(database)).await?)
    }

    /// So many connections, all of them open.
    pub async fn pool(&self, database: &str, connections: u32) -> Result<PgPool, Failure> {
        pool(self.options(database)?, connections).await
    }

    pub async fn stop(self) -> Result<(), Failure> {
        self.cluster.stop().await?;
        self.directory.close()?;
        Ok(())
    }

    async fn administrate(&self, statement: &str) -> Result<(), Failure> {
        let mut connection = self.connection("postgres").await?;
        connection.execute(statement).await?;
        connection.close().await?;
        Ok(())
    }
}

pub async fn pool(options: PgConnectOptions, connections: u32) -> Result<PgPool, Failure> {
    let pool = PgPoolOptions::new().min_connections(connections).max_connections(connections);
    Ok(pool.connect_with(options).await?)
}

async fn commit_milliseconds(connection: &mut PgConnection) -> Result<f64, Failure> {
    connection.execute("create table commits (number integer not null)").await?;
    let mut times = Vec::new();
    for number in 0..200_i32 {
        let begun = Instant::now();
        sqlx::query("insert into commits (number) values ($1)").bind(number).execute(&mut *connection).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&times))
}
