//! The exact best ten of many items, on one core, one user at a time: beside faiss' flat index, numpy, and the memory.
//!
//! Each size is measured on random factors, all of one length, and on learned ones, of a stream in which few items have most
//! of the events. `recommend` is the whole answer of a view: it leaves out what the user has seen and what nobody liked, and
//! its items are checked against a full sort, bit for bit. faiss and numpy are asked for the ten largest inner products of
//! the same rows and users, without leaving anything out. All take their turns in every round. `bandwidth` is what a query
//! would take at least if it read all factors in single precision, at the speed that this core reads memory.
//!
//! With `approximate=EF` the graph of `serve.search = "approximate"` takes its turns too: its queries a second, how many
//! of the ten best it finds, how long it takes to make and how much memory. That takes minutes to an hour where items are many.
//!
//! faiss and numpy are installed by `make peers`; without them our figures stand alone.
//!
//! `cargo bench --bench search`, or with sizes: `cargo bench --bench search -- 20000x64 approximate=128`, `-- 200000x64=learned`

#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to report")]

mod events;

use std::hint::black_box;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use freshet::config::SearchKind;
use freshet::gather::MicroBatch;
use freshet::learn::Recommender;
use freshet::publish::Scored;
use freshet::publish::{Published, Publisher, Query, Readers, Search, Version, View, top_n};
use freshet::serve::resident_bytes;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

/// Items and factors.
const SIZES: [(usize, usize); 4] = [(20_000, 64), (200_000, 64), (1_000_000, 50), (1_000_000, 250)];

/// Users who ask in turn.
const USERS: usize = 100;

/// Best items that are asked for.
const N: usize = 10;

/// How often everybody takes a turn.
const ROUNDS: usize = 5;

/// Floats read to find out how fast memory is: far more than caches hold.
const READ: usize = 1 << 27;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let breadth = wanted.iter().find_map(|word| word.strip_prefix("approximate=")).map(|ef| ef.parse().unwrap());
    let wanted: Vec<String> = wanted.into_iter().filter(|word| !word.starts_with("approximate=")).collect();
    let bandwidth = bandwidth();
    println!("this core reads memory at {:.1} GB/s", bandwidth / 1e9);
    println!(
        "{:>16} {:>8} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "items x factors", "kind", "recommend/s", "faiss/s", "numpy/s", "bandwidth/s", "of faiss", "index MiB"
    );
    for (items, factors) in SIZES {
        for kind in ["random", "learned"] {
            let (size, of) = (format!("{items}x{factors}"), format!("{items}x{factors}={kind}"));
            if wanted.is_empty() || wanted.contains(&size) || wanted.contains(&of) {
                compare(items, factors, kind, bandwidth, breadth);
            }
        }
    }
}

/// Bytes a second.
fn bandwidth() -> f64 {
    let floats: Vec<f32> = (0..READ).map(|n| n as f32).collect();
    let read = || {
        let start = Instant::now();
        let mut sums = [0.0_f32; 64];
        for values in floats.as_chunks::<64>().0 {
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        black_box(sums);
        (READ * size_of::<f32>()) as f64 / start.elapsed().as_secs_f64()
    };
    median((0..ROUNDS).map(|_| read()).collect())
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn compare(items: usize, factors: usize, kind: &str, bandwidth: f64, breadth: Option<usize>) {
    let view = if kind == "random" { random(items, factors) } else { learned(items, factors) };
    let users: Vec<String> = (0..USERS).map(|user| format!("u{user}")).collect();
    view.prepare_search();
    for user in &users {
        check(&view, user);
    }
    let file = write(&view, &users);
    let mut peers: Vec<Option<Peer>> = ["faiss", "numpy"].map(|name| Peer::start(name, &file, factors + 1)).into();
    let queries = if items * factors > 2_000_000 { USERS } else { USERS * 20 };
    let near = breadth.map(|breadth| Near::of(&view, breadth));
    let (mut ours, mut nearly, mut theirs) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    for _ in 0..ROUNDS {
        ours.push(rate(&view, &users, queries));
        nearly.extend(near.as_ref().map(|near| rate(&near.view, &users, queries)));
        for (peer, rates) in peers.iter_mut().zip(&mut theirs) {
            rates.extend(peer.as_mut().map(|peer| peer.rate(queries)));
        }
    }
    drop(peers);
    std::fs::remove_file(file).unwrap();
    let ours = median(ours);
    let [faiss, numpy] = theirs.map(|rates| if rates.is_empty() { f64::NAN } else { median(rates) });
    let limit = bandwidth / (items * factors * size_of::<f32>()) as f64;
    let (size, mib) = (format!("{items} x {factors}"), view.search_bytes() as f64 / f64::from(1 << 20));
    let ratio = ours / faiss;
    println!("{size:>16} {kind:>8} {ours:>12.0} {faiss:>12.0} {numpy:>12.0} {limit:>12.0} {ratio:>12.2} {mib:>12.1}");
    if let Some(near) = near {
        near.tell(median(nearly), ours, &view, &users);
    }
}

/// Queries a second.
fn rate(view: &View, users: &[String], queries: usize) -> f64 {
    let start = Instant::now();
    for user in users.iter().cycle().take(queries) {
        black_box(view.recommend(user, &Query::top(N)));
    }
    queries as f64 / start.elapsed().as_secs_f64()
}

/// A view that is searched by the graph.
struct Near {
    view: Arc<View>,
    breadth: usize,
    seconds: f64,
    mib: f64,
}

impl Near {
    fn of(view: &View, breadth: usize) -> Self {
        let mut config = freshet::config::Config::default().serve;
        (config.search, config.search_ef) = (SearchKind::Approximate, breadth);
        let view = Readers::searching(Search::new(&config)).store(view.clone());
        let (start, before) = (Instant::now(), resident_bytes().unwrap());
        view.prepare_search();
        let grown = resident_bytes().unwrap().saturating_sub(before) as f64 / f64::from(1 << 20);
        let mib = grown - view.search_bytes() as f64 / f64::from(1 << 20);
        Self { view, breadth, seconds: start.elapsed().as_secs_f64(), mib }
    }

    fn tell(&self, rate: f64, exact_rate: f64, exact: &View, users: &[String]) {
        let Self { breadth, seconds, mib, .. } = self;
        let (mut found, mut approximate) = (0, 0);
        for user in users {
            let (list, best) = [&*self.view, exact].map(|view| view.recommend(user, &Query::top(N))).into();
            approximate += usize::from(list.approximate);
            found += best.items.iter().filter(|one| list.items.iter().any(|other| other.item == one.item)).count();
        }
        let recall = found as f64 / (users.len() * N) as f64;
        let times = rate / exact_rate;
        println!(
            "   approximate, ef {breadth}: {rate:.0}/s, {times:.2} times the exact; recall@{N} {recall:.3}; \
             {approximate} of {} lists approximate; made in {seconds:.1} s; {mib:.0} MiB",
            users.len()
        );
    }
}

/// The list is that of a full sort, bit for bit.
fn check(view: &View, id: &str) {
    let user = view.learned().users.get(id).unwrap();
    let (scores, seen) = (view.scores(user), view.history().seen(user).unwrap());
    let may_be_shown = |item: u32| view.history().liked(item) > 0 && !seen.contains(item);
    let all = (0..).zip(scores).map(|(item, score)| Scored { item, score });
    let sorted = top_n(all.filter(|one| may_be_shown(one.item)), N);
    let bits = |list: &[Scored]| list.iter().map(|one| (one.item, one.score.to_bits())).collect::<Vec<_>>();
    let found = view.recommend(id, &Query::top(N));
    assert!(!found.cold);
    assert_eq!(bits(&found.items), bits(&sorted), "user {id}");
}

/// Factors that are drawn from a normal distribution, and next to not moved.
fn random(items: usize, factors: usize) -> Arc<View> {
    let mut config = events::biased_mf(factors);
    let own = &mut config.biased_mf;
    (own.init_scale, own.factor_rate, own.bias_rate) = (1.0, 1e-9, 1e-9);
    let each = (0..items).map(|item| (item % USERS.min(items), item, 5.0));
    // So many of each user's as of many a person's: the rest is of somebody else.
    let owned = each.map(|(user, item, rating)| (if item < USERS * 100 { user } else { USERS }, item, rating));
    learn(&config, owned)
}

/// Factors learned of ratings that have some to be found; half of the events go to a hundredth of the items.
fn learned(items: usize, factors: usize) -> Arc<View> {
    const TRUE_FACTORS: usize = 8;
    let mut random = Pcg64::seed_from_u64(1);
    let mut normal =
        |scale: f32| -> f32 { <StandardNormal as Distribution<f32>>::sample(&StandardNormal, &mut random) * scale };
    let n_users = (items / 20).max(USERS);
    let mut rows = |n: usize| -> Vec<[f32; TRUE_FACTORS + 1]> {
        (0..n).map(|_| std::array::from_fn(|factor| normal(if factor == TRUE_FACTORS { 0.4 } else { 0.5 }))).collect()
    };
    let (of_users, of_items) = (rows(n_users), rows(items));
    let mut random = Pcg64::seed_from_u64(2);
    let n_events = 5 * items + USERS * 100;
    let stream = (0..n_events).map(move |n| {
        let at: f64 = random.random();
        // The events of those who ask are spread over the stream.
        let user = if n % (n_events / (USERS * 100)) == 0 { n % USERS } else { random.random_range(USERS..n_users) };
        let item = (at.powf(6.6) * items as f64) as usize;
        let (p, q) = (&of_users[user], &of_items[item]);
        let product: f32 = p.iter().zip(q).take(TRUE_FACTORS).map(|(p, q)| p * q).sum();
        let noise = <StandardNormal as Distribution<f32>>::sample(&StandardNormal, &mut random) * 0.5;
        let rating = (3.6 + p[TRUE_FACTORS] + q[TRUE_FACTORS] + product + noise).clamp(1.0, 5.0);
        (user, item, rating)
    });
    // Each item has an event that speaks for it: a catalogue of which nothing can be left out.
    learn(&events::biased_mf(factors), (0..items).map(|item| (USERS, item, 4.0)).chain(stream))
}

fn learn(config: &freshet::config::Config, rows: impl Iterator<Item = (usize, usize, f32)>) -> Arc<View> {
    let mut recommender = Recommender::new(config).unwrap();
    let mut publisher = Publisher::new(Published::default(), View::default());
    let event = |(user, item, rating)| events::rating(format!("u{user}"), format!("i{item}"), rating);
    let (mut first_seq, mut rows) = (1, rows.map(event));
    for number in 1.. {
        let batch =
            MicroBatch { number, first_seq, events: rows.by_ref().take(10_000).collect(), ..MicroBatch::default() };
        if batch.events.is_empty() {
            break;
        }
        first_seq += batch.events.len() as u64;
        publisher.observe(&recommender.learn(&batch).unwrap());
    }
    publisher.publish(recommender.publish(), Version::default())
}

/// The rows of all items, then those of the users: factors and bias, with a 1 for it.
fn write(view: &View, users: &[String]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("search-{}.f32", std::process::id()));
    let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
    let mut row = |values: &[f32], last: f32| {
        let bytes: Vec<u8> = values.iter().chain([&last]).flat_map(|value| value.to_le_bytes()).collect();
        file.write_all(&bytes).unwrap();
    };
    let model = view.learned().ranking();
    let asked = |id: &String| model.inner_products(view.learned().users.get(id).unwrap()).unwrap();
    let items = asked(&users[0]).items;
    for values in items.rows() {
        let (bias, factors) = values.split_last().unwrap();
        row(factors, *bias);
    }
    for user in users {
        row(asked(user).user, 1.0);
    }
    file.flush().unwrap();
    path
}

/// A peer in a process of its own, which is asked for one turn at a time.
struct Peer {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn start(name: &str, file: &Path, width: usize) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let libraries = Some(events::servers().join("search")).filter(|folder| folder.is_dir())?;
        let mut command = Command::new("python3");
        command
            .env("PYTHONPATH", libraries)
            .arg(root.join("benches/peers/search_rate.py"))
            .arg(name)
            .arg(file)
            .args([width, USERS, N].map(|number| number.to_string()));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let answers = BufReader::new(process.stdout.take().unwrap());
        Some(Self { process, answers })
    }

    /// Queries a second.
    fn rate(&mut self, queries: usize) -> f64 {
        writeln!(self.process.stdin.as_mut().unwrap(), "{queries}").unwrap();
        let mut seconds = String::new();
        self.answers.read_line(&mut seconds).unwrap();
        queries as f64 / seconds.trim().parse::<f64>().unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}
