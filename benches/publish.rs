//! What publishing a batch costs as the model grows: it must cost what has changed, and not the size of the model.
//!
//! Two engines of each size learn the same batches of 100 events of users and items drawn evenly, 64 factors, and note who
//! has seen what; one of them publishes after each batch and the other never does. Publishing costs the difference: the
//! copies that the first write to a block after a publish makes, and the publish itself, which is shown apart. The old view
//! is let go in between, as a reader's is. All four take their turns in every round, so that drift hits all alike.
//!
//! `cargo bench --bench publish`

#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to report")]

mod events;

use std::time::{Duration, Instant};

use freshet::gather::MicroBatch;
use freshet::learn::Recommender;
use freshet::publish::{Published, Publisher, Version, View};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// Users, and as many items.
const SIZES: [usize; 3] = [1_000, 30_000, 1_000_000];

/// Events of a batch.
const EVENTS: usize = 100;

/// Batches that are timed, after a tenth as many that are not.
const ROUNDS: usize = 600;

const FACTORS: usize = 64;

fn main() {
    let mut engines: Vec<(Engine, Engine)> =
        SIZES.iter().map(|size| (Engine::new(*size), Engine::new(*size))).collect();
    let mut times: Vec<Times> = SIZES.iter().map(|_| Times::default()).collect();
    for round in 0..ROUNDS + ROUNDS / 10 {
        for ((quiet, publishing), times) in engines.iter_mut().zip(&mut times) {
            let batch = quiet.next_batch();
            let alone = quiet.learn(&batch);
            let learning = publishing.learn(&batch);
            let publish = publishing.publish(&batch);
            if round >= ROUNDS / 10 {
                times.alone.push(alone);
                times.whole.push(learning + publish);
                times.publish.push(publish);
            }
        }
    }
    println!(
        "{:>20} {:>14} {:>14} {:>14} {:>18} {:>8}",
        "users, items", "learn alone", "with publish", "publishing", "of it the swap", "ratio"
    );
    let costs: Vec<f64> = times.iter().map(|times| median(&times.whole) - median(&times.alone)).collect();
    for ((size, times), cost) in SIZES.iter().zip(&times).zip(&costs) {
        let [alone, whole, publish] = [&times.alone, &times.whole, &times.publish].map(|all| median(all));
        let ratio = cost / costs[0];
        println!("{size:>20} {alone:>11.1} µs {whole:>11.1} µs {cost:>11.1} µs {publish:>15.1} µs {ratio:>8.2}");
    }
    println!("medians over {ROUNDS} batches of {EVENTS} events, {FACTORS} factors");
}

#[derive(Default)]
struct Times {
    alone: Vec<Duration>,
    whole: Vec<Duration>,
    publish: Vec<Duration>,
}

fn median(times: &[Duration]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2].as_secs_f64() * 1e6
}

/// What learns and publishes in the engine, after each user and each item has had an event.
struct Engine {
    size: usize,
    recommender: Recommender,
    publisher: Publisher,
    random: Pcg64,
    seq: u64,
    number: u64,
}

impl Engine {
    fn new(size: usize) -> Self {
        let config = events::biased_mf(FACTORS);
        let recommender = Recommender::new(&config).unwrap();
        let publisher = Publisher::new(Published::default(), View::default());
        let mut engine = Self { size, recommender, publisher, random: Pcg64::seed_from_u64(1), seq: 1, number: 1 };
        let each: Vec<usize> = (0..size).collect();
        for rows in each.chunks(10_000) {
            let batch = engine.batch(rows.iter().map(|row| (*row, *row)).collect());
            engine.learn(&batch);
        }
        engine
    }

    fn next_batch(&mut self) -> MicroBatch {
        let (size, random) = (self.size, &mut self.random);
        let pairs = (0..EVENTS).map(|_| (random.random_range(0..size), random.random_range(0..size))).collect();
        self.batch(pairs)
    }

    fn batch(&mut self, pairs: Vec<(usize, usize)>) -> MicroBatch {
        let stars = |user: usize, item: usize| (user.wrapping_mul(item) % 5 + 1) as f32;
        let event = |(user, item)| events::rating(format!("u{user}"), format!("i{item}"), stars(user, item));
        let events: Vec<_> = pairs.into_iter().map(event).collect();
        let (first_seq, number) = (self.seq, self.number);
        (self.seq, self.number) = (first_seq + events.len() as u64, number + 1);
        MicroBatch { number, first_seq, events, ..MicroBatch::default() }
    }

    fn learn(&mut self, batch: &MicroBatch) -> Duration {
        let start = Instant::now();
        let outcomes = self.recommender.learn(batch).unwrap();
        self.publisher.observe(&outcomes);
        start.elapsed()
    }

    fn publish(&mut self, batch: &MicroBatch) -> Duration {
        let start = Instant::now();
        drop(self.publisher.publish(self.recommender.publish(), Version::after(batch, 0)));
        start.elapsed()
    }
}
