//! Freshet: an online-learning recommender engine.
//!
//! The stages are modules whose alphabetical order is the order of the data: [`capture`], [`consume`], [`decode`],
//! [`gather`], [`learn`], [`publish`], [`serve`], [`store`]. A stage uses only stages before it; [`engine`] joins them,
//! [`evaluate`] judges what was learned.

pub mod capture;
pub mod cli;
pub mod config;
pub mod consume;
pub mod decode;
pub mod engine;
pub mod evaluate;
pub mod fault;
pub mod gather;
pub mod learn;
pub mod publish;
pub mod serve;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod time;
