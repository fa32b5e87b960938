//! An evaluation as CSV: one row for each learner and segment.

use super::metric::Metric;
use super::result::{Evaluation, Figures};

/// One row for each learner and segment; `all` and `last_half` are segments here too. Each figure has three columns: its
/// value and the ends of its 95 % confidence interval, which are empty where there is none.
///
/// # Errors
/// None that writing into memory can cause; see [`csv::Error`].
pub fn to_csv(evaluation: &Evaluation) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let metrics = Metric::of(evaluation.kind);
    let columns = ["protocol", "dataset", "learner", "by", "segment", "events"].map(str::to_owned);
    let figures = metrics.iter().flat_map(|metric| ["", "_low", "_high"].map(|end| format!("{}{end}", metric.name())));
    writer.write_record(columns.into_iter().chain(figures))?;
    for learner in &evaluation.learners {
        let whole = [("all", &learner.all), ("last_half", &learner.last_half)];
        let whole = whole.into_iter().map(|(segment, figures)| ("stream", segment, figures));
        let parts = learner.segments.iter().map(|segment| (segment.by, segment.segment, &segment.figures));
        for (by, segment, figures) in whole.chain(parts) {
            let place = [&evaluation.protocol, &evaluation.dataset, &learner.name, by, segment].map(str::to_owned);
            let values = metrics.iter().flat_map(|metric| values(figures, *metric));
            writer.write_record(place.into_iter().chain([figures.events.to_string()]).chain(values))?;
        }
    }
    let bytes = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Value, lower and upper end.
fn values(figures: &Figures, metric: Metric) -> [String; 3] {
    let text = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    figures
        .metrics
        .get(&metric)
        .map_or_else(Default::default, |found| [text(Some(found.value)), text(found.low), text(found.high)])
}
