//! HTTP: requests by route, method and status, and those that were refused.

use std::fmt;

use prometheus_client::registry::Unit;

use super::families::{Families, Labels, label};
use crate::serve::Status;
use crate::serve::status::Refusal;

pub(super) fn encode(out: &mut Families<'_>, status: &Status) -> fmt::Result {
    let refused = Refusal::ALL.map(|reason| (label("reason", reason), status.refused(reason)));
    out.counters("freshet_http_refused", "Requests and connections that were refused, by reason", refused)?;
    let asked = status.requests.counted();
    let labels = |route: &str, method: &str| -> Labels { vec![("route", route.into()), ("method", method.into())] };
    let requests = asked.iter().flat_map(|(route, method, counted)| {
        let of = move |code: u16| labels(route, method).into_iter().chain([("status", code.to_string())]).collect();
        counted.statuses().map(move |(code, count)| (of(code), count))
    });
    out.counters("freshet_http_requests", "Requests that were answered, by route, method and status", requests)?;
    let took = asked.iter().map(|(route, method, counted)| (labels(route, method), counted.took()));
    let help = "From the head of a request to the head of its answer, by route and method";
    out.histograms("freshet_http_request", help, &Unit::Seconds, took)
}
