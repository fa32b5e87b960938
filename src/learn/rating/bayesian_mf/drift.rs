//! The drift of a user's ratings, filtered out of their events.
//!
//! Apart from the solver, because it turns ratings whose errors hang together into ones whose errors do not, whatever is
//! solved with them afterwards.
//!
//! A user's error is modelled as `slow + burst + white`: two autoregressive processes of order 1 and noise. `slow` is a
//! mood that outlasts a sitting and decays by event; `burst` is what events within seconds of each other share (a page of
//! ratings given in one go) and decays by time. Generalized least squares under this covariance is the same as ordinary
//! weighted least squares on the innovations of a Kalman filter (Harvey, *Forecasting, Structural Time Series Models and
//! the Kalman Filter*, 1989, section 3.4; Kohn, Ansley 1985): the filter is run over the target and over every feature
//! column with the same gains, and leaves rows that are uncorrelated, each with its innovation variance.

use super::linear::{LANES, lanes, lanes_mut};

/// Decay of the slow component by an event.
const SLOW_DECAY: f32 = 0.985;

/// Further decay of the slow component after a gap of [`GAP_MS`].
const GAP_DECAY: f32 = 0.8;

/// A gap between two sittings.
const GAP_MS: i64 = 1_800_000;

/// Burst times after which nothing is left of the burst.
const BURST_ENDS: f32 = 20.0;

/// Variance of what is neither drift nor the noise of a rating, in units of the latter.
const WHITE: f32 = 0.03;

/// Floats of a filter's state after its two rows of features.
const OWN: usize = LANES;

/// The covariance of a user's errors, in units of the variance of a rating's noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Drift {
    /// Variance of the slow component.
    pub slow: f32,
    /// Variance of the burst.
    pub burst: f32,
    /// Time in which a burst decays by a factor of e, in seconds.
    pub burst_seconds: f32,
}

impl Drift {
    /// How much of [slow, burst] is left from an event at `before` to one at `now`, milliseconds since the epoch. Without
    /// both times it is a next event like any other, and no burst.
    #[inline]
    pub(super) fn carried(&self, before: Option<i64>, now: Option<i64>) -> [f32; 2] {
        let (Some(before), Some(now)) = (before, now) else { return [SLOW_DECAY, 0.0] };
        let gap = now.saturating_sub(before);
        let slow = if gap < GAP_MS { SLOW_DECAY } else { SLOW_DECAY * GAP_DECAY };
        let seconds = gap as f32 * 1e-3;
        let burst = if gap == 0 {
            1.0
        } else if gap > 0 && seconds < BURST_ENDS * self.burst_seconds {
            libm::expf(-seconds / self.burst_seconds)
        } else {
            0.0
        };
        [slow, burst]
    }

    /// One event of the filter: turns its row and target into their innovations, and returns the event's weight, 1 by the
    /// variance of the innovation.
    #[inline]
    pub(super) fn whiten(&self, state: &mut [f32], carried: [f32; 2], row: &mut [f32], target: &mut f32) -> f32 {
        let [slow_left, burst_left] = carried;
        let (slow_row, rest) = state.split_at_mut(row.len());
        let (burst_row, own) = rest.split_at_mut(row.len());
        // What is left of the covariance, and what has come to it so that each variance tends to its own.
        let slow = own[2] * slow_left * slow_left + self.slow * (1.0 - slow_left * slow_left);
        let both = own[3] * slow_left * burst_left;
        let burst = own[4] * burst_left * burst_left + self.burst * (1.0 - burst_left * burst_left);
        let (of_slow, of_burst) = (slow + both, both + burst);
        let weight = 1.0 / (1.0 + WHITE + of_slow + of_burst);
        let (slow_gain, burst_gain) = (of_slow * weight, of_burst * weight);
        own[2] = slow - slow_gain * of_slow;
        own[3] = both - slow_gain * of_burst;
        own[4] = burst - burst_gain * of_burst;
        let states = lanes_mut(slow_row).iter_mut().zip(lanes_mut(burst_row));
        for (row, (slow, burst)) in lanes_mut(row).iter_mut().zip(states) {
            for lane in 0..LANES {
                let (s, b) = (slow[lane] * slow_left, burst[lane] * burst_left);
                let innovation = row[lane] - s - b;
                row[lane] = innovation;
                slow[lane] = s + slow_gain * innovation;
                burst[lane] = b + burst_gain * innovation;
            }
        }
        let (s, b) = (own[0] * slow_left, own[1] * burst_left);
        let innovation = *target - s - b;
        *target = innovation;
        own[0] = s + slow_gain * innovation;
        own[1] = b + burst_gain * innovation;
        weight
    }
}

/// Floats of a filter's state over rows of shape `(n,)`: the slow and the burst component of every feature column, then
/// those of the target and the covariance of the two.
pub(super) const fn state_len(n: usize) -> usize {
    2 * n + OWN
}

/// The [slow, burst] of the errors that weights of shape `(n,)` leave: the filter is linear, so it need not run again.
pub(super) fn of_errors(state: &[f32], weights: &[f32]) -> [f32; 2] {
    let n = weights.len();
    debug_assert_eq!(lanes(state).len() * LANES, state_len(n));
    [0, 1].map(|at| state[2 * n + at] - crate::learn::rating::dot(weights, &state[at * n..(at + 1) * n]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::linear::tests::naive_inverse;
    use super::*;

    const N: usize = LANES;

    const DRIFT: Drift = Drift { slow: 0.3, burst: 0.5, burst_seconds: 15.0 };

    /// Events of a user: features, target, and milliseconds since the one before.
    fn events() -> impl Strategy<Value = Vec<(Vec<f32>, f32, Option<i64>)>> {
        let row = proptest::collection::vec(-1.0f32..1.0, N);
        let gap = prop::option::of(prop::sample::select(vec![0_i64, 1_000, 20_000, 4_000_000]));
        proptest::collection::vec((row, -2.0f32..2.0, gap), 1..12)
    }

    /// How much of [slow, burst] reaches each event from the one before it.
    fn carried(events: &[(Vec<f32>, f32, Option<i64>)]) -> Vec<[f32; 2]> {
        let (mut now, mut before) = (0, None);
        let next = |(_, _, gap): &(_, _, Option<i64>)| {
            let ts = gap.map(|gap| {
                now += gap;
                now
            });
            DRIFT.carried(std::mem::replace(&mut before, ts), ts)
        };
        events.iter().map(next).collect()
    }

    /// The covariance of the errors, written down: each component is what is left of the one before and what has come to
    /// it, from nothing before the first event on.
    fn covariance(carried: &[[f32; 2]]) -> Vec<f64> {
        let n = carried.len();
        let mut all = vec![0.0; n * n];
        for (component, variance) in [DRIFT.slow, DRIFT.burst].map(f64::from).into_iter().enumerate() {
            let left: Vec<f64> = carried.iter().map(|left| f64::from(left[component])).collect();
            let mut own = 0.0;
            for i in 0..n {
                own = own * left[i] * left[i] + variance * (1.0 - left[i] * left[i]);
                let mut with = own;
                all[i * n + i] += own;
                for j in i + 1..n {
                    with *= left[j];
                    all[i * n + j] += with;
                    all[j * n + i] += with;
                }
            }
        }
        (0..n).for_each(|i| all[i * n + i] += 1.0 + f64::from(WHITE));
        all
    }

    proptest! {
        #[test]
        fn least_squares_on_the_innovations_is_generalized_least_squares(events in events()) {
            let carried = carried(&events);
            let inverse = naive_inverse(&covariance(&carried), events.len());
            let (mut gram, mut right) = ([0.0_f64; N * N], [0.0_f64; N]);
            let mut state = vec![0.0; state_len(N)];
            for ((row, target, _), carried) in events.iter().zip(&carried) {
                let (mut row, mut target) = (row.clone(), *target);
                let weight = f64::from(DRIFT.whiten(&mut state, *carried, &mut row, &mut target));
                for (i, a) in row.iter().enumerate() {
                    right[i] += weight * f64::from(a * target);
                    row.iter().enumerate().for_each(|(j, b)| gram[i * N + j] += weight * f64::from(a * b));
                }
            }
            for i in 0..N {
                for j in 0..=N {
                    // Column N is the target.
                    let at = |event: usize, column: usize| f64::from(*events[event].0.get(column).unwrap_or(&events[event].1));
                    let pairs = (0..events.len()).flat_map(|s| (0..events.len()).map(move |t| (s, t)));
                    let exact: f64 = pairs.map(|(s, t)| at(s, i) * inverse[s * events.len() + t] * at(t, j)).sum();
                    let got = if j == N { right[i] } else { gram[i * N + j] };
                    prop_assert!((got - exact).abs() < 1e-3, "{got} {exact}");
                }
            }
        }

        #[test]
        fn the_drift_of_errors_is_that_of_a_filter_run_over_them(
            events in events(), weights in proptest::collection::vec(-1.0f32..1.0, N),
        ) {
            let carried = carried(&events);
            let (mut state, mut plain) = (vec![0.0; state_len(N)], vec![0.0; state_len(N)]);
            for ((row, target, _), carried) in events.iter().zip(&carried) {
                let mut error = target - crate::learn::rating::dot(row, &weights);
                DRIFT.whiten(&mut state, *carried, &mut row.clone(), &mut target.clone());
                DRIFT.whiten(&mut plain, *carried, &mut [0.0; N], &mut error);
            }
            let drift = of_errors(&state, &weights);
            prop_assert!((0..2).all(|at| (drift[at] - plain[2 * N + at]).abs() < 1e-4));
        }
    }

    #[test]
    fn without_both_times_it_is_a_next_event_and_no_burst() {
        for (before, now) in [(None, None), (Some(5), None), (None, Some(5))] {
            assert_eq!(DRIFT.carried(before, now), [SLOW_DECAY, 0.0]);
        }
        assert_eq!(DRIFT.carried(Some(5), Some(5)), [SLOW_DECAY, 1.0]);
        assert_eq!(DRIFT.carried(Some(i64::MIN), Some(i64::MAX)), [SLOW_DECAY * GAP_DECAY, 0.0]);
        assert_eq!(DRIFT.carried(Some(i64::MAX), Some(i64::MIN)), [SLOW_DECAY, 0.0]);
        let [_, burst] = DRIFT.carried(Some(0), Some(15_000));
        assert!((burst - (-1.0_f32).exp()).abs() < 1e-6);
    }
}
