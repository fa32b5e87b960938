//! Makes events: reads data sets, paces them, and produces them onto the log.
//!
//! In: files of a public data set, CSV, NDJSON, or a seeded sample. Out: JSON bytes on a topic, keyed by user, each with
//! a delivery report. Guarantee: a row is either delivered, or counted and reported as not delivered.

pub mod catalog;
pub(crate) mod embedded_log;
pub mod interaction;
pub(crate) mod kafka_link;
pub mod pace;
pub mod producer;
pub mod replay;

pub use catalog::{Item, User};
pub use interaction::Interaction;
pub use pace::Pace;
pub use replay::{ReplayError, replay};
