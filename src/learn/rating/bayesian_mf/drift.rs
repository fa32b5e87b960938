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
