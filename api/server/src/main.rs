//! The server: PostgreSQL, the writer, the projector, the keeper and the API in one process, started and stopped together.

use std::{
    io::{self, IsTerminal, Write},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use daybook_api::{App, AppOptions, Certificates, Config, ConnectionOptions, Guest, LogFormat, Terms, guests};
use daybook_cluster::{Cluster, ClusterOptions, DATABASE};
use daybook_core::{
    chain,
    clock::Clock,
    store::{Logins, Store, StoreOptions},
    transparency::open_key,
    writer::WriterOptions,
};
use daybook_identity::{Hashing, IdentityOptions};
use daybook_projections::{ProjectorOptions, engine::Room};
use daybook_verify::usage;
use rustls::crypto::ring;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Most of what this program allocates is small and short-lived, and freed on another thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long requests that are under way may take after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let config = usage::arguments_that_fit(Config::check);
    write_log(config.log_format);
    // One library of cryptography, for callers and for PostgreSQL.
    ring::default_provider().install_default().expect("nothing has used TLS yet");
    match serve(&config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %chain(&*error), "the server ends");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: &Config) -> Result<(), Failure> {
    // Taken first, so that a second server on the same address stops here and disturbs nothing.
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
    let watched = match config.metrics_listen {
        Some(at) => {
            Some(TcpListener::bind(at).await.map_err(|error| format!("cannot listen on {at} for metrics: {error}"))?)
        }
        None => None,
    };
    let (certificates, terms) = (config.certificates()?, config.terms()?);
    let stop = stop_on_signals()?;
    let mut cluster = match config.database_url() {
        Some(_) => None,
        None => Some(Cluster::start(&ClusterOptions::new(&config.home)).await?),
    };
    let logins = match (config.database_url(), &cluster) {
        (Some(url), _) => Logins::of_urls(url, config.owner_url())?,
        (None, Some(cluster)) => cluster.logins(DATABASE),
        (None, None) => unreachable!("without a database of the user's own there is a cluster"),
    };

    let served =
        serve_ledger(config, logins, (listener, watched), (certificates, terms), cluster.as_mut(), &stop).await;
    let Some(cluster) = cluster else { return served };
    match (served, cluster.stop().await) {
        (Ok(()), stopped) => Ok(stopped.map(drop)?),
        (Err(error), Ok(_)) => Err(error),
        (Err(error), Err(second)) => {
            tracing::error!(error = %chain(&second), "PostgreSQL does not stop");
            Err(error)
        }
    }
}

async fn serve_ledger(
    config: &Config,
    logins: Logins,
    (listener, watched): (TcpListener, Option<TcpListener>),
    (certificates, terms): (Option<Certificates>, Option<Terms>),
    cluster: Option<&mut Cluster>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let store =
        Store::open(logins, StoreOptions { max_connections: config.connections, ..StoreOptions::default() }).await?;
    let store = store.unlocked(&config.master_key()).await?;
    if store.can_become_owner().await? {
        tracing::warn!(
            login = store.application().get_username(),
            "the server logs in as the owner of the ledger's tables, and only takes on the role of the application: name a \
             login that owns nothing by --database-url, and the owner's by --owner-url"
        );
    }
    let mut options = AppOptions { certificates: certificates.clone(), terms, ..options(config) };
    if let Some(path) = config.log_key() {
        options.keeper.key = Some(open_key(&store, &path).await?);
    }
    let running = App::start(store, options).await?;
    warn_of_lost_factors(running.app(), config).await;
    let guests = guests(running.app()).await.unwrap_or_else(|error| {
        tracing::warn!(error = error.detail(), "there are no links into the demonstration");
        Vec::new()
    });
    let scheme = if certificates.is_some() { "https" } else { "http" };
    let address = format!("{scheme}://{}", listener.local_addr()?);
    let mut ways = if config.proxies().is_empty() { ways_in(&address) } else { WAY_OF_PROXIES.to_owned() };
    if let Some(listener) = &watched {
        ways += &format!("  metrics         http://{}/metrics\n", listener.local_addr()?);
    }
    if let Err(error) = introduce(&address, &ways, &guests) {
        tracing::warn!(%error, %address, "the server has started, and nobody reads its standard output");
    }

    let stopping = CancellationToken::new();
    let serving = daybook_api::serve(
        listener,
        daybook_panel::router(running.app().clone()),
        config.callers(certificates),
        stopping.clone(),
    );
    let watching = watch(watched, running.app(), stopping.clone());
    let serving = async {
        tokio::join!(serving, watching);
    };
    let fallen = running.fallen();
    let end = async {
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            fallen = fallen => Err(Failure::from(format!("{fallen} has ended by itself"))),
            () = supervised(cluster) => unreachable!("PostgreSQL is started again for as long as the server runs"),
        };
        tracing::info!("stopping: what was accepted is still answered");
        stopping.cancel();
        ended
    };
    let ended = drained(serving, end, DRAIN).await;
    running.shutdown().await;
    tracing::info!("stopped");
    ended
}

/// Answers the programs that watch the server, if they have an address of their own.
async fn watch(listener: Option<TcpListener>, app: &App, stop: CancellationToken) {
    let Some(listener) = listener else { return };
    daybook_api::serve(listener, daybook_api::watched(app.clone()), ConnectionOptions::of_watchers(), stop).await;
}

/// The log says at the start what a restore without the keys of second factors has cost.
async fn warn_of_lost_factors(app: &App, config: &Config) {
    match app.identity().factors.lost().await {
        Ok(0) => {}
        Ok(lost) => tracing::warn!(
            lost,
            home = %config.home.display(),
            "second factors were sealed by keys that are not in the home: nobody can sign in by their codes until the files \
             `totp.key`, `totp.2.key` … are put back; recovery codes work, and a factor that is removed can be set up anew"
        ),
        Err(error) => tracing::warn!(error = %chain(&error), "the keys of second factors cannot be read"),
    }
}

/// Serves until the end, and then for as long as requests are under way, but not longer than `patience`.
async fn drained(
    serving: impl Future<Output = ()>,
    end: impl Future<Output = Result<(), Failure>>,
    patience: Duration,
) -> Result<(), Failure> {
    let (mut serving, mut end) = (pin!(serving), pin!(end));
    let ended = tokio::select! {
        () = &mut serving => return end.await,
        ended = &mut end => ended,
    };
    if timeout(patience, serving).await.is_err() {
        tracing::warn!("some connections were still open and are cut");
    }
    ended
}

/// Never completes. The embedded PostgreSQL, if there is one, is started again whenever it ends; the server answers
/// meanwhile that its store is not available.
async fn supervised(cluster: Option<&mut Cluster>) {
    match cluster {
        Some(cluster) => cluster.supervise().await,
        None => std::future::pending().await,
    }
}

fn options(config: &Config) -> AppOptions {
    let writer = WriterOptions {
        queue: config.queue as usize,
        batch: config.batch as usize,
        // In units of about a hundred bytes.
        cache: config.cache as usize * 10_000,
        clock: Clock::default().trusting_the_database(config.trust_database_clock),
        ..WriterOptions::default()
    };
    let room = Room::default().preferring(&config.home);
    let projector = ProjectorOptions { new_versions: config.new_versions(), room, ..ProjectorOptions::default() };
    let identity =
        IdentityOptions { keys: config.home.clone(), hashing: Hashing::default(), sessions: config.sessions() };
    let lag_budget = Duration::from_secs(config.lag_budget.into());
    AppOptions {
        writer,
        projector,
        lag_budget,
        hosts: config.hosts(),
        origins: config.origins(),
        proxies: config.proxies(),
        rates: config.rates(),
        encrypted: config.is_encrypted(),
        patience: config.patience(),
        metrics_apart: config.metrics_listen.is_some(),
        takes_links: config.takes_links(),
        identity,
        factor_reset_wait: config.factor_reset_wait(),
        sweep: config.sweep(),
        watch: config.watch(),
        ..AppOptions::default()
    }
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
    // A log that nobody takes, or whose disk is full, must not end who writes it.
    let log = log.log_internal_errors(false);
    let human = match format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    if human { log.with_target(false).init() } else { log.json().flatten_event(true).init() }
}

/// Where callers have nothing to open here themselves.
const WAY_OF_PROXIES: &str = "
  callers         come through the proxies that --proxies names
  a token         daybook token create --role staff
";

fn ways_in(address: &str) -> String {
    format!(
        "
  documentation   {address}/docs
  description     {address}/openapi.json
  a token         daybook token create --role staff
  accounts        curl {address}/v1/accounts -H \"authorization: Bearer $TOKEN\"
"
    )
}

/// Says where it serves, and what there is to open.
fn introduce(address: &str, ways: &str, guests: &[Guest]) -> io::Result<()> {
    let mut text = format!("\nDaybook serves on {address}\n{ways}");
    if !guests.is_empty() {
        text += "\nThis is a demonstration. Each link signs you in once, within 15 minutes:\n\n";
        for Guest { kind, link } in guests {
            text += &format!("  {kind:<15} {address}{link}\n");
        }
    }
    text += "\nCtrl-C stops it.\n";
    io::stdout().write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_connection_that_does_not_end_keeps_nobody_from_stopping() {
        drained(pending::<()>(), ready(Ok(())), Duration::ZERO).await.expect("a stop that was asked for is no fault");
    }

    #[tokio::test]
    async fn why_the_server_ends_is_told_whether_its_connections_end_or_not() {
        let fallen = || ready(Err("the writer has ended by itself".into()));
        let cut = drained(pending::<()>(), fallen(), Duration::ZERO).await.expect_err("the writer has fallen");
        assert_eq!(cut.to_string(), "the writer has ended by itself");
        let answered = drained(ready(()), fallen(), DRAIN).await.expect_err("the writer has fallen");
        assert_eq!(answered.to_string(), "the writer has ended by itself");
    }
}
