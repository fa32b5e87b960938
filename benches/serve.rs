//! HTTP on the model of MovieLens 100K: requests a second beside a bare axum route, latency at half of that load, how
//! fresh an answer is, and what learning costs the readers.
//!
//! The server is the program itself in a process of its own, learned from all of the data set; the limit is an axum route
//! that returns a constant JSON of the same size, in a process of its own too. The load generator shares the machine with
//! both. Each round measures each once, so that drift hits all alike; that is why Criterion does not run this one.
//!
//! `make bench ARGS="--bench serve"` (it installs the servers; Kafka is for the freshness)

#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to report")]

mod events;
mod load;
#[path = "../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what only tests need")]
mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use comfy_table::Table;
use freshet::config::{BrokerKind, Config, StoreKind};
use hdrhistogram::Histogram;
use load::Connection;
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// Rounds of which the medians are told.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
/// Clients of a closed loop.
const CLIENTS: usize = 16;
/// Connections of an open loop.
const CONNECTIONS: u32 = 64;
/// Seconds of the freshness.
const FRESH_SECONDS: u32 = 4;

/// Set for the process that is the bare route: its answer.
const BARE: &str = "FRESHET_BENCH_BARE_ROUTE";

#[tokio::main]
async fn main() {
    if let Ok(answer) = std::env::var(BARE) {
        return bare(answer).await;
    }
    // `cargo test --benches` only wants to see it start.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let wanted = |part: &str| only.as_deref().is_none_or(|only| part.contains(only));
    if wanted("throughput") {
        throughput().await;
    }
    if wanted("freshness") {
        freshness().await;
    }
    if wanted("learning") {
        while_learning().await;
    }
}

/// An axum route that returns a constant.
async fn bare(answer: String) {
    let route = get(move || async move { ([(header::CONTENT_TYPE, "application/json")], answer) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("serving on http://{}", listener.local_addr().unwrap());
    axum::serve(listener, Router::new().route("/recommend/{user}", route)).await.unwrap();
}

/// A server in a process of its own, which ends with this one's interest in it.
struct Server {
    process: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Server {
    fn start(command: &mut Command, dir: tempfile::TempDir) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (told, address) = std::sync::mpsc::channel();
        // Read to the end, so that the program never waits for its reader.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let address = line.split("http://").nth(1).and_then(|rest| rest.split(['/', ',', ' ']).next());
                if let Some(address) = address.and_then(|address| address.parse().ok()) {
                    let _ = told.send(address);
                }
            }
        });
        let address = address.recv_timeout(Duration::from_mins(1)).unwrap();
        Self { process, address, _dir: dir }
    }

    fn bare(answer: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        Self::start(command.env(BARE, answer), tempfile::tempdir().unwrap())
    }

    /// The program, with these settings.
    fn freshet(subcommand: &str, settings: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_freshet"));
        command.args([subcommand, "--port", "0", "--set", &format!("store.data_dir={}", dir.path().display())]);
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
        if std::env::var_os("FRESHET_DATA").is_none() && beside.exists() {
            command.env("FRESHET_DATA", beside);
        }
        for setting in settings {
            command.args(["--set", setting]);
        }
        Self::start(command.stderr(Stdio::null()), dir)
    }

    /// Waits until the model has learned `seq` events.
    async fn until(&self, seq: u64) {
        let mut connection = Connection::open(self.address).await.unwrap();
        loop {
            let answer = connection.ask(&load::get("/model")).await.unwrap();
            let model: Value = serde_json::from_slice(&answer.body).unwrap();
            if model["seq"].as_u64() >= Some(seq) && model["durable_seq"].as_u64() >= Some(seq) {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A request of a number.
type Request = fn(u64) -> Vec<u8>;

/// A known user, another one for each number.
fn recommend(number: u64) -> Vec<u8> {
    load::get(&format!("/recommend/{}", 1 + number % 943))
}

/// The same, asked so that no answer can be one that was kept.
fn recommend_anew(number: u64) -> Vec<u8> {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let once = ASKED.fetch_add(1, Ordering::Relaxed);
    load::get(&format!("/recommend/{}?exclude=none{once}", 1 + number % 943))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn throughput() {
    let server = Server::freshet("demo", &[]);
    let rows = events::rows().len() as u64;
    server.until(rows).await;
    let mut connection = Connection::open(server.address).await.unwrap();
    let answer = connection.ask(&recommend(195)).await.unwrap();
    let bare = Server::bare(&String::from_utf8(answer.body).unwrap());
    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        rates[0].push(load::closed(bare.address, CLIENTS, ROUND, recommend).await);
        rates[1].push(load::closed(server.address, CLIENTS, ROUND, recommend).await);
        rates[2].push(load::closed(server.address, CLIENTS, ROUND, recommend_anew).await);
    }
    let [limit, kept, anew] = rates.map(median);
    let mut table = Table::new();
    table.set_header(["", "requests/s", "of the bare route", "p50 at half of that", "p99", "p99.9"]);
    let asks: [(&str, SocketAddr, f64, Request); 3] = [
        ("a bare axum route, constant JSON of the same size", bare.address, limit, recommend),
        ("/recommend/{user}, any of 943 users", server.address, kept, recommend),
        ("the same, every answer made anew", server.address, anew, recommend_anew),
    ];
    for (name, address, rate, request) in asks {
        let took = load::open(address, CONNECTIONS, rate / 2.0, 2 * ROUND, request).await;
        let cells = [name.to_owned(), format!("{rate:.0}"), format!("{:.2}", rate / limit)];
        table.add_row(cells.into_iter().chain([0.5, 0.99, 0.999].map(|at| milliseconds(&took, at))));
    }
    println!("{table}");
}

fn milliseconds(took: &Histogram<u64>, quantile: f64) -> String {
    format!("{:.2} ms", took.value_at_quantile(quantile) as f64 / 1000.0)
}

/// From `POST /events` to an answer that has learned it, at a fixed rate of events.
async fn freshness() {
    let mut table = Table::new();
    table.set_header(["", "events/s", "gather.size", "acknowledged p50", "p99", "in the answer p50", "p99"]);
    // Broker, database, engine and clients share two cores: at 1,000 events a second there are not enough of them.
    for (name, settings, rate) in [("embedded", Vec::new(), 1000), ("Kafka, MongoDB", on_servers(), 200)] {
        for size in [1, 256] {
            let mut settings = settings.clone();
            settings.push(format!("gather.size={size}"));
            if let Some(group) = settings.iter_mut().find(|setting| setting.starts_with("store.database=")) {
                *group = format!("store.database={}", support::unique("fresh"));
            }
            let server = Server::freshet("run", &settings);
            // Users and items are known by then, as they are on a server that has been up for a while.
            let rows: Vec<String> =
                events::rows()[..5000].iter().map(|row| String::from_utf8(row.to_json()).unwrap()).collect();
            let mut connection = Connection::open(server.address).await.unwrap();
            let answer = connection.ask(&load::post("/events", &format!("[{}]", rows.join(",")))).await.unwrap();
            assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
            server.until(5000).await;
            let (acknowledged, learned) = fresh(server.address, rate).await;
            table.add_row([
                name.to_owned(),
                rate.to_string(),
                size.to_string(),
                milliseconds(&acknowledged, 0.5),
                milliseconds(&acknowledged, 0.99),
                milliseconds(&learned, 0.5),
                milliseconds(&learned, 0.99),
            ]);
        }
    }
    println!("{table}");
}

fn on_servers() -> Vec<String> {
    let mut config = Config::default();
    config.broker.kind = BrokerKind::Kafka;
    config.store.kind = StoreKind::Mongodb;
    vec![
        "broker.kind=kafka".into(),
        format!("broker.servers={}", support::kafka()),
        format!("broker.topic={}", support::topic("fresh", 1)),
        "store.kind=mongodb".into(),
        format!("store.uri={}", support::mongodb()),
        "store.database=set-for-each".into(),
    ]
}

/// Times in microseconds from when an event was due to its acknowledgement, and to the user's list that has learned it.
async fn fresh(address: SocketAddr, rate: u32) -> (Histogram<u64>, Histogram<u64>) {
    let clients = 64_u32;
    let start = Instant::now() + Duration::from_millis(50);
    let mut asking = tokio::task::JoinSet::new();
    for client in 0..clients {
        asking.spawn(async move {
            let mut connection = Connection::open(address).await.unwrap();
            let mut took = Vec::new();
            for number in (client..FRESH_SECONDS * rate).step_by(clients as usize) {
                let due = start + Duration::from_secs(1) * number / rate;
                tokio::time::sleep_until(due).await;
                let (user, item) = (1 + number % 900, 1 + number * 31 % 1000);
                let event = format!(r#"{{"user":"{user}","item":"{item}","rating":5}}"#);
                let answer = connection.ask(&load::post("/events", &event)).await.unwrap();
                assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
                let acknowledged = due.elapsed();
                let body: Value = serde_json::from_slice(&answer.body).unwrap();
                let token = body["token"].as_str().unwrap();
                let list = load::get(&format!("/recommend/{user}?token={token}"));
                let answer = connection.ask(&list).await.unwrap();
                assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
                took.push((acknowledged, due.elapsed()));
            }
            took
        });
    }
    let mut histograms = (Histogram::new(3).unwrap(), Histogram::new(3).unwrap());
    for (acknowledged, learned) in asking.join_all().await.into_iter().flatten() {
        histograms.0.record(acknowledged.as_micros() as u64).unwrap();
        histograms.1.record(learned.as_micros() as u64).unwrap();
    }
    histograms
}

/// Latency of reads at a fixed rate while nothing is learned, and while the engine learns as fast as it can.
async fn while_learning() {
    let server = Server::freshet("run", &[]);
    let rows: Vec<String> = events::rows().iter().map(|row| String::from_utf8(row.to_json()).unwrap()).collect();
    let mut connection = Connection::open(server.address).await.unwrap();
    let mut sent = 0;
    let mut table = Table::new();
    table.set_header(["reads at 200/s", "events learned/s", "p50", "p99"]);
    let mut quiet_p99 = Vec::new();
    let mut busy_p99 = Vec::new();
    for chunk in rows.chunks(20_000) {
        for events in chunk.chunks(5000) {
            let answer = connection.ask(&load::post("/events", &format!("[{}]", events.join(",")))).await.unwrap();
            assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
            sent += events.len() as u64;
        }
        let before = learned(&mut connection).await;
        let time = Duration::from_secs_f64((sent - before) as f64 / 20_000.0);
        let start = Instant::now();
        let busy = load::open(server.address, 16, 200.0, time, recommend_anew).await;
        let rate = (learned(&mut connection).await - before) as f64 / start.elapsed().as_secs_f64();
        server.until(sent).await;
        let quiet = load::open(server.address, 16, 200.0, Duration::from_secs(3), recommend_anew).await;
        for (name, took, rate) in [("while it learns", &busy, rate), ("while nothing comes", &quiet, 0.0)] {
            let cells = [name.to_owned(), format!("{rate:.0}"), milliseconds(took, 0.5), milliseconds(took, 0.99)];
            table.add_row(cells);
        }
        busy_p99.push(busy.value_at_quantile(0.99) as f64);
        quiet_p99.push(quiet.value_at_quantile(0.99) as f64);
    }
    println!("{table}\nratio of the medians of the p99: {:.2}", median(busy_p99) / median(quiet_p99));
}

async fn learned(connection: &mut Connection) -> u64 {
    let answer = connection.ask(&load::get("/model")).await.unwrap();
    let model: Value = serde_json::from_slice(&answer.body).unwrap();
    model["seq"].as_u64().unwrap()
}
