//! `GET /`: one page to watch it learn, compiled in; it asks `/model` and `/recommend` and nothing outside.

use axum::response::Html;

pub(super) async fn page() -> Html<&'static str> {
    Html(include_str!("page.html"))
}
