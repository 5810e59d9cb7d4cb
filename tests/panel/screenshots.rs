//! The pictures of the README, made from the demonstration. `./run screenshots` makes them.

use std::{fs, path::Path};

use daybook_tests::{program, served::Served};
use tokio::process::Command;

use super::chrome::Chrome;

/// Which of the links signs whom in.
const CUSTOMER: usize = 0;
const AUDITOR: usize = 3;

#[tokio::test]
#[ignore = "it writes into the repository: `./run screenshots`"]
async fn the_pictures_of_the_readme() {
    let home = tempfile::tempdir().unwrap();
    let filled = Command::new(program("daybook"))
        .args(["demo", "--if-empty", "--home"])
        .arg(home.path())
        .env_remove("DATABASE_URL")
        .status()
        .await
        .unwrap();
    assert!(filled.success());
    let served = Served::start(home.path(), &[], "warn", &home.path().join("server.log")).await.unwrap();
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures");
    fs::create_dir_all(&pictures).unwrap();
    let chrome = Chrome::open(&served.url).await;
    chrome.drawn(1200, "light", "none").await;
    chrome.go(&format!("/sign-in?link={}", served.links[CUSTOMER])).await;
    chrome.press("Sign in").await;
    chrome.until_it_says("What needs you").await;
    chrome.picture(&pictures.join("home.png")).await;
    chrome.press("Payments").await;
    let first = chrome.client.find(fantoccini::Locator::Css("tbody th a")).await.unwrap();
    first.click().await.unwrap();
    chrome.until_it_says("Where the money of the payment is").await;
    chrome.picture(&pictures.join("payment.png")).await;
    chrome.client.delete_all_cookies().await.unwrap();
    chrome.go(&format!("/sign-in?link={}", served.links[AUDITOR])).await;
    chrome.press("Sign in").await;
    chrome.press("Accounts").await;
    chrome.press("hosting, USD").await;
    chrome.press("Why this number?").await;
    chrome.until_it_says("Postings").await;
    chrome.picture(&pictures.join("why.png")).await;
    chrome.close().await;
    served.kill().await;
}
