//! `GET /replay` and `POST /replay`: what the replay of a demo does, and a hand on it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::body::Body;
use super::parameters::bad;
use super::{AppState, Problem};
use crate::capture::Control;
use crate::capture::control::Shown;

/// Fastest speed that is taken, in rows a second: what is faster waits less than the clock can tell.
const FASTEST: f64 = 1e6;

/// What it is to do; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    #[serde(default)]
    action: Option<Action>,
    /// Rows a second, above 0; null as fast as the log takes them.
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    speed: Speed,
}

/// A speed that may be null, which is another thing than not being there.
#[derive(Clone, Copy, Debug, Default)]
enum Speed {
    #[default]
    AsItIs,
    Full,
    Rate(f64),
}

impl<'de> Deserialize<'de> for Speed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(from)?.map_or(Self::Full, Self::Rate))
    }
}

/// What a replay can be told.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    /// Send nothing for now.
    Pause,
    /// Go on.
    Resume,
    /// Forget everything that was learned, and begin with the first row.
    Restart,
}

/// What the replay of a demo does
#[utoipa::path(
    get,
    path = "/replay",
    tag = "watch",
    responses(
        (status = 200, body = Shown),
        (status = "4XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn replay(State(state): State<AppState>) -> Result<Json<Shown>, Problem> {
    Ok(Json(running(&state)?.shown()))
}

/// Tell the replay of a demo what to do
#[utoipa::path(
    post,
    path = "/replay",
    tag = "watch",
    request_body = Wish,
    responses(
        (status = 200, body = Shown),
        (status = "4XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn control(State(state): State<AppState>, Body(wish): Body<Wish>) -> Result<Json<Shown>, Problem> {
    let control = running(&state)?;
    match wish.speed {
        Speed::AsItIs => {}
        Speed::Full => control.set_rate(None),
        Speed::Rate(rate) if rate > 0.0 && rate <= FASTEST => control.set_rate(Some(rate)),
        Speed::Rate(rate) => {
            return Err(bad("speed", &rate.to_string(), "rows a second, above 0 and at most 1000000, or null"));
        }
    }
    match wish.action {
        Some(Action::Pause) => control.pause(true),
        Some(Action::Resume) => control.pause(false),
        Some(Action::Restart) => control.start_over(),
        None => {}
    }
    Ok(Json(control.shown()))
}

fn running(state: &AppState) -> Result<Arc<Control>, Problem> {
    state.status.replay.load_full().ok_or_else(|| {
        let detail = "nothing is replayed here; `freshet demo` replays a data set that can be paused and sped up";
        Problem::new(StatusCode::NOT_FOUND, "no_replay", detail.to_owned())
    })
}
