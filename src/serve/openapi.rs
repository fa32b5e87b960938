//! `GET /openapi.json`, the description that is made of the handlers themselves, and `GET /docs`, a page to try them.

use axum::Router;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::SwaggerUi;

/// What stands above the routes.
#[derive(OpenApi)]
#[openapi(
    info(title = "Freshet", description = "A recommender engine that learns from each event as it arrives."),
    tags(
        (name = "recommend", description = "What to show a user, and why"),
        (name = "lists", description = "What is alike, popular, or stands for something"),
        (name = "directory", description = "Who and what there is"),
        (name = "events", description = "What users do, and what items and users are"),
        (name = "model", description = "What has been learned, and how well it predicts"),
        (name = "health", description = "For whoever runs it"),
    ),
    modifiers(&Bearer),
    // Which of the two it is depends on whether the server has keys.
    security((), ("key" = []))
)]
struct Description;

/// How a key is sent.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        api.components.get_or_insert_default().add_security_scheme("key", scheme);
    }
}

pub(super) fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

/// The description as JSON, and the page that is made of it.
pub(super) fn pages<S: Clone + Send + Sync + 'static>(api: utoipa::openapi::OpenApi) -> Router<S> {
    SwaggerUi::new("/docs").url("/openapi.json", api).into()
}
