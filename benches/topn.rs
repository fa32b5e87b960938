//! Recommendations a second on one core, beside the dot products alone.
//!
//! `recommend` scores every item for a user, leaves out the seen ones and keeps the best n; a cold user is a scan of the
//! counts. The limit is `products`: the user's row times every item's row in one flat matrix, nothing kept. Measured on
//! the model learned from all of MovieLens 100K, and on a synthetic one of 20,000 items and 64 factors. The blend scores
//! by much more than a product; it is measured on the first.
//!
//! `cargo bench --bench topn`

#![allow(missing_docs, reason = "the macros of criterion define items of their own")]
#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to report")]

mod events;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use freshet::capture::Interaction;
use freshet::config::{Config, LearnerKind};
use freshet::learn::{Recommender, dot};
use freshet::publish::{Published, Publisher, Query, Version, View};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// Users of the synthetic model, and items.
const USERS: u64 = 2_000;
const ITEMS: u64 = 20_000;

fn bench(criterion: &mut Criterion) {
    let rows = events::rows();
    for (name, rows, k) in [("topn ml-100k k=32", &rows, 32), ("topn 20k items k=64", &synthetic(), 64)] {
        let view = learned(rows, &events::biased_mf(k));
        bench_view(criterion, name, &view);
        bench_products(criterion, name, &view, k);
    }
    bench_view(
        criterion,
        "topn ml-100k blend",
        &learned(&rows, &events::learners(LearnerKind::BiasedMf, LearnerKind::Blend)),
    );
}

fn bench_view(criterion: &mut Criterion, name: &str, view: &View) {
    let users: Vec<String> =
        view.learned().users.names().iter().flat_map(|block| block.iter()).map(ToString::to_string).collect();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1)).sample_size(20);
    for n in [10, 100] {
        group.bench_with_input(BenchmarkId::new("known user", n), &n, |bencher, n| {
            let mut user = users.iter().cycle();
            bencher.iter(|| view.recommend(user.next().unwrap(), &Query::top(*n)));
        });
        group.bench_with_input(BenchmarkId::new("cold user", n), &n, |bencher, n| {
            bencher.iter(|| view.recommend("nobody", &Query::top(*n)));
        });
    }
    group.finish();
}

fn bench_products(criterion: &mut Criterion, name: &str, view: &View, k: usize) {
    let (rows, items) = flat(view, k);
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1)).sample_size(20);
    group.bench_function("products", |bencher| {
        let mut user = rows.chunks_exact(k).cycle();
        bencher.iter(|| {
            let p = user.next().unwrap();
            for q in items.chunks_exact(k) {
                black_box(dot(p, q));
            }
        });
    });
    group.finish();
}

/// The view after learning the rows.
fn learned(rows: &[Interaction], config: &Config) -> Arc<View> {
    let mut recommender = Recommender::new(config).unwrap();
    let mut publisher = Publisher::new(Published::default(), View::default());
    for batch in events::batches(&events::events(rows, "ratings")) {
        publisher.observe(&recommender.learn(&batch).unwrap());
    }
    publisher.publish(recommender.publish(), Version::default())
}

/// Each user with 100 random items, and each item at least once.
fn synthetic() -> Vec<Interaction> {
    let mut random = Pcg64::seed_from_u64(1);
    let row = |i: u64| {
        let item = if i < ITEMS { i } else { random.random_range(0..ITEMS) };
        let (user, item) = ((i % USERS).to_string(), item.to_string());
        Interaction { user, item, rating: Some((i % 5 + 1) as f32), ts: Some(0), ..Interaction::default() }
    };
    (0..USERS * 100).map(row).collect()
}

/// Rows of as many users and items as the view has, each in one matrix: any small values that differ will do.
fn flat(view: &View, k: usize) -> (Vec<f32>, Vec<f32>) {
    let rows = |n: usize| (0..n * k).map(|i| (i % 13) as f32 * 0.01 - 0.06).collect();
    (rows(view.learned().users.len()), rows(view.learned().items.len()))
}

criterion_group!(benches, bench);
criterion_main!(benches);
