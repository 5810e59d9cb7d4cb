//! Oneself: where one is a member, by what one signs in, the sessions and tokens, and how pages are written.

use askama::Template;
use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
};

use super::{Asked, Deed, above, thing};
use crate::{
    cell::{Cell, page_of},
    declared::listing_of,
    form::PlainForm,
    map,
    page::Content,
    visit::{LANGUAGE, Outcome, STANDS_IN, Visit, ZONE},
};

struct Membership {
    label: String,
    party: String,
    is_here: bool,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct Settings<'a> {
    visit: &'a Visit,
    login: String,
    memberships: Vec<Membership>,
    factors: Vec<(String, String)>,
    left: String,
    deeds: Vec<Deed>,
    pages: Vec<(String, &'static str)>,
    zones: Vec<&'static str>,
    zone: &'static str,
    reset: Option<String>,
}

impl Settings<'_> {
    fn say(&self, message: &str) -> String {
        self.visit.language.say(message)
    }
}

pub async fn show(visit: &Visit, asked: Asked<'_>) -> Outcome {
    let answer = visit.read("/v1/me").await?;
    let me = &answer.body;
    let text = |name: &str| me[name].as_str().unwrap_or_default().to_owned();
    let here = text("membership");
    let mut memberships = Vec::new();
    for membership in me["memberships"].as_array().into_iter().flatten() {
        let party = membership["party"].as_str().unwrap_or_default().to_owned();
        let label = if listing_of(&party).is_some() {
            let customer = if party == here { visit.read(&format!("/v1/customers/{party}")).await.ok() } else { None };
            let name = customer.and_then(|customer| customer.body["name"].as_str().map(str::to_owned));
            name.unwrap_or_else(|| party.clone())
        } else {
            visit.language.word(&party)
        };
        memberships.push(Membership { is_here: party == here, label, party });
    }
    let user = text("user");
    let user_at = Asked {
        operation: visit.house.api().named("users_show").ok_or_else(crate::visit::Refused::not_found)?,
        path: &format!("/v1{}", page_of(&user)),
    };
    let mut deeds: Vec<Deed> = super::deeds(visit, asked);
    let own = ["users_rename", "users_relocate", "users_add_contact"];
    deeds.extend(
        super::deeds(visit, user_at)
            .into_iter()
            .filter(|deed| own.iter().any(|own| deed.address.starts_with(&format!("/do/{own}?")))),
    );
    let factors = me["factors"].as_array().into_iter().flatten().map(|factor| {
        let id = factor["id"].as_str().unwrap_or_default();
        let since = Cell::guess(visit, &factor["added_at"]).plain();
        (since, format!("/do/me_remove_factor?id={id}"))
    });
    let pages: Vec<(String, &'static str)> = ["/sessions", "/tokens", "/access-log"]
        .into_iter()
        .filter(|page| visit.may_read(&format!("/v1{page}")))
        .map(|page| (map::title(visit, page), page))
        .collect();
    let page = Settings {
        visit,
        login: text("login"),
        memberships,
        factors: factors.collect(),
        left: Cell::guess(visit, &me["recovery_codes_left"]).plain(),
        deeds,
        pages,
        zones: chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()).collect(),
        zone: visit.zone.name(),
        reset: me["factor_reset"].is_object().then(|| visit.language.say("factor-reset-pending")),
    };
    Ok(Content::of(text("name"), &page).under(above(visit, asked)).shown(visit))
}

#[derive(Template)]
#[template(
    source = r#"<form method="post" action="/stand-in"><input type="hidden" name="customer" value="{{ customer }}"><p class="actions"><button class="quiet">{{ label }}</button></p></form>"#,
    ext = "html"
)]
struct StandIn<'a> {
    customer: &'a str,
    label: String,
}

/// A customer, and for the provider's people the way into the customer's panel.
pub async fn customer(visit: &Visit, asked: Asked<'_>) -> Outcome {
    let answer = thing::read(visit, asked).await?;
    let is_provider = visit.customer().is_none();
    let way = StandIn { customer: asked.id(), label: visit.language.say("look-as-customer") };
    let extra = if is_provider { way.render().expect("memory takes every page") } else { String::new() };
    thing::with(visit, asked, &answer, extra, &[]).await
}

/// Keeps what a browser prefers.
pub async fn prefer(visit: Visit, headers: HeaderMap, form: PlainForm) -> Response {
    let mut response = Redirect::to(&came_from(&headers)).into_response();
    if let Some(language) = crate::words::named(form.get("language")) {
        keep(&visit, &mut response, LANGUAGE, language.tag);
    }
    if let Ok(zone) = form.get("zone").parse::<chrono_tz::Tz>() {
        keep(&visit, &mut response, ZONE, zone.name());
    }
    response
}

/// Begins to look at a customer's panel as the customer sees it, or ends that.
pub async fn stand_in(visit: Visit, form: PlainForm) -> Response {
    let customer = form.get("customer");
    let is_provider = visit.who().is_some_and(|who| who.principal.is_some() && who.customer().is_none());
    let is_one = is_provider && listing_of(customer) == Some("customers");
    let mut response = Redirect::to("/").into_response();
    if is_one {
        // Until the browser is closed, at the longest.
        set(&visit, &mut response, STANDS_IN, customer, "");
    } else {
        forget(&visit, &mut response, STANDS_IN);
    }
    response
}

/// As long as browsers keep a cookie.
const A_YEAR: u32 = 34_560_000;

fn keep(visit: &Visit, response: &mut Response, name: &str, value: &str) {
    set(visit, response, name, value, &format!("; Max-Age={A_YEAR}"));
}

/// Takes a cookie from the browser.
pub fn forget(visit: &Visit, response: &mut Response, name: &str) {
    set(visit, response, name, "", "; Max-Age=0");
}

fn set(visit: &Visit, response: &mut Response, name: &str, value: &str, age: &str) {
    let secure = if visit.house.app().is_encrypted() { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path=/{age}; HttpOnly; SameSite=Lax{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

/// The page of ours from which a form was sent.
fn came_from(headers: &HeaderMap) -> String {
    let from = headers.get(header::REFERER).and_then(|from| from.to_str().ok());
    let path = from.and_then(|from| {
        let (_, rest) = from.split_once("://")?;
        rest.find('/').map(|at| rest[at..].to_owned())
    });
    path.filter(|path| !path.starts_with("//")).unwrap_or_else(|| "/".to_owned())
}
