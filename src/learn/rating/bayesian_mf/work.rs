//! Room to set up and solve normal equations in, so that no event allocates.
//!
//! Apart from the core, because it is no part of the model: nothing in it outlives an event.

use super::drift::state_len;
use super::history::kept;
use super::settings::Settings;

/// The normal equations of one row, and what they are made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Work {
    /// Weight of an event by its age, `(1 + age / memory)⁻²`.
    pub recency: Vec<f32>,
    /// Prior precisions of a user's weights, shape `(features,)`.
    pub precisions: Vec<f32>,
    /// Whitened rows of features, shape `(window, features)`.
    pub rows: Vec<f32>,
    /// Their weights, shape `(window,)`.
    pub weights: Vec<f32>,
    /// Left side, shape `(features, features)`.
    pub matrix: Vec<f32>,
    /// Right side, shape `(features,)`.
    pub right: Vec<f32>,
    /// State of the drift's filter.
    pub filter: Vec<f32>,
    /// Weighted sum of the other side's covariances, packed.
    pub covariance: Vec<f32>,
}

impl Work {
    pub(super) fn new(settings: &Settings) -> Self {
        let (shape, window) = (settings.shape, settings.window);
        let recency = |age| {
            let root = 1.0 / (1.0 + age as f32 / settings.user_memory);
            root * root
        };
        Self {
            recency: (0..kept(window)).map(recency).collect(),
            precisions: settings.weight_precisions(),
            rows: vec![0.0; window * shape.features],
            weights: vec![0.0; window],
            matrix: vec![0.0; shape.features * shape.features],
            right: vec![0.0; shape.features],
            filter: vec![0.0; state_len(shape.features)],
            covariance: vec![0.0; shape.packed()],
        }
    }
}
