//! Events learned a second on one core, beside the same arithmetic in a plain loop.
//!
//! `learn_one` predicts and learns 100,000 events whose ids are dense already; its limit is `bare loop`: the same dot
//! product and gradient step on flat rows that are all there, without blocks, growth, bounds, clamp and running mean.
//! `batches` is what the engine does: micro-batches of 256 with string ids, figures, seen items, a publish after each.
//!
//! `cargo bench --bench learn`

#![allow(missing_docs, reason = "the macros of criterion define items of their own")]
#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to report")]

mod events;

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use freshet::gather::MicroBatch;
use freshet::learn::model::FactorModel;
use freshet::learn::params::MfValidParams;
use freshet::learn::{Learner, dot};
use freshet::publish::{Published, Publisher, Version, View};

/// User, item and rating.
type Dense = ((u32, u32), f32);

fn bench(criterion: &mut Criterion) {
    let rows = events::rows();
    let batches = events::batches(&events::events(&rows, "ratings"));
    let dense = dense(&batches);
    let mut group = criterion.benchmark_group("learn");
    group.throughput(Throughput::Elements(dense.len() as u64)).sample_size(20);
    for k in [16, 32, 64] {
        let params = events::params(k);
        group.bench_with_input(BenchmarkId::new("bare loop", k), &k, |bencher, _| {
            bencher.iter_batched(|| Bare::new(&dense, &params), |bare| learn_bare(bare, &dense), BatchSize::LargeInput);
        });
        group.bench_with_input(BenchmarkId::new("learn_one", k), &k, |bencher, _| {
            let new = || FactorModel::new(&params);
            bencher.iter_batched(new, |model| learn_one(model, &params, &dense), BatchSize::LargeInput);
        });
        group.bench_with_input(BenchmarkId::new("batches", k), &k, |bencher, _| {
            let new = || (Learner::new(params.clone()), Publisher::new(Published::default(), View::default()));
            bencher.iter_batched(new, |parts| learn_batches(parts, &batches), BatchSize::LargeInput);
        });
    }
    group.finish();
}

/// Ids as indexes, in the order of first appearance.
fn dense(batches: &[MicroBatch]) -> Vec<Dense> {
    let (mut users, mut items) = (HashMap::new(), HashMap::new());
    let mut dense = Vec::new();
    for event in batches.iter().flat_map(|batch| &batch.events) {
        let (next_user, next_item) = (users.len() as u32, items.len() as u32);
        let user = *users.entry(&event.user).or_insert(next_user);
        let item = *items.entry(&event.item).or_insert(next_item);
        dense.push(((user, item), event.rating.unwrap()));
    }
    dense
}

fn learn_one(mut model: FactorModel, params: &MfValidParams, dense: &[Dense]) -> FactorModel {
    for (pair, target) in dense {
        black_box(model.learn_one(params, *pair, *target));
    }
    model
}

fn learn_batches((mut learner, mut publisher): (Learner, Publisher), batches: &[MicroBatch]) -> (Learner, Publisher) {
    for batch in batches {
        let outcomes = learner.learn(batch).unwrap();
        publisher.observe(&outcomes);
        black_box(publisher.publish(learner.publish(), Version::after(batch, 0)));
    }
    (learner, publisher)
}

/// Flat rows, and nothing else.
struct Bare {
    users: Vec<f32>,
    items: Vec<f32>,
    user_biases: Vec<f32>,
    item_biases: Vec<f32>,
    mean: f32,
    params: MfValidParams,
}

impl Bare {
    fn new(dense: &[Dense], params: &MfValidParams) -> Self {
        let n_users = dense.iter().map(|((user, _), _)| *user as usize + 1).max().unwrap_or(0);
        let n_items = dense.iter().map(|((_, item), _)| *item as usize + 1).max().unwrap_or(0);
        // Any small values that differ will do.
        let rows = |n: usize| (0..n * params.factors()).map(|i| (i % 13) as f32 * 0.01 - 0.06).collect();
        Self {
            users: rows(n_users),
            items: rows(n_items),
            user_biases: vec![0.0; n_users],
            item_biases: vec![0.0; n_items],
            mean: dense.iter().map(|(_, target)| target).sum::<f32>() / dense.len() as f32,
            params: params.clone(),
        }
    }
}

fn learn_bare(mut bare: Bare, dense: &[Dense]) -> Bare {
    let (k, rate, bias_rate) = (bare.params.factors(), bare.params.factor_rate(), bare.params.bias_rate());
    let (keep, bias_keep) = (1.0 - rate * bare.params.factor_l2(), 1.0 - bias_rate * bare.params.bias_l2());
    for ((user, item), target) in dense {
        let (user, item) = (*user as usize, *item as usize);
        let p = &mut bare.users[user * k..(user + 1) * k];
        let q = &mut bare.items[item * k..(item + 1) * k];
        let predicted = bare.mean + bare.user_biases[user] + bare.item_biases[item] + dot(p, q);
        let error = black_box(predicted) - target;
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
