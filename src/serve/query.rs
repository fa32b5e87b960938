//! What a request asks for, read from its query string: each parameter checked, none ignored.

use std::collections::BTreeMap;

use axum::extract::Query as QueryString;
use axum::extract::rejection::QueryRejection;
use roaring::RoaringBitmap;

use super::Problem;
use crate::config::ServeConfig;
use crate::learn::ids::IdTable;
use crate::publish::Query;

/// Parameters as they came, in their order.
pub(super) type Parameters = Result<QueryString<Vec<(String, String)>>, QueryRejection>;

/// Names of the parameters of `/recommend`.
const ALLOWED: [&str; 5] = ["n", "offset", "include_seen", "exclude", "candidates"];

/// The query that the parameters state, over the items that the model knows.
///
/// # Errors
/// 400, if a parameter is unknown, given twice, or not of its values.
pub(super) fn parse(parameters: Parameters, items: &IdTable, config: &ServeConfig) -> Result<Query, Problem> {
    let QueryString(pairs) = parameters.map_err(|error| Problem::bad_request("bad_query", error.body_text()))?;
    let given = by_name(&pairs)?;
    let get = |name| given.get(name).copied();
    Ok(Query {
        n: get("n").map_or(Ok(config.default_n), |text| whole("bad_n", "n", text, 1, config.max_n))?,
        offset: get("offset").map_or(Ok(0), |text| whole("bad_offset", "offset", text, 0, u32::MAX as usize))?,
        include_seen: get("include_seen").map_or(Ok(false), |text| flag("include_seen", text))?,
        exclude: get("exclude").map(|text| listed(text, items)).unwrap_or_default(),
        candidates: get("candidates").map(|text| listed(text, items)),
    })
}

fn by_name(pairs: &[(String, String)]) -> Result<BTreeMap<&str, &str>, Problem> {
    let mut given = BTreeMap::new();
    for (name, value) in pairs {
        if !ALLOWED.contains(&name.as_str()) {
            let detail = format!("there is no parameter {name:?}; allowed are {}", ALLOWED.join(", "));
            return Err(Problem::bad_request("unknown_parameter", detail));
        }
        if given.insert(name.as_str(), value.as_str()).is_some() {
            let detail = format!("{name} is given twice; give it once (several ids are parted by commas)");
            return Err(Problem::bad_request("repeated_parameter", detail));
        }
    }
    Ok(given)
}

fn whole(code: &'static str, name: &str, text: &str, low: usize, high: usize) -> Result<usize, Problem> {
    text.parse().ok().filter(|number| (low..=high).contains(number)).ok_or_else(|| {
        let detail = format!("{name} is {text:?}; a whole number from {low} to {high} is allowed");
        Problem::bad_request(code, detail)
    })
}

fn flag(name: &str, text: &str) -> Result<bool, Problem> {
    text.parse().map_err(|_| Problem::bad_request("bad_flag", format!("{name} is {text:?}; true or false is allowed")))
}

/// Items by ids that are parted by commas. An id that the model does not know names no item that could be recommended.
fn listed(text: &str, items: &IdTable) -> RoaringBitmap {
    text.split(',').filter_map(|id| items.get(id)).collect()
}
