//! Figures as they went over the stream: over all events so far, and over the latest.

use serde::Serialize;

use super::metric::Metric;

/// Points of a curve, at most.
const POINTS: usize = 200;

/// The moving window is this part of the stream.
const WINDOW: usize = 20;

/// A figure over the stream. One value for each point; none where no event was judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Curve {
    /// Over all judged events up to the point.
    pub so_far: Vec<Option<f64>>,
    /// Over the judged events of the window that ends at the point.
    pub window: Vec<Option<f64>>,
}

/// Where the curves have their points, as numbers of events of the stream, the last being all of them.
pub(super) fn points(events: usize) -> Vec<usize> {
    let mut points: Vec<_> = (1..=POINTS).map(|n| (events * n).div_ceil(POINTS)).collect();
    points.dedup();
    points
}

/// Events in the moving window.
pub(super) fn window(events: usize) -> usize {
    events.div_ceil(WINDOW)
}

/// A figure over the stream of `events`, from the outcomes at the judged positions, which ascend.
pub(super) fn curve(metric: Metric, events: usize, positions: &[u32], outcomes: &[f64]) -> Curve {
    let mut sums = Vec::with_capacity(outcomes.len() + 1);
    let mut sum = 0.0;
    sums.push(sum);
    for outcome in outcomes {
        sum += metric.value(*outcome);
        sums.push(sum);
    }
    // Over the judged events at positions of `from..to`.
    let over = |from: usize, to: usize| {
        let [from, to] = [from, to].map(|bound| positions.partition_point(|position| (*position as usize) < bound));
        (to > from).then(|| metric.finish(((sums[to] - sums[from]) / (to - from) as f64).max(0.0)))
    };
    let window = window(events);
    let points = points(events);
    Curve {
        so_far: points.iter().map(|at| over(0, *at)).collect(),
        window: points.iter().map(|at| over(at.saturating_sub(window), *at)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_go_evenly_to_the_last_event() {
        let many = points(100_000);
        assert_eq!((many.len(), many[0], many[199]), (200, 500, 100_000));
        assert_eq!(points(3), [1, 2, 3]);
        assert_eq!((window(100_000), window(3)), (5_000, 1));
    }

    #[test]
    fn a_curve_is_the_mean_so_far_and_that_of_the_window() {
        // Judged are the events 2 to 39, and the latter half of them hit.
        let positions: Vec<u32> = (2..40).collect();
        let outcomes: Vec<f64> = positions.iter().map(|at| if *at < 20 { 50.0 } else { 1.0 }).collect();
        let curve = curve(Metric::Hr10, 40, &positions, &outcomes);
        assert_eq!((curve.so_far.len(), curve.so_far[1], curve.so_far[2]), (40, None, Some(0.0)));
        assert_eq!(curve.so_far[39], Some(20.0 / 38.0));
        assert_eq!((curve.window[19], curve.window[20], curve.window[21]), (Some(0.0), Some(0.5), Some(1.0)));
    }
}
