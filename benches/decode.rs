//! Events and bytes decoded a second on one core, beside the bare JSON parsers.
//!
//! `decode` takes a record off the log to a checked event with ids of its own. Its limits are a typed parse that borrows
//! its strings and checks nothing, and the untyped parse into a `serde_json::Value`.
//!
//! `cargo bench --bench decode`

#![allow(missing_docs, reason = "the macros of criterion define items of their own")]
#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to report")]

mod events;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use freshet::config::Config;
use freshet::consume::RawEvent;
use freshet::decode::decode;
use serde::Deserialize;

/// The fields of a rating, unchecked.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only the parse is measured")]
struct Typed<'a> {
    v: u32,
    user: &'a str,
    item: &'a str,
    rating: f32,
    ts: i64,
}

fn bench(criterion: &mut Criterion) {
    let config = Config::default().decode;
    let raw = events::raw(&events::rows(), "ratings");
    let bytes = raw.iter().map(|raw| raw.payload.len() as u64).sum();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::ElementsAndBytes { elements: raw.len() as u64, bytes }).sample_size(20);
    group.bench_function("decode", |bencher| {
        let all = |raw: Vec<RawEvent>| {
            for raw in raw {
                let _ = black_box(decode(&raw, &config));
            }
        };
        bencher.iter_batched(|| raw.clone(), all, BatchSize::LargeInput);
    });
    group.bench_function("typed parse", |bencher| {
        bencher.iter(|| {
            for raw in &raw {
                black_box(serde_json::from_slice::<Typed>(&raw.payload).unwrap());
            }
        });
    });
    group.bench_function("untyped parse", |bencher| {
        bencher.iter(|| {
            for raw in &raw {
                black_box(serde_json::from_slice::<serde_json::Value>(&raw.payload).unwrap());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
