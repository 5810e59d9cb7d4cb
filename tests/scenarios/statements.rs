//! S3: a statement goes on where the one before ended, in every form.

use daybook_tests::api::Answer;
use reqwest::Method;
use serde_json::{Value, json};

use super::world::{World, amount, money};

#[tokio::test]
async fn s03_statements_are_continuous_in_every_form() {
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

        let told = Told::by_json(&json);
        for (format, content_type, read) in FORMS {
            let form = world.app.get(&format!("{path}&format={format}")).await;
            assert_eq!(form.status, 200, "{}", form.text);
            assert!(form.header("content-type").starts_with(content_type), "{format}");
            assert_eq!(read(&form.text), told, "{format} of month {month}: {}", form.text);
            let liked = world.app.request(Method::GET, &path).header("accept", content_type);
            assert_eq!(Answer::to(liked).await.text, form.text, "{format} by Accept");
        }
    }
    assert_eq!(lines_seen, 12 + 4);
}

/// What a statement tells, whatever its form.
#[derive(Debug, PartialEq)]
struct Told {
    position: String,
    opening: String,
    closing: String,
    /// Entry, amount, balance.
    lines: Vec<[String; 3]>,
}

type Reader = fn(&str) -> Told;

/// The forms beside JSON, and how each is read.
const FORMS: [(&str, &str, Reader); 3] =
    [("csv", "text/csv", Told::by_csv), ("html", "text/html", Told::by_html), ("text", "text/plain", Told::by_text)];

impl Told {
    fn by_json(json: &Value) -> Self {
        let lines = json["lines"].as_array().expect("lines");
        Self {
            position: json["position"].to_string(),
            opening: amount(&json["opening"]),
            closing: amount(&json["closing"]),
            lines: lines
                .iter()
                .map(|line| [line["entry"].to_string(), amount(&line["amount"]), amount(&line["balance"])])
                .collect(),
        }
    }

    fn by_csv(text: &str) -> Self {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let headers = reader.headers().expect("headers").clone();
        let column = |name: &str| headers.iter().position(|header| header == name).expect("a column of that name");
        let [entry, sum, balance, position] = ["entry", "amount", "balance", "position"].map(column);
        let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
        let (first, last) = (&rows[0], &rows[rows.len() - 1]);
        assert_eq!((&first[0], &last[0]), ("opening", "closing"));
        let lines = &rows[1..rows.len() - 1];
        // A text that a spreadsheet would compute is made harmless; a negative number stays a number.
        assert!(lines.iter().all(|row| &row[column("description")] == "'=usage" || row[sum].starts_with("25.10")));
        Self {
            position: last[position].into(),
            opening: first[balance].into(),
            closing: last[balance].into(),
            lines: lines.iter().map(|row| [&row[entry], &row[sum], &row[balance]].map(str::to_owned)).collect(),
        }
    }

    fn by_html(text: &str) -> Self {
        assert!(text.starts_with("<!DOCTYPE html>") && !text.contains("<script"), "{text}");
        let cell = |row: &str, class: &str| {
            let rest = row.split(&format!(r#"<td class="{class}">"#)).nth(1).expect("a cell of that class");
            rest.split("</td>").next().expect("a cell ends").to_owned()
        };
        let row = |class: &str| text.split(&format!(r#"<tr class="{class}">"#)).nth(1).expect("a row of that class");
        let lines = text.split(r#"<tr class="line" id="entry-"#).skip(1);
        let lines: Vec<&str> = lines.map(|line| line.split("</tr>").next().expect("a row ends")).collect();
        assert!(lines.iter().all(|line| line.contains("=usage") || line.contains("top, &#34;up&#34;")), "{text}");
        Self {
            position: after(text, "at position "),
            opening: cell(row("opening"), "balance"),
            closing: cell(row("closing"), "balance"),
            lines: lines
                .iter()
                .map(|line| {
                    [line.split('"').next().unwrap_or_default().into(), cell(line, "amount"), cell(line, "balance")]
                })
                .collect(),
        }
    }

    fn by_text(text: &str) -> Self {
        assert!(text.lines().all(|line| line.chars().count() <= 76), "{text}");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let lines = text.lines().map(words).filter(|words| words.get(2).is_some_and(|word| word == "entry"));
        Self {
            position: after(text, "at position "),
            opening: after(text, "Opening balance"),
            closing: after(text, "Closing balance"),
            lines: lines.map(|words| [words[3].clone(), words[4].clone(), words[5].clone()]).collect(),
        }
    }
}

/// The word or number that follows.
fn after(text: &str, words: &str) -> String {
    let rest = text.split(words).nth(1).unwrap_or_else(|| panic!("`{words}` is not in {text}"));
    rest.trim_start().split(|c: char| !(c.is_ascii_digit() || ".-".contains(c))).next().unwrap_or_default().to_owned()
}

fn cents(amount: &str) -> i64 {
    amount.replace('.', "").parse().expect("an amount with two decimals")
}
