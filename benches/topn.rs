//! Recommendations a second on one core, beside the dot products alone.
//!
//! `recommend` scores every item for a user, leaves out the seen ones and keeps the best n; a cold user is a scan of the
//! counts. The limit is `products`: the user's row times every item's row in one flat matrix, nothing kept. Measured on
//! the model learned from all of MovieLens 100K, and on a synthetic one of 20,000 items and 64 factors.
//!
//! `cargo bench --bench topn`

#![allow(missing_docs, reason = "the macros of criterion define items of their own")]
#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to report")]

mod events;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use freshet::capture::Interaction;
use freshet::learn::blocks::BLOCK_ROWS;
use freshet::learn::{Learner, dot};
use freshet::publish::{Published, Publisher, Version, View};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// Users of the synthetic model, and items.
const USERS: u64 = 2_000;
const ITEMS: u64 = 20_000;

fn bench(criterion: &mut Criterion) {
    bench_view(criterion, "topn ml-100k k=32", &learned(&events::rows(), 32));
    bench_view(criterion, "topn 20k items k=64", &learned(&synthetic(), 64));
}

fn bench_view(criterion: &mut Criterion, name: &str, view: &View) {
    let users: Vec<String> =
        view.learned().users.names().iter().flat_map(|block| block.iter()).map(ToString::to_string).collect();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1)).sample_size(20);
    for n in [10, 100] {
        group.bench_with_input(BenchmarkId::new("known user", n), &n, |bencher, n| {
            let mut user = users.iter().cycle();
            bencher.iter(|| view.recommend(user.next().unwrap(), *n));
        });
        group.bench_with_input(BenchmarkId::new("cold user", n), &n, |bencher, n| {
            bencher.iter(|| view.recommend("nobody", *n));
        });
    }
    let items = flat_items(view);
    group.bench_function("products", |bencher| {
        let mut user = (0..users.len() as u32).cycle();
        bencher.iter(|| {
            let (p, _) = view.learned().model.user(user.next().unwrap()).unwrap();
            for q in items.chunks_exact(p.len()) {
                black_box(dot(p, q));
            }
        });
    });
    group.finish();
}

/// The view after learning the rows.
fn learned(rows: &[Interaction], factors: usize) -> Arc<View> {
    let mut learner = Learner::new(events::params(factors));
    let mut publisher = Publisher::new(Published::default(), View::default());
    for batch in events::batches(&events::events(rows, "ratings")) {
        publisher.observe(&learner.learn(&batch).unwrap());
    }
    publisher.publish(learner.publish(), Version::default())
}

/// Each user with 100 random items, and each item at least once.
fn synthetic() -> Vec<Interaction> {
    let mut random = Pcg64::seed_from_u64(1);
    let row = |i: u64| {
        let item = if i < ITEMS { i } else { random.random_range(0..ITEMS) };
        let (user, item) = ((i % USERS).to_string(), item.to_string());
        Interaction { user, item, rating: Some((i % 5 + 1) as f32), count: None, ts: Some(0), id: None }
    };
    (0..USERS * 100).map(row).collect()
}

/// Every item's row in one matrix.
fn flat_items(view: &View) -> Vec<f32> {
    let model = &view.learned().model;
    let row = |item: usize| model.items[item / BLOCK_ROWS].row(item % BLOCK_ROWS).0;
    (0..model.n_items).flat_map(row).copied().collect()
}

criterion_group!(benches, bench);
criterion_main!(benches);
