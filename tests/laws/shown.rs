//! What every listing can do, as its question declares it: each order meets each row once, `fields` and `expand` show what
//! they name, a table has the rows of the pages, and what is said of indexes is so.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    io::Cursor,
};

use calamine::{Data, Reader as _, Xlsx};
use daybook_api::{Declared, listings};
use daybook_core::domain::{
    Party,
    function::{Function, Role},
    user::MembershipChange as M,
};
use daybook_projections::{RowOrder, Sort};
use daybook_tests::{
    api::{Answer, TestApp},
    history::Ledger,
    listed::{data, linked, walked},
};
use reqwest::{Method, header::ACCEPT};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::time_travel::arrived;

const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// The application on a varied history.
async fn varied() -> TestApp {
    let (_, database) = Ledger::varied_and_projected().await.stopped().await;
    let app = TestApp::on(database).await;
    arrived(&app).await;
    app
}

/// All rows of a listing, newest first.
async fn all(app: &TestApp, path: &str) -> Vec<Value> {
    let page = app.get_at_once(&format!("{path}?limit=200")).await;
    assert_eq!((page.status, &page.body["has_more"]), (200, &json!(false)), "{path}");
    let rows = data(&page).clone();
    assert!(!rows.is_empty(), "the history has nothing for {path}");
    rows
}

fn ids(rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| row["id"].as_str().expect("a row has an identifier").to_owned()).collect()
}

#[tokio::test]
async fn every_order_of_every_listing_meets_each_row_once_there_and_back() {
    let app = varied().await;
    let mut walks = 0;
    for Declared { path, sorts, members, .. } in listings() {
        let rows = all(&app, path).await;
        let newest_first = ids(&rows);
        let mut oldest_first = newest_first.clone();
        oldest_first.reverse();
        for (order, expected) in [("-position", &newest_first), ("position", &oldest_first)] {
            let pages = walked(&app, &format!("{path}?limit=2&sort={order}")).await;
            assert_eq!(&ids(&pages.iter().flat_map(data).cloned().collect::<Vec<_>>()), expected, "{path} by {order}");
        }
        for sort in sorts {
            assert!(members.iter().any(|member| member == sort.name), "{path} shows no `{}`", sort.name);
            let mut orders = Vec::new();
            for sign in ["", "-"] {
                let address = format!("{path}?limit=2&sort={sign}{}", sort.name);
                let pages = walked(&app, &address).await;
                assert!(linked(&pages[0], "prev").is_none());
                let rows: Vec<Value> = pages.iter().flat_map(data).cloned().collect();
                let met: BTreeSet<String> = ids(&rows).into_iter().collect();
                assert_eq!((met.len(), rows.len()), (newest_first.len(), newest_first.len()), "{address}");
                in_order(sort, sign == "-", &rows, &address);
                there_and_back(&app, &pages, &address).await;
                orders.push(rows);
                walks += 1;
            }
            // What the collation of a database makes of texts, it makes of them in both directions.
            let valued =
                |rows: &[Value]| ids(&rows.iter().filter(|row| !row[sort.name].is_null()).cloned().collect::<Vec<_>>());
            let mut reversed = valued(&orders[1]);
            reversed.reverse();
            assert_eq!(valued(&orders[0]), reversed, "{path} by {}", sort.name);
        }
        let refused = app.get_at_once(&format!("{path}?sort=nonsense")).await;
        assert_eq!(refused.refused(400, "malformed-parameter")["parameter"], "sort", "{path}");
        let of_the_past = app.get_at_once(&format!("{path}?sort=position&as_known_at=1")).await;
        assert_eq!(of_the_past.refused(400, "malformed-parameter")["parameter"], "sort", "{path}");
        let unsorted = app.get_at_once(&format!("{path}?sort=-position&as_known_at=1")).await;
        assert_eq!(unsorted.status, 200, "{}", unsorted.text);
    }
    assert!(walks > 80, "{walks}");
}

/// From the last page back to the first one by the links, which are to the same pages as those there.
async fn there_and_back(app: &TestApp, pages: &[Answer], address: &str) {
    let mut page = pages.last().expect("there is a page").clone();
    for expected in pages.iter().rev().skip(1) {
        let before = linked(&page, "prev").unwrap_or_else(|| panic!("{address} leads back"));
        page = app.get_at_once(&before).await;
        assert_eq!(page.body["data"], expected.body["data"], "{address}");
        let again = linked(&page, "next").unwrap_or_else(|| panic!("{address} leads on"));
        assert_eq!(linked(expected, "next"), Some(again), "{address}");
    }
    assert_eq!(linked(&page, "prev"), None, "{address}");
    let first = linked(pages.last().expect("there is a page"), "first");
    assert_eq!(first.as_deref(), Some(address).filter(|_| pages.len() > 1), "{address}");
}

/// That rows go up or down by their values and then by their positions, those without a value last.
fn in_order(sort: &Sort, is_descending: bool, rows: &[Value], address: &str) {
    for pair in rows.windows(2) {
        let (one, other) = (&pair[0], &pair[1]);
        let compared = match (one[sort.name].is_null(), other[sort.name].is_null()) {
            (true, false) => panic!("{address}: a row without a value comes before {other}"),
            (false, true) => continue,
            (true, true) => Some(Ordering::Equal),
            (false, false) => compared(&one[sort.name], &other[sort.name]),
        };
        let position = |row: &Value| row["position"].as_i64();
        let compared = compared.map(|order| order.then(position(one).cmp(&position(other))));
        let wrong = if is_descending { Ordering::Less } else { Ordering::Greater };
        assert_ne!(compared, Some(wrong), "{address}: {one} comes before {other}");
    }
}

/// `None` of texts that are not equal: their order is the database's.
fn compared(one: &Value, other: &Value) -> Option<Ordering> {
    let decimal = |value: &Value| value.as_str().and_then(|text| text.parse::<Decimal>().ok());
    let is_money = |value: &Value| value.get("amount").is_some();
    if is_money(one) {
        let currency = |money: &Value| money["currency"].as_str().map(str::to_owned);
        let by_currency = currency(one).cmp(&currency(other));
        return Some(by_currency.then(decimal(&one["amount"]).cmp(&decimal(&other["amount"]))));
    }
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => Some(one.as_i64().cmp(&other.as_i64())),
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        // Days and moments are compared as texts: all are in UTC and have the year first.
        (Value::String(one), Value::String(other)) if one.starts_with("20") && other.starts_with("20") => {
            Some(one.trim_end_matches('Z').cmp(other.trim_end_matches('Z')))
        }
        (one, other) => (one == other).then_some(Ordering::Equal),
    }
}

#[tokio::test]
async fn fields_show_what_they_name_and_nothing_else() {
    let app = varied().await;
    for Declared { path, members, .. } in listings() {
        let rows = all(&app, path).await;
        let shown: BTreeSet<&String> = rows[0].as_object().expect("an object").keys().collect();
        assert_eq!(shown, members.iter().collect(), "{path}");
        let one = format!("{path}/{}", rows[0]["id"].as_str().expect("an identifier"));
        let whole = app.get_at_once(&one).await.body;
        for fields in [vec!["id"], vec!["position", "id"], members.iter().map(String::as_str).collect()] {
            let query = format!("fields={}", fields.join(","));
            let of_row = |row: &Value| -> Value {
                fields
                    .iter()
                    .map(|field| ((*field).to_owned(), row[*field].clone()))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            };
            let page = app.get_at_once(&format!("{path}?limit=200&{query}")).await;
            assert_eq!(data(&page), &rows.iter().map(of_row).collect::<Vec<_>>(), "{path}?{query}");
            assert_eq!(app.get_at_once(&format!("{one}?{query}")).await.body, of_row(&whole), "{one}?{query}");
        }
        for (address, has_more) in [(path.to_owned(), false), (one, true)] {
            for wrong in ["", "id,", "id,%20position", "ID", "id,nonsense"] {
                let answer = app.get_at_once(&format!("{address}?fields={wrong}")).await;
                let refused = answer.refused(400, "malformed-parameter");
                let allowed = refused["allowed"].as_array().expect("those that are allowed").len();
                assert_eq!((&refused["parameter"], allowed >= members.len()), (&json!("fields"), true), "{address}");
                assert!(has_more || allowed == members.len(), "{address}");
            }
        }
    }
}

/// The listings, by what the identifiers of their rows begin with.
async fn by_identifier(app: &TestApp) -> BTreeMap<String, Value> {
    let mut things = BTreeMap::new();
    for Declared { path, .. } in listings() {
        things.extend(all(app, path).await.into_iter().map(|row| (ids(std::slice::from_ref(&row)).remove(0), row)));
    }
    things
}

/// The thing with the identifiers of these paths replaced.
fn expanded(thing: &Value, paths: &[Vec<&str>], things: &BTreeMap<String, Value>) -> Value {
    let mut thing = thing.clone();
    let names: BTreeSet<&str> = paths.iter().filter_map(|path| path.first().copied()).collect();
    for name in names {
        let Some(named) = thing[name].as_str().and_then(|id| things.get(id)) else { continue };
        let further: Vec<Vec<&str>> =
            paths.iter().filter(|path| path[0] == name && path.len() > 1).map(|path| path[1..].to_vec()).collect();
        thing[name] = expanded(named, &further, things);
    }
    thing
}

#[tokio::test]
async fn expand_shows_what_identifiers_name() {
    let app = varied().await;
    let things = by_identifier(&app).await;
    let mut replaced = BTreeSet::new();
    for Declared { path, paths, .. } in listings() {
        let rows = all(&app, path).await;
        let one = format!("{path}/{}", ids(&rows)[0]);
        if paths.is_empty() {
            app.get_at_once(&format!("{path}?expand=customer")).await.refused(400, "unknown-parameter");
            continue;
        }
        let whole = app.get_at_once(&one).await.body;
        for asked in paths.iter().cloned().chain([paths.join(",")]) {
            let parts: Vec<Vec<&str>> = asked.split(',').map(|path| path.split('.').collect()).collect();
            let expected: Vec<Value> = rows.iter().map(|row| expanded(row, &parts, &things)).collect();
            for moment in ["", &format!("&as_known_at={}", app.position().await)] {
                let page = app.get_at_once(&format!("{path}?limit=200&expand={asked}{moment}")).await;
                assert_eq!(data(&page), &expected, "{path}?expand={asked}{moment}");
            }
            let of_one = app.get_at_once(&format!("{one}?expand={asked}")).await;
            assert_eq!(of_one.body, expanded(&whole, &parts, &things), "{one}?expand={asked}");
            if expected != rows {
                replaced.insert((path, asked));
            }
        }
        for wrong in ["", "nonsense", "customer.nonsense", "customer.", "account.customer.account"] {
            let answer = app.get_at_once(&format!("{path}?expand={wrong}")).await;
            assert_eq!(answer.refused(400, "malformed-parameter")["parameter"], "expand", "{path} {wrong}");
        }
    }
    assert!(replaced.len() > 40, "{replaced:?}");
}

/// Each thing on the way needs the right to read such a thing.
#[tokio::test]
async fn expand_needs_the_right_to_read_what_it_shows() {
    let (_, database) = Ledger::varied_and_projected().await.stopped().await;
    let app = TestApp::guarded_on(database).await;
    let anna = app.person("anna", &Party::Provider, vec![M::GrantRole(Role::Staff)]).await;
    let customer: String = sqlx::query_scalar("select id from customers").fetch_one(app.database.pool()).await.unwrap();
    let party = Party::Customer(customer.parse().unwrap());
    let rights = [Function::OrdersRead, Function::AccountsRead].map(M::GrantFunction).to_vec();
    let clerk = app.person("clerk-of-orders", &party, rights).await;
    let ask = async |person, address: &str| app.read_by(person, address).await;

    assert_eq!(ask(&anna, "/v1/orders?expand=account.customer").await.status, 200);
    let own = ask(&clerk, "/v1/orders?expand=account").await;
    assert_eq!((own.status, &own.body["data"][0]["account"]["customer"]), (200, &json!(customer)), "{}", own.text);
    for path in ["customer", "account,customer", "account.customer", "payment.account"] {
        let refused = ask(&clerk, &format!("/v1/orders?expand={path}")).await;
        let missing = if path.starts_with("payment") { "payments.read" } else { "customers.read" };
        assert_eq!(refused.refused(403, "forbidden-by-role")["function"], missing, "{path}");
    }
    // A cursor is good for the one whom it was given to.
    let page = ask(&anna, "/v1/orders?limit=1").await;
    let cursor = page.body["next_cursor"].as_str().expect("there is more");
    assert_eq!(ask(&anna, &format!("/v1/orders?limit=1&cursor={cursor}")).await.status, 200);
    ask(&clerk, &format!("/v1/orders?limit=1&cursor={cursor}")).await.refused(400, "invalid-cursor");
    let bert = app.person("bert", &Party::Provider, vec![M::GrantRole(Role::Staff)]).await;
    ask(&bert, &format!("/v1/orders?limit=1&cursor={cursor}")).await.refused(400, "invalid-cursor");
}

/// What is shown in the place of an identifier is at least of the position of the page.
#[tokio::test]
async fn expand_waits_for_what_the_page_has_seen() {
    let app = varied().await;
    let account = all(&app, "/v1/accounts").await.remove(0)["id"].as_str().expect("an identifier").to_owned();
    app.done("/v1/ops/projections/accounts/pause", json!({})).await;
    let item = json!({ "product": "vps", "description": "a server", "quantity": "1", "unit_price": "1.00" });
    app.done("/v1/orders", json!({ "account": account, "description": "late", "items": [item] })).await;
    let address = format!("/v1/orders?account={account}&limit=1&expand=account");
    app.get("/v1/orders").await;
    // Nothing is asked of the position but what the page itself tells.
    let ask = async |wait: &str| {
        let request = app.request(Method::GET, &address).header("min-position", "0").header("prefer", wait);
        Answer::to(request).await
    };
    assert_eq!(ask("wait=1").await.refused(503, "projection-behind")["projection"], "accounts");
    app.done("/v1/ops/projections/accounts/resume", json!({})).await;
    let page = ask("wait=30").await;
    assert_eq!((page.status, &page.body["data"][0]["account"]["id"]), (200, &json!(account)), "{}", page.text);
}

/// What is read in one form, as a table of texts.
struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    async fn read(app: &TestApp, address: &str, form: &str) -> Self {
        let answer = app.request(Method::GET, address).header(ACCEPT, form).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{address} as {form}");
        assert!(answer.headers()["content-type"].to_str().expect("text").starts_with(form), "{address}");
        let name = answer.headers()["content-disposition"].to_str().expect("text").to_owned();
        let position = answer.headers()["ledger-position"].to_str().expect("text").to_owned();
        assert!(name.contains(&format!("-{position}.")), "{name}");
        let body = answer.bytes().await.expect("the whole body");
        if form == XLSX { Self::of_workbook(&body) } else { Self::of_csv(&body) }
    }

    fn of_csv(body: &[u8]) -> Self {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(body);
        let mut lines = reader.records().map(|line| line.expect("a line").iter().map(str::to_owned).collect());
        Self { head: lines.next().expect("a head"), rows: lines.collect() }
    }

    fn of_workbook(body: &[u8]) -> Self {
        let mut book: Xlsx<_> = calamine::open_workbook_from_rs(Cursor::new(body)).expect("a workbook");
        let sheet = book.worksheet_range_at(0).expect("a sheet").expect("its cells");
        let text = |cell: &Data| match cell {
            Data::Empty => String::new(),
            Data::String(text) => text.clone(),
            Data::Float(number) => number.to_string(),
            Data::Int(number) => number.to_string(),
            Data::Bool(truth) => truth.to_string(),
            Data::DateTime(moment) => {
                let (year, month, day, hour, minute, second, millisecond) = moment.to_ymd_hms_milli();
                format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
            }
            other => panic!("no cell holds {other:?}"),
        };
        let mut lines = sheet.rows().map(|row| row.iter().map(text).collect());
        Self { head: lines.next().expect("a head"), rows: lines.collect() }
    }

    fn column(&self, name: &str) -> Vec<&str> {
        let at = self.head.iter().position(|column| column == name).unwrap_or_else(|| panic!("a column {name}"));
        self.rows.iter().map(|row| &*row[at]).collect()
    }
}

#[tokio::test]
async fn a_table_has_the_rows_of_the_pages_in_every_form_and_order() {
    let app = varied().await;
    for Declared { path, members, columns, sorts, .. } in listings() {
        let different: BTreeSet<&String> = columns.iter().collect();
        assert_eq!(different.len(), columns.len(), "{path}: {columns:?}");
        let order = sorts.last().map_or("position", |sort| sort.name);
        for query in ["", &format!("?sort={order}"), "?as_known_at=100"] {
            let address = format!("{path}{query}");
            let separator = if query.is_empty() { '?' } else { '&' };
            let page = app.get_at_once(&format!("{address}{separator}limit=200")).await;
            let rows = data(&page);
            for form in ["text/csv", XLSX] {
                let table = Table::read(&app, &address, form).await;
                assert_eq!(table.head, columns, "{address}");
                assert_eq!(
                    table.column("id"),
                    ids(rows).iter().map(String::as_str).collect::<Vec<_>>(),
                    "{address} {form}"
                );
                for member in members.iter().filter(|member| columns.contains(&format!("{member}_amount"))) {
                    let amounts = rows.iter().filter_map(|row| row[member]["amount"].as_str());
                    let amounts: Vec<Decimal> = amounts.map(|amount| amount.parse().expect("a number")).collect();
                    let column = table.column(&format!("{member}_amount"));
                    let written =
                        column.iter().filter(|cell| !cell.is_empty()).map(|cell| cell.parse().expect("a number"));
                    let written: Vec<Decimal> = written.collect();
                    // A discount has amounts within.
                    if *member != "value" {
                        assert_eq!(written, amounts, "{address} {form} {member}");
                    }
                }
                for member in members.iter().filter(|member| columns.contains(member)) {
                    for (cell, row) in table.column(member).iter().zip(rows) {
                        assert!(
                            says(cell, &row[member], form),
                            "{address} {form} {member}: {cell} for {}",
                            row[member]
                        );
                    }
                }
            }
        }
        let some = Table::read(&app, &format!("{path}?fields=position,id"), "text/csv").await;
        assert_eq!(some.head, ["position", "id"], "{path}");
        for query in ["limit=2", "cursor=x"] {
            let table = app.request(Method::GET, &format!("{path}?{query}")).header(ACCEPT, "text/csv");
            Answer::to(table).await.refused(400, "malformed-parameter");
        }
        let picture = app.request(Method::GET, path).header(ACCEPT, "image/png, text/csv;q=0");
        Answer::to(picture).await.refused(406, "not-acceptable");
    }
}

/// Whether a cell says what a member of a row does.
fn says(cell: &str, value: &Value, form: &str) -> bool {
    match value {
        Value::Null => cell.is_empty(),
        Value::Bool(truth) => cell == truth.to_string(),
        Value::Number(number) => cell == number.to_string(),
        // The first member says what it is of.
        Value::Object(held) => held.keys().next().is_some_and(|word| cell == word),
        Value::Array(list) if list.iter().all(Value::is_string) => {
            list.len() == cell.split(", ").filter(|part| !part.is_empty()).count()
        }
        Value::Array(_) => serde_json::to_string(value).is_ok_and(|text| text == cell),
        // A spreadsheet keeps milliseconds of a moment, and a day has none.
        Value::String(text) if form == XLSX && cell.ends_with("Z") && text.starts_with("20") => {
            let until = text.len().min("2024-01-01T00:00:00".len()).min(cell.len());
            text[..until.min(16)] == cell[..until.min(16)]
        }
        Value::String(text) => match (text.parse::<Decimal>(), cell.parse::<Decimal>()) {
            (Ok(one), Ok(other)) => one == other,
            _ => cell == text || cell == daybook_core::spreadsheet::harmless(text),
        },
    }
}

/// What the description says of indexes is what PostgreSQL does: allowed nothing but to look up rows by an index, it looks
/// through a table for those filters alone of which that is said.
#[tokio::test]
async fn the_filters_and_orders_that_no_index_serves_are_those_of_which_it_is_said() {
    let app = TestApp::start().await;
    let description = app.get_at_once("/openapi.json").await.body;
    let mut connection = app.database.pool().acquire().await.unwrap();
    for declared in listings() {
        let Declared { path, unindexed, sorts, .. } = &declared;
        let operation = &description["paths"][path]["get"];
        let parameters = operation["parameters"].as_array().expect("parameters");
        let is_filter =
            |name: &str| !["cursor", "limit", "sort", "fields", "expand", "as_of", "as_known_at"].contains(&name);
        let filters =
            parameters.iter().filter(|one| one["in"] == "query" && is_filter(one["name"].as_str().expect("a name")));
        sqlx::raw_sql(
            "set enable_seqscan = off; set enable_indexscan = off; set enable_indexonlyscan = off;
             set enable_hashjoin = off; set enable_mergejoin = off; set enable_material = off; set enable_memoize = off",
        )
        .execute(&mut *connection)
        .await
        .unwrap();
        let mut looked_at = BTreeSet::new();
        for filter in filters {
            let name = filter["name"].as_str().expect("a name");
            looked_at.insert(name);
            let query = example(name, &description, &filter["schema"]);
            let plan = declared.plan(&mut connection, &query, None).await;
            let is_served = is_served(&mut connection, &plan).await;
            assert_eq!(!is_served, unindexed.contains(&name), "{path}?{query}: {plan:#?}");
            assert_eq!(filter["x-unindexed"] == true, unindexed.contains(&name), "{path} {name}");
        }
        assert!(unindexed.iter().all(|name| looked_at.contains(name)), "{path} has no such filter: {unindexed:?}");
        sqlx::raw_sql("reset all; set enable_seqscan = off; set enable_bitmapscan = off; set enable_sort = off; set enable_incremental_sort = off")
            .execute(&mut *connection)
            .await
            .unwrap();
        for sort in [None].into_iter().chain(sorts.iter().map(Some)) {
            for is_descending in [true, false] {
                let order = RowOrder::by(sort.copied(), is_descending);
                let within = sort.and_then(|sort| sort.indexed_within);
                let sorts = async |connection: &mut sqlx::PgConnection, query: &str| {
                    declared.plan(connection, query, Some(&order)).await.iter().any(|line| line.contains("Sort"))
                };
                let is_served = sort.is_none();
                assert_eq!(!sorts(&mut connection, "").await, is_served, "{path} by {sort:?}");
                if let Some(filter) = within {
                    let parameter = parameters.iter().find(|one| one["name"] == filter).expect("a filter");
                    let query = example(filter, &description, &parameter["schema"]);
                    assert!(!sorts(&mut connection, &query).await, "{path}?{query} by {sort:?}");
                }
            }
        }
        sqlx::raw_sql("reset all").execute(&mut *connection).await.unwrap();
    }
}

/// Whether rows are looked up by the first column of an index, and nowhere through a table or a whole index.
async fn is_served(connection: &mut sqlx::PgConnection, plan: &[String]) -> bool {
    let first_column =
        "select attname::text from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0]
                        where indexrelid = $1::regclass";
    for (line, condition) in plan.iter().zip(plan.iter().skip(1)) {
        let Some((_, index)) = line.split_once("Bitmap Index Scan on ") else { continue };
        let index = index.split_whitespace().next().expect("an index has a name");
        let column: String = sqlx::query_scalar(first_column).bind(index).fetch_one(&mut *connection).await.unwrap();
        if !condition.contains(&format!("({column} ")) {
            return false;
        }
    }
    !plan.iter().any(|line| line.contains("Seq Scan"))
}

/// A query with a value of this filter.
fn example(name: &str, description: &Value, schema: &Value) -> String {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => description.pointer(&reference[1..]).expect("a schema"),
        None => schema,
    };
    let given = schema["examples"][0].as_str().or(schema["enum"][0].as_str()).or(schema["example"].as_str());
    let value = given.unwrap_or(match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("boolean"), _) => "true",
        (_, Some("date")) => "2024-01-01",
        (_, Some("date-time")) => "2024-01-01T00:00:00Z",
        _ => "x",
    });
    let besides = if name.starts_with("amount") { "&currency=USD" } else { "" };
    format!("{name}={value}{besides}")
}
