//! What pages load: it lies in the program, is named by its hash, and is kept by browsers for ever.

use std::{fmt::Write, sync::LazyLock};

use axum::{
    extract::Path,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

/// A file that pages load.
#[derive(Debug)]
pub struct Asset {
    /// With its hash, such as `daybook-1f0c….css`.
    pub name: String,
    pub kind: &'static str,
    pub content: &'static [u8],
}

/// The style sheet, htmx, the script that polls, and the icon.
pub static ASSETS: LazyLock<[Asset; 4]> = LazyLock::new(|| {
    [
        asset("daybook", "css", "text/css; charset=utf-8", include_bytes!("../assets/daybook.css")),
        asset("htmx-4.0.1", "js", "text/javascript; charset=utf-8", include_bytes!("../assets/htmx-4.0.1.min.js")),
        asset("live", "js", "text/javascript; charset=utf-8", include_bytes!("../assets/live.js")),
        asset("icon", "svg", "image/svg+xml", include_bytes!("../assets/icon.svg")),
    ]
});

fn asset(stem: &str, ending: &str, kind: &'static str, content: &'static [u8]) -> Asset {
    let mut name = format!("{stem}-");
    for byte in &Sha256::digest(content)[..8] {
        let _ = write!(name, "{byte:02x}");
    }
    Asset { name: format!("{name}.{ending}"), kind, content }
}

/// The addresses of them all, as a page names them.
pub fn address(number: usize) -> String {
    format!("/assets/{}", ASSETS[number].name)
}

pub async fn show(Path(name): Path<String>) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let for_ever = HeaderValue::from_static("public, max-age=31536000, immutable");
    let kind = HeaderValue::from_static(asset.kind);
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, for_ever)], asset.content).into_response()
}
