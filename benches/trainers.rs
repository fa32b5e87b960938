//! Several trainers beside one, each a thread: how much faster the same events are learned by users shared out among them, with
//! what they add to items told and heard all the while.
//!
//! Ten million events would say the same as these two million, of 100,000 users and 20,000 items, drawn as in
//! `benches/libmf.rs`. A trainer tells after so many of its own events, and hears what has arrived then; the clock on the
//! wall counts, because what is asked is how far a second processor helps. No log and no store: those are shared out with the
//! partitions, and `benches/engine.rs` has what they cost.
//!
//! `cargo bench --bench trainers`

#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to report")]

mod events;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use freshet::config::LearnerKind;
use freshet::decode::Contributions;
use freshet::learn::trainers::Trainer;
use freshet::learn::{Observation, build};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

const EVENTS: usize = 2_000_000;
const USERS: usize = 100_000;
const ITEMS: usize = 20_000;

/// Numbers of factors, of trainers, and of own events between two exchanges.
const FACTORS: [usize; 2] = [32, 64];
const TRAINERS: [usize; 2] = [2, 4];
const EVERY: [usize; 3] = [1_000, 10_000, 100_000];

/// How often each is measured, in turn; the median is told.
const ROUNDS: usize = 3;

type Told = (Contributions, Vec<u32>);

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let events = zipf();
    println!("biased-mf, {EVENTS} events, {USERS} users, {ITEMS} items, {cores} processors; events a second");
    println!("{:>3} {:>8} {:>12} {:>12} {:>8}", "k", "trainers", "tell after", "events/s", "of one");
    for k in FACTORS {
        let mut one: Vec<f64> = (0..ROUNDS).map(|_| alone(&events, k)).collect();
        let one = median(&mut one);
        println!("{k:>3} {:>8} {:>12} {one:>12.0} {:>8}", 1, "never", "1.00");
        for trainers in TRAINERS {
            for every in EVERY {
                let mut several: Vec<f64> = (0..ROUNDS).map(|_| together(&events, k, trainers, every)).collect();
                let several = median(&mut several);
                println!("{k:>3} {trainers:>8} {every:>12} {several:>12.0} {:>8.2}", several / one);
            }
        }
    }
}

fn median(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn alone(events: &[Observation], k: usize) -> f64 {
    let mut learner = build(LearnerKind::BiasedMf, &events::biased_mf(k)).unwrap();
    let start = Instant::now();
    for event in events {
        std::hint::black_box(learner.learn(event));
    }
    events.len() as f64 / start.elapsed().as_secs_f64()
}

fn together(events: &[Observation], k: usize, trainers: usize, every: usize) -> f64 {
    let shares: Vec<Vec<Observation>> = (0..trainers)
        .map(|shard| events.iter().filter(|event| event.user as usize % trainers == shard).copied().collect())
        .collect();
    let (senders, receivers): (Vec<Sender<Told>>, Vec<Receiver<Told>>) = (0..trainers).map(|_| channel()).unzip();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for ((shard, own), heard) in shares.iter().enumerate().zip(receivers) {
            let senders = senders.clone();
            scope.spawn(move || {
                let config = events::biased_mf(k);
                let mut trainer = Trainer::new(LearnerKind::BiasedMf, &config, shard, trainers).unwrap().unwrap();
                for part in own.chunks(every) {
                    for event in part {
                        std::hint::black_box(trainer.learn(event));
                    }
                    let told = trainer.tell();
                    for (_, other) in senders.iter().enumerate().filter(|(other, _)| *other != shard) {
                        // One that has learned all of its own hears no more.
                        let _ = other.send(told.clone());
                    }
                    while let Ok((told, items)) = heard.try_recv() {
                        trainer.hear(&told, &items);
                    }
                }
            });
        }
    });
    events.len() as f64 / start.elapsed().as_secs_f64()
}

/// Users are drawn by Zipf's law with the exponent 0.6, items with 1.
fn zipf() -> Vec<Observation> {
    let mut random = Pcg64::seed_from_u64(0);
    let (user_law, item_law) = (cumulated(USERS, 0.6), cumulated(ITEMS, 1.0));
    let event = |_| {
        let mut draw = |law: &[f64]| {
            let ticket = random.random::<f64>() * law.last().unwrap();
            law.partition_point(|sum| *sum <= ticket).min(law.len() - 1) as u32
        };
        let (user, item) = (draw(&user_law), draw(&item_law));
        let target = 1.0 + (random.random::<f32>() * 5.0).floor().min(4.0);
        Observation { user, item, target, positive: target >= 4.0, count: 1.0, ts: None, about: None }
    };
    (0..EVENTS).map(event).collect()
}

fn cumulated(n: usize, exponent: f64) -> Vec<f64> {
    let weights = (1..=n).map(|rank| (rank as f64).powf(-exponent));
    weights
        .scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        })
        .collect()
}
