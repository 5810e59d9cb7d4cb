//! The map: the panels, their modules and pages. A test walks through all of them in a browser, and fails where the API
//! reads something that stands on no page.

use crate::{declared::Need, visit::Visit};

/// For whom a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Panel {
    Customer,
    Staff,
    Auditor,
    Operator,
}

/// A page, by its address without what it names.
#[derive(Debug)]
pub struct Page {
    /// Such as `/tickets/{id}`.
    pub path: String,
    /// What reads the API for it first.
    pub reads: String,
    /// The kind of user who is shown it in tests.
    pub panel: Panel,
}

/// A part of the navigation: its name in the catalogue, and its pages.
pub const NAVIGATION: [(&str, &[&str]); 7] = [
    ("nav-account", &["/accounts", "/discounts", "/payers", "/users"]),
    ("nav-finances", &["/payments", "/orders", "/expenses", "/invoices", "/credit-notes"]),
    ("nav-services", &["/services"]),
    ("nav-support", &["/tickets"]),
    ("nav-provider", &["/customers", "/sign-ups", "/books/periods", "/reports"]),
    (
        "nav-audit",
        &[
            "/audit/events",
            "/audit/journal",
            "/audit/trial-balance",
            "/audit/difference",
            "/audit/checkpoints",
            "/audit/proofs/inclusion",
            "/ops/schema",
        ],
    ),
    ("nav-operation", &["/ops/projections", "/operations"]),
];

/// Pages that read something else than their address says.
const OTHERS: [(&str, &str); 4] = [
    ("/", "/v1/accounts"),
    ("/reports", "/v1/audit/trial-balance"),
    ("/search", "/v1/customers"),
    ("/audit/difference", "/v1/audit/trial-balance"),
];

/// What the page at this address reads of the API.
pub fn read_by(page: &str) -> String {
    let other = OTHERS.iter().find(|(path, _)| *path == page);
    other.map_or_else(|| format!("/v1{page}"), |(_, reads)| (*reads).to_owned())
}

/// All pages that show what the API reads, and the ones that are put together of several.
pub fn pages() -> Vec<Page> {
    let api = crate::declared::Declared::of(&daybook_api::openapi());
    let of_api = api.0.iter().filter(|operation| operation.method == "GET" && operation.path.starts_with("/v1/"));
    let mut pages: Vec<Page> = of_api
        // Before anybody has signed in.
        .filter(|operation| operation.need != Need::Nothing)
        .map(|operation| Page {
            path: operation.path["/v1".len()..].to_owned(),
            reads: operation.path.clone(),
            panel: panel(operation.need),
        })
        .collect();
    for (path, reads) in OTHERS {
        let panel = match path {
            "/" => Panel::Customer,
            "/audit/difference" => Panel::Auditor,
            _ => Panel::Staff,
        };
        pages.push(Page { path: path.into(), reads: reads.into(), panel });
    }
    pages
}

fn panel(need: Need) -> Panel {
    match need {
        Need::May(function) if !function.is_for_customers() => {
            let module = function.name().split('.').next().unwrap_or_default();
            match module {
                "audit" => Panel::Auditor,
                "projections" | "metrics" => Panel::Operator,
                _ => Panel::Staff,
            }
        }
        _ => Panel::Customer,
    }
}

/// A part of the navigation, as it is shown to somebody.
#[derive(Debug)]
pub struct Part {
    pub label: String,
    pub links: Vec<Link>,
}

#[derive(Debug)]
pub struct Link {
    pub label: String,
    pub address: &'static str,
    pub is_here: bool,
}

/// The navigation of a visitor: what the visitor may read.
pub fn navigation(visit: &Visit) -> Vec<Part> {
    let mut parts = Vec::new();
    for (name, pages) in NAVIGATION {
        let links: Vec<Link> = pages
            .iter()
            .filter(|page| visit.may_read(&read_by(page)))
            .map(|page| Link {
                label: title(visit, page),
                address: page,
                is_here: visit.path == **page || visit.path.starts_with(&format!("{page}/")),
            })
            .collect();
        if !links.is_empty() {
            parts.push(Part { label: visit.language.say(name), links });
        }
    }
    parts
}

/// What a page of this address is called.
pub fn title(visit: &Visit, page: &str) -> String {
    visit.language.say(&message(page))
}

/// The name of that message.
pub fn message(page: &str) -> String {
    let words = page.trim_matches('/').replace(['/', '_'], "-").replace(['{', '}'], "");
    format!("page-{}", if words.is_empty() { "home" } else { &words })
}
