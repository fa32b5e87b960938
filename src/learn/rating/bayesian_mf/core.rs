//! One core: the rows of users and items, and what it predicts from them.
//!
//! Apart from how rows are solved ([`user`](super::user), [`item`](super::item)), because readers predict and never
//! solve.

use serde::{Deserialize, Serialize};

use super::drift::state_len;
use super::history::{Rated, Rater};
use super::linear::{blocked_len, products};
use super::settings::{MOST_ROW, STATE, Settings, Shape};
use super::work::Work;
use crate::learn::away::UserRows;
use crate::learn::rating::dot;
use crate::learn::tables::{Frozen, Live, Matrix, Storage, Table, Tables};

/// Mean absolute error of a user's ratings before there is any.
pub(super) const USUAL_ERROR: f32 = 0.7;

/// Places in the state at the end of a user's row; the first two are the drift, [slow, burst].
pub(super) const ERROR_SIZE: usize = 2;

/// Places in the state at the end of an item's row.
pub(super) mod of_item {
    pub(in super::super) const EVENTS: usize = 0;
    pub(in super::super) const VARIANCE: usize = 1;
    pub(in super::super) const ACTIVITY: usize = 2;
    pub(in super::super) const TOP: usize = 3;
}

/// What a core holds besides its rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Prior {
    /// Mean of the users' weights, shape `(features,)`: what a new user starts with.
    pub weights: Vec<f32>,
}

/// A matrix factorization whose rows are solved anew with each event.
#[derive(Clone, Debug)]
pub(super) struct Core<S: Storage> {
    pub settings: Settings,
    pub prior: Prior,
    /// Weights of each user for the features, with their covariance and the drift.
    pub users: Matrix<S>,
    /// What each user's events before the window have left, see [`TailRow`].
    pub user_tails: Matrix<S>,
    /// Features of each item, with the covariance of bias and factors and the statistics.
    pub items: Matrix<S>,
    /// What each item's events before the window have left: a blocked triangle and a vector of shape `(system,)`.
    pub item_tails: Matrix<S>,
    /// Room to solve in; none where readers hold the model.
    pub work: Work,
}

/// A row of a user or an item, in its parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    /// Weights or features, shape `(features,)`.
    pub vector: &'a [f32],
    /// Covariance of the last `latent` of them, packed.
    pub covariance: &'a [f32],
    /// The rest.
    pub state: &'a [f32],
}

impl Shape {
    #[inline]
    pub(super) fn split(self, row: &[f32]) -> Row<'_> {
        let (vector, rest) = row.split_at(self.features);
        let (covariance, state) = rest.split_at(self.packed());
        Row { vector, covariance, state }
    }

    #[inline]
    pub(super) fn split_mut(self, row: &mut [f32]) -> [&mut [f32]; 3] {
        let (vector, rest) = row.split_at_mut(self.features);
        let (covariance, state) = rest.split_at_mut(self.packed());
        [vector, covariance, state]
    }

    /// Floats in a row of a user's tail.
    fn user_tail(self) -> usize {
        blocked_len(self.features) + self.features + state_len(self.features)
    }

    /// A user's tail: the normal equations' matrix as a blocked triangle, their right side, the state of the filter.
    #[inline]
    pub(super) fn split_user_tail(self, row: &mut [f32]) -> [&mut [f32]; 3] {
        let (matrix, rest) = row.split_at_mut(blocked_len(self.features));
        let (right, filter) = rest.split_at_mut(self.features);
        [matrix, right, filter]
    }

    fn item_tail(self) -> usize {
        blocked_len(self.system()) + self.system()
    }
}

/// A user as a prediction needs them, worked out once for any number of items.
#[derive(Clone, Debug)]
pub(super) struct UserSide<'a> {
    pub weights: &'a [f32],
    /// Products of the weights for bias and factors with themselves, packed.
    products: [f32; MOST_ROW],
    /// What is left of the user's drift.
    pub drift: f32,
    /// Mean absolute error of the user's ratings.
    pub error_size: f32,
}

impl<S: Storage> Core<S> {
    /// A user, of whose drift `carried` is left.
    pub(super) fn user(&self, user: u32, carried: [f32; 2]) -> UserSide<'_> {
        let shape = self.settings.shape;
        let (weights, drift, error_size) = match self.users.get(user) {
            Some(row) => {
                let Row { vector, state, .. } = shape.split(row);
                (vector, carried[0] * state[0] + carried[1] * state[1], state[ERROR_SIZE])
            }
            None => (self.prior.weights.as_slice(), 0.0, USUAL_ERROR),
        };
        let mut packed = [0.0; MOST_ROW];
        products(&weights[shape.bias()..], &mut packed[..shape.packed()]);
        UserSide { weights, products: packed, drift, error_size }
    }

    /// An item's row; `fresh` is filled with that of an item that nobody has rated, where there is none.
    #[inline]
    pub(super) fn item<'a>(&'a self, item: u32, fresh: &'a mut [f32; MOST_ROW]) -> Row<'a> {
        let shape = self.settings.shape;
        let row = self.items.get(item).unwrap_or_else(|| {
            let row = &mut fresh[..shape.row()];
            self.settings.fresh_item(item, row);
            row
        });
        shape.split(row)
    }

    /// The factors in a row of a user or an item.
    pub(super) fn factors<'r>(&self, row: &'r [f32]) -> Option<&'r [f32]> {
        let shape = self.settings.shape;
        row.get(shape.bias() + 1..shape.features)
    }

    /// Predicted rating, finite and unbounded; `mean` is that of all ratings.
    #[inline]
    pub(super) fn predict(user: &UserSide<'_>, item: Row<'_>, mean: f32) -> f32 {
        let predicted = mean + dot(user.weights, item.vector) + user.drift;
        if predicted.is_finite() { predicted } else { mean }
    }

    /// Variance of a prediction that comes from the item's bias and factors.
    #[inline]
    pub(super) fn variance(user: &UserSide<'_>, item: Row<'_>) -> f32 {
        dot(&user.products[..item.covariance.len()], item.covariance)
    }
}

impl Settings {
    /// Overwrites a row with that of an item that nobody has rated.
    fn fresh_item(&self, item: u32, row: &mut [f32]) {
        row.fill(0.0);
        let bias = self.shape.bias();
        let [features, covariance, state] = self.shape.split_mut(row);
        features[0] = 1.0;
        super::item::popularity(features, 0.0);
        for (factor, place) in features[bias + 1..].iter_mut().enumerate() {
            *place = self.prior_factor(item, factor);
        }
        self.fresh_item_covariance(covariance);
        state[of_item::VARIANCE] = 1.0;
    }
}

impl Core<Live> {
    /// A core without users and items.
    pub(super) fn new(settings: Settings) -> Self {
        let shape = settings.shape;
        // The item's bias counts once; nothing else is known of users.
        let mut weights = vec![0.0; shape.features];
        weights[shape.bias()] = 1.0;
        Self {
            prior: Prior { weights },
            users: Matrix::new(shape.row()),
            user_tails: Matrix::new(shape.user_tail()),
            items: Matrix::new(shape.row()),
            item_tails: Matrix::new(shape.item_tail()),
            work: Work::new(&settings),
            settings,
        }
    }

    /// Adds rows until there are some for this user and this item.
    #[inline]
    pub(super) fn grow(&mut self, user: u32, item: u32) {
        let Self { settings, prior, users, user_tails, items, item_tails, .. } = self;
        users.grow_to(user, |_, row| {
            let [weights, covariance, state] = settings.shape.split_mut(row);
            weights.copy_from_slice(&prior.weights);
            settings.fresh_weight_covariance(covariance);
            state[ERROR_SIZE] = USUAL_ERROR;
        });
        user_tails.grow_to(user, |_, _| ());
        items.grow_to(item, |item, row| settings.fresh_item(item, row));
        item_tails.grow_to(item, |_, _| ());
    }

    /// Goes on with other settings of the same shape and window.
    pub(super) fn set(&mut self, settings: Settings) {
        self.work = Work::new(&settings);
        self.settings = settings;
    }

    /// Users' rows that may be away.
    pub(super) fn user_rows(&mut self, name: &str) -> [(String, &mut dyn UserRows); 2] {
        [(user_weights(name), self.users.user_rows()), (user_tails(name), self.user_tails.user_rows())]
    }

    pub(super) fn publish(&mut self) -> Core<Frozen> {
        Core {
            settings: self.settings.clone(),
            prior: self.prior.clone(),
            users: self.users.publish(),
            user_tails: self.user_tails.publish(),
            items: self.items.publish(),
            item_tails: self.item_tails.publish(),
            work: Work::default(),
        }
    }
}

impl Core<Frozen> {
    pub(super) fn thaw(&self) -> Core<Live> {
        Core {
            settings: self.settings.clone(),
            prior: self.prior.clone(),
            users: self.users.thaw(),
            user_tails: self.user_tails.thaw(),
            items: self.items.thaw(),
            item_tails: self.item_tails.thaw(),
            work: Work::new(&self.settings),
        }
    }

    /// Its tables; `name` sets those of one core apart from those of the other.
    pub(super) fn tables(&self, name: &str) -> [Table; 4] {
        [
            self.users.table(user_weights(name)),
            self.user_tails.table(user_tails(name)),
            self.items.table(format!("{name}_item_features")),
            self.item_tails.table(format!("{name}_item_tails")),
        ]
    }

    /// The core of these tables.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn read(settings: Settings, name: &str, prior: Prior, tables: &mut Tables) -> Result<Self, String> {
        let shape = settings.shape;
        if prior.weights.len() != shape.features || !prior.weights.iter().all(|weight| weight.is_finite()) {
            return Err(format!("the prior of its {name} core is not {} finite floats", shape.features));
        }
        let mut read = |table: &str, width| Matrix::read(tables, table, width);
        let core = Self {
            users: read(&user_weights(name), shape.row())?,
            user_tails: read(&user_tails(name), shape.user_tail())?,
            items: read(&format!("{name}_item_features"), shape.row())?,
            item_tails: read(&format!("{name}_item_tails"), shape.item_tail())?,
            settings,
            prior,
            work: Work::default(),
        };
        if core.users.len() != core.user_tails.len() || core.items.len() != core.item_tails.len() {
            return Err(format!("its {name} core has tails of other users or items than it has rows"));
        }
        Ok(core)
    }
}

/// Name of the table of users' weights in the core of this name.
fn user_weights(name: &str) -> String {
    format!("{name}_user_weights")
}

/// Name of the table of users' tails.
fn user_tails(name: &str) -> String {
    format!("{name}_user_tails")
}

/// An event as a core learns it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step<'a> {
    pub user: u32,
    pub item: u32,
    /// On the inner scale.
    pub rating: f32,
    /// Rating less what this core predicted, bounded; 0 for the very first event.
    pub error: f32,
    /// Mean of the ratings before the event, and after it.
    pub mean_before: f32,
    pub mean: f32,
    /// Events of anybody, and events of this user, this one included.
    pub events: u64,
    pub user_events: f32,
    /// Newest events of the user and of the item, this one last.
    pub rated: &'a [Rated],
    pub raters: &'a [Rater],
}

impl Core<Live> {
    /// Learns an event that is in both histories already: statistics, then the user, then the item.
    pub(super) fn learn(&mut self, step: &Step<'_>) {
        self.note_error(step);
        self.note_event(step);
        self.solve_user(step);
        self.solve_item(step);
        self.move_prior(step);
    }
}

const _: () = assert!(STATE > of_item::TOP && STATE > ERROR_SIZE);
