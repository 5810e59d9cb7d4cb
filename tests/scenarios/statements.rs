//! S3: a statement goes on where the one before ended, in every form.

use serde_json::{Value, json};

use super::world::{World, amount, money};

#[tokio::test]
async fn s03_statements_are_continuous_in_json_and_csv() {
    let world = World::new().await;
    let books = world.books("USD").await;
    world.post_paid(&books).await;
    // Thirteen months; now and then a payment, and in one month nothing at all.
    for month in 0..13u32 {
        let (year, month_of_year) = (2025 + month / 12, month % 12 + 1);
        let at = format!("{year}-{month_of_year:02}-17T10:00:00Z");
        let path = format!("/v1/accounts/{}/adjustments", books.account);
        if month != 5 {
            let charge = json!({
                "amount": money(&format!("-{}.{month:02}", month + 3), "USD"), "description": "=usage",
                "reason": "scenario", "effective_at": at,
            });
            world.done(&path, charge).await;
        }
        if month % 3 == 1 {
            let credit = json!({
                "amount": money("25.10", "USD"), "description": "top, \"up\"", "reason": "scenario",
                "effective_at": at.replace("-17T", "-03T"),
            });
            world.done(&path, credit).await;
        }
    }

    let mut closing_before: Option<String> = None;
    let mut lines_seen = 0;
    for month in 0..13u32 {
        let first = |month: u32| format!("{}-{:02}-01", 2025 + month / 12, month % 12 + 1);
        let path = format!("/v1/accounts/{}/statement?from={}&to={}", books.account, first(month), first(month + 1));
        let json = world.read(&path).await;
        let opening = amount(&json["opening"]);
        assert_eq!(closing_before.as_ref().unwrap_or(&"0.00".into()), &opening, "month {month}");

        let lines = json["lines"].as_array().expect("lines");
        lines_seen += lines.len();
        let mut running = cents(&opening);
        for line in lines {
            running += cents(&amount(&line["amount"]));
            assert_eq!(cents(&amount(&line["balance"])), running, "{line}");
        }
        let closing = amount(&json["closing"]);
        assert_eq!(cents(&closing), running);
        closing_before = Some(closing);

        let csv = world.app.get(&format!("{path}&format=csv")).await;
        assert_eq!(csv.status, 200, "{}", csv.text);
        assert_eq!(csv.header("ledger-position"), json["position"].to_string());
        assert_csv_equals(&csv.text, &json);
    }
    assert_eq!(lines_seen, 12 + 4);
}

/// The CSV form has the opening row, a row per line and the closing row, with the numbers of the JSON form.
fn assert_csv_equals(text: &str, json: &Value) {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let column = |name: &str, headers: &csv::StringRecord| {
        headers.iter().position(|header| header == name).unwrap_or_else(|| panic!("no column {name} in {headers:?}"))
    };
    let headers = reader.headers().expect("headers").clone();
    let (sum, balance, words) =
        (column("amount", &headers), column("balance", &headers), column("description", &headers));
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    let lines = json["lines"].as_array().expect("lines");
    assert_eq!(rows.len(), lines.len() + 2);
    assert_eq!(rows[0][balance], amount(&json["opening"]));
    assert_eq!(rows[rows.len() - 1][balance], amount(&json["closing"]));
    for (row, line) in rows[1..].iter().zip(lines) {
        assert_eq!(row[sum], amount(&line["amount"]));
        assert_eq!(row[balance], amount(&line["balance"]));
        // A text that a spreadsheet would compute is made harmless; a negative number stays a number.
        let description = line["description"].as_str().expect("text");
        let expected = if description.starts_with('=') { format!("'{description}") } else { description.to_owned() };
        assert_eq!(row[words], expected);
    }
}

fn cents(amount: &str) -> i64 {
    amount.replace('.', "").parse().expect("an amount with two decimals")
}
