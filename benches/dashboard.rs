//! The demo with nobody looking, beside the demo with ten pages open: what the dashboard costs the engine.
//!
//! A page is a connection to `GET /live` that reads everything it is told, as a browser does; what a browser does with
//! that is its own machine's affair. Both run in turns, so that drift hits both alike; whole processes, embedded log and store,
//! the default learners. Expected: with ten pages at least 0.95 of the events a second.
//!
//! `cargo bench --bench dashboard`

#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to report")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use comfy_table::Table;

/// The first warms the machine up and is not counted.
const ROUNDS: usize = 6;

/// Pages that are open.
const PAGES: [usize; 2] = [0, 10];

fn main() {
    // `cargo test --benches` only wants to see it start.
    if std::env::args().any(|arg| arg == "--bench") {
        measure();
    }
}

fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let mut rates = PAGES.map(|_| Vec::new());
    for round in 0..ROUNDS {
        for (pages, rates) in PAGES.iter().zip(&mut rates) {
            let (rate, read) = demo(folder.path(), *pages);
            eprintln!(
                "round {round}: {pages:>2} pages open, {rate:.0} events/s, {} KiB read by the pages",
                read / 1024
            );
            rates.push(rate);
        }
    }
    let mut table = Table::new();
    table.set_header(["pages open", "events/s", "of none"]);
    let medians = rates.map(|mut rates| {
        rates.remove(0);
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    for (pages, median) in PAGES.iter().zip(medians) {
        table.add_row([pages.to_string(), format!("{median:.0}"), format!("{:.3}", median / medians[0])]);
    }
    println!("{table}");
}

/// Runs the demo to its end: events a second, and bytes that the pages read.
fn demo(folder: &Path, pages: usize) -> (f64, u64) {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_freshet"))
        .args(["--log", "error", "--set", &format!("store.data_dir={}", folder.display())])
        .args(["demo", "sample", "--fresh", "--exit", "--port", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let url = lines.find_map(|line| Some(line.split_once("http://")?.1.trim_end_matches('/').to_owned())).unwrap();
    let read = Arc::new(AtomicU64::new(0));
    for _ in 0..pages {
        let (url, read) = (url.clone(), Arc::clone(&read));
        thread::spawn(move || page(&url, &read));
    }
    let rate = lines.find(|line| line.contains("learned and durable")).unwrap();
    let digits: String = rate.chars().filter(char::is_ascii_digit).collect();
    lines.for_each(drop);
    assert!(demo.wait().unwrap().success());
    (digits.parse().unwrap(), read.load(Ordering::Relaxed))
}

/// Reads what a page is told until the demo ends.
fn page(address: &str, read: &AtomicU64) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream.write_all(format!("GET /live HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut buffer = vec![0; 1 << 16];
    while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
        read.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
