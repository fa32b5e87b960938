//! Learners that rank items, from positive or implicit feedback.

mod blend;
mod item_knn;
mod popularity;
mod random;

pub use blend::{Blend, BlendLearner};
pub use item_knn::ItemKnn;
pub use popularity::Popularity;
pub use random::Random;
