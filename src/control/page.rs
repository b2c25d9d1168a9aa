//! The status page: one file that loads nothing from other hosts.

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

/// The page, which fetches `/models` and follows `/results` itself.
const PAGE: &str = include_str!("page.html");
/// Allows the page its inline script and style and requests to its own origin, nothing else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /`.
pub(super) async fn page() -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Html(PAGE)).into_response()
}
