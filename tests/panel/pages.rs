//! Every page of the map, in a browser: no error, no finding of axe-core, no scroll bar across, every control within reach.

use daybook_panel::{Panel, pages};
use daybook_tests::operator;
use reqwest::Method;
use serde_json::json;

use super::{chrome::Chrome, house::House};

/// Whoever is shown a page that its own kind of user has nothing for.
const OTHERS: [Panel; 4] = [Panel::Customer, Panel::Staff, Panel::Auditor, Panel::Operator];

/// All pages, each with the kind of user and an address that there is.
async fn addresses(house: &House) -> Vec<(Panel, String, String)> {
    // Something that goes on for a while, so that it can be looked at.
    let verify = house.app.from_page(house.who(Panel::Operator), Method::POST, &operator::of("accounts", "/verify"));
    let verify = daybook_tests::api::Answer::to(verify).await;
    assert_eq!(verify.status, 202, "{}", verify.text);
    let size = house.app.position().await;
    house.app.signed(size).await;
    let mut all = Vec::new();
    for page in pages() {
        let mut found = None;
        for panel in [page.panel].into_iter().chain(OTHERS) {
            if let Some(address) = house.address(panel, &page.path).await {
                found = Some((panel, page.path.clone(), address));
                break;
            }
        }
        all.push(
            found.unwrap_or_else(|| panic!("there is nothing to show on {}: add it to the varied history", page.path)),
        );
    }
    all
}

#[tokio::test]
async fn every_page_opens_as_each_kind_of_user_or_says_why_not() {
    let house = House::varied().await;
    for (panel, page, address) in addresses(&house).await {
        for who in OTHERS {
            let answer = house.reads(who, &address).await;
            let is_own = who == panel;
            assert!(
                answer.status == 200 || (!is_own && matches!(answer.status, 403 | 404)),
                "{page} as {who:?}: {} {}",
                answer.status,
                answer.text
            );
            let title =
                answer.text.split("<h1>").nth(1).and_then(|rest| rest.split("</h1>").next()).unwrap_or_default();
            assert!(
                !title.is_empty() && !title.starts_with("page-"),
                "{page} has no words in the catalogue: `{title}`"
            );
            assert!(answer.text.len() <= 100 * 1024, "{page} has {} bytes", answer.text.len());
            assert_eq!(answer.header("cache-control"), "no-store", "{page}");
        }
    }
}

#[tokio::test]
async fn every_page_is_sound_in_a_browser() {
    let house = House::varied().await;
    let chrome = Chrome::open(&house.app.url).await;
    let (mut wrong, mut last) = (Vec::new(), None);
    for (panel, page, address) in addresses(&house).await {
        if last != Some(panel) {
            chrome.as_somebody(&house.who(panel).cookie).await;
            last = Some(panel);
        }
        chrome.drawn(1280, "light", "none").await;
        chrome.go(&address).await;
        wrong.extend(chrome.findings().await.into_iter().map(|found| format!("{page}, light: {found}")));
        for (scheme, forced) in [("dark", "none"), ("light", "active")] {
            chrome.drawn(1280, scheme, forced).await;
            let found = chrome.findings().await;
            wrong.extend(found.into_iter().map(|found| format!("{page}, {scheme} {forced}: {found}")));
        }
        // As narrow as a telephone, and as wide as a window is at twice the size.
        for width in [360, 640] {
            chrome.drawn(width, "light", "none").await;
            let over = chrome.too_wide().await;
            if over > 0 {
                wrong.push(format!("{page} is {over} pixels too wide at {width}"));
            }
        }
        wrong
            .extend(chrome.console().await.into_iter().map(|message| format!("{page} says in the console: {message}")));
    }
    chrome.close().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_control_is_reached_by_the_keyboard_and_shows_it() {
    let house = House::varied().await;
    let chrome = Chrome::open(&house.app.url).await;
    chrome.as_somebody(&house.who(Panel::Staff).cookie).await;
    for path in ["/", "/do/invoices_issue", "/audit/events?limit=10"] {
        chrome.go(path).await;
        let controls =
            "a[href]:not([tabindex='-1']), button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']";
        let script = format!(
            "return [...document.querySelectorAll(\"{controls}\")].filter(e => e.checkVisibility({{ visibilityProperty: true }})).length"
        );
        let expected = chrome.run(&script).await.as_u64().expect("a number");
        chrome.run("document.activeElement.blur(); window.seen = new Set(); window.dim = [];").await;
        let body = chrome.client.find(fantoccini::Locator::Css("body")).await.unwrap();
        let tabs = expected + 20;
        for _ in 0..tabs {
            body.send_keys("\u{e004}").await.ok();
            let step = "const e = document.activeElement; if (e && e !== document.body && e.id !== 'main') { seen.add(e);
                const s = getComputedStyle(e); if (s.outlineStyle === 'none' || parseFloat(s.outlineWidth) < 1) dim.push(e.outerHTML.slice(0, 80)); }";
            chrome.run(step).await;
        }
        let missed = format!(
            "return [...document.querySelectorAll(\"{controls}\")]
                 .filter(e => e.checkVisibility({{ visibilityProperty: true }}) && !seen.has(e)).map(e => e.outerHTML.slice(0, 120))"
        );
        let missed = chrome.run(&missed).await;
        let seen = chrome.run("return seen.size").await.as_u64().expect("a number");
        assert_eq!(chrome.run("return dim").await, json!([]), "{path}: the focus is not seen");
        // Native fields for days have several stops, and are one control.
        assert!(seen >= expected, "{path}: {seen} of {expected} controls are reached, and not {missed}");
    }
    chrome.close().await;
}

/// S80: a customer without history.
#[tokio::test]
async fn s80_whoever_has_no_history_finds_on_every_page_what_to_do_next() {
    let house = House::new().await;
    let mut empty = 0;
    for page in pages().into_iter().filter(|page| !page.path.contains('{') && page.path != "/history") {
        let address = page.path.clone();
        let answer = house.reads(Panel::Customer, &address).await;
        if answer.status != 200 {
            continue;
        }
        if answer.text.contains("class=\"empty\"") {
            let part = answer.text.split("class=\"empty\"").nth(1).unwrap_or_default();
            let part = part.split("</div>").next().unwrap_or_default();
            assert_eq!(part.matches("class=\"button\"").count(), 1, "{address} has one next action: {part}");
            empty += 1;
        }
    }
    assert!(empty >= 9, "only {empty} pages were empty");
    // Every plot renders, also of nothing.
    let account = json!({ "customer": house.customer.as_str(), "name": "hosting", "currency": "USD", "time_zone": "Europe/Berlin" });
    let opened = house.app.page_posts(house.who(Panel::Staff), "/v1/accounts", account).await;
    assert_eq!(opened.status, 201, "{}", opened.text);
    let id = opened.body["id"].as_str().expect("it has an identifier");
    let home = house.reads(Panel::Customer, &format!("/?at={}", opened.header("ledger-position"))).await;
    assert!(home.text.contains("<svg") && home.text.contains("0.00\u{a0}USD"), "{}", home.text);
    let statement = house.reads(Panel::Customer, &format!("/accounts/{id}/statement")).await;
    assert_eq!(statement.status, 200, "{}", statement.text);
}
