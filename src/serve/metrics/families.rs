//! Writes families of samples, each with its help, unit and type, after another.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use serde::Serialize;

use crate::serve::timings::Histogram;

/// Names and values of a sample's labels.
pub(super) type Labels = Vec<(&'static str, String)>;

/// Writes a family of samples after another. One without a sample is still described, so that it can be looked up.
pub(super) struct Families<'a>(pub(super) DescriptorEncoder<'a>);

impl Families<'_> {
    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let samples = samples.into_iter().map(|(labels, count)| (labels, ConstCounter::new(count)));
        self.family((name, help, None), &ConstCounter::new(0_u64), samples)
    }

    /// Seconds that only grow.
    pub(super) fn seconds_in_all(&mut self, name: &str, help: &str, seconds: Option<f64>) -> fmt::Result {
        let samples = seconds.into_iter().map(|seconds| (vec![], ConstCounter::new(seconds)));
        self.family((name, help, Some(&Unit::Seconds)), &ConstCounter::new(0.0), samples)
    }

    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        let samples = samples.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value)));
        self.family((name, help, unit), &ConstGauge::new(0.0), samples)
    }

    pub(super) fn histograms<'h>(
        &mut self,
        name: &str,
        help: &str,
        unit: &Unit,
        samples: impl IntoIterator<Item = (Labels, &'h Histogram)>,
    ) -> fmt::Result {
        let samples = samples.into_iter().map(|(labels, histogram)| (labels, Counted(histogram)));
        self.family((name, help, Some(unit)), &Counted(&Histogram::of_times()), samples)
    }

    /// `example` tells the type, which is the encoder's to know.
    fn family<M: EncodeMetric>(
        &mut self,
        (name, help, unit): (&str, &str, Option<&Unit>),
        example: &impl EncodeMetric,
        samples: impl Iterator<Item = (Labels, M)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, example.metric_type())?;
        for (labels, metric) in samples {
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// A histogram as the encoder takes it.
struct Counted<'a>(&'a Histogram);

impl EncodeMetric for Counted<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let (sum, mut buckets) = self.0.figures();
        let count = buckets.iter().map(|(_, count)| count).sum();
        // The encoder adds the one without a bound.
        buckets.pop();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// A label under the name that JSON has for the value.
pub(super) fn label(key: &'static str, value: impl Serialize) -> Labels {
    let name = serde_json::to_value(value).ok();
    vec![(key, name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default())]
}
