//! `GET /recommend/{user}/live`: the list again whenever it changes, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::{Stream, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::list::ListParameters;
use super::parameters::{Both, Given, Ids, bad};
use super::recommend::{Answer, RecommendParameters, Wanted, Who};
use super::{AppState, Problem};

/// Least time between two lists: each is as dear as a request, whatever the number of events that came.
const PAUSE: Duration = Duration::from_millis(100);

/// Longest time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Items recommended to a user, again whenever the list changes
///
/// Server-sent events named `recommendation`, each with what `/recommend/{user}` would answer; at most ten a second.
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
    let follower = Follower { state, given, user, published, told: String::new(), not_before: Instant::now() };
    Ok(Sse::new(stream::unfold(follower, Follower::next)).keep_alive(KeepAlive::default()))
}

/// One client and what it was told last.
struct Follower {
    state: AppState,
    given: Given,
    user: String,
    published: watch::Receiver<()>,
    /// Items of the last list, as JSON.
    told: String,
    not_before: Instant,
}

impl Follower {
    /// The next list that differs from the last; none when the model is published no more.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            sleep_until(self.not_before).await;
            // Looked at now and then without a change of the model too: the catalogue may have changed.
            if let Ok(changed) = timeout(LOOK_EVERY, self.published.changed()).await {
                changed.ok()?;
            }
            self.not_before = Instant::now() + PAUSE;
            let view = self.state.published.load_full();
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
    }
}
