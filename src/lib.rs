//! Freshet: an online-learning recommender engine.
//!
//! The stages are modules whose alphabetical order is the order of the data: [`capture`], [`consume`], [`decode`],
//! [`gather`], [`learn`], [`publish`], [`serve`], [`store`]. A stage uses only stages before it; [`engine`] joins them,
//! [`evaluate`] judges what was learned.

use mimalloc::MiMalloc;

/// Rows of a large model lie in huge pages where the kernel gives them to who asks (`madvise`, as distributions have it), and
/// what threads hand to each other is freed without a lock.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
