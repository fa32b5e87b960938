//! HTTP: requests by route, method and status, those that were refused, and how lists were found.

use std::fmt;

use prometheus_client::registry::Unit;

use super::families::{Families, Labels, label};
use crate::config::SearchKind;
use crate::publish::SearchFigures;
use crate::serve::Status;
use crate::serve::status::Refusal;

/// How lists of known users were found, and how many of the best items the approximate ones have.
pub(super) fn encode_searches(out: &mut Families<'_>, searches: &SearchFigures) -> fmt::Result {
    let ways = [(SearchKind::Exact, searches.exact), (SearchKind::Approximate, searches.approximate)];
    let ways = ways.map(|(way, lists)| (label("way", way), lists));
    out.counters("freshet_lists", "Lists of known users, by how they were found", ways)?;
    let compared = [(vec![], searches.compared)];
    out.counters("freshet_lists_compared", "Approximate lists that were compared with the exact ones", compared)?;
    // What is exact has them all; of what is not, nothing is known before the first comparison.
    let recall = searches.recall.or((searches.kind == SearchKind::Exact).then_some(1.0));
    let help = "Share of the best items that lists have: the newest thousand approximate ones that were compared; 1 if all are exact";
    out.gauges("freshet_list_recall", help, None, recall.map(|recall| (vec![], recall)))
}

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
