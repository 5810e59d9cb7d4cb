//! The panels: pages for customers, staff, auditors and operators.
//!
//! A page has no rules and reads no database. It asks the API in this process, as its own visitor: the same identities,
//! functions and walls stand before it, and its figures are those of the API. Lists, single things and forms follow from the
//! description of the API; a page that needs more has a file in `pages/`.

mod assets;
mod cell;
mod declared;
mod figures;
mod form;
mod map;
mod page;
mod pages;
mod plot;
mod visit;
mod words;

use axum::{
    Router,
    http::Request,
    middleware::from_fn_with_state,
    routing::{any, get, post},
};
use daybook_api::{App, authenticated, with_layers};

pub use assets::{ASSETS, Asset};
pub use map::{Page, Panel, pages};

use visit::House;

/// Everything that the server answers: the API, and the pages.
pub fn router(app: App) -> Router {
    let edge = app.edge().clone();
    let house = House::of(app.clone());
    let whole = with_layers(authenticated(routes_in(&house, app.clone()), app), edge);
    // Outside of what refuses, so that a browser is shown a refusal as a page.
    whole.layer(from_fn_with_state(house, page::failures))
}

/// The API and the pages without the layers around them.
pub fn routes_of(app: App) -> Router {
    routes_in(&House::of(app.clone()), app)
}

fn routes_in(house: &House, app: App) -> Router {
    let pages = Router::new()
        .route("/", get(pages::home::show))
        .route("/sign-in", get(pages::sign_in::show).post(pages::sign_in::sign_in))
        .route("/sign-in/second-factor", get(pages::sign_in::ask_factor).post(pages::sign_in::second_factor))
        .route("/sign-up", get(pages::sign_in::sign_up).post(pages::sign_in::send_sign_up))
        .route("/sign-up/confirm", get(pages::sign_in::confirm).post(pages::sign_in::send_confirmation))
        .route("/password", get(pages::sign_in::password).post(pages::sign_in::send_password))
        .route("/sign-out", post(pages::sign_in::sign_out))
        .route("/preferences", post(pages::settings::prefer))
        .route("/stand-in", post(pages::settings::stand_in))
        .route("/search", get(pages::search::show))
        .route("/reports", get(pages::reports::show))
        .route("/do/{operation}", get(form::show).post(form::send))
        .route("/assets/{name}", get(assets::show))
        .route("/{*path}", any(pages::show))
        .with_state(house.clone());
    daybook_api::routes_of(app).merge(pages)
}

/// What somebody asks for in a browser, and no program.
fn is_of_pages<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    let others = ["/v1", "/log", "/docs", "/openapi.json", "/problems", "/livez", "/readyz", "/metrics"];
    !others.iter().any(|other| path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}
