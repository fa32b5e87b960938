//! An evaluation as tables for people.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table};
use indicatif::HumanCount;

use crate::cli::out;
use crate::evaluate::{BESIDE, Estimate, Evaluation, Figures, LearnerResult, Metric, Protocol, SEGMENTATIONS};

const MIB: f64 = 1024.0 * 1024.0;

/// Everything that the command prints.
pub(super) fn render(found: &Evaluation, segments: bool) -> String {
    let drift = found.drift_from.map_or_else(String::new, |from| format!("{}\n", drift(found, from)));
    let mut text = format!("{}\n{}\n{drift}{}\n{}", heading(found), quality(found), cost(found), notes(found));
    if segments {
        for (by, title) in SEGMENTATIONS {
            for metric in outlined(found.kind) {
                let _ = write!(text, "\n{} by {title}\n{}\n", metric.title(), segment_table(found, by, *metric));
            }
        }
    }
    text
}

/// `Protocol A, ml-100k: 100,000 rows, 943 users, 1,682 items, 100,000 evaluated`.
fn heading(found: &Evaluation) -> String {
    let described = |name: &str| match name {
        "A" | "C" | "C+" | "L" => format!("Protocol {name}"),
        name => name.to_owned(),
    };
    let [rows, users, items, evaluated] =
        [found.rows, found.users, found.items, found.evaluated].map(|count| HumanCount(count).to_string());
    let (protocol, name) = (described(&found.protocol), &found.dataset);
    let mut text = format!("{protocol}, {name}: {rows} rows, {users} users, {items} items, {evaluated} evaluated");
    if let Some(injected) = &found.injected {
        let _ = write!(text, "\n{injected} injected");
    }
    if found.kind == Protocol::Topn {
        let [cold, unknown] = [found.cold_users, found.unknown_items].map(HumanCount);
        let _ = write!(text, "\n{cold} first events of a user ask nothing; {unknown} items not known yet are misses");
        if found.repeats > 0 {
            let repeats = HumanCount(found.repeats);
            let _ = write!(text, "; {repeats} events repeat an item and are learned without being evaluated");
        }
    }
    text
}

/// How good each learner is.
fn quality(found: &Evaluation) -> Table {
    let first = found.learners.first().map_or("", |learner| learner.name.as_str());
    let main = Metric::main(found.kind);
    let last: Vec<_> = outlined(found.kind).iter().map(|metric| format!("{} last half", metric.title())).collect();
    let versus = format!("{} vs {first}", main.title());
    let mut header = vec!["learner"];
    header.extend(Metric::of(found.kind).iter().map(|metric| metric.title()));
    header.extend(last.iter().map(String::as_str));
    header.push(&versus);
    let row = |learner: &LearnerResult| {
        let all = Metric::of(found.kind).iter().map(|metric| {
            // Where there are many figures, only that which learners are compared by has its interval here.
            figure(&learner.all, *metric, found.kind == Protocol::Rating || *metric == main)
        });
        let last = outlined(found.kind).iter().map(|metric| figure(&learner.last_half, *metric, false));
        let difference = learner.difference.get(&main).map(difference).unwrap_or_default();
        all.chain(last).chain([difference]).collect()
    };
    table(&header, found, row)
}

/// What the detector found, and what was made of it.
fn drift(found: &Evaluation, from: u64) -> Table {
    let beside = HumanCount(BESIDE as u64);
    let before = format!("RMSE {beside} before");
    let after = format!("RMSE {beside} after");
    let detected = format!("drift at {} detected after", HumanCount(from));
    let row = |learner: &LearnerResult| {
        let Some(drift) = &learner.drift else { return Vec::new() };
        let delay =
            drift.delay.map_or_else(|| "not at all".to_owned(), |delay| format!("{} events", HumanCount(delay)));
        let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
        let alarms = HumanCount(drift.alarms_before).to_string();
        vec![delay, alarms, figure(drift.rmse_before), figure(drift.rmse_after)]
    };
    table(&["learner", &detected, "alarms before", &before, &after], found, row)
}

/// What each learner costs.
fn cost(found: &Evaluation) -> Table {
    let mut header = vec!["learner", "learn events/s", "memory"];
    if found.kind == Protocol::Topn {
        header.extend(["score + rank", "coverage"]);
    }
    let row = |learner: &LearnerResult| {
        let rate = HumanCount(learner.learn_events_per_second.round() as u64).to_string();
        let memory = format!("{:.2} MiB", learner.memory_bytes as f64 / MIB);
        let scoring = learner.score_microseconds.map(|time| format!("{time:.1} µs"));
        let coverage = learner.coverage.map(|share| format!("{:.1} %", share * 100.0));
        [rate, memory].into_iter().chain(scoring).chain(coverage).collect()
    };
    table(&header, found, row)
}

/// A row for each learner, its numbers on the right.
fn table(header: &[&str], found: &Evaluation, row: impl Fn(&LearnerResult) -> Vec<String>) -> Table {
    let mut table = out::table(header);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    for learner in &found.learners {
        table.add_row(std::iter::once(Cell::new(&learner.name)).chain(row(learner).into_iter().map(right)));
    }
    if let Some(names) = table.column_mut(0) {
        names.set_constraint(ColumnConstraint::ContentWidth);
    }
    table
}

/// Figures that are shown over the second half and by segment too; the whole is in the JSON and the CSV.
fn outlined(protocol: Protocol) -> &'static [Metric] {
    match protocol {
        Protocol::Rating => &[Metric::Mae, Metric::Rmse],
        Protocol::Topn => &[Metric::Hr10],
    }
}

fn figure(figures: &Figures, metric: Metric, with_interval: bool) -> String {
    let Some(found) = figures.metrics.get(&metric) else { return "-".to_owned() };
    match found.margin() {
        Some(margin) if with_interval => format!("{:.4} ± {margin:.4}", found.value),
        _ => format!("{:.4}", found.value),
    }
}

fn difference(found: &Estimate) -> String {
    let margin = found.margin().map_or_else(String::new, |margin| format!(" ± {margin:.4}"));
    format!("{:+.4}{margin}", found.value)
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn notes(found: &Evaluation) -> String {
    let mut text = "± is half a 95 % confidence interval, robust to the events of a user being alike; a difference is \
                    paired, event by event.\n"
        .to_owned();
    for learner in found.learners.iter().filter(|learner| learner.non_finite > 0) {
        let wrong = if found.kind == Protocol::Rating { "predictions" } else { "scores, which rank last," };
        let _ = writeln!(text, "ERROR: {}: {} {wrong} were not finite", learner.name, HumanCount(learner.non_finite));
    }
    text
}

/// Learners across, segments down; the intervals are in the JSON, the CSV and the plot.
fn segment_table(found: &Evaluation, by: &str, metric: Metric) -> Table {
    let names = found.learners.iter().map(|learner| learner.name.as_str());
    let header: Vec<_> = ["segment", "events"].into_iter().chain(names).collect();
    let mut table = out::table(&header);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    let Some(first) = found.learners.first() else { return table };
    for (at, segment) in first.segments.iter().enumerate().filter(|(_, segment)| segment.by == by) {
        // All learners are judged on the same events, so that they have the same segments.
        let figures = found.learners.iter().filter_map(|learner| learner.segments.get(at));
        let cells = figures.map(|segment| right(figure(&segment.figures, metric, false)));
        let begin = [Cell::new(segment.segment), right(HumanCount(segment.figures.events).to_string())];
        table.add_row(begin.into_iter().chain(cells));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::sample;
    use crate::config::Config;
    use crate::evaluate::{Request, evaluate};

    #[test]
    fn what_is_printed_has_every_learner_and_what_went_wrong() {
        let request = Request {
            protocol: Protocol::Topn,
            all_ratings: false,
            order: None,
            limit: Some(400),
            learners: Vec::new(),
            baselines: true,
            inject: None,
            trainers: Vec::new(),
            share_events: 1000,
        };
        let mut found = evaluate(sample::sample(1, 400), &request, &Config::default(), &mut |_| ()).unwrap();
        found.learners[1].non_finite = 1_234;
        let text = render(&found, true);
        for learner in &found.learners {
            assert!(text.matches(&format!(" {} ", learner.name)).count() >= 4, "{text}");
        }
        for part in ["ERROR: popularity: 1,234 scores", "NDCG@10", "by the user's n-th event", "400 rows"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
