//! The forms that a statement comes in, and which of them the caller likes best.

use axum::http::HeaderMap;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::accept::preferred;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Json,
    /// RFC 4180, for spreadsheets and programs.
    Csv,
    /// A page by itself, to read and to print.
    Html,
    /// Plain text, for a mail.
    Text,
}

/// Of forms that the caller likes equally, the first is given.
const FORMATS: [(Format, &str); 4] = [
    (Format::Json, "application/json"),
    (Format::Csv, "text/csv"),
    (Format::Html, "text/html"),
    (Format::Text, "text/plain"),
];

impl Format {
    /// As `Accept` says; JSON where it says nothing that is here.
    pub fn wanted(headers: &HeaderMap) -> Self {
        preferred(&FORMATS, headers).unwrap_or(Self::Json)
    }
}
