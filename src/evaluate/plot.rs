//! An evaluation as one page of plots that needs no network: plotly.js is in the page.

use std::fmt::Write as _;

use plotly::color::Color;
use plotly::common::{Anchor, DashType, ErrorData, ErrorType, Line, Marker, Mode, Orientation};
use plotly::layout::{Axis, AxisType, BarMode, HoverMode, Legend, Margin};
use plotly::{Bar, Configuration, Layout, Plot, Scatter};

use super::curve::Curve;
use super::metric::Metric;
use super::result::{Evaluation, Figures, LearnerResult};
use super::{Protocol, SEGMENTATIONS};

/// The palette of Okabe and Ito ("Color Universal Design", 2008), which colour-blind people can tell apart, without its
/// yellow, which is faint on white.
const PALETTE: [&str; 8] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999"];

/// Lines of the same colour differ by these.
const DASHES: [DashType; 3] = [DashType::Solid, DashType::Dash, DashType::Dot];

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}\
                     h1{font-size:1.5rem;margin:0}.plot{height:30rem;margin:1.5rem 0}";

/// One page with the curves over the stream and the bars by segment, with their intervals.
#[must_use]
pub fn to_html(evaluation: &Evaluation) -> String {
    let mut plots = Vec::new();
    for metric in Metric::followed(evaluation.kind) {
        plots.push(curves(evaluation, *metric, "over all events so far", |curve| &curve.so_far));
        let window = format!("over the latest {} events", evaluation.curve_window);
        plots.push(curves(evaluation, *metric, &window, |curve| &curve.window));
    }
    plots.extend(SEGMENTATIONS.iter().map(|(by, title)| bars(evaluation, by, title)));
    let title = escape(&format!("{} on {}", heading(evaluation), evaluation.dataset));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n{}\n</head>\n<body>\n<h1>{title}</h1>\n<p>{}</p>\n",
        plotly_js(),
        escape(&summary(evaluation)),
    );
    for (plot, number) in plots.iter().zip(1..) {
        let _ = writeln!(page, "<div class=\"plot\">{}</div>", plot.to_inline_html(Some(&format!("plot-{number}"))));
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn heading(evaluation: &Evaluation) -> String {
    match evaluation.protocol.as_str() {
        letter @ ("A" | "C" | "C+" | "L") => format!("Protocol {letter}"),
        described => described.to_owned(),
    }
}

fn summary(evaluation: &Evaluation) -> String {
    let Evaluation { rows, events, users, items, evaluated, .. } = evaluation;
    let better = if evaluation.kind == Protocol::Rating { "Lower is better." } else { "Higher is better." };
    format!(
        "{rows} rows, {events} events shown to the learners, {users} users, {items} items, {evaluated} events evaluated. \
         {better} Bars have 95 % confidence intervals, robust to the events of a user being alike."
    )
}

/// The script of plotly alone: the crate puts a typesetter of formulas beside it that no plot here needs.
fn plotly_js() -> String {
    const END: &str = "</script>";
    let mut scripts = Plot::offline_js_sources();
    if let Some(at) = scripts.find(END) {
        scripts.truncate(at + END.len());
    }
    scripts
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn curves(evaluation: &Evaluation, metric: Metric, span: &str, of: fn(&Curve) -> &Vec<Option<f64>>) -> Plot {
    let mut plot = Plot::new();
    for (learner, index) in evaluation.learners.iter().zip(0..) {
        let Some(curve) = learner.curves.get(&metric) else { continue };
        let line = Line::new().color(colour(index)).dash(DASHES[index / PALETTE.len() % DASHES.len()].clone());
        let trace = Scatter::new(evaluation.curve_events.clone(), of(curve).clone());
        plot.add_trace(trace.mode(Mode::Lines).name(&learner.name).line(line.width(2.0)));
    }
    let layout = layout(&format!("{} {span}", metric.title()), "events of the stream", metric.title());
    finish(plot, layout.hover_mode(HoverMode::XUnified))
}

fn bars(evaluation: &Evaluation, by: &str, title: &str) -> Plot {
    let metric = Metric::main(evaluation.kind);
    let mut plot = Plot::new();
    for (learner, index) in evaluation.learners.iter().zip(0..) {
        let segments = of_kind(learner, by);
        let values: Vec<_> = segments.iter().map(|(_, found)| found.metrics.get(&metric)).collect();
        let margins = values.iter().map(|found| found.and_then(super::Estimate::margin).unwrap_or(0.0)).collect();
        let labels = segments.iter().map(|(label, _)| (*label).to_owned()).collect();
        let bars = Bar::new(labels, values.iter().map(|found| found.map(|found| found.value)).collect());
        let events = segments.iter().map(|(_, found)| format!("{} events", found.events)).collect();
        let error = ErrorData::new(ErrorType::Data).array(margins).thickness(1.0).width(2);
        plot.add_trace(
            bars.name(&learner.name).marker(Marker::new().color(colour(index))).error_y(error).hover_text_array(events),
        );
    }
    let layout = layout(&format!("{} by {title}", metric.title()), title, metric.title());
    // Labels such as 2-5 would else be read as dates.
    let axis = Axis::new().title(title).type_(AxisType::Category);
    finish(plot, layout.bar_mode(BarMode::Group).x_axis(axis))
}

fn of_kind<'a>(learner: &'a LearnerResult, by: &str) -> Vec<(&'static str, &'a Figures)> {
    let of_kind = learner.segments.iter().filter(|segment| segment.by == by);
    of_kind.map(|segment| (segment.segment, &segment.figures)).collect()
}

fn layout(title: &str, x: &str, y: &str) -> Layout {
    Layout::new()
        .title(title)
        .x_axis(Axis::new().title(x))
        .y_axis(Axis::new().title(y))
        .legend(Legend::new().orientation(Orientation::Horizontal).y(-0.18).y_anchor(Anchor::Top))
        .margin(Margin::new().top(50).right(20))
}

/// The logo would be a link into the network.
fn finish(mut plot: Plot, layout: Layout) -> Plot {
    plot.set_layout(layout);
    plot.set_configuration(Configuration::new().responsive(true).display_logo(false));
    plot
}

fn colour(index: usize) -> impl Color {
    PALETTE[index % PALETTE.len()]
}
