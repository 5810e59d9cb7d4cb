//! Listings as the tests read them: the rows themselves, and pages over HTTP one after the other.

use daybook_projections::{
    Chosen, RowOrder, Viewer,
    listing::{self, Listed},
};
use serde_json::Value;
use sqlx::PgConnection;

use crate::api::{Answer, TestApp};

/// The newest rows that are chosen.
pub async fn newest<L: Listed>(connection: &mut PgConnection, viewer: &Viewer, chosen: &Chosen, limit: i64) -> Vec<L> {
    let found = listing::page(connection, viewer, chosen, &RowOrder::default(), None, limit).await;
    found.expect("the rows can be read").into_iter().map(|found| found.row).collect()
}

/// The address that a header `Link` has for a page of this relation.
pub fn linked(answer: &Answer, relation: &str) -> Option<String> {
    let links = answer.header("link").split(", <").map(|link| link.trim_start_matches('<'));
    let found =
        links.filter_map(|link| link.split_once(">; rel=")).find(|(_, named)| named.trim_matches('"') == relation);
    found.map(|(address, _)| address.to_owned())
}

/// All pages of a listing, from this address on by the links to the next one.
pub async fn walked(app: &TestApp, address: &str) -> Vec<Answer> {
    let (mut pages, mut next) = (Vec::new(), Some(address.to_owned()));
    while let Some(address) = next {
        let page = app.get_at_once(&address).await;
        assert_eq!(page.status, 200, "{address}: {}", page.text);
        assert_eq!(page.body["has_more"], linked(&page, "next").is_some(), "{address}");
        next = linked(&page, "next");
        pages.push(page);
    }
    pages
}

/// The rows of a page.
pub fn data(page: &Answer) -> &Vec<Value> {
    page.body["data"].as_array().unwrap_or_else(|| panic!("a page: {}", page.text))
}
