//! That the dashboard and the alerts of `docs/monitoring` ask for figures that there are, and as what they are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use super::*;

const DASHBOARD: &str = include_str!("../../../docs/monitoring/grafana-dashboard.json");
const ALERTS: &str = include_str!("../../../docs/monitoring/prometheus-alerts.yml");

/// A family as `/metrics` describes it.
#[derive(Debug)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
}

/// Every family by its name.
async fn families() -> BTreeMap<String, Family> {
    let state = state_with_everything().await;
    get(&state, "/model").await;
    let text = get(&state, "/metrics").await.2.as_str().unwrap().to_owned();
    let mut families = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            name.clone_into(&mut last);
            families.insert(last.clone(), Family { kind: kind.to_owned(), labels: BTreeSet::new() });
        } else if !line.starts_with('#') {
            let labels = line.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
            families.get_mut(&last).unwrap().labels.extend(label_names(labels));
        }
    }
    assert!(families.len() > 20, "{families:?}");
    families
}

/// Names in `a="x",b=~"y"`.
fn label_names(matchers: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = matchers;
    while let Some((name, after)) = rest.split_once(['=', '!']) {
        names.push(name.trim_matches([',', ' ']).to_owned());
        let quoted = after.trim_start_matches(['=', '~']).strip_prefix('"').unwrap_or_else(|| panic!("{matchers}"));
        let mut escaped = false;
        let ends = |(_, c): &(usize, char)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        };
        let end = quoted.char_indices().find(ends).unwrap().0;
        rest = &quoted[end + 1..];
    }
    names
}

/// Metrics that an expression asks for, each with what stands before and behind it.
fn metrics(expression: &str) -> Vec<(&str, &str, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = expression[at..].find(|c: char| c.is_ascii_alphabetic() || c == '_').map(|next| at + next) {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = expression[start..].find(|c| !is_name(c)).map_or(expression.len(), |length| start + length);
        let name = &expression[start..end];
        if name.starts_with("freshet_") || name.starts_with("process_") {
            found.push((name, &expression[..start], &expression[end..]));
        }
        at = end;
    }
    found
}

/// The family of each metric in an expression, which is asked for as what it is.
fn check(expression: &str, families: &BTreeMap<String, Family>) -> Result<Vec<String>, String> {
    let mut used = Vec::new();
    for (name, before, behind) in metrics(expression) {
        let parts = ["_bucket", "_sum", "_count"];
        let of_histogram = parts
            .into_iter()
            .find_map(|part| name.strip_suffix(part))
            .filter(|name| families.get(*name).is_some_and(|family| family.kind == "histogram"));
        let family_name = of_histogram.unwrap_or(name);
        let family = families.get(family_name).ok_or_else(|| format!("{name} is not there: {expression}"))?;
        let over_time = ["rate(", "increase("].into_iter().any(|call| before.ends_with(call));
        let is_level = before.ends_with("label_values(") || before.ends_with("deriv(") || before.ends_with("resets(");
        let (matchers, after) = behind.strip_prefix('{').and_then(|rest| until_brace(rest)).unwrap_or(("", behind));
        let compared = after.trim_start().starts_with('>');
        let fits = match family.kind.as_str() {
            "counter" => over_time || compared,
            "histogram" => over_time && of_histogram.is_some(),
            _ => !over_time,
        };
        if !fits && !is_level {
            return Err(format!("{name} is a {}: {expression}", family.kind));
        }
        let labels = label_names(matchers);
        let known = |label: &String| ["instance", "job"].contains(&label.as_str()) || family.labels.contains(label);
        if let Some(wrong) = labels.iter().find(|label| !known(label)) {
            return Err(format!("{name} has no label {wrong}, it has {:?}: {expression}", family.labels));
        }
        used.push(family_name.to_owned());
    }
    Ok(used)
}

/// What stands within matchers, and behind them; braces may stand within quotes.
fn until_brace(rest: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let end = rest.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == '}' && !quoted
    });
    end.map(|(end, _)| (&rest[..end], &rest[end + 1..]))
}

/// Every expression of the dashboard.
fn expressions(dashboard: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![dashboard];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(fields) => {
                let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
                found.extend(text("expr").into_iter().chain(text("definition")));
                left.extend(fields.values());
            }
            Value::Array(values) => left.extend(values),
            _ => {}
        }
    }
    found
}

#[tokio::test]
async fn the_dashboard_shows_every_metric_that_there_is_and_no_other() {
    let families = families().await;
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let used: BTreeSet<String> = expressions(&dashboard)
        .iter()
        .flat_map(|one| check(one, &families).unwrap_or_else(|why| panic!("{why}")))
        .collect();
    let missing: Vec<_> = families.keys().filter(|name| !used.contains(*name)).collect();
    assert!(missing.is_empty(), "no panel of the dashboard shows {missing:?}");
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "ids are there twice");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let said = |key: &str| panel[key].as_str().is_some_and(|text| !text.is_empty());
        assert!(said("title") && said("description") && !panel["targets"].as_array().unwrap().is_empty(), "{panel}");
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{panel}");
    }
}

#[tokio::test]
async fn every_alert_asks_for_what_there_is_and_says_what_to_do() {
    let families = families().await;
    let rules = YamlLoader::load_from_str(ALERTS).unwrap();
    let groups = rules[0]["groups"].as_vec().unwrap();
    let rules: Vec<&Yaml> = groups.iter().flat_map(|group| group["rules"].as_vec().unwrap()).collect();
    assert!(rules.len() > 10);
    let mut names = BTreeSet::new();
    for rule in rules {
        let text = |value: &Yaml| value.as_str().unwrap_or_else(|| panic!("{rule:?}")).to_owned();
        let name = text(&rule["alert"]);
        let used = check(&text(&rule["expr"]), &families).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(!used.is_empty() || name == "FreshetAway", "{name} asks for nothing of ours");
        assert!(["warning", "critical"].contains(&text(&rule["labels"]["severity"]).as_str()), "{name}");
        for annotation in ["summary", "description", "runbook"] {
            assert!(text(&rule["annotations"][annotation]).len() > 20, "{name} has no {annotation}");
        }
        assert!(text(&rule["for"]).ends_with('m'), "{name}");
        assert!(names.insert(name.clone()), "{name} is there twice");
    }
}

#[tokio::test]
async fn an_expression_that_does_not_fit_is_found() {
    let families = families().await;
    for (expression, part) in [
        ("rate(freshet_events_lerned_total[5m])", "is not there"),
        ("freshet_events_learned_total", "is a counter"),
        ("rate(freshet_model_users[5m])", "is a gauge"),
        ("freshet_stage_seconds_bucket", "is a histogram"),
        ("rate(freshet_stage_seconds[5m])", "is a histogram"),
        ("freshet_mae{off=\"model\"}", "no label off"),
    ] {
        let error = check(expression, &families).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    let good = "rate(freshet_http_request_seconds_bucket{route=\"/recommend/{user}\",job!=\"x\"}[5m]) > 0.1";
    assert_eq!(check(good, &families).unwrap(), ["freshet_http_request_seconds"]);
}
