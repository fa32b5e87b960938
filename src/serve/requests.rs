//! Counts requests by route, method and status, with how long each took.
//!
//! The outermost layer, so that refusals are counted too. Written as a service by hand: a request costs it no allocation
//! and no lock. What can be a label is bounded: a route by its template, any other path as "other", a method that HTTP does
//! not name likewise.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use arc_swap::ArcSwap;
use axum::extract::MatchedPath;
use axum::http::{Method, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::Status;
use super::timings::Histogram;

/// Label of what is none of the routes or methods.
const OTHER: &str = "other";

const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH];

/// Labels of the methods, and of any other.
const NAMES: [&str; METHODS.len() + 1] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", OTHER];

/// Statuses that HTTP has room for: 100 to 599.
const STATUSES: usize = 500;

/// Requests so far.
#[derive(Debug, Default)]
pub struct Requests(ArcSwap<BTreeMap<Arc<str>, Arc<Route>>>);

/// Requests of one route by method, the last place for any other.
#[derive(Debug, Default)]
struct Route([OnceLock<Arc<Counted>>; METHODS.len() + 1]);

/// Requests of one route and method.
#[derive(Debug)]
pub struct Counted {
    statuses: [AtomicU64; STATUSES],
    took: Histogram,
}

impl Requests {
    /// Routes and methods that were asked for, with their requests.
    pub fn counted(&self) -> Vec<(Arc<str>, &'static str, Arc<Counted>)> {
        let routes = self.0.load();
        let asked = routes.iter().flat_map(|(name, route)| {
            let counted = NAMES.iter().zip(&route.0).filter_map(|(method, counted)| Some((*method, counted.get()?)));
            counted.map(|(method, counted)| (Arc::clone(name), method, Arc::clone(counted)))
        });
        asked.collect()
    }

    fn of(&self, route: &str, method: &Method) -> Arc<Counted> {
        let place = METHODS.iter().position(|one| one == method).unwrap_or(METHODS.len());
        let counted = |route: &Route| Arc::clone(route.0[place].get_or_init(Arc::default));
        if let Some(known) = self.0.load().get(route) {
            return counted(known);
        }
        // The first request of a route: there are as many of these as there are routes.
        let new = Arc::new(Route::default());
        self.0.rcu(|routes| {
            let mut routes = BTreeMap::clone(routes);
            routes.entry(route.into()).or_insert_with(|| Arc::clone(&new));
            routes
        });
        self.0.load().get(route).map_or_else(|| counted(&new), |route| counted(route))
    }
}

impl Default for Counted {
    fn default() -> Self {
        Self { statuses: std::array::from_fn(|_| AtomicU64::new(0)), took: Histogram::of_times() }
    }
}

impl Counted {
    /// Statuses that were answered, and how often each.
    pub fn statuses(&self) -> impl Iterator<Item = (u16, u64)> {
        (100..).zip(&self.statuses).map(|(code, count)| (code, count.load(Ordering::Relaxed))).filter(|one| one.1 > 0)
    }

    /// How long they took.
    #[must_use]
    pub fn took(&self) -> &Histogram {
        &self.took
    }

    fn add(&self, status: StatusCode, started: Instant) {
        if let Some(count) = self.statuses.get(usize::from(status.as_u16()).wrapping_sub(100)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.took.observe_time(started.elapsed(), 1);
    }
}

/// The layer.
#[derive(Clone)]
pub(super) struct Count(pub(super) Arc<Status>);

impl<S> Layer<S> for Count {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting { inner, status: Arc::clone(&self.0) }
    }
}

/// What is within, counted.
#[derive(Clone)]
pub(super) struct Counting<S> {
    inner: S,
    status: Arc<Status>,
}

impl<S, A, B> Service<Request<A>> for Counting<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let route = request.extensions().get::<MatchedPath>().map_or(OTHER, MatchedPath::as_str);
        let counted = self.status.requests.of(route, request.method());
        Answering { started: Instant::now(), answer: self.inner.call(request), counted }
    }
}

pin_project! {
    /// An answer on its way. One that nobody waits for any more is not counted.
    pub(super) struct Answering<F> {
        #[pin]
        answer: F,
        started: Instant,
        counted: Arc<Counted>,
    }
}

impl<F, B, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(context));
        if let Ok(response) = &answer {
            this.counted.add(response.status(), *this.started);
        }
        Poll::Ready(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_method_and_status() {
        let requests = Requests::default();
        let now = Instant::now();
        for (route, method, status) in [
            ("/users/{user}", Method::GET, StatusCode::OK),
            ("/users/{user}", Method::GET, StatusCode::OK),
            ("/users/{user}", Method::GET, StatusCode::NOT_FOUND),
            (OTHER, Method::from_bytes(b"BREW").unwrap(), StatusCode::METHOD_NOT_ALLOWED),
        ] {
            requests.of(route, &method).add(status, now);
        }
        let counted: Vec<_> = requests.counted();
        let told = counted.iter().map(|(route, method, counted)| {
            let count = counted.took().figures().1.iter().map(|(_, count)| count).sum::<u64>();
            (&**route, *method, counted.statuses().collect::<Vec<_>>(), count)
        });
        let expected = [("/users/{user}", "GET", vec![(200, 2), (404, 1)], 3), ("other", "other", vec![(405, 1)], 1)];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}
