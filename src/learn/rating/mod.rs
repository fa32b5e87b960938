//! Learners that predict ratings.

mod biased_mf;
mod biases;
mod running_mean;
mod sgd;

pub use biased_mf::BiasedMf;
pub use biases::Biases;
pub use running_mean::RunningMean;
pub use sgd::dot;
