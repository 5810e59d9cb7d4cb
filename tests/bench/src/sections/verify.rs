//! `daybook verify --full` over a long book, against copying its events out.

use std::{process::Stdio, time::Instant};

use daybook_projections::BOARD;
use tokio::process::Command;

use super::{at_least, rebuild};
use crate::{
    Bench, Failure,
    books::{self, Book},
    limits,
    measure::{Contestant, Run, Section, Unit},
};

pub async fn verify(bench: &Bench, book: &(Book, String)) -> Result<Section, Failure> {
    let Bench { server, sizes, .. } = bench;
    let (book, database) = book;
    let events = book.events();
    let mut section = Section::new("verify", format!("`daybook verify --full` over {events} events"), Unit::PerSecond);
    let program = bench.program("daybook");
    if !program.exists() {
        return Ok(section.skipped("the program `daybook` was not built beside this one"));
    }
    let help = Command::new(&program).args(["verify", "--help"]).output().await?;
    if !String::from_utf8_lossy(&help.stdout).contains("--full") {
        return Ok(section.skipped("this `daybook` has no `verify --full` yet"));
    }
    // It may look at every row there is.
    let others = BOARD.iter().map(|definition| definition.name).filter(|name| *name != rebuild::PROJECTION);
    books::project(server, database, &others.collect::<Vec<_>>()).await?;
    let pool = server.pool(database, 1).await?;
    let (verified, copied) = ("daybook verify --full", "limit: COPY out of the events");
    let run = |name: &str, seconds: f64| Run {
        name: name.into(),
        figure: events as f64 / seconds,
        counts: None,
        latency: None,
        peak_memory: None,
    };
    let mut contestants = [
        Contestant::new(|| async {
            server.quiet().await?;
            let begun = Instant::now();
            let mut command = Command::new(&program);
            command.args(["--database-url", &server.url(database), "verify", "--full"]).stdin(Stdio::null());
            let output = command.kill_on_drop(true).output().await?;
            let seconds = begun.elapsed().as_secs_f64();
            if !output.status.success() {
                let told = [output.stdout, output.stderr].concat();
                return Err(format!("the book does not verify: {}", String::from_utf8_lossy(&told)).into());
            }
            Ok(vec![run(verified, seconds)])
        }),
        Contestant::new(|| async {
            server.quiet().await?;
            Ok(vec![run(copied, limits::copy_out(&pool, "select * from events").await?)])
        }),
    ];
    section.measure(sizes.rounds, &mut contestants).await?;
    pool.close().await;
    section.claim(at_least(verified, 0.5, copied))?;
    Ok(section)
}
