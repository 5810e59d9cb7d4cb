//! The server: PostgreSQL, the writer, the projector and the API in one process, started and stopped together.

use std::{
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    process::ExitCode,
};

use clap::Parser;
use daybook_api::{App, AppOptions, Config, LogFormat, Running};
use daybook_core::{
    cluster::{Cluster, ClusterOptions, DATABASE},
    store::{Store, StoreOptions},
    writer::WriterOptions,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    write_log(config.log_format);
    match serve(&config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = &*error as &dyn std::error::Error, "the server ends");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: &Config) -> Result<(), Failure> {
    // Taken first, so that a second server on the same address stops here and disturbs nothing.
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
    let stop = stop_on_signals()?;
    let cluster = match config.database_url() {
        Some(_) => None,
        None => Some(Cluster::start(&ClusterOptions::new(&config.home)).await?),
    };
    let url = match (config.database_url(), &cluster) {
        (Some(url), _) => url.to_owned(),
        (None, Some(cluster)) => cluster.url(DATABASE),
        (None, None) => unreachable!("without a database of the user's own there is a cluster"),
    };

    let served = serve_ledger(config, &url, listener, cluster.as_ref(), &stop).await;
    if let Some(cluster) = cluster {
        cluster.stop().await?;
    }
    served
}

async fn serve_ledger(
    config: &Config,
    url: &str,
    listener: TcpListener,
    cluster: Option<&Cluster>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let store =
        Store::open(url, StoreOptions { max_connections: config.connections, ..StoreOptions::default() }).await?;
    let running = App::start(store, options(config)).await?;
    introduce(listener.local_addr()?)?;

    let (stopped, died) = (stop.clone(), CancellationToken::new());
    let end = {
        let died = died.clone();
        let death = cluster.map(Cluster::died);
        async move {
            match death {
                Some(death) => tokio::select! {
                    () = stopped.cancelled() => {}
                    _ = death => died.cancel(),
                },
                None => stopped.cancelled().await,
            }
            tracing::info!("stopping: what was accepted is still answered");
        }
    };
    axum::serve(listener, running.router()).with_graceful_shutdown(end).await?;
    shut_down(running).await;
    if died.is_cancelled() { Err("PostgreSQL has ended by itself; its log tells why".into()) } else { Ok(()) }
}

async fn shut_down(running: Running) {
    running.shutdown().await;
    tracing::info!("stopped");
}

fn options(config: &Config) -> AppOptions {
    let writer = WriterOptions {
        queue: config.queue as usize,
        batch: config.batch as usize,
        // In units of about a hundred bytes.
        cache: config.cache as usize * 10_000,
        ..WriterOptions::default()
    };
    AppOptions { writer, lag_budget: std::time::Duration::from_secs(config.lag_budget.into()), ..AppOptions::default() }
}

fn stop_on_signals() -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stopping.cancel();
        // Whoever asks twice does not want to wait; the embedded PostgreSQL is stopped by its watchdog.
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
    Ok(stop)
}

fn write_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn,tower_http=warn,hyper=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let human = match format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    if human { log.with_target(false).init() } else { log.json().flatten_event(true).init() }
}

/// Tells what there is to open.
fn introduce(address: SocketAddr) -> io::Result<()> {
    let text = format!(
        "
Daybook serves on http://{address}

  documentation   http://{address}/docs
  description     http://{address}/openapi.json
  accounts        curl http://{address}/v1/accounts
  trial balance   curl http://{address}/v1/audit/trial-balance
  a customer      curl http://{address}/v1/customers -H 'content-type: application/json' -d '{{\"name\":\"Ada Lovelace\"}}'

Ctrl-C stops it.
"
    );
    io::stdout().write_all(text.as_bytes())
}
