//! `GET /recommend/{user}/live`: the list again whenever it changes, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::{Stream, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::list::ListParameters;
use super::parameters::{Both, Given, Ids, bad};
use super::recommend::{Answer, RecommendParameters, Wanted, Who};
use super::streams::{NO_ROOM, Open, reconnect};
use super::{AppState, Problem};

/// Least time between two lists: each is as dear as a request, whatever the number of events that came.
const PAUSE: Duration = Duration::from_millis(100);

/// Longest time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Items recommended to a user, again whenever the list changes
///
/// Server-sent events named `recommendation`, each with what `/recommend/{user}` would answer; at most ten a second. One
/// named `reconnect` says that the server ends the stream, because `serve.max_streams` newer ones are open.
#[utoipa::path(
    get,
    path = "/recommend/{user}/live",
    tag = "recommend",
    params(("user" = String, Path, description = "Id of the user"), ListParameters, RecommendParameters),
    responses(
        (status = 200, body = Answer, content_type = "text/event-stream"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn live(
    State(state): State<AppState>,
    Ids([user]): Ids<[String; 1]>,
    uri: Uri,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let given = Given::of::<Both<ListParameters, RecommendParameters>>(&uri)?;
    if let Some(name) = ["at", "min_seq", "token", "format"].into_iter().find(|name| given.get(name).is_some()) {
        return Err(bad(
            name,
            given.get(name).unwrap_or_default(),
            "it is not allowed here, where lists follow the model",
        ));
    }
    // What is asked for is checked before the stream begins.
    Wanted::of(&given, &state.published.load(), &state)?;
    let mut published = state.published.watch();
    published.mark_changed();
    let open = state.kept.streams.open(state.config.max_streams);
    let (told, not_before) = (String::new(), Instant::now());
    let follower = Follower { state, open, given, user, published, told, not_before, is_over: false };
    Ok(Sse::new(stream::unfold(follower, Follower::next)).keep_alive(KeepAlive::default()))
}

/// One client and what it was told last.
struct Follower {
    state: AppState,
    open: Open,
    given: Given,
    user: String,
    published: watch::Receiver<()>,
    /// Items of the last list, as JSON.
    told: String,
    not_before: Instant,
    is_over: bool,
}

impl Follower {
    /// The next list that differs from the last; none when the model is published no more.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        while !self.is_over {
            sleep_until(self.not_before).await;
            tokio::select! {
                () = self.open.ended() => {
                    self.is_over = true;
                    return Some((Ok(reconnect(NO_ROOM)?), self));
                }
                changed = self.published.changed() => changed.ok()?,
                // The catalogue may have changed, though the model has not.
                () = sleep(LOOK_EVERY) => {}
            }
            self.not_before = Instant::now() + PAUSE;
            let view = self.state.published.load_full();
            // What is not back in time is asked for again by then.
            let Ok(view) = self.state.with_rows_of(view, [self.user.as_str()]).await else { continue };
            // Ids and filters name other items as the model and the catalogue grow.
            let wanted = Wanted::of(&self.given, &view, &self.state).ok()?;
            let answer = wanted.answer(Who::User(self.user.clone()), &view, &self.state);
            let items = serde_json::to_string(&answer.items).ok()?;
            if items != self.told {
                self.told = items;
                let event = Event::default().event("recommendation").id(view.version().seq.to_string());
                return Some((Ok(event.json_data(&answer).ok()?), self));
            }
        }
        None
    }
}
