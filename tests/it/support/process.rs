//! A server process that dies with the test process, however that dies, and that can be killed and started again.
//!
//! Statics are never dropped and a SIGKILL runs no code, so what ends a server is a pipe: a watching shell reads it and
//! kills the server when the test process, the only one that holds the other end, is gone.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

/// Becomes the server (`exec`), after leaving behind a shell that reads the pipe on stdin: a line says that the server
/// has ended, the end of the pipe that nobody is left to end it; then its data goes too.
const GUARD: &str = r#"
dir=$1; shift
exec 3<&0
(
    read -r ended <&3 || {
        kill -9 $$ 2>/dev/null
        sleep 1
        rm -rf "$dir"
    }
) &
exec "$@" 3<&- </dev/null
"#;

/// Longest that a server may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// Lines of a server's log that an error shows.
const TAIL_LINES: usize = 20;

/// A server's data folder and log, and its process while it runs.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    dir: PathBuf,
    log: PathBuf,
    running: Option<Guarded>,
}

/// A process and the pipe to the shell that watches over it.
#[derive(Debug)]
struct Guarded {
    child: Child,
    pipe: ChildStdin,
}

impl Guarded {
    /// Waits for the process to end, then dismisses the shell; not before, or a death of the test in between leaks it.
    fn wait(mut self) -> std::io::Result<ExitStatus> {
        let status = self.child.wait()?;
        self.pipe.write_all(b"ended\n")?;
        Ok(status)
    }
}

impl Server {
    /// Makes an empty data folder and an empty log; starts nothing.
    pub(crate) fn new(kind: &str) -> Result<Self, String> {
        static STARTED: AtomicUsize = AtomicUsize::new(1);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let servers = super::servers_dir();
        let dir = servers.join("run").join(format!("{kind}-{}-{number}", std::process::id()));
        let log = servers.join("logs").join(format!("{kind}-{number}.log"));
        let prepare = || {
            fs::create_dir_all(&dir)?;
            fs::create_dir_all(servers.join("logs"))?;
            fs::write(&log, "")
        };
        prepare().map_err(|e| format!("cannot prepare {} and {}: {e}", dir.display(), log.display()))?;
        Ok(Self { name: format!("{kind} {number}"), dir, log, running: None })
    }

    /// Data folder, empty at first.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts `program` and waits until `ready` says so, which is asked over and over.
    pub(crate) fn start<S: AsRef<OsStr>>(
        &mut self,
        program: &[S],
        mut ready: impl FnMut() -> Result<(), String>,
    ) -> Result<(), String> {
        self.running = Some(self.spawn(program).map_err(|e| format!("cannot start {}: {e}", self.name))?);
        let deadline = Instant::now() + START_TIMEOUT;
        while let Err(reason) = ready() {
            if let Some(Ok(Some(status))) = self.running.as_mut().map(|running| running.child.try_wait()) {
                return Err(self.failure(&format!("ended at its start with {status}")));
            }
            if Instant::now() > deadline {
                return Err(self.failure(&format!("is not ready after {START_TIMEOUT:?}: {reason}")));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Runs a program that prepares the data folder to its end.
    pub(crate) fn prepare<S: AsRef<OsStr>>(&self, program: &[S]) -> Result<(), String> {
        match self.spawn(program).and_then(Guarded::wait) {
            Ok(status) if status.success() => Ok(()),
            other => Err(self.failure(&format!("could not be prepared: {other:?}"))),
        }
    }

    /// Kills the server as `kill -9` does and waits for its end; its data stays.
    pub(crate) fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.child.kill().and_then(|()| running.wait()).expect("our own child can be killed and waited for");
        }
    }

    /// Stops the server where it is (SIGSTOP), as if its machine had hung.
    pub(crate) fn stop(&self) {
        self.signal("STOP");
    }

    /// Lets a stopped server go on.
    pub(crate) fn cont(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let running = self.running.as_ref().expect("only a server that runs is signalled");
        let sent = Command::new("kill").args(["-s", name, &running.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|sent| sent.success()), "cannot signal {}", self.name);
    }

    fn spawn<S: AsRef<OsStr>>(&self, program: &[S]) -> std::io::Result<Guarded> {
        let log = self.append_log()?;
        let mut child = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&self.dir)
            .args(program)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C goes to the whole foreground group; it shall end the test process, and with it the pipe.
            .process_group(0)
            .spawn()?;
        let pipe = child.stdin.take().expect("stdin was asked to be a pipe");
        Ok(Guarded { child, pipe })
    }

    fn append_log(&self) -> std::io::Result<fs::File> {
        fs::OpenOptions::new().append(true).open(&self.log)
    }

    fn failure(&self, what: &str) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        format!("{} {what}; the end of {}:\n{tail}", self.name, self.log.display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // Only disk space is lost if this fails, and `make clean-servers` gives it back.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A free port below the range that outgoing connections get theirs from, so that it is still free when its server is
/// started again.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    // Test processes that run at the same time begin at different places.
    let offset = (std::process::id() % 1_000 * 12) as u16;
    let candidates = || FIRST + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
    (0..COUNT)
        .map(|_| candidates())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("of twelve thousand ports one is free")
}

/// Runs blocking work on a thread of its own, with a runtime to block on: the caller's thread may belong to a runtime
/// already, where blocking is refused.
pub(crate) fn off_runtime<T: Send>(work: impl FnOnce(&Runtime) -> Result<T, String> + Send) -> Result<T, String> {
    let work = || {
        let runtime = Builder::new_current_thread().enable_all().build();
        work(&runtime.map_err(|e| format!("cannot start a runtime: {e}"))?)
    };
    thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}
