//! Keeps an item's statistics, and solves its bias and factors anew from its own events, the users' weights held.
//!
//! The other half of the variational iteration in [`user`](super::user), for the last `latent` features alone: the rest
//! of a rating is explained by the user's weights for what the item is. An event weighs `exp(-age / memory)`, and less
//! where its user's ratings are hard to predict.

use super::core::{Core, ERROR_SIZE, Row, Step, of_item};
use super::history::{Rater, Window};
use super::linear::{
    add_gram, add_scaled, add_to_blocked_corner, add_to_corner, blocked_len, decay_and_add_outer, factor,
    inverse_corner, scale_by, solve, unblock,
};
use super::settings::{MOST_ROW, STATISTICS};
use crate::learn::about::About;
use crate::learn::rating::dot;
use crate::learn::tables::Live;

/// Largest absolute bias or factor of an item.
const BOUND: f32 = 5.0;

/// Largest target that is believed.
const TARGET_BOUND: f32 = 50.0;

/// Rating that is among the best, and the share of such ratings that is usual.
const TOP: f32 = 4.5;
const USUAL_TOP: f32 = 0.21;

/// Noise of a user's ratings, in units of the usual, from which it counts; and the least that it is taken for.
const USUAL_NOISE: f32 = super::core::USUAL_ERROR;
const LEAST_NOISE: f32 = 0.3;

/// Most rows of the system.
const MOST: usize = 16;

/// Sets the features that say how often an item was rated.
pub(super) fn popularity(features: &mut [f32], events: f32) {
    let level = (libm::logf(1.0 + events) - 3.0) * 0.5;
    features[1] = level;
    features[7] = (level * level - 1.0).min(8.0);
}

impl Core<Live> {
    /// Takes over what an event tells of its item.
    pub(super) fn tell(&mut self, item: u32, about: About) {
        let genres = self.settings.shape.genres;
        let features = self.items.row_mut(item);
        if let Some(year) = about.year {
            let year = ((year as f32 - 1985.0) / 15.0).clamp(-3.0, 1.5);
            (features[2], features[3]) = (year, year * year - 0.7);
        }
        if about.genres != 0 {
            for (bit, feature) in features[STATISTICS..STATISTICS + genres].iter_mut().enumerate() {
                *feature = (about.genres >> bit & 1) as f32;
            }
        }
    }

    /// Takes an event into the item's statistics: running means over its events, and the features made of them.
    pub(super) fn note_event(&mut self, step: &Step<'_>) {
        let shape = self.settings.shape;
        let [features, _, state] = shape.split_mut(self.items.row_mut(step.item));
        let mut events = state[of_item::EVENTS];
        events += 1.0;
        state[of_item::EVENTS] = events;
        popularity(features, events);
        let error = step.rating - step.mean_before - features[shape.bias()];
        state[of_item::VARIANCE] += (error * error - state[of_item::VARIANCE]) / (events + 3.0);
        let activity = libm::logf(1.0 + step.user_events) - 3.5;
        state[of_item::ACTIVITY] += (activity - state[of_item::ACTIVITY]) / (events + 2.0);
        let top = if step.rating >= TOP { 1.0 - USUAL_TOP } else { -USUAL_TOP };
        state[of_item::TOP] += (top - state[of_item::TOP]) / (events + 5.0);
        features[4] = (state[of_item::VARIANCE] - 1.0).clamp(-1.0, 2.0);
        features[5] = state[of_item::ACTIVITY];
        features[6] = state[of_item::TOP] * 2.0;
    }

    /// Solves the item's bias and factors, with their covariance.
    pub(super) fn solve_item(&mut self, step: &Step<'_>) {
        let (mut matrix, mut right) = ([0.0; MOST * MOST], [0.0; MOST]);
        let (shape, n) = (self.settings.shape, self.settings.shape.system());
        let (matrix, right) = (&mut matrix[..n * n], &mut right[..n]);
        let window = Window::of(step.raters, self.settings.window);
        let known = known(self.items.row(step.item), shape.bias());
        let known = &known[..shape.features];
        if let Some(leaving) = window.leaving {
            self.fold_rater(step, *leaving, known);
        }
        let (tail, tail_right) = self.item_tails.row(step.item).split_at(blocked_len(n));
        unblock(tail, matrix, n);
        right.copy_from_slice(tail_right);
        self.add_window(step, window.events, known, matrix, right);
        self.add_prior(step.item, matrix, right);
        factor(matrix, n);
        solve(matrix, right, n);
        let [features, covariance, _] = shape.split_mut(self.items.row_mut(step.item));
        for (feature, solved) in features[shape.bias()..].iter_mut().zip(&right[n - shape.latent..]) {
            if solved.is_finite() {
                *feature = solved.clamp(-BOUND, BOUND);
            }
        }
        inverse_corner(matrix, n, shape.latent, covariance);
    }

    /// Moves the event that leaves the window into the tail, with the user's weights of today.
    fn fold_rater(&mut self, step: &Step<'_>, event: Rater, known: &[f32]) {
        let Self { settings, users, item_tails, .. } = self;
        let (shape, n) = (settings.shape, settings.shape.system());
        let user = shape.split(users.row(event.user));
        let (target, weight) = weigh(event, user, known, step.mean);
        let weight = weight * settings.item_left;
        let mut row = [0.0; MOST];
        let row = &mut row[..n];
        row[n - shape.latent..].copy_from_slice(&user.vector[shape.bias()..]);
        let (tail, tail_right) = item_tails.row_mut(step.item).split_at_mut(blocked_len(n));
        decay_and_add_outer(tail, row, settings.item_decay, weight);
        add_to_blocked_corner(tail, n, shape.latent, user.covariance, weight * settings.variational);
        scale_by(tail_right, settings.item_decay);
        add_scaled(tail_right, row, weight * target);
    }

    /// Adds the window's events to the system.
    fn add_window(&mut self, step: &Step<'_>, events: &[Rater], known: &[f32], matrix: &mut [f32], right: &mut [f32]) {
        let Self { settings, users, work, .. } = self;
        let (shape, n) = (settings.shape, settings.shape.system());
        let mut age_weight = 1.0;
        work.covariance.fill(0.0);
        let places = work.rows.chunks_exact_mut(n).zip(&mut work.weights);
        for (event, (row, place)) in events.iter().rev().zip(places) {
            let user = shape.split(users.row(event.user));
            let (target, weight) = weigh(*event, user, known, step.mean);
            let weight = weight * age_weight;
            row[..n - shape.latent].fill(0.0);
            row[n - shape.latent..].copy_from_slice(&user.vector[shape.bias()..]);
            add_scaled(right, row, weight * target);
            add_scaled(&mut work.covariance, user.covariance, weight * settings.variational);
            *place = weight;
            age_weight *= settings.item_decay;
        }
        add_to_corner(matrix, n, shape.latent, &work.covariance, 1.0);
        add_gram(matrix, &work.rows[..events.len() * n], &work.weights[..events.len()], n);
    }

    fn add_prior(&self, item: u32, matrix: &mut [f32], right: &mut [f32]) {
        let (settings, n) = (&self.settings, self.settings.shape.system());
        let first_factor = n + 1 - settings.shape.latent;
        for index in 0..n {
            let precision = if index < first_factor { settings.bias } else { settings.factor };
            matrix[index * n + index] += precision;
            if index >= first_factor {
                right[index] += precision * settings.prior_factor(item, index - first_factor);
            }
        }
    }
}

/// The item's features without those that are solved for, padded with zeros.
fn known(row: &[f32], bias: usize) -> [f32; MOST_ROW] {
    let mut known = [0.0; MOST_ROW];
    known[..bias].copy_from_slice(&row[..bias]);
    known
}

/// What of an event's rating is left for bias and factors to explain, and what the event weighs whatever its age.
#[inline]
fn weigh(event: Rater, user: Row<'_>, known: &[f32], mean: f32) -> (f32, f32) {
    let target = event.rating - mean - dot(user.vector, known);
    let noise = (1.0 + user.state[ERROR_SIZE] - USUAL_NOISE).max(LEAST_NOISE);
    // Also where it is NaN.
    let target = if target.abs() < TARGET_BOUND { target } else { 0.0 };
    (target, 1.0 / noise)
}
