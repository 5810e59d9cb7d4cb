//! Every page of the map, in a browser: no error, no finding of axe-core, no scroll bar across, every control within reach.

use std::collections::BTreeSet;

use daybook_api::listings;
use daybook_core::domain::{Party, function::Role, user::MembershipChange as M};
use daybook_panel::{Panel, pages};
use daybook_tests::{api::Answer, operator};
use reqwest::Method;
use serde_json::json;

use super::{chrome::Chrome, house::House};

/// Whoever is shown a page that its own kind of user has nothing for.
const OTHERS: [Panel; 4] = [Panel::Customer, Panel::Staff, Panel::Auditor, Panel::Operator];

/// All pages, each with the kind of user and an address that there is.
async fn addresses(house: &House) -> Vec<(Panel, String, String)> {
    // Something that goes on for a while, so that it can be looked at.
    let verify = house.app.from_page(house.who(Panel::Operator), Method::POST, &operator::of("accounts", "/verify"));
    let verify = Answer::to(verify).await;
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

/// Forms to which no page of a history leads, and why.
const ELSEWHERE: [(&str, &str); 8] = [
    ("session_step_up", "each form that needs it asks for it"),
    ("session_switch", "of a person with several memberships; it stands in the settings"),
    ("sign_in_second_factor", "a page of its own, before anybody is signed in"),
    ("me_confirm", "it follows the form that adds a factor"),
    ("me_remove_factor", "of a person with a factor; it stands in the settings"),
    ("sign_ups_remove", "of people who wait to be confirmed, in their list"),
    ("sign_ups_make_link", "of people who wait to be confirmed, in their list"),
    ("accounts_release_hold", "nowhere yet: the API lists no holds of an account"),
];

/// What can be done over HTTP has a form, and a page leads to it.
#[tokio::test]
async fn a_page_leads_to_every_form() {
    let house = House::varied().await;
    let mut led_to = BTreeSet::new();
    for (_, _, address) in addresses(&house).await {
        for who in OTHERS {
            forms_on(&house.reads(who, &address).await, &mut led_to);
        }
    }
    // Not only the newest thing of each list.
    let staff = house.who(Panel::Staff);
    for listing in listings() {
        let rows = house.app.page_reads(staff, &format!("{}?limit=200", listing.path)).await;
        for row in rows.body["data"].as_array().expect("rows") {
            let page = format!("{}/{}", &listing.path["/v1".len()..], row["id"].as_str().expect("an identifier"));
            forms_on(&house.reads(Panel::Staff, &page).await, &mut led_to);
        }
    }
    // What a person has made of oneself.
    let user = house.app.invited("own@example.org", &Party::Provider, vec![M::GrantRole(Role::Staff)]).await;
    house.app.with_password(&user).await;
    house.app.tokened(&user, &Party::Provider, None, None).await;
    let own = house.app.stepped_up(&house.app.signed_in("own@example.org").await).await;
    let contact = json!({ "contact": { "email": "ada@example.org" } });
    let added = house.app.page_edits(&own, &format!("/v1/users/{user}/contacts"), contact).await;
    assert_eq!(added.status, 200, "{}", added.text);
    for page in ["/tokens".to_owned(), format!("/users/{user}?at={}", added.header("ledger-position"))] {
        forms_on(&house.app.page_reads(&own, &page).await, &mut led_to);
    }
    let description = serde_json::to_value(daybook_api::openapi()).unwrap();
    let mut missing = Vec::new();
    for item in description["paths"].as_object().unwrap().values() {
        for (method, operation) in item.as_object().unwrap() {
            let (id, needs) = (operation["operationId"].as_str().unwrap(), operation["x-needs"].as_str().unwrap());
            let is_done = operation["responses"].as_object().unwrap().keys().any(|status| status.starts_with('2'));
            let is_of_pages = method != "get" && is_done && !matches!(needs, "nothing" | "signature");
            let is_elsewhere = ELSEWHERE.iter().any(|(other, _)| *other == id);
            if is_of_pages && !is_elsewhere && !led_to.contains(id) {
                missing.push(id);
            }
        }
    }
    assert!(missing.is_empty(), "no page leads to {missing:?}");
}

fn forms_on(page: &Answer, forms: &mut BTreeSet<String>) {
    let named = page.text.split("/do/").skip(1).map(|rest| rest.split(['"', '?']).next().unwrap_or_default());
    forms.extend(named.map(str::to_owned));
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
