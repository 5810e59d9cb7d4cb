//! Who reads, as a header of a test's request says: nobody signs in here.

use axum::{extract::Request, middleware::Next, response::Response};
use daybook_projections::{Viewer, engine::Walls};

const VIEWER: &str = "test-viewer";

/// What the header says of a viewer who sees what is of a customer.
pub fn header(walls: Walls, customer: &str) -> (&'static str, String) {
    (VIEWER, format!("{walls:?} {customer}"))
}

/// A layer around the routes.
pub async fn see(mut request: Request, next: Next) -> Response {
    if let Some(value) = request.headers().get(VIEWER) {
        let (walls, customer) =
            value.to_str().ok().and_then(|value| value.split_once(' ')).expect("walls and a customer");
        let all = [Walls::Both, Walls::First, Walls::Second];
        let walls = all.into_iter().find(|one| format!("{one:?}") == walls).expect("walls");
        let viewer = Viewer::behind(walls, [customer.to_owned()]);
        request.extensions_mut().insert(viewer);
    }
    next.run(request).await
}
