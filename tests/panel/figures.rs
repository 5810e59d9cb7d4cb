//! Figures on a page equal the API's.

use std::collections::BTreeSet;

use daybook_panel::{Panel, pages};
use serde_json::Value;

use super::house::House;

/// Pages of sums of their own, of links, and of events as they were written.
const OTHERS: [&str; 4] = ["/reports", "/search", "/audit/events", "/audit/difference"];

/// All amounts in an answer, as a page writes them in English.
fn amounts(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => match (members.get("amount"), members.get("currency")) {
            (Some(Value::String(amount)), Some(Value::String(currency))) if members.len() == 2 => {
                // A column of nothing is left out.
                if amount.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
                    found.insert(format!("{}\u{a0}{currency}", grouped(amount)));
                }
            }
            _ => members.values().for_each(|value| amounts(value, found)),
        },
        Value::Array(list) => list.iter().for_each(|value| amounts(value, found)),
        _ => {}
    }
}

/// `-1234567.50` as `-1,234,567.50`.
fn grouped(amount: &str) -> String {
    let (sign, digits) = amount.strip_prefix('-').map_or(("", amount), |digits| ("-", digits));
    let (whole, decimals) =
        digits.split_once('.').map_or((digits, String::new()), |(whole, d)| (whole, format!(".{d}")));
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{sign}{text}{decimals}")
}

#[tokio::test]
async fn every_amount_that_the_api_answers_stands_on_the_page() {
    let house = House::varied().await;
    let mut seen = 0;
    for page in pages().into_iter().filter(|page| !OTHERS.contains(&page.path.as_str())) {
        for panel in [Panel::Customer, Panel::Staff] {
            // Home of the provider's people is about work, and not about accounts.
            if page.path == "/" && panel != Panel::Customer {
                continue;
            }
            let Some(address) = house.address(panel, &page.path).await else { continue };
            let shown = house.reads(panel, &address).await;
            if shown.status != 200 {
                continue;
            }
            let reads = if page.path == "/" { "/v1/accounts?limit=4".to_owned() } else { format!("/v1{address}") };
            // A statement is read of the month that its page shows.
            let reads = match shown.text.split("<option value=\"").skip(1).find(|option| option.contains("selected")) {
                Some(option) if page.path.ends_with("/statement") => {
                    let month = &option[..7];
                    let next = next_month(month);
                    format!("{reads}?from={month}-01&to={next}-01")
                }
                _ => reads,
            };
            let answer = house.app.page_reads(house.who(panel), &reads).await;
            // A list that needs a filter shows none of its rows without it.
            if answer.status == 400 && shown.text.contains("role=\"alert\"") {
                continue;
            }
            assert_eq!(answer.status, 200, "{reads}: {}", answer.text);
            let mut expected = BTreeSet::new();
            amounts(&answer.body, &mut expected);
            for amount in expected {
                // Credit limits of accounts stand on the page of the account.
                let is_left_out = page.path == "/" && !shown.text.contains(&amount) && is_limit(&answer.body, &amount);
                assert!(
                    is_left_out || shown.text.contains(&amount),
                    "{address} as {panel:?} lacks {amount}: {}",
                    shown.text
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "only {seen} amounts were compared");
}

fn is_limit(accounts: &Value, amount: &str) -> bool {
    let rows = accounts["data"].as_array().expect("rows");
    rows.iter().any(|row| {
        ["credit_limit", "held"].iter().any(|member| {
            let mut found = BTreeSet::new();
            amounts(&row[*member], &mut found);
            found.contains(amount)
        })
    })
}

fn next_month(month: &str) -> String {
    let (year, month) = month.split_once('-').expect("a month");
    let (year, month): (i32, u32) = (year.parse().expect("a year"), month.parse().expect("a month"));
    if month == 12 { format!("{}-01", year + 1) } else { format!("{year}-{:02}", month + 1) }
}
