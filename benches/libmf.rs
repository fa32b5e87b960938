//! The learner for speed beside LIBMF, on the same events; and the memory that users and items take.
//!
//! Ours predicts and learns each event once, in micro-batches and in the order that they come in, with ids as dense indexes. LIBMF (Chin, Yuan,
//! Pai, Zhuang, Juan, Lin) is a trainer in batches: it has all ratings beforehand, sorts them into blocks whose rows fit
//! into the caches, and predicts nothing; what is counted is one epoch on one thread, built with AVX for this processor. Both
//! are taken in seconds of processor time, because the machine may have other work, and in turn. `make peers` installs LIBMF;
//! without it our figures stand alone.
//!
//! Memory is the growth of what the process holds, each time in a process of its own.
//!
//! `cargo bench --bench libmf`, or `cargo bench --bench libmf -- rate` or `-- memory` for one of the two

#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to report")]

mod events;

use std::collections::HashMap;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use freshet::config::{Config, LearnerKind};
use freshet::gather::MicroBatch;
use freshet::learn::{Observation, Recommender, build};
use freshet::publish::{Published, Publisher, Version, View};
use freshet::serve::resident_bytes;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use rustix::time::{ClockId, clock_gettime};

/// Numbers of factors.
const FACTORS: [usize; 3] = [16, 32, 64];

/// How often each is measured, in turn; the median is told.
const ROUNDS: usize = 3;

/// What a ratio must reach.
const BAR: f64 = 0.5;

/// Events of a micro-batch, as `gather.size` has it by default.
const BATCH: usize = 256;

/// Its name, what makes it, and epochs.
type Stream = (&'static str, fn() -> Vec<Rating>, u32);

/// The streams by name, each with the epochs of it that LIBMF is measured over.
const STREAMS: [Stream; 3] = [
    ("ML-100k, 20 times", ml_100k, 4),
    ("10 M, 100,000 users, 20,000 items", || zipf(100_000, 20_000), 2),
    ("10 M, 1,000,000 users, 100,000 items", || zipf(1_000_000, 100_000), 2),
];

/// Events of each user where memory is measured.
const EVENTS_OF_USER: u32 = 10;

/// User, item and rating, as LIBMF has them.
type Rating = (u32, u32, f32);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["child", what, k, users, items] => {
            held(what, k.parse().unwrap(), users.parse().unwrap(), items.parse().unwrap());
        }
        ["rate"] => rates(),
        ["memory"] => memory(),
        _ => {
            rates();
            memory();
        }
    }
}

fn rates() {
    let libmf = libmf();
    if let Err(reason) = &libmf {
        println!("LIBMF is not here, so our figures stand alone: {reason}");
    }
    println!("{:>38} {:>3} {:>12} {:>12} {:>6}", "million a second on one core", "k", "ours", "LIBMF", "ratio");
    for (name, stream, epochs) in STREAMS {
        let ratings = stream();
        let file = write(&ratings);
        for k in FACTORS {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                ours.push(rate(&ratings, k));
                theirs.extend(libmf.as_ref().ok().map(|library| libmf_rate(library, &file, k, epochs)));
            }
            let (ours, theirs) = (median(&mut ours), (!theirs.is_empty()).then(|| median(&mut theirs)));
            let beside = theirs.map_or(String::new(), |theirs| {
                let ratio = ours / theirs;
                let verdict = if ratio < BAR { format!(" BELOW {BAR}") } else { String::new() };
                format!("{:>12.1} {ratio:>6.2}{verdict}", theirs / 1e6)
            });
            println!("{name:>38} {k:>3} {:>12.1} {beside}", ours / 1e6);
        }
        std::fs::remove_file(file).unwrap();
    }
}

fn median(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Events a second that the learner predicts and learns.
fn rate(ratings: &[Rating], k: usize) -> f64 {
    let mut learner = build(LearnerKind::BiasedMf, &events::biased_mf(k)).unwrap();
    let start = processor_seconds();
    for batch in ratings.chunks(BATCH) {
        let events: Vec<Observation> = batch.iter().copied().map(observation).collect();
        black_box(learner.learn_all(&events));
    }
    ratings.len() as f64 / (processor_seconds() - start)
}

fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn ml_100k() -> Vec<Rating> {
    let rows = events::rows();
    let (mut users, mut items) = (Dense::default(), Dense::default());
    let once: Vec<Rating> =
        rows.iter().map(|row| (users.index(&row.user), items.index(&row.item), row.rating.unwrap())).collect();
    once.repeat(20)
}

/// Ten million ratings; users are drawn by Zipf's law with the exponent 0.6, items with 1. Indexes are given in the order
/// of first appearance, as the engine gives them.
fn zipf(n_users: usize, n_items: usize) -> Vec<Rating> {
    let mut random = Pcg64::seed_from_u64(0);
    let (user_law, item_law) = (cumulated(n_users, 0.6), cumulated(n_items, 1.0));
    let (mut users, mut items) = (Dense::default(), Dense::default());
    let rating = |_| {
        let mut draw = |law: &[f64]| {
            let ticket = random.random::<f64>() * law.last().unwrap();
            law.partition_point(|sum| *sum <= ticket).min(law.len() - 1)
        };
        let (user, item) = (draw(&user_law), draw(&item_law));
        let normal: f32 = StandardNormal.sample(&mut random);
        (users.index(&user), items.index(&item), (3.5 + normal).round().clamp(1.0, 5.0))
    };
    (0..10_000_000).map(rating).collect()
}

fn cumulated(n: usize, exponent: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let weight = |rank: usize| {
        sum += (rank as f64).powf(-exponent);
        sum
    };
    (1..=n).map(weight).collect()
}

/// Indexes in the order of first appearance.
struct Dense<T>(HashMap<T, u32>);

impl<T> Default for Dense<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Clone + Eq + std::hash::Hash> Dense<T> {
    fn index(&mut self, id: &T) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(id.clone()).or_insert(next)
    }
}

/// The ratings in a file, for LIBMF.
fn write(ratings: &[Rating]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("freshet-libmf-{}", std::process::id()));
    let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
    for (user, item, rating) in ratings {
        file.write_all(&user.to_le_bytes()).unwrap();
        file.write_all(&item.to_le_bytes()).unwrap();
        file.write_all(&rating.to_le_bytes()).unwrap();
    }
    file.flush().unwrap();
    path
}

/// The library that `make peers` leaves, or why there is none.
fn libmf() -> Result<PathBuf, String> {
    let servers = events::servers();
    let library = servers.join("libmf/libmf.so");
    let why = || std::fs::read_to_string(servers.join("libmf-unavailable")).unwrap_or("run `make peers`".to_owned());
    if library.is_file() { Ok(library) } else { Err(why().trim().to_owned()) }
}

fn libmf_rate(library: &Path, ratings: &Path, k: usize, epochs: u32) -> f64 {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/libmf_rate.py");
    let numbers = [k.to_string(), epochs.to_string()];
    let ran = Command::new("python3").arg(script).args([library, ratings]).args(numbers).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).trim().parse().unwrap()
}

/// Bytes that a user and an item add, told by how much more is held with twice as many of them.
fn memory() {
    println!(
        "\n{:>38} {:>3} {:>14} {:>14}   ({EVENTS_OF_USER} events a user)",
        "memory, bytes", "k", "a user", "an item"
    );
    for k in [32, 64] {
        let rows = (k + 1) * size_of::<f32>();
        println!("{:>38} {k:>3} {rows:>14} {rows:>14}", "the row alone, k factors and a bias");
        told("rows of biased-mf, published", "rows", k, (500_000, 100_000));
        told("rows of biased-mf, all changed since", "changed", k, (500_000, 100_000));
        told("engine with biased-mf, published", "biased-mf", k, (100_000, 100_000));
    }
    told("engine with the default learners", "default", 0, (20_000, 20_000));
}

fn told(name: &str, what: &str, k: usize, (users, items): (u32, u32)) {
    let held = |users, items| child(what, k, users, items) as f64;
    let base = held(users, items);
    let user = (held(2 * users, items) - base) / f64::from(users);
    let item = (held(users, 2 * items) - base) / f64::from(items);
    let k = if k == 0 { "-".to_owned() } else { k.to_string() };
    println!("{name:>38} {k:>3} {user:>14.0} {item:>14.0}   ({users} and {items}, and twice as many)");
}

fn child(what: &str, k: usize, users: u32, items: u32) -> u64 {
    let numbers = [k.to_string(), users.to_string(), items.to_string()];
    let ran = Command::new(std::env::current_exe().unwrap()).args(["child", what]).args(numbers).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).trim().parse().unwrap()
}

/// Learns a stream of so many users and items, and prints by how much the process has grown.
fn held(what: &str, k: usize, users: u32, items: u32) {
    let before = resident_bytes().unwrap();
    // Every user comes in every round; the items of a user are spread over all.
    let stream =
        (0..EVENTS_OF_USER).flat_map(|round| (0..users).map(move |user| (round, user))).map(|(round, user)| {
            let item = (u64::from(user) * 7_919 + u64::from(round) * 104_729) % u64::from(items);
            (user, item as u32, 1.0 + (u64::from(user) + item) as f32 % 5.0)
        });
    let after = match what {
        "rows" => rows_held(stream, k, false),
        "changed" => rows_held(stream, k, true),
        "biased-mf" => engine_held(stream, &events::biased_mf(k)),
        _ => engine_held(stream, &Config::default()),
    };
    println!("{}", after - before);
}

fn rows_held(stream: impl Iterator<Item = Rating> + Clone, k: usize, changed: bool) -> u64 {
    let mut learner = build(LearnerKind::BiasedMf, &events::biased_mf(k)).unwrap();
    stream.clone().for_each(|rating| assert!(learner.learn(&observation(rating)).is_some()));
    let view = learner.publish();
    if changed {
        stream.for_each(|rating| assert!(learner.learn(&observation(rating)).is_some()));
    }
    let held = resident_bytes().unwrap();
    black_box((learner, view));
    held
}

fn observation((user, item, target): Rating) -> Observation {
    Observation { user, item, target, positive: target >= 4.0, count: 1.0, ts: None, about: None }
}

/// As the engine learns: string ids, micro-batches, each of them published.
fn engine_held(stream: impl Iterator<Item = Rating>, config: &Config) -> u64 {
    let (mut recommender, mut publisher) =
        (Recommender::new(config).unwrap(), Publisher::new(Published::default(), View::default()));
    let mut stream = stream.peekable();
    for number in 1.. {
        if stream.peek().is_none() {
            break;
        }
        let events = stream
            .by_ref()
            .take(BATCH)
            .map(|(user, item, stars)| events::rating(user.to_string(), item.to_string(), stars))
            .collect();
        let first_seq = (number - 1) * BATCH as u64 + 1;
        let batch = MicroBatch { number, first_seq, events, ..MicroBatch::default() };
        let outcomes = recommender.learn(&batch).unwrap();
        publisher.observe(&outcomes);
        publisher.publish(recommender.publish(), Version::after(&batch, 0));
    }
    let held = resident_bytes().unwrap();
    black_box((recommender, publisher));
    held
}
