//! One server for several trainers: each request is answered from the model of the trainer that learns its user.
//!
//! Apart from the handlers, which know one model: here it is only found out which one is asked. `?shard=N` names it; else it is
//! the one that knows the user of the path best, else the one whose partitions a token is of, else the first.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use roaring::RoaringBitmap;
use tower::ServiceExt;

use super::limits::Limits;
use super::parameters::{Given, bad};
use super::token::Token;
use super::{AppState, Problem};
use crate::config::Share;
use crate::publish::View;

/// Paths whose next segment is a user.
const OF_A_USER: [&str; 6] = ["/recommend/", "/because/", "/estimate/", "/similar/users/", "/surprising/", "/users/"];

/// Paths that are answered for all models together: a server is ready when each of them can be asked.
const READY: &str = "/readyz";

/// A model, and what answers from it.
struct Shard {
    state: AppState,
    app: Router,
}

/// The routes over the models of several trainers, the first one's apart. What a client may ask is limited over all of them.
pub fn app_of_shards(first: AppState, others: Vec<AppState>) -> Router {
    let limits = Limits::new(&first);
    let shard = |state: AppState| Shard { app: super::app_within(state.clone(), limits.clone()), state };
    let shards: Vec<Shard> = std::iter::once(first).chain(others).map(shard).collect();
    Router::new().fallback(dispatch).with_state(Arc::new(shards))
}

async fn dispatch(State(shards): State<Arc<Vec<Shard>>>, mut request: Request) -> Response {
    let asked = match named(request.uri(), shards.len()) {
        Ok(Some((shard, rest))) => {
            *request.uri_mut() = rest;
            shard
        }
        Ok(None) if request.uri().path() == READY => not_ready(&shards),
        Ok(None) => of_user(&shards, request.uri()),
        Err(problem) => return problem.into_response(),
    };
    match shards[asked].app.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The model that `?shard=N` names, and the address without it.
fn named(uri: &Uri, shards: usize) -> Result<Option<(usize, Uri)>, Problem> {
    let Some(query) = uri.query() else { return Ok(None) };
    let (own, rest): (Vec<&str>, Vec<&str>) = query.split('&').partition(|part| part.starts_with("shard="));
    let Some(text) = own.first().and_then(|part| part.strip_prefix("shard=")) else { return Ok(None) };
    let shard = text.parse().ok().filter(|shard| *shard < shards);
    let shard = shard.ok_or_else(|| bad("shard", text, &format!("0 to {} is allowed", shards - 1)))?;
    let rest = if rest.is_empty() { uri.path().to_owned() } else { format!("{}?{}", uri.path(), rest.join("&")) };
    let rest = rest.parse().map_err(|_| bad("shard", text, "an address without it is not one"))?;
    Ok(Some((shard, rest)))
}

/// A model that cannot be asked yet, else the first.
fn not_ready(shards: &[Shard]) -> usize {
    shards.iter().position(|shard| !super::health::is_ready(&shard.state)).unwrap_or_default()
}

/// The model of the user whom a path is of.
fn of_user(shards: &[Shard], uri: &Uri) -> usize {
    let path = uri.path();
    let user = OF_A_USER.iter().find_map(|prefix| path.strip_prefix(prefix)).and_then(|rest| rest.split('/').next());
    // The word behind /similar/ is an item's but for "users".
    let Some(user) = user else { return 0 };
    let Ok(user) = percent_decode_str(user).decode_utf8() else { return 0 };
    let known = |shard: &Shard| seen(&shard.state.published.load(), &user);
    let best = shards.iter().map(known).enumerate().max_by_key(|(at, events)| (*events, std::cmp::Reverse(*at)));
    match best {
        Some((at, Some(_))) => at,
        _ => of_token(uri, shards.len()).unwrap_or_default(),
    }
}

/// The model whose partitions a token is of.
fn of_token(uri: &Uri, shards: usize) -> Option<usize> {
    let given = Given::unchecked(uri).ok()?;
    let token = Token::parse(given.get("token")?).ok()?;
    token.partitions().next().map(|partition| Share::of(partition, shards).shard)
}

/// Items that a user has seen; none of a user who is not known.
fn seen(view: &View, user: &str) -> Option<u64> {
    let user = view.learned().users.get(user)?;
    Some(view.history().seen(user).map_or(0, RoaringBitmap::len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_by_a_parameter_that_goes_no_further() {
        let of = |text: &str| {
            named(&text.parse().unwrap(), 2).map(|found| found.map(|(shard, rest)| (shard, rest.to_string())))
        };
        assert_eq!(of("/model").unwrap(), None);
        assert_eq!(of("/model?shard=1").unwrap(), Some((1, "/model".to_owned())));
        assert_eq!(of("/popular?n=3&shard=0&genre=a%26b").unwrap(), Some((0, "/popular?n=3&genre=a%26b".to_owned())));
        for text in ["/model?shard=2", "/model?shard=", "/model?shard=-1"] {
            let problem = of(text).unwrap_err();
            assert!(problem.detail.contains("0 to 1 is allowed"), "{text}: {}", problem.detail);
        }
    }

    #[test]
    fn a_token_is_of_the_model_whose_partitions_it_names() {
        let of = |text: &str| of_token(&text.parse().unwrap(), 2);
        assert_eq!(of("/recommend/1?token=3:7"), Some(1));
        assert_eq!(of("/recommend/1?token=2:7.5:1"), Some(0));
        assert_eq!((of("/recommend/1"), of("/recommend/1?token=x")), (None, None));
    }
}
