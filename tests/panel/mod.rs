//! The pages, in a real browser and without one.

mod chrome;
mod figures;
mod house;
mod pages;
mod screenshots;
mod sources;
mod tasks;

use daybook_tests::history::LONG;
use tokio::{task::yield_now, time::timeout};

/// Asks until it is so.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !so().await {
            yield_now().await;
        }
    };
    timeout(LONG, asked).await.unwrap_or_else(|_| panic!("{what} does not become so"));
}
