//! `freshet replay` and `freshet watch` as whole processes, beside librdkafka's own performance tool with the same messages.
//!
//! The tool is built here from the sources that the Kafka client was built from, with the properties that Freshet's own
//! clients have. Every round runs each once, start and connection included, so that drift hits all alike. Expected: 0.6 of
//! the tool's rate or more. The tool sends one constant message, which compresses better than events do.
//!
//! `make bench ARGS="--bench capture"` (it installs the servers)

#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to report")]

#[path = "../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what only tests need")]
mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use comfy_table::Table;
use freshet::capture::sample;

/// Messages of a run.
const MESSAGES: usize = 500_000;
/// The first warms the server up and is not counted.
const ROUNDS: usize = 6;
const RUNS: [&str; 4] = ["freshet replay", "the tool produces", "freshet watch", "the tool consumes"];

fn main() {
    // `cargo test --benches` only wants to see it start.
    if std::env::args().any(|arg| arg == "--bench") {
        measure();
    }
}

fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let tool = build_tool(folder.path());
    let rows = folder.path().join("rows.ndjson");
    let bytes = write_rows(&rows);
    println!("{MESSAGES} messages of {} bytes on average", bytes / MESSAGES);
    let mut times = RUNS.map(|_| Vec::new());
    for round in 0..ROUNDS {
        let topic = support::topic("capture", 1);
        let other = support::topic("tool", 1);
        let size = (bytes / MESSAGES).to_string();
        let commands = [replay(&rows, &topic), produce(&tool, &other, &size), watch(&topic), consume(&tool, &topic)];
        for ((name, mut command), times) in RUNS.iter().zip(commands).zip(&mut times) {
            let seconds = time(&mut command);
            eprintln!("round {round}: {name} {seconds:.3} s");
            times.push(seconds);
        }
    }
    report(times);
}

fn time(command: &mut Command) -> f64 {
    let start = Instant::now();
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    start.elapsed().as_secs_f64()
}

fn report(mut times: [Vec<f64>; RUNS.len()]) {
    let mut table = Table::new();
    table.set_header(["", "messages/s", "of the tool", "median seconds"]);
    for times in &mut times {
        times.remove(0);
        times.sort_by(f64::total_cmp);
    }
    let median = |times: &[f64]| times[times.len() / 2];
    for (at, name) in RUNS.iter().enumerate() {
        let (own, tool) = (median(&times[at]), median(&times[at / 2 * 2 + 1]));
        let spread = format!("{own:.3} ({:.3} to {:.3})", times[at][0], times[at][times[at].len() - 1]);
        table.add_row([
            (*name).to_owned(),
            format!("{:.0}", MESSAGES as f64 / own),
            format!("{:.2}", tool / own),
            spread,
        ]);
    }
    println!("{table}");
}

/// Events as `replay` reads them, of many users and items. Returns their bytes.
fn write_rows(path: &Path) -> usize {
    let mut text = String::new();
    let rows: Vec<_> = sample::sample(sample::SEED, 100_000).rows.map(Result::unwrap).collect();
    for row in rows.iter().cycle().take(MESSAGES) {
        let _ = writeln!(text, "{}", String::from_utf8(row.to_json()).unwrap());
    }
    std::fs::write(path, &text).unwrap();
    text.len() - MESSAGES
}

fn freshet(topic: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freshet"));
    command.args(["--set", "broker.kind=kafka"]);
    command.args(["--set", &format!("broker.servers={}", support::kafka())]);
    command.args(["--set", &format!("broker.topic={topic}"), "--log", "error"]);
    command
}

fn replay(rows: &Path, topic: &str) -> Command {
    let mut command = freshet(topic);
    command.args(["replay", "--no-catalog"]).arg(rows);
    command
}

fn watch(topic: &str) -> Command {
    let mut command = freshet(topic);
    command.args(["watch", topic, "--from", "beginning", "--limit", &MESSAGES.to_string(), "--format", "value"]);
    command
}

fn tool_on(tool: &Path, mode: &str, topic: &str) -> Command {
    let mut command = Command::new(tool);
    command.args([mode, "-t", topic, "-p", "0", "-b", support::kafka(), "-c", &MESSAGES.to_string(), "-q"]);
    command
}

fn produce(tool: &Path, topic: &str, size: &str) -> Command {
    let mut command = tool_on(tool, "-P", topic);
    command.args(["-s", size, "-a", "-1", "-k", "196"]);
    let properties = [
        "enable.idempotence=true",
        "batch.size=1000000",
        "compression.codec=lz4",
        "linger.ms=5",
        "queue.buffering.max.messages=100000",
    ];
    for property in properties {
        command.args(["-X", property]);
    }
    command
}

fn consume(tool: &Path, topic: &str) -> Command {
    let mut command = tool_on(tool, "-C", topic);
    command.args(["-o", "beginning"]);
    command
}

/// Compiles the tool against the libraries of this very build.
fn build_tool(folder: &Path) -> PathBuf {
    let build = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("build");
    let found = |crate_name: &str, inside: &str| {
        let mut folders: Vec<_> = std::fs::read_dir(&build).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        let of_crate = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(crate_name);
        let mut files = folders.into_iter().filter(of_crate).map(|folder| folder.join("out").join(inside));
        files.find(|file| file.exists()).unwrap_or_else(|| panic!("no {inside} of {crate_name} in {}", build.display()))
    };
    let tool = folder.join("rdkafka_performance");
    let source = found("rdkafka-sys-", "examples/rdkafka_performance.c");
    let mut command = Command::new("cc");
    command.args(["-O2", "-w", "-o"]).arg(&tool).arg(source).arg("-I").arg(found("rdkafka-sys-", "src"));
    for (name, library) in [
        ("rdkafka-sys-", "src/librdkafka.a"),
        ("openssl-sys-", "openssl-build/install/lib/libssl.a"),
        ("openssl-sys-", "openssl-build/install/lib/libcrypto.a"),
        ("libz-sys-", "lib/libz.a"),
        ("zstd-sys-", "libzstd.a"),
    ] {
        command.arg(found(name, library));
    }
    let output = command.args(["-lpthread", "-ldl", "-lm"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    tool
}
