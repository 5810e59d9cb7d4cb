//! S68 and S77: a listing that grows is walked through without a gap, and all of a large one is a table that takes little
//! memory to make.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::{Cursor, Write},
};

use calamine::{Data, Reader as _, Xlsx};
use daybook_core::domain::{CustomerId, TicketId};
use daybook_tests::{
    commands::{id, open_ticket, register},
    database,
    listed::{data, linked},
    people::{client, staff_token},
};
use futures::future::join_all;
use reqwest::header::ACCEPT;
use rust_decimal::Decimal;
use serde_json::Value;

use super::world::World;
use crate::faults::crash::Server;

#[tokio::test]
async fn s68_a_listing_that_grows_is_walked_through_without_a_gap() {
    const ROWS: usize = 10_000;
    let world = World::new().await;
    let app = &world.app;
    let customer: CustomerId = id(&app.writer().execute(register("Ada")).await.unwrap().answer);
    let open = async |rows: usize| {
        let opened = join_all((0..rows).map(|_| app.writer().execute(open_ticket(&customer)))).await;
        opened.into_iter().map(|opened| id::<TicketId>(&opened.unwrap().answer).to_string()).collect::<Vec<_>>()
    };
    let mut original = BTreeSet::new();
    while original.len() < ROWS {
        original.extend(open(500).await);
    }
    for sort in ["", "&sort=-opened_at", "&sort=subject", "&sort=position"] {
        let mut met: HashMap<String, usize> = HashMap::new();
        let mut next = Some(format!("/v1/tickets?limit=200{sort}"));
        let mut pages = 0;
        while let Some(address) = next {
            // More than fifty in the second that a few pages take.
            open(5).await;
            let page = app.get(&address).await;
            assert_eq!(page.status, 200, "{address}: {}", page.text);
            for row in data(&page) {
                *met.entry(row["id"].as_str().expect("an identifier").to_owned()).or_default() += 1;
            }
            next = linked(&page, "next");
            pages += 1;
            if pages == 3 {
                tampered(&world, next.as_deref().expect("there is more")).await;
            }
        }
        assert!(pages >= ROWS / 200, "{pages} pages");
        let wrong: Vec<_> = original.iter().filter(|id| met.get(*id) != Some(&1)).collect();
        assert!(wrong.is_empty(), "{sort}: {} rows are not met once", wrong.len());
        assert!(met.values().all(|times| *times == 1), "{sort}: a row is met twice");
    }
}

async fn tampered(world: &World, address: &str) {
    let (before, cursor) = address.split_once("cursor=").expect("a cursor");
    let middle = cursor.len() / 2;
    let other = if &cursor[middle..=middle] == "A" { "B" } else { "A" };
    let changed = format!("{before}cursor={}{other}{}", &cursor[..middle], &cursor[middle + 1..]);
    world.app.get(&changed).await.refused(400, "invalid-cursor");
    world.app.get(&format!("{address}&archived=false")).await.refused(400, "invalid-cursor");
    world.app.get(&format!("/v1/orders?cursor={cursor}")).await.refused(400, "invalid-cursor");
}

/// The largest memory that a process has had since this was asked for the last time, in bytes.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory is told");
    let kibibytes: u64 = line.split_whitespace().next().expect("a number").parse().expect("a number");
    fs::write(format!("/proc/{process}/clear_refs"), "5").expect("the peak can be forgotten");
    kibibytes * 1024
}

const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s77_a_large_listing_is_a_table_whose_texts_are_no_formulas() {
    const ROWS: i64 = 100_000;
    const MOST: u64 = 64 << 20;
    let database = database().await;
    let client = client(&staff_token(&["--database-url", database.url(), "--log-key", "none"]).await);
    let server = Server::start(&database).await;
    let process = server.child.id().expect("it runs");
    // As if so many had been charged: what counts is how they are read.
    sqlx::query(
        "insert into expenses (id, account_id, description, quantity, tax_rate, net, tax, total, currency, status, entry,
             covered, uncovered, charged_at, position, changed_position)
         select 'exp_' || lpad(n::text, 26, '0'), 'acc_1',
             case n % 10 when 1 then '=SUM(A1)' when 2 then 'a \"server\", small' else 'traffic of ' || n end,
             n, 19, -12, 0, case when n % 10 = 1 then -12.00 else (n % 1000) * 0.07 end, 'USD', 'recorded', n, 0, 0,
             '2024-01-01T00:00:00Z'::timestamptz + n * interval '1 second', n, n
         from generate_series(1, $1) n",
    )
    .bind(ROWS)
    .execute(database.pool())
    .await
    .unwrap();
    let sum: Decimal = sqlx::query_scalar("select sum(total) from expenses").fetch_one(database.pool()).await.unwrap();

    // A page and a small table first, so that what is made once is there.
    let url = format!("{}/v1/expenses", server.url);
    for (query, form) in [("?limit=200", "application/json"), ("?id=exp_1", "text/csv"), ("?id=exp_1", XLSX)] {
        assert_eq!(client.get(format!("{url}{query}")).header(ACCEPT, form).send().await.unwrap().status(), 200);
    }
    let page: Value = client.get(format!("{url}?limit=2&sort=-charged_at")).send().await.unwrap().json().await.unwrap();

    for form in ["text/csv", XLSX] {
        peak(process);
        let before = peak(process);
        let mut answer = client.get(format!("{url}?sort=-charged_at")).header(ACCEPT, form).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.unwrap() {
            body.write_all(&part).unwrap();
        }
        let grown = peak(process).saturating_sub(before);
        eprintln!(
            "{form}: {} KiB, {} KiB of memory more than the {} before",
            body.len() >> 10,
            grown >> 10,
            before >> 10
        );
        assert!(grown < MOST, "{form} takes {} MiB", grown >> 20);

        let lines: Vec<[Cell; 3]> = if form == XLSX { of_workbook(body) } else { of_csv(&body) };
        assert_eq!(lines.len() as i64, ROWS);
        let total: Decimal = lines.iter().map(|[_, _, total]| total.number()).sum();
        assert_eq!(total, sum, "{form}");
        for (line, row) in lines.iter().zip(page["data"].as_array().unwrap()) {
            assert_eq!(line[0], Cell::Text(row["id"].as_str().unwrap().into()), "the newest comes first");
        }
        let [_, description, total] =
            lines.iter().find(|[id, ..]| *id == Cell::Text(format!("exp_{:026}", 1))).unwrap();
        // A cell of a workbook says itself that it is a text; in a CSV an apostrophe does.
        let harmless = if form == XLSX { "=SUM(A1)" } else { "'=SUM(A1)" };
        assert_eq!((description, total.number()), (&Cell::Text(harmless.into()), Decimal::from(-12)), "{form}");
        assert!(!matches!(total, Cell::Text(text) if text.starts_with('\'')), "{total:?} is no number any more");
    }
    server.kill().await;
}

#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Text(String),
    Number(f64),
}

impl Cell {
    fn number(&self) -> Decimal {
        match self {
            Self::Text(text) => text.parse().expect("a plain number"),
            Self::Number(number) => number.to_string().parse().expect("a plain number"),
        }
    }
}

const COLUMNS: [&str; 3] = ["id", "description", "total_amount"];

fn of_csv(body: &[u8]) -> Vec<[Cell; 3]> {
    let mut reader = csv::Reader::from_reader(body);
    let head = reader.headers().unwrap().clone();
    let at = COLUMNS.map(|name| head.iter().position(|column| column == name).unwrap());
    let lines = reader.records().map(|line| line.unwrap());
    lines.map(|line| at.map(|at| Cell::Text(line[at].to_owned()))).collect()
}

fn of_workbook(body: Vec<u8>) -> Vec<[Cell; 3]> {
    let mut book: Xlsx<_> = calamine::open_workbook_from_rs(Cursor::new(body)).unwrap();
    assert!(book.worksheet_formula("Sheet1").unwrap().is_empty(), "a formula stands in the workbook");
    let sheet = book.worksheet_range_at(0).unwrap().unwrap();
    let head: Vec<String> = sheet.rows().next().unwrap().iter().map(ToString::to_string).collect();
    let at = COLUMNS.map(|name| head.iter().position(|column| column == name).unwrap());
    let cell = |cell: &Data| match cell {
        Data::String(text) => Cell::Text(text.clone()),
        Data::Float(number) => Cell::Number(*number),
        Data::Int(number) => Cell::Text(number.to_string()),
        other => panic!("{other:?}"),
    };
    sheet.rows().skip(1).map(|row| at.map(|at| cell(&row[at]))).collect()
}
