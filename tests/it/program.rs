//! The built program as child processes: run to their end, or running until they are stopped, killed or dropped.
//!
//! Apart from `support`, which benches share: only tests start the program.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for anything: far beyond what a busy machine needs, so that only a hang fails by it.
const PATIENCE: Duration = Duration::from_secs(150);

/// Pause between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// An empty folder to run the program in, and settings that each of its commands gets.
#[derive(Debug)]
pub(crate) struct Freshet {
    folder: TempDir,
    settings: Vec<String>,
    variables: Vec<(String, String)>,
}

/// A command that runs. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    line: String,
    child: Child,
    stdout: Captured,
    stderr: Captured,
}

/// A service that has told its address.
#[derive(Debug)]
pub(crate) struct Engine {
    running: Running,
    address: String,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    line: String,
    /// Exit code; none if a signal has ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Freshet {
    /// Settings are `section.key=value`. HTTP goes to a free port.
    pub(crate) fn new<S: AsRef<str>>(settings: &[S]) -> Self {
        let settings = settings.iter().map(|setting| setting.as_ref().to_owned());
        let settings = std::iter::once("serve.port=0".to_owned()).chain(settings).collect();
        Self { folder: tempfile::tempdir().unwrap(), settings, variables: Vec::new() }
    }

    /// Adds a setting, which goes before the same one of earlier.
    pub(crate) fn set(&mut self, setting: &str) {
        self.settings.push(setting.to_owned());
    }

    /// Sets an environment variable for each command.
    pub(crate) fn variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// A path inside the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// The program with arguments, in the folder, without the settings of whoever runs the tests.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_freshet"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FRESHET_") {
                command.env_remove(name);
            }
        }
        command.env_remove("RUST_LOG").current_dir(self.folder.path()).args(arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(self.settings.iter().flat_map(|setting| ["--set", setting]));
        command
    }

    /// Starts a command and does not wait for it.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments).stdin(Stdio::null()), arguments)
    }

    /// Starts a command that reads from a pipe; dropping the pipe's end is the end of its input.
    pub(crate) fn piped(&self, arguments: &[&str]) -> (Running, ChildStdin) {
        let mut running = Running::start(self.command(arguments).stdin(Stdio::piped()), arguments);
        let stdin = running.child.stdin.take().expect("stdin was asked to be a pipe");
        (running, stdin)
    }

    /// Runs a command on this input to its end, whatever that is.
    pub(crate) fn fed(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Ended {
        let (running, mut stdin) = self.piped(arguments);
        let input = input.as_ref();
        thread::scope(|scope| {
            // It may end before it has read everything.
            scope.spawn(move || drop(stdin.write_all(input)));
            running.wait()
        })
    }

    /// Runs a command on this input, closes its stdout after the first line, and returns that line and the end.
    pub(crate) fn cut(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> (String, Ended) {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.as_ref());
        let mut line = String::new();
        let output = thread::scope(|scope| {
            scope.spawn(move || drop(stdin.write_all(input)));
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            child.wait_with_output().unwrap()
        });
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (line, Ended { line: arguments.join(" "), code: output.status.code(), stdout: String::new(), stderr })
    }

    /// Runs a command to its end, whatever that is.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.spawn(arguments).wait()
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        self.run(arguments).succeeded().stdout
    }

    /// Runs a command that must succeed, and returns the bytes that it wrote.
    pub(crate) fn bytes(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Starts the service and waits until it tells its address.
    pub(crate) fn start(&self) -> Engine {
        self.start_with(&[])
    }

    /// The same, with flags.
    pub(crate) fn start_with(&self, flags: &[&str]) -> Engine {
        let mut running = self.spawn(&[&["run"], flags].concat());
        let address = running.until("the address is printed", |running| {
            let printed = running.stdout.text();
            let url = printed.split_once("serving on http").and_then(|(_, rest)| rest.split_once("://"));
            let address = url.and_then(|(_, rest)| rest.split_once(','));
            address.map(|(address, _)| address.to_owned()).ok_or(printed)
        });
        Engine { running, address }
    }

    /// The manifest of the newest snapshot, by `freshet snapshots list`.
    pub(crate) fn newest_snapshot(&self) -> Value {
        let listed = self.must(&["snapshots", "list", "--json", "--limit", "1"]);
        let manifests: Vec<Value> = serde_json::from_str(&listed).unwrap();
        manifests.into_iter().next().expect("a snapshot was taken")
    }

    /// The embedded store, opened beside the program.
    pub(crate) fn store(&self) -> Connection {
        Connection::open(self.path("freshet-data/store.db")).unwrap()
    }

    /// One value of the embedded store.
    pub(crate) fn ask<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        self.store().query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

impl Running {
    fn start(command: &mut Command, arguments: &[&str]) -> Self {
        let line = format!("freshet {}", arguments.join(" "));
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{line}: {error}"));
        let stdout = Captured::new(child.stdout.take().expect("stdout was asked to be a pipe"));
        let stderr = Captured::new(child.stderr.take().expect("stderr was asked to be a pipe"));
        Self { line, child, stdout, stderr }
    }

    /// Waits until the command ends by itself.
    pub(crate) fn wait(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let (stdout, stderr) = (self.stdout.whole(), self.stderr.whole());
                return Ended { line: self.line.clone(), code: status.code(), stdout, stderr };
            }
            assert!(Instant::now() < deadline, "it does not end after {PATIENCE:?}: {}", self.account());
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until so many lines are on stdout.
    pub(crate) fn printed(&mut self, lines: usize) {
        self.until(&format!("{lines} lines are on stdout"), |running| {
            let text = running.stdout.text();
            if text.lines().count() >= lines { Ok(()) } else { Err(text) }
        });
    }

    /// Waits until the command has written this, on either stream.
    pub(crate) fn wrote(&mut self, part: &str) {
        self.until(&format!("it writes {part:?}"), |running| {
            let written = running.stdout.text() + &running.stderr.text();
            if written.contains(part) { Ok(()) } else { Err(written) }
        });
    }

    /// Sends a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "cannot signal {}", self.account());
    }

    /// `kill -9`, and the end.
    pub(crate) fn kill(self) -> Ended {
        self.signal("KILL");
        self.wait()
    }

    /// Waits until all of these are on stderr.
    pub(crate) fn tells(&mut self, parts: &[&str]) {
        self.until(&format!("it tells {parts:?}"), |running| {
            let told = running.stderr.text();
            if parts.iter().all(|part| told.contains(part)) { Ok(()) } else { Err(told) }
        });
    }

    /// Waits until so many lines are on stdout.
    pub(crate) fn prints(&mut self, lines: usize) {
        self.until(&format!("it prints {lines} lines"), |running| {
            let printed = running.stdout.text().lines().count();
            if printed >= lines { Ok(()) } else { Err(format!("{printed} lines")) }
        });
    }

    /// Looks until there is something, while the command runs. What `look` found instead is told if it never comes.
    pub(crate) fn until<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Result<T, String>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let instead = match look(self) {
                Ok(found) => return found,
                Err(instead) => instead,
            };
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended with {status} before {what}; last: {instead}; {}", self.account());
            }
            assert!(Instant::now() < deadline, "not after {PATIENCE:?}: {what}; last: {instead}; {}", self.account());
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The command and what it wrote, for a person.
    fn account(&self) -> String {
        format!("{}\nstdout:\n{}\nstderr:\n{}", self.line, self.stdout.text(), self.stderr.text())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Engine {
    /// Where it listens: `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Status and JSON of an answer.
    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        get(&self.address, path).unwrap_or_else(|error| panic!("{path}: {error}: {}", self.running.account()))
    }

    /// JSON of an answer that must be 200.
    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, answer) = self.get(path);
        assert_eq!(status, 200, "{path}: {answer}: {}", self.running.account());
        answer
    }

    /// Status and JSON of the answer to a request with a body.
    pub(crate) fn send(&self, method: &str, path: &str, kind: &str, body: &str) -> (u16, Value) {
        let request = ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        let request = request.header("content-type", kind).body(body.to_owned()).unwrap();
        let answer = agent().run(request).and_then(read);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}: {}", self.running.account()))
    }

    /// Asks until the answer is as wanted.
    pub(crate) fn wait(&mut self, path: &str, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let address = self.address.clone();
        self.running.until(&format!("{path} says that {what}"), |_| match get(&address, path) {
            Ok((_, answer)) if wanted(&answer) => Ok(answer),
            Ok((status, answer)) => Err(format!("{status} {answer}")),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Waits until every event up to `seq` is learned and durable, and nothing more is on the log.
    pub(crate) fn learned(&mut self, seq: u64) -> Value {
        self.wait("/readyz", &format!("{seq} events are durable"), |ready| {
            ready["ready"] == true && ready["lag"] == 0 && ready["durable_seq"].as_u64() >= Some(seq)
        })
    }

    /// Waits until it learns: events become durable, or none are left.
    pub(crate) fn learns(&mut self) -> Value {
        let mut first = None;
        self.wait("/readyz", "it learns", |ready| {
            if ready["ready"] != true || ready["learning"] != true {
                return false;
            }
            let durable = ready["durable_seq"].as_u64();
            let none_left = ready["lag"] == 0 && ready["partitions"].as_array().is_some_and(|all| !all.is_empty());
            none_left || durable > *first.get_or_insert(durable)
        })
    }

    /// SIGTERM, and the end.
    pub(crate) fn stop(self) -> Ended {
        self.running.signal("TERM");
        self.running.wait()
    }

    /// `kill -9`, and the end.
    pub(crate) fn kill(self) -> Ended {
        self.running.kill()
    }

    /// Sends a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        self.running.signal(name);
    }

    /// Waits for an end that comes by itself.
    pub(crate) fn ended(self) -> Ended {
        self.running.wait()
    }
}

impl Ended {
    /// Fails the test unless the exit code is 0.
    pub(crate) fn succeeded(self) -> Self {
        self.exited(0)
    }

    /// Fails the test unless the exit code is this one.
    pub(crate) fn exited(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Fails the test unless all of these are on stderr.
    pub(crate) fn told(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not on stderr of {self}");
        }
        self
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, exit code {:?}\nstdout:\n{}\nstderr:\n{}", self.line, self.code, self.stdout, self.stderr)
    }
}

/// What a stream has brought so far.
#[derive(Debug)]
struct Captured {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    fn new(stream: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&text);
        let reader = thread::spawn(move || {
            let mut lines = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
                let _ = write!(written.lock().unwrap(), "{}", String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Everything, once the stream is closed.
    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.text()
    }
}

fn get(address: &str, path: &str) -> Result<(u16, Value), ureq::Error> {
    agent().get(format!("http://{address}{path}")).call().and_then(read)
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // A proxy of the machine is not for what listens on it.
        .proxy(None)
        .timeout_global(Some(PATIENCE))
        .build();
    ureq::Agent::new_with_config(config)
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<(u16, Value), ureq::Error> {
    let text = response.body_mut().read_to_string()?;
    let json = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok((response.status().as_u16(), json))
}

/// Folder that holds the original files of ML-100k, where they are on this machine.
pub(crate) fn movielens() -> Option<PathBuf> {
    known_set("ml-100k")
}

/// Folder that holds the files of a known set, where they are on this machine.
pub(crate) fn known_set(name: &str) -> Option<PathBuf> {
    use freshet::capture::{dataset, known::Known};
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let variable = std::env::var_os(dataset::DATA_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let places = [top.join("../shared/data"), top.join(dataset::DOWNLOADS)];
    let places: Vec<PathBuf> = variable.into_iter().chain(places).collect();
    dataset::find(Known::named(name)?, &places).ok().map(|(_, dir)| dir)
}
