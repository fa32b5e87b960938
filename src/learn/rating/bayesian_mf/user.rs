//! Solves a user's weights anew from their own events, the items' rows held.
//!
//! The posterior mean of the weights `w` under `y_t = w · x_t + drift_t + noise`, exactly: `(P + T + Σ s_t (x̃_t x̃_tᵀ +
//! v C_t)) w = P m + t + Σ s_t ỹ_t x̃_t` over the events of the window, where `x̃`, `ỹ` are the rows and targets less the
//! running mean as the [drift's filter](super::drift) whitens them, `s_t` the filter's weight times that of the event's
//! age, `P`, `m` the prior, and `(T, t)` the tail: the same sums over the events before the window, decayed by event.
//! `C_t` is the covariance of the item's bias and factors: that an item's row is itself uncertain shrinks the weights for
//! it (the variational posterior of Lim, Teh, "Variational Bayesian approach to movie rating prediction", KDD Cup 2007,
//! eq. 9-12; why this shrinks: Nakajima, Sugiyama, "Theoretical analysis of Bayesian matrix factorization", JMLR 2011).
//! `v`, below 1, is [`Settings::variational`](super::settings::Settings).

use super::core::{Core, ERROR_SIZE, Row, Step};
use super::drift::of_errors;
use super::history::{Rated, Window};
use super::linear::{
    add_gram, add_scaled, add_to_blocked_corner, add_to_corner, decay_and_add_outer, factor, inverse_corner, scale_by,
    solve, unblock,
};
use super::settings::MOST_ROW;
use crate::learn::tables::Live;

/// Largest absolute weight. Nothing that learns comes near it.
const BOUND: f32 = 10.0;

/// Largest absolute drift: the width of the scale.
const DRIFT_BOUND: f32 = 4.0;

/// Share of a new error in the mean absolute error of a user.
const ERROR_RATE: f32 = 0.1;

/// Events after which the prior mean starts to follow each; `prior_memory` is what it has in the end.
const PRIOR_START: f32 = 200.0;

/// Bound of the prior mean.
const PRIOR_BOUND: f32 = 3.0;

impl Core<Live> {
    /// Takes an event's error into the user's own.
    pub(super) fn note_error(&mut self, step: &Step<'_>) {
        let [_, _, state] = self.settings.shape.split_mut(self.users.row_mut(step.user));
        if step.user_events > 1.0 {
            state[ERROR_SIZE] += ERROR_RATE * (step.error.abs() - state[ERROR_SIZE]);
        }
    }

    /// Solves the user's weights, with their covariance and the drift.
    pub(super) fn solve_user(&mut self, step: &Step<'_>) {
        let window = Window::of(step.rated, self.settings.window);
        if let Some(leaving) = window.leaving {
            self.fold(step, leaving, window.before.and_then(|event| event.ts));
        }
        self.set_up(step, window);
        let Self { settings, users, work, .. } = self;
        let n = settings.shape.features;
        factor(&mut work.matrix, n);
        solve(&work.matrix, &mut work.right, n);
        let [weights, covariance, state] = settings.shape.split_mut(users.row_mut(step.user));
        for (weight, solved) in weights.iter_mut().zip(&work.right) {
            if solved.is_finite() {
                *weight = solved.clamp(-BOUND, BOUND);
            }
        }
        for (drift, of_errors) in state.iter_mut().zip(of_errors(&work.filter, weights)) {
            *drift = if of_errors.is_finite() { of_errors.clamp(-DRIFT_BOUND, DRIFT_BOUND) } else { 0.0 };
        }
        inverse_corner(&work.matrix, n, settings.shape.latent, covariance);
    }

    /// Moves the event that leaves the window into the tail, with the item's row of today.
    fn fold(&mut self, step: &Step<'_>, event: &Rated, before: Option<i64>) {
        let Self { settings, items, user_tails, work, .. } = self;
        let (shape, drift) = (settings.shape, settings.drift);
        let Row { vector, covariance, .. } = shape.split(items.row(event.item));
        let mut row = [0.0; MOST_ROW];
        let row = &mut row[..shape.features];
        row.copy_from_slice(vector);
        let mut target = event.rating - step.mean;
        let [matrix, right, filter] = shape.split_user_tail(user_tails.row_mut(step.user));
        let weight =
            drift.whiten(filter, drift.carried(before, event.ts), row, &mut target) * work.recency[settings.window];
        decay_and_add_outer(matrix, row, settings.tail_decay, weight);
        add_to_blocked_corner(matrix, shape.features, shape.latent, covariance, weight * settings.variational);
        scale_by(right, settings.tail_decay);
        add_scaled(right, row, weight * target);
    }

    /// Sets the normal equations up: prior, tail, and the window's events whitened from the tail's filter on.
    fn set_up(&mut self, step: &Step<'_>, window: Window<'_, Rated>) {
        let Self { settings, prior, items, user_tails, work, .. } = self;
        let (shape, drift) = (settings.shape, settings.drift);
        let n = shape.features;
        let [tail, tail_right, filter] = shape.split_user_tail(user_tails.row_mut(step.user));
        unblock(tail, &mut work.matrix, n);
        work.right.copy_from_slice(tail_right);
        work.filter.copy_from_slice(filter);
        work.covariance.fill(0.0);
        let mut before = window.leaving.and_then(|event| event.ts);
        let ages = (0..window.events.len()).rev();
        let places = work.rows.chunks_exact_mut(n).zip(&mut work.weights);
        for ((event, age), (row, place)) in window.events.iter().zip(ages).zip(places) {
            let Row { vector, covariance, .. } = shape.split(items.row(event.item));
            row.copy_from_slice(vector);
            let mut target = event.rating - step.mean;
            let carried = drift.carried(before, event.ts);
            let weight = drift.whiten(&mut work.filter, carried, row, &mut target) * work.recency[age];
            add_scaled(&mut work.right, row, weight * target);
            add_scaled(&mut work.covariance, covariance, weight * settings.variational);
            *place = weight;
            before = event.ts;
        }
        add_to_corner(&mut work.matrix, n, shape.latent, &work.covariance, 1.0);
        for index in 0..n {
            work.matrix[index * n + index] += work.precisions[index];
            work.right[index] += work.precisions[index] * prior.weights[index];
        }
        let count = window.events.len();
        add_gram(&mut work.matrix, &work.rows[..count * n], &work.weights[..count], n);
    }

    /// Moves the prior mean of all weights but those of the factors a little towards this user's (empirical Bayes).
    pub(super) fn move_prior(&mut self, step: &Step<'_>) {
        let rate = (1.0 / (step.events as f32 + PRIOR_START)).max(1.0 / self.settings.prior_memory);
        let weights = &self.users.row(step.user)[..self.settings.shape.bias()];
        for (mean, weight) in self.prior.weights.iter_mut().zip(weights) {
            *mean = (*mean + rate * (weight - *mean)).clamp(-PRIOR_BOUND, PRIOR_BOUND);
        }
    }
}
