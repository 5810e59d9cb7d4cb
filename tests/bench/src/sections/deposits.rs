//! Deposits by few callers: into many accounts, into one, by one caller alone, and through HTTP.

use super::{DAYBOOK, ONE_VIEW, UNNEST, at_least, p99_at_most};
use crate::{
    Bench, Failure,
    daybook::{self, Keys, Play},
    limits,
    measure::{Contestant, Section, Unit},
    rivals::{
        cala,
        postgres_es::{self, Views},
        sql_function,
    },
};

const NO_VIEW: &str = "postgres-es, no view";
const CALA: &str = "cala-ledger";
const SQL_FUNCTION: &str = "SQL function, row locks";
const ONE_ROW: &str = "limit: one-row INSERT";
const HTTP: &str = "Daybook through HTTP";

const CALLERS: usize = 32;

pub async fn spread(bench: &Bench) -> Result<Section, Failure> {
    let accounts = bench.sizes.accounts;
    let title = format!("deposits into {accounts} accounts, {CALLERS} callers, all projections on");
    let mut section = Section::new("spread", title, Unit::PerSecond);
    against_all(bench, &mut section, accounts).await?;
    section.claim(at_least(DAYBOOK, 5.0, ONE_VIEW))?;
    Ok(section)
}

pub async fn hot(bench: &Bench) -> Result<Section, Failure> {
    let title = format!("deposits into one account, {CALLERS} callers, all projections on");
    let mut section = Section::new("hot", title, Unit::PerSecond);
    against_all(bench, &mut section, 1).await?;
    section.claim(at_least(DAYBOOK, 80.0, ONE_VIEW))?;
    section.claim(at_least(DAYBOOK, 10.0, SQL_FUNCTION))?;
    section.claim(at_least(DAYBOOK, 30.0, CALA))?;
    Ok(section)
}

async fn against_all(bench: &Bench, section: &mut Section, accounts: usize) -> Result<(), Failure> {
    let Bench { server, sizes, .. } = bench;
    let (ledger, span) = (bench.ledger().await?, sizes.span);
    let (rival, sql, cala) = (bench.postgres_es().await?, bench.sql_function().await?, bench.cala().await?);
    let play = Play { name: DAYBOOK, accounts, callers: CALLERS, keys: Keys::Without, span };
    let many = (accounts, CALLERS);
    let mut contestants = [
        Contestant::new(|| daybook::with_projections(server, ledger, play)),
        Contestant::new(|| postgres_es::deposits(server, rival, (ONE_VIEW, Views::One), many, span)),
        Contestant::new(|| postgres_es::deposits(server, rival, (NO_VIEW, Views::None), many, span)),
        Contestant::new(|| cala::deposits(server, cala, CALA, many, span)),
        Contestant::new(|| sql_function::deposits(server, sql, SQL_FUNCTION, many, span)),
    ];
    section.measure(sizes.rounds, &mut contestants).await?;
    section.note(
        "refused: a version that another command took first; the caller tries again at once, and its latency runs on",
    );
    section.note("the SQL function and cala-ledger pay each account from one of its own, so that only a hot account makes a hot counterpart");
    Ok(())
}

pub async fn one_caller(bench: &Bench) -> Result<Section, Failure> {
    let Bench { server, sizes, .. } = bench;
    let accounts = sizes.accounts;
    let title = format!("deposits into {accounts} accounts, 1 caller, all projections on");
    let mut section = Section::new("one-caller", title, Unit::PerSecond);
    let (ledger, rival, span) = (bench.ledger().await?, bench.postgres_es().await?, sizes.span);
    let rows = bench.rows(accounts).await?;
    let play = Play { name: DAYBOOK, accounts, callers: 1, keys: Keys::Without, span };
    let mut contestants = [
        Contestant::new(|| daybook::with_projections(server, ledger, play)),
        Contestant::new(|| postgres_es::deposits(server, rival, (ONE_VIEW, Views::One), (accounts, 1), span)),
        Contestant::new(|| limits::one_row_inserts(server, ledger, ONE_ROW, rows, span)),
    ];
    section.measure(sizes.rounds, &mut contestants).await?;
    section.claim(at_least(DAYBOOK, 1.5, ONE_VIEW))?;
    section.claim(p99_at_most(DAYBOOK, 2.0, ONE_ROW))?;
    Ok(section)
}

pub async fn bytes(bench: &Bench) -> Result<Section, Failure> {
    let Bench { server, sizes, .. } = bench;
    let accounts = sizes.accounts;
    let title = format!("what a deposit adds to the disk, {accounts} accounts, all projections on");
    let mut section = Section::new("bytes", title, Unit::BytesPerDeposit);
    let (ledger, span) = (bench.ledger().await?, sizes.span);
    let play = Play { name: DAYBOOK, accounts, callers: CALLERS, keys: Keys::Without, span };
    let mut contestants = [Contestant::new(|| daybook::bytes(server, ledger, play))];
    section.measure(sizes.rounds, &mut contestants).await?;
    section.note("tables and their indexes as they lie on the disk, free space in their pages included");
    Ok(section)
}

/// The callers in this process carry a key, too: HTTP cannot do without.
pub async fn http(bench: &Bench) -> Result<Section, Failure> {
    let Bench { server, sizes, .. } = bench;
    let accounts = sizes.accounts;
    let title = format!("deposits into {accounts} accounts through HTTP, {CALLERS} connections, all projections on");
    let mut section = Section::new("http", title, Unit::PerSecond);
    let (ledger, span) = (bench.ledger().await?, sizes.span);
    let play = |name, keys| Play { name, accounts, callers: CALLERS, keys, span };
    let in_process = "Daybook in process, with keys";
    let mut contestants = [
        Contestant::new(|| daybook::over_http(server, ledger, play(HTTP, Keys::With))),
        Contestant::new(|| daybook::with_projections(server, ledger, play(in_process, Keys::With))),
        Contestant::new(|| {
            daybook::with_projections(server, ledger, play("Daybook in process, without keys", Keys::Without))
        }),
    ];
    section.measure(sizes.rounds, &mut contestants).await?;
    section.claim(at_least(HTTP, 0.6, in_process))?;
    section.note("callers, server and writer share one process; over HTTP a deposit must carry an idempotency key");
    Ok(section)
}

/// 1,024 callers: what the writer reaches against the rows alone.
pub async fn full(bench: &Bench) -> Result<Section, Failure> {
    let Bench { server, sizes, .. } = bench;
    let accounts = sizes.accounts;
    let title = format!("deposits by 1,024 callers into {accounts} accounts (spread) and into one (hot)");
    let mut section = Section::new("full", title, Unit::PerSecond);
    let (ledger, span) = (bench.ledger().await?, sizes.span);
    let rows = bench.rows(accounts).await?;
    let play = |name, accounts, keys| Play { name, accounts, callers: 1024, keys, span };
    let (spread, hot) = ("Daybook, spread", "Daybook, hot");
    let (spread_append, hot_append) = ("append only, spread", "append only, hot");
    let mut contestants = [
        Contestant::new(|| daybook::with_projections(server, ledger, play(spread, accounts, Keys::Without))),
        Contestant::new(|| daybook::with_projections(server, ledger, play(hot, 1, Keys::Without))),
        Contestant::new(|| daybook::append_only(server, ledger, play(spread_append, accounts, Keys::Without))),
        Contestant::new(|| daybook::append_only(server, ledger, play(hot_append, 1, Keys::Without))),
        Contestant::new(|| {
            daybook::append_only(server, ledger, play("append only, spread, with keys", accounts, Keys::With))
        }),
        Contestant::new(|| limits::unnest(server, ledger, UNNEST, rows, span)),
    ];
    section.measure(sizes.rounds, &mut contestants).await?;
    let (spread, hot) = (daybook::caught_up(spread), daybook::caught_up(hot));
    section.claim(at_least(&spread, 0.25, UNNEST))?;
    section.claim(at_least(&hot, 0.25, UNNEST))?;
    section.claim(at_least(&hot, 0.9, &spread))?;
    section.claim(at_least(spread_append, 0.5, UNNEST))?;
    section.claim(at_least(hot_append, 0.5, UNNEST))?;
    if let Some(batch) = rows.first() {
        let (payload, metadata) = batch.lengths();
        section.note(format!("an event has a payload of {payload} bytes and metadata of {metadata}"));
    }
    section.note("the latency of the limit is that of a whole batch; the deposits carry no idempotency key unless the row says so");
    Ok(section)
}
