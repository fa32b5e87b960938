//! The page as a person has it: in a browser, on the built program, during a real replay.
//!
//! A binary of its own, so that `make test-browser` builds and runs it alone. Where no browser can be had each test says
//! so, loudly, and passes.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in test functions; here the helpers of tests are tests too"
)]

mod chrome;
mod faults;
mod panels;
#[path = "../it/program.rs"]
#[allow(dead_code, unused_imports, reason = "what only the other tests need")]
mod program;
mod site;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what only the other tests need")]
mod support;
mod user;
