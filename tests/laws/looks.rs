//! What the provider's people look at stands in the access log of the customer whose it is, for every noun and every route
//! that reads.

use std::collections::{BTreeMap, BTreeSet};

use daybook_api::{Need, listings, needs, openapi};
use daybook_core::domain::{
    CustomerId, Party,
    function::{Function, Role},
    user::MembershipChange as M,
};
use daybook_projections::BOARD;
use daybook_tests::{api::TestApp, history::Ledger, people::Person, spread};
use reqwest::Method;
use serde_json::Value;

use super::time_travel::addresses;

/// How many addresses of each route an ordinary run asks.
const ADDRESSES: usize = 3;

/// Lines of the log about views: the route and what it was about.
type Lines = BTreeSet<(String, String)>;

/// The application on the varied history, which is all of one customer, with one of the provider's people.
struct House {
    app: TestApp,
    /// Of the customer.
    owner: Person,
    /// Of another customer, at whose things nobody looks.
    stranger: Person,
    eve: String,
    anna: Person,
}

impl House {
    async fn new() -> Self {
        let (_, database) = Ledger::varied_and_projected().await.stopped().await;
        let app = TestApp::guarded_on(database).await;
        let customers: Vec<String> =
            sqlx::query_scalar("select id from customers").fetch_all(app.database.pool()).await.unwrap();
        let [ada] = &customers[..] else { panic!("the history is of one customer: {customers:?}") };
        let ada: CustomerId = ada.parse().unwrap();
        let owner = app.person("owner", &Party::Customer(ada), vec![M::GrantSuperuser]).await;
        let eve = app.customer("Eve").await;
        let stranger = app.person("stranger", &Party::Customer(eve.clone()), vec![M::GrantSuperuser]).await;
        let anna = app.person("anna", &Party::Provider, vec![M::GrantRole(Role::Staff)]).await;
        Self { app, owner, stranger, eve: eve.to_string(), anna }
    }

    /// Anna looks at it, which she may.
    async fn looks(&self, address: &str) {
        let answer = self.app.read_by(&self.anna, address).await;
        assert_eq!(answer.status, 200, "{address}: {}", answer.text);
    }

    /// Whether the customer sees it by themselves, so that it is theirs.
    async fn is_seen_by_its_owner(&self, address: &str) -> bool {
        self.app.read_by(&self.owner, address).await.status == 200
    }

    /// What the customer of this person reads of views in the log, page after page.
    async fn lines(&self, reader: &Person) -> Lines {
        let (mut lines, mut cursor) = (Lines::new(), String::new());
        loop {
            let page = self.app.read_by(reader, &format!("/v1/access-log?limit=100{cursor}")).await;
            assert_eq!(page.status, 200, "{}", page.text);
            for line in page.body["lines"].as_array().unwrap().iter().filter(|line| line["kind"] == "viewed") {
                assert_eq!(line["user"], self.anna.user.as_str(), "{line}");
                let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
                lines.insert((text("what"), text("entity")));
            }
            match page.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return lines,
            }
        }
    }

    /// The identifiers of each table whose rows have one.
    async fn things(&self) -> BTreeMap<&'static str, Vec<String>> {
        let mut things = BTreeMap::new();
        for table in BOARD.iter().flat_map(|projection| projection.tables).filter(|table| table.prefix().is_some()) {
            let ids = format!("select id from {} order by id", table.name());
            let mut ids: Vec<String> = sqlx::query_scalar(&ids).fetch_all(self.app.database.pool()).await.unwrap();
            ids.retain(|id| *id != self.eve && *id != self.stranger.user.as_str());
            things.insert(table.name(), ids);
        }
        things
    }

    /// Discounts of everybody are in nobody's area.
    async fn of_everybody(&self) -> Vec<String> {
        let ids = "select id from discounts where audience = 'everyone'";
        sqlx::query_scalar(ids).fetch_all(self.app.database.pool()).await.unwrap()
    }
}

/// A table is asked whose a thing is by the prefix that it declares, so another prefix would be a look that nobody sees.
#[tokio::test]
async fn identifiers_begin_as_their_table_says() {
    let (_, database) = Ledger::varied_and_projected().await.stopped().await;
    for table in BOARD.iter().flat_map(|projection| projection.tables) {
        let Some(prefix) = table.prefix() else { continue };
        let ids: Vec<String> =
            sqlx::query_scalar(&format!("select id from {}", table.name())).fetch_all(database.pool()).await.unwrap();
        let others: Vec<_> =
            ids.iter().filter(|id| id.split_once('_').map(|(begin, _)| begin) != Some(prefix)).collect();
        assert!(others.is_empty(), "{} has identifiers that do not begin with `{prefix}_`: {others:?}", table.name());
        assert!(!ids.is_empty(), "the history has no row of {}", table.name());
    }
}

#[tokio::test]
async fn a_look_at_a_thing_of_any_noun_stands_under_its_customer() {
    let house = House::new().await;
    let of_everybody = house.of_everybody().await;
    let mut expected = Lines::new();
    for (table, ids) in house.things().await {
        let mut is_shown = false;
        for id in ids.iter().filter(|id| !of_everybody.contains(id)) {
            let address = format!("/v1/history?entity={id}");
            let is_theirs = match table {
                // The history of discounts and tokens is no customer's, and of users, who may be members elsewhere.
                "discounts" => true,
                "users" | "user_tokens" => continue,
                _ => has_rows(&house.app.read_by(&house.owner, &address).await.body),
            };
            house.looks(&address).await;
            if is_theirs {
                expected.insert(("/v1/history".into(), id.clone()));
                is_shown = true;
                break;
            }
        }
        assert!(is_shown || table.starts_with("user"), "the history has no thing of {table}");
    }
    // Their own people.
    let user = house.owner.user.to_string();
    for address in [format!("/v1/users/{user}"), format!("/v1/access-log?user={user}")] {
        house.looks(&address).await;
        let what = if address.contains('?') { "/v1/access-log" } else { "/v1/users/{id}" };
        expected.insert((what.into(), user.clone()));
    }
    let token = house.owner.token_id.to_string();
    house.looks(&format!("/v1/history?entity={token}")).await;
    expected.insert(("/v1/history".into(), token));
    // An event by its position.
    let of_order: (i64, String) =
        sqlx::query_as("select position, aggregate_id from events where aggregate_type = 'order' limit 1")
            .fetch_one(house.app.database.pool())
            .await
            .unwrap();
    house.looks(&format!("/log/event/{}", of_order.0)).await;
    expected.insert(("/log/event/{position}".into(), of_order.1));

    let lines = house.lines(&house.owner).await;
    let missing: Vec<_> = expected.difference(&lines).collect();
    assert!(missing.is_empty(), "{missing:#?} of {expected:#?}");
    assert_eq!(house.lines(&house.stranger).await, Lines::new());
}

#[tokio::test]
async fn a_look_by_any_route_stands_under_the_customer_whose_it_is() {
    let house = House::new().await;
    let of_everybody = house.of_everybody().await;
    let ids: BTreeSet<String> = house.things().await.into_values().flatten().collect();
    let mut expected = Lines::new();
    for (method, path, need) in needs() {
        let is_looked_at = match need {
            Need::May(function) => function.is_for_customers() || function == Function::AuditRead,
            Need::Identity => true,
            Need::Nothing | Need::Signature | Need::Begun => false,
        };
        if method != "get" || !is_looked_at || path.starts_with("/log/") {
            continue;
        }
        let addresses = addresses(path, &house.app.database).await.unwrap_or_else(|| panic!("{path} has no address"));
        let named = |address: &String| ids.iter().find(|id| names(address, id)).cloned();
        let about: Vec<_> = addresses.iter().filter_map(|address| Some((address, named(address)?))).collect();
        for (address, id) in spread(about, ADDRESSES) {
            house.looks(address).await;
            if house.is_seen_by_its_owner(address).await && !of_everybody.contains(&id) {
                expected.insert((path.into(), id));
            }
        }
    }
    let lines = house.lines(&house.owner).await;
    let missing: Vec<_> = expected.difference(&lines).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    let routes: BTreeSet<_> = expected.iter().map(|(path, _)| path).collect();
    eprintln!("{} looks by {} routes", expected.len(), routes.len());
    assert!(routes.len() > 25, "{routes:?}");
    assert_eq!(house.lines(&house.stranger).await, Lines::new());
}

/// A table of a listing is a look at it, and so is a page with things in the place of identifiers.
#[tokio::test]
async fn a_look_at_a_whole_listing_stands_under_the_customer_whose_it_is() {
    let house = House::new().await;
    let of_customers: Vec<String> =
        house.things().await.remove("customers").expect("a table").into_iter().filter(|id| *id != house.eve).collect();
    let mut expected = Lines::new();
    for listing in listings() {
        let description = openapi();
        let description = serde_json::to_value(&description.paths.paths[listing.path].get).unwrap();
        let parameters = description["parameters"].as_array().unwrap();
        if !parameters.iter().any(|parameter| parameter["name"] == "customer") {
            continue;
        }
        let address = format!("{}?customer={}", listing.path, of_customers[0]);
        let table = house.app.by(&house.anna, Method::GET, &address).header("accept", "text/csv").send().await.unwrap();
        assert_eq!(table.status(), 200, "{address}");
        assert!(table.text().await.unwrap().starts_with("id,"), "{address}");
        expected.insert((listing.path.to_owned(), of_customers[0].clone()));
    }
    let lines = house.lines(&house.owner).await;
    assert!(expected.is_subset(&lines) && expected.len() > 5, "{expected:#?} {lines:#?}");
    assert_eq!(house.lines(&house.stranger).await, Lines::new());
}

/// Whether the identifier stands in the address as a whole.
fn names(address: &str, id: &str) -> bool {
    address.split(['/', '?', '&', '=']).any(|part| part == id)
}

fn has_rows(page: &Value) -> bool {
    page["data"].as_array().is_some_and(|data| !data.is_empty())
}
