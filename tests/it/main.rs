//! The integration tests: everything that needs real servers, the built program, or the source tree itself.
//!
//! One binary, so that it links once and all tests share one mongod and one Kafka.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in test functions; here the helpers of tests are tests too"
)]

mod api;
mod armour;
mod chaos;
mod cli;
mod consume;
mod data_frames;
mod dead_letters;
mod doctor;
mod end_to_end;
mod engine;
mod evaluate;
mod events;
mod events_export;
mod events_follow;
mod events_site;
mod faults;
mod golden;
mod interop;
mod kinds;
mod lastfm;
mod model;
mod packaging;
mod produce;
mod program;
mod replay;
mod residency;
mod roles;
mod security;
mod servers;
mod small_disk;
mod snapshots;
mod soak;
mod stage_order;
mod stores;
mod support;
mod topics;
mod traces;
mod trainers;
mod verify;
mod watch;
