//! Learners that predict ratings.

mod bayesian_mf;
mod biased_mf;
mod biases;
mod running_mean;
mod sgd;

pub use bayesian_mf::BayesianMf;
pub use biased_mf::BiasedMf;
pub(super) use biased_mf::product;
pub use biases::Biases;
pub use running_mean::RunningMean;
pub use sgd::dot;
