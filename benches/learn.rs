//! Events learned a second on one core, beside the same arithmetic in a plain loop.
//!
//! `learn_one` predicts and learns 100,000 events whose ids are dense already; its limit is `bare loop`: the same dot
//! product and gradient step on flat rows that are all there, without blocks, growth, bounds, clamp and running mean.
//! `bayesian-mf` is the learner for quality under the defaults, told genres and years.
//! `batches` is what the engine does: micro-batches of 256 with string ids, figures, seen items, a publish after each.
//!
//! `cargo bench --bench learn`

#![allow(missing_docs, reason = "the macros of criterion define items of their own")]
#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to report")]

mod events;

use std::collections::HashMap;
use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use freshet::config::{BiasedMfConfig, LearnerKind};
use freshet::gather::MicroBatch;
use freshet::learn::about::Genres;
use freshet::learn::{Learner, Observation, Recommender, build, dot};
use freshet::publish::{Published, Publisher, Version, View};

fn bench(criterion: &mut Criterion) {
    let rows = events::rows();
    let batches = events::batches(&events::events(&rows, "ratings"));
    let dense = dense(&batches);
    let mut group = criterion.benchmark_group("learn");
    group.throughput(Throughput::Elements(dense.len() as u64)).sample_size(20);
    for k in [16, 32, 64] {
        let config = events::biased_mf(k);
        group.bench_with_input(BenchmarkId::new("bare loop", k), &k, |bencher, _| {
            bencher.iter_batched(
                || Bare::new(&dense, &config.biased_mf),
                |bare| learn_bare(bare, &dense),
                BatchSize::LargeInput,
            );
        });
        group.bench_with_input(BenchmarkId::new("learn_one", k), &k, |bencher, _| {
            let new = || build(LearnerKind::BiasedMf, &config).unwrap();
            bencher.iter_batched(new, |learner| learn_one(learner, &dense), BatchSize::LargeInput);
        });
        group.bench_with_input(BenchmarkId::new("batches", k), &k, |bencher, _| {
            let new = || (Recommender::new(&config).unwrap(), Publisher::new(Published::default(), View::default()));
            bencher.iter_batched(new, |parts| learn_batches(parts, &batches), BatchSize::LargeInput);
        });
    }
    bayesian(&mut group, &dense, &batches);
    group.finish();
    bench_blend(criterion, &dense, &batches);
}

/// The blend alone, on all ratings and on the positive ones, and as the engine runs it: in batches, each published.
fn bench_blend(criterion: &mut Criterion, dense: &[Observation], batches: &[MicroBatch]) {
    let config = events::learners(LearnerKind::BiasedMf, LearnerKind::Blend);
    let positive: Vec<Observation> = dense.iter().copied().filter(|event| event.positive).collect();
    let mut group = criterion.benchmark_group("learn blend");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    let new = || build(LearnerKind::Blend, &config).unwrap();
    for (name, events) in [("all ratings", dense), ("positive ratings", &positive)] {
        group.throughput(Throughput::Elements(events.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(new, |learner| learn_one(learner, events), BatchSize::LargeInput);
        });
    }
    group.throughput(Throughput::Elements(dense.len() as u64));
    group.bench_function("batches", |bencher| {
        let new = || (Recommender::new(&config).unwrap(), Publisher::new(Published::default(), View::default()));
        bencher.iter_batched(new, |parts| learn_batches(parts, batches), BatchSize::LargeInput);
    });
    group.finish();
}

/// The learner for quality, whose events cost the same work whatever its number of users and items.
fn bayesian(group: &mut BenchmarkGroup<'_, WallTime>, dense: &[Observation], batches: &[MicroBatch]) {
    let config = events::learners(LearnerKind::BayesianMf, LearnerKind::BayesianMf);
    group.bench_function("learn_one/bayesian-mf", |bencher| {
        let new = || build(LearnerKind::BayesianMf, &config).unwrap();
        bencher.iter_batched(new, |learner| learn_one(learner, dense), BatchSize::LargeInput);
    });
    group.bench_function("batches/bayesian-mf", |bencher| {
        let new = || (Recommender::new(&config).unwrap(), Publisher::new(Published::default(), View::default()));
        bencher.iter_batched(new, |parts| learn_batches(parts, batches), BatchSize::LargeInput);
    });
}

/// Ids as indexes, in the order of first appearance.
fn dense(batches: &[MicroBatch]) -> Vec<Observation> {
    let (mut users, mut items, mut genres) = (HashMap::new(), HashMap::new(), Genres::default());
    let mut dense = Vec::new();
    for event in batches.iter().flat_map(|batch| &batch.events) {
        let (next_user, next_item) = (users.len() as u32, items.len() as u32);
        let user = *users.entry(&event.user).or_insert(next_user);
        let item = *items.entry(&event.item).or_insert(next_item);
        let target = event.rating.unwrap();
        dense.push(Observation {
            user,
            item,
            target,
            positive: target >= 4.0,
            count: 1.0,
            ts: Some(event.ts),
            about: genres.about(&event.genres, event.year),
        });
    }
    dense
}

fn learn_one(mut learner: Box<dyn Learner>, dense: &[Observation]) -> Box<dyn Learner> {
    for event in dense {
        black_box(learner.learn(event));
    }
    learner
}

fn learn_batches(
    (mut recommender, mut publisher): (Recommender, Publisher),
    batches: &[MicroBatch],
) -> (Recommender, Publisher) {
    for batch in batches {
        let outcomes = recommender.learn(batch).unwrap();
        publisher.observe(&outcomes);
        black_box(publisher.publish(recommender.publish(), Version::after(batch, 0)));
    }
    (recommender, publisher)
}

/// Flat rows, and nothing else.
struct Bare {
    users: Vec<f32>,
    items: Vec<f32>,
    user_biases: Vec<f32>,
    item_biases: Vec<f32>,
    mean: f32,
    params: BiasedMfConfig,
}

impl Bare {
    fn new(dense: &[Observation], params: &BiasedMfConfig) -> Self {
        let n_users = dense.iter().map(|event| event.user as usize + 1).max().unwrap_or(0);
        let n_items = dense.iter().map(|event| event.item as usize + 1).max().unwrap_or(0);
        // Any small values that differ will do.
        let rows = |n: usize| (0..n * params.factors).map(|i| (i % 13) as f32 * 0.01 - 0.06).collect();
        Self {
            users: rows(n_users),
            items: rows(n_items),
            user_biases: vec![0.0; n_users],
            item_biases: vec![0.0; n_items],
            mean: dense.iter().map(|event| event.target).sum::<f32>() / dense.len() as f32,
            params: params.clone(),
        }
    }
}

fn learn_bare(mut bare: Bare, dense: &[Observation]) -> Bare {
    let (k, rate, bias_rate) = (bare.params.factors, bare.params.factor_rate as f32, bare.params.bias_rate as f32);
    let (keep, bias_keep) = (1.0 - rate * bare.params.factor_l2 as f32, 1.0 - bias_rate * bare.params.bias_l2 as f32);
    for event in dense {
        let (user, item) = (event.user as usize, event.item as usize);
        let p = &mut bare.users[user * k..(user + 1) * k];
        let q = &mut bare.items[item * k..(item + 1) * k];
        let predicted = bare.mean + bare.user_biases[user] + bare.item_biases[item] + dot(p, q);
        let error = black_box(predicted) - event.target;
        bare.user_biases[user] = bare.user_biases[user] * bias_keep - bias_rate * error;
        bare.item_biases[item] = bare.item_biases[item] * bias_keep - bias_rate * error;
        for (p, q) in p.iter_mut().zip(q) {
            let (old_p, old_q) = (*p, *q);
            *p = old_p * keep - rate * error * old_q;
            *q = old_q * keep - rate * error * old_p;
        }
    }
    bare
}

criterion_group!(benches, bench);
criterion_main!(benches);
