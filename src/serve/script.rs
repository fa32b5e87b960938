//! `GET /freshet.js`, which a website sends its visitors' events with, and `GET /demo-shop`, which shows it at work. Both are
//! compiled in.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;

/// Most bytes of the script: it is loaded by every page.
#[cfg(test)]
const MAX_SCRIPT: usize = 3 * 1024;

const SCRIPT: &str = include_str!("freshet.js");

/// The script and the shop.
pub(super) fn pages<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/freshet.js", get(script)).route("/demo-shop", get(shop))
}

async fn script() -> impl IntoResponse {
    let kind = HeaderValue::from_static("text/javascript; charset=utf-8");
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"))], SCRIPT)
}

async fn shop() -> Html<&'static str> {
    Html(include_str!("shop.html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_small() {
        assert!(SCRIPT.len() < MAX_SCRIPT, "{} bytes", SCRIPT.len());
    }
}
