//! Makes events: reads data sets, paces them, and produces them onto the log.
//!
//! In: files of a public data set, CSV, NDJSON, or a seeded sample. Out: JSON bytes on a topic, keyed by user, each with
//! a delivery report. Guarantee: a row is either delivered, or counted and reported as not delivered.

pub mod catalog;
pub mod control;
pub mod convert;
pub mod dataset;
pub(crate) mod embedded_log;
pub mod endless;
pub mod error;
pub mod fetch;
pub mod inject;
pub mod interaction;
pub(crate) mod kafka_link;
pub mod known;
pub mod lastfm;
pub(crate) mod lines;
mod log_error;
pub mod movielens;
pub mod order;
pub mod pace;
pub mod producer;
pub mod recbole;
pub mod replay;
pub mod resume;
pub mod sample;
pub mod shift;
pub mod tabular;

pub use catalog::{Item, User};
pub use control::Control;
pub use dataset::{Dataset, Rows, open};
pub use error::CaptureError;
pub use fetch::ensure;
pub use interaction::Interaction;
pub use log_error::LogError;
pub use pace::Pace;
pub use replay::{ReplayError, replay};
